//! MariaDB as source and as target: the bank under kills, tables of many types, and what only MariaDB has.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_harness::services::Service;
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::banking::{Banking, seed};
use lutra_scenarios::{World, WorldOptions};

const LIMIT: Duration = Duration::from_secs(120);

/// A running world with a source and a target of these families, on servers of its own.
async fn world(name: &str, source: Flavour, target: Flavour) -> Result<World> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let spec = StackSpec::pair(name).of(source, target).relaxed();
    let world = World::own(Stack::start(&installation, spec).await?, name, WorldOptions::default()).await?;
    world.apply().await?;
    Ok(world)
}

/// Runs statements in the world's database and compares when the target has them.
async fn followed(world: &World, statements: &[&str]) -> Result<()> {
    world.followed(statements, LIMIT).await
}

/// Each service is killed once while a bank works.
async fn bank_under_kills(world: &mut World) -> Result<()> {
    let mut banking = Banking::open(world, seed()).await?;
    for service in Service::ALL {
        let killed = Instant::now();
        world.service(&format!("{service}-1"))?.restart()?;
        banking.probe(world, killed, LIMIT).await?;
    }
    banking.close(world, LIMIT).await.map(drop)
}

/// Types that both families have.
const SHARED_TYPES: &str = "CREATE TABLE shared_types (
    id INT PRIMARY KEY,
    i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, u16 SMALLINT UNSIGNED, i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED,
    i32 INT, u32 INT UNSIGNED, i64 BIGINT, u64 BIGINT UNSIGNED,
    f FLOAT, d DOUBLE, n DECIMAL(65,30), m DECIMAL(10,0) UNSIGNED,
    b1 BIT(1), b64 BIT(64), y YEAR,
    da DATE, t0 TIME, t6 TIME(6), dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
    c CHAR(10), c255 CHAR(255), v VARCHAR(500), l VARCHAR(40) CHARACTER SET latin1, k VARCHAR(40) CHARACTER SET sjis,
    bi BINARY(8), vb VARBINARY(300), bl BLOB, lb LONGBLOB, tt TINYTEXT, mt MEDIUMTEXT,
    e ENUM('a','b','ü'), s SET('x','y','z'), j JSON, g GEOMETRY, p POINT) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci";

const LOW: &str = "i8=-128, u8=0, i16=-32768, u16=0, i24=-8388608, u24=0, i32=-2147483648, u32=0, i64=-9223372036854775808, u64=0, \
    f=-3.40282e38, d=-1.7976931348623157e308, n=-99999999999999999999999999999999999.999999999999999999999999999999, m=0, \
    b1=b'0', b64=0, y=0, da='0000-00-00', t0='-838:59:59', t6='-838:59:58.999999', dt='0000-00-00 00:00:00', \
    dt6='1000-01-01 00:00:00.000001', ts='1970-01-01 00:00:01', ts6='1970-01-01 00:00:01.000001', c='', c255='', v='', l='', k='', \
    bi='', vb='', bl='', lb='', tt='', mt='', e='', s='', j='null', g=ST_GeomFromText('POINT(-1 -1)'), p=ST_GeomFromText('POINT(0 0)')";

const HIGH: &str = "i8=127, u8=255, i16=32767, u16=65535, i24=8388607, u24=16777215, i32=2147483647, u32=4294967295, \
    i64=9223372036854775807, u64=18446744073709551615, f=3.40282e38, d=1.7976931348623157e308, \
    n=99999999999999999999999999999999999.999999999999999999999999999999, m=9999999999, b1=b'1', b64=18446744073709551615, \
    y=2155, da='9999-12-31', t0='838:59:59', t6='838:59:58.999999', dt='9999-12-31 23:59:59', \
    dt6='9999-12-31 23:59:59.999999', ts='2038-01-19 03:14:07', ts6='2038-01-19 03:14:07.999999', c='äöü☃😀', \
    c255=REPEAT('ß',255), v=REPEAT('😀',500), l='ä€', k='表示', bi=x'00ff00ff00ff00ff', vb=REPEAT(x'00275c0aff',60), \
    bl=REPEAT(x'00',65535), lb=REPEAT(x'275c',100000), tt=REPEAT('t',255), mt=REPEAT('ü',50000), e='ü', s='x,y,z', \
    j='{\"a\": [1, -1, 2.5, true, null], \"b\": {\"c\": {}}, \"d\": []}', \
    g=ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))'), p=ST_GeomFromText('POINT(1e300 -1e-300)')";

async fn shared_types(world: &World) -> Result<()> {
    let insert = |id: u32, values: &str| format!("INSERT INTO shared_types SET id={id}, {values}");
    let statements = [
        "SET time_zone='+00:00', sql_mode='NO_ENGINE_SUBSTITUTION', NAMES utf8mb4".to_owned(),
        SHARED_TYPES.to_owned(),
        insert(1, LOW),
        insert(2, HIGH),
        "INSERT INTO shared_types (id) VALUES (3)".to_owned(),
        insert(4, LOW),
        insert(5, HIGH),
        "CREATE TABLE keyless (a INT, j JSON, v VARCHAR(20))".to_owned(),
        "INSERT INTO keyless VALUES (1, '[1, 2]', 'x'), (1, '[1, 2]', 'x'), (NULL, NULL, NULL)".to_owned(),
        "CREATE TABLE many (k VARCHAR(20) PRIMARY KEY, n INT UNSIGNED, t TIMESTAMP(6) NULL)".to_owned(),
        format!("INSERT INTO many VALUES {}", values(50, 0)),
    ];
    followed(world, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await.context("inserts")?;
    let changes = [
        "SET time_zone='+00:00', sql_mode='', NAMES utf8mb4".to_owned(),
        format!("UPDATE shared_types SET {HIGH} WHERE id IN (1,3)"),
        format!("UPDATE shared_types SET {LOW} WHERE id IN (2,5)"),
        "DELETE FROM shared_types WHERE id=4".to_owned(),
        "UPDATE keyless SET v='y' LIMIT 1".to_owned(),
        "DELETE FROM keyless WHERE a IS NULL".to_owned(),
        "UPDATE many SET n = n + 4000000000, t = '2024-02-29 00:00:00.123456' WHERE n < 40".to_owned(),
        "DELETE FROM many WHERE n BETWEEN 40 AND 48".to_owned(),
    ];
    followed(world, &changes.iter().map(String::as_str).collect::<Vec<_>>()).await.context("updates and deletes")
}

fn values(rows: u32, from: u32) -> String {
    (from..from + rows).map(|n| format!("('k{n}ä', {n}, NULL)")).collect::<Vec<_>>().join(",")
}

/// Definitions that both families have, in the words of a dump.
async fn definitions(world: &World) -> Result<()> {
    let statements = [
        "CREATE TABLE parent (id INT PRIMARY KEY, v VARCHAR(10) DEFAULT 'x', made DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3))",
        "CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)",
        "INSERT INTO parent (id) VALUES (1), (2)",
        "INSERT INTO child VALUES (1, 1), (2, 2), (3, NULL)",
        "DELETE FROM parent WHERE id = 1",
        "ALTER TABLE parent ADD COLUMN g INT GENERATED ALWAYS AS (id * 2) STORED, ADD INDEX (v), ADD w INT NOT NULL DEFAULT 7",
        "INSERT INTO parent (id) VALUES (3)",
        "ALTER TABLE child RENAME TO kid",
        "CREATE TABLE copy SELECT id, w FROM parent",
        "CREATE TABLE parts (id INT PRIMARY KEY) /*!50100 PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), PARTITION b VALUES LESS THAN (20)) */",
        "INSERT INTO parts VALUES (1), (11)",
        "ALTER TABLE parts DROP PARTITION a",
        "CREATE TABLE gone (id INT)",
        "INSERT INTO gone VALUES (1)",
        "TRUNCATE TABLE gone",
        "INSERT INTO gone VALUES (2)",
        "CREATE TABLE other (id INT)",
        "DROP TABLE gone, other",
        "RENAME TABLE parts TO swap, copy TO parts, swap TO copy",
    ];
    followed(world, &statements).await.context("definitions")
}

async fn prepared(name: &str, source: Flavour, target: Flavour) -> Result<World> {
    let mut world = world(name, source, target).await?;
    bank_under_kills(&mut world).await?;
    shared_types(&world).await?;
    definitions(&world).await?;
    Ok(world)
}

#[tokio::test]
async fn mariadb_follows_mysql() -> Result<()> {
    let world = prepared("to-maria", Flavour::MySql, Flavour::MariaDb).await?;
    let statements = [
        "CREATE TABLE hidden (a INT PRIMARY KEY, b INT /*!80023 INVISIBLE */) COLLATE utf8mb4_0900_ai_ci",
        "INSERT INTO hidden (a, b) VALUES (1, 2)",
    ];
    followed(&world, &statements).await?;
    let hidden = "SELECT COUNT(*) FROM information_schema.columns WHERE column_name = 'b' AND extra LIKE '%INVISIBLE%'";
    let found: Option<u64> = ask(&world.target_url, hidden).await?;
    ensure!(found == Some(1), "the clause in a versioned comment is lost: {found:?}");
    Ok(())
}

#[tokio::test]
async fn mysql_follows_mariadb() -> Result<()> {
    prepared("from-maria", Flavour::MariaDb, Flavour::MySql).await.map(drop)
}

#[tokio::test]
async fn mariadb_follows_mariadb() -> Result<()> {
    let world = prepared("maria", Flavour::MariaDb, Flavour::MariaDb).await?;
    // Files change, domains come, statements are compressed.
    let statements = [
        "CREATE OR REPLACE TABLE own (id INT PRIMARY KEY, v VARCHAR(3000)) COLLATE utf8mb4_uca1400_ai_ci",
        "FLUSH BINARY LOGS",
        "SET gtid_domain_id = 7",
        "INSERT INTO own VALUES (1, 'domain 7')",
        "SET gtid_domain_id = 0",
        "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
        "INSERT INTO own VALUES (2, REPEAT('compressed ', 200)), (3, 'x')",
        "UPDATE own SET v = REPEAT('again ', 300) WHERE id < 3",
        "ALTER TABLE own ADD note VARCHAR(200) COMMENT 'a comment that is long enough to be compressed, a comment that is long enough'",
        "SET GLOBAL log_bin_compress = OFF",
        "SET @@session.binlog_alter_two_phase = ON",
        "ALTER TABLE own ADD second INT",
        "SET @@session.binlog_alter_two_phase = OFF",
        "INSERT INTO own VALUES (4, 'after', NULL, 2)",
        "XA START 'a', 'b', 3",
        "INSERT INTO own VALUES (5, 'prepared', NULL, 3)",
        "XA END 'a', 'b', 3",
        "XA PREPARE 'a', 'b', 3",
        "XA COMMIT 'a', 'b', 3",
        "FLUSH BINARY LOGS",
        "DELETE FROM own WHERE id = 2",
    ];
    followed(&world, &statements).await.context("MariaDB's own events")?;
    let statements = [
        "CREATE TABLE net (u UUID PRIMARY KEY, i4 INET4, i6 INET6, n INT, KEY (n))",
        "INSERT INTO net VALUES ('123e4567-e89b-12d3-a456-426655440000', '1.2.3.0', '2001:db8::', 0)",
        "INSERT INTO net SELECT UUID(), '255.255.255.255', '::ffff:1.2.3.4', seq FROM seq_1_to_40",
        "INSERT INTO net VALUES ('00000000-0000-0000-0000-000000000000', NULL, NULL, 41)",
        "UPDATE net SET n = n + 100, i4 = '0.0.0.0' WHERE n < 20",
        "DELETE FROM net WHERE n BETWEEN 20 AND 39",
        "CREATE TABLE keyless_net (u UUID, i6 INET6)",
        "INSERT INTO keyless_net SELECT u, i6 FROM net LIMIT 5",
        "DELETE FROM keyless_net LIMIT 2",
        "CREATE SEQUENCE numbers START WITH 5 CACHE 10",
        "CREATE TABLE numbered (id INT PRIMARY KEY DEFAULT (NEXT VALUE FOR numbers), v INT)",
        "INSERT INTO numbered (v) VALUES (1), (2), (3)",
        "INSERT INTO numbered (v) SELECT seq FROM seq_1_to_30",
        "CREATE TABLE t1 (a INT PRIMARY KEY, b INT) ENGINE=Aria",
        "INSERT INTO t1 VALUES (1, 1), (2, 2)",
        "INSERT INTO t1 VALUES (3, 3) RETURNING a",
    ];
    followed(&world, &statements).await.context("MariaDB's own types, sequences and engines")?;
    let next = format!("SELECT next_not_cached_value FROM `{}`.numbers", world.database());
    let (there, here) = (ask::<u64>(&world.source_url, &next).await?, ask::<u64>(&world.target_url, &next).await?);
    ensure!(there.is_some() && there == here, "the sequence stands at {here:?}, at the source at {there:?}");
    // A system-versioned table is refused by name.
    let statements = [
        format!("CREATE TABLE `{0}`.versioned (a INT PRIMARY KEY) WITH SYSTEM VERSIONING", world.database()),
        format!("INSERT INTO `{0}`.versioned VALUES (1)", world.database()),
    ];
    world.execute(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = world.lutra(&["status", "--json"]).await?;
        if status.contains("system-versioned") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not refused: {status}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn ask<T: mysql_async::prelude::FromValue + Send + 'static>(url: &str, sql: &str) -> Result<Option<T>> {
    use mysql_async::prelude::Queryable;
    Ok(lutra_harness::mysql::connect(url).await?.query_first(sql).await?)
}

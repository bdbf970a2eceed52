//! The spine: one change's way, and the whole shop's; rows of every kind of table.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use lutra_harness::mysql;
use lutra_harness::oracle::Comparison;
use lutra_harness::workload::shop::{self, ShopCounters};
use lutra_mysql::Flavour;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

/// A world whose tasks run, with its database made at the source.
async fn world(name: &str) -> Result<World> {
    World::with_database(name, WorldOptions::default()).await
}

/// Runs statements in the world's database and compares when the target has them.
async fn followed(world: &World, statements: &[&str]) -> Result<()> {
    world.followed(statements, LIMIT).await
}

#[tokio::test]
async fn inserts_of_one_table_arrive_in_the_target() -> Result<()> {
    let world = world("inserts").await?;
    followed(
        &world,
        &["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1, 'one'), (2, NULL)"],
    )
    .await
}

#[tokio::test]
async fn a_shop_with_foreign_keys_and_ddl_is_followed_row_for_row() -> Result<()> {
    let world = World::shared("shop", WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database().to_owned();
    shop::create(&world.source_url, &db).await?;
    let (counters, stop) = (Arc::new(ShopCounters::default()), CancellationToken::new());
    let sell = shop::run(&world.source_url, &db, 7, 0, Arc::clone(&counters), stop.clone());
    let define = async {
        let done =
            shop::run_ddl(&world.source_url, &db, Duration::from_millis(300), Arc::clone(&counters), stop.clone())
                .await;
        // How many that leaves time for is the machine's affair.
        let enough = async {
            while counters.transactions.load(Ordering::Relaxed) <= 100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(LIMIT, enough).await;
        stop.cancel();
        done
    };
    let (sold, defined) = tokio::join!(sell, define);
    sold?;
    defined?;
    assert!(counters.transactions.load(Ordering::Relaxed) > 100, "{counters:?}");
    world.settled(LIMIT).await
}

const EVERY_TYPE: &str = "CREATE TABLE every_type (
    id INT PRIMARY KEY,
    i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, u16 SMALLINT UNSIGNED, i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED,
    i32 INT, u32 INT UNSIGNED, i64 BIGINT, u64 BIGINT UNSIGNED,
    f FLOAT, d DOUBLE, n DECIMAL(65,30), m DECIMAL(10,0) UNSIGNED,
    b1 BIT(1), b64 BIT(64), y YEAR,
    da DATE, t0 TIME, t6 TIME(6), dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
    c CHAR(10), c255 CHAR(255), v VARCHAR(500), bi BINARY(8), vb VARBINARY(300),
    tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, tt TINYTEXT, te TEXT, mt MEDIUMTEXT, lt LONGTEXT,
    e ENUM('a','b','ü'), s SET('x','y','z'), j JSON, g GEOMETRY, p POINT, vec VECTOR(3)) CHARACTER SET utf8mb4";

#[tokio::test]
async fn every_type_keeps_its_extremes_through_insert_update_and_delete() -> Result<()> {
    let world = world("types").await?;
    let low = "i8=-128, u8=0, i16=-32768, u16=0, i24=-8388608, u24=0, i32=-2147483648, u32=0, i64=-9223372036854775808, u64=0, \
        f=-3.40282e38, d=-1.7976931348623157e308, n=-99999999999999999999999999999999999.999999999999999999999999999999, m=0, \
        b1=b'0', b64=0, y=0, da='0000-00-00', t0='-838:59:59', t6='-838:59:58.999999', dt='0000-00-00 00:00:00', \
        dt6='1000-01-01 00:00:00.000001', ts='1970-01-01 00:00:01', ts6='1970-01-01 00:00:01.000001', c='', c255='', v='', \
        bi='', vb='', tb='', bl='', mb='', lb='', tt='', te='', mt='', lt='', e='', s='', j='null', \
        g=ST_GeomFromText('POINT(-1 -1)', 4326), p=ST_GeomFromText('POINT(0 0)'), vec=TO_VECTOR('[-1,0,1e-30]')";
    let high = "i8=127, u8=255, i16=32767, u16=65535, i24=8388607, u24=16777215, i32=2147483647, u32=4294967295, \
        i64=9223372036854775807, u64=18446744073709551615, f=3.40282e38, d=1.7976931348623157e308, \
        n=99999999999999999999999999999999999.999999999999999999999999999999, m=9999999999, b1=b'1', b64=18446744073709551615, \
        y=2155, da='9999-12-31', t0='838:59:59', t6='838:59:58.999999', dt='9999-12-31 23:59:59', \
        dt6='9999-12-31 23:59:59.999999', ts='2038-01-19 03:14:07', ts6='2038-01-19 03:14:07.999999', c='äöü☃😀', \
        c255=REPEAT('ß',255), v=REPEAT('😀',500), bi=x'00ff00ff00ff00ff', vb=REPEAT(x'00275c0aff',60), tb=REPEAT(x'ff',255), \
        bl=REPEAT(x'00',65535), mb=REPEAT('q',100000), lb=REPEAT(x'275c',100000), tt=REPEAT('t',255), te=REPEAT('''',20000), \
        mt=REPEAT('ü',50000), lt=REPEAT('\\\\\\\\',50000), e='ü', s='x,y,z', \
        j='{\"a\": [1, -1, 18446744073709551615, 1.5e300, true, null, \"\\\\u0000☃\"], \"b\": {\"c\": {}}, \"d\": []}', \
        g=ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))'), p=ST_GeomFromText('POINT(1e300 -1e-300)'), \
        vec=TO_VECTOR('[3.4e38,-3.4e38,0.1]')";
    // There is no VECTOR in every MariaDB.
    let mariadb = world.families().await?.iter().any(|family| family.is_mariadb());
    let vectors = |text: &str| match text.split_once(", vec") {
        Some((before, vector)) if mariadb => {
            format!("{before}{}", vector.split_once("CHARACTER").map_or("", |_| ") CHARACTER SET utf8mb4"))
        }
        _ => text.to_owned(),
    };
    let (mut low, high) = (vectors(low), vectors(high));
    // East of Greenwich this is before the first TIMESTAMP: MariaDB keeps its fraction, which MySQL has no place for, and
    // that is refused by name.
    if world.families().await? == [Flavour::MariaDb, Flavour::MySql] {
        low = low.replace("ts6='1970-01-01 00:00:01.000001'", "ts6='1970-01-02 00:00:01.000001'");
    }
    let statements = [
        "SET time_zone='+00:00', sql_mode='NO_ENGINE_SUBSTITUTION', NAMES utf8mb4".to_owned(),
        vectors(EVERY_TYPE),
        format!("INSERT INTO every_type SET id=1, {low}"),
        format!("INSERT INTO every_type SET id=2, {high}"),
        "INSERT INTO every_type (id) VALUES (3)".to_owned(),
        format!("INSERT INTO every_type SET id=4, {low}"),
        format!("INSERT INTO every_type SET id=5, {high}"),
    ];
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    followed(&world, &statements).await?;
    let changes = [
        "SET time_zone='+05:30', sql_mode='', NAMES latin1".to_owned(),
        format!("UPDATE every_type SET {} WHERE id IN (1,3)", high),
        format!("UPDATE every_type SET {} WHERE id = 2", low),
        "DELETE FROM every_type WHERE id IN (4,5)".to_owned(),
        "INSERT INTO every_type (id, i8, da, ts) VALUES (6, 1, '2024-00-00', NOW())".to_owned(),
        "UPDATE every_type SET id = 60 WHERE id = 6".to_owned(),
    ];
    let changes: Vec<String> = changes.into_iter().map(|c| c.replace("NAMES latin1", "NAMES utf8mb4")).collect();
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    followed(&world, &changes).await
}

#[tokio::test]
async fn keyless_tables_keep_their_duplicate_rows() -> Result<()> {
    let world = world("keyless").await?;
    followed(
        &world,
        &[
            "CREATE TABLE k (a INT, b VARCHAR(10), f FLOAT, j JSON)",
            "INSERT INTO k VALUES (1,'x',0.1,'{\"a\": 1.0}'),(1,'x',0.1,'{\"a\": 1.0}'),(1,'x',0.1,'{\"a\": 1.0}'),(NULL,NULL,NULL,NULL),(NULL,NULL,NULL,NULL),(2,'y',1e30,'[]')",
            "DELETE FROM k WHERE a = 1 LIMIT 1",
            "UPDATE k SET b = 'z' WHERE a IS NULL LIMIT 1",
            "BEGIN",
            "INSERT INTO k VALUES (3,'n',3,NULL),(3,'n',3,NULL)",
            "DELETE FROM k WHERE a = 3 LIMIT 1",
            "UPDATE k SET a = 1, b = 'x', f = 0.1, j = '{\"a\": 1.0}' WHERE a = 3",
            "COMMIT",
        ],
    )
    .await
}

#[tokio::test]
async fn values_of_unique_keys_change_places() -> Result<()> {
    let world = world("swaps").await?;
    let mariadb = world.families().await?.iter().any(|family| family.is_mariadb());
    let collation = if mariadb { "utf8mb4_unicode_ci" } else { "utf8mb4_0900_ai_ci" };
    let mut statements = vec![
        format!(
            "CREATE TABLE u (id INT PRIMARY KEY, k INT NULL, name VARCHAR(20), UNIQUE (k), UNIQUE (name)) COLLATE {collation}"
        ),
        "INSERT INTO u VALUES (1,10,'a'),(2,20,'b'),(3,30,'c'),(4,40,'d')".to_owned(),
        "UPDATE u SET k = k + 1 ORDER BY k DESC".to_owned(),
        // One statement: each row takes the key that the next one has just left.
        "UPDATE u SET id = id + 1 ORDER BY id DESC".to_owned(),
        "DELETE FROM u WHERE name = 'a'".to_owned(),
        "INSERT INTO u VALUES (9,90,'A')".to_owned(),
    ];
    for round in 0..10 {
        statements.extend([
            "BEGIN".to_owned(),
            format!("UPDATE u SET k = {} WHERE name = 'b'", 1_000 + round),
            "UPDATE u SET k = k + 100 WHERE name = 'c'".to_owned(),
            "UPDATE u SET k = 21 WHERE name = 'c'".to_owned(),
            "UPDATE u SET k = 31 WHERE name = 'b'".to_owned(),
            "COMMIT".to_owned(),
            "BEGIN".to_owned(),
            "UPDATE u SET k = NULL WHERE name = 'c'".to_owned(),
            "UPDATE u SET k = 21 WHERE name = 'b'".to_owned(),
            "UPDATE u SET k = 31 WHERE name = 'c'".to_owned(),
            "COMMIT".to_owned(),
        ]);
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    followed(&world, &statements).await
}

#[tokio::test]
async fn keys_of_several_columns_generated_columns_and_character_sets_are_kept() -> Result<()> {
    let world = world("keys").await?;
    followed(
        &world,
        &[
            "SET NAMES utf8mb4",
            "CREATE TABLE m (a INT, b VARCHAR(20) COLLATE utf8mb4_bin, c DATE, v INT, PRIMARY KEY (b, a, c))",
            "INSERT INTO m VALUES (1,'x','2024-01-01',1),(1,'X','2024-01-01',2),(2,'x','2024-01-01',3),(1,'x','2024-01-02',4)",
            "UPDATE m SET v = v * 10 WHERE b = 'x'",
            "UPDATE m SET c = '2025-01-01', a = 7 WHERE v = 40",
            "DELETE FROM m WHERE b = 'X'",
            "CREATE TABLE g (id INT PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c INT AS (a + 1) VIRTUAL, \
             d VARCHAR(10) DEFAULT 'd', UNIQUE (b), KEY (c))",
            "INSERT INTO g (id, a) VALUES (1, 5), (2, 6)",
            "UPDATE g SET a = 7 WHERE id = 1",
            "DELETE FROM g WHERE b = 12",
            "CREATE TABLE l (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1, b VARCHAR(20) CHARACTER SET gbk, \
             c VARCHAR(20) CHARACTER SET utf8mb3, d VARCHAR(20) CHARACTER SET utf16, e CHAR(5) CHARACTER SET sjis, \
             f VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german2_ci UNIQUE)",
            "INSERT INTO l VALUES (1,'äöü€','中文字','ελλ','😀','あ','straße'),(2,NULL,'','','','','x')",
            "UPDATE l SET a = 'ÿ', b = '汉字\\\\', f = 'ÄÖÜ' WHERE id = 1",
            "DELETE FROM l WHERE id = 2",
        ],
    )
    .await
}

#[tokio::test]
async fn tables_and_databases_come_and_go_as_at_the_source() -> Result<()> {
    let [a, b] = ["a", "b"].map(|n| format!("comes_{n}_{:x}", std::process::id()));
    let options = WorldOptions { databases: vec![a.clone(), b.clone()], ..WorldOptions::default() };
    let world = World::shared("comes", options).await?;
    world.apply().await?;
    world
        .execute(&[
            &format!("CREATE DATABASE `{a}` CHARACTER SET latin1"),
            &format!("CREATE TABLE `{a}`.t (id INT PRIMARY KEY, v VARCHAR(9))"),
            &format!("INSERT INTO `{a}`.t VALUES (1,'x'),(2,'y')"),
            &format!("TRUNCATE TABLE `{a}`.t"),
            &format!("INSERT INTO `{a}`.t VALUES (3,'z')"),
            &format!("CREATE DATABASE `{b}`"),
            &format!("RENAME TABLE `{a}`.t TO `{b}`.u"),
            &format!("CREATE TABLE `{a}`.t LIKE `{b}`.u"),
            &format!("INSERT INTO `{a}`.t SELECT * FROM `{b}`.u"),
            &format!("RENAME TABLE `{a}`.t TO `{a}`.s, `{b}`.u TO `{a}`.t"),
            &format!("CREATE TABLE `{b}`.c AS SELECT * FROM `{a}`.t"),
            &format!("CREATE TABLE `{b}`.d (id INT)"),
            &format!("DROP TABLE `{b}`.d, `{b}`.c"),
            &format!("DROP DATABASE `{b}`"),
            &format!("CREATE DATABASE `{b}`"),
            &format!("CREATE TABLE `{b}`.t (id INT PRIMARY KEY)"),
            &format!("INSERT INTO `{b}`.t VALUES (1)"),
        ])
        .await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn routes_rename_tables_and_columns_and_drop_operations() -> Result<()> {
    let (db, crm) = (format!("routes_{:x}", std::process::id()), format!("crm_{:x}", std::process::id()));
    let options = WorldOptions {
        databases: vec![db.clone()],
        target_databases: vec![crm.clone()],
        routes: format!(
            "    - match: \"{db}.user_*\"\n      to: \"{crm}.t_$1\"\n      columns: {{rename: {{name: full_name}}, drop: [secret]}}\n    \
             - match: \"{db}.log\"\n      operations: [insert]\n"
        ),
        ..WorldOptions::default()
    };
    let world = World::shared("routes", options).await?;
    mysql::execute(
        &world.target_url,
        &[
            &format!("CREATE DATABASE `{crm}`"),
            &format!("CREATE TABLE `{crm}`.t_info (id INT PRIMARY KEY, full_name VARCHAR(20))"),
        ],
    )
    .await?;
    mysql::execute(
        &world.target_url,
        &[&format!("CREATE DATABASE `{db}`"), &format!("CREATE TABLE `{db}`.log (id INT PRIMARY KEY, v INT)")],
    )
    .await?;
    // The tables are there before the source is followed: their definitions differ on purpose.
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.user_info (id INT PRIMARY KEY, name VARCHAR(20), secret VARCHAR(20))"),
            &format!("CREATE TABLE `{db}`.log (id INT PRIMARY KEY, v INT)"),
            &format!("CREATE TABLE `{db}`.elsewhere (id INT PRIMARY KEY)"),
        ])
        .await?;
    world.apply().await?;
    world
        .execute(&[
            &format!("INSERT INTO `{db}`.user_info VALUES (1,'Ann','s'),(2,'Bob','t')"),
            &format!("UPDATE `{db}`.user_info SET name = 'Bo', secret = 'u' WHERE id = 2"),
            &format!("DELETE FROM `{db}`.user_info WHERE id = 1"),
            &format!("INSERT INTO `{db}`.log VALUES (1,1),(2,2)"),
            &format!("UPDATE `{db}`.log SET v = 9"),
            &format!("DELETE FROM `{db}`.log WHERE id = 1"),
            &format!("INSERT INTO `{db}`.elsewhere VALUES (1)"),
        ])
        .await?;
    world.caught_up(LIMIT).await?;
    let info = format!("{db}.user_info");
    let report = Comparison::new(&world.source_url, &world.target_url)
        .databases(&[&db])
        .table(&info, &format!("{crm}.t_info"))
        .renamed_column(&info, "name", "full_name")
        .dropped_column(&info, "secret")
        .ignored_table(&format!("{db}.log"))
        .ignored_table(&format!("{db}.elsewhere"))
        .run()
        .await?;
    assert!(report.is_equal(), "{report}\n{}", world.logs());
    let mut conn = mysql::connect(&world.target_url).await?;
    let log: Vec<(i32, i32)> = conn.query(format!("SELECT id, v FROM `{db}`.log ORDER BY id")).await?;
    assert_eq!(log, [(1, 1), (2, 2)], "only inserts are carried");
    Ok(())
}

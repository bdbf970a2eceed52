//! Sources whose table maps do not say what tables look like (`binlog_row_metadata` other than FULL).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lutra_harness::mysql::connect;
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

const LIMIT: Duration = Duration::from_secs(60);

/// A world on servers of its own; who reads the source may see the tables.
async fn world(name: &str, flavour: Flavour, metadata: &str) -> Result<World> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let setting = format!("binlog_row_metadata={metadata}");
    let spec = StackSpec::pair(name).of(flavour, flavour).relaxed().with_mysql_settings(&[&setting]);
    let world = World::own(Stack::start(&installation, spec).await?, name, WorldOptions::default()).await?;
    let db = world.database().to_owned();
    let user = ["ls_", &db.replace('_', "")].concat();
    // Created before capture begins: the base.
    world
        .execute(&[
            &format!("GRANT SELECT ON `{db}`.* TO '{user}'@'%'"),
            &format!("CREATE DATABASE `{db}` CHARACTER SET utf8mb4"),
            &format!("USE `{db}`"),
            ALL_TYPES,
            "CREATE TABLE old (id INT UNSIGNED NOT NULL, e ENUM('x','y') NOT NULL, a INT, b INT, UNIQUE KEY u (id, e))",
        ])
        .await?;
    let created = format!("CREATE DATABASE `{db}` CHARACTER SET utf8mb4");
    lutra_harness::mysql::execute(
        &world.target_url,
        &[
            &created,
            &format!("USE `{db}`"),
            ALL_TYPES,
            "CREATE TABLE old (id INT UNSIGNED NOT NULL, e ENUM('x','y') NOT NULL, a INT, b INT, UNIQUE KEY u (id, e))",
        ],
    )
    .await?;
    world.apply().await?;
    Ok(world)
}

const ALL_TYPES: &str = "CREATE TABLE all_types (id INT NOT NULL PRIMARY KEY, i8 TINYINT, u8 TINYINT UNSIGNED, u16 SMALLINT UNSIGNED, \
    u24 MEDIUMINT UNSIGNED, u32 INT UNSIGNED, i64 BIGINT, u64 BIGINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(65,30), b BIT(9), y YEAR, \
    da DATE, ti TIME(3), dt DATETIME(6), ts TIMESTAMP(6) NULL, c CHAR(10), l CHAR(5) CHARACTER SET latin1, v VARCHAR(300), bi BINARY(8), \
    vb VARBINARY(20), bl BLOB, tx TEXT CHARACTER SET latin1, e ENUM('a','b,c','ü') CHARACTER SET latin1, s SET('p','q','r'), j JSON, \
    g GEOMETRY, p POINT, gv INT AS (id + 1) VIRTUAL, gs INT AS (id + 2) STORED) CHARACTER SET utf8mb4";

const ROWS: [&str; 3] = [
    "INSERT INTO all_types (id, i8, u8, u16, u24, u32, i64, u64, f, d, n, b, y, da, ti, dt, ts, c, l, v, bi, vb, bl, tx, e, s, j, g, p) VALUES \
     (1, -128, 255, 65535, 16777215, 4294967295, -9223372036854775808, 18446744073709551615, 1.5, -1e300, -1.5, b'100000001', 2155, \
     '9999-12-31', '-838:59:58.999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 'äö', 'é', REPEAT('😀', 300), \
     x'ab00', x'00ff', 'blob', 'déjà', 'ü', 'p,r', '{\"a\": [1, 2.5]}', POINT(1, 2), POINT(3, 4))",
    "INSERT INTO all_types (id) VALUES (2)",
    "UPDATE all_types SET u64 = 9223372036854775808, e = 'b,c', bi = x'01' WHERE id = 2",
];

async fn execute(world: &World, statements: &[&str]) -> Result<()> {
    world.written(statements).await
}

/// Definitions in the middle of the stream, of every kind that moves columns.
async fn definitions_in_the_stream(world: &World) -> Result<()> {
    execute(world, &ROWS).await?;
    execute(
        world,
        &[
            "INSERT INTO old VALUES (1, 'y', 10, 20), (4294967295, 'x', 30, 40)",
            "ALTER TABLE old MODIFY a INT AFTER b, ADD COLUMN first_one SMALLINT UNSIGNED FIRST",
            "INSERT INTO old VALUES (65535, 2, 'x', 200, 100)",
            "ALTER TABLE old RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "UPDATE old SET a = 7 WHERE id = 2",
            "CREATE TABLE fresh (k VARCHAR(20) PRIMARY KEY, u BIGINT UNSIGNED, m ENUM('one','two')) CHARACTER SET latin1",
            "INSERT INTO fresh VALUES ('ä', 18446744073709551615, 'two')",
            // Online tools: copy, and swap names.
            "CREATE TABLE _fresh_gho LIKE fresh",
            "ALTER TABLE _fresh_gho DROP COLUMN u, ADD COLUMN w INT UNSIGNED AFTER k",
            "INSERT INTO _fresh_gho SELECT k, 4294967295, m FROM fresh",
            "RENAME TABLE fresh TO _fresh_del, _fresh_gho TO fresh",
            "INSERT INTO fresh VALUES ('b', 5, 'one')",
            "INSERT INTO _fresh_del VALUES ('c', 6, 'one')",
            // The same name with other columns.
            "DROP TABLE _fresh_del",
            "CREATE TABLE _fresh_del (m ENUM('three','four'), u INT, PRIMARY KEY (u))",
            "INSERT INTO _fresh_del VALUES ('four', -1)",
            "CREATE TABLE like_all LIKE all_types",
            "INSERT INTO like_all (id, e, u8) VALUES (5, 'a', 200)",
            "CREATE TABLE selected (PRIMARY KEY (id)) AS SELECT id, e, u32 FROM all_types",
            "UPDATE selected SET u32 = 3000000000",
            "ALTER TABLE selected ADD INDEX (u32)",
            "UPDATE selected SET e = 'a'",
            "ALTER TABLE _fresh_del CONVERT TO CHARACTER SET utf8mb4",
            "UPDATE _fresh_del SET m = 'three'",
            "TRUNCATE fresh",
            "INSERT INTO fresh VALUES ('z', 1, 'two')",
        ],
    )
    .await?;
    world.settled(LIMIT).await
}

/// What happens while nobody reads is told apart by what the log knows.
async fn definitions_while_nobody_reads(world: &mut World) -> Result<()> {
    world.service("extractor-1")?.kill()?;
    execute(
        world,
        &[
            // Two orders of two columns of one type: no table map can tell them apart.
            "INSERT INTO old VALUES (1, 3, 'x', 1, 2)",
            "ALTER TABLE old MODIFY a INT FIRST, ADD COLUMN more INT",
            "INSERT INTO old VALUES (11, 1, 4, 'y', 22, 33)",
            "ALTER TABLE old RENAME COLUMN a TO b, RENAME COLUMN b TO a, DROP COLUMN more",
            "INSERT INTO old VALUES (11, 1, 5, 'y', 22)",
            "CREATE TABLE short_lived (a INT PRIMARY KEY, b INT)",
            "INSERT INTO short_lived VALUES (1, 2)",
            "ALTER TABLE short_lived MODIFY b INT FIRST",
            "INSERT INTO short_lived VALUES (3, 4)",
            "DROP TABLE short_lived",
            "CREATE TABLE short_lived (b INT, a INT PRIMARY KEY, c SET('x','y'))",
            "INSERT INTO short_lived VALUES (5, 6, 'y')",
            "RENAME TABLE old TO swapped, short_lived TO old, swapped TO short_lived",
            "INSERT INTO old VALUES (7, 8, 'x')",
        ],
    )
    .await?;
    world.service("extractor-1")?.start()?;
    world.settled(LIMIT).await
}

/// Killed at any time, it goes on with what the log says.
async fn definitions_under_kills(world: &mut World) -> Result<()> {
    for round in 0..3 {
        execute(
            world,
            &[
                &format!("ALTER TABLE fresh ADD COLUMN r{round} INT UNSIGNED FIRST"),
                &format!("INSERT INTO fresh (r{round}, k) VALUES (4000000000, 'r{round}')"),
            ],
        )
        .await?;
        world.service("extractor-1")?.restart()?;
        execute(world, &[&format!("UPDATE fresh SET r{round} = {round}")]).await?;
    }
    world.settled(LIMIT).await
}

#[tokio::test]
#[ignore = "servers of its own: `cargo xtask test --slow`"]
async fn a_source_with_minimal_row_metadata_is_followed() -> Result<()> {
    let mut world = world("minimal", Flavour::MySql, "MINIMAL").await?;
    definitions_in_the_stream(&world).await?;
    execute(
        &world,
        &[
            "SET sql_generate_invisible_primary_key = ON",
            "CREATE TABLE keyless (a INT, b VARCHAR(5) INVISIBLE)",
            "INSERT INTO keyless (a, b) VALUES (1, 'x'), (1, 'x')",
            "UPDATE keyless SET a = 2 LIMIT 1",
            "CREATE TABLE functional (id INT PRIMARY KEY, a INT, j JSON, KEY f ((a + 1)), KEY m ((CAST(j->'$' AS UNSIGNED ARRAY))))",
            "INSERT INTO functional VALUES (1, 2, '[1, 2]')",
            "ALTER TABLE functional ADD COLUMN z INT UNSIGNED AFTER id",
            "UPDATE functional SET z = 4294967295",
        ],
    )
    .await?;
    world.settled(LIMIT).await?;
    definitions_while_nobody_reads(&mut world).await?;
    definitions_under_kills(&mut world).await?;
    // From now on they say everything, and then not again.
    for metadata in ["FULL", "MINIMAL"] {
        execute(&world, &[&format!("SET GLOBAL binlog_row_metadata = {metadata}")]).await?;
        execute(&world, &["ALTER TABLE fresh MODIFY m ENUM('two','one') FIRST", "UPDATE fresh SET m = 'one'"]).await?;
    }
    world.settled(LIMIT).await?;
    let doctor = world.lutra_output(&["doctor"]).await?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(text.contains("SET PERSIST binlog_row_metadata = 'FULL'"), "{text}");
    Ok(())
}

#[tokio::test]
#[ignore = "servers of its own: `cargo xtask test --slow`"]
async fn a_mariadb_without_row_metadata_is_followed() -> Result<()> {
    let mut world = world("nolog", Flavour::MariaDb, "NO_LOG").await?;
    definitions_in_the_stream(&world).await?;
    execute(
        &world,
        &[
            "CREATE TABLE own (id INT PRIMARY KEY, u UUID, i INET6, j JSON, c VARCHAR(300) COMPRESSED)",
            "INSERT INTO own VALUES (1, '6ccd780c-baba-1026-9564-5b8c65602400', '::1', '[1]', REPEAT('x', 200))",
        ],
    )
    .await?;
    world.settled(LIMIT).await?;
    definitions_while_nobody_reads(&mut world).await?;
    definitions_under_kills(&mut world).await
}

/// What cannot be known is said, by name: never guessed.
#[tokio::test]
#[ignore = "servers of its own: `cargo xtask test --slow`"]
async fn a_change_that_was_hidden_from_the_binlog_halts_by_name() -> Result<()> {
    let world = world("hidden", Flavour::MySql, "MINIMAL").await?;
    execute(&world, &["INSERT INTO old VALUES (1, 'y', 10, 20)"]).await?;
    world.settled(LIMIT).await?;
    // The same columns in another order, and rows; then again, so that the catalogue knows nothing of it any more.
    let mut conn = connect(&world.source_url).await?;
    for statement in [
        &format!("USE `{}`", world.database()),
        "SET sql_log_bin = 0",
        "ALTER TABLE old MODIFY e ENUM('x','y') NOT NULL FIRST",
        "SET sql_log_bin = 1",
    ] {
        conn.query_drop(statement).await?;
    }
    world.service("extractor-1")?.freeze()?;
    for statement in ["INSERT INTO old VALUES ('x', 2, 1, 2)", "ALTER TABLE old ADD COLUMN more INT"] {
        conn.query_drop(statement).await?;
    }
    world.service("extractor-1")?.thaw()?;
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let status = world.lutra(&["status", "--json"]).await.unwrap_or_default();
        if status.contains("what table") && status.contains("old looks like here is not known") {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            bail!("no halt: {status}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

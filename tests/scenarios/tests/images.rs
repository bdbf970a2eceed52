//! Row images other than full ones, set for one session or for the server, and rows larger than a log record.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Duration;

use anyhow::{Result, ensure};
use lutra_harness::mysql;
use lutra_harness::mysql::connect;
use lutra_harness::oracle::Comparison;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

const LIMIT: Duration = Duration::from_secs(60);

async fn world(name: &str) -> Result<World> {
    World::with_database(name, WorldOptions::default()).await
}

async fn followed(world: &World, statements: &[&str]) -> Result<()> {
    world.followed(statements, LIMIT).await
}

#[tokio::test]
async fn partial_images_of_single_sessions_change_just_what_they_name() -> Result<()> {
    let world = world("images").await?;
    followed(
        &world,
        &[
            "SET sql_mode = ''",
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) DEFAULT 'dflt', c BLOB, \
             d TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), n INT NULL, u INT UNIQUE, \
             g INT AS (a + 1) STORED, e ENUM('x','y') NOT NULL, j JSON)",
            "CREATE TABLE p (x INT, y VARCHAR(10), v INT, w TEXT, PRIMARY KEY (x, y))",
            "CREATE TABLE q (a INT NOT NULL, b TEXT, c INT, UNIQUE KEY (a))",
            "CREATE TABLE k (a INT, b TEXT)",
            "INSERT INTO t (a, b, c, n, u, j) VALUES (1, 'one', 'blob', NULL, 10, '{\"a\": 1}'), (2, NULL, NULL, 2, 20, '[]')",
            "INSERT INTO p VALUES (1, 'a', 1, 'w'), (1, 'b', 2, NULL), (2, 'a', 3, 'z')",
            "INSERT INTO q VALUES (1, 'x', 1), (2, NULL, 2)",
            "INSERT INTO k VALUES (1, 'x'), (1, 'x'), (2, NULL)",
            "SET binlog_row_image = 'MINIMAL'",
            "INSERT INTO t (b) VALUES ('only b')",
            "INSERT INTO t (a, u) VALUES (4, 40), (5, NULL)",
            "INSERT INTO t () VALUES ()",
            "UPDATE t SET b = NULL WHERE id = 1",
            "UPDATE t SET n = NULL, c = 'new' WHERE id = 2",
            "UPDATE t SET a = a + 1",
            "UPDATE t SET u = 11 WHERE u = 10",
            "UPDATE t SET id = 100 WHERE id = 3",
            "BEGIN",
            "UPDATE t SET u = NULL WHERE id = 1",
            "UPDATE t SET u = 11 WHERE id = 2",
            "DELETE FROM t WHERE id = 5",
            "INSERT INTO t (id, a) VALUES (5, 55)",
            "UPDATE t SET a = 56 WHERE id = 5",
            "COMMIT",
            "UPDATE p SET v = v + 1",
            "UPDATE p SET y = 'c' WHERE y = 'b'",
            "DELETE FROM p WHERE x = 2",
            "UPDATE q SET b = 'changed' WHERE a = 2",
            "DELETE FROM q WHERE a = 1",
            "UPDATE k SET b = 'y' WHERE a = 1 LIMIT 1",
            "DELETE FROM k WHERE a = 2",
            "SET binlog_row_image = 'NOBLOB'",
            "UPDATE t SET n = 7",
            "UPDATE t SET c = REPEAT('z', 300) WHERE id = 1",
            "UPDATE p SET v = 9 WHERE x = 1 AND y = 'a'",
            "UPDATE k SET a = 3 WHERE b = 'y'",
            "INSERT INTO t (a, j) VALUES (8, '[1, 2]')",
            "DELETE FROM t WHERE id = 2",
            "SET binlog_row_image = 'FULL'",
            "UPDATE t SET a = a * 2",
        ],
    )
    .await
}

#[tokio::test]
async fn partial_images_pass_routes_that_rename_and_drop_columns() -> Result<()> {
    let (db, to) = (format!("imgroute_{:x}", std::process::id()), format!("imgto_{:x}", std::process::id()));
    let options = WorldOptions {
        databases: vec![db.clone()],
        target_databases: vec![to.clone()],
        routes: format!(
            "    - match: \"{db}.t\"\n      to: \"{to}.u\"\n      columns: {{rename: {{v: w}}, drop: [secret]}}\n"
        ),
        ..WorldOptions::default()
    };
    let world = World::shared("imgroute", options).await?;
    mysql::execute(
        &world.target_url,
        &[
            &format!("CREATE DATABASE `{to}`"),
            &format!("CREATE TABLE `{to}`.u (id INT PRIMARY KEY, w INT, x INT DEFAULT 5)"),
        ],
    )
    .await?;
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, secret INT, v INT, x INT DEFAULT 5)"),
        ])
        .await?;
    world.apply().await?;
    world
        .execute(&[
            "SET binlog_row_image = 'MINIMAL'",
            &format!("INSERT INTO `{db}`.t (id, secret, v) VALUES (1, 1, 1), (2, 2, 2)"),
            &format!("UPDATE `{db}`.t SET secret = 9"),
            &format!("UPDATE `{db}`.t SET secret = 8, v = 7 WHERE id = 1"),
            &format!("UPDATE `{db}`.t SET x = NULL WHERE id = 2"),
            &format!("INSERT INTO `{db}`.t (id) VALUES (3)"),
            &format!("DELETE FROM `{db}`.t WHERE id = 3"),
        ])
        .await?;
    world.caught_up(LIMIT).await?;
    let from = format!("{db}.t");
    let report = Comparison::new(&world.source_url, &world.target_url)
        .databases(&[&db])
        .table(&from, &format!("{to}.u"))
        .renamed_column(&from, "v", "w")
        .dropped_column(&from, "secret")
        .run()
        .await?;
    ensure!(report.is_equal(), "{report}\n{}", world.logs());
    Ok(())
}

#[tokio::test]
async fn partial_json_values_are_followed_with_and_without_their_base() -> Result<()> {
    let world = world("partialjson").await?;
    if world.families().await?[0].is_mariadb() {
        println!("MariaDB writes no partial values");
        return Ok(());
    }
    let changes = [
        "UPDATE t SET j = JSON_SET(j, '$.a', 2, '$.c', 'new')",
        "UPDATE t SET j = JSON_REPLACE(j, '$.b[1]', 'a longer text than before', '$.a', 1.5e0)",
        "UPDATE t SET j = JSON_REMOVE(j, '$.b[0]')",
        "UPDATE t SET j = JSON_ARRAY_INSERT(j, '$.b[0]', JSON_OBJECT('x', NULL)), v = v + 1 WHERE id = 1",
        "UPDATE t SET j = JSON_SET(j, '$.\"q x\"', TRUE, '$.n', NULL)",
    ];
    let mut statements = vec![
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, j JSON, k JSON)",
        "INSERT INTO t SELECT n, n, JSON_OBJECT('a', 1, 'b', JSON_ARRAY(1, REPEAT('x', 200), 3), 'pad', REPEAT('p', 500)), '[1]' \
         FROM (SELECT 1 AS n UNION SELECT 2) x",
        "SET binlog_row_value_options = 'PARTIAL_JSON'",
    ];
    for image in
        ["SET binlog_row_image = 'FULL'", "SET binlog_row_image = 'NOBLOB'", "SET binlog_row_image = 'MINIMAL'"]
    {
        statements.push(image);
        statements.extend(changes);
    }
    followed(&world, &statements).await
}

#[tokio::test]
async fn rows_beyond_a_log_record_go_in_pieces() -> Result<()> {
    let world = world("giants").await?;
    let db = world.database().to_owned();
    let mut conn = connect(&world.source_url).await?;
    for statement in [
        format!("USE `{db}`"),
        "CREATE TABLE g (id INT PRIMARY KEY, small INT, body LONGBLOB, words LONGTEXT)".to_owned(),
        "INSERT INTO g VALUES (1, 1, REPEAT(RANDOM_BYTES(1000), 5000), 'a')".to_owned(),
        "BEGIN".to_owned(),
        "INSERT INTO g VALUES (2, 2, REPEAT(RANDOM_BYTES(1000), 20000), REPEAT('ä', 100))".to_owned(),
        "INSERT INTO g VALUES (3, 3, NULL, NULL)".to_owned(),
        "UPDATE g SET body = REPEAT(RANDOM_BYTES(1000), 9000) WHERE id IN (1, 3)".to_owned(),
        "UPDATE g SET small = 9".to_owned(),
        "COMMIT".to_owned(),
        "DELETE FROM g WHERE id = 1".to_owned(),
        format!("XA START '{db}'"),
        "UPDATE g SET words = REPEAT('🦦', 2000000) WHERE id = 3".to_owned(),
        format!("XA END '{db}'"),
        format!("XA PREPARE '{db}'"),
    ] {
        conn.query_drop(statement).await?;
    }
    // MariaDB lets nothing else into the session.
    world.execute(&[&format!("INSERT INTO `{db}`.g VALUES (4, 4, NULL, NULL)")]).await?;
    world.caught_up(LIMIT).await?;
    for name in ["extractor-1", "transformer-1", "loader-1"] {
        world.service(name)?.restart()?;
    }
    conn.query_drop(format!("XA COMMIT '{db}'")).await?;
    world.settled(LIMIT).await?;
    // Twenty million bytes in one row.
    for (name, service) in &world.services {
        let peak = service.usage()?.peak_resident_bytes;
        println!("{name}: peak {} MiB", peak >> 20);
        ensure!(peak <= (256 << 20) + 4 * 40_000_000, "{name} had {} MiB resident", peak >> 20);
    }
    Ok(())
}

//! Full loads: tables with rows are copied while they are written, and followed from there on.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::mysql::connect;
use lutra_harness::services::Service;
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::world::flavour;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(120);
const LARGE: Duration = Duration::from_secs(1_800);

fn options(full: &str) -> WorldOptions {
    WorldOptions { load: format!("    full: {full}"), ..WorldOptions::default() }
}

/// What `lutra status` says of the tables of the load.
async fn tables(world: &World) -> Result<Vec<(String, String, u64)>> {
    let text = world.lutra_until(&["status", &world.pipeline(), "--json"], Duration::from_secs(30)).await?;
    let status: Value = serde_json::from_str(&text).context("understand `lutra status --json`")?;
    let load = status.pointer("/pipelines/0/load").and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |table: &Value, key: &str| table[key].as_str().unwrap_or_default().to_owned();
    Ok(load.iter().map(|t| (word(t, "table"), word(t, "state"), t["rows"].as_u64().unwrap_or(0))).collect())
}

/// Waits until the load of these tables is as the condition says.
async fn wait_for(world: &World, what: &str, done: impl Fn(&[(String, String, u64)]) -> bool) -> Result<()> {
    wait_for_within(world, what, LIMIT, done).await
}

async fn wait_for_within(
    world: &World,
    what: &str,
    limit: Duration,
    done: impl Fn(&[(String, String, u64)]) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = tables(world).await?;
        if done(&seen) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not {what} after {limit:?}; last seen: {seen:?}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn wait_until_done(world: &World, count: usize) -> Result<()> {
    wait_for(world, "done", |seen| seen.len() >= count && seen.iter().all(|(_, state, _)| state == "DONE")).await
}

/// A table `name (id, v, pad)` with rows 1..=rows.
async fn fill(world: &World, name: &str, rows: u32) -> Result<()> {
    let db = world.database();
    let mut conn = connect(&world.source_url).await?;
    conn.query_drop(format!("CREATE DATABASE IF NOT EXISTS `{db}`")).await?;
    conn.query_drop(format!(
        "CREATE TABLE `{db}`.`{name}` (id INT PRIMARY KEY, v BIGINT NOT NULL, pad VARCHAR(200), UNIQUE KEY (v), KEY (pad))"
    ))
    .await?;
    let limit = match flavour(&world.source_url).await? {
        lutra_mysql::Flavour::MySql => "cte_max_recursion_depth",
        lutra_mysql::Flavour::MariaDb => "max_recursive_iterations",
    };
    conn.query_drop(format!("SET SESSION {limit} = 10000000")).await?;
    conn.query_drop(format!(
        "INSERT INTO `{db}`.`{name}` WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, i * 10, REPEAT(CHAR(97 + i % 26), 20 + i % 80) FROM n"
    ))
    .await?;
    Ok(())
}

/// Changes rows of the table at random, keys among them, until it is told to stop; how many statements it ran.
fn write(
    world: &World,
    name: &str,
    rows: u32,
    seed: u64,
    pace: Duration,
    stop: CancellationToken,
) -> JoinHandle<Result<u64>> {
    let (url, table) = (world.source_url.clone(), format!("`{}`.`{name}`", world.database()));
    #[allow(clippy::disallowed_methods, reason = "a test's own task, joined by its maker")]
    tokio::spawn(async move {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut conn = connect(&url).await?;
        let mut done = 0;
        // What a slow statement takes longer is made up for.
        let mut pace = tokio::time::interval(pace);
        while !stop.is_cancelled() {
            pace.tick().await;
            let (a, b, fresh) = (random.random_range(1..=rows), random.random_range(1..=rows), random.random::<u32>());
            let sql = match random.random_range(0..10) {
                0..=4 => format!("UPDATE {table} SET pad = '{fresh}' WHERE id = {a}"),
                5 => format!("DELETE FROM {table} WHERE id = {a}"),
                6 | 7 => format!("INSERT IGNORE INTO {table} (id, v, pad) VALUES ({a}, {fresh}, 'new')"),
                8 => format!("UPDATE IGNORE {table} SET id = {b} WHERE id = {a}"),
                _ => format!("UPDATE IGNORE {table} SET v = {fresh} WHERE id BETWEEN {a} AND {a} + 3"),
            };
            conn.query_drop(sql).await?;
            done += 1;
        }
        Ok(done)
    })
}

#[tokio::test]
async fn a_table_that_is_written_is_copied_and_followed() -> Result<()> {
    let world = World::shared("load", options("{chunk_rows: 500}")).await?;
    fill(&world, "t", 20_000).await?;
    let stop = CancellationToken::new();
    let writer = write(&world, "t", 25_000, 1, Duration::from_millis(3), stop.clone());
    world.apply().await?;
    wait_until_done(&world, 1).await?;
    // And is followed from there on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let statements = writer.await??;
    println!("{statements} statements meanwhile; {:?}", tables(&world).await?);
    world.settled(LIMIT).await
}

#[tokio::test]
async fn services_killed_in_the_middle_of_a_load_lose_and_double_nothing() -> Result<()> {
    let mut world = World::shared("loadkill", options("{chunk_rows: 300, rows_per_second: 6000}")).await?;
    fill(&world, "t", 40_000).await?;
    let stop = CancellationToken::new();
    let writer = write(&world, "t", 50_000, 2, Duration::from_millis(5), stop.clone());
    world.apply().await?;
    for (n, service) in
        [Service::Extractor, Service::Transformer, Service::Loader, Service::Extractor].into_iter().enumerate()
    {
        let wanted = 4_000 * (n as u64 + 1);
        wait_for(&world, "far enough", |seen| seen.iter().any(|(_, _, rows)| *rows >= wanted)).await?;
        let name = format!("{service}-1");
        world.service(&name)?.process().kill()?;
        println!("{name} killed at {:?}", tables(&world).await?);
        world.start(service, 1)?;
    }
    wait_until_done(&world, 1).await?;
    stop.cancel();
    let statements = writer.await??;
    println!("{statements} statements meanwhile");
    world.settled(LIMIT).await
}

#[tokio::test]
async fn every_kind_of_table_is_copied_as_it_is() -> Result<()> {
    let world = World::shared("loadkinds", options("true")).await?;
    let db = world.database();
    let mariadb = world.families().await?.iter().any(|family| family.is_mariadb());
    let of = |sql: &str| {
        let sql = sql.replace("{db}", &format!("`{db}`"));
        // MariaDB does not bind columns to a reference system in these words.
        if mariadb {
            sql.replace(" SRID 4326", "")
                .replace("ST_SRID(POINT(1,2), 4326)", "POINT(1,2)")
                .replace("ST_SRID(POINT(0,0), 4326)", "POINT(0,0)")
        } else {
            sql
        }
    };
    let statements = [
        "CREATE DATABASE {db}",
        "CREATE TABLE {db}.composite (a VARCHAR(20) COLLATE utf8mb4_unicode_ci, b DATE, c DECIMAL(10,3), v INT, PRIMARY KEY (a, b, c))",
        "CREATE TABLE {db}.latin (k VARCHAR(10) CHARACTER SET latin1, e ENUM('z','y','x'), n TIME(3), PRIMARY KEY (k, e, n))",
        "CREATE TABLE {db}.keyless (a INT, b VARCHAR(20), c JSON)",
        "CREATE TABLE {db}.other_key (id INT NULL, u BINARY(4) NOT NULL, UNIQUE KEY (u))",
        "CREATE TABLE {db}.floats (f FLOAT PRIMARY KEY, d DOUBLE)",
        "CREATE TABLE {db}.empty (id INT PRIMARY KEY)",
        "CREATE TABLE {db}.parent (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE {db}.a_child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
        "CREATE TABLE {db}.types (id BIGINT UNSIGNED PRIMARY KEY, t1 TINYINT, t2 SMALLINT UNSIGNED, t3 MEDIUMINT, t4 INT UNSIGNED, \
         t5 BIGINT UNSIGNED, f FLOAT, d DOUBLE, m DECIMAL(65,30), y YEAR, da DATE, ti TIME(6), dt DATETIME(6), ts TIMESTAMP(6) NULL, \
         b1 BIT(1), b64 BIT(64), c CHAR(5), vc VARCHAR(20) CHARACTER SET utf16, tx TEXT, lt LONGTEXT CHARACTER SET gbk, bi BINARY(6), \
         vb VARBINARY(6), bl MEDIUMBLOB, e ENUM('a','b,c','d''e'), s SET('1','2','3'), j JSON, g GEOMETRY, p POINT SRID 4326, \
         inv INT INVISIBLE, gen INT AS (t1 + 1) VIRTUAL, sto INT AS (t1 + 2) STORED)",
    ];
    let session = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+03:00'";
    let rows = [
        "INSERT INTO {db}.composite SELECT CONCAT(x.a, y.b), z.c, z.d, 1 FROM (SELECT 'a' a UNION SELECT 'B' UNION SELECT 'é') x, (SELECT '1' b UNION SELECT '2 x' UNION SELECT '') y, (SELECT '2020-01-01' c, 1.5 d UNION SELECT '0000-00-00', -1 UNION SELECT '2020-02-00', 99) z",
        "INSERT INTO {db}.latin VALUES ('é', 1, '-838:59:59.000'), ('e', 2, '00:00:00.001'), ('É2', 3, '12:00:00'), ('z', 1, '00:00:00'), ('z', 3, '00:00:00')",
        "INSERT INTO {db}.keyless VALUES (1, 'x', '{\"a\": [1, 2.5, null]}'), (1, 'x', '{\"a\": [1, 2.5, null]}'), (NULL, NULL, NULL)",
        "INSERT INTO {db}.other_key VALUES (NULL, 'b'), (1, 0x00FF00FF), (2, 0xFFFFFFFF)",
        "INSERT INTO {db}.floats VALUES (0.1, 0.1), (1e30, -1e300), (-3.4028235e38, 4.9e-324)",
        "INSERT INTO {db}.parent VALUES (1, 1), (2, 2)",
        "INSERT INTO {db}.a_child VALUES (1, 1), (2, 2), (3, NULL)",
        "INSERT INTO {db}.types (id, t1, t2, t3, t4, t5, f, d, m, y, da, ti, dt, ts, b1, b64, c, vc, tx, lt, bi, vb, bl, e, s, j, g, p, inv) VALUES \
         (18446744073709551615, -128, 65535, -8388608, 4294967295, 18446744073709551615, 3.14159274, 2.718281828459045, \
          -12345678901234567890123456789012345.123456789012345678901234567890, 2155, '9999-12-31', '-838:59:58.999999', \
          '9999-12-31 23:59:59.999999', '2038-01-19 06:14:07.999999', 1, 18446744073709551615, 'x  ', 'ä€', 'text', '中文', 0x00, 0x0001, \
          REPEAT(0xFF, 70000), 'd''e', '1,3', '{\"k\": \"v\", \"n\": 1.5e10, \"b\": true}', ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'), \
          ST_SRID(POINT(1,2), 4326), 5), \
         (0, 127, 0, 8388607, 0, 0, -0.0, -0.0, 0, 0, '0000-00-00', '00:00:00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', 0, 0, '', '', '', \
          '', '', '', '', '', '', 'null', ST_GeomFromText('POINT(1 2)'), ST_SRID(POINT(0,0), 4326), NULL), \
         (7, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2020-02-31', NULL, '2020-00-00 00:00:00', NULL, NULL, NULL, NULL, NULL, NULL, \
          NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ];
    let all: Vec<String> = statements.iter().chain([&session]).chain(&rows).map(|sql| of(sql)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    world.execute(&all).await?;
    world.apply().await?;
    wait_until_done(&world, 9).await?;
    world.settled(LIMIT).await?;
    // What the stream writes into the same tables is the same again.
    let again = [
        session.to_owned(),
        of("UPDATE {db}.types SET t1 = 3, vb = 'zz' WHERE id = 0"),
        of("DELETE FROM {db}.keyless WHERE a = 1 LIMIT 1"),
        of("INSERT INTO {db}.a_child VALUES (9, 2)"),
        of("DELETE FROM {db}.parent WHERE id = 1"),
    ];
    world.execute(&again.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_load_goes_on_through_definitions_and_wishes() -> Result<()> {
    let world = World::shared("loadddl", options("{chunk_rows: 200, rows_per_second: 4000}")).await?;
    for table in ["t", "u", "dropped"] {
        fill(&world, table, 12_000).await?;
    }
    let db = world.database();
    let stop = CancellationToken::new();
    let writer = write(&world, "t", 15_000, 3, Duration::from_millis(5), stop.clone());
    world.apply().await?;
    wait_for(&world, "begun", |seen| seen.iter().any(|(_, _, rows)| *rows > 1_000)).await?;
    world.lutra(&["load", "pause", &format!("{db}.u")]).await?;
    world
        .execute(&[
            &format!("ALTER TABLE `{db}`.t ADD COLUMN extra INT NOT NULL DEFAULT 5"),
            &format!("CREATE TABLE `{db}`.later (id INT PRIMARY KEY)"),
            &format!("INSERT INTO `{db}`.later VALUES (1), (2)"),
            &format!("DROP TABLE `{db}`.dropped"),
        ])
        .await?;
    let named = |seen: &[(String, String, u64)], name: &str| {
        seen.iter().find(|(table, ..)| *table == format!("{db}.{name}")).map(|(_, state, _)| state.clone())
    };
    wait_for(&world, "paused", |seen| named(seen, "u").as_deref() == Some("PAUSED")).await?;
    wait_for(&world, "t done", |seen| named(seen, "t").as_deref() == Some("DONE")).await?;
    world.execute(&[&format!("TRUNCATE TABLE `{db}`.u"), &format!("INSERT INTO `{db}`.u VALUES (1, 2, 'x')")]).await?;
    world.lutra(&["load", "resume", &format!("{db}.u")]).await?;
    wait_for(&world, "u done", |seen| named(seen, "u").as_deref() == Some("DONE")).await?;
    stop.cancel();
    writer.await??;
    world.settled(LIMIT).await?;
    // Somebody spoils the copy: it is made anew while the pipeline runs.
    let mut target = connect(&world.target_url).await?;
    target.query_drop(format!("DELETE FROM `{db}`.t WHERE id % 3 = 0")).await?;
    let before = world.compare().await?;
    ensure!(!before.is_equal(), "the copy was not spoilt");
    world.lutra(&["load", "restart", &format!("{db}.t")]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    wait_for(&world, "t done again", |seen| named(seen, "t").as_deref() == Some("DONE")).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn what_lives_beside_the_tables_comes_with_them_and_indexes_behind_their_rows() -> Result<()> {
    let world = World::shared("loadobjects", options("{chunk_rows: 200, indexes: after}")).await?;
    fill(&world, "t", 3_000).await?;
    let db = world.database();
    let of = |sql: &str| sql.replace("{db}", &format!("`{db}`"));
    let statements = [
        "CREATE TABLE {db}.parent (id INT PRIMARY KEY, u INT, KEY (u))",
        "CREATE TABLE {db}.child (id INT PRIMARY KEY, p INT, n INT, KEY (n), FOREIGN KEY (p) REFERENCES {db}.parent (id) ON DELETE SET NULL)",
        "CREATE TABLE {db}.paused (id INT PRIMARY KEY, a INT, b INT, KEY a (a), KEY b (b))",
        "INSERT INTO {db}.parent VALUES (1, 1), (2, 2)",
        "INSERT INTO {db}.child VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 3)",
        "INSERT INTO {db}.paused VALUES (1, 1, 1), (2, 2, 2)",
        // Each stands on what comes behind it by name.
        "CREATE VIEW {db}.c AS SELECT id, u * 2 AS d FROM {db}.parent",
        "CREATE VIEW {db}.b AS SELECT id FROM {db}.c WHERE d > 0",
        "CREATE VIEW {db}.a AS SELECT id FROM {db}.b",
        "CREATE PROCEDURE {db}.q (OUT n INT) SELECT COUNT(*) INTO n FROM {db}.a",
        "CREATE EVENT {db}.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM {db}.parent WHERE id = -1",
        "CREATE TRIGGER {db}.tr BEFORE INSERT ON {db}.parent FOR EACH ROW SET NEW.u = NEW.u + 1",
        // It was good once: the target refuses it, and goes on.
        "CREATE TABLE {db}.gone (id INT PRIMARY KEY)",
        "CREATE VIEW {db}.stale AS SELECT id FROM {db}.gone",
        "DROP TABLE {db}.gone",
    ];
    world.execute(&statements.map(of).iter().map(String::as_str).collect::<Vec<_>>()).await?;
    world.apply().await?;
    // What is put off comes before DDL on its table.
    world
        .execute(&[
            &of("ALTER TABLE {db}.paused DROP KEY a, ADD COLUMN c INT"),
            &of("INSERT INTO {db}.parent VALUES (9, 9)"),
            &of("DELETE FROM {db}.parent WHERE id = 2"),
            &of("DROP VIEW {db}.a"),
        ])
        .await?;
    wait_until_done(&world, 4).await?;
    world.caught_up(LIMIT).await?;
    let mut target = connect(&world.target_url).await?;
    let names: Vec<String> = target
        .query(format!(
            "SELECT CONCAT('view ', table_name) FROM information_schema.views WHERE table_schema = '{db}' UNION ALL \
             SELECT CONCAT(LOWER(routine_type), ' ', routine_name) FROM information_schema.routines WHERE routine_schema = '{db}' UNION ALL \
             SELECT CONCAT('event ', event_name, ' ', status) FROM information_schema.events WHERE event_schema = '{db}' UNION ALL \
             SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers WHERE trigger_schema = '{db}' ORDER BY 1"
        ))
        .await?;
    let on_replica = names.iter().any(|n| n.starts_with("event e ") && n != "event e ENABLED");
    ensure!(
        on_replica && names.iter().filter(|n| !n.starts_with("event")).eq(["procedure q", "view b", "view c"]),
        "{names:?}"
    );
    let set_aside: Vec<String> = target
        .query(format!("SELECT CAST(body AS CHAR) FROM lutra.dead_letter WHERE task = 'load/{}'", world.pipeline()))
        .await?;
    ensure!(set_aside.len() == 1 && set_aside[0].contains("`stale`"), "{set_aside:?}");
    // A person makes it by hand once it can be.
    world.execute(&[&of("CREATE TABLE {db}.gone (id INT PRIMARY KEY)")]).await?;
    world.caught_up(LIMIT).await?;
    target.query_drop(format!("USE `{db}`")).await?;
    target.query_drop(&set_aside[0]).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_load_gives_way_to_the_source_and_a_table_is_cancelled_and_copied_later() -> Result<()> {
    let world =
        World::shared("loadwishes", options("{chunk_rows: 100, rows_per_second: 2000, source_threads: 8}")).await?;
    fill(&world, "t", 6_000).await?;
    let db = world.database().to_owned();
    let url = world.source_url.clone();
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let url = url.clone();
        busy.spawn(
            async move { connect(&url).await?.query_drop("SELECT SLEEP(600)").await.map_err(anyhow::Error::from) },
        );
    }
    world.apply().await?;
    wait_for(&world, "known", |seen| seen.len() == 1).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rows = tables(&world).await?[0].2;
    ensure!(rows <= 200, "{rows} rows were read from a source with 24 statements under way");
    busy.shutdown().await;
    let mut source = connect(&url).await?;
    let sleeping: Vec<u64> =
        source.query("SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(600)'").await?;
    for id in sleeping {
        // One may have ended by itself.
        let _ = source.query_drop(format!("KILL {id}")).await;
    }
    wait_for(&world, "begun", |seen| seen[0].2 > 500).await?;
    let table = format!("{db}.t");
    world.lutra(&["load", "cancel", &table]).await?;
    wait_for(&world, "cancelled", |seen| seen[0].1 == "CANCELLED").await?;
    // The stream goes on; a table that comes with it was never in the load.
    world
        .execute(&[
            &format!("CREATE TABLE `{db}`.later (id INT PRIMARY KEY, v INT)"),
            &format!("INSERT INTO `{db}`.later VALUES (1, 1), (2, 2)"),
            &format!("UPDATE `{db}`.t SET pad = 'seen' WHERE id IN (1, 5999)"),
        ])
        .await?;
    world.caught_up(LIMIT).await?;
    ensure!(!world.compare().await?.is_equal(), "rows that were not copied stay out of the target");
    for (arguments, words) in [
        (["pause", "x.y"].map(str::to_owned), "does not capture"),
        (["pause".to_owned(), format!("{db}.later")], "lutra load restart"),
    ] {
        let refused = world.lutra(&["load", &arguments[0], &arguments[1]]).await.unwrap_err().to_string();
        ensure!(refused.contains(words), "{refused}");
    }
    let mut target = connect(&world.target_url).await?;
    target.query_drop(format!("DELETE FROM `{db}`.later")).await?;
    for table in [&table, &format!("{db}.later")] {
        world.lutra(&["load", "restart", table]).await?;
    }
    wait_for(&world, "copied again", |seen| {
        seen.len() == 2 && seen.iter().all(|(_, state, _)| state == "DONE") && seen[0].2 >= 6_000
    })
    .await?;
    world.settled(LIMIT).await
}

#[tokio::test]
#[ignore = "slow: servers of its own"]
async fn mariadb_is_copied_while_it_is_written_and_killed() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let spec = StackSpec::pair("loadmaria").of(Flavour::MariaDb, Flavour::MariaDb).relaxed();
    let stack = Stack::start(&installation, spec).await?;
    let mut world = World::own(stack, "loadmaria", options("{chunk_rows: 300, rows_per_second: 5000}")).await?;
    fill(&world, "t", 12_000).await?;
    let db = world.database();
    let of = |sql: &str| sql.replace("{db}", &format!("`{db}`"));
    let statements = [
        "CREATE TABLE {db}.kinds (id INT PRIMARY KEY, u UUID, a INET6, b INET4, j JSON, v INT AS (id + 1) PERSISTENT)",
        "INSERT INTO {db}.kinds (id, u, a, b, j) VALUES (1, '123e4567-e89b-12d3-a456-426655440000', '2001:db8::1', '10.0.0.1', '[1, {}]'), \
         (2, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::', '0.0.0.0', NULL), (3, NULL, NULL, NULL, '\"x\"')",
        "CREATE TABLE {db}.by_uuid (u UUID PRIMARY KEY, n INT)",
        "INSERT INTO {db}.by_uuid VALUES (UUID(), 1), (UUID(), 2)",
        "CREATE TABLE {db}.keyless (n INT, d DATE)",
        "INSERT INTO {db}.keyless VALUES (1, '0000-00-00'), (1, '0000-00-00'), (NULL, '2020-02-29')",
        "CREATE VIEW {db}.seen AS SELECT id, u FROM {db}.kinds",
        "CREATE PROCEDURE {db}.q () SELECT 1",
    ];
    let all: Vec<String> = std::iter::once("SET SESSION sql_mode = ''".to_owned()).chain(statements.map(of)).collect();
    world.execute(&all.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let stop = CancellationToken::new();
    let writer = write(&world, "t", 15_000, 4, Duration::from_millis(4), stop.clone());
    world.apply().await?;
    for (n, service) in [Service::Extractor, Service::Loader].into_iter().enumerate() {
        let wanted = 2_000 * (n as u64 + 1);
        wait_for(&world, "far enough", |seen| seen.iter().any(|(_, _, rows)| *rows >= wanted)).await?;
        world.service(&format!("{service}-1"))?.process().kill()?;
        world.start(service, 1)?;
    }
    wait_until_done(&world, 4).await?;
    stop.cancel();
    println!("{} statements meanwhile", writer.await??);
    world.settled(LIMIT).await
}

/// Copies a large table under 500 writes a second, with three kills on the way, beside what a dump takes.
#[tokio::test]
#[ignore = "slow: two million rows"]
async fn two_million_rows_are_copied_under_writes_and_kills() -> Result<()> {
    let rows: u32 = std::env::var("LUTRA_LOAD_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000_000);
    let mut world = World::shared("loadlarge", options("true")).await?;
    fill(&world, "t", rows).await?;
    let stop = CancellationToken::new();
    let writers: Vec<_> =
        (0..5).map(|n| write(&world, "t", rows, 10 + n, Duration::from_millis(10), stop.clone())).collect();
    let began = Instant::now();
    world.apply().await?;
    for (n, service) in [Service::Extractor, Service::Loader, Service::Transformer].into_iter().enumerate() {
        let wanted = u64::from(rows) / 4 * (n as u64 + 1);
        wait_for_within(&world, "far enough", LARGE, |seen| seen.iter().any(|(_, _, rows)| *rows >= wanted)).await?;
        world.service(&format!("{service}-1"))?.process().kill()?;
        println!("{service} killed after {:?}", began.elapsed());
        world.start(service, 1)?;
    }
    wait_for_within(&world, "done", LARGE, |seen| seen.iter().any(|(_, state, _)| state == "DONE")).await?;
    let took = began.elapsed();
    stop.cancel();
    let mut statements = 0;
    for writer in writers {
        statements += writer.await??;
    }
    println!(
        "{rows} rows in {took:.1?}: {:.0} rows/s, with {:.0} statements/s beside and three kills",
        f64::from(rows) / took.as_secs_f64(),
        statements as f64 / took.as_secs_f64()
    );
    world.settled(LARGE).await
}

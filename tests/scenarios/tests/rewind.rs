//! Logs that begin anew at a chosen place: ahead of what targets have, and behind it, when their tables are loaded again.
//! (A source that lost what its target has is in `failover`.)
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::mysql::connect;
use lutra_harness::services::Service;
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions, binlog_end, executed};
use mysql_async::Row;
use mysql_async::prelude::{FromValue, Queryable};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(90);

/// The first column of the first row.
async fn ask<T: FromValue + Send + 'static>(url: &str, sql: &str) -> Result<T> {
    let row: Option<Row> = connect(url).await?.query_first(sql).await?;
    row.and_then(|row| row.get(0)).with_context(|| format!("`{sql}` gives nothing"))
}

/// The end of the source's binlog, as a place is written.
async fn end(world: &World) -> Result<String> {
    let (file, offset) = binlog_end(&world.source_url).await?;
    Ok(format!("{file}:{offset}"))
}

/// The source's clock, as it is written.
async fn now(world: &World) -> Result<String> {
    // Some servers log whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let time = ask(&world.source_url, "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')").await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    Ok(time)
}

/// The number of the last unit that a pipeline's target has, as it is printed.
async fn number(world: &World, pipeline: &str) -> Result<String> {
    let sql = format!(
        "SELECT CONCAT(sequence, IF(sub = 0, '', CONCAT('.', sub))) FROM lutra.slot WHERE task = 'load/{pipeline}' ORDER BY \
         sequence DESC, sub DESC LIMIT 1"
    );
    ask(&world.target_url, &sql).await
}

/// Runs `lutra rewind`, which must be refused: its exit code, and what it says.
async fn refused(world: &World, arguments: &[&str]) -> Result<(i32, String)> {
    let output = world.lutra_output(&[&["rewind"], arguments].concat()).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "`lutra rewind {}` was not refused", arguments.join(" "));
    Ok((output.status.code().unwrap_or(-1), said))
}

/// Inserts rows with these ids at the source.
async fn insert(world: &World, ids: impl IntoIterator<Item = u32>) -> Result<()> {
    for id in ids {
        world.execute(&[&format!("INSERT INTO `{}`.t VALUES ({id})", world.database())]).await?;
    }
    Ok(())
}

/// Waits until the target's table has these ids.
async fn has(world: &World, wanted: &[u32]) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut target = connect(&world.target_url).await?;
        let select = format!("SELECT id FROM `{}`.t ORDER BY id", world.database());
        let rows: Vec<u32> = target.query(select).await.unwrap_or_default();
        if rows == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the target has {rows:?}, not {wanted:?}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Pauses the pipeline, makes a row that is to be passed over, and calls for a log behind it.
async fn passes_over(
    world: &World,
    name: &str,
    id: u32,
    place: impl AsyncFnOnce(&World) -> Result<String>,
) -> Result<()> {
    world.lutra(&["pause", &world.pipeline()]).await?;
    insert(world, [id]).await?;
    let place = place(world).await?;
    insert(world, [id + 1]).await?;
    // The log must have it.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let shown = world.lutra(&["rewind", name, "--to", &place, "--dry-run"]).await?;
    ensure!(shown.contains("would go on") && shown.contains("passes over"), "{shown}");
    let said = world.lutra(&["rewind", name, "--to", &place]).await?;
    println!("rewind {name} --to {place}: {said}");
    ensure!(said.contains(&format!("pipeline {} passes over", world.pipeline())), "{said}");
    world.lutra(&["resume", &world.pipeline()]).await?;
    world.running(LIMIT).await
}

async fn goes_forward(world: &World) -> Result<()> {
    world.apply().await?;
    let (source, pipeline) = (world.source(), world.pipeline());
    world
        .execute(&[
            &format!("CREATE DATABASE `{}`", world.database()),
            &format!("CREATE TABLE `{}`.t (id INT PRIMARY KEY)", world.database()),
        ])
        .await?;
    insert(world, 1..=3).await?;
    has(world, &[1, 2, 3]).await?;
    passes_over(world, &source, 11, async |world: &World| executed(&world.source_url).await).await?;
    has(world, &[1, 2, 3, 12]).await?;
    passes_over(world, &source, 21, async |world: &World| end(world).await).await?;
    has(world, &[1, 2, 3, 12, 22]).await?;
    passes_over(world, &pipeline, 31, async |world: &World| executed(&world.source_url).await).await?;
    has(world, &[1, 2, 3, 12, 22, 32]).await?;
    passes_over(world, &pipeline, 41, async |world: &World| end(world).await).await?;
    has(world, &[1, 2, 3, 12, 22, 32, 42]).await
}

#[tokio::test]
async fn logs_begin_at_a_later_place_and_what_they_pass_over_is_named() -> Result<()> {
    let world = World::shared("rewindon", WorldOptions::default()).await?;
    goes_forward(&world).await?;
    let (source, pipeline) = (world.source(), world.pipeline());
    passes_over(&world, &pipeline, 51, async |world: &World| now(world).await).await?;
    has(&world, &[1, 2, 3, 12, 22, 32, 42, 52]).await?;
    passes_over(&world, &source, 61, async |world: &World| now(world).await).await?;
    has(&world, &[1, 2, 3, 12, 22, 32, 42, 52, 62]).await?;
    // The number that the target has: nothing is passed over, nothing comes twice.
    insert(&world, [70]).await?;
    has(&world, &[1, 2, 3, 12, 22, 32, 42, 52, 62, 70]).await?;
    let last = number(&world, &pipeline).await?;
    for name in [&pipeline, &source] {
        let said = world.lutra(&["rewind", name, "--to", &last]).await?;
        ensure!(!said.contains("passes over"), "{said}");
        world.running(LIMIT).await?;
        // Of a source's new log that number is the origin.
    }
    insert(&world, [80]).await?;
    has(&world, &[1, 2, 3, 12, 22, 32, 42, 52, 62, 70, 80]).await?;
    for (to, code, words) in [
        ("now", 2, "FILE:POSITION"),
        ("2026-99-01T00:00:00Z", 2, "is no place"),
        ("99999999999", 1, "it ends with unit"),
        ("2999-01-01T00:00:00Z", 1, "it ends with unit"),
        ("1999-01-01T00:00:00Z", 1, "does not hold the time 1999-01-01T00:00:00Z"),
        ("binlog.000001:5", 1, "may be named"),
    ] {
        for name in [&pipeline, &source] {
            let (found, said) = refused(&world, &[name, "--to", to]).await?;
            let words = if to.contains(':') && to.starts_with('b') { "" } else { words };
            ensure!(found == code && said.contains(words), "{name} --to {to}: {found}: {said}");
        }
    }
    let (code, said) = refused(&world, &[&pipeline]).await?;
    ensure!(code == 2 && said.contains("--to"), "{code}: {said}");
    Ok(())
}

#[tokio::test]
async fn logs_of_mariadb_begin_at_a_later_place() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let spec = StackSpec::pair("rewindmaria").of(Flavour::MariaDb, Flavour::MySql).relaxed();
    let stack = Stack::start(&installation, spec).await?;
    let world = World::own(stack, "rewindmaria", WorldOptions::default()).await?;
    goes_forward(&world).await
}

/// Writes to the source until it is told to stop.
fn write(world: &World, stop: CancellationToken) -> JoinHandle<Result<u32>> {
    let (url, db) = (world.source_url.clone(), world.database().to_owned());
    #[allow(clippy::disallowed_methods, reason = "a test's own task, joined by its maker")]
    tokio::spawn(async move {
        let mut source = connect(&url).await?;
        let mut n = 0;
        while !stop.is_cancelled() {
            n += 1;
            for statement in [
                format!("UPDATE `{db}`.t SET v = v + 1 WHERE id % 97 = {}", n % 97),
                format!("INSERT INTO `{db}`.ledger VALUES ({n})"),
                format!("DELETE FROM `{db}`.t WHERE id = {}", 3_000 + n),
                format!("INSERT INTO `{db}`.t (id, v) VALUES ({}, {n})", 100_000 + n),
            ] {
                source.query_drop(statement).await?;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(n)
    })
}

/// Waits until `lutra status` says that so many tables of the load are done.
async fn loaded(world: &World, count: usize) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
        let status: Value = serde_json::from_str(&text)?;
        let load = status.pointer("/pipelines/0/load").and_then(Value::as_array).cloned().unwrap_or_default();
        if load.len() == count && load.iter().all(|table| table["state"] == "DONE") {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the load is not done: {load:?}\n{text}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_pipeline_that_is_ahead_is_loaded_again_under_writes_and_kills_and_another_is_left_alone() -> Result<()> {
    let other = format!("rewound_second_{:x}", std::process::id());
    let options = WorldOptions {
        load: "    full: {chunk_rows: 200, rows_per_second: 3000}".to_owned(),
        target_databases: vec![other.clone()],
        ..WorldOptions::default()
    };
    let mut world = World::shared("rewindback", options).await?;
    let (source, pipeline, db) = (world.source(), world.pipeline(), world.database().to_owned());
    let second = format!("second-{}", world.name);
    let statements = [
        "CREATE DATABASE {db}",
        "CREATE TABLE {db}.t (id INT PRIMARY KEY, v INT, KEY (v))",
        "CREATE TABLE {db}.ledger (n INT)",
        "SET SESSION cte_max_recursion_depth = 100000",
        "INSERT INTO {db}.t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) SELECT i, i FROM n",
        "CREATE FUNCTION {db}.one () RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE VIEW {db}.seen AS SELECT id, {db}.one() AS o FROM {db}.t",
        "CREATE TRIGGER {db}.on_t BEFORE INSERT ON {db}.t FOR EACH ROW SET NEW.v = COALESCE(NEW.v, 0)",
    ];
    let statements: Vec<String> = statements.iter().map(|sql| sql.replace("{db}", &format!("`{db}`"))).collect();
    world.execute(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let more = format!(
        "{}\n---\nkind: pipeline\nname: {second}\nspec:\n  source: {source}\n  target: t-{}\n  load: {{full: {{objects: false}}}}\n  \
         tables: [{{match: \"{db}.*\", to: \"{other}.$1\"}}]\n",
        world.documents()?.trim_end(),
        world.name
    );
    let file = world.path("two.yaml");
    std::fs::write(&file, more)?;
    world.lutra_until(&["apply", "-f", &file.to_string_lossy()], LIMIT).await?;
    world.running(LIMIT).await?;
    loaded(&world, 2).await?;
    world.caught_up(LIMIT).await?;
    let early = (number(&world, &pipeline).await?, now(&world).await?);

    let stop = CancellationToken::new();
    let writer = write(&world, stop.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.caught_up(LIMIT).await?;
    for to in [&early.0, &early.1] {
        let (code, said) = refused(&world, &[&pipeline, "--to", to]).await?;
        let words = format!("the target of pipeline {pipeline} is ahead of the place");
        ensure!(code == 1 && said.contains(&words) && said.contains("--reload"), "{code}: {said}");
    }
    let shown = world.lutra(&["rewind", &pipeline, "--to", &early.0, "--reload", "--dry-run"]).await?;
    println!("{shown}");
    ensure!(shown.contains(&format!("dropped and copied anew would be {db}.ledger, {db}.t")), "{shown}");
    ensure!(!shown.contains(&second) && !shown.contains("extract/"), "{shown}");

    // What a person did to the target goes with its tables.
    let mut target = connect(&world.target_url).await?;
    target.query_drop(format!("DELETE FROM `{db}`.t WHERE id % 5 = 0 AND id % 97 <> 0")).await?;
    target.query_drop(format!("DROP VIEW `{db}`.seen")).await?;
    let log_of = format!("SELECT DISTINCT log_id FROM lutra.slot WHERE task = 'load/{second}'");
    let before: String = ask(&world.target_url, &log_of).await?;
    world.lutra(&["rewind", &pipeline, "--to", &early.0, "--reload"]).await?;
    let deadline = Instant::now() + LIMIT;
    let copied = format!("SELECT COUNT(*) FROM lutra.chunk WHERE task = 'load/{pipeline}' AND table_name = 't'");
    let name = format!("{}-1", Service::Loader);
    for _ in 0..2 {
        let had: u64 = ask(&world.target_url, &copied).await?;
        // A new copy has begun, or gone on, when its chunks are other ones.
        let begun = format!("SELECT COUNT(*) FROM lutra.`load` WHERE task = 'load/{pipeline}' AND state = 'copying'");
        while ask::<u64>(&world.target_url, &begun).await? == 0 || ask::<u64>(&world.target_url, &copied).await? == had
        {
            ensure!(Instant::now() < deadline, "the copy does not go on\n{}", world.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.service(&name)?.process().kill()?;
        world.start(Service::Loader, 1)?;
    }
    loaded(&world, 2).await?;
    stop.cancel();
    println!("{} rounds of writes meanwhile", writer.await??);
    world.settled(LIMIT).await?;
    let objects: u64 = ask(
        &world.target_url,
        &format!(
            "SELECT (SELECT COUNT(*) FROM information_schema.views WHERE table_schema = '{db}') + (SELECT COUNT(*) FROM \
             information_schema.routines WHERE routine_schema = '{db}')"
        ),
    )
    .await?;
    ensure!(objects == 2, "{objects} of view and function are there");

    world.lutra_until(&["wait", &second, "--timeout", "20s"], LIMIT).await?;
    ensure!(ask::<String>(&world.target_url, &log_of).await? == before, "the log of {second} is another one");
    for (table, columns) in [("t", "id, v"), ("ledger", "n, 0")] {
        let sum = |db: &str| {
            format!(
                "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CRC32(CONCAT_WS(',', {columns}))), 0)) FROM `{db}`.{table}"
            )
        };
        let (here, there): (String, String) =
            (ask(&world.source_url, &sum(&db)).await?, ask(&world.target_url, &sum(&other)).await?);
        ensure!(here == there, "{table} of {second}: {there}, not {here}");
    }
    Ok(())
}

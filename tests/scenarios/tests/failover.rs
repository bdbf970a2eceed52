//! A source that fails over to its replica: cleanly, with a lost tail, and with transactions of the replica's own; one that has
//! nobody to fail over to; and how near retention is to its readers.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_harness::link::{Conditions, Link};
use lutra_harness::mysql::{connect, execute};
use lutra_harness::services::Service;
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions, binlog_end, executed};
use mysql_async::Row;
use mysql_async::prelude::{FromValue, Queryable};

const LIMIT: Duration = Duration::from_secs(60);
/// From a new primary that takes writes to its first row in the target.
const FAIL_OVER: Duration = Duration::from_secs(5);

/// A world whose source has a native replica that it may fail over to.
async fn replicated(spec: StackSpec, name: &str) -> Result<World> {
    replicated_with(spec, name, WorldOptions::default()).await
}

async fn replicated_with(spec: StackSpec, name: &str, options: WorldOptions) -> Result<World> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let stack = Stack::start(&installation, spec.relaxed().with_replica()).await?;
    let world = World::own(stack, name, options).await?;
    let replica = replica(&world)?;
    let documents = world.documents()?;
    let user =
        documents.split("user: ").nth(1).and_then(|rest| rest.split('\n').next()).context("the source's user")?;
    let mut conn = connect(&world.source_url).await?;
    let create: String = conn.query_first(format!("SHOW CREATE USER '{user}'@'%'")).await?.context("the user")?;
    let grants: Vec<String> = conn.query(format!("SHOW GRANTS FOR '{user}'@'%'")).await?;
    let statements: Vec<String> = ["SET sql_log_bin = 0".to_owned(), create].into_iter().chain(grants).collect();
    execute(&replica, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let (first, second) = (world.stack().mysql("source")?.address(), world.stack().mysql("replica")?.address());
    let both =
        documents.replacen(&format!("servers: [\"{first}\"]"), &format!("servers: [\"{first}\", \"{second}\"]"), 1);
    ensure!(both != documents, "the documents name no servers:\n{documents}");
    let file = world.path("both.yaml");
    std::fs::write(&file, both)?;
    world.lutra_until(&["apply", "-f", &file.to_string_lossy()], LIMIT).await?;
    world.running(LIMIT).await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    let tables = ["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "CREATE TABLE ledger (v INT)"];
    written(&world, &world.source_url, &tables).await?;
    Ok(world)
}

fn replica(world: &World) -> Result<String> {
    world.stack().replica_url().context("the stack has no replica")
}

/// Runs statements in the world's database at a server.
async fn written(world: &World, url: &str, statements: &[&str]) -> Result<()> {
    world.written_at(url, statements).await
}

/// Rows from `first` on, of a table with a key and of one without.
async fn rows(world: &World, url: &str, first: u32, count: u32) -> Result<()> {
    for n in first..first + count {
        let row = format!("INSERT INTO t VALUES ({n}, 'row')");
        written(world, url, &[&row, "INSERT INTO ledger VALUES (7)"]).await?;
    }
    Ok(())
}

/// The first column of the first row.
async fn ask<T: FromValue + Send + 'static>(url: &str, sql: &str) -> Result<T> {
    let row: Option<Row> = connect(url).await?.query_first(sql).await?;
    row.and_then(|row| row.get(0)).with_context(|| format!("`{sql}` gives nothing"))
}

/// Waits until the status says all these words.
async fn says(world: &World, words: &[&str]) -> Result<String> {
    shows(world, &format!("{words:?}"), |status| words.iter().all(|word| status.contains(word))).await
}

/// Waits until the status is such.
async fn shows(world: &World, what: &str, such: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
        if such(&status) {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "the status does not say {what}: {status}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Promotes the replica, writes a row there, and waits for it in the target.
async fn promoted(world: &World) -> Result<Duration> {
    let replica = replica(world)?;
    world.stack().replication().await?.promote(LIMIT).await?;
    let writable = Instant::now();
    written(world, &replica, &["INSERT INTO t VALUES (1000, 'promoted')", "INSERT INTO ledger VALUES (8)"]).await?;
    let there = format!("SELECT COUNT(*) FROM `{}`.t WHERE id = 1000", world.database());
    while ask::<u64>(&world.target_url, &there).await? != 1 {
        ensure!(writable.elapsed() < LIMIT, "nothing comes from the new primary\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(writable.elapsed())
}

/// A replica that is behind when its source dies is waited for, and read as soon as it is the primary.
async fn fails_over(spec: StackSpec, name: &str) -> Result<()> {
    let mut world = replicated(spec, name).await?;
    let replica = replica(&world)?;
    rows(&world, &world.source_url, 0, 20).await?;
    world.stack().replication().await?.wait(LIMIT).await?;
    let early = executed(&world.source_url).await?;
    // What it has received and not executed: behind, and nothing is lost.
    execute(&replica, &["STOP REPLICA SQL_THREAD"]).await?;
    rows(&world, &world.source_url, 20, 20).await?;
    world.settled(LIMIT).await?;
    received(&world).await?;
    world.stack().mysql("source")?.kill()?;
    let status = says(&world, &["RECOVERING", "no server can be read yet", " lacks "]).await?;
    ensure!(status.contains("does not answer"), "the dead server is not named: {status}");
    execute(&replica, &["START REPLICA SQL_THREAD"]).await?;
    let took = promoted(&world).await?;
    println!("{name}: the first row of the new primary is in the target {took:?} after it took writes");
    ensure!(took < FAIL_OVER, "fail-over after {took:?}\n{}", world.logs());
    world.source_url = replica;
    rows(&world, &world.source_url, 40, 20).await?;
    world.settled(LIMIT).await?;
    // A log at a place that the target has passed would bring rows again.
    let refused = world.lutra_output(&["rewind", &world.source(), "--to", &early]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("is ahead of the place"), "{}: {said}", refused.status);
    Ok(())
}

/// Waits until the replica has fetched everything.
async fn received(world: &World) -> Result<()> {
    let (file, offset) = binlog_end(&world.source_url).await?;
    let wanted = format!("{file}:{offset}");
    let replica = replica(world)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let row: Row =
            connect(&replica).await?.query_first("SHOW REPLICA STATUS").await?.context("the replica's state")?;
        let names: Vec<String> = row.columns_ref().iter().map(|c| c.name_str().into_owned()).collect();
        let text = |names_: [&str; 2]| {
            let at = names.iter().position(|n| names_.contains(&n.as_str()));
            at.and_then(|at| row.get_opt::<String, _>(at)).and_then(Result::ok).unwrap_or_default()
        };
        let file = text(["Source_Log_File", "Master_Log_File"]);
        let place = format!("{file}:{}", text(["Read_Source_Log_Pos", "Read_Master_Log_Pos"]));
        if place == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the replica has received up to {place}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_replica_is_read_within_five_seconds_of_its_promotion_and_every_row_comes_once() -> Result<()> {
    fails_over(StackSpec::pair("failover"), "failover").await
}

#[tokio::test]
async fn a_replica_of_mariadb_is_read_as_soon_as_it_is_promoted() -> Result<()> {
    fails_over(StackSpec::pair("failoverm").of(Flavour::MariaDb, Flavour::MySql), "failoverm").await
}

#[tokio::test]
async fn a_switch_over_that_leaves_the_old_primary_alive_is_followed() -> Result<()> {
    let mut world = replicated(StackSpec::pair("switchover"), "switchover").await?;
    rows(&world, &world.source_url, 0, 10).await?;
    world.execute(&["SET GLOBAL super_read_only = ON"]).await?;
    world.stack().replication().await?.wait(LIMIT).await?;
    let took = promoted(&world).await?;
    println!("switch-over: the first row of the new primary is in the target {took:?} after it took writes");
    ensure!(took < FAIL_OVER, "switch-over after {took:?}\n{}", world.logs());
    world.source_url = replica(&world)?;
    rows(&world, &world.source_url, 40, 10).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_tail_that_the_new_primary_never_got_halts_with_both_sets_shown() -> Result<()> {
    let world = replicated(StackSpec::pair("losttail"), "losttail").await?;
    let replica = replica(&world)?;
    rows(&world, &world.source_url, 0, 5).await?;
    world.stack().replication().await?.wait(LIMIT).await?;
    execute(&replica, &["STOP REPLICA IO_THREAD"]).await?;
    let before: String = ask(&world.source_url, "SELECT @@GLOBAL.gtid_executed").await?;
    rows(&world, &world.source_url, 5, 3).await?;
    world.settled(LIMIT).await?;
    let after: String = ask(&world.source_url, "SELECT @@GLOBAL.gtid_executed").await?;
    let lost: String = ask(&world.source_url, &format!("SELECT GTID_SUBTRACT('{after}', '{before}')")).await?;
    world.stack().mysql("source")?.kill()?;
    world.stack().replication().await?.promote(LIMIT).await?;
    let uuid: String = ask(&replica, "SELECT @@server_uuid").await?;
    written(&world, &replica, &["INSERT INTO t VALUES (2000, 'other')"]).await?;
    let own = format!("it has these that the log does not: {uuid}");
    says(&world, &["FAILED", "source_behind_log", &lost, &own, "source-behind-log"]).await?;
    let rows: u64 =
        ask(&world.target_url, &format!("SELECT COUNT(*) FROM `{}`.t WHERE id = 2000", world.database())).await?;
    ensure!(rows == 0, "something of the other history is in the target");
    Ok(())
}

#[tokio::test]
async fn a_source_that_lost_what_its_target_has_is_rewound_and_its_tables_are_loaded_again() -> Result<()> {
    let options = WorldOptions { load: "    full: {chunk_rows: 50}".to_owned(), ..WorldOptions::default() };
    let mut world = replicated_with(StackSpec::pair("diverged"), "diverged", options).await?;
    let (replica, source, db) = (replica(&world)?, world.source(), world.database().to_owned());
    rows(&world, &world.source_url, 0, 30).await?;
    world.stack().replication().await?.wait(LIMIT).await?;
    execute(&replica, &["STOP REPLICA IO_THREAD"]).await?;
    let executed = executed(&world.source_url).await?;
    // A tail that only the target gets: rows, a changed definition, a table.
    let lost =
        ["CREATE TABLE only_lost (id INT)", "INSERT INTO only_lost VALUES (1)", "ALTER TABLE t ADD COLUMN gone INT"];
    written(&world, &world.source_url, &lost).await?;
    written(
        &world,
        &world.source_url,
        &["INSERT INTO t VALUES (500, 'lost', 1)", "UPDATE t SET v = 'lost' WHERE id < 5"],
    )
    .await?;
    world.settled(LIMIT).await?;
    world.stack().mysql("source")?.kill()?;
    world.stack().replication().await?.promote(LIMIT).await?;
    rows(&world, &replica, 2000, 5).await?;
    says(&world, &["FAILED", "source_behind_log"]).await?;

    let to = ["rewind", &source, "--to", &executed];
    let refused = world.lutra_output(&to).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let words = format!("the target of pipeline {} is ahead of the place", world.pipeline());
    ensure!(refused.status.code() == Some(1) && said.contains(&words) && said.contains("--reload"), "{said}");
    let shown = world.lutra(&[&to[..], &["--reload", "--dry-run"]].concat()).await?;
    println!("{shown}");
    ensure!(shown.contains(&format!("dropped and copied anew would be {db}.ledger, {db}.t")), "{shown}");
    ensure!(
        shown.contains(&format!("no table for {db}.only_lost")),
        "the table of the lost history is not named: {shown}"
    );
    says(&world, &["FAILED", "source_behind_log"]).await?;

    world.lutra(&[&to[..], &["--reload"]].concat()).await?;
    world.source_url = replica;
    // Under writes that go on.
    rows(&world, &world.source_url, 3000, 60).await?;
    world.running(LIMIT).await?;
    shows(&world, "both tables done", |status| {
        let status = serde_json::from_str::<serde_json::Value>(status).unwrap_or_default();
        let load = status.pointer("/pipelines/0/load").and_then(|l| l.as_array()).cloned().unwrap_or_default();
        load.len() == 2 && load.iter().all(|table| table["state"] == "DONE")
    })
    .await?;
    world.caught_up(LIMIT).await?;
    let kept: u64 = ask(&world.target_url, &format!("SELECT COUNT(*) FROM `{db}`.only_lost")).await?;
    ensure!(kept == 1, "the table that only the lost history had is kept");
    execute(&world.target_url, &[&format!("DROP TABLE `{db}`.only_lost")]).await?;
    rows(&world, &world.source_url, 4000, 5).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_purged_errant_transaction_halts_by_name_and_a_chosen_place_is_the_way_out() -> Result<()> {
    let mut world = replicated(StackSpec::pair("errant"), "errant").await?;
    let replica = replica(&world)?;
    rows(&world, &world.source_url, 0, 5).await?;
    world.stack().replication().await?.wait(LIMIT).await?;
    world.settled(LIMIT).await?;
    written(&world, &replica, &["INSERT INTO t VALUES (3000, 'errant')", "FLUSH BINARY LOGS"]).await?;
    let file: String = ask(&replica, "SHOW BINARY LOG STATUS").await?;
    execute(&replica, &[&format!("PURGE BINARY LOGS TO '{file}'")]).await?;
    let uuid: String = ask(&replica, "SELECT @@server_uuid").await?;
    world.stack().mysql("source")?.kill()?;
    world.stack().replication().await?.promote(LIMIT).await?;
    says(&world, &["FAILED", "purged_past_log", &format!("{uuid}:1"), "purged-past-log"]).await?;

    // The way out: what it changed is copied by hand, and a log begins at a place that holds it.
    let source = world.source();
    let refused = world.lutra_output(&["rewind", &source, "--to", &format!("{uuid}:1")]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(1) && said.contains("its binlog no longer has"),
        "{}: {said}",
        refused.status
    );
    let executed = executed(&replica).await?;
    let shown = world.lutra(&["rewind", &source, "--to", &executed, "--dry-run"]).await?;
    ensure!(shown.contains("would go on") && shown.contains(&format!("passes over {uuid}:1")), "{shown}");
    says(&world, &["FAILED", "purged_past_log"]).await?;
    written(&world, &world.target_url, &["INSERT INTO t VALUES (3000, 'errant')"]).await?;
    // The end of the file, which holds the same.
    let (file, offset) = binlog_end(&replica).await?;
    let place = format!("{file}:{offset}");
    world.lutra(&["rewind", &source, "--to", &place]).await?;
    world.running(LIMIT).await?;
    world.source_url = replica;
    rows(&world, &world.source_url, 40, 5).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn the_only_server_of_a_source_is_waited_for_as_long_as_it_takes() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let stack = Stack::start(&installation, StackSpec::pair("onlyone").relaxed()).await?;
    let world = World::own(stack, "onlyone", WorldOptions::default()).await?;
    world.apply().await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    let tables = ["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "CREATE TABLE ledger (v INT)"];
    written(&world, &world.source_url, &tables).await?;
    rows(&world, &world.source_url, 0, 5).await?;
    world.settled(LIMIT).await?;
    world.stack().mysql("source")?.kill()?;
    says(&world, &["RECOVERING", "no server can be read yet, for ", "does not answer", "\"since\":"]).await?;
    // Longer than attempts go on that get nowhere.
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(20) {
        let status = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
        ensure!(status.contains("RECOVERING") && !status.contains("FAILED"), "{status}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.stack().mysql("source")?.start().await?;
    rows(&world, &world.source_url, 5, 5).await?;
    world.settled(LIMIT).await
}

/// For how long the source keeps its binlog, in seconds.
const KEPT: u64 = 20;
/// How much of a log Kafka keeps, in bytes.
const LOG_BYTES: u64 = 20_000;

/// A world whose extractor reaches its source over a link of its own, and whose topics are made by a manager that wants short
/// logs.
async fn behind_a_link(name: &str) -> Result<(World, Link)> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let stack = Stack::start(&installation, StackSpec::pair(name).relaxed()).await?;
    let link = Link::start(stack.mysql("source")?.address()).await?;
    let limits = [("LUTRA_LOG_RETENTION_HOURS", "1".to_owned()), ("LUTRA_LOG_RETENTION_BYTES", LOG_BYTES.to_string())];
    let limits = limits.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let options = WorldOptions {
        source_address: Some(link.address()),
        env: [("manager-1".to_owned(), limits)].into(),
        ..WorldOptions::default()
    };
    let world = World::own(stack, name, options).await?;
    world.execute(&[&format!("SET GLOBAL binlog_expire_logs_seconds = {KEPT}")]).await?;
    world.apply().await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    written(&world, &world.source_url, &["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v MEDIUMBLOB)"]).await?;
    world.settled(LIMIT).await?;
    Ok((world, link))
}

/// Waits until these metrics of the manager that leads are such: it measures when it begins to lead, and then once a minute.
async fn manager_measures<const N: usize>(
    world: &World,
    names: [String; N],
    such: impl Fn([f64; N]) -> bool,
) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let deadline = Instant::now() + 2 * LIMIT;
    loop {
        let status = world.lutra_until(&["status", "--json"], LIMIT).await?;
        let leader = serde_json::from_str::<serde_json::Value>(&status)?["leader"].clone();
        let metrics = format!("http://{}/metrics", leader.as_str().unwrap_or_default());
        let text = match client.get(&metrics).send().await {
            Ok(answer) => answer.text().await?,
            Err(error) => error.to_string(),
        };
        let value =
            |name: &String| text.lines().find_map(|l| l.strip_prefix(name.as_str())?.trim().parse::<f64>().ok());
        let found: Vec<f64> = names.iter().filter_map(value).collect();
        if <[f64; N]>::try_from(found.clone()).is_ok_and(&such) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the manager measures {found:?} for {names:?}: {text}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn how_near_retention_is_to_a_reader_is_measured() -> Result<()> {
    let (mut world, link) = behind_a_link("headroom").await?;
    let idle = format!("\"retention_headroom_seconds\":{KEPT}.0");
    let status = says(&world, &[&idle]).await?;
    ensure!(!status.contains("may purge"), "nothing waits to be read: {status}");

    // The source's: a megabyte over a link that takes most of a minute for it.
    link.set(Conditions { bytes_per_second: 20_000, slice: 2_000, ..Conditions::default() });
    let row = "INSERT INTO t (v) VALUES (REPEAT('x', 25000))";
    written(&world, &world.source_url, &[row; 40]).await?;
    let told = format!("the source keeps its binlog for {KEPT} s, and may purge what is to be read next in");
    says(&world, &[&told]).await?;
    let log = world.service("extractor-1")?.log();
    ensure!(log.contains(&told) && log.contains("purged-past-log"), "not in the log: {log}");
    link.set(Conditions::default());
    world.settled(LIMIT).await?;
    let status = says(&world, &[&idle]).await?;
    ensure!(!status.contains("may purge"), "everything is read: {status}");

    // Kafka's: what the topics say counts, not what the manager that leads would make them with.
    world.lutra(&["pause", &world.pipeline()]).await?;
    shows(&world, "that both tasks rest", |status| status.matches("\"state\":\"PAUSED\"").count() >= 2).await?;
    written(&world, &world.source_url, &["INSERT INTO t (v) VALUES (RANDOM_BYTES(1000))"; 60]).await?;
    world.start(Service::Manager, 2)?;
    let first = world.services.remove("manager-1").context("the first manager")?;
    first.terminate()?;
    first.wait(LIMIT).await?;
    let left =
        |what: &str, kind: &str| format!("lutra_manager_log_headroom_{what}{{reader=\"{kind}/{}\"}}", world.pipeline());
    let names =
        [left("seconds", "transform"), left("bytes", "transform"), left("seconds", "load"), left("bytes", "load")];
    // An hour is kept. Three times as many bytes wait for the transformer as are kept, and heartbeats for the loader.
    let hour = |left: f64| (3_000.0..=3_600.0).contains(&left);
    manager_measures(&world, names, |[old, large, all, free]| {
        hour(old) && large < 0.0 && hour(all) && free > LOG_BYTES as f64 / 2.0
    })
    .await?;
    let told = format!("keeps {LOG_BYTES} bytes, and may remove what is to be read next");
    says(&world, &[&told, "retention.bytes"]).await?;
    world.lutra(&["resume", &world.pipeline()]).await?;
    world.settled(LIMIT).await
}

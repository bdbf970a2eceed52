//! Places in the source's log under what servers do to them: files that are reset, renamed and numbered past six digits, logs
//! that are purged, sources that fail over, and readers slower than the server's patience.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql::{connect, execute};
use lutra_harness::{Home, Installation, MySqlSpec, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::Row;
use mysql_async::prelude::{FromValue, Queryable};

const LIMIT: Duration = Duration::from_secs(60);

/// A world on servers of its own.
async fn own(name: &str, more: &[&str], options: WorldOptions) -> Result<World> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let mut spec = StackSpec::pair(name).relaxed();
    spec.mysql.extend(more.iter().map(|name| MySqlSpec { relaxed: true, ..MySqlSpec::named(name) }));
    World::own(Stack::start(&installation, spec).await?, name, options).await
}

/// Runs statements at the source in the world's database; the target must get there.
async fn followed(world: &World, statements: &[&str]) -> Result<()> {
    written(world, statements).await?;
    world.settled(LIMIT).await
}

async fn written(world: &World, statements: &[&str]) -> Result<()> {
    world.written(statements).await
}

/// The first column of the first row.
async fn ask<T: FromValue + Send + 'static>(url: &str, sql: &str) -> Result<T> {
    let row: Option<Row> = connect(url).await?.query_first(sql).await?;
    row.and_then(|row| row.get(0)).with_context(|| format!("`{sql}` gives nothing"))
}

/// Waits until a task halts with a message that holds the text.
async fn halts(world: &World, text: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
        if status.contains(text) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no task halts with `{text}`: {status}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn files_may_be_numbered_past_six_digits_and_renamed_and_a_reset_is_told() -> Result<()> {
    let world = own("binlogs", &[], WorldOptions::default()).await?;
    world.execute(&["RESET BINARY LOGS AND GTIDS TO 999998"]).await?;
    world.apply().await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    followed(&world, &["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    for n in 2..5 {
        written(&world, &["FLUSH BINARY LOGS", &format!("INSERT INTO t VALUES ({n})")]).await?;
    }
    world.settled(LIMIT).await?;
    let file: String = ask(&world.source_url, "SHOW BINARY LOG STATUS").await?;
    ensure!(file == "binlog.1000001", "the log stands in {file}");
    // Past six digits a later file sorts before an earlier one.
    let extractor = world.service("extractor-1")?;
    extractor.restart()?;
    followed(&world, &["INSERT INTO t VALUES (5)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (6)"]).await?;

    let source = world.stack().mysql("source")?;
    source.process().change_launch(|launch| launch.args.push("--log-bin=renamed".to_owned()));
    source.restart().await?;
    followed(&world, &["INSERT INTO t VALUES (7)"]).await.context("after the files were renamed")?;
    let file: String = ask(&world.source_url, "SHOW BINARY LOG STATUS").await?;
    ensure!(file.starts_with("renamed."), "the log stands in {file}");

    world.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    written(&world, &["INSERT INTO t VALUES (8)"]).await?;
    // The server goes on sending heartbeats of the file that is gone, and nothing else.
    halts(&world, "source_behind_log").await
}

#[tokio::test]
async fn a_purged_log_is_no_obstacle_to_who_has_read_it() -> Result<()> {
    let world = own("purged", &[], WorldOptions::default()).await?;
    let purge = |world: &World| {
        let url = world.source_url.clone();
        async move {
            execute(&url, &["FLUSH BINARY LOGS"]).await?;
            let file: String = ask(&url, "SHOW BINARY LOG STATUS").await?;
            execute(&url, &[&format!("PURGE BINARY LOGS TO '{file}'")]).await?;
            let purged: String = ask(&url, "SELECT @@global.gtid_purged").await?;
            ensure!(!purged.is_empty(), "nothing is purged");
            Ok(())
        }
    };
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    written(&world, &["CREATE TABLE old (id INT)", "DROP TABLE old"]).await?;
    purge(&world).await?;
    execute(&world.target_url, &[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    world.apply().await?;
    followed(&world, &["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    purge(&world).await?;
    world.service("extractor-1")?.restart()?;
    followed(&world, &["INSERT INTO t VALUES (2)"]).await?;
    // What was written while nobody read, and purged, is missed by name.
    world.service("extractor-1")?.kill()?;
    written(&world, &["INSERT INTO t VALUES (3)"]).await?;
    purge(&world).await?;
    world.service("extractor-1")?.start()?;
    halts(&world, "purged").await
}

/// A replica of the source that can be followed in its place; the world's documents name both.
async fn with_replica(world: &World, gtid: bool) -> Result<String> {
    let replica = world.stack().mysql("replica")?;
    let documents = world.documents()?;
    let user =
        documents.split("user: ").nth(1).and_then(|rest| rest.split('\n').next()).context("the source's user")?;
    let (host, port) = ("127.0.0.1", world.stack().mysql("source")?.port());
    let grants: Vec<(String, String)> = {
        let mut conn = connect(&world.source_url).await?;
        let create: String = conn.query_first(format!("SHOW CREATE USER '{user}'@'%'")).await?.context("the user")?;
        let grants: Vec<String> = conn.query(format!("SHOW GRANTS FOR '{user}'@'%'")).await?;
        std::iter::once(create).chain(grants).map(|statement| (user.to_owned(), statement)).collect()
    };
    let mut statements = vec!["SET sql_log_bin = 0".to_owned()];
    statements.extend(grants.into_iter().map(|(_, statement)| statement));
    statements.push("SET sql_log_bin = 1".to_owned());
    let url = mysql_async::Opts::from_url(&world.source_url)?;
    let (root, password) = (url.user().unwrap_or("root").to_owned(), url.pass().unwrap_or_default().to_owned());
    statements.push(format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, SOURCE_USER = '{root}', SOURCE_PASSWORD = '{password}', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
    ));
    statements.push("START REPLICA".to_owned());
    execute(&replica.url(), &statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let address = world.stack().mysql("source")?.address();
    let both = documents.replacen(
        &format!("servers: [\"{address}\"]"),
        &format!("servers: [\"{address}\", \"{}\"]", replica.address()),
        1,
    );
    let both = if gtid { both } else { both.replacen("spec:\n", "spec:\n  gtid: false\n", 1) };
    let file = world.path("both.yaml");
    std::fs::write(&file, both)?;
    world.lutra_until(&["apply", "-f", &file.to_string_lossy()], LIMIT).await?;
    world.running(LIMIT).await?;
    Ok(replica.url())
}

/// Waits until the replica has all that the source has.
async fn replicated(world: &World, replica: &str) -> Result<()> {
    let executed: String = ask(&world.source_url, "SELECT @@global.gtid_executed").await?;
    let executed = executed.replace('\n', "");
    let late: u32 = ask(replica, &format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)")).await?;
    ensure!(late == 0, "the replica does not follow");
    Ok(())
}

#[tokio::test]
async fn a_replica_with_transactions_of_its_own_takes_over_and_one_that_lacks_some_is_refused() -> Result<()> {
    let mut world = own("failover", &["replica"], WorldOptions::default()).await?;
    let replica = with_replica(&world, true).await?;
    let database = world.database().to_owned();
    world.execute(&[&format!("CREATE DATABASE `{database}`")]).await?;
    followed(&world, &["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1, 'source')"])
        .await?;
    replicated(&world, &replica).await?;
    // Transactions that the source never had.
    execute(&replica, &[&format!("INSERT INTO `{database}`.t VALUES (2, 'errant')")]).await?;
    world.stack().mysql("source")?.kill()?;
    execute(&replica, &["STOP REPLICA", &format!("INSERT INTO `{database}`.t VALUES (3, 'promoted')")]).await?;
    let old = std::mem::replace(&mut world.source_url, replica.clone());
    world.settled(LIMIT).await.context("on the replica")?;

    // The old source comes back without what the log has by now, and is the only one left.
    world.stack().mysql("replica")?.kill()?;
    world.stack().mysql("source")?.start().await?;
    let there: u64 = ask(&old, &format!("SELECT COUNT(*) FROM `{database}`.t")).await?;
    ensure!(there == 1, "the old source has {there} rows");
    halts(&world, "source_behind_log").await
}

#[tokio::test]
async fn without_gtids_another_server_is_refused() -> Result<()> {
    let world = own("nogtid", &["replica"], WorldOptions::default()).await?;
    let replica = with_replica(&world, false).await?;
    let database = world.database().to_owned();
    world
        .execute(&[
            &format!("CREATE DATABASE `{database}`"),
            &format!("CREATE TABLE `{database}`.t (id INT PRIMARY KEY)"),
        ])
        .await?;
    world.execute(&[&format!("INSERT INTO `{database}`.t VALUES (1)")]).await?;
    let deadline = Instant::now() + LIMIT;
    while ask::<u64>(&world.target_url, &format!("SELECT COUNT(*) FROM `{database}`.t")).await.unwrap_or(0) != 1 {
        ensure!(Instant::now() < deadline, "the row does not come\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    replicated(&world, &replica).await?;
    world.stack().mysql("source")?.kill()?;
    halts(&world, "without GTIDs there is no fail-over").await
}

#[tokio::test]
async fn a_reader_held_for_longer_than_the_server_waits_goes_on() -> Result<()> {
    const HELD: Duration = Duration::from_secs(4);
    const DUMP: &str = "SELECT MAX(id) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    let world = World::shared("patience", WorldOptions::default()).await?;
    world.execute(&["SET GLOBAL net_write_timeout = 1"]).await?;
    world.apply().await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    followed(
        &world,
        &["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)", "INSERT INTO t (v) VALUES ('x')"],
    )
    .await?;
    let before: u64 = ask(&world.source_url, DUMP).await?;
    let extractor = world.service("extractor-1")?;
    extractor.freeze()?;
    let frozen = Instant::now();
    // More than the sockets between them hold.
    for _ in 0..12 {
        written(&world, &["INSERT INTO t (v) VALUES (REPEAT(UUID(), 100000))"]).await?;
    }
    tokio::time::sleep(HELD.saturating_sub(frozen.elapsed())).await;
    let held: u64 = ask(&world.source_url, DUMP).await?;
    extractor.thaw()?;
    world.execute(&["SET GLOBAL net_write_timeout = DEFAULT"]).await?;
    ensure!(held == before, "the server gave up the reader");
    world.settled(LIMIT).await
}

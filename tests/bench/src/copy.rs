//! A full load beside a dump of the same table (`mysqldump | mysql`), and beside a clone of the whole server.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::oracle::Comparison;
use lutra_harness::server::Server;
use lutra_harness::services::Service;
use lutra_harness::{Flavour, Home, Installation, MySqlSpec, Stack, StackSpec, mysql};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

use crate::bed::{DATABASE, FLOW, Window};
use crate::meter::Meter;
use crate::report::Report;
use crate::{Setting, note};

/// After so long a run is given up.
const LIMIT: Duration = Duration::from_secs(3_600);
/// How often the target is asked how far the copy is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The server that a dump is read into, and the one that becomes a clone.
const OTHERS: [&str; 2] = ["dumped", "cloned"];

/// Copies a table as sysbench has it, of `rows` rows, in each way; compares.
///
/// # Errors
/// When something does not run, or source and target differ at the end.
pub async fn run(setting: &Setting, indexes_after: bool, report: &mut Report) -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|line| note(line))?;
    let mut spec = StackSpec::pair("bench");
    spec.mysql.extend(OTHERS.map(MySqlSpec::named));
    if setting.relaxed {
        spec = spec.relaxed();
    }
    note("starting the servers");
    let stack = Stack::start(&installation, spec).await?;
    let indexes = if indexes_after { "after" } else { "before" };
    let options = WorldOptions {
        databases: vec![DATABASE.to_owned()],
        source: "  accept_weak_durability: true".to_owned(),
        load: format!("    full: {{indexes: {indexes}}}"),
        start_nothing: true,
        ..WorldOptions::default()
    };
    let mut world = World::own(stack, "bench", options).await?;
    note(format!("writing {} rows", setting.rows));
    fill(&world.source_url, setting.rows).await?;
    let dumped = dump(&installation, &world).await?;
    dumped.report(report, "mysqldump | mysql", setting.rows)?;
    let copied = copy(&mut world).await?;
    copied.report(report, "lutra", setting.rows)?;
    let mut figures = report.of("lutra", setting.rows);
    let times = |own: Duration| dumped.whole.as_secs_f64() / own.as_secs_f64();
    figures.figure("times_mysqldump", times(copied.whole), "x")?;
    figures.figure("times_mysqldump_flowing", times(copied.flowing), "x")?;
    match clone(&world).await {
        Ok(took) => report.of("clone plugin, whole server", setting.rows).figure("window", took.as_secs_f64(), "s"),
        Err(error) => {
            note(format!("the clone plugin does not run here: {error:#}"));
            Ok(())
        }
    }
}

/// The table of sysbench: a key that counts up, an index in no order, two texts.
async fn fill(url: &str, rows: u64) -> Result<()> {
    const STEP: u64 = 100_000;
    let mut connection = mysql::connect(url).await?;
    let setup = [
        format!("CREATE DATABASE `{DATABASE}`"),
        format!(
            "CREATE TABLE `{DATABASE}`.`sbtest1` (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 0, \
             c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', KEY k_1 (k))"
        ),
        format!("SET SESSION cte_max_recursion_depth = {STEP}"),
    ];
    for statement in setup {
        connection.query_drop(statement).await.context("make the table")?;
    }
    for begin in (0..rows).step_by(usize::try_from(STEP)?) {
        let count = STEP.min(rows - begin);
        let insert = format!(
            "INSERT INTO `{DATABASE}`.`sbtest1` WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {begin} + i, CRC32({begin} + i) % {rows}, RPAD(SHA2({begin} + i, 512), 119, '-'), SHA2(i, 224) FROM n"
        );
        connection.query_drop(insert).await.context("write rows")?;
    }
    Ok(())
}

fn meter(world: &World) -> Result<Meter> {
    let servers = world.stack().servers().filter_map(|s| Some((s.name().to_owned(), s.process().id()?)));
    Meter::start(servers.collect())
}

/// `mysqldump --single-transaction | mysql`, as it is done by hand.
async fn dump(installation: &Installation, world: &World) -> Result<Window> {
    note("mysqldump | mysql");
    let (source, target) = (world.stack().mysql("source")?, world.stack().mysql(OTHERS[0])?);
    let program = |name: &str, server: &Server, args: &str| -> Result<String> {
        let (program, first) = installation.server_program(Flavour::MySql, name)?;
        let words = std::iter::once(program.display().to_string()).chain(first);
        let words: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        Ok(format!("{} --no-defaults -uroot -h127.0.0.1 -P{} {args}", words.join(" "), server.port()))
    };
    let args = format!("--single-transaction --no-tablespaces --set-gtid-purged=OFF --databases {DATABASE}");
    let line = format!("{} | {}", program("mysqldump", source, &args)?, program("mysql", target, "")?);
    let meter = meter(world)?;
    let mut command = tokio::process::Command::new("bash");
    command.args(["-o", "pipefail", "-c", &line]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("a dump takes an hour")??;
    ensure!(output.status.success(), "mysqldump | mysql failed: {}", String::from_utf8_lossy(&output.stderr));
    let whole = meter.began().elapsed();
    let costs = meter.finish()?;
    equal(&world.source_url, &target.url()).await?;
    Ok(Window { whole, flowing: whole, costs })
}

/// The full load: from `lutra apply` to the last row.
async fn copy(world: &mut World) -> Result<Window> {
    note("lutra: copying");
    for service in Service::ALL {
        world.start(service, 1)?;
    }
    world.lutra_until(&["status"], Duration::from_secs(60)).await?;
    let mut meter = meter(world)?;
    for service in FLOW {
        let id = world.service(&format!("{service}-1"))?.process().id().context("find a service's process")?;
        meter.add(&service.to_string(), id);
    }
    let (applied, watched) = tokio::join!(world.apply(), watch(&world.target_url));
    let [first, last] = watched.with_context(|| world.logs())?;
    applied?;
    let whole = last - meter.began();
    let costs = meter.finish()?;
    world.settled(Duration::from_secs(600)).await?;
    note("lutra: source and target are equal");
    Ok(Window { whole, flowing: last - first, costs })
}

/// When the target had the first row, and the last.
async fn watch(url: &str) -> Result<[Instant; 2]> {
    let mut connection = mysql::connect(url).await?;
    let rows = format!("SELECT COUNT(*) FROM (SELECT 1 FROM `{DATABASE}`.`sbtest1` LIMIT 1) t");
    // The indexes that come behind the rows belong to the copy.
    let state = "SELECT COUNT(*) FROM `lutra`.`load` WHERE state = 'done' AND deferred IS NULL";
    let (began, mut first) = (Instant::now(), None);
    while began.elapsed() < LIMIT {
        // Neither is there at first.
        let count = |found: std::result::Result<Option<u64>, _>| found.ok().flatten().unwrap_or(0);
        if first.is_none() && count(connection.query_first(&rows).await) > 0 {
            first = Some(Instant::now());
        }
        if count(connection.query_first(state).await) > 0 {
            let now = Instant::now();
            return Ok([first.unwrap_or(now), now]);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("the copy takes an hour")
}

/// The server's own clone of everything, over the network.
async fn clone(world: &World) -> Result<Duration> {
    /// The clone is there, and the server stops: it is not started anew by anybody.
    const NOT_SUPERVISED: u16 = 3_707;
    note("clone plugin");
    let (source, target) = (world.stack().mysql("source")?, world.stack().mysql(OTHERS[1])?);
    mysql::execute(&source.url(), &["INSTALL PLUGIN clone SONAME 'mysql_clone.so'"]).await?;
    mysql::create_user(&source.url(), "cloner", "cloner-pa55", &["BACKUP_ADMIN ON *.*"]).await?;
    let donor = format!("SET GLOBAL clone_valid_donor_list = '{}'", source.address());
    mysql::execute(&target.url(), &["INSTALL PLUGIN clone SONAME 'mysql_clone.so'", &donor]).await?;
    let mut connection = mysql::connect(&target.url()).await?;
    let clone = format!("CLONE INSTANCE FROM 'cloner'@'127.0.0.1':{} IDENTIFIED BY 'cloner-pa55'", source.port());
    let began = Instant::now();
    match connection.query_drop(clone).await {
        Ok(()) => Ok(began.elapsed()),
        Err(mysql_async::Error::Server(error)) if error.code == NOT_SUPERVISED => Ok(began.elapsed()),
        Err(error) => Err(error.into()),
    }
}

async fn equal(source: &str, target: &str) -> Result<()> {
    let report = Comparison::new(source, target).databases(&[DATABASE]).run().await?;
    ensure!(report.is_equal(), "source and dump differ:\n{report}");
    Ok(())
}

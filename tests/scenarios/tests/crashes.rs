//! Every named crash point, and the controls that prove that the bank's audit can see.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql;
use lutra_harness::services::ServiceProcess;
use lutra_scenarios::banking::{Audit, Banking, seed};
use lutra_scenarios::{World, WorldOptions};

const LIMIT: Duration = Duration::from_secs(60);

const LOADER: [&str; 7] = [
    "after-slot-update",
    "mid-rows",
    "before-commit",
    "commit-unanswered",
    "after-commit",
    "between-intent-and-ddl",
    "between-ddl-and-done",
];
const EXTRACTOR: [&str; 5] =
    ["after-epoch-start", "mid-transaction", "before-commit-part", "after-commit-part", "after-schema"];

/// Replaces a service by one with these variables.
fn restart_with(service: &ServiceProcess, variables: &[(&str, &str)]) -> Result<()> {
    service.kill()?;
    service.process().change_launch(|launch| {
        launch.env.retain(|(name, _)| name != "LUTRA_CRASH_POINT" && name != "LUTRA_BREAK_RULE");
        launch.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    });
    service.start()
}

async fn dies(service: &ServiceProcess, point: &str) -> Result<()> {
    let ended = service.wait(LIMIT).await;
    ended.map(drop).with_context(|| format!("{point} was not reached, or the service was built without crash-points"))
}

/// DDL, a table that is new, and a transaction of many records: every point is passed.
async fn a_bit_of_everything(world: &World, round: usize) -> Result<()> {
    let db = world.database();
    world
        .execute(&[
            &format!("CREATE TABLE `{db}`.new_{round} (id INT PRIMARY KEY, pad VARCHAR(1000))"),
            &format!("INSERT INTO `{db}`.new_{round} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i, REPEAT('x', 1000) FROM n"),
            &format!("ALTER TABLE `{db}`.new_{round} ADD COLUMN more INT"),
            &format!("UPDATE `{db}`.new_{round} SET more = id"),
            &format!("RENAME TABLE `{db}`.new_{round} TO `{db}`.old_{round}"),
        ])
        .await
}

async fn crash_at_each(name: &str, service: &str, points: &[&str]) -> Result<()> {
    let options = WorldOptions { source: "  part_bytes: 16KiB".into(), ..WorldOptions::default() };
    let world = World::shared(name, options).await?;
    world.apply().await?;
    let mut banking = Banking::open(&world, seed()).await?;
    let process = world.service(service)?;
    for (round, point) in points.iter().enumerate() {
        let times = if *point == "after-epoch-start" { 1 } else { 2 };
        restart_with(process, &[("LUTRA_CRASH_POINT", &format!("{point}:{times}"))])?;
        a_bit_of_everything(&world, round).await?;
        dies(process, point).await?;
        restart_with(process, &[])?;
        let back = banking.probe(&world, Instant::now(), LIMIT).await?;
        println!("{service}: died at {point}, goes on after {back:?}");
    }
    banking.close(&world, LIMIT).await.map(drop)
}

#[tokio::test]
async fn a_loader_that_dies_at_any_named_point_loses_doubles_and_tears_nothing() -> Result<()> {
    crash_at_each("crash-l", "loader-1", &LOADER).await
}

#[tokio::test]
async fn an_extractor_that_dies_at_any_named_point_loses_doubles_and_tears_nothing() -> Result<()> {
    crash_at_each("crash-e", "extractor-1", &EXTRACTOR).await
}

fn one_connection() -> WorldOptions {
    WorldOptions { load: "    connections: 1".into(), ..WorldOptions::default() }
}

/// The slot row is taken away from the loader, as a new owner does it; then the loader starts again.
async fn slot_taken_away(name: &str, broken: Option<&str>) -> Result<Audit> {
    let world = World::shared(name, one_connection()).await?;
    world.apply().await?;
    let mut banking = Banking::open(&world, seed()).await?;
    let loader = world.service("loader-1")?;
    if let Some(rule) = broken {
        restart_with(loader, &[("LUTRA_BREAK_RULE", rule)])?;
    }
    banking.probe(&world, Instant::now(), LIMIT).await?;
    let task = format!("load/{}", world.pipeline());
    mysql::execute(
        &world.target_url,
        &[&format!("UPDATE lutra.slot SET attempt = attempt + 1000 WHERE task = '{task}'")],
    )
    .await?;
    // What is committed now is committed without a checkpoint, where the fence is off.
    tokio::time::sleep(Duration::from_secs(1)).await;
    restart_with(loader, &[])?;
    banking.audit(&world, LIMIT).await
}

#[tokio::test]
async fn a_loader_whose_fence_is_off_is_caught() -> Result<()> {
    let whole = slot_taken_away("fence-on", None).await?;
    ensure!(whole.faults.is_empty(), "with its fence: {:?}", whole.faults);
    let broken = slot_taken_away("fence-off", Some("fence")).await?;
    // An update twice tears the sum, an insert twice is a double: which comes first is chance.
    let seen = |f: &String| f.starts_with("doubled") || f.starts_with("torn");
    ensure!(broken.faults.iter().any(seen), "nobody saw it: {:?}", broken.faults);
    println!("seen: {:?}", broken.faults);
    Ok(())
}

/// The loader dies between the rows and a checkpoint; with the rule on, there is no between.
async fn dies_before_the_checkpoint(name: &str, broken: Option<&str>) -> Result<Audit> {
    let world = World::shared(name, one_connection()).await?;
    world.apply().await?;
    let banking = Banking::open(&world, seed()).await?;
    let loader = world.service("loader-1")?;
    // Without the rule the point is passed twice in each batch: behind the rows, and behind the checkpoint.
    let crash = ("LUTRA_CRASH_POINT", "before-commit:5");
    match broken {
        Some(rule) => restart_with(loader, &[crash, ("LUTRA_BREAK_RULE", rule)])?,
        None => restart_with(loader, &[crash])?,
    }
    dies(loader, "before-commit").await?;
    restart_with(loader, &[])?;
    banking.audit(&world, LIMIT).await
}

#[tokio::test]
async fn a_loader_whose_checkpoint_is_outside_the_transaction_is_caught() -> Result<()> {
    let whole = dies_before_the_checkpoint("inside", None).await?;
    ensure!(whole.faults.is_empty(), "with its checkpoint inside: {:?}", whole.faults);
    let broken = dies_before_the_checkpoint("outside", Some("checkpoint-in-transaction")).await?;
    ensure!(broken.faults.iter().any(|f| f.starts_with("doubled")), "nobody saw it: {:?}", broken.faults);
    println!("seen: {:?}", broken.faults);
    Ok(())
}

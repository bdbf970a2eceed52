//! The servers around Lutra go and come back under load; answers are lost.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::link::Link;
use lutra_harness::mysql::connect;
use lutra_harness::{Home, Installation, SharedStack, Stack, StackSpec};
use lutra_scenarios::banking::{Banking, seed};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn every_server_may_be_killed_and_started_again_under_load() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let stack = Stack::start(&installation, StackSpec::pair("restarts").relaxed()).await?;
    let world = World::own(stack, "restarts", WorldOptions::default()).await?;
    world.apply().await?;
    let mut banking = Banking::open(&world, seed()).await?;
    for (name, server) in [
        ("zookeeper", world.stack().zookeeper()?),
        ("kafka", world.stack().kafka()?),
        ("target", world.stack().mysql("target")?),
        ("source", world.stack().mysql("source")?),
    ] {
        server.kill()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.start().await?;
        let up = Instant::now();
        let back = banking.probe(&world, up, LIMIT).await?;
        println!("{name} killed and started: the next change is committed {back:?} after it answers");
    }
    let back = while_target_is(&world, &mut banking, &["SET GLOBAL read_only = 1"], "SET GLOBAL read_only = 0").await?;
    println!("target read-only for a while: the next change is committed {back:?} after its end");
    let lock = format!("SELECT * FROM `{}`.account_0 FOR UPDATE", world.database());
    let back = while_target_is(&world, &mut banking, &["BEGIN", &lock], "ROLLBACK").await?;
    println!("rows of the target locked for a while: the next change is committed {back:?} after the end");
    banking.close(&world, LIMIT).await.map(drop)
}

/// Brings the target into a state for two seconds; how long after that the next change is committed.
async fn while_target_is(world: &World, banking: &mut Banking, begin: &[&str], end: &str) -> Result<Duration> {
    let mut conn = connect(&world.target_url).await?;
    for statement in begin {
        conn.query_drop(*statement).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    conn.query_drop(end).await?;
    banking.probe(world, Instant::now(), LIMIT).await
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled() -> Result<()> {
    let target = SharedStack::get().await?.mysql("target")?.address();
    let proxy = Link::start(target).await?;
    let options = WorldOptions { target_address: Some(proxy.address()), ..WorldOptions::default() };
    let world = World::shared("answers", options).await?;
    world.apply().await?;
    let mut banking = Banking::open(&world, seed()).await?;
    for round in 1..=5 {
        proxy.lose_answers(1);
        let back = banking.probe(&world, Instant::now(), LIMIT).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        println!("answer {round} lost: goes on after {back:?}");
    }
    ensure!(proxy.lost() >= 4, "only {} answers were lost", proxy.lost());
    banking.close(&world, LIMIT).await.map(drop)
}

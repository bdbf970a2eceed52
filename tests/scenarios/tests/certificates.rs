//! Certificates of source and target: rotated under writes, and such that nobody vouches for.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::certificates::{Authority, trust};
use lutra_harness::mysql::{connect, execute};
use lutra_harness::{Flavour, Home, Installation, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

/// A world whose servers show certificates of this authority, which alone is trusted.
async fn certified(name: &str, target: Flavour, first: &Authority) -> Result<World> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let spec = StackSpec::pair(name).relaxed().of(Flavour::MySql, target);
    let stack = Stack::start(&installation, spec).await?;
    for server in ["source", "target"] {
        first.certify(stack.mysql(server)?).await?;
    }
    let world = World::own(stack, name, WorldOptions { verify_identity: true, ..WorldOptions::default() }).await?;
    trust(&world.ca_file(), &[first])?;
    world.apply().await?;
    let db = world.database();
    world
        .execute(&[&format!("CREATE DATABASE `{db}`"), &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v INT)")])
        .await?;
    Ok(world)
}

/// Both servers show certificates of this authority, and Lutra has to connect anew.
async fn rotated(world: &World, authority: &Authority) -> Result<()> {
    for server in ["source", "target"] {
        authority.certify(world.stack().mysql(server)?).await?;
    }
    cut(world).await
}

/// All of Lutra's connections to both servers are killed.
async fn cut(world: &World) -> Result<()> {
    for url in [&world.source_url, &world.target_url] {
        let mut conn = connect(url).await?;
        let ours = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER LIKE 'ls\\_%' OR USER LIKE 'lt\\_%'";
        let ids: Vec<u64> = conn.query(ours).await?;
        for id in ids {
            // It may have gone by itself.
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        conn.disconnect().await?;
    }
    Ok(())
}

/// Waits until this task says that a certificate is not accepted.
async fn named(world: &World, task: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
        let status: serde_json::Value = serde_json::from_str(&text)?;
        let tasks =
            status.pointer("/pipelines/0/tasks").and_then(|tasks| tasks.as_array()).cloned().unwrap_or_default();
        let found = tasks.into_iter().find(|found| found["task"].as_str().is_some_and(|name| name.starts_with(task)));
        let found = found.unwrap_or_default();
        let says = if found["state"] == "FAILED" { &found["failure"] } else { &found["note"] }.to_string();
        if says.contains("invalid peer certificate") && says.contains("ca.pem") && says.contains("tls.ca") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{task} names no certificate: {found}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes a row every few milliseconds until told to stop.
async fn write(url: String, table: String, stop: CancellationToken) -> Result<u32> {
    let mut conn = connect(&url).await?;
    let mut n = 0;
    while !stop.is_cancelled() {
        n += 1;
        conn.query_drop(format!("INSERT INTO {table} VALUES ({n}, {n})")).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    conn.disconnect().await?;
    Ok(n)
}

async fn rotation(name: &str, target: Flavour) -> Result<()> {
    let (first, second, third) = (Authority::new("first")?, Authority::new("second")?, Authority::new("third")?);
    let world = certified(name, target, &first).await?;
    let (stop, table) = (CancellationToken::new(), format!("`{}`.t", world.database()));
    let writing = write(world.source_url.clone(), table.clone(), stop.clone());
    let rotating = async {
        // In the right order nothing is heard of it, and at the end the old authority is worth nothing.
        trust(&world.ca_file(), &[&first, &second])?;
        rotated(&world, &second).await?;
        trust(&world.ca_file(), &[&second])?;
        cut(&world).await?;
        world.caught_up(LIMIT).await?;
        // A server is first: who it is cannot be proven until the file says so.
        rotated(&world, &third).await?;
        named(&world, "extract/").await?;
        named(&world, "load/").await?;
        trust(&world.ca_file(), &[&third])?;
        world.caught_up(LIMIT).await?;
        stop.cancel();
        anyhow::Ok(())
    };
    let (written, done) = tokio::join!(writing, async {
        let done = rotating.await;
        stop.cancel();
        done
    });
    done?;
    ensure!(written? > 10, "nothing was written meanwhile");
    world.settled(LIMIT).await?;
    // Everything that is connected now has proven the last one.
    execute(&world.source_url, &[&format!("INSERT INTO {table} VALUES (0, 0)")]).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
#[ignore = "long"]
async fn certificates_are_rotated_under_writes_and_one_that_nobody_trusts_is_named() -> Result<()> {
    rotation("certificates", Flavour::MySql).await
}

#[tokio::test]
#[ignore = "long"]
async fn certificates_of_a_mariadb_target_are_rotated_as_well() -> Result<()> {
    rotation("certificates-mariadb", Flavour::MariaDb).await
}

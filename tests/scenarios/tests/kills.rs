//! Any service may die at any moment: nothing is lost, doubled or torn.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use lutra_harness::services::Service;
use lutra_scenarios::banking::{Banking, distribution, seed};
use lutra_scenarios::{World, WorldOptions};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LIMIT: Duration = Duration::from_secs(120);

/// Kills each service so many times, in random order at random moments, and starts it again at once.
async fn kill_each(name: &str, times: u32) -> Result<()> {
    let seed = seed();
    println!("LUTRA_SEED={seed} LUTRA_KILLS={times}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::shared(name, WorldOptions::default()).await?;
    world.apply().await?;
    let mut banking = Banking::open(&world, seed).await?;
    let mut order: Vec<Service> = Service::ALL.into_iter().flat_map(|s| (0..times).map(move |_| s)).collect();
    order.shuffle(&mut random);
    let mut recovered: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for service in order {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        let killed = Instant::now();
        world.service(&format!("{service}-1"))?.restart()?;
        let back = banking.probe(&world, killed, LIMIT).await?;
        recovered.entry(service.to_string()).or_default().push(back);
    }
    let audit = banking.close(&world, LIMIT).await?;
    println!("{} transfers, {} states of the target looked at", audit.transfers, audit.samples.count);
    println!("from the kill to the commit, in the target, of a change made right behind it:");
    for (service, times) in &recovered {
        println!("  {service:<12} {}", distribution(times));
    }
    Ok(())
}

fn kills(otherwise: u32) -> u32 {
    std::env::var("LUTRA_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test]
async fn services_killed_at_random_lose_double_and_tear_nothing() -> Result<()> {
    kill_each("kills", kills(3)).await
}

#[tokio::test]
#[ignore = "slow: a hundred kills of each service"]
async fn a_hundred_kills_of_each_service_lose_double_and_tear_nothing() -> Result<()> {
    kill_each("kills-slow", kills(100)).await
}

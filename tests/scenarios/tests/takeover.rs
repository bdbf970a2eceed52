//! A worker or manager that is gone is replaced within ten seconds; one that comes back late can do no harm.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::services::Service;
use lutra_scenarios::banking::{Banking, seed};
use lutra_scenarios::{World, WorldOptions};

const LIMIT: Duration = Duration::from_secs(60);
const TAKE_OVER: Duration = Duration::from_secs(10);
const WORKERS: [(Service, &str); 3] =
    [(Service::Loader, "load"), (Service::Extractor, "extract"), (Service::Transformer, "transform")];

/// A world with two of each service and a bank at work.
async fn doubled(name: &str) -> Result<(World, Banking)> {
    let mut world = World::shared(name, WorldOptions::default()).await?;
    for service in Service::ALL {
        world.start(service, 2)?;
    }
    world.apply().await?;
    let banking = Banking::open(&world, seed()).await?;
    Ok((world, banking))
}

#[tokio::test]
async fn a_frozen_owner_is_replaced_and_does_no_harm_when_it_wakes() -> Result<()> {
    let (world, mut banking) = doubled("frozen").await?;
    for (service, kind) in WORKERS {
        let owner = world.owner(kind).await?;
        let frozen = Instant::now();
        world.service(&owner)?.freeze()?;
        let taken = banking.probe(&world, frozen, LIMIT).await?;
        let successor = world.owner(kind).await?;
        println!("{service}: {owner} frozen, {successor} has committed after {taken:?}");
        ensure!(successor != owner, "{owner} is frozen and was not replaced");
        ensure!(taken < TAKE_OVER, "{service}: take-over after {taken:?}\n{}", world.logs());
        world.service(&owner)?.thaw()?;
        banking.probe(&world, Instant::now(), LIMIT).await?;
        ensure!(world.service(&owner)?.is_alive(), "{owner} has ended\n{}", world.logs());
    }
    banking.close(&world, LIMIT).await.map(drop)
}

#[tokio::test]
async fn dead_managers_and_workers_are_replaced_within_ten_seconds() -> Result<()> {
    let (world, mut banking) = doubled("dead").await?;
    for manager in ["manager-1", "manager-2"] {
        let leads = world.service(manager)?.log().contains("this manager leads");
        if leads {
            let killed = Instant::now();
            world.service(manager)?.kill()?;
            world.owner("load").await?;
            println!("{manager} killed: another answers after {:?}", killed.elapsed());
            ensure!(killed.elapsed() < TAKE_OVER, "managers: take-over after {:?}", killed.elapsed());
            break;
        }
    }
    for (service, kind) in WORKERS {
        let owner = world.owner(kind).await?;
        let killed = Instant::now();
        world.service(&owner)?.kill()?;
        let taken = banking.probe(&world, killed, LIMIT).await?;
        println!("{service}: {owner} killed, a change is committed after {taken:?}");
        ensure!(taken < TAKE_OVER, "{service}: take-over after {taken:?}\n{}", world.logs());
    }
    banking.close(&world, LIMIT).await.map(drop)
}

//! `cargo xtask demo`: a real MySQL followed into another one, row for row, watched live, with a SIGKILL on the way.

mod cluster;
mod live;
mod screen;
mod shop;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use lutra_harness::oracle::Comparison;
use lutra_harness::services::{Binaries, Profile, Service, end_kept};
use lutra_harness::{Home, Installation, Stack};
use tokio::signal::unix::{SignalKind, signal};

use crate::consent::Consent;
use cluster::Cluster;
use live::Live;
use screen::Screen;
use shop::Shop;
use summary::Summary;

/// The name of the demo's stack.
const NAME: &str = "demo";

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds for which the shop is open
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Transactions a second at the source; 0 for as many as it takes
    #[arg(long, default_value_t = 300)]
    rate: u64,
    /// Leave everything running, to try things on; `cargo xtask stack down` ends and removes it
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    let installation = arguments.consent.install(&home)?;
    let binaries = Binaries::build(installation.tools(), profile())?;
    let found = Stack::find(&home, NAME)?.is_some();
    if found {
        eprintln!("going on with the demo that was kept; `cargo xtask stack down --name {NAME}` removes it");
    }
    let kept = arguments.keep || found;
    // From here on there are processes to end: signals no longer end this one at once.
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let done = tokio::select! {
        done = show(arguments, &installation, binaries, kept) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow!("terminated")),
    };
    if done.is_err() && kept {
        end_processes(&home)?;
    }
    done
}

/// Release, unless `LUTRA_PROFILE=debug` asks for what is quick to build.
fn profile() -> Profile {
    match std::env::var("LUTRA_PROFILE").as_deref() {
        Ok("debug") => Profile::Debug,
        _ => {
            eprintln!("building the services (release)");
            Profile::Release
        }
    }
}

/// A kept demo that failed keeps its folder only: its logs tell why.
fn end_processes(home: &Home) -> Result<()> {
    let Some(stack) = Stack::find(home, NAME)? else { return Ok(()) };
    end_kept(&stack.services_folder(), Duration::ZERO)?;
    stack.servers().try_for_each(|server| server.kill())?;
    eprintln!("all processes are ended; the logs are in {}", stack.folder().display());
    Ok(())
}

async fn show(arguments: &Arguments, installation: &Installation, binaries: Binaries, kept: bool) -> Result<()> {
    let cluster = Cluster::up(installation, binaries, kept).await?;
    match follow(arguments, &cluster).await {
        Ok(summary) => {
            println!("{summary}");
            println!("{}", if kept { cluster.next_commands() } else { summary::AFTERWARDS.to_owned() });
            if summary.report.is_equal() { Ok(()) } else { bail!("source and target differ") }
        }
        Err(error) => {
            if !kept {
                eprintln!("the services' logs: {}", cluster.save_logs(&installation.home().root().join("demo-logs"))?);
            }
            Err(error)
        }
    }
}

/// Everything that is shown, from the specification to the comparison.
async fn follow(arguments: &Arguments, cluster: &Cluster) -> Result<Summary> {
    cluster.create_accounts().await?;
    eprint!("{}", cluster.apply().await?);
    cluster.until_running(Duration::from_secs(60)).await?;
    let time = Duration::from_secs(arguments.seconds);
    let mut shop = Shop::open(&cluster.source()?, arguments.rate, time).await?;
    let mut live = Live::new(Screen::open(time), cluster);
    live.screen.note(&format!(
        "the shop is open for {} s; its loader will be killed after {} s",
        arguments.seconds,
        arguments.seconds / 2
    ));
    live.watch_until(&mut shop, time / 2).await?;
    let recovery = cluster.kill_loader().await?;
    live.screen.note("killed the loader (SIGKILL) and started it again");
    live.watch_until(&mut shop, time).await?;
    let sold = shop.close().await?;
    let closed = Instant::now();
    live.screen.note("the shop is closed; waiting until the target has everything (lutra wait)");
    live.watch_while(&sold, cluster.wait(Duration::from_secs(300))).await?;
    let caught_up = closed.elapsed();
    let recovered = recovery.await.context("measure how long the loader took to commit again")??;
    live.screen.note("caught up; comparing source and target, row by row");
    let comparison = Comparison::new(&cluster.source()?, &cluster.target()?).databases(&[shop::DATABASE]);
    let report = comparison.with_definitions().run().await?;
    live.screen.close();
    let usage =
        Service::ALL.into_iter().map(|service| Ok((service, cluster.usage(service)?))).collect::<Result<_>>()?;
    Ok(Summary { sold, rate: arguments.rate, caught_up, recovered, lags: live.into_lags(), usage, report })
}

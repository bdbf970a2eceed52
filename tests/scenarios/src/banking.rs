//! A bank that works at the source while a scenario does its worst, and is audited at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::mysql::connect;
use lutra_harness::workload::bank::Bank;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::World;
use crate::sampler::{Sampler, Samples};

/// Writers at the source.
const WRITERS: u32 = 2;
/// Rest of a writer after each transfer: what programs that are built for debugging can follow on a busy machine.
const PAUSE: Duration = Duration::from_millis(8);

/// A bank under way, with a sampler on its copy.
pub struct Banking {
    bank: Bank,
    sampler: Sampler,
    stop: CancellationToken,
    writers: Vec<JoinHandle<Result<u64>>>,
    probes: u64,
}

/// What an audit found at the end.
#[derive(Debug)]
pub struct Audit {
    /// Transfers that committed at the source.
    pub transfers: u64,
    /// What the sampler saw at the target.
    pub samples: Samples,
    /// What is wrong; empty when nothing is.
    pub faults: Vec<String>,
}

impl Banking {
    /// Opens the bank at the source of a world whose tasks run, waits for its copy, and starts writers and sampler.
    pub async fn open(world: &World, seed: u64) -> Result<Self> {
        let mut bank = Bank::new(world.database());
        bank.pause = PAUSE;
        bank.create(&world.source_url).await?;
        world.execute(&[&format!("CREATE TABLE `{}`.probe (n BIGINT PRIMARY KEY)", bank.database)]).await?;
        world.caught_up(Duration::from_secs(60)).await?;
        let stop = CancellationToken::new();
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let (bank, url, stop) = (bank.clone(), world.source_url.clone(), stop.clone());
            #[allow(clippy::disallowed_methods, reason = "a test's own task, joined in `close`")]
            writers.push(tokio::spawn(async move { bank.run(&url, writer + 1, seed, u64::MAX, stop).await }));
        }
        let sampler = Sampler::start(bank.clone(), world.target_url.clone());
        Ok(Self { bank, sampler, stop, writers, probes: 0 })
    }

    /// Commits a change at the source now; how long after `since` it is committed in the target.
    pub async fn probe(&mut self, world: &World, since: Instant, limit: Duration) -> Result<Duration> {
        self.probes += 1;
        let (db, n) = (&self.bank.database, self.probes);
        world.execute(&[&format!("INSERT INTO `{db}`.probe VALUES ({n})")]).await?;
        let question = format!("SELECT COUNT(*) FROM `{db}`.probe WHERE n = {n}");
        let mut conn = None;
        while since.elapsed() < limit {
            match &mut conn {
                None => conn = connect(&world.target_url).await.ok(),
                Some(open) => match open.query_first::<u64, _>(&question).await {
                    Ok(Some(1)) => return Ok(since.elapsed()),
                    Ok(_) => {}
                    Err(_) => conn = None,
                },
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("change {n} is not in the target {limit:?} after it should be\n{}", world.logs())
    }

    /// Stops the writers, waits for the target, and audits both sides.
    pub async fn audit(self, world: &World, limit: Duration) -> Result<Audit> {
        self.stop.cancel();
        let mut transfers = 0;
        for writer in self.writers {
            transfers += writer.await??;
        }
        world.caught_up(limit).await?;
        let samples = self.sampler.finish().await?;
        let mut faults = samples.faults.clone();
        let mut conn = connect(&world.target_url).await?;
        let state = self.bank.sample(&mut conn).await.context("read the copy of the bank")?;
        faults.extend(self.bank.fault(state).filter(|f| !samples.faults.contains(f)));
        if state.distinct != transfers {
            faults.push(format!("lost: {} transfers of {transfers} are in the target's ledger", state.distinct));
        }
        let report = world.compare().await?;
        if !report.is_equal() {
            faults.push(format!("source and target differ: {report}"));
        }
        Ok(Audit { transfers, samples, faults })
    }

    /// Audits, and fails unless nothing was lost, doubled or torn at any time.
    pub async fn close(self, world: &World, limit: Duration) -> Result<Audit> {
        let audit = self.audit(world, limit).await?;
        ensure!(audit.faults.is_empty(), "{:?}\n{}", audit.faults, world.logs());
        ensure!(audit.transfers > 0 && audit.samples.count > 0, "nothing was tested: {audit:?}");
        Ok(audit)
    }
}

/// Seed of a scenario's random choices: `LUTRA_SEED`, or another one each time.
pub fn seed() -> u64 {
    std::env::var("LUTRA_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random)
}

/// Quantiles of measured times, for a report.
pub fn distribution(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    };
    format!("n {} p50 {:?} p90 {:?} p99 {:?} max {:?}", sorted.len(), at(50), at(90), at(99), at(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_from_the_sorted_times() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(distribution(&times), "n 100 p50 50ms p90 90ms p99 99ms max 100ms");
        assert_eq!(distribution(&times[99..]), "n 1 p50 1ms p90 1ms p99 1ms max 1ms");
    }
}

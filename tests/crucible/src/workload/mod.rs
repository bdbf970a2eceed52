//! What is written at the source while faults happen, each workload in a database of its own.

mod bank;
mod churn;
mod giants;
mod hot;
mod storm;
mod sysbench;
mod tpcc;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::mysql::connect;
use lutra_harness::workload::is_passing;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use crate::findings::Invariant;

/// A stretch of work between two rests.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The source.
    pub url: String,
    /// The workload's database.
    pub database: String,
    /// The run's seed.
    pub seed: u64,
    /// Which stretch of the run: numbers that a workload writes are told apart by it.
    pub number: u64,
    /// Told when it ends.
    pub stop: CancellationToken,
    /// How long writers rest.
    pub pace: Pace,
}

/// How much longer than at best all writers rest: a machine that cannot follow must fall behind by seconds, not minutes.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Percent of the shortest rests.
    now: Arc<AtomicU32>,
    /// They are never shorter than that.
    least: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self::slowed(1)
    }
}

impl Pace {
    /// Rests that are so many times as long from the beginning.
    #[must_use]
    pub fn slowed(times: u32) -> Self {
        let least = times.saturating_mul(100);
        // Debug programs follow half of what release programs do.
        let now = if cfg!(debug_assertions) { least.saturating_mul(2) } else { least };
        Self { now: Arc::new(AtomicU32::new(now)), least }
    }

    /// Percent of the shortest rests.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Slower where more transfers wait than the target takes in some seconds, and back to full speed behind it.
    pub fn follow(&self, waiting: i64) {
        let now = self.percent();
        let next = match waiting {
            400.. => now * 3 / 2,
            ..80 => now * 9 / 10,
            _ => now,
        };
        self.now.store(next.clamp(self.least, self.least.saturating_mul(20)), Ordering::Relaxed);
    }

    fn rest(&self, shortest: Duration) -> Duration {
        shortest * self.percent() / 100
    }
}

/// What a workload wants to remember between two looks at its copy.
#[derive(Debug, Default)]
pub struct Memory {
    /// Looks so far.
    pub looks: u64,
    /// Greatest values seen.
    pub high: BTreeMap<String, i64>,
}

/// What a look at a copy showed.
#[derive(Debug, Default)]
pub struct Look {
    /// What was looked at and held.
    pub fine: Vec<Invariant>,
    /// What did not hold.
    pub wrong: Vec<(Invariant, String)>,
}

impl Look {
    /// One thing was looked at.
    pub fn at(&mut self, invariant: Invariant, wrong: Option<String>) {
        match wrong {
            None => self.fine.push(invariant),
            Some(text) => self.wrong.push((invariant, text)),
        }
    }
}

/// Something that writes.
pub trait Workload: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it writes.
    fn about(&self) -> &'static str;
    /// Whether it runs where nothing is said.
    fn by_default(&self) -> bool {
        true
    }
    /// Makes its tables in the database, which is there and empty.
    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Writes until told to stop; how many transactions committed, at least.
    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>>;
    /// Looks at one committed state of the copy, inside a transaction that sees one state.
    fn look<'a>(
        &'a self,
        _database: &'a str,
        _copy: &'a mut Conn,
        _memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Look, mysql_async::Error>> {
        Box::pin(async { Ok(Look::default()) })
    }
    /// Tidies up at the source between two stretches.
    fn rest<'a>(&'a self, _url: &'a str, _database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// All workloads.
#[must_use]
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(bank::Bank),
        Box::new(hot::Hot),
        Box::new(churn::Churn),
        Box::new(sysbench::Sysbench),
        Box::new(types::Types),
        Box::new(storm::Storm),
        Box::new(tpcc::Tpcc),
        Box::new(giants::Giants),
    ]
}

/// Nobody waits longer for a server's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, as soon as there is one; none when it is time to stop.
pub(crate) async fn reconnect(leg: &Leg) -> Option<Conn> {
    loop {
        let connected = tokio::select! {
            () = leg.stop.cancelled() => return None,
            connected = tokio::time::timeout(PATIENCE, connect(&leg.url)) => connected,
        };
        if let Ok(Ok(conn)) = connected {
            return Some(conn);
        }
        pause(leg, Duration::from_millis(50)).await;
    }
}

/// Waits, or until it is time to stop.
pub(crate) async fn pause(leg: &Leg, span: Duration) {
    tokio::select! {
        () = leg.stop.cancelled() => {}
        () = tokio::time::sleep(span) => {}
    }
}

/// Writes one transaction after the other until it is time to stop. `next` gives the text of the n-th, which is never sent
/// twice: one whose outcome is unknown is left as it is, and the source alone says what became of it.
pub(crate) async fn write(
    leg: &Leg,
    lane: u64,
    rest: Duration,
    mut next: impl FnMut(&mut ChaCha8Rng, u64) -> String + Send,
) -> Result<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(leg.seed ^ (lane << 48) ^ (leg.number << 24));
    let (mut conn, mut done, mut n): (Option<Conn>, u64, u64) = (None, 0, 0);
    while !leg.stop.is_cancelled() {
        let Some(open) = conn.as_mut() else {
            conn = reconnect(leg).await;
            continue;
        };
        n += 1;
        let text = next(&mut random, n);
        match tokio::time::timeout(PATIENCE, open.query_drop(&text)).await {
            Ok(Ok(())) => done += 1,
            Ok(Err(error)) if !is_passing(&error) => {
                return Err(error).with_context(|| format!("write {text:.300} in {}", leg.database));
            }
            // What was begun is rolled back with the connection.
            Ok(Err(_)) | Err(_) => conn = None,
        }
        pause(leg, leg.pace.rest(rest)).await;
    }
    if let Some(conn) = conn {
        let _ = tokio::time::timeout(PATIENCE, conn.disconnect()).await;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn writers_slow_down_when_the_target_falls_behind_and_recover() {
        let pace = Pace::default();
        (0..40).for_each(|_| pace.follow(5_000));
        assert_eq!(pace.percent(), 2_000);
        pace.follow(200);
        assert_eq!(pace.percent(), 2_000);
        (0..60).for_each(|_| pace.follow(0));
        assert_eq!(pace.percent(), 100);
        let slowed = Pace::slowed(4);
        (0..60).for_each(|_| slowed.follow(0));
        assert_eq!(slowed.percent(), 400);
    }

    #[test]
    fn names_are_unique_and_fit_into_database_names() {
        let names: Vec<&str> = all().iter().map(|w| w.name()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|n| n.len() < 16 && n.chars().all(|c| c.is_ascii_lowercase())));
    }
}

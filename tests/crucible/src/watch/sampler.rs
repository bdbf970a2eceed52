//! Looks at the target fifty times a second: every look is one committed state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lutra_harness::mysql::connect;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::findings::{Findings, Invariant};
use crate::workload::{Look, Memory, Workload};

/// Fifty looks a second.
const EVERY: Duration = Duration::from_millis(20);
/// Beats that are remembered: minutes of them.
const REMEMBERED: usize = 20_000;
/// A look that takes longer is given up: the target does not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Beside large transactions every so many looks the rows of open transactions are counted.
const STIR_EVERY: u64 = 10;

/// What the sampler shares with everybody: when commits of the loader were seen.
#[derive(Debug)]
pub struct Pulse {
    count: watch::Sender<u64>,
    beats: Mutex<VecDeque<Instant>>,
    /// When an open transaction was seen to grow.
    stirs: Mutex<VecDeque<Instant>>,
    samples: watch::Sender<u64>,
}

/// Remembers one more moment.
fn remember(moments: &Mutex<VecDeque<Instant>>, at: Instant) {
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    if moments.len() == REMEMBERED {
        moments.pop_front();
    }
    moments.push_back(at);
}

impl Pulse {
    fn new() -> Self {
        let (beats, stirs) = (Mutex::default(), Mutex::default());
        Self { count: watch::Sender::new(0), beats, stirs, samples: watch::Sender::new(0) }
    }

    fn beat(&self, at: Instant) {
        remember(&self.beats, at);
        self.count.send_modify(|n| *n += 1);
    }

    fn stir(&self, at: Instant) {
        remember(&self.stirs, at);
    }

    /// Moves of the checkpoint that were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Samples taken.
    #[must_use]
    pub fn samples(&self) -> u64 {
        *self.samples.borrow()
    }

    /// Returns when `n` more samples have been taken; `false` when `limit` passes before.
    pub async fn sampled(&self, n: u64, limit: Duration) -> bool {
        let wanted = self.samples() + n;
        let mut samples = self.samples.subscribe();
        tokio::time::timeout(limit, samples.wait_for(|s| *s >= wanted)).await.is_ok()
    }

    /// Returns when the checkpoint has moved `n` times more; `false` when `limit` passes before.
    pub async fn after(&self, n: u64, limit: Duration) -> bool {
        let wanted = self.count() + n;
        let mut count = self.count.subscribe();
        tokio::time::timeout(limit, count.wait_for(|c| *c >= wanted)).await.is_ok()
    }

    /// When the checkpoint was last seen to move.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).back().copied()
    }

    /// The longest time between two moves, between these moments.
    #[must_use]
    pub fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        longest_pause(beats.iter().copied(), from, to)
    }

    /// The longest time, between these moments, in which the checkpoint did not move and, beside large transactions, no
    /// open transaction grew: those are one commit of many seconds, and at work all the while.
    #[must_use]
    pub fn longest_rest(&self, from: Instant, to: Instant) -> Duration {
        let all = |moments: &Mutex<VecDeque<Instant>>| {
            moments.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect::<Vec<_>>()
        };
        let mut moments = [all(&self.beats), all(&self.stirs)].concat();
        moments.sort_unstable();
        longest_pause(moments.into_iter(), from, to)
    }
}

fn longest_pause(beats: impl Iterator<Item = Instant>, from: Instant, to: Instant) -> Duration {
    let inside = beats.filter(|beat| *beat > from && *beat < to).chain([to]);
    let mut before = from;
    let pauses = inside.map(|beat| beat.saturating_duration_since(std::mem::replace(&mut before, beat)));
    pauses.max().unwrap_or_default()
}

/// What is sampled.
pub struct Sampled {
    /// The target.
    pub url: String,
    /// The loader's task, for its slot rows.
    pub task: String,
    /// The workloads with their databases.
    pub workloads: Vec<(Box<dyn Workload>, String)>,
}

/// A running sampler.
pub struct Sampler {
    /// When the checkpoint moved.
    pub pulse: Arc<Pulse>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sampler {
    /// Begins to look.
    #[must_use]
    pub fn start(copy: Sampled, findings: Findings) -> Self {
        let (stop, pulse) = (CancellationToken::new(), Arc::new(Pulse::new()));
        let own = (stop.clone(), Arc::clone(&pulse));
        #[allow(clippy::disallowed_methods, reason = "the sampler's own task, joined in `finish`")]
        let task = tokio::spawn(async move { sample(copy, findings, &own.0, &own.1).await });
        Self { pulse, stop, task }
    }

    /// Stops looking.
    pub async fn finish(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

type Slots = BTreeMap<u16, ([u64; 2], [u64; 2])>;

async fn sample(copy: Sampled, findings: Findings, stop: &CancellationToken, pulse: &Pulse) {
    let mut memories: Vec<Memory> = copy.workloads.iter().map(|_| Memory::default()).collect();
    let giants = copy.workloads.iter().any(|(workload, _)| workload.name() == "giants");
    let (mut conn, mut before, mut open_rows) = (None, Slots::new(), 0);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if conn.is_none() {
            conn = tokio::time::timeout(PATIENCE, connect(&copy.url)).await.ok().and_then(Result::ok);
        }
        let Some(open) = conn.as_mut() else { continue };
        let count = match tokio::time::timeout(PATIENCE, look(open, &copy, &mut memories)).await {
            Ok(Ok((looks, slots))) => {
                for seen in looks {
                    seen.fine.iter().for_each(|invariant| findings.fine(*invariant, 1));
                    seen.wrong.into_iter().for_each(|(invariant, text)| findings.broken(invariant, text));
                }
                if compare(&before, &slots, &findings) {
                    pulse.beat(Instant::now());
                }
                before = slots;
                pulse.samples.send_modify(|n| *n += 1);
                giants && pulse.samples().is_multiple_of(STIR_EVERY)
            }
            // The copy's tables are not there yet, or the target is away.
            Ok(Err(_)) | Err(_) => {
                conn = None;
                false
            }
        };
        if let Some(open) = conn.as_mut().filter(|_| count)
            && let Ok(Ok(rows)) = tokio::time::timeout(PATIENCE, rows_of_open(open)).await
        {
            if rows > open_rows {
                pulse.stir(Instant::now());
            }
            open_rows = rows;
        }
    }
}

/// Rows that transactions which are not committed have changed so far: the loader's, for nobody else writes there.
async fn rows_of_open(conn: &mut Conn) -> Result<u64, mysql_async::Error> {
    let question = "SELECT CAST(COALESCE(SUM(trx_rows_modified), 0) AS UNSIGNED) FROM information_schema.innodb_trx";
    Ok(conn.query_first(question).await?.unwrap_or_default())
}

/// Everything in one consistent read.
async fn look(
    conn: &mut Conn,
    copy: &Sampled,
    memories: &mut [Memory],
) -> Result<(Vec<Look>, Slots), mysql_async::Error> {
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    let question = format!(
        "SELECT slot, term, attempt, sequence, sub FROM lutra.slot WHERE task = '{}'",
        copy.task.replace('\'', "''")
    );
    let rows: Vec<(u16, u64, u64, u64, u64)> = conn.query(question).await?;
    let slots = rows.into_iter().map(|(slot, term, attempt, seq, sub)| (slot, ([term, attempt], [seq, sub]))).collect();
    let mut looks = Vec::new();
    for ((workload, database), memory) in copy.workloads.iter().zip(memories) {
        looks.push(workload.look(database, conn, memory).await?);
        memory.looks += 1;
    }
    conn.query_drop("COMMIT").await?;
    Ok((looks, slots))
}

/// Whether the checkpoint moved; a row that went back is a finding.
fn compare(before: &Slots, now: &Slots, findings: &Findings) -> bool {
    for (slot, (epoch, number)) in before {
        let Some((new_epoch, new_number)) = now.get(slot) else {
            findings.broken(Invariant::WatermarkForward, format!("the row of slot {slot} is gone"));
            continue;
        };
        let back = |old: &[u64; 2], new: &[u64; 2]| {
            (new < old).then(|| format!("slot {slot} went from {}/{} to {}/{}", old[0], old[1], new[0], new[1]))
        };
        findings.look(Invariant::NoForeignCommit, back(epoch, new_epoch).map(|text| format!("the epoch of {text}")));
        findings
            .look(Invariant::WatermarkForward, back(number, new_number).map(|text| format!("the number of {text}")));
    }
    let top = |slots: &Slots| slots.values().map(|(_, number)| *number).max();
    top(now) > top(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(epoch: [u64; 2], number: [u64; 2]) -> Slots {
        Slots::from([(0, (epoch, number))])
    }

    #[test]
    fn a_checkpoint_that_moves_back_is_found() {
        let findings = Findings::default();
        assert!(compare(&slots([1, 1], [5, 0]), &slots([1, 1], [6, 0]), &findings));
        assert!(!compare(&slots([1, 1], [6, 0]), &slots([2, 1], [6, 0]), &findings));
        assert_eq!(findings.violated(), []);
        compare(&slots([1, 1], [6, 0]), &slots([1, 1], [5, 9]), &findings);
        assert_eq!(findings.violated(), [Invariant::WatermarkForward]);
        compare(&slots([2, 0], [6, 0]), &slots([1, 9], [6, 0]), &findings);
        assert!(findings.violated().contains(&Invariant::NoForeignCommit));
    }

    #[test]
    fn a_row_that_is_gone_is_found() {
        let findings = Findings::default();
        compare(&slots([1, 1], [5, 0]), &Slots::new(), &findings);
        assert_eq!(findings.violated(), [Invariant::WatermarkForward]);
    }

    #[test]
    fn the_longest_pause_counts_its_ends() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let pause = |beats: &[u64], to: u64| longest_pause(beats.iter().map(|b| at(*b)), at(10), at(to));
        assert_eq!(pause(&[5, 20, 120, 130], 150), Duration::from_millis(100));
        assert_eq!(pause(&[], 50), Duration::from_millis(40));
        assert_eq!(pause(&[20, 30], 90), Duration::from_millis(60));
    }

    #[test]
    fn a_transaction_that_grows_does_not_rest() {
        let (pulse, began) = (Pulse::new(), Instant::now());
        let at = |ms: u64| began + Duration::from_millis(ms);
        [20, 900].into_iter().for_each(|ms| pulse.beat(at(ms)));
        [300, 600].into_iter().for_each(|ms| pulse.stir(at(ms)));
        assert_eq!(pulse.longest_pause(began, at(1_000)), Duration::from_millis(880));
        assert_eq!(pulse.longest_rest(began, at(1_000)), Duration::from_millis(300));
        assert_eq!(pulse.count(), 2);
    }
}

//! What a load has done so far, for status and for those who wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lutra_change::{GtidSet, Number};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::blocked::BlockedTable;
use crate::copying::CopyRow;
use crate::events::LagsMeasured;

/// Lags are measured many times a second, unless the scheduler itself waits for the target: then they are this old at most
/// before the time since counts as lag.
const FRESH: Duration = Duration::from_secs(3);
/// So long nothing may be applied while something waits before a person is told.
const STUCK: Duration = Duration::from_secs(30);

/// The lags of PROTOCOL.md, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lags {
    /// Publish acknowledged minus source commit.
    pub read_lag_seconds: f64,
    /// Intake minus publish.
    pub transit_lag_seconds: f64,
    /// Target commit minus intake.
    pub apply_lag_seconds: f64,
    /// Now minus the commit time of the oldest unit not yet applied, or the newest heartbeat's whole way.
    pub end_to_end_lag_seconds: f64,
}

/// What a load has done so far. In memory: only the slot rows are durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// `starting`, `seeking` (until something of the log has told how far behind it is), `running`, `retrying`, `halted`.
    pub state: &'static str,
    /// Everything up to this unit is in the target.
    pub number: Number,
    /// GTIDs of everything that is in the target, or needs not be.
    pub gtid_set: Arc<GtidSet>,
    /// The first offset of the pipeline's log that is not done.
    pub next_offset: i64,
    /// Rows applied since the process took the task.
    pub rows_applied: u64,
    /// Source transactions applied.
    pub transactions_applied: u64,
    /// Target transactions committed.
    pub batches_committed: u64,
    /// Conflicts found.
    pub conflicts: u64,
    /// Batches that were rolled back and run again.
    pub reruns: u64,
    /// Units waiting or under way.
    pub apply_lag_transactions: u64,
    /// Commit time of the oldest unit that is not yet applied; none when all are.
    pub oldest_pending_at: Option<i64>,
    /// The lags as last measured.
    pub lags: Lags,
    /// Whether they were measured at all.
    pub measured: bool,
    /// When that was looked at last.
    pub looked_at: Option<Instant>,
    /// When something was applied last, or nothing was left to apply.
    pub moved_at: Option<Instant>,
    /// The copies of tables (P12).
    pub copies: Vec<CopyRow>,
    /// Tables that changes do not reach now.
    pub blocked: Vec<BlockedTable>,
    /// How DDL is made repeatable.
    pub ddl_by_gtid: bool,
    /// The last error, with what to do.
    pub last_error: Option<String>,
}

impl Progress {
    /// The lags as they are now: nothing that came since they were measured has been applied.
    pub fn lags_now(&self) -> Option<Lags> {
        let since = self.looked_at.map(|at| at.elapsed()).filter(|_| self.is_held_up()).unwrap_or_default();
        let end_to_end_lag_seconds = self.lags.end_to_end_lag_seconds + since.as_secs_f64();
        self.measured.then_some(Lags { end_to_end_lag_seconds, ..self.lags })
    }

    /// The log is read, and nothing has gone wrong since.
    fn is_at_work(&self) -> bool {
        matches!(self.state, "running" | "seeking")
    }

    /// The scheduler waits for the target: it does not even look at its lags.
    pub fn is_held_up(&self) -> bool {
        self.is_at_work() && self.looked_at.is_some_and(|at| at.elapsed() > FRESH)
    }

    /// That nothing is applied although something waits, where that has lasted.
    pub fn warning(&self) -> Option<String> {
        let since = self.moved_at?.elapsed();
        let waits = self.apply_lag_transactions > 0 || self.is_held_up();
        (self.is_at_work() && waits && since >= STUCK).then(|| {
            format!(
                "nothing was applied for {} s although changes wait: a statement runs long in the target, or waits for a lock \
                 there",
                since.as_secs()
            )
        })
    }
}

/// The progress of one load, as others watch it.
pub type ProgressReceiver = watch::Receiver<Progress>;

/// All loads of this process.
#[derive(Clone, Debug, Default)]
pub struct Board {
    loads: Arc<Mutex<BTreeMap<String, ProgressReceiver>>>,
}

impl Board {
    /// Makes the progress of a pipeline's load visible until what is returned is dropped.
    pub fn put(&self, pipeline: &str, progress: ProgressReceiver) -> Shown {
        self.lock().insert(pipeline.to_owned(), progress.clone());
        Shown { board: self.clone(), pipeline: pipeline.to_owned(), progress, stays: false }
    }

    /// One load.
    pub fn get(&self, pipeline: &str) -> Option<ProgressReceiver> {
        self.lock().get(pipeline).cloned()
    }

    /// All loads, by pipeline.
    pub fn all(&self) -> Vec<(String, Progress)> {
        self.lock().iter().map(|(name, progress)| (name.clone(), progress.borrow().clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressReceiver>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load's progress on the board. A load that is cut off (P6) ends without another word: it must not go on looking alive.
#[derive(Debug)]
pub struct Shown {
    board: Board,
    pipeline: String,
    progress: ProgressReceiver,
    stays: bool,
}

impl Shown {
    /// The load is over, and its last words stay on the board until another one of the pipeline begins here.
    pub fn stays(mut self) {
        self.stays = true;
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        LagsMeasured::gone(&self.pipeline);
        let mut loads = self.board.lock();
        let own = loads.get(&self.pipeline).is_some_and(|shown| shown.same_channel(&self.progress));
        if own && !self.stays {
            loads.remove(&self.pipeline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_is_dropped_in_the_middle_is_not_shown_any_more() {
        let board = Board::default();
        let load = async {
            let (_progress, watched) = watch::channel(running(0));
            let _shown = board.put("p", watched);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = load => {}
            () = std::future::ready(()) => {}
        }
        assert!(board.get("p").is_none());
    }

    #[test]
    fn last_words_stay_until_another_load_begins() {
        let board = Board::default();
        let begin = |number| {
            let (progress, watched) = watch::channel(running(number));
            (board.put("p", watched), progress)
        };
        let waiting = || board.get("p").map(|shown| shown.borrow().apply_lag_transactions);
        begin(1).0.stays();
        assert_eq!(waiting(), Some(1));
        let (first, _kept) = begin(2);
        let (second, _kept) = begin(3);
        drop(first);
        assert_eq!(waiting(), Some(3), "another one's");
        drop(second);
        assert_eq!(waiting(), None);
    }

    fn running(pending: u64) -> Progress {
        let now = Some(Instant::now());
        let lags = Lags { end_to_end_lag_seconds: 0.5, ..Lags::default() };
        let (measured, looked_at, moved_at) = (true, now, now);
        Progress {
            state: "running",
            apply_lag_transactions: pending,
            lags,
            measured,
            looked_at,
            moved_at,
            ..Progress::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_is_held_up_by_its_target_lags_more_by_the_second() {
        let progress = running(0);
        let lag = || progress.lags_now().map(|lags| lags.end_to_end_lag_seconds);
        assert_eq!((lag(), progress.warning()), (Some(0.5), None));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(lag(), Some(0.5));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(lag(), Some(42.5));
        let warning = progress.warning().unwrap_or_default();
        assert!(warning.starts_with("nothing was applied for 42 s"), "{warning}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_without_anything_moving_is_told_and_idleness_is_not() {
        let (waits, idle, halted) = (running(2), running(0), Progress { state: "halted", ..running(2) });
        tokio::time::advance(STUCK).await;
        let looked = |progress: Progress| Progress { looked_at: Some(Instant::now()), ..progress };
        assert!(looked(waits).warning().is_some());
        assert_eq!((looked(idle).warning(), looked(halted).warning()), (None, None));
    }
}

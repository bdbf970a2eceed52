//! What a load has done so far, for status and for those who wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lutra_change::{GtidSet, Number};
use serde::Serialize;
use tokio::sync::watch;

use crate::blocked::BlockedTable;
use crate::copying::CopyRow;

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
    /// `starting`, `running`, `retrying`, `halted`, `stopped`.
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
    /// The copies of tables (P12).
    pub copies: Vec<CopyRow>,
    /// Tables that changes do not reach now.
    pub blocked: Vec<BlockedTable>,
    /// How DDL is made repeatable.
    pub ddl_by_gtid: bool,
    /// The last error, with what to do.
    pub last_error: Option<String>,
}

/// The progress of one load, as others watch it.
pub type ProgressReceiver = watch::Receiver<Progress>;

/// All loads of this process.
#[derive(Clone, Debug, Default)]
pub struct Board {
    loads: Arc<Mutex<BTreeMap<String, ProgressReceiver>>>,
}

impl Board {
    /// Makes the progress of a pipeline's load visible.
    pub fn put(&self, pipeline: &str, progress: ProgressReceiver) {
        self.lock().insert(pipeline.to_owned(), progress);
    }

    /// Takes it away.
    pub fn remove(&self, pipeline: &str) {
        self.lock().remove(pipeline);
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

//! What a worker says of its extractions: `GET /v1/tasks`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use lutra_change::{BinlogPosition, Epoch, GtidSet, Number, TaskId};
use serde::Serialize;
use tokio::time::Instant;

use crate::assembler::UnitPart;
use crate::events::Progressed;

/// What was done since the start of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Bytes of binlog events read.
    pub bytes_read: u64,
    /// Events read.
    pub events: u64,
    /// Transactions read, those passed over included.
    pub transactions: u64,
    /// Units written: transactions and DDL statements with something that is captured.
    pub units: u64,
    /// Records written.
    pub records: u64,
    /// Row changes written.
    pub rows: u64,
    /// Bytes of record bodies written.
    pub bytes_written: u64,
}

impl Counters {
    /// Counts a part.
    pub fn part(&mut self, part: &UnitPart) {
        self.records += 1;
        self.rows += part.rows as u64;
        self.bytes_written += part.body.len() as u64;
        self.units += u64::from(part.place.is_some() && part.committed_at != 0);
    }

    /// What was done since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            bytes_read: self.bytes_read - before.bytes_read,
            events: self.events - before.events,
            transactions: self.transactions - before.transactions,
            units: self.units - before.units,
            records: self.records - before.records,
            rows: self.rows - before.rows,
            bytes_written: self.bytes_written - before.bytes_written,
        }
    }
}

/// How one extraction does.
#[derive(Clone, Debug, Serialize)]
pub struct TaskStatus {
    /// `starting`, `seeking` (until the server's first event), `running`, `draining`, `retrying`.
    pub state: &'static str,
    /// The server that is read, `host:port`.
    pub server: String,
    /// The epoch of the attempt.
    pub epoch: Epoch,
    /// The last unit that is in the log.
    pub acknowledged: Number,
    /// Where the source was read up to.
    pub position: BinlogPosition,
    /// Everything executed up to there.
    pub gtid_set: GtidSet,
    /// Publish acknowledged less source commit, of the last acknowledged unit or heartbeat, in seconds.
    pub read_lag_seconds: f64,
    /// Source clock less extractor clock, in seconds.
    pub clock_offset_seconds: f64,
    /// Seconds until the source may purge what is to be read next; absent where time does not purge its binlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_headroom_seconds: Option<f64>,
    /// What a person should know although it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Bytes handed to Kafka and not acknowledged.
    pub in_flight_bytes: usize,
    /// What was done since the start of the attempt.
    #[serde(flatten)]
    pub counters: Counters,
    /// Why the attempt before this one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl TaskStatus {
    /// What was told so long ago.
    fn after(mut self, since: Duration) -> Self {
        if since > FRESH && self.state == "running" {
            self.read_lag_seconds += since.as_secs_f64();
        }
        self
    }
}

/// The extractions of this worker by their task ids.
#[derive(Clone, Debug, Default)]
pub struct Board {
    tasks: Arc<Mutex<BTreeMap<String, (TaskStatus, Instant)>>>,
}

/// An extraction says how it does each second. One that cannot, since it waits for the log to take more, lags by the time
/// since.
const FRESH: Duration = Duration::from_secs(3);

impl Board {
    /// Writes how a task does.
    pub fn set(&self, task: &str, status: TaskStatus) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(task.to_owned(), (status, Instant::now()));
    }

    /// The task does not run here, or says nothing for now.
    pub fn remove(&self, task: &str) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
    }

    /// Takes a task off the board when it ends, however it does: one that is cut off (P6) ends without another word.
    pub fn guard(&self, task: &TaskId) -> OffBoard {
        OffBoard { board: self.clone(), task: task.clone() }
    }

    /// All of them, with their lags as they are now.
    pub fn all(&self) -> BTreeMap<String, TaskStatus> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().map(|(task, (status, told_at))| (task.clone(), status.clone().after(told_at.elapsed()))).collect()
    }

    /// The route that shows them.
    pub fn router(&self) -> Router {
        Router::new().route("/v1/tasks", get(show)).with_state(self.clone())
    }
}

/// See [`Board::guard`].
#[derive(Debug)]
pub struct OffBoard {
    board: Board,
    task: TaskId,
}

impl Drop for OffBoard {
    fn drop(&mut self) {
        self.board.remove(&self.task.to_string());
        Progressed::gone(&self.task.name);
    }
}

async fn show(State(board): State<Board>) -> Json<BTreeMap<String, TaskStatus>> {
    Json(board.all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &'static str) -> TaskStatus {
        TaskStatus {
            state,
            server: String::new(),
            epoch: Epoch::ZERO,
            acknowledged: Number::ZERO,
            position: BinlogPosition::default(),
            gtid_set: GtidSet::new(),
            read_lag_seconds: 0.5,
            clock_offset_seconds: 0.0,
            retention_headroom_seconds: None,
            warning: None,
            in_flight_bytes: 0,
            counters: Counters::default(),
            last_error: None,
        }
    }

    #[test]
    fn an_extraction_that_is_dropped_in_the_middle_is_not_shown_any_more() {
        let (board, task) = (Board::default(), TaskId::new(lutra_change::TaskKind::Extract, "s"));
        let off = board.guard(&task);
        board.set(&task.to_string(), status("running"));
        assert_eq!(board.all().len(), 1);
        drop(off);
        assert!(board.all().is_empty());
    }

    #[test]
    fn an_extraction_that_says_nothing_any_more_lags_by_the_time_since() {
        let lag = |state, seconds| status(state).after(Duration::from_secs(seconds)).read_lag_seconds;
        assert!((lag("running", 2) - 0.5).abs() < 1e-9);
        assert!((lag("running", 12) - 12.5).abs() < 1e-9);
        assert!((lag("draining", 12) - 0.5).abs() < 1e-9);
    }
}

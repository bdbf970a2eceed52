//! What a service implements to run tasks, and what it is given.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lutra_change::{Epoch, LogId, TaskId};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Result;
use crate::load::{LoadProgress, LoadRequest, LoadStream};
use crate::model::{FailureReport, ObservedState, RestartRequest, TaskDefinition};
use crate::store::{Store, add_bookmark};

/// How long a start waits for bookmarks while older ones are known.
const BOOKMARKS_WAIT: Duration = Duration::from_secs(1);

/// Runs one service's tasks.
///
/// One call is one start: it takes its epoch by [`TaskHandle::next_attempt`] (again for every start inside the call),
/// works until [`TaskContext::stop`] is cancelled or it cannot go on, and returns. A panic is a failure of that task
/// alone. It is dropped at any of its await points where it does not drain in time, or another worker holds the task: what
/// it shows to the world goes by `Drop`.
pub trait TaskRunner: Send + Sync + 'static {
    /// Runs the task.
    fn run(&self, task: TaskContext) -> impl Future<Output = Result<TaskEnd, TaskFailure>> + Send;
}

/// How a run ended when nothing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// Stopped as asked: what was accepted is done.
    Drained,
    /// A higher epoch is in force: another owner runs the task.
    Fenced,
    /// There is nothing more to do, ever.
    Completed,
}

/// What shall become of a failed task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again by back-off, from 1 s to 1 min.
    Retry,
    /// A person must act; tried again when the definition changes, when a restart is asked for, and slowly by itself.
    Halt,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure {
    /// What happened, with its ids.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// What shall become of the task.
    pub disposition: Disposition,
    /// The causes, outermost first.
    pub chain: Vec<String>,
    /// The page of `deploy/runbooks` that is about it, by its name.
    pub runbook: &'static str,
}

impl TaskFailure {
    /// The failure that `error` describes, with its chain of sources.
    pub fn new(error: &(dyn std::error::Error + 'static), disposition: Disposition, hint: impl Into<String>) -> Self {
        let chain = std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect();
        Self { message: error.to_string(), hint: hint.into(), disposition, chain, runbook: "" }
    }

    /// A failure by its text alone.
    pub fn message(message: impl Into<String>, disposition: Disposition, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), disposition, chain: Vec::new(), runbook: "" }
    }

    /// Names the page of `deploy/runbooks` that is about it.
    #[must_use]
    pub fn with_runbook(self, runbook: &'static str) -> Self {
        Self { runbook, ..self }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a run is given.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// The task.
    pub id: TaskId,
    /// The term of this taking when the run began; epochs come from [`TaskHandle::next_attempt`].
    pub term: u64,
    /// What it shall do.
    pub definition: TaskDefinition,
    /// Cancelled when the run shall drain: finish what was accepted, then return [`TaskEnd::Drained`].
    pub stop: CancellationToken,
    /// The way back to the coordination.
    pub handle: TaskHandle,
}

/// The way from a run back to the coordination. None of its calls waits for ZooKeeper unless it is `async`: running
/// work goes on when ZooKeeper does not answer.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(crate) task: TaskId,
    pub(crate) log_id: Option<LogId>,
    pub(crate) store: Store,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) outbox: watch::Sender<Outbox>,
    pub(crate) restart: watch::Receiver<Option<RestartRequest>>,
    pub(crate) answers: Option<RestartRequest>,
    pub(crate) known: Arc<KnownBookmarks>,
}

impl TaskHandle {
    /// The epoch of the next start: a higher attempt, or a higher term if the task had to be taken anew meanwhile (P9).
    pub fn next_attempt(&self) -> Epoch {
        let epoch = self.epochs.next();
        self.outbox.send_modify(|outbox| outbox.epoch = epoch);
        epoch
    }

    /// Says how the task does. The newest state is written as soon as ZooKeeper allows.
    pub fn set_state(&self, state: ObservedState, detail: Value) {
        self.outbox.send_modify(|outbox| {
            outbox.state = state;
            outbox.detail = detail;
            outbox.said = true;
            if state == ObservedState::Running {
                outbox.failure = FailureNode::Clear;
            }
        });
    }

    /// Publishes a bookmark (P2) behind those before it; written in the background, the newest one wins.
    pub fn publish_bookmark(&self, bookmark: Value) {
        self.known.add(&self.task, &bookmark);
        self.outbox.send_modify(|outbox| outbox.bookmark = Some(bookmark));
    }

    /// The task counts as begun: its origin is acknowledged in the log that the definition names (P2). Written in the
    /// background until it is done.
    pub fn mark_begun(&self) {
        if let Some(log_id) = self.log_id {
            self.outbox.send_modify(|outbox| outbox.begun = Some(log_id));
        }
    }

    /// This task's bookmarks, oldest first. Where this process knows them, from a start before, an attempt does not wait for
    /// a ZooKeeper that is away.
    pub async fn bookmarks(&self) -> Result<Vec<Value>> {
        self.read_bookmarks(&self.task).await
    }

    /// The bookmarks of the task that writes this task's input, oldest first; they may be older ones, as in
    /// [`bookmarks`](Self::bookmarks).
    pub async fn bookmarks_of(&self, task: &TaskId) -> Result<Vec<Value>> {
        self.read_bookmarks(task).await
    }

    async fn read_bookmarks(&self, task: &TaskId) -> Result<Vec<Value>> {
        let read = self.store.bookmarks(task);
        let read = match self.known.get(task) {
            None => read.await?,
            Some(known) => match tokio::time::timeout(BOOKMARKS_WAIT, read).await {
                Ok(Ok(read)) => read,
                Ok(Err(error)) if !error.is_transient() => return Err(error),
                // Older ones lead to the same places, by a longer way.
                Ok(Err(_)) | Err(_) => {
                    tracing::info!(%task, "ZooKeeper does not answer: going by the bookmarks that are known here");
                    return Ok(known);
                }
            },
        };
        self.known.set(task, read.clone());
        Ok(read)
    }

    /// What pipelines want copied of this task's source (P12), again whenever it changes.
    pub fn load_requests(&self) -> LoadStream {
        self.store.load_stream(&self.task)
    }

    /// What they want now, by pipeline.
    pub async fn requested_loads(&self) -> Result<BTreeMap<String, LoadRequest>> {
        self.store.load_requests(&self.task).await
    }

    /// How far the copies of this task's source have come, by pipeline.
    pub async fn copies(&self) -> Result<BTreeMap<String, LoadProgress>> {
        self.store.copies(&self.task).await
    }

    /// Writes how far a copy has come: of a chunk only once it is in the log for good.
    pub async fn put_copy(&self, pipeline: &str, progress: &LoadProgress) -> Result<()> {
        self.store.put_copy(&self.task, pipeline, progress).await
    }

    /// Forgets a copy that nobody wants any more.
    pub async fn delete_copy(&self, pipeline: &str) -> Result<()> {
        self.store.delete_copy(&self.task, pipeline).await
    }

    /// Waits until the definitions of a pipeline's load are in the log of `source`, of that very load where one is named; how
    /// far it has come then. Cancel safe.
    pub async fn load_defined(&self, source: &TaskId, pipeline: &str, load: Option<Uuid>) -> LoadProgress {
        let mut changes = self.store.copy_stream(source);
        loop {
            changes.next().await;
            match self.store.copies(source).await.map(|mut copies| copies.remove(pipeline)) {
                Ok(Some(progress)) if progress.is_defined(load) => return progress,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a copy's progress cannot be read; the next change is waited for");
                }
            }
        }
    }

    /// The pending wish that this task be started again. The agent drains the run and starts it anew by itself; a run
    /// that can do it better (a writer that starts its next attempt) may look here for the reason.
    pub fn restart_requested(&self) -> watch::Receiver<Option<RestartRequest>> {
        self.restart.clone()
    }

    /// The wish that this very run answers, if it was started for one.
    pub fn answers(&self) -> Option<&RestartRequest> {
        self.answers.as_ref()
    }

    /// Asks the owner of another task to start it again (P3: a gap). One pending request per task; a second changes
    /// nothing.
    pub async fn request_restart_of(&self, task: &TaskId, reason: Value) -> Result<()> {
        self.store.request_restart(task, &self.task.to_string(), reason).await
    }
}

/// The bookmarks that one taking has read or published last.
#[derive(Debug, Default)]
pub(crate) struct KnownBookmarks {
    inner: Mutex<BTreeMap<TaskId, Vec<Value>>>,
}

impl KnownBookmarks {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Vec<Value>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, task: &TaskId) -> Option<Vec<Value>> {
        self.lock().get(task).cloned()
    }

    fn set(&self, task: &TaskId, bookmarks: Vec<Value>) {
        self.lock().insert(task.clone(), bookmarks);
    }

    fn add(&self, task: &TaskId, bookmark: &Value) {
        if let Some(known) = self.lock().get_mut(task) {
            add_bookmark(known, bookmark);
        }
    }
}

/// What waits to be written for a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outbox {
    pub(crate) state: ObservedState,
    pub(crate) detail: Value,
    /// The run itself has said its state.
    pub(crate) said: bool,
    pub(crate) epoch: Epoch,
    pub(crate) spec_version: u64,
    pub(crate) bookmark: Option<Value>,
    /// The log on which the task has begun.
    pub(crate) begun: Option<LogId>,
    pub(crate) failure: FailureNode,
}

/// What the failure node shall hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum FailureNode {
    /// What it holds.
    #[default]
    Keep,
    /// This.
    Set(FailureReport),
    /// Nothing.
    Clear,
}

/// The epochs of one taking.
#[derive(Debug)]
pub(crate) struct Epochs {
    inner: Mutex<EpochState>,
}

#[derive(Clone, Copy, Debug)]
struct EpochState {
    czxid: u64,
    floor: u64,
    last: Epoch,
}

impl Epochs {
    pub(crate) fn new(czxid: u64) -> Self {
        Self { inner: Mutex::new(EpochState { czxid, floor: 0, last: Epoch::ZERO }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, EpochState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node was made again: the term of the next start (P9).
    pub(crate) fn retaken(&self, czxid: u64) {
        self.lock().czxid = czxid;
    }

    /// The floor of the definition that runs next.
    pub(crate) fn set_floor(&self, floor: u64) {
        self.lock().floor = floor;
    }

    /// The term of the next start.
    pub(crate) fn term(&self) -> u64 {
        let state = self.lock();
        state.czxid.saturating_add(state.floor)
    }

    fn next(&self) -> Epoch {
        let mut state = self.lock();
        let term = state.czxid.saturating_add(state.floor);
        let fresh = Epoch::new(term, 1);
        // Never backwards: a lowered floor must not make an epoch that was used before.
        state.last = if fresh > state.last { fresh } else { state.last.next_attempt() };
        state.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_rise_inside_a_taking_and_a_new_taking_raises_the_term() {
        let epochs = Epochs::new(10);
        epochs.set_floor(100);
        assert_eq!([epochs.next(), epochs.next()], [Epoch::new(110, 1), Epoch::new(110, 2)]);
        epochs.retaken(12);
        assert_eq!(epochs.term(), 112);
        assert_eq!(epochs.next(), Epoch::new(112, 1));
    }

    #[test]
    fn epochs_never_go_back_when_the_floor_is_lowered() {
        let epochs = Epochs::new(10);
        epochs.set_floor(100);
        let before = epochs.next();
        epochs.set_floor(0);
        assert!(epochs.next() > before);
    }

    #[test]
    fn a_failure_tells_the_chain_of_its_error() {
        let error = crate::CoordinationError::Payload {
            path: "/x".to_owned(),
            source: serde_json::from_str::<u8>("x").err().into_iter().next().unwrap_or_else(|| unreachable!()),
        };
        let failure = TaskFailure::new(&error, Disposition::Halt, "mend it");
        assert_eq!(
            (failure.message.as_str(), failure.chain.len()),
            ("ZooKeeper node /x does not hold what it should", 1)
        );
    }
}

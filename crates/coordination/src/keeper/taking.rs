//! One stretch of holding `running/<task>`, over any number of sessions.

use std::sync::Arc;
use std::time::Duration;

use lutra_change::{Epoch, TaskId};
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use serde_json::{Value, json};
use tokio::sync::watch;
use zookeeper_client::{AddWatchMode, EventType};

use super::publisher::Publisher;
use crate::error::{CoordinationError, Result};
use crate::model::{DesiredState, ObservedState, RestartRequest, RunningStatus, TaskDefinition, WorkerInfo};
use crate::node::{EPHEMERAL, Session};
use crate::session::Coordination;
use crate::store::read_definition;
use crate::task::{Disposition, Epochs, FailureNode, KnownBookmarks, Outbox, TaskFailure};
use crate::tree::Tree;
use crate::watch::Watch;

/// What giving back may take; what is not given back goes with the session.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(3);

/// Why to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The definition or a restart request may have changed; both have been read again.
    Look,
    /// Another worker holds the task.
    HeldByAnother,
}

/// One stretch of holding `running/<task>`.
pub(super) struct Taking {
    coordination: Coordination,
    task: TaskId,
    info: Arc<WorkerInfo>,
    watches: Option<Watches>,
    stale: bool,
    backoff: Backoff,
    /// The session in which the node is held.
    held: watch::Sender<Option<Session>>,
    pub(super) epochs: Arc<Epochs>,
    pub(super) outbox: watch::Sender<Outbox>,
    pub(super) restart: watch::Sender<Option<RestartRequest>>,
    pub(super) known: Arc<KnownBookmarks>,
    /// As read last; `None` when there is none.
    pub(super) definition: Option<TaskDefinition>,
    /// Why there is none although a definition is there: this version does not understand it.
    pub(super) foreign: Option<TaskFailure>,
}

/// The watches of one connection.
struct Watches {
    task: Watch,
    running: Watch,
}

/// What the watches saw.
enum Seen {
    Task,
    RunningGone,
    ConnectionLost,
    Nothing,
}

impl Taking {
    /// Waits until the task is ours, for ever. Dropping the future gives up.
    pub(super) async fn begin(coordination: &Coordination, task: &TaskId, info: &Arc<WorkerInfo>) -> Self {
        let outbox = Outbox {
            state: ObservedState::Assigned,
            detail: Value::Null,
            said: false,
            epoch: Epoch::ZERO,
            spec_version: 0,
            bookmark: None,
            begun: None,
            failure: FailureNode::Keep,
        };
        let mut taking = Self {
            coordination: coordination.clone(),
            task: task.clone(),
            info: Arc::clone(info),
            watches: None,
            stale: true,
            backoff: Backoff::new(BackoffPolicy::CONNECT),
            held: watch::channel(None).0,
            epochs: Arc::new(Epochs::new(0)),
            outbox: watch::channel(outbox).0,
            restart: watch::channel(None).0,
            known: Arc::default(),
            definition: None,
            foreign: None,
        };
        while taking.wake().await != Wake::Look {
            taking.wait_for_holder().await;
        }
        taking
    }

    /// Waits for the next reason to look up, keeping the node over lost sessions meanwhile. Cancel safe.
    pub(super) async fn wake(&mut self) -> Wake {
        loop {
            if self.watches.is_none() {
                match self.establish().await {
                    Ok(true) => {}
                    Ok(false) => return Wake::HeldByAnother,
                    Err(error) => {
                        self.pause(&error, "cannot hold the task's node").await;
                        continue;
                    }
                }
            }
            if self.stale {
                match self.refresh().await {
                    Ok(()) => return Wake::Look,
                    Err(error) => {
                        self.pause(&error, "cannot read the task's definition").await;
                        // The connection may be gone without the watches having said so yet.
                        self.watches = None;
                        continue;
                    }
                }
            }
            let Some(watches) = &mut self.watches else { continue };
            match watches.next().await {
                Seen::Task => self.stale = true,
                // Nobody knows what changed meanwhile: the node is looked at and everything is read again.
                Seen::RunningGone | Seen::ConnectionLost => self.watches = None,
                Seen::Nothing => {}
            }
        }
    }

    async fn pause(&mut self, error: &CoordinationError, what: &str) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        if error.is_transient() {
            tracing::debug!(task = %self.task, %error, cause, what);
        } else {
            tracing::warn!(task = %self.task, %error, cause, what);
        }
        // Nothing cancels the wait but dropping the future.
        let _ = self.backoff.wait(&CancellationToken::new()).await;
    }

    /// Takes the node in the session of the moment; says whether it is ours.
    async fn establish(&mut self) -> Result<bool> {
        let session = self.coordination.next_session().await;
        let path = self.coordination.tree().running_task(&self.task);
        // Watch first: what happens behind the look is not missed.
        let watches = Watches::open(&session, self.coordination.tree(), &self.task).await?;
        let status = status(&self.info, &self.outbox.borrow());
        let Some(czxid) = take_node(&session, &path, &status).await? else { return Ok(false) };
        tracing::debug!(task = %self.task, czxid, "the task's node is ours");
        self.epochs.retaken(u64::try_from(czxid).unwrap_or(0));
        self.held.send_replace(Some(session));
        self.watches = Some(watches);
        self.stale = true;
        Ok(true)
    }

    async fn refresh(&mut self) -> Result<()> {
        let Some(session) = self.held.borrow().clone() else { return Ok(()) };
        let tree = self.coordination.tree();
        let read = async {
            let definition = read_definition(&session, tree, &self.task).await?;
            let restart = session.read::<RestartRequest>(&tree.restart(&self.task)).await?;
            Ok((definition.map(|node| node.value), restart.map(|node| node.value)))
        };
        let (read, foreign) = match read.await {
            Ok(read) => (read, None),
            Err(error) if CoordinationError::is_foreign(&error) => ((None, None), Some(foreign(&error))),
            Err(error) => return Err(error),
        };
        (self.definition, self.foreign) = (read.0, foreign);
        self.restart.send_replace(read.1);
        self.stale = false;
        self.backoff.reset();
        Ok(())
    }

    /// Waits until the other's node is gone, or the connection is.
    async fn wait_for_holder(&self) {
        let session = self.coordination.next_session().await;
        let path = self.coordination.tree().running_task(&self.task);
        let Ok(mut watch) = session.watch(&path, AddWatchMode::Persistent).await else { return };
        while let Ok(Some(_)) = session.exists(&path).await {
            match watch.next().await {
                Some(event) if event.event_type != EventType::NodeDeleted => {}
                _ => return,
            }
        }
    }

    pub(super) fn restart_requested(&self) -> bool {
        self.restart.borrow().is_some()
    }

    /// Removes the pending restart request: the start that follows is what it asked for.
    pub(super) async fn consume_restart(&mut self) -> Option<RestartRequest> {
        let request = self.restart.borrow().clone()?;
        let session = self.held.borrow().clone();
        if let Some(session) = session
            && let Err(error) = session.delete(&self.coordination.tree().restart(&self.task), None).await
        {
            tracing::debug!(task = %self.task, %error, "the restart request was not removed");
        }
        // Where the removal failed, the next look finds it again: one start too many, which is safe.
        self.restart.send_replace(None);
        Some(request)
    }

    /// A run under `definition` must drain.
    pub(super) fn must_stop(&self, definition: &TaskDefinition) -> bool {
        let go_on = |newer: &TaskDefinition| newer.desired == DesiredState::Running && !definition.needs_restart(newer);
        self.restart_requested() || !self.definition.as_ref().is_some_and(go_on)
    }

    /// Says a state for the keeper.
    pub(super) fn say(&self, state: ObservedState, detail: Value) {
        self.outbox.send_modify(|outbox| {
            outbox.state = state;
            outbox.detail = detail;
        });
    }

    /// A run begins.
    pub(super) fn starting(&self, spec_version: u64) {
        self.outbox.send_modify(|outbox| {
            outbox.state = ObservedState::Assigned;
            outbox.detail = json!({ "phase": "starting" });
            outbox.said = false;
            outbox.spec_version = spec_version;
        });
    }

    /// A run that has said nothing of itself for a while is running.
    pub(super) fn assume_running(&self) {
        self.outbox.send_if_modified(|outbox| {
            let silent = !outbox.said;
            if silent {
                outbox.state = ObservedState::Running;
                outbox.detail = Value::Null;
                outbox.failure = FailureNode::Clear;
            }
            silent
        });
    }

    /// What writes the outbox in the background.
    pub(super) fn publisher(&self) -> Publisher {
        Publisher::new(
            self.coordination.tree().clone(),
            self.task.clone(),
            Arc::clone(&self.info),
            self.held.subscribe(),
            self.outbox.subscribe(),
        )
    }

    /// Writes what is left and removes the node, so that the next owner starts at once.
    pub(super) async fn give_back(self) {
        let mut publisher = self.publisher();
        let session = self.held.borrow().clone();
        let Some(session) = session else { return };
        let end = async {
            publisher.write_lasting(&session).await;
            remove_node(&self.coordination, &self.task, Some(session)).await;
        };
        if tokio::time::timeout(GIVE_BACK_TIMEOUT, end).await.is_err() {
            tracing::debug!(task = %self.task, "the task could not be given back in time; its node goes with the session");
        }
    }
}

/// Gives back a task whose taking was given up before it was known to be ours: its node may have been made all the same.
pub(super) async fn give_up(coordination: &Coordination, task: &TaskId) {
    if tokio::time::timeout(GIVE_BACK_TIMEOUT, remove_node(coordination, task, None)).await.is_err() {
        tracing::debug!(%task, "the task could not be given up in time; its node, if there is one, goes with the session");
    }
}

/// Removes the task's node if the session in which it was held, or the one of the moment, owns it. A request that nobody
/// waited for is carried out too, and always before those that the session is asked for later: a node that it made is seen
/// here. One that stayed would keep everybody else from the task for as long as this process lives.
async fn remove_node(coordination: &Coordination, task: &TaskId, held: Option<Session>) {
    let path = coordination.tree().running_task(task);
    let mut sessions = Vec::from_iter(held);
    let of_the_moment = coordination.sessions().borrow().clone();
    sessions.extend(of_the_moment.filter(|session| sessions.iter().all(|held| held.id() != session.id())));
    for session in sessions {
        // Only the session that owns the node removes it: another's is not ours to touch.
        if let Ok(Some(stat)) = session.exists(&path).await
            && stat.ephemeral_owner == session.id()
            && let Err(error) = session.delete(&path, None).await
        {
            tracing::debug!(%task, %error, "the task's node was not removed");
        }
    }
}

/// What was asked for must not be done in part, nor as it was before.
fn foreign(error: &CoordinationError) -> TaskFailure {
    let hint = format!(
        "this worker is of version {}: upgrade it, or take back what was asked for; upgrade workers before managers",
        env!("CARGO_PKG_VERSION")
    );
    TaskFailure::new(error, Disposition::Halt, hint).with_runbook("definition-cannot-be-run")
}

/// What the node shall hold.
pub(super) fn status(info: &WorkerInfo, outbox: &Outbox) -> RunningStatus {
    RunningStatus {
        worker: info.key(),
        home: info.home,
        state: outbox.state,
        epoch: outbox.epoch,
        spec_version: outbox.spec_version,
        detail: outbox.detail.clone(),
    }
}

/// Makes the node, or finds it ours; `None` when another holds it. Returns its `czxid`.
async fn take_node(session: &Session, path: &str, status: &RunningStatus) -> Result<Option<i64>> {
    loop {
        match session.create(path, status, &EPHEMERAL).await {
            Ok(stat) => return Ok(Some(stat.czxid)),
            Err(CoordinationError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        let Some(node) = session.read::<RunningStatus>(path).await? else { continue };
        if node.owner == session.id() {
            // The reply of an earlier create was lost.
            return Ok(Some(node.czxid));
        }
        if node.value.worker != status.worker || node.value.home != status.home {
            return Ok(None);
        }
        // Ours, of an earlier session or process: the locked worker id proves that no other process bears it.
        match session.delete(path, Some(node.version)).await {
            Ok(_) | Err(CoordinationError::Changed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Watches {
    async fn open(session: &Session, tree: &Tree, task: &TaskId) -> Result<Self> {
        Ok(Self {
            task: session.watch(&tree.task(task), AddWatchMode::Persistent).await?,
            running: session.watch(&tree.running_task(task), AddWatchMode::Persistent).await?,
        })
    }

    async fn next(&mut self) -> Seen {
        tokio::select! {
            event = self.task.next() => event.map_or(Seen::ConnectionLost, |_| Seen::Task),
            event = self.running.next() => match event.map(|event| event.event_type) {
                None => Seen::ConnectionLost,
                Some(EventType::NodeDeleted) => Seen::RunningGone,
                Some(_) => Seen::Nothing,
            },
        }
    }
}

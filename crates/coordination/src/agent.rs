//! The agent of one worker process: registers it, watches what is assigned to it, runs that, gives it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lutra_change::TaskId;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use zookeeper_client::AddWatchMode;

use crate::error::{CoordinationError, Result};
use crate::keeper::TaskKeeper;
use crate::model::{RunningStatus, WorkerInfo};
use crate::node::{EPHEMERAL, Session};
use crate::session::Coordination;
use crate::task::TaskRunner;
use crate::tree::{Tree, parse_task_node};

/// What telling ZooKeeper good-bye may take; what is not told goes with the session.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a worker that drains stays registered for the manager to give its tasks to others: while it says that it drains
/// they move at once, and when it is gone the manager waits for it to come back. Where nobody else takes them this is waited for
/// in vain.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a task whose keeper broke is left alone.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

/// How an agent behaves.
#[derive(Clone, Copy, Debug)]
pub struct AgentOptions {
    /// How long a run may take to drain before it is cut off. What it had accepted is done again by the next owner.
    pub drain_timeout: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(30) }
    }
}

/// The agent of one worker process.
#[derive(Debug)]
pub struct WorkerAgent<R> {
    coordination: Coordination,
    info: Arc<WorkerInfo>,
    runner: Arc<R>,
    options: AgentOptions,
}

impl<R: TaskRunner> WorkerAgent<R> {
    /// An agent that runs tasks of this worker by `runner`.
    pub fn new(coordination: Coordination, info: WorkerInfo, runner: R) -> Self {
        Self { coordination, info: Arc::new(info), runner: Arc::new(runner), options: AgentOptions::default() }
    }

    /// Behaves as `options` say.
    #[must_use]
    pub fn with_options(mut self, options: AgentOptions) -> Self {
        self.options = options;
        self
    }

    /// Registers, takes and runs tasks until `shutdown`; then drains all, gives them back, and deregisters. Losing
    /// ZooKeeper never ends it; the only error is a worker id that is in use elsewhere.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let mut crew = Crew::new(self);
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        let result = loop {
            let session = tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                session = crew.agent.coordination.next_session() => session,
            };
            let attended = tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                attended = crew.attend(&session) => attended,
            };
            match attended {
                // In the same session or the next one: everything is looked at again.
                Ok(()) => backoff.reset(),
                Err(error) if error.is_transient() && session.is_over() => {
                    tracing::debug!(%error, "the session was lost; the worker registers in the next one");
                }
                Err(error @ CoordinationError::WorkerIdTaken { .. }) => break Err(error),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the worker's registration or assignments failed; trying again");
                    if backoff.wait(&shutdown).await.is_err() {
                        break Ok(());
                    }
                }
            }
        };
        crew.dismiss().await;
        result
    }
}

/// The keepers of all assigned tasks.
struct Crew<R> {
    agent: WorkerAgent<R>,
    wanted: BTreeSet<TaskId>,
    releases: BTreeMap<TaskId, CancellationToken>,
    keepers: JoinSet<()>,
    by_id: BTreeMap<Id, TaskId>,
    /// The predecessor of this process has been cleaned up after.
    cleaned: bool,
}

impl<R: TaskRunner> Crew<R> {
    fn new(agent: WorkerAgent<R>) -> Self {
        Self {
            agent,
            wanted: BTreeSet::new(),
            releases: BTreeMap::new(),
            keepers: JoinSet::new(),
            by_id: BTreeMap::new(),
            cleaned: false,
        }
    }

    /// Registers in the session and follows the assignments until the connection is lost. Cancel safe.
    async fn attend(&mut self, session: &Session) -> Result<()> {
        let tree = self.agent.coordination.tree().clone();
        let taken_wait = self.agent.coordination.config().session_timeout * 2 + Duration::from_secs(1);
        register(session, &tree, &self.agent.info, taken_wait).await?;
        if !self.cleaned {
            remove_own_running(session, &tree, &self.agent.info).await?;
            self.cleaned = true;
        }
        let directory = tree.assignments_of(&self.agent.info.key());
        session.make_directory(&directory).await?;
        let mut watch = session.watch(&directory, AddWatchMode::Persistent).await?;
        tracing::info!(worker = %self.agent.info.key(), session = %session.client().session_id(), "worker registered");
        loop {
            self.follow(session, &directory).await?;
            tokio::select! {
                biased;
                event = watch.next() => if event.is_none() {
                    return Ok(());
                },
                Some(ended) = self.keepers.join_next_with_id() => self.ended(ended),
            }
        }
    }

    /// Makes the keepers fit the assignments.
    async fn follow(&mut self, session: &Session, directory: &str) -> Result<()> {
        let names = session.children(directory).await?;
        let service = &self.agent.info.service;
        self.wanted =
            names.iter().filter_map(|name| parse_task_node(name)).filter(|t| t.kind.service() == service).collect();
        for (task, release) in &self.releases {
            if !self.wanted.contains(task) && !release.is_cancelled() {
                tracing::info!(%task, "assignment withdrawn: draining");
                release.cancel();
            }
        }
        let missing: Vec<TaskId> =
            self.wanted.iter().filter(|task| !self.releases.contains_key(task)).cloned().collect();
        for task in missing {
            tracing::info!(%task, "assigned");
            self.engage(task, Duration::ZERO);
        }
        Ok(())
    }

    fn engage(&mut self, task: TaskId, pause: Duration) {
        let release = CancellationToken::new();
        let keeper = TaskKeeper {
            coordination: self.agent.coordination.clone(),
            task: task.clone(),
            info: Arc::clone(&self.agent.info),
            runner: Arc::clone(&self.agent.runner),
            options: self.agent.options,
            release: release.clone(),
        };
        let handle = self.keepers.spawn(async move {
            tokio::time::sleep(pause).await;
            keeper.run().await;
        });
        self.by_id.insert(handle.id(), task.clone());
        self.releases.insert(task, release);
    }

    /// A keeper has ended: released, or broken.
    fn ended(&mut self, ended: std::result::Result<(Id, ()), JoinError>) {
        let (id, broken) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(task) = self.by_id.remove(&id) else { return };
        self.releases.remove(&task);
        match broken {
            Some(error) => {
                tracing::error!(%task, %error, "the keeper of a task broke: a defect; it is started again");
                if self.wanted.contains(&task) {
                    self.engage(task, BROKEN_PAUSE);
                }
            }
            None => tracing::info!(%task, "given back"),
        }
    }

    /// Drains and gives back everything, then deregisters.
    async fn dismiss(&mut self) {
        let session = self.agent.coordination.sessions().borrow().clone();
        let tree = self.agent.coordination.tree().clone();
        let path = tree.worker(&self.agent.info.key());
        if let Some(session) = &session {
            // The manager gives the tasks to others while they drain here, so that those start at once.
            let draining = WorkerInfo { draining: true, ..(*self.agent.info).clone() };
            let told = own_node(session, &path, async || session.write(&path, &draining, None).await.map(|_| ()));
            let _ = tokio::time::timeout(FAREWELL_TIMEOUT, told).await;
        }
        self.wanted.clear();
        let hands_over = !self.releases.is_empty();
        for release in self.releases.values() {
            release.cancel();
        }
        while let Some(ended) = self.keepers.join_next_with_id().await {
            self.ended(ended);
        }
        if let Some(session) = session.as_ref().filter(|_| hands_over) {
            let taken = all_taken(session, tree.assignments_of(&self.agent.info.key()));
            let _ = tokio::time::timeout(HAND_OVER_TIMEOUT, taken).await;
        }
        if let Some(session) = &session {
            let gone = own_node(session, &path, async || session.delete(&path, None).await.map(|_| ()));
            let _ = tokio::time::timeout(FAREWELL_TIMEOUT, gone).await;
        }
        tracing::info!(worker = %self.agent.info.key(), "worker deregistered");
    }
}

/// Waits until nothing is assigned in that directory any more, or nobody can tell.
async fn all_taken(session: &Session, directory: String) {
    let Ok(mut watch) = session.watch(&directory, AddWatchMode::Persistent).await else { return };
    while let Ok(names) = session.children(&directory).await {
        if names.is_empty() || watch.next().await.is_none() {
            return;
        }
    }
}

/// Does something to the registration if it is this session's.
async fn own_node(session: &Session, path: &str, act: impl AsyncFnOnce() -> Result<()>) {
    let owned = matches!(session.exists(path).await, Ok(Some(stat)) if stat.ephemeral_owner == session.id());
    if owned && let Err(error) = act().await {
        tracing::debug!(%error, "the registration was not updated; it goes with the session");
    }
}

/// Makes the registration. One of the same worker id and home is a predecessor's (the locked file proves it dead) or an
/// earlier session's, and is replaced at once; one from another home is waited for up to `wait`, then refused.
async fn register(session: &Session, tree: &Tree, info: &WorkerInfo, wait: Duration) -> Result<()> {
    let path = tree.worker(&info.key());
    let deadline = Instant::now() + wait;
    loop {
        match session.create(&path, info, &EPHEMERAL).await {
            Ok(_) => return Ok(()),
            Err(CoordinationError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        let Some(node) = session.read::<WorkerInfo>(&path).await? else { continue };
        if node.owner == session.id() {
            return Ok(());
        }
        if node.value.home == info.home {
            match session.delete(&path, Some(node.version)).await {
                Ok(_) | Err(CoordinationError::Changed { .. }) => continue,
                Err(error) => return Err(error),
            }
        }
        if Instant::now() >= deadline {
            return Err(CoordinationError::WorkerIdTaken { service: info.service.clone(), id: info.id.clone() });
        }
        let mut watch = session.watch(&path, AddWatchMode::Persistent).await?;
        let gone = async {
            while session.exists(&path).await?.is_some() && watch.next().await.is_some() {}
            Ok::<(), CoordinationError>(())
        };
        if let Ok(gone) = tokio::time::timeout_at(deadline, gone).await {
            gone?;
        }
    }
}

/// Removes the `running/...` nodes that a dead predecessor of this process left, so that its tasks are taken anew at once.
async fn remove_own_running(session: &Session, tree: &Tree, info: &WorkerInfo) -> Result<()> {
    let directory = tree.running();
    for name in session.children(&directory).await? {
        let path = format!("{directory}/{name}");
        let node = match session.read::<RunningStatus>(&path).await {
            Ok(Some(node)) => node,
            Ok(None) => continue,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::warn!(task = name, %error, "a running task's node is not understood and left alone");
                continue;
            }
        };
        let ours = node.value.worker == info.key() && node.value.home == info.home;
        if ours && node.owner != session.id() {
            tracing::info!(task = name, "removing what a predecessor of this process held");
            match session.delete(&path, Some(node.version)).await {
                Ok(_) | Err(CoordinationError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

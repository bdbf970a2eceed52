//! One session after the other, for ever.
//!
//! The client never opens a second session: it decides by itself that one has expired, and every later call fails. So a
//! keeper makes a new client per session; whoever holds ephemeral nodes or watches makes them again in the new one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken, Context, Probe, TaskKind};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;
use zookeeper_client::Client;

use crate::error::{CoordinationError, Result};
use crate::events::{self, SessionLost, SessionOpened, SessionRefused};
use crate::node::{PERSISTENT, Session};
use crate::store::Store;
use crate::tree::Tree;

/// Where ZooKeeper is, and which cluster in it is ours.
#[derive(Clone, Debug)]
pub struct CoordinationConfig {
    /// `HOST:PORT[,HOST:PORT...]`.
    pub hosts: String,
    /// The cluster's name: the root is `/lutra/<cluster>`.
    pub cluster: String,
    /// How long ZooKeeper waits before it gives our nodes away. The server rounds it up to its ticks.
    pub session_timeout: Duration,
}

impl CoordinationConfig {
    /// Session time-out when nothing else is said: a dead worker's tasks run elsewhere within 10 s.
    pub const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

    /// The cluster `cluster` at `hosts`.
    pub fn new(hosts: impl Into<String>, cluster: impl Into<String>) -> Self {
        Self { hosts: hosts.into(), cluster: cluster.into(), session_timeout: Self::SESSION_TIMEOUT }
    }
}

/// The connection with ZooKeeper: one session after the other. Cheap to clone; the session is closed, and its nodes go,
/// when the last clone is dropped or [`close`](Self::close) is called.
#[derive(Clone, Debug)]
pub struct Coordination {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: CoordinationConfig,
    tree: Tree,
    sessions: watch::Receiver<Option<Session>>,
    closed: CancellationToken,
    /// Dropping the set ends the keeper, and with it the last owner of the client.
    keeper: Mutex<JoinSet<()>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClusterNode {
    id: Uuid,
}

impl Coordination {
    /// Waits for the first session. Tries for ever, by back-off, saying so in the log: bound it from outside where that
    /// is not wanted.
    pub async fn connect(config: CoordinationConfig) -> Result<Self> {
        let tree = Tree::new(&config.cluster);
        let (sender, mut sessions) = watch::channel(None);
        let closed = CancellationToken::new();
        let mut keeper = JoinSet::new();
        keeper.spawn(keep_sessions(config.clone(), tree.clone(), sender, closed.clone()));
        // The keeper outlives this wait: the channel cannot close before it.
        let _ = sessions.wait_for(Option::is_some).await;
        Ok(Self { inner: Arc::new(Inner { config, tree, sessions, closed, keeper: Mutex::new(keeper) }) })
    }

    /// The connection of a service: waits for the first session or for shutdown (then `None`), and keeps the readiness
    /// probe `zookeeper` true to the state of the session.
    pub async fn open(context: &Context) -> Result<Option<Self>> {
        let probe = context.health.probe("zookeeper");
        let common = &context.common;
        let mut config = CoordinationConfig::new(&common.zookeeper, &common.cluster);
        config.session_timeout = Duration::from_secs(common.session_seconds);
        let coordination = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return Ok(None),
            connected = Self::connect(config) => connected?,
        };
        // It holds the channel only: the session is closed by whoever holds the connection.
        let sessions = coordination.sessions();
        let closing = context.supervisor.closing();
        context.supervisor.spawn(TaskKind::BestEffort, "zookeeper probe", keep_probe(sessions, probe, closing));
        Ok(Some(coordination))
    }

    /// The paths of this cluster.
    pub fn tree(&self) -> &Tree {
        &self.inner.tree
    }

    /// Where ZooKeeper is, and which cluster is ours.
    pub fn config(&self) -> &CoordinationConfig {
        &self.inner.config
    }

    /// Typed reads, documents, restart requests.
    pub fn store(&self) -> Store {
        Store::new(self.clone())
    }

    /// Whether there is a session now.
    pub fn is_connected(&self) -> bool {
        self.inner.sessions.borrow().is_some()
    }

    /// Closes the session: ephemeral nodes go at once. Later calls fail.
    pub async fn close(&self) {
        self.inner.closed.cancel();
        let mut keeper = std::mem::take(&mut *self.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner));
        while keeper.join_next().await.is_some() {}
    }

    pub(crate) fn sessions(&self) -> watch::Receiver<Option<Session>> {
        self.inner.sessions.clone()
    }

    /// The session, waiting for one up to twice the session time-out.
    pub(crate) async fn session(&self) -> Result<Session> {
        let wait = self.inner.config.session_timeout * 2;
        let mut sessions = self.sessions();
        let found = tokio::time::timeout(wait, sessions.wait_for(is_live)).await;
        let session = found.ok().and_then(|found| found.ok().and_then(|session| session.clone()));
        session.ok_or_else(|| CoordinationError::NotConnected { hosts: self.inner.config.hosts.clone() })
    }

    /// A session that is not over; waits for ever.
    pub(crate) async fn next_session(&self) -> Session {
        let mut sessions = self.sessions();
        let found = sessions.wait_for(is_live).await.ok().and_then(|session| session.clone());
        match found {
            Some(session) => session,
            // Closed: there will never be one.
            None => std::future::pending().await,
        }
    }
}

/// The keeper takes one that is over away: there is always a change to wait for.
fn is_live(session: &Option<Session>) -> bool {
    session.as_ref().is_some_and(|session| !session.is_over())
}

/// Keeps the probe true until closing, or until the connection is dropped.
async fn keep_probe(
    mut sessions: watch::Receiver<Option<Session>>,
    probe: Probe,
    closing: CancellationToken,
) -> Result<()> {
    loop {
        if sessions.borrow_and_update().is_some() {
            probe.ready();
        } else {
            probe.not_ready("no session with ZooKeeper; running tasks go on");
        }
        let ended = tokio::select! {
            biased;
            () = closing.cancelled() => true,
            changed = sessions.changed() => changed.is_err(),
        };
        if ended {
            return Ok(());
        }
    }
}

/// Opens sessions until closed.
async fn keep_sessions(
    config: CoordinationConfig,
    tree: Tree,
    sessions: watch::Sender<Option<Session>>,
    closed: CancellationToken,
) {
    events::describe();
    let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
    loop {
        let opened = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            opened = open_in_time(&config, &tree) => opened,
        };
        match opened {
            Ok(session) => {
                backoff.reset();
                SessionOpened { session: session.client().session_id() }.emit();
                sessions.send_replace(Some(session.clone()));
                let ended = tokio::select! {
                    () = closed.cancelled() => None,
                    end = session.ended() => Some(end),
                };
                sessions.send_replace(None);
                // Whoever still holds it hears of its end too.
                session.give_up();
                let Some(end) = ended else { return };
                SessionLost { end }.emit();
            }
            Err(error) => {
                SessionRefused { hosts: &config.hosts, attempt: backoff.attempts() + 1, error: &error }.emit();
            }
        }
        if backoff.wait(&closed).await.is_err() {
            return;
        }
    }
}

/// A server that accepts and does not answer must not hold the keeper for ever.
async fn open_in_time(config: &CoordinationConfig, tree: &Tree) -> Result<Session> {
    let opened = tokio::time::timeout(config.session_timeout * 2, open(config, tree)).await;
    let late = |_elapsed| {
        Err(CoordinationError::operation("open a session with", &config.hosts, zookeeper_client::Error::Timeout))
    };
    opened.unwrap_or_else(late)
}

/// Opens a session and makes the tree's fixed nodes (a rebuilt ZooKeeper has none).
async fn open(config: &CoordinationConfig, tree: &Tree) -> Result<Session> {
    let connector = Client::connector().with_session_timeout(config.session_timeout).with_fail_eagerly();
    let connected = connector.connect(&config.hosts).await;
    let client = connected.map_err(|source| CoordinationError::operation("connect to", &config.hosts, source))?;
    let session = Session::new(client);
    for path in tree.skeleton() {
        session.make_directory(&path).await?;
    }
    match session.create(&tree.cluster(), &ClusterNode { id: Uuid::new_v4() }, &PERSISTENT).await {
        Ok(_) | Err(CoordinationError::Exists { .. }) => Ok(session),
        Err(error) => Err(error),
    }
}

/// The cluster id.
pub(crate) async fn cluster_id(session: &Session, tree: &Tree) -> Result<Uuid> {
    let path = tree.cluster();
    let node = session.read::<ClusterNode>(&path).await?;
    node.map(|node| node.value.id).ok_or(CoordinationError::NotFound { path })
}

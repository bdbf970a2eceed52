//! What the coordination tests share: a cluster of their own, a link that can be cut, a runner that does as told.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lutra_change::{Epoch, LogId, TaskId, TaskKind};
use lutra_coordination::{
    AgentOptions, Coordination, CoordinationConfig, CoordinationError, LeaderElection, Leadership, LogRef,
    ObservedState, TaskContext, TaskDefinition, TaskEnd, TaskFailure, TaskRunner, WorkerAgent, WorkerInfo,
};
use lutra_runtime::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long a test waits for a state.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The address of the real ZooKeeper; a test without one says so and is skipped.
pub fn zookeeper() -> Option<String> {
    let address = std::env::var("LUTRA_ZOOKEEPER").ok();
    if address.is_none() {
        eprintln!("SKIPPED: LUTRA_ZOOKEEPER names no ZooKeeper (cargo xtask test sets it)");
    }
    address
}

/// A cluster of one test.
pub struct Cluster {
    pub hosts: String,
    pub name: String,
}

impl Cluster {
    pub fn new(test: &str, hosts: String) -> Self {
        Self { hosts, name: format!("coordination-{test}-{}", &Uuid::new_v4().simple().to_string()[..8]) }
    }

    pub fn config(&self, hosts: &str, timeout: Duration) -> CoordinationConfig {
        CoordinationConfig { session_timeout: timeout, ..CoordinationConfig::new(hosts, &self.name) }
    }

    /// A connection of its own, with a short session time-out.
    pub async fn connect(&self) -> Coordination {
        self.connect_by(&self.hosts, Duration::from_secs(2)).await
    }

    pub async fn connect_by(&self, hosts: &str, timeout: Duration) -> Coordination {
        tokio::time::timeout(PATIENCE, Coordination::connect(self.config(hosts, timeout))).await.unwrap().unwrap()
    }

    pub async fn lead(&self, coordination: &Coordination) -> Leadership {
        let election = LeaderElection::new(coordination.clone(), "127.0.0.1:1");
        tokio::time::timeout(PATIENCE, election.campaign()).await.unwrap().unwrap()
    }
}

pub fn load() -> TaskId {
    TaskId::new(TaskKind::Load, "shop")
}

pub fn definition() -> TaskDefinition {
    let log = LogRef {
        topic: "shop.log".to_owned(),
        log_id: LogId::random(),
        schemas_topic: "shop.schemas".to_owned(),
        writer: TaskId::new(TaskKind::Extract, "shop"),
    };
    TaskDefinition { log: Some(log), ..TaskDefinition::new(Uuid::new_v4()) }
}

pub fn worker(id: &str) -> WorkerInfo {
    WorkerInfo {
        service: "loader".to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:9".to_owned(),
        capacity: 4,
        build: "0".to_owned(),
        home: Uuid::new_v4(),
        draining: false,
    }
}

/// Waits until `look` returns something; panics with the last thing seen.
pub async fn until<T, S, F, Fut>(what: &str, mut look: F) -> T
where
    S: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, S>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > PATIENCE => panic!("{what}: not within {PATIENCE:?}; last seen {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub async fn until_state(coordination: &Coordination, task: &TaskId, wanted: ObservedState) {
    until(&format!("{task} {wanted}"), || async {
        let snapshot = coordination.store().snapshot().await.map_err(|error: CoordinationError| error.to_string())?;
        let state = snapshot.state_of(task);
        if state == Some(wanted) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
}

/// One thing that the scripted runner does in its next run; a run without a script works until it is stopped.
#[derive(Clone, Debug)]
pub enum Act {
    Fail(TaskFailure),
    Panic,
    End(TaskEnd),
    /// Does not hear the stop.
    Deaf,
}

/// One run as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub epoch: Epoch,
    pub ended: bool,
}

/// A runner that records its runs and does as told.
#[derive(Clone)]
pub struct ScriptedRunner {
    pub script: Arc<Mutex<VecDeque<Act>>>,
    pub runs: watch::Sender<Vec<Run>>,
    pub contexts: Arc<Mutex<Vec<TaskContext>>>,
}

impl ScriptedRunner {
    pub fn new(script: impl IntoIterator<Item = Act>) -> Self {
        Self {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            runs: watch::channel(Vec::new()).0,
            contexts: Arc::default(),
        }
    }

    /// Waits until the runs fit, and returns them.
    pub async fn until(&self, what: &str, fits: impl Fn(&[Run]) -> bool) -> Vec<Run> {
        let mut runs = self.runs.subscribe();
        match tokio::time::timeout(PATIENCE, runs.wait_for(|runs| fits(runs))).await {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("{what}: not within {PATIENCE:?}; last seen {:?}", self.runs.borrow().clone()),
        }
    }

    pub fn context(&self) -> TaskContext {
        self.contexts.lock().unwrap().last().unwrap().clone()
    }
}

/// Marks the run as ended however it ends.
struct Ended(watch::Sender<Vec<Run>>, usize);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|runs| runs[self.1].ended = true);
    }
}

impl TaskRunner for ScriptedRunner {
    async fn run(&self, task: TaskContext) -> Result<TaskEnd, TaskFailure> {
        let epoch = task.handle.next_attempt();
        self.contexts.lock().unwrap().push(task.clone());
        let index = self.runs.borrow().len();
        self.runs.send_modify(|runs| runs.push(Run { epoch, ended: false }));
        let _ended = Ended(self.runs.clone(), index);
        let act = self.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Fail(failure)) => return Err(failure),
            Some(Act::Panic) => panic!("scripted panic"),
            Some(Act::End(end)) => return Ok(end),
            Some(Act::Deaf) => std::future::pending().await,
            None => {}
        }
        task.handle.set_state(ObservedState::Running, serde_json::json!({ "phase": "working" }));
        task.stop.cancelled().await;
        Ok(TaskEnd::Drained)
    }
}

/// An agent at work.
pub struct Agent {
    pub shutdown: CancellationToken,
    set: JoinSet<lutra_coordination::Result<()>>,
}

impl Agent {
    pub fn start(coordination: &Coordination, info: WorkerInfo, runner: ScriptedRunner) -> Self {
        let shutdown = CancellationToken::new();
        let mut set = JoinSet::new();
        let options = AgentOptions { drain_timeout: Duration::from_secs(1) };
        let agent = WorkerAgent::new(coordination.clone(), info, runner).with_options(options);
        set.spawn(agent.run(shutdown.clone()));
        Self { shutdown, set }
    }

    /// Ends in order.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.join().await.unwrap();
    }

    pub async fn join(&mut self) -> lutra_coordination::Result<()> {
        tokio::time::timeout(PATIENCE, self.set.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// What a link carries of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// Nothing goes to ZooKeeper.
    pub requests: bool,
    /// Nothing comes back.
    pub answers: bool,
}

/// A TCP link to ZooKeeper that can be cut and mended, or stand still for a while.
pub struct Link {
    pub address: String,
    up: watch::Sender<bool>,
    held: watch::Sender<Held>,
    _set: JoinSet<()>,
}

impl Link {
    pub async fn open(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (up, seen) = watch::channel(true);
        let (held, holds) = watch::channel(Held::default());
        let to = to.split(',').next().unwrap().to_owned();
        let mut set = JoinSet::new();
        set.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((from, _)) = listener.accept().await else { return };
                if *seen.borrow() {
                    connections.spawn(carry(from, to.clone(), seen.clone(), holds.clone()));
                }
            }
        });
        Self { address, up, held, _set: set }
    }

    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    pub fn mend(&self) {
        self.up.send_replace(true);
    }

    /// Nobody is told: what was sent meanwhile arrives when it is let go.
    pub fn hold(&self, held: Held) {
        self.held.send_replace(held);
    }
}

async fn carry(from: TcpStream, to: String, mut up: watch::Receiver<bool>, held: watch::Receiver<Held>) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (from.into_split(), to.into_split());
    tokio::select! {
        _ = pump(from_client, to_server, held.clone(), |held| held.requests) => {}
        _ = pump(from_server, to_client, held, |held| held.answers) => {}
        _ = up.wait_for(|up| !up) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut held: watch::Receiver<Held>,
    is_held: impl Fn(&Held) -> bool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 65_536];
    loop {
        let n = from.read(&mut bytes).await?;
        let _ = held.wait_for(|held| !is_held(held)).await;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..n]).await?;
    }
}

//! One running server and what can be done to it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Launch, Process, ProcessId, describe};

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// MySQL.
    MySql,
    /// Apache Kafka: a node that is broker and controller.
    Kafka,
    /// Apache ZooKeeper.
    ZooKeeper,
}

/// How long a server may take to be ready on a machine that is busy.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A server of a stack: it keeps its port and its data over any number of stops, kills and starts.
#[derive(Debug)]
pub struct Server {
    name: String,
    kind: Kind,
    port: u16,
    folder: PathBuf,
    process: Process,
    /// Where its log ended before the latest start.
    log_before: AtomicU64,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (127.0.0.1:{})", self.name, self.port)
    }
}

impl Server {
    /// A server whose process may have been started by somebody else, who left its id in the server's folder.
    pub(crate) fn new(name: &str, kind: Kind, port: u16, launch: Launch) -> Self {
        let running = remembered(&launch.dir);
        Self {
            name: name.to_owned(),
            kind,
            port,
            folder: launch.dir.clone(),
            process: Process::adopted(launch, running),
            log_before: AtomicU64::new(0),
        }
    }

    /// Its name within the stack.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of server it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: settings, data and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How clients name it: `mysql://root@127.0.0.1:PORT` for MySQL (root has no password), `127.0.0.1:PORT` otherwise.
    #[must_use]
    pub fn url(&self) -> String {
        match self.kind {
            Kind::MySql => format!("mysql://root@{}", self.address()),
            Kind::Kafka | Kind::ZooKeeper => self.address(),
        }
    }

    /// Starts it and returns when it answers.
    ///
    /// # Errors
    /// When it runs already, ends at once, or does not answer in time.
    pub async fn start(&self) -> Result<()> {
        self.launch()?;
        self.wait_ready(START_LIMIT).await
    }

    /// Starts it without waiting for an answer.
    ///
    /// # Errors
    /// When it runs already, or the program cannot be started.
    pub fn launch(&self) -> Result<()> {
        let log = self.process.launch().log;
        self.log_before.store(fs::metadata(log).map_or(0, |log| log.len()), Ordering::Relaxed);
        let id = self.process.start()?;
        remember(&self.folder, id)
    }

    /// Returns when it answers.
    ///
    /// # Errors
    /// When it has ended, or does not answer within `limit`.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            // A server that is starting may accept a connection and never answer it.
            let asked = tokio::time::timeout(Duration::from_secs(5), self.answers()).await;
            if asked.unwrap_or(false) {
                return Ok(());
            }
            if self.process.poll_exit() {
                let how = describe(self.process.exit_status());
                bail!("start {self}: it {how}; its log ends with\n{}", self.process.log_tail(30));
            }
            if Instant::now() > deadline {
                bail!("start {self}: no answer after {limit:?}; its log ends with\n{}", self.process.log_tail(30));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self) -> bool {
        match self.kind {
            Kind::MySql => crate::mysql::ping(&self.url()).await.is_ok(),
            Kind::Kafka => self.kafka_started(),
            Kind::ZooKeeper => zookeeper_serves(&self.address()).await.unwrap_or(false),
        }
    }

    /// Kafka accepts connections before it serves; its log says when it does.
    fn kafka_started(&self) -> bool {
        let before = usize::try_from(self.log_before.load(Ordering::Relaxed)).unwrap_or(0);
        let log = fs::read(self.process.launch().log).unwrap_or_default();
        String::from_utf8_lossy(log.get(before..).unwrap_or_default()).contains("Kafka Server started")
    }

    /// Stops it in order (SIGTERM) and returns when it is gone. A frozen server is woken for that.
    ///
    /// # Errors
    /// When it is still there after a minute.
    pub async fn stop(&self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.signal(Signal::SIGCONT)?;
        self.process.wait(Duration::from_secs(60)).await.map(drop)
    }

    /// Kills it (SIGKILL) and returns when it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Stops it where it runs, and starts it on the same port and data; returns when it answers.
    ///
    /// # Errors
    /// As [`Server::stop`] and [`Server::start`].
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.must_run("freeze", Signal::SIGSTOP)
    }

    /// Wakes it from [`Server::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.must_run("thaw", Signal::SIGCONT)
    }

    fn must_run(&self, what: &str, signal: Signal) -> Result<()> {
        if !self.process.signal(signal)? {
            bail!("{what} {self}: it does not run");
        }
        Ok(())
    }
}

const PROCESS_FILE: &str = "process.json";

/// Writes down which process runs from this folder, for who comes later.
pub(crate) fn remember(folder: &Path, id: ProcessId) -> Result<()> {
    let path = folder.join(PROCESS_FILE);
    let bytes = serde_json::to_vec(&id).context("write down a process id")?;
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

/// The process that was last started from this folder.
pub(crate) fn remembered(folder: &Path) -> Option<ProcessId> {
    serde_json::from_slice(&fs::read(folder.join(PROCESS_FILE)).ok()?).ok()
}

async fn zookeeper_serves(address: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"srvr").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.contains("Mode:"))
}

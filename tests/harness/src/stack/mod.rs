//! A set of servers with their own ports and folder.

mod cluster;
mod layout;
mod ports;
mod replica;
mod shared;
mod spec;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::install::{Installation, Progress};
use crate::process::{Guard, ProcessId, nap};
use crate::server::{Kind, Server, remembered};
pub use layout::{KAFKA_HEAP, KAFKA_SETTINGS, MARIADB_SETTINGS, MYSQL_SETTINGS, ZOOKEEPER_HEAP, ZOOKEEPER_SETTINGS};
pub use replica::{REPLICA_NAME, Replicated, Replication};
pub use shared::SharedStack;
pub use spec::{Flavour, Life, MySqlSpec, StackSpec};

/// The name of the Kafka server in a stack; of several the n-th is called `kafka-n`.
pub const KAFKA_NAME: &str = "kafka";
/// The name of the ZooKeeper server in a stack; of several the n-th is called `zookeeper-n`.
pub const ZOOKEEPER_NAME: &str = "zookeeper";

/// A running set of servers.
#[derive(Debug)]
pub struct Stack {
    name: String,
    folder: PathBuf,
    life: Life,
    complete: bool,
    servers: BTreeMap<String, Server>,
}

/// What is remembered in the stack's folder, so that another process finds, uses and ends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    life: Life,
    /// Who started it.
    owner: ProcessId,
    /// Whether every server has answered once.
    complete: bool,
    servers: BTreeMap<String, ServerState>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ServerState {
    kind: Kind,
    port: u16,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

const STATE_FILE: &str = "state.json";
const ENV_FILE: &str = "stack.env";
const FAILED_FILE: &str = "failed";

/// How long all servers of a stack may take to answer on a machine that is busy.
const UP_LIMIT: Duration = Duration::from_secs(180);

impl State {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE_FILE);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("understand {}", path.display()))
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let fresh = folder.join("state.json.new");
        let bytes = serde_json::to_vec_pretty(self).context("write down the state of a stack")?;
        fs::write(&fresh, bytes).with_context(|| format!("write {}", fresh.display()))?;
        fs::rename(&fresh, folder.join(STATE_FILE)).context("replace the state of a stack")
    }

    /// Kills the servers that still run from `folder`.
    fn end_processes(&self, folder: &Path) {
        for process in self.servers.keys().filter_map(|name| remembered(&folder.join(name))) {
            let _ = process.signal(Signal::SIGKILL);
            while process.is_alive() {
                nap();
            }
        }
    }
}

impl Stack {
    /// Starts the servers in a new folder and returns when all answer.
    ///
    /// # Errors
    /// When a kept stack of that name is there already, or a server does not start; nothing is left running then.
    pub async fn start(installation: &Installation, spec: StackSpec) -> Result<Self> {
        sweep(installation.home())?;
        if spec.mysql.iter().any(|server| server.flavour == Flavour::MariaDb) {
            installation.ensure_mariadb(&|line| tracing::info!("{line}"))?;
        }
        let mut stack = Self::lay_out(installation, &spec)?;
        match stack.bring_up(installation, &spec).await {
            Ok(()) => Ok(stack),
            Err(error) => {
                stack.end()?;
                Err(error.context(format!("start the stack {}", stack.name)))
            }
        }
    }

    async fn bring_up(&self, installation: &Installation, spec: &StackSpec) -> Result<()> {
        layout::prepare_mysql(installation, self, spec)?;
        layout::prepare_kafka(installation, self)?;
        for server in self.servers.values() {
            server.launch()?;
        }
        self.wait_ready().await?;
        if spec.mysql.iter().any(|server| server.replica) {
            self.replication().await?.follow().await.context("let the replica follow its source")?;
        }
        fs::write(self.folder.join(ENV_FILE), self.env_file()).context("write stack.env")?;
        self.remember(true)
    }

    async fn wait_ready(&self) -> Result<()> {
        futures::future::try_join_all(self.servers.values().map(|server| server.wait_ready(UP_LIMIT))).await.map(drop)
    }

    /// Picks folder and ports under a lock, so that stacks started side by side do not take each other's.
    fn lay_out(installation: &Installation, spec: &StackSpec) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = installation.home();
        let _lock = home.lock("stacks")?;
        let owner = ProcessId::own()?;
        let name = match spec.life {
            Life::Kept => spec.name.clone(),
            Life::Test => format!("{}-{}-{}", spec.name, owner.pid, COUNT.fetch_add(1, Ordering::Relaxed)),
        };
        let folder = home.stacks().join(&name);
        if folder.exists() {
            bail!(
                "start the stack {name}: its folder {} is there already; `cargo xtask stack down --name {name}` removes it",
                folder.display()
            );
        }
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let servers = layout::servers(installation, spec, &folder, &used_ports(home))?;
        let stack = Self { name, folder, life: spec.life, complete: true, servers };
        stack.remember(false)?;
        Ok(stack)
    }

    /// Finds a kept stack, running or not. `None` when there is none of that name.
    ///
    /// # Errors
    /// When what its folder says of it cannot be read.
    pub fn find(home: &Home, name: &str) -> Result<Option<Self>> {
        let folder = home.stacks().join(name);
        if !folder.join(STATE_FILE).is_file() {
            return Ok(None);
        }
        let state = State::read(&folder)?;
        let servers = state.servers.into_iter().map(|(name, server)| {
            let launch = layout::launch(&name, &folder, Guard::Kept, server.program, server.args, server.env);
            let running = Server::new(&name, server.kind, server.port, launch);
            (name, running)
        });
        let servers = servers.collect();
        Ok(Some(Self { name: name.to_owned(), servers, folder, life: Life::Kept, complete: state.complete }))
    }

    /// Finds a kept stack, or starts it; servers of it that do not run (after a reboot, say) are started. Returns when all
    /// answer. Runs side by side wait for each other.
    ///
    /// # Errors
    /// When the programs cannot be installed or a server does not start.
    pub async fn up(home: &Home, spec: StackSpec, progress: Progress<'_>) -> Result<Self> {
        let _lock = home.lock(&format!("stack-{}", spec.name))?;
        let found = Self::find(home, &spec.name)?;
        if let Some(stack) = found {
            if stack.complete {
                for server in stack.servers.values().filter(|server| !server.process().is_alive()) {
                    progress(&format!("starting {server} again"));
                    server.launch()?;
                }
                stack.wait_ready().await?;
                return Ok(stack);
            }
            // Its starter was ended half-way.
            stack.down()?;
        }
        let installation = Installation::ensure(home, progress)?;
        progress(&format!("starting the servers of the stack {}", spec.name));
        Self::start(&installation, spec.kept()).await
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the folders of Lutra's own services belong, so that they end with the stack.
    #[must_use]
    pub fn services_folder(&self) -> PathBuf {
        self.folder.join("services")
    }

    /// All servers by name.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }

    /// The MySQL server of that name.
    ///
    /// # Errors
    /// When the stack has none of that name.
    pub fn mysql(&self, name: &str) -> Result<&Server> {
        self.server(name, Kind::MySql)
    }

    /// The Kafka server; of several the first.
    ///
    /// # Errors
    /// When the stack has none.
    pub fn kafka(&self) -> Result<&Server> {
        self.first(Kind::Kafka)
    }

    /// The ZooKeeper server; of several the first.
    ///
    /// # Errors
    /// When the stack has none.
    pub fn zookeeper(&self) -> Result<&Server> {
        self.first(Kind::ZooKeeper)
    }

    /// All servers of a kind, in the order of their names.
    #[must_use]
    pub fn all(&self, kind: Kind) -> Vec<&Server> {
        self.servers.values().filter(|server| server.kind() == kind).collect()
    }

    /// The addresses of all servers of a kind, with commas in between, as clients of Kafka and ZooKeeper take them.
    ///
    /// # Errors
    /// When the stack has none.
    pub fn addresses(&self, kind: Kind) -> Result<String> {
        self.first(kind)?;
        Ok(self.all(kind).into_iter().map(Server::address).collect::<Vec<_>>().join(","))
    }

    fn first(&self, kind: Kind) -> Result<&Server> {
        let found = self.all(kind).into_iter().next();
        found.ok_or_else(|| anyhow!("find a server ({kind:?}) in the stack {}: it has none", self.name))
    }

    fn server(&self, name: &str, kind: Kind) -> Result<&Server> {
        let found = self.servers.get(name).filter(|server| server.kind() == kind);
        found.ok_or_else(|| anyhow!("find the server {name} ({kind:?}) in the stack {}: it has none", self.name))
    }

    /// The addresses as environment variables: `LUTRA_<NAME>_URL` for a MySQL server, `LUTRA_KAFKA`, `LUTRA_ZOOKEEPER`.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let variable = |server: &Server| format!("LUTRA_{}_URL", server.name().to_uppercase().replace('-', "_"));
        let databases = self.all(Kind::MySql).into_iter().map(|server| (variable(server), server.url()));
        let others = [("LUTRA_KAFKA", Kind::Kafka), ("LUTRA_ZOOKEEPER", Kind::ZooKeeper)];
        let others = others.into_iter().filter_map(|(name, kind)| Some((name.to_owned(), self.addresses(kind).ok()?)));
        databases.chain(others).collect()
    }

    fn env_file(&self) -> String {
        self.env().into_iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    fn remember(&self, complete: bool) -> Result<()> {
        let servers = self.servers.iter().map(|(name, server)| {
            let launch = server.process().launch();
            let (program, args, env) = (launch.program, launch.args, launch.env);
            (name.clone(), ServerState { kind: server.kind(), port: server.port(), program, args, env })
        });
        let state = State { life: self.life, owner: ProcessId::own()?, complete, servers: servers.collect() };
        state.write(&self.folder)
    }

    /// Kills the services below [`Stack::services_folder`] and the servers, and removes the folder.
    ///
    /// # Errors
    /// When one of them does not go, or the folder cannot be removed.
    pub fn down(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        crate::services::end_kept(&self.services_folder(), Duration::ZERO)?;
        for server in self.servers.values() {
            server.kill()?;
        }
        self.servers.clear();
        remove_folder(&self.folder)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.life == Life::Kept || self.servers.is_empty() {
            return;
        }
        if std::thread::panicking() {
            // The logs of a failed test stay for a day (see `sweep`).
            for server in self.servers.values() {
                let _ = server.kill();
                let _ = fs::remove_dir_all(server.folder().join("data"));
            }
            let _ = fs::write(self.folder.join(FAILED_FILE), "");
        } else if let Err(error) = self.end() {
            tracing::warn!(stack = self.name, error = format!("{error:#}"), "a stack could not be removed");
        }
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The states of all stacks in the home folder.
fn states(home: &Home) -> Vec<(PathBuf, State)> {
    let folders = fs::read_dir(home.stacks()).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter_map(|folder| State::read(&folder).ok().map(|state| (folder, state))).collect()
}

fn used_ports(home: &Home) -> Vec<u16> {
    states(home).iter().flat_map(|(_, state)| state.servers.values().map(|server| server.port)).collect()
}

/// The names of the kept stacks in the home folder.
#[must_use]
pub fn kept(home: &Home) -> Vec<String> {
    let names = states(home).into_iter().filter(|(_, state)| state.life == Life::Kept);
    names.filter_map(|(folder, _)| Some(folder.file_name()?.to_string_lossy().into_owned())).collect()
}

/// Ends and removes what test runs left that were themselves ended by force. The folder of a run that failed is kept for
/// a day, for its logs.
///
/// # Errors
/// When the lock cannot be taken.
pub fn sweep(home: &Home) -> Result<()> {
    let _lock = home.lock("stacks")?;
    for entry in fs::read_dir(home.stacks()).into_iter().flatten().flatten() {
        let folder = entry.path();
        // A state that cannot be read: its starter was ended in the moment between making the folder and writing it.
        let Ok(state) = State::read(&folder) else {
            let _ = fs::remove_dir_all(&folder);
            continue;
        };
        if state.life == Life::Test && !state.owner.is_alive() {
            state.end_processes(&folder);
            if !folder.join(FAILED_FILE).exists() || is_older_than_a_day(&folder.join(STATE_FILE)) {
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
    Ok(())
}

fn is_older_than_a_day(file: &Path) -> bool {
    let changed = fs::metadata(file).and_then(|file| file.modified()).ok();
    changed.and_then(|time| time.elapsed().ok()).is_none_or(|age| age > Duration::from_secs(24 * 3600))
}

//! Lutra's own service processes: built, started, killed, frozen, watched.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::home::repository;
use crate::install::Toolchain;
use crate::process::{Guard, Launch, Process, ProcessId, Usage, describe};
use crate::server::Kind;
use crate::stack::Stack;

/// The packages whose programs a running Lutra consists of.
pub const PACKAGES: [&str; 5] = ["lutra-manager", "lutra-extractor", "lutra-transformer", "lutra-loader", "lutra-cli"];

/// Features with which the services are built for tests, and only for those: they can be made to die at named places.
pub const TEST_FEATURES: [&str; 2] = ["lutra-extractor/crash-points", "lutra-loader/crash-points"];

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Decides who runs what.
    Manager,
    /// Source to ordered log.
    Extractor,
    /// Ordered log to pipeline log.
    Transformer,
    /// Pipeline log to target.
    Loader,
}

impl Service {
    /// All four, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Manager, Self::Extractor, Self::Transformer, Self::Loader];

    /// The name of its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Manager => "lutra-manager",
            Self::Extractor => "lutra-extractor",
            Self::Transformer => "lutra-transformer",
            Self::Loader => "lutra-loader",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program().trim_start_matches("lutra-"))
    }
}

/// The programs of Lutra, built.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

/// How the programs are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

impl Profile {
    /// What `LUTRA_PROFILE` says (`release` or `debug`); debug when it says nothing.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("LUTRA_PROFILE").as_deref() {
            Ok("release") => Self::Release,
            _ => Self::Debug,
        }
    }
}

impl Binaries {
    /// Builds the services and the command line with cargo, whose own words go to standard error. Debug programs have
    /// [`TEST_FEATURES`], release programs are what users run.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(tools: &Toolchain, profile: Profile) -> Result<Self> {
        Self::build_with(tools, profile, profile == Profile::Debug)
    }

    /// Builds them with [`TEST_FEATURES`] in any profile.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build_breakable(tools: &Toolchain, profile: Profile) -> Result<Self> {
        Self::build_with(tools, profile, true)
    }

    fn build_with(tools: &Toolchain, profile: Profile, breakable: bool) -> Result<Self> {
        let mut command = cargo(tools);
        command.arg("build").args(PACKAGES.iter().flat_map(|package| ["--package", package])).arg("--bins");
        if profile == Profile::Release {
            command.arg("--release");
        }
        if breakable {
            command.args(["--features", &TEST_FEATURES.join(",")]);
        }
        let status = command.stdin(Stdio::null()).status().context("start cargo to build the services")?;
        if !status.success() {
            bail!("build the services: cargo {}", describe(Some(status)));
        }
        Self::find(profile)
    }

    /// The programs that were built before.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find(profile: Profile) -> Result<Self> {
        let folder = target_folder()?.join(match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        });
        for service in Service::ALL {
            let program = folder.join(service.program());
            if !program.is_file() {
                bail!("find the program {}: it is not built; `cargo xtask test` builds it", program.display());
            }
        }
        Ok(Self { folder })
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program of a service.
    #[must_use]
    pub fn service(&self, service: Service) -> PathBuf {
        self.folder.join(service.program())
    }

    /// The command line program.
    #[must_use]
    pub fn command_line(&self) -> PathBuf {
        self.folder.join("lutra")
    }
}

/// Cargo at the root of the repository, with the environment that building the Kafka client needs.
#[must_use]
pub fn cargo(tools: &Toolchain) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()).envs(tools.cargo_env());
    command
}

/// Where cargo puts what it builds.
///
/// # Errors
/// When cargo does not say.
pub fn target_folder() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(repository().join(folder));
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()).args(["metadata", "--no-deps", "--format-version", "1"]).stdin(Stdio::null());
    let output = command.output().context("ask cargo for its target folder")?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("understand cargo's metadata")?;
    Ok(metadata.target_directory)
}

/// Ends the services that were started below `folder` and run on, whoever started them: in order (SIGTERM) where they go
/// within `grace`, else by SIGKILL.
///
/// # Errors
/// When one of them does not go.
pub fn end_kept(folder: &Path, grace: Duration) -> Result<()> {
    let mut found = Vec::new();
    find_processes(folder, SERVICE_FOLDERS, &mut found);
    for id in &found {
        id.signal(Signal::SIGTERM)?;
    }
    let deadline = Instant::now() + grace;
    while found.iter().any(|id| id.is_alive()) && Instant::now() < deadline {
        crate::process::nap();
    }
    for id in found {
        id.signal(Signal::SIGKILL)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while id.is_alive() {
            if Instant::now() > deadline {
                bail!("end the service of process {}: it is still there after 30 s", id.pid);
            }
            crate::process::nap();
        }
    }
    Ok(())
}

/// How deep the folders of services lie below the stack's `services`: a cluster's, then one per service.
const SERVICE_FOLDERS: u32 = 2;

fn find_processes(folder: &Path, depth: u32, found: &mut Vec<ProcessId>) {
    found.extend(crate::server::remembered(folder).filter(|id| id.is_alive()));
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        find_processes(&entry.path(), depth - 1, found);
    }
}

/// Starts Lutra's services against one ZooKeeper and one Kafka, each with a folder of its own.
#[derive(Debug, Clone)]
pub struct Launcher {
    binaries: Binaries,
    folder: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    guard: Guard,
}

impl Launcher {
    /// Services on the servers of `stack`, with their folders below `folder`. They end with this process.
    ///
    /// # Errors
    /// When the stack lacks ZooKeeper or Kafka, or the folder cannot be made.
    pub fn new(binaries: Binaries, stack: &Stack, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let (zookeeper, kafka) = (stack.addresses(Kind::ZooKeeper)?, stack.addresses(Kind::Kafka)?);
        let args = ["--zookeeper", &zookeeper, "--kafka", &kafka];
        let args = args.map(str::to_owned).to_vec();
        let folder = std::path::absolute(folder).context("find the folder of the services")?;
        Ok(Self { binaries, folder, args, env: Vec::new(), guard: Guard::WithStarter })
    }

    /// Services that run on when this process has ended; [`crate::process::ProcessId`]s are left in `process.json` in each
    /// one's folder. [`Stack::services_folder`] is where [`Stack::down`] finds and ends them.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.guard = Guard::Kept;
        self
    }

    /// The services find ZooKeeper and Kafka under these addresses, told by environment: [`Launcher::start`] may tell one
    /// service others.
    #[must_use]
    pub fn reach(mut self, zookeeper: &str, kafka: &str) -> Self {
        // The four words that `new` wrote.
        self.args.drain(..4);
        self.env("LUTRA_ZOOKEEPER", zookeeper).env("LUTRA_KAFKA", kafka)
    }

    /// More arguments for every service.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// One more environment variable for every service.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts a service as `name` (`loader-1`), with more arguments and environment variables.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&self, service: Service, name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<ServiceProcess> {
        let dir = self.folder.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let more = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let process = Process::new(Launch {
            name: name.to_owned(),
            program: self.binaries.service(service),
            args: self.args.iter().cloned().chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
            env: self.env.iter().cloned().chain(more).collect(),
            log: dir.join(format!("{name}.log")),
            dir,
            guard: self.guard,
        });
        let started = ServiceProcess { service, process };
        started.start()?;
        Ok(started)
    }
}

/// A running service. It is killed when this is dropped, unless its launcher was [`Launcher::kept`].
#[derive(Debug)]
pub struct ServiceProcess {
    service: Service,
    process: Process,
}

impl ServiceProcess {
    /// Which service it is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts it again after its end, with the same arguments; its log goes on.
    ///
    /// # Errors
    /// When it runs, or the program cannot be started.
    pub fn start(&self) -> Result<()> {
        let id = self.process.start()?;
        crate::server::remember(&self.process.launch().dir, id)
    }

    /// Kills it (SIGKILL) and returns when it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end (SIGTERM); see [`ServiceProcess::wait`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Freezes it (SIGSTOP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Wakes it from [`ServiceProcess::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Kills it where it runs and starts it again.
    ///
    /// # Errors
    /// As [`ServiceProcess::kill`] and [`ServiceProcess::start`].
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let status = self.process.wait(limit).await?;
        status.ok_or_else(|| anyhow!("wait for the end of {}: it was never started", self.service))
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Memory and processor time of the present run.
    ///
    /// # Errors
    /// When it does not run.
    pub fn usage(&self) -> Result<Usage> {
        let id =
            self.process.id().ok_or_else(|| anyhow!("read the usage of {}: it was never started", self.service))?;
        ProcessId::usage(id)
    }

    /// All that it has logged, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.process.launch().log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log holds `text`.
    ///
    /// # Errors
    /// When it ends before, or `limit` passes: with the end of its log.
    pub async fn wait_for_log(&self, text: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.log().contains(text) {
            let ended = self.process.poll_exit();
            if ended && self.log().contains(text) {
                break;
            }
            if ended || Instant::now() > deadline {
                let how = if ended { describe(self.process.exit_status()) } else { format!("runs on for {limit:?}") };
                bail!(
                    "wait for {text:?} in the log of {}: it {how}; it ends with\n{}",
                    self.service,
                    self.process.log_tail(20)
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.process.signal(signal)? {
            bail!("send {signal} to {}: it does not run", self.process.launch().name);
        }
        Ok(())
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        if self.process.launch().guard == Guard::WithStarter {
            let _ = self.kill();
        }
    }
}

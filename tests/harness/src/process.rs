//! Child processes that never outlive who started them, unless asked to.
//!
//! Each process gets a session of its own, so that a Ctrl-C or a time-out on the starter does not reach it in the middle
//! of its work. A guarded process is killed by the kernel when the starter ends, however it ends: `PR_SET_PDEATHSIG` is
//! bound to the *thread* that forked, so all children are started by one thread that lives as long as the process.

use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process, told apart from a later one with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process number.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot.
    pub started: u64,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The most resident memory it ever had, in bytes.
    pub peak_resident_bytes: u64,
    /// User and system time of all its threads.
    pub cpu: Duration,
}

impl ProcessId {
    /// The running process with this number; `None` when there is none (a zombie is none).
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (stat.state != 'Z' && stat.state != 'X').then_some(Self { pid, started: stat.started })
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn own() -> Result<Self> {
        let pid = i32::try_from(std::process::id()).context("the own process number")?;
        Self::of(pid).ok_or_else(|| anyhow!("read /proc/{pid}/stat: the start time of the own process is not there"))
    }

    /// Whether it still runs (frozen counts as running).
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; `false` when the process is gone.
    ///
    /// # Errors
    /// When the signal may not be sent.
    pub fn signal(self, signal: Signal) -> Result<bool> {
        if !self.is_alive() {
            return Ok(false);
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ESRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("send {signal} to process {}", self.pid)),
        }
    }

    /// Memory and processor time.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn usage(self) -> Result<Usage> {
        let stat = Stat::read(self.pid)
            .filter(|stat| stat.started == self.started)
            .ok_or_else(|| anyhow!("read the usage of process {}: it is gone", self.pid))?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        Ok(Usage {
            resident_bytes: kib("VmRSS:").unwrap_or(0) * 1024,
            peak_resident_bytes: kib("VmHWM:").unwrap_or(0) * 1024,
            cpu: ticks(stat.cpu_ticks),
        })
    }
}

fn ticks(count: u64) -> Duration {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let per_second = per_second.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(100);
    Duration::from_millis(count.saturating_mul(1000) / per_second)
}

struct Stat {
    state: char,
    started: u64,
    cpu_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name (field 2) may hold blanks and brackets: fields count from the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            started: number(22)?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
        })
    }
}

/// Who may outlive whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// Killed by the kernel when the starter ends.
    WithStarter,
    /// Lives on; who started it remembers its [`ProcessId`] in a file.
    Kept,
}

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What it is called in error messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables on top of the starter's own.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// The file that gets its standard output and error, appended.
    pub log: PathBuf,
    /// Whether it may outlive the starter.
    pub guard: Guard,
}

/// A process that can be started again and again.
#[derive(Debug)]
pub struct Process {
    launch: Mutex<Launch>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    id: ProcessId,
    /// `None` when another process started it.
    child: Option<Child>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// A process that is not started yet.
    #[must_use]
    pub fn new(launch: Launch) -> Self {
        Self { launch: Mutex::new(launch), running: Mutex::new(None) }
    }

    /// A process that may have been started by another one.
    #[must_use]
    pub fn adopted(launch: Launch, id: Option<ProcessId>) -> Self {
        let running = id.map(|id| Running { id, child: None, ended: None });
        Self { launch: Mutex::new(launch), running: Mutex::new(running) }
    }

    /// How it is started.
    #[must_use]
    pub fn launch(&self) -> Launch {
        lock(&self.launch).clone()
    }

    /// Changes how it is started from the next start on.
    pub fn change_launch(&self, change: impl FnOnce(&mut Launch)) {
        change(&mut lock(&self.launch));
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already, or the program cannot be started.
    pub fn start(&self) -> Result<ProcessId> {
        // One that ended by itself keeps its number until somebody asks how: a server would take its lock file for a living one's.
        self.poll_exit();
        let launch = self.launch();
        let mut running = lock(&self.running);
        if let Some(old) = running.as_ref().filter(|old| old.id.is_alive()) {
            bail!("start {}: it runs already as process {}", launch.name, old.id.pid);
        }
        let child = spawn_on_starter(&launch)?;
        let pid = i32::try_from(child.id()).context("process number")?;
        let started = Stat::read(pid).map_or(0, |stat| stat.started);
        let id = ProcessId { pid, started };
        *running = Some(Running { id, child: Some(child), ended: None });
        Ok(id)
    }

    /// Its identity, when it was ever started.
    #[must_use]
    pub fn id(&self) -> Option<ProcessId> {
        lock(&self.running).as_ref().map(|running| running.id)
    }

    /// Whether it runs now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.id().is_some_and(ProcessId::is_alive)
    }

    /// Sends a signal; `false` when it does not run.
    ///
    /// # Errors
    /// When the signal may not be sent.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        self.id().map_or(Ok(false), |id| id.signal(signal))
    }

    /// Kills it with SIGKILL and returns when it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.poll_exit() {
            if Instant::now() > deadline {
                bail!("kill {}: it is still there after 30 s", self.launch().name);
            }
            nap();
        }
        Ok(())
    }

    /// Waits until it has ended; its exit status where it was started by this process.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        while !self.poll_exit() {
            if Instant::now() > deadline {
                bail!("wait for the end of {}: it still runs after {limit:?}", self.launch().name);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.exit_status())
    }

    /// Looks whether it has ended, and takes its exit status.
    pub fn poll_exit(&self) -> bool {
        let mut running = lock(&self.running);
        let Some(running) = running.as_mut() else { return true };
        let Some(child) = running.child.as_mut() else { return !running.id.is_alive() };
        match child.try_wait() {
            Ok(Some(status)) => {
                running.ended = Some(status);
                true
            }
            Ok(None) => false,
            Err(_) => !running.id.is_alive(),
        }
    }

    /// The exit status of the last run, when it has ended and was started by this process.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.running).as_ref().and_then(|running| running.ended)
    }

    /// The last `lines` lines of its log, for an error message.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.launch().log, lines)
    }
}

/// A moment for a process that was killed to go. It goes by itself, and nothing tells of the end of a process that somebody
/// else started.
#[allow(clippy::disallowed_methods)]
pub(crate) fn nap() {
    std::thread::sleep(Duration::from_millis(2));
}

/// The last lines of a text file; empty when it cannot be read.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// An exit status in words.
#[must_use]
pub fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "ended".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread whose end the kernel takes for the starter's end. It ends with the process only.
static STARTER: LazyLock<Option<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    let thread = std::thread::Builder::new().name("starter".to_owned());
    thread.spawn(move || jobs.into_iter().for_each(|job| job())).ok().map(|_| sender)
});

fn spawn_on_starter(launch: &Launch) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&launch.log);
    let log = log.with_context(|| format!("open the log {}", launch.log.display()))?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).envs(launch.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&launch.dir).stdin(Stdio::null());
    command.stdout(log.try_clone().context("share the log")?).stderr(log);
    detach(&mut command, launch.guard);
    let (reply, answer) = mpsc::sync_channel(1);
    let starter = STARTER.as_ref().ok_or_else(|| anyhow!("start {}: no thread to start it from", launch.name))?;
    let job: Job = Box::new(move || drop(reply.send(command.spawn())));
    starter.send(job).map_err(|_| anyhow!("start {}: the starting thread is gone", launch.name))?;
    let child = answer.recv().map_err(|_| anyhow!("start {}: the starting thread is gone", launch.name))?;
    child.with_context(|| format!("start {} ({})", launch.name, launch.program.display()))
}

/// A session of its own, and death with the starter.
#[allow(unsafe_code)]
fn detach(command: &mut Command, guard: Guard) {
    let starter = nix::unistd::getpid();
    let before_exec = move || {
        nix::unistd::setsid()?;
        if guard == Guard::WithStarter {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The starter may have died before the line above.
            if nix::unistd::getppid() != starter {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe system calls are made (setsid, prctl, getppid), and nothing is
    // allocated or locked.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Runs `last` when this process exits in an orderly way, statics included (their `Drop` never runs).
#[allow(unsafe_code)]
pub fn at_exit(last: extern "C" fn()) {
    // SAFETY: `last` is a plain function that lives as long as the program.
    let _ = unsafe { libc::atexit(last) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sleeper(folder: &Path, guard: Guard) -> Process {
        Process::new(Launch {
            name: "sleeper".to_owned(),
            program: "sleep".into(),
            args: vec!["600".to_owned()],
            env: Vec::new(),
            dir: folder.to_path_buf(),
            log: folder.join("sleeper.log"),
            guard,
        })
    }

    #[test]
    fn fields_count_from_the_last_bracket() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 11 31 0 0 20 0 1 0 4711 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.started, stat.cpu_ticks), ('S', 4711, 42));
    }

    #[test]
    fn a_recycled_number_is_not_taken_for_ours() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        let other = ProcessId { started: own.started + 1, ..own };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::SIGKILL).unwrap());
    }

    #[test]
    fn one_that_ended_by_itself_gives_its_number_back_when_it_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), Guard::WithStarter);
        let first = process.start().unwrap();
        kill(Pid::from_raw(first.pid), Signal::SIGABRT).unwrap();
        while first.is_alive() {
            nap();
        }
        assert!(kill(Pid::from_raw(first.pid), None).is_ok(), "not asked for yet");
        process.start().unwrap();
        assert!(kill(Pid::from_raw(first.pid), None).is_err());
        process.kill().unwrap();
    }

    #[test]
    fn a_killed_process_is_gone_and_can_be_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), Guard::WithStarter);
        let first = process.start().unwrap();
        assert!(process.start().is_err());
        process.kill().unwrap();
        assert!(!first.is_alive());
        assert_eq!(describe(process.exit_status()), "ended by signal 9");
        let second = process.start().unwrap();
        assert_ne!(first.pid, second.pid);
        process.kill().unwrap();
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), Guard::WithStarter);
        std::thread::scope(|scope| scope.spawn(|| process.start().map(|_| ())).join().unwrap()).unwrap();
        (0..25).for_each(|_| nap());
        assert!(process.is_alive());
        process.kill().unwrap();
    }
}

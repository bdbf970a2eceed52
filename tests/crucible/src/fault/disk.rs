//! Disks: a data folder on a small file system in memory, filled up and freed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use lutra_harness::Server;

use super::{Family, Fault, Injury, ONE_BROKER, Recovery};
use crate::ground::Form;
use crate::plan::Dice;
use crate::rig::Rig;

/// Room for the data and the binlogs of a run, and little more.
const MIB: u64 = 1_024;
/// So long after its disk is free a server that met its end may still be at it.
const GIVING_UP: Duration = Duration::from_secs(1);

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Full { disk: Disk::Target }), Box::new(Full { disk: Disk::Kafka })]
}

/// Whose disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// The target's, with its binlogs.
    Target,
    /// The broker's, with its logs.
    Kafka,
}

impl Disk {
    fn server(self, rig: &Rig) -> Result<&Server> {
        match self {
            Self::Target => rig.ground.stack.mysql("target"),
            Self::Kafka => rig.ground.stack.kafka(),
        }
    }
}

struct Full {
    disk: Disk,
}

/// A mounted file system, unmounted when nobody needs it.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.0.display().to_string()]);
    }
}

/// Why this process has no mounts of its own, once it was asked for.
static OWN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();

/// Gives this process, which must have one thread yet, mounts of its own: they are gone when its last child is, however it
/// ends.
#[allow(unsafe_code)]
pub(crate) fn own_mounts() {
    let separate = || -> Result<()> {
        // SAFETY: it changes which mounts this process sees, and no memory.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(std::io::Error::last_os_error()).context("ask for a mount name space");
        }
        run("mount", &["--make-rprivate", "/"])
    };
    let _ = OWN.set(separate().err().map(|error| format!("{error:#}")));
}

/// What is mounted, for as long as the process runs: the stack's folder goes after it.
static MOUNTED: std::sync::Mutex<Vec<Mount>> = std::sync::Mutex::new(Vec::new());

/// Unmounts it: to be called when the servers are gone.
pub(crate) fn unmount() {
    MOUNTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(args).stdin(Stdio::null()).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn filler(data: &Path) -> PathBuf {
    data.join("filler")
}

/// Frees all disks that are full.
pub(crate) fn free(rig: &Rig) -> Result<()> {
    let kafka = (rig.ground.form.brokers == 1).then_some(Disk::Kafka);
    std::iter::once(Disk::Target).chain(kafka).try_for_each(|disk| free_one(disk.server(rig)?))
}

fn free_one(server: &Server) -> Result<()> {
    match std::fs::remove_file(filler(&server.folder().join("data"))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("free a disk"),
        _ => Ok(()),
    }
}

/// Fills the file system until it takes nothing more.
fn fill(path: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path).context("fill a disk")?;
    let block = vec![0; 1 << 20];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0; 512]).is_ok() {}
    Ok(())
}

impl Fault for Full {
    fn name(&self) -> String {
        match self.disk {
            Disk::Target => "target-disk-full",
            Disk::Kafka => "kafka-disk-full",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Disk
    }

    fn about(&self) -> String {
        let whose = match self.disk {
            Disk::Target => "the target's data folder",
            Disk::Kafka => "the broker's folder of logs",
        };
        format!(
            "{whose} lies on a small tmpfs, which is filled up for 2 to 5 s and freed; a server that gave up is started again"
        )
    }

    fn unable(&self) -> Option<String> {
        if !nix::unistd::geteuid().is_root() {
            return Some("mounting a tmpfs needs root".to_owned());
        }
        OWN.get().cloned().flatten()
    }

    fn lacks(&self, form: Form) -> Option<&'static str> {
        (self.disk == Disk::Kafka && form.brokers != 1).then_some(ONE_BROKER)
    }

    fn wanted(&self) -> u64 {
        10
    }

    fn prepare<'a>(&'a self, rig: &'a Rig) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let server = self.disk.server(rig)?;
            let (data, disk) = (server.folder().join("data"), server.folder().join("small-disk"));
            server.stop().await?;
            std::fs::create_dir_all(&disk).context("make a mount point")?;
            run("mount", &["-t", "tmpfs", "-o", &format!("size={MIB}m"), "tmpfs", &disk.display().to_string()])?;
            MOUNTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Mount(disk.clone()));
            run("cp", &["-a", "--sparse=always", &format!("{}/.", data.display()), &disk.display().to_string()])?;
            std::fs::rename(&data, server.folder().join("data-before")).context("put the old data folder away")?;
            std::os::unix::fs::symlink(&disk, &data).context("point the data folder to the small disk")?;
            server.start().await
        })
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let server = self.disk.server(rig)?;
            let (name, data) = (server.name().to_owned(), server.folder().join("data"));
            let hold = dice.span(2_000, 5_000);
            tokio::task::spawn_blocking(move || fill(&filler(&data))).await??;
            Ok(Injury::now(name, Recovery::Outage).holding(hold))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let server = self.disk.server(rig)?;
            free_one(server)?;
            // A server that cannot write may end itself: it gets a moment for that.
            tokio::time::sleep(GIVING_UP).await;
            if !server.process().is_alive() {
                server.start().await?;
            }
            Ok(())
        })
    }
}

//! Processor, memory and clock.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::services::Service;

use super::{Family, Fault, Injury, Need, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Starved), Box::new(Capped), Box::new(Clock)]
}

/// Others take the processors.
struct Starved;

/// A process that is killed when nobody needs it.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Fault for Starved {
    fn name(&self) -> String {
        "cpu-starved".to_owned()
    }

    fn family(&self) -> Family {
        Family::Resources
    }

    fn about(&self) -> String {
        "twice as many busy processes as there are processors, for 2 to 5 s".to_owned()
    }

    fn inject<'a>(&'a self, _rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            let mut busy = Vec::new();
            for _ in 0..processors * 2 {
                // They end by themselves, should this process not live to end them.
                let mut command = Command::new("sh");
                command.args(["-c", "ulimit -t 10; while :; do :; done"]).stdin(Stdio::null());
                busy.push(Busy(command.spawn().context("start a busy process")?));
            }
            Ok(Injury::now("all", Recovery::Outage).keeping(busy).holding(dice.span(2_000, 5_000)))
        })
    }

    fn heal<'a>(&'a self, _rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            injury.kept.clear();
            Ok(())
        })
    }
}

/// A process gets no more memory than it has.
struct Capped;

/// No process may grow beyond this address space.
#[allow(unsafe_code)]
pub(crate) fn cap_memory(pid: i32, bytes: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` lives over the call, and the old limit is not asked for.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("cap a process's memory") }
}

/// The size of its address space.
fn address_space(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).context("read a process's size")?;
    let pages = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).context("understand a size")?;
    Ok(pages * 4_096)
}

impl Fault for Capped {
    fn name(&self) -> String {
        "memory-capped".to_owned()
    }

    fn family(&self) -> Family {
        Family::Resources
    }

    fn about(&self) -> String {
        "the address space of the loader, extractor or transformer that owns a task may not grow for 2 to 4 s; one that \
         dies of it is started again"
            .to_owned()
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let services = [Service::Extractor, Service::Transformer, Service::Loader];
            let owner = rig.owner(dice.one(&services).copied().unwrap_or(Service::Loader)).await?;
            let id = owner.process().id().context("the owner was never started")?;
            let injury = Injury::now(owner.process().launch().name, Recovery::Outage);
            cap_memory(id.pid, address_space(id.pid)?)?;
            Ok(injury.holding(dice.span(2_000, 4_000)))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let process = rig.world.service(&injury.victim)?;
            match process.process().id().filter(|id| id.is_alive()) {
                Some(id) => cap_memory(id.pid, libc::RLIM_INFINITY),
                None => process.start(),
            }
        })
    }
}

/// A process's clock is wrong for a while.
struct Clock;

/// Ten minutes.
const OFF: i32 = 600;

impl Fault for Clock {
    fn name(&self) -> String {
        "clock-moved".to_owned()
    }

    fn family(&self) -> Family {
        Family::Resources
    }

    fn about(&self) -> String {
        "the wall clock of one process (an owner of a task, or the leading manager) jumps by ten minutes, back or forth, and \
         back to the right time after 4 to 8 s; only where it is named, since services then run with libfaketime"
            .to_owned()
    }

    fn by_default(&self) -> bool {
        false
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Clocks)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let service = dice.one(&Service::ALL).copied().unwrap_or(Service::Loader);
            let victim = rig.owner(service).await?.process().launch().name;
            let off = if dice.number(0..=1) == 0 { OFF } else { -OFF };
            let injury = Injury::now(&victim, Recovery::Pause);
            rig.ground.move_clock(&victim, off)?;
            Ok(injury.holding(dice.span(4_000, 8_000)))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if injury.victim.is_empty() { rig.ground.right_clocks() } else { rig.ground.move_clock(&injury.victim, 0) }
        })
    }
}

//! Lutra's own processes: killed, frozen, ended in order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use lutra_harness::services::{Service, ServiceProcess};

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::{LIMIT, Rig, SESSION};

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = Vec::new();
    for service in Service::ALL {
        for way in [Way::Kill, Way::Gone, Way::Zombie, Way::Drain] {
            all.push(Box::new(Struck { service, way }));
        }
    }
    all.push(Box::new(Rolling));
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// SIGKILL, and started again at once.
    Kill,
    /// SIGKILL, and started again when another has taken over.
    Gone,
    /// SIGSTOP for longer than its session, then SIGCONT.
    Zombie,
    /// SIGTERM, and started again when it has ended.
    Drain,
}

/// The owner of a service's task, or the leading manager.
struct Struck {
    service: Service,
    way: Way,
}

impl Fault for Struck {
    fn name(&self) -> String {
        let way = match self.way {
            Way::Kill => "kill",
            Way::Gone => "gone",
            Way::Zombie => "zombie",
            Way::Drain => "drain",
        };
        format!("{way}-{}", self.service)
    }

    fn family(&self) -> Family {
        Family::Process
    }

    fn about(&self) -> String {
        let who = match self.service {
            Service::Manager => "the leading manager".to_owned(),
            service => format!("the {service} that owns the task"),
        };
        match self.way {
            Way::Kill => format!("SIGKILL to {who}, started again at once"),
            Way::Gone => format!("SIGKILL to {who}, started again only when another has taken over"),
            Way::Zombie => format!("SIGSTOP to {who} for 1.5 to 3 session time-outs, then SIGCONT"),
            Way::Drain => format!("SIGTERM to {who}, started again when it has ended"),
        }
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let owner = rig.owner(self.service).await?;
            let victim = owner.process().launch().name;
            let managed = self.service == Service::Manager;
            let kind = |otherwise| if managed { Recovery::Management } else { otherwise };
            Ok(match self.way {
                Way::Kill => {
                    let injury = Injury::now(victim, kind(Recovery::Restart));
                    owner.restart()?;
                    injury
                }
                Way::Gone => {
                    let injury = Injury::now(victim, kind(Recovery::TakeOver));
                    owner.kill()?;
                    injury
                }
                Way::Zombie => {
                    let session = u64::try_from(SESSION.as_millis()).unwrap_or(2_000);
                    let hold = dice.span(session * 3 / 2, session * 3);
                    let injury = Injury::now(victim, kind(Recovery::TakeOver)).holding(hold);
                    owner.freeze()?;
                    injury
                }
                Way::Drain => {
                    let injury = Injury::now(victim, kind(Recovery::HandOver));
                    owner.terminate()?;
                    owner.wait(LIMIT).await?;
                    injury
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let process = rig.world.service(&injury.victim)?;
            match self.way {
                Way::Kill => Ok(()),
                Way::Gone | Way::Drain => process.start(),
                Way::Zombie => process.thaw(),
            }
        })
    }
}

/// A process that is back is left alone for so long before the next one goes.
const BETWEEN: Duration = Duration::from_millis(500);

/// Every process, one after the other.
struct Rolling;

impl Fault for Rolling {
    fn name(&self) -> String {
        "rolling-restart".to_owned()
    }

    fn family(&self) -> Family {
        Family::Process
    }

    fn about(&self) -> String {
        "SIGTERM to every process, one after the other, each back before the next goes".to_owned()
    }

    fn inject<'a>(&'a self, rig: &'a Rig, _dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let injury = Injury::now("all", Recovery::HandOver);
            for (name, process) in &rig.world.services {
                process.terminate()?;
                process.wait(LIMIT).await.with_context(|| format!("end {name} in order"))?;
                // As who rolls a new version out does: the next one goes when this one is back.
                let before = times_back(process);
                process.start()?;
                let deadline = Instant::now() + LIMIT;
                while times_back(process) == before {
                    ensure!(Instant::now() < deadline, "{name} does not come back\n{}", process.process().log_tail(20));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                tokio::time::sleep(BETWEEN).await;
            }
            Ok(injury)
        })
    }
}

/// How often it has been ready for work, as its log says.
fn times_back(process: &ServiceProcess) -> usize {
    let ready = if process.service() == Service::Manager { "manager is up" } else { "worker registered" };
    process.log().matches(ready).count()
}

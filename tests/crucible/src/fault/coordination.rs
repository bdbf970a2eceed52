//! ZooKeeper, and the way of single processes to it.

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::link::Conditions;
use lutra_harness::services::Service;

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::{Rig, SESSION};

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = vec![
        Box::new(Server { way: Way::Restart }),
        Box::new(Server { way: Way::Away }),
        Box::new(Server { way: Way::Frozen }),
    ];
    for service in [Service::Extractor, Service::Transformer, Service::Loader] {
        all.push(Box::new(CutOff { service, expired: true }));
    }
    all.push(Box::new(CutOff { service: Service::Loader, expired: false }));
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Killed and started again.
    Restart,
    /// Away for a minute.
    Away,
    /// Frozen for some sessions.
    Frozen,
}

struct Server {
    way: Way,
}

impl Fault for Server {
    fn name(&self) -> String {
        match self.way {
            Way::Restart => "zookeeper-killed",
            Way::Away => "zookeeper-away",
            Way::Frozen => "zookeeper-frozen",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Coordination
    }

    fn about(&self) -> String {
        match self.way {
            Way::Restart => "SIGKILL to ZooKeeper, started again at once",
            Way::Away => "ZooKeeper is away for 60 s; running tasks must not pause",
            Way::Frozen => {
                "SIGSTOP to ZooKeeper for 1 to 3 session time-outs, then SIGCONT; running tasks must not pause"
            }
        }
        .to_owned()
    }

    fn wanted(&self) -> u64 {
        match self.way {
            Way::Away => 10,
            Way::Restart | Way::Frozen => 50,
        }
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let server = rig.ground.stack.zookeeper()?;
            Ok(match self.way {
                Way::Restart => {
                    let injury = Injury::now("zookeeper", Recovery::Outage);
                    server.kill()?;
                    server.start().await?;
                    injury
                }
                Way::Away => {
                    let injury = Injury::now("zookeeper", Recovery::Pause);
                    server.kill()?;
                    injury.holding(std::time::Duration::from_secs(60)).flowing()
                }
                Way::Frozen => {
                    let session = u64::try_from(SESSION.as_millis()).unwrap_or(2_000);
                    let injury = Injury::now("zookeeper", Recovery::Pause);
                    server.freeze()?;
                    injury.holding(dice.span(session, session * 3)).flowing()
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let server = rig.ground.stack.zookeeper()?;
            match self.way {
                Way::Restart => Ok(()),
                Way::Away => server.start().await,
                Way::Frozen => server.thaw(),
            }
        })
    }
}

/// One process without ZooKeeper, while all others have it.
struct CutOff {
    service: Service,
    /// Until its session has expired; else for half of it.
    expired: bool,
}

impl Fault for CutOff {
    fn name(&self) -> String {
        format!("{}-{}", if self.expired { "session-expired" } else { "session-shaken" }, self.service)
    }

    fn family(&self) -> Family {
        Family::Coordination
    }

    fn about(&self) -> String {
        let who = format!("the {} that owns the task", self.service);
        if self.expired {
            format!(
                "{who} is cut off from ZooKeeper until its session has expired, 1.5 to 3 session time-outs; another takes over"
            )
        } else {
            format!(
                "{who} loses its connection to ZooKeeper and gets no new one for half a session time-out; nobody takes over"
            )
        }
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let victim = rig.owner(self.service).await?.process().launch().name;
            let link = rig.ground.link(&victim)?;
            let session = u64::try_from(SESSION.as_millis()).unwrap_or(2_000);
            Ok(if self.expired {
                let injury = Injury::now(victim, Recovery::Pause).holding(dice.span(session * 3 / 2, session * 3));
                link.set(Conditions::black_hole());
                injury
            } else {
                let injury =
                    Injury::now(victim, Recovery::Pause).holding(dice.span(session / 4, session / 2)).flowing();
                link.set(Conditions { refuse: true, ..Conditions::default() });
                link.reset();
                injury
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let link = rig.ground.link(&injury.victim)?;
            link.set(Conditions::default());
            // What hung in the hole does not come out any more.
            link.reset();
            Ok(())
        })
    }
}

//! ZooKeeper, and the way of single processes to it.

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::link::Conditions;
use lutra_harness::server::Kind;
use lutra_harness::services::Service;

use super::{Family, Fault, Injury, ONE_ZOOKEEPER, Recovery, THREE_ZOOKEEPERS};
use crate::ground::Form;
use crate::plan::Dice;
use crate::rig::{LIMIT, Rig, SESSION};

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = vec![
        Box::new(Server { way: Way::Restart }),
        Box::new(Server { way: Way::Away }),
        Box::new(Server { way: Way::Frozen }),
        Box::new(Ensemble { quorum: true }),
        Box::new(Ensemble { quorum: false }),
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

    fn lacks(&self, form: Form) -> Option<&'static str> {
        (form.zookeepers != 1).then_some(ONE_ZOOKEEPER)
    }

    fn wanted(&self) -> u64 {
        match self.way {
            Way::Away => 10,
            Way::Restart | Way::Frozen => 100,
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

/// Servers of an ensemble.
struct Ensemble {
    /// Whether those that are left are enough to serve.
    quorum: bool,
}

impl Fault for Ensemble {
    fn name(&self) -> String {
        if self.quorum { "zookeeper-server-killed" } else { "zookeeper-quorum-lost" }.to_owned()
    }

    fn family(&self) -> Family {
        Family::Coordination
    }

    fn about(&self) -> String {
        if self.quorum {
            "SIGKILL to one of three ZooKeeper servers, started again after 2 to 8 s; running tasks must not pause"
        } else {
            "SIGKILL to two of three ZooKeeper servers, started again after 60 s; running tasks must not pause"
        }
        .to_owned()
    }

    fn wanted(&self) -> u64 {
        if self.quorum { 100 } else { 10 }
    }

    fn lacks(&self, form: Form) -> Option<&'static str> {
        (form.zookeepers < 3).then_some(THREE_ZOOKEEPERS)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let mut servers = rig.ground.stack.all(Kind::ZooKeeper);
            let spared = usize::try_from(dice.number(0..=2)).unwrap_or(0).min(servers.len().saturating_sub(1));
            let spared = servers.remove(spared);
            let struck = if self.quorum { vec![spared] } else { servers };
            let names: Vec<&str> = struck.iter().map(|server| server.name()).collect();
            let injury = Injury::now(names.join(", "), Recovery::Pause).flowing();
            for server in struck {
                server.kill()?;
            }
            Ok(injury.holding(if self.quorum { dice.span(2_000, 8_000) } else { std::time::Duration::from_secs(60) }))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { start_all(rig.ground.stack.all(Kind::ZooKeeper)).await })
    }
}

/// Starts those that do not run, all at once: one alone may not answer before the others run.
pub(super) async fn start_all(servers: Vec<&lutra_harness::Server>) -> Result<()> {
    for server in servers.iter().filter(|server| !server.process().is_alive()) {
        server.launch()?;
    }
    for server in servers {
        server.wait_ready(LIMIT).await?;
    }
    Ok(())
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
            let ground = &rig.ground;
            let session = u64::try_from(SESSION.as_millis()).unwrap_or(2_000);
            Ok(if self.expired {
                let injury = Injury::now(&victim, Recovery::Pause).holding(dice.span(session * 3 / 2, session * 3));
                ground.set(&victim, Conditions::black_hole())?;
                injury
            } else {
                let injury =
                    Injury::now(&victim, Recovery::Pause).holding(dice.span(session / 4, session / 2)).flowing();
                ground.set(&victim, Conditions { refuse: true, ..Conditions::default() })?;
                ground.reset(&victim)?;
                injury
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            rig.ground.set(&injury.victim, Conditions::default())?;
            // What hung in the hole does not come out any more.
            rig.ground.reset(&injury.victim)
        })
    }
}

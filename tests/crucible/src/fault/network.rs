//! The links between Lutra and its servers.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::link::Conditions;

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

/// Links by the server behind them; those of ZooKeeper are one per process, and are with the coordination.
const LINKS: [&str; 3] = ["source", "target", "kafka"];

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    [Way::Late, Way::Narrow, Way::Slices, Way::Reset, Way::HalfOpen, Way::BlackHole, Way::Refused]
        .map(|way| -> Box<dyn Fault> { Box::new(Spoilt { way }) })
        .into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Late,
    Narrow,
    Slices,
    Reset,
    HalfOpen,
    BlackHole,
    Refused,
}

struct Spoilt {
    way: Way,
}

impl Fault for Spoilt {
    fn name(&self) -> String {
        match self.way {
            Way::Late => "net-latency",
            Way::Narrow => "net-bandwidth",
            Way::Slices => "net-slices",
            Way::Reset => "net-reset",
            Way::HalfOpen => "net-half-open",
            Way::BlackHole => "net-black-hole",
            Way::Refused => "net-refused",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Network
    }

    fn about(&self) -> String {
        let what = match self.way {
            Way::Late => "20 to 100 ms later, with as much jitter, for 2 to 5 s",
            Way::Narrow => "at 64 KiB a second for 2 to 5 s",
            Way::Slices => "in pieces of 1 to 16 bytes for 2 to 5 s",
            Way::Reset => "broken by RST, all connections at once",
            Way::HalfOpen => "without answers for 1 to 5 s, requests arriving; then broken",
            Way::BlackHole => "without any byte either way for 1 to 5 s; then broken",
            Way::Refused => "broken, and no new connections for 1 to 3 s",
        };
        format!("the links to source, target or Kafka: {what}")
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let name = dice.one(&LINKS).copied().unwrap_or("target");
            let ground = &rig.ground;
            let injury = Injury::now(name, Recovery::Outage);
            let injury = match self.way {
                Way::Late => {
                    let latency = dice.span(20, 100);
                    ground.set(name, Conditions { latency, jitter: latency, ..Conditions::default() })?;
                    injury.holding(dice.span(2_000, 5_000))
                }
                Way::Narrow => {
                    ground.set(name, Conditions { bytes_per_second: 65_536, ..Conditions::default() })?;
                    injury.holding(dice.span(2_000, 5_000))
                }
                Way::Slices => {
                    let slice = usize::try_from(dice.number(1..=16)).unwrap_or(1);
                    ground.set(name, Conditions { slice, ..Conditions::default() })?;
                    injury.holding(dice.span(2_000, 5_000))
                }
                Way::Reset => {
                    ground.reset(name)?;
                    injury
                }
                Way::HalfOpen => {
                    ground.set(name, Conditions { hold_answers: true, ..Conditions::default() })?;
                    injury.holding(dice.span(1_000, 5_000))
                }
                Way::BlackHole => {
                    ground.set(name, Conditions::black_hole())?;
                    injury.holding(dice.span(1_000, 5_000))
                }
                Way::Refused => {
                    ground.set(name, Conditions { refuse: true, ..Conditions::default() })?;
                    ground.reset(name)?;
                    injury.holding(dice.span(1_000, 3_000))
                }
            };
            Ok(injury)
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if matches!(self.way, Way::HalfOpen | Way::BlackHole) {
                // What hung in the hole does not come out any more.
                rig.ground.reset(&injury.victim)?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            rig.ground.set(&injury.victim, Conditions::default())
        })
    }
}

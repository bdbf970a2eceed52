//! The broker.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    [Way::Kill, Way::Freeze, Way::Restart].map(|way| -> Box<dyn Fault> { Box::new(Broker { way }) }).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kill,
    Freeze,
    Restart,
}

struct Broker {
    way: Way,
}

impl Fault for Broker {
    fn name(&self) -> String {
        match self.way {
            Way::Kill => "kafka-killed",
            Way::Freeze => "kafka-frozen",
            Way::Restart => "kafka-restarted",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Kafka
    }

    fn about(&self) -> String {
        match self.way {
            Way::Kill => "SIGKILL to the broker, started again at once",
            Way::Freeze => "SIGSTOP to the broker for 1 to 6 s, then SIGCONT",
            Way::Restart => "the broker is stopped in order and started again",
        }
        .to_owned()
    }

    fn wanted(&self) -> u64 {
        match self.way {
            Way::Kill | Way::Restart => 20,
            Way::Freeze => 50,
        }
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let broker = rig.ground.stack.kafka()?;
            let injury = Injury::now("kafka", Recovery::Outage);
            Ok(match self.way {
                Way::Kill => {
                    broker.kill()?;
                    broker.start().await?;
                    injury
                }
                Way::Freeze => {
                    broker.freeze()?;
                    injury.holding(dice.span(1_000, 6_000))
                }
                Way::Restart => {
                    broker.stop().await?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    broker.start().await?;
                    injury
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.way {
                Way::Freeze => rig.ground.stack.kafka()?.thaw(),
                Way::Kill | Way::Restart => Ok(()),
            }
        })
    }
}

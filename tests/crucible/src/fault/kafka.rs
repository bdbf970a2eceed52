//! The broker.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;

use super::{Family, Fault, Injury, ONE_BROKER, Recovery, segment};
use crate::ground::Form;
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let ways = [Way::Kill, Way::Freeze, Way::Restart, Way::TailLost, Way::Replayed];
    ways.map(|way| -> Box<dyn Fault> { Box::new(Broker { way }) }).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kill,
    Freeze,
    Restart,
    TailLost,
    Replayed,
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
            Way::TailLost => "kafka-tail-lost",
            Way::Replayed => "kafka-replayed",
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
            Way::TailLost => {
                "SIGKILL to the broker, and the last 1 to 8 acknowledged batches of the source's or the pipeline's log are gone"
            }
            Way::Replayed => {
                "SIGKILL to the broker, and up to 8 older batches of a log stand a second time behind its end, as if their \
                 writer had come late"
            }
        }
        .to_owned()
    }

    fn lacks(&self, form: Form) -> Option<&'static str> {
        (form.brokers != 1).then_some(ONE_BROKER)
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
                Way::TailLost | Way::Replayed => {
                    let owners = [rig.world.source(), rig.world.pipeline()];
                    let owner = dice.one(&owners).cloned().unwrap_or_default();
                    let log = segment::log_of(&broker.folder().join("data"), &owner)?;
                    let n = usize::try_from(dice.number(1..=8)).unwrap_or(1);
                    broker.kill()?;
                    let path = segment::newest(&broker.folder().join("data").join(format!("{log}-0")))?;
                    let bytes = std::fs::read(&path).context("read a segment")?;
                    let changed = if self.way == Way::TailLost {
                        segment::without_tail(&bytes, n).to_vec()
                    } else {
                        segment::with_repeats(&bytes, n + usize::try_from(dice.number(0..=20)).unwrap_or(0), n)
                    };
                    std::fs::write(&path, changed).context("write a segment")?;
                    broker.start().await?;
                    Injury::now(format!("{log}, {n} batches"), Recovery::Outage)
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.way {
                Way::Freeze => rig.ground.stack.kafka()?.thaw(),
                _ => Ok(()),
            }
        })
    }
}

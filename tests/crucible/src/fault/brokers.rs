//! Several brokers: some of them go, and logs get other leaders.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::Server;
use lutra_harness::server::Kind;

use super::coordination::start_all;
use super::{Family, Fault, Injury, Recovery, THREE_BROKERS, segment};
use crate::ground::Form;
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    [Way::Killed, Way::Frozen, Way::Rolling, Way::Quorum, Way::Moved]
        .map(|way| -> Box<dyn Fault> { Box::new(Brokers { way }) })
        .into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One of three is killed, and away for some seconds.
    Killed,
    /// One of three is frozen.
    Frozen,
    /// All are restarted, one after the other.
    Rolling,
    /// Two of three are killed.
    Quorum,
    /// The leader of a log moves.
    Moved,
}

struct Brokers {
    way: Way,
}

impl Fault for Brokers {
    fn name(&self) -> String {
        match self.way {
            Way::Killed => "broker-killed",
            Way::Frozen => "broker-frozen",
            Way::Rolling => "brokers-restarted",
            Way::Quorum => "brokers-quorum-lost",
            Way::Moved => "leader-moved",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Kafka
    }

    fn about(&self) -> String {
        match self.way {
            Way::Killed => "SIGKILL to one of three brokers, started again after 8 to 15 s",
            Way::Frozen => "SIGSTOP to one of three brokers for 2 to 8 s, then SIGCONT",
            Way::Rolling => "all three brokers are stopped in order and started again, one after the other",
            Way::Quorum => {
                "SIGKILL to two of three brokers, started again after 3 to 8 s: nothing can be written meanwhile"
            }
            Way::Moved => {
                "the log of the source or the pipeline gets another of three brokers as its leader, by election"
            }
        }
        .to_owned()
    }

    fn lacks(&self, form: Form) -> Option<&'static str> {
        (form.brokers < 3).then_some(THREE_BROKERS)
    }

    fn wanted(&self) -> u64 {
        match self.way {
            Way::Rolling | Way::Quorum | Way::Killed => 10,
            Way::Frozen | Way::Moved => 100,
        }
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let mut brokers = rig.ground.stack.all(Kind::Kafka);
            let one = usize::try_from(dice.number(0..=2)).unwrap_or(0).min(brokers.len().saturating_sub(1));
            let one = brokers.remove(one);
            let name = one.name().to_owned();
            Ok(match self.way {
                Way::Killed => {
                    let injury = Injury::now(name, Recovery::Pause);
                    one.kill()?;
                    injury.holding(dice.span(8_000, 15_000))
                }
                Way::Frozen => {
                    let injury = Injury::now(name, Recovery::Pause);
                    one.freeze()?;
                    injury.holding(dice.span(2_000, 8_000))
                }
                Way::Rolling => {
                    let injury = Injury::now("all brokers", Recovery::Pause);
                    for broker in std::iter::once(one).chain(brokers) {
                        broker.stop().await?;
                        broker.start().await?;
                        in_sync(rig).await?;
                    }
                    injury
                }
                Way::Quorum => {
                    let names: Vec<&str> = brokers.iter().map(|broker| broker.name()).collect();
                    let injury = Injury::now(names.join(", "), Recovery::Outage);
                    brokers.iter().try_for_each(|broker| broker.kill())?;
                    injury.holding(dice.span(3_000, 8_000))
                }
                Way::Moved => {
                    let owners = [rig.world.source(), rig.world.pipeline()];
                    let owner = dice.one(&owners).cloned().unwrap_or_default();
                    let topic = segment::log_of(&one.folder().join("data"), &owner)?;
                    let first = dice.number(1..=3);
                    let injury = Injury::now(&topic, Recovery::Pause).holding(Duration::from_secs(2));
                    let mut moved = None;
                    for first in (0..3).map(|n| (first + n) % 3 + 1) {
                        // Nothing moves to the broker that leads already.
                        if moved.is_none() && move_leader(rig, &topic, first, one).await? {
                            moved = Some(first);
                        }
                    }
                    let moved = moved.context("the leader did not move")?;
                    Injury { victim: format!("{topic}, to broker {moved}"), ..injury }
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let brokers = rig.ground.stack.all(Kind::Kafka);
            match self.way {
                Way::Moved => Ok(()),
                Way::Frozen => brokers.iter().try_for_each(|broker| broker.thaw()),
                Way::Killed | Way::Rolling | Way::Quorum => {
                    start_all(brokers).await?;
                    in_sync(rig).await
                }
            }
        })
    }
}

/// Waits until every partition has all its replicas again: who rolls a restart out does.
async fn in_sync(rig: &Rig) -> Result<()> {
    let ground = &rig.ground;
    for _ in 0..30 {
        let args = ["--describe", "--under-replicated-partitions"];
        let said = ground.stack.kafka_tool(&ground.installation, "org.apache.kafka.tools.TopicCommand", &args, b"");
        if !said.await?.contains("Topic:") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("the brokers are not in sync after 30 looks")
}

/// A broker stands first among a log's replicas, and is elected; whether another one led before.
async fn move_leader(rig: &Rig, topic: &str, first: u64, broker: &Server) -> Result<bool> {
    let ground = &rig.ground;
    let order: Vec<String> = (0..3).map(|n| ((first - 1 + n) % 3 + 1).to_string()).collect();
    let plan = format!(
        "{{\"version\":1,\"partitions\":[{{\"topic\":\"{topic}\",\"partition\":0,\"replicas\":[{}]}}]}}",
        order.join(",")
    );
    let file = broker.folder().join("reassignment.json");
    std::fs::write(&file, plan).context("write a plan for partitions")?;
    let path = file.display().to_string();
    let reassign = ["--reassignment-json-file", &path, "--execute"];
    let tool = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    ground.stack.kafka_tool(&ground.installation, tool, &reassign, b"").await?;
    let elect = ["--election-type", "preferred", "--topic", topic, "--partition", "0"];
    let tool = "org.apache.kafka.tools.LeaderElectionCommand";
    let said = ground.stack.kafka_tool(&ground.installation, tool, &elect, b"").await?;
    Ok(said.contains("Successfully completed"))
}

//! What work cannot get past by itself: a log that is gone, or that holds what nobody wrote. It must halt under its name, and
//! `lutra adopt` is the way out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use lutra_harness::server::Kind;
use lutra_kafka::{KafkaAdmin, KafkaConfig, LogTopic};

use super::{Family, Fault, Injury, Recovery, segment};
use crate::findings::Invariant;
use crate::plan::Dice;
use crate::rig::{LIMIT, Rig};
use crate::watch::named;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Stuck { poison: false }), Box::new(Stuck { poison: true })]
}

struct Stuck {
    /// Bytes that are no record stand in the log; else the topic is deleted and made again.
    poison: bool,
}

impl Fault for Stuck {
    fn name(&self) -> String {
        if self.poison { "log-poisoned" } else { "topic-remade" }.to_owned()
    }

    fn family(&self) -> Family {
        Family::Kafka
    }

    fn about(&self) -> String {
        let what = if self.poison {
            "a stranger writes bytes that are no record into the log of the source or the pipeline"
        } else {
            "the topic of the source's or the pipeline's log is deleted and made again, empty, under its name"
        };
        format!("{what}: that must halt a task under its name, and `lutra adopt --from-target` goes on")
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let owners = [rig.world.source(), rig.world.pipeline()];
            let owner = dice.one(&owners).cloned().unwrap_or_default();
            let topic = segment::log_of(&rig.ground.stack.kafka()?.folder().join("data"), &owner)?;
            let words = if self.poison {
                poison(rig, &topic, dice).await?;
                vec![topic.clone(), "offset".to_owned()]
            } else {
                remake(rig, &topic).await?;
                vec![topic.clone()]
            };
            let (wrong, after) = named::look(rig, &words).await;
            let injury = Injury::now(format!("{topic}; named after {:.1} s", after.as_secs_f64()), Recovery::Outage);
            rig.world.lutra(&["adopt", &owner, "--from-target"]).await.context("begin a new log")?;
            Ok(injury.looked(Invariant::Named, wrong))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if injury.victim.is_empty() {
                // Half-way: what stands in the log, or does not, is unknown.
                rig.world.lutra_until(&["adopt", &rig.world.source(), "--from-target"], LIMIT).await?;
            }
            rig.probe(Instant::now(), LIMIT).await.map(drop)
        })
    }
}

/// A topic that is deleted is gone by then.
const GONE_BY: Duration = Duration::from_secs(30);

/// What a hand or another program might send.
const POISONS: [&str; 4] =
    ["\n", "poison\n", "{\"payload\":{\"op\":\"c\"}}\n", "\u{0}\u{0}\u{0}\u{0}\u{1}\u{1}\u{1}\u{1}\n"];

async fn poison(rig: &Rig, topic: &str, dice: &mut Dice) -> Result<()> {
    let ground = &rig.ground;
    let bytes = dice.one(&POISONS).copied().unwrap_or("poison\n");
    let tool = "org.apache.kafka.tools.ConsoleProducer";
    ground.stack.kafka_tool(&ground.installation, tool, &["--topic", topic], bytes.as_bytes()).await.map(drop)
}

/// As the manager makes it.
async fn remake(rig: &Rig, topic: &str) -> Result<()> {
    let stack = &rig.ground.stack;
    let admin = KafkaAdmin::connect(&KafkaConfig::new(stack.addresses(Kind::Kafka)?)).await?;
    admin.delete_topic(topic).await.context("delete a topic")?;
    let since = Instant::now();
    while admin.topic_exists(topic).await? {
        ensure!(since.elapsed() < GONE_BY, "the topic {topic} is still there {GONE_BY:?} after it was deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let replication = i32::try_from(stack.all(Kind::Kafka).len()).context("count the brokers")?;
    let settings = LogTopic { replication, ..LogTopic::default() };
    admin.create_log_topic(topic, &settings).await.context("make a topic again")
}

//! Topics as P8 wants them: made, and checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::error::KafkaError as Cause;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::closing::Closing;
use crate::config::{KafkaConfig, MAX_RECORD_BYTES};
use crate::error::KafkaError;
use crate::quiet::Quiet;

const TIMEOUT: Duration = Duration::from_secs(15);
/// P8: what a log topic must take at least.
const LEAST_MAX_MESSAGE_BYTES: i64 = 2 << 20;

/// How log topics are made in this deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTopic {
    /// Replicas of each partition.
    pub replication: i32,
    /// `min.insync.replicas`; the broker's default where `None`.
    pub min_insync_replicas: Option<i32>,
    /// How long records are kept; -1 for ever.
    pub retention_ms: i64,
    /// How many bytes are kept; -1 without bound.
    pub retention_bytes: i64,
}

impl Default for LogTopic {
    fn default() -> Self {
        Self { replication: 1, min_insync_replicas: None, retention_ms: 7 * 24 * 3_600_000, retention_bytes: -1 }
    }
}

/// One thing that makes a topic unfit for an ordered log (P8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFault {
    /// The property.
    pub property: &'static str,
    /// Its value.
    pub found: String,
    /// What it must be.
    pub wanted: String,
}

impl fmt::Display for TopicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, must be {}", self.property, self.found, self.wanted)
    }
}

/// Makes, checks and removes topics.
#[derive(Clone)]
pub struct KafkaAdmin {
    brokers: String,
    client: Closing<AdminClient<Quiet>>,
}

impl KafkaAdmin {
    /// Connects, and waits for a broker's answer.
    ///
    /// # Errors
    /// [`KafkaError::Client`], [`KafkaError::Unreachable`].
    pub async fn connect(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let brokers = config.brokers.clone();
        let made = config.admin().create_with_context(Quiet);
        let client = made.map_err(|source| KafkaError::Client { brokers: brokers.clone(), source })?;
        let admin = Self { brokers, client: Closing::new(client) };
        admin.cluster_id().await?;
        Ok(admin)
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`].
    pub async fn cluster_id(&self) -> Result<String, KafkaError> {
        let client = Arc::clone(&self.client);
        let unreachable = || KafkaError::Unreachable { brokers: self.brokers.clone(), operation: "for its cluster id" };
        let asked = tokio::task::spawn_blocking(move || client.inner().fetch_cluster_id(TIMEOUT)).await;
        asked.ok().flatten().ok_or_else(unreachable)
    }

    /// Whether the topic is there.
    ///
    /// # Errors
    /// [`KafkaError::Request`].
    pub async fn topic_exists(&self, topic: &str) -> Result<bool, KafkaError> {
        Ok(self.shape(topic).await?.is_some())
    }

    /// Makes an ordered log's topic, or leaves the one that is there as it is.
    ///
    /// # Errors
    /// [`KafkaError::Request`].
    pub async fn create_log_topic(&self, topic: &str, settings: &LogTopic) -> Result<(), KafkaError> {
        let size = MAX_RECORD_BYTES.to_string();
        let retention_ms = settings.retention_ms.to_string();
        let retention_bytes = settings.retention_bytes.to_string();
        let least = settings.min_insync_replicas.map(|n| n.to_string());
        let mut new = NewTopic::new(topic, 1, TopicReplication::Fixed(settings.replication))
            .set("cleanup.policy", "delete")
            .set("message.timestamp.type", "LogAppendTime")
            .set("unclean.leader.election.enable", "false")
            .set("max.message.bytes", &size)
            .set("retention.ms", &retention_ms)
            .set("retention.bytes", &retention_bytes);
        if let Some(least) = &least {
            new = new.set("min.insync.replicas", least);
        }
        self.create(topic, new).await
    }

    /// Makes a row schemas' topic (compacted), or leaves the one that is there as it is.
    ///
    /// # Errors
    /// [`KafkaError::Request`].
    pub async fn create_schema_topic(&self, topic: &str, replication: i32) -> Result<(), KafkaError> {
        let size = MAX_RECORD_BYTES.to_string();
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(replication))
            .set("cleanup.policy", "compact")
            .set("unclean.leader.election.enable", "false")
            .set("max.message.bytes", &size);
        self.create(topic, new).await
    }

    /// Removes a topic; one that is not there is no error.
    ///
    /// # Errors
    /// [`KafkaError::Request`].
    pub async fn delete_topic(&self, topic: &str) -> Result<(), KafkaError> {
        let operation = "delete the topic";
        let outcome = self.client.delete_topics(&[topic], &options()).await;
        self.settle(topic, operation, outcome, Code::UnknownTopicOrPartition)
    }

    /// P8: the topic is there and fit for an ordered log, `replication` being what the deployment asks for at least.
    ///
    /// # Errors
    /// [`KafkaError::NoTopic`], [`KafkaError::UnfitTopic`] with every fault, [`KafkaError::Request`].
    pub async fn ensure_log_topic(&self, topic: &str, settings: &LogTopic) -> Result<(), KafkaError> {
        let Some((partitions, replicas)) = self.shape(topic).await? else {
            return Err(KafkaError::NoTopic { topic: topic.to_owned() });
        };
        let config = self.describe(topic).await?;
        let faults = log_topic_faults(partitions, replicas, settings, |name| {
            config.get(name).and_then(|e| e.value.clone()).unwrap_or_default()
        });
        if faults.is_empty() { Ok(()) } else { Err(KafkaError::UnfitTopic { topic: topic.to_owned(), faults }) }
    }

    async fn create(&self, topic: &str, new: NewTopic<'_>) -> Result<(), KafkaError> {
        let operation = "create the topic";
        let outcome = self.client.create_topics([&new], &options()).await;
        self.settle(topic, operation, outcome, Code::TopicAlreadyExists)?;
        self.await_leader(topic).await
    }

    /// A new topic takes a moment until its partition has a leader.
    async fn await_leader(&self, topic: &str) -> Result<(), KafkaError> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while self.shape(topic).await?.is_none() {
            if tokio::time::Instant::now() > deadline {
                return Err(KafkaError::NoTopic { topic: topic.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn settle(
        &self,
        topic: &str,
        operation: &'static str,
        outcome: Result<Vec<TopicResult>, Cause>,
        harmless: Code,
    ) -> Result<(), KafkaError> {
        let request = |source| KafkaError::Request { topic: topic.to_owned(), operation, source };
        for result in outcome.map_err(request)? {
            match result {
                Err((_, code)) if code != harmless => return Err(request(Cause::AdminOp(code))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Partitions, and the fewest replicas of one; `None` where there is no such topic, or one without a leader yet.
    async fn shape(&self, topic: &str) -> Result<Option<(usize, usize)>, KafkaError> {
        let client = Arc::clone(&self.client);
        let name = topic.to_owned();
        let operation = "ask for the topic's metadata";
        let asked = tokio::task::spawn_blocking(move || client.inner().fetch_metadata(Some(&name), TIMEOUT)).await;
        let metadata = asked.unwrap_or(Err(Cause::Canceled)).map_err(|source| KafkaError::Request {
            topic: topic.to_owned(),
            operation,
            source,
        })?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        Ok(found.filter(|t| !t.partitions().is_empty() && t.partitions().iter().all(|p| p.leader() >= 0)).map(|t| {
            let replicas = t.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
            (t.partitions().len(), replicas)
        }))
    }

    pub(crate) async fn describe(&self, topic: &str) -> Result<ConfigResource, KafkaError> {
        let request =
            |source| KafkaError::Request { topic: topic.to_owned(), operation: "read the topic's settings", source };
        let described = self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        match described.map_err(request)?.into_iter().next() {
            Some(Ok(resource)) => Ok(resource),
            Some(Err(code)) => Err(request(Cause::AdminOp(code))),
            None => Err(request(Cause::AdminOp(Code::UnknownTopicOrPartition))),
        }
    }
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAdmin").field("brokers", &self.brokers).finish()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// Everything that P8 does not allow.
fn log_topic_faults(
    partitions: usize,
    replicas: usize,
    settings: &LogTopic,
    value: impl Fn(&str) -> String,
) -> Vec<TopicFault> {
    let mut faults = Vec::new();
    let mut check = |property, found: String, fits: bool, wanted: String| {
        if !fits {
            faults.push(TopicFault { property, found, wanted });
        }
    };
    let at_least = |text: &str, least: i64| text.parse::<i64>().is_ok_and(|n| n >= least);
    check("the number of partitions", partitions.to_string(), partitions == 1, "1".into());
    let enough = i64::try_from(replicas).is_ok_and(|n| n >= i64::from(settings.replication));
    check("the replication factor", replicas.to_string(), enough, format!("at least {}", settings.replication));
    for (property, wanted) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("cleanup.policy", "delete"),
        ("unclean.leader.election.enable", "false"),
    ] {
        let found = value(property);
        let fits = found == wanted;
        check(property, found, fits, wanted.into());
    }
    let size = value("max.message.bytes");
    let fits = at_least(&size, LEAST_MAX_MESSAGE_BYTES);
    check("max.message.bytes", size, fits, format!("at least {LEAST_MAX_MESSAGE_BYTES}"));
    if let Some(least) = settings.min_insync_replicas {
        let found = value("min.insync.replicas");
        let fits = at_least(&found, i64::from(least));
        check("min.insync.replicas", found, fits, format!("at least {least}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(changes: &[(&str, &str)], partitions: usize) -> Vec<&'static str> {
        let good = [
            ("message.timestamp.type", "LogAppendTime"),
            ("cleanup.policy", "delete"),
            ("unclean.leader.election.enable", "false"),
            ("max.message.bytes", "4194304"),
            ("min.insync.replicas", "2"),
        ];
        let settings = LogTopic { replication: 3, min_insync_replicas: Some(2), ..LogTopic::default() };
        let found = log_topic_faults(partitions, 3, &settings, |name| {
            let change = changes.iter().chain(&good).find(|(k, _)| *k == name);
            change.map(|(_, v)| (*v).to_owned()).unwrap_or_default()
        });
        found.iter().map(|f| f.property).collect()
    }

    #[test]
    fn a_topic_as_we_make_it_is_fit() {
        assert!(faults(&[], 1).is_empty());
    }

    #[test]
    fn every_fault_of_a_topic_is_named() {
        let bad = [
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "compact"),
            ("unclean.leader.election.enable", "true"),
            ("max.message.bytes", "1048588"),
            ("min.insync.replicas", "1"),
        ];
        assert_eq!(faults(&bad, 2).len(), 6);
        assert_eq!(faults(&[("cleanup.policy", "compact,delete")], 1), ["cleanup.policy"]);
    }
}

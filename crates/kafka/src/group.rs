//! Group offsets: written so that lag tools see something, never read by us.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::closing::Closing;
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::quiet::Quiet;

/// Writes the offset of one consumer group on one topic.
pub struct GroupOffsets {
    topic: String,
    consumer: Closing<BaseConsumer<Quiet>>,
}

impl GroupOffsets {
    /// The offsets of `group` on `topic`. Does not connect.
    ///
    /// # Errors
    /// [`KafkaError::Client`].
    pub fn new(config: &KafkaConfig, group: &str, topic: &str) -> Result<Self, KafkaError> {
        let made = config.consumer(group).create_with_context(Quiet);
        let consumer = made.map_err(|source| KafkaError::Client { brokers: config.brokers.clone(), source })?;
        Ok(Self { topic: topic.to_owned(), consumer: Closing::new(consumer) })
    }

    /// Commits `next_offset`, in the background: a failure is of no consequence.
    ///
    /// # Errors
    /// [`KafkaError::Request`] when the request could not even be queued.
    pub fn commit(&self, next_offset: i64) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::with_capacity(1);
        offsets
            .add_partition_offset(&self.topic, 0, Offset::Offset(next_offset))
            .and_then(|()| self.consumer.commit(&offsets, CommitMode::Async))
            .map_err(|source| KafkaError::Request {
                topic: self.topic.clone(),
                operation: "commit a group offset",
                source,
            })
    }
}

impl std::fmt::Debug for GroupOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOffsets").field("topic", &self.topic).finish_non_exhaustive()
    }
}

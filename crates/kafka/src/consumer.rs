//! One reading position in one partition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lutra_log::{ReadTransport, RecordHeaders, StoredRecord, TransportError};
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::config::KafkaConfig;
use crate::error::{failed, is_transient};

const FIRST_HELD: i64 = -1;
/// Brokers that do not answer a new client in time are the first read's to tell.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

struct Quiet;
impl ClientContext for Quiet {
    fn error(&self, error: Cause, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka consumer reports");
    }
}
impl ConsumerContext for Quiet {}

/// A reader of partition 0 of one topic.
pub struct KafkaReader {
    topic: String,
    consumer: Option<Arc<StreamConsumer<Quiet>>>,
    /// The next offset wanted; below 0: the first that the topic holds.
    position: i64,
    assigned: bool,
}

impl KafkaReader {
    pub(crate) fn new(config: &KafkaConfig, topic: &str) -> Result<Self, TransportError> {
        let consumer = config
            .consumer(&format!("lutra-reader-{topic}"))
            .create_with_context(Quiet)
            .map_err(|e| failed(topic, "make a consumer", e))?;
        Ok(Self { topic: topic.to_owned(), consumer: Some(Arc::new(consumer)), position: 0, assigned: false })
    }

    /// Makes a new client connect and find the partition's leader now, while others do what they do.
    pub(crate) async fn hurry(&self) {
        let Some(consumer) = self.consumer.clone() else { return };
        let topic = self.topic.clone();
        // Nothing depends on it but time.
        let _ = tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, 0, LOOK_TIMEOUT)).await;
    }

    /// Begins at the first record that the topic holds, whatever its offset: for compacted topics.
    pub(crate) fn at_first_held(mut self) -> Self {
        self.position = FIRST_HELD;
        self
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer<Quiet>>, TransportError> {
        self.consumer.as_ref().ok_or_else(|| failed(&self.topic, "read", Cause::Canceled))
    }

    /// Reads on at `position`, forgetting what was fetched ahead.
    fn assign(&mut self, position: i64) -> Result<(), TransportError> {
        let mut partitions = TopicPartitionList::with_capacity(1);
        partitions
            .add_partition_offset(
                &self.topic,
                0,
                if position == FIRST_HELD { Offset::Beginning } else { Offset::Offset(position) },
            )
            .and_then(|()| self.consumer.as_ref().map_or(Err(Cause::Canceled), |c| c.assign(&partitions)))
            .map_err(|e| failed(&self.topic, "seek", e))?;
        self.position = position;
        self.assigned = true;
        Ok(())
    }

    /// What is to be done about an error while reading: nothing, where the client goes on by itself.
    fn judge(&self, error: Cause) -> Result<(), TransportError> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
                Err(TransportError::OutOfRange { topic: self.topic.clone(), offset: self.position })
            }
            _ if !matches!(error, Cause::MessageConsumptionFatal(_)) && is_transient(&error) => {
                tracing::debug!(topic = self.topic, %error, "reading is disturbed");
                Ok(())
            }
            _ => Err(failed(&self.topic, "read", error)),
        }
    }

    /// The next message as it is, key included; for topics that are not logs.
    pub(crate) async fn next_with_key(&mut self) -> Result<(Option<Bytes>, StoredRecord), TransportError> {
        if !self.assigned {
            self.assign(self.position)?;
        }
        loop {
            let consumer = self.consumer()?;
            // The message borrows the client's buffer: it is copied out before anything else is done.
            let outcome = consumer.recv().await.map(|m| (m.key().map(Bytes::copy_from_slice), stored(&m)));
            match outcome {
                // Fetched before the last seek.
                Ok((_, record)) if record.offset < self.position => {}
                Ok((key, record)) => {
                    self.position = record.offset + 1;
                    return Ok((key, record));
                }
                Err(error) => self.judge(error)?,
            }
        }
    }
}

fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    StoredRecord {
        offset: message.offset(),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        appended_at: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000),
        headers: trace_headers(message),
    }
}

fn trace_headers(message: &BorrowedMessage<'_>) -> RecordHeaders {
    let mut found = RecordHeaders::default();
    let Some(headers) = message.headers() else { return found };
    for header in headers.iter() {
        let text = || header.value.and_then(|v| std::str::from_utf8(v).ok()).map(str::to_owned);
        match header.key {
            "traceparent" => found.traceparent = text(),
            "tracestate" => found.tracestate = text(),
            _ => {}
        }
    }
    found
}

impl ReadTransport for KafkaReader {
    fn topic(&self) -> &str {
        &self.topic
    }

    async fn seek(&mut self, offset: i64) -> Result<(), TransportError> {
        self.assign(offset)
    }

    async fn next(&mut self) -> Result<StoredRecord, TransportError> {
        Ok(self.next_with_key().await?.1)
    }

    async fn bounds(&mut self) -> Result<(i64, i64), TransportError> {
        let consumer = self.consumer()?.clone();
        let topic = self.topic.clone();
        let asked = tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, 0, METADATA_TIMEOUT)).await;
        match asked {
            Ok(bounds) => bounds.map_err(|e| failed(&self.topic, "ask for the log's bounds", e)),
            Err(_) => Err(failed(&self.topic, "ask for the log's bounds", Cause::Canceled)),
        }
    }
}

impl Drop for KafkaReader {
    /// Ends the client on a thread of its own: closing waits for the brokers.
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(consumer));
    }
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

//! One reading position in one partition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lutra_log::{ReadTransport, RecordHeaders, StoredRecord, TransportError};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;

use crate::config::KafkaConfig;
use crate::error::{failed, is_transient};
use crate::quiet::Quiet;
use crate::silence::Silence;

const FIRST_HELD: i64 = -1;
/// Brokers that do not answer a new client in time are the first read's to tell.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// A reader of partition 0 of one topic.
pub struct KafkaReader {
    config: KafkaConfig,
    topic: String,
    consumer: Option<Arc<StreamConsumer<Quiet>>>,
    /// The next offset wanted; below 0: the first that the topic holds.
    position: i64,
    assigned: bool,
    silence: Silence,
}

fn client(config: &KafkaConfig, topic: &str) -> Result<Arc<StreamConsumer<Quiet>>, TransportError> {
    let made = config.consumer(&format!("lutra-reader-{topic}")).create_with_context(Quiet);
    made.map(Arc::new).map_err(|e| failed(topic, "make a consumer", e))
}

/// Ends a client on a thread of its own: closing waits for the brokers.
fn close(consumer: Option<Arc<StreamConsumer<Quiet>>>) {
    let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(consumer));
}

impl KafkaReader {
    pub(crate) fn new(config: &KafkaConfig, topic: &str) -> Result<Self, TransportError> {
        let consumer = Some(client(config, topic)?);
        let (config, topic) = (config.clone(), topic.to_owned());
        Ok(Self { config, topic, consumer, position: 0, assigned: false, silence: Silence::begin() })
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
        self.silence.again();
        Ok(())
    }

    /// Goes on with a new client, at the same place.
    fn renew(&mut self, end: i64) -> Result<(), TransportError> {
        let (topic, position) = (&self.topic, self.position);
        tracing::warn!(
            topic,
            position,
            end,
            "the Kafka client stands still although its log goes on; reading on with a new one"
        );
        close(self.consumer.replace(client(&self.config, &self.topic)?));
        self.assign(self.position)
    }

    /// Lets the client stand still, for tests of who must notice.
    ///
    /// # Errors
    /// The library's.
    #[doc(hidden)]
    pub fn stand_still(&self) -> Result<(), TransportError> {
        let mut partitions = TopicPartitionList::with_capacity(1);
        partitions.add_partition(&self.topic, 0);
        self.consumer()?.pause(&partitions).map_err(|e| failed(&self.topic, "pause", e))
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
            let consumer = Arc::clone(self.consumer()?);
            // The message borrows the client's buffer: it is copied out before anything else is done.
            let heard = async { consumer.recv().await.map(|m| (m.key().map(Bytes::copy_from_slice), stored(&m))) };
            let look = || look(Arc::clone(&consumer), self.topic.clone());
            let outcome = tokio::select! {
                biased;
                outcome = heard => outcome,
                end = self.silence.over(self.position, look) => {
                    self.renew(end)?;
                    continue;
                }
            };
            let (key, record) = match outcome {
                Ok(heard) => heard,
                Err(error) => {
                    self.judge(error)?;
                    continue;
                }
            };
            self.silence.broken();
            // What is below was fetched before the last seek.
            if record.offset >= self.position {
                self.position = record.offset + 1;
                return Ok((key, record));
            }
        }
    }
}

/// Where the log ends, where it holds something at all and a broker says so in time.
#[allow(clippy::disallowed_methods, reason = "it ends by itself, and nothing hangs on it")]
fn look(consumer: Arc<StreamConsumer<Quiet>>, topic: String) -> JoinHandle<Option<i64>> {
    tokio::task::spawn_blocking(move || {
        let bounds = consumer.fetch_watermarks(&topic, 0, METADATA_TIMEOUT);
        bounds.ok().filter(|(first, end)| first < end).map(|(_, end)| end)
    })
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
    fn drop(&mut self) {
        close(self.consumer.take());
    }
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

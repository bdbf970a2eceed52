//! How long and how much of a topic the brokers keep, and how much of it waits for a reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lutra_log::{TransportError, TransportFactory};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use crate::admin::KafkaAdmin;
use crate::config::KafkaConfig;
use crate::error::{KafkaError, failed, is_transient};
use crate::log::KafkaLog;

/// How long a log may take to show what waits in it.
const ANSWER: Duration = Duration::from_secs(10);
/// From one look of the client at its counters to the next.
const STATISTICS_MS: u64 = 100;
/// Bytes of records that are read as a sample. Brokers send whole batches, so that the first one may begin far in front of the
/// place, and makes records look larger than they are: less so the more of them are read.
const SAMPLE: usize = 2 << 20;
/// After so long a sample that is not complete has to do.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the brokers may remove, whether anybody has read it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this; `None`: age removes nothing.
    pub time: Option<Duration>,
    /// What lies further from the end than so many bytes; `None`: size removes nothing.
    pub bytes: Option<u64>,
}

/// What waits for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nothing: it has read everything.
    Nothing,
    /// What it reads next is no longer in the log.
    Removed,
    /// Something.
    Waits {
        /// When the record that it reads next was appended, microseconds since the epoch.
        appended_at: i64,
        /// About as many bytes as the brokers keep from there to the end: the records, times what those that come next take
        /// on the way, compressed as they are kept. Brokers do not tell sizes to clients.
        bytes: u64,
    },
}

impl KafkaAdmin {
    /// What the topic's own settings say, with the brokers' defaults where it has none.
    ///
    /// # Errors
    /// [`KafkaError::Request`].
    pub async fn retention(&self, topic: &str) -> Result<Retention, KafkaError> {
        let config = self.describe(topic).await?;
        Ok(retention(|name| config.get(name).and_then(|entry| entry.value.clone())))
    }
}

fn retention(value: impl Fn(&str) -> Option<String>) -> Retention {
    // -1 stands for no limit.
    let limit = |name| value(name).and_then(|text| text.parse::<u64>().ok());
    Retention { time: limit("retention.ms").map(Duration::from_millis), bytes: limit("retention.bytes") }
}

impl KafkaLog {
    /// What waits for a reader whose next record is the one at `next_offset`.
    ///
    /// # Errors
    /// [`TransportError::Failed`], also when the log does not answer in time.
    pub async fn backlog(&self, next_offset: i64) -> Result<Backlog, TransportError> {
        let (config, topic) = (self.config().clone(), self.topic().to_owned());
        let asked = tokio::task::spawn_blocking(move || measure(&config, &topic, next_offset)).await;
        asked.unwrap_or_else(|_| Err(failed(self.topic(), WHAT, Cause::Canceled)))
    }
}

const WHAT: &str = "measure what waits to be read";

/// What the client has received so far.
#[derive(Default)]
struct Meter {
    bytes: AtomicU64,
    records: AtomicU64,
}

impl ClientContext for Meter {
    fn stats(&self, statistics: Statistics) {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        self.bytes.store(count(statistics.rx_bytes), Ordering::Relaxed);
        self.records.store(count(statistics.rxmsgs), Ordering::Relaxed);
    }
}

impl ConsumerContext for Meter {}

impl Meter {
    fn read(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed))
    }
}

fn measure(config: &KafkaConfig, topic: &str, next_offset: i64) -> Result<Backlog, TransportError> {
    let failed = |error| failed(topic, WHAT, error);
    let deadline = Instant::now() + ANSWER;
    let sampler = config.sampler(&format!("lutra-retention-{topic}"), STATISTICS_MS);
    let consumer: Arc<BaseConsumer<Meter>> = Arc::new(sampler.create_with_context(Meter::default()).map_err(failed)?);
    let (first, end) = consumer.fetch_watermarks(topic, 0, ANSWER).map_err(failed)?;
    if next_offset >= end {
        return Ok(Backlog::Nothing);
    }
    if next_offset < first {
        return Ok(Backlog::Removed);
    }
    let mut place = TopicPartitionList::with_capacity(1);
    place.add_partition_offset(topic, 0, Offset::Offset(next_offset)).map_err(failed)?;
    let waiting = u64::try_from(end - next_offset).unwrap_or(0);
    // Its records come in a queue of their own. Once the sample is read it fills up, and the counters rest.
    let records = consumer.split_partition_queue(topic, 0).ok_or_else(|| failed(Cause::Canceled))?;
    consumer.assign(&place).map_err(failed)?;
    let (began, mut appended_at, mut before) = (Instant::now(), None, (0, 0));
    let (mut read, mut bytes) = (0, 0);
    while Instant::now() < deadline {
        // Counters and errors come here.
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(STATISTICS_MS)) {
            disturbed(error).map_err(failed)?;
        }
        while bytes < SAMPLE {
            match records.poll(Duration::ZERO) {
                Some(Ok(record)) => {
                    appended_at.get_or_insert(record.timestamp().to_millis().unwrap_or(0));
                    (read, bytes) = (read + 1, bytes + record.payload_len());
                }
                Some(Err(error)) => disturbed(error).map_err(failed)?,
                None => break,
            }
        }
        let enough = bytes >= SAMPLE || read >= waiting || began.elapsed() > PATIENCE;
        let counted = consumer.client().context().read();
        let rests = counted.1 == before.1 && counted.1 > 0;
        before = counted;
        if let (Some(appended_at), true) = (appended_at, rests && enough) {
            return Ok(Backlog::Waits {
                appended_at: appended_at.saturating_mul(1000),
                bytes: extent(waiting, counted),
            });
        }
    }
    Err(failed(Cause::Canceled))
}

/// What the client gets over by itself is no matter.
fn disturbed(error: Cause) -> Result<(), Cause> {
    if is_transient(&error) { Ok(()) } else { Err(error) }
}

/// So many records, of which some were received with so many bytes.
fn extent(waiting: u64, (bytes, records): (u64, u64)) -> u64 {
    let all = u128::from(waiting) * u128::from(bytes) / u128::from(records.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_minus_one_is_none() {
        let of = |ms: &'static str, bytes: &'static str| {
            retention(|name| Some(if name == "retention.ms" { ms } else { bytes }.to_owned()))
        };
        assert_eq!(of("-1", "-1"), Retention::default());
        assert_eq!(of("1500", "7"), Retention { time: Some(Duration::from_millis(1500)), bytes: Some(7) });
    }

    #[test]
    fn what_waits_is_as_large_as_what_was_received_of_it_makes_likely() {
        assert_eq!(extent(1_000, (5_000, 50)), 100_000);
        assert_eq!(extent(u64::MAX, (u64::MAX, 0)), u64::MAX);
    }
}

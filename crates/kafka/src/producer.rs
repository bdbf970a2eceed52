//! One idempotent producer = one attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lutra_log::transport::AppendError;
use lutra_log::{AppendTransport, Delivery, RecordHeaders, Ticket, TransportError};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::mpsc;

use crate::config::KafkaConfig;
use crate::error::failed;

/// Delivery reports that wait to be taken in. Beyond, the library's thread waits, and its bounded buffer fills.
const REPORTS: usize = 10_000;
/// How often a new producer is made to look for its id, and after how long again.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(15);
/// Brokers that do not answer a look in time are the first append's to tell.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// Passes delivery reports on, in the library's order, which is that of hand-over.
struct Reports {
    topic: String,
    sender: mpsc::Sender<Delivery>,
}

impl ClientContext for Reports {
    fn error(&self, error: Cause, reason: &str) {
        tracing::debug!(topic = self.topic, %error, reason, "the Kafka producer reports");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let ticket = Ticket(ticket as u64);
        let report = match result {
            // Offsets below 0 mean "not known": so a retried batch that the broker had already is acknowledged.
            Ok(message) => {
                Delivery::Acknowledged { ticket, offset: Some(message.offset()).filter(|offset| *offset >= 0) }
            }
            Err((error, _)) => Delivery::Failed { ticket, error: failed(&self.topic, "append", error.clone()) },
        };
        // Nobody listens any more once the attempt is over. The library calls this on its own thread, never on the
        // runtime's, so it may wait.
        if !self.sender.is_closed() {
            let _ = self.sender.blocking_send(report);
        }
    }
}

/// The producer of one attempt.
pub struct KafkaProducer {
    topic: String,
    /// `None` only while dropped.
    producer: Option<Arc<ThreadedProducer<Reports>>>,
    reports: mpsc::Receiver<Delivery>,
    next: u64,
}

impl KafkaProducer {
    pub(crate) fn new(config: &KafkaConfig, topic: &str) -> Result<Self, TransportError> {
        let (sender, reports) = mpsc::channel(REPORTS);
        let context = Reports { topic: topic.to_owned(), sender };
        let producer =
            config.producer().create_with_context(context).map_err(|e| failed(topic, "make a producer", e))?;
        Ok(Self { topic: topic.to_owned(), producer: Some(Arc::new(producer)), reports, next: 0 })
    }

    /// Makes a new client fetch its producer id now. By itself the library asks for one before its first connection is up,
    /// and again only half a second later; each answer to a metadata request makes it ask at once.
    pub(crate) async fn hurry(&self) {
        let Some(producer) = self.producer.clone() else { return };
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let (producer, topic) = (Arc::clone(&producer), self.topic.clone());
            let asked = tokio::task::spawn_blocking(move || {
                producer.client().fetch_metadata(Some(&topic), LOOK_TIMEOUT).is_ok()
            });
            // Nothing depends on it but time.
            if !asked.await.unwrap_or(false) {
                return;
            }
        }
    }
}

impl AppendTransport for KafkaProducer {
    fn append(&mut self, value: Bytes, headers: &RecordHeaders) -> Result<Ticket, AppendError> {
        let ticket = self.next;
        let mut record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, ticket as usize)
            .partition(0)
            .payload(value.as_ref());
        if let Some(headers) = kafka_headers(headers) {
            record = record.headers(headers);
        }
        let Some(producer) = &self.producer else { return Err(AppendError::QueueFull) };
        match producer.send(record) {
            Ok(()) => {
                self.next += 1;
                Ok(Ticket(ticket))
            }
            Err((error, _)) if error.rdkafka_error_code() == Some(Code::QueueFull) => Err(AppendError::QueueFull),
            Err((error, _)) => Err(AppendError::Failed(failed(&self.topic, "append", error))),
        }
    }

    async fn delivered(&mut self) -> Delivery {
        match self.reports.recv().await {
            Some(delivery) => delivery,
            // The sender lives as long as the producer, and that as long as we do.
            None => std::future::pending().await,
        }
    }
}

impl Drop for KafkaProducer {
    /// Ends the client on a thread of its own: it joins its poller and purges, which takes up to half a second.
    fn drop(&mut self) {
        self.reports.close();
        let producer = self.producer.take();
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(producer));
    }
}

fn kafka_headers(headers: &RecordHeaders) -> Option<OwnedHeaders> {
    let pairs = [("traceparent", &headers.traceparent), ("tracestate", &headers.tracestate)];
    let mut all = None;
    for (key, value) in pairs {
        if let Some(value) = value {
            let so_far: OwnedHeaders = all.take().unwrap_or_default();
            all = Some(so_far.insert(Header { key, value: Some(value.as_bytes()) }));
        }
    }
    all
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

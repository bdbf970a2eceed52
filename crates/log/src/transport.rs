//! What the protocol needs of a broker: append in order with delivery reports, read from an offset, know the bounds.
//!
//! Two implementations: Kafka (crate `lutra-kafka`) and [`MemoryLog`](crate::memory::MemoryLog), whose faults are
//! scripted. Nothing here promises that the broker keeps its word; P2 and P3 are what makes a broken one visible.

use std::error::Error;
use std::future::Future;

use bytes::Bytes;

/// One record handed over to an [`AppendTransport`]. Tickets of one producer rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// W3C trace context of a record, carried beside it as record headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    /// `traceparent`.
    pub traceparent: Option<String>,
    /// `tracestate`.
    pub tracestate: Option<String>,
}

/// A record as the broker stores it.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Its place in the log.
    pub offset: i64,
    /// The encoded record.
    pub value: Bytes,
    /// When the broker appended it (`LogAppendTime`), microseconds since the epoch.
    pub appended_at: i64,
    /// Trace context.
    pub headers: RecordHeaders,
}

/// What became of a record that was handed over.
#[derive(Debug)]
pub enum Delivery {
    /// The broker has it.
    Acknowledged {
        /// Which record.
        ticket: Ticket,
        /// Where it is; a broker may acknowledge without saying (P2: settled by reading back).
        offset: Option<i64>,
    },
    /// It may or may not be in the log. The attempt is over.
    Failed {
        /// Which record.
        ticket: Ticket,
        /// Why.
        error: TransportError,
    },
}

/// The broker did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The offset is not in the log (any more, or yet).
    #[error(
        "topic {topic}: offset {offset} is outside the log; it was removed by retention or lost with the log's tail"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The offset asked for.
        offset: i64,
    },
    /// An operation failed.
    #[error("topic {topic}: {operation} failed")]
    Failed {
        /// The topic.
        topic: String,
        /// What was tried.
        operation: &'static str,
        /// Whether the same may succeed later.
        transient: bool,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A record was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bounded buffer is full: await a delivery, then hand the same record over again.
    #[error("the producer's buffer is full")]
    QueueFull,
    /// It will never be taken over. The attempt is over.
    #[error("a record could not be handed over to the producer")]
    Failed(#[source] TransportError),
}

/// One producer instance: one attempt of one task on one log.
///
/// Records are appended in the order of hand-over, or not at all: once a delivery failed, the caller drops the producer.
pub trait AppendTransport: Send + 'static {
    /// Hands a record over; does not wait.
    fn append(&mut self, value: Bytes, headers: &RecordHeaders) -> Result<Ticket, AppendError>;

    /// The next delivery report, in the order of hand-over; waits for it. Cancel safe.
    fn delivered(&mut self) -> impl Future<Output = Delivery> + Send;
}

/// One reading position in one log.
pub trait ReadTransport: Send + 'static {
    /// The topic, for messages.
    fn topic(&self) -> &str;

    /// Goes on reading at `offset`. Can be repeated.
    fn seek(&mut self, offset: i64) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// The next record at or after the position; waits for it. Cancel safe: a record is returned or still to come.
    fn next(&mut self) -> impl Future<Output = Result<StoredRecord, TransportError>> + Send;

    /// The first offset held, and the one the next record will get. Cancel safe.
    fn bounds(&mut self) -> impl Future<Output = Result<(i64, i64), TransportError>> + Send;
}

/// Makes producers and readers of one log.
pub trait TransportFactory: Send + Sync {
    /// Its producers.
    type Append: AppendTransport;
    /// Its readers.
    type Read: ReadTransport;

    /// The topic, for messages.
    fn topic(&self) -> &str;

    /// A new producer.
    fn producer(&self) -> impl Future<Output = Result<Self::Append, TransportError>> + Send;

    /// A new reader; call [`ReadTransport::seek`] before [`ReadTransport::next`].
    fn reader(&self) -> impl Future<Output = Result<Self::Read, TransportError>> + Send;
}

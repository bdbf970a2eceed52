//! The log's half of the exactly-once protocol (`docs`: PROTOCOL.md, P1–P3 and P8).
//!
//! A log is a Kafka topic of one partition, written by one task at a time and read by any number of others. Nobody's
//! memory is trusted: a record says who wrote it, what it follows, and where its writer resumes, so that the log's tail
//! *is* the writer's checkpoint, and a reader can tell a broken chain from a whole one.
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | P3 as a pure state machine: record header in, verdict out |
//! | [`history`] | the chain plus what accepted units carry, with the GTID check |
//! | [`reader`] | [`LogReader`]: from a cursor, a bookmark or the beginning to accepted parts |
//! | [`writer`] | [`LogWriter`]: one start = one epoch = one producer = one `EpochStart` (P2) |
//! | [`bookmark`] | published places |
//! | [`transport`] | what is needed of a broker |
//! | [`memory`] | a broker in memory with scripted faults |
//! | [`error`] | attempt over, fenced, halt |

pub mod bookmark;
pub mod chain;
mod codec;
pub mod error;
pub mod history;
pub mod memory;
mod place;
pub mod reader;
mod rules;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod writer;

pub use bookmark::{Bookmark, LastUnit, SourcePlace};
pub use error::{AttemptEnd, Halt, LogError};
pub use reader::{Delivered, LogPart, LogReader, ReadFrom, ReaderStart};
pub use transport::{
    AppendTransport, Delivery, ReadTransport, RecordHeaders, StoredRecord, Ticket, TransportError, TransportFactory,
};
pub use writer::{HeaderDraft, LogWriter, SourceDraft, Tail, WriterOptions, WriterProgress};

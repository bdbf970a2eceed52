//! What ends a transformation.

use lutra_change::Number;
use lutra_rules::{ApplyError, RuleFault};
use lutra_wire::record::UnitTotals;

/// Why a transformation ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The task's definition cannot be run.
    #[error("the task's definition names no {what}; apply the pipeline again")]
    Definition {
        /// What is missing.
        what: &'static str,
    },
    /// The rules do not compile.
    #[error("the pipeline's rules cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<RuleFault>),
    /// A rule does not fit a table or statement that came.
    #[error("the pipeline's rules do not fit unit {number}")]
    Unfit {
        /// The unit.
        number: Number,
        /// Why.
        #[source]
        source: RuleFault,
    },
    /// A row image does not follow its schema.
    #[error("a row of unit {number} cannot be transformed")]
    Row {
        /// The unit.
        number: Number,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The body of a record cannot be read.
    #[error("unit {number} cannot be read")]
    Body {
        /// The unit.
        number: Number,
        /// Why.
        #[source]
        source: lutra_wire::WireError,
    },
    /// A unit of several parts is not what its writer wrote.
    #[error(
        "unit {number} was read as {} rows, {} bytes, CRC-32C {:08x}, but its writer counted {} rows, {} bytes, {:08x}: the log \
         lost a part of it",
        read.rows, read.bytes, read.crc32c, told.rows, told.bytes, told.crc32c
    )]
    Torn {
        /// The unit.
        number: Number,
        /// What the commit part tells.
        told: UnitTotals,
        /// What was read.
        read: UnitTotals,
    },
    /// P12: what a chunk is to its load cannot be read.
    #[error("unit {number} is a chunk whose step cannot be read")]
    Step {
        /// The unit.
        number: Number,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// P11: an XA transaction is committed, and its rows cannot be had.
    #[error("XA transaction {xid} is committed by unit {number}, and its rows cannot be had")]
    Prepared {
        /// Its XID.
        xid: String,
        /// The decision.
        number: Number,
        /// Why.
        #[source]
        source: crate::xa::PreparedError,
    },
    /// A kind of unit that comes with a later version.
    #[error("unit {number} is {kind}, which this version does not carry; start the pipeline anew behind it")]
    Unsupported {
        /// The unit.
        number: Number,
        /// What it is.
        kind: &'static str,
    },
    /// The source's log ended before the place where the pipeline is to begin.
    #[error("the source's log has no place for `start`: {reason}")]
    NoStart {
        /// Why.
        reason: String,
    },
    /// Row schemas.
    #[error("row schemas of the log cannot be read or written")]
    Schemas(#[from] lutra_kafka::KafkaError),
    /// A log.
    #[error(transparent)]
    Log(#[from] lutra_log::LogError),
    /// ZooKeeper, where it is needed: the bookmarks at a start.
    #[error("the bookmarks of the task cannot be read")]
    Coordination(#[from] lutra_coordination::CoordinationError),
}

//! Places: in the source's history ([`BinlogPosition`]), in the numbering of its units ([`Number`]), in a log ([`Cursor`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::LogId;

/// The number of a unit, the same in every log of that source: transactions, DDL, XA prepares and decisions take the
/// next `sequence`; snapshot chunks and moving heartbeats the next `sub` behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Number {
    /// Counts transactions, DDL, XA prepares and decisions.
    pub sequence: u64,
    /// Counts what lies between two sequences.
    pub sub: u64,
}

impl Number {
    /// Before every unit.
    pub const ZERO: Self = Self { sequence: 0, sub: 0 };
    /// The number of a log's origin heartbeat (P2).
    pub const ORIGIN: Self = Self { sequence: 0, sub: 1 };

    /// The number `(sequence, sub)`.
    pub fn new(sequence: u64, sub: u64) -> Self {
        Self { sequence, sub }
    }

    /// The number of the next transaction, DDL, prepare or decision.
    #[must_use]
    pub fn next_sequence(self) -> Self {
        Self { sequence: self.sequence + 1, sub: 0 }
    }

    /// The number of the next chunk or moving heartbeat.
    #[must_use]
    pub fn next_sub(self) -> Self {
        Self { sequence: self.sequence, sub: self.sub + 1 }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sub == 0 { write!(f, "{}", self.sequence) } else { write!(f, "{}.{}", self.sequence, self.sub) }
    }
}

/// The fencing number of one start of a task; a higher one wins.
///
/// The term is the `czxid` of `running/<task>` plus the floor of the task's specification; the attempt counts starts
/// within one taking of the task (P2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// One taking of the task.
    pub term: u64,
    /// One start inside that taking.
    pub attempt: u32,
}

impl Epoch {
    /// Below every real epoch.
    pub const ZERO: Self = Self { term: 0, attempt: 0 };

    /// The epoch `(term, attempt)`.
    pub fn new(term: u64, attempt: u32) -> Self {
        Self { term, attempt }
    }

    /// The epoch of the next start in the same taking.
    #[must_use]
    pub fn next_attempt(self) -> Self {
        Self { term: self.term, attempt: self.attempt + 1 }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.attempt)
    }
}

/// An XA transaction that is prepared and not decided: part of where a source stands (P11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenXa {
    /// Its XID as statements of the binlog write it.
    pub xid: String,
    /// The number of its prepare unit; none when it has no captured rows.
    pub number: Option<Number>,
    /// A place in the log before that unit, from which it can be read; none without a number.
    pub place: Option<Cursor>,
    /// The unit that says this decides over it: it is open no more behind that unit.
    #[serde(default)]
    pub decided: bool,
}

/// A whole place in a log. Nothing shorter is ever stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which log.
    pub log_id: LogId,
    /// The first Kafka offset not yet done.
    pub next_offset: i64,
    /// The epoch in force there.
    pub epoch: Epoch,
    /// The number of the last unit before it.
    pub number: Number,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {} offset {} epoch {} number {}", self.log_id, self.next_offset, self.epoch, self.number)
    }
}

/// A byte in a source's binlog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// Binlog file name.
    pub file: String,
    /// Byte offset in that file of the next event (not bounded to 32 bits).
    pub offset: u64,
}

impl BinlogPosition {
    /// The byte `offset` of `file`.
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self { file: file.into(), offset }
    }
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

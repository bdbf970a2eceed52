//! The log record: what one Kafka record of an ordered log says.
//!
//! A record is one part of one unit. The header is decoded always; the body stays bytes ([`RawBody`]) until a room
//! wants to look into it, so that a stage without a rule for a table passes its bytes on untouched.

use bytes::Bytes;
pub use lutra_change::DdlKind;
use lutra_change::{
    BinlogPosition, ColumnSet, Cursor, Epoch, Gtid, GtidSet, LogId, Number, OpenXa, Operation, RowFlags,
    SessionContext, TableName,
};
use uuid::Uuid;

use crate::schema::Fingerprint;

/// How a part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartEnd {
    /// Another part of the unit follows.
    More,
    /// The unit is complete.
    Commit,
    /// The unit never was: its parts are void.
    Abort,
}

/// What kind of unit or control record a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Row changes of a transaction.
    Changes,
    /// A DDL statement.
    Ddl,
    /// A slice of a table's initial copy.
    Chunk,
    /// A position and time without changes; it takes a number only when it moves (covers an interval).
    Heartbeat,
    /// The first record of a start of a task.
    EpochStart,
    /// Row changes of a prepared XA transaction, held back until its decision.
    XaPrepare,
    /// The decision over a prepared XA transaction.
    XaDecision,
    /// A piece of another body that is too large for one record.
    Fragment,
}

/// Where the source stands after a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The server that was read.
    pub server_uuid: Uuid,
    /// Binlog file and byte after the unit.
    pub position: BinlogPosition,
    /// The unit's own GTID; none for heartbeats and for sources without GTID.
    pub gtid: Option<Gtid>,
    /// Everything executed up to and including the unit.
    pub gtid_set: GtidState,
    /// XA transactions that are prepared and not decided behind the unit; that of a decision still names the one it
    /// decides (P11).
    pub open_xa: Vec<OpenXa>,
    /// In a source's log: what its tables looked like there, by the name of a record of the schemas' topic. None where table
    /// maps say so themselves.
    pub definitions: Option<Fingerprint>,
}

/// A GTID set, whole or as what the unit's interval `(previous, number]` adds to it (P1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GtidState {
    /// The whole set.
    Whole(GtidSet),
    /// What was added since the record before.
    Added(GtidSet),
}

/// What the commit part says of the unit's canonical row bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitTotals {
    /// Row changes in all parts.
    pub rows: u64,
    /// Bytes of all before and after images.
    pub bytes: u64,
    /// CRC-32C over them, in order.
    pub crc32c: u32,
}

/// What every record carries (P1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log this record belongs to.
    pub log_id: LogId,
    /// Who wrote it.
    pub epoch: Epoch,
    /// The unit's number. For `EpochStart` and heartbeats that do not move: the number of the last unit.
    pub number: Number,
    /// The unit covers the interval `(previous, number]`.
    pub previous: Number,
    /// Part of the unit, from 1.
    pub part: u32,
    /// How this part ends.
    pub end: PartEnd,
    /// Where the source stands after the unit; on commit parts, heartbeats and DDL.
    pub source: Option<SourceState>,
    /// Commit time at the source (original commit timestamp), microseconds since the epoch; 0 where unknown.
    pub committed_at: i64,
    /// When the extractor read it, microseconds since the epoch.
    pub read_at: i64,
    /// In a transformer's log: the cursor of its input after the unit.
    pub input: Option<Cursor>,
    /// Names of the sources the transaction came from, when a Lutra loader wrote it (P13).
    pub origins: Vec<String>,
    /// Totals of the unit, on its commit part when it carries rows.
    pub totals: Option<UnitTotals>,
}

/// A record with its body still in bytes.
#[derive(Clone, Debug)]
pub struct Record {
    /// What the record says of itself.
    pub header: Header,
    /// What it carries.
    pub body: RawBody,
}

/// The body of a record in its encoded form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBody {
    pub(crate) kind: BodyKind,
    /// The Avro encoding of the union, branch index included.
    pub(crate) bytes: Bytes,
}

/// A decoded body.
#[derive(Clone, Debug)]
pub enum Body {
    /// Row changes.
    Changes(Changes),
    /// A DDL statement.
    Ddl(Ddl),
    /// A slice of a table's initial copy.
    Chunk(Chunk),
    /// Position and time.
    Heartbeat(Heartbeat),
    /// A start of a task.
    EpochStart(EpochStart),
    /// Changes of a prepared XA transaction.
    XaPrepare(XaPrepare),
    /// Decision over one.
    XaDecision(XaDecision),
    /// A piece of another body.
    Fragment(Fragment),
}

/// A table as a record names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableRef {
    /// Row schema of its rows.
    pub fingerprint: Fingerprint,
    /// Full name. (Also in the schema; here so that routing needs no schema.)
    pub name: TableName,
}

/// Row changes of one part, in source order.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Session context of the transaction, where known.
    pub context: Option<SessionContext>,
    /// The tables of this part; rows name them by index.
    pub tables: Vec<TableRef>,
    /// The rows.
    pub rows: Vec<RowChange>,
}

/// One row change. Images are slices of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Index into [`Changes::tables`].
    pub table: u32,
    /// What happened.
    pub operation: Operation,
    /// Flags of the rows event.
    pub flags: RowFlags,
    /// Row datum before, for updates and deletes.
    pub before: Option<Bytes>,
    /// Row datum after, for inserts, updates and reads.
    pub after: Option<Bytes>,
    /// Columns in `before`, when partial; `None` = all.
    pub before_columns: Option<ColumnSet>,
    /// Columns in `after`, when partial; `None` = all.
    pub after_columns: Option<ColumnSet>,
}

/// A DDL statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ddl {
    /// The statement's text, in the character set `context.character_set_client`; see [`Ddl::unfit`].
    pub statement: Bytes,
    /// Default database of the session, empty where none.
    pub database: String,
    /// What it does.
    pub kind: DdlKind,
    /// The tables it touches, in order of mention; for RENAME: old, new, old, new, ….
    pub tables: Vec<TableName>,
    /// Session context.
    pub context: SessionContext,
}

/// Stands before and behind the reason in a statement that could not be rewritten. No server takes a statement that begins
/// so, so that none of a source can look like it.
const UNFIT: u8 = 1;

impl Ddl {
    /// The same statement, as one that could not be rewritten for the target: the target's policy says what becomes of it.
    #[must_use]
    pub fn unfit(self, reason: &str) -> Self {
        let reason: Vec<u8> = reason.bytes().filter(|b| *b != UNFIT).collect();
        let statement = [&[UNFIT], reason.as_slice(), &[UNFIT], self.statement.as_ref()].concat();
        Self { statement: Bytes::from(statement), ..self }
    }

    /// Why it could not be rewritten, and its text at the source; none for one that can be run.
    pub fn unfit_reason(&self) -> Option<(String, Bytes)> {
        let rest = self.statement.strip_prefix(&[UNFIT])?;
        let end = rest.iter().position(|b| *b == UNFIT)?;
        let reason = String::from_utf8_lossy(rest.get(..end)?).into_owned();
        Some((reason, self.statement.slice(end + 2..)))
    }
}

/// A slice of a table's initial copy (P12).
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Chunk id: made of the load, the table and the slice, so that the same slice has the same id.
    pub id: Uuid,
    /// The pipeline it is for.
    pub addressee: String,
    /// What the chunk is to the copy: the JSON of a [`ChunkStep`](crate::chunk::ChunkStep).
    pub step: Bytes,
    /// The rows, with operation `Read`.
    pub changes: Changes,
}

/// A sign of life of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the extractor made it, microseconds since the epoch.
    pub at: i64,
    /// Source clock minus extractor clock, microseconds, as last measured.
    pub clock_offset: i64,
}

/// The first record of a start of a task (P2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Cluster id.
    pub cluster: String,
    /// Version of the rules in force from here (transformer), 0 for extractors.
    pub rules_version: u64,
}

/// Changes of a prepared XA transaction (P11).
#[derive(Clone, Debug)]
pub struct XaPrepare {
    /// The transaction's XID in the server's form.
    pub xid: Bytes,
    /// The rows.
    pub changes: Changes,
}

/// Decision over a prepared XA transaction (P11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XaDecision {
    /// The transaction's XID in the server's form.
    pub xid: Bytes,
    /// Committed or rolled back.
    pub commit: bool,
}

/// A piece of the encoded body of one row change that is too large for one record. The pieces of a body stand in parts
/// that follow one another; put together they are that body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes of the whole body.
    pub total: u64,
    /// Where in it the piece begins.
    pub at: u64,
    /// The piece.
    pub bytes: Bytes,
}

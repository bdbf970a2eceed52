//! What the assembler gives: parts of units.

use std::sync::Arc;

use lutra_change::{BinlogPosition, Gtid, GtidSet, Number, OpenXa};
use lutra_wire::RowSchema;
use lutra_wire::record::{PartEnd, RawBody, UnitTotals};

/// One thing for the log, in order.
#[derive(Debug)]
pub enum Output {
    /// A row schema that the parts behind it use; to be in the schemas' topic before them.
    Schema(Arc<RowSchema>),
    /// A part of a unit.
    Part(Box<UnitPart>),
}

/// A part of a unit.
#[derive(Debug)]
pub struct UnitPart {
    /// The unit's number.
    pub number: Number,
    /// The unit covers `(previous, number]`.
    pub previous: Number,
    /// Part of the unit, from 1.
    pub part: u32,
    /// How the part ends.
    pub end: PartEnd,
    /// What it carries.
    pub body: RawBody,
    /// Row changes in it.
    pub rows: usize,
    /// Where the source stands behind the unit; on the last part.
    pub place: Option<UnitPlace>,
    /// Commit time at the source, microseconds since the epoch.
    pub committed_at: i64,
    /// When it was read, microseconds since the epoch.
    pub read_at: i64,
    /// The sources that a loader's transaction came from (P13).
    pub origins: Vec<String>,
    /// Totals of the unit; on the last part of one with rows.
    pub totals: Option<UnitTotals>,
}

/// Where the source stands behind a unit.
#[derive(Debug)]
pub struct UnitPlace {
    /// Binlog file and byte.
    pub position: BinlogPosition,
    /// The unit's own GTID.
    pub gtid: Option<Gtid>,
    /// What the interval of the unit adds to the set.
    pub added: GtidSet,
    /// The unit ends inside the transaction of this GTID: the set behind the unit is without it.
    pub inside: Option<Gtid>,
    /// XA transactions that are open behind the unit, and the one that it decides (P11).
    pub open_xa: Vec<OpenXa>,
}

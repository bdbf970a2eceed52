//! What can be wrong with an event.

use std::fmt;

use lutra_change::TableName;

/// Where in the binlog a fault lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Event type number.
    pub event_type: u8,
    /// The event's end position as its header says (modulo 2^32); of the surrounding payload event for inner events.
    pub log_pos: u32,
    /// Byte inside the event, header included.
    pub offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = (crate::header::name(self.event_type), self.event_type);
        write!(f, "{name} event (type {number}) that ends at position {}, byte {}", self.log_pos, self.offset)
    }
}

/// An event that cannot be decoded. Nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bytes that do not follow the format: truncated, or a length or number out of its range.
    #[error("malformed {place}: {what}")]
    Malformed {
        /// Where.
        place: Place,
        /// What does not fit.
        what: &'static str,
    },
    /// The CRC-32 at the event's end does not fit its bytes.
    #[error(
        "checksum of {place} does not match: the event says {stored:08x}, its bytes give {computed:08x}; the binlog or the connection is corrupt"
    )]
    Checksum {
        /// Where.
        place: Place,
        /// What the event says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A kind of event that this decoder does not know and that is not marked as ignorable.
    #[error("{place} is of a type this version does not know, and it is not marked as ignorable: it may carry changes")]
    UnknownEvent {
        /// Where.
        place: Place,
    },
    /// A kind of event that is known and cannot be followed.
    #[error("{place} cannot be followed: {hint}")]
    Unsupported {
        /// Where.
        place: Place,
        /// What to do.
        hint: &'static str,
    },
    /// A table map without what `binlog_row_metadata=FULL` adds.
    #[error(
        "table map of {table} at position {log_pos} has no {what}: set binlog_row_metadata=FULL at the source and start after that (the setting is not retroactive)"
    )]
    MissingMetadata {
        /// The table.
        table: Box<TableName>,
        /// What is missing.
        what: &'static str,
        /// End position of the table map.
        log_pos: u32,
    },
    /// A table map that contradicts what the table is said to look like.
    #[error("table map of {table} at position {log_pos} does not fit the table's definition: {what}")]
    Differs {
        /// The table.
        table: Box<TableName>,
        /// What does not fit.
        what: String,
        /// End position of the table map.
        log_pos: u32,
    },
    /// A table map that contradicts itself.
    #[error("table map of {table} at position {log_pos}: {what}")]
    TableMap {
        /// The table.
        table: Box<TableName>,
        /// What does not fit.
        what: &'static str,
        /// End position of the table map.
        log_pos: u32,
    },
    /// A column of a type that this decoder does not know.
    #[error("column {column} of {table} is of type number {column_type}, which this version cannot decode")]
    UnsupportedColumn {
        /// The table.
        table: Box<TableName>,
        /// The column's name.
        column: String,
        /// Type number as in the table map.
        column_type: u8,
    },
    /// A rows event whose table map was not seen.
    #[error("{place} is for table id {table_id}, and no table map with that id came before it")]
    UnknownTable {
        /// Where.
        place: Place,
        /// The table id.
        table_id: u64,
    },
    /// A row that does not fit its table map.
    #[error("row of {table} in {place}: {what}")]
    Row {
        /// The table.
        table: Box<TableName>,
        /// Where.
        place: Place,
        /// What does not fit.
        what: &'static str,
    },
    /// A value that does not fit its column's type.
    #[error("column {column} of {table} in {place}: {what}")]
    Value {
        /// The table.
        table: Box<TableName>,
        /// The column's name.
        column: String,
        /// Where.
        place: Place,
        /// What does not fit.
        what: &'static str,
    },
    /// A compressed transaction that does not inflate.
    #[error("transaction payload that ends at position {log_pos}: {what}")]
    Payload {
        /// End position of the payload event.
        log_pos: u32,
        /// What does not fit.
        what: String,
    },
    /// Log positions that step back inside one file.
    #[error("position steps back from {from} to {log_pos} (modulo 2^32) inside one binlog file")]
    PositionStepsBack {
        /// The last true position.
        from: u64,
        /// The position the event gives.
        log_pos: u32,
    },
    /// Bytes that are not a binlog file.
    #[error("not a binlog file: {what}")]
    File {
        /// What does not fit.
        what: &'static str,
    },
}

/// A fault found by a reader that knows only its own bytes; small, so that reading a value stays cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What does not fit.
    pub(crate) what: &'static str,
    /// Byte inside the bytes being read.
    pub(crate) at: usize,
}

impl Fault {
    /// The fault as that of an event whose reader began at byte `base` of it.
    pub(crate) fn in_event(self, place: Place, base: usize) -> DecodeError {
        DecodeError::Malformed { place: Place { offset: base + self.at, ..place }, what: self.what }
    }
}

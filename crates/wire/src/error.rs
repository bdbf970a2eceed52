//! What can be wrong with bytes from a log.

/// A record, body, schema or row datum that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The value is no Avro single-object encoding.
    #[error("the record does not begin with the Avro single-object marker C3 01: it was not written by Lutra")]
    NoMarker,
    /// The record was written under a schema that this version does not know.
    #[error(
        "the record's schema has fingerprint {found:016x}, this version reads {known:016x}: read it with the Lutra version that wrote it, or a later one"
    )]
    UnknownSchema {
        /// CRC-64-AVRO in the record.
        found: u64,
        /// CRC-64-AVRO that this version writes.
        known: u64,
    },
    /// The bytes end inside a value.
    #[error("{what} is cut off")]
    CutOff {
        /// Which value.
        what: &'static str,
    },
    /// A value is out of its range.
    #[error("{what} has the value {found}, which is out of range")]
    OutOfRange {
        /// Which value.
        what: &'static str,
        /// What was read.
        found: i64,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotText {
        /// Which value.
        what: &'static str,
    },
    /// A GTID or GTID set that does not parse.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which value.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Bytes behind the end of a value.
    #[error("{count} bytes follow {what}")]
    Trailing {
        /// Which value.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A row schema that is not one of ours.
    #[error("the row schema cannot be used: {reason}")]
    Schema {
        /// Why.
        reason: String,
    },
    /// A value that does not fit its column.
    #[error("column {column} of {table} is {expected}, and was given {found}")]
    Value {
        /// Full table name.
        table: String,
        /// Column name.
        column: String,
        /// Its type.
        expected: &'static str,
        /// What kind of value it was.
        found: &'static str,
    },
    /// A row datum that does not fit its schema.
    #[error("a row of {table} cannot be decoded at column {column}")]
    Row {
        /// Full table name.
        table: String,
        /// Column name.
        column: String,
        /// Why.
        #[source]
        source: Box<WireError>,
    },
}

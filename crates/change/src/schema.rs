//! What a table looks like, as the table map with full metadata tells it.

use serde::{Deserialize, Serialize};

use crate::id::TableName;

/// A column's type, with all that is needed to decode and encode its values without loss.
///
/// | type | [`Value`](crate::value::Value) | Avro (always in a union with null) |
/// |---|---|---|
/// | signed TINYINT…INT, BIGINT, YEAR | `Int` | `long` |
/// | unsigned TINYINT…INT | `UInt` | `long` |
/// | unsigned BIGINT | `UInt` | `bytes`, logical type `decimal(20, 0)` |
/// | FLOAT, DOUBLE | `Float`, `Double` | `float`, `double` |
/// | DECIMAL | `Decimal` | `string` |
/// | DATE, TIME, DATETIME | `Date`, `Time`, `DateTime` | `string` |
/// | TIMESTAMP | `Timestamp` | `long`, logical type `timestamp-micros` |
/// | BIT | `Bit` | `bytes`, big-endian |
/// | ENUM | `Enum` | `int` (index, labels in the schema) |
/// | SET | `Set` | `bytes`, big-endian, `(labels + 7) / 8` long |
/// | CHAR, VARCHAR, TEXT | `Bytes` | `bytes` in the column's character set (named in the schema) |
/// | BINARY, VARBINARY, BLOB, GEOMETRY, VECTOR | `Bytes` | `bytes` |
/// | JSON | `Json` | `string` |
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ColumnType {
    /// TINYINT, 8 bits.
    TinyInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// SMALLINT, 16 bits.
    SmallInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// MEDIUMINT, 24 bits.
    MediumInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// INT, 32 bits.
    Int {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// BIGINT, 64 bits.
    BigInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME(fsp).
    Time {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// DATETIME(fsp).
    DateTime {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// TIMESTAMP(fsp).
    Timestamp {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// BIT(length).
    Bit {
        /// Bits, 1 to 64.
        length: u8,
    },
    /// CHAR.
    Char {
        /// Greatest length in bytes.
        bytes: u32,
        /// Collation id.
        collation: u16,
    },
    /// VARCHAR.
    VarChar {
        /// Greatest length in bytes.
        bytes: u32,
        /// Collation id.
        collation: u16,
    },
    /// TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT.
    Text {
        /// Bytes of the length prefix: 1, 2, 3, 4.
        prefix: u8,
        /// Collation id.
        collation: u16,
    },
    /// BINARY(bytes); values are padded with zero bytes to that length.
    Binary {
        /// Length in bytes.
        bytes: u32,
    },
    /// VARBINARY.
    VarBinary {
        /// Greatest length in bytes.
        bytes: u32,
    },
    /// TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB.
    Blob {
        /// Bytes of the length prefix: 1, 2, 3, 4.
        prefix: u8,
    },
    /// ENUM.
    Enum {
        /// Labels, in the column's character set as the server sent them, lossily shown as text.
        labels: Vec<String>,
        /// Collation id.
        collation: u16,
    },
    /// SET.
    Set {
        /// Labels, in the column's character set as the server sent them, lossily shown as text.
        labels: Vec<String>,
        /// Collation id.
        collation: u16,
    },
    /// JSON.
    Json,
    /// GEOMETRY and its kinds.
    Geometry {
        /// The server's geometry type number (0 geometry, 1 point, 2 linestring, …).
        kind: u8,
    },
    /// VECTOR(dimensions).
    Vector {
        /// Number of 32-bit floats.
        dimensions: u32,
    },
}

/// Collation id of `binary`.
pub const BINARY_COLLATION: u16 = 63;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Name as the server spells it.
    pub name: String,
    /// Type.
    #[serde(flatten)]
    pub column_type: ColumnType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// INVISIBLE columns are in the row image and must be named to be written.
    pub invisible: bool,
}

/// One part of a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyPart {
    /// Index of the column in [`TableSchema::columns`].
    pub column: usize,
    /// Prefix length in characters, where only a prefix is indexed.
    pub prefix: Option<u32>,
}

/// A table as it was when its row was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// Full name.
    pub name: TableName,
    /// Columns in table order, hidden ones (of functional indexes) included as the row image includes them.
    pub columns: Vec<Column>,
    /// Primary key, empty for a keyless table.
    pub primary_key: Vec<KeyPart>,
}

impl TableSchema {
    /// The index of the column of that name (case-insensitive for ASCII, as the server compares).
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }
}

//! One column value, borrowed, lossless for every MySQL type.

/// A column value as it travels from the binlog to Avro and from Avro to a statement. Borrowed: nothing is allocated
/// per value.
///
/// Which variant belongs to which type is fixed by [`ColumnType`](crate::schema::ColumnType): see
/// [`ColumnType::avro`](crate::schema::ColumnType).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL. (An *absent* column of a partial row image is not a value at all: see [`ColumnSet`](crate::row::ColumnSet).)
    Null,
    /// Signed integers, and YEAR (0 or 1901..=2155).
    Int(i64),
    /// Unsigned integers.
    UInt(u64),
    /// FLOAT, bit for bit.
    Float(f32),
    /// DOUBLE, bit for bit.
    Double(f64),
    /// DECIMAL as the server prints it: all `scale` digits, no leading zeros but one before the point, `-` when negative.
    Decimal(&'a str),
    /// DATE as `YYYY-MM-DD`; zero and partial dates as they are.
    Date(&'a str),
    /// TIME as `[-]HH:MM:SS[.f…]` with exactly `fsp` digits; hours up to 838.
    Time(&'a str),
    /// DATETIME as `YYYY-MM-DD HH:MM:SS[.f…]` with exactly `fsp` digits; zero and partial dates as they are.
    DateTime(&'a str),
    /// TIMESTAMP in microseconds since the epoch, UTC; 0 is the zero timestamp `0000-00-00 00:00:00`.
    Timestamp(i64),
    /// BIT(n): big-endian, `(n + 7) / 8` bytes.
    Bit(&'a [u8]),
    /// ENUM: 1-based index of the label; 0 is the invalid value ''.
    Enum(u16),
    /// SET: bit `i` is label `i`.
    Set(u64),
    /// CHAR, VARCHAR, TEXT in the column's own character set; BINARY (padded to its length), VARBINARY, BLOB; GEOMETRY
    /// as SRID and WKB; VECTOR as little-endian 32-bit floats.
    Bytes(&'a [u8]),
    /// JSON, exactly as the server prints it, and with marks in front of scalars whose type that text does not tell: see
    /// [`json`](crate::json).
    Json(&'a str),
}

impl Value<'_> {
    /// Whether this is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

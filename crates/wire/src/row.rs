//! The row codec: values to a row's Avro datum and back, planned once per schema.

use std::sync::Arc;

use lutra_change::{ColumnType, TableSchema, Value};

use crate::avro::{Fault, Input, put_bytes, put_len, put_long};
use crate::error::WireError;
use crate::schema::RowSchema;

/// How a column's values stand in the datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    UInt,
    WideUInt,
    Float,
    Double,
    Decimal,
    Date,
    Time,
    DateTime,
    Timestamp,
    Bit,
    Enum,
    Set { bytes: u8 },
    Bytes,
    Json,
}

impl Kind {
    fn of(column: &ColumnType) -> Self {
        use ColumnType as T;
        match column {
            T::BigInt { unsigned: true } => Self::WideUInt,
            T::TinyInt { unsigned } | T::SmallInt { unsigned } | T::MediumInt { unsigned } | T::Int { unsigned }
                if *unsigned =>
            {
                Self::UInt
            }
            T::TinyInt { .. }
            | T::SmallInt { .. }
            | T::MediumInt { .. }
            | T::Int { .. }
            | T::BigInt { .. }
            | T::Year => Self::Int,
            T::Float => Self::Float,
            T::Double => Self::Double,
            T::Decimal { .. } => Self::Decimal,
            T::Date => Self::Date,
            T::Time { .. } => Self::Time,
            T::DateTime { .. } => Self::DateTime,
            T::Timestamp { .. } => Self::Timestamp,
            T::Bit { .. } => Self::Bit,
            T::Enum { .. } => Self::Enum,
            T::Set { labels, .. } => Self::Set { bytes: labels.len().div_ceil(8).clamp(1, 8) as u8 },
            T::Char { .. }
            | T::VarChar { .. }
            | T::Text { .. }
            | T::Binary { .. }
            | T::VarBinary { .. }
            | T::Blob { .. }
            | T::Geometry { .. }
            | T::Vector { .. } => Self::Bytes,
            T::Json => Self::Json,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int => "a signed integer",
            Self::UInt | Self::WideUInt => "an unsigned integer",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal => "DECIMAL",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::DateTime => "DATETIME",
            Self::Timestamp => "TIMESTAMP",
            Self::Bit => "BIT",
            Self::Enum => "ENUM",
            Self::Set { .. } => "SET",
            Self::Bytes => "bytes",
            Self::Json => "JSON",
        }
    }
}

fn name_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Int(_) => "a signed integer",
        Value::UInt(_) => "an unsigned integer",
        Value::Float(_) => "FLOAT",
        Value::Double(_) => "DOUBLE",
        Value::Decimal(_) => "DECIMAL",
        Value::Date(_) => "DATE",
        Value::Time(_) => "TIME",
        Value::DateTime(_) => "DATETIME",
        Value::Timestamp(_) => "TIMESTAMP",
        Value::Bit(_) => "BIT",
        Value::Enum(_) => "ENUM",
        Value::Set(_) => "SET",
        Value::Bytes(_) => "bytes",
        Value::Json(_) => "JSON",
    }
}

/// Writes row datums of one schema: the values of the columns, one after the other.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    kinds: Vec<Kind>,
    table: Arc<TableSchema>,
}

impl RowEncoder {
    /// Plans the encoder.
    pub fn new(schema: &RowSchema) -> Self {
        let table = Arc::clone(schema.table());
        Self { kinds: table.columns.iter().map(|c| Kind::of(&c.column_type)).collect(), table }
    }

    /// Number of columns that a datum must have.
    pub fn columns(&self) -> usize {
        self.kinds.len()
    }

    /// Appends the value of `column`. Columns are written in table order, each once.
    ///
    /// # Errors
    /// [`WireError::Value`] when the value is not of the column's type.
    #[inline]
    pub fn write(&self, column: usize, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        let Some(kind) = self.kinds.get(column) else { return Err(self.misfit(column, &value)) };
        if value.is_null() {
            out.push(0);
            return Ok(());
        }
        out.push(2);
        match (kind, value) {
            (Kind::Int, Value::Int(n)) => put_long(out, n),
            (Kind::UInt, Value::UInt(n)) if n <= u64::from(u32::MAX) => put_long(out, n as i64),
            (Kind::WideUInt, Value::UInt(n)) => put_wide(out, n),
            (Kind::Float, Value::Float(x)) => out.extend_from_slice(&x.to_le_bytes()),
            (Kind::Double, Value::Double(x)) => out.extend_from_slice(&x.to_le_bytes()),
            (Kind::Timestamp, Value::Timestamp(micros)) => put_long(out, micros),
            (Kind::Enum, Value::Enum(index)) => put_long(out, i64::from(index)),
            (Kind::Set { bytes }, Value::Set(set)) if *bytes == 8 || set >> (8 * bytes) == 0 => {
                put_bytes(out, &set.to_be_bytes()[8 - usize::from(*bytes)..]);
            }
            (Kind::Bytes, Value::Bytes(bytes)) | (Kind::Bit, Value::Bit(bytes)) => put_bytes(out, bytes),
            (Kind::Decimal, Value::Decimal(text))
            | (Kind::Date, Value::Date(text))
            | (Kind::Time, Value::Time(text))
            | (Kind::DateTime, Value::DateTime(text))
            | (Kind::Json, Value::Json(text)) => put_bytes(out, text.as_bytes()),
            _ => {
                out.pop();
                return Err(self.misfit(column, &value));
            }
        }
        Ok(())
    }

    /// Appends the place of a column that a partial row image does not hold. The image's column set tells it from NULL.
    pub fn write_absent(&self, _column: usize, out: &mut Vec<u8>) {
        out.push(0);
    }

    #[cold]
    fn misfit(&self, column: usize, value: &Value<'_>) -> WireError {
        let expected = self.kinds.get(column).map_or("not there", |k| k.name());
        let found = name_of(value);
        WireError::Value {
            table: self.table.name.to_string(),
            column: self.table.columns.get(column).map_or_else(|| format!("#{column}"), |c| c.name.clone()),
            expected,
            found: if found == expected { "one outside its range" } else { found },
        }
    }
}

/// An unsigned number as Avro's decimal: big-endian two's complement, as short as it can be.
fn put_wide(out: &mut Vec<u8>, number: u64) {
    let mut wide = [0; 9];
    wide[1..].copy_from_slice(&number.to_be_bytes());
    let zeros = wide.iter().take_while(|b| **b == 0).count();
    // A set top bit would read as a negative number: one zero byte stays before it.
    let from = if zeros == 9 || wide[zeros] & 0x80 != 0 { zeros.saturating_sub(1) } else { zeros };
    put_len(out, 9 - from);
    out.extend_from_slice(&wide[from..]);
}

fn unsigned(bytes: &[u8], longest: usize) -> Result<u64, Fault> {
    if bytes.len() > longest || (bytes.len() == 9 && bytes[0] != 0) {
        return Err(Fault::too_long("an unsigned number"));
    }
    Ok(bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b)))
}

/// Reads row datums of one schema.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    kinds: Vec<Kind>,
    table: Arc<TableSchema>,
}

impl RowDecoder {
    /// Plans the decoder.
    pub fn new(schema: &RowSchema) -> Self {
        let table = Arc::clone(schema.table());
        Self { kinds: table.columns.iter().map(|c| Kind::of(&c.column_type)).collect(), table }
    }

    /// The table whose rows it reads.
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// Shows each value in turn. Absent columns of partial images show as NULL: ask the image's column set.
    ///
    /// # Errors
    /// [`WireError::Row`] naming the column that cannot be read, [`WireError::Trailing`].
    #[inline]
    pub fn decode<'a>(&self, datum: &'a [u8], mut visit: impl FnMut(usize, Value<'a>)) -> Result<(), WireError> {
        let mut input = Input::new(datum);
        for (column, kind) in self.kinds.iter().enumerate() {
            match value(*kind, &mut input) {
                Ok(value) => visit(column, value),
                Err(source) => return Err(self.fault(column, source.into())),
            }
        }
        Ok(input.end("a row's last column")?)
    }

    /// All values, in table order; `values` is cleared first.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_into<'a>(&self, datum: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), WireError> {
        values.clear();
        values.reserve(self.kinds.len());
        self.decode(datum, |_, value| values.push(value))
    }

    /// The bytes of each column's value in the datum, its union branch included; `slices` is cleared first.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn slices<'a>(&self, datum: &'a [u8], slices: &mut Vec<&'a [u8]>) -> Result<(), WireError> {
        slices.clear();
        let mut input = Input::new(datum);
        for (column, kind) in self.kinds.iter().enumerate() {
            let from = input.position();
            value(*kind, &mut input).map_err(|source| self.fault(column, source.into()))?;
            slices.push(&datum[from..input.position()]);
        }
        Ok(input.end("a row's last column")?)
    }

    #[cold]
    fn fault(&self, column: usize, source: WireError) -> WireError {
        WireError::Row {
            table: self.table.name.to_string(),
            column: self.table.columns[column].name.clone(),
            source: Box::new(source),
        }
    }
}

#[inline]
fn value<'a>(kind: Kind, input: &mut Input<'a>) -> Result<Value<'a>, Fault> {
    let what = "the value";
    if !input.present(what)? {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Int => Value::Int(input.long(what)?),
        Kind::UInt => Value::UInt(input.number(what)?),
        Kind::WideUInt => Value::UInt(unsigned(input.bytes(what)?, 9)?),
        Kind::Float => Value::Float(f32::from_le_bytes(input.fixed(what)?)),
        Kind::Double => Value::Double(f64::from_le_bytes(input.fixed(what)?)),
        Kind::Decimal => Value::Decimal(input.text(what)?),
        Kind::Date => Value::Date(input.text(what)?),
        Kind::Time => Value::Time(input.text(what)?),
        Kind::DateTime => Value::DateTime(input.text(what)?),
        Kind::Timestamp => Value::Timestamp(input.long(what)?),
        Kind::Bit => Value::Bit(input.bytes(what)?),
        Kind::Enum => Value::Enum(input.number(what)?),
        Kind::Set { .. } => Value::Set(unsigned(input.bytes(what)?, 8)?),
        Kind::Bytes => Value::Bytes(input.bytes(what)?),
        Kind::Json => Value::Json(input.text(what)?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{Column, TableName};

    use super::*;

    fn schema(column_type: ColumnType) -> RowSchema {
        let column = Column { name: "c".into(), column_type, nullable: true, invisible: false };
        let table = TableSchema { name: TableName::new("a", "b"), columns: vec![column], primary_key: Vec::new() };
        RowSchema::from_table(&table).unwrap()
    }

    fn set_of(members: usize) -> ColumnType {
        ColumnType::Set { labels: (0..members).map(|i| i.to_string()).collect(), collation: 8 }
    }

    #[test]
    fn a_value_that_does_not_fit_names_table_and_column_and_leaves_nothing() {
        for (column_type, value) in [
            (ColumnType::Int { unsigned: true }, Value::Int(1)),
            (ColumnType::Int { unsigned: true }, Value::UInt(1 << 32)),
            (ColumnType::BigInt { unsigned: true }, Value::Int(1)),
            (ColumnType::Date, Value::DateTime("2026-01-01 00:00:00")),
            (ColumnType::Json, Value::Bytes(b"{}")),
            (set_of(8), Value::Set(256)),
        ] {
            let mut out = Vec::new();
            let error = RowEncoder::new(&schema(column_type)).write(0, value, &mut out).unwrap_err().to_string();
            assert!(error.starts_with("column c of a.b is "), "{error}");
            assert!(out.is_empty());
        }
        assert!(RowEncoder::new(&schema(ColumnType::Json)).write(1, Value::Null, &mut Vec::new()).is_err());
    }

    #[test]
    fn unsigned_bigints_are_as_short_as_they_can_be() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (1 << 63, &[0, 128, 0, 0, 0, 0, 0, 0, 0]),
            (u64::MAX, &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            let mut out = Vec::new();
            put_wide(&mut out, number);
            assert_eq!(&out[1..], bytes);
            assert_eq!(unsigned(bytes, 9), Ok(number));
        }
        assert!(unsigned(&[1, 0, 0, 0, 0, 0, 0, 0, 0], 9).is_err());
    }

    #[test]
    fn an_absent_column_takes_its_place_and_reads_as_null() {
        let schema = schema(set_of(9));
        let mut out = Vec::new();
        RowEncoder::new(&schema).write_absent(0, &mut out);
        let mut values = Vec::new();
        RowDecoder::new(&schema).decode_into(&out, &mut values).unwrap();
        assert_eq!(values, [Value::Null]);
    }
}

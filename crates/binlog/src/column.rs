//! How a column's values lie in a row image, and reading one.

use lutra_change::{ColumnType, Value};

use crate::compressed;
use crate::error::Fault;
use crate::json;
use crate::json_update::JsonUpdate;
use crate::reader::Reader;
use crate::text::{self, Text};

/// Type numbers of a table map (`enum_field_types`).
mod number {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    /// MariaDB's `COMPRESSED` columns.
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

/// A column's layout as its type number and type metadata tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Tiny,
    Short,
    Int24,
    Long,
    LongLong,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    /// TIME, DATETIME and TIMESTAMP of tables from before MySQL 5.6.4.
    OldTime,
    OldDateTime,
    OldTimestamp,
    Time {
        fsp: u8,
    },
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    Bit {
        bits: u8,
    },
    Enum {
        bytes: u8,
    },
    Set {
        bytes: u8,
    },
    Char {
        bytes: u32,
    },
    VarChar {
        bytes: u32,
    },
    Blob {
        prefix: u8,
    },
    Json {
        prefix: u8,
    },
    Geometry {
        prefix: u8,
    },
    Vector {
        prefix: u8,
    },
    CompressedVarChar {
        bytes: u32,
    },
    CompressedBlob {
        prefix: u8,
    },
}

impl Wire {
    /// Reads the metadata of a column of that type number; `None` for a type that is not known.
    pub(crate) fn read(type_number: u8, metadata: &mut Reader<'_>) -> Result<Option<Self>, Fault> {
        use number as n;
        Ok(Some(match type_number {
            n::TINY => Self::Tiny,
            n::SHORT => Self::Short,
            n::INT24 => Self::Int24,
            n::LONG => Self::Long,
            n::LONGLONG => Self::LongLong,
            // The metadata byte is the width.
            n::FLOAT => metadata.u8().map(|_| Self::Float)?,
            n::DOUBLE => metadata.u8().map(|_| Self::Double)?,
            n::NEWDECIMAL => Self::decimal(metadata)?,
            n::YEAR => Self::Year,
            n::DATE | n::NEWDATE => Self::Date,
            n::TIME => Self::OldTime,
            n::DATETIME => Self::OldDateTime,
            n::TIMESTAMP => Self::OldTimestamp,
            n::TIME2 => Self::Time { fsp: fsp(metadata)? },
            n::DATETIME2 => Self::DateTime { fsp: fsp(metadata)? },
            n::TIMESTAMP2 => Self::Timestamp { fsp: fsp(metadata)? },
            n::BIT => {
                let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
                let total = u16::from(bytes) * 8 + u16::from(bits);
                let bits = u8::try_from(total).ok().filter(|b| (1..=64).contains(b));
                Self::Bit { bits: bits.ok_or_else(|| metadata.fault("a BIT has not 1 to 64 bits"))? }
            }
            n::VARCHAR | n::VAR_STRING => Self::VarChar { bytes: u32::from(metadata.u16()?) },
            n::STRING | n::ENUM | n::SET => return Self::string(metadata),
            n::BLOB => Self::Blob { prefix: prefix(metadata)? },
            n::JSON => Self::Json { prefix: prefix(metadata)? },
            n::GEOMETRY => Self::Geometry { prefix: prefix(metadata)? },
            n::VECTOR => Self::Vector { prefix: prefix(metadata)? },
            // The length counts the byte that says how a value is compressed.
            n::VARCHAR_COMPRESSED => Self::CompressedVarChar { bytes: u32::from(metadata.u16()?).saturating_sub(1) },
            n::BLOB_COMPRESSED => Self::CompressedBlob { prefix: prefix(metadata)? },
            _ => return Ok(None),
        }))
    }

    fn decimal(metadata: &mut Reader<'_>) -> Result<Self, Fault> {
        let (precision, scale) = (metadata.u8()?, metadata.u8()?);
        // MySQL allows 30 digits behind the point, MariaDB 38.
        if !(1..=65).contains(&precision) || scale > 38 || scale > precision {
            return Err(metadata.fault("a DECIMAL's precision or scale is out of range"));
        }
        Ok(Self::Decimal { precision, scale })
    }

    /// CHAR, ENUM and SET share a type number: the first byte tells which, and holds two bits of CHAR's length, inverted.
    fn string(metadata: &mut Reader<'_>) -> Result<Option<Self>, Fault> {
        let (kind, low) = (metadata.u8()?, metadata.u8()?);
        let high = u32::from((kind & 0x30) ^ 0x30) << 4;
        Ok(match kind | 0x30 {
            number::ENUM if matches!(low, 1 | 2) => Some(Self::Enum { bytes: low }),
            number::SET if (1..=8).contains(&low) => Some(Self::Set { bytes: low }),
            number::ENUM | number::SET => return Err(metadata.fault("an ENUM or SET has an impossible width")),
            number::STRING => Some(Self::Char { bytes: high | u32::from(low) }),
            _ => None,
        })
    }
}

fn fsp(metadata: &mut Reader<'_>) -> Result<u8, Fault> {
    match metadata.u8()? {
        fsp @ 0..=6 => Ok(fsp),
        _ => Err(metadata.fault("a column has more than 6 digits of fractional seconds")),
    }
}

fn prefix(metadata: &mut Reader<'_>) -> Result<u8, Fault> {
    match metadata.u8()? {
        prefix @ 1..=4 => Ok(prefix),
        _ => Err(metadata.fault("a column's length prefix has not 1 to 4 bytes")),
    }
}

/// Room for the one value that is being read, where it does not lie in the event as it is wanted.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    text: Text,
    bytes: Vec<u8>,
}

impl Scratch {
    /// What a document becomes by an update, as text.
    pub(crate) fn apply(&mut self, update: &JsonUpdate<'_>, before: &[u8]) -> Result<&str, &'static str> {
        update.apply(before, &mut self.bytes)?;
        std::str::from_utf8(&self.bytes).map_err(|_| "a JSON string is not UTF-8")
    }

    /// Empty room. Keep it: its buffers are used again.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What to do to read one column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Int8,
    Int16,
    Int24,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt24,
    UInt32,
    UInt64,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    OldTime,
    OldDateTime,
    OldTimestamp,
    Time {
        fsp: u8,
    },
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    Bit {
        bytes: u8,
    },
    Enum {
        bytes: u8,
    },
    Set {
        bytes: u8,
    },
    /// Bytes behind a length of that many bytes.
    Bytes {
        prefix: u8,
    },
    /// BINARY, whose trailing zero bytes the server leaves out.
    Padded {
        bytes: u32,
        prefix: u8,
    },
    Json {
        prefix: u8,
    },
    /// Bytes that may be compressed, behind a length of that many bytes.
    Compressed {
        prefix: u8,
        limit: u32,
    },
}

impl Read {
    /// The plan for a column.
    pub(crate) fn plan(wire: Wire, column_type: &ColumnType) -> Self {
        let unsigned = matches!(
            column_type,
            ColumnType::TinyInt { unsigned: true }
                | ColumnType::SmallInt { unsigned: true }
                | ColumnType::MediumInt { unsigned: true }
                | ColumnType::Int { unsigned: true }
                | ColumnType::BigInt { unsigned: true }
        );
        match wire {
            Wire::Tiny if unsigned => Self::UInt8,
            Wire::Short if unsigned => Self::UInt16,
            Wire::Int24 if unsigned => Self::UInt24,
            Wire::Long if unsigned => Self::UInt32,
            Wire::LongLong if unsigned => Self::UInt64,
            Wire::Tiny => Self::Int8,
            Wire::Short => Self::Int16,
            Wire::Int24 => Self::Int24,
            Wire::Long => Self::Int32,
            Wire::LongLong => Self::Int64,
            Wire::Float => Self::Float,
            Wire::Double => Self::Double,
            Wire::Decimal { precision, scale } => Self::Decimal { precision, scale },
            Wire::Year => Self::Year,
            Wire::Date => Self::Date,
            Wire::OldTime => Self::OldTime,
            Wire::OldDateTime => Self::OldDateTime,
            Wire::OldTimestamp => Self::OldTimestamp,
            Wire::Time { fsp } => Self::Time { fsp },
            Wire::DateTime { fsp } => Self::DateTime { fsp },
            Wire::Timestamp { fsp } => Self::Timestamp { fsp },
            Wire::Bit { bits } => Self::Bit { bytes: bits.div_ceil(8) },
            Wire::Enum { bytes } => Self::Enum { bytes },
            Wire::Set { bytes } => Self::Set { bytes },
            Wire::Char { bytes } if matches!(column_type, ColumnType::Binary { .. }) => {
                Self::Padded { bytes, prefix: prefix_of(bytes) }
            }
            Wire::Char { bytes } | Wire::VarChar { bytes } => Self::Bytes { prefix: prefix_of(bytes) },
            Wire::Blob { prefix } | Wire::Geometry { prefix } | Wire::Vector { prefix } => Self::Bytes { prefix },
            Wire::Json { prefix } => Self::Json { prefix },
            Wire::CompressedVarChar { bytes } => Self::Compressed { prefix: prefix_of(bytes + 1), limit: bytes },
            Wire::CompressedBlob { prefix } => {
                Self::Compressed { prefix, limit: u32::MAX >> (32 - 8 * u32::from(prefix.clamp(1, 4))) }
            }
        }
    }

    /// A JSON value as it is stored; the reader stays where it is.
    pub(crate) fn stored_json<'a>(self, mut reader: Reader<'a>) -> Result<&'a [u8], Fault> {
        match self {
            Self::Json { prefix } => sized(&mut reader, prefix),
            _ => Err(reader.fault("no plan for this column")),
        }
    }

    /// Reads one value that is not NULL.
    #[inline]
    pub(crate) fn value<'v, 'a: 'v>(
        self,
        reader: &mut Reader<'a>,
        scratch: &'v mut Scratch,
    ) -> Result<Value<'v>, Fault> {
        Ok(match self {
            Self::Int8 => Value::Int(i64::from(reader.u8()? as i8)),
            Self::Int16 => Value::Int(i64::from(reader.u16()? as i16)),
            // Shifted up and down again to spread the sign.
            Self::Int24 => Value::Int(i64::from((reader.u24()? << 8) as i32 >> 8)),
            Self::Int32 => Value::Int(i64::from(reader.u32()? as i32)),
            Self::Int64 => Value::Int(reader.u64()? as i64),
            Self::UInt8 => Value::UInt(u64::from(reader.u8()?)),
            Self::UInt16 => Value::UInt(u64::from(reader.u16()?)),
            Self::UInt24 => Value::UInt(u64::from(reader.u24()?)),
            Self::UInt32 => Value::UInt(u64::from(reader.u32()?)),
            Self::UInt64 => Value::UInt(reader.u64()?),
            Self::Float => Value::Float(f32::from_le_bytes(reader.array()?)),
            Self::Double => Value::Double(f64::from_le_bytes(reader.array()?)),
            Self::Bytes { prefix } => Value::Bytes(sized(reader, prefix)?),
            Self::Enum { bytes: 1 } => Value::Enum(u16::from(reader.u8()?)),
            Self::Enum { .. } => Value::Enum(reader.u16()?),
            Self::Set { bytes } => Value::Set(reader.uint(usize::from(bytes))?),
            Self::Bit { bytes } => Value::Bit(reader.take(usize::from(bytes))?),
            _ => return self.built(reader, scratch),
        })
    }

    /// Reads a value that has to be put together in the scratch room.
    fn built<'v, 'a: 'v>(self, reader: &mut Reader<'a>, scratch: &'v mut Scratch) -> Result<Value<'v>, Fault> {
        let Scratch { text, bytes: buffer } = scratch;
        text.clear();
        Ok(match self {
            Self::Decimal { precision, scale } => Value::Decimal(text::decimal(reader, precision, scale, text)?),
            Self::Year => Value::Int(match reader.u8()? {
                0 => 0,
                year => i64::from(year) + 1900,
            }),
            Self::Date => Value::Date(text::date(reader, text)?),
            Self::OldTime => Value::Time(text::old_time(reader, text)?),
            Self::OldDateTime => Value::DateTime(text::old_datetime(reader, text)?),
            Self::OldTimestamp => Value::Timestamp(i64::from(reader.u32()?) * 1_000_000),
            Self::Time { fsp } => Value::Time(text::time(reader, fsp, text)?),
            Self::DateTime { fsp } => Value::DateTime(text::datetime(reader, fsp, text)?),
            Self::Timestamp { fsp } => {
                let seconds = i64::from(u32::from_be_bytes(reader.array()?));
                Value::Timestamp(seconds * 1_000_000 + i64::from(text::fraction(reader, fsp)?))
            }
            Self::Padded { bytes, prefix } => {
                let stored = sized(reader, prefix)?;
                let whole = bytes as usize;
                if stored.len() == whole {
                    return Ok(Value::Bytes(stored));
                }
                buffer.clear();
                buffer.extend_from_slice(stored);
                buffer.resize(whole.max(stored.len()), 0);
                Value::Bytes(buffer)
            }
            Self::Json { prefix } => {
                let at = reader.at();
                let binary = sized(reader, prefix)?;
                json::print(binary, buffer).map_err(|what| Fault { what, at })?;
                Value::Json(std::str::from_utf8(buffer).map_err(|_| Fault { what: "a JSON string is not UTF-8", at })?)
            }
            Self::Compressed { prefix, limit } => {
                let at = reader.at();
                let stored = sized(reader, prefix)?;
                Value::Bytes(compressed::column(stored, limit as usize, buffer).map_err(|what| Fault { what, at })?)
            }
            // Read by the caller.
            _ => return Err(reader.fault("no plan for this column")),
        })
    }
}

/// CHAR and VARCHAR that may exceed 255 bytes have a length of two bytes.
fn prefix_of(bytes: u32) -> u8 {
    if bytes > 255 { 2 } else { 1 }
}

#[inline]
fn sized<'a>(reader: &mut Reader<'a>, prefix: u8) -> Result<&'a [u8], Fault> {
    let length = match prefix {
        1 => u32::from(reader.u8()?),
        2 => u32::from(reader.u16()?),
        3 => reader.u24()?,
        _ => reader.u32()?,
    };
    reader.take(length as usize)
}

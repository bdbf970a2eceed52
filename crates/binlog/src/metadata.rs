//! The optional part of a table map (`Table_map_event::Optional_metadata_fields`): what `binlog_row_metadata=FULL` adds.

use std::borrow::Cow;

use lutra_change::schema::BINARY_COLLATION;
use lutra_change::{Column, ColumnType, KeyPart, TableSchema};

use crate::column::Wire;
use crate::error::{DecodeError, Fault};
use crate::flavor::Flavor;
use crate::reader::Reader;
use crate::table_map::TableMap;

/// Collations of the character columns, or of the ENUM and SET columns, by their rank among those.
#[derive(Debug)]
pub(crate) enum Collations {
    /// One for all, and exceptions.
    Default(u16, Vec<(usize, u16)>),
    /// One for each.
    Each(Vec<u16>),
}

impl Collations {
    fn default(mut reader: Reader<'_>) -> Result<Self, Fault> {
        let default = collation(&mut reader)?;
        let mut exceptions = Vec::new();
        while !reader.is_empty() {
            exceptions.push((reader.packed_length()?, collation(&mut reader)?));
        }
        Ok(Self::Default(default, exceptions))
    }

    fn each(mut reader: Reader<'_>) -> Result<Self, Fault> {
        list(&mut reader, collation).map(Self::Each)
    }

    fn get(&self, rank: usize) -> Option<u16> {
        match self {
            Self::Default(default, exceptions) => {
                Some(exceptions.iter().find(|e| e.0 == rank).map_or(*default, |e| e.1))
            }
            Self::Each(each) => each.get(rank).copied(),
        }
    }
}

/// The fields, each in the order of the columns it concerns.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    pub(crate) names: Vec<&'a str>,
    /// Bits over the numeric columns, first column highest.
    pub(crate) unsigned: Option<Cow<'a, [u8]>>,
    /// Bits over all columns, first column highest; absent when all are visible.
    pub(crate) visible: Option<Cow<'a, [u8]>>,
    pub(crate) collations: Option<Collations>,
    pub(crate) label_collations: Option<Collations>,
    pub(crate) enums: Vec<Vec<String>>,
    pub(crate) sets: Vec<Vec<String>>,
    pub(crate) geometries: Vec<u8>,
    pub(crate) dimensions: Vec<u32>,
    pub(crate) key: Vec<(usize, Option<u32>)>,
    /// What is missing is made up: see [`TableMap::bare_layout`].
    bare: bool,
}

fn list<'a, T>(reader: &mut Reader<'a>, read: impl Fn(&mut Reader<'a>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn collation(reader: &mut Reader<'_>) -> Result<u16, Fault> {
    u16::try_from(reader.packed()?).map_err(|_| reader.fault("a collation id is out of range"))
}

fn number(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    u32::try_from(reader.packed()?).map_err(|_| reader.fault("a number of its optional metadata is out of range"))
}

fn labels(reader: &mut Reader<'_>) -> Result<Vec<String>, Fault> {
    // Each label takes a byte at least: the count is bounded by what is left.
    let count = reader.packed_length()?;
    if count > reader.left() {
        return Err(reader.fault("it counts more labels than it has bytes"));
    }
    (0..count).map(|_| Ok(String::from_utf8_lossy(reader.packed_bytes()?).into_owned())).collect()
}

/// Bit `rank` of a field whose first bit is the highest.
fn bit(bytes: &[u8], rank: usize) -> Option<bool> {
    bytes.get(rank / 8).map(|byte| byte << (rank % 8) & 0x80 != 0)
}

impl<'a> Metadata<'a> {
    /// Fields of type, packed length, value. Unknown ones are passed over.
    pub(crate) fn parse(optional: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(optional);
        let mut metadata = Self::default();
        while !reader.is_empty() {
            let field = reader.u8()?;
            let value = reader.packed_bytes()?;
            metadata.field(field, value)?;
        }
        Ok(metadata)
    }

    fn field(&mut self, field: u8, value: &'a [u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(value);
        match field {
            1 => self.unsigned = Some(Cow::Borrowed(value)),
            2 => self.collations = Some(Collations::default(reader)?),
            3 => self.collations = Some(Collations::each(reader)?),
            4 => {
                self.names = list(&mut reader, |r| {
                    let name = r.packed_bytes()?;
                    r.text(name)
                })?;
            }
            5 => self.sets = list(&mut reader, labels)?,
            6 => self.enums = list(&mut reader, labels)?,
            7 => {
                self.geometries = list(&mut reader, |r| {
                    u8::try_from(r.packed()?).map_err(|_| r.fault("a geometry type is out of range"))
                })?;
            }
            8 => self.key = list(&mut reader, |r| Ok((r.packed_length()?, None)))?,
            9 => self.key = list(&mut reader, |r| Ok((r.packed_length()?, Some(number(r)?).filter(|&n| n > 0))))?,
            10 => self.label_collations = Some(Collations::default(reader)?),
            11 => self.label_collations = Some(Collations::each(reader)?),
            12 => self.visible = Some(Cow::Borrowed(value)),
            13 => self.dimensions = list(&mut reader, number)?,
            _ => {}
        }
        Ok(())
    }

    /// The same without what `binlog_row_metadata=FULL` adds: the names are made up by the caller.
    pub(crate) fn bare(names: Vec<&'a str>) -> Self {
        Self { names, bare: true, ..Self::default() }
    }

    /// The schema. `self.names` are as many as the columns.
    pub(crate) fn schema(&self, map: &TableMap<'_>, wires: &[Wire]) -> Result<TableSchema, DecodeError> {
        let mut ranks = Ranks::default();
        let mut columns = Vec::with_capacity(wires.len());
        for (index, (wire, name)) in wires.iter().zip(&self.names).enumerate() {
            columns.push(Column {
                name: (*name).to_owned(),
                column_type: self.column_type(map, *wire, &mut ranks)?,
                nullable: map.is_nullable(index),
                invisible: self.visible.as_deref().and_then(|v| bit(v, index)) == Some(false),
            });
        }
        let primary_key: Vec<_> = self.key.iter().map(|&(column, prefix)| KeyPart { column, prefix }).collect();
        if primary_key.iter().any(|part| part.column >= columns.len()) {
            return Err(map.fault("its primary key names a column that is not there"));
        }
        Ok(TableSchema { name: map.name(), columns, primary_key })
    }

    fn column_type(&self, map: &TableMap<'_>, wire: Wire, ranks: &mut Ranks) -> Result<ColumnType, DecodeError> {
        if self.bare {
            return Ok(bare_type(wire));
        }
        let unsigned = |ranks: &mut Ranks| {
            let bits = self.unsigned.as_deref().ok_or_else(|| map.missing("signedness of numeric columns"))?;
            bit(bits, next(&mut ranks.numeric)).ok_or_else(|| map.fault("it has too few signedness bits"))
        };
        let collation = |ranks: &mut Ranks| {
            let all = self.collations.as_ref().ok_or_else(|| map.missing("character sets"))?;
            all.get(next(&mut ranks.character)).ok_or_else(|| map.fault("it has too few character sets"))
        };
        let label_collation = |ranks: &mut Ranks| {
            let all = self.label_collations.as_ref().ok_or_else(|| map.missing("ENUM and SET character sets"))?;
            all.get(next(&mut ranks.labelled)).ok_or_else(|| map.fault("it has too few ENUM and SET character sets"))
        };
        Ok(match wire {
            Wire::Tiny => ColumnType::TinyInt { unsigned: unsigned(ranks)? },
            Wire::Short => ColumnType::SmallInt { unsigned: unsigned(ranks)? },
            Wire::Int24 => ColumnType::MediumInt { unsigned: unsigned(ranks)? },
            Wire::Long => ColumnType::Int { unsigned: unsigned(ranks)? },
            Wire::LongLong => ColumnType::BigInt { unsigned: unsigned(ranks)? },
            Wire::Float => unsigned(ranks).map(|_| ColumnType::Float)?,
            Wire::Double => unsigned(ranks).map(|_| ColumnType::Double)?,
            Wire::Decimal { precision, scale } => unsigned(ranks).map(|_| ColumnType::Decimal { precision, scale })?,
            // It is listed among the numeric columns.
            Wire::Year => unsigned(ranks).map(|_| ColumnType::Year)?,
            Wire::Date => ColumnType::Date,
            Wire::OldTime => ColumnType::Time { fsp: 0 },
            Wire::OldDateTime => ColumnType::DateTime { fsp: 0 },
            Wire::OldTimestamp => ColumnType::Timestamp { fsp: 0 },
            Wire::Time { fsp } => ColumnType::Time { fsp },
            Wire::DateTime { fsp } => ColumnType::DateTime { fsp },
            Wire::Timestamp { fsp } => ColumnType::Timestamp { fsp },
            Wire::Bit { bits } => ColumnType::Bit { length: bits },
            Wire::Char { bytes } => match collation(ranks)? {
                BINARY_COLLATION => ColumnType::Binary { bytes },
                collation => ColumnType::Char { bytes, collation },
            },
            Wire::VarChar { bytes } | Wire::CompressedVarChar { bytes } => match collation(ranks)? {
                BINARY_COLLATION => ColumnType::VarBinary { bytes },
                collation => ColumnType::VarChar { bytes, collation },
            },
            Wire::Blob { prefix } | Wire::CompressedBlob { prefix } => match collation(ranks)? {
                BINARY_COLLATION => ColumnType::Blob { prefix },
                collation => ColumnType::Text { prefix, collation },
            },
            Wire::Enum { .. } => {
                let labels = self.enums.get(next(&mut ranks.enums)).ok_or_else(|| map.missing("ENUM labels"))?;
                ColumnType::Enum { labels: labels.clone(), collation: label_collation(ranks)? }
            }
            Wire::Set { .. } => {
                let labels = self.sets.get(next(&mut ranks.sets)).ok_or_else(|| map.missing("SET labels"))?;
                ColumnType::Set { labels: labels.clone(), collation: label_collation(ranks)? }
            }
            Wire::Json { .. } => ColumnType::Json,
            Wire::Geometry { .. } => {
                // MariaDB lists it among the character columns.
                if map.flavor == Flavor::MariaDb {
                    collation(ranks)?;
                }
                let kind =
                    self.geometries.get(next(&mut ranks.geometries)).ok_or_else(|| map.missing("geometry types"))?;
                ColumnType::Geometry { kind: *kind }
            }
            Wire::Vector { .. } => {
                // The server lists it among the character columns.
                collation(ranks)?;
                let dimensions =
                    self.dimensions.get(next(&mut ranks.vectors)).ok_or_else(|| map.missing("VECTOR dimensions"))?;
                ColumnType::Vector { dimensions: *dimensions }
            }
        })
    }
}

/// A column's type as far as its layout tells it: numbers signed, strings as bytes, no labels.
fn bare_type(wire: Wire) -> ColumnType {
    match wire {
        Wire::Tiny => ColumnType::TinyInt { unsigned: false },
        Wire::Short => ColumnType::SmallInt { unsigned: false },
        Wire::Int24 => ColumnType::MediumInt { unsigned: false },
        Wire::Long => ColumnType::Int { unsigned: false },
        Wire::LongLong => ColumnType::BigInt { unsigned: false },
        Wire::Float => ColumnType::Float,
        Wire::Double => ColumnType::Double,
        Wire::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
        Wire::Year => ColumnType::Year,
        Wire::Date => ColumnType::Date,
        Wire::OldTime => ColumnType::Time { fsp: 0 },
        Wire::OldDateTime => ColumnType::DateTime { fsp: 0 },
        Wire::OldTimestamp => ColumnType::Timestamp { fsp: 0 },
        Wire::Time { fsp } => ColumnType::Time { fsp },
        Wire::DateTime { fsp } => ColumnType::DateTime { fsp },
        Wire::Timestamp { fsp } => ColumnType::Timestamp { fsp },
        Wire::Bit { bits } => ColumnType::Bit { length: bits },
        // Not BINARY: whether zero bytes are to be filled in is not known.
        Wire::Char { bytes } | Wire::VarChar { bytes } | Wire::CompressedVarChar { bytes } => {
            ColumnType::VarBinary { bytes }
        }
        Wire::Blob { prefix } | Wire::CompressedBlob { prefix } => ColumnType::Blob { prefix },
        Wire::Enum { .. } => ColumnType::Enum { labels: Vec::new(), collation: BINARY_COLLATION },
        Wire::Set { .. } => ColumnType::Set { labels: Vec::new(), collation: BINARY_COLLATION },
        Wire::Json { .. } => ColumnType::Json,
        Wire::Geometry { .. } => ColumnType::Geometry { kind: 0 },
        Wire::Vector { .. } => ColumnType::Vector { dimensions: 0 },
    }
}

/// How many columns of each kind came before.
#[derive(Debug, Default)]
struct Ranks {
    numeric: usize,
    character: usize,
    labelled: usize,
    enums: usize,
    sets: usize,
    geometries: usize,
    vectors: usize,
}

fn next(rank: &mut usize) -> usize {
    let this = *rank;
    *rank += 1;
    this
}

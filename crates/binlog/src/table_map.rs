//! The event that says what the rows behind it look like.

use lutra_change::{TableName, TableSchema};

use crate::column::Wire;
use crate::defined::Defined;
use crate::error::{DecodeError, Fault, Place};
use crate::flavor::Flavor;
use crate::metadata::Metadata;
use crate::reader::Reader;

/// More columns than the server allows (`MAX_FIELDS`).
const MAX_COLUMNS: usize = 4096;

/// A table map: id, name and layout of the table whose rows follow. Parsed into slices only; what costs is in
/// [`schema`](Self::schema), which [`TableCache`](crate::TableCache) asks for once per distinct table map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// The number by which rows events name the table; the server gives a new one whenever it opens the table anew.
    pub table_id: u64,
    /// Flags, as the server sets them.
    pub flags: u16,
    /// Database name.
    pub database: &'a str,
    /// Table name.
    pub table: &'a str,
    /// All behind the table id: equal bytes mean equal tables.
    pub(crate) layout: &'a [u8],
    pub(crate) place: Place,
    pub(crate) flavor: Flavor,
    types: &'a [u8],
    type_metadata: &'a [u8],
    nullable: &'a [u8],
    optional: &'a [u8],
}

impl<'a> TableMap<'a> {
    pub(crate) fn parse(flavor: Flavor, place: Place, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let table_id = reader.u48()?;
        let layout = body.get(reader.at()..).unwrap_or_default();
        let flags = reader.u16()?;
        let (database, table) = (reader.short_text_z()?, reader.short_text_z()?);
        let columns = reader.packed_length()?;
        if columns > MAX_COLUMNS {
            return Err(reader.fault("it has more than 4096 columns"));
        }
        let types = reader.take(columns)?;
        let type_metadata = reader.packed_bytes()?;
        let nullable = reader.take(columns.div_ceil(8))?;
        let optional = reader.rest();
        Ok(Self { table_id, flags, database, table, layout, place, flavor, types, type_metadata, nullable, optional })
    }

    /// The table's full name.
    pub fn name(&self) -> TableName {
        TableName::new(self.database, self.table)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.types.len()
    }

    /// The table's schema. Needs `binlog_row_metadata=FULL` at the source, and says so.
    pub fn schema(&self) -> Result<TableSchema, DecodeError> {
        self.layout().map(|(schema, _)| schema)
    }

    /// Schema, and how each column lies in a row image.
    pub(crate) fn layout(&self) -> Result<(TableSchema, Vec<Wire>), DecodeError> {
        let metadata = Metadata::parse(self.optional).map_err(|f| self.fault(f.what))?;
        if metadata.names.is_empty() {
            return Err(self.missing("column names"));
        }
        if metadata.names.len() != self.columns() {
            return Err(self.fault("it has not as many column names as columns"));
        }
        let wires = self.wires(&metadata)?;
        let schema = metadata.schema(self, &wires)?;
        Ok((schema, wires))
    }

    /// The same where the server's `binlog_row_metadata` is MINIMAL, as far as a table map tells it then: columns are
    /// named `@1`, `@2`…, numbers are taken for signed, strings for bytes, ENUM and SET have no labels.
    pub(crate) fn bare_layout(&self) -> Result<(TableSchema, Vec<Wire>), DecodeError> {
        let names: Vec<String> = (1..=self.columns()).map(|n| format!("@{n}")).collect();
        let metadata = Metadata::bare(names.iter().map(String::as_str).collect());
        let wires = self.wires(&metadata)?;
        let schema = metadata.schema(self, &wires)?;
        Ok((schema, wires))
    }

    /// Whether the server's `binlog_row_metadata` was FULL: the table map says all that is to be known of the table.
    pub fn is_full(&self) -> bool {
        Metadata::parse(self.optional).is_ok_and(|m| !m.names.is_empty())
    }

    /// Schema and layout of a table map that does not say all itself, by a definition of the table. What the table map
    /// says is compared with it.
    pub(crate) fn layout_by(&self, defined: &Defined<'_>) -> Result<(TableSchema, Vec<Wire>), DecodeError> {
        let mut metadata = Metadata::parse(self.optional).map_err(|f| self.fault(f.what))?;
        if !metadata.names.is_empty() {
            return self.layout();
        }
        let names = defined.names(self.columns());
        if names.len() != self.columns() {
            return Err(self.differs(format!("it has {} columns, the definition {}", self.columns(), names.len())));
        }
        metadata.names = names;
        let wires = self.wires(&metadata)?;
        defined.complete(&mut metadata, self.flavor, &wires);
        let schema = metadata.schema(self, &wires)?;
        match defined.difference(&schema, &wires) {
            Some(what) => Err(self.differs(what)),
            None => Ok((schema, wires)),
        }
    }

    fn differs(&self, what: String) -> DecodeError {
        DecodeError::Differs { table: Box::new(self.name()), what, log_pos: self.place.log_pos }
    }

    fn wires(&self, metadata: &Metadata<'_>) -> Result<Vec<Wire>, DecodeError> {
        let mut reader = Reader::new(self.type_metadata);
        let mut wires = Vec::with_capacity(self.columns());
        for (&number, name) in self.types.iter().zip(&metadata.names) {
            let wire = Wire::read(number, &mut reader).map_err(|f| self.fault(f.what))?;
            wires.push(wire.ok_or_else(|| DecodeError::UnsupportedColumn {
                table: Box::new(self.name()),
                column: (*name).to_owned(),
                column_type: number,
            })?);
        }
        if reader.is_empty() { Ok(wires) } else { Err(self.fault("its type metadata is longer than its columns need")) }
    }

    /// Whether the column may be NULL.
    pub(crate) fn is_nullable(&self, column: usize) -> bool {
        self.nullable.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 != 0)
    }

    pub(crate) fn fault(&self, what: &'static str) -> DecodeError {
        DecodeError::TableMap { table: Box::new(self.name()), what, log_pos: self.place.log_pos }
    }

    pub(crate) fn missing(&self, what: &'static str) -> DecodeError {
        DecodeError::MissingMetadata { table: Box::new(self.name()), what, log_pos: self.place.log_pos }
    }
}

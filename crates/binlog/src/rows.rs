//! Rows events and the decoding of their images.

use std::sync::Arc;

use lutra_change::{ColumnSet, Operation, RowFlags, TableSchema, Value};

pub use crate::column::Scratch;
use crate::column::{Read, Wire};
use crate::defined::Defined;
use crate::error::{DecodeError, Fault, Place};
use crate::header::{HEADER_LENGTH, event_type};
use crate::json_update::JsonUpdate;
use crate::reader::Reader;
use crate::table_map::TableMap;

/// The table id of a rows event that only ends a statement.
const DUMMY_TABLE_ID: u64 = 0xff_ffff;
const STATEMENT_END: u16 = 1;
/// `PARTIAL_JSON_UPDATES` of the options in front of an after image.
const PARTIAL_JSON: u64 = 1;
const NO_BASE: &str = "the event says what changed inside its JSON value, and the before image does not hold the value: set binlog_row_image=FULL at the source, or remove PARTIAL_JSON from binlog_row_value_options";

/// One half of a changed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// As the row was: deletes and updates.
    Before,
    /// As the row is: inserts and updates.
    After,
}

/// What a row image holds of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'v> {
    /// Its value.
    Value(Value<'v>),
    /// What changed inside its JSON value, which the before image does not hold.
    JsonUpdate(JsonUpdate<'v>),
}

/// The rows that a statement changed in one table, or some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// The table, as the table map before it names it.
    pub table_id: u64,
    /// Flags, as the server sets them.
    pub flags: RowFlags,
    /// What happened to the rows.
    pub operation: Operation,
    place: Place,
    columns: usize,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    /// After images may hold changes of JSON values in place of the values.
    partial: bool,
    rows: &'a [u8],
    /// Where `rows` begins in the event.
    offset: usize,
}

impl<'a> RowsEvent<'a> {
    pub(crate) fn parse(place: Place, body: &'a [u8]) -> Result<Self, Fault> {
        use event_type as t;
        let mut reader = Reader::new(body);
        let table_id = reader.u48()?;
        let flags = RowFlags(reader.u16()?);
        let partial = place.event_type == t::PARTIAL_UPDATE_ROWS;
        if partial || matches!(place.event_type, t::WRITE_ROWS | t::UPDATE_ROWS | t::DELETE_ROWS) {
            // Extra information (NDB, partitions); its length counts itself.
            let extra = usize::from(reader.u16()?);
            let extra =
                extra.checked_sub(2).ok_or_else(|| reader.fault("its extra information is shorter than its length"))?;
            reader.take(extra)?;
        }
        let operation = match place.event_type {
            t::WRITE_ROWS | t::WRITE_ROWS_V1 => Operation::Insert,
            t::UPDATE_ROWS | t::UPDATE_ROWS_V1 | t::PARTIAL_UPDATE_ROWS => Operation::Update,
            _ => Operation::Delete,
        };
        let columns = reader.packed_length()?;
        let bitmap = columns.div_ceil(8);
        let before = if operation == Operation::Insert { None } else { Some(reader.take(bitmap)?) };
        let after = if operation == Operation::Delete { None } else { Some(reader.take(bitmap)?) };
        let offset = HEADER_LENGTH + reader.at();
        Ok(Self { table_id, flags, operation, place, columns, before, after, partial, rows: reader.rest(), offset })
    }

    /// Whether the statement ends with this event.
    pub fn is_statement_end(&self) -> bool {
        self.flags.0 & STATEMENT_END != 0
    }

    /// Whether it only ends a statement: it has no table and no rows.
    pub fn is_dummy(&self) -> bool {
        self.table_id == DUMMY_TABLE_ID && self.rows.is_empty()
    }

    /// Bytes of all row images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns an image holds; `None` where the operation has no such image. A column outside the set is absent,
    /// which is not NULL.
    pub fn columns(&self, image: Image) -> Option<ColumnSet> {
        let bitmap = self.bitmap(image)?;
        Some((0..self.columns).filter(|&column| is_set(bitmap, column)).collect())
    }

    /// Whether every image holds every column (`binlog_row_image=FULL`).
    pub fn is_full(&self) -> bool {
        [self.before, self.after].into_iter().flatten().all(|bitmap| count(bitmap, self.columns) == self.columns)
    }

    /// Whether after images may hold changes inside JSON values in place of the values
    /// (`binlog_row_value_options=PARTIAL_JSON`).
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    fn bitmap(&self, image: Image) -> Option<&'a [u8]> {
        match image {
            Image::Before => self.before,
            Image::After => self.after,
        }
    }

    pub(crate) fn unknown_table(&self) -> DecodeError {
        DecodeError::UnknownTable { place: self.place, table_id: self.table_id }
    }
}

#[inline]
fn is_set(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0)
}

fn count(bitmap: &[u8], columns: usize) -> usize {
    (0..columns).filter(|&column| is_set(bitmap, column)).count()
}

/// How the rows of one table are decoded: planned once per distinct table map.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    schema: Arc<TableSchema>,
    reads: Vec<Read>,
}

impl RowDecoder {
    /// The plan for the rows behind that table map.
    pub fn plan(map: &TableMap<'_>) -> Result<Self, DecodeError> {
        map.layout().map(Self::of)
    }

    /// The same for a table map without full metadata, to look at rows: columns are named `@1`, `@2`…, numbers are taken
    /// for signed, strings for bytes without padding, ENUM and SET have no labels. Never to follow changes with.
    pub fn plan_bare(map: &TableMap<'_>) -> Result<Self, DecodeError> {
        map.bare_layout().map(Self::of)
    }

    /// The same for a table map without full metadata, by a definition of the table.
    ///
    /// # Errors
    /// [`DecodeError::Differs`] where the table map and the definition do not agree.
    pub fn plan_by(map: &TableMap<'_>, defined: &Defined<'_>) -> Result<Self, DecodeError> {
        map.layout_by(defined).map(Self::of)
    }

    fn of((schema, wires): (TableSchema, Vec<Wire>)) -> Self {
        let reads =
            wires.iter().zip(&schema.columns).map(|(wire, column)| Read::plan(*wire, &column.column_type)).collect();
        Self { schema: Arc::new(schema), reads }
    }

    /// What the table looks like.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The rows of an event of this table. `scratch` is room that is used again and again.
    pub fn rows<'r, 'a>(
        &'r self,
        event: &RowsEvent<'a>,
        scratch: &'r mut Scratch,
    ) -> Result<Rows<'r, 'a>, DecodeError> {
        if event.columns != self.reads.len() {
            return Err(self.row_fault(event, 0, "it has another number of columns than the table map"));
        }
        let before = Columns::of(event.before.unwrap_or_default(), event.columns);
        let after = Columns::of(event.after.unwrap_or_default(), event.columns);
        let defaults = before.count == 0 && after.count == 0;
        if defaults && !(event.operation == Operation::Insert && event.rows.is_empty()) {
            return Err(self.row_fault(event, 0, "its images hold no column"));
        }
        let next = if event.before.is_some() { Image::Before } else { Image::After };
        let bases = Vec::new();
        Ok(Rows {
            table: self,
            event: *event,
            reader: Reader::new(event.rows),
            scratch,
            next,
            before,
            after,
            bases,
            defaults,
        })
    }

    #[cold]
    fn row_fault(&self, event: &RowsEvent<'_>, at: usize, what: &'static str) -> DecodeError {
        let place = Place { offset: event.offset + at, ..event.place };
        DecodeError::Row { table: Box::new(self.schema.name.clone()), place, what }
    }

    #[cold]
    fn value_fault(&self, event: &RowsEvent<'_>, column: usize, fault: Fault) -> DecodeError {
        let place = Place { offset: event.offset + fault.at, ..event.place };
        let column = self.schema.columns.get(column).map(|c| c.name.clone()).unwrap_or_default();
        DecodeError::Value { table: Box::new(self.schema.name.clone()), column, place, what: fault.what }
    }
}

/// The columns of an image.
#[derive(Clone, Copy, Debug)]
struct Columns<'a> {
    bitmap: &'a [u8],
    count: usize,
    all: bool,
}

impl<'a> Columns<'a> {
    fn of(bitmap: &'a [u8], columns: usize) -> Self {
        let count = count(bitmap, columns);
        Self { bitmap, count, all: count == columns }
    }
}

/// The rows of one event, image after image: `After` for each inserted row, `Before` for each deleted one, `Before` and
/// then `After` for each updated one.
pub struct Rows<'r, 'a> {
    table: &'r RowDecoder,
    event: RowsEvent<'a>,
    reader: Reader<'a>,
    scratch: &'r mut Scratch,
    next: Image,
    before: Columns<'a>,
    after: Columns<'a>,
    /// The JSON values of the before image, as stored, by column: what changes in the after image apply to.
    bases: Vec<(usize, &'a [u8])>,
    /// A row of defaults is to come: its image holds no column and takes no bytes. (The server logs no two of them
    /// together.)
    defaults: bool,
}

impl<'a> Rows<'_, 'a> {
    /// Which image [`decode_image`](Self::decode_image) decodes next; `None` when all rows are done.
    pub fn next_image(&self) -> Option<Image> {
        let between = self.event.operation == Operation::Update && self.next == Image::After;
        (!self.reader.is_empty() || between || self.defaults).then_some(self.next)
    }

    /// Where the next image begins in the event's row bytes.
    pub fn position(&self) -> usize {
        self.reader.at()
    }

    /// What happened to the rows.
    pub fn operation(&self) -> Operation {
        self.event.operation
    }

    /// Decodes the next image: shows `visit` the index and value of each column that the image holds, in table order.
    /// Gives how many bytes the image takes.
    ///
    /// A value borrows the event or the scratch room and is gone when `visit` returns. An error of `visit` ends the
    /// decoding in the middle of a row: these rows cannot be used any more.
    pub fn decode_image<E: From<DecodeError>>(
        &mut self,
        mut visit: impl FnMut(usize, Value<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if self.event.partial {
            let (table, event) = (self.table, self.event);
            return self.partial_image(|column, cell| match cell {
                Cell::Value(value) => visit(column, value),
                Cell::JsonUpdate(_) => Err(table.value_fault(&event, column, Fault { what: NO_BASE, at: 0 }).into()),
            });
        }
        let begin = self.reader.at();
        let columns = if self.next == Image::Before { self.before } else { self.after };
        // One bit per column that the image holds.
        let nulls = self.nulls(&columns)?;
        let mut rank = 0;
        for (column, read) in self.table.reads.iter().enumerate() {
            if !columns.all && !is_set(columns.bitmap, column) {
                continue;
            }
            if is_set(nulls, rank) {
                visit(column, Value::Null)?;
            } else {
                match read.value(&mut self.reader, self.scratch) {
                    Ok(value) => visit(column, value)?,
                    Err(fault) => return Err(self.table.value_fault(&self.event, column, fault).into()),
                }
            }
            rank += 1;
        }
        self.turn();
        Ok(self.reader.at() - begin)
    }

    /// The same, for whoever can carry what changed inside a JSON value: a [`Cell::JsonUpdate`] comes where the before
    /// image does not hold the value, and `decode_image` is an error.
    pub fn decode_cells<E: From<DecodeError>>(
        &mut self,
        mut visit: impl FnMut(usize, Cell<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if self.event.partial {
            return self.partial_image(visit);
        }
        self.decode_image(|column, value| visit(column, Cell::Value(value)))
    }

    /// An image of an event with partial JSON values. An after image begins with the options of its values and, if they
    /// say so, one bit for each JSON column of the table, whether the image holds it or not.
    fn partial_image<E: From<DecodeError>>(
        &mut self,
        mut visit: impl FnMut(usize, Cell<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let begin = self.reader.at();
        let before = self.next == Image::Before;
        let columns = if before { self.before } else { self.after };
        let partial = match self.partial_bits(before) {
            Ok(partial) => partial,
            Err(fault) => return Err(self.table.row_fault(&self.event, fault.at, fault.what).into()),
        };
        if before {
            self.bases.clear();
        }
        let nulls = self.nulls(&columns)?;
        let (mut rank, mut json) = (0, 0);
        for (column, read) in self.table.reads.iter().enumerate() {
            let is_json = matches!(read, Read::Json { .. });
            let is_update = is_json && is_set(partial, json);
            json += usize::from(is_json);
            if !is_set(columns.bitmap, column) {
                continue;
            }
            let null = is_set(nulls, rank);
            rank += 1;
            let fault = |fault| E::from(self.table.value_fault(&self.event, column, fault));
            if null {
                visit(column, Cell::Value(Value::Null))?;
            } else if is_update {
                let at = self.reader.at();
                let bytes = self.reader.u32().and_then(|length| self.reader.take(length as usize)).map_err(fault)?;
                let update = JsonUpdate::new(bytes);
                match self.bases.iter().find(|base| base.0 == column) {
                    None => visit(column, Cell::JsonUpdate(update))?,
                    Some((_, base)) => {
                        let json = self.scratch.apply(&update, base).map_err(|what| fault(Fault { what, at }))?;
                        visit(column, Cell::Value(Value::Json(json)))?;
                    }
                }
            } else {
                if before && is_json {
                    let stored = read.stored_json(self.reader).map_err(fault)?;
                    self.bases.push((column, stored));
                }
                let value = read.value(&mut self.reader, self.scratch).map_err(fault)?;
                visit(column, Cell::Value(value))?;
            }
        }
        self.turn();
        Ok(self.reader.at() - begin)
    }

    fn partial_bits(&mut self, before: bool) -> Result<&'a [u8], Fault> {
        if before {
            return Ok(&[]);
        }
        match self.reader.packed()? {
            0 => Ok(&[]),
            PARTIAL_JSON => {
                let json = self.table.reads.iter().filter(|read| matches!(read, Read::Json { .. })).count();
                self.reader.take(json.div_ceil(8))
            }
            _ => Err(self.reader.fault("its values have options that this version does not know")),
        }
    }

    fn nulls(&mut self, columns: &Columns<'_>) -> Result<&'a [u8], DecodeError> {
        let bytes = columns.count.div_ceil(8);
        self.reader.take(bytes).map_err(|fault| self.table.row_fault(&self.event, fault.at, fault.what))
    }

    /// The image is done: the other one of an update comes next.
    fn turn(&mut self) {
        self.defaults = false;
        if self.event.operation == Operation::Update {
            self.next = if self.next == Image::Before { Image::After } else { Image::Before };
        }
    }
}

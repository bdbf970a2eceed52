//! The open transaction: begin, rows, commit, abort.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use lutra_binlog::{Cell, EventHeader, GtidEvent, Image, JsonUpdate, RowsEvent};
use lutra_change::{ColumnSet, Gtid, Operation, SessionContext, TableName, Value};
use lutra_wire::record::PartEnd;
use lutra_wire::{UnitDigest, WireError};

use super::table::{CapturedTable, SlotTable, Table};
use super::{Assembler, Output, TailCheck, UnitPart};
use crate::error::AssembleError;
use crate::snapshot::window::StreamRow;

/// The transaction that is being read.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) gtid: Option<Gtid>,
    /// Commit time at the source, microseconds since the epoch.
    pub(super) committed_at: i64,
    /// `BEGIN` was seen: it ends with a commit. Without, it is one statement.
    pub(super) group: bool,
    /// Where the event behind the one that began it lies.
    pub(super) inside: u64,
    /// Parts given out.
    pub(super) parts: u32,
    /// Captured rows.
    pub(super) rows: u64,
    pub(super) digest: UnitDigest,
    /// It touched a table that is neither captured nor Lutra's.
    pub(super) foreign: bool,
    /// It touched Lutra's own tables.
    pub(super) own: bool,
    /// It is a loader's: it changed a slot.
    pub(super) marked: bool,
    pub(super) origins: Vec<String>,
    /// XID of an XA transaction, as the statement writes it; empty of others.
    pub(super) xid: String,
    /// MariaDB: its statement took no effect, or will come again when it does.
    pub(super) without_effect: bool,
    /// The server says that everything in it can be rolled back.
    pub(super) transactional: bool,
    /// The log has its rows already, as a prepare (P11).
    pub(super) second_half: bool,
    pub(super) context: SessionContext,
    pub(super) tables: BTreeSet<TableName>,
}

impl Assembler {
    pub(super) fn begin(&mut self, header: &EventHeader, event: &GtidEvent) -> Result<(), AssembleError> {
        if self.open.is_some() {
            let what = format!("a transaction begins at {} inside another one", self.position());
            return Err(AssembleError::NotContinuous { what });
        }
        if self.spec.gtid && event.gtid.is_none() {
            return Err(AssembleError::NoGtid);
        }
        self.look_for_tail(event.gtid.as_ref());
        if let Some(gtid) = &event.gtid
            && self.spec.gtid
            && self.executed.contains(gtid)
            && !self.is_tail(gtid)
        {
            return Err(AssembleError::GtidRepeated { gtid: gtid.clone() });
        }
        let committed_at = match i64::try_from(event.original_commit_timestamp) {
            Ok(micros) if micros != 0 => micros,
            _ => i64::from(header.timestamp) * 1_000_000,
        };
        if let Some(tail) = &mut self.tail {
            tail.begin(event.gtid.as_ref(), committed_at);
        }
        self.transactions += 1;
        let gtid = event.gtid.clone().filter(|_| self.spec.gtid);
        let inside = self.tracker.position() + u64::from(header.event_size);
        self.open = Some(Open { gtid, committed_at, inside, ..Open::default() });
        Ok(())
    }

    /// The transaction that a statement or rows belong to. Without GTID events (never from MySQL 5.7 on) there is none.
    pub(super) fn opened(&mut self) -> Result<&mut Open, AssembleError> {
        let what = "rows or a statement outside a transaction";
        self.open.as_mut().ok_or_else(|| AssembleError::NotContinuous { what: what.to_owned() })
    }

    /// `BEGIN`.
    pub(super) fn begin_group(&mut self, context: &SessionContext) -> Result<(), AssembleError> {
        let open = self.opened()?;
        open.group = true;
        open.context.clone_from(context);
        Ok(())
    }

    pub(super) fn rows(&mut self, event: &RowsEvent<'_>) -> Result<(), AssembleError> {
        if event.is_dummy() {
            return Ok(());
        }
        let table = Arc::clone(self.tables.get(event)?);
        let open = self.opened()?;
        match &*table {
            Table::Foreign => open.foreign = true,
            Table::Own => open.own = true,
            Table::Slot(slot) => self.slot_rows(slot, event)?,
            Table::Captured(captured) => self.captured_rows(captured, event)?,
        }
        Ok(())
    }

    fn slot_rows(&mut self, slot: &SlotTable, event: &RowsEvent<'_>) -> Result<(), AssembleError> {
        let mut origins = Vec::new();
        let mut images = slot.decoder.rows(event, &mut self.scratch)?;
        while let Some(image) = images.next_image() {
            images.decode_image(|column, value| {
                if image == Image::After {
                    slot.take_origins(column, value, &mut origins);
                }
                Ok::<_, AssembleError>(())
            })?;
        }
        let open = self.opened()?;
        open.own = true;
        open.marked = true;
        for name in origins {
            if !open.origins.contains(&name) {
                open.origins.push(name);
            }
        }
        Ok(())
    }

    fn captured_rows(&mut self, table: &CapturedTable, event: &RowsEvent<'_>) -> Result<(), AssembleError> {
        if self.tail.is_some() {
            return self.tail_rows(table, event);
        }
        if self.opened()?.second_half {
            return Ok(());
        }
        self.note_table(table)?;
        // What an XA transaction changes is told by its decision, which voids all windows.
        let watched = self.windows.concerns(&table.name) && self.opened()?.xid.is_empty();
        let partial =
            if event.is_full() { None } else { Some((event.columns(Image::Before), event.columns(Image::After))) };
        let (before_columns, after_columns) = partial.unwrap_or_default();
        let (mut before, mut after) = (std::mem::take(&mut self.before), std::mem::take(&mut self.after));
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut images = table.decoder.rows(event, &mut scratch)?;
        let outcome = loop {
            let mut json_updates = ColumnSet::new();
            match next_row(table, &mut images, event.operation, &mut before, &mut after, &mut json_updates) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            let after_columns = with_updates(table, after_columns.as_ref(), &json_updates);
            let row = Row {
                before: (event.operation != Operation::Insert).then_some(before.as_slice()),
                after: (event.operation != Operation::Delete).then_some(after.as_slice()),
                before_columns: before_columns.as_ref(),
                after_columns: after_columns.as_deref(),
            };
            if watched {
                self.windows.row(&row.in_stream(table, event));
            }
            if let Err(error) = self.push_row(table, event, &row) {
                break Err(error);
            }
        };
        (self.before, self.after, self.scratch) = (kept(before), kept(after), scratch);
        outcome
    }

    fn note_table(&mut self, table: &CapturedTable) -> Result<(), AssembleError> {
        let open = self.opened()?;
        if !open.tables.contains(&table.name) {
            open.tables.insert(table.name.clone());
        }
        Ok(())
    }

    fn push_row(&mut self, table: &CapturedTable, event: &RowsEvent<'_>, row: &Row<'_>) -> Result<(), AssembleError> {
        let bytes = row.before.map_or(0, <[u8]>::len) + row.after.map_or(0, <[u8]>::len);
        // Cut in front of a row, never behind the last: the last part is never empty.
        if !self.builder.is_empty() && self.builder.len() + bytes > self.part_bytes {
            self.give_part(PartEnd::More);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.builder.is_empty() {
            self.builder.set_context(open.context.clone());
        }
        let index = self.builder.table(table.fingerprint, &table.name);
        self.builder.push(
            event.operation,
            event.flags,
            index,
            row.before,
            row.after,
            row.before_columns,
            row.after_columns,
        );
        open.rows += 1;
        open.digest.update(row.before, row.after);
        Ok(())
    }

    /// The end of a transaction that took effect.
    pub(super) fn commit(&mut self) -> Result<(), AssembleError> {
        let open = self.opened()?;
        let (rows, gtid) = (open.rows, open.gtid.clone());
        if rows > 0 && open.marked && open.origins.is_empty() {
            return Err(AssembleError::MarkWithoutOrigins);
        }
        let late = self.tail.as_ref().is_some_and(TailCheck::is_late);
        if !late {
            self.note_executed(gtid.as_ref());
        }
        if let Some(tail) = &mut self.tail {
            // Looked at again: it is in the log, and takes no number.
            let position = lutra_change::BinlogPosition::new(self.file.clone(), self.tracker.position());
            tail.end(position);
            if !late {
                (self.passed.added, self.passed.before) = (lutra_change::GtidSet::new(), None);
            }
            self.open = None;
        } else if rows > 0 {
            self.give_part(PartEnd::Commit);
            self.open = None;
        } else if let Some(open) = self.open.take() {
            self.pass_over(&open);
        }
        Ok(())
    }

    /// A transaction without captured changes makes no unit: the next one's interval covers it.
    pub(super) fn pass_over(&mut self, open: &Open) {
        if open.own && !open.foreign {
            self.passed.own_since.get_or_insert(self.now);
        } else {
            self.passed.foreign = true;
        }
    }

    /// The open transaction never was.
    pub(super) fn abort(&mut self) {
        if self.open.is_some() {
            self.windows.void_all("the server was started anew");
        }
        if self.open.as_ref().is_some_and(|open| open.parts > 0) {
            self.builder.clear();
            self.give_part(PartEnd::Abort);
        }
        self.builder.clear();
        self.open = None;
    }

    /// The tables of the open transaction, for messages.
    pub(super) fn open_tables(&self) -> String {
        let names = self.open.iter().flat_map(|open| &open.tables).map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Gives out what was collected as a part of the open unit.
    pub(super) fn give_part(&mut self, end: PartEnd) {
        let rows = self.builder.rows();
        let Some(open) = &mut self.open else { return };
        let body = match open.xid.as_str() {
            "" => self.builder.finish(),
            xid => self.builder.finish_xa_prepare(xid.as_bytes()),
        };
        open.parts += 1;
        let (part, committed_at, origins) = (open.parts, open.committed_at, open.origins.clone());
        let totals = (end == PartEnd::Commit).then(|| open.digest.totals());
        let gtid = open.gtid.clone();
        let (previous, number) = (self.number, self.number.next_sequence());
        let mut place = None;
        if end == PartEnd::Commit {
            self.number = number;
            place = Some(self.unit_place(gtid));
        }
        let read_at = self.now;
        let part = UnitPart { number, previous, part, end, body, rows, place, committed_at, read_at, origins, totals };
        self.output.push_back(Output::Part(Box::new(part)));
    }
}

struct Row<'a> {
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    before_columns: Option<&'a ColumnSet>,
    after_columns: Option<&'a ColumnSet>,
}

impl<'a> Row<'a> {
    fn in_stream<'r>(&'r self, table: &'r CapturedTable, event: &RowsEvent<'_>) -> StreamRow<'r> {
        StreamRow {
            table: &table.name,
            schema: &table.schema,
            before: self.before,
            after: self.after,
            partial: self.before_columns.is_some() || self.after_columns.is_some(),
            cascades_are_logged: event.flags.cascades_are_logged(),
        }
    }
}

/// Keeps a buffer, unless a giant row grew it.
fn kept(mut buffer: Vec<u8>) -> Vec<u8> {
    const KEPT: usize = 1 << 20;
    buffer.clear();
    buffer.shrink_to(KEPT);
    buffer
}

/// The columns of an after image, those among them that hold what changed inside a JSON value (see `schemas/README.md`).
fn with_updates<'c>(
    table: &CapturedTable,
    present: Option<&'c ColumnSet>,
    json_updates: &ColumnSet,
) -> Option<Cow<'c, ColumnSet>> {
    let mut updates = json_updates.iter().peekable();
    if updates.peek().is_none() {
        return present.map(Cow::Borrowed);
    }
    let columns = table.encoder.columns();
    let mut set = present.cloned().unwrap_or_else(|| (0..columns).collect());
    updates.for_each(|column| set.insert(columns + column));
    Some(Cow::Owned(set))
}

/// Re-encodes the images of the next row into the buffers; `false` behind the last. Where the before image lacks a JSON
/// value of which only the changes are there, those are the after image's value.
pub(super) fn next_row(
    table: &CapturedTable,
    images: &mut lutra_binlog::Rows<'_, '_>,
    operation: Operation,
    before: &mut Vec<u8>,
    after: &mut Vec<u8>,
    json_updates: &mut ColumnSet,
) -> Result<bool, AssembleError> {
    before.clear();
    after.clear();
    let halves = if operation == Operation::Update { 2 } else { 1 };
    for _ in 0..halves {
        let out = match images.next_image() {
            None => return Ok(false),
            Some(Image::Before) => &mut *before,
            Some(Image::After) => &mut *after,
        };
        let mut next = 0;
        images.decode_cells(|column, cell| {
            while next < column {
                table.encoder.write_absent(next, out);
                next += 1;
            }
            next += 1;
            match cell {
                Cell::Value(value) => table.encoder.write(column, value, out)?,
                Cell::JsonUpdate(update) => {
                    json_updates.insert(column);
                    table.encoder.write(column, Value::Json(&json_update(&update)?), out)?;
                }
            }
            Ok::<_, AssembleError>(())
        })?;
        while next < table.encoder.columns() {
            table.encoder.write_absent(next, out);
            next += 1;
        }
    }
    Ok(true)
}

/// What changed inside a JSON value, as text.
fn json_update(update: &JsonUpdate<'_>) -> Result<String, AssembleError> {
    let mut text = Vec::new();
    let fault = |reason: String| WireError::Malformed { what: "what changed inside a JSON value", reason };
    update.write(&mut text).map_err(|what| fault(what.to_owned()))?;
    Ok(String::from_utf8(text).map_err(|e| fault(e.to_string()))?)
}

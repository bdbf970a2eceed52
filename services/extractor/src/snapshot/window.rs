//! Windows: what the stream says of a table between a chunk's low and high mark (P12). Pure.
//!
//! A window is opened where the stream stands; its chunk is read at a server that has executed everything up to there,
//! and is published once the stream has passed whatever the read can have seen. The changes in between are folded into
//! the rows that were read, so that the chunk is the table's slice exactly as it is at the chunk's place in the log.

use std::collections::HashMap;

use lutra_change::TableName;
use lutra_wire::record::{Ddl, DdlKind};
use lutra_wire::{Fingerprint, RowDecoder, RowSchema};

/// Changes that a window remembers, in bytes: more void it.
const REMEMBERED: usize = 32 << 20;

/// What a window looks at.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The table; none for a window over definitions, which any DDL voids.
    pub table: Option<TableName>,
    /// Columns of the key by which it is cut; empty for a table that is read whole, which any change voids.
    pub key: Vec<String>,
    /// Tables whose changes may change this one without a row in the log (foreign keys with an action).
    pub parents: Vec<TableName>,
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRow {
    /// The bytes of its key.
    pub key: Vec<u8>,
    /// Its datum.
    pub datum: Vec<u8>,
}

/// A row of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedRow {
    /// The schema of the datum, where it is not that of the read.
    pub fingerprint: Option<Fingerprint>,
    /// Its datum.
    pub datum: Vec<u8>,
}

/// What became of a key.
#[derive(Clone, Debug)]
struct Touched {
    fingerprint: Fingerprint,
    /// None: the row is gone.
    datum: Option<Vec<u8>>,
}

/// One window.
#[derive(Debug, Default)]
struct Window {
    watched: Watched,
    /// By the bytes of the key, the newest state.
    touched: HashMap<Vec<u8>, Touched>,
    bytes: usize,
    void: Option<String>,
    /// Where the key's columns are, by row schema.
    keys: HashMap<Fingerprint, Option<KeyPlan>>,
}

/// Takes a row's key out of its datum.
#[derive(Clone, Debug)]
pub struct KeyPlan {
    decoder: RowDecoder,
    columns: Vec<usize>,
}

impl KeyPlan {
    /// The plan for a schema; none where it lacks a column of the key.
    pub fn new(schema: &RowSchema, key: &[String]) -> Option<Self> {
        let columns = key.iter().map(|name| schema.table().column(name)).collect::<Option<Vec<_>>>()?;
        Some(Self { decoder: RowDecoder::new(schema), columns })
    }

    /// The key's bytes; none for a datum that is not one of the schema.
    pub fn key(&self, datum: &[u8]) -> Option<Vec<u8>> {
        let mut slices = Vec::new();
        self.decoder.slices(datum, &mut slices).ok()?;
        let mut key = Vec::new();
        for column in &self.columns {
            // A datum's values end by themselves: two keys cannot run into each other.
            key.extend_from_slice(slices.get(*column)?);
        }
        Some(key)
    }
}

/// A row change as the stream has it.
#[derive(Clone, Copy, Debug)]
pub struct StreamRow<'a> {
    /// The table.
    pub table: &'a TableName,
    /// Its row schema.
    pub schema: &'a RowSchema,
    /// Before image.
    pub before: Option<&'a [u8]>,
    /// After image.
    pub after: Option<&'a [u8]>,
    /// An image does not hold every column.
    pub partial: bool,
    /// The server logs what its foreign keys change as rows of their own.
    pub cascades_are_logged: bool,
}

/// All open windows of an extraction.
#[derive(Debug, Default)]
pub struct Windows {
    next: u64,
    open: HashMap<u64, Window>,
}

impl Windows {
    /// Opens a window where the stream stands.
    pub fn open(&mut self, watched: Watched) -> u64 {
        self.next += 1;
        self.open.insert(self.next, Window { watched, ..Window::default() });
        self.next
    }

    /// Why what is read in a window is void, if it is.
    pub fn void(&mut self, window: u64) -> Option<String> {
        let open = self.open.get(&window)?;
        open.void.clone()
    }

    /// Closes a window.
    pub fn close(&mut self, window: u64) {
        self.open.remove(&window);
    }

    /// Closes a window and folds what happened in it into the rows that were read.
    pub fn fold(&mut self, window: u64, rows: Vec<ReadRow>) -> Vec<FoldedRow> {
        let Some(open) = self.open.remove(&window) else { return Vec::new() };
        let mut touched = open.touched;
        let fold = |row: ReadRow| match touched.remove(&row.key) {
            None => Some(FoldedRow { fingerprint: None, datum: row.datum }),
            Some(Touched { fingerprint, datum }) => {
                datum.map(|datum| FoldedRow { fingerprint: Some(fingerprint), datum })
            }
        };
        rows.into_iter().filter_map(fold).collect()
    }

    /// Whether a change of that table concerns any window.
    pub fn concerns(&self, table: &TableName) -> bool {
        let about = |w: &Window| {
            w.watched.table.as_ref() == Some(table) || w.watched.parents.iter().any(|parent| parent == table)
        };
        self.open.values().any(about)
    }

    /// Takes in a row change of the stream.
    pub fn row(&mut self, row: &StreamRow<'_>) {
        for window in self.open.values_mut() {
            if window.watched.table.as_ref() == Some(row.table) {
                window.row(row);
            } else if row.before.is_some()
                && !row.cascades_are_logged
                && window.watched.parents.iter().any(|parent| parent == row.table)
            {
                window.give_up(|| format!("rows of {} changed, whose foreign keys change this table", row.table));
            }
        }
    }

    /// Takes in a DDL statement of the stream.
    pub fn ddl(&mut self, ddl: &Ddl) {
        for window in self.open.values_mut() {
            let whole_database = matches!(ddl.kind, DdlKind::DropDatabase);
            let hit = match &window.watched.table {
                None => true,
                Some(table) => ddl.tables.iter().any(|t| t == table) || whole_database,
            };
            if hit {
                window.give_up(|| "its definition changed".to_owned());
            }
        }
    }

    /// Something happened of which the stream does not tell which rows it changed.
    pub fn void_all(&mut self, why: &str) {
        self.open.values_mut().for_each(|window| window.give_up(|| why.to_owned()));
    }
}

impl Window {
    fn give_up(&mut self, why: impl FnOnce() -> String) {
        if self.void.is_none() {
            self.void = Some(why());
            self.touched = HashMap::new();
        }
    }

    fn row(&mut self, row: &StreamRow<'_>) {
        if self.void.is_some() {
            return;
        }
        if self.watched.key.is_empty() {
            return self.give_up(|| "its rows changed while the copy began".to_owned());
        }
        if row.partial {
            return self.give_up(|| "a row came without all its columns".to_owned());
        }
        let fingerprint = row.schema.fingerprint();
        let key = &self.watched.key;
        let plan = self.keys.entry(fingerprint).or_insert_with(|| KeyPlan::new(row.schema, key)).clone();
        let of = |image: Option<&[u8]>| image.and_then(|image| plan.as_ref()?.key(image));
        let (before, after) = (of(row.before), of(row.after));
        if before.is_some() != row.before.is_some() || after.is_some() != row.after.is_some() {
            return self.give_up(|| "a row has no such key".to_owned());
        }
        if let Some(key) = before {
            self.note(key, Touched { fingerprint, datum: None });
        }
        if let (Some(key), Some(datum)) = (after, row.after) {
            self.note(key, Touched { fingerprint, datum: Some(datum.to_vec()) });
        }
        if self.bytes > REMEMBERED {
            self.give_up(|| "too much changed while it was read".to_owned());
        }
    }

    fn note(&mut self, key: Vec<u8>, touched: Touched) {
        self.bytes += key.len() + touched.datum.as_ref().map_or(0, Vec::len) + 64;
        self.touched.insert(key, touched);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;

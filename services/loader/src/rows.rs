//! Row data become literals; what a batch writes becomes its write set.

use std::hash::Hasher as _;
use std::sync::Arc;

use lutra_change::{ColumnSet, Number, RowFlags, Value};
use lutra_mysql::sql;
use lutra_wire::record::RowChange;
use lutra_wire::{Fingerprint, WireError};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::error::LoadError;
use crate::image::{Arena, Image};
use crate::mapping::{Folded, TableMap};
use crate::planner::{Change, fold_key};
use crate::unit::{RowTable, Segment};

/// How the target's session must be set for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `foreign_key_checks`.
    pub foreign_key_checks: bool,
    /// `unique_checks`.
    pub unique_checks: bool,
}

impl Session {
    /// Both checks on, as a new connection has them.
    pub const PLAIN: Self = Self { foreign_key_checks: true, unique_checks: true };

    /// What the source's flags ask for. Where the source logged its cascades as rows, the target must not check or
    /// cascade by itself: every row comes.
    pub fn of(flags: RowFlags) -> Self {
        Self {
            foreign_key_checks: !flags.no_foreign_key_checks() && !flags.cascades_are_logged(),
            unique_checks: !flags.relaxed_unique_checks(),
        }
    }

    /// The statement that sets it.
    pub fn statement(self) -> String {
        format!(
            "SET SESSION foreign_key_checks={}, unique_checks={}",
            u8::from(self.foreign_key_checks),
            u8::from(self.unique_checks)
        )
    }
}

/// The maps of the tables of a batch, by their row schema.
pub type Maps = FxHashMap<Fingerprint, Arc<TableMap>>;

/// Rows of a batch, written out.
#[derive(Debug, Default)]
pub struct Written {
    /// The literals.
    pub arena: Arena,
    /// The changes, in source order.
    pub changes: Vec<Change>,
    /// Where the session must be set, and how: index of the first change that needs it. The first is at 0.
    pub sessions: Vec<(usize, Session)>,
}

impl Written {
    /// Writes out the rows of a segment.
    ///
    /// # Errors
    /// [`LoadError::Row`] when a datum does not fit its schema.
    pub fn add(&mut self, segment: &Segment, maps: &Maps, number: Number) -> Result<(), LoadError> {
        let tables: Vec<Option<(&Arc<RowTable>, &Arc<TableMap>)>> =
            segment.tables.iter().map(|t| maps.get(&t.fingerprint).map(|m| (t, m))).collect();
        for row in &segment.rows {
            let index = usize::try_from(row.table).unwrap_or(usize::MAX);
            let Some((table, map)) = tables.get(index).copied().flatten() else {
                return Err(LoadError::Unit {
                    number,
                    what: "a row names a table that its part does not list",
                    source: format!("index {index}").into(),
                });
            };
            let failed = |source| LoadError::Row { table: table.name.clone(), number, source: Box::new(source) };
            let change = self.write(row, table, map).map_err(failed)?;
            let session = Session::of(row.flags);
            if self.sessions.last().is_none_or(|(_, last)| *last != session) {
                self.sessions.push((self.changes.len(), session));
            }
            self.changes.push(change);
        }
        Ok(())
    }

    fn write(&mut self, row: &RowChange, table: &RowTable, map: &Arc<TableMap>) -> Result<Change, WireError> {
        let mut lenient = false;
        let before = match &row.before {
            Some(datum) => Some(self.image(table, map, datum, row.before_columns.as_ref(), &mut lenient)?),
            None => None,
        };
        lenient = false;
        let after = match &row.after {
            Some(datum) => Some(self.image(table, map, datum, row.after_columns.as_ref(), &mut lenient)?),
            None => None,
        };
        let complete = row.before_columns.is_none() && row.after_columns.is_none();
        Ok(Change { map: Arc::clone(map), before, after, complete, lenient })
    }

    fn image(
        &mut self,
        table: &RowTable,
        map: &TableMap,
        datum: &[u8],
        present: Option<&ColumnSet>,
        lenient: &mut bool,
    ) -> Result<Image, WireError> {
        let arena = &mut self.arena;
        let image = arena.begin(map.columns.len());
        // Both the datum and the map are in the order of the source's columns.
        let mut columns = map.columns.iter().peekable();
        table.decoder.decode(datum, |column, value| {
            if let Some(mapped) = columns.next_if(|c| c.source == column) {
                let absent = present.is_some_and(|p| !p.contains(column));
                *lenient |= matches!(value, Value::Enum(0));
                arena.put(image, |out| {
                    if !absent {
                        sql::write_literal(out, &value, &mapped.column_type);
                    }
                });
            }
        })?;
        Ok(image)
    }
}

/// What a batch writes: hashes of all unique keys before and after, folded as the target may compare them.
#[derive(Debug, Default)]
pub struct WriteSet {
    keys: FxHashSet<u64>,
    /// Tables and keys in which anything may be equal to anything.
    wide: FxHashSet<u64>,
    /// Seeds of all keys written, against the other's wide ones.
    seeds: FxHashSet<u64>,
}

impl WriteSet {
    /// The write set of these changes.
    pub fn of(written: &Written) -> Self {
        let mut set = Self::default();
        let mut buffer = Vec::new();
        let foreign_key_checks = written.sessions.iter().any(|(_, s)| s.foreign_key_checks);
        for change in &written.changes {
            let map = &change.map;
            set.seeds.insert(map.table_seed);
            if map.key.is_none() || map.opaque_keys || (map.related && foreign_key_checks) {
                set.wide.insert(if map.related && foreign_key_checks { RELATED } else { map.table_seed });
                set.seeds.insert(RELATED);
                continue;
            }
            if map.related {
                set.seeds.insert(RELATED);
            }
            for key in map.keys() {
                set.seeds.insert(key.seed);
                for image in [change.before, change.after].into_iter().flatten() {
                    buffer.clear();
                    match fold_key(map, key, &written.arena, image, &mut buffer) {
                        Folded::Null => {}
                        Folded::Any => {
                            set.wide.insert(key.seed);
                        }
                        Folded::Bytes => {
                            let mut hasher = FxHasher::default();
                            hasher.write_u64(key.seed);
                            hasher.write(&buffer);
                            set.keys.insert(hasher.finish());
                        }
                    }
                }
            }
        }
        set
    }

    /// Whether and how the two could touch the same key, so that their order matters.
    pub fn meets(&self, other: &Self) -> Meeting {
        let wide = |a: &Self, b: &Self| a.wide.iter().any(|seed| b.seeds.contains(seed));
        let (small, large) = if self.keys.len() < other.keys.len() { (self, other) } else { (other, self) };
        if wide(self, other) || wide(other, self) {
            Meeting::Anywhere
        } else if small.keys.iter().any(|key| large.keys.contains(key)) {
            Meeting::InKeys
        } else {
            Meeting::Nowhere
        }
    }
}

/// How the write sets of two batches meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Their order does not matter.
    Nowhere,
    /// In keys that find their rows: once the earlier one holds all its row locks, the later one may begin, and waits at
    /// those locks where it must.
    InKeys,
    /// Rows may be found by a search: the later one begins when the earlier one is committed.
    Anywhere,
}

/// Stands for all tables that foreign keys connect, where the target checks them: one batch after the other.
const RELATED: u64 = 0x6c75_7472_615f_666b;

//! Planner: the changes of a batch become statements. Pure.
//!
//! Where order allows, a table's changes are folded to their net effect per key and become one statement per kind:
//! deletes, then updates, then inserts. Where it does not (no key, keys that can not be compared, foreign keys that the
//! target checks, a unique value that wanders from row to row inside the batch), the source's order is kept, and only
//! neighbours of the same kind are merged.

mod fold;
mod ordered;
mod render;
mod statement;
#[cfg(test)]
mod tests;

pub(crate) use fold::fold_key;
pub use render::{Leniency, Packet, Part, SQL_MODE, Script, render};
pub use statement::{Change, Statement};

use std::sync::Arc;

use crate::image::{Arena, Image};
use crate::mapping::TableMap;
use lutra_change::TableName;
use rustc_hash::FxHashMap;

/// How far the planner may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Sets and net effects.
    Sets,
    /// One statement per change, in the source's order: slow, and names the very row that does not fit.
    RowByRow,
}

/// What the planner must know of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The target checks foreign keys for this batch.
    pub foreign_key_checks: bool,
    /// How far to go.
    pub effort: Effort,
}

/// The statements that bring the changes about.
pub fn plan(changes: &[Change], arena: &Arena, conditions: Conditions) -> Vec<Statement> {
    if conditions.effort == Effort::RowByRow {
        // What was refused may be the value of a generated column, which a source that is not strict cuts.
        let one = |change: &Change| match change.map.computed.is_empty() {
            true => ordered::single(change, arena),
            false => ordered::single(&Change { lenient: true, ..change.clone() }, arena),
        };
        return changes.iter().filter_map(one).collect();
    }
    let mut tables: Vec<Table> = Vec::new();
    let mut index: FxHashMap<*const TableMap, usize> = FxHashMap::default();
    for (at, change) in changes.iter().enumerate() {
        let table = *index.entry(Arc::as_ptr(&change.map)).or_insert_with(|| {
            let by_sets = allows_sets(&change.map, conditions);
            tables.push(Table { map: Arc::clone(&change.map), changes: Vec::new(), by_sets });
            tables.len() - 1
        });
        if let Some(table) = tables.get_mut(table) {
            table.changes.push(at);
            let plain = change.after.is_none_or(|after| !arena.holds_expression(after));
            table.by_sets &= change.complete && !change.lenient && plain;
        }
    }
    let mut statements = Vec::new();
    let mut in_order = Vec::new();
    // Two row schemas of one table in one batch (its definition changed without a statement that we saw): keep order.
    let mut versions: FxHashMap<&TableName, usize> = FxHashMap::default();
    tables.iter().for_each(|t| *versions.entry(&t.map.name).or_default() += 1);
    for table in &tables {
        let one_version = versions.get(&table.map.name) == Some(&1);
        let net = (table.by_sets && one_version)
            .then(|| fold::net_effect(&table.map, table.changes.iter().filter_map(|at| changes.get(*at)), arena));
        match net.flatten() {
            Some(net) => net.into_statements(&table.map, arena, &mut statements),
            None => in_order.extend_from_slice(&table.changes),
        }
    }
    in_order.sort_unstable();
    ordered::runs(in_order.iter().filter_map(|at| changes.get(*at)), arena, &mut statements);
    statements
}

struct Table {
    map: Arc<TableMap>,
    changes: Vec<usize>,
    by_sets: bool,
}

fn allows_sets(map: &TableMap, conditions: Conditions) -> bool {
    let related = map.related && conditions.foreign_key_checks;
    map.key.is_some() && !map.copying && !map.opaque_keys && !related
}

/// Columns that the update sets: what it changes, and what would change by itself (`ON UPDATE CURRENT_TIMESTAMP`).
/// None where it changes nothing.
fn changed_columns(map: &TableMap, arena: &Arena, before: Image, after: Image) -> Vec<usize> {
    let changes = |c: usize| {
        let new = arena.column(after, c);
        !new.is_empty() && new != arena.column(before, c)
    };
    if !(0..map.columns.len()).any(changes) {
        return Vec::new();
    }
    let touched = |c: usize| map.columns.get(c).is_some_and(|column| column.touched_by_updates);
    (0..map.columns.len()).filter(|&c| changes(c) || touched(c)).collect()
}

/// Appends the bytes by which the key columns of an image are told apart. `false` when one is absent.
fn key_bytes(map: &TableMap, arena: &Arena, image: Image, out: &mut Vec<u8>) -> bool {
    let Some(key) = &map.key else { return false };
    for &column in &key.columns {
        let literal = arena.column(image, column);
        if literal.is_empty() {
            return false;
        }
        out.extend_from_slice(literal);
        out.push(b',');
    }
    true
}

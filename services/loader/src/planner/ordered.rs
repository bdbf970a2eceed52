//! The source's order, neighbours of one kind merged.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::statement::{Change, Statement};
use super::{changed_columns, key_bytes};
use crate::image::Arena;
use crate::mapping::TableMap;

/// The statement for one change alone; `None` for an update that changes nothing.
pub(super) fn single(change: &Change, arena: &Arena) -> Option<Statement> {
    let map = Arc::clone(&change.map);
    let lenient = change.lenient;
    if map.copying {
        return copied(change, map, arena);
    }
    match (change.before, change.after) {
        (None, Some(after)) => Some(Statement::Insert { map, rows: vec![after], lenient }),
        (Some(before), None) => Some(Statement::Delete { map, rows: vec![before] }),
        (Some(before), Some(after)) => {
            let columns = changed_columns(&map, arena, before, after);
            (!columns.is_empty()).then(|| Statement::Update { map, columns, rows: vec![(before, after)], lenient })
        }
        (None, None) => None,
    }
}

/// The same for a table that is being copied: what it finds may not be there (P12).
fn copied(change: &Change, map: Arc<TableMap>, arena: &Arena) -> Option<Statement> {
    let lenient = change.lenient;
    match (change.before, change.after) {
        (None, Some(after)) => Some(Statement::Upsert { map, rows: vec![after], exact: true, lenient }),
        (Some(before), None) => Some(Statement::Remove { map, rows: vec![before] }),
        (Some(_), Some(after)) if change.complete => {
            Some(Statement::Upsert { map, rows: vec![after], exact: false, lenient })
        }
        (Some(before), Some(after)) => {
            let columns = changed_columns(&map, arena, before, after);
            (!columns.is_empty()).then(|| Statement::Patch { map, columns, rows: vec![(before, after)], lenient })
        }
        (None, None) => None,
    }
}

/// Statements in order; rows of one statement have different keys, and none changes a unique value.
pub(super) fn runs<'a>(changes: impl Iterator<Item = &'a Change>, arena: &Arena, out: &mut Vec<Statement>) {
    let mut keys: FxHashSet<Vec<u8>> = FxHashSet::default();
    let mut open = false;
    for change in changes {
        let Some(statement) = single(change, arena) else { continue };
        let plain = change.after.is_none_or(|after| !arena.holds_expression(after));
        let mergeable = plain && mergeable(&statement, change);
        let mut key = Vec::new();
        let keyed = change.before.or(change.after).is_some_and(|image| key_bytes(&change.map, arena, image, &mut key));
        let is_insert = matches!(statement, Statement::Insert { .. } | Statement::Upsert { .. });
        let fits = open && mergeable && (is_insert || (keyed && !keys.contains(&key)));
        if fits
            && let Some(last) = out.last_mut()
            && merge(last, &statement)
        {
            keys.insert(key);
            continue;
        }
        keys.clear();
        keys.insert(key);
        open = mergeable;
        out.push(statement);
    }
}

fn mergeable(statement: &Statement, change: &Change) -> bool {
    let map = &change.map;
    if change.lenient {
        return false;
    }
    match statement {
        Statement::Insert { .. } | Statement::Upsert { .. } => true,
        Statement::Patch { .. } => false,
        Statement::Session(_) => false,
        // Rows of one delete go in the order of the index, not of the list.
        Statement::Delete { .. } | Statement::Remove { .. } => map.key.is_some() && !map.self_referencing,
        Statement::Update { columns, .. } => {
            map.key.is_some() && !map.self_referencing && !map.opaque_keys && !touches_keys(map, columns)
        }
    }
}

fn touches_keys(map: &TableMap, columns: &[usize]) -> bool {
    map.keys().any(|key| key.columns.iter().any(|c| columns.contains(c)))
}

fn merge(last: &mut Statement, next: &Statement) -> bool {
    let (Some(one), Some(two)) = (last.map(), next.map()) else { return false };
    if !Arc::ptr_eq(one, two) {
        return false;
    }
    match (last, next) {
        (Statement::Insert { rows, .. }, Statement::Insert { rows: more, .. })
        | (Statement::Delete { rows, .. }, Statement::Delete { rows: more, .. })
        | (Statement::Remove { rows, .. }, Statement::Remove { rows: more, .. }) => {
            rows.extend_from_slice(more);
            true
        }
        (Statement::Upsert { rows, exact, .. }, Statement::Upsert { rows: more, exact: same, .. }) if exact == same => {
            rows.extend_from_slice(more);
            true
        }
        (Statement::Update { columns, rows, .. }, Statement::Update { columns: same, rows: more, .. })
            if columns == same =>
        {
            rows.extend_from_slice(more);
            true
        }
        _ => false,
    }
}

//! Net effects: what is left of a table's changes, per key.
//!
//! A change of the key is a delete and an insert. Deletes go first, then updates, then inserts; so a unique value that a
//! deleted or updated row gives up is free for an inserted one. What this order can not serve is a value that one
//! updated row takes from another updated row: then there is no net effect, and the source's order must do.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::statement::{Change, Statement};
use super::{changed_columns, key_bytes};
use crate::image::{Arena, Image};
use crate::mapping::{self, Folded, MappedKey, TableMap};

/// Columns that change, and the rows in which they do.
type UpdateGroup = (Vec<usize>, Vec<(Image, Image)>);

/// What is left for one key.
#[derive(Clone, Copy, Debug)]
enum Net {
    Insert(Image),
    Update(Image, Image),
    Delete(Image),
    /// Came and went inside the batch.
    Nothing,
}

/// The net effect of a table's changes, in order of the first touch.
#[derive(Debug, Default)]
pub(super) struct NetEffect {
    rows: Vec<Net>,
}

/// Folds the changes; `None` when they contradict one another or need the source's order.
pub(super) fn net_effect<'a>(
    map: &TableMap,
    changes: impl Iterator<Item = &'a Change>,
    arena: &Arena,
) -> Option<NetEffect> {
    let mut net = NetEffect::default();
    let mut by_key: FxHashMap<Vec<u8>, usize> = FxHashMap::default();
    let (mut old_key, mut new_key) = (Vec::new(), Vec::new());
    for change in changes {
        old_key.clear();
        new_key.clear();
        match (change.before, change.after) {
            (None, Some(after)) => {
                key_bytes(map, arena, after, &mut new_key).then_some(())?;
                net.insert(&mut by_key, &new_key, after)?;
            }
            (Some(before), None) => {
                key_bytes(map, arena, before, &mut old_key).then_some(())?;
                net.delete(&mut by_key, &old_key, before)?;
            }
            (Some(before), Some(after)) => {
                (key_bytes(map, arena, before, &mut old_key) && key_bytes(map, arena, after, &mut new_key))
                    .then_some(())?;
                if old_key == new_key {
                    net.update(&mut by_key, &old_key, before, after)?;
                } else {
                    net.delete(&mut by_key, &old_key, before)?;
                    net.insert(&mut by_key, &new_key, after)?;
                }
            }
            (None, None) => {}
        }
    }
    map.other_keys.iter().all(|key| net.sets_serve(map, key, arena)).then_some(net)
}

impl NetEffect {
    fn slot(&mut self, by_key: &mut FxHashMap<Vec<u8>, usize>, key: &[u8]) -> Option<&mut Net> {
        by_key.get(key).copied().and_then(|at| self.rows.get_mut(at))
    }

    fn push(&mut self, by_key: &mut FxHashMap<Vec<u8>, usize>, key: &[u8], net: Net) {
        by_key.insert(key.to_vec(), self.rows.len());
        self.rows.push(net);
    }

    fn insert(&mut self, by_key: &mut FxHashMap<Vec<u8>, usize>, key: &[u8], after: Image) -> Option<()> {
        match self.slot(by_key, key) {
            None => self.push(by_key, key, Net::Insert(after)),
            Some(net) => {
                *net = match *net {
                    Net::Delete(before) => Net::Update(before, after),
                    Net::Nothing => Net::Insert(after),
                    Net::Insert(_) | Net::Update(..) => return None,
                }
            }
        }
        Some(())
    }

    fn update(
        &mut self,
        by_key: &mut FxHashMap<Vec<u8>, usize>,
        key: &[u8],
        before: Image,
        after: Image,
    ) -> Option<()> {
        match self.slot(by_key, key) {
            None => self.push(by_key, key, Net::Update(before, after)),
            Some(net) => {
                *net = match *net {
                    Net::Insert(_) => Net::Insert(after),
                    Net::Update(first, _) => Net::Update(first, after),
                    Net::Delete(_) | Net::Nothing => return None,
                }
            }
        }
        Some(())
    }

    fn delete(&mut self, by_key: &mut FxHashMap<Vec<u8>, usize>, key: &[u8], before: Image) -> Option<()> {
        match self.slot(by_key, key) {
            None => self.push(by_key, key, Net::Delete(before)),
            Some(net) => {
                *net = match *net {
                    Net::Insert(_) => Net::Nothing,
                    Net::Update(first, _) => Net::Delete(first),
                    Net::Delete(_) | Net::Nothing => return None,
                }
            }
        }
        Some(())
    }

    /// Whether no updated row takes a value of this key from another updated row.
    fn sets_serve(&self, map: &TableMap, key: &MappedKey, arena: &Arena) -> bool {
        let mut given_up: FxHashSet<Vec<u8>> = FxHashSet::default();
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let (mut any, mut moved) = (false, 0_usize);
        for net in &self.rows {
            let Net::Update(before, after) = *net else { continue };
            if key.columns.iter().all(|&c| arena.column(before, c) == arena.column(after, c)) {
                continue;
            }
            moved += 1;
            for (image, is_old) in [(before, true), (after, false)] {
                let mut folded = Vec::new();
                match fold_key(map, key, arena, image, &mut folded) {
                    Folded::Null => {}
                    Folded::Any => any = true,
                    Folded::Bytes if is_old => {
                        given_up.insert(folded);
                    }
                    Folded::Bytes => taken.push(folded),
                }
            }
        }
        (!any || moved <= 1) && taken.iter().all(|value| !given_up.contains(value))
    }

    /// One statement per kind and set of columns.
    pub(super) fn into_statements(self, map: &Arc<TableMap>, arena: &Arena, out: &mut Vec<Statement>) {
        let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
        let mut updates: Vec<UpdateGroup> = Vec::new();
        let mut groups: FxHashMap<Vec<usize>, usize> = FxHashMap::default();
        for net in self.rows {
            match net {
                Net::Insert(after) => inserts.push(after),
                Net::Delete(before) => deletes.push(before),
                Net::Update(before, after) => {
                    let columns = changed_columns(map, arena, before, after);
                    if columns.is_empty() {
                        continue;
                    }
                    let group = *groups.entry(columns.clone()).or_insert_with(|| {
                        updates.push((columns, Vec::new()));
                        updates.len() - 1
                    });
                    if let Some((_, rows)) = updates.get_mut(group) {
                        rows.push((before, after));
                    }
                }
                Net::Nothing => {}
            }
        }
        if !deletes.is_empty() {
            out.push(Statement::Delete { map: Arc::clone(map), rows: deletes });
        }
        for (columns, rows) in updates {
            out.push(Statement::Update { map: Arc::clone(map), columns, rows, lenient: false });
        }
        if !inserts.is_empty() {
            out.push(Statement::Insert { map: Arc::clone(map), rows: inserts, lenient: false });
        }
    }
}

/// Appends what the key's values of an image fold to.
pub(crate) fn fold_key(map: &TableMap, key: &MappedKey, arena: &Arena, image: Image, out: &mut Vec<u8>) -> Folded {
    let mut whole = Folded::Bytes;
    for &column in &key.columns {
        let literal = arena.column(image, column);
        let Some(mapped) = map.columns.get(column) else { return Folded::Any };
        if literal.is_empty() {
            whole = Folded::Any;
            continue;
        }
        match mapping::fold(literal, mapped.fold, out) {
            Folded::Null => return Folded::Null,
            Folded::Any => whole = Folded::Any,
            Folded::Bytes => {}
        }
    }
    whole
}

//! Plans by table id: the server repeats the table map in front of every statement's rows.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::DecodeError;
use crate::rows::{RowDecoder, RowsEvent};
use crate::table_map::TableMap;

/// Table maps kept by default: a few KiB each.
const CAPACITY: usize = 16_384;

/// What was made of one distinct table map.
#[derive(Debug)]
struct Slot<T> {
    layout: Arc<[u8]>,
    value: T,
}

/// Remembers what was made of each distinct table map: by default its [`RowDecoder`].
///
/// A repeated table map costs a look-up and a comparison of its bytes. Equal table maps under different ids (the server
/// renumbers a table whenever it opens it anew) give the same value. The oldest are forgotten beyond the capacity, never
/// one of the last `capacity`, so that all tables of a statement are there when its rows come.
#[derive(Debug)]
pub struct TableCache<T = Arc<RowDecoder>> {
    by_id: Generations<u64, Arc<Slot<T>>>,
    by_layout: Generations<Arc<[u8]>, Arc<Slot<T>>>,
}

impl<T> Default for TableCache<T> {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl TableCache {
    /// An empty cache of row decoders.
    pub fn new() -> Self {
        Self::default()
    }

    /// The row decoder of that table, planned now if its table map was never seen.
    pub fn observe(&mut self, map: &TableMap<'_>) -> Result<&Arc<RowDecoder>, DecodeError> {
        self.observe_with(map, |map| RowDecoder::plan(map).map(Arc::new))
    }
}

impl<T> TableCache<T> {
    /// An empty cache that keeps at least the last `capacity` distinct table maps, and at most twice as many.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { by_id: Generations::new(capacity), by_layout: Generations::new(capacity) }
    }

    /// What was made of that table map, made now by `make` if it was never seen.
    pub fn observe_with<E: From<DecodeError>>(
        &mut self,
        map: &TableMap<'_>,
        make: impl FnOnce(&TableMap<'_>) -> Result<T, E>,
    ) -> Result<&T, E> {
        if self.by_id.young.get(&map.table_id).is_some_and(|slot| *slot.layout == *map.layout) {
            return self.value(map.table_id).ok_or_else(|| map.fault("its plan is lost").into());
        }
        let slot = match self.by_layout.get(map.layout) {
            Some(slot) => Arc::clone(slot),
            None => Arc::new(Slot { layout: map.layout.into(), value: make(map)? }),
        };
        self.by_layout.insert(Arc::clone(&slot.layout), Arc::clone(&slot));
        Ok(&self.by_id.insert(map.table_id, slot).value)
    }

    /// What was made of the table of that event.
    pub fn get(&self, rows: &RowsEvent<'_>) -> Result<&T, DecodeError> {
        self.value(rows.table_id).ok_or_else(|| rows.unknown_table())
    }

    /// Forgets which id names which table, as at the beginning of another file or another server's stream. What was made
    /// of the table maps is kept.
    pub fn forget_ids(&mut self) {
        self.by_id = Generations::new(self.by_id.capacity);
    }

    fn value(&self, table_id: u64) -> Option<&T> {
        self.by_id.get(&table_id).map(|slot| &slot.value)
    }
}

/// A map that forgets what was not inserted for long: when the young half is full, it becomes the old one.
#[derive(Debug)]
struct Generations<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    capacity: usize,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn new(capacity: usize) -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default(), capacity }
    }

    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn insert(&mut self, key: K, value: V) -> &V {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.entry(key).insert_entry(value).into_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_are_kept_and_the_oldest_forgotten() {
        let mut map = Generations::new(10);
        for key in 0..100u64 {
            map.insert(key, key);
            map.insert(1_000, 0);
            assert!((key.saturating_sub(8)..=key).all(|k| map.get(&k).is_some()));
        }
        assert!(map.get(&1).is_none() && map.get(&1_000).is_some());
        assert!(map.young.len() + map.old.len() <= 20);
    }
}

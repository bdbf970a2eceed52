//! Pairs the rows of two streams without knowing how either server sorts.
//!
//! Both streams come in the order of the key, so a row and its partner are close together. Rows wait for their partner in
//! a table per side; with `n` rows missing on one side, about `n` rows wait. No comparison of collations is needed, and
//! rows with equal keys (a keyless table, or a target that lost its key) pair off one by one.

use std::collections::HashMap;
use std::hash::Hash;

/// Rows of one stream that wait for their partner: by key, in order of arrival.
pub(super) struct Pairing<K, R> {
    source: HashMap<K, Vec<R>>,
    target: HashMap<K, Vec<R>>,
    waiting: usize,
}

/// Keys with how many rows of each.
pub(super) type Counts<K> = Vec<(K, u64)>;

/// Which stream a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

impl<K: Hash + Eq, R> Pairing<K, R> {
    pub(super) fn new() -> Self {
        Self { source: HashMap::new(), target: HashMap::new(), waiting: 0 }
    }

    /// Takes a row; gives its partner from the other side, or keeps the row waiting for it.
    pub(super) fn take(&mut self, side: Side, key: K, row: R) -> Option<(R, R)> {
        let (own, other) = match side {
            Side::Source => (&mut self.source, &mut self.target),
            Side::Target => (&mut self.target, &mut self.source),
        };
        if let Some(partners) = other.get_mut(&key) {
            let partner = partners.pop();
            if partners.is_empty() {
                other.remove(&key);
            }
            if let Some(partner) = partner {
                self.waiting -= 1;
                return Some(if side == Side::Source { (row, partner) } else { (partner, row) });
            }
        }
        own.entry(key).or_default().push(row);
        self.waiting += 1;
        None
    }

    /// How many rows wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The keys that found no partner, with how many rows of each: of the source and of the target.
    pub(super) fn into_unpaired(self) -> (Counts<K>, Counts<K>) {
        let count = |rows: HashMap<K, Vec<R>>| rows.into_iter().map(|(key, rows)| (key, rows.len() as u64)).collect();
        (count(self.source), count(self.target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpaired(source: &[i32], target: &[i32]) -> (Counts<i32>, Counts<i32>) {
        let mut pairing = Pairing::new();
        for step in 0..source.len().max(target.len()) {
            for (side, keys) in [(Side::Source, source), (Side::Target, target)] {
                let _ = keys.get(step).and_then(|key| pairing.take(side, *key, ()));
            }
        }
        let (mut left, mut right) = pairing.into_unpaired();
        left.sort_unstable();
        right.sort_unstable();
        (left, right)
    }

    #[test]
    fn equal_streams_leave_nothing_whatever_their_order() {
        assert_eq!(unpaired(&[1, 2, 3, 3], &[3, 1, 3, 2]), (vec![], vec![]));
    }

    #[test]
    fn a_lost_and_a_doubled_row_are_seen() {
        assert_eq!(unpaired(&[1, 2, 3], &[1, 3, 3]), (vec![(2, 1)], vec![(3, 1)]));
        assert_eq!(unpaired(&[7, 7, 7], &[7]), (vec![(7, 2)], vec![]));
    }

    #[test]
    fn one_missing_row_keeps_one_row_waiting() {
        let mut pairing = Pairing::new();
        for key in 0..1000 {
            pairing.take(Side::Source, key, ());
            pairing.take(Side::Target, key + 1, ());
            assert!(pairing.waiting() <= 2);
        }
    }

    #[test]
    fn partners_come_in_the_order_source_target() {
        let mut pairing = Pairing::new();
        assert_eq!(pairing.take(Side::Target, 1, "t"), None);
        assert_eq!(pairing.take(Side::Source, 1, "s"), Some(("s", "t")));
    }
}

//! Places that the reader itself has passed: where it begins again when the log loses its tail.

use std::collections::VecDeque;

use lutra_change::Cursor;

/// So many places of each distance are kept.
const OF_EACH: usize = 8;
/// The largest distance is two to this power: more units than a log loses.
const DISTANCES: usize = 24;

/// Places that were passed, each as good as the reader's cursor once was: close together where they are near, twice as far
/// apart with every few steps back. So what is read again is in proportion to what was lost, and not the whole log.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Of the n-th, places lie 2ⁿ apart, oldest first; all of it is older than what is in those before.
    levels: Vec<VecDeque<Cursor>>,
}

impl Trail {
    /// Reading has come here.
    pub(crate) fn pass(&mut self, place: Cursor) {
        let mut place = place;
        for level in 0..DISTANCES {
            if self.levels.len() == level {
                self.levels.push(VecDeque::with_capacity(OF_EACH + 1));
            }
            let places = &mut self.levels[level];
            places.push_back(place);
            if places.len() <= OF_EACH {
                return;
            }
            // Of the two oldest one goes on.
            let Some(oldest) = places.pop_front() else { return };
            places.pop_front();
            place = oldest;
        }
    }

    /// Reading begins at `offset` again: of what was passed behind it, nothing is known any more.
    pub(crate) fn back_to(&mut self, offset: i64) {
        for places in &mut self.levels {
            places.retain(|place| place.next_offset <= offset);
        }
    }

    /// What was passed, the last first.
    pub(crate) fn back(&self) -> impl Iterator<Item = Cursor> {
        self.levels.iter().flat_map(|places| places.iter().rev().copied())
    }
}

#[cfg(test)]
mod tests {
    use lutra_change::{Epoch, LogId, Number};
    use uuid::Uuid;

    use super::*;

    fn place(next_offset: i64) -> Cursor {
        Cursor { log_id: LogId(Uuid::nil()), next_offset, epoch: Epoch::ZERO, number: Number::ZERO }
    }

    fn walked(to: i64) -> Trail {
        let mut trail = Trail::default();
        (1..=to).for_each(|offset| trail.pass(place(offset)));
        trail
    }

    fn offsets(trail: &Trail) -> Vec<i64> {
        trail.back().map(|place| place.next_offset).collect()
    }

    #[test]
    fn what_is_read_again_is_in_proportion_to_what_was_lost() {
        let trail = walked(1_000_000);
        for lost in [1, 5, 10, 100, 1_000, 10_000, 100_000] {
            let end = 1_000_000 - lost;
            let begin = trail.back().find(|place| place.next_offset <= end).map(|place| place.next_offset);
            assert!(begin.is_some_and(|begin| end - begin <= lost), "{lost} lost: {begin:?}");
        }
        assert!(offsets(&trail).len() <= OF_EACH * DISTANCES);
    }

    #[test]
    fn the_last_comes_first_and_none_twice() {
        let offsets = offsets(&walked(5_000));
        assert_eq!(offsets[0], 5_000);
        assert!(offsets.is_sorted_by(|a, b| a > b), "{offsets:?}");
    }

    #[test]
    fn behind_a_place_where_reading_begins_again_nothing_is_known() {
        let mut trail = walked(1_000);
        trail.back_to(700);
        assert!(offsets(&trail).iter().all(|offset| *offset <= 700) && !offsets(&trail).is_empty());
        // It goes on from there, in order.
        (701..=2_000).for_each(|offset| trail.pass(place(offset)));
        assert!(offsets(&trail).is_sorted_by(|a, b| a > b));
    }
}

//! From what a service knows of a part to the header that goes into the log.

use lutra_change::{BinlogPosition, Cursor, Gtid, GtidSet, Number, OpenXa};
use lutra_wire::record::{GtidState, PartEnd, SourceState, UnitTotals};
use lutra_wire::schema::Fingerprint;
use uuid::Uuid;

/// GTID sets up to this many characters are carried whole in every record (P1).
const CARRIED_WHOLE_UP_TO: usize = 1024;
/// Larger sets are carried whole at every so many units (P1).
const WHOLE_EVERY: u32 = 1000;

/// A record's header, without what the writer knows itself: log id, epoch, and how the GTID set is carried.
#[derive(Clone, Debug)]
pub struct HeaderDraft<'a> {
    /// The unit's number.
    pub number: Number,
    /// The unit covers `(previous, number]`. A heartbeat that does not move has `previous == number == ` the last unit's.
    pub previous: Number,
    /// Part of the unit, from 1.
    pub part: u32,
    /// How the part ends.
    pub end: PartEnd,
    /// Where the source stands after the unit; on commit parts and heartbeats.
    pub source: Option<SourceDraft<'a>>,
    /// Commit time at the source, microseconds since the epoch; 0 where unknown.
    pub committed_at: i64,
    /// When the extractor read it, microseconds since the epoch.
    pub read_at: i64,
    /// Transformer: the cursor of its input after the unit.
    pub input: Option<Cursor>,
    /// Names of the sources the transaction came from (P13).
    pub origins: Vec<String>,
    /// Totals, on the commit part of a unit with rows.
    pub totals: Option<UnitTotals>,
}

/// Where the source stands after a unit.
#[derive(Clone, Debug)]
pub struct SourceDraft<'a> {
    /// The server that was read.
    pub server_uuid: Uuid,
    /// Binlog file and byte after the unit.
    pub position: BinlogPosition,
    /// The unit's own GTID.
    pub gtid: Option<Gtid>,
    /// Everything executed up to and including the unit.
    pub gtid_set: &'a GtidSet,
    /// What the unit's interval adds to the set of the unit before. `None`: the writer works it out, which costs time on
    /// large sets.
    pub added: Option<GtidSet>,
    /// XA transactions that are open behind the unit, and the one that it decides. The writer puts in the places of those
    /// whose prepare it wrote itself.
    pub open_xa: Vec<OpenXa>,
    /// In a source's log: what its tables looked like there, by the name of a record of the schemas' topic.
    pub definitions: Option<Fingerprint>,
}

/// Decides how each record carries the GTID set (P1).
#[derive(Debug, Default)]
pub(super) struct GtidCarrier {
    /// The set up to the last record, once sets are large.
    carried: Option<GtidSet>,
    since_whole: u32,
}

impl GtidCarrier {
    /// The state to put into a record.
    pub(super) fn carry(&mut self, source: SourceDraft<'_>, moves: bool) -> SourceState {
        let gtid_set = self.state(source.gtid_set, source.added, moves);
        SourceState {
            server_uuid: source.server_uuid,
            position: source.position,
            gtid: source.gtid,
            gtid_set,
            open_xa: source.open_xa,
            definitions: source.definitions,
        }
    }

    fn state(&mut self, whole: &GtidSet, added: Option<GtidSet>, moves: bool) -> GtidState {
        if text_len(whole) <= CARRIED_WHOLE_UP_TO {
            self.carried = None;
            return GtidState::Whole(whole.clone());
        }
        let Some(carried) = self.carried.as_mut().filter(|_| self.since_whole < WHOLE_EVERY - 1) else {
            self.carried = Some(whole.clone());
            self.since_whole = 0;
            return GtidState::Whole(whole.clone());
        };
        let added = added.unwrap_or_else(|| whole.minus(carried));
        if moves {
            carried.union_with(&added);
            self.since_whole += 1;
        }
        GtidState::Added(added)
    }
}

/// Length of the set as text, without making it; never too small.
fn text_len(set: &GtidSet) -> usize {
    let digits = |n: u64| n.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut len = 0;
    let mut previous = None;
    for (source, first, last) in set.intervals() {
        if previous != Some(source) {
            len += 37 + source.tag.len();
            previous = Some(source);
        }
        len += 2 + digits(first) + digits(last);
    }
    len
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(sources: u128) -> GtidSet {
        let mut set = GtidSet::new();
        for n in 1..=sources {
            set.insert(&Gtid::new(Uuid::from_u128(n), 1));
        }
        set
    }

    #[test]
    fn small_sets_are_carried_whole() {
        let mut carrier = GtidCarrier::default();
        for _ in 0..3 {
            assert_eq!(carrier.state(&set(3), None, true), GtidState::Whole(set(3)));
        }
    }

    #[test]
    fn large_sets_are_carried_whole_first_and_at_every_thousandth_unit() {
        let mut carrier = GtidCarrier::default();
        let mut all = set(100);
        let mut whole = Vec::new();
        for n in 2..2004u64 {
            let gtid = Gtid::new(Uuid::from_u128(1), n);
            all.insert(&gtid);
            let mut one = GtidSet::new();
            one.insert(&gtid);
            match carrier.state(&all, (n % 2 == 0).then(|| one.clone()), true) {
                GtidState::Whole(set) => {
                    assert_eq!(set, all);
                    whole.push(n - 2);
                }
                GtidState::Added(set) => assert_eq!(set, one),
            }
        }
        assert_eq!(whole, [0, 1000, 2000]);
    }

    #[test]
    fn the_estimated_length_is_never_below_the_text() {
        for n in [0, 1, 20, 40] {
            assert!(text_len(&set(n)) >= set(n).to_string().len());
        }
    }
}

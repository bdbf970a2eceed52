//! P3 as a pure state machine: a header goes in, a verdict comes out.
//!
//! A reader believes only the chain. In force is the *highest* `EpochStart` so far. A record is valid if and only if its
//! epoch equals the one in force and its log id is the expected one. Part 1 replaces whatever was open; parts follow one
//! another; anything else is void. A unit is accepted if `previous <= last < number`, covered if `number <= last`; with
//! `previous > last` something is missing: a gap, which voids everything up to the next `EpochStart` that comes into
//! force.
//!
//! `previous`, `number` and `last` cannot change while a unit is open, so acceptance is decided at part 1.

use lutra_change::{Epoch, LogId, Number};
use lutra_wire::record::{BodyKind, Header, PartEnd};

use crate::rules::Rules;

/// What the chain says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An `EpochStart` that is in force from here; whatever was open is void.
    InForce {
        /// A unit was open.
        discarded: bool,
    },
    /// A valid part of an acceptable unit.
    Part {
        /// It is a part 1 that took the place of an open unit.
        replaced: bool,
        /// It completes the unit: the unit is accepted, and `last` is its number now.
        complete: bool,
    },
    /// A valid part of a unit that is covered already.
    Covered {
        /// It is a part 1 that took the place of an open unit.
        replaced: bool,
        /// It completes the unit.
        complete: bool,
    },
    /// The unit never was.
    Aborted {
        /// A unit was open.
        discarded: bool,
    },
    /// A valid heartbeat that did not move.
    Heartbeat,
    /// Something is missing before this record.
    Gap {
        /// The last unit.
        expected: Number,
        /// What the record follows.
        found: Number,
        /// A unit was open.
        discarded: bool,
    },
    /// The record says nothing.
    Void(Void),
}

/// Why a record is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// It belongs to another log.
    ForeignLog,
    /// Its epoch is below the one in force: a late record of a former start.
    OldEpoch,
    /// Its epoch is above the one in force although no such start was read: the start was lost with the log's tail, or the
    /// log was cut below this reader.
    UnknownEpoch,
    /// An `EpochStart` that is not strictly above the one in force.
    StartNotAbove,
    /// It lies behind a gap.
    BehindGap,
    /// It does not follow the part before it.
    OutOfOrder,
}

/// A unit of which some parts were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    number: Number,
    next_part: u32,
}

/// The state that P3 needs: nothing but the epoch in force, the last unit, and the open one.
#[derive(Clone, Debug)]
pub struct Chain {
    log_id: LogId,
    in_force: Epoch,
    last: Number,
    open: Option<Open>,
    behind_gap: bool,
    rules: Rules,
}

impl Chain {
    /// The chain at a place where `in_force` is in force and `last` is the last unit.
    /// At the beginning of a log that is [`Epoch::ZERO`] and [`Number::ZERO`].
    pub fn new(log_id: LogId, in_force: Epoch, last: Number) -> Self {
        Self { log_id, in_force, last, open: None, behind_gap: false, rules: Rules::default() }
    }

    pub(crate) fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Negative control only.
    pub(crate) fn believe(&mut self, last: Number) {
        self.last = last;
        self.behind_gap = false;
    }

    /// The log whose records are valid.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The epoch in force.
    pub fn in_force(&self) -> Epoch {
        self.in_force
    }

    /// The number of the last complete unit.
    pub fn last(&self) -> Number {
        self.last
    }

    /// Whether parts of an incomplete unit were read.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a gap voids everything up to the next start.
    pub fn is_behind_gap(&self) -> bool {
        self.behind_gap
    }

    /// Judges the next record of the log.
    pub fn judge(&mut self, kind: BodyKind, header: &Header) -> Verdict {
        if header.log_id != self.log_id {
            return Verdict::Void(Void::ForeignLog);
        }
        if kind == BodyKind::EpochStart {
            return self.judge_start(header.epoch);
        }
        if let Some(void) = self.foreign_epoch(header.epoch) {
            return Verdict::Void(void);
        }
        if self.behind_gap {
            return Verdict::Void(Void::BehindGap);
        }
        if kind == BodyKind::Heartbeat && header.number == header.previous {
            return self.judge_resting_heartbeat(header);
        }
        if header.end == PartEnd::Abort {
            return Verdict::Aborted { discarded: self.open.take().is_some() };
        }
        if header.part == 1 { self.judge_first(header) } else { self.judge_following(header) }
    }

    fn judge_start(&mut self, epoch: Epoch) -> Verdict {
        let comes_into_force = epoch > self.in_force || (self.rules.any_start_in_force && epoch != self.in_force);
        if !comes_into_force {
            return Verdict::Void(Void::StartNotAbove);
        }
        self.in_force = epoch;
        self.behind_gap = false;
        Verdict::InForce { discarded: self.open.take().is_some() }
    }

    fn foreign_epoch(&mut self, epoch: Epoch) -> Option<Void> {
        if self.rules.no_epoch_check || epoch == self.in_force {
            return None;
        }
        if self.rules.cursor_without_epoch && epoch > self.in_force {
            self.in_force = epoch;
            self.behind_gap = false;
            return None;
        }
        Some(if epoch < self.in_force { Void::OldEpoch } else { Void::UnknownEpoch })
    }

    /// A heartbeat without a number of its own leaves an open unit alone; it still shows what should have come before it.
    fn judge_resting_heartbeat(&mut self, header: &Header) -> Verdict {
        if header.number > self.last && !self.rules.no_interval_chain {
            return self.gap(header.number);
        }
        if header.number < self.last {
            return Verdict::Covered { replaced: false, complete: false };
        }
        Verdict::Heartbeat
    }

    fn judge_first(&mut self, header: &Header) -> Verdict {
        if self.rules.part_one_does_not_replace
            && let Some(open) = self.open
            && open.number == header.number
        {
            return Verdict::Void(Void::OutOfOrder);
        }
        let replaced = self.open.is_some();
        let complete = header.end == PartEnd::Commit;
        if header.number <= self.last {
            self.open = None;
            return Verdict::Covered { replaced, complete };
        }
        if header.previous > self.last && !self.rules.no_interval_chain {
            return self.gap(header.previous);
        }
        self.open = Some(Open { number: header.number, next_part: 2 });
        self.close_if(complete, header.number);
        Verdict::Part { replaced, complete }
    }

    fn judge_following(&mut self, header: &Header) -> Verdict {
        let complete = header.end == PartEnd::Commit;
        match self.open {
            Some(open) if open.number == header.number && open.next_part == header.part => {
                self.open = Some(Open { number: open.number, next_part: open.next_part.saturating_add(1) });
                self.close_if(complete, header.number);
                Verdict::Part { replaced: false, complete }
            }
            None if header.number <= self.last => Verdict::Covered { replaced: false, complete },
            _ => Verdict::Void(Void::OutOfOrder),
        }
    }

    fn close_if(&mut self, complete: bool, number: Number) {
        if complete {
            self.open = None;
            self.last = number;
        }
    }

    fn gap(&mut self, found: Number) -> Verdict {
        self.behind_gap = true;
        Verdict::Gap { expected: self.last, found, discarded: self.open.take().is_some() }
    }
}

#[cfg(test)]
mod tests {
    use lutra_wire::record::BodyKind::{Changes, Chunk, EpochStart, Heartbeat};

    use super::*;
    use crate::testing::{LOG, header, part, transaction};

    fn n(sequence: u64, sub: u64) -> Number {
        Number::new(sequence, sub)
    }

    /// A chain behind unit `last`, epoch 1 in force.
    fn chain(last: u64) -> Chain {
        Chain::new(LOG, Epoch::new(1, 0), n(last, 0))
    }

    fn broken(last: u64, rules: Rules) -> Chain {
        chain(last).with_rules(rules)
    }

    const ACCEPTED: Verdict = Verdict::Part { replaced: false, complete: true };
    const OPENED: Verdict = Verdict::Part { replaced: false, complete: false };

    fn start(chain: &mut Chain, epoch: u64) -> Verdict {
        chain.judge(EpochStart, &header(epoch, n(0, 0), n(0, 0)))
    }

    #[test]
    fn units_follow_one_another_and_are_covered_when_they_come_again() {
        let mut chain = chain(4);
        assert_eq!(chain.judge(Changes, &transaction(1, 5)), ACCEPTED);
        assert_eq!(chain.judge(Changes, &transaction(1, 5)), Verdict::Covered { replaced: false, complete: true });
        assert_eq!(chain.judge(Changes, &header(1, n(3, 0), n(6, 0))), ACCEPTED);
        assert_eq!(chain.last(), n(6, 0));
    }

    #[test]
    fn late_records_of_an_old_owner_are_void() {
        let schedule = |chain: &mut Chain| {
            start(chain, 2);
            (chain.judge(Changes, &transaction(1, 5)), chain.judge(Changes, &transaction(2, 5)))
        };
        assert_eq!(schedule(&mut chain(4)), (Verdict::Void(Void::OldEpoch), ACCEPTED));
        // Without the rule the zombie's 5 counts, and ours is dropped.
        let (zombie, ours) = schedule(&mut broken(4, Rules { no_epoch_check: true, ..Rules::ALL }));
        assert_eq!((zombie, ours), (ACCEPTED, Verdict::Covered { replaced: false, complete: true }));
    }

    #[test]
    fn a_hole_in_the_chain_is_a_gap_up_to_the_next_start() {
        let mut chain = chain(4);
        let gap = Verdict::Gap { expected: n(4, 0), found: n(5, 0), discarded: false };
        assert_eq!(chain.judge(Changes, &transaction(1, 6)), gap);
        assert_eq!(chain.judge(Changes, &transaction(1, 5)), Verdict::Void(Void::BehindGap));
        assert_eq!(start(&mut chain, 2), Verdict::InForce { discarded: false });
        assert_eq!(chain.judge(Changes, &transaction(2, 5)), ACCEPTED);
        // Without the rule unit 5 is skipped unseen.
        let mut chain = broken(4, Rules { no_interval_chain: true, ..Rules::ALL });
        assert_eq!(chain.judge(Changes, &transaction(1, 6)), ACCEPTED);
    }

    #[test]
    fn a_resting_heartbeat_shows_what_is_missing_before_it() {
        let mut chain = chain(4);
        assert_eq!(chain.judge(Heartbeat, &header(1, n(4, 0), n(4, 0))), Verdict::Heartbeat);
        assert_eq!(chain.judge(Changes, &part(transaction(1, 5), 1, PartEnd::More)), OPENED);
        assert_eq!(chain.judge(Heartbeat, &header(1, n(4, 0), n(4, 0))), Verdict::Heartbeat);
        assert!(chain.is_open(), "a heartbeat in the middle of a unit leaves it alone");
        let gap = Verdict::Gap { expected: n(4, 0), found: n(5, 0), discarded: true };
        assert_eq!(chain.judge(Heartbeat, &header(1, n(5, 0), n(5, 0))), gap);
    }

    #[test]
    fn in_force_is_the_highest_start_not_the_last() {
        let schedule = |chain: &mut Chain| {
            for epoch in [7, 5, 6] {
                start(chain, epoch);
            }
            chain.judge(Changes, &transaction(7, 5))
        };
        assert_eq!(schedule(&mut chain(4)), ACCEPTED);
        let mut broken = broken(4, Rules { any_start_in_force: true, ..Rules::ALL });
        assert_eq!(schedule(&mut broken), Verdict::Void(Void::UnknownEpoch));
        assert_eq!(broken.in_force(), Epoch::new(6, 0));
    }

    #[test]
    fn a_repeated_start_changes_nothing() {
        let mut chain = chain(4);
        start(&mut chain, 2);
        assert_eq!(chain.judge(Changes, &part(transaction(2, 5), 1, PartEnd::More)), OPENED);
        assert_eq!(start(&mut chain, 2), Verdict::Void(Void::StartNotAbove));
        assert_eq!(chain.judge(Changes, &part(transaction(2, 5), 2, PartEnd::Commit)), ACCEPTED);
    }

    #[test]
    fn a_cursor_in_the_middle_needs_the_epoch_in_force() {
        // T1(e1) EpochStart(e2) T2'(e1, void) T2(e2), and a reader that resumes behind the start.
        let mut resumed = Chain::new(LOG, Epoch::new(2, 0), n(1, 0));
        assert_eq!(resumed.judge(Changes, &transaction(1, 2)), Verdict::Void(Void::OldEpoch));
        assert_eq!(resumed.judge(Changes, &transaction(2, 2)), ACCEPTED);
        // Without it the reader takes the first epoch it meets: T2', which nobody else has seen.
        let mut blind = Chain::new(LOG, Epoch::ZERO, n(1, 0));
        blind = blind.with_rules(Rules { cursor_without_epoch: true, ..Rules::ALL });
        assert_eq!(blind.judge(Changes, &transaction(1, 2)), ACCEPTED);
    }

    #[test]
    fn part_one_replaces_what_was_open() {
        // The source's connection broke inside one epoch; the transaction comes again, cut differently.
        let schedule = |chain: &mut Chain| {
            chain.judge(Changes, &part(transaction(1, 5), 1, PartEnd::More));
            let again = chain.judge(Changes, &part(transaction(1, 5), 1, PartEnd::More));
            (again, chain.judge(Changes, &part(transaction(1, 5), 2, PartEnd::Commit)))
        };
        assert_eq!(schedule(&mut chain(4)), (Verdict::Part { replaced: true, complete: false }, ACCEPTED));
        // Without the rule the first cut's part 1 is completed by the second cut's part 2: torn.
        let (again, second) = schedule(&mut broken(4, Rules { part_one_does_not_replace: true, ..Rules::ALL }));
        assert_eq!((again, second), (Verdict::Void(Void::OutOfOrder), ACCEPTED));
    }

    #[test]
    fn parts_follow_one_another_within_one_epoch() {
        let mut chain = chain(4);
        let two = part(transaction(1, 5), 2, PartEnd::Commit);
        assert_eq!(chain.judge(Changes, &two), Verdict::Void(Void::OutOfOrder));
        chain.judge(Changes, &part(transaction(1, 5), 1, PartEnd::More));
        let three = part(transaction(1, 5), 3, PartEnd::Commit);
        assert_eq!(chain.judge(Changes, &three), Verdict::Void(Void::OutOfOrder));
        assert_eq!(start(&mut chain, 2), Verdict::InForce { discarded: true });
        assert_eq!(chain.judge(Changes, &part(transaction(2, 5), 2, PartEnd::Commit)), Verdict::Void(Void::OutOfOrder));
    }

    #[test]
    fn an_aborted_unit_never_was_and_its_number_is_free() {
        let mut chain = chain(4);
        chain.judge(Changes, &part(transaction(1, 5), 1, PartEnd::More));
        let abort = part(transaction(1, 5), 2, PartEnd::Abort);
        assert_eq!(chain.judge(Changes, &abort), Verdict::Aborted { discarded: true });
        assert_eq!(chain.judge(Changes, &transaction(1, 5)), ACCEPTED);
    }

    #[test]
    fn chunks_and_moving_heartbeats_have_numbers_of_their_own() {
        let mut chain = chain(90);
        // T91–T100 are filtered: a heartbeat covers them. A chunk lies between T100 and T101.
        assert_eq!(chain.judge(Heartbeat, &header(1, n(90, 0), n(100, 0))), ACCEPTED);
        assert_eq!(chain.judge(Chunk, &header(1, n(100, 0), n(100, 1))), ACCEPTED);
        assert_eq!(chain.judge(Changes, &header(1, n(100, 1), n(101, 0))), ACCEPTED);
        // A chunk without a number of its own would be dropped, and a heartbeat without one leaves T101 behind a gap.
        let mut chain = Chain::new(LOG, Epoch::new(1, 0), n(100, 0));
        let unnumbered = chain.judge(Chunk, &header(1, n(99, 0), n(100, 0)));
        assert_eq!(unnumbered, Verdict::Covered { replaced: false, complete: true });
    }

    #[test]
    fn records_of_another_log_are_void() {
        let mut chain = chain(4);
        let mut foreign = transaction(1, 5);
        foreign.log_id = LogId(uuid::Uuid::from_u128(2));
        assert_eq!(chain.judge(Changes, &foreign), Verdict::Void(Void::ForeignLog));
        assert_eq!(
            chain.judge(EpochStart, &Header { epoch: Epoch::new(9, 0), ..foreign }),
            Verdict::Void(Void::ForeignLog)
        );
        assert_eq!(chain.in_force(), Epoch::new(1, 0));
    }
}

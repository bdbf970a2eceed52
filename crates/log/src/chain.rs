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

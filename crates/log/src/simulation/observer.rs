//! A reader that applies what it is told, with its cursor, in one step; and the oracle.

use lutra_change::{Cursor, GtidSet};
use lutra_wire::record::{BodyKind, PartEnd};

use super::session::parts_of;
use super::world::World;
use super::{PREPARE, TRANSACTIONS, Violation};
use crate::error::Halt;
use crate::place::{self, Held};
use crate::reader::{Delivered, LogPart, ReadFrom, ReaderCore, ReaderStart};

/// What a reader has made durable: its cursor with what it applied.
#[derive(Clone)]
struct Durable {
    cursor: Cursor,
    gtids: GtidSet,
}

/// A reader.
pub(super) struct Observer {
    number: usize,
    core: Option<ReaderCore>,
    position: i64,
    durable: Option<Durable>,
    open: Vec<(u64, i64)>,
    /// Transaction and cut of each unit applied, in order.
    pub(super) applied: Vec<(u64, i64)>,
    pub(super) halted: Option<String>,
    pub(super) gaps: usize,
    torn_at: Option<i64>,
}

const CHECKSUM: &str = "the checksum does not fit";
/// The tail that was lost held the prepare, and something else took its place before its writer appended again.
const PREPARE_LOST: &str = "the prepare was lost with the tail";

impl Observer {
    pub(super) fn new(number: usize) -> Self {
        let (open, applied) = (Vec::new(), Vec::new());
        Self { number, core: None, position: 0, durable: None, open, applied, halted: None, gaps: 0, torn_at: None }
    }

    /// It crashes and begins again at its cursor.
    pub(super) fn restart(&mut self, _world: &World) {
        self.core = None;
        self.open.clear();
    }

    fn start(&self, world: &World) -> Result<ReaderCore, Box<Halt>> {
        let from = match &self.durable {
            Some(d) => ReadFrom::Cursor(d.cursor, d.gtids.clone()),
            None => ReadFrom::Beginning,
        };
        let start = ReaderStart::new(world.log_id, from).with_bookmarks(world.bookmarks.clone());
        Ok(ReaderCore::new(start)?.with_rules(world.scope.rules))
    }

    /// One step.
    pub(super) fn read(&mut self, world: &mut World) -> Result<bool, Violation> {
        if self.halted.is_some() {
            return Ok(false);
        }
        match self.try_read(world) {
            Ok(moved) => {
                self.apply(world)?;
                Ok(moved)
            }
            Err(found) => {
                self.apply(world)?;
                self.halted = Some(found.to_string());
                Ok(false)
            }
        }
    }

    fn try_read(&mut self, world: &World) -> Result<bool, Box<Halt>> {
        let mut core = match self.core.take() {
            Some(core) => core,
            None => self.start(world)?,
        };
        if self.position > world.end() {
            core.must_place = true;
        }
        if core.must_place {
            self.position = place(&mut core, world)?;
            self.core = Some(core);
            return Ok(true);
        }
        let next = world.get(self.position);
        let moved = next.is_some();
        if let Some(stored) = next {
            self.position = stored.offset + 1;
            let fed = core.feed(stored);
            self.core = Some(core);
            fed?;
        } else {
            self.core = Some(core);
        }
        Ok(moved)
    }

    fn apply(&mut self, world: &mut World) -> Result<(), Violation> {
        while let Some(delivered) = self.core.as_mut().and_then(ReaderCore::pop) {
            match delivered {
                Delivered::Discarded => self.open.clear(),
                Delivered::Gap { .. } => {
                    self.gaps += 1;
                    world.gap_seen = true;
                    if let Some(core) = &mut self.core {
                        core.asked_for_start(world.end());
                    }
                    if !world.tail_lost {
                        return Err(self.fault("saw a gap in a whole log"));
                    }
                }
                Delivered::Part(part) => self.apply_part(world, &part)?,
                Delivered::EpochStart { .. } | Delivered::Heartbeat { .. } => {}
            }
            if let Some(core) = &self.core
                && self.open.is_empty()
            {
                self.durable = Some(Durable { cursor: core.cursor, gtids: core.history.applied().clone() });
            }
        }
        Ok(())
    }

    fn apply_part(&mut self, world: &World, part: &LogPart) -> Result<(), Violation> {
        if part.body.kind() == BodyKind::Heartbeat {
            return Ok(());
        }
        let transaction = u64::try_from(part.header.committed_at).unwrap_or(0);
        self.open.push((transaction, part.header.read_at));
        if part.header.end != PartEnd::Commit {
            return Ok(());
        }
        let unit = std::mem::take(&mut self.open);
        let first = unit[0];
        let torn = unit.iter().any(|p| *p != first) || unit.len() as u32 != parts_of(first.1);
        if torn && world.tail_lost {
            // The log was cut between two parts, and the unit came again in another cut. The commit part's checksum shows
            // it (P1). Only we may have read it so: roll back and read again. Else it is so in the log.
            if self.torn_at.replace(part.offset) == Some(part.offset) {
                self.halted = Some(CHECKSUM.into());
            }
            self.core = None;
            return Ok(());
        }
        if torn {
            return Err(self.fault(&format!("applied a torn unit: {unit:?}")));
        }
        if self.applied.iter().any(|(t, _)| *t == transaction) {
            return Err(self.fault(&format!("applied transaction {transaction} twice")));
        }
        if part.body.kind() == BodyKind::XaDecision {
            match self.find_prepare(world, part) {
                Err(_) if world.tail_lost => {
                    self.halted = Some(PREPARE_LOST.into());
                    return Ok(());
                }
                found => found?,
            }
        }
        self.applied.push(first);
        if self.applied.len() as u64 != part.header.number.sequence {
            return Err(self.fault(&format!("applied unit {} as number {}", part.header.number, self.applied.len())));
        }
        Ok(())
    }

    /// What a reader does that has kept nothing: the decision says from where the prepare can be read.
    fn find_prepare(&self, world: &World, decision: &LogPart) -> Result<(), Violation> {
        let open = decision.header.source.iter().flat_map(|s| &s.open_xa).find(|open| open.decided);
        let Some((number, place)) = open.and_then(|open| open.number.zip(open.place)) else {
            return Err(self.fault("was told of a decision that does not say where its prepare is"));
        };
        let start = ReaderStart::new(world.log_id, ReadFrom::Cursor(place, GtidSet::new()));
        let halted = |found: Box<Halt>| self.fault(&format!("cannot read the prepare again: {found}"));
        let mut core = ReaderCore::new(start).map_err(halted)?.with_rules(world.scope.rules);
        let mut position = self::place(&mut core, world).map_err(halted)?;
        let mut found = None;
        while position < decision.offset {
            let Some(stored) = world.get(position) else { break };
            position += 1;
            core.feed(stored).map_err(halted)?;
            if core.must_place {
                position = self::place(&mut core, world).map_err(halted)?;
            }
            while let Some(delivered) = core.pop() {
                match delivered {
                    Delivered::Part(part) if part.header.number == number && part.header.end == PartEnd::Commit => {
                        found = Some((part.body.kind(), part.header.committed_at));
                    }
                    Delivered::Gap { .. } => core.asked_for_start(world.end()),
                    _ => {}
                }
            }
        }
        if found != Some((BodyKind::XaPrepare, PREPARE as i64)) {
            return Err(self.fault(&format!("found {found:?} where prepare {number} should be, from {place}")));
        }
        Ok(())
    }

    /// Reads until nothing is left.
    pub(super) fn read_to_end(&mut self, world: &mut World) -> Result<(), Violation> {
        for _ in 0..10_000 {
            if !self.read(world)? {
                break;
            }
        }
        Ok(())
    }

    fn fault(&self, what: &str) -> Violation {
        let place = self.core.as_ref().map(|c| (c.cursor, c.history.chain().clone()));
        let (number, applied, position) = (self.number, &self.applied, self.position);
        Violation(format!("reader {number} {what}; it had applied {applied:?}, stands at {position}, {place:?}"))
    }
}

fn place(core: &mut ReaderCore, world: &World) -> Result<i64, Box<Halt>> {
    let bounds = (0, world.end());
    core.check_bounds(bounds)?;
    let mut chosen = None;
    for place in core.candidates() {
        let cursor = place.cursor;
        let held = match place::held_by_bounds(&cursor, bounds.0, bounds.1) {
            Some(held) => held,
            None => match world.get(cursor.next_offset - 1) {
                Some(before) => place::held_by_record(world.log_id, &place, before.offset, &before.value)?,
                None => Held::TailLost,
            },
        };
        if held == Held::Yes {
            chosen = Some(cursor);
            break;
        }
    }
    let position = core.place(chosen, bounds)?;
    core.must_place = false;
    Ok(position)
}

/// What must hold over all readers once everything is still.
pub(super) fn judge_together(world: &World, readers: &[Observer]) -> Result<(), Violation> {
    for reader in readers {
        match &reader.halted {
            // Only a lost tail whose order changed, or that was cut within a unit, may stop a reader.
            Some(found)
                if !(world.tail_lost && (world.scope.fail_over || found == CHECKSUM || found == PREPARE_LOST)) =>
            {
                return Err(reader.fault(&format!("halted: {found}")));
            }
            Some(_) => {}
            None if reader.applied.len() as u64 != TRANSACTIONS => return Err(reader.fault("did not get everything")),
            None => {}
        }
    }
    if !world.tail_lost {
        for pair in readers.windows(2) {
            if pair[0].applied != pair[1].applied {
                return Err(Violation(format!("two histories: {:?} and {:?}", pair[0].applied, pair[1].applied)));
            }
        }
    }
    Ok(())
}

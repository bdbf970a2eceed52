//! The reader without its transport: what is fed to it, what it hands out, and where it must begin again.

use std::collections::VecDeque;

use lutra_change::{Cursor, Epoch, GtidSet, LogId, Number};
use lutra_wire::record::{Body, BodyKind, PartEnd, Record};
use lutra_wire::{BodyJoiner, WireError};

use super::trail::Trail;
use super::{Delivered, LogPart, ReadFrom, ReaderStart};
use crate::bookmark::Bookmark;
use crate::chain::{Chain, Verdict, Void};
use crate::codec;
use crate::error::Halt;
use crate::history::History;
use crate::place::Place;
use crate::rules::Rules;
use crate::transport::StoredRecord;

/// So many starts are asked for without a unit accepted in between; then reading halts. More than one, since a start that
/// is under way when a gap is met does not know of it.
const STARTS_ASKED_FOR: u32 = 2;

/// The gaps met.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    /// The highest offset of a gap for whose sake we went back once.
    looked_at: i64,
    /// The highest offset of a gap for whose sake we went back behind our own cursor.
    searched_at: i64,
    /// The highest offset of a gap that was reported.
    reported_at: i64,
    /// Reported since the last accepted unit.
    reported: u32,
    /// Starts that came into force before this offset were not asked for.
    asked_at: i64,
}

impl Gaps {
    const NONE: Self = Self { looked_at: -1, searched_at: -1, reported_at: -1, reported: 0, asked_at: -1 };
}

/// The reader without its transport.
#[derive(Debug)]
pub(crate) struct ReaderCore {
    pub(crate) log_id: LogId,
    pub(crate) history: History,
    pub(crate) read_to: Cursor,
    /// The cursor as the caller may know it.
    pub(crate) cursor: Cursor,
    /// Reading has to begin again at the cursor: the log may have been cut below the place where we read.
    pub(crate) must_place: bool,
    /// Reading has to begin before the cursor.
    distrust_cursor: bool,
    bookmarks: Vec<Bookmark>,
    /// Cursors of before.
    trail: Trail,
    pending: VecDeque<Delivered>,
    /// The highest epoch without a start for whose sake we went back once.
    went_back_for: Epoch,
    gaps: Gaps,
    /// Where the `EpochStart` in force is, if it was read.
    in_force_at: i64,
    /// A record of the expected log was seen.
    own_log_seen: bool,
    /// Puts together bodies that come in pieces, the first of which is this part.
    joiner: BodyJoiner,
    joining: u32,
    rules: Rules,
}

impl ReaderCore {
    pub(crate) fn new(start: ReaderStart) -> Result<Self, Box<Halt>> {
        let beginning = Cursor { log_id: start.log_id, next_offset: 0, epoch: Epoch::ZERO, number: Number::ZERO };
        let (cursor, history) = match start.from {
            ReadFrom::Cursor(cursor, applied) => (cursor, History::at_cursor(cursor, applied)),
            ReadFrom::Bookmark(bookmark) => (bookmark.cursor, History::at_bookmark(&bookmark)),
            ReadFrom::Beginning => (beginning, History::at_cursor(beginning, GtidSet::new())),
        };
        if cursor.log_id != start.log_id {
            let offset = cursor.next_offset;
            return Err(Box::new(Halt::ForeignLog { offset, expected: start.log_id, found: cursor.log_id }));
        }
        let mut bookmarks = start.bookmarks;
        bookmarks.retain(|b| b.cursor.log_id == start.log_id && b.proven);
        bookmarks.sort_by_key(|b| std::cmp::Reverse(b.cursor.next_offset));
        Ok(Self {
            log_id: start.log_id,
            history,
            read_to: cursor,
            cursor,
            must_place: true,
            distrust_cursor: false,
            bookmarks,
            trail: Trail::default(),
            pending: VecDeque::new(),
            went_back_for: Epoch::ZERO,
            gaps: Gaps::NONE,
            in_force_at: 0,
            own_log_seen: false,
            joiner: BodyJoiner::new(),
            joining: 0,
            rules: Rules::default(),
        })
    }

    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self.history = self.history.with_rules(rules);
        self
    }

    /// The next thing to hand out; the cursor follows what was handed out, not what was read.
    pub(crate) fn pop(&mut self) -> Option<Delivered> {
        let next = self.pending.pop_front();
        if self.pending.is_empty() {
            self.cursor = self.read_to;
        }
        next
    }

    /// P8: a log that has lost what we have yet to read, or everything.
    pub(crate) fn check_bounds(&self, (first, end): (i64, i64)) -> Result<(), Box<Halt>> {
        if self.read_to.next_offset < first {
            return Err(Box::new(Halt::HeadLost { needed: self.read_to.next_offset, first }));
        }
        if end == 0 && self.read_to.next_offset > 0 {
            return Err(Box::new(Halt::EmptyLog { log_id: self.log_id }));
        }
        Ok(())
    }

    /// Places to begin at, the best first; offset 0, which needs no proof, is not among them.
    pub(crate) fn candidates(&self) -> Vec<Place> {
        let before = |place: &Place| place.cursor.next_offset < self.read_to.next_offset;
        let published = self.bookmarks.iter().map(Place::of_bookmark).filter(before);
        if self.distrust_cursor {
            return published.collect();
        }
        // What only we have seen is as good as our cursor: no better, so it goes when that one goes.
        let passed = self.trail.back().map(Place::of_cursor).filter(before);
        let mut places: Vec<Place> = passed.chain(published).collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.cursor.next_offset));
        places.insert(0, Place::of_cursor(self.read_to));
        places
    }

    /// Begins at the place chosen, or at offset 0. Says where to seek.
    pub(crate) fn place(&mut self, chosen: Option<Cursor>, (first, _): (i64, i64)) -> Result<i64, Box<Halt>> {
        if chosen.is_none() && first > 0 {
            return Err(Box::new(Halt::HeadLost { needed: 0, first }));
        }
        if self.history.chain().is_open() {
            self.pending.push_back(Delivered::Discarded);
        }
        let beginning = Cursor { log_id: self.log_id, next_offset: 0, epoch: Epoch::ZERO, number: Number::ZERO };
        let place = chosen.unwrap_or(beginning);
        self.distrust_cursor = false;
        if place != self.read_to {
            tracing::warn!(cursor = %self.read_to, back_to = %place, "the log lost its tail below the cursor; reading again");
        }
        self.own_log_seen |= place.next_offset > 0;
        let in_force = if self.rules.cursor_without_epoch { Epoch::ZERO } else { place.epoch };
        self.history.rewind(&Chain::new(self.log_id, in_force, place.number));
        self.read_to = Cursor { number: self.history.chain().last(), ..place };
        self.trail.back_to(place.next_offset);
        Ok(place.next_offset)
    }

    /// Takes the next record of the log.
    pub(crate) fn feed(&mut self, stored: StoredRecord) -> Result<(), Box<Halt>> {
        let offset = stored.offset;
        let record = codec::decode(offset, &stored.value)?;
        self.check_log(offset, &record)?;
        let verdict = self.history.feed(offset, record.body.kind(), &record.header)?;
        let (Verdict::InForce { discarded } | Verdict::Aborted { discarded } | Verdict::Gap { discarded, .. }) =
            verdict
        else {
            return self.feed_unit(verdict, stored, record);
        };
        if discarded {
            self.pending.push_back(Delivered::Discarded);
        }
        match verdict {
            Verdict::InForce { .. } => {
                let Body::EpochStart(start) = decode_body(offset, &record)? else { return Ok(()) };
                let epoch = record.header.epoch;
                self.in_force_at = offset;
                self.pending.push_back(Delivered::EpochStart { epoch, rules_version: start.rules_version, offset });
            }
            Verdict::Gap { expected, found, .. } => self.gap(offset, expected, found)?,
            _ => {}
        }
        Ok(())
    }

    fn feed_unit(&mut self, verdict: Verdict, stored: StoredRecord, record: Record) -> Result<(), Box<Halt>> {
        let offset = stored.offset;
        match verdict {
            Verdict::Part { replaced, complete } => {
                if replaced {
                    self.pending.push_back(Delivered::Discarded);
                }
                self.part(stored, record)?;
                if complete {
                    self.gaps = Gaps { reported: 0, asked_at: -1, ..self.gaps };
                    self.advance(offset);
                }
            }
            Verdict::Covered { replaced, complete } => {
                if replaced {
                    self.pending.push_back(Delivered::Discarded);
                }
                if complete {
                    self.advance(offset);
                }
            }
            Verdict::Heartbeat => {
                if let Body::Heartbeat(heartbeat) = decode_body(offset, &record)? {
                    let appended_at = stored.appended_at;
                    self.pending.push_back(Delivered::Heartbeat { header: record.header, heartbeat, appended_at });
                }
                self.advance(offset);
            }
            Verdict::Void(Void::UnknownEpoch) if record.header.epoch > self.went_back_for => {
                self.went_back_for = record.header.epoch;
                self.must_place = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands out a part; one that comes in pieces when it is whole, under the number of its first piece.
    fn part(&mut self, stored: StoredRecord, record: Record) -> Result<(), Box<Halt>> {
        let offset = stored.offset;
        let Record { mut header, body } = record;
        if header.part == 1 {
            self.joiner.clear();
        }
        let bad = |source: WireError| Box::new(Halt::BadRecord { offset, source: Box::new(source) });
        let torn = |reason: &str| bad(WireError::Malformed { what: "a piece of a body", reason: reason.to_owned() });
        let body = if body.kind() == BodyKind::Fragment {
            if !self.joiner.is_open() {
                self.joining = header.part;
            }
            header.part = self.joining;
            let Body::Fragment(piece) = body.decode().map_err(bad)? else { return Ok(()) };
            match self.joiner.add(&piece).map_err(bad)? {
                Some(whole) => whole,
                None if header.end == PartEnd::Commit => return Err(torn("the unit ends before the body is whole")),
                None => return Ok(()),
            }
        } else if self.joiner.is_open() {
            return Err(torn("another part follows before the body is whole"));
        } else {
            body
        };
        let (appended_at, headers) = (stored.appended_at, stored.headers);
        self.pending.push_back(Delivered::Part(LogPart { offset, appended_at, header, body, headers }));
        Ok(())
    }

    /// The cursor moves where nothing is open, behind records that show the chain to be ours: units and heartbeats. Not
    /// behind an `EpochStart`, which does not say what it follows: were the log cut below us, we would miss what was
    /// written between the cut and that start.
    fn advance(&mut self, offset: i64) {
        let chain = self.history.chain();
        if !chain.is_open() {
            self.trail.pass(self.read_to);
            self.read_to =
                Cursor { log_id: self.log_id, next_offset: offset + 1, epoch: chain.in_force(), number: chain.last() };
        }
    }

    /// A gap may be in the log, or only in what we read of it, because the log was cut below us and written anew. So the
    /// first answer is to look at our place again, and to read on from there; the last one, before reading halts, is to
    /// read on from before our place, should it be one that only we have seen.
    fn gap(&mut self, offset: i64, expected: Number, found: Number) -> Result<(), Box<Halt>> {
        if offset > self.gaps.looked_at {
            self.gaps.looked_at = offset;
            self.must_place = true;
            return Ok(());
        }
        if self.rules.gap_is_for_ever {
            return Err(Box::new(Halt::GapPersists { offset, expected, found }));
        }
        // Reported already, or written before the start that was asked for.
        if offset <= self.gaps.reported_at || self.in_force_at < self.gaps.asked_at {
            return Ok(());
        }
        if self.gaps.reported < STARTS_ASKED_FOR {
            let reported = self.gaps.reported + 1;
            self.gaps = Gaps { reported_at: offset, reported, asked_at: i64::MAX, ..self.gaps };
            self.pending.push_back(Delivered::Gap { offset, expected, found });
            return Ok(());
        }
        if offset > self.gaps.searched_at {
            self.gaps.searched_at = offset;
            self.distrust_cursor = true;
            self.must_place = true;
            return Ok(());
        }
        Err(Box::new(Halt::GapPersists { offset, expected, found }))
    }

    /// Whether the next thing to hand out is a gap: then [`asked_for_start`](Self::asked_for_start) goes before.
    pub(crate) fn at_gap(&self) -> bool {
        matches!(self.pending.front(), Some(Delivered::Gap { .. }))
    }

    /// The start that a gap asks for comes into force at or behind `end`, the log's present end.
    pub(crate) fn asked_for_start(&mut self, end: i64) {
        self.gaps.asked_at = end;
    }

    /// P8: the first record of a log says which log it is. Later ones of another log are void like any stranger's.
    fn check_log(&mut self, offset: i64, record: &Record) -> Result<(), Box<Halt>> {
        let found = record.header.log_id;
        if found == self.log_id {
            self.own_log_seen = true;
        } else if !self.own_log_seen {
            return Err(Box::new(Halt::ForeignLog { offset, expected: self.log_id, found }));
        }
        Ok(())
    }
}

fn decode_body(offset: i64, record: &Record) -> Result<Body, Box<Halt>> {
    record.body.decode().map_err(|e| Box::new(Halt::BadRecord { offset, source: Box::new(e) }))
}

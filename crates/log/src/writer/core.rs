//! The running writer without its transport: what was handed over, what was acknowledged, and what lies in between.
//!
//! Acknowledged offsets must rise. Where they leave a hole, other records landed: they are read before what follows
//! counts as acknowledged, since a higher epoch among them means that what follows is void.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lutra_change::{Cursor, Epoch, Number, OpenXa};
use lutra_wire::record::{BodyKind, Header, PartEnd, RawBody};

use super::draft::{GtidCarrier, HeaderDraft};
use super::{WriterProgress, attempt_over, halted};
use crate::bookmark::Bookmark;
use crate::chain::{Chain, Verdict};
use crate::codec;
use crate::error::{AttemptEnd, Halt, LogError};
use crate::history::History;
use crate::rules::Rules;
use crate::transport::{Delivery, StoredRecord, Ticket};

/// What the writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The next delivery report.
    Report,
    /// The record at `from` or the next after it, and meanwhile delivery reports.
    Record {
        /// Where to read.
        from: i64,
    },
}

/// A record handed over.
#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    kind: BodyKind,
    header: Header,
    bytes: usize,
}

/// The running writer.
#[derive(Debug)]
pub(crate) struct WriterCore {
    topic: String,
    epoch: Epoch,
    /// The chain as far as it was handed over: our own records are held to the reader's rules before they leave.
    own: Chain,
    carrier: GtidCarrier,
    in_flight: VecDeque<Sent>,
    /// Acknowledged; waiting until everything before it in the log has been read.
    acknowledged: VecDeque<(Sent, Option<i64>)>,
    /// The log as far as it has been read or is known to be ours.
    confirmed: History,
    /// The first offset not confirmed.
    confirmed_to: i64,
    /// The place behind the last confirmed record that left no unit open.
    cursor: Cursor,
    /// The place behind the own `EpochStart`, if it was read back from a place beyond doubt.
    proven_at: Option<i64>,
    last_offset: i64,
    progress: WriterProgress,
    /// A place before each prepare that this writer wrote and that is open (P11).
    prepares: BTreeMap<Number, Cursor>,
    rules: Rules,
}

impl WriterCore {
    /// A writer behind its own `EpochStart` at `offset`; `confirmed` is the history up to and including it.
    pub(super) fn new(topic: &str, confirmed: History, offset: i64, proven: bool, rules: Rules) -> Self {
        let chain = confirmed.chain();
        let (log_id, epoch, number) = (chain.log_id(), chain.in_force(), chain.last());
        Self {
            topic: topic.to_owned(),
            epoch,
            own: Chain::new(log_id, epoch, number),
            carrier: GtidCarrier::default(),
            in_flight: VecDeque::new(),
            acknowledged: VecDeque::new(),
            confirmed,
            confirmed_to: offset + 1,
            cursor: Cursor { log_id, next_offset: offset + 1, epoch, number },
            proven_at: proven.then_some(offset + 1),
            last_offset: offset,
            progress: WriterProgress {
                acknowledged: number,
                committed_at: 0,
                heartbeat_at: 0,
                offset,
                acknowledged_at: now(),
                acknowledged_bytes: 0,
                in_flight_bytes: 0,
            },
            prepares: BTreeMap::new(),
            rules,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn last_appended(&self) -> Number {
        self.own.last()
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.progress.in_flight_bytes
    }

    pub(crate) fn progress(&self) -> WriterProgress {
        self.progress
    }

    /// Whether everything handed over is confirmed.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.acknowledged.is_empty()
    }

    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        (self.cursor.number > Number::ZERO).then(|| Bookmark {
            cursor: self.cursor,
            source: self.confirmed.source(),
            input: self.confirmed.input(),
            last_unit: self.confirmed.last_unit().cloned(),
            proven: self.proven_at == Some(self.cursor.next_offset),
        })
    }

    pub(crate) fn wanted(&self) -> Wanted {
        if self.acknowledged.is_empty() { Wanted::Report } else { Wanted::Record { from: self.confirmed_to } }
    }

    /// Makes the record of a part.
    /// What `body` is a piece of is of the kind `kind`.
    pub(crate) fn draft(
        &mut self,
        draft: HeaderDraft<'_>,
        body: &RawBody,
        kind: BodyKind,
    ) -> Result<(Header, Bytes), LogError> {
        let moves = draft.number > draft.previous;
        if kind == BodyKind::XaPrepare && draft.part == 1 {
            // Confirmed: it is in the log for as long as the prepare is.
            self.prepares.insert(draft.number, self.cursor);
        }
        let mut source = draft.source;
        if let Some(source) = &mut source {
            self.put_places(moves.then_some(draft.number), &mut source.open_xa);
        }
        let header = Header {
            log_id: self.own.log_id(),
            epoch: self.epoch,
            number: draft.number,
            previous: draft.previous,
            part: draft.part,
            end: draft.end,
            source: source.map(|s| self.carrier.carry(s, moves)),
            committed_at: draft.committed_at,
            read_at: draft.read_at,
            input: draft.input,
            origins: draft.origins,
            totals: draft.totals,
        };
        self.check(body.kind(), &header)?;
        let value = codec::encode(&header, body);
        Ok((header, value))
    }

    /// Puts in the places of prepares that this writer wrote (P11).
    fn put_places(&mut self, unit: Option<Number>, open_xa: &mut [OpenXa]) {
        if self.prepares.is_empty() {
            return;
        }
        for open in open_xa.iter_mut().filter(|open| open.place.is_none()) {
            open.place = open.number.and_then(|number| self.prepares.get(&number).copied());
        }
        if let Some(unit) = unit {
            let open = |number: &Number| open_xa.iter().any(|o| o.number == Some(*number) && !o.decided);
            self.prepares.retain(|number, _| *number > unit || open(number));
        }
    }

    /// Holds an own record to the reader's rules, and to the writer's own: the origin first, no overlap, no hole.
    fn check(&mut self, kind: BodyKind, header: &Header) -> Result<(), LogError> {
        let last = self.own.last();
        let fault = |reason| {
            let (number, previous, part) = (header.number, header.previous, header.part);
            Err(halted(&self.topic, Halt::BreaksChain { number, previous, part, last, reason }))
        };
        if kind == BodyKind::EpochStart {
            return fault("the writer itself appends the EpochStart");
        }
        // An extractor's origin is (0,1); a transformer's covers what its input had before the pipeline began.
        if last == Number::ZERO && (kind != BodyKind::Heartbeat || header.number < Number::ORIGIN) {
            return fault(
                "a log begins with its origin, a heartbeat with number (0,1), or the input's where the pipeline begins",
            );
        }
        if header.end == PartEnd::Commit && header.part == 1 && header.previous != last {
            return fault("a unit begins where the one before ended");
        }
        match self.own.judge(kind, header) {
            Verdict::Part { .. } | Verdict::Heartbeat | Verdict::Aborted { .. } => Ok(()),
            Verdict::Covered { .. } => fault("its number is taken"),
            Verdict::Gap { .. } => fault("something is missing before it"),
            Verdict::InForce { .. } | Verdict::Void(_) => fault("it does not follow the part before it"),
        }
    }

    /// Notes a record that the producer has taken over.
    pub(crate) fn handed_over(&mut self, ticket: Ticket, kind: BodyKind, header: Header, bytes: usize) {
        self.progress.in_flight_bytes += bytes;
        self.in_flight.push_back(Sent { ticket, kind, header, bytes });
    }

    /// Takes in a delivery report.
    pub(crate) fn delivered(&mut self, delivery: Delivery) -> Result<(), LogError> {
        let ticket = match &delivery {
            Delivery::Acknowledged { ticket, .. } | Delivery::Failed { ticket, .. } => *ticket,
        };
        let Some(sent) = self.in_flight.pop_front().filter(|s| s.ticket == ticket) else {
            return Err(self.attempt_over(AttemptEnd::Ended));
        };
        let (number, part) = (sent.header.number, sent.header.part);
        match delivery {
            Delivery::Failed { error: source, .. } => {
                Err(self.attempt_over(AttemptEnd::DeliveryFailed { number, part, source }))
            }
            Delivery::Acknowledged { offset, .. } => {
                if let Some(offset) = offset {
                    self.check_rising(offset)?;
                }
                self.acknowledged.push_back((sent, offset));
                self.confirm()
            }
        }
    }

    /// Takes in a record read at or behind the first offset not confirmed.
    pub(crate) fn read(&mut self, stored: &StoredRecord) -> Result<(), LogError> {
        if stored.offset < self.confirmed_to {
            return Ok(());
        }
        match self.acknowledged.front() {
            // The log holds nothing more between here and our record.
            Some((_, Some(ours))) if stored.offset >= *ours => {
                self.confirmed_to = *ours;
                return self.confirm();
            }
            _ => {}
        }
        let record = codec::decode(stored.offset, &stored.value).map_err(|found| halted(&self.topic, found))?;
        let header = &record.header;
        let kind = record.body.kind();
        if header.log_id == self.own.log_id() {
            if header.epoch > self.epoch && kind == BodyKind::EpochStart {
                return Err(LogError::Fenced { topic: self.topic.clone(), mine: self.epoch, by: header.epoch });
            }
            if header.epoch == self.epoch && kind != BodyKind::EpochStart {
                return self.found_own(stored.offset, header);
            }
        }
        self.confirmed_to = stored.offset + 1;
        self.confirm()
    }

    /// A record of our epoch: the one whose acknowledgement did not say where it is, or not ours at all.
    fn found_own(&mut self, offset: i64, header: &Header) -> Result<(), LogError> {
        let sought = matches!(self.acknowledged.front(),
            Some((s, None)) if s.header.number == header.number && s.header.part == header.part);
        if !sought {
            return Err(self.attempt_over(AttemptEnd::EpochReused { offset, epoch: self.epoch }));
        }
        if let Some((_, place)) = self.acknowledged.front_mut() {
            *place = Some(offset);
        }
        self.last_offset = self.last_offset.max(offset);
        self.confirmed_to = offset;
        self.confirm()
    }

    /// Confirms what follows without a hole.
    fn confirm(&mut self) -> Result<(), LogError> {
        while let Some((_, Some(offset))) = self.acknowledged.front() {
            let offset = *offset;
            if offset > self.confirmed_to {
                return Ok(());
            }
            if offset < self.confirmed_to && !self.rules.no_offset_check {
                return Err(self.tail_lost(offset));
            }
            if let Some((sent, _)) = self.acknowledged.pop_front() {
                self.confirm_one(&sent, offset)?;
            }
        }
        Ok(())
    }

    fn confirm_one(&mut self, sent: &Sent, offset: i64) -> Result<(), LogError> {
        let judged = self.confirmed.feed(offset, sent.kind, &sent.header);
        judged.map_err(|found| halted(&self.topic, found))?;
        let chain = self.confirmed.chain();
        if !chain.is_open() {
            let (log_id, number) = (chain.log_id(), chain.last());
            self.cursor = Cursor { log_id, next_offset: offset + 1, epoch: self.epoch, number };
            self.progress.acknowledged = number;
            if sent.kind == BodyKind::Heartbeat {
                self.progress.heartbeat_at = sent.header.read_at;
            } else if sent.header.committed_at != 0 {
                self.progress.committed_at = sent.header.committed_at;
                self.progress.heartbeat_at = 0;
            }
        }
        self.confirmed_to = offset + 1;
        self.progress.offset = offset;
        self.progress.acknowledged_at = now();
        self.progress.acknowledged_bytes += sent.bytes as u64;
        self.progress.in_flight_bytes -= sent.bytes;
        Ok(())
    }

    fn check_rising(&mut self, offset: i64) -> Result<(), LogError> {
        if offset <= self.last_offset && !self.rules.no_offset_check {
            return Err(self.tail_lost(offset));
        }
        self.last_offset = offset;
        Ok(())
    }

    /// The end of the attempt because the log ends at `offset` although more was acknowledged.
    pub(crate) fn tail_lost(&self, offset: i64) -> LogError {
        self.attempt_over(AttemptEnd::TailLost { acknowledged: offset, last: self.last_offset })
    }

    pub(crate) fn attempt_over(&self, reason: AttemptEnd) -> LogError {
        attempt_over(&self.topic, reason)
    }
}

/// Now, in microseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_wire::record::Heartbeat;

    use super::*;
    use crate::testing::{LOG, transaction};

    /// A writer behind its `EpochStart` at offset 9, unit 4 being the last, with units 5, 6, … handed over.
    fn writer(units: u64, rules: Rules) -> WriterCore {
        let history = History::new(Chain::new(LOG, Epoch::new(2, 0), Number::new(4, 0)));
        let mut core = WriterCore::new("t", history, 9, true, rules);
        for n in 0..units {
            core.handed_over(Ticket(n), BodyKind::Changes, transaction(2, 5 + n), 100);
        }
        core
    }

    fn acknowledge(core: &mut WriterCore, ticket: u64, offset: Option<i64>) -> Result<(), LogError> {
        core.delivered(Delivery::Acknowledged { ticket: Ticket(ticket), offset })
    }

    fn stored(offset: i64, kind: BodyKind, header: &Header) -> StoredRecord {
        let body = match kind {
            BodyKind::EpochStart => {
                RawBody::epoch_start(&lutra_wire::record::EpochStart { cluster: "c".into(), rules_version: 0 })
            }
            _ => RawBody::heartbeat(&Heartbeat { at: 0, clock_offset: 0 }),
        };
        StoredRecord { offset, value: codec::encode(header, &body), appended_at: 0, headers: Default::default() }
    }

    fn number(core: &WriterCore) -> u64 {
        core.bookmark().unwrap().cursor.number.sequence
    }

    #[test]
    fn an_acknowledged_offset_that_does_not_rise_ends_the_attempt() {
        let mut core = writer(3, Rules::ALL);
        acknowledge(&mut core, 0, Some(10)).unwrap();
        acknowledge(&mut core, 1, Some(11)).unwrap();
        let lost = acknowledge(&mut core, 2, Some(11)).unwrap_err();
        assert!(matches!(lost, LogError::Attempt { reason: AttemptEnd::TailLost { acknowledged: 11, last: 11 }, .. }));
        // Without the rule the writer goes on behind unit 7, although unit 6 is not in the log.
        let mut core = writer(3, Rules { no_offset_check: true, ..Rules::ALL });
        for (ticket, offset) in [(0, 10), (1, 11), (2, 11)] {
            acknowledge(&mut core, ticket, Some(offset)).unwrap();
        }
        assert_eq!(number(&core), 7);
    }

    #[test]
    fn what_lies_between_our_records_is_read_before_it_counts() {
        let mut core = writer(1, Rules::ALL);
        acknowledge(&mut core, 0, Some(12)).unwrap();
        assert_eq!((core.wanted(), number(&core)), (Wanted::Record { from: 10 }, 4));
        core.read(&stored(10, BodyKind::Heartbeat, &transaction(1, 5))).unwrap();
        assert_eq!((core.wanted(), number(&core)), (Wanted::Record { from: 11 }, 4));
        core.read(&stored(11, BodyKind::EpochStart, &transaction(1, 5))).unwrap();
        assert_eq!((core.wanted(), number(&core)), (Wanted::Report, 5));
        assert!(core.is_settled());
    }

    #[test]
    fn a_higher_start_between_our_records_fences() {
        let mut core = writer(1, Rules::ALL);
        acknowledge(&mut core, 0, Some(11)).unwrap();
        let fenced = core.read(&stored(10, BodyKind::EpochStart, &transaction(3, 5))).unwrap_err();
        assert!(matches!(fenced, LogError::Fenced { by, .. } if by == Epoch::new(3, 0)));
    }

    #[test]
    fn a_record_of_our_epoch_that_we_did_not_write_ends_the_attempt() {
        let mut core = writer(1, Rules::ALL);
        acknowledge(&mut core, 0, Some(11)).unwrap();
        let reused = core.read(&stored(10, BodyKind::Heartbeat, &transaction(2, 5))).unwrap_err();
        assert!(matches!(reused, LogError::Attempt { reason: AttemptEnd::EpochReused { offset: 10, .. }, .. }));
    }

    #[test]
    fn an_acknowledgement_without_offset_is_settled_by_reading_back() {
        let mut core = writer(2, Rules::ALL);
        acknowledge(&mut core, 0, None).unwrap();
        acknowledge(&mut core, 1, Some(12)).unwrap();
        core.read(&stored(10, BodyKind::Heartbeat, &transaction(1, 9))).unwrap();
        assert_eq!(number(&core), 4);
        core.read(&stored(11, BodyKind::Heartbeat, &transaction(2, 5))).unwrap();
        assert_eq!((number(&core), core.is_settled()), (6, true));
    }

    #[test]
    fn a_failed_delivery_ends_the_attempt() {
        let mut core = writer(1, Rules::ALL);
        let error = crate::transport::TransportError::OutOfRange { topic: "t".into(), offset: 0 };
        let failed = core.delivered(Delivery::Failed { ticket: Ticket(0), error }).unwrap_err();
        assert!(matches!(failed, LogError::Attempt { reason: AttemptEnd::DeliveryFailed { part: 1, .. }, .. }));
    }

    #[test]
    fn only_the_place_behind_the_start_is_a_proven_bookmark() {
        let mut core = writer(1, Rules::ALL);
        assert!(core.bookmark().unwrap().proven);
        acknowledge(&mut core, 0, Some(10)).unwrap();
        assert!(!core.bookmark().unwrap().proven);
    }

    #[test]
    fn what_would_break_the_chain_never_leaves() {
        let body = RawBody::heartbeat(&Heartbeat { at: 0, clock_offset: 0 });
        let draft = |previous, number| HeaderDraft {
            number: Number::new(number, 0),
            previous: Number::new(previous, 0),
            part: 1,
            end: PartEnd::Commit,
            source: None,
            committed_at: 0,
            read_at: 0,
            input: None,
            origins: Vec::new(),
            totals: None,
        };
        for (previous, number) in [(5, 6), (3, 5), (3, 4)] {
            let refused = writer(0, Rules::ALL).draft(draft(previous, number), &body, body.kind()).unwrap_err();
            assert!(matches!(refused, LogError::Halt { found, .. } if matches!(*found, Halt::BreaksChain { .. })));
        }
        assert!(writer(0, Rules::ALL).draft(draft(4, 5), &body, body.kind()).is_ok());

        let empty = History::new(Chain::new(LOG, Epoch::new(2, 0), Number::ZERO));
        let mut core = WriterCore::new("t", empty, 0, true, Rules::ALL);
        assert!(core.draft(draft(0, 0), &body, body.kind()).is_err(), "a log begins with its origin");
        let origin = HeaderDraft { number: Number::ORIGIN, ..draft(0, 0) };
        assert!(core.draft(origin, &body, body.kind()).is_ok());
        assert_eq!(core.last_appended(), Number::ORIGIN);
    }
}

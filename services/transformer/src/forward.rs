//! From accepted input parts to output parts: numbers are kept, filtered units are covered by the next interval.
//!
//! Pure: what to append comes out as [`Forwarded`], the task appends it.

use lutra_change::{BinlogPosition, Cursor, GtidSet, Number};
use lutra_log::{HeaderDraft, SourceDraft, SourcePlace};
use lutra_wire::record::{GtidState, Header, Heartbeat, PartEnd, RawBody, UnitTotals};
use uuid::Uuid;

/// One part for the pipeline's log.
#[derive(Debug)]
pub struct Forwarded {
    /// The unit's number: its input's.
    pub number: Number,
    /// The number of the unit before it in the pipeline's log.
    pub previous: Number,
    /// Part, counted anew: parts of which nothing is left are not forwarded.
    pub part: u32,
    /// How it ends.
    pub end: PartEnd,
    /// Whether the source's place belongs into the header.
    pub with_source: bool,
    /// Whether the unit's own GTID is that of its header (not so for a heartbeat made here).
    pub own_gtid: bool,
    /// Commit time at the source.
    pub committed_at: i64,
    /// When the extractor read it.
    pub read_at: i64,
    /// Input cursor, on complete units.
    pub input: Option<Cursor>,
    /// Sources it came from.
    pub origins: Vec<String>,
    /// Totals of the unit.
    pub totals: Option<UnitTotals>,
    /// What it carries.
    pub body: RawBody,
}

/// The source's place as the input tells it, and what it gained since the last unit forwarded.
#[derive(Debug, Default)]
struct Place {
    server_uuid: Uuid,
    position: BinlogPosition,
    added: GtidSet,
    last_gtid: Option<lutra_change::Gtid>,
}

/// The state of forwarding: what was seen of the input, what the output has.
#[derive(Debug)]
pub struct Forwarder {
    /// Last complete input unit.
    seen: Number,
    /// Last complete output unit.
    forwarded: Number,
    /// Parts of the open unit that went out.
    parts_out: u32,
    place: Place,
}

impl Forwarder {
    /// Goes on where the pipeline's log ends.
    pub fn new(forwarded: Number, place: Option<SourcePlace>) -> Self {
        let place = place
            .map(|p| Place { server_uuid: p.server_uuid, position: p.position, ..Place::default() })
            .unwrap_or_default();
        Self { seen: forwarded, forwarded, parts_out: 0, place }
    }

    /// The last complete unit of the input.
    pub fn seen(&self) -> Number {
        self.seen
    }

    /// The last complete unit of the output.
    pub fn forwarded(&self) -> Number {
        self.forwarded
    }

    /// Takes one accepted part with what the rules left of its body. `input` is the reader's cursor behind it.
    pub fn part(
        &mut self,
        header: &Header,
        body: Option<RawBody>,
        empty: impl FnOnce() -> RawBody,
        totals: Option<UnitTotals>,
        input: Cursor,
    ) -> Option<Forwarded> {
        if header.part == 1 {
            self.parts_out = 0;
        }
        if header.end != PartEnd::Commit {
            let body = body?;
            self.parts_out += 1;
            return Some(self.draft(header, PartEnd::More, body, None, None));
        }
        self.saw(header);
        if body.is_none() && self.parts_out == 0 {
            return None;
        }
        self.parts_out += 1;
        let forwarded = self.draft(header, PartEnd::Commit, body.unwrap_or_else(empty), totals, Some(input));
        self.forwarded = header.number;
        self.parts_out = 0;
        Some(forwarded)
    }

    /// The open unit is void. What went out of it is replaced by the next part 1.
    pub fn discarded(&mut self) {
        self.parts_out = 0;
    }

    /// A heartbeat of the input that did not move: it moves here when units were filtered out since the last one forwarded.
    pub fn heartbeat(&mut self, header: &Header, heartbeat: &Heartbeat, input: Cursor) -> Forwarded {
        let previous = self.forwarded;
        self.forwarded = self.seen;
        Forwarded {
            number: self.seen,
            previous,
            part: 1,
            end: PartEnd::Commit,
            with_source: true,
            own_gtid: false,
            committed_at: header.committed_at,
            read_at: header.read_at,
            input: Some(input),
            origins: Vec::new(),
            totals: None,
            body: RawBody::heartbeat(heartbeat),
        }
    }

    /// The header of what was forwarded; `applied` is the input's whole GTID set at this place.
    pub fn header<'a>(&mut self, forwarded: &Forwarded, applied: &'a GtidSet) -> HeaderDraft<'a> {
        let source = forwarded.with_source.then(|| SourceDraft {
            server_uuid: self.place.server_uuid,
            position: self.place.position.clone(),
            gtid: self.place.last_gtid.clone().filter(|_| forwarded.own_gtid),
            gtid_set: applied,
            added: Some(std::mem::take(&mut self.place.added)),
            open_xa: Vec::new(),
            definitions: None,
        });
        HeaderDraft {
            number: forwarded.number,
            previous: forwarded.previous,
            part: forwarded.part,
            end: forwarded.end,
            source,
            committed_at: forwarded.committed_at,
            read_at: forwarded.read_at,
            input: forwarded.input,
            origins: forwarded.origins.clone(),
            totals: forwarded.totals,
        }
    }

    fn saw(&mut self, header: &Header) {
        self.seen = header.number;
        let Some(source) = &header.source else { return };
        self.place.server_uuid = source.server_uuid;
        self.place.position = source.position.clone();
        self.place.last_gtid.clone_from(&source.gtid);
        match &source.gtid_set {
            GtidState::Added(added) => self.place.added.union_with(added),
            // A set carried whole is small, or comes first behind a start: the writer carries it whole again.
            GtidState::Whole(set) => self.place.added.union_with(set),
        }
    }

    fn draft(
        &self,
        header: &Header,
        end: PartEnd,
        body: RawBody,
        totals: Option<UnitTotals>,
        input: Option<Cursor>,
    ) -> Forwarded {
        Forwarded {
            number: header.number,
            previous: self.forwarded,
            part: self.parts_out,
            end,
            with_source: end == PartEnd::Commit,
            own_gtid: true,
            committed_at: header.committed_at,
            read_at: header.read_at,
            input,
            origins: header.origins.clone(),
            totals,
            body,
        }
    }
}

//! One start of the writer: from its `EpochStart` to its end, whatever that is.

use std::collections::VecDeque;

use bytes::Bytes;
use lutra_change::{BinlogPosition, Epoch, GtidSet, Number, OpenXa};
use lutra_wire::record::{BodyKind, Changes, Ddl, DdlKind, Heartbeat, PartEnd, RawBody, XaDecision, XaPrepare};
use uuid::Uuid;

use super::world::{World, gtid, pick};
use super::{DECISION, PREPARE, Violation};
use crate::bookmark::Bookmark;
use crate::error::LogError;
use crate::place::{self, Held, Place};
use crate::transport::{Delivery, Ticket, TransportError};
use crate::writer::core::{Wanted, WriterCore};
use crate::writer::draft::{HeaderDraft, SourceDraft};
use crate::writer::start::{self, StartCore};
use crate::writer::{Tail, WriterOptions};

/// How many parts a cut has.
pub(super) fn parts_of(cut: i64) -> u32 {
    1 + u32::try_from(cut % 3).unwrap_or(0)
}

/// The transaction being sent.
struct Sending {
    transaction: u64,
    cut: i64,
    next_part: u32,
}

/// What a running session knows of its source.
struct Running {
    core: WriterCore,
    executed: GtidSet,
    number: Number,
    origin_due: bool,
    sending: Option<Sending>,
    /// As the assembler: what is prepared and not decided.
    open_xa: Vec<OpenXa>,
    xa: bool,
}

enum State {
    /// Created; begins when it is first scheduled.
    Waiting,
    /// Its `EpochStart` is not read back yet.
    Starting(Box<StartCore>),
    Running(Box<Running>),
    /// Ended or crashed.
    Dead,
}

/// One start of the writer.
pub(super) struct Session {
    number: usize,
    epoch: Epoch,
    server: usize,
    state: State,
    pipe: VecDeque<(Ticket, Bytes)>,
    reports: VecDeque<Delivery>,
    next_ticket: u64,
    done: bool,
}

impl Session {
    pub(super) fn new(world: &mut World, number: usize) -> Self {
        let mut term = number as u64 + 1;
        if world.scope.shared_epochs && !world.calm {
            term = term.div_ceil(2);
        }
        let server = if world.scope.fail_over { pick(&mut world.rng, 2) } else { 0 };
        Self {
            number,
            epoch: Epoch::new(term, 1),
            server,
            state: State::Waiting,
            pipe: VecDeque::new(),
            reports: VecDeque::new(),
            next_ticket: 0,
            done: false,
        }
    }

    pub(super) fn crash(&mut self) {
        self.state = State::Dead;
    }

    /// The oldest record in flight of a dead session, and so all behind it, never lands.
    pub(super) fn forget_one(&mut self) {
        if matches!(self.state, State::Dead) {
            self.pipe.clear();
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.pipe.clear();
    }

    /// Sent everything that its server has, and saw it acknowledged.
    pub(super) fn finished(&self) -> bool {
        self.done
    }

    /// The oldest record in flight lands.
    pub(super) fn land(&mut self, world: &mut World) {
        let Some((ticket, value)) = self.pipe.pop_front() else { return };
        let offset = world.append(value);
        let fate = if world.scope.lost_replies && !world.calm { pick(&mut world.rng, 30) } else { 29 };
        let report = match fate {
            0 => {
                let source = "reply lost".into();
                let error =
                    TransportError::Failed { topic: "sim".into(), operation: "append", transient: true, source };
                Delivery::Failed { ticket, error }
            }
            1..4 => Delivery::Acknowledged { ticket, offset: None },
            _ => Delivery::Acknowledged { ticket, offset: Some(offset) },
        };
        self.reports.push_back(report);
    }

    pub(super) fn publish(&mut self, world: &mut World) {
        if let State::Running(running) = &self.state
            && let Some(bookmark) = running.core.bookmark()
        {
            world.bookmarks.push(bookmark);
        }
    }

    /// One step of the process.
    pub(super) fn act(&mut self, world: &mut World) -> Result<(), Violation> {
        let outcome = match std::mem::replace(&mut self.state, State::Dead) {
            State::Waiting => self.begin(world),
            State::Starting(start) => self.go_on_starting(world, start),
            State::Running(running) => self.go_on_running(world, running),
            State::Dead => Ok(State::Dead),
        };
        match outcome {
            Ok(state) => self.state = state,
            Err(LogError::Halt { found, .. }) => {
                return Err(Violation(format!("session {} halted: {found}", self.number)));
            }
            Err(_) => self.state = State::Dead,
        }
        Ok(())
    }

    fn options(&self, world: &World) -> WriterOptions {
        WriterOptions {
            log_id: world.log_id,
            cluster: "sim".into(),
            rules_version: 0,
            begun: false,
            bookmarks: if world.gap_seen {
                Bookmark::only_proven(world.bookmarks.clone())
            } else {
                world.bookmarks.clone()
            },
            max_in_flight_bytes: usize::MAX,
        }
    }

    fn begin(&mut self, world: &mut World) -> Result<State, LogError> {
        let options = self.options(world);
        let mut core = StartCore::new("sim", &options, self.epoch).with_rules(world.scope.rules);
        if world.scope.rules.no_read_back {
            core.begin_at(held(world, &options, false), (0, world.end()))?;
            while let Some(stored) = world.get(core.position()) {
                core.read(&stored)?;
            }
        }
        let value = core.epoch_start(&options);
        self.send(value);
        Ok(State::Starting(Box::new(core)))
    }

    fn go_on_starting(&mut self, world: &mut World, mut core: Box<StartCore>) -> Result<State, LogError> {
        let Some(report) = self.reports.pop_front() else { return Ok(State::Starting(core)) };
        core.delivered(report, Ticket(0))?;
        if !world.scope.rules.no_read_back {
            let options = self.options(world);
            core.begin_at(held(world, &options, false), (0, world.end()))?;
        }
        while !core.is_done() {
            match world.get(core.position()) {
                Some(stored) => core.read(&stored)?,
                None => return Err(core.lost()),
            }
            if core.is_in_doubt() {
                let options = self.options(world);
                core.begin_at(held(world, &options, true), (0, world.end()))?;
            }
        }
        let (core, tail) = core.finish(false)?;
        if pick(&mut world.rng, 2) == 0 {
            world.bookmarks.extend(core.bookmark());
        }
        Ok(State::Running(Box::new(Running::new(core, &tail, &world.base, world.scope.xa))))
    }

    fn go_on_running(&mut self, world: &mut World, mut running: Box<Running>) -> Result<State, LogError> {
        match pick(&mut world.rng, 4) {
            0 => {
                if let Some(report) = self.reports.pop_front() {
                    running.core.delivered(report)?;
                }
            }
            1 => {
                if let Wanted::Record { from } = running.core.wanted() {
                    match world.get(from) {
                        Some(stored) => running.core.read(&stored)?,
                        None if pick(&mut world.rng, 4) == 0 => return Err(running.core.tail_lost(from)),
                        None => {}
                    }
                }
            }
            _ if self.pipe.len() < 6 => {
                if let Some(value) = running.next_record(world, self.number, self.server)? {
                    let ticket = self.send(value.value);
                    running.core.handed_over(ticket, value.kind, value.header, 1);
                } else {
                    self.done = running.core.is_settled();
                }
            }
            _ => {}
        }
        Ok(State::Running(running))
    }

    fn send(&mut self, value: Bytes) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.pipe.push_back((ticket, value));
        ticket
    }

    /// Runs alone, everything landing at once.
    pub(super) fn run_to_end(&mut self, world: &mut World) -> Result<(), Violation> {
        for _ in 0..2_000 {
            if self.done || matches!(self.state, State::Dead) {
                break;
            }
            self.act(world)?;
            self.land(world);
        }
        // An idle source sends heartbeats: they show what is missing.
        let State::Running(running) = &mut self.state else { return Ok(()) };
        if let Ok(made) = running.heartbeat(running.number) {
            self.send(made.value);
            self.land(world);
        }
        Ok(())
    }
}

fn held(world: &World, options: &WriterOptions, only_proven: bool) -> Option<Bookmark> {
    start::candidates(options, only_proven).into_iter().find(|b| holds(world, b)).cloned()
}

fn holds(world: &World, bookmark: &Bookmark) -> bool {
    let cursor = &bookmark.cursor;
    let held = place::held_by_bounds(cursor, 0, world.end()).or_else(|| {
        let before = world.get(cursor.next_offset - 1)?;
        place::held_by_record(world.log_id, &Place::of_bookmark(bookmark), before.offset, &before.value).ok()
    });
    held == Some(Held::Yes)
}

/// A record ready to be sent.
struct Made {
    kind: BodyKind,
    header: lutra_wire::record::Header,
    value: Bytes,
}

impl Running {
    fn new(core: WriterCore, tail: &Tail, base: &GtidSet, xa: bool) -> Self {
        let executed = tail.source.as_ref().map_or_else(|| base.clone(), |s| s.gtid_set.clone());
        let open_xa = tail.source.as_ref().map(|s| s.open_xa.clone()).unwrap_or_default();
        Self { core, executed, number: tail.number, origin_due: tail.empty, sending: None, open_xa, xa }
    }

    /// The next record, if the source has more.
    fn next_record(&mut self, world: &mut World, session: usize, server: usize) -> Result<Option<Made>, LogError> {
        if self.origin_due {
            self.origin_due = false;
            return self.heartbeat(Number::ORIGIN).map(Some);
        }
        let chance = pick(&mut world.rng, 40);
        if self.sending.is_none() && chance == 0 && !world.calm {
            return self.heartbeat(self.number.next_sub()).map(Some);
        }
        if chance == 1 && !world.calm {
            return self.heartbeat(self.number).map(Some);
        }
        if self.sending.is_none() {
            let Some(transaction) = world.next_transaction(server, &self.executed) else { return Ok(None) };
            self.sending = Some(self.cut(world, session, transaction));
        }
        let Some(sending) = &self.sending else { return Ok(None) };
        // The source's connection breaks and the transaction comes again, cut differently; or it rolls back.
        if sending.next_part > 1 && chance < 6 && !world.calm {
            let transaction = sending.transaction;
            let (part, cut) = (sending.next_part, sending.cut);
            self.sending = Some(self.cut(world, session, transaction));
            if chance == 2 {
                return self.part(transaction, cut, part, PartEnd::Abort).map(Some);
            }
        }
        let Some(Sending { transaction, cut, next_part }) = self.sending.take() else { return Ok(None) };
        let end = if next_part == parts_of(cut) { PartEnd::Commit } else { PartEnd::More };
        if end == PartEnd::More {
            self.sending = Some(Sending { transaction, cut, next_part: next_part + 1 });
        }
        self.part(transaction, cut, next_part, end).map(Some)
    }

    fn cut(&self, world: &mut World, session: usize, transaction: u64) -> Sending {
        let cut = session as i64 * 100 + pick(&mut world.rng, 100) as i64;
        Sending { transaction, cut, next_part: 1 }
    }

    fn part(&mut self, transaction: u64, cut: i64, part: u32, end: PartEnd) -> Result<Made, LogError> {
        let number = self.number.next_sequence();
        let previous = self.number;
        if end == PartEnd::Commit {
            self.executed.insert(&gtid(transaction));
            self.number = number;
        }
        let gtid = (end == PartEnd::Commit).then(|| gtid(transaction));
        if self.xa && transaction == PREPARE {
            if end == PartEnd::Commit {
                let open = OpenXa { xid: "x".into(), number: Some(number), place: None, decided: false };
                self.open_xa.push(open);
            }
            let changes = Changes { context: None, tables: Vec::new(), rows: Vec::new() };
            let body = RawBody::xa_prepare(&XaPrepare { xid: Bytes::from_static(b"x"), changes });
            return self.make(number, previous, part, end, gtid, (transaction as i64, cut), &body);
        }
        if self.xa && transaction == DECISION {
            self.open_xa.iter_mut().for_each(|open| open.decided = true);
            let body = RawBody::xa_decision(&XaDecision { xid: Bytes::from_static(b"x"), commit: true });
            let made = self.make(number, previous, part, end, gtid, (transaction as i64, cut), &body);
            if end == PartEnd::Commit {
                self.open_xa.clear();
            }
            return made;
        }
        let ddl = Ddl {
            statement: Bytes::new(),
            database: String::new(),
            kind: DdlKind::Other,
            tables: Vec::new(),
            context: lutra_change::SessionContext::default(),
        };
        self.make(number, previous, part, end, gtid, (transaction as i64, cut), &RawBody::ddl(&ddl))
    }

    fn heartbeat(&mut self, number: Number) -> Result<Made, LogError> {
        let previous = self.number;
        self.number = number;
        let body = RawBody::heartbeat(&Heartbeat { at: 0, clock_offset: 0 });
        self.make(number, previous, 1, PartEnd::Commit, None, (0, 0), &body)
    }

    #[allow(clippy::too_many_arguments)]
    fn make(
        &mut self,
        number: Number,
        previous: Number,
        part: u32,
        end: PartEnd,
        gtid: Option<lutra_change::Gtid>,
        (committed_at, read_at): (i64, i64),
        body: &RawBody,
    ) -> Result<Made, LogError> {
        let source = (end == PartEnd::Commit).then(|| SourceDraft {
            server_uuid: Uuid::nil(),
            position: BinlogPosition::new("b", 4),
            gtid,
            gtid_set: &self.executed,
            added: None,
            open_xa: self.open_xa.clone(),
            definitions: None,
        });
        let origins = Vec::new();
        let draft = HeaderDraft {
            number,
            previous,
            part,
            end,
            source,
            committed_at,
            read_at,
            input: None,
            origins,
            totals: None,
        };
        let (header, value) = self.core.draft(draft, body, body.kind())?;
        Ok(Made { kind: body.kind(), header, value })
    }
}

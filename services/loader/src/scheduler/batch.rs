//! A batch: whole units that share one target transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::blocked::{self, Aside};
use crate::copying::{ChunkInfo, chunk_statements};
use crate::mapping::TableMap;
use crate::planner::{Conditions, Effort, Packet, Part, Script, Statement, plan, render};
use crate::rows::{Maps, Session, WriteSet, Written};
use crate::slot::Place;
use crate::unit::{Unit, UnitBody, UnitEnd};
use lutra_change::{GtidSet, TableName};
use lutra_wire::record::{GtidState, SourceState};

use crate::error::LoadError;

/// Statements on Lutra's own tables begin a packet of their own beyond that.
const PACKET_BYTES: usize = 4 << 20;

/// What a statement of a script does, for messages.
#[derive(Clone, Debug)]
pub struct Label {
    /// The table.
    pub map: Arc<TableMap>,
    /// `insert`, `update`, `delete`.
    pub verb: &'static str,
}

/// Statements of a batch as text.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The text.
    pub script: Script,
    /// By statement index; none for settings.
    pub labels: Vec<Option<Label>>,
    /// How far the planner went.
    pub effort: Effort,
    /// How the session must be set before, and how it is set behind.
    pub sessions: (Session, Session),
}

/// Whole units that share one target transaction.
#[derive(Debug)]
pub struct Batch {
    /// Where target, source and log stand behind it.
    pub place: Place,
    /// Its statements.
    pub planned: Planned,
    /// What it writes.
    pub write_set: WriteSet,
    /// Its units, kept until it is committed: it may have to be planned again.
    pub units: Vec<Unit>,
    /// Row changes in it.
    pub rows: u64,
    /// Source transactions in it.
    pub transactions: u64,
    /// Row changes that it parks, and row changes that it leaves out. Those are counted in one row per table, so that two
    /// such batches run one after the other.
    pub aside: (u64, u64),
    /// Spans from the source's trace to the commit; closed when the batch is dropped.
    pub span: tracing::Span,
}

/// What the next batch must be like.
#[derive(Clone, Copy, Debug)]
pub struct BatchPolicy {
    /// Rows at most.
    pub rows: usize,
    /// Bytes at most.
    pub bytes: usize,
    /// Put the before image into every condition.
    pub compare_image: bool,
}

/// Why a unit can not share a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Rows under one session setting.
    Rows(Session),
    /// Rows under several settings: a batch of its own.
    Mixed,
    /// A position only.
    Nothing,
    /// DDL.
    Ddl,
}

impl Unit {
    /// What kind of batch it can be in.
    pub fn shape(&self) -> Shape {
        let segments = match &self.body {
            UnitBody::Ddl(_) | UnitBody::Define(_) => return Shape::Ddl,
            // Also one without rows is written down, in a transaction of its kind.
            _ if self.copy.chunk.is_some() => return Shape::Rows(Session::COPY),
            UnitBody::Nothing => return Shape::Nothing,
            UnitBody::Changes(segments) => segments,
        };
        let mut flags = segments.iter().flat_map(|s| s.rows.iter().map(|r| r.flags));
        let Some(first) = flags.next() else { return Shape::Nothing };
        let session = Session::of(first);
        if flags.all(|f| Session::of(f) == session) { Shape::Rows(session) } else { Shape::Mixed }
    }

    /// Row changes in it.
    pub fn rows(&self) -> usize {
        match &self.body {
            UnitBody::Changes(segments) => segments.iter().map(|s| s.rows.len()).sum(),
            _ => 0,
        }
    }

    /// Bytes of its images.
    pub fn bytes(&self) -> usize {
        match &self.body {
            UnitBody::Changes(segments) => segments.iter().map(|s| s.bytes).sum(),
            _ => 0,
        }
    }
}

/// Moves the running place over a unit.
pub fn advance(place: &mut Place, end: &UnitEnd, origin: &str) {
    place.number = end.number;
    place.cursor = Some(end.cursor);
    place.committed_at = end.committed_at;
    if let Some(source) = &end.source {
        advance_source(place, source);
    }
    for name in std::iter::once(origin).chain(end.origins.iter().map(String::as_str)) {
        if !place.origins.iter().any(|o| o == name) {
            place.origins.push(name.to_owned());
        }
    }
}

fn advance_source(place: &mut Place, source: &SourceState) {
    place.source_uuid = Some(source.server_uuid);
    place.position = Some(source.position.clone());
    place.gtid = source.gtid.as_ref().map(ToString::to_string);
    merge_gtids(&mut place.gtid_set, &source.gtid_set);
    if let Some(gtid) = &source.gtid {
        place.gtid_set.insert(gtid);
    }
}

/// Adds what a record says of the GTID set.
pub fn merge_gtids(set: &mut GtidSet, state: &GtidState) {
    match state {
        GtidState::Whole(whole) => set.clone_from(whole),
        GtidState::Added(added) => set.union_with(added),
    }
}

impl Batch {
    /// Writes out and plans the units. `place` is where they lead.
    ///
    /// # Errors
    /// [`LoadError::Row`] when a datum does not fit its schema.
    pub fn plan(
        units: Vec<Unit>,
        place: Place,
        maps: &Maps,
        compare_image: bool,
        effort: Effort,
        task: &str,
    ) -> Result<Self, LoadError> {
        let written = write_out(&units, maps)?;
        let planned = plan_units(&units, &written, compare_image, effort, task);
        let write_set = WriteSet::of(&written);
        let rows = u64::try_from(written.changes.len()).unwrap_or(u64::MAX);
        let transactions = units.iter().filter(|u| u.end.number.sub == 0).count();
        let transactions = u64::try_from(transactions).unwrap_or(u64::MAX);
        let span = crate::events::batch_span(&units, rows);
        let aside = units.iter().fold((0, 0), |(parked, left_out), unit| {
            (parked + unit.aside.parked_rows, left_out + unit.aside.left_out.values().sum::<u64>())
        });
        Ok(Self { place, planned, write_set, units, rows, transactions, aside, span })
    }

    /// Plans the same units anew.
    ///
    /// # Errors
    /// As [`Batch::plan`].
    pub fn replan(&self, maps: &Maps, compare_image: bool, effort: Effort, task: &str) -> Result<Planned, LoadError> {
        Ok(plan_units(&self.units, &write_out(&self.units, maps)?, compare_image, effort, task))
    }
}

/// The rows' statements, what is written down of chunks, and what is set aside.
fn plan_units(units: &[Unit], written: &Written, compare_image: bool, effort: Effort, task: &str) -> Planned {
    let mut planned = plan_written(written, compare_image, effort);
    let mut left_out: BTreeMap<&TableName, u64> = BTreeMap::new();
    for unit in units {
        unit.aside.statements.iter().for_each(|statement| planned.add_statement(statement));
        unit.aside.left_out.iter().for_each(|(table, rows)| *left_out.entry(table).or_default() += rows);
    }
    for (table, rows) in left_out {
        planned.add_statement(&blocked::sql::count(task, table, rows));
    }
    for unit in units {
        if let (Some(info), Some(task)) = (&unit.copy.chunk, &unit.copy.task) {
            planned.add_chunk(task, info, u64::try_from(unit.rows()).unwrap_or(0));
        }
    }
    planned
}

impl Planned {
    /// Adds what is written down of a chunk.
    pub(crate) fn add_chunk(&mut self, task: &str, info: &ChunkInfo, rows: u64) {
        for statement in chunk_statements(task, info, rows) {
            self.add_statement(&statement);
        }
    }

    /// Adds a statement on a table of Lutra's own.
    pub(crate) fn add_statement(&mut self, statement: &str) {
        if self.script.packets.last().is_none_or(|p| p.text.len() + statement.len() > PACKET_BYTES) {
            self.script.packets.push(Packet::default());
        }
        let Some(packet) = self.script.packets.last_mut() else { return };
        packet.text.extend_from_slice(statement.as_bytes());
        packet.text.push(b';');
        packet.parts.push(Part { statement: self.labels.len(), expected: None, end: packet.text.len() });
        self.labels.push(None);
    }

    /// Takes a statement out; gives its text, without the settings of the session around it.
    pub(crate) fn take_out(&mut self, statement: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        for packet in &mut self.script.packets {
            let (mut from, mut left) = (0, Packet::default());
            for part in &packet.parts {
                let text = packet.text.get(from..part.end).unwrap_or_default();
                from = part.end;
                if part.statement != statement {
                    left.text.extend_from_slice(text);
                    left.parts.push(Part { end: left.text.len(), ..*part });
                } else if part.expected.is_some() {
                    taken.extend_from_slice(text);
                }
            }
            *packet = left;
        }
        let mut first = true;
        self.script.packets.retain(|packet| std::mem::take(&mut first) || !packet.text.is_empty());
        taken
    }

    /// Adds what is set aside of a piece of a unit.
    pub(crate) fn add_aside(&mut self, task: &str, aside: &Aside) {
        aside.statements.iter().for_each(|statement| self.add_statement(statement));
        for (table, rows) in &aside.left_out {
            self.add_statement(&blocked::sql::count(task, table, *rows));
        }
    }
}

fn write_out(units: &[Unit], maps: &Maps) -> Result<Written, LoadError> {
    let mut written = Written::default();
    for unit in units {
        if let UnitBody::Changes(segments) = &unit.body {
            for segment in segments {
                written.add(segment, maps, unit.end.number)?;
            }
        }
    }
    Ok(written)
}

/// Statements and text for rows that are written out. Rows are planned apart where the session must be set otherwise.
pub fn plan_written(written: &Written, compare_image: bool, effort: Effort) -> Planned {
    let mut statements = Vec::new();
    let ends = written.sessions.iter().skip(1).map(|(at, _)| *at).chain([written.changes.len()]);
    for ((begin, session), end) in written.sessions.iter().zip(ends) {
        if *begin > 0 {
            statements.push(Statement::Session(*session));
        }
        let conditions = Conditions { foreign_key_checks: session.foreign_key_checks, effort };
        let changes = written.changes.get(*begin..end).unwrap_or_default();
        statements.append(&mut plan(changes, &written.arena, conditions));
    }
    let label = |s: &Statement| s.map().map(|map| Label { map: Arc::clone(map), verb: s.verb() });
    let of = |found: Option<&(usize, Session)>| found.map_or(Session::PLAIN, |(_, session)| *session);
    Planned {
        labels: statements.iter().map(label).collect(),
        script: render(&statements, &written.arena, compare_image),
        effort,
        sessions: (of(written.sessions.first()), of(written.sessions.last())),
    }
}

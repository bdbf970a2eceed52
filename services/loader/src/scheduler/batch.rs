//! A batch: whole units that share one target transaction.

use std::sync::Arc;

use crate::mapping::TableMap;
use crate::planner::{Conditions, Effort, Script, plan, render};
use crate::rows::{Maps, Session, WriteSet, Written};
use crate::slot::Place;
use crate::unit::{Unit, UnitBody, UnitEnd};
use lutra_change::{GtidSet, RowFlags};
use lutra_wire::record::{GtidState, SourceState};

use crate::error::LoadError;

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
    /// By statement index.
    pub labels: Vec<Label>,
    /// How far the planner went.
    pub effort: Effort,
}

/// Whole units that share one target transaction.
#[derive(Debug)]
pub struct Batch {
    /// Where target, source and log stand behind it.
    pub place: Place,
    /// How the session must be set.
    pub session: Session,
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
    /// Rows under several settings: row by row events, alone.
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
            UnitBody::Ddl(_) => return Shape::Ddl,
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

/// A unit whose rows need different sessions is applied as the most careful of them asks.
fn session_of(units: &[Unit]) -> Session {
    let mut flags = RowFlags::default();
    let mut mixed = Session::of(flags);
    let mut first = true;
    for unit in units {
        let UnitBody::Changes(segments) = &unit.body else { continue };
        for row in segments.iter().flat_map(|s| &s.rows) {
            flags = row.flags;
            let session = Session::of(flags);
            if std::mem::take(&mut first) {
                mixed = session;
            }
            // What one statement switched off must be off for its rows; what is checked needlessly less is still true,
            // for the source has checked it.
            mixed.foreign_key_checks &= session.foreign_key_checks;
            mixed.unique_checks &= session.unique_checks;
        }
    }
    mixed
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
    pub fn plan(units: Vec<Unit>, place: Place, maps: &Maps, compare_image: bool, effort: Effort) -> Result<Self, LoadError> {
        let session = session_of(&units);
        let written = write_out(&units, maps)?;
        let planned = plan_written(&written, session, compare_image, effort);
        let write_set = WriteSet::of(&written, session);
        let rows = u64::try_from(written.changes.len()).unwrap_or(u64::MAX);
        let transactions = units.iter().filter(|u| u.end.number.sub == 0).count();
        let transactions = u64::try_from(transactions).unwrap_or(u64::MAX);
        Ok(Self { place, session, planned, write_set, units, rows, transactions })
    }

    /// Plans the same units anew.
    ///
    /// # Errors
    /// As [`Batch::plan`].
    pub fn replan(&self, maps: &Maps, compare_image: bool, effort: Effort) -> Result<Planned, LoadError> {
        Ok(plan_written(&write_out(&self.units, maps)?, self.session, compare_image, effort))
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

/// Statements and text for rows that are written out.
pub fn plan_written(written: &Written, session: Session, compare_image: bool, effort: Effort) -> Planned {
    let conditions = Conditions { foreign_key_checks: session.foreign_key_checks, effort };
    let statements = plan(&written.changes, &written.arena, conditions);
    let labels = statements.iter().map(|s| Label { map: Arc::clone(s.map()), verb: s.verb() }).collect();
    Planned { script: render(&statements, &written.arena, compare_image), labels, effort }
}

//! Room 2: events to parts of units.
//!
//! Pure. Numbers the units, checks that the history is continuous (P7), cuts transactions of any size into parts of
//! bounded size between rows, and leaves out what is not captured: such transactions make no unit, they widen the
//! interval of the next one.

mod chunk;
mod ddl;
mod mariadb;
mod open;
mod table;
mod tail;
mod unit;
mod wording;
mod xa;

use std::collections::VecDeque;
use std::sync::Arc;

use lutra_binlog::{EventData, EventHeader, Flavor, PositionTracker, Rotate, Scratch, TableCache, event_type};
use lutra_change::{BinlogPosition, Gtid, GtidSet, Number, OpenXa};
use lutra_spec::SourceSpec;
use lutra_wire::ChangesBuilder;
use lutra_wire::record::{Heartbeat, PartEnd, RawBody};

use self::open::Open;
use self::table::Table;
pub use self::tail::{Known, TailCheck};
pub use self::unit::{Output, UnitPart, UnitPlace};
use crate::definitions::Store;
use crate::error::AssembleError;
use crate::snapshot::window::Windows;

/// After so long a transaction that touched only Lutra's own tables makes a heartbeat move (P13).
const OWN_ONLY_MICROS: i64 = 60_000_000;

/// Where the assembler begins.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The last unit of the log.
    pub number: Number,
    /// Where the stream is asked to begin.
    pub position: BinlogPosition,
    /// Everything executed up to there.
    pub gtid_set: GtidSet,
    /// What the log knows of the transaction that comes first, when that is to be looked at again (P7).
    pub known: Option<Known>,
    /// The log ends inside a `CREATE TABLE … SELECT` (its definition is in the log, its rows are not) or a large
    /// `XA COMMIT … ONE PHASE` (its rows are, its decision is not). The commit time of that transaction, which comes first.
    pub half: Option<i64>,
    /// XA transactions that are prepared and not decided there (P11).
    pub open_xa: Vec<OpenXa>,
}

/// Transactions that were passed over since the last unit.
#[derive(Debug, Default)]
struct Passed {
    /// What they add to the GTID set.
    added: GtidSet,
    /// Some of them touched tables that are not captured and not Lutra's.
    foreign: bool,
    /// The first of them that touched only Lutra's tables was read at, microseconds since the epoch.
    own_since: Option<i64>,
    /// MariaDB: everything executed before the first of them. A domain's position does not say what it was before.
    before: Option<GtidSet>,
}

/// Events in, parts of units out.
#[derive(Debug)]
pub struct Assembler {
    spec: Arc<SourceSpec>,
    part_bytes: usize,
    tables: TableCache<Arc<Table>>,
    scratch: Scratch,
    builder: ChangesBuilder,
    before: Vec<u8>,
    after: Vec<u8>,
    tracker: PositionTracker,
    file: String,
    /// The last unit.
    number: Number,
    /// Where the source stood behind the last unit.
    unit_end: BinlogPosition,
    /// Everything executed up to the last event.
    executed: GtidSet,
    /// Everything executed up to the last unit, as long as it differs from `executed`.
    passed: Passed,
    open: Option<Open>,
    tail: Option<TailCheck>,
    /// The check of the log's last transaction, while others come that stand before it.
    tail_later: Option<TailCheck>,
    half: Option<i64>,
    /// XA transactions that are prepared and not decided, those without captured rows among them (P11).
    open_xa: Vec<OpenXa>,
    /// The file was written by MariaDB.
    mariadb: bool,
    output: VecDeque<Output>,
    /// What the copies of tables must know of the stream (P12).
    windows: Windows,
    /// What the tables look like, where table maps do not say so.
    definitions: Store,
    now: i64,
    transactions: u64,
}

impl Assembler {
    /// An assembler that goes on behind `resume`.
    pub fn new(spec: Arc<SourceSpec>, resume: Resume) -> Self {
        let part_bytes = usize::try_from(spec.part_bytes).unwrap_or(usize::MAX).clamp(1, lutra_wire::RECORD_LIMIT);
        Self {
            spec,
            part_bytes,
            tables: TableCache::default(),
            scratch: Scratch::new(),
            builder: ChangesBuilder::new(),
            before: Vec::new(),
            after: Vec::new(),
            tracker: PositionTracker::new(resume.position.offset),
            file: resume.position.file.clone(),
            number: resume.number,
            unit_end: resume.position,
            executed: resume.gtid_set,
            passed: Passed::default(),
            open: None,
            tail: resume.known.map(TailCheck::new),
            tail_later: None,
            half: resume.half,
            open_xa: resume.open_xa,
            mariadb: false,
            output: VecDeque::new(),
            windows: Windows::default(),
            definitions: Store::default(),
            now: 0,
            transactions: 0,
        }
    }

    /// Goes on with what is known of the tables.
    #[must_use]
    pub fn with_definitions(self, definitions: Store) -> Self {
        Self { definitions, ..self }
    }

    /// What is known of the tables.
    pub fn definitions(&self) -> &Store {
        &self.definitions
    }

    /// The same, to be changed. Whoever changes what is known of a table [forgets](Self::forget_tables) what was planned.
    pub fn definitions_mut(&mut self) -> &mut Store {
        &mut self.definitions
    }

    /// Forgets what was planned by definitions. Between transactions only.
    pub fn forget_tables(&mut self) {
        self.tables = TableCache::default();
    }

    /// Sets the time at which the events that follow were read, microseconds since the epoch.
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    /// The next thing for the log.
    pub fn take(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Everything executed up to the last complete transaction.
    pub fn gtid_set(&self) -> &GtidSet {
        &self.executed
    }

    /// Where the next event begins.
    pub fn position(&self) -> BinlogPosition {
        BinlogPosition::new(self.file.clone(), self.tracker.position())
    }

    /// The last unit, complete.
    pub fn number(&self) -> Number {
        self.number
    }

    /// Transactions read, those passed over included.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Whether a unit is open of which parts were given out.
    pub fn is_inside_unit(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.parts > 0)
    }

    /// What looking at the log's last transaction again gave, once it is done.
    pub fn tail_check(&mut self) -> Option<TailCheck> {
        if self.tail.as_ref().is_some_and(TailCheck::is_done) { self.tail.take() } else { None }
    }

    /// The log's last transaction, while it has not come although others of this server have.
    pub fn missing_tail(&self) -> Option<&Gtid> {
        self.tail_later.as_ref().map(TailCheck::gtid)
    }

    /// Takes one event. What it completes is then to be [taken](Self::take).
    pub fn event(&mut self, header: &EventHeader, data: &EventData<'_>) -> Result<(), AssembleError> {
        self.check_continuous(header)?;
        match data {
            EventData::Rows(rows) => self.rows(rows)?,
            EventData::TableMap(map) => {
                let (spec, definitions) = (&self.spec, &self.definitions);
                let output = &mut self.output;
                self.tables.observe_with(map, |map| {
                    let table = Table::plan(map, spec, definitions)?;
                    if let Table::Captured(captured) = &table {
                        output.push_back(Output::Schema(Arc::clone(&captured.schema)));
                    }
                    Ok::<_, AssembleError>(Arc::new(table))
                })?;
            }
            EventData::Gtid(gtid) => self.begin(header, gtid)?,
            EventData::MariaDbGtid(gtid) => self.begin_mariadb(header, gtid)?,
            EventData::GtidList(list) => self.check_list(header, list)?,
            EventData::Query(query) => return self.query(header, query),
            EventData::Xid(_) => {
                self.tracker.advance(header)?;
                return self.commit();
            }
            EventData::Rotate(rotate) => return self.rotate(header, rotate),
            EventData::FormatDescription(format) => {
                // The server was started anew: a transaction it was writing when it fell never was.
                if format.created_at != 0 {
                    self.abort();
                }
                self.tables.forget_ids();
                self.mariadb = format.flavor() == Flavor::MariaDb;
                self.tracker.set_flavor(format.flavor());
            }
            EventData::PreviousGtids(set) => self.check_previous(set)?,
            EventData::XaPrepare(prepare) => {
                self.tracker.advance(header)?;
                return self.xa_end(prepare);
            }
            EventData::Incident(incident) => {
                let message = String::from_utf8_lossy(incident.message).into_owned();
                return Err(AssembleError::Incident { message });
            }
            _ => {}
        }
        self.tracker.advance(header)?;
        Ok(())
    }

    /// Takes an event from inside a transaction payload.
    pub fn inner_event(&mut self, data: &EventData<'_>) -> Result<(), AssembleError> {
        let nowhere = EventHeader { timestamp: 0, event_type: 0, server_id: 0, event_size: 0, log_pos: 0, flags: 0 };
        self.event(&nowhere, data)
    }

    /// Steps over an event whose content was taken otherwise (a transaction payload): first, so that the commit inside
    /// it stands behind it.
    pub fn step_over(&mut self, header: &EventHeader) -> Result<(), AssembleError> {
        self.check_continuous(header)?;
        self.tracker.advance(header)?;
        Ok(())
    }

    /// A heartbeat for the log: one that moves when transactions were passed over, else one at the last unit.
    pub fn heartbeat(&mut self, clock_offset: i64) -> UnitPart {
        let body = RawBody::heartbeat(&Heartbeat { at: self.now, clock_offset });
        let own_due = self.passed.own_since.is_some_and(|since| self.now - since >= OWN_ONLY_MICROS);
        let moves = self.open.is_none() && (self.passed.foreign || own_due);
        let previous = self.number;
        let place = if moves {
            self.number = self.number.next_sub();
            Some(self.unit_place(None))
        } else {
            None
        };
        UnitPart {
            number: self.number,
            previous,
            part: 1,
            end: PartEnd::Commit,
            body,
            rows: 0,
            place,
            committed_at: 0,
            read_at: self.now,
            origins: Vec::new(),
            totals: None,
        }
    }

    /// The place behind a unit that ends here; the interval of the next one begins here.
    fn unit_place(&mut self, gtid: Option<Gtid>) -> UnitPlace {
        self.unit_end = self.position();
        let added = std::mem::take(&mut self.passed).added;
        UnitPlace { position: self.unit_end.clone(), gtid, added, inside: None, open_xa: self.open_xa.clone() }
    }

    /// Where the source stood behind the last unit: what a heartbeat that does not move says.
    pub fn unit_end(&self) -> (&BinlogPosition, GtidSet) {
        let before = self.passed.before.clone();
        (&self.unit_end, before.unwrap_or_else(|| self.executed.minus(&self.passed.added)))
    }

    /// A transaction took effect.
    fn note_executed(&mut self, gtid: Option<&Gtid>) {
        let Some(gtid) = gtid else { return };
        if matches!(gtid, Gtid::MariaDb(_)) && self.passed.added.is_empty() {
            self.passed.before = Some(self.executed.clone());
        }
        self.executed.insert(gtid);
        self.passed.added.insert(gtid);
    }

    fn rotate(&mut self, header: &EventHeader, rotate: &Rotate<'_>) -> Result<(), AssembleError> {
        if !rotate.artificial {
            self.tracker.advance(header)?;
        }
        if self.file != rotate.file {
            rotate.file.clone_into(&mut self.file);
        }
        self.tracker.rotate(rotate.position);
        Ok(())
    }

    /// P7: inside a transaction each event begins where the one before ended. (Between two, the server may pass over
    /// transactions that we have.)
    fn check_continuous(&self, header: &EventHeader) -> Result<(), AssembleError> {
        let in_file = header.log_pos != 0 && !header.is_artificial() && header.event_type != event_type::HEARTBEAT;
        if self.open.is_none() || !in_file {
            return Ok(());
        }
        let begin = header.log_pos.wrapping_sub(header.event_size);
        // MariaDB keeps the text of a statement, which lies in front of its table maps, from who does not ask for it.
        if self.mariadb && header.event_type == event_type::TABLE_MAP {
            return Ok(());
        }
        if begin != self.tracker.position() as u32 {
            let what =
                format!("an event inside a transaction begins at {begin}, the one before ended at {}", self.position());
            return Err(AssembleError::NotContinuous { what });
        }
        Ok(())
    }

    /// P7: whatever the files before this one hold has come by.
    fn check_previous(&self, previous: &GtidSet) -> Result<(), AssembleError> {
        if self.open.is_some() {
            return Err(AssembleError::NotContinuous { what: "a file ends inside a transaction".to_owned() });
        }
        if !self.spec.gtid {
            return Ok(());
        }
        let mut missing = previous.minus(&self.executed);
        if let Some(tail) = &self.tail {
            missing = missing.minus(&tail.gtid_set());
        }
        if missing.is_empty() { Ok(()) } else { Err(AssembleError::PreviousGtids { missing }) }
    }
}

#[cfg(test)]
mod tests;

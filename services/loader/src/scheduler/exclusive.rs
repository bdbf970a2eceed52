//! What runs alone: a batch that is judged, DDL, units too large for memory, a bare position.

use std::sync::Arc;
use std::time::Duration;

use lutra_change::{Number, TableName};
use lutra_runtime::{Backoff, BackoffPolicy};
use lutra_spec::{DdlPolicy, OnConflict};
use lutra_wire::CopiedTable;

use super::batch::{Batch, Planned, plan_written};
use super::{POSITION_EVERY, Scheduler, Waiting};
use crate::blocked::Aside;
use crate::copying::Define;
use crate::decisions;
use crate::define::DefineJob;
use crate::error::{Conflict, LoadError};
use crate::events::{OneByOne, RowSetAside};
use crate::planner::Effort;
use crate::rows::{Maps, Session, Written};
use crate::slot::Place;
use crate::target::Target;
use crate::unit::{Piece, Segment, UnitBody, UnitEnd};
use crate::writer::{Fault, Job, Line, Outcome};

/// The writer that runs what runs alone; its slot row holds DDL intents.
const ALONE: u16 = 0;
/// How long a stop waits for the rest of a large unit.
const PIECE_POLL: Duration = Duration::from_secs(3_600);

impl<T: Target> Scheduler<T> {
    /// Sends a job to the writer that runs things alone, and waits for its answer.
    pub(super) async fn alone(&mut self, job: Job) -> Result<Outcome, LoadError> {
        self.give(ALONE, job).await?;
        loop {
            let report = self.writers.reports.recv().await.ok_or(LoadError::Ended("the writers"))?;
            if report.slot == ALONE && !report.waiting {
                return Ok(report.outcome);
            }
        }
    }

    /// Everything under way has ended. The first batch that was rolled back runs alone, as often as it must (P10).
    pub(super) async fn judge_first(&mut self) -> Result<(), LoadError> {
        self.judge = false;
        // Batches behind the judged one have not been sent again: ids go on where commits ended.
        let committed = self.writers.line.borrow().committed;
        self.next_id = committed + 1;
        self.writers.line.send_replace(Line { committed, recall_from: u64::MAX });
        // A planned batch that was never sent is behind all that were.
        if let Some(head) = self.head.take() {
            self.again.insert(u64::MAX, head);
        }
        let Some((_, batch)) = self.again.pop_first() else { return Ok(()) };
        let mut planned: Option<Box<Planned>> = None;
        let policy = BackoffPolicy::try_new(Duration::from_millis(20), Duration::from_secs(5), 2.0, 0.5);
        let mut backoff = Backoff::new(policy.unwrap_or(BackoffPolicy::CONNECT));
        loop {
            let id = self.next_id;
            let job = Job::Batch { id, batch: Arc::clone(&batch), planned: planned.clone() };
            let fault = match self.alone(job).await? {
                Outcome::Done => break,
                Outcome::Failed(fault) => fault,
                Outcome::Recalled | Outcome::Ddl(_) => continue,
            };
            let effort = planned.as_ref().map_or(batch.planned.effort, |p| p.effort);
            match fault {
                Fault::Over(error) => return Err(error),
                Fault::Locked(error) => {
                    self.tally.retrying(&error.to_string());
                    if backoff.wait(&self.stop).await.is_err() {
                        return Ok(());
                    }
                }
                fault @ (Fault::Refused { .. } | Fault::Count { .. }) if effort == Effort::Sets => {
                    OneByOne { fault: &fault, planned: &batch.planned, place: &batch.place }.emit();
                    let maps = self.maps.of_units(&batch.units).await?;
                    let compare_image = self.options.policy.compare_image;
                    planned =
                        Some(Box::new(batch.replan(&maps, compare_image, Effort::RowByRow, self.blocked.task())?));
                }
                fault => {
                    let mut left = planned.take().unwrap_or_else(|| Box::new(batch.planned.clone()));
                    match self.set_row_aside(fault, &mut left, &batch.place) {
                        Some(error) => return Err(error),
                        None => planned = Some(left),
                    }
                }
            }
        }
        self.next_id += 1;
        self.applied = batch.place.number;
        let oldest = self.oldest_pending();
        self.tally.committed(self.next_id - 1, &batch, oldest);
        Ok(())
    }

    /// The error of a batch whose statements ran one by one, with everything before it committed.
    pub(super) fn conflict(&mut self, fault: Fault, planned: &Planned, place: &Place) -> LoadError {
        use lutra_mysql::ErrorKind as Kind;
        let number = place.number;
        let (statement, what, source) = match fault {
            Fault::Over(error) => return error,
            Fault::Locked(source) => {
                return LoadError::Statement { operation: "applying rows".to_owned(), number, source };
            }
            Fault::Count { statement, expected, found } => {
                (Some(statement), format!("{found} rows matched where {expected} should"), None)
            }
            Fault::Refused { statement, error } => match error.kind() {
                Kind::DuplicateKey => {
                    (statement, "a row with the same unique key is there already".to_owned(), Some(error))
                }
                Kind::ForeignKey => (statement, "a foreign key of the target forbids it".to_owned(), Some(error)),
                _ => {
                    let table = statement.and_then(|s| planned.labels.get(s)?.as_ref()).map(|l| l.map.name.to_string());
                    let operation = format!("applying rows of {}", table.unwrap_or_else(|| "a table".to_owned()));
                    return LoadError::Statement { operation, number, source: error };
                }
            },
        };
        self.tally.conflict();
        let label = statement.and_then(|s| planned.labels.get(s)?.as_ref());
        LoadError::Conflict(Box::new(Conflict {
            table: label.map_or_else(|| TableName::new("", ""), |l| l.map.name.clone()),
            verb: label.map_or("change", |l| l.verb),
            key: label.map(|l| l.map.key_names()).unwrap_or_default(),
            number,
            what,
            source,
        }))
    }

    /// Takes the change that does not fit out of the statements, to be set aside with them; the error where that is not the
    /// policy, or not what is wrong.
    pub(super) fn set_row_aside(&mut self, fault: Fault, planned: &mut Planned, place: &Place) -> Option<LoadError> {
        let statement = match &fault {
            Fault::Count { statement, .. } => Some(*statement),
            Fault::Refused { statement, .. } => *statement,
            Fault::Locked(_) | Fault::Over(_) => None,
        };
        let error = self.conflict(fault, planned, place);
        let (LoadError::Conflict(conflict), Some(statement)) = (&error, statement) else { return Some(error) };
        if self.options.on_conflict != OnConflict::DeadLetter {
            return Some(error);
        }
        let text = planned.take_out(statement);
        if text.is_empty() {
            return Some(error);
        }
        RowSetAside { conflict }.emit();
        planned.add_statement(&decisions::row_aside(self.blocked.task(), conflict, &text));
        None
    }

    /// Commits a position by itself, if nothing else was committed for long enough.
    pub(super) async fn commit_position(&mut self) -> Result<(), LoadError> {
        let due = self.tally.unsaved_for().is_some_and(|age| age >= POSITION_EVERY);
        if !due || !self.flights.is_empty() || !self.again.is_empty() || self.place.number <= self.applied {
            return Ok(());
        }
        let batch = Batch::plan(Vec::new(), self.place.clone(), &Maps::default(), false, Effort::Sets, "")?;
        let id = self.next_id;
        match self.alone(Job::Batch { id, batch: Arc::new(batch), planned: None }).await? {
            Outcome::Done => {
                self.next_id += 1;
                self.applied = self.place.number;
                self.tally.position_committed();
                Ok(())
            }
            Outcome::Failed(Fault::Over(error)) => Err(error),
            // The next one will do.
            Outcome::Failed(_) | Outcome::Recalled | Outcome::Ddl(_) => Ok(()),
        }
    }

    /// Runs the DDL unit at the head of the queue. Nothing is under way.
    pub(super) async fn run_ddl(&mut self) -> Result<(), LoadError> {
        let Some(Waiting::Unit(unit)) = self.queue.pop_front() else { return Ok(()) };
        let mut unit = unit;
        if let UnitBody::Ddl(ddl) = &unit.body
            && self.meets_blocked(ddl, &unit.end).await?
        {
            return Ok(());
        }
        self.copying.stamp(&mut unit)?;
        let ddl = match unit.body {
            UnitBody::Ddl(ddl) => ddl,
            UnitBody::Define(define) => return self.run_define(*define, &unit.end).await,
            _ => return Ok(()),
        };
        let policy = self.options.policies.policy(&ddl.tables);
        self.place.origins.clear();
        self.advance(&unit.end);
        if self.options.ignore_ddl && policy == DdlPolicy::Ignore {
            self.maps.forget();
            self.tally.position(self.next_id - 1, &self.place, true);
            return Ok(());
        }
        self.run_statement(*ddl, policy, &unit.end).await?;
        self.applied = self.place.number;
        self.tally.applied_alone(&self.place, 0);
        Ok(())
    }

    /// Makes what was put off until the rows of its table were there. Nothing is under way.
    pub(super) async fn run_due(&mut self) -> Result<(), LoadError> {
        while let Some(define) = self.copying.take_due() {
            let job = DefineJob { define, place: self.place.clone(), also: Vec::new(), anew: false };
            let outcome = self.alone(Job::Define(Box::new(job))).await?;
            self.maps.forget();
            self.settle(outcome)?;
            self.applied = self.place.number;
            self.tally.applied_alone(&self.place, 0);
        }
        Ok(())
    }

    /// Makes the tables whose copies follow, unless that was done.
    async fn run_define(&mut self, define: Define, end: &UnitEnd) -> Result<(), LoadError> {
        let tables: Vec<TableName> = define.tables.iter().map(CopiedTable::name).collect();
        let also = match self.blocked.made_anew(&tables, end.number) {
            Err(error) => return Err(self.everything_waits(error).await?),
            Ok(also) => also,
        };
        self.place.origins.clear();
        self.advance(end);
        if self.copying.knows(define.id) {
            self.tally.position(self.next_id - 1, &self.place, true);
            return Ok(());
        }
        let anew = self.makes_anew(&define);
        let job = DefineJob { define: define.clone(), place: self.place.clone(), also, anew };
        let outcome = self.alone(Job::Define(Box::new(job))).await?;
        self.maps.forget();
        self.settle(outcome)?;
        self.reload = None;
        self.blocked.were_made_anew(&tables);
        self.copying.defined(&define);
        self.applied = self.place.number;
        self.tally.applied_alone(&self.place, 0);
        self.tally.defined(&define);
        Ok(())
    }

    pub(super) fn settle(&mut self, outcome: Outcome) -> Result<(), LoadError> {
        match outcome {
            Outcome::Done | Outcome::Recalled | Outcome::Ddl(_) => Ok(()),
            Outcome::Failed(Fault::Over(error)) => Err(error),
            Outcome::Failed(fault) => Err(self.conflict(fault, &Planned::nothing(Session::PLAIN), &self.place.clone())),
        }
    }

    /// Applies a unit that is larger than memory while it is read. Nothing else is under way, so that every error is
    /// judged at once; one that may pass ends the attempt, for the parts are gone from memory.
    pub(super) async fn run_large(&mut self) -> Result<(), LoadError> {
        let Some(Waiting::Large { number, chunk, mut pieces }) = self.queue.pop_front() else { return Ok(()) };
        let chunk = match chunk {
            Some(info) => Some((self.copying.admit(&info, number)?, info)),
            None => None,
        };
        let copying = match &chunk {
            Some((_, info)) => self.copying.chunk_set(info),
            None => self.copying.set().cloned(),
        };
        let mut maps = Maps::default();
        let mut begun = false;
        let mut rows = 0_u64;
        let mut aside = Aside::default();
        loop {
            let piece = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                piece = tokio::time::timeout(PIECE_POLL, pieces.recv()) => piece.ok().flatten(),
            };
            match piece {
                // A chunk that is known is passed over; so are rows of a table that comes whole.
                Some(Piece::Rows(_)) if chunk.as_ref().is_some_and(|(news, _)| !news) => {}
                Some(Piece::Rows(mut segment)) => {
                    if chunk.is_none() && copying.is_some() {
                        self.copying.segment(&mut segment);
                    }
                    // Its end is not read yet: what the log says of its origins is not known.
                    self.blocked.segment(&mut segment, number, &[], &mut aside);
                    if aside.parked_rows > 0 && self.blocked.is_full() {
                        self.abort_large(begun).await?;
                        return Err(self.no_room(number));
                    }
                    self.maps.add(&segment, number, copying.as_deref(), &mut maps).await?;
                    rows += u64::try_from(segment.rows.len()).unwrap_or(0);
                    self.large_rows(number, &segment, &maps, &mut aside, &mut begun).await?;
                    self.tally.at_work();
                }
                Some(Piece::End(end)) => {
                    self.place.origins.clear();
                    self.advance(&end);
                    if !begun {
                        // Nothing was left of it.
                        self.tally.position(self.next_id - 1, &self.place, true);
                        return Ok(());
                    }
                    if let Some((_, info)) = &chunk {
                        let mut planned = Planned::nothing(Session::COPY);
                        planned.add_chunk(self.copying.task(), info, rows);
                        let outcome = self.alone(Job::More(Box::new(planned))).await?;
                        self.settle(outcome)?;
                        self.copying.passed(info);
                    }
                    let outcome = self.alone(Job::Finish(Box::new(self.place.clone()))).await?;
                    self.settle(outcome)?;
                    self.applied = self.place.number;
                    self.tally.applied_alone(&self.place, rows);
                    if let Some((_, info)) = &chunk {
                        self.tally.copied(info, rows);
                    }
                    return Ok(());
                }
                Some(Piece::Discarded) => return self.abort_large(begun).await,
                None => {
                    self.abort_large(begun).await?;
                    return if self.stop.is_cancelled() { Ok(()) } else { Err(LoadError::Ended("the intake")) };
                }
            }
        }
    }

    async fn abort_large(&mut self, begun: bool) -> Result<(), LoadError> {
        if begun {
            let outcome = self.alone(Job::Abort).await?;
            self.settle(outcome)?;
        }
        Ok(())
    }

    /// Rows of a large unit.
    async fn large_rows(
        &mut self,
        number: Number,
        segment: &Segment,
        maps: &Maps,
        aside: &mut Aside,
        begun: &mut bool,
    ) -> Result<(), LoadError> {
        let mut written = Written::default();
        written.add(segment, maps, number)?;
        let mut planned = Box::new(plan_written(&written, self.options.policy.compare_image, Effort::Sets));
        planned.add_aside(self.blocked.task(), aside);
        aside.sent();
        if !std::mem::replace(begun, true) {
            let session = planned.sessions.0;
            let outcome = self.alone(Job::Begin { number, session }).await?;
            self.settle_large(outcome, &planned)?;
        }
        let outcome = self.alone(Job::More(planned.clone())).await?;
        if let Err(error) = self.settle_large(outcome, &planned) {
            let _ = self.alone(Job::Abort).await;
            return Err(error);
        }
        Ok(())
    }

    fn settle_large(&mut self, outcome: Outcome, planned: &Planned) -> Result<(), LoadError> {
        match outcome {
            Outcome::Failed(Fault::Locked(source)) => {
                Err(LoadError::Target { operation: "applying a large transaction", source })
            }
            Outcome::Failed(fault @ (Fault::Refused { .. } | Fault::Count { .. })) => {
                let place = self.place.clone();
                Err(self.conflict(fault, planned, &place))
            }
            other => self.settle(other),
        }
    }
}

impl Planned {
    /// No statement, under that session.
    pub(crate) fn nothing(session: Session) -> Self {
        let script = crate::planner::Script::default();
        Self { script, labels: Vec::new(), effort: Effort::RowByRow, sessions: (session, session) }
    }
}

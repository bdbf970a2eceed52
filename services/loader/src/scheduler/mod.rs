//! Scheduler: units become batches that may run side by side, and are committed in the source's order.
//!
//! A batch is made of what is waiting: one unit when level, many when behind. It goes to a free connection at once unless
//! its write set meets that of a batch that still collects locks. DDL and units too large for memory run alone. When a batch fails,
//! it and all behind it are rolled back, and it runs again alone: only then is its error judged (P10).

pub mod batch;
mod beside;
mod exclusive;
mod reload;
mod settle;
mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lutra_change::Number;
use lutra_spec::OnConflict;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocked::Blocked;
use crate::blocked::replay::RowTables;
use crate::copying::{ChunkInfo, Copying};
use crate::decisions::Policies;
use crate::error::LoadError;
use crate::events::BatchRerun;
use crate::maps::MapCache;
use crate::progress::Progress;
use crate::rows::Meeting;
use crate::slot::Place;
use crate::target::Target;
use crate::unit::{Message, Unit, UnitBody, UnitEnd};
use crate::writer::{Fault, Job, Line, Outcome, Report};
use batch::{Batch, BatchPolicy, Shape};
use reload::Reload;
use tally::Tally;
pub(crate) use tally::now_micros;

/// An earlier batch that is not done after so long, while all behind it wait for it, is taken to wait for their locks.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often that is looked at, and lags are measured.
const TICK: Duration = Duration::from_millis(50);
/// A position without rows is committed only if nothing else was for so long.
const POSITION_EVERY: Duration = Duration::from_secs(10);
/// A batch of fewer rows does not begin beside another one: commits have their order, so it would only be committed as
/// soon, but in a transaction of its own, while those that come meanwhile can share one.
const SIDE_BY_SIDE_ROWS: usize = 400;
/// Units that wait here; their bytes are bounded at the intake.
const QUEUE: usize = 20_000;

/// How a scheduler behaves.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Limits of a batch.
    pub policy: BatchPolicy,
    /// How long a batch may stay open for more units.
    pub batch_age: Duration,
    /// Leave DDL out.
    pub ignore_ddl: bool,
    /// What becomes of a row that does not fit.
    pub on_conflict: OnConflict,
    /// What becomes of DDL that waits or fails.
    pub policies: Policies,
    /// Name of the source, the mark of its changes (P13).
    pub source: String,
}

/// The ends of the writers.
#[derive(Debug)]
pub struct Writers {
    /// Job queues, by slot.
    pub jobs: Vec<mpsc::Sender<Job>>,
    /// Their answers.
    pub reports: mpsc::Receiver<Report>,
    /// Who may commit.
    pub line: watch::Sender<Line>,
}

#[derive(Debug)]
enum Waiting {
    Unit(Box<Unit>),
    Large { number: Number, chunk: Option<Box<ChunkInfo>>, pieces: mpsc::Receiver<crate::unit::Piece> },
}

#[derive(Debug)]
struct Flight {
    id: u64,
    batch: Arc<Batch>,
    since: Instant,
    waiting: bool,
    done: bool,
}

/// The core loop of a load.
#[derive(Debug)]
pub struct Scheduler<T> {
    options: SchedulerOptions,
    maps: MapCache<T>,
    writers: Writers,
    queue: VecDeque<Waiting>,
    /// Planned, not yet sent.
    head: Option<Arc<Batch>>,
    /// Rolled back, to run again before anything else; by the id they had.
    again: BTreeMap<u64, Arc<Batch>>,
    /// The first of `again` runs alone.
    judge: bool,
    flights: VecDeque<Flight>,
    idle: Vec<u16>,
    next_id: u64,
    /// Where the last planned batch leads, positions behind it included.
    place: Place,
    /// Where the target stands.
    applied: Number,
    tally: Tally,
    /// Tables that are being copied where `place` stands.
    copying: Copying,
    /// Tables that changes do not reach there.
    blocked: Blocked,
    row_tables: RowTables,
    /// The definitions with which the tables are made anew, while they are not made.
    reload: Option<Reload>,
    stop: CancellationToken,
}

impl<T: Target> Scheduler<T> {
    /// A scheduler for a target that stands at `place`.
    pub fn new(
        options: SchedulerOptions,
        maps: MapCache<T>,
        writers: Writers,
        place: Place,
        progress: watch::Sender<Progress>,
        stop: CancellationToken,
    ) -> Self {
        let idle = (0..writers.jobs.len()).rev().filter_map(|s| u16::try_from(s).ok()).collect();
        let tally = Tally::new(progress, &place);
        Self {
            options,
            maps,
            writers,
            queue: VecDeque::new(),
            head: None,
            again: BTreeMap::new(),
            judge: false,
            flights: VecDeque::new(),
            idle,
            next_id: 1,
            applied: place.number,
            place,
            tally,
            copying: Copying::default(),
            blocked: Blocked::default(),
            row_tables: RowTables::default(),
            reload: None,
            stop,
        }
    }

    /// With tables that are being copied.
    #[must_use]
    pub fn with_copying(mut self, copying: Copying) -> Self {
        self.copying = copying;
        self
    }

    /// Under the name of its pipeline in metrics.
    #[must_use]
    pub fn of_pipeline(mut self, pipeline: &str) -> Self {
        pipeline.clone_into(&mut self.tally.pipeline);
        self
    }

    /// With tables that changes do not reach.
    #[must_use]
    pub fn with_blocked(mut self, blocked: Blocked, row_tables: RowTables) -> Self {
        (self.blocked, self.row_tables) = (blocked, row_tables);
        self
    }

    /// Runs until stopped (everything under way is committed then) or failed.
    ///
    /// # Errors
    /// What ended the attempt.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), LoadError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.dispatch().await?;
            let stopping = self.stop.is_cancelled();
            if stopping && self.flights.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                report = self.writers.reports.recv() => self.on_report(report.ok_or(LoadError::Ended("the writers"))?)?,
                () = self.stop.cancelled(), if !stopping => {}
                message = messages.recv(), if !stopping && self.queue.len() < QUEUE => {
                    self.on_message(message.ok_or(LoadError::Ended("the intake"))?)?;
                    // What is there already goes into the same batch.
                    while self.queue.len() < QUEUE && let Ok(message) = messages.try_recv() {
                        self.on_message(message)?;
                    }
                }
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    fn on_message(&mut self, message: Message) -> Result<(), LoadError> {
        let Some(message) = self.admit_behind_definitions(message)? else { return Ok(()) };
        match message {
            Message::Unit(unit) => self.queue.push_back(Waiting::Unit(unit)),
            Message::Large { number, chunk, pieces } => {
                self.queue.push_back(Waiting::Large { number, chunk, pieces });
            }
            Message::Alive { at, clock_offset, appended_at } => self.tally.alive(at, clock_offset, appended_at),
        }
        Ok(())
    }

    /// Sends out whatever may go.
    async fn dispatch(&mut self) -> Result<(), LoadError> {
        self.ask_for_decisions().await?;
        loop {
            if self.judge {
                if !self.flights.is_empty() {
                    return Ok(());
                }
                self.judge_first().await?;
                continue;
            }
            // After a stop only what was begun is finished; the rest is read again by the next owner.
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let Some(batch) = self.next_batch().await? else { return Ok(()) };
            let blocked = self.flights.iter().any(|f| match f.batch.write_set.meets(&batch.write_set) {
                _ if f.batch.aside.1 > 0 && batch.aside.1 > 0 => !f.done,
                Meeting::Nowhere => false,
                // A batch that waits for its turn holds all its locks and needs none of those behind it.
                Meeting::InKeys => !f.waiting && !f.done,
                Meeting::Anywhere => !f.done,
            });
            let slot = if blocked { None } else { self.idle.pop() };
            let Some(slot) = slot else {
                self.head = Some(batch);
                return Ok(());
            };
            self.send(slot, batch).await?;
        }
    }

    async fn send(&mut self, slot: u16, batch: Arc<Batch>) -> Result<(), LoadError> {
        let id = self.next_id;
        self.next_id += 1;
        let job = Job::Batch { id, batch: Arc::clone(&batch), planned: None };
        self.give(slot, job).await?;
        self.flights.push_back(Flight { id, batch, since: Instant::now(), waiting: false, done: false });
        Ok(())
    }

    async fn give(&mut self, slot: u16, job: Job) -> Result<(), LoadError> {
        let jobs = self.writers.jobs.get(usize::from(slot)).ok_or(LoadError::Ended("a writer"))?;
        jobs.send(job).await.map_err(|_| LoadError::Ended("a writer"))
    }

    /// The next batch in order: rolled back ones first, then the planned one, then what waits. Runs barriers itself.
    async fn next_batch(&mut self) -> Result<Option<Arc<Batch>>, LoadError> {
        if let Some(batch) = self.head.take() {
            return Ok(Some(batch));
        }
        if let Some((_, batch)) = self.again.pop_first() {
            return Ok(Some(batch));
        }
        loop {
            if self.blocked.has_ready(self.place.number, self.copying.is_due()) {
                if !self.flights.is_empty() {
                    return Ok(None);
                }
                self.settle_groups().await?;
            }
            if let Some(Waiting::Unit(unit)) = self.queue.front()
                && let UnitBody::Ddl(ddl) = &unit.body
            {
                self.copying.before(ddl);
            }
            if self.copying.is_due() {
                if !self.flights.is_empty() {
                    return Ok(None);
                }
                self.run_due().await?;
                continue;
            }
            let shape = match self.queue.front() {
                None => {
                    self.commit_position().await?;
                    return Ok(None);
                }
                Some(Waiting::Large { .. }) => None,
                Some(Waiting::Unit(unit)) => Some(unit.shape()),
            };
            match shape {
                Some(Shape::Nothing) => self.absorb(),
                Some(Shape::Rows(_) | Shape::Mixed) => return self.plan().await,
                Some(Shape::Ddl) | None if !self.flights.is_empty() => return Ok(None),
                Some(Shape::Ddl) => self.run_ddl().await?,
                None => self.run_large().await?,
            }
            if self.stop.is_cancelled() {
                return Ok(None);
            }
        }
    }

    /// Takes a position without rows: it travels with the next batch.
    fn absorb(&mut self) {
        if let Some(Waiting::Unit(unit)) = self.queue.pop_front() {
            self.advance(&unit.end);
            self.tally.position(self.next_id - 1, &self.place, self.flights.is_empty());
        }
    }

    fn advance(&mut self, end: &UnitEnd) {
        batch::advance(&mut self.place, end, &self.options.source);
    }

    /// Makes a batch of the units at the head of the queue.
    async fn plan(&mut self) -> Result<Option<Arc<Batch>>, LoadError> {
        let rows = if self.idle.is_empty() { self.options.policy.rows } else { SIDE_BY_SIDE_ROWS };
        if !self.flights.is_empty() && self.waits_for_more(rows) {
            return Ok(None);
        }
        if self.waits_for_age() {
            return Ok(None);
        }
        let units = self.take_units()?;
        if units.is_empty() {
            self.ensure_room().await?;
        }
        if units.is_empty() {
            return Ok(None);
        }
        let maps = self.maps.of_units(&units).await?;
        let compare_image = self.options.policy.compare_image;
        let (place, effort) = (self.place.clone(), crate::planner::Effort::Sets);
        let batch = Batch::plan(units, place, &maps, compare_image, effort, self.blocked.task())?;
        Ok(Some(Arc::new(batch)))
    }

    /// Whether a batch of what waits may still grow: it has fewer than so many rows, and nothing that ends it.
    fn waits_for_more(&self, enough: usize) -> bool {
        let (mut rows, mut bytes) = (0, 0);
        for waiting in &self.queue {
            let Waiting::Unit(unit) = waiting else { return false };
            rows += unit.rows();
            bytes += unit.bytes();
            if rows >= enough.min(self.options.policy.rows)
                || bytes >= self.options.policy.bytes
                || matches!(unit.body, UnitBody::Ddl(_) | UnitBody::Define(_))
            {
                return false;
            }
        }
        true
    }

    /// Whether the batch may stay open for more units.
    fn waits_for_age(&self) -> bool {
        let age = self.options.batch_age;
        if age.is_zero() || !self.waits_for_more(self.options.policy.rows) {
            return false;
        }
        let Some(Waiting::Unit(first)) = self.queue.front() else { return false };
        now_micros() - first.end.taken_at < i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
    }

    /// Whole units that fit one batch, positions between them included; at least one.
    fn take_units(&mut self) -> Result<Vec<Unit>, LoadError> {
        let policy = self.options.policy;
        let mut units: Vec<Unit> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let mut session = None;
        self.place.origins.clear();
        while let Some(Waiting::Unit(unit)) = self.queue.front() {
            let shape = unit.shape();
            let fits = match (shape, session) {
                (Shape::Nothing, _) => true,
                (Shape::Rows(_) | Shape::Mixed, None) => true,
                (Shape::Rows(own), Some(Shape::Rows(common))) => own == common,
                _ => false,
            };
            let full = !units.is_empty() && (rows + unit.rows() > policy.rows || bytes + unit.bytes() > policy.bytes);
            if !fits || (full && shape != Shape::Nothing) || self.blocked.is_full_for(unit) {
                break;
            }
            rows += unit.rows();
            bytes += unit.bytes();
            if shape != Shape::Nothing {
                session.get_or_insert(shape);
            }
            if let Some(Waiting::Unit(mut unit)) = self.queue.pop_front() {
                let ends_copy = self.copying.ends_with(&unit);
                self.copying.stamp(&mut unit)?;
                self.blocked.stamp(&mut unit)?;
                self.advance(&unit.end);
                units.push(*unit);
                // Behind the last chunk of a table other rules are in force.
                if ends_copy {
                    break;
                }
            }
        }
        Ok(units)
    }

    fn on_report(&mut self, report: Report) -> Result<(), LoadError> {
        let Some(flight) = self.flights.iter_mut().find(|f| f.id == report.id) else { return Ok(()) };
        if report.waiting {
            flight.waiting = true;
            return Ok(());
        }
        self.idle.push(report.slot);
        match report.outcome {
            Outcome::Done => {
                flight.done = true;
                while self.flights.front().is_some_and(|f| f.done) {
                    if let Some(flight) = self.flights.pop_front() {
                        self.applied = flight.batch.place.number;
                        self.tally.committed(flight.id, &flight.batch, self.oldest_pending());
                    }
                }
                Ok(())
            }
            Outcome::Recalled | Outcome::Ddl(_) => {
                self.put_again(report.id);
                Ok(())
            }
            Outcome::Failed(Fault::Over(error)) => Err(error),
            Outcome::Failed(fault) => {
                BatchRerun { fault: &fault }.emit();
                self.tally.rerun();
                self.judge = true;
                self.recall(report.id + 1);
                self.put_again(report.id);
                Ok(())
            }
        }
    }

    fn recall(&mut self, from: u64) {
        self.writers.line.send_modify(|line| line.recall_from = line.recall_from.min(from));
    }

    fn put_again(&mut self, id: u64) {
        if let Some(at) = self.flights.iter().position(|f| f.id == id)
            && let Some(flight) = self.flights.remove(at)
        {
            self.again.insert(id, flight.batch);
        }
    }

    /// A batch that all others wait for may be waiting for their locks: they give way.
    fn on_tick(&mut self) {
        if let Some((first, behind)) = self.flights.make_contiguous().split_first()
            && !first.waiting
            && first.since.elapsed() > PATIENCE
            && !behind.is_empty()
            && behind.iter().all(|f| f.waiting)
            && self.writers.line.borrow().recall_from == u64::MAX
        {
            let from = first.id + 1;
            self.tally.rerun();
            self.judge = true;
            self.recall(from);
        }
        self.tally.measure(self.queue.len() + self.flights.len(), self.oldest_pending());
        if let Some(news) = self.blocked.news() {
            self.tally.blocked(news);
        }
    }

    /// Commit time of the oldest unit that is not applied yet.
    fn oldest_pending(&self) -> Option<i64> {
        let of = |batch: &Batch| batch.units.first().map(|u| u.end.committed_at);
        let begun = self.flights.iter().find(|f| !f.done).map(|f| of(&f.batch));
        let again = || self.again.values().next().map(|b| of(b));
        let head = || self.head.as_ref().map(|b| of(b));
        let queued = || {
            self.queue.front().map(|w| match w {
                Waiting::Unit(unit) => Some(unit.end.committed_at),
                Waiting::Large { .. } => None,
            })
        };
        begun.or_else(again).or_else(head).or_else(queued).flatten().filter(|at| *at > 0)
    }
}

#[cfg(test)]
mod tests;

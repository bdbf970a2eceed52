//! Writer: one connection, one slot. Statements become a committed target transaction.
//!
//! The first statement of every transaction is the compare-and-set of the slot row; rows travel ahead of its answer,
//! `COMMIT` never (P4). Commits are in source order: each waits until the batch before it is committed, in [`Line`].

use std::sync::Arc;

use lutra_change::Number;
use lutra_mysql::{Error, ErrorKind};
use tokio::sync::{mpsc, watch};

use crate::crash::{self, Point, Rule};
use crate::ddl::{self, DdlEnd, DdlJob, DdlState, ParkedJob};
use crate::define::{self, DefineJob};
use crate::error::LoadError;
use crate::planner::{Packet, SQL_MODE};
use crate::rows::Session;
use crate::scheduler::batch::{Batch, Planned};
use crate::slot::{Owner, Place};
use crate::target::TargetConnection;

/// Who may commit: batches have rising ids from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The last batch committed.
    pub committed: u64,
    /// Batches from this one on are to roll back.
    pub recall_from: u64,
}

impl Line {
    /// Nothing committed, nothing recalled.
    pub const START: Self = Self { committed: 0, recall_from: u64::MAX };
}

/// Work for a writer.
#[derive(Debug)]
pub enum Job {
    /// A batch, in line.
    Batch {
        /// Its place in the line.
        id: u64,
        /// What to do.
        batch: Arc<Batch>,
        /// Statements other than the batch's own, when it was planned again.
        planned: Option<Box<Planned>>,
    },
    /// Begins a transaction for a unit whose end is not known yet.
    Begin {
        /// The unit's number.
        number: Number,
        /// Session for its first rows.
        session: Session,
    },
    /// More rows of it.
    More(Box<Planned>),
    /// Its end: the second slot update, then commit.
    Finish(Box<Place>),
    /// It never was.
    Abort,
    /// DDL, with nothing else under way.
    Ddl(Box<DdlJob>),
    /// Tables whose copies follow, with nothing else under way.
    Define(Box<DefineJob>),
    /// A parked statement, with nothing else under way.
    Parked(Box<ParkedJob>),
    /// Parked rows, with nothing else under way.
    Replay {
        /// Their statements, and those by which they are parked no more.
        planned: Box<Planned>,
        /// The sources that they come from.
        origins: String,
        /// Their units, as a mark that changes.
        mark: String,
    },
    /// A place, and statements on Lutra's own tables that go with it.
    Pass {
        /// The place.
        place: Box<Place>,
        /// The statements.
        statements: Vec<String>,
    },
}

/// Why a batch did not commit.
#[derive(Debug)]
pub enum Fault {
    /// A deadlock or a lock that was not given: again.
    Locked(Error),
    /// A statement was refused.
    Refused {
        /// Which one of the plan.
        statement: Option<usize>,
        /// Why.
        error: Error,
    },
    /// A statement matched another number of rows than it should.
    Count {
        /// Which one of the plan.
        statement: usize,
        /// Rows it should match.
        expected: u64,
        /// Rows it matched.
        found: u64,
    },
    /// The attempt is over.
    Over(LoadError),
}

/// What became of a job.
#[derive(Debug)]
pub enum Outcome {
    /// Done: committed, or (for pieces of a large unit) applied.
    Done,
    /// A statement is done with, in one way or another.
    Ddl(DdlEnd),
    /// Rolled back because a batch before it failed.
    Recalled,
    /// Rolled back.
    Failed(Fault),
}

/// A writer's answer to one job.
#[derive(Debug)]
pub struct Report {
    /// The writer.
    pub slot: u16,
    /// The batch's id; 0 for other jobs.
    pub id: u64,
    /// Everything is answered: the batch holds all its locks and waits for its turn; the outcome follows.
    pub waiting: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// One connection and its slot.
#[derive(Debug)]
pub struct Writer<C> {
    connection: C,
    owner: Arc<Owner>,
    slot: u16,
    known: Number,
    session: Session,
    line: watch::Sender<Line>,
    ddl: DdlState,
}

impl<C: TargetConnection> Writer<C> {
    /// The writer of `slot`, which stands at `known`.
    pub fn new(
        connection: C,
        owner: Arc<Owner>,
        slot: u16,
        known: Number,
        line: watch::Sender<Line>,
        ddl: DdlState,
    ) -> Self {
        let session = Session::PLAIN;
        Self { connection, owner, slot, known, session, line, ddl }
    }

    /// Serves jobs until there are no more.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>, reports: mpsc::Sender<Report>) -> Result<(), LoadError> {
        while let Some(job) = jobs.recv().await {
            let id = if let Job::Batch { id, .. } = &job { *id } else { 0 };
            let outcome = self.serve(job, &reports).await;
            if reports.send(Report { slot: self.slot, id, waiting: false, outcome }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn serve(&mut self, job: Job, reports: &mpsc::Sender<Report>) -> Outcome {
        let done = match job {
            Job::Batch { id, batch, planned } => return self.batch(id, &batch, planned.as_deref(), reports).await,
            Job::Begin { number, session } => self.begin(number, session).await,
            Job::More(planned) => self.more(&planned).await,
            Job::Finish(place) => self.finish(&place).await,
            Job::Abort => self.connection.rollback().await.map_err(|e| over("rolling back", e)),
            Job::Ddl(job) => return ended(self.ddl(*job).await),
            Job::Parked(job) => return ended(self.parked(*job).await),
            Job::Define(job) => self.define(*job).await,
            Job::Replay { planned, origins, mark } => return self.replay(&planned, &origins, &mark).await,
            Job::Pass { place, statements } => self.pass_over(&place, &statements).await,
        };
        match done {
            Ok(()) => Outcome::Done,
            Err(fault) => Outcome::Failed(fault),
        }
    }

    async fn batch(
        &mut self,
        id: u64,
        batch: &Batch,
        planned: Option<&Planned>,
        reports: &mpsc::Sender<Report>,
    ) -> Outcome {
        let planned = planned.unwrap_or(&batch.planned);
        let head = self.owner.advance(self.slot, self.known, &batch.place);
        if let Err(fault) = self.transaction(&head, planned).await {
            return self.give_up(fault).await;
        }
        crash::pass(Point::BeforeCommit);
        let mut line = self.line.subscribe();
        // Batches that meet this one in keys may begin now, while this one commits.
        let _ = reports.send(Report { slot: self.slot, id, waiting: true, outcome: Outcome::Done }).await;
        let turn = line.wait_for(|l| l.committed + 1 == id || l.recall_from <= id).await.map(|l| l.recall_from > id);
        if !matches!(turn, Ok(true)) {
            return match self.connection.rollback().await {
                Ok(()) => Outcome::Recalled,
                Err(error) => Outcome::Failed(over("rolling back", error)),
            };
        }
        match self.commit(batch.place.number).await {
            Ok(()) => {
                self.line.send_modify(|l| l.committed = id);
                Outcome::Done
            }
            Err(fault) => Outcome::Failed(fault),
        }
    }

    /// `BEGIN`, slot update and rows; everything is answered and fits when this returns.
    async fn transaction(&mut self, head: &str, planned: &Planned) -> Result<(), Fault> {
        let (script, (before, behind)) = (&planned.script, planned.sessions);
        let separate = crash::broken(Rule::CheckpointInTransaction);
        let mut text = Vec::with_capacity(script.packets.first().map_or(0, |p| p.text.len()) + head.len() + 128);
        let mut leading = 1;
        if before != self.session {
            text.extend_from_slice(before.statement().as_bytes());
            text.push(b';');
            leading += 1;
        }
        text.extend_from_slice(b"BEGIN;");
        if !separate {
            text.extend_from_slice(head.as_bytes());
            text.push(b';');
            leading += 1;
        }
        let fence = (!separate).then_some(leading - 1);
        let mut packets = script.packets.iter();
        if crash::wanted(Point::AfterSlotUpdate) || crash::wanted(Point::MidRows) {
            self.packet(&text, leading, fence, &Packet::default()).await?;
            crash::pass(Point::AfterSlotUpdate);
        } else if let Some(first) = packets.next() {
            text.extend_from_slice(&first.text);
            self.packet(&text, leading, fence, first).await?;
        } else {
            self.packet(&text, leading, fence, &Packet::default()).await?;
        }
        for packet in packets {
            self.packet(&packet.text, 0, None, packet).await?;
            crash::pass(Point::MidRows);
        }
        if separate {
            self.connection.commit().await.map_err(|e| over("committing", e))?;
            crash::pass(Point::BeforeCommit);
            self.packet(format!("BEGIN;{head};").as_bytes(), 2, None, &Packet::default()).await?;
        }
        self.session = behind;
        Ok(())
    }

    /// One round trip; every count is looked at.
    async fn packet(
        &mut self,
        text: &[u8],
        leading: usize,
        fence: Option<usize>,
        packet: &Packet,
    ) -> Result<(), Fault> {
        let (counts, error) = match self.connection.run(text).await {
            Ok(counts) => (counts, None),
            Err(failed) => (failed.done, Some(failed.error)),
        };
        if let Some(fence) = fence
            && counts.get(fence).is_some_and(|matched| *matched != 1)
            && !crash::broken(Rule::Fence)
        {
            return Err(Fault::Over(self.moved()));
        }
        for (part, found) in packet.parts.iter().zip(counts.iter().skip(leading)) {
            if let Some(expected) = part.expected.filter(|expected| expected != found) {
                return Err(Fault::Count { statement: part.statement, expected, found: *found });
            }
        }
        let Some(error) = error else { return self.warned(packet).await };
        let statement = counts.len().checked_sub(leading).and_then(|at| packet.parts.get(at)).map(|p| p.statement);
        Err(match error.kind() {
            ErrorKind::Deadlock | ErrorKind::LockWaitTimeout => Fault::Locked(error),
            _ if error.is_connection_gone() => over("applying rows", error),
            ErrorKind::ReadOnly | ErrorKind::DiskFull | ErrorKind::Interrupted => over("applying rows", error),
            _ => Fault::Refused { statement, error },
        })
    }

    /// What a session that is not strict changed without an error is one: only what the row is lenient for may be warned of.
    async fn warned(&mut self, packet: &Packet) -> Result<(), Fault> {
        let Some(leniency) = &packet.lenient else { return Ok(()) };
        let warnings = self.connection.warnings().await.map_err(|e| over("asking for warnings", e))?;
        match warnings.into_iter().find(|w| !leniency.allows(w.code, &w.message)) {
            None => Ok(()),
            Some(warning) => {
                let error = Error::Server {
                    operation: "storing a row exactly",
                    code: warning.code,
                    state: "01000".to_owned(),
                    // Others may quote a value.
                    message: match warning.code {
                        1265 | 1364 => warning.message,
                        _ => "a value would be stored otherwise than it came".to_owned(),
                    },
                };
                Err(Fault::Refused { statement: Some(leniency.statement), error })
            }
        }
    }

    fn moved(&self) -> LoadError {
        LoadError::SlotMoved {
            task: self.owner.task.clone(),
            slot: self.slot,
            known: self.known,
            own: self.owner.epoch,
        }
    }

    async fn give_up(&mut self, fault: Fault) -> Outcome {
        // The session may or may not have been set, and may have been lenient.
        self.session = Session::PLAIN;
        let text = format!("ROLLBACK;{};SET SESSION sql_mode='{SQL_MODE}'", self.session.statement());
        match self.connection.run(text.as_bytes()).await {
            Ok(_) => Outcome::Failed(fault),
            Err(failed) => match fault {
                Fault::Over(_) => Outcome::Failed(fault),
                _ => Outcome::Failed(over("rolling back", failed.error)),
            },
        }
    }

    async fn commit(&mut self, number: Number) -> Result<(), Fault> {
        if crash::wanted(Point::CommitUnanswered) {
            let sent = std::pin::pin!(self.connection.commit());
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), sent).await;
            crash::pass(Point::CommitUnanswered);
            return Err(Fault::Over(LoadError::Ended("the commit's answer")));
        }
        self.connection.commit().await.map_err(|e| over("committing", e))?;
        self.known = number;
        crash::pass(Point::AfterCommit);
        Ok(())
    }

    async fn begin(&mut self, number: Number, session: Session) -> Result<(), Fault> {
        let head = self.owner.advance_number(self.slot, self.known, number);
        self.transaction(&head, &Planned::nothing(session)).await
    }

    async fn more(&mut self, planned: &Planned) -> Result<(), Fault> {
        let (before, behind) = planned.sessions;
        if before != self.session {
            let text = format!("{};", before.statement());
            self.packet(text.as_bytes(), 1, None, &Packet::default()).await?;
        }
        for packet in planned.script.packets.iter().filter(|p| !p.text.is_empty()) {
            self.packet(&packet.text, 0, None, packet).await?;
            crash::pass(Point::MidRows);
        }
        self.session = behind;
        Ok(())
    }

    /// The end of a large unit: its number stands in the row already.
    async fn finish(&mut self, place: &Place) -> Result<(), Fault> {
        let text = format!("{};", self.owner.advance(self.slot, place.number, place));
        self.packet(text.as_bytes(), 1, Some(0), &Packet::default()).await?;
        crash::pass(Point::BeforeCommit);
        self.commit(place.number).await
    }

    async fn define(&mut self, job: DefineJob) -> Result<(), Fault> {
        let number = job.place.number;
        define::apply(&mut self.connection, &self.owner, self.slot, self.known, &mut self.ddl, job)
            .await
            .map_err(Fault::Over)?;
        self.session = Session::PLAIN;
        self.known = number;
        Ok(())
    }

    async fn ddl(&mut self, job: DdlJob) -> Result<DdlEnd, Fault> {
        let number = job.place.number;
        let end = ddl::apply(&mut self.connection, &self.owner, self.slot, self.known, &mut self.ddl, job)
            .await
            .map_err(Fault::Over)?;
        self.session = Session::PLAIN;
        self.known = number;
        Ok(end)
    }

    async fn parked(&mut self, job: ParkedJob) -> Result<DdlEnd, Fault> {
        let end = ddl::apply_parked(&mut self.connection, &self.owner, self.slot, self.known, &mut self.ddl, job)
            .await
            .map_err(Fault::Over)?;
        self.session = Session::PLAIN;
        Ok(end)
    }

    /// Rows that were parked: the slot row stays at its number, and is the fence all the same.
    async fn replay(&mut self, planned: &Planned, origins: &str, mark: &str) -> Outcome {
        let head = self.owner.mark(self.slot, self.known, origins, mark);
        if let Err(fault) = self.transaction(&head, planned).await {
            return self.give_up(fault).await;
        }
        crash::pass(Point::BeforeCommit);
        match self.commit(self.known).await {
            Ok(()) => Outcome::Done,
            Err(fault) => Outcome::Failed(fault),
        }
    }

    async fn pass_over(&mut self, place: &Place, statements: &[String]) -> Result<(), Fault> {
        let head = self.owner.advance(self.slot, self.known, place);
        if !ddl::commit_all(&mut self.connection, &head, statements).await.map_err(Fault::Over)? {
            return Err(Fault::Over(self.moved()));
        }
        self.known = place.number;
        crash::pass(Point::AfterCommit);
        Ok(())
    }
}

fn ended(end: Result<DdlEnd, Fault>) -> Outcome {
    match end {
        Ok(end) => Outcome::Ddl(end),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn over(operation: &'static str, source: Error) -> Fault {
    Fault::Over(LoadError::Target { operation, source })
}

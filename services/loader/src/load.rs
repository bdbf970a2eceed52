//! One attempt of a load: take the target, then read it, then go on from there (P5).

use std::sync::Arc;

use lutra_change::{Cursor, Epoch, GtidSet, LogId, Number};
use lutra_log::{Bookmark, LogError, LogReader, ReadFrom, ReadTransport, ReaderStart};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::blocked::replay::RowTables;
use crate::blocked::{Blocked, Standing};
use crate::copying::Copying;
use crate::ddl::{self, DdlState};
use crate::error::LoadError;
use crate::events::AttemptBegun;
use crate::intake::{GapSeen, Intake, Schemas};
use crate::maps::MapCache;
use crate::progress::Progress;
use crate::scheduler::{Scheduler, SchedulerOptions, Writers};
use crate::slot::{Owner, Place, Slot};
use crate::target::{self, Capabilities, Target};
use crate::writer::{Line, Writer};

/// Units between intake and scheduler.
const MESSAGES: usize = 1_024;

/// What a load is to do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The pipeline.
    pub pipeline: String,
    /// Task id.
    pub task: String,
    /// Cluster id.
    pub cluster: String,
    /// The pipeline's log.
    pub log_id: LogId,
    /// Whether the source's transactions have GTIDs, by which units of another log are told from those of this one.
    pub gtid: bool,
    /// The unit that the log's origin continues, when the log was adopted (P8).
    pub adopted: Option<Number>,
    /// The load with whose definitions the log begins, when the tables are loaded again: they are made anew.
    pub reload: Option<Uuid>,
    /// Places that the log's writer published.
    pub bookmarks: Vec<Bookmark>,
    /// Connections that write.
    pub connections: u16,
    /// Bytes of changes that may be parked behind held statements.
    pub parked_bytes: u64,
    /// How batches are made.
    pub scheduler: SchedulerOptions,
}

/// The log as an attempt reads it.
#[derive(Debug)]
pub struct Input<R, S> {
    /// Its transport.
    pub transport: R,
    /// Its row schemas.
    pub schemas: S,
    /// Where gaps are told.
    pub gaps: watch::Sender<Option<GapSeen>>,
}

/// Runs one attempt, until stopped or failed.
///
/// # Errors
/// What ended it: see [`LoadError::disposition`].
pub async fn attempt<T: Target, R: ReadTransport, S: Schemas + Sync>(
    target: Arc<T>,
    input: Input<R, S>,
    plan: LoadPlan,
    epoch: Epoch,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let owner = Arc::new(Owner { task: plan.task.clone(), cluster: plan.cluster.clone(), epoch });
    let (slots, capabilities) = target.take(&owner, plan.connections).await?;
    let mut copies = target.copies(&owner).await?;
    let mut standing = target.standing(&plan.task).await?;
    let mut place = target::watermark(&slots).map(|s| s.place.clone()).unwrap_or_default();
    // Whether it is still to be made anew: what is copied, held or stopped there belongs to what the log leaves behind.
    let reload = plan.reload.filter(|load| !copies.chunks.contains(load));
    if reload.is_some() {
        (copies.tables, copies.deferred, standing) = (Vec::new(), Vec::new(), Standing::default());
    }
    ensure_not_behind(&plan, &place)?;
    let other = another_log(&plan, &place);
    if let Some(other) = other.as_ref().filter(|_| !plan.gtid) {
        return Err(other(None));
    }
    progress.send_modify(|p| p.ddl_by_gtid = capabilities.ddl_by_gtid);
    AttemptBegun { pipeline: &plan.pipeline, epoch, number: place.number, ddl_by_gtid: capabilities.ddl_by_gtid }
        .emit();

    let mut rooms = JoinSet::new();
    let writers = open_writers(&target, &owner, &slots, capabilities, plan.connections, &mut rooms).await?;
    let from = match reload {
        // Neither the numbers nor the GTIDs of the target say anything of this log: it is read from its beginning, and the
        // scheduler holds the first unit that counts to what the target has.
        Some(_) if place.cursor.is_none_or(|cursor| cursor.log_id != plan.log_id) => {
            place.gtid_set = GtidSet::new();
            ReadFrom::Beginning
        }
        _ => read_from(plan.log_id, &place),
    };
    let start = ReaderStart::new(plan.log_id, from).with_bookmarks(plan.bookmarks);
    let reader = LogReader::open(input.transport, start).await?;
    let (messages, waiting) = mpsc::channel(MESSAGES);
    let schemas = Arc::new(input.schemas);
    rooms.spawn(Intake::new(reader, Arc::clone(&schemas), messages, input.gaps).run());
    let maps = MapCache::new(target);
    let copying = Copying::new(&plan.task, &copies);
    progress.send_modify(|p| p.copies = copies.tables);
    let intent = slots.iter().find_map(|s| ddl::intended_unit(s.ddl_intent.as_deref()?));
    let blocked = Blocked::new(&plan.task, &plan.scheduler.source, plan.parked_bytes, standing, intent);
    let scheduler = Scheduler::new(plan.scheduler, maps, writers, place, progress, stop)
        .with_copying(copying)
        .with_blocked(blocked, RowTables::new(&schemas))
        .with_reload(reload)
        .of_pipeline(&plan.pipeline);
    let ended = scheduler.run(waiting).await;
    match (rooms_end(ended, rooms).await, other) {
        // The numbers of one log meant nothing in the other.
        (Err(LoadError::Log(error @ LogError::Halt { .. })), Some(other)) => Err(other(Some(error))),
        (ended, _) => ended,
    }
}

/// A log that was made anew for a pipeline keeps the numbers only if it is made of the same source's log. What is told when
/// it does not, where that can be.
fn another_log(plan: &LoadPlan, place: &Place) -> Option<impl Fn(Option<LogError>) -> LoadError + use<>> {
    let known = place.cursor.map(|cursor| cursor.log_id).filter(|id| *id != plan.log_id && plan.adopted.is_none())?;
    let (task, number, found) = (plan.task.clone(), place.number, plan.log_id);
    Some(move |source: Option<LogError>| LoadError::AnotherLog {
        task: task.clone(),
        number,
        known,
        found,
        source: source.map(Box::new),
    })
}

/// The room that failed first tells more than those that missed it.
async fn rooms_end(ended: Result<(), LoadError>, mut rooms: JoinSet<Result<(), LoadError>>) -> Result<(), LoadError> {
    let mut first = ended;
    if matches!(first, Err(LoadError::Ended(_))) {
        let grace = std::time::Duration::from_millis(200);
        while let Ok(Some(room)) = tokio::time::timeout(grace, rooms.join_next()).await {
            match room {
                Ok(Err(error)) => {
                    first = Err(error);
                    break;
                }
                Err(panic) if panic.is_panic() => tracing::error!(%panic, "a room of the loader panicked"),
                _ => {}
            }
        }
    }
    rooms.shutdown().await;
    first
}

/// P8: an adopted log begins behind a unit; its origin covers all before that. A target without that unit, restored from
/// a backup say, would skip what it lacks unseen. One whose tables are made anew lacks nothing.
fn ensure_not_behind(plan: &LoadPlan, place: &Place) -> Result<(), LoadError> {
    match plan.adopted.filter(|_| plan.reload.is_none()) {
        Some(adopted) if place.number < adopted => {
            Err(LoadError::TargetBehindLog { task: plan.task.clone(), number: place.number, adopted })
        }
        _ => Ok(()),
    }
}

/// Where to read on: behind what the target has, or from the beginning when it has nothing.
fn read_from(log_id: LogId, place: &Place) -> ReadFrom {
    match place.cursor {
        Some(cursor) if cursor.log_id == log_id => ReadFrom::Cursor(cursor, place.gtid_set.clone()),
        // Another log since (`adopt`): it continues the numbers.
        Some(_) => {
            let cursor = Cursor { log_id, next_offset: 0, epoch: Epoch::ZERO, number: place.number };
            ReadFrom::Cursor(cursor, place.gtid_set.clone())
        }
        None => ReadFrom::Beginning,
    }
}

async fn open_writers<T: Target>(
    target: &Arc<T>,
    owner: &Arc<Owner>,
    slots: &[Slot],
    capabilities: Capabilities,
    connections: u16,
    rooms: &mut JoinSet<Result<(), LoadError>>,
) -> Result<Writers, LoadError> {
    let (line, _) = watch::channel(Line::START);
    // Two answers per job: waiting, and done.
    let (answers, reports) = mpsc::channel(usize::from(connections) * 2 + 2);
    let mut jobs = Vec::with_capacity(usize::from(connections));
    let connected = futures::future::try_join_all((0..connections).map(|slot| target.connect(owner, slot))).await?;
    for (slot, connection) in (0..).zip(connected) {
        let row = slots.iter().find(|s| s.slot == slot);
        let ddl = DdlState {
            uuid: row.map(|r| r.ddl_uuid.clone()).unwrap_or_default(),
            next: row.map_or(1, |r| r.ddl_next.max(1)),
            intent: row.and_then(|r| r.ddl_intent.clone()),
            by_gtid: capabilities.ddl_by_gtid,
            flavour: capabilities.flavour,
        };
        let known: Number = target::known(slots, slot);
        let writer = Writer::new(connection, Arc::clone(owner), slot, known, line.clone(), ddl);
        let (queue, waiting) = mpsc::channel(2);
        jobs.push(queue);
        rooms.spawn(writer.run(waiting, answers.clone()));
    }
    Ok(Writers { jobs, reports, line })
}

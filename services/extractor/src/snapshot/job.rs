//! The copy for one pipeline: definitions first, then its tables, chunk after chunk.

mod state;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use lutra_coordination::{LoadProgress, LoadRequest, TaskHandle};
use lutra_mysql::ConnectOptions;
use lutra_rules::Rules;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use lutra_spec::{FullLoad, SourceSpec};
use lutra_wire::{ChunkStep, CopiedTable};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::state::{Shared, Table, chunk_id};
use super::desk::DeskHandle;
use super::objects;
use super::plan::{self, ReadPlan};
use super::reader::Reader;
use super::window::Watched;
use super::{Answer, Ask, ChunkRows, ChunkUnit, SnapshotError};

/// How often progress is written at most.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// How long a reader rests while the stream is behind.
const REST: Duration = Duration::from_millis(100);

/// One pipeline's copy.
#[derive(Debug)]
pub struct Job {
    pipeline: String,
    handle: TaskHandle,
    desk: DeskHandle,
    options: ConnectOptions,
    spec: Arc<SourceSpec>,
    request: watch::Receiver<LoadRequest>,
    shared: Arc<Shared>,
}

impl Job {
    /// A job that goes on where `saved` says.
    pub fn new(
        pipeline: String,
        handle: TaskHandle,
        desk: DeskHandle,
        options: ConnectOptions,
        spec: Arc<SourceSpec>,
        request: watch::Receiver<LoadRequest>,
        saved: Option<LoadProgress>,
    ) -> Self {
        let id = request.borrow().id;
        let shared = Arc::new(Shared::new(id, saved));
        Self { pipeline, handle, desk, options, spec, request, shared }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let job = Arc::new(self);
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        let never = CancellationToken::new();
        loop {
            match job.once().await {
                Ok(()) | Err(SnapshotError::Ended) => return,
                Err(error) => {
                    let text = crate::extract::chain(&error);
                    tracing::warn!(pipeline = job.pipeline, error = text, "a full load rests; it is tried again");
                    job.shared.note(&text);
                    job.save().await;
                }
            }
            let _ = backoff.wait(&never).await;
        }
    }

    fn full(&self) -> FullLoad {
        self.request.borrow().pipeline.load.full.clone().unwrap_or_default()
    }

    async fn once(self: &Arc<Self>) -> Result<(), SnapshotError> {
        if !self.spec.gtid {
            return Err(SnapshotError::NoGtid);
        }
        if !self.shared.is_defined() {
            self.define_all().await?;
        }
        let mut workers = JoinSet::new();
        for _ in 0..self.full().readers {
            workers.spawn(worker::run(Arc::clone(self)));
        }
        let mut save = tokio::time::interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(ended) = workers.join_next() => match ended {
                    Ok(Err(error)) => {
                        self.shared.release_all();
                        return Err(error);
                    }
                    Ok(Ok(())) => return Ok(()),
                    Err(panic) => {
                        tracing::error!(%panic, "a reader of a full load panicked");
                        self.shared.release_all();
                    }
                },
                _ = save.tick() => self.save().await,
            }
        }
    }

    /// Writes what is in the log for good.
    async fn save(&self) {
        let durable = *self.desk.durable.borrow();
        let Some(progress) = self.shared.settle(durable) else { return };
        match self.handle.put_copy(&self.pipeline, &progress).await {
            Ok(()) => self.shared.saved(progress),
            // What is not written is copied again by the next start: that costs time, nothing else.
            Err(error) => tracing::debug!(%error, "the progress of a copy is not written"),
        }
    }

    /// The definitions of all tables, as one unit at one place of the log: there the pipeline begins.
    async fn define_all(&self) -> Result<(), SnapshotError> {
        let rules = Rules::compile(&self.request.borrow().pipeline).map_err(|faults| {
            SnapshotError::Rules(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let mut reader = Reader::connect(&self.options, self.desk.clone(), 1).await?;
        loop {
            let Some(window) = reader.open(Watched::default()).await? else {
                tokio::time::sleep(REST).await;
                continue;
            };
            let looked = self.look_at_all(&mut reader, &rules).await;
            let (tables, step) = match looked {
                Ok(found) => found,
                Err(error) => return reader.give_up(window, error).await,
            };
            let high = reader.high().await?;
            // Readers know by the load's own id the definitions with which its log begins anew.
            let own = self.request.borrow().again;
            let id = if own { self.shared.id } else { chunk_id(&[self.shared.id.as_bytes(), b"definitions"]) };
            match self.publish(window, high, id, step, ChunkRows::Slice(Vec::new()), None).await? {
                Answer::Void(reason) => tracing::info!(pipeline = self.pipeline, reason, "definitions are read again"),
                Answer::Published { number, before, .. } => {
                    let mut durable = self.desk.durable.clone();
                    durable.wait_for(|known| *known >= number).await.map_err(|_| SnapshotError::Ended)?;
                    let begin = before.and_then(|b| serde_json::to_value(*b).ok());
                    tracing::info!(pipeline = self.pipeline, tables = tables.len(), %number, "definitions are in the log");
                    self.shared.defined(id, begin, tables);
                    self.save().await;
                    return Ok(());
                }
            }
        }
    }

    async fn look_at_all(&self, reader: &mut Reader, rules: &Rules) -> Result<(Vec<Table>, ChunkStep), SnapshotError> {
        let wanted = plan::tables(reader.connection(), &self.spec, rules).await?;
        let names: Vec<_> = wanted.iter().map(|w| w.name.clone()).collect();
        let (full, again) = (self.full(), self.request.borrow().again);
        let mut statements = plan::databases(reader.connection(), &names).await?;
        statements.extend(plan::definitions(reader.connection(), &names, again, full.indexes).await?);
        let collations = lutra_mysql::catalogue::Collations::read(reader.connection()).await?;
        if full.objects {
            let databases = plan::databases_of(&names);
            statements.extend(objects::objects(reader.connection(), &databases, &collations, again).await?);
        }
        let (mut tables, mut copied) = (Vec::new(), Vec::new());
        for table in &wanted {
            let text = String::new();
            let Some(plan) = ReadPlan::make(reader.connection(), &table.name, text, &collations).await? else {
                continue;
            };
            let whole = plan.key.is_empty();
            tables.push(Table::new(&table.name, 0, table.estimate, whole));
            copied.push(copied_table(&table.name, 0, whole));
        }
        Ok((tables, ChunkStep::Define { tables: copied, statements }))
    }

    /// Hands a chunk to the desk, and waits for what becomes of it.
    async fn publish(
        &self,
        window: u64,
        high: lutra_change::BinlogPosition,
        id: uuid::Uuid,
        step: ChunkStep,
        rows: ChunkRows,
        schema: Option<Arc<lutra_wire::RowSchema>>,
    ) -> Result<Answer, SnapshotError> {
        let answer = self.submit(window, high, id, step, rows, schema).await?;
        answer.await.map_err(|_| SnapshotError::Ended)
    }

    /// Hands a chunk to the desk; the answer comes when the stream has passed it.
    async fn submit(
        &self,
        window: u64,
        high: lutra_change::BinlogPosition,
        id: uuid::Uuid,
        step: ChunkStep,
        rows: ChunkRows,
        schema: Option<Arc<lutra_wire::RowSchema>>,
    ) -> Result<oneshot::Receiver<Answer>, SnapshotError> {
        let (reply, answer) = oneshot::channel();
        let table = match &step {
            ChunkStep::Rows { table, .. } => table.name(),
            ChunkStep::Define { .. } => lutra_change::TableName::new("", ""),
        };
        let addressee = self.pipeline.clone();
        let unit = ChunkUnit { window, high, id, addressee, step, table, schema, rows, reply };
        self.desk.asks.send(Ask::Publish(Box::new(unit))).await.map_err(|_| SnapshotError::Ended)?;
        Ok(answer)
    }
}

fn copied_table(name: &lutra_change::TableName, generation: u32, whole: bool) -> CopiedTable {
    CopiedTable { database: name.database.clone(), table: name.table.clone(), generation, whole }
}

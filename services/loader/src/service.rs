//! Wiring: the worker's agent hands tasks to [`LoadRunner`], which runs one attempt after the other.

use std::sync::Arc;

use lutra_change::{Number, TaskId};
use lutra_coordination::{
    Coordination, Disposition as TaskDisposition, LogRef, ObservedState, TaskContext, TaskEnd, TaskFailure, TaskHandle,
    TaskRunner, WorkerAgent, WorkerInfo,
};
use lutra_kafka::{GroupOffsets, KafkaConfig, KafkaLog, SchemaTopic};
use lutra_log::{Bookmark, TransportFactory};
use lutra_mysql::{ConnectOptions, document};
use lutra_runtime::{Backoff, BackoffPolicy, Context};
use lutra_spec::{Compare, DdlPolicy, PipelineSpec, TargetSpec};
use tokio::sync::watch;

use crate::config::LoaderArgs;
use crate::error::{Disposition, LoadError};
use crate::events::LagsMeasured;
use crate::intake::GapSeen;
use crate::load::{Input, LoadPlan, attempt};
use crate::progress::{Board, Progress};
use crate::scheduler::SchedulerOptions;
use crate::scheduler::batch::BatchPolicy;
use crate::target::mysql::MySqlTarget;

/// Runs the service until it shall end.
///
/// # Errors
/// What ended it before its time.
pub async fn serve(context: Context, args: LoaderArgs) -> anyhow::Result<()> {
    let identity = context.worker_identity()?;
    let board = Board::default();
    let address = context.advertised(context.serve(crate::http::router(board.clone())).await?);
    let Some(coordination) = Coordination::open(&context).await? else { return Ok(()) };
    let mut kafka = KafkaConfig::new(&context.common.kafka);
    kafka.properties = context.common.kafka_property_map();
    let info = WorkerInfo::new(context.service, &identity, &address, args.capacity);
    let common = &context.common;
    tracing::info!(worker = identity.id(), %address, zookeeper = common.zookeeper, kafka = common.kafka, "loader is up");
    let agent = WorkerAgent::new(coordination, info, LoadRunner { kafka, board });
    agent.run(context.shutdown.clone()).await?;
    Ok(())
}

/// Runs `load/<pipeline>` tasks.
#[derive(Debug)]
pub struct LoadRunner {
    /// How Kafka is reached.
    pub kafka: KafkaConfig,
    /// Where progress is shown.
    pub board: Board,
}

impl TaskRunner for LoadRunner {
    async fn run(&self, task: TaskContext) -> Result<TaskEnd, TaskFailure> {
        let (progress, watched) = watch::channel(Progress { state: "starting", ..Progress::default() });
        let shown = self.board.put(&task.id.name, watched);
        let ended = self.attempts(&task, &progress).await;
        if let Err(failure) = &ended {
            progress.send_modify(|p| {
                p.state = if failure.disposition == TaskDisposition::Halt { "halted" } else { "retrying" };
                p.last_error = Some(format!("{}; {}", failure.message, failure.hint));
            });
            shown.stays();
        }
        ended
    }
}

impl LoadRunner {
    /// One attempt after the other, until stopped, fenced or halted.
    async fn attempts(&self, task: &TaskContext, progress: &watch::Sender<Progress>) -> Result<TaskEnd, TaskFailure> {
        let work = Work::of(task).map_err(|e| failure(&e))?;
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        loop {
            let before = progress.borrow().batches_committed;
            let error = match self.one(task, &work, progress).await {
                Ok(()) => return Ok(TaskEnd::Drained),
                Err(error) => error,
            };
            match error.disposition() {
                (Disposition::Fenced, _) => return Ok(TaskEnd::Fenced),
                (Disposition::Halt, _) => return Err(failure(&error)),
                (Disposition::Retry, hint) => {
                    let text = chain(&error);
                    tracing::warn!(task = %task.id, error = %text, hint, "the load starts again");
                    progress.send_modify(|p| {
                        p.state = "retrying";
                        p.last_error = Some(format!("{text}; {hint}"));
                    });
                    let detail = serde_json::json!({ "state": "retrying", "error": text, "hint": hint });
                    task.handle.set_state(ObservedState::Running, detail);
                }
            }
            if progress.borrow().batches_committed > before {
                backoff = Backoff::new(BackoffPolicy::CONNECT);
            }
            if backoff.wait(&task.stop).await.is_err() {
                return Ok(TaskEnd::Drained);
            }
        }
    }

    /// One attempt: a new epoch, the target taken, the log read on.
    async fn one(&self, task: &TaskContext, work: &Work, progress: &watch::Sender<Progress>) -> Result<(), LoadError> {
        let kafka_failed = |operation: &str| {
            let operation = operation.to_owned();
            move |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Kafka { operation, source }
        };
        // Clients that connect side by side.
        let log = KafkaLog::new(&self.kafka, &work.log.topic);
        let schemas = SchemaTopic::open(&self.kafka, &work.log.schemas_topic);
        let bookmarks = bookmarks(&task.handle, &work.log.writer);
        let (schemas, transport, bookmarks) = tokio::join!(schemas, log.reader(), bookmarks);
        let schemas = schemas.map_err(|e| kafka_failed("opening the topic of row schemas")(Box::new(e)))?;
        let transport = transport.map_err(|e| kafka_failed("opening the pipeline's log")(Box::new(e)))?;
        let target = Arc::new(MySqlTarget::new(work.servers()?));
        let epoch = task.handle.next_attempt();
        let (gaps, seen) = watch::channel(None);
        let plan = work.plan(bookmarks);
        let run = attempt(target, Input { transport, schemas, gaps }, plan, epoch, progress.clone(), task.stop.clone());
        let group = format!("lutra-{}", task.id.name);
        let offsets = GroupOffsets::new(&self.kafka, &group, &work.log.topic).ok();
        let mut status = tokio::time::interval(std::time::Duration::from_secs(2));
        let mut run = std::pin::pin!(run);
        let mut seen = std::pin::pin!(ask_for_restarts(&task.handle, &work.log.writer, seen));
        loop {
            tokio::select! {
                biased;
                ended = &mut run => return ended,
                () = &mut seen => {}
                _ = status.tick() => {
                    let now = progress.borrow().clone();
                    task.handle.set_state(ObservedState::Running, detail(&now));
                    // A scheduler that waits for the target does not measure: its lag grows all the same.
                    if let Some(lags) = now.lags_now().filter(|_| now.is_held_up()) {
                        LagsMeasured { pipeline: &task.id.name, lags: &lags }.emit();
                    }
                    // For lag tools only: nobody of ours reads it, and a lost one is of no consequence.
                    if let Some(offsets) = offsets.as_ref().filter(|_| now.next_offset > 0) {
                        let _ = offsets.commit(now.next_offset);
                    }
                }
            }
        }
    }
}

/// Every gap asks the log's writer for one start (P3). Never ends.
async fn ask_for_restarts(handle: &TaskHandle, writer: &TaskId, mut gaps: watch::Receiver<Option<GapSeen>>) {
    while gaps.changed().await.is_ok() {
        let gap = *gaps.borrow_and_update();
        if let Some(gap) = gap {
            let reason = serde_json::json!({
                "gap": { "offset": gap.offset, "expected": gap.expected.to_string(), "found": gap.found.to_string() },
            });
            if let Err(error) = handle.request_restart_of(writer, reason).await {
                tracing::error!(%writer, %error, "the log's writer could not be asked to start again");
            }
        }
    }
    std::future::pending::<()>().await;
}

async fn bookmarks(handle: &TaskHandle, writer: &TaskId) -> Vec<Bookmark> {
    // Only places to go back to: without them the reader begins at offset 0.
    let published = handle.bookmarks_of(writer).await.unwrap_or_default();
    published.into_iter().filter_map(|b| serde_json::from_value(b).ok()).collect()
}

fn detail(p: &Progress) -> serde_json::Value {
    serde_json::json!({
        "state": p.state,
        "number": p.number.to_string(),
        "gtid_set": p.gtid_set.to_string(),
        "rows_applied": p.rows_applied,
        "transactions_applied": p.transactions_applied,
        "conflicts": p.conflicts,
        "apply_lag_transactions": p.apply_lag_transactions,
        "lags": p.lags_now().unwrap_or(p.lags),
        "ddl_by_gtid": p.ddl_by_gtid,
        "blocked": p.blocked.iter().map(crate::http::blocked_of).collect::<Vec<_>>(),
        "last_error": p.last_error,
    })
}

fn chain(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn failure(error: &LoadError) -> TaskFailure {
    let (disposition, hint) = error.disposition();
    let disposition = if disposition == Disposition::Retry { TaskDisposition::Retry } else { TaskDisposition::Halt };
    TaskFailure::new(error, disposition, hint).with_runbook(crate::runbook::page(error))
}

/// What the definition of a task asks for.
#[derive(Debug)]
struct Work {
    task: TaskId,
    cluster: String,
    source: String,
    target: TargetSpec,
    pipeline: PipelineSpec,
    log: LogRef,
    adopted: Option<Number>,
    reload: Option<uuid::Uuid>,
    gtid: bool,
}

impl Work {
    fn of(task: &TaskContext) -> Result<Self, LoadError> {
        let missing = |missing| LoadError::Definition { task: task.id.to_string(), missing };
        let definition = &task.definition;
        let pipeline = definition.pipeline.as_ref().ok_or_else(|| missing("the pipeline"))?.spec.clone();
        Ok(Self {
            task: task.id.clone(),
            cluster: definition.cluster.to_string(),
            source: pipeline.source.to_string(),
            target: definition.target.as_ref().ok_or_else(|| missing("the target"))?.spec.clone(),
            pipeline,
            log: definition.input.clone().ok_or_else(|| missing("the log to read"))?,
            adopted: definition.adopt.as_ref().map(|a| a.number),
            reload: definition.adopt.as_ref().and_then(|a| a.load),
            gtid: definition.source.as_ref().is_none_or(|source| source.spec.gtid),
        })
    }

    fn servers(&self) -> Result<Vec<ConnectOptions>, LoadError> {
        let found = document::servers(&self.target.connection(), &format!("lutra {}", self.task));
        found.map_err(|source| LoadError::Unresolved { task: self.task.to_string(), source })
    }

    fn plan(&self, bookmarks: Vec<Bookmark>) -> LoadPlan {
        let load = &self.pipeline.load;
        LoadPlan {
            pipeline: self.task.name.clone(),
            task: self.task.to_string(),
            cluster: self.cluster.clone(),
            log_id: self.log.log_id,
            adopted: self.adopted,
            reload: self.reload,
            gtid: self.gtid,
            bookmarks,
            connections: load.connections.max(1),
            parked_bytes: load.parked_bytes,
            scheduler: SchedulerOptions {
                policy: BatchPolicy {
                    rows: usize::try_from(load.batch_rows).unwrap_or(usize::MAX),
                    bytes: usize::try_from(load.batch_bytes).unwrap_or(usize::MAX),
                    compare_image: load.compare == Compare::Image,
                },
                batch_age: load.batch_age,
                ignore_ddl: self.pipeline.ddl == DdlPolicy::Ignore,
                on_conflict: load.on_conflict,
                policies: crate::decisions::Policies::of(&self.pipeline),
                source: self.source.clone(),
            },
        }
    }
}

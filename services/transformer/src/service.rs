//! The wiring of the process: a worker that runs `transform/<pipeline>` tasks, and what it says over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::routing::get;
use axum::{Json, Router};
use lutra_coordination::{Coordination, TaskContext, TaskEnd, TaskFailure, TaskRunner, WorkerAgent, WorkerInfo};
use lutra_kafka::KafkaConfig;
use lutra_runtime::Context;
use serde_json::{Value, json};

use crate::config::TransformerArgs;
use crate::forward::Forwarder;
use crate::intake::Reader;
use crate::{disposition, task};

/// Runs the service until it is told to stop.
///
/// # Errors
/// What keeps the process from starting, or a worker id that is in use elsewhere.
pub async fn run(context: Context, args: TransformerArgs) -> Result<(), anyhow::Error> {
    let identity = context.worker_identity()?;
    let board = Arc::new(Board::default());
    let shown = Arc::clone(&board);
    let routes = Router::new().route("/v1/tasks", get(move || std::future::ready(Json(shown.show()))));
    let address = context.advertised(context.serve(routes).await?);
    let mut kafka = KafkaConfig::new(&context.common.kafka);
    kafka.properties = context.common.kafka_property_map();
    let common = &context.common;
    tracing::info!(worker = identity.id(), %address, zookeeper = common.zookeeper, kafka = common.kafka, "transformer is up");
    let Some(coordination) = Coordination::open(&context).await? else { return Ok(()) };
    let info = WorkerInfo::new("transformer", &identity, address, args.capacity);
    WorkerAgent::new(coordination, info, Runner { kafka, board }).run(context.shutdown.clone()).await?;
    Ok(())
}

/// Runs transform tasks.
struct Runner {
    kafka: KafkaConfig,
    board: Arc<Board>,
}

impl TaskRunner for Runner {
    async fn run(&self, context: TaskContext) -> Result<TaskEnd, TaskFailure> {
        let shown = self.board.guard(&context.id.name);
        let ended = Box::pin(task::run(&self.kafka, &context, &self.board)).await;
        drop(shown);
        ended.or_else(|error| disposition::of(&error))
    }
}

/// What the running tasks measure.
#[derive(Debug, Default)]
pub(crate) struct Board {
    tasks: Mutex<BTreeMap<String, Measured>>,
}

/// See [`Board::guard`].
struct OffBoard<'b> {
    board: &'b Board,
    pipeline: &'b str,
}

impl Drop for OffBoard<'_> {
    fn drop(&mut self) {
        self.board.forget(self.pipeline);
    }
}

#[derive(Clone, Debug)]
struct Measured {
    number: String,
    forwarded: String,
    next_offset: i64,
    gtid_set: String,
    committed_at: i64,
    heard_at: i64,
}

impl Board {
    /// A unit or heartbeat of the input passed.
    pub(crate) fn heard(&self, pipeline: &str, forwarder: &Forwarder, reader: &Reader, committed_at: i64) {
        let now = task::now_micros();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Ten times a second is enough for people; formatting GTID sets for every unit is not.
        if tasks.get(pipeline).is_some_and(|m| now - m.heard_at < 100_000) {
            return;
        }
        let measured = Measured {
            number: forwarder.seen().to_string(),
            forwarded: forwarder.forwarded().to_string(),
            next_offset: reader.cursor().next_offset,
            gtid_set: reader.gtid_set().to_string(),
            committed_at,
            heard_at: now,
        };
        tasks.insert(pipeline.to_owned(), measured);
    }

    /// It does not run any more, or not yet again.
    pub(crate) fn forget(&self, pipeline: &str) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(pipeline);
    }

    /// Forgets a task when it ends, however it does: one that is cut off (P6) ends without another word.
    fn guard<'b>(&'b self, pipeline: &'b str) -> OffBoard<'b> {
        OffBoard { board: self, pipeline }
    }

    fn show(&self) -> Value {
        let now = task::now_micros();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks: Vec<Value> = tasks
            .iter()
            .map(|(pipeline, m)| {
                json!({
                    "task": format!("transform/{pipeline}"),
                    "number": m.number,
                    "forwarded": m.forwarded,
                    "input_next_offset": m.next_offset,
                    "gtid_set": m.gtid_set,
                    "transform_lag_seconds": lag_seconds(m, now),
                    "heard_at": m.heard_at,
                })
            })
            .collect();
        json!({ "tasks": tasks })
    }
}

/// The input is heard each second. After so long a silence the lag is the age of what was heard last.
const SILENCE_MICROS: i64 = 3_000_000;

fn lag_seconds(measured: &Measured, now: i64) -> f64 {
    let silent = now - measured.heard_at > SILENCE_MICROS;
    let until = if silent { now } else { measured.heard_at };
    (until - measured.committed_at).max(0) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_dropped_in_the_middle_is_forgotten() {
        let board = Board::default();
        let shown = board.guard("p");
        let measured = Measured {
            number: String::new(),
            forwarded: String::new(),
            next_offset: 0,
            gtid_set: String::new(),
            committed_at: 0,
            heard_at: 0,
        };
        board.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert("p".to_owned(), measured);
        assert_eq!(board.show()["tasks"].as_array().map(Vec::len), Some(1));
        drop(shown);
        assert_eq!(board.show()["tasks"].as_array().map(Vec::len), Some(0));
    }

    #[test]
    fn an_input_that_is_not_heard_any_more_is_a_lag() {
        let measured = Measured {
            number: String::new(),
            forwarded: String::new(),
            next_offset: 0,
            gtid_set: String::new(),
            committed_at: 9_000_000,
            heard_at: 10_000_000,
        };
        assert!((lag_seconds(&measured, 12_000_000) - 1.0).abs() < 1e-9);
        assert!((lag_seconds(&measured, 20_000_000) - 11.0).abs() < 1e-9);
    }
}

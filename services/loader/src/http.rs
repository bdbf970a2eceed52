//! The loader's own routes: what its loads have done, and waiting for a GTID set.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lutra_change::{GtidSet, Number};
use serde::{Deserialize, Serialize};

use crate::blocked::{Block, BlockedTable};
use crate::copying::CopyRow;
use crate::progress::{Board, Lags, Progress};

/// Longest wait of one request; ask again after it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What one load has done, as JSON.
#[derive(Debug, Serialize)]
struct Status {
    task: String,
    state: &'static str,
    number: Number,
    gtid_set: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lags: Option<Lags>,
    apply_lag_transactions: u64,
    rows_applied: u64,
    transactions_applied: u64,
    batches_committed: u64,
    reruns: u64,
    conflicts: u64,
    ddl_by_gtid: bool,
    /// The copies of tables: state and rows, by the table's name in the target.
    copies: std::collections::BTreeMap<String, serde_json::Value>,
    /// Tables that changes do not reach now.
    blocked: Vec<serde_json::Value>,
    last_error: Option<String>,
    /// What a person should know although it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Status {
    fn of(pipeline: &str, p: &Progress) -> Self {
        Self {
            task: format!("load/{pipeline}"),
            state: p.state,
            number: p.number,
            gtid_set: p.gtid_set.to_string(),
            lags: p.lags_now(),
            apply_lag_transactions: p.apply_lag_transactions,
            rows_applied: p.rows_applied,
            transactions_applied: p.transactions_applied,
            batches_committed: p.batches_committed,
            reruns: p.reruns,
            conflicts: p.conflicts,
            ddl_by_gtid: p.ddl_by_gtid,
            copies: p.copies.iter().map(copy_of).collect(),
            blocked: p.blocked.iter().map(blocked_of).collect(),
            last_error: p.last_error.clone(),
            warning: p.warning(),
        }
    }
}

fn copy_of(row: &CopyRow) -> (String, serde_json::Value) {
    let copy = serde_json::json!({"state": row.state, "rows": row.rows, "generation": row.table.generation});
    (row.table.name().to_string(), copy)
}

/// A table that changes do not reach: `held` with what is parked for it and its like, `stopped` with what is left out of it.
pub(crate) fn blocked_of(table: &BlockedTable) -> serde_json::Value {
    let rows = if table.block == Block::Held { "rows_parked" } else { "rows_left_out" };
    serde_json::json!({
        "table": table.table.to_string(),
        "state": table.block.word(),
        "unit": table.group.to_string(),
        "reason": table.reason,
        rows: table.rows,
    })
}

#[derive(Debug, Deserialize)]
struct WaitQuery {
    gtid_set: String,
    /// Seconds.
    timeout: Option<f64>,
}

/// `GET /v1/tasks`, `GET /v1/tasks/load/{pipeline}`, `GET /v1/tasks/load/{pipeline}/wait?gtid_set=…&timeout=…`.
pub fn router(board: Board) -> Router {
    Router::new()
        .route("/v1/tasks", get(tasks))
        .route("/v1/tasks/load/{pipeline}", get(task))
        .route("/v1/tasks/load/{pipeline}/wait", get(wait))
        .with_state(board)
}

async fn tasks(State(board): State<Board>) -> impl IntoResponse {
    let all: Vec<Status> = board.all().iter().map(|(pipeline, p)| Status::of(pipeline, p)).collect();
    Json(all)
}

async fn task(State(board): State<Board>, Path(pipeline): Path<String>) -> Response {
    match board.get(&pipeline) {
        Some(progress) => Json(Status::of(&pipeline, &progress.borrow())).into_response(),
        None => no_such(&pipeline),
    }
}

/// Answers as soon as every GTID of the set is applied: 200 with `reached: true`; after the time-out 200 with `false`.
async fn wait(State(board): State<Board>, Path(pipeline): Path<String>, Query(query): Query<WaitQuery>) -> Response {
    let Some(mut progress) = board.get(&pipeline) else { return no_such(&pipeline) };
    let wanted: Arc<GtidSet> = match query.gtid_set.parse() {
        Ok(set) => Arc::new(set),
        Err(error) => return fault(StatusCode::BAD_REQUEST, &format!("gtid_set: {error}")),
    };
    let limit = Duration::try_from_secs_f64(query.timeout.unwrap_or(30.0)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    let waited = tokio::time::timeout(limit, progress.wait_for(|p| wanted.is_subset(&p.gtid_set))).await;
    let reached = waited.is_ok_and(|ended| ended.is_ok());
    let status = Status::of(&pipeline, &progress.borrow());
    Json(serde_json::json!({ "reached": reached, "status": status })).into_response()
}

fn no_such(pipeline: &str) -> Response {
    fault(StatusCode::NOT_FOUND, &format!("this loader does not run load/{pipeline}"))
}

fn fault(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}

//! What runs where, and how it does.
#![allow(unused_qualifications, reason = "the macros of utoipa repeat the types of handlers with their paths")]

use axum::Json;
use axum::extract::{Path, State};
use lutra_change::{TaskId, TaskKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::doctor::{self, Report};
use crate::error::ManagerError;
use crate::live;
use crate::manager::Manager;
use crate::status::{self, Status, TaskView, WorkerView};

type Answer<T> = Result<Json<T>, ManagerError>;

/// All tasks, with what their workers measure.
#[utoipa::path(get, path = "/v1/tasks", tag = "cluster", responses((status = 200, body = Vec<TaskView>)))]
pub async fn tasks(State(manager): State<Manager>) -> Answer<Vec<TaskView>> {
    let cluster = manager.store().snapshot().await?;
    let live = live::ask(&manager, cluster.workers.values()).await;
    Ok(Json(status::tasks(&cluster, Some(&live)).into_values().collect()))
}

/// One task, with what its worker measures.
#[utoipa::path(
    get, path = "/v1/tasks/{kind}/{name}", tag = "cluster",
    params(("kind" = String, Path, description = "extract, transform or load"), ("name" = String, Path, description = "Source or pipeline")),
    responses((status = 200, body = TaskView), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn task(State(manager): State<Manager>, Path((kind, name)): Path<(String, String)>) -> Answer<TaskView> {
    let id = parse_task(&kind, &name)?;
    let cluster = manager.store().snapshot().await?;
    let worker = cluster.running.get(&id).and_then(|r| cluster.workers.get(&r.value.worker));
    let live = live::ask(&manager, worker.into_iter()).await;
    let view = status::task(&cluster, Some(&live), &id);
    Ok(Json(view.ok_or_else(|| ManagerError::NotFound { what: "task", name: id.to_string() })?))
}

/// Asks a task's worker to start it again: it drains, and begins a new epoch.
#[utoipa::path(
    post, path = "/v1/tasks/{kind}/{name}/restart", tag = "cluster",
    params(("kind" = String, Path, description = "extract, transform or load"), ("name" = String, Path, description = "Source or pipeline")),
    responses((status = 200, body = Object), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn restart(
    State(manager): State<Manager>,
    Path((kind, name)): Path<(String, String)>,
) -> Answer<serde_json::Value> {
    let id = parse_task(&kind, &name)?;
    if manager.store().task(&id).await?.is_none() {
        return Err(ManagerError::NotFound { what: "task", name: id.to_string() });
    }
    manager.store().request_restart(&id, "a person", serde_json::json!({"reason": "asked for"})).await?;
    Ok(Json(serde_json::json!({"task": id.to_string(), "restart": "asked for"})))
}

/// All registered workers.
#[utoipa::path(get, path = "/v1/workers", tag = "cluster", responses((status = 200, body = Vec<WorkerView>)))]
pub async fn workers(State(manager): State<Manager>) -> Answer<Vec<WorkerView>> {
    Ok(Json(status::workers(&manager.store().snapshot().await?, None)))
}

/// Everything at a glance: pipelines, tasks, what is measured, workers.
#[utoipa::path(get, path = "/v1/status", tag = "cluster", responses((status = 200, body = Status)))]
pub async fn status(State(manager): State<Manager>) -> Answer<Status> {
    Ok(Json(status::status(&manager).await?))
}

/// Looks at everything that a run stands on, and says what mends it.
#[utoipa::path(get, path = "/v1/doctor", tag = "cluster", responses((status = 200, body = Report)))]
pub async fn doctor(State(manager): State<Manager>) -> Answer<Report> {
    Ok(Json(doctor::examine(&manager).await?))
}

/// Where an ordered log is.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogView {
    /// The task that writes it.
    task: String,
    /// Its topic.
    topic: String,
    /// Its id.
    log_id: String,
    /// The topic of the row schemas.
    schemas_topic: String,
    /// Kafka brokers, as this manager reaches them.
    kafka: String,
}

/// Where the ordered log of a source or pipeline is.
#[utoipa::path(
    get, path = "/v1/logs/{name}", tag = "cluster", params(("name" = String, Path, description = "Source or pipeline")),
    responses((status = 200, body = LogView), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn log(State(manager): State<Manager>, Path(name): Path<String>) -> Answer<LogView> {
    for kind in [TaskKind::Extract, TaskKind::Transform] {
        let id = TaskId::new(kind, name.as_str());
        if let Some(log) = manager.store().task(&id).await?.and_then(|task| task.value.log) {
            return Ok(Json(LogView {
                task: id.to_string(),
                topic: log.topic,
                log_id: log.log_id.to_string(),
                schemas_topic: log.schemas_topic,
                kafka: manager.inner.kafka.brokers().to_owned(),
            }));
        }
    }
    Err(ManagerError::NotFound { what: "source or pipeline with a log", name })
}

fn parse_task(kind: &str, name: &str) -> Result<TaskId, ManagerError> {
    format!("{kind}/{name}").parse().map_err(|e: lutra_change::id::TaskIdError| ManagerError::Invalid(e.to_string()))
}

//! Pipelines: start, stop, pause, resume, wait, adopt, rewind.
#![allow(unused_qualifications, reason = "the macros of utoipa repeat the types of handlers with their paths")]

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use lutra_coordination::DesiredState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::adopt::{self, Adopted};
use crate::documents::Documents;
use crate::error::ManagerError;
use crate::loads::{self, LoadCommanded};
use crate::manager::Manager;
use crate::rewind::{self, Rewind};
use crate::status::task_ids;
use crate::wait::{self, Waited};

type Answer<T> = Result<Json<T>, ManagerError>;

/// What a command did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Commanded {
    /// The pipeline.
    pipeline: String,
    /// What is wanted of it now: RUNNING, PAUSED, STOPPED.
    desired: &'static str,
    /// Whether that is new.
    changed: bool,
}

/// Starts, stops, pauses or resumes a pipeline. A paused one keeps its workers, a stopped one has none; both drain first.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/{command}", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("command" = String, Path, description = "start, stop, pause or resume")),
    responses((status = 200, body = Commanded), (status = 404, body = crate::disposition::Problem), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn command(
    State(manager): State<Manager>,
    Path((name, command)): Path<(String, String)>,
) -> Answer<Commanded> {
    let (desired, word) = match command.as_str() {
        "start" | "resume" => (DesiredState::Running, "RUNNING"),
        "stop" => (DesiredState::Stopped, "STOPPED"),
        "pause" => (DesiredState::Paused, "PAUSED"),
        other => return Err(ManagerError::Invalid(format!("{other:?} is no command: start, stop, pause, resume"))),
    };
    let documents = Documents::read(manager.store()).await?;
    let [extract, transform, load] = task_ids(&name, &documents.need_pipeline(&name)?.source);
    let leadership = manager.leadership()?;
    let mut changed = false;
    for task in [transform, load] {
        let stored = manager.store().task(&task).await?;
        let stored = stored
            .ok_or_else(|| ManagerError::Conflict(format!("task {task} is not defined yet; ask again in a moment")))?;
        let now = stored.value.desired;
        if now == DesiredState::Removed {
            let why =
                format!("task {task} of an earlier pipeline {name} is still being removed; ask again in a moment");
            return Err(ManagerError::Conflict(why));
        }
        if command == "resume" && now == DesiredState::Stopped {
            return Err(ManagerError::Conflict(format!("pipeline {name} is stopped, not paused: start it")));
        }
        if command == "pause" && now == DesiredState::Stopped {
            return Err(ManagerError::Conflict(format!("pipeline {name} is stopped; there is nothing to pause")));
        }
        if now != desired {
            let mut definition = stored.value;
            definition.desired = desired;
            leadership.update_task(&task, &definition, stored.version).await?;
            changed = true;
        } else if desired == DesiredState::Running && manager.store().failure(&task).await?.is_some() {
            // Somebody has mended what it failed at: it need not wait for its next try.
            manager.store().request_restart(&task, "a person", serde_json::json!({ "reason": command })).await?;
            changed = true;
        }
    }
    // The source is not this pipeline's alone, but a failed one helps nobody.
    if desired == DesiredState::Running && manager.store().failure(&extract).await?.is_some() {
        manager.store().request_restart(&extract, "a person", serde_json::json!({ "reason": command })).await?;
        changed = true;
    }
    if changed {
        manager.reconcile().await?;
    }
    Ok(Json(Commanded { pipeline: name, desired: word, changed }))
}

/// Which table.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub struct LoadQuery {
    /// `DATABASE.TABLE` at the source; all of the load where none is said.
    table: Option<String>,
}

/// Pauses, resumes, cancels or restarts a full load, or the copy of one of its tables.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/load/{command}", tag = "pipelines",
    params(
        ("name" = String, Path, description = "The pipeline"),
        ("command" = String, Path, description = "pause, resume, cancel or restart"),
        LoadQuery,
    ),
    responses((status = 200, body = LoadCommanded), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn load(
    State(manager): State<Manager>,
    Path((name, command)): Path<(String, String)>,
    Query(query): Query<LoadQuery>,
) -> Answer<LoadCommanded> {
    Ok(Json(loads::command(&manager, &name, &command, query.table).await?))
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
pub struct WaitQuery {
    /// At most so long: 60s, 1500ms, 5m.
    #[serde(default)]
    timeout: Option<String>,
}

/// Returns when everything that the source had committed before the call is committed in the target.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/wait", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), WaitQuery),
    responses((status = 200, body = Waited), (status = 504, body = crate::disposition::Problem)),
)]
pub async fn wait(
    State(manager): State<Manager>,
    Path(name): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Answer<Waited> {
    let timeout = match &query.timeout {
        None => Duration::from_secs(60),
        Some(text) => wait::parse_timeout(text)
            .ok_or_else(|| ManagerError::Invalid(format!("{text:?} is no time-out like 60s")))?,
    };
    Ok(Json(wait::wait(&manager, &name, timeout).await?))
}

/// How an adoption is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub struct AdoptQuery {
    /// Say what would be done, and do nothing.
    dry_run: bool,
}

/// How a rewinding is meant.
#[derive(Debug, Deserialize, IntoParams)]
pub struct RewindQuery {
    /// The place: a GTID set, `FILE:POSITION`, the number of a unit of the log, or a time (RFC 3339).
    to: String,
    /// Load the tables of pipelines again whose targets are past the place.
    #[serde(default)]
    reload: bool,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
}

impl From<RewindQuery> for Rewind {
    fn from(query: RewindQuery) -> Self {
        Self { to: query.to, reload: query.reload, dry_run: query.dry_run }
    }
}

/// Continues a pipeline's lost log by a new one, from its target's checkpoint.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/adopt", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), AdoptQuery),
    responses((status = 200, body = Adopted), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn adopt_pipeline(
    State(manager): State<Manager>,
    Path(name): Path<String>,
    Query(query): Query<AdoptQuery>,
) -> Answer<Adopted> {
    Ok(Json(adopt::pipeline(&manager, &name, query.dry_run).await?))
}

/// Continues a source's lost log by a new one, from the checkpoints of its pipelines' targets; their logs go along.
#[utoipa::path(
    post, path = "/v1/sources/{name}/adopt", tag = "pipelines",
    params(("name" = String, Path, description = "The source"), AdoptQuery),
    responses((status = 200, body = Adopted), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn adopt_source(
    State(manager): State<Manager>,
    Path(name): Path<String>,
    Query(query): Query<AdoptQuery>,
) -> Answer<Adopted> {
    Ok(Json(adopt::source(&manager, &name, query.dry_run).await?))
}

/// Begins a pipeline's log anew at a place in its source's log.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/rewind", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), RewindQuery),
    responses((status = 200, body = Adopted), (status = 400, body = crate::disposition::Problem), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn rewind_pipeline(
    State(manager): State<Manager>,
    Path(name): Path<String>,
    Query(query): Query<RewindQuery>,
) -> Answer<Adopted> {
    Ok(Json(rewind::pipeline(&manager, &name, &query.into()).await?))
}

/// Begins a source's log anew at a place of the source; the logs of its pipelines go along.
#[utoipa::path(
    post, path = "/v1/sources/{name}/rewind", tag = "pipelines",
    params(("name" = String, Path, description = "The source"), RewindQuery),
    responses((status = 200, body = Adopted), (status = 400, body = crate::disposition::Problem), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn rewind_source(
    State(manager): State<Manager>,
    Path(name): Path<String>,
    Query(query): Query<RewindQuery>,
) -> Answer<Adopted> {
    Ok(Json(rewind::source(&manager, &name, &query.into()).await?))
}

//! DDL that waits for a person: what there is, and what shall become of it.
#![allow(unused_qualifications, reason = "the macros of utoipa repeat the types of handlers with their paths")]

use axum::Json;
use axum::extract::{Path, State};

use crate::ddl::{self, Decided, WaitingStatement};
use crate::error::ManagerError;
use crate::manager::Manager;

/// The statements of a pipeline that are held, or failed in the target.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/ddl", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline")),
    responses((status = 200, body = Vec<WaitingStatement>), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn list(
    State(manager): State<Manager>,
    Path(name): Path<String>,
) -> Result<Json<Vec<WaitingStatement>>, ManagerError> {
    Ok(Json(ddl::list(&manager, &name).await?))
}

/// Approves, skips or replaces a statement. The body of `replace` is the statement to run instead.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/ddl/{unit}/{decision}", tag = "pipelines",
    params(
        ("name" = String, Path, description = "The pipeline"),
        ("unit" = String, Path, description = "Number of the statement's unit"),
        ("decision" = String, Path, description = "approve, skip or replace"),
    ),
    request_body = String,
    responses((status = 200, body = Decided), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn decide(
    State(manager): State<Manager>,
    Path((name, unit, decision)): Path<(String, String, String)>,
    body: String,
) -> Result<Json<Decided>, ManagerError> {
    Ok(Json(ddl::decide(&manager, &name, &unit, &decision, &body).await?))
}

//! Documents: apply, list, get, delete.
#![allow(unused_qualifications, reason = "the macros of utoipa repeat the types of handlers with their paths")]

use axum::Json;
use axum::extract::{Path, Query, State};
use lutra_spec::Kind;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::apply::{self, Applied, ApplyOptions};
use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;

type Answer<T> = Result<Json<T>, ManagerError>;

/// How a change is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub struct Change {
    /// Say what would be done, and do nothing.
    dry_run: bool,
    /// Take servers as they are, without asking them.
    skip_checks: bool,
}

/// All documents.
#[utoipa::path(get, path = "/v1/documents", tag = "documents", responses((status = 200, body = Vec<Object>)))]
pub async fn list(State(manager): State<Manager>) -> Answer<Vec<Value>> {
    Ok(Json(of_kind(&manager, None).await?))
}

/// All sources.
#[utoipa::path(get, path = "/v1/sources", tag = "documents", responses((status = 200, body = Vec<Object>)))]
pub async fn sources(State(manager): State<Manager>) -> Answer<Vec<Value>> {
    Ok(Json(of_kind(&manager, Some(Kind::Source)).await?))
}

/// All targets.
#[utoipa::path(get, path = "/v1/targets", tag = "documents", responses((status = 200, body = Vec<Object>)))]
pub async fn targets(State(manager): State<Manager>) -> Answer<Vec<Value>> {
    Ok(Json(of_kind(&manager, Some(Kind::Target)).await?))
}

/// All pipelines.
#[utoipa::path(get, path = "/v1/pipelines", tag = "documents", responses((status = 200, body = Vec<Object>)))]
pub async fn pipelines(State(manager): State<Manager>) -> Answer<Vec<Value>> {
    Ok(Json(of_kind(&manager, Some(Kind::Pipeline)).await?))
}

async fn of_kind(manager: &Manager, kind: Option<Kind>) -> Result<Vec<Value>, ManagerError> {
    let documents = Documents::read(manager.store()).await?.plain();
    let wanted = documents.iter().filter(|d| kind.is_none_or(|k| d.kind() == k));
    Ok(wanted.map(|d| serde_json::to_value(d).unwrap_or_default()).collect())
}

/// Applies the documents of a YAML or JSON text: all of them, or none if anything is wrong.
#[utoipa::path(
    post, path = "/v1/documents", tag = "documents", params(Change),
    request_body(content = String, content_type = "application/yaml", description = "One or more documents, separated by ---"),
    responses((status = 200, body = Applied), (status = 422, body = crate::disposition::Problem)),
)]
pub async fn apply(State(manager): State<Manager>, Query(change): Query<Change>, text: String) -> Answer<Applied> {
    let options = ApplyOptions { dry_run: change.dry_run, skip_checks: change.skip_checks };
    Ok(Json(apply::apply(&manager, &text, options).await?))
}

/// One document.
#[utoipa::path(
    get, path = "/v1/documents/{kind}/{name}", tag = "documents",
    params(("kind" = String, Path, description = "source, target or pipeline"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = Object), (status = 404, body = crate::disposition::Problem)),
)]
pub async fn get(State(manager): State<Manager>, Path((kind, name)): Path<(String, String)>) -> Answer<Value> {
    let kind = parse_kind(&kind)?;
    let documents = Documents::read(manager.store()).await?;
    let found = documents.all.get(&name).filter(|d| d.document.kind() == kind);
    let found = found.ok_or_else(|| ManagerError::NotFound { what: kind.as_str(), name })?;
    Ok(Json(serde_json::to_value(&found.document).unwrap_or_default()))
}

/// Deletes a document, and with it its tasks and logs.
#[utoipa::path(
    delete, path = "/v1/documents/{kind}/{name}", tag = "documents",
    params(("kind" = String, Path, description = "source, target or pipeline"), ("name" = String, Path, description = "Its name"), Change),
    responses((status = 200, body = Applied), (status = 404, body = crate::disposition::Problem), (status = 409, body = crate::disposition::Problem)),
)]
pub async fn delete(
    State(manager): State<Manager>,
    Path((kind, name)): Path<(String, String)>,
    Query(change): Query<Change>,
) -> Answer<Applied> {
    Ok(Json(apply::delete(&manager, parse_kind(&kind)?, &name, change.dry_run).await?))
}

fn parse_kind(text: &str) -> Result<Kind, ManagerError> {
    let singular = text.strip_suffix('s').unwrap_or(text);
    let found = Kind::ALL.into_iter().find(|k| k.as_str() == singular);
    found.ok_or_else(|| ManagerError::Invalid(format!("{text:?} is no kind of document: source, target, pipeline")))
}

//! One picture of everything, for people. What is not measured is not shown.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use lutra_change::TaskId;
use lutra_coordination::{ClusterSnapshot, FailureReport, ObservedState};
use lutra_spec::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::documents::Documents;
use crate::error::ManagerError;
use crate::live::{self, Live};
use crate::loads::{self, LoadView};
use crate::manager::Manager;

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// `extract/SOURCE`, `transform/PIPELINE`, `load/PIPELINE`.
    pub task: String,
    /// What is wanted: RUNNING, PAUSED, STOPPED.
    pub desired: String,
    /// What is seen: CREATED, PENDING, ASSIGNED, RECOVERING, RUNNING, PAUSED, FAILED, COMPLETED, CANCELLED.
    pub state: String,
    /// The worker that it is given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The epoch of its newest start, `TERM/ATTEMPT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The version of its specification.
    pub spec_version: u64,
    /// Whether its log has begun.
    pub begun: bool,
    /// The topic that it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Why it does not run, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// What keeps it from going on while it is in that state: what it tries again, or whom it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What its owner last wrote of it into ZooKeeper.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object)]
    pub detail: Value,
    /// What its worker measures just now: positions and lags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub measured: Option<Value>,
}

/// Why a task does not run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// What happened, with its causes.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The page of `deploy/runbooks` that is about it; empty where there is none.
    #[serde(default)]
    pub runbook: String,
    /// A person must act; it is tried again slowly all the same.
    pub halted: bool,
    /// Failures in a row.
    pub failures: u32,
    /// When, in milliseconds since the epoch.
    pub failed_at: i64,
    /// When it is tried again, in milliseconds since the epoch.
    pub retry_at: i64,
}

impl From<&FailureReport> for FailureView {
    fn from(report: &FailureReport) -> Self {
        let causes = std::iter::once(&report.message).chain(&report.chain);
        Self {
            message: causes.map(String::as_str).collect::<Vec<_>>().join(": "),
            hint: report.hint.clone(),
            runbook: report.runbook.clone(),
            halted: report.halted,
            failures: report.failures,
            failed_at: report.failed_at,
            retry_at: report.retry_at,
        }
    }
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// `extractor`, `transformer`, `loader`.
    pub service: String,
    /// Its stable id.
    pub id: String,
    /// Where its HTTP endpoint listens.
    pub address: String,
    /// Version of the program.
    pub build: String,
    /// It gives its tasks back and gets no more.
    pub draining: bool,
    /// Tasks it takes at most.
    pub capacity: u32,
    /// Tasks that it is given.
    pub tasks: Vec<String>,
    /// Since when, in milliseconds since the epoch.
    pub registered_at: i64,
    /// Why it was not heard when it was asked; absent when it answered or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// A pipeline with its tasks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its target.
    pub target: String,
    /// What is wanted: RUNNING, PAUSED, STOPPED.
    pub desired: String,
    /// The worst state of its tasks and of its source's.
    pub state: String,
    /// Its tasks, that of its source first.
    pub tasks: Vec<TaskView>,
    /// Its full load, by table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<LoadView>,
    /// Why the full load rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_note: Option<String>,
    /// Rows per second of the full load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_rows_per_second: Option<u64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The leading manager's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The cluster's id.
    pub cluster: String,
    /// Pipelines with their tasks.
    pub pipelines: Vec<PipelineView>,
    /// Tasks of sources that no pipeline uses, and tasks that are being removed.
    pub other_tasks: Vec<TaskView>,
    /// Workers.
    pub workers: Vec<WorkerView>,
}

/// The picture of now.
pub async fn status(manager: &Manager) -> Result<Status, ManagerError> {
    let store = manager.store();
    let documents = Documents::read(store).await?;
    let cluster = store.snapshot().await?;
    let live = live::ask(manager, cluster.workers.values()).await;
    let mut views: BTreeMap<TaskId, TaskView> = tasks(&cluster, Some(&live));
    for (id, view) in views.iter_mut().filter(|(_, view)| view.note.is_none()) {
        view.note = manager.inner.headrooms.of(id).and_then(|headroom| headroom.warning());
    }
    let mut shown = Vec::new();
    let mut pipelines = Vec::new();
    for name in documents.names(Kind::Pipeline) {
        let Some(spec) = documents.pipeline(name) else { continue };
        let ids = task_ids(name, &spec.source);
        let tasks: Vec<TaskView> = ids.iter().filter_map(|id| views.get(id).cloned()).collect();
        let desired = tasks.last().map_or_else(|| "RUNNING".to_owned(), |t| t.desired.clone());
        let (source, target) = (spec.source.to_string(), spec.target.to_string());
        let copies = match (&spec.load.full, &ids) {
            (Some(_), [extract, ..]) => {
                let copies = store.copies(extract).await?.remove(name);
                copies.filter(|progress| loads::is_current(&cluster, name, progress))
            }
            _ => None,
        };
        let measured = tasks.last().and_then(|t| t.measured.as_ref());
        let load = copies.as_ref().map(|progress| loads::views(progress, spec, measured)).unwrap_or_default();
        let load_rows_per_second = copies.as_ref().map(|progress| progress.rows_per_second);
        let load_note = copies.and_then(|progress| progress.note);
        let (name, state) = (name.to_owned(), worst(&tasks));
        pipelines.push(PipelineView {
            name,
            source,
            target,
            desired,
            state,
            tasks,
            load,
            load_note,
            load_rows_per_second,
        });
        shown.extend(ids);
    }
    for id in shown {
        views.remove(&id);
    }
    Ok(Status {
        leader: store.leader_address().await?,
        cluster: store.cluster_id().await?.to_string(),
        pipelines,
        other_tasks: views.into_values().collect(),
        workers: workers(&cluster, Some(&live)),
    })
}

/// The tasks that a pipeline stands on, in the order of the data.
pub fn task_ids(pipeline: &str, source: &str) -> [TaskId; 3] {
    use lutra_change::TaskKind::{Extract, Load, Transform};
    [TaskId::new(Extract, source), TaskId::new(Transform, pipeline), TaskId::new(Load, pipeline)]
}

/// All tasks.
pub(crate) fn tasks(cluster: &ClusterSnapshot, live: Option<&Live>) -> BTreeMap<TaskId, TaskView> {
    cluster.tasks.keys().filter_map(|id| task(cluster, live, id).map(|view| (id.clone(), view))).collect()
}

/// One task.
pub(crate) fn task(cluster: &ClusterSnapshot, live: Option<&Live>, id: &TaskId) -> Option<TaskView> {
    let definition = &cluster.tasks.get(id)?.value;
    let running = cluster.running.get(id).map(|r| &r.value);
    let worker = running.map(|r| &r.worker).or_else(|| cluster.worker_of(id));
    let state = cluster.state_of(id)?;
    let detail = running.map(|r| r.detail.clone()).unwrap_or_default();
    let measured = live.zip(worker).and_then(|(live, owner)| live.of(owner, id).cloned());
    let note = match state {
        ObservedState::Pending => Some(unowned(cluster, id.kind.service())),
        ObservedState::Running => retrying(measured.as_ref().unwrap_or(&detail)).or_else(|| warned(measured.as_ref()?)),
        ObservedState::Recovering => recovering(&detail, now_millis()),
        _ => None,
    };
    Some(TaskView {
        task: id.to_string(),
        desired: serde_json::to_value(definition.desired)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default(),
        state: state.to_string(),
        worker: worker.map(ToString::to_string),
        epoch: running.map(|r| r.epoch.to_string()),
        spec_version: definition.spec_version,
        begun: definition.begun,
        topic: definition.log.as_ref().map(|log| log.topic.clone()),
        failure: cluster.failures.get(id).map(FailureView::from),
        note,
        detail,
        measured,
    })
}

/// What a running task tries again, in its owner's words.
fn retrying(said: &Value) -> Option<String> {
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    (text("state") == Some("retrying"))
        .then(|| text("last_error").or_else(|| text("error")).unwrap_or("see its worker's log").to_owned())
        .map(|why| format!("is tried again: {why}"))
}

/// What a person should know of a task although it runs, in its owner's words.
fn warned(said: &Value) -> Option<String> {
    said.get("warning").and_then(Value::as_str).map(str::to_owned)
}

/// What a recovering task waits for, in its owner's words, and for how long it has.
fn recovering(said: &Value, now: i64) -> Option<String> {
    let servers = said.get("recovering").and_then(Value::as_str)?;
    let waited = said
        .get("since")
        .and_then(Value::as_i64)
        .map_or_else(String::new, |since| format!(", for {} s", now.saturating_sub(since).max(0) / 1_000));
    Some(format!("no server can be read yet{waited}: {servers}"))
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Why a task that shall run has no worker.
fn unowned(cluster: &ClusterSnapshot, service: &str) -> String {
    let workers: Vec<_> = cluster.workers.iter().filter(|(key, _)| key.service == service).collect();
    if workers.is_empty() {
        return format!("no {service} is registered: start lutra-{service}");
    }
    if workers.iter().all(|(_, worker)| worker.info.draining) {
        return format!("every {service} is draining: start another lutra-{service}");
    }
    format!(
        "every {service} has as many tasks as it takes, or is about to get this one: start another lutra-{service}, or raise --capacity"
    )
}

/// All workers.
pub(crate) fn workers(cluster: &ClusterSnapshot, live: Option<&Live>) -> Vec<WorkerView> {
    let view = |(key, worker): (&lutra_coordination::WorkerKey, &lutra_coordination::WorkerStatus)| WorkerView {
        service: worker.info.service.clone(),
        id: worker.info.id.clone(),
        address: worker.info.address.clone(),
        build: worker.info.build.clone(),
        draining: worker.info.draining,
        capacity: worker.info.capacity,
        tasks: cluster.assignments.iter().filter(|a| a.worker == *key).map(|a| a.task.to_string()).collect(),
        registered_at: worker.registered_at,
        silent: live.and_then(|live| live.silent.get(&key.to_string()).cloned()),
    };
    cluster.workers.iter().map(view).collect()
}

/// The state that a person must know of first.
fn worst(tasks: &[TaskView]) -> String {
    const ORDER: [&str; 9] =
        ["FAILED", "RECOVERING", "PENDING", "CREATED", "ASSIGNED", "CANCELLED", "PAUSED", "RUNNING", "COMPLETED"];
    ORDER
        .iter()
        .find(|state| tasks.iter().any(|t| t.state == **state))
        .map_or_else(|| "CREATED".to_owned(), |s| (*s).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_worst_state_is_shown() {
        let task = |state: &str| TaskView {
            task: "load/p".to_owned(),
            desired: "RUNNING".to_owned(),
            state: state.to_owned(),
            worker: None,
            epoch: None,
            spec_version: 1,
            begun: false,
            topic: None,
            failure: None,
            note: None,
            detail: Value::Null,
            measured: None,
        };
        assert_eq!(worst(&[task("RUNNING"), task("FAILED")]), "FAILED");
        assert_eq!(worst(&[task("RUNNING"), task("PENDING")]), "PENDING");
        assert_eq!(worst(&[]), "CREATED");
    }

    #[test]
    fn a_recovering_task_says_what_it_waits_for_and_for_how_long() {
        let said = |value| recovering(&value, 42_900).unwrap();
        assert_eq!(
            said(serde_json::json!({ "recovering": "db1:3306 does not answer", "since": 1_000 })),
            "no server can be read yet, for 41 s: db1:3306 does not answer"
        );
        assert_eq!(said(serde_json::json!({ "recovering": "x" })), "no server can be read yet: x");
    }
}

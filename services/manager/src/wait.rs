//! Waits until a target has everything that its source had committed when the call came.

use std::time::Duration;

use lutra_change::{TaskId, TaskKind};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::servers;
use crate::status;

/// A single question to a loader is answered within this time; longer waits ask again.
const QUESTION: Duration = Duration::from_secs(20);
/// Between two questions, when the loader is away or moving.
const PAUSE: Duration = Duration::from_millis(200);

/// What was waited for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Waited {
    /// The pipeline.
    pub pipeline: String,
    /// What the source had executed when the call came.
    pub gtid_set: String,
    /// How long it took until the target had it.
    pub waited_seconds: f64,
}

/// Waits for a pipeline.
pub async fn wait(manager: &Manager, pipeline: &str, timeout: Duration) -> Result<Waited, ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    let spec = documents.need_pipeline(pipeline)?;
    let source = documents.need_source(&spec.source)?;
    if !source.gtid {
        return Err(ManagerError::Invalid(format!(
            "source {} has no GTIDs (gtid: false), so that nothing can be waited for",
            spec.source
        )));
    }
    let begun = Instant::now();
    let deadline = begun + timeout;
    let late = |_| {
        ManagerError::Timeout(format!(
            "source {} has not said in {} s where it stands",
            spec.source,
            timeout.as_secs_f64()
        ))
    };
    let executed = tokio::time::timeout(timeout, servers::executed(&spec.source, source)).await.map_err(late)??;
    let gtid_set = executed.gtid_executed.to_string();
    let task = TaskId::new(TaskKind::Load, pipeline);
    let mut last = format!("task {task} has no worker");
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        match ask(manager, &task, &gtid_set, left.min(QUESTION)).await {
            Ok(true) => {
                return Ok(Waited {
                    pipeline: pipeline.to_owned(),
                    gtid_set,
                    waited_seconds: begun.elapsed().as_secs_f64(),
                });
            }
            Ok(false) => last = format!("task {task} is not there yet"),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
    let why = standing(manager, pipeline, &spec.source).await.unwrap_or(last);
    Err(ManagerError::Timeout(format!(
        "pipeline {pipeline} has not reached {gtid_set} in {} s: {why}",
        timeout.as_secs_f64()
    )))
}

/// Why the pipeline does not get there, where its tasks say so.
async fn standing(manager: &Manager, pipeline: &str, source: &str) -> Option<String> {
    let cluster = manager.store().snapshot().await.ok()?;
    let views = status::task_ids(pipeline, source).into_iter().filter_map(|id| status::task(&cluster, None, &id));
    let mut reasons = views.filter_map(|view| {
        let failure = view.failure.map(|f| format!("{} failed: {}; {}", view.task, f.message, f.hint));
        failure
            .or_else(|| (view.state != "RUNNING").then(|| format!("{} is {}", view.task, view.state)))
            .or_else(|| view.note.map(|note| format!("{}: {note}", view.task)))
    });
    reasons.next()
}

/// Asks the loader that runs the task, once.
async fn ask(manager: &Manager, task: &TaskId, gtid_set: &str, timeout: Duration) -> Result<bool, ManagerError> {
    let store = manager.store();
    let Some(running) = store.running().await?.remove(task) else {
        return Err(ManagerError::Conflict(format!("task {task} does not run just now")));
    };
    let key = running.value.worker;
    let Some(worker) = store.workers().await?.remove(&key) else {
        return Err(ManagerError::Conflict(format!("worker {key} is not registered just now")));
    };
    let address = worker.info.address;
    let fault = |source| ManagerError::Worker { worker: key.to_string(), address: address.clone(), source };
    let seconds = timeout.as_secs_f64().to_string();
    let answer = manager
        .inner
        .http
        .get(format!("http://{address}/v1/tasks/{task}/wait"))
        .query(&[("gtid_set", gtid_set), ("timeout", &seconds)])
        .timeout(timeout + Duration::from_secs(5))
        .send()
        .await
        .map_err(fault)?;
    if answer.status() == reqwest::StatusCode::REQUEST_TIMEOUT
        || answer.status() == reqwest::StatusCode::GATEWAY_TIMEOUT
    {
        return Ok(false);
    }
    let body: serde_json::Value = answer.error_for_status().map_err(fault)?.json().await.unwrap_or_default();
    Ok(body.get("reached").and_then(serde_json::Value::as_bool).unwrap_or(true))
}

/// A duration of a query: `60s`, `1500ms`, `2m`, or plain seconds.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1_000.0,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|d| *d <= Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_people_write_them() {
        for (text, millis) in [("60s", 60_000), ("1500ms", 1_500), ("2m", 120_000), ("3", 3_000), ("0.5s", 500)] {
            assert_eq!(parse_timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert!(["", "x", "-1s", "2d", "99999h"].iter().all(|t| parse_timeout(t).is_none()));
    }
}

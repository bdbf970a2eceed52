//! What workers measure, asked of the workers themselves.

use std::collections::BTreeMap;

use futures::future::join_all;
use lutra_change::TaskId;
use lutra_coordination::{WorkerKey, WorkerStatus};
use serde_json::Value;

use crate::error::chain;
use crate::manager::Manager;

/// How long a worker may take to say what it measures.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// What the workers say of their tasks, by worker; and who did not answer.
#[derive(Debug, Default)]
pub(crate) struct Live {
    tasks: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) silent: BTreeMap<String, String>,
}

impl Live {
    /// What a task's owner says of it. What another worker says, which had it before, is past.
    pub(crate) fn of(&self, owner: &WorkerKey, task: &TaskId) -> Option<&Value> {
        self.tasks.get(&owner.to_string())?.get(&task.to_string())
    }
}

/// Asks all workers at once.
pub(crate) async fn ask<'a>(manager: &Manager, workers: impl Iterator<Item = &'a WorkerStatus>) -> Live {
    let answers = join_all(
        workers
            .map(|worker| async move { (worker.info.key().to_string(), tasks(manager, &worker.info.address).await) }),
    )
    .await;
    let mut live = Live::default();
    for (worker, answer) in answers {
        match answer {
            Ok(value) => {
                live.tasks.insert(worker, by_task(value));
            }
            Err(error) => {
                live.silent.insert(worker, chain(&error));
            }
        }
    }
    live
}

async fn tasks(manager: &Manager, address: &str) -> Result<Value, reqwest::Error> {
    let answer = manager.inner.http.get(format!("http://{address}/v1/tasks")).timeout(TIMEOUT).send().await?;
    answer.error_for_status()?.json().await
}

/// A worker answers a list of objects with their `task`, plain or under `tasks`; or an object by task.
fn by_task(answer: Value) -> BTreeMap<String, Value> {
    let answer = match answer {
        Value::Object(mut object) if object.contains_key("tasks") => object.remove("tasks").unwrap_or_default(),
        other => other,
    };
    let named = |item: Value| {
        let id = ["task", "id"].iter().find_map(|key| item.get(key)).and_then(Value::as_str).map(str::to_owned);
        Some((id?, item))
    };
    match answer {
        Value::Array(items) => items.into_iter().filter_map(named).collect(),
        Value::Object(object) => object.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use lutra_change::TaskKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_sorted_by_task() {
        for answer in [json!([{"task": "load/p", "x": 1}]), json!({"tasks": [{"id": "load/p"}]}), json!({"load/p": {}})]
        {
            assert_eq!(by_task(answer).keys().collect::<Vec<_>>(), ["load/p"]);
        }
    }

    #[test]
    fn a_task_is_told_of_by_its_owner_alone() {
        let task = TaskId::new(TaskKind::Load, "p");
        let says = |rows: u64| BTreeMap::from([(task.to_string(), json!({ "rows": rows }))]);
        let keys = ["old", "owner", "other"].map(|id| WorkerKey::new("loader", id));
        let [old, owner, other] = &keys;
        let tasks = BTreeMap::from([(owner.to_string(), says(7)), (old.to_string(), says(3))]);
        let live = Live { tasks, ..Live::default() };
        assert_eq!(live.of(owner, &task).and_then(|said| said["rows"].as_u64()), Some(7));
        assert_eq!(live.of(other, &task), None);
    }
}

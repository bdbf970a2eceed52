//! What workers measure, asked of the workers themselves.

use std::collections::BTreeMap;

use futures::future::join_all;
use lutra_coordination::WorkerStatus;
use serde_json::Value;

use crate::error::chain;
use crate::manager::Manager;

/// How long a worker may take to say what it measures.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// What the workers say, by task; and who did not answer.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) tasks: BTreeMap<String, Value>,
    pub(crate) silent: BTreeMap<String, String>,
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
            Ok(value) => by_task(value, &mut live.tasks),
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
fn by_task(answer: Value, into: &mut BTreeMap<String, Value>) {
    let answer = match answer {
        Value::Object(mut object) if object.contains_key("tasks") => object.remove("tasks").unwrap_or_default(),
        other => other,
    };
    match answer {
        Value::Array(items) => {
            for item in items {
                let id = ["task", "id"].iter().find_map(|key| item.get(key)).and_then(Value::as_str).map(str::to_owned);
                if let Some(id) = id {
                    into.insert(id, item);
                }
            }
        }
        Value::Object(object) => into.extend(object),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_sorted_by_task() {
        for answer in [json!([{"task": "load/p", "x": 1}]), json!({"tasks": [{"id": "load/p"}]}), json!({"load/p": {}})]
        {
            let mut tasks = BTreeMap::new();
            by_task(answer, &mut tasks);
            assert_eq!(tasks.keys().collect::<Vec<_>>(), ["load/p"]);
        }
    }
}

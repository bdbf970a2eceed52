//! Where work cannot go on by itself, a task has failed and says what is missing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Rig, tasks};

/// What cannot be got past is named by then. (A server's dump thread sends before its engine commits: ten seconds of patience
/// are part of it.)
pub const NAMED_BY: Duration = Duration::from_secs(60);

/// Waits until a task has failed and names all of these; what is wrong, when none does in time. The moment it was named.
pub async fn look(rig: &Rig, words: &[String]) -> (Option<String>, Duration) {
    let since = Instant::now();
    loop {
        let wrong = match rig.status().await {
            Ok(status) => unnamed(&status, words),
            Err(error) => Some(format!("{error:#}")),
        };
        if wrong.is_none() || since.elapsed() > NAMED_BY {
            return (wrong, since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What is wrong with a status that must show a failed task which names all of these.
#[must_use]
pub fn unnamed(status: &Value, words: &[String]) -> Option<String> {
    let failures = failures(status);
    if failures.iter().any(|text| words.iter().all(|word| text.contains(word.as_str()))) {
        return None;
    }
    let seen = if failures.is_empty() { "no task has failed".to_owned() } else { failures.join("; ") };
    Some(format!("nothing names {}: {seen:.400}", words.join(", ")))
}

/// What the failed tasks say.
fn failures(status: &Value) -> Vec<String> {
    let failed = tasks(status).filter(|task| task["state"] == "FAILED" && !task["failure"].is_null());
    failed.map(|task| format!("{} {}", task["task"].as_str().unwrap_or_default(), task["failure"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_must_name_everything() {
        let status = |state: &str, message: &str| {
            let task = json!({"task": "extract/s", "state": state, "failure": {"message": message}});
            json!({"pipelines": [{"tasks": [task]}]})
        };
        let words = ["source_behind_log", "a:7"].map(str::to_owned);
        assert_eq!(unnamed(&status("FAILED", "source_behind_log: it lacks a:7-9"), &words), None);
        assert!(unnamed(&status("FAILED", "source_behind_log: it lacks something"), &words).is_some());
        assert!(unnamed(&status("RUNNING", "source_behind_log: it lacks a:7-9"), &words).is_some());
        assert!(unnamed(&json!({}), &words).is_some());
    }
}

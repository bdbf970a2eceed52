//! `lutra adopt`.

use reqwest::Method;
use serde_json::Value;

use crate::arguments::AdoptArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn run(client: &Client, arguments: &AdoptArguments, output: &Output) -> Result<(), CliError> {
    let path = path(client, &arguments.name, "adopt").await?;
    let dry_run = if arguments.dry_run { "true" } else { "false" };
    let answer = client.send(Method::POST, &path, &[("dry_run", dry_run)], None).await?;
    output.answer(&answer, described);
    Ok(())
}

/// Where a command on the log of a source or pipeline goes.
pub(super) async fn path(client: &Client, name: &str, command: &str) -> Result<String, CliError> {
    let documents = client.get("/v1/documents").await?;
    let found =
        documents.as_array().into_iter().flatten().find(|d| d.get("name").and_then(Value::as_str) == Some(name));
    let kind = found.and_then(|d| d.get("kind")).and_then(Value::as_str);
    match kind {
        Some("source") => Ok(format!("/v1/sources/{name}/{command}")),
        Some("pipeline") => Ok(format!("/v1/pipelines/{name}/{command}")),
        Some(other) => Err(CliError::input(format!("{name} is a {other}: only sources and pipelines have logs"))),
        None => Err(CliError::input(format!("there is no source or pipeline {name}; see: lutra get"))),
    }
}

/// Which logs begin anew, and where.
pub(super) fn described(answer: &Value) -> String {
    let applied = answer.get("applied") == Some(&Value::Bool(true));
    let mut lines = Vec::new();
    for log in answer.get("logs").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or_default();
        let (task, topic) = (text("task"), text("new_topic"));
        if log.get("reload") == Some(&Value::Bool(true)) {
            let word = if applied { "begins" } else { "would begin" };
            lines.push(format!(
                "{task}: {word} in topic {topic} with the definitions of its tables, which are copied anew"
            ));
        } else {
            let word = if applied { "goes on" } else { "would go on" };
            let place: Vec<&str> = ["gtid_set", "position"].map(text).into_iter().filter(|t| !t.is_empty()).collect();
            lines.push(format!(
                "{task}: {word} in topic {topic} behind number {} ({})",
                text("number"),
                place.join(", ")
            ));
        }
        if !text("old_topic").is_empty() {
            lines.push(format!("  topic {} stays as it is; delete it when you no longer need it", text("old_topic")));
        }
    }
    let notes = answer.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    lines.extend(notes.map(str::to_owned));
    lines.join("\n")
}

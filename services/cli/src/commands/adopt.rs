//! `lutra adopt`.

use reqwest::Method;
use serde_json::Value;

use crate::arguments::AdoptArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn run(client: &Client, arguments: &AdoptArguments, output: &Output) -> Result<(), CliError> {
    let name = &arguments.name;
    let documents = client.get("/v1/documents").await?;
    let found =
        documents.as_array().into_iter().flatten().find(|d| d.get("name").and_then(Value::as_str) == Some(name));
    let kind = found.and_then(|d| d.get("kind")).and_then(Value::as_str);
    let path = match kind {
        Some("source") => format!("/v1/sources/{name}/adopt"),
        Some("pipeline") => format!("/v1/pipelines/{name}/adopt"),
        Some(other) => {
            return Err(CliError::input(format!("{name} is a {other}: only sources and pipelines have logs")));
        }
        None => return Err(CliError::input(format!("there is no source or pipeline {name}; see: lutra get"))),
    };
    let dry_run = if arguments.dry_run { "true" } else { "false" };
    let mut query = vec![("dry_run", dry_run)];
    query.extend(arguments.at.as_deref().map(|at| ("at", at)));
    let answer = client.send(Method::POST, &path, &query, None).await?;
    output.answer(&answer, described);
    Ok(())
}

fn described(answer: &Value) -> String {
    let word = if answer.get("applied") == Some(&Value::Bool(true)) { "goes on" } else { "would go on" };
    let mut lines = Vec::new();
    for log in answer.get("logs").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!(
            "{}: {word} in topic {} behind number {} ({})",
            text("task"),
            text("new_topic"),
            text("number"),
            text("gtid_set")
        ));
        if !text("old_topic").is_empty() {
            lines.push(format!("  topic {} stays as it is; delete it when you no longer need it", text("old_topic")));
        }
    }
    let notes = answer.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    lines.extend(notes.map(str::to_owned));
    lines.join("\n")
}

//! `lutra apply`, `delete`, `get`.

use reqwest::Method;
use serde_json::Value;

use super::validate::{self, Placed};
use crate::arguments::{ApplyArguments, DeleteArguments, GetArguments};
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Output, yaml};

pub(super) async fn apply(client: &Client, arguments: &ApplyArguments, output: &Output) -> Result<(), CliError> {
    // Checked here first: places in files are told by file and line.
    let documents = validate::documents(&arguments.files.files)?;
    let parts: Vec<String> =
        documents.iter().map(|d| serde_json::to_string(d.document()).unwrap_or_default()).collect();
    let query = [("dry_run", flag(arguments.dry_run)), ("skip_checks", flag(arguments.skip_checks))];
    let answer = client.send(Method::POST, "/v1/documents", &query, Some(parts.join("\n---\n"))).await;
    let answer = answer.map_err(|error| in_files(error, &documents))?;
    output.answer(&answer, changes);
    Ok(())
}

pub(super) async fn delete(client: &Client, arguments: &DeleteArguments, output: &Output) -> Result<(), CliError> {
    let path = format!("/v1/documents/{}/{}", arguments.kind.as_str(), arguments.name);
    let answer = client.send(Method::DELETE, &path, &[("dry_run", flag(arguments.dry_run))], None).await?;
    output.answer(&answer, changes);
    Ok(())
}

pub(super) async fn get(client: &Client, arguments: &GetArguments, output: &Output) -> Result<(), CliError> {
    let answer = match (arguments.kind, &arguments.name) {
        (Some(kind), Some(name)) => client.get(&format!("/v1/documents/{}/{name}", kind.as_str())).await?,
        (Some(kind), None) => client.get(&format!("/v1/{}s", kind.as_str())).await?,
        _ => client.get("/v1/documents").await?,
    };
    output.answer(&answer, |answer| match answer {
        Value::Array(documents) if documents.is_empty() => "nothing is applied yet; see: lutra apply --help".to_owned(),
        Value::Array(documents) => documents.iter().map(in_order).collect::<Vec<_>>().join("\n---\n"),
        document => in_order(document),
    });
    Ok(())
}

/// The manager tells places in the text that it was sent; a person wants them in the files.
fn in_files(error: CliError, documents: &[Placed]) -> CliError {
    let CliError::Manager { status, code, message, mut details } = error else { return error };
    for detail in &mut details {
        let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = if text("pipeline").is_empty() { text("document") } else { text("pipeline") };
        let placed = documents.iter().find(|d| d.document().name.as_str() == name);
        let place = placed.map(|d| d.place(text("path")));
        if let Some(object) = detail.as_object_mut() {
            object.remove("line");
            object.remove("column");
            object.extend(place.map(|place| ("place".to_owned(), Value::from(place))));
        }
    }
    CliError::Manager { status, code, message, details }
}

fn flag(set: bool) -> &'static str {
    if set { "true" } else { "false" }
}

/// A document with its kind first, as people write it.
fn in_order(document: &Value) -> String {
    let mut ordered = serde_json::Map::new();
    for key in ["kind", "name", "spec"] {
        if let Some(value) = document.get(key) {
            ordered.insert(key.to_owned(), value.clone());
        }
    }
    yaml(&Value::Object(ordered)).trim_end().to_owned()
}

/// What changes, document by document and value by value.
fn changes(answer: &Value) -> String {
    let mut lines = Vec::new();
    let done = answer.get("applied").and_then(Value::as_bool).unwrap_or(false);
    for change in answer.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| change.get(key).and_then(Value::as_str).unwrap_or_default();
        let action = match (text("action"), done) {
            ("create", true) => "created",
            ("create", false) => "would be created",
            ("update", true) => "changed",
            ("update", false) => "would change",
            ("delete", true) => "deleted",
            ("delete", false) => "would be deleted",
            _ => "unchanged",
        };
        lines.push(format!("{} {}: {action}", text("kind"), text("name")));
        if text("action") == "update" {
            lines.extend(change.get("differences").and_then(Value::as_array).into_iter().flatten().map(difference));
        }
    }
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

fn difference(difference: &Value) -> String {
    let path = difference.get("path").and_then(Value::as_str).unwrap_or_default();
    match (difference.get("before"), difference.get("after")) {
        (Some(before), Some(after)) => format!("  {path}: {before} -> {after}"),
        (None, Some(after)) => format!("  {path}: + {after}"),
        (Some(before), None) => format!("  {path}: - {before}"),
        (None, None) => format!("  {path}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_read_like_a_diff() {
        let answer = json!({"applied": false, "warnings": ["w"], "changes": [
            {"kind": "source", "name": "s", "action": "create", "differences": []},
            {"kind": "pipeline", "name": "p", "action": "update", "differences": [{"path": "spec.load.connections", "before": 4, "after": 8}]},
        ]});
        assert_eq!(
            changes(&answer),
            "source s: would be created\npipeline p: would change\n  spec.load.connections: 4 -> 8\nwarning: w"
        );
    }
}

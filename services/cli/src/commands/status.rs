//! `lutra status`: one look, or one after the other.

use std::time::Duration;

use serde_json::Value;

use crate::arguments::StatusArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Output, table};

pub(super) async fn run(client: &Client, arguments: &StatusArguments, output: &Output) -> Result<(), CliError> {
    if !arguments.watch {
        return look(client, arguments, output).await;
    }
    loop {
        if output.is_terminal() {
            // Home and clear: the picture stays in its place.
            output.text("\x1b[H\x1b[2J");
        }
        look(client, arguments, output).await?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(arguments.every)) => {}
        }
    }
}

async fn look(client: &Client, arguments: &StatusArguments, output: &Output) -> Result<(), CliError> {
    let mut status = client.get("/v1/status").await?;
    if let Some(name) = &arguments.pipeline {
        let pipelines = status.get_mut("pipelines").and_then(Value::as_array_mut);
        let found = pipelines.is_some_and(|all| {
            all.retain(|p| text(p, "name") == name);
            !all.is_empty()
        });
        if !found {
            return Err(CliError::input(format!("there is no pipeline {name}; see: lutra get pipeline")));
        }
    }
    output.answer(&status, described);
    Ok(())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn described(status: &Value) -> String {
    let mut parts = Vec::new();
    for pipeline in list(status, "pipelines") {
        let title = format!(
            "pipeline {}: {} -> {}  {}",
            text(pipeline, "name"),
            text(pipeline, "source"),
            text(pipeline, "target"),
            text(pipeline, "state")
        );
        parts.push(format!("{title}\n{}", tasks(list(pipeline, "tasks"))));
        parts.extend(load(pipeline));
    }
    let others: Vec<&Value> = list(status, "other_tasks").collect();
    if !others.is_empty() {
        parts.push(format!("no pipeline\n{}", tasks(others.into_iter())));
    }
    if parts.is_empty() {
        parts.push("nothing is applied yet; see: lutra apply --help".to_owned());
    }
    let workers: Vec<Vec<String>> = list(status, "workers").map(worker).collect();
    parts.push(if workers.is_empty() {
        "no worker is registered: start lutra-extractor, lutra-transformer and lutra-loader".to_owned()
    } else {
        table(&["WORKER", "ADDRESS", "TASKS", ""], &workers)
    });
    parts.join("\n\n")
}

/// The tables of a full load that are not done, and how many are.
fn load(pipeline: &Value) -> Option<String> {
    let tables: Vec<&Value> = list(pipeline, "load").collect();
    let note = Some(text(pipeline, "load_note")).filter(|n| !n.is_empty()).map(|n| format!("  full load rests: {n}"));
    if tables.is_empty() {
        return note;
    }
    let number = |table: &Value, key: &str| table.get(key).and_then(Value::as_u64).unwrap_or(0);
    let done = tables.iter().filter(|t| text(t, "state") == "DONE").count();
    let rows: u64 = tables.iter().map(|t| number(t, "rows")).sum();
    let rate = number(pipeline, "load_rows_per_second");
    let mut lines = vec![format!("  full load: {done} of {} tables done, {rows} rows, {rate} rows/s", tables.len())];
    let row = |table: &&Value| {
        let eta = table.get("eta_seconds").and_then(Value::as_u64).map_or_else(String::new, |s| format!("{s} s left"));
        vec![
            format!("  {}", text(table, "table")),
            text(table, "state").to_owned(),
            format!("{} of ~{}", number(table, "rows"), number(table, "estimate")),
            format!("{} %", number(table, "percent")),
            [eta.as_str(), text(table, "note")].join(" ").trim().to_owned(),
        ]
    };
    let open: Vec<Vec<String>> = tables.iter().filter(|t| text(t, "state") != "DONE").map(row).collect();
    if !open.is_empty() {
        lines.push(table(&["  TABLE", "STATE", "ROWS", "", ""], &open));
    }
    Some(lines.join("\n"))
}

fn worker(worker: &Value) -> Vec<String> {
    let note = match (worker.get("draining"), worker.get("silent").and_then(Value::as_str)) {
        (_, Some(why)) => format!("does not answer: {why}"),
        (Some(Value::Bool(true)), _) => "draining".to_owned(),
        _ => String::new(),
    };
    vec![
        format!("{}.{}", text(worker, "service"), text(worker, "id")),
        text(worker, "address").to_owned(),
        list(worker, "tasks").count().to_string(),
        note,
    ]
}

/// Tasks as a table, failures below it.
fn tasks<'v>(tasks: impl Iterator<Item = &'v Value>) -> String {
    let (mut rows, mut failures, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        let measured = task.get("measured").unwrap_or(&Value::Null);
        rows.push(vec![
            format!("  {}", text(task, "task")),
            text(task, "state").to_owned(),
            if text(task, "worker").is_empty() { "-".to_owned() } else { text(task, "worker").to_owned() },
            // What does not run measures nothing now.
            if text(task, "state") == "RUNNING" { lags(measured) } else { "-".to_owned() },
            position(measured),
        ]);
        if !text(task, "note").is_empty() {
            failures.push(format!("  {} {}", text(task, "task"), text(task, "note")));
            failures.extend(more(task.get("detail").unwrap_or(&Value::Null)));
        }
        blocked.extend(list(measured, "blocked").flat_map(|found| not_reached(found, text(task, "task"))));
        if let Some(failure) = task.get("failure") {
            failures.push(format!("  {} failed: {}", text(task, "task"), text(failure, "message")));
            if !text(failure, "hint").is_empty() {
                failures.push(format!("    what to do: {}", text(failure, "hint")));
            }
            failures.extend(more(failure));
            failures.extend(next_try(failure, jiff::Timestamp::now().as_millisecond()));
        }
    }
    let mut lines = vec![table(&["  TASK", "STATE", "WORKER", "LAG", "POSITION"], &rows)];
    lines.extend(failures);
    lines.extend(blocked);
    lines.join("\n")
}

/// The page that is about it.
fn more(said: &Value) -> Option<String> {
    Some(text(said, "runbook"))
        .filter(|page| !page.is_empty())
        .map(|page| format!("    more: deploy/runbooks/{page}.md"))
}

/// When a failed task is tried again.
fn next_try(failure: &Value, now: i64) -> Option<String> {
    let times = failure.get("failures").and_then(Value::as_u64).filter(|times| *times > 0)?;
    let left = failure.get("retry_at").and_then(Value::as_i64)?.saturating_sub(now).max(0) / 1_000;
    Some(format!("    failed {times} time(s); tried again in {left} s, or at once by: lutra start PIPELINE"))
}

/// A table that changes do not reach, why, and the way back.
fn not_reached(blocked: &Value, task: &str) -> [String; 2] {
    let pipeline = task.split_once('/').map_or(task, |(_, name)| name);
    let number = |key: &str| blocked.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (table, unit) = (text(blocked, "table"), text(blocked, "unit"));
    if text(blocked, "state") == "stopped" {
        return [
            format!(
                "  table {table} is STOPPED since unit {unit}, {} rows left out: {}",
                number("rows_left_out"),
                text(blocked, "reason")
            ),
            format!(
                "    what to do: `lutra load restart --pipeline {pipeline} TABLE` (its name at the source) copies it anew, where the pipeline says `load: full`; or mend it \
                 in the target, then `lutra ddl approve|skip|replace {pipeline} {unit}`"
            ),
        ];
    }
    [
        format!(
            "  table {table} is HELD since unit {unit}, {} rows parked: {}",
            number("rows_parked"),
            text(blocked, "reason")
        ),
        format!("    what to do: `lutra ddl list {pipeline}`, then approve, skip or replace"),
    ]
}

/// Every lag that the worker measures, by its name: `read 0.012 s`.
fn lags(measured: &Value) -> String {
    let mut found = Vec::new();
    collect_lags(measured, &mut found);
    if found.is_empty() { "-".to_owned() } else { found.join(", ") }
}

fn collect_lags(value: &Value, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match (key.strip_suffix("_lag_seconds"), value.as_f64()) {
            (Some(name), Some(seconds)) => found.push(format!("{} {seconds:.3} s", name.replace('_', " "))),
            _ => {
                if value.is_object() {
                    collect_lags(value, found);
                }
            }
        }
    }
}

/// The number and the place in the binlog, as far as the worker tells them.
fn position(measured: &Value) -> String {
    let number = ["number", "acknowledged"].iter().find_map(|key| measured.get(key)).map(number);
    let place = ["position", "source_position"].iter().find_map(|key| measured.get(key)).map(|p| match p {
        Value::String(text) => text.clone(),
        other => format!("{}:{}", text(other, "file"), other.get("offset").and_then(Value::as_u64).unwrap_or_default()),
    });
    match (number, place) {
        (Some(number), Some(place)) => format!("#{number} {place}"),
        (Some(number), None) => format!("#{number}"),
        (None, Some(place)) => place,
        (None, None) => "-".to_owned(),
    }
}

/// A unit's number as people write it: the sequence, and behind a point what lies between two sequences.
fn number(value: &Value) -> String {
    let part = |key: &str| value.get(key).and_then(Value::as_u64);
    match (value.as_str(), part("sequence"), part("sub")) {
        (Some(text), _, _) => text.to_owned(),
        (_, Some(sequence), Some(0)) => sequence.to_string(),
        (_, Some(sequence), Some(sub)) => format!("{sequence}.{sub}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_measured_is_shown() {
        let task = json!({"task": "load/p", "state": "RUNNING", "worker": "loader.x", "measured":
            {"number": {"sequence": 17, "sub": 2}, "lags": {"apply_lag_seconds": 0.01}, "position": {"file": "b.1", "offset": 4}}});
        let silent = json!({"task": "extract/s", "state": "FAILED", "failure": {"message": "gone", "hint": "mend it"}});
        let shown = tasks([&task, &silent].into_iter());
        assert!(shown.contains("apply 0.010 s") && shown.contains("#17.2 b.1:4"), "{shown}");
        assert!(shown.contains("what to do: mend it"), "{shown}");
        let waits =
            json!({"task": "load/q", "state": "PENDING", "note": "no loader is registered: start lutra-loader"});
        assert!(tasks([&waits].into_iter()).contains("load/q no loader is registered"));
        let failure = json!({"failures": 3, "retry_at": 61_000});
        assert!(next_try(&failure, 1_000).is_some_and(|text| text.contains("3 time(s); tried again in 60 s")));
    }
}

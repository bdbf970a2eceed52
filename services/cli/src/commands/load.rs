//! `lutra load pause|resume|cancel|restart`.

use reqwest::Method;
use serde_json::Value;

use crate::arguments::{LoadArguments, LoadCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn run(client: &Client, command: &LoadCommand, output: &Output) -> Result<(), CliError> {
    let (word, arguments) = match command {
        LoadCommand::Pause(arguments) => ("pause", arguments),
        LoadCommand::Resume(arguments) => ("resume", arguments),
        LoadCommand::Cancel(arguments) => ("cancel", arguments),
        LoadCommand::Restart(arguments) => ("restart", arguments),
    };
    let pipeline = pipeline_of(client, arguments).await?;
    let query: Vec<(&str, &str)> = arguments.table.iter().map(|table| ("table", table.as_str())).collect();
    let answer = client.send(Method::POST, &format!("/v1/pipelines/{pipeline}/load/{word}"), &query, None).await?;
    output.answer(&answer, |_| match &arguments.table {
        Some(table) => format!("{word} of {table} in pipeline {pipeline} is asked for"),
        None => format!("{word} of the load of pipeline {pipeline} is asked for"),
    });
    Ok(())
}

/// The named pipeline, or the only one with a full load.
async fn pipeline_of(client: &Client, arguments: &LoadArguments) -> Result<String, CliError> {
    if let Some(pipeline) = &arguments.pipeline {
        return Ok(pipeline.clone());
    }
    let status = client.get("/v1/status").await?;
    let pipelines = status.get("pipelines").and_then(Value::as_array).cloned().unwrap_or_default();
    let loads = |p: &Value| p.get("load").and_then(Value::as_array).is_some_and(|load| !load.is_empty());
    let mut found = pipelines.iter().filter(|p| loads(p)).filter_map(|p| p.get("name").and_then(Value::as_str));
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(name.to_owned()),
        (None, _) => Err(CliError::input("no pipeline has a full load")),
        (Some(_), Some(_)) => Err(CliError::input("several pipelines have a full load: name one with --pipeline")),
    }
}

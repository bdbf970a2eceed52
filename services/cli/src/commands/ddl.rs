//! `lutra ddl`: statements that wait for a person, or failed in the target.

use reqwest::Method;
use serde_json::Value;

use crate::arguments::{DdlArgument, DdlCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn run(client: &Client, command: &DdlCommand, output: &Output) -> Result<(), CliError> {
    let (about, word, body) = match command {
        DdlCommand::List(pipeline) => {
            let answer = client.get(&format!("/v1/pipelines/{}/ddl", pipeline.pipeline)).await?;
            output.answer(&answer, listed);
            return Ok(());
        }
        DdlCommand::Approve(about) => (about, "approve", None),
        DdlCommand::Skip(about) => (about, "skip", None),
        DdlCommand::Replace(replace) => (&replace.about, "replace", Some(replace.statement.clone())),
    };
    let DdlArgument { pipeline, unit } = about;
    let path = format!("/v1/pipelines/{pipeline}/ddl/{unit}/{word}");
    let answer = client.send(Method::POST, &path, &[], body).await?;
    output.answer(&answer, |_| match word {
        "approve" => format!("the statement of unit {unit} is run"),
        "skip" => format!("the statement of unit {unit} is left out"),
        _ => format!("another statement is run in place of unit {unit}'s"),
    });
    Ok(())
}

fn listed(answer: &Value) -> String {
    let statements = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if statements.is_empty() {
        return "no statement waits".to_owned();
    }
    let mut lines = Vec::new();
    for statement in statements {
        let text = |key: &str| statement.get(key).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("unit {} ({}, {}): {}", text("unit"), text("state"), text("noted_at"), text("reason")));
        if !text("tables").is_empty() {
            lines.push(format!("  tables: {}", text("tables")));
        }
        if !text("decision").is_empty() {
            lines.push(format!("  decided: {}, not carried out yet", text("decision")));
        }
        lines.push(format!("  in {}: {}", text("database"), text("statement").replace('\n', "\n  ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_waits_and_why() {
        let answer = serde_json::json!([{"unit": "7", "state": "held", "reason": "its policy is hold", "tables": "a.b", "database": "a",
            "statement": "DROP TABLE b", "decision": "", "noted_at": "2026-01-01 00:00:00"}]);
        let text = listed(&answer);
        assert!(text.starts_with("unit 7 (held") && text.ends_with("in a: DROP TABLE b"), "{text}");
        assert_eq!(listed(&serde_json::json!([])), "no statement waits");
    }
}

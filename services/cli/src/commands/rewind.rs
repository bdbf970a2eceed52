//! `lutra rewind`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::adopt;
use crate::arguments::RewindArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// A place may have to be looked up in a long log.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) async fn run(client: &Client, arguments: &RewindArguments, output: &Output) -> Result<(), CliError> {
    let path = adopt::path(client, &arguments.name, "rewind").await?;
    let word = |yes: bool| if yes { "true" } else { "false" };
    let query =
        [("to", arguments.to.as_str()), ("reload", word(arguments.reload)), ("dry_run", word(arguments.dry_run))];
    let answer = client.call(Method::POST, &path, &query, None, LONGEST).await?;
    output.answer(&answer, described);
    Ok(())
}

fn described(answer: &Value) -> String {
    let applied = answer.get("applied") == Some(&Value::Bool(true));
    let mut lines = vec![adopt::described(answer)];
    for reload in answer.get("reloads").and_then(Value::as_array).into_iter().flatten() {
        let pipeline = reload.get("pipeline").and_then(Value::as_str).unwrap_or_default();
        let tables = reload.get("tables").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let tables: Vec<&str> = tables.collect();
        let word = if applied { "are" } else { "would be" };
        lines.push(match tables.as_slice() {
            [] => format!("pipeline {pipeline}: the source has none of its tables: nothing is copied"),
            tables => format!("pipeline {pipeline}: dropped and copied anew {word} {}", tables.join(", ")),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_dropped_and_where_logs_begin_is_told() {
        let answer = json!({
            "applied": false,
            "logs": [
                {"task": "extract/s", "new_topic": "s.1.log", "number": "9", "gtid_set": "0-1-7", "position": "b.000001:4", "reload": false},
                {"task": "transform/p", "new_topic": "p.1.log", "old_topic": "p.log", "number": "9", "gtid_set": "", "reload": true},
            ],
            "reloads": [{"pipeline": "p", "tables": ["d.a", "d.b"]}],
            "notes": ["pipeline q passes over 0-1-8"],
        });
        let text = described(&answer);
        for words in [
            "extract/s: would go on in topic s.1.log behind number 9 (0-1-7, b.000001:4)",
            "transform/p: would begin in topic p.1.log with the definitions of its tables",
            "topic p.log stays as it is",
            "pipeline p: dropped and copied anew would be d.a, d.b",
            "passes over 0-1-8",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

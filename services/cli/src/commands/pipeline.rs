//! `lutra start`, `stop`, `pause`, `resume`, `wait`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::arguments::WaitArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn command(client: &Client, pipeline: &str, command: &str, output: &Output) -> Result<(), CliError> {
    let answer = client.send(Method::POST, &format!("/v1/pipelines/{pipeline}/{command}"), &[], None).await?;
    output.answer(&answer, |answer| {
        let desired = answer.get("desired").and_then(Value::as_str).unwrap_or_default();
        let already = if answer.get("changed") == Some(&Value::Bool(false)) { " already" } else { "" };
        format!("pipeline {pipeline} shall{already} be {desired}")
    });
    Ok(())
}

pub(super) async fn wait(client: &Client, arguments: &WaitArguments, output: &Output) -> Result<(), CliError> {
    let WaitArguments { pipeline, timeout } = arguments;
    let longest =
        longest(timeout).ok_or_else(|| CliError::input(format!("{timeout:?} is no time like 60s, 5m, 1500ms")))?;
    let path = format!("/v1/pipelines/{pipeline}/wait");
    let answer =
        client.call(Method::POST, &path, &[("timeout", timeout)], None, longest + Duration::from_secs(30)).await?;
    output.answer(&answer, |answer| {
        let seconds = answer.get("waited_seconds").and_then(Value::as_f64).unwrap_or_default();
        format!("pipeline {pipeline} has everything that its source had committed (after {seconds:.2} s)")
    });
    Ok(())
}

/// How long the answer may take.
fn longest(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(longest("1500ms"), Some(Duration::from_millis(1_500)));
        assert_eq!((longest("2m"), longest("x"), longest("1d")), (Some(Duration::from_secs(120)), None, None));
    }
}

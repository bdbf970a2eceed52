//! `lutra doctor`: what a run stands on, and what mends it; `--grants`: the exact least privileges.

use lutra_mysql::{Flavour, checks};
use lutra_spec::{Document, Spec, target_databases};
use serde_json::{Value, json};

use super::validate;
use crate::arguments::{DoctorArguments, Reach};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

pub(super) async fn run(reach: &Reach, arguments: &DoctorArguments, output: &Output) -> Result<(), CliError> {
    if arguments.grants {
        let documents = match arguments.files.as_slice() {
            [] => applied(reach).await?,
            files => validate::plain(&validate::documents(files)?),
        };
        grants(&documents, output);
        return Ok(());
    }
    let report = Client::find(reach).await?.get("/v1/doctor").await?;
    output.answer(&report, described);
    match report.get("ok").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => Err(CliError::Failed("not everything is as it must be".to_owned())),
    }
}

async fn applied(reach: &Reach) -> Result<Vec<Document>, CliError> {
    // The statements can be had before anything runs.
    let client = match Client::find(reach).await {
        Ok(client) => client,
        Err(CliError::NoManager) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let documents = client.get("/v1/documents").await?;
    let parse = |d: &Value| serde_json::from_value(d.clone()).ok();
    Ok(documents.as_array().into_iter().flatten().filter_map(parse).collect())
}

fn grants(documents: &[Document], output: &Output) {
    let mut accounts: Vec<(String, Vec<String>)> = Vec::new();
    // No server is asked: which of the two it is, is for the reader to say.
    let mut both = |subject: &str, of: &dyn Fn(Flavour) -> Vec<String>| {
        accounts.push((format!("{subject} (MySQL)"), of(Flavour::MySql)));
        accounts.push((format!("{subject} (MariaDB)"), of(Flavour::MariaDb)));
    };
    for document in documents {
        match &document.spec {
            Spec::Source(source) => {
                let loads = documents.iter().any(
                    |d| matches!(&d.spec, Spec::Pipeline(p) if p.source == document.name && p.load.full.is_some()),
                );
                // A full load reads the tables.
                let select = loads.then(|| format!("GRANT SELECT ON *.* TO '{}'@'%'", source.user.replace('\'', "''")));
                both(&format!("source {}", document.name), &|flavour| {
                    checks::source_grants(&source.user, flavour).into_iter().chain(select.clone()).collect()
                });
            }
            Spec::Target(target) => {
                let databases = target_databases(documents, &document.name);
                let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
                let grants = |flavour| {
                    with_optional(checks::target_grants(&target.user, &databases, flavour), &target.user, flavour)
                };
                both(&format!("target {}", document.name), &grants);
            }
            Spec::Pipeline(_) => {}
        }
    }
    if documents.is_empty() {
        both("a source, for an account named lutra", &|flavour| checks::source_grants("lutra", flavour));
        both("a target, for an account named lutra", &|flavour| {
            with_optional(checks::target_grants("lutra", &[], flavour), "lutra", flavour)
        });
    }
    let value: Vec<Value> =
        accounts.iter().map(|(subject, statements)| json!({"subject": subject, "statements": statements})).collect();
    output.answer(&Value::from(value), |_| {
        let text = |(subject, statements): &(String, Vec<String>)| {
            let line = |s: &String| {
                if s.starts_with("--") { format!("\n{s};") } else { format!("\n{};", s.trim_end_matches(';')) }
            };
            let lines: String = statements.iter().map(line).collect();
            let account = account(statements).unwrap_or_default();
            format!("-- {subject}\n-- CREATE USER {account} IDENTIFIED BY '...';{lines}")
        };
        accounts.iter().map(text).collect::<Vec<_>>().join("\n\n")
    });
}

/// The statements, and as comments those that are needed only sometimes.
fn with_optional(mut statements: Vec<String>, user: &str, flavour: Flavour) -> Vec<String> {
    for (statement, reason) in checks::definer_grants(user, flavour) {
        statements.push(format!("-- optional, where {reason}:\n--   {statement}"));
    }
    statements
}

/// To whom statements grant.
fn account(statements: &[String]) -> Option<&str> {
    statements.first()?.rsplit_once(" TO ").map(|(_, account)| account.trim_end_matches(';'))
}

fn described(report: &Value) -> String {
    let mut lines = Vec::new();
    for check in report.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default();
        if check.get("ok") == Some(&Value::Bool(true)) {
            lines.push(format!("ok    {}: {} ({})", text("subject"), text("name"), text("found")));
        } else {
            lines.push(format!(
                "FAIL  {}: {}: found {}, required {}",
                text("subject"),
                text("name"),
                text("found"),
                text("required")
            ));
            lines.push(format!("      mend it: {}", text("mend")));
        }
    }
    lines.join("\n")
}

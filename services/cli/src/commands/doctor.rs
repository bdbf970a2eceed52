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

/// What an account is given: what it needs, and what it needs only sometimes, each with its reason.
struct Account {
    subject: String,
    statements: Vec<String>,
    optional: Vec<(String, &'static str)>,
}

const READS_TABLES: &str = "a pipeline loads fully, `lutra compare` runs, or binlog_row_metadata is not FULL";

fn grants(documents: &[Document], output: &Output) {
    let mut accounts: Vec<Account> = Vec::new();
    // No server is asked: which of the two it is, is for the reader to say.
    let mut source = |subject: &str, user: &str, loads: bool| {
        for (kind, flavour) in [("MySQL", Flavour::MySql), ("MariaDB", Flavour::MariaDb)] {
            let select = format!("GRANT SELECT ON *.* TO '{}'@'%'", user.replace('\'', "''"));
            let subject = format!("{subject} ({kind})");
            let mut statements = checks::source_grants(user, flavour);
            let mut optional = Vec::new();
            if loads {
                statements.push(select);
            } else {
                optional.push((select, READS_TABLES));
            }
            accounts.push(Account { subject, statements, optional });
        }
    };
    let mut targets: Vec<Account> = Vec::new();
    let mut target = |subject: &str, user: &str, databases: &[&str]| {
        for (kind, flavour) in [("MySQL", Flavour::MySql), ("MariaDB", Flavour::MariaDb)] {
            let subject = format!("{subject} ({kind})");
            let statements = checks::target_grants(user, databases, flavour);
            targets.push(Account { subject, statements, optional: checks::definer_grants(user, flavour) });
        }
    };
    for document in documents {
        match &document.spec {
            Spec::Source(spec) => {
                let loads = documents.iter().any(
                    |d| matches!(&d.spec, Spec::Pipeline(p) if p.source == document.name && p.load.full.is_some()),
                );
                source(&format!("source {}", document.name), &spec.user, loads);
            }
            Spec::Target(spec) => {
                let databases = target_databases(documents, &document.name);
                let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
                target(&format!("target {}", document.name), &spec.user, &databases);
            }
            Spec::Pipeline(_) => {}
        }
    }
    if documents.is_empty() {
        source("a source, for an account named lutra", "lutra", false);
        target("a target, for an account named lutra", "lutra", &[]);
    }
    accounts.append(&mut targets);
    let value: Vec<Value> = accounts.iter().map(Account::json).collect();
    output.answer(&Value::from(value), |_| accounts.iter().map(Account::text).collect::<Vec<_>>().join("\n\n"));
}

impl Account {
    fn json(&self) -> Value {
        let optional: Vec<Value> =
            self.optional.iter().map(|(statement, when)| json!({"statement": statement, "when": when})).collect();
        json!({"subject": self.subject, "statements": self.statements, "optional": optional})
    }

    fn text(&self) -> String {
        let account = account(&self.statements).unwrap_or_default();
        let needed: String =
            self.statements.iter().map(|statement| format!("\n{};", statement.trim_end_matches(';'))).collect();
        let optional: String = self
            .optional
            .iter()
            .map(|(statement, when)| format!("\n-- optional ({when}):\n--   {};", statement.trim_end_matches(';')))
            .collect();
        format!("-- {}\n-- CREATE USER {account} IDENTIFIED BY '...';{needed}{optional}", self.subject)
    }
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

//! `lutra compare`: are the tables of a pipeline equal at the source and at the target, and where not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use lutra_change::TableName;
use lutra_compare::{CompareError, Comparison, Pair, Report, Settle, TableReport, When};
use lutra_mysql::{Connection, catalogue, document};
use lutra_rules::{Rules, TableDecision};
use lutra_spec::{Document, PipelineSpec, SecretRef, SourceSpec, Spec, TablePattern, TargetSpec};
use reqwest::Method;
use serde_json::{Value, json};

use crate::arguments::{CompareArguments, Moment};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// Holds the password of `--user`.
const PASSWORD: &str = "LUTRA_COMPARE_PASSWORD";
/// How long one statement may take: a checksum over a whole table without a key.
const STATEMENT: Duration = Duration::from_secs(3_600);
/// Between two looks at what differs.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(client: &Client, arguments: &CompareArguments, output: &Output) -> Result<(), CliError> {
    let documents = client.get("/v1/documents").await?;
    let documents: Vec<Document> =
        documents.as_array().into_iter().flatten().filter_map(|d| serde_json::from_value(d.clone()).ok()).collect();
    let job = Job::find(&documents, arguments)?;
    let mut source = connect("source", &job.source.connection(), arguments).await?;
    let mut target = connect("target", &job.target.connection(), arguments).await?;
    let (pairs, unpaired) = job.pairs(&mut source, &mut target, arguments).await?;
    let mut settle = Wait { client, pipeline: &arguments.pipeline };
    let when = match arguments.at {
        Moment::Sync => When::Sync,
        Moment::Quiesce => When::Quiesce,
    };
    if when == When::Sync {
        settle.settle().await.map_err(fault)?;
    }
    let mut report = Report { unpaired, ..Report::default() };
    let mut comparison = Comparison::new(&mut source, &mut target, &mut settle, when).await.map_err(fault)?;
    comparison.limit = arguments.limit;
    for pair in &pairs {
        report.tables.push(comparison.table(pair).await.map_err(fault)?);
    }
    say(&report, arguments, output)
}

fn fault(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Compare(error.into())
}

fn say(report: &Report, arguments: &CompareArguments, output: &Output) -> Result<(), CliError> {
    let mut value = json!({
        "pipeline": arguments.pipeline, "equal": report.is_equal(), "unsettled": report.unsettled(), "rows": report.rows(),
    });
    if let (Some(object), Ok(Value::Object(found))) = (value.as_object_mut(), serde_json::to_value(report)) {
        object.extend(found);
    }
    output.answer(&value, |_| described(report));
    if !report.is_equal() {
        return Err(CliError::Failed("source and target differ".to_owned()));
    }
    if report.unsettled() > 0 {
        let rows = report.unsettled();
        return Err(fault(format!(
            "{rows} row(s) changed each time they were looked at; compare again, or with --at quiesce"
        )));
    }
    Ok(())
}

fn described(report: &Report) -> String {
    let mut lines: Vec<String> = report.unpaired.clone();
    for table in &report.tables {
        lines.extend(table_lines(table));
    }
    let (tables, rows) = (report.tables.len(), report.rows());
    lines.push(if report.is_equal() {
        format!("equal: {tables} table(s), {rows} row(s)")
    } else {
        "different".to_owned()
    });
    lines.join("\n")
}

fn table_lines(table: &TableReport) -> Vec<String> {
    let name = if table.source == table.target {
        table.source.clone()
    } else {
        format!("{} -> {}", table.source, table.target)
    };
    let mut lines = Vec::new();
    lines.push(match &table.skipped {
        Some(why) => format!("{name}: rows not compared: {why}"),
        None if table.is_equal() => format!("{name}: equal, {} row(s)", table.rows),
        None => format!("{name}: {} of {} row(s) differ", table.count, table.rows),
    });
    lines.extend(table.definition.iter().map(|line| format!("  definition: {line}")));
    lines.extend(table.differences.iter().map(|difference| format!("  {difference}")));
    let more = table.count - table.differences.len() as u64;
    lines.extend((more > 0).then(|| format!("  and {more} more")));
    lines.extend((table.unsettled > 0).then(|| format!("  {} row(s) never rested", table.unsettled)));
    lines
}

/// Asks the manager to wait.
struct Wait<'w> {
    client: &'w Client,
    pipeline: &'w str,
}

impl Settle for Wait<'_> {
    fn settle(&mut self) -> BoxFuture<'_, Result<(), CompareError>> {
        Box::pin(async {
            tokio::time::sleep(LOOK).await;
            let path = format!("/v1/pipelines/{}/wait", self.pipeline);
            let limit = Duration::from_secs(90);
            let answer = self.client.call(Method::POST, &path, &[("timeout", "60s")], None, limit).await;
            answer.map(drop).map_err(|error| CompareError::Settle(Box::new(error)))
        })
    }
}

/// What is compared with what.
struct Job<'d> {
    pipeline: &'d PipelineSpec,
    source: &'d SourceSpec,
    target: &'d TargetSpec,
    rules: Rules,
    only: Vec<TablePattern>,
}

impl<'d> Job<'d> {
    fn find(documents: &'d [Document], arguments: &CompareArguments) -> Result<Self, CliError> {
        let name = &arguments.pipeline;
        let of = |name: &str| documents.iter().find(|d| d.name.as_str() == name).map(|d| &d.spec);
        let Some(Spec::Pipeline(pipeline)) = of(name) else {
            return Err(CliError::input(format!("there is no pipeline {name}; see: lutra get pipeline")));
        };
        let (Some(Spec::Source(source)), Some(Spec::Target(target))) =
            (of(pipeline.source.as_str()), of(pipeline.target.as_str()))
        else {
            return Err(CliError::input(format!("pipeline {name} names a source or target that is not there")));
        };
        let rules = Rules::compile(pipeline).map_err(|faults| CliError::Input {
            message: format!("the rules of pipeline {name} do not compile"),
            details: faults.iter().map(ToString::to_string).collect(),
        })?;
        let pattern =
            |text: &String| text.parse().map_err(|error| CliError::input(format!("--tables {text}: {error}")));
        let only = arguments.tables.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { pipeline, source, target, rules, only })
    }

    fn wanted(&self, name: &TableName) -> bool {
        self.source.captures(&name.database, &name.table)
            && (self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(&name.database, &name.table)))
    }

    /// Tables that belong together, and lines about those that one side lacks.
    async fn pairs(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        arguments: &CompareArguments,
    ) -> Result<(Vec<Pair>, Vec<String>), CliError> {
        let (mut pairs, mut unpaired) = (Vec::new(), Vec::new());
        let tables = catalogue::tables(source).await.map_err(fault)?;
        if tables.is_empty() {
            let user = arguments.user.as_ref().unwrap_or(&self.source.user);
            return Err(fault(format!(
                "the account {user} sees no table of the source; GRANT SELECT on the captured databases to it, or name \
                 another one with --user"
            )));
        }
        let mut expected = BTreeSet::new();
        let names: Vec<TableName> =
            tables.into_iter().map(|table| table.name).filter(|name| self.wanted(name)).collect();
        for name in &names {
            let decision = self.rules.table(name).map_err(|fault| CliError::input(fault.to_string()))?;
            let (to, renamed, dropped, skip) = match decision {
                TableDecision::Drop => continue,
                TableDecision::Pass => (name.clone(), BTreeMap::new(), Vec::new(), None),
                TableDecision::Map(mapping) => {
                    let skip = match (mapping.operations.is_all(), mapping.merges) {
                        (false, _) => Some("not all operations are carried".to_owned()),
                        (_, true) => Some("several tables lead into it".to_owned()),
                        _ => None,
                    };
                    let renamed = mapping.columns.rename.iter().map(|(from, to)| (from.clone(), to.clone())).collect();
                    (mapping.to, renamed, mapping.columns.drop.clone(), skip)
                }
            };
            expected.insert(to.clone());
            let left = catalogue::table_definition(source, name).await.map_err(fault)?;
            let right = catalogue::table_definition(target, &to).await.map_err(fault)?;
            match (left, right) {
                (Some(source), Some(target)) => pairs.push(Pair { source, target, renamed, dropped, skip }),
                (Some(_), None) => {
                    unpaired.push(format!("{to}: the target has no such table (it is {name} in the source)"));
                }
                // It was dropped meanwhile.
                (None, _) => {}
            }
        }
        unpaired.extend(self.extra(target, &expected).await?);
        Ok((pairs, unpaired))
    }

    /// Tables of the target that only a table of the same name in the source could have made.
    async fn extra(&self, target: &mut Connection, expected: &BTreeSet<TableName>) -> Result<Vec<String>, CliError> {
        let tables = catalogue::tables(target).await.map_err(fault)?;
        let passes = |name: &TableName| matches!(self.rules.table(name), Ok(TableDecision::Pass));
        let renames = self.pipeline.tables.iter().any(|route| route.to.is_some());
        let extra = tables
            .into_iter()
            .map(|table| table.name)
            .filter(|name| !expected.contains(name) && self.wanted(name) && passes(name) && !renames);
        Ok(extra.map(|name| format!("{name}: only the target has it")).collect())
    }
}

async fn connect(
    what: &'static str,
    how: &lutra_spec::Connection,
    arguments: &CompareArguments,
) -> Result<Connection, CliError> {
    let mut how = how.clone();
    if let Some(user) = &arguments.user {
        how.user.clone_from(user);
        how.password = std::env::var_os(PASSWORD).map(|_| SecretRef::Env(PASSWORD.to_owned()));
    }
    let mut last = fault(format!("the {what}'s document names no server"));
    for mut options in document::servers(&how, "lutra-compare").map_err(fault)? {
        options.read_timeout = STATEMENT;
        match Connection::connect(&options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = fault(Box::new(error)),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use lutra_compare::Difference;

    use super::*;

    #[test]
    fn differences_are_told_table_by_table() {
        let row = "(id=7)".to_owned();
        let table = TableReport {
            source: "shop.a".to_owned(),
            target: "crm.b".to_owned(),
            rows: 10,
            count: 3,
            differences: vec![Difference::Missing { row }],
            definition: vec!["the target has no column x".to_owned()],
            ..TableReport::default()
        };
        let report = Report { tables: vec![table], unpaired: vec!["shop.c: only the target has it".to_owned()] };
        assert_eq!(
            described(&report),
            "shop.c: only the target has it\nshop.a -> crm.b: 3 of 10 row(s) differ\n  definition: the target has no column x\n  \
             row (id=7): missing in the target\n  and 2 more\ndifferent"
        );
    }
}

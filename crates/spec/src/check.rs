//! What must hold between documents.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::document::{Document, Kind, Name, Spec};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, and may not be what was meant.
    Warning,
    /// It cannot be applied.
    Error,
}

/// Something between documents that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The document that it is about.
    pub document: Name,
    /// Where in that document.
    pub path: String,
    /// What does not fit, and what to do.
    pub message: String,
}

/// Checks a whole set of documents: names unique over all kinds, references that lead somewhere, pipelines that write
/// the same table.
pub fn cross_check(documents: &[Document]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut kinds: BTreeMap<&Name, Kind> = BTreeMap::new();
    for document in documents {
        if let Some(other) = kinds.insert(&document.name, document.kind()) {
            let message =
                format!("the name {} is already that of a {other}: names are unique over all kinds", document.name);
            findings.push(error(&document.name, "name", message));
        }
    }
    for document in documents {
        let Spec::Pipeline(pipeline) = &document.spec else { continue };
        for (path, name, kind) in
            [("spec.source", &pipeline.source, Kind::Source), ("spec.target", &pipeline.target, Kind::Target)]
        {
            match kinds.get(name) {
                Some(found) if *found == kind => {}
                Some(found) => findings.push(error(&document.name, path, format!("{name} is a {found}, not a {kind}"))),
                None => findings.push(error(
                    &document.name,
                    path,
                    format!("there is no {kind} {name}: apply it first, or in the same file"),
                )),
            }
        }
    }
    shared_tables(documents, &mut findings);
    for document in documents {
        if let Spec::Pipeline(pipeline) = &document.spec {
            meeting_routes(&document.name, pipeline, &mut findings);
        }
    }
    findings
}

/// Warns of routes of one pipeline that lead to the same table.
fn meeting_routes(name: &Name, pipeline: &crate::PipelineSpec, findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (index, route) in pipeline.tables.iter().enumerate() {
        // Of a name with wildcards, the same text does not say that the names are the same.
        if route.pattern.single().is_none() && route.to.as_ref().is_none_or(|to| to.captures_used() > 0) {
            continue;
        }
        let to = written(route);
        match first.get(&to) {
            None => drop(first.insert(to, index)),
            Some(other) => findings.push(Finding {
                severity: Severity::Warning,
                document: name.clone(),
                path: format!("spec.tables[{index}].to"),
                message: format!(
                    "routes {other} and {index} both lead to {to}: rows of the same key, one from each, would be a conflict"
                ),
            }),
        }
    }
}

/// The databases of a target that its pipelines write, where the documents say which; else none, which means any.
pub fn target_databases(documents: &[Document], target: &str) -> BTreeSet<String> {
    let mut databases = BTreeSet::new();
    for document in documents {
        let Spec::Pipeline(pipeline) = &document.spec else { continue };
        if pipeline.target.as_str() != target {
            continue;
        }
        let source = documents.iter().find_map(|d| match &d.spec {
            Spec::Source(source) if d.name == pipeline.source => Some(source),
            _ => None,
        });
        let named: Vec<Option<String>> = match (pipeline.tables.as_slice(), source) {
            ([], None) => vec![None],
            ([], Some(source)) => source.tables.iter().map(crate::TablePattern::fixed_database).collect(),
            (routes, _) => routes
                .iter()
                .map(|route| match &route.to {
                    Some(to) => to.fixed_database(),
                    None => route.pattern.fixed_database(),
                })
                .collect(),
        };
        for database in named {
            match database {
                Some(database) => databases.insert(database),
                None => return BTreeSet::new(),
            };
        }
    }
    databases
}

fn error(document: &Name, path: &str, message: String) -> Finding {
    Finding { severity: Severity::Error, document: document.clone(), path: path.to_owned(), message }
}

/// Warns of pipelines that can write the same table of the same target.
fn shared_tables(documents: &[Document], findings: &mut Vec<Finding>) {
    let mut writers: BTreeMap<(&Name, String), BTreeSet<&Name>> = BTreeMap::new();
    for document in documents {
        let Spec::Pipeline(pipeline) = &document.spec else { continue };
        let mut tables: Vec<String> = pipeline.tables.iter().map(written).collect();
        if tables.is_empty() {
            tables.push("*.*".to_owned());
        }
        for table in tables {
            writers.entry((&pipeline.target, table)).or_default().insert(&document.name);
        }
    }
    for ((target, table), pipelines) in writers.iter().filter(|(_, p)| p.len() > 1) {
        let names: Vec<&str> = pipelines.iter().map(|p| p.as_str()).collect();
        let message = format!(
            "pipelines {} all write {table} of target {target}: their changes have no order between them",
            names.join(", ")
        );
        for document in pipelines {
            findings.push(Finding {
                severity: Severity::Warning,
                document: (*document).clone(),
                path: "spec.tables".to_owned(),
                message: message.clone(),
            });
        }
    }
}

/// The tables a route writes, as text: equal texts surely meet.
fn written(route: &crate::Route) -> String {
    route.to.as_ref().map_or_else(|| route.pattern.to_string(), ToString::to_string)
}

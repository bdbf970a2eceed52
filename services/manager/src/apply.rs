//! Documents in: everything that is wrong is found before anything is written.

mod catalogues;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use lutra_change::{TaskId, TaskKind};
use lutra_rules::Rules;
use lutra_spec::{
    Document, Finding, Kind, Located, PipelineSpec, Severity, SourceSpec, Spec, cross_check, target_databases,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::documents::{Documents, StoredDocument};
use crate::error::{ManagerError, NamedCheck, chain};
use crate::loads;
use crate::manager::Manager;
use crate::servers::{self, Asked};

/// A fault of a pipeline's rules, with the pipeline's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedFault {
    /// The pipeline.
    pub pipeline: String,
    /// Where in it, `spec.tables[2]`; absent where no one place is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line of the applied text; absent for a document that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl NamedFault {
    fn at(pipeline: &str, path: Option<String>, message: String, places: &Places) -> Self {
        let place = places.get(pipeline).map(|d| d.place(path.as_deref().unwrap_or_default()));
        let (line, column) = (place.map(|p| p.0), place.map(|p| p.1));
        Self { pipeline: pipeline.to_owned(), path, line, column, message }
    }
}

/// Something between documents that does not fit, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFinding {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Line of the applied text; absent for a document that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// What an `apply` does to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Create,
    /// It replaces another.
    Update,
    /// It is there already.
    Unchanged,
    /// It is removed.
    Delete,
}

/// One value that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Where, `spec.load.connections`.
    pub path: String,
    /// What it was; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub before: Option<Value>,
    /// What it becomes; absent where nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub after: Option<Value>,
}

/// What an `apply` does to one document, value by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DocumentChange {
    /// `source`, `target`, `pipeline`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// What changes in it.
    pub differences: Vec<Difference>,
}

/// What an `apply` did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Whether it was done; false for a dry run.
    pub applied: bool,
    /// The documents.
    pub changes: Vec<DocumentChange>,
    /// What is worth knowing all the same.
    pub warnings: Vec<String>,
}

/// How an `apply` is meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Take servers as they are, without asking them.
    pub skip_checks: bool,
}

/// Applies the documents of a text.
pub async fn apply(manager: &Manager, text: &str, options: ApplyOptions) -> Result<Applied, ManagerError> {
    let located = lutra_spec::parse(text).map_err(ManagerError::Violations)?;
    let incoming: Vec<Document> = located.iter().map(|d| d.document.clone()).collect();
    let places: Places = located.into_iter().map(|d| (d.document.name.to_string(), d)).collect();
    let existing = Documents::read(manager.store()).await?;
    let merged = merge(&existing, &incoming)?;
    let mut warnings = fits(&merged, &places)?;
    let begun = begun(manager).await?;
    unmovable(&existing, &incoming, &begun)?;
    let changes: Vec<DocumentChange> = incoming.iter().map(|document| change(&existing, document)).collect();
    if !options.skip_checks {
        let asked = ask_servers(&merged, &incoming, &changes, &begun).await?;
        let held = hold_rules(&merged, &changes, &places).await?;
        // A server that cannot be reached is told once.
        let again = |warning: &String| asked.iter().any(|told| warning.ends_with(&reason_of(told)));
        let (repeated, held): (Vec<String>, Vec<String>) = held.into_iter().partition(again);
        warnings.extend(asked);
        warnings.extend(held);
        if !repeated.is_empty() {
            warnings.push("rules are not held against the tables of servers that were not reached".to_owned());
        }
        let changed = changes.iter().filter(|change| change.action != Action::Unchanged);
        warnings.extend(loads::examine(&merged, &changed.map(|c| c.name.as_str()).collect::<Vec<_>>()).await?);
    }
    warnings.extend(captured_later(&changes, &begun));
    if options.dry_run {
        return Ok(Applied { applied: false, changes, warnings });
    }
    // Kinds in the order of the data: a pipeline never stands without what it names.
    let mut ordered: Vec<(&Document, &DocumentChange)> =
        incoming.iter().zip(&changes).filter(|(_, c)| c.action != Action::Unchanged).collect();
    ordered.sort_by_key(|(document, _)| document.kind());
    for (document, _) in ordered {
        let body = serde_json::to_value(document).unwrap_or_default();
        let version = existing.all.get(document.name.as_str()).map(|d| d.version);
        manager.store().put_document(document.kind(), &document.name, &body, version).await?;
    }
    // Tasks are there when the call returns, if Kafka and ZooKeeper let them; else the reconciler makes them later.
    if let Err(error) = manager.reconcile().await {
        warnings.push(format!("documents are written; their tasks are not made yet: {}", chain(&error)));
    }
    Ok(Applied { applied: true, changes, warnings })
}

/// Removes a document.
pub async fn delete(manager: &Manager, kind: Kind, name: &str, dry_run: bool) -> Result<Applied, ManagerError> {
    let existing = Documents::read(manager.store()).await?;
    let found = existing.all.get(name).filter(|d| d.document.kind() == kind);
    let stored = found.ok_or_else(|| ManagerError::NotFound { what: kind.as_str(), name: name.to_owned() })?;
    let users = existing.users_of(name);
    if kind != Kind::Pipeline && !users.is_empty() {
        return Err(ManagerError::Conflict(format!(
            "{kind} {name} is used by pipeline(s) {}: delete them first",
            users.join(", ")
        )));
    }
    let change = DocumentChange {
        kind: kind.to_string(),
        name: name.to_owned(),
        action: Action::Delete,
        differences: Vec::new(),
    };
    let mut warnings = match kind {
        Kind::Source => vec![format!("the log of source {name} is deleted with it")],
        Kind::Pipeline => {
            vec![format!("the log of pipeline {name} is deleted with it; what is in the target stays there")]
        }
        Kind::Target => Vec::new(),
    };
    if !dry_run {
        manager.store().delete_document(kind, name, Some(stored.version)).await?;
        if let Err(error) = manager.reconcile().await {
            warnings.push(format!("the document is deleted; its tasks are not yet: {}", chain(&error)));
        }
    }
    Ok(Applied { applied: !dry_run, changes: vec![change], warnings })
}

/// What the documents would be; a name may not change its kind.
fn merge(existing: &Documents, incoming: &[Document]) -> Result<Documents, ManagerError> {
    let mut merged = existing.clone();
    for document in incoming {
        let name = document.name.to_string();
        if let Some(other) = existing.all.get(&name).filter(|d| d.document.kind() != document.kind()) {
            return Err(ManagerError::Conflict(format!(
                "the name {name} is already that of a {}: names are unique over all kinds",
                other.document.kind()
            )));
        }
        let version = merged.all.get(&name).map_or(lutra_coordination::Version(0), |d| d.version);
        merged.all.insert(name, StoredDocument { document: document.clone(), version });
    }
    Ok(merged)
}

/// The applied documents by name, with the places of everything in them.
type Places = BTreeMap<String, Located>;

/// Checks the documents against one another and compiles all rules; gives the warnings.
fn fits(documents: &Documents, places: &Places) -> Result<Vec<String>, ManagerError> {
    let findings = cross_check(&documents.plain());
    let (errors, warnings): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|f| f.severity == Severity::Error);
    if !errors.is_empty() {
        let placed = |finding: Finding| {
            let place = places.get(finding.document.as_str()).map(|d| d.place(&finding.path));
            PlacedFinding { line: place.map(|p| p.0), column: place.map(|p| p.1), finding }
        };
        return Err(ManagerError::Findings(errors.into_iter().map(placed).collect()));
    }
    let mut faults = Vec::new();
    for name in documents.names(Kind::Pipeline) {
        let compiled = documents.pipeline(name).map(Rules::compile);
        if let Some(Err(found)) = compiled {
            faults.extend(found.iter().map(|f| NamedFault::at(name, f.path(), f.to_string(), places)));
        }
    }
    if !faults.is_empty() {
        return Err(ManagerError::Rules(faults));
    }
    // Every document that is concerned has its own copy of it.
    let messages: BTreeSet<String> = warnings.into_iter().map(|f| f.message).collect();
    Ok(messages.into_iter().collect())
}

/// Why a server was not reached, without which one.
fn reason_of(told: &str) -> String {
    told.split_once(" was not checked: ").map_or(told, |(_, why)| why).to_owned()
}

/// What a source that is read already begins to capture now was not captured before.
fn captured_later(changes: &[DocumentChange], begun: &BTreeMap<TaskId, bool>) -> Vec<String> {
    let widened = |change: &&DocumentChange| {
        let tables = |d: &Difference| d.path == "spec.tables" || d.path == "spec.exclude";
        change.kind == Kind::Source.as_str()
            && change.action == Action::Update
            && change.differences.iter().any(tables)
            && begun.get(&TaskId::new(TaskKind::Extract, change.name.as_str())).copied().unwrap_or(false)
    };
    let told = |change: &DocumentChange| {
        format!(
            "source {}: tables that are captured from now on bring no rows that they have already; copy those into the targets \
             first, or give them to a pipeline with load: full",
            change.name
        )
    };
    changes.iter().filter(widened).map(told).collect()
}

/// Which logs have begun, by the task that writes them.
async fn begun(manager: &Manager) -> Result<BTreeMap<TaskId, bool>, ManagerError> {
    Ok(manager.store().tasks().await?.into_iter().map(|(id, task)| (id, task.value.begun)).collect())
}

/// What a running history stands on does not change: it would be read and ignored.
fn unmovable(existing: &Documents, incoming: &[Document], begun: &BTreeMap<TaskId, bool>) -> Result<(), ManagerError> {
    for document in incoming {
        let name = document.name.as_str();
        let has_begun = |kind| begun.get(&TaskId::new(kind, name)).copied().unwrap_or(false);
        let moved = match &document.spec {
            Spec::Source(new) if has_begun(TaskKind::Extract) => {
                existing.source(name).and_then(|old| source_moved(old, new))
            }
            Spec::Pipeline(new) if has_begun(TaskKind::Transform) => {
                existing.pipeline(name).and_then(|old| pipeline_moved(old, new))
            }
            _ => None,
        };
        if let Some(what) = moved {
            let kind = document.kind();
            return Err(ManagerError::Conflict(format!(
                "{kind} {name}: {what} cannot change once its log has begun; leave it as it was, or give the new {kind} a new name"
            )));
        }
    }
    Ok(())
}

fn source_moved(old: &SourceSpec, new: &SourceSpec) -> Option<&'static str> {
    match () {
        () if old.start != new.start => Some("start"),
        () if old.gtid != new.gtid => Some("gtid"),
        () => None,
    }
}

fn pipeline_moved(old: &PipelineSpec, new: &PipelineSpec) -> Option<&'static str> {
    match () {
        () if old.source != new.source => Some("source"),
        () if old.target != new.target => Some("target"),
        () if old.start != new.start => Some("start"),
        () => None,
    }
}

fn change(existing: &Documents, document: &Document) -> DocumentChange {
    let after = serde_json::to_value(document).unwrap_or_default();
    let before =
        existing.all.get(document.name.as_str()).map(|d| serde_json::to_value(&d.document).unwrap_or_default());
    let mut differences = Vec::new();
    let spec = |value: &Value| value.get("spec").cloned().unwrap_or_default();
    compare("spec", before.as_ref().map(spec).as_ref(), Some(&spec(&after)), &mut differences);
    let action = match &before {
        None => Action::Create,
        Some(_) if differences.is_empty() => Action::Unchanged,
        Some(_) => Action::Update,
    };
    DocumentChange { kind: document.kind().to_string(), name: document.name.to_string(), action, differences }
}

/// Walks two values; lists are compared as a whole.
fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, into: &mut Vec<Difference>) {
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            for key in keys {
                compare(&format!("{path}.{key}"), a.get(key), b.get(key), into);
            }
        }
        (None, Some(Value::Object(b))) => {
            for (key, value) in b {
                compare(&format!("{path}.{key}"), None, Some(value), into);
            }
        }
        (a, b) if a != b => into.push(Difference { path: path.to_owned(), before: a.cloned(), after: b.cloned() }),
        _ => {}
    }
}

/// Asks the servers of new and changed sources and targets. A server that is not fit is an error; one that cannot be
/// reached from here a warning, since its workers may reach it.
async fn ask_servers(
    documents: &Documents,
    incoming: &[Document],
    changes: &[DocumentChange],
    begun: &BTreeMap<TaskId, bool>,
) -> Result<Vec<String>, ManagerError> {
    let changed = incoming.iter().zip(changes).filter(|(_, c)| c.action != Action::Unchanged);
    let all = documents.plain();
    let all = all.as_slice();
    let asked = join_all(changed.map(|(document, _)| async move {
        let name = document.name.as_str();
        let has_begun = begun.get(&TaskId::new(TaskKind::Extract, name)).copied().unwrap_or(false);
        match &document.spec {
            Spec::Source(source) => Some(servers::source(name, source, has_begun).await),
            Spec::Target(target) => {
                let databases = target_databases(all, name).into_iter().collect();
                Some(servers::target(name, target, databases).await)
            }
            Spec::Pipeline(_) => None,
        }
    }))
    .await;
    let mut warnings = Vec::new();
    let mut failed: Vec<NamedCheck> = Vec::new();
    for answer in asked.into_iter().flatten() {
        match answer {
            Asked::Checks(checks) => failed.extend(checks.into_iter().filter(|c| !c.ok)),
            Asked::Unreachable(why) => warnings.push(why),
        }
    }
    if failed.is_empty() { Ok(warnings) } else { Err(ManagerError::Servers(failed)) }
}

/// Holds the rules of new and changed pipelines against the tables that their source and target have.
async fn hold_rules(
    documents: &Documents,
    changes: &[DocumentChange],
    places: &Places,
) -> Result<Vec<String>, ManagerError> {
    let (mut warnings, mut faults) = (Vec::new(), Vec::new());
    let changed = |name: &&str| changes.iter().any(|c| c.name == **name && c.action != Action::Unchanged);
    for name in documents.names(Kind::Pipeline).filter(changed) {
        let Some(pipeline) = documents.pipeline(name) else { continue };
        let source = documents.source(pipeline.source.as_str());
        let target = documents.target(pipeline.target.as_str());
        let (Some(source), Some(target), Ok(rules)) = (source, target, Rules::compile(pipeline)) else { continue };
        let (source, target) = ((pipeline.source.as_str(), source), (pipeline.target.as_str(), target));
        let found = catalogues::hold(pipeline, &rules, source, target).await;
        warnings.extend(found.warnings.into_iter().map(|warning| format!("pipeline {name}: {warning}")));
        faults.extend(found.faults.into_iter().map(|(route, message)| {
            NamedFault::at(name, route.map(|route| format!("spec.tables[{route}]")), message, places)
        }));
    }
    if faults.is_empty() { Ok(warnings) } else { Err(ManagerError::Rules(faults)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "kind: source\nname: s\nspec: {servers: [a], user: u, tables: ['*.*']}\n---\nkind: target\nname: t\nspec: {servers: [b], user: u}\n---\nkind: pipeline\nname: p\nspec: {source: s, target: t}\n";

    fn parsed(text: &str) -> Vec<Document> {
        lutra_spec::parse(text).unwrap().into_iter().map(|d| d.document).collect()
    }

    #[test]
    fn changes_are_told_value_by_value() {
        let existing = merge(&Documents::default(), &parsed(TEXT)).unwrap();
        let new = parsed(&TEXT.replace("source: s, target: t", "source: s, target: t, load: {connections: 8}"));
        let changes: Vec<DocumentChange> = new.iter().map(|d| change(&existing, d)).collect();
        assert_eq!(
            changes.iter().map(|c| c.action).collect::<Vec<_>>(),
            [Action::Unchanged, Action::Unchanged, Action::Update]
        );
        assert_eq!(changes[2].differences.len(), 1);
        assert_eq!(changes[2].differences[0].path, "spec.load.connections");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let pipeline = parsed("kind: pipeline\nname: p\nspec: {source: nowhere, target: t}");
        assert!(
            matches!(fits(&merge(&Documents::default(), &pipeline).unwrap(), &Places::new()), Err(ManagerError::Findings(f)) if f.len() == 2)
        );
        let existing = merge(&Documents::default(), &parsed(TEXT)).unwrap();
        assert!(matches!(
            merge(&existing, &parsed("kind: target\nname: s\nspec: {servers: [b], user: u}")),
            Err(ManagerError::Conflict(_))
        ));
        let faulty =
            parsed("kind: pipeline\nname: p\nspec: {source: s, target: t, tables: [{match: '*.*'}, {match: a.b}]}");
        assert!(
            matches!(fits(&merge(&existing, &faulty).unwrap(), &Places::new()), Err(ManagerError::Rules(f)) if f.len() == 1)
        );
    }

    #[test]
    fn the_start_of_a_log_that_has_begun_does_not_move() {
        let existing = merge(&Documents::default(), &parsed(TEXT)).unwrap();
        let moved = parsed(&TEXT.replace("tables: ['*.*']", "tables: ['*.*'], start: earliest"));
        let begun = BTreeMap::from([("extract/s".parse().unwrap(), true)]);
        assert!(unmovable(&existing, &moved, &begun).is_err());
        assert!(unmovable(&existing, &moved, &BTreeMap::new()).is_ok());
    }
}

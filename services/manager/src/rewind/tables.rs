//! What is loaded again for a pipeline: its tables, what stays beside them, and what forbids it.

use std::collections::BTreeSet;

use lutra_change::{TableName, TaskId, TaskKind};
use lutra_coordination::CopyState;
use lutra_mysql::sql::quote_table;
use lutra_mysql::{Connection, catalogue};
use lutra_rules::{DdlRoute, Rules, TableDecision};
use lutra_spec::{Kind, PipelineSpec, SourceSpec};
use lutra_wire::{Definition, DefinitionKind};

use crate::adopt::Reloaded;
use crate::documents::Documents;
use crate::error::{ManagerError, chain};
use crate::manager::Manager;
use crate::servers;

/// Tables that do not have all their rows yet.
const UNFINISHED: &str =
    "SELECT database_name, table_name FROM `lutra`.`load` WHERE task = ? AND state <> 'done' ORDER BY 1, 2";
/// Statements that wait for a person, or failed.
const OPEN: &str = "SELECT COUNT(*) FROM `lutra`.`ddl` WHERE task = ? AND state <> 'settled'";

/// Tables that a note names one by one.
const NAMED: usize = 20;

/// What is loaded again, and what a person must know of it.
pub(super) struct Found {
    pub(super) reloaded: Reloaded,
    pub(super) notes: Vec<String>,
}

/// Looks at source and target.
///
/// # Errors
/// [`ManagerError::Conflict`] where the pipeline's tables cannot be loaded again, with the way out; the servers'.
pub(super) async fn of(documents: &Documents, pipeline: &str) -> Result<Found, ManagerError> {
    let spec = documents.need_pipeline(pipeline)?;
    let source = documents.need_source(spec.source.as_str())?;
    ensure_loads(pipeline, spec, source)?;
    let rules = compiled(pipeline, spec)?;
    let fault = |kind, name: &str, source| ManagerError::Server { kind, name: name.to_owned(), source };
    let at_source = |error| fault("source", spec.source.as_str(), error);
    let mut connection = servers::connect(&source.connection()).await.map_err(|e| at_source(Box::new(e)))?;
    let tables = carried(&mut connection, source, &rules).await.map_err(|e| at_source(Box::new(e)))?;
    for (name, _) in &tables {
        ensure_removable(pipeline, &rules, name)?;
    }
    let targets: BTreeSet<TableName> = tables.into_iter().map(|(_, target)| target).collect();
    let mut notes = others(documents, pipeline, spec, &targets).await?;

    let name = spec.target.as_str();
    let target =
        documents.target(name).ok_or_else(|| ManagerError::NotFound { what: "target", name: name.to_owned() })?;
    let at_target = |error| fault("target", name, error);
    let mut connection = servers::connect(&target.connection()).await.map_err(|e| at_target(Box::new(e)))?;
    let there = catalogue::tables(&mut connection).await.map_err(|e| at_target(Box::new(e)))?;
    let kept: Vec<TableName> =
        there.into_iter().map(|table| table.name).filter(|name| stays(name, &targets, source, &rules)).collect();
    let task = TaskId::new(TaskKind::Load, pipeline).to_string();
    let open = connection.exec_query(OPEN, vec![task.as_str().into()]).await;
    let given_up = open.map_err(|e| at_target(Box::new(e)))?.first().and_then(|row| row.u64(0)).unwrap_or(0);
    if !kept.is_empty() {
        let mut named: Vec<String> = kept.iter().take(NAMED).map(ToString::to_string).collect();
        if kept.len() > NAMED {
            named.push(format!("{} more", kept.len() - NAMED));
        }
        notes.push(format!(
            "pipeline {pipeline}: the source has no table for {}: what is in the target under these names stays as it is; drop what \
             only the history that is left had",
            named.join(", ")
        ));
    }
    if given_up > 0 {
        notes.push(format!(
            "pipeline {pipeline}: {given_up} statement(s) that wait for a decision are given up, and what is parked behind them: the \
             tables are made as the source has them"
        ));
    }
    let text = |names: &mut dyn Iterator<Item = &TableName>| names.map(ToString::to_string).collect();
    let reloaded = Reloaded {
        pipeline: pipeline.to_owned(),
        tables: text(&mut targets.iter()),
        kept: text(&mut kept.iter()),
        given_up,
    };
    Ok(Found { reloaded, notes })
}

/// A pipeline that goes on at another place must hold its tables whole: chunks that are passed over never come.
///
/// # Errors
/// [`ManagerError::Conflict`] with the first table that is not; the servers'.
pub(super) async fn ensure_copied(
    manager: &Manager,
    documents: &Documents,
    pipeline: &str,
) -> Result<(), ManagerError> {
    let spec = documents.need_pipeline(pipeline)?;
    if spec.load.full.is_none() {
        return Ok(());
    }
    let source = documents.need_source(spec.source.as_str())?;
    let rules = compiled(pipeline, spec)?;
    let extract = TaskId::new(TaskKind::Extract, spec.source.as_str());
    let told = manager.store().copies(&extract).await?.remove(pipeline).unwrap_or_default();
    // Those that were given up by name stay as they are, wherever the log goes on.
    let given_up = |state| matches!(state, CopyState::Cancelled | CopyState::Gone | CopyState::Failed);
    let left: BTreeSet<TableName> = told
        .tables
        .iter()
        .filter(|table| given_up(table.state))
        .filter_map(|table| table.table.split_once('.'))
        .filter_map(|(database, table)| target_of(&TableName::new(database, table), source, &rules))
        .collect();
    let name = spec.target.as_str();
    let target =
        documents.target(name).ok_or_else(|| ManagerError::NotFound { what: "target", name: name.to_owned() })?;
    let fault = |source| ManagerError::Server { kind: "target", name: name.to_owned(), source };
    let mut connection = servers::connect(&target.connection()).await.map_err(|e| fault(Box::new(e)))?;
    let task = TaskId::new(TaskKind::Load, pipeline).to_string();
    let rows = match connection.exec_query(UNFINISHED, vec![task.as_str().into()]).await {
        Ok(rows) => rows,
        // Nothing was ever copied into it.
        Err(e) if e.kind() == lutra_mysql::ErrorKind::NoSuchTable => Vec::new(),
        Err(e) => return Err(fault(Box::new(e))),
    };
    let mut unfinished = rows.iter().map(|row| TableName::new(row.string(0), row.string(1)));
    match unfinished.find(|table| !left.contains(table)) {
        Some(table) => Err(ManagerError::Conflict(format!(
            "pipeline {pipeline} is still copying {table}, and what is passed over of its copy would be missing. Wait until the load is \
             done (`lutra status {pipeline}`), or cancel it (`lutra load cancel {table}`) and restart it behind the place"
        ))),
        None => Ok(()),
    }
}

/// The document says how tables are loaded; and a load needs GTIDs.
fn ensure_loads(pipeline: &str, spec: &PipelineSpec, source: &SourceSpec) -> Result<(), ManagerError> {
    if spec.load.full.is_none() {
        return Err(ManagerError::Conflict(format!(
            "pipeline {pipeline} has no `load: full` by which its tables could be loaded again: add it to its document and apply that; \
             or delete the pipeline, empty its tables, and load them by other means under a pipeline of another name"
        )));
    }
    if !source.gtid {
        return Err(ManagerError::Conflict(format!(
            "pipeline {pipeline} cannot load its tables again: that needs GTIDs at source {} (gtid_mode = ON, no `gtid: false`)",
            spec.source
        )));
    }
    Ok(())
}

fn compiled(pipeline: &str, spec: &PipelineSpec) -> Result<Rules, ManagerError> {
    Rules::compile(spec).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        ManagerError::Conflict(format!("the rules of pipeline {pipeline} cannot be used: {}", faults.join("; ")))
    })
}

/// The tables that are captured and carried, each with its name in the target.
async fn carried(
    connection: &mut Connection,
    source: &SourceSpec,
    rules: &Rules,
) -> lutra_mysql::Result<Vec<(TableName, TableName)>> {
    let tables = catalogue::tables(connection).await?.into_iter().map(|table| table.name);
    Ok(tables.filter_map(|name| target_of(&name, source, rules).map(|target| (name, target))).collect())
}

fn target_of(name: &TableName, source: &SourceSpec, rules: &Rules) -> Option<TableName> {
    let decision = source.captures(&name.database, &name.table).then(|| rules.table(name).ok()).flatten()?;
    match decision {
        TableDecision::Drop => None,
        TableDecision::Pass => Some(name.clone()),
        TableDecision::Map(mapping) => Some(mapping.to),
    }
}

/// A table of the target that is not loaded again, and is or may have been the pipeline's.
fn stays(name: &TableName, loaded: &BTreeSet<TableName>, source: &SourceSpec, rules: &Rules) -> bool {
    if name.database == "lutra" || loaded.contains(name) {
        return false;
    }
    loaded.iter().any(|table| table.database == name.database)
        || target_of(name, source, rules).is_some_and(|target| target == *name)
}

/// The rules must let the statement through that removes a table before it is made anew.
fn ensure_removable(pipeline: &str, rules: &Rules, name: &TableName) -> Result<(), ManagerError> {
    let removal = Definition {
        kind: DefinitionKind::Removal,
        database: name.database.clone(),
        tables: vec![(name.database.clone(), name.table.clone())],
        statement: format!("DROP TABLE IF EXISTS {}", quote_table(name)),
        context: Definition::session(),
    };
    let why = match rules.route_ddl(&removal.to_ddl()) {
        Ok(DdlRoute::Pass | DdlRoute::Rewritten(_)) => return Ok(()),
        Ok(DdlRoute::Left(_)) => "the rules leave out its definition (`ddl: ignore`)".to_owned(),
        Err(fault) => fault.to_string(),
    };
    Err(ManagerError::Conflict(format!(
        "pipeline {pipeline} cannot load {name} again: {why}, so that it cannot be made anew in the target. Change the rules for as \
         long as it takes; or delete the pipeline, empty its tables, and load them under a pipeline of another name"
    )))
}

/// Other pipelines that write the same target: none may share a table, whose rows would go with it.
async fn others(
    documents: &Documents,
    pipeline: &str,
    spec: &PipelineSpec,
    targets: &BTreeSet<TableName>,
) -> Result<Vec<String>, ManagerError> {
    let mut notes = Vec::new();
    for other in documents.names(Kind::Pipeline).filter(|name| *name != pipeline) {
        let Some(theirs) = documents.pipeline(other).filter(|theirs| theirs.target == spec.target) else { continue };
        let Some(source) = documents.source(theirs.source.as_str()) else { continue };
        let rules = compiled(other, theirs)?;
        let asked = match servers::connect(&source.connection()).await {
            Ok(mut connection) => carried(&mut connection, source, &rules).await.map_err(|e| chain(&e)),
            Err(error) => Err(chain(&error)),
        };
        match asked {
            Ok(tables) => {
                if let Some((_, shared)) = tables.iter().find(|(_, target)| targets.contains(target)) {
                    return Err(ManagerError::Conflict(format!(
                        "pipeline {pipeline} cannot load its tables again: pipeline {other} writes {shared}, too, and what it wrote \
                         would go. Delete one of them, and load its tables under a pipeline of another name"
                    )));
                }
            }
            Err(error) => notes.push(format!(
                "whether pipeline {other} writes tables that are loaded again is not known: source {} cannot be asked ({error})",
                theirs.source
            )),
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_spec::Spec;

    use super::*;

    fn documents(pipeline: &str) -> (SourceSpec, PipelineSpec) {
        let text = format!(
            "kind: source\nname: s\nspec: {{servers: [localhost], user: u, tables: ['a.*']}}\n---\n\
             kind: pipeline\nname: p\nspec: {{source: s, target: t{pipeline}}}\n"
        );
        let mut specs = lutra_spec::parse(&text).unwrap().into_iter().map(|d| d.document.spec);
        match (specs.next(), specs.next()) {
            (Some(Spec::Source(source)), Some(Spec::Pipeline(pipeline))) => (source, pipeline),
            _ => panic!("not what was written"),
        }
    }

    #[test]
    fn a_pipeline_without_a_full_load_is_refused_with_the_way_out() {
        let (source, pipeline) = documents("");
        let error = ensure_loads("p", &pipeline, &source).unwrap_err().to_string();
        assert!(
            error.contains("pipeline p has no `load: full`") && error.contains("add it to its document"),
            "{error}"
        );
        let (source, pipeline) = documents(", load: full");
        ensure_loads("p", &pipeline, &source).unwrap();
    }

    #[test]
    fn a_table_whose_definitions_are_ignored_is_refused() {
        let name = TableName::new("a", "x");
        let of = |more: &str| {
            let (_, pipeline) = documents(more);
            ensure_removable("p", &compiled("p", &pipeline).unwrap(), &name).map_err(|error| error.to_string())
        };
        assert_eq!(of(""), Ok(()));
        let error = of(", ddl: ignore").unwrap_err();
        assert!(error.contains("cannot load a.x again") && error.contains("`ddl: ignore`"), "{error}");
    }

    #[test]
    fn tables_that_only_the_target_has_are_named() {
        let (source, pipeline) = documents(", tables: [{match: 'a.*', to: 'b.$1'}]");
        let rules = compiled("p", &pipeline).unwrap();
        let loaded: BTreeSet<TableName> = [TableName::new("b", "x")].into();
        let stays = |database: &str, table: &str| stays(&TableName::new(database, table), &loaded, &source, &rules);
        assert!(stays("b", "only_here"));
        assert!(!stays("b", "x") && !stays("lutra", "slot") && !stays("other", "y"));
    }
}

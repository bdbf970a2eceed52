//! Full loads: what pipelines want copied, told to the owners of their sources; and how far they have come (P12).

use std::collections::BTreeMap;

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{CopyState, LoadProgress, LoadRequest, TableWish, Wish};
use lutra_spec::{Kind, PipelineSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;

/// How a table's copy does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoadView {
    /// The table at the source.
    pub table: String,
    /// WAITING, COPYING, STARVING, PAUSED, APPLYING (all in the log, not yet in the target), DONE, CANCELLED, GONE, FAILED.
    pub state: String,
    /// Rows in the log.
    pub rows: u64,
    /// Rows that the source thinks it has.
    pub estimate: u64,
    /// How much of the estimate is in the log.
    pub percent: u64,
    /// Seconds until the rest is, at the rate of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a load command did.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoadCommanded {
    /// The pipeline.
    pub pipeline: String,
    /// The table, where one was named.
    pub table: Option<String>,
    /// What is wanted now.
    pub wish: String,
}

/// Tells the owners of sources what is wanted; how many requests changed.
pub(crate) async fn reconcile(manager: &Manager, documents: &Documents) -> Result<u32, ManagerError> {
    let store = manager.store();
    let mut changes = 0;
    for source in documents.names(Kind::Source) {
        let task = TaskId::new(TaskKind::Extract, source);
        let known = store.load_requests(&task).await?;
        let wanted: BTreeMap<String, &PipelineSpec> = documents
            .names(Kind::Pipeline)
            .filter_map(|name| documents.pipeline(name).map(|spec| (name.to_owned(), spec)))
            .filter(|(_, spec)| spec.source.as_str() == source && spec.load.full.is_some())
            .collect();
        for name in known.keys().filter(|name| !wanted.contains_key(*name)) {
            changes += u32::from(store.delete_load_request(&task, name).await?);
        }
        for (name, spec) in wanted {
            let stored = store.load_request(&task, &name).await?;
            let version = stored.as_ref().map(|stored| stored.version);
            let request = match stored {
                Some(stored) if stored.value.pipeline == *spec => continue,
                Some(stored) => LoadRequest { pipeline: spec.clone(), ..stored.value },
                None => {
                    LoadRequest { id: Uuid::new_v4(), pipeline: spec.clone(), wish: Wish::Run, tables: BTreeMap::new() }
                }
            };
            store.put_load_request(&task, &name, &request, version).await?;
            changes += 1;
        }
    }
    Ok(changes)
}

/// Pauses, resumes, cancels or restarts a load, or the copy of one table.
pub(crate) async fn command(
    manager: &Manager,
    pipeline: &str,
    command: &str,
    table: Option<String>,
) -> Result<LoadCommanded, ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    let source = TaskId::new(TaskKind::Extract, documents.need_pipeline(pipeline)?.source.as_str());
    let stored = manager.store().load_request(&source, pipeline).await?;
    let stored = stored.ok_or_else(|| {
        ManagerError::Conflict(format!(
            "pipeline {pipeline} copies nothing: it has no `load: full`, or asks in a moment"
        ))
    })?;
    if let Some(name) = table.as_ref().filter(|name| !name.contains('.')) {
        return Err(ManagerError::Invalid(format!("{name:?} is no table: write DATABASE.TABLE")));
    }
    let mut request = stored.value;
    match (command, &table) {
        ("restart", None) => {
            return Err(ManagerError::Invalid("restart needs a table: its copy in the target is made anew".to_owned()));
        }
        ("restart", Some(name)) => {
            let progress = manager.store().copies(&source).await?.remove(pipeline);
            let reached =
                progress.iter().flat_map(|p| &p.tables).find(|t| t.table == *name).map_or(0, |t| t.generation);
            let wish = request.tables.entry(name.clone()).or_default();
            *wish = TableWish { generation: wish.generation.max(reached) + 1, wish: Wish::Run };
        }
        (word, table) => {
            let wish = match word {
                "pause" => Wish::Pause,
                "resume" => Wish::Run,
                "cancel" => Wish::Cancel,
                other => {
                    return Err(ManagerError::Invalid(format!(
                        "{other:?} is no command: pause, resume, cancel, restart"
                    )));
                }
            };
            match table {
                Some(name) => request.tables.entry(name.clone()).or_default().wish = wish,
                None => request.wish = wish,
            }
        }
    }
    manager.store().put_load_request(&source, pipeline, &request, Some(stored.version)).await?;
    Ok(LoadCommanded { pipeline: pipeline.to_owned(), table, wish: command.to_owned() })
}

/// What is shown of a load. `measured` is what the pipeline's loader says.
pub(crate) fn views(progress: &LoadProgress, spec: &PipelineSpec, measured: Option<&Value>) -> Vec<LoadView> {
    let rules = lutra_rules::Rules::compile(spec).ok();
    let applied = |table: &lutra_coordination::TableProgress| {
        let (database, name) = table.table.split_once('.')?;
        let name = lutra_change::TableName::new(database, name);
        let target = match rules.as_ref()?.table(&name).ok()? {
            lutra_rules::TableDecision::Map(mapping) => mapping.to.to_string(),
            _ => name.to_string(),
        };
        let copy = measured?.get("copies")?.get(&target)?;
        let same = copy.get("generation").and_then(Value::as_u64) == Some(u64::from(table.generation));
        Some(same && copy.get("state")?.as_str()? == "done")
    };
    let left: u64 =
        progress.tables.iter().filter(|t| !t.state.is_over()).map(|t| t.estimate.saturating_sub(t.rows)).sum();
    let eta = (progress.rows_per_second > 0 && left > 0).then(|| left / progress.rows_per_second);
    let view = |table: &lutra_coordination::TableProgress| {
        let state = match table.state {
            CopyState::Done if applied(table) != Some(true) => "APPLYING".to_owned(),
            state => format!("{state:?}").to_uppercase(),
        };
        let percent = match table.state {
            CopyState::Done => 100,
            _ if table.estimate == 0 => 0,
            _ => (table.rows.saturating_mul(100) / table.estimate).min(99),
        };
        LoadView {
            table: table.table.clone(),
            rows: table.rows,
            estimate: table.estimate,
            percent,
            eta_seconds: eta.filter(|_| !table.state.is_over()),
            note: table.note.clone(),
            state,
        }
    };
    progress.tables.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_coordination::TableProgress;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_done_when_the_target_has_it() {
        let text =
            "kind: pipeline\nname: p\nspec: {source: s, target: t, load: full, tables: [{match: 'a.*', to: 'b.$1'}]}\n";
        let document = lutra_spec::parse(text).unwrap().remove(0).document;
        let lutra_spec::Spec::Pipeline(spec) = document.spec else { panic!("no pipeline") };
        let table = |name: &str, state, rows| TableProgress {
            table: name.to_owned(),
            state,
            rows,
            estimate: 200,
            ..TableProgress::default()
        };
        let tables = vec![table("a.x", CopyState::Done, 10), table("a.y", CopyState::Copying, 50)];
        let progress = LoadProgress { tables, rows_per_second: 10, ..LoadProgress::default() };
        let seen = |state: &str| {
            let measured = json!({"copies": {"b.x": {"state": state, "generation": 0}}});
            let views = views(&progress, &spec, Some(&measured));
            (views[0].state.clone(), views[1].percent, views[1].eta_seconds)
        };
        assert_eq!(seen("copying"), ("APPLYING".to_owned(), 25, Some(15)));
        assert_eq!(seen("done").0, "DONE");
    }
}

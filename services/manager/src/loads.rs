//! Full loads: what pipelines want copied, told to the owners of their sources; and how far they have come (P12).

use std::collections::{BTreeMap, BTreeSet};

use lutra_change::{TableName, TaskId, TaskKind};
use lutra_coordination::{ClusterSnapshot, CopyState, LoadProgress, LoadRequest, ObservedState, TableWish, Wish};
use lutra_mysql::sql::quote_text;
use lutra_mysql::{Connection, Flavour};
use lutra_rules::{Rules, TableDecision};
use lutra_spec::{Kind, PipelineSpec, SourceSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::documents::Documents;
use crate::error::{ManagerError, chain};
use crate::manager::Manager;
use crate::servers;

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

/// What telling the owners of sources came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Requests that changed.
    pub(crate) changes: u32,
    /// Tables that are to be loaded again wait for runs that go on under an older definition.
    pub(crate) waits: bool,
}

/// Tells the owners of sources what is wanted. What pipelines that go have asked for goes too.
pub(crate) async fn reconcile(
    manager: &Manager,
    documents: &Documents,
    leaving: &BTreeSet<TaskId>,
    cluster: &ClusterSnapshot,
) -> Result<Told, ManagerError> {
    let store = manager.store();
    let mut told = Told::default();
    for source in documents.names(Kind::Source) {
        let task = TaskId::new(TaskKind::Extract, source);
        let known = store.load_requests(&task).await?;
        let wanted: BTreeMap<String, &PipelineSpec> = documents
            .names(Kind::Pipeline)
            .filter_map(|name| documents.pipeline(name).map(|spec| (name.to_owned(), spec)))
            .filter(|(_, spec)| spec.source.as_str() == source && spec.load.full.is_some())
            .filter(|(name, _)| !leaving.contains(&TaskId::new(TaskKind::Load, name)))
            .collect();
        for name in known.keys().filter(|name| !wanted.contains_key(*name)) {
            told.changes += u32::from(store.delete_load_request(&task, name).await?);
        }
        for (name, spec) in wanted {
            let stored = store.load_request(&task, &name).await?;
            let version = stored.as_ref().map(|stored| stored.version);
            let stored = stored.map(|stored| stored.value);
            let again = asked_again(cluster, &name).filter(|id| stored.as_ref().is_none_or(|s| s.id != *id));
            if again.is_some() && runs_older(cluster, &task, &name) {
                told.waits = true;
                continue;
            }
            let Some(request) = wanted_request(stored, spec, again) else { continue };
            store.put_load_request(&task, &name, &request, version).await?;
            told.changes += 1;
        }
    }
    Ok(told)
}

/// The load by which a pipeline whose log has not begun makes its tables anew (`lutra rewind --reload`).
fn asked_again(cluster: &ClusterSnapshot, pipeline: &str) -> Option<Uuid> {
    let writer = &cluster.tasks.get(&TaskId::new(TaskKind::Transform, pipeline))?.value;
    writer.adopt.as_ref().filter(|_| !writer.begun)?.load
}

/// Whether what is told of a load is of the one that is wanted: not where its tables are to be loaded again by another.
pub(crate) fn is_current(cluster: &ClusterSnapshot, pipeline: &str, progress: &LoadProgress) -> bool {
    asked_again(cluster, pipeline).is_none_or(|id| id == progress.id)
}

/// Whether the source's reader or the pipeline's loader still runs under an older definition. The one would make the tables in
/// a log that is left; the other would go on in its old log, past the unit that makes them.
fn runs_older(cluster: &ClusterSnapshot, source: &TaskId, pipeline: &str) -> bool {
    let works = |state| matches!(state, ObservedState::Assigned | ObservedState::Running | ObservedState::Recovering);
    [source, &TaskId::new(TaskKind::Load, pipeline)].into_iter().any(|task| {
        let wanted = cluster.tasks.get(task).map_or(0, |task| task.value.spec_version);
        let run = cluster.running.get(task).map(|run| &run.value);
        run.is_some_and(|run| works(run.state) && run.spec_version < wanted)
    })
}

/// What is to be asked for; none where that is asked for already.
fn wanted_request(stored: Option<LoadRequest>, spec: &PipelineSpec, again: Option<Uuid>) -> Option<LoadRequest> {
    let fresh = |id, again| LoadRequest { id, pipeline: spec.clone(), wish: Wish::Run, tables: BTreeMap::new(), again };
    match (again, stored) {
        (Some(id), _) => Some(fresh(id, true)),
        (None, Some(stored)) if stored.pipeline == *spec => None,
        (None, Some(stored)) => Some(LoadRequest { pipeline: spec.clone(), ..stored }),
        (None, None) => Some(fresh(Uuid::new_v4(), false)),
    }
}

/// What a person should know of the full loads that begin or change now: the pipelines of `changed` that copy.
///
/// # Errors
/// [`ManagerError::Conflict`] where a source cannot be copied at all.
pub(crate) async fn examine(documents: &Documents, changed: &[&str]) -> Result<Vec<String>, ManagerError> {
    let mut warnings = Vec::new();
    for name in changed {
        let Some(pipeline) = documents.pipeline(name) else { continue };
        let (Some(full), Some(source)) = (&pipeline.load.full, documents.source(pipeline.source.as_str())) else {
            continue;
        };
        if !source.gtid {
            return Err(ManagerError::Conflict(format!(
                "pipeline {name}: load: full needs GTIDs at source {}: set gtid_mode = ON there and leave out `gtid: false`, or \
                 load the target otherwise and leave out `full`",
                pipeline.source
            )));
        }
        // That it cannot be asked from here is told by the checks.
        let Ok(mut connection) = servers::connect(&source.connection()).await else { continue };
        match look(&mut connection, source, pipeline, full.objects).await {
            Ok(found) => warnings.extend(found.into_iter().map(|text| format!("pipeline {name}: {text}"))),
            Err(error) => warnings.push(format!("pipeline {name}: its load is not looked at: {}", chain(&error))),
        }
    }
    Ok(warnings)
}

async fn look(
    connection: &mut Connection,
    source: &SourceSpec,
    pipeline: &PipelineSpec,
    objects: bool,
) -> lutra_mysql::Result<Vec<String>> {
    const CASCADES: &str = "SELECT DISTINCT constraint_schema, table_name, unique_constraint_schema, referenced_table_name, update_rule \
         FROM information_schema.referential_constraints WHERE update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') ORDER BY 1, 2";
    let Ok(rules) = Rules::compile(pipeline) else { return Ok(Vec::new()) };
    let carried = |name: &TableName| {
        source.captures(&name.database, &name.table) && !matches!(rules.table(name), Ok(TableDecision::Drop) | Err(_))
    };
    let mut warnings = Vec::new();
    // Servers that have the switch, and have it off, log what foreign keys do.
    let logged = connection.query_first("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'").await?;
    if logged.is_none_or(|row| row.string(1) != "OFF") {
        let rows = connection.query(CASCADES).await?;
        let keys = rows.iter().filter(|row| carried(&TableName::new(row.string(0), row.string(1))));
        let named: Vec<String> = keys
            .map(|row| {
                format!(
                    "{}.{} -> {}.{} ({})",
                    row.string(0),
                    row.string(1),
                    row.string(2),
                    row.string(3),
                    row.string(4)
                )
            })
            .collect();
        if !named.is_empty() {
            warnings.push(format!(
                "while a table is copied, a change of its parent's key is not carried into rows that are in the target already \
                 (this server's binlog does not hold what foreign keys change): leave the keys of the parents alone until the load \
                 is done, or restart the table's load behind such a change: {}",
                named.join(", ")
            ));
        }
    }
    if objects {
        let mut databases: Vec<String> = Vec::new();
        for table in lutra_mysql::catalogue::tables(connection).await? {
            if carried(&table.name) && !databases.contains(&table.name.database) {
                databases.push(table.name.database);
            }
        }
        for database in databases {
            let lacking = lacking(connection, &database).await?;
            if !lacking.is_empty() {
                warnings.push(format!(
                    "the account of source {} does not see everything that lives beside the tables of {database}, and what it does not \
                     see is not made in the target; it lacks {}. Grant that, or say `objects: false`",
                    pipeline.source,
                    lacking.join(", ")
                ));
            }
        }
    }
    Ok(warnings)
}

/// What the account lacks to see the views, routines, triggers and events of a database. (What it has by a role is not
/// counted.)
async fn lacking(connection: &mut Connection, database: &str) -> lutra_mysql::Result<Vec<String>> {
    let own = "grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
    let sql = format!(
        "SELECT privilege_type FROM information_schema.user_privileges WHERE {own} UNION \
         SELECT CONCAT('here ', privilege_type) FROM information_schema.schema_privileges WHERE {own} AND {} LIKE table_schema",
        quote_text(database)
    );
    let has: Vec<String> = connection.query(sql).await?.iter().map(|row| row.string(0)).collect();
    let flavour = connection.flavour().await?;
    let anywhere = |privilege: &str| has.iter().any(|p| p == privilege);
    let here = |privilege: &str| anywhere(privilege) || has.iter().any(|p| *p == format!("here {privilege}"));
    let mut lacking: Vec<String> =
        ["SHOW VIEW", "TRIGGER", "EVENT"].iter().filter(|p| !here(p)).map(|p| format!("{p} ON {database}.*")).collect();
    let routines = match flavour {
        Flavour::MySql => ("SHOW_ROUTINE ON *.*", anywhere("SHOW_ROUTINE") || anywhere("SELECT")),
        Flavour::MariaDb => ("SELECT ON mysql.proc", here("SHOW CREATE ROUTINE") || anywhere("SELECT")),
    };
    if !routines.1 && (!flavour.is_mariadb() || connection.query("SELECT 1 FROM mysql.proc LIMIT 0").await.is_err()) {
        lacking.push(routines.0.to_owned());
    }
    Ok(lacking)
}

/// Pauses, resumes, cancels or restarts a load, or the copy of one table.
pub(crate) async fn command(
    manager: &Manager,
    pipeline: &str,
    command: &str,
    table: Option<String>,
) -> Result<LoadCommanded, ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    let spec = documents.need_pipeline(pipeline)?;
    let captured = documents.need_source(spec.source.as_str())?;
    let source = TaskId::new(TaskKind::Extract, spec.source.as_str());
    let stored = manager.store().load_request(&source, pipeline).await?;
    let stored = stored.ok_or_else(|| {
        ManagerError::Conflict(format!(
            "pipeline {pipeline} copies nothing: it has no `load: full`, or asks in a moment"
        ))
    })?;
    let progress = manager.store().copies(&source).await?.remove(pipeline);
    if let Some(name) = &table {
        let known = progress.iter().flat_map(|p| &p.tables).any(|t| t.table == *name);
        ensure_table(name, command, known, captured, spec)?;
    }
    let mut request = stored.value;
    match (command, &table) {
        ("restart", None) => {
            return Err(ManagerError::Invalid("restart needs a table: its copy in the target is made anew".to_owned()));
        }
        ("restart", Some(name)) => {
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

/// A command names a table that the pipeline carries; only a restart may name one that was never in the load.
fn ensure_table(
    name: &str,
    command: &str,
    known: bool,
    source: &SourceSpec,
    pipeline: &PipelineSpec,
) -> Result<(), ManagerError> {
    let Some((database, table)) = name.split_once('.') else {
        return Err(ManagerError::Invalid(format!("{name:?} is no table: write DATABASE.TABLE")));
    };
    if known && command != "restart" {
        return Ok(());
    }
    if !source.captures(database, table) {
        let reason = format!("source {} does not capture {name}: add it to its `tables` first", pipeline.source);
        return Err(ManagerError::Conflict(reason));
    }
    let carried = Rules::compile(pipeline).ok().and_then(|rules| {
        let decision = rules.table(&TableName::new(database, table)).ok()?;
        Some(!matches!(decision, TableDecision::Drop))
    });
    if carried != Some(true) {
        return Err(ManagerError::Conflict(format!("the pipeline does not carry {name}: no route of it leads there")));
    }
    if command != "restart" {
        return Err(ManagerError::Conflict(format!(
            "{name} is not in the load: `lutra load restart {name}` copies it"
        )));
    }
    Ok(())
}

/// What is shown of a load. `measured` is what the pipeline's loader says.
pub(crate) fn views(progress: &LoadProgress, spec: &PipelineSpec, measured: Option<&Value>) -> Vec<LoadView> {
    let rules = Rules::compile(spec).ok();
    let applied = |table: &lutra_coordination::TableProgress| {
        let (database, name) = table.table.split_once('.')?;
        let name = TableName::new(database, name);
        let target = match rules.as_ref()?.table(&name).ok()? {
            TableDecision::Map(mapping) => mapping.to.to_string(),
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
    use lutra_coordination::{RunningStatus, Stored, TableProgress, TaskDefinition, Version, WorkerKey};
    use lutra_spec::Spec;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_done_when_the_target_has_it() {
        let text =
            "kind: pipeline\nname: p\nspec: {source: s, target: t, load: full, tables: [{match: 'a.*', to: 'b.$1'}]}\n";
        let document = lutra_spec::parse(text).unwrap().remove(0).document;
        let Spec::Pipeline(spec) = document.spec else { panic!("no pipeline") };
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

    #[test]
    fn a_load_that_begins_again_has_its_own_id_until_its_log_has_begun() {
        let text = "kind: pipeline\nname: p\nspec: {source: s, target: t, load: full}\n";
        let Spec::Pipeline(spec) = lutra_spec::parse(text).unwrap().remove(0).document.spec else {
            panic!("no pipeline")
        };
        let [first, again] = [1, 2].map(Uuid::from_u128);
        let stored = LoadRequest { id: first, ..wanted_request(None, &spec, None).unwrap() };
        assert!(!stored.again);
        assert_eq!(wanted_request(Some(stored.clone()), &spec, None), None);
        let request = wanted_request(Some(stored), &spec, Some(again)).unwrap();
        assert_eq!((request.id, request.again), (again, true));
        // Another specification changes neither.
        let mut other = spec.clone();
        other.start = lutra_spec::PipelineStart::Time(5);
        let changed = wanted_request(Some(request), &other, None).unwrap();
        assert_eq!((changed.id, changed.again, changed.pipeline == other), (again, true, true));

        let mut cluster = ClusterSnapshot::default();
        let mut task = |kind, definition: &TaskDefinition| {
            let value = definition.clone();
            let stored = Stored { value, version: Version(0), czxid: 1, owner: 0, created_at: 0, changed_at: 0 };
            cluster.tasks.insert(TaskId::new(kind, "p"), stored);
        };
        let mut definition = TaskDefinition { spec_version: 2, ..TaskDefinition::new(Uuid::nil()) };
        definition.adopt = Some(lutra_coordination::Adoption {
            number: lutra_change::Number::new(7, 0),
            source_uuid: Uuid::nil(),
            gtid_set: lutra_change::GtidSet::new(),
            position: None,
            committed_at: 0,
            load: Some(again),
        });
        task(TaskKind::Load, &definition);
        task(TaskKind::Transform, &definition);
        assert_eq!(asked_again(&cluster, "p"), Some(again));
        definition.begun = true;
        cluster.tasks.get_mut(&TaskId::new(TaskKind::Transform, "p")).unwrap().value = definition;
        assert_eq!(asked_again(&cluster, "p"), None, "what was asked for is done");
        // A loader that still reads the old log would go past the unit that makes the tables.
        let source = TaskId::new(TaskKind::Extract, "s");
        assert!(!runs_older(&cluster, &source, "p"), "nothing runs");
        for (state, spec_version, older) in
            [(ObservedState::Running, 1, true), (ObservedState::Running, 2, false), (ObservedState::Paused, 1, false)]
        {
            let value = RunningStatus {
                worker: WorkerKey::new("loader", "a"),
                home: Uuid::nil(),
                state,
                epoch: lutra_change::Epoch::new(1, 1),
                spec_version,
                detail: Value::Null,
            };
            let stored = Stored { value, version: Version(0), czxid: 1, owner: 0, created_at: 0, changed_at: 0 };
            cluster.running.insert(TaskId::new(TaskKind::Load, "p"), stored);
            assert_eq!(runs_older(&cluster, &source, "p"), older, "{state} {spec_version}");
        }
    }

    #[test]
    fn only_a_restart_brings_a_table_into_the_load_and_only_one_that_is_carried() {
        let text = "kind: source\nname: s\nspec: {servers: [localhost], user: u, password: '${env:P}', tables: ['a.*', 'b.*']}\n---\n\
                    kind: pipeline\nname: p\nspec: {source: s, target: t, load: full, tables: [{match: 'a.*'}]}\n";
        let mut specs = lutra_spec::parse(text).unwrap().into_iter().map(|d| d.document.spec);
        let (Some(Spec::Source(source)), Some(Spec::Pipeline(pipeline))) = (specs.next(), specs.next()) else {
            panic!("not what was written")
        };
        let of = |name: &str, command: &str, known| {
            ensure_table(name, command, known, &source, &pipeline).err().map(|error| error.to_string())
        };
        assert_eq!(of("a.x", "restart", false), None);
        assert_eq!(of("a.x", "pause", true), None);
        for (name, command, words) in [
            ("x", "restart", "DATABASE.TABLE"),
            ("a.x", "pause", "lutra load restart a.x"),
            ("b.x", "restart", "no route"),
            ("c.x", "restart", "does not capture c.x"),
        ] {
            let error = of(name, command, false).unwrap();
            assert!(error.contains(words), "{error}");
        }
    }
}

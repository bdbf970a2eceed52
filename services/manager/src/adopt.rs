//! A log that was lost is continued by a new one, from what the target has (P8, P9). What a new log takes is here for
//! [`rewind`](crate::rewind), too, which begins it at a place that a person chose.

use std::collections::BTreeMap;

use lutra_change::{BinlogPosition, LogId, Number, TaskId, TaskKind};
use lutra_coordination::{Adoption, ClusterSnapshot, DesiredState, LogRef, TaskDefinition};
use lutra_mysql::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::servers;
use crate::status::task_ids;

/// A checkpoint is the row of the highest number; the term is the highest of any row of the task.
const CHECKPOINT: &str = "SELECT sequence, sub, source_uuid, gtid_set, binlog_file, binlog_position, source_committed_at, \
     (SELECT MAX(term) FROM `lutra`.`slot` WHERE task = ?), log_id, next_offset FROM `lutra`.`slot` WHERE task = ? \
     ORDER BY sequence DESC, sub DESC LIMIT 1";

/// What an adoption, or a rewinding, did or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    /// Whether it was done; false for a dry run.
    pub applied: bool,
    /// The logs that are made anew.
    pub logs: Vec<AdoptedLog>,
    /// The pipelines whose tables are loaded again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reloads: Vec<Reloaded>,
    /// What a person must know of it: what is passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A log that is made anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdoptedLog {
    /// The task that writes it.
    pub task: String,
    /// The topic that it had; left as it is, delete it when you no longer need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_topic: Option<String>,
    /// The topic that it gets.
    pub new_topic: String,
    /// The number behind which it goes on.
    pub number: String,
    /// What of the source is behind it.
    pub gtid_set: String,
    /// Its place in the source's binlog, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// It does not go on there: it begins with the unit that makes the pipeline's tables anew.
    #[serde(default)]
    pub reload: bool,
    /// The least term of its epochs from now on.
    pub epoch_floor: u64,
}

/// A pipeline whose tables are loaded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The pipeline.
    pub pipeline: String,
    /// Tables of the target that are dropped, made as they are at the source, and copied.
    pub tables: Vec<String>,
    /// Tables that are in the target and at no place of the source from where they would be copied: they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Statements that wait for a person or failed, and are given up, since the tables are made as the source has them.
    #[serde(default)]
    pub given_up: u64,
}

/// Where a pipeline's target stands.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) adoption: Adoption,
    pub(crate) term: u64,
}

/// Definitions that are to be written.
pub(crate) type Plan = BTreeMap<TaskId, TaskDefinition>;

/// Makes the log of a pipeline anew, behind what its target has.
pub async fn pipeline(manager: &Manager, name: &str, dry_run: bool) -> Result<Adopted, ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    documents.need_pipeline(name)?;
    let cluster = manager.store().snapshot().await?;
    let checkpoint = checkpoint(&documents, name).await?;
    let mut plan = Plan::new();
    plan_pipeline(&cluster, &documents, name, &checkpoint, None, &mut plan)?;
    carry_out(manager, &cluster, plan, dry_run).await
}

/// Makes the log of a source anew, and those of all its pipelines: behind what the target that is furthest behind has, each
/// pipeline behind what its own target has.
pub async fn source(manager: &Manager, name: &str, dry_run: bool) -> Result<Adopted, ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    documents.need_source(name)?;
    let cluster = manager.store().snapshot().await?;
    let checkpoints = checkpoints(&documents, name).await?;
    let begins = checkpoints.values().min_by_key(|c| c.adoption.number).map(|c| c.adoption.clone());
    let plan = plan_source(&cluster, &documents, name, begins.ok_or_else(|| nobody(name))?, &checkpoints)?;
    carry_out(manager, &cluster, plan, dry_run).await
}

/// Where the targets of all pipelines of a source stand.
pub(crate) async fn checkpoints(
    documents: &Documents,
    source: &str,
) -> Result<BTreeMap<String, Checkpoint>, ManagerError> {
    let mut checkpoints = BTreeMap::new();
    for pipeline in documents.users_of(source) {
        checkpoints.insert(pipeline.to_owned(), checkpoint(documents, pipeline).await?);
    }
    Ok(checkpoints)
}

/// A source without pipelines.
pub(crate) fn nobody(source: &str) -> ManagerError {
    ManagerError::Conflict(format!(
        "source {source} has no pipeline whose target could say where it stands; delete and apply it anew"
    ))
}

/// A new log for a source that begins there, and new ones for its pipelines.
pub(crate) fn plan_source(
    cluster: &ClusterSnapshot,
    documents: &Documents,
    name: &str,
    begins: Adoption,
    checkpoints: &BTreeMap<String, Checkpoint>,
) -> Result<Plan, ManagerError> {
    let highest = checkpoints.values().map(|c| c.term).max().unwrap_or(0);
    let extract = TaskId::new(TaskKind::Extract, name);
    let mut plan = Plan::new();
    let mut definition = definition(cluster, &extract)?;
    renew(&extract, &mut definition, begins, highest);
    let input = definition.log.clone();
    plan.insert(extract, definition);
    for (pipeline, checkpoint) in checkpoints {
        plan_pipeline(cluster, documents, pipeline, checkpoint, input.clone(), &mut plan)?;
    }
    Ok(plan)
}

pub(crate) fn definition(cluster: &ClusterSnapshot, task: &TaskId) -> Result<TaskDefinition, ManagerError> {
    let stored =
        cluster.tasks.get(task).ok_or_else(|| ManagerError::NotFound { what: "task", name: task.to_string() })?;
    if stored.value.desired == DesiredState::Removed {
        return Err(ManagerError::Conflict(format!("{task} is still being removed; ask again in a moment")));
    }
    Ok(stored.value.clone())
}

/// A new log for a pipeline behind a place; `input` where its source's log is another one, too.
pub(crate) fn plan_pipeline(
    cluster: &ClusterSnapshot,
    documents: &Documents,
    name: &str,
    checkpoint: &Checkpoint,
    input: Option<LogRef>,
    plan: &mut Plan,
) -> Result<(), ManagerError> {
    let [_, transform, load] = task_ids(name, &documents.need_pipeline(name)?.source);
    let mut writer = definition(cluster, &transform)?;
    if input.is_some() {
        writer.input = input;
    }
    renew(&transform, &mut writer, checkpoint.adoption.clone(), checkpoint.term);
    let mut reader = definition(cluster, &load)?;
    reader.input.clone_from(&writer.log);
    reader.adopt = Some(checkpoint.adoption.clone());
    reader.spec_version += 1;
    reader.epoch_floor = reader.epoch_floor.max(checkpoint.term + 1);
    plan.insert(transform, writer);
    plan.insert(load, reader);
    Ok(())
}

/// A new log for a writer, at the place adopted, under epochs above all that the target has seen.
fn renew(task: &TaskId, definition: &mut TaskDefinition, adoption: Adoption, term: u64) {
    let log_id = LogId::random();
    // A name of its own: records of the old log never stand in the new one's topic.
    let short: String = log_id.to_string().chars().take(8).collect();
    definition.log = Some(LogRef {
        topic: format!("{}.{short}.log", task.name),
        log_id,
        schemas_topic: format!("{}.{short}.schemas", task.name),
        writer: task.clone(),
    });
    definition.adopt = Some(adoption);
    definition.spec_version += 1;
    definition.epoch_floor = definition.epoch_floor.max(term + 1);
}

/// Makes the logs that are planned, unless it is only asked what would be done.
pub(crate) async fn carry_out(
    manager: &Manager,
    cluster: &ClusterSnapshot,
    plan: Plan,
    dry_run: bool,
) -> Result<Adopted, ManagerError> {
    let logs = plan.iter().filter_map(|(task, definition)| described(cluster, task, definition)).collect();
    if dry_run {
        return Ok(Adopted { applied: false, logs, reloads: Vec::new(), notes: Vec::new() });
    }
    let leadership = manager.leadership()?;
    // No pass of the reconciler sees half of it.
    let passes = manager.inner.reconciler.hold().await;
    // Readers first: none of them reads a log that its writer already left for another history.
    for (task, definition) in plan.iter().rev() {
        if let Some(log) = &definition.log {
            let admin = manager.inner.kafka.admin().await?;
            admin.create_log_topic(&log.topic, &manager.inner.kafka.topics).await?;
            admin.create_schema_topic(&log.schemas_topic, manager.inner.kafka.topics.replication).await?;
        }
        if let Some(stored) = cluster.tasks.get(task) {
            leadership.update_task(task, definition, stored.version).await?;
        }
    }
    drop(passes);
    manager.reconcile().await?;
    Ok(Adopted { applied: true, logs, reloads: Vec::new(), notes: Vec::new() })
}

fn described(cluster: &ClusterSnapshot, task: &TaskId, definition: &TaskDefinition) -> Option<AdoptedLog> {
    let (log, adoption) = (definition.log.as_ref()?, definition.adopt.as_ref()?);
    Some(AdoptedLog {
        task: task.to_string(),
        old_topic: cluster.tasks.get(task).and_then(|t| t.value.log.as_ref()).map(|log| log.topic.clone()),
        new_topic: log.topic.clone(),
        number: adoption.number.to_string(),
        gtid_set: adoption.gtid_set.to_string(),
        position: adoption.position.as_ref().map(ToString::to_string),
        reload: adoption.load.is_some(),
        epoch_floor: definition.epoch_floor,
    })
}

/// Reads where a pipeline's target stands.
pub(crate) async fn checkpoint(documents: &Documents, pipeline: &str) -> Result<Checkpoint, ManagerError> {
    let spec = documents.need_pipeline(pipeline)?;
    let name = spec.target.as_str();
    let target =
        documents.target(name).ok_or_else(|| ManagerError::NotFound { what: "target", name: name.to_owned() })?;
    let fault = |source: Box<dyn std::error::Error + Send + Sync>| ManagerError::Server {
        kind: "target",
        name: name.to_owned(),
        source,
    };
    let mut connection = servers::connect(&target.connection()).await.map_err(|e| fault(Box::new(e)))?;
    let row = read_checkpoint(&mut connection, pipeline).await.map_err(|e| fault(Box::new(e)))?;
    let nothing = || {
        ManagerError::Conflict(format!(
            "target {name} holds no checkpoint of pipeline {pipeline}: there is nothing to go on from"
        ))
    };
    let row = row.ok_or_else(nothing)?;
    let malformed = |what: &str| {
        ManagerError::Conflict(format!("the checkpoint of pipeline {pipeline} in target {name} has no valid {what}"))
    };
    let number =
        Number::new(row.u64(0).ok_or_else(|| malformed("sequence"))?, row.u64(1).ok_or_else(|| malformed("sub"))?);
    if number == Number::ZERO {
        return Err(nothing());
    }
    let adoption = Adoption {
        number,
        source_uuid: row.text(2).and_then(|t| t.parse().ok()).ok_or_else(|| malformed("source_uuid"))?,
        gtid_set: row.text(3).unwrap_or_default().parse().map_err(|_| malformed("gtid_set"))?,
        position: row.text(4).zip(row.u64(5)).map(|(file, offset)| BinlogPosition::new(file, offset)),
        committed_at: row.i64(6).unwrap_or(0),
        load: None,
    };
    Ok(Checkpoint { adoption, term: row.u64(7).unwrap_or(0) })
}

/// Where a loader goes on in the log that it reads, as its target has it; `None` where the target does not say.
pub(crate) async fn next_offset(documents: &Documents, pipeline: &str, log: &LogRef) -> Option<i64> {
    let target = documents.target(documents.pipeline(pipeline)?.target.as_str())?;
    let mut connection = servers::connect(&target.connection()).await.ok()?;
    let row = read_checkpoint(&mut connection, pipeline).await.ok()??;
    (row.text(8) == Some(log.log_id.to_string().as_str())).then(|| row.i64(9)).flatten()
}

async fn read_checkpoint(connection: &mut Connection, pipeline: &str) -> lutra_mysql::Result<Option<lutra_mysql::Row>> {
    let task = TaskId::new(TaskKind::Load, pipeline).to_string();
    let there = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'lutra' AND table_name = 'slot'";
    if connection.query_first(there).await?.is_none() {
        return Ok(None);
    }
    let task = lutra_mysql::Param::from(task.as_str());
    Ok(connection.exec_query(CHECKPOINT, vec![task.clone(), task]).await?.into_iter().next())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_renewed_log_has_its_own_name_and_a_higher_floor() {
        let task = TaskId::new(TaskKind::Extract, "shop");
        let mut definition = TaskDefinition::new(Uuid::nil());
        let adoption = Adoption {
            number: Number::new(7, 0),
            source_uuid: Uuid::nil(),
            gtid_set: lutra_change::GtidSet::new(),
            position: None,
            committed_at: 0,
            load: None,
        };
        renew(&task, &mut definition, adoption, 40);
        let log = definition.log.clone();
        assert!(log.is_some_and(|l| l.topic.starts_with("shop.") && l.topic != "shop.log" && l.writer == task));
        assert_eq!((definition.epoch_floor, definition.spec_version), (41, 2));
    }
}

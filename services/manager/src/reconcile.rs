//! Brings what is to what should be: topics, task definitions, assignments. Idempotent; no input but the two states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{ClusterSnapshot, DesiredState, Leadership, LogRef, TaskDefinition, WorkerKey};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::assign::{Move, moves};
use crate::desired::desired_tasks;
use crate::documents::Documents;
use crate::error::ManagerError;
use crate::events::{Reconciled, TaskAssigned, TaskDefined, TaskStates, TopicsMade};
use crate::manager::Manager;
use crate::status::task_ids;

/// How long a worker that went is waited for before its tasks move: a killed process that is started again removes its
/// old registration and makes a new one a moment later (P9).
const GRACE: Duration = Duration::from_secs(1);

/// How soon a run that goes on under an older definition is looked at again.
const RUN_ENDS: Duration = Duration::from_millis(200);

/// The reconciler of one manager. Passes never overlap.
#[derive(Debug, Default)]
pub struct Reconciler {
    pass: Mutex<()>,
    /// Since when workers that have assignments are not registered.
    missing: SyncMutex<BTreeMap<WorkerKey, Instant>>,
}

/// What a pass ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Changes that were made.
    pub changes: u32,
    /// When the next pass has something to do, even if nothing changes.
    pub again_in: Option<Duration>,
}

impl Reconciler {
    /// One pass.
    pub async fn run_once(&self, manager: &Manager, leadership: &Leadership) -> Result<Pass, ManagerError> {
        let _one_at_a_time = self.pass.lock().await;
        let outcome = self.pass(manager, leadership).await;
        Reconciled { outcome: outcome.as_ref().map(|pass| pass.changes) }.emit();
        outcome
    }

    /// Keeps passes from beginning, for as long as what is given back lives.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.pass.lock().await
    }

    async fn pass(&self, manager: &Manager, leadership: &Leadership) -> Result<Pass, ManagerError> {
        let store = manager.store();
        let documents = Documents::read(store).await?;
        let mut cluster = store.snapshot().await?;
        let leaving = leaving(&documents, &cluster);
        let mut changes = mark(leadership, &cluster, &leaving).await?;
        let kept = cluster.tasks.iter().filter(|(id, _)| !leaving.contains(*id));
        let existing: BTreeMap<TaskId, TaskDefinition> = kept.map(|(id, t)| (id.clone(), t.value.clone())).collect();
        let mut wanted = desired_tasks(&documents, &existing, store.cluster_id().await?);
        wanted.retain(|id, _| !tasks_beside(&documents, id).iter().any(|beside| leaving.contains(beside)));
        changes += define(manager, leadership, &cluster, &wanted).await?;
        if changes > 0 {
            cluster = store.snapshot().await?;
        }
        let loads = crate::loads::reconcile(manager, &documents, &leaving, &cluster).await?;
        changes += loads.changes;
        let gone: Vec<(TaskId, TaskDefinition)> =
            leaving.iter().filter_map(|id| cluster.tasks.remove(id).map(|t| (id.clone(), t.value))).collect();
        let (spared, again_in) = self.spared(&cluster);
        let again_in = [again_in, loads.waits.then_some(RUN_ENDS)].into_iter().flatten().min();
        changes += assign(leadership, &cluster, &spared).await?;
        changes += remove(manager, leadership, &cluster, &gone).await?;
        states(&cluster);
        Ok(Pass { changes, again_in })
    }

    /// The workers that went a moment ago, and when the first of them is given up.
    fn spared(&self, cluster: &ClusterSnapshot) -> (BTreeSet<WorkerKey>, Option<Duration>) {
        let now = Instant::now();
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|worker, _| !cluster.workers.contains_key(worker));
        for assignment in cluster.assignments.iter().filter(|a| !cluster.workers.contains_key(&a.worker)) {
            missing.entry(assignment.worker.clone()).or_insert(now);
        }
        let left = |since: &Instant| GRACE.checked_sub(now.duration_since(*since)).filter(|left| !left.is_zero());
        let spared: BTreeSet<WorkerKey> =
            missing.iter().filter(|(_, since)| left(since).is_some()).map(|(w, _)| w.clone()).collect();
        (spared, missing.values().filter_map(left).min())
    }
}

/// The tasks that go: without a document, or begun to be removed, or of a pipeline that is. What goes goes wholly, though
/// documents of these names be there again: half of an old pipeline under a new log would halt (P8).
fn leaving(documents: &Documents, cluster: &ClusterSnapshot) -> BTreeSet<TaskId> {
    let goes = |id: &TaskId| {
        let known = if id.kind == TaskKind::Extract {
            documents.source(&id.name).is_some()
        } else {
            documents.pipeline(&id.name).is_some()
        };
        let marked = cluster.tasks.get(id).is_some_and(|t| t.value.desired == DesiredState::Removed);
        !known || marked
    };
    let pair = |id: &TaskId| [TaskId::new(TaskKind::Transform, &id.name), TaskId::new(TaskKind::Load, &id.name)];
    let all = cluster.tasks.keys();
    all.filter(|id| goes(id) || (id.kind != TaskKind::Extract && pair(id).iter().any(goes))).cloned().collect()
}

/// The tasks that must all stay for one of them to be there: of a pipeline, those of the pipeline and its source's.
fn tasks_beside(documents: &Documents, id: &TaskId) -> Vec<TaskId> {
    match documents.pipeline(&id.name) {
        Some(pipeline) if id.kind != TaskKind::Extract => task_ids(&id.name, &pipeline.source).to_vec(),
        _ => vec![id.clone()],
    }
}

/// Says of tasks that go that they do, so that nothing that is applied meanwhile keeps them.
async fn mark(
    leadership: &Leadership,
    cluster: &ClusterSnapshot,
    leaving: &BTreeSet<TaskId>,
) -> Result<u32, ManagerError> {
    let mut changes = 0;
    for (id, stored) in leaving.iter().filter_map(|id| cluster.tasks.get_key_value(id)) {
        if stored.value.desired != DesiredState::Removed {
            let definition = TaskDefinition { desired: DesiredState::Removed, ..stored.value.clone() };
            leadership.update_task(id, &definition, stored.version).await?;
            changes += 1;
        }
    }
    Ok(changes)
}

/// Makes topics and definitions; each definition is written after its topics are there.
async fn define(
    manager: &Manager,
    leadership: &Leadership,
    cluster: &ClusterSnapshot,
    wanted: &BTreeMap<TaskId, TaskDefinition>,
) -> Result<u32, ManagerError> {
    let mut changes = 0;
    for (id, definition) in wanted {
        let existing = cluster.tasks.get(id);
        // Topics of a log that has begun are never made again: an empty one in their place would hide a loss (P8).
        if let Some(log) = definition
            .log
            .as_ref()
            .filter(|log| !existing.is_some_and(|t| t.value.begun && t.value.log.as_ref() == Some(log)))
        {
            changes += make_topics(manager, id, log).await?;
        }
        match existing {
            None => {
                leadership.create_task(id, definition).await?;
                TaskDefined { task: id, what: "defined" }.emit();
            }
            Some(stored) if same(&stored.value, definition) => continue,
            Some(stored) => {
                leadership.update_task(id, definition, stored.version).await?;
                TaskDefined { task: id, what: "redefined" }.emit();
            }
        }
        changes += 1;
    }
    Ok(changes)
}

fn same(a: &TaskDefinition, b: &TaskDefinition) -> bool {
    *a == TaskDefinition { begun: a.begun, ..b.clone() }
}

async fn make_topics(manager: &Manager, task: &TaskId, log: &LogRef) -> Result<u32, ManagerError> {
    let kafka = &manager.inner.kafka;
    let admin = kafka.admin().await?;
    let mut made = 0;
    if !admin.topic_exists(&log.topic).await? {
        admin.create_log_topic(&log.topic, &kafka.topics).await?;
        TopicsMade { task, topic: &log.topic }.emit();
        made += 1;
    }
    if !admin.topic_exists(&log.schemas_topic).await? {
        admin.create_schema_topic(&log.schemas_topic, kafka.topics.replication).await?;
        made += 1;
    }
    Ok(made)
}

async fn assign(
    leadership: &Leadership,
    cluster: &ClusterSnapshot,
    spared: &BTreeSet<WorkerKey>,
) -> Result<u32, ManagerError> {
    let moves = moves(cluster, spared);
    for change in &moves {
        match change {
            Move::Assign(task, worker) => {
                leadership.assign(task, worker).await?;
                TaskAssigned { task, worker: Some(worker) }.emit();
            }
            Move::Unassign(task) => {
                leadership.unassign(task).await?;
                TaskAssigned { task, worker: None }.emit();
            }
        }
    }
    let dead: BTreeSet<&WorkerKey> = cluster
        .assignments
        .iter()
        .map(|a| &a.worker)
        .filter(|w| !cluster.workers.contains_key(w) && !spared.contains(w))
        .collect();
    for worker in dead {
        leadership.forget_worker(worker).await?;
    }
    Ok(u32::try_from(moves.len()).unwrap_or(u32::MAX))
}

/// Removes tasks whose documents are gone, once nobody runs them: first the topics, then the definition that names them.
async fn remove(
    manager: &Manager,
    leadership: &Leadership,
    cluster: &ClusterSnapshot,
    gone: &[(TaskId, TaskDefinition)],
) -> Result<u32, ManagerError> {
    let mut changes = 0;
    for (id, definition) in gone.iter().filter(|(id, _)| !cluster.running.contains_key(id)) {
        if let Some(log) = &definition.log {
            let admin = manager.inner.kafka.admin().await?;
            admin.delete_topic(&log.topic).await?;
            admin.delete_topic(&log.schemas_topic).await?;
        }
        leadership.delete_task(id).await?;
        TaskDefined { task: id, what: "removed" }.emit();
        changes += 1;
    }
    Ok(changes)
}

fn states(cluster: &ClusterSnapshot) {
    const ALL: [&str; 8] = ["CREATED", "PENDING", "ASSIGNED", "RUNNING", "PAUSED", "FAILED", "COMPLETED", "CANCELLED"];
    let mut states: BTreeMap<String, u32> = ALL.iter().map(|s| ((*s).to_owned(), 0)).collect();
    for state in cluster.tasks.keys().filter_map(|task| cluster.state_of(task)) {
        *states.entry(state.to_string()).or_default() += 1;
    }
    TaskStates { states: &states }.emit();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_coordination::{Stored, Version};
    use uuid::Uuid;

    use super::*;
    use crate::documents::StoredDocument;

    const SOURCE: &str = "kind: source\nname: s\nspec: {servers: [a], user: u, tables: ['*.*']}\n";
    const REST: &str = "---\nkind: target\nname: t\nspec: {servers: [b], user: u}\n---\nkind: pipeline\nname: p\nspec: {source: s, target: t}\n";

    fn documents(text: &str) -> Documents {
        let all = lutra_spec::parse(text).unwrap().into_iter();
        let all =
            all.map(|d| (d.document.name.to_string(), StoredDocument { document: d.document, version: Version(0) }));
        Documents { all: all.collect() }
    }

    fn cluster(documents: &Documents) -> ClusterSnapshot {
        let tasks = desired_tasks(documents, &BTreeMap::new(), Uuid::nil()).into_iter();
        let tasks = tasks
            .map(|(id, value)| {
                (id, Stored { value, version: Version(0), czxid: 1, owner: 0, created_at: 0, changed_at: 0 })
            })
            .collect();
        ClusterSnapshot { tasks, ..ClusterSnapshot::default() }
    }

    fn texts(ids: &BTreeSet<TaskId>) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_no_document_goes() {
        let all = documents(&format!("{SOURCE}{REST}"));
        assert_eq!(texts(&leaving(&all, &cluster(&all))), [""; 0]);
        assert_eq!(texts(&leaving(&documents(SOURCE), &cluster(&all))), ["transform/p", "load/p"]);
    }

    #[test]
    fn half_of_a_pipeline_that_is_applied_again_goes_first() {
        let all = documents(&format!("{SOURCE}{REST}"));
        let mut cluster = cluster(&all);
        let [_, transform, load] = task_ids("p", "s");
        // The loader's task is gone already, the transformer still gives back.
        cluster.tasks.remove(&load);
        cluster.tasks.get_mut(&transform).unwrap().value.desired = DesiredState::Removed;
        let leaving = leaving(&all, &cluster);
        assert_eq!(texts(&leaving), ["transform/p"]);
        assert!(tasks_beside(&all, &load).iter().any(|id| leaving.contains(id)), "the loader waits for it");
        assert!(!tasks_beside(&all, &TaskId::new(TaskKind::Extract, "s")).iter().any(|id| leaving.contains(id)));
    }
}

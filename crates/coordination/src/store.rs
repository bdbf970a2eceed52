//! Typed access to the tree. Reads are tried again over a lost session; writes are not, as the first may have been done.

use std::collections::BTreeMap;
use std::future::Future;

use lutra_change::{LogId, TaskId};
use lutra_spec::document::Kind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::changes::ChangeStream;
use crate::error::{CoordinationError, Result};
use crate::load::{LoadProgress, LoadRequest, LoadStream};
use crate::model::{
    Assignment, DesiredState, FailureReport, ObservedState, RestartRequest, RunningStatus, TaskDefinition, WorkerInfo,
    WorkerKey, WorkerStatus,
};
use crate::node::{PERSISTENT, Session, Stored, Version};
use crate::session::{Coordination, cluster_id};
use crate::tree::{Tree, parse_task_node};

/// Attempts of a read over lost connections; each waits for a session by itself.
const READ_ATTEMPTS: u32 = 3;

/// Bookmarks kept per task: the newest, and enough older ones for a pipeline that begins further back.
const BOOKMARKS: usize = 32;

/// Bytes of all bookmarks of a task. A server drops the connection of a client that sends it more than 1 MiB.
const BOOKMARK_BYTES: usize = 512 * 1024;

/// Typed access to the tree.
#[derive(Clone, Debug)]
pub struct Store {
    coordination: Coordination,
}

/// That a task has begun, and on which log: a new log id begins anew.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BegunNode {
    pub(crate) log_id: LogId,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct BookmarksNode {
    bookmarks: Vec<Value>,
}

impl Store {
    pub(crate) fn new(coordination: Coordination) -> Self {
        Self { coordination }
    }

    fn tree(&self) -> &Tree {
        self.coordination.tree()
    }

    /// Runs a read, again on the next session when one is lost.
    async fn retry<T, F, Fut>(&self, read: F) -> Result<T>
    where
        F: Fn(Session) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut attempt = 1;
        loop {
            let session = self.coordination.session().await?;
            match read(session).await {
                Err(error) if error.is_transient() && attempt < READ_ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Stored<T>>> {
        self.retry(|session| async move { session.read(path).await }).await
    }

    /// Every node below `directory` with its name.
    async fn list<T: DeserializeOwned>(&self, directory: &str) -> Result<Vec<(String, Stored<T>)>> {
        self.retry(|session| async move {
            let names = session.children(directory).await?;
            let paths: Vec<String> = names.iter().map(|name| format!("{directory}/{name}")).collect();
            let nodes = session.read_all(&paths).await?;
            Ok(names.into_iter().zip(nodes).filter_map(|(name, node)| node.map(|node| (name, node))).collect())
        })
        .await
    }

    async fn session(&self) -> Result<Session> {
        self.coordination.session().await
    }

    /// The cluster's id.
    pub async fn cluster_id(&self) -> Result<Uuid> {
        self.retry(|session| async move { cluster_id(&session, self.tree()).await }).await
    }

    /// Whatever changes, for a manager's reconcilers.
    pub fn changes(&self) -> ChangeStream {
        ChangeStream::new(self.coordination.clone())
    }

    // --- documents ---

    /// All documents of a kind by name: each the whole JSON of a source, target or pipeline document.
    pub async fn documents(&self, kind: Kind) -> Result<BTreeMap<String, Stored<Value>>> {
        Ok(self.list(&self.tree().documents(kind.as_str())).await?.into_iter().collect())
    }

    /// One document.
    pub async fn document(&self, kind: Kind, name: &str) -> Result<Option<Stored<Value>>> {
        self.read(&self.tree().document(kind.as_str(), name)).await
    }

    /// Writes a document. `expected` is the version that was read; `None` makes a new one, and fails when it is there.
    pub async fn put_document(
        &self,
        kind: Kind,
        name: &str,
        document: &Value,
        expected: Option<Version>,
    ) -> Result<()> {
        let path = self.tree().document(kind.as_str(), name);
        let session = self.session().await?;
        match expected {
            Some(version) => session.write(&path, document, Some(version)).await.map(|_| ()),
            None => session.create(&path, document, &PERSISTENT).await.map(|_| ()),
        }
    }

    /// Deletes a document; says whether there was one.
    pub async fn delete_document(&self, kind: Kind, name: &str, expected: Option<Version>) -> Result<bool> {
        self.session().await?.delete(&self.tree().document(kind.as_str(), name), expected).await
    }

    // --- tasks ---

    /// All task definitions.
    pub async fn tasks(&self) -> Result<BTreeMap<TaskId, Stored<TaskDefinition>>> {
        let nodes = self.list::<TaskDefinition>(&self.tree().tasks()).await?;
        let mut tasks: BTreeMap<TaskId, Stored<TaskDefinition>> = by_task(nodes);
        let paths: Vec<String> = tasks.keys().map(|task| self.tree().begun(task)).collect();
        let paths = &paths;
        let begun = self.retry(|session| async move { session.read_all::<BegunNode>(paths).await }).await?;
        for (task, begun) in tasks.values_mut().zip(begun) {
            task.value.begun = is_begun(&task.value, begun.as_ref());
        }
        Ok(tasks)
    }

    /// One task's definition.
    pub async fn task(&self, task: &TaskId) -> Result<Option<Stored<TaskDefinition>>> {
        self.retry(|session| async move { read_definition(&session, self.tree(), task).await }).await
    }

    /// A task's bookmarks, oldest first.
    pub async fn bookmarks(&self, task: &TaskId) -> Result<Vec<Value>> {
        let node = self.read::<BookmarksNode>(&self.tree().bookmarks(task)).await?;
        Ok(node.map(|node| node.value.bookmarks).unwrap_or_default())
    }

    /// Why a task failed last, while that is not over.
    pub async fn failure(&self, task: &TaskId) -> Result<Option<FailureReport>> {
        Ok(self.read(&self.tree().failure(task)).await?.map(|node| node.value))
    }

    /// Asks a task's owner to start it again. `by` is a task or a person. One pending request per task: a second
    /// changes nothing.
    pub async fn request_restart(&self, task: &TaskId, by: &str, reason: Value) -> Result<()> {
        let request = RestartRequest { by: by.to_owned(), reason };
        match self.session().await?.create(&self.tree().restart(task), &request, &PERSISTENT).await {
            Ok(_) | Err(CoordinationError::Exists { .. }) => Ok(()),
            Err(CoordinationError::NotFound { .. }) => Err(CoordinationError::NoSuchTask { task: task.clone() }),
            Err(error) => Err(error),
        }
    }

    /// The pending wish that a task be started again.
    pub async fn restart_request(&self, task: &TaskId) -> Result<Option<RestartRequest>> {
        Ok(self.read(&self.tree().restart(task)).await?.map(|node| node.value))
    }

    // --- full loads ---

    /// What a pipeline wants copied of a source.
    pub async fn load_request(&self, source: &TaskId, pipeline: &str) -> Result<Option<Stored<LoadRequest>>> {
        self.read(&self.tree().load(source, pipeline)).await
    }

    /// What pipelines want copied of a source.
    pub async fn load_requests(&self, source: &TaskId) -> Result<BTreeMap<String, LoadRequest>> {
        let nodes = self.list::<LoadRequest>(&self.tree().loads(source)).await?;
        Ok(nodes.into_iter().map(|(name, node)| (name, node.value)).collect())
    }

    /// Writes what a pipeline wants copied. `expected` is the version that was read; `None` makes a new one, and fails
    /// when it is there.
    pub async fn put_load_request(
        &self,
        source: &TaskId,
        pipeline: &str,
        request: &LoadRequest,
        expected: Option<Version>,
    ) -> Result<()> {
        let path = self.tree().load(source, pipeline);
        let session = self.session().await?;
        match expected {
            Some(version) => session.write(&path, request, Some(version)).await.map(|_| ()),
            None => {
                session.make_directory(&self.tree().loads(source)).await?;
                session.create(&path, request, &PERSISTENT).await.map(|_| ())
            }
        }
    }

    /// The pipeline wants nothing copied any more.
    pub async fn delete_load_request(&self, source: &TaskId, pipeline: &str) -> Result<bool> {
        self.session().await?.delete(&self.tree().load(source, pipeline), None).await
    }

    /// How far the copies of a source have come, by pipeline.
    pub async fn copies(&self, source: &TaskId) -> Result<BTreeMap<String, LoadProgress>> {
        let nodes = self.list::<LoadProgress>(&self.tree().copies(source)).await?;
        Ok(nodes.into_iter().map(|(name, node)| (name, node.value)).collect())
    }

    pub(crate) async fn put_copy(&self, source: &TaskId, pipeline: &str, progress: &LoadProgress) -> Result<()> {
        let session = self.session().await?;
        let path = self.tree().copy(source, pipeline);
        match session.put(&path, progress).await {
            Err(CoordinationError::NotFound { .. }) => {
                session.make_directory(&self.tree().copies(source)).await?;
                session.put(&path, progress).await
            }
            done => done,
        }
    }

    pub(crate) async fn delete_copy(&self, source: &TaskId, pipeline: &str) -> Result<()> {
        self.session().await?.delete(&self.tree().copy(source, pipeline), None).await.map(|_| ())
    }

    pub(crate) fn load_stream(&self, source: &TaskId) -> LoadStream {
        LoadStream::new(self.coordination.clone(), &self.tree().loads(source))
    }

    pub(crate) fn copy_stream(&self, source: &TaskId) -> LoadStream {
        LoadStream::new(self.coordination.clone(), &self.tree().copies(source))
    }

    // --- workers, assignments, running ---

    /// All registered workers.
    pub async fn workers(&self) -> Result<BTreeMap<WorkerKey, WorkerStatus>> {
        let mut workers = BTreeMap::new();
        for service in ["extractor", "transformer", "loader"] {
            for (_, node) in self.list::<WorkerInfo>(&self.tree().workers_of(service)).await? {
                let status = WorkerStatus { info: node.value, registered_at: node.created_at };
                workers.insert(status.info.key(), status);
            }
        }
        Ok(workers)
    }

    /// All assignments, those to dead workers too.
    pub async fn assignments(&self) -> Result<Vec<Assignment>> {
        self.retry(|session| async move {
            let mut assignments = Vec::new();
            for name in session.children(&self.tree().assignments()).await? {
                let Ok(worker) = name.parse::<WorkerKey>() else { continue };
                let tasks = session.children(&self.tree().assignments_of(&worker)).await?;
                let tasks = tasks.iter().filter_map(|node| parse_task_node(node));
                assignments.extend(tasks.map(|task| Assignment { worker: worker.clone(), task }));
            }
            Ok(assignments)
        })
        .await
    }

    /// What the owners of tasks say of them.
    pub async fn running(&self) -> Result<BTreeMap<TaskId, Stored<RunningStatus>>> {
        Ok(by_task(self.list(&self.tree().running()).await?))
    }

    /// The address of the leading manager, if one leads.
    pub async fn leader_address(&self) -> Result<Option<String>> {
        self.retry(|session| async move { crate::leader::address(&session, self.tree()).await }).await
    }

    /// Everything that a reconciler or a status needs, read node by node: each part is true, the whole may be a moment
    /// apart.
    pub async fn snapshot(&self) -> Result<ClusterSnapshot> {
        let tasks = self.tasks().await?;
        let paths: Vec<String> = tasks.keys().map(|task| self.tree().failure(task)).collect();
        let paths = &paths;
        let failed = self.retry(|session| async move { session.read_all::<FailureReport>(paths).await }).await?;
        let failures = tasks.keys().cloned().zip(failed).filter_map(|(task, node)| Some((task, node?.value))).collect();
        let (workers, assignments, running) = (self.workers().await?, self.assignments().await?, self.running().await?);
        Ok(ClusterSnapshot { tasks, workers, assignments, running, failures })
    }
}

fn by_task<T>(nodes: Vec<(String, Stored<T>)>) -> BTreeMap<TaskId, Stored<T>> {
    nodes.into_iter().filter_map(|(name, node)| parse_task_node(&name).map(|task| (task, node))).collect()
}

fn is_begun(definition: &TaskDefinition, begun: Option<&Stored<BegunNode>>) -> bool {
    match (&definition.log, begun) {
        (Some(log), Some(begun)) => log.log_id == begun.value.log_id,
        _ => false,
    }
}

/// A definition with its `begun`.
pub(crate) async fn read_definition(
    session: &Session,
    tree: &Tree,
    task: &TaskId,
) -> Result<Option<Stored<TaskDefinition>>> {
    let Some(mut definition) = session.read::<TaskDefinition>(&tree.task(task)).await? else { return Ok(None) };
    let begun = session.read::<BegunNode>(&tree.begun(task)).await?;
    definition.value.begun = is_begun(&definition.value, begun.as_ref());
    Ok(Some(definition))
}

/// Appends a bookmark that is not the newest already; the oldest of too many goes. One writer: the task's owner.
pub(crate) async fn append_bookmark(session: &Session, tree: &Tree, task: &TaskId, bookmark: &Value) -> Result<()> {
    let path = tree.bookmarks(task);
    let mut node = session.read::<BookmarksNode>(&path).await?.map(|node| node.value).unwrap_or_default();
    if add_bookmark(&mut node.bookmarks, bookmark) { session.put(&path, &node).await } else { Ok(()) }
}

/// Adds a bookmark within both bounds; says whether there is anything to write. One that is too large by itself is left
/// out: the one before it costs a reader time, nothing else.
pub(crate) fn add_bookmark(bookmarks: &mut Vec<Value>, bookmark: &Value) -> bool {
    if bookmarks.last() == Some(bookmark) {
        return false;
    }
    let size = |bookmark: &Value| bookmark.to_string().len();
    let added = size(bookmark);
    if added > BOOKMARK_BYTES {
        tracing::warn!(bytes = added, "a bookmark is too large for ZooKeeper and is not kept");
        return false;
    }
    bookmarks.push(bookmark.clone());
    let mut bytes: usize = bookmarks.iter().map(size).sum();
    let mut surplus = bookmarks.len().saturating_sub(BOOKMARKS);
    for (index, old) in bookmarks.iter().enumerate() {
        if index >= surplus && bytes <= BOOKMARK_BYTES {
            break;
        }
        bytes -= size(old);
        surplus = surplus.max(index + 1);
    }
    // A start that was asked for by a gap trusts proven bookmarks only: the newest of them stays.
    let proven = |bookmark: &Value| bookmark["proven"] == true;
    let kept = bookmarks.drain(..surplus).rfind(proven);
    if let Some(kept) = kept.filter(|_| !bookmarks.iter().any(proven)) {
        bookmarks.insert(0, kept);
    }
    true
}

/// Everything that a reconciler or a status needs.
#[derive(Clone, Debug, Default)]
pub struct ClusterSnapshot {
    /// Definitions.
    pub tasks: BTreeMap<TaskId, Stored<TaskDefinition>>,
    /// Registered workers.
    pub workers: BTreeMap<WorkerKey, WorkerStatus>,
    /// Assignments, those to dead workers too.
    pub assignments: Vec<Assignment>,
    /// What owners say.
    pub running: BTreeMap<TaskId, Stored<RunningStatus>>,
    /// Why tasks failed.
    pub failures: BTreeMap<TaskId, FailureReport>,
}

impl ClusterSnapshot {
    /// The worker that a task is assigned to, alive or not.
    pub fn worker_of(&self, task: &TaskId) -> Option<&WorkerKey> {
        self.assignments.iter().find(|assignment| assignment.task == *task).map(|assignment| &assignment.worker)
    }

    /// What a defined task is seen to do.
    pub fn state_of(&self, task: &TaskId) -> Option<ObservedState> {
        let definition = &self.tasks.get(task)?.value;
        if let Some(running) = self.running.get(task) {
            return Some(running.value.state);
        }
        let failed = self.failures.contains_key(task);
        let has_worker = self.worker_of(task).is_some_and(|worker| self.workers.contains_key(worker));
        Some(match definition.desired {
            DesiredState::Stopped | DesiredState::Removed => ObservedState::Cancelled,
            DesiredState::Paused => ObservedState::Paused,
            DesiredState::Running if has_worker => ObservedState::Assigned,
            DesiredState::Running if failed => ObservedState::Failed,
            DesiredState::Running => ObservedState::Pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bookmarks_are_bounded_by_number_and_by_bytes() {
        let mut bookmarks = Vec::new();
        for number in 0..100 {
            assert!(add_bookmark(&mut bookmarks, &json!(number)));
            assert!(!add_bookmark(&mut bookmarks, &json!(number)), "the newest is not repeated");
        }
        assert_eq!((bookmarks.len(), bookmarks.first()), (BOOKMARKS, Some(&json!(68))));
        let large = |mark: &str| json!(mark.repeat(200 * 1024));
        for mark in ["a", "b", "c"] {
            assert!(add_bookmark(&mut bookmarks, &large(mark)));
        }
        assert_eq!(bookmarks, [large("b"), large("c")]);
        let mut marked = vec![json!({"proven": true, "n": 0})];
        (1..100).for_each(|n| assert!(add_bookmark(&mut marked, &json!({"proven": false, "n": n}))));
        assert_eq!((marked[0]["n"].clone(), marked.len()), (json!(0), BOOKMARKS + 1), "the newest proven one stays");
        assert!(!add_bookmark(&mut bookmarks, &json!("x".repeat(BOOKMARK_BYTES))));
        assert_eq!(bookmarks.len(), 2);
    }
}

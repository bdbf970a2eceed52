//! Every path. No other file spells one.
//!
//! ```text
//! /lutra/<cluster>/cluster                             a UUID, made once
//!                 /leader/...                          lock nodes of the managers; the first one's data is the leader
//!                 /config/documents/<kind>/<name>      specification documents
//!                 /tasks/<task>                        definition
//!                 /tasks/<task>/{begun,bookmarks,failure,restart}
//!                 /tasks/<task>/loads/<pipeline>       what a pipeline wants copied of its source's tables
//!                 /tasks/<task>/copies/<pipeline>      how far the source's owner has come with it
//!                 /workers/<service>/<id>              ephemeral
//!                 /assignments/<service>.<id>/<task>
//!                 /running/<task>                      ephemeral; its czxid is the term
//! ```
//! A task `load/shop` is the node `load.shop`: names hold no dot.

use lutra_change::TaskId;

use crate::model::WorkerKey;

/// The paths of one cluster.
#[derive(Clone, Debug)]
pub struct Tree {
    root: String,
}

impl Tree {
    /// The tree of the named cluster.
    pub fn new(cluster: &str) -> Self {
        Self { root: format!("/lutra/{cluster}") }
    }

    /// The root.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Nodes that always exist, parents first.
    pub fn skeleton(&self) -> Vec<String> {
        let fixed = [self.leader(), self.tasks(), self.assignments(), self.running()];
        let services = ["extractor", "transformer", "loader"].map(|service| self.workers_of(service));
        let documents = ["source", "target", "pipeline"].map(|kind| self.documents(kind));
        fixed.into_iter().chain(services).chain(documents).collect()
    }

    /// The cluster's id.
    pub fn cluster(&self) -> String {
        format!("{}/cluster", self.root)
    }

    /// The directory of the managers' locks.
    pub fn leader(&self) -> String {
        format!("{}/leader", self.root)
    }

    /// All documents of a kind.
    pub fn documents(&self, kind: &str) -> String {
        format!("{}/config/documents/{kind}", self.root)
    }

    /// One document.
    pub fn document(&self, kind: &str, name: &str) -> String {
        format!("{}/config/documents/{kind}/{name}", self.root)
    }

    /// All tasks.
    pub fn tasks(&self) -> String {
        format!("{}/tasks", self.root)
    }

    /// One task's definition.
    pub fn task(&self, task: &TaskId) -> String {
        format!("{}/tasks/{}", self.root, task_node(task))
    }

    /// That a task has begun, and on which log.
    pub fn begun(&self, task: &TaskId) -> String {
        format!("{}/begun", self.task(task))
    }

    /// A task's bookmarks.
    pub fn bookmarks(&self, task: &TaskId) -> String {
        format!("{}/bookmarks", self.task(task))
    }

    /// Why a task failed last.
    pub fn failure(&self, task: &TaskId) -> String {
        format!("{}/failure", self.task(task))
    }

    /// The wish that a task's owner start it again.
    pub fn restart(&self, task: &TaskId) -> String {
        format!("{}/restart", self.task(task))
    }

    /// What pipelines want copied of a source's tables.
    pub fn loads(&self, task: &TaskId) -> String {
        format!("{}/loads", self.task(task))
    }

    /// What one pipeline wants copied.
    pub fn load(&self, task: &TaskId, pipeline: &str) -> String {
        format!("{}/{pipeline}", self.loads(task))
    }

    /// How far the copies for pipelines have come.
    pub fn copies(&self, task: &TaskId) -> String {
        format!("{}/copies", self.task(task))
    }

    /// How far the copy for one pipeline has come.
    pub fn copy(&self, task: &TaskId, pipeline: &str) -> String {
        format!("{}/{pipeline}", self.copies(task))
    }

    /// All nodes under a task's definition, in the order in which they may be deleted; those of loads have children.
    pub fn task_parts(&self, task: &TaskId) -> [String; 4] {
        [self.begun(task), self.bookmarks(task), self.failure(task), self.restart(task)]
    }

    /// All registered workers, by service.
    pub fn workers(&self) -> String {
        format!("{}/workers", self.root)
    }

    /// All registered workers of a service.
    pub fn workers_of(&self, service: &str) -> String {
        format!("{}/workers/{service}", self.root)
    }

    /// One registered worker.
    pub fn worker(&self, worker: &WorkerKey) -> String {
        format!("{}/workers/{}/{}", self.root, worker.service, worker.id)
    }

    /// All assignments.
    pub fn assignments(&self) -> String {
        format!("{}/assignments", self.root)
    }

    /// The assignments of one worker.
    pub fn assignments_of(&self, worker: &WorkerKey) -> String {
        format!("{}/assignments/{worker}", self.root)
    }

    /// One assignment.
    pub fn assignment(&self, worker: &WorkerKey, task: &TaskId) -> String {
        format!("{}/assignments/{worker}/{}", self.root, task_node(task))
    }

    /// All running tasks.
    pub fn running(&self) -> String {
        format!("{}/running", self.root)
    }

    /// One running task.
    pub fn running_task(&self, task: &TaskId) -> String {
        format!("{}/running/{}", self.root, task_node(task))
    }
}

/// The node name of a task.
pub(crate) fn task_node(task: &TaskId) -> String {
    format!("{}.{}", task.kind, task.name)
}

/// The task of a node name.
pub(crate) fn parse_task_node(node: &str) -> Option<TaskId> {
    node.replacen('.', "/", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use lutra_change::TaskKind;

    use super::*;

    #[test]
    fn task_nodes_survive_their_text() {
        for kind in TaskKind::ALL {
            let task = TaskId::new(kind, "shop-2");
            assert_eq!(parse_task_node(&task_node(&task)), Some(task));
        }
        assert_eq!(parse_task_node("shop"), None);
        assert_eq!(parse_task_node("copy.shop"), None);
    }

    #[test]
    fn paths_stand_under_the_cluster() {
        let tree = Tree::new("blue");
        let worker = WorkerKey::new("loader", "w1");
        let task = TaskId::new(TaskKind::Load, "shop");
        assert_eq!(tree.assignment(&worker, &task), "/lutra/blue/assignments/loader.w1/load.shop");
        assert_eq!(tree.running_task(&task), "/lutra/blue/running/load.shop");
        assert!(tree.skeleton().iter().all(|path| path.starts_with("/lutra/blue/")));
    }
}

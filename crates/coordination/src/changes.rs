//! What a manager is woken by: a recursive watch on the whole cluster, set again over every lost connection.

use lutra_change::TaskId;

use crate::session::Coordination;
use crate::tree::{Tree, parse_task_node};
use crate::watch::Relay;

/// What may have changed. The reader looks at the state itself: a change says where, never what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Anything: events may have been lost. The first change of every stream is this one.
    Resync,
    /// Documents.
    Documents,
    /// A task's definition, failure, or restart request.
    Task(TaskId),
    /// Assignments.
    Assignments,
    /// Registered workers.
    Workers,
    /// What the owner of a task says of it.
    Running(TaskId),
    /// Who leads.
    Leader,
}

/// The changes of one cluster, for ever.
#[derive(Debug)]
pub struct ChangeStream {
    relay: Relay,
    tree: Tree,
}

impl ChangeStream {
    pub(crate) fn new(coordination: Coordination) -> Self {
        let tree = coordination.tree().clone();
        Self { relay: Relay::new(coordination, tree.root()), tree }
    }

    /// The next change; waits for ever. Cancel safe. While ZooKeeper is away nothing changes.
    pub async fn next(&mut self) -> Change {
        loop {
            let Some(event) = self.relay.next().await else { return Change::Resync };
            if let Some(change) = classify(&self.tree, &event.path) {
                return change;
            }
        }
    }
}

/// Where the changed node stands. Bookmarks, copies and the directories' own events interest nobody.
fn classify(tree: &Tree, path: &str) -> Option<Change> {
    let mut parts = path.strip_prefix(tree.root())?.strip_prefix('/')?.split('/');
    match (parts.next()?, parts.next()) {
        ("config", _) => Some(Change::Documents),
        ("workers", Some(_)) => Some(Change::Workers),
        ("assignments", Some(_)) => Some(Change::Assignments),
        ("leader", Some(_)) => Some(Change::Leader),
        ("running", Some(node)) => parse_task_node(node).map(Change::Running),
        ("tasks", Some(node)) if !matches!(parts.next(), Some("bookmarks" | "copies")) => {
            parse_task_node(node).map(Change::Task)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lutra_change::TaskKind;

    use super::*;

    #[test]
    fn changes_are_told_by_where_they_are() {
        let tree = Tree::new("c");
        let task = TaskId::new(TaskKind::Load, "shop");
        for (path, wanted) in [
            ("/lutra/c/tasks/load.shop", Some(Change::Task(task.clone()))),
            ("/lutra/c/tasks/load.shop/failure", Some(Change::Task(task.clone()))),
            ("/lutra/c/tasks/load.shop/bookmarks", None),
            ("/lutra/c/running/load.shop", Some(Change::Running(task))),
            ("/lutra/c/workers/loader/x", Some(Change::Workers)),
            ("/lutra/c/assignments/loader.x/load.shop", Some(Change::Assignments)),
            ("/lutra/c/config/documents/source/shop", Some(Change::Documents)),
            ("/lutra/c/leader/_c_1-latch-0", Some(Change::Leader)),
            ("/lutra/c", None),
            ("/lutra/c/running", None),
            ("/elsewhere", None),
        ] {
            assert_eq!(classify(&tree, path), wanted, "{path}");
        }
    }
}

//! Who should run what. Pure: the tasks that shall have an owner, the workers, and what is assigned now, give the
//! changes to make.

use std::collections::{BTreeMap, BTreeSet};

use lutra_change::TaskId;
use lutra_coordination::{ClusterSnapshot, DesiredState, WorkerKey};

/// A change of who should run a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// The task goes to this worker.
    Assign(TaskId, WorkerKey),
    /// The task is taken from everybody.
    Unassign(TaskId),
}

/// The changes that bring the assignments to what they should be.
///
/// A task stays where it is while its worker lives, or while `spared` names the worker: it went just now, and may be
/// back at once under the same id (P9). A task whose dead worker still holds `running/<task>` waits: a session that has
/// not expired may go on.
pub fn moves(cluster: &ClusterSnapshot, spared: &BTreeSet<WorkerKey>) -> Vec<Move> {
    let mut load: BTreeMap<&WorkerKey, u32> =
        cluster.workers.iter().filter(|(_, w)| !w.info.draining).map(|(key, _)| (key, 0)).collect();
    let mut seen: BTreeSet<&TaskId> = BTreeSet::new();
    let mut moves = Vec::new();
    let mut homeless: Vec<&TaskId> = Vec::new();
    for assignment in &cluster.assignments {
        let wanted = cluster.tasks.get(&assignment.task).is_some_and(|t| t.value.desired != DesiredState::Stopped);
        if !wanted {
            if seen.insert(&assignment.task) {
                moves.push(Move::Unassign(assignment.task.clone()));
            }
            continue;
        }
        if !seen.insert(&assignment.task) {
            continue;
        }
        match load.get_mut(&assignment.worker) {
            Some(tasks) => *tasks += 1,
            None if stays(cluster, &assignment.worker, &assignment.task, spared) => {}
            None => homeless.push(&assignment.task),
        }
    }
    homeless.extend(
        cluster
            .tasks
            .iter()
            .filter(|(id, t)| t.value.desired != DesiredState::Stopped && !seen.contains(id))
            .map(|(id, _)| id),
    );
    homeless.sort_unstable();
    for task in homeless {
        let free = load.iter_mut().filter(|(worker, tasks)| {
            worker.service == task.kind.service()
                && cluster.workers.get(**worker).is_some_and(|w| **tasks < w.info.capacity)
        });
        // The least loaded one; of equals the first by name. Nobody: the task keeps the worker that is gone.
        if let Some((worker, tasks)) = free.min_by_key(|(worker, tasks)| (**tasks, worker.id.clone())) {
            *tasks += 1;
            moves.push(Move::Assign(task.clone(), (*worker).clone()));
        }
    }
    moves
}

/// Whether a task keeps a worker that gets no new ones.
fn stays(cluster: &ClusterSnapshot, worker: &WorkerKey, task: &TaskId, spared: &BTreeSet<WorkerKey>) -> bool {
    let draining = cluster.workers.contains_key(worker);
    let runs = cluster.running.get(task).is_some_and(|r| r.value.worker == *worker);
    !draining && (runs || spared.contains(worker))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::Epoch;
    use lutra_coordination::{
        Assignment, ObservedState, RunningStatus, Stored, TaskDefinition, Version, WorkerInfo, WorkerStatus,
    };
    use uuid::Uuid;

    use super::*;

    fn stored<T>(value: T) -> Stored<T> {
        Stored { value, version: Version(0), czxid: 1, owner: 0, created_at: 0, changed_at: 0 }
    }

    fn cluster(tasks: &[&str], workers: &[&str], assignments: &[(&str, &str)]) -> ClusterSnapshot {
        let worker = |key: &WorkerKey| WorkerStatus {
            info: WorkerInfo {
                service: key.service.clone(),
                id: key.id.clone(),
                address: String::new(),
                capacity: 2,
                build: String::new(),
                home: Uuid::nil(),
                draining: false,
            },
            registered_at: 0,
        };
        ClusterSnapshot {
            tasks: tasks.iter().map(|t| (t.parse().unwrap(), stored(TaskDefinition::new(Uuid::nil())))).collect(),
            workers: workers.iter().map(|w| w.parse::<WorkerKey>().unwrap()).map(|k| (k.clone(), worker(&k))).collect(),
            assignments: assignments
                .iter()
                .map(|(w, t)| Assignment { worker: w.parse().unwrap(), task: t.parse().unwrap() })
                .collect(),
            ..ClusterSnapshot::default()
        }
    }

    fn said(cluster: &ClusterSnapshot, spared: &[&str]) -> Vec<String> {
        let spared = spared.iter().map(|w| w.parse().unwrap()).collect();
        moves(cluster, &spared)
            .iter()
            .map(|m| match m {
                Move::Assign(task, worker) => format!("{task}>{worker}"),
                Move::Unassign(task) => format!("{task}>"),
            })
            .collect()
    }

    fn runs(cluster: &mut ClusterSnapshot, task: &str, worker: &str) {
        let status = RunningStatus {
            worker: worker.parse().unwrap(),
            home: Uuid::nil(),
            state: ObservedState::Running,
            epoch: Epoch::new(1, 1),
            spec_version: 1,
            detail: serde_json::Value::Null,
        };
        cluster.running.insert(task.parse().unwrap(), stored(status));
    }

    #[test]
    fn tasks_go_round_the_workers_of_their_service_up_to_their_capacity() {
        let tasks = ["load/a", "load/b", "load/c", "load/d", "load/e", "extract/s"];
        let cluster = cluster(&tasks, &["loader.x", "loader.y"], &[]);
        assert_eq!(said(&cluster, &[]), ["load/a>loader.x", "load/b>loader.y", "load/c>loader.x", "load/d>loader.y"]);
    }

    #[test]
    fn a_task_stays_with_a_living_worker() {
        let cluster = cluster(&["load/a"], &["loader.x", "loader.y"], &[("loader.y", "load/a")]);
        assert!(said(&cluster, &[]).is_empty());
    }

    #[test]
    fn a_dead_workers_task_moves_when_nothing_of_it_runs_and_it_is_not_spared() {
        let mut cluster = cluster(&["load/a"], &["loader.x"], &[("loader.y", "load/a")]);
        assert!(said(&cluster, &["loader.y"]).is_empty());
        assert_eq!(said(&cluster, &[]), ["load/a>loader.x"]);
        runs(&mut cluster, "load/a", "loader.y");
        assert!(said(&cluster, &[]).is_empty());
    }

    #[test]
    fn a_draining_worker_gives_its_tasks_to_others_and_keeps_them_if_there_are_none() {
        let mut cluster = cluster(&["load/a"], &["loader.x", "loader.y"], &[("loader.y", "load/a")]);
        runs(&mut cluster, "load/a", "loader.y");
        cluster.workers.get_mut(&"loader.y".parse().unwrap()).unwrap().info.draining = true;
        assert_eq!(said(&cluster, &[]), ["load/a>loader.x"]);
        cluster.workers.remove(&"loader.x".parse().unwrap());
        assert!(said(&cluster, &[]).is_empty());
    }

    #[test]
    fn what_is_stopped_or_undefined_is_taken_away() {
        let mut cluster = cluster(&["load/a"], &["loader.x"], &[("loader.x", "load/a"), ("loader.x", "load/gone")]);
        cluster.tasks.get_mut(&"load/a".parse().unwrap()).unwrap().value.desired = DesiredState::Stopped;
        assert_eq!(said(&cluster, &[]), ["load/a>", "load/gone>"]);
    }
}

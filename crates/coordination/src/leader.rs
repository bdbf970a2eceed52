//! Of several managers one leads: the lock recipe. What only the leader may write is fenced by its lock node in the same
//! multi-operation, so a leader that does not know of its end yet writes nothing.

use lutra_change::TaskId;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use serde::{Deserialize, Serialize};
use zookeeper_client::{Acls, CheckWriteError, CheckWriter, Error as Zk, LockPrefix, OwnedLockClient};

use crate::error::{CoordinationError, Result};
use crate::model::{TaskDefinition, WorkerKey};
use crate::node::{PERSISTENT, Session, Version, encode};
use crate::session::Coordination;
use crate::tree::{Tree, parse_task_node};

/// The name in the lock nodes' names, as Curator's `LeaderLatch` has it.
const LOCK_NAME: &str = "latch-";

#[derive(Debug, Serialize, Deserialize)]
struct LeaderNode {
    address: String,
}

/// A candidate for leadership.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    coordination: Coordination,
    address: String,
}

impl LeaderElection {
    /// A candidate that serves its API at `address`, which everybody can read while it leads.
    pub fn new(coordination: Coordination, address: impl Into<String>) -> Self {
        Self { coordination, address: address.into() }
    }

    /// Waits until this candidate leads; for ever, over lost sessions. Cancel safe.
    pub async fn campaign(&self) -> Result<Leadership> {
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        loop {
            let session = self.coordination.next_session().await;
            match self.campaign_once(&session).await {
                Err(error) if error.is_transient() || matches!(error, CoordinationError::LeadershipLost) => {
                    tracing::debug!(%error, "not elected; trying again");
                    // Nothing cancels the wait but dropping this future.
                    let _ = backoff.wait(&CancellationToken::new()).await;
                }
                done => return done,
            }
        }
    }

    async fn campaign_once(&self, session: &Session) -> Result<Leadership> {
        let directory = self.coordination.tree().leader();
        let fault = |source| match source {
            Zk::RuntimeInconsistent => CoordinationError::LeadershipLost,
            source => CoordinationError::operation("lock", &directory, source),
        };
        let data = encode(&directory, &LeaderNode { address: self.address.clone() })?;
        let prefix = LockPrefix::new_curator(&directory, LOCK_NAME).map_err(fault)?;
        let lock = tokio::select! {
            biased;
            _ = session.ended() => return Err(fault(Zk::SessionExpired)),
            lock = session.client().lock(prefix, &data, Acls::anyone_all()) => lock.map_err(fault)?,
        };
        tracing::info!(address = self.address, "this manager leads");
        Ok(Leadership { coordination: self.coordination.clone(), session: session.clone(), lock: lock.into_owned() })
    }
}

/// The address of the first lock node in line.
pub(crate) async fn address(session: &Session, tree: &Tree) -> Result<Option<String>> {
    let directory = tree.leader();
    let sequence = |name: &str| name.rsplit_once(LOCK_NAME).map(|(_, sequence)| sequence.to_owned());
    let names = session.children(&directory).await?;
    let first = names.iter().filter(|name| sequence(name).is_some()).min_by_key(|name| sequence(name));
    let Some(first) = first else { return Ok(None) };
    Ok(session.read::<LeaderNode>(&format!("{directory}/{first}")).await?.map(|node| node.value.address))
}

/// The right to write tasks and assignments. Dropping it gives the leadership up.
#[derive(Debug)]
pub struct Leadership {
    coordination: Coordination,
    session: Session,
    lock: OwnedLockClient,
}

impl Leadership {
    /// Returns when the session that holds the lock is lost: campaign again. Until then nobody else can lead.
    pub async fn lost(&self) {
        self.session.ended().await;
    }

    fn tree(&self) -> &Tree {
        self.coordination.tree()
    }

    /// Gives the task to a worker, and takes it from all others, in one step. Idempotent.
    pub async fn assign(&self, task: &TaskId, worker: &WorkerKey) -> Result<()> {
        self.session.make_directory(&self.tree().assignments_of(worker)).await?;
        let holders = self.holders(task).await?;
        let mut write = self.lock.new_check_writer();
        let mut empty = true;
        for holder in holders.iter().filter(|holder| *holder != worker) {
            empty = false;
            let path = self.tree().assignment(holder, task);
            write.add_delete(&path, None).map_err(|source| CoordinationError::operation("delete", &path, source))?;
        }
        if !holders.contains(worker) {
            empty = false;
            let path = self.tree().assignment(worker, task);
            let added = write.add_create(&path, b"{\"version\":1}", &PERSISTENT);
            added.map_err(|source| CoordinationError::operation("create", &path, source))?;
        }
        if empty { Ok(()) } else { self.commit(write, "assign", &self.tree().assignment(worker, task)).await }
    }

    /// Takes the task from every worker. Idempotent.
    pub async fn unassign(&self, task: &TaskId) -> Result<()> {
        for holder in self.holders(task).await? {
            let path = self.tree().assignment(&holder, task);
            let mut write = self.lock.new_check_writer();
            write.add_delete(&path, None).map_err(|source| CoordinationError::operation("delete", &path, source))?;
            self.commit(write, "unassign", &path).await?;
        }
        Ok(())
    }

    /// Removes the empty directory of a worker that is gone; does nothing while it has assignments.
    pub async fn forget_worker(&self, worker: &WorkerKey) -> Result<()> {
        let path = self.tree().assignments_of(worker);
        let mut write = self.lock.new_check_writer();
        write.add_delete(&path, None).map_err(|source| CoordinationError::operation("delete", &path, source))?;
        match self.commit(write, "forget", &path).await {
            Err(CoordinationError::NotFound { .. }) => Ok(()),
            Err(CoordinationError::Operation { source: Zk::NotEmpty, .. }) => Ok(()),
            done => done,
        }
    }

    /// Defines a new task.
    pub async fn create_task(&self, task: &TaskId, definition: &TaskDefinition) -> Result<()> {
        let path = self.tree().task(task);
        let mut write = self.lock.new_check_writer();
        let added = write.add_create(&path, &encode(&path, definition)?, &PERSISTENT);
        added.map_err(|source| CoordinationError::operation("create", &path, source))?;
        self.commit(write, "create", &path).await
    }

    /// Changes a task's definition, of which `expected` was read.
    pub async fn update_task(&self, task: &TaskId, definition: &TaskDefinition, expected: Version) -> Result<()> {
        let path = self.tree().task(task);
        let mut write = self.lock.new_check_writer();
        let added = write.add_set_data(&path, &encode(&path, definition)?, Some(expected.0));
        added.map_err(|source| CoordinationError::operation("write", &path, source))?;
        self.commit(write, "write", &path).await
    }

    /// Deletes a task with all that is known of it. Idempotent.
    pub async fn delete_task(&self, task: &TaskId) -> Result<()> {
        let path = self.tree().task(task);
        let mut write = self.lock.new_check_writer();
        let mut parts = Vec::new();
        for directory in [self.tree().loads(task), self.tree().copies(task)] {
            let names = self.session.children(&directory).await?;
            parts.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
            parts.push(directory);
        }
        parts.extend(self.tree().task_parts(task));
        for part in parts {
            if self.session.exists(&part).await?.is_some() {
                write
                    .add_delete(&part, None)
                    .map_err(|source| CoordinationError::operation("delete", &part, source))?;
            }
        }
        write.add_delete(&path, None).map_err(|source| CoordinationError::operation("delete", &path, source))?;
        match self.commit(write, "delete", &path).await {
            Err(CoordinationError::NotFound { .. }) if self.session.exists(&path).await?.is_none() => Ok(()),
            done => done,
        }
    }

    /// Every worker, alive or not, that the task is assigned to.
    async fn holders(&self, task: &TaskId) -> Result<Vec<WorkerKey>> {
        let mut holders = Vec::new();
        for name in self.session.children(&self.tree().assignments()).await? {
            let Ok(worker) = name.parse::<WorkerKey>() else { continue };
            let tasks = self.session.children(&self.tree().assignments_of(&worker)).await?;
            if tasks.iter().any(|node| parse_task_node(node).as_ref() == Some(task)) {
                holders.push(worker);
            }
        }
        Ok(holders)
    }

    /// Commits a fenced write; a lock that is gone is told from a write that does not fit.
    async fn commit(&self, write: CheckWriter<'_>, operation: &'static str, path: &str) -> Result<()> {
        match self.session.in_time(write.commit()).await {
            Ok(_) => Ok(()),
            Err(CheckWriteError::CheckFailed { .. }) => Err(CoordinationError::LeadershipLost),
            Err(error) => Err(CoordinationError::operation(operation, path, Zk::from(error))),
        }
    }
}

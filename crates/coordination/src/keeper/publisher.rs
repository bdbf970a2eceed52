//! Writes what a run says: the newest state, bookmark, `begun` and failure; in the background, as ZooKeeper allows.

use std::sync::Arc;
use std::time::Duration;

use lutra_change::TaskId;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use tokio::sync::watch;

use super::taking::status;
use crate::error::Result;
use crate::model::{RunningStatus, WorkerInfo};
use crate::node::Session;
use crate::store::{BegunNode, append_bookmark};
use crate::task::{FailureNode, Outbox};
use crate::tree::Tree;

/// Shortest time between two writes of one task: a run may say its state as often as it likes.
const QUIET: Duration = Duration::from_millis(100);

/// Writes one taking's outbox.
pub(super) struct Publisher {
    tree: Tree,
    task: TaskId,
    info: Arc<WorkerInfo>,
    held: watch::Receiver<Option<Session>>,
    outbox: watch::Receiver<Outbox>,
    status: Option<(i64, RunningStatus)>,
    lasting: Option<Lasting>,
}

/// The parts that outlive the taking.
#[derive(Clone, Debug, PartialEq)]
struct Lasting {
    bookmark: Option<serde_json::Value>,
    begun: Option<lutra_change::LogId>,
    failure: FailureNode,
}

impl Publisher {
    pub(super) fn new(
        tree: Tree,
        task: TaskId,
        info: Arc<WorkerInfo>,
        held: watch::Receiver<Option<Session>>,
        outbox: watch::Receiver<Outbox>,
    ) -> Self {
        Self { tree, task, info, held, outbox, status: None, lasting: None }
    }

    /// Runs until the taking ends.
    pub(super) async fn run(mut self) {
        let never = CancellationToken::new();
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        loop {
            let session = self.held.borrow_and_update().clone();
            self.outbox.mark_unchanged();
            if let Some(session) = session {
                match self.write(&session).await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        tracing::debug!(task = %self.task, %error, "the task's state was not written; trying again");
                        let _ = backoff.wait(&never).await;
                        continue;
                    }
                }
                tokio::time::sleep(QUIET).await;
            }
            let ended = tokio::select! {
                changed = self.outbox.changed() => changed.is_err(),
                changed = self.held.changed() => changed.is_err(),
            };
            if ended {
                return;
            }
        }
    }

    async fn write(&mut self, session: &Session) -> Result<()> {
        let outbox = self.outbox.borrow().clone();
        let status = status(&self.info, &outbox);
        let wanted = Some((session.id(), status));
        if self.status != wanted
            && let Some((_, status)) = &wanted
        {
            // Safe without a version: as long as this session lives, the node is ours.
            session.write(&self.tree.running_task(&self.task), status, None).await?;
            self.status = wanted;
        }
        self.write_parts(session, &outbox).await
    }

    /// Writes what outlives the taking; what fails is logged.
    pub(super) async fn write_lasting(&mut self, session: &Session) {
        let outbox = self.outbox.borrow().clone();
        if let Err(error) = self.write_parts(session, &outbox).await {
            tracing::debug!(task = %self.task, %error, "the last bookmark of the task was not written");
        }
    }

    async fn write_parts(&mut self, session: &Session, outbox: &Outbox) -> Result<()> {
        let wanted =
            Lasting { bookmark: outbox.bookmark.clone(), begun: outbox.begun, failure: outbox.failure.clone() };
        let (bookmark, begun, failure) = match &self.lasting {
            Some(written) => {
                (written.bookmark != wanted.bookmark, written.begun != wanted.begun, written.failure != wanted.failure)
            }
            None => (true, true, true),
        };
        if let (true, Some(log_id)) = (begun, wanted.begun) {
            session.put(&self.tree.begun(&self.task), &BegunNode { log_id }).await?;
        }
        if let (true, Some(bookmark)) = (bookmark, &wanted.bookmark) {
            append_bookmark(session, &self.tree, &self.task, bookmark).await?;
        }
        match (failure, &wanted.failure) {
            (true, FailureNode::Set(report)) => session.put(&self.tree.failure(&self.task), report).await?,
            (true, FailureNode::Clear) => {
                session.delete(&self.tree.failure(&self.task), None).await?;
            }
            _ => {}
        }
        self.lasting = Some(wanted);
        Ok(())
    }
}

//! No task without a supervisor: the kind says what an error, a panic and an early return do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::{TaskEnded, TaskOutcome};
use crate::retry::{Backoff, BackoffPolicy};

/// What the end of a task means for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// The process is nothing without it: error, panic, or a return before shutdown begin the shutdown, with exit code 1.
    Critical,
    /// It has an end: returning is fine; error or panic begin the shutdown, with exit code 1.
    Finite,
    /// The process goes on without it: error and panic are logged.
    BestEffort,
}

/// What a supervised task ends with.
pub type TaskResult = Result<(), anyhow::Error>;

/// Runs tasks and knows which are alive.
#[derive(Clone, Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shutdown: CancellationToken,
    closing: CancellationToken,
    abort: CancellationToken,
    tracker: TaskTracker,
    alive: Mutex<BTreeMap<u64, String>>,
    next_id: Mutex<u64>,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Supervisor {
    /// A supervisor whose critical failures cancel `shutdown`.
    pub fn new(shutdown: CancellationToken) -> Self {
        let shared = Shared {
            shutdown,
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            tracker: TaskTracker::new(),
            alive: Mutex::default(),
            next_id: Mutex::default(),
            failure: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Cancelled once the service's own work has ended: what serves it (HTTP, sessions, telemetry) ends now, last.
    pub fn closing(&self) -> CancellationToken {
        self.shared.closing.clone()
    }

    /// Runs `task` under `name`.
    pub fn spawn<F, E>(&self, kind: TaskKind, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let name = name.into();
        let shared = Arc::clone(&self.shared);
        let id = shared.enter(&name);
        let work = async move { task.await.map_err(Into::into) };
        self.shared.tracker.spawn(async move {
            let outcome = isolate(&shared, work).await;
            shared.leave(id);
            shared.judge(kind, &name, outcome);
        });
    }

    /// Runs `make()` again and again: whenever it ends in an error or a panic, after the back-off of `policy`; until
    /// shutdown begins or it returns `Ok`.
    pub fn spawn_restartable<M, F, E>(&self, name: impl Into<String>, policy: BackoffPolicy, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let name = name.into();
        let shared = Arc::clone(&self.shared);
        let id = shared.enter(&name);
        self.shared.tracker.spawn(async move {
            let mut backoff = Backoff::new(policy);
            loop {
                let work = make();
                let outcome = isolate(&shared, async move { work.await.map_err(Into::into) }).await;
                let again = matches!(outcome, TaskOutcome::Failed(_) | TaskOutcome::Panicked(_));
                TaskEnded { task: &name, outcome: &outcome, fatal: false }.emit();
                if !again || backoff.wait(&shared.shutdown).await.is_err() {
                    break;
                }
            }
            shared.leave(id);
        });
    }

    /// Runs a task of the runtime's own that ends at closing and is not worth a name.
    pub(crate) fn spawn_silent(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tracker.spawn(task);
    }

    /// The names of the tasks that still run.
    pub fn alive(&self) -> Vec<String> {
        self.shared.alive().values().cloned().collect()
    }

    /// The first failure that began a shutdown, if any.
    pub(crate) fn take_failure(&self) -> Option<anyhow::Error> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Registers `name` as alive until the guard is dropped (for the service's own future, which is not spawned).
    pub(crate) fn enter(&self, name: &str) -> AliveGuard {
        AliveGuard { shared: Arc::clone(&self.shared), id: self.shared.enter(name) }
    }

    /// Ends the supporting tasks: closing, then up to `grace` of waiting, then abort. Says who is late.
    pub(crate) async fn close(&self, grace: Duration) {
        self.shared.closing.cancel();
        self.shared.tracker.close();
        if tokio::time::timeout(grace, self.shared.tracker.wait()).await.is_err() {
            tracing::warn!(alive = ?self.alive(), "tasks did not end in time and are cut off");
            self.shared.abort.cancel();
            // Aborted at the next await point; a task that never awaits cannot be waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.shared.tracker.wait()).await;
        }
    }
}

/// Keeps a name in the list of the living.
#[derive(Debug)]
pub(crate) struct AliveGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}

impl Shared {
    fn alive(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &str) -> u64 {
        let mut next = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        self.alive().insert(*next, name.to_owned());
        *next
    }

    fn leave(&self, id: u64) {
        self.alive().remove(&id);
    }

    fn judge(&self, kind: TaskKind, name: &str, outcome: TaskOutcome) {
        let fatal = match (&outcome, kind) {
            (TaskOutcome::Cut, _) | (_, TaskKind::BestEffort) | (TaskOutcome::Returned, TaskKind::Finite) => false,
            (TaskOutcome::Returned, TaskKind::Critical) => {
                !self.shutdown.is_cancelled() && !self.closing.is_cancelled()
            }
            (TaskOutcome::Failed(_) | TaskOutcome::Panicked(_), TaskKind::Critical | TaskKind::Finite) => true,
        };
        TaskEnded { task: name, outcome: &outcome, fatal }.emit();
        if fatal {
            let cause = match outcome {
                TaskOutcome::Failed(error) => error.context(format!("task {name} failed")),
                TaskOutcome::Panicked(message) => anyhow::anyhow!("task {name} panicked: {message}"),
                TaskOutcome::Returned | TaskOutcome::Cut => anyhow::anyhow!("task {name} ended before shutdown"),
            };
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
            self.shutdown.cancel();
        }
    }
}

/// Runs the work so that a panic is an outcome, and abort cuts it.
async fn isolate(shared: &Shared, work: impl Future<Output = TaskResult> + Send + 'static) -> TaskOutcome {
    // A set of its own: the panic is caught at its join, and dropping it aborts the work.
    let mut set = tokio::task::JoinSet::new();
    set.spawn(work);
    tokio::select! {
        biased;
        () = shared.abort.cancelled() => TaskOutcome::Cut,
        joined = set.join_next() => match joined {
            Some(Ok(Ok(()))) => TaskOutcome::Returned,
            Some(Ok(Err(error))) => TaskOutcome::Failed(error),
            Some(Err(error)) if error.is_panic() => TaskOutcome::Panicked(panic_message(error)),
            Some(Err(_)) | None => TaskOutcome::Cut,
        },
    }
}

/// The text of a panic.
fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "cancelled".to_owned() };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "a panic without a text".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    type Nothing = Result<(), std::io::Error>;

    #[tokio::test]
    async fn the_panic_of_a_critical_task_begins_the_shutdown() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn(TaskKind::Critical, "core", async { if true { panic!("torn") } else { Nothing::Ok(()) } });
        supervisor.shared.shutdown.cancelled().await;
        assert_eq!(supervisor.take_failure().unwrap().to_string(), "task core panicked: torn");
    }

    #[tokio::test]
    async fn the_early_return_of_a_critical_task_begins_the_shutdown() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn(TaskKind::Critical, "core", async { Nothing::Ok(()) });
        supervisor.shared.shutdown.cancelled().await;
        assert!(supervisor.take_failure().is_some());
    }

    #[tokio::test]
    async fn the_process_goes_on_without_a_best_effort_task() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn(TaskKind::BestEffort, "extra", async { Err(std::io::Error::other("gone")) });
        supervisor.spawn(TaskKind::Finite, "once", async { Nothing::Ok(()) });
        supervisor.close(Duration::from_secs(1)).await;
        assert!(supervisor.take_failure().is_none());
        assert!(supervisor.alive().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_names_and_cuts_who_does_not_end() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn(TaskKind::BestEffort, "stubborn", async {
            std::future::pending::<()>().await;
            Nothing::Ok(())
        });
        tokio::task::yield_now().await;
        assert_eq!(supervisor.alive(), ["stubborn"]);
        supervisor.close(Duration::from_secs(3)).await;
        assert!(supervisor.alive().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_restartable_task_comes_back_after_errors_and_panics() {
        let supervisor = Supervisor::new(CancellationToken::new());
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        supervisor.spawn_restartable("again", BackoffPolicy::CONNECT, move || {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => Err(std::io::Error::other("once")),
                    1 => panic!("twice"),
                    _ => Ok(()),
                }
            }
        });
        while !supervisor.alive().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}

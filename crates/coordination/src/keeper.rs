//! Keeps one assigned task: takes it, runs it, reports it, gives it back.
//!
//! A *taking* is one stretch of holding `running/<task>`. It outlives lost sessions as long as nobody else took the task
//! in between: the node is made again and work goes on under its old epoch (P9).

mod publisher;
mod taking;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lutra_change::TaskId;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until};

use self::taking::{Taking, Wake};
use crate::agent::AgentOptions;
use crate::events::{RunFailed, RunStarted};
use crate::model::{DesiredState, FailureReport, ObservedState, RestartRequest, TaskDefinition, WorkerInfo};
use crate::session::Coordination;
use crate::task::{Disposition, FailureNode, TaskContext, TaskEnd, TaskFailure, TaskHandle, TaskRunner};

/// A run that says nothing counts as running after this time: it has neither failed nor ended.
const SETTLED: Duration = Duration::from_secs(15);

/// A run of at least this length was healthy: the next failure begins the back-off anew. Of a server that is lost every half
/// minute each loss counts for itself: nobody waits a minute for one that is long back.
const HEALTHY: Duration = Duration::from_secs(15);

/// How long a run that was cut off may take to be gone.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// Keeps one assigned task until it is released.
pub(crate) struct TaskKeeper<R> {
    pub(crate) coordination: Coordination,
    pub(crate) task: TaskId,
    pub(crate) info: Arc<WorkerInfo>,
    pub(crate) runner: Arc<R>,
    pub(crate) options: AgentOptions,
    /// The assignment was withdrawn, or the process ends.
    pub(crate) release: CancellationToken,
}

/// How a run ended.
enum RunEnd {
    /// By itself, or because it was asked to.
    Ended { asked: bool, result: Result<TaskEnd, TaskFailure> },
    /// It did not drain in time, or the task was taken by another: cut off.
    Cut,
    /// Another holds the task.
    Lost,
}

/// What to do next.
enum Next {
    Decide,
    /// Take the task anew.
    Retake,
    /// Give it back.
    Released,
}

/// The failures of a task in a row.
struct Failures {
    count: u32,
    retry: Backoff,
    halted: Backoff,
}

impl Failures {
    fn new() -> Self {
        Self { count: 0, retry: Backoff::new(BackoffPolicy::TASK), halted: Backoff::new(BackoffPolicy::HALTED) }
    }

    fn delay(&mut self, disposition: Disposition) -> Duration {
        self.count = self.count.saturating_add(1);
        match disposition {
            Disposition::Retry => self.retry.next_delay(),
            Disposition::Halt => self.halted.next_delay(),
        }
    }
}

impl<R: TaskRunner> TaskKeeper<R> {
    /// Takes, runs, and finally gives back the task.
    pub(crate) async fn run(self) {
        let mut failures = Failures::new();
        loop {
            let taking = tokio::select! {
                biased;
                () = self.release.cancelled() => None,
                taking = Taking::begin(&self.coordination, &self.task, &self.info) => Some(taking),
            };
            let Some(taking) = taking else { return taking::give_up(&self.coordination, &self.task).await };
            if self.hold(taking, &mut failures).await {
                return;
            }
        }
    }

    /// Works under one taking, publishing in the background; says whether the task was released.
    async fn hold(&self, mut taking: Taking, failures: &mut Failures) -> bool {
        let publisher = taking.publisher();
        let next = tokio::select! {
            biased;
            () = publisher.run() => Next::Released,
            next = self.work(&mut taking, failures) => next,
        };
        taking.give_back().await;
        matches!(next, Next::Released)
    }

    async fn work(&self, taking: &mut Taking, failures: &mut Failures) -> Next {
        let mut completed = None;
        loop {
            let next = match taking.definition.clone() {
                None if taking.foreign.is_some() => self.refuse(taking, failures).await,
                Some(definition) if definition.desired == DesiredState::Running => {
                    if completed == Some(definition.spec_version) && !taking.restart_requested() {
                        self.idle(taking, ObservedState::Completed).await
                    } else {
                        self.run_and_judge(taking, definition, failures, &mut completed).await
                    }
                }
                Some(definition) if definition.desired == DesiredState::Paused => {
                    self.idle(taking, ObservedState::Paused).await
                }
                _ => self.idle(taking, ObservedState::Cancelled).await,
            };
            match next {
                Next::Decide => {}
                end => return end,
            }
        }
    }

    /// The definition is not understood: says so until it is another one.
    async fn refuse(&self, taking: &mut Taking, failures: &mut Failures) -> Next {
        let Some(failure) = taking.foreign.clone() else { return Next::Decide };
        let delay = failures.delay(failure.disposition);
        self.tell(taking, &failure, failures.count, delay);
        tokio::time::timeout(delay, self.rest(taking)).await.unwrap_or(Next::Decide)
    }

    /// Does nothing until something changes.
    async fn idle(&self, taking: &mut Taking, state: ObservedState) -> Next {
        taking.say(state, serde_json::Value::Null);
        self.rest(taking).await
    }

    /// Waits until something changes.
    async fn rest(&self, taking: &mut Taking) -> Next {
        tokio::select! {
            biased;
            () = self.release.cancelled() => Next::Released,
            wake = taking.wake() => match wake {
                Wake::Look => Next::Decide,
                Wake::HeldByAnother => Next::Retake,
            },
        }
    }

    async fn run_and_judge(
        &self,
        taking: &mut Taking,
        definition: TaskDefinition,
        failures: &mut Failures,
        completed: &mut Option<u64>,
    ) -> Next {
        let began = Instant::now();
        let end = self.run_once(taking, &definition).await;
        if began.elapsed() >= HEALTHY {
            *failures = Failures::new();
        }
        if self.release.is_cancelled() {
            return Next::Released;
        }
        match end {
            RunEnd::Lost => Next::Retake,
            RunEnd::Cut | RunEnd::Ended { asked: true, result: Ok(TaskEnd::Drained) } => Next::Decide,
            RunEnd::Ended { result: Ok(TaskEnd::Completed), .. } => {
                taking.outbox.send_modify(|outbox| outbox.failure = FailureNode::Clear);
                *completed = Some(definition.spec_version);
                Next::Decide
            }
            RunEnd::Ended { result: Ok(TaskEnd::Fenced), .. } => {
                let failure = fenced(&self.task);
                self.fail(taking, &definition, &failure, failures).await.fenced()
            }
            RunEnd::Ended { result: Ok(TaskEnd::Drained), .. } => {
                let failure =
                    TaskFailure::message("the task ended by itself", Disposition::Retry, "it is started again");
                self.fail(taking, &definition, &failure, failures).await
            }
            RunEnd::Ended { result: Err(failure), .. } => self.fail(taking, &definition, &failure, failures).await,
        }
    }

    /// One run, until it ends or is cut off.
    async fn run_once(&self, taking: &mut Taking, definition: &TaskDefinition) -> RunEnd {
        // Whoever asked for a restart gets this start.
        let answers = taking.consume_restart().await;
        taking.epochs.set_floor(definition.epoch_floor);
        taking.starting(definition.spec_version);
        let (term, spec_version) = (taking.epochs.term(), definition.spec_version);
        RunStarted { task: &self.task, term, spec_version }.emit();
        let stop = CancellationToken::new();
        let mut runs = JoinSet::new();
        runs.spawn(start(Arc::clone(&self.runner), self.context(taking, definition, &stop, answers)));
        let mut settled = Box::pin(sleep_until(Instant::now() + SETTLED));
        let mut late: Option<Pin<Box<Sleep>>> = None;
        let drain = |late: &mut Option<Pin<Box<Sleep>>>| {
            stop.cancel();
            late.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.options.drain_timeout)));
        };
        let mut waits = true;
        loop {
            tokio::select! {
                biased;
                joined = runs.join_next() => {
                    let result = joined.map_or(Ok(TaskEnd::Drained), settle);
                    return RunEnd::Ended { asked: late.is_some(), result };
                }
                () = wait_late(&mut late), if late.is_some() => {
                    tracing::warn!(task = %self.task, "the run did not drain in time and is cut off");
                    cut(&mut runs).await;
                    return RunEnd::Cut;
                }
                () = self.release.cancelled(), if late.is_none() => drain(&mut late),
                () = &mut settled, if waits => {
                    waits = false;
                    taking.assume_running();
                }
                wake = taking.wake() => match wake {
                    Wake::HeldByAnother => {
                        tracing::warn!(task = %self.task, "another worker holds the task: this run is cut off");
                        cut(&mut runs).await;
                        return RunEnd::Lost;
                    }
                    Wake::Look if taking.must_stop(definition) => drain(&mut late),
                    Wake::Look => {}
                },
            }
        }
    }

    fn context(
        &self,
        taking: &Taking,
        definition: &TaskDefinition,
        stop: &CancellationToken,
        answers: Option<RestartRequest>,
    ) -> TaskContext {
        let handle = TaskHandle {
            task: self.task.clone(),
            log_id: definition.log.as_ref().map(|log| log.log_id),
            store: self.coordination.store(),
            epochs: Arc::clone(&taking.epochs),
            outbox: taking.outbox.clone(),
            restart: taking.restart.subscribe(),
            answers,
            known: Arc::clone(&taking.known),
        };
        TaskContext {
            id: self.task.clone(),
            term: taking.epochs.term(),
            definition: definition.clone(),
            stop: stop.clone(),
            handle,
        }
    }

    /// Reports the failure and waits for the time, or the reason, to try again.
    async fn fail(
        &self,
        taking: &mut Taking,
        definition: &TaskDefinition,
        failure: &TaskFailure,
        failures: &mut Failures,
    ) -> Next {
        let delay = failures.delay(failure.disposition);
        self.tell(taking, failure, failures.count, delay);
        // Asked for while the run was about to fail: whoever asks has mended something.
        if taking.restart_requested() {
            return Next::Decide;
        }
        let retry = sleep_until(Instant::now() + delay);
        tokio::pin!(retry);
        loop {
            tokio::select! {
                biased;
                () = self.release.cancelled() => return Next::Released,
                () = &mut retry => return Next::Decide,
                wake = taking.wake() => match wake {
                    Wake::HeldByAnother => return Next::Retake,
                    Wake::Look if taking.must_stop(definition) => {
                        *failures = Failures::new();
                        return Next::Decide;
                    }
                    Wake::Look => {}
                },
            }
        }
    }

    fn tell(&self, taking: &Taking, failure: &TaskFailure, failures: u32, delay: Duration) {
        let report = self.report(failure, failures, delay);
        RunFailed { task: &self.task, failure, failures, retry_in: delay }.emit();
        let detail = json!({
            "message": report.message, "hint": report.hint, "failures": report.failures, "retry_at": report.retry_at,
        });
        taking.outbox.send_modify(|outbox| outbox.failure = FailureNode::Set(report));
        taking.say(ObservedState::Failed, detail);
    }

    fn report(&self, failure: &TaskFailure, failures: u32, delay: Duration) -> FailureReport {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        FailureReport {
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            chain: failure.chain.clone(),
            runbook: failure.runbook.to_owned(),
            halted: failure.disposition == Disposition::Halt,
            failures,
            failed_at: millis(now),
            retry_at: millis(now + delay),
            worker: self.info.key(),
        }
    }
}

impl Next {
    /// Behind a fenced run the task is taken anew: the new term may be the higher one.
    fn fenced(self) -> Self {
        match self {
            Self::Decide => Self::Retake,
            end => end,
        }
    }
}

async fn start<R: TaskRunner>(runner: Arc<R>, context: TaskContext) -> Result<TaskEnd, TaskFailure> {
    runner.run(context).await
}

async fn wait_late(late: &mut Option<Pin<Box<Sleep>>>) {
    match late {
        Some(late) => late.await,
        None => std::future::pending().await,
    }
}

/// A panic is the failure of this task alone.
fn settle(joined: Result<Result<TaskEnd, TaskFailure>, JoinError>) -> Result<TaskEnd, TaskFailure> {
    match joined {
        Ok(result) => result,
        Err(error) => {
            let hint = "this is a defect of Lutra: report it with the log; the task is started again";
            Err(TaskFailure::message(format!("the task ended badly: {error}"), Disposition::Retry, hint))
        }
    }
}

/// Ends the run at its next await point.
async fn cut(runs: &mut JoinSet<Result<TaskEnd, TaskFailure>>) {
    runs.abort_all();
    let _ = tokio::time::timeout(ABORT_GRACE, async { while runs.join_next().await.is_some() {} }).await;
}

fn fenced(task: &TaskId) -> TaskFailure {
    let message = format!("{task} was fenced: the log or the target has seen a higher epoch");
    let hint = "it is taken anew; if that repeats, ZooKeeper was restored or made anew and its terms are too low: \
                run `lutra adopt`";
    TaskFailure::message(message, Disposition::Retry, hint)
}

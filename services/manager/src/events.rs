//! What the manager says.
#![allow(clippy::disallowed_macros, reason = "this is the file where telemetry is made")]

use lutra_change::TaskId;
use lutra_coordination::WorkerKey;

use crate::error::{ManagerError, chain};

/// A pass of the reconciler has ended.
pub(crate) struct Reconciled<'a> {
    pub(crate) outcome: Result<u32, &'a ManagerError>,
}

impl Reconciled<'_> {
    pub(crate) fn emit(self) {
        match self.outcome {
            Ok(changes) => {
                metrics::counter!("lutra_manager_reconcile_total", "outcome" => "ok").increment(1);
                metrics::counter!("lutra_manager_changes_total").increment(u64::from(changes));
                metrics::gauge!("lutra_manager_reconcile_failing").set(0.0);
                if changes > 0 {
                    tracing::debug!(changes, "reconciled");
                }
            }
            Err(error) => {
                metrics::counter!("lutra_manager_reconcile_total", "outcome" => "error").increment(1);
                metrics::gauge!("lutra_manager_reconcile_failing").set(1.0);
                match crate::disposition::disposition(error) {
                    crate::disposition::Disposition::Retry => {
                        tracing::warn!(error = chain(error), "could not reconcile; trying again");
                    }
                    crate::disposition::Disposition::Refuse => {
                        tracing::error!(error = chain(error), "cannot reconcile until a person acts");
                    }
                }
            }
        }
    }
}

/// What is left of a log's retention for a reader.
pub(crate) struct HeadroomMeasured<'a> {
    pub(crate) reader: &'a TaskId,
    /// Where age removes records.
    pub(crate) seconds: Option<f64>,
    /// Where size does.
    pub(crate) bytes: Option<f64>,
}

impl HeadroomMeasured<'_> {
    pub(crate) fn emit(self) {
        let reader = || self.reader.to_string();
        if let Some(seconds) = self.seconds {
            metrics::gauge!("lutra_manager_log_headroom_seconds", "reader" => reader()).set(seconds);
        }
        if let Some(bytes) = self.bytes {
            metrics::gauge!("lutra_manager_log_headroom_bytes", "reader" => reader()).set(bytes);
        }
    }
}

/// A log's retention comes near to a reader.
pub(crate) struct RetentionNear<'a> {
    pub(crate) reader: &'a TaskId,
    pub(crate) warning: &'a str,
}

impl RetentionNear<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(reader = %self.reader, "{}", self.warning);
    }
}

/// Whether this manager leads has changed.
pub(crate) struct Leading {
    pub(crate) leads: bool,
}

impl Leading {
    pub(crate) fn emit(self) {
        metrics::gauge!("lutra_manager_leading").set(if self.leads { 1.0 } else { 0.0 });
        if !self.leads {
            tracing::info!("this manager does not lead");
        }
    }
}

/// A topic was made.
pub(crate) struct TopicsMade<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) topic: &'a str,
}

impl TopicsMade<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(task = %self.task, topic = self.topic, "topics of a log made");
    }
}

/// A task's definition was written or removed.
pub(crate) struct TaskDefined<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) what: &'static str,
}

impl TaskDefined<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(task = %self.task, "task {}", self.what);
    }
}

/// A task was given to a worker, or taken from all.
pub(crate) struct TaskAssigned<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) worker: Option<&'a WorkerKey>,
}

impl TaskAssigned<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!("lutra_manager_assignments_total").increment(1);
        match self.worker {
            Some(worker) => tracing::info!(task = %self.task, %worker, "task assigned"),
            None => tracing::info!(task = %self.task, "task taken from its worker"),
        }
    }
}

/// How many tasks there are, by state; said after each pass.
pub(crate) struct TaskStates<'a> {
    pub(crate) states: &'a std::collections::BTreeMap<String, u32>,
}

impl TaskStates<'_> {
    pub(crate) fn emit(self) {
        for (state, count) in self.states {
            metrics::gauge!("lutra_manager_tasks", "state" => state.clone()).set(f64::from(*count));
        }
    }
}

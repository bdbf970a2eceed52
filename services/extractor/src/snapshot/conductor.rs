//! The conductor: watches what pipelines want copied, and keeps one job per pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use lutra_coordination::{LoadProgress, LoadRequest, TaskHandle};
use lutra_mysql::ConnectOptions;
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use lutra_spec::SourceSpec;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::desk::DeskHandle;
use super::job::Job;
use crate::config::ExtractConfig;

/// Watches for the length of one attempt.
#[derive(Debug)]
pub struct Conductor {
    handle: TaskHandle,
    desk: DeskHandle,
    options: ConnectOptions,
    spec: Arc<SourceSpec>,
}

struct Running {
    request: watch::Sender<LoadRequest>,
    abort: AbortHandle,
}

impl Conductor {
    /// A conductor of one attempt, which reads that server.
    pub fn new(handle: TaskHandle, desk: DeskHandle, options: ConnectOptions, config: &ExtractConfig) -> Self {
        Self { handle, desk, options, spec: Arc::new(config.spec.clone()) }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut changes = self.handle.load_requests();
        let mut jobs = JoinSet::new();
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        let never = CancellationToken::new();
        loop {
            changes.next().await;
            loop {
                match self.look(&mut jobs, &mut running).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "what is to be copied cannot be read; tried again"),
                }
                let _ = backoff.wait(&never).await;
            }
            backoff.reset();
        }
    }

    async fn look(
        &self,
        jobs: &mut JoinSet<()>,
        running: &mut BTreeMap<String, Running>,
    ) -> Result<(), lutra_coordination::CoordinationError> {
        let wanted = self.handle.requested_loads().await?;
        let gone: Vec<String> = running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(job) = running.remove(&name) {
                job.abort.abort();
                self.handle.delete_copy(&name).await?;
            }
        }
        let mut saved: Option<BTreeMap<String, LoadProgress>> = None;
        for (name, request) in wanted {
            let known = running.get(&name).filter(|job| job.request.borrow().id == request.id);
            if let Some(job) = known {
                job.request.send_if_modified(|old| {
                    let news = *old != request;
                    *old = request;
                    news
                });
                continue;
            }
            if let Some(job) = running.remove(&name) {
                job.abort.abort();
            }
            let saved = match &mut saved {
                Some(saved) => saved,
                none => none.insert(self.handle.copies().await?),
            };
            let stored = saved.remove(&name);
            let is_stale = stored.as_ref().is_some_and(|progress| progress.id != request.id);
            let progress = stored.filter(|progress| progress.id == request.id);
            if is_stale {
                // How far another load came says nothing of this one.
                self.handle.delete_copy(&name).await?;
            }
            let (sender, receiver) = watch::channel(request);
            let job = Job::new(
                name.clone(),
                self.handle.clone(),
                self.desk.clone(),
                self.options.clone(),
                Arc::clone(&self.spec),
                receiver,
                progress,
            );
            let abort = jobs.spawn(job.run());
            running.insert(name, Running { request: sender, abort });
        }
        while jobs.try_join_next().is_some() {}
        Ok(())
    }
}

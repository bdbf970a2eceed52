//! How much of Kafka's retention is left for each reader of a log, whether it runs or not: measured once a minute by the
//! manager that leads, told before a reader is overtaken (P8).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{ClusterSnapshot, LogRef};
use lutra_kafka::KafkaLog;
use lutra_log::{Bookmark, ReadTransport, TransportError, TransportFactory};
use lutra_runtime::CancellationToken;
use lutra_spec::Kind;

use crate::adopt;
use crate::documents::Documents;
use crate::error::{ManagerError, chain};
use crate::events::{HeadroomMeasured, RetentionNear};
use crate::manager::Manager;
use crate::status::task_ids;

/// From one measurement to the next: retention is counted in hours.
const EVERY: Duration = Duration::from_secs(60);
/// How long one log may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Less than this part of the retention is left: time to look.
const SHORT: f64 = 0.25;

/// What the readers' headroom was when it was measured last.
#[derive(Debug, Default)]
pub(crate) struct Headrooms {
    by_reader: Mutex<BTreeMap<TaskId, Headroom>>,
}

/// What is left for one reader.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Headroom {
    /// Seconds until what it reads next may be removed; below zero: any moment, or it is gone.
    pub(crate) seconds: f64,
    /// The log's retention, in seconds.
    pub(crate) retention: f64,
    /// The topic.
    pub(crate) topic: String,
}

impl Headroom {
    /// What a person should know, when little is left.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.seconds < self.retention * SHORT).then(|| {
            format!(
                "topic {} keeps its records for {:.0} s, and may remove what is to be read next in {:.0} s: let the pipeline run, or \
                 raise the topic's retention.ms",
                self.topic, self.retention, self.seconds
            )
        })
    }
}

impl Headrooms {
    /// What is left for a reader, where that was measured.
    pub(crate) fn of(&self, reader: &TaskId) -> Option<Headroom> {
        self.by_reader.lock().unwrap_or_else(PoisonError::into_inner).get(reader).cloned()
    }

    /// Takes in a measurement; those that have become short are told.
    fn take(&self, measured: BTreeMap<TaskId, Headroom>) {
        let mut known = self.by_reader.lock().unwrap_or_else(PoisonError::into_inner);
        for (reader, headroom) in &measured {
            HeadroomMeasured { reader, seconds: headroom.seconds }.emit();
            let was = known.get(reader).and_then(Headroom::warning);
            if let (None, Some(warning)) = (was, headroom.warning()) {
                RetentionNear { reader, warning: &warning }.emit();
            }
        }
        *known = measured;
    }
}

/// Measures while this manager leads, until `shutdown`.
pub(crate) async fn run(manager: Manager, shutdown: CancellationToken) -> Result<(), anyhow::Error> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut leads = manager.inner.leadership.clone();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            // A new leader does not wait for a minute.
            changed = leads.changed() => if changed.is_err() { return Ok(()) },
            _ = ticks.tick() => {}
        }
        if !manager.leads() || manager.inner.kafka.topics.retention_ms <= 0 {
            continue;
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            measured = measure(&manager) => match measured {
                Ok(measured) => manager.inner.headrooms.take(measured),
                // What is down is told by others.
                Err(error) => tracing::debug!(error = chain(&error), "retention is not measured"),
            }
        }
    }
}

/// Measures all readers. Those whose place or log is not known now are left out.
async fn measure(manager: &Manager) -> Result<BTreeMap<TaskId, Headroom>, ManagerError> {
    let store = manager.store();
    let documents = Documents::read(store).await?;
    let cluster = store.snapshot().await?;
    let mut measured = BTreeMap::new();
    for name in documents.names(Kind::Pipeline) {
        let Some(spec) = documents.pipeline(name) else { continue };
        for reader in task_ids(name, &spec.source).into_iter().filter(|task| task.kind != TaskKind::Extract) {
            let Some((log, next_offset)) = place(manager, &documents, &cluster, &reader).await else { continue };
            let retention = manager.inner.kafka.topics.retention_ms as f64 / 1e3;
            match tokio::time::timeout(ANSWER, seconds(manager, &log.topic, next_offset, retention)).await {
                Ok(Ok(seconds)) => {
                    measured.insert(reader, Headroom { seconds, retention, topic: log.topic });
                }
                Ok(Err(error)) => tracing::debug!(%reader, error = chain(&error), "retention is not measured"),
                Err(_) => tracing::debug!(%reader, "retention is not measured: the log does not answer in time"),
            }
        }
    }
    Ok(measured)
}

/// Where a reader goes on: a transformer by its newest bookmark, a loader by its target's slot rows.
async fn place(
    manager: &Manager,
    documents: &Documents,
    cluster: &ClusterSnapshot,
    reader: &TaskId,
) -> Option<(LogRef, i64)> {
    let input = cluster.tasks.get(reader)?.value.input.clone()?;
    let next_offset = match reader.kind {
        TaskKind::Load => adopt::next_offset(documents, &reader.name, &input).await?,
        _ => {
            let values = manager.store().bookmarks(reader).await.ok()?;
            let bookmarks = values.into_iter().filter_map(|v| serde_json::from_value::<Bookmark>(v).ok());
            let inputs = bookmarks.filter_map(|bookmark| bookmark.input).filter(|at| at.log_id == input.log_id);
            inputs.map(|at| at.next_offset).max()?
        }
    };
    Some((input, next_offset))
}

/// Seconds until the record at a place may be removed.
async fn seconds(manager: &Manager, topic: &str, next_offset: i64, retention: f64) -> Result<f64, TransportError> {
    let log = KafkaLog::new(manager.inner.kafka.config(), topic);
    let mut reader = log.reader().await?;
    let (first, end) = reader.bounds().await?;
    if next_offset >= end {
        return Ok(retention);
    }
    if next_offset < first {
        return Ok(-1.0);
    }
    reader.seek(next_offset).await?;
    let appended_at = reader.next().await?.appended_at;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(retention - (since.as_secs_f64() - appended_at as f64 / 1e6).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_headroom_is_told_with_what_is_left() {
        let of = |seconds| Headroom { seconds, retention: 1_000.0, topic: "shop.log".to_owned() };
        assert_eq!(of(300.0).warning(), None);
        let warning = of(200.0).warning().unwrap_or_default();
        assert!(warning.contains("shop.log") && warning.contains("in 200 s"), "{warning}");
    }
}

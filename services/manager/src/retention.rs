//! How much of Kafka's retention is left for each reader of a log, whether it runs or not: measured once a minute by the
//! manager that leads, told before a reader is overtaken (P8). The limits are the topic's own, of age and of size, as the
//! brokers have them now.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{ClusterSnapshot, LogRef};
use lutra_kafka::{Backlog, KafkaError, KafkaLog, Retention};
use lutra_log::Bookmark;
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
/// How long one log may take to tell its limits, and what waits in it.
const ANSWER: Duration = Duration::from_secs(15);
/// Less than this part of the retention is left: time to look.
const SHORT: f64 = 0.25;

/// What the readers' headroom was when it was measured last.
#[derive(Debug, Default)]
pub(crate) struct Headrooms {
    by_reader: Mutex<BTreeMap<TaskId, Headroom>>,
}

/// What is left for one reader; below zero: what it reads next may be removed any moment, or is gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Headroom {
    /// The topic.
    topic: String,
    /// Seconds, where the topic's records are removed by age.
    seconds: Option<Left>,
    /// Bytes, where they are removed by size.
    bytes: Option<Left>,
}

/// What is left of what.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Left {
    left: f64,
    of: f64,
}

impl Left {
    fn is_short(self) -> bool {
        self.left < self.of * SHORT
    }
}

impl Headroom {
    /// What the topic's own limits leave of what waits to be read; `None` where it has none.
    fn of(topic: &str, retention: Retention, backlog: Backlog, now: f64) -> Option<Self> {
        let (age, size) = match backlog {
            Backlog::Nothing => (0.0, 0.0),
            Backlog::Removed => (f64::INFINITY, f64::INFINITY),
            Backlog::Waits { appended_at, bytes } => ((now - appended_at as f64 / 1e6).max(0.0), bytes as f64),
        };
        let left = |of: f64, used: f64| Left { left: (of - used).max(-of), of };
        let seconds = retention.time.map(|time| left(time.as_secs_f64(), age));
        let bytes = retention.bytes.map(|bytes| left(bytes as f64, size));
        (seconds.is_some() || bytes.is_some()).then(|| Self { topic: topic.to_owned(), seconds, bytes })
    }

    /// Which of both, age and size, were measured here and are not in `now`.
    fn without(&self, now: Option<&Self>) -> [bool; 2] {
        let gone = |of: fn(&Self) -> Option<Left>| of(self).is_some() && now.and_then(of).is_none();
        [gone(|headroom| headroom.seconds), gone(|headroom| headroom.bytes)]
    }

    /// What a person should know, when little is left.
    pub(crate) fn warning(&self) -> Option<String> {
        let by_age = self.seconds.filter(|seconds| seconds.is_short()).map(|Left { left, of }| {
            let way_out = "let the pipeline run, or raise the topic's retention.ms";
            format!("keeps its records for {of:.0} s, and may remove what is to be read next in {left:.0} s: {way_out}")
        });
        let by_size = self.bytes.filter(|bytes| bytes.is_short()).map(|Left { left, of }| {
            let way_out = "let the pipeline run, or raise the topic's retention.bytes";
            format!("keeps {of:.0} bytes, and may remove what is to be read next after some {left:.0} more: {way_out}")
        });
        let both: Vec<String> = [by_age, by_size].into_iter().flatten().collect();
        (!both.is_empty()).then(|| format!("topic {} {}", self.topic, both.join("; it ")))
    }
}

impl Headrooms {
    /// What is left for a reader, where that was measured.
    pub(crate) fn of(&self, reader: &TaskId) -> Option<Headroom> {
        self.by_reader.lock().unwrap_or_else(PoisonError::into_inner).get(reader).cloned()
    }

    /// Takes in a measurement; those that have become short are told. What is not measured any more has no value.
    fn take(&self, measured: BTreeMap<TaskId, Headroom>) {
        let mut known = self.by_reader.lock().unwrap_or_else(PoisonError::into_inner);
        for (reader, had) in known.iter() {
            let [seconds, bytes] = had.without(measured.get(reader)).map(|gone| gone.then_some(f64::NAN));
            HeadroomMeasured { reader, seconds, bytes }.emit();
        }
        for (reader, headroom) in &measured {
            let left = |of: Option<Left>| of.map(|of| of.left);
            HeadroomMeasured { reader, seconds: left(headroom.seconds), bytes: left(headroom.bytes) }.emit();
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
        if !manager.leads() {
            manager.inner.headrooms.take(BTreeMap::new());
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
            match tokio::time::timeout(ANSWER, headroom(manager, &log.topic, next_offset)).await {
                Ok(Ok(Some(headroom))) => {
                    measured.insert(reader, headroom);
                }
                Ok(Ok(None)) => {}
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

/// What is left for who reads on at a place; `None` where the brokers remove nothing of the topic.
async fn headroom(manager: &Manager, topic: &str, next_offset: i64) -> Result<Option<Headroom>, ManagerError> {
    let retention = manager.inner.kafka.admin().await?.retention(topic).await?;
    if retention == Retention::default() {
        return Ok(None);
    }
    let log = KafkaLog::new(manager.inner.kafka.config(), topic);
    let backlog = log.backlog(next_offset).await.map_err(KafkaError::from)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Headroom::of(topic, retention, backlog, since.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BOTH: Retention = Retention { time: Some(Duration::from_secs(1_000)), bytes: Some(4_000) };

    fn warning(retention: Retention, backlog: Backlog) -> Option<String> {
        Headroom::of("shop.log", retention, backlog, 2_000.0).unwrap().warning()
    }

    #[test]
    fn little_headroom_is_told_with_what_is_left() {
        let waits = |seconds: i64, bytes| Backlog::Waits { appended_at: (2_000 - seconds) * 1_000_000, bytes };
        assert_eq!(warning(BOTH, Backlog::Nothing), None);
        assert_eq!(warning(BOTH, waits(700, 2_900)), None);
        let old = warning(BOTH, waits(800, 0)).unwrap();
        assert!(old.contains("shop.log") && old.contains("in 200 s") && !old.contains("bytes"), "{old}");
        let large = warning(BOTH, waits(0, 3_900)).unwrap();
        assert!(large.contains("some 100 more") && large.contains("retention.bytes"), "{large}");
    }

    #[test]
    fn what_is_not_measured_any_more_has_no_value() {
        let had = |retention| Headroom::of("shop.log", retention, Backlog::Nothing, 0.0).unwrap();
        let of_age = Retention { bytes: None, ..BOTH };
        assert_eq!(had(BOTH).without(None), [true, true]);
        assert_eq!(had(BOTH).without(Some(&had(of_age))), [false, true]);
        assert_eq!(had(of_age).without(Some(&had(BOTH))), [false, false]);
        assert_eq!(had(of_age).without(None), [true, false]);
    }

    #[test]
    fn what_is_gone_is_told_whatever_limit_removed_it() {
        for retention in [Retention { bytes: None, ..BOTH }, Retention { time: None, ..BOTH }] {
            assert!(warning(retention, Backlog::Removed).is_some());
        }
        assert_eq!(Headroom::of("shop.log", Retention::default(), Backlog::Removed, 0.0), None);
    }
}

//! What is shown to people, held against what is: a target at rest while work waits must not look healthy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lutra_harness::mysql::connect;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Pulse;
use super::flat::Lives;
use super::resources::{self, Usage};
use crate::findings::{Findings, Invariant};
use crate::rig::Rig;
use crate::workload::Pace;

const EVERY: Duration = Duration::from_secs(1);
/// So long nothing may move while all looks well.
pub const STALL: Duration = Duration::from_secs(10);
/// Shown with a lag of so many seconds it does not look well.
const LAGS: f64 = 5.0;
/// A server that does not answer by then is not asked further.
const PATIENCE: Duration = Duration::from_secs(2);

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the run began.
    pub at: f64,
    /// Moves of the checkpoint since the last one.
    pub commits: u64,
    /// Ledger lines that the source has and the target has not; none where one of them does not answer.
    pub waiting: Option<i64>,
    /// Resident memory of all services together.
    pub mib: u64,
    /// How long writers rested, in percent of the shortest rests.
    pub pace: u32,
}

/// What a run recorded second by second.
#[derive(Debug, Default)]
pub struct Record {
    /// The seconds.
    pub seconds: Vec<Second>,
    /// The most that each process had.
    pub peaks: BTreeMap<String, Usage>,
    /// What each had, minute by minute.
    pub lives: Lives,
}

/// Watches until told to stop.
pub struct Monitor<'r> {
    /// The cluster.
    pub rig: &'r Rig,
    /// The database of the ledger.
    pub bank: Option<String>,
    /// When commits were seen.
    pub pulse: Arc<Pulse>,
    /// Where it is written.
    pub findings: Findings,
    /// What a process may have.
    pub bound: Usage,
    /// What is recorded.
    pub record: Arc<Mutex<Record>>,
    /// What is shown, where a control says so.
    pub shown: Option<Value>,
    /// How fast writers are, which follows what waits.
    pub pace: Pace,
}

impl Monitor<'_> {
    /// Looks once a second.
    pub async fn run(&self, began: Instant, stop: CancellationToken) {
        let (mut source, mut target, mut before) = (None, None, self.pulse.count());
        let mut stalled_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let waiting = self.waiting(&mut source, &mut target).await;
            let count = self.pulse.count();
            waiting.into_iter().for_each(|lines| self.pace.follow(lines));
            let mib = self.resources();
            let now = Second {
                at: began.elapsed().as_secs_f64(),
                commits: count - before,
                waiting,
                mib,
                pace: self.pace.percent(),
            };
            self.record.lock().unwrap_or_else(PoisonError::into_inner).seconds.push(now);
            stalled_since = match (count > before, waiting) {
                (false, Some(lines)) if lines > 0 => stalled_since.or_else(|| Some(Instant::now())),
                _ => None,
            };
            before = count;
            if stalled_since.is_some_and(|since| since.elapsed() >= STALL) {
                self.hold_against(before).await;
            }
        }
    }

    /// What is shown while nothing moves. Should work go on while it is asked for, it may well look healthy.
    async fn hold_against(&self, count: u64) {
        let shown = match &self.shown {
            Some(shown) => Some(shown.clone()),
            None => self.rig.status().await.ok(),
        };
        let Some(shown) = shown else { return };
        self.pulse.sampled(2, PATIENCE).await;
        if self.pulse.count() == count {
            let wrong = looks_well(&shown).then(|| format!("nothing moved for 10 s: {}", brief(&shown)));
            self.findings.look(Invariant::NotHealthyWhileStalled, wrong);
        }
    }

    /// What the services have is held against its bounds; their memory together.
    fn resources(&self) -> u64 {
        let processes = self.rig.world.services.iter().map(|(name, s)| (name.clone(), s.process().id()));
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let Record { peaks, lives, .. } = &mut *record;
        resources::look(processes, peaks, lives, self.bound, &self.findings)
    }

    async fn waiting(&self, source: &mut Option<Conn>, target: &mut Option<Conn>) -> Option<i64> {
        let bank = self.bank.as_ref()?;
        let here = lines(source, &self.rig.world.source_url, bank).await?;
        let there = lines(target, &self.rig.world.target_url, bank).await?;
        Some(here - there)
    }
}

async fn lines(conn: &mut Option<Conn>, url: &str, bank: &str) -> Option<i64> {
    let question = format!("SELECT COUNT(*) FROM `{bank}`.ledger");
    let asked = tokio::time::timeout(PATIENCE, async {
        if conn.is_none() {
            *conn = connect(url).await.ok();
        }
        conn.as_mut()?.query_first::<i64, _>(question).await.ok().flatten()
    });
    let answer = asked.await.ok().flatten();
    if answer.is_none() {
        *conn = None;
    }
    answer
}

/// Running, without a failure, and without a lag that says otherwise.
fn looks_well(status: &Value) -> bool {
    let pipelines = status["pipelines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let silent = status["workers"].as_array().is_some_and(|w| w.iter().any(|w| !w["silent"].is_null()));
    !silent && !pipelines.is_empty() && pipelines.iter().all(pipeline_looks_well)
}

fn pipeline_looks_well(pipeline: &Value) -> bool {
    let tasks = pipeline["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lag = |task: &Value| {
        let lags = &task["measured"]["lags"];
        ["end_to_end_lag_seconds", "read_lag_seconds"].iter().filter_map(|l| lags[*l].as_f64()).fold(0.0, f64::max)
    };
    let well = |task: &Value| {
        task["failure"].is_null()
            && task["measured"]["last_error"].is_null()
            && lag(task) < LAGS
            && task["measured"]["state"].as_str().is_none_or(|s| s == "running")
    };
    pipeline["state"] == "RUNNING" && tasks.iter().all(well)
}

fn brief(status: &Value) -> String {
    let tasks = status.pointer("/pipelines/0/tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    let words: Vec<String> = tasks
        .iter()
        .map(|t| {
            let measured = &t["measured"];
            let (state, lag) = (&measured["state"], &measured["lags"]["end_to_end_lag_seconds"]);
            format!("{} {} {} {state} {lag}", t["task"], t["state"], t["epoch"])
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_without_failure_and_lag_looks_well() {
        let status = |task: Value| json!({"pipelines": [{"state": "RUNNING", "tasks": [task]}], "workers": []});
        assert!(looks_well(&status(json!({"measured": {"lags": {"end_to_end_lag_seconds": 0.1}}}))));
        assert!(!looks_well(&status(json!({"measured": {"lags": {"end_to_end_lag_seconds": 11.0}}}))));
        assert!(!looks_well(&status(json!({"failure": {"message": "x"}}))));
        assert!(!looks_well(&json!({"pipelines": [{"state": "FAILED", "tasks": []}]})));
        assert!(!looks_well(&json!({})));
    }
}

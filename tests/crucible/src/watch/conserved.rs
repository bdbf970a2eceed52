//! The services' own counters, held against each other over a stretch without faults.
//!
//! A counter belongs to a process and begins at 0 with it: two readings are held against each other process by process,
//! and only where both saw the same ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lutra_harness::process::ProcessId;
use lutra_harness::services::Service;
use serde_json::Value;

use crate::rig::Rig;

/// Extractors count once a second.
const COUNTED: Duration = Duration::from_millis(2_500);
/// By then all workers that run are registered.
const REGISTERED: Duration = Duration::from_secs(30);
/// Rows that extractors have read.
const READ: &str = "lutra_extractor_rows_total";
/// Rows that loaders have applied, and those that they set aside and left out.
const APPLIED: &str = "lutra_loader_rows_applied_total";
/// See [`APPLIED`].
const ASIDE: [&str; 2] = ["lutra_loader_rows_parked_total", "lutra_loader_rows_left_out_total"];

/// What a worker's counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose they are: a worker that was started again counts from 0.
    pub process: ProcessId,
    /// Rows read.
    pub read: u64,
    /// Rows applied.
    pub applied: u64,
    /// Rows parked or left out.
    pub aside: u64,
}

/// One reading of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By worker.
    pub workers: BTreeMap<String, Counted>,
    /// Units that are set aside in the target.
    pub set_aside: u64,
}

/// What two readings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many rows were read, and as many applied.
    Conserved(u64),
    /// They were not.
    Wrong(String),
    /// Not the same processes: nothing can be said.
    Changed(String),
}

/// Reads the counters of all workers, when everything is counted that was done before.
///
/// # Errors
/// When one that runs is not registered after half a minute, or does not answer.
pub async fn counters(rig: &Rig) -> Result<Counters> {
    tokio::time::sleep(COUNTED).await;
    let addresses = registered(rig).await?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().context("make an HTTP client")?;
    let mut seen = Counters::default();
    for (name, (process, address)) in addresses {
        let answer = client.get(format!("http://{address}/metrics")).send().await;
        let text = answer.with_context(|| format!("ask {name} at {address} for its metrics"))?.text().await?;
        let aside = ASIDE.iter().map(|counter| total(&text, counter)).sum();
        let counted = Counted { process, read: total(&text, READ), applied: total(&text, APPLIED), aside };
        seen.workers.insert(name, counted);
    }
    let mut conn = lutra_harness::mysql::connect(&rig.world.target_url).await?;
    let question = format!("SELECT COUNT(*) FROM lutra.dead_letter WHERE task = '{}'", rig.load_task());
    seen.set_aside = mysql_async::prelude::Queryable::query_first(&mut conn, question).await?.unwrap_or_default();
    conn.disconnect().await?;
    Ok(seen)
}

/// Every worker that runs, with its process and the address under which status lists it.
async fn registered(rig: &Rig) -> Result<BTreeMap<String, (ProcessId, String)>> {
    let deadline = Instant::now() + REGISTERED;
    loop {
        let status = rig.status().await;
        let listed = status.as_ref().map(listed).unwrap_or_default();
        let workers = rig.world.services.iter().filter(|(_, s)| s.service() != Service::Manager);
        let running =
            workers.filter_map(|(name, s)| Some((name.clone(), s.process().id().filter(|id| id.is_alive())?)));
        let (found, missing): (Vec<_>, Vec<_>) = running
            .map(|(name, id)| (listed.get(&name).cloned(), name, id))
            .partition(|(address, ..)| address.is_some());
        if missing.is_empty() && !found.is_empty() {
            return Ok(found.into_iter().filter_map(|(address, name, id)| Some((name, (id, address?)))).collect());
        }
        if Instant::now() > deadline {
            let names: Vec<String> = missing.into_iter().map(|(_, name, _)| name).collect();
            bail!("{} run and are not in status after {REGISTERED:?}", names.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Addresses of the workers that answer, by their names.
fn listed(status: &Value) -> BTreeMap<String, String> {
    let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answers = workers.iter().filter(|worker| worker["silent"].is_null());
    answers.filter_map(|w| Some((w["id"].as_str()?.to_owned(), w["address"].as_str()?.to_owned()))).collect()
}

/// A counter's value over all its labels.
fn total(text: &str, name: &str) -> u64 {
    let own = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
    text.lines().filter(own).filter_map(value).map(|v| v as u64).sum()
}

/// What became of the rows between two readings.
#[must_use]
pub fn between(before: &Counters, after: &Counters) -> Verdict {
    let processes = |of: &Counters| -> Vec<(String, ProcessId)> {
        of.workers.iter().map(|(name, counted)| (name.clone(), counted.process)).collect()
    };
    if processes(before) != processes(after) {
        let words = |of: &Counters| {
            let each = of.workers.iter().map(|(name, counted)| format!("{name}={}", counted.process.pid));
            each.collect::<Vec<_>>().join(" ")
        };
        return Verdict::Changed(format!("{} became {}", words(before), words(after)));
    }
    let (mut read, mut applied, mut aside, mut each) = (0, 0, 0, Vec::new());
    for (name, now) in &after.workers {
        let Some(then) = before.workers.get(name) else { continue };
        let more = |now: u64, then: u64| now.saturating_sub(then);
        let (r, a, s) = (more(now.read, then.read), more(now.applied, then.applied), more(now.aside, then.aside));
        (read, applied, aside) = (read + r, applied + a, aside + s);
        if r + a + s > 0 {
            each.push(format!("{name} {r}/{a}/{s}"));
        }
    }
    let units = after.set_aside.saturating_sub(before.set_aside);
    if read != 0 && read == applied && aside == 0 && units == 0 {
        return Verdict::Conserved(read);
    }
    Verdict::Wrong(format!(
        "{read} rows read, {applied} applied, {aside} parked or left out, {units} units set aside (read/applied/aside: {})",
        each.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pid: i32, read: u64, applied: u64) -> Counted {
        Counted { process: ProcessId { pid, started: 1 }, read, applied, aside: 0 }
    }

    fn reading(workers: &[(&str, Counted)]) -> Counters {
        Counters { workers: workers.iter().map(|(name, c)| ((*name).to_owned(), *c)).collect(), set_aside: 0 }
    }

    #[test]
    fn a_counter_is_summed_over_its_labels_and_told_from_longer_names() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4\na_total_more 9\n";
        assert_eq!((total(text, "a_total"), total(text, "b_total")), (7, 0));
    }

    #[test]
    fn rows_read_are_rows_applied() {
        let at = |read, applied| reading(&[("extractor-1", counted(1, read, 0)), ("loader-2", counted(2, 0, applied))]);
        assert_eq!(between(&at(5, 2), &at(15, 12)), Verdict::Conserved(10));
        assert!(matches!(between(&at(5, 2), &at(15, 11)), Verdict::Wrong(_)));
        assert!(matches!(between(&at(5, 5), &at(5, 5)), Verdict::Wrong(_)), "nothing was tested");
    }

    #[test]
    fn a_worker_that_one_reading_lacks_or_that_was_started_again_says_nothing() {
        let before = reading(&[("loader-2", counted(2, 0, 2))]);
        let more = reading(&[("extractor-1", counted(1, 46_000, 0)), ("loader-2", counted(2, 0, 9))]);
        let again = reading(&[("loader-2", counted(3, 0, 9))]);
        assert!(matches!(between(&before, &more), Verdict::Changed(_)));
        assert!(matches!(between(&before, &again), Verdict::Changed(_)));
    }

    #[test]
    fn a_silent_worker_is_not_listed() {
        let worker = |id: &str, silent: Value| serde_json::json!({ "id": id, "address": "h:1", "silent": silent });
        let status = serde_json::json!({ "workers": [worker("a", Value::Null), worker("b", "refused".into())] });
        assert_eq!(listed(&status).into_keys().collect::<Vec<_>>(), ["a"]);
    }
}

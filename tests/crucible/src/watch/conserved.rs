//! The services' own counters, held against each other over a stretch without faults.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::rig::Rig;

/// Extractors count once a second.
const COUNTED: Duration = Duration::from_millis(2_500);

/// What the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows that extractors have read.
    pub read: u64,
    /// Rows that loaders have applied.
    pub applied: u64,
    /// Units that are set aside in the target.
    pub set_aside: u64,
}

/// Adds up the counters of all workers, when everything is counted that was done before.
///
/// # Errors
/// When one does not answer.
pub async fn counters(rig: &Rig) -> Result<Counters> {
    tokio::time::sleep(COUNTED).await;
    let status = rig.status().await?;
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().context("make an HTTP client")?;
    let mut sum = Counters::default();
    for worker in workers {
        let address = worker["address"].as_str().context("a worker without an address")?;
        let answer = client.get(format!("http://{address}/metrics")).send().await;
        let text = answer.with_context(|| format!("ask {address} for its metrics"))?.text().await?;
        sum.read += total(&text, "lutra_extractor_rows_total");
        sum.applied += total(&text, "lutra_loader_rows_applied_total");
    }
    let mut conn = lutra_harness::mysql::connect(&rig.world.target_url).await?;
    let question = format!("SELECT COUNT(*) FROM lutra.dead_letter WHERE task = '{}'", rig.load_task());
    sum.set_aside = mysql_async::prelude::Queryable::query_first(&mut conn, question).await?.unwrap_or_default();
    conn.disconnect().await?;
    Ok(sum)
}

/// A counter's value over all its labels.
fn total(text: &str, name: &str) -> u64 {
    let own = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
    text.lines().filter(own).filter_map(value).map(|v| v as u64).sum()
}

/// What is wrong with the rows between two readings.
#[must_use]
pub fn difference(before: Counters, after: Counters) -> Option<String> {
    let read = after.read.saturating_sub(before.read);
    let applied = after.applied.saturating_sub(before.applied);
    let aside = after.set_aside.saturating_sub(before.set_aside);
    (read == 0 || read != applied || aside != 0)
        .then(|| format!("{read} rows read, {applied} applied, {aside} units set aside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels_and_told_from_longer_names() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4\na_total_more 9\n";
        assert_eq!((total(text, "a_total"), total(text, "b_total")), (7, 0));
    }

    #[test]
    fn rows_read_are_rows_applied() {
        let at = |read, applied| Counters { read, applied, set_aside: 0 };
        assert_eq!(difference(at(5, 2), at(15, 12)), None);
        assert!(difference(at(5, 2), at(15, 11)).is_some());
        assert!(difference(at(5, 5), at(5, 5)).is_some(), "nothing was tested");
    }
}

//! What happens just now: sold at the source, applied at the target, and the lags in between.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::cluster::{Cluster, pipeline};
use super::screen::{Picture, Screen};
use super::shop::{Shop, Sold};

/// How often the manager is asked.
const TICK: Duration = Duration::from_millis(500);
/// Rates are means over this time.
const WINDOW: Duration = Duration::from_secs(3);

/// The four lags, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lags {
    pub(super) read: f64,
    pub(super) transit: f64,
    pub(super) apply: f64,
    pub(super) end_to_end: f64,
}

/// Watches, and shows what it sees.
#[derive(Debug)]
pub(super) struct Live<'c> {
    pub(super) screen: Screen,
    cluster: &'c Cluster,
    applied: Applied,
    window: VecDeque<(Instant, u64, u64)>,
    lags: Option<Lags>,
    end_to_end: Vec<f64>,
    told: Option<String>,
}

/// Rows applied, over the restarts of a loader that counts from 0 again.
#[derive(Debug, Default)]
struct Applied {
    total: u64,
    last: u64,
}

impl Applied {
    fn see(&mut self, count: u64) {
        self.total += if count >= self.last { count - self.last } else { count };
        self.last = count;
    }
}

impl<'c> Live<'c> {
    pub(super) fn new(screen: Screen, cluster: &'c Cluster) -> Self {
        Self {
            screen,
            cluster,
            applied: Applied::default(),
            window: VecDeque::new(),
            lags: None,
            end_to_end: Vec::new(),
            told: None,
        }
    }

    /// Shows until the shop has been open for `age`.
    pub(super) async fn watch_until(&mut self, shop: &mut Shop, age: Duration) -> Result<()> {
        while let Some(left) = age.checked_sub(shop.age()).filter(|left| !left.is_zero()) {
            let next = Instant::now() + TICK.min(left);
            let sold = shop.sold()?;
            self.look(&sold).await?;
            tokio::time::sleep_until(next.into()).await;
        }
        Ok(())
    }

    /// Shows until `work` is done.
    pub(super) async fn watch_while(&mut self, sold: &Sold, work: impl Future<Output = Result<()>>) -> Result<()> {
        let mut work = std::pin::pin!(work);
        loop {
            let next = Instant::now() + TICK;
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep_until(next.into()) => self.look(sold).await?,
            }
        }
    }

    /// The end-to-end lags that were seen, in order of size.
    pub(super) fn into_lags(mut self) -> Vec<f64> {
        self.end_to_end.sort_by(f64::total_cmp);
        self.end_to_end
    }

    async fn look(&mut self, sold: &Sold) -> Result<()> {
        self.cluster.all_alive()?;
        // A manager that does not answer for a moment is no reason to end.
        match self.cluster.status().await {
            Ok(status) => self.take(&status)?,
            Err(error) => self.tell(format!("no status just now: {error:#}")),
        }
        self.window.push_back((Instant::now(), sold.rows, self.applied.total));
        while self.window.len() > 2 && self.window.front().is_some_and(|(at, ..)| at.elapsed() > WINDOW) {
            self.window.pop_front();
        }
        let (rows_in, rows_out) = rates(&self.window);
        self.screen.show(&Picture { sold: *sold, rows_in, rows_out, lags: self.lags });
        Ok(())
    }

    fn take(&mut self, status: &Value) -> Result<()> {
        let Some(pipeline) = pipeline(status) else { return Ok(()) };
        let tasks = pipeline["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        for task in tasks {
            self.take_failure(task)?;
        }
        let loads = |task: &&Value| task["task"].as_str().is_some_and(|name| name.starts_with("load/"));
        let Some(measured) = tasks.iter().find(loads).map(|task| &task["measured"]) else { return Ok(()) };
        if let Some(rows) = measured["rows_applied"].as_u64() {
            self.applied.see(rows);
        }
        // A loader that has just started says 0 until it has measured.
        self.lags = lags(&measured["lags"]).filter(|lags| lags.end_to_end > 0.0);
        self.end_to_end.extend(self.lags.map(|lags| lags.end_to_end));
        Ok(())
    }

    /// A failure that passes is told, one that halts ends the demo.
    fn take_failure(&mut self, task: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let failure = &task["failure"];
        if failure.is_null() {
            return Ok(());
        }
        let said = format!(
            "{} failed: {}; what to do: {}",
            text(&task["task"]),
            text(&failure["message"]),
            text(&failure["hint"])
        );
        if failure["halted"] == true {
            bail!(said);
        }
        self.tell(said);
        Ok(())
    }

    /// Says something once.
    fn tell(&mut self, text: String) {
        if self.told.as_ref() != Some(&text) {
            self.screen.note(&text);
            self.told = Some(text);
        }
    }
}

fn lags(value: &Value) -> Option<Lags> {
    let of = |name: &str| value[format!("{name}_lag_seconds")].as_f64();
    Some(Lags { read: of("read")?, transit: of("transit")?, apply: of("apply")?, end_to_end: of("end_to_end")? })
}

/// Rows a second into the source and out into the target.
fn rates(window: &VecDeque<(Instant, u64, u64)>) -> (f64, f64) {
    let (Some(first), Some(last)) = (window.front(), window.back()) else { return (0.0, 0.0) };
    let time = (last.0 - first.0).as_secs_f64();
    let rate = |before: u64, after: u64| if time > 0.0 { after.saturating_sub(before) as f64 / time } else { 0.0 };
    (rate(first.1, last.1), rate(first.2, last.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_on_over_a_restart() {
        let mut applied = Applied::default();
        for count in [10, 25, 3, 8] {
            applied.see(count);
        }
        assert_eq!(applied.total, 33);
    }

    #[test]
    fn rates_are_means_over_the_window() {
        let start = Instant::now();
        let window = VecDeque::from([(start, 100, 0), (start + Duration::from_secs(2), 300, 100)]);
        assert_eq!(rates(&window), (100.0, 50.0));
        assert_eq!(rates(&VecDeque::from([(start, 1, 1)])), (0.0, 0.0));
    }

    #[test]
    fn lags_are_shown_only_when_all_four_are_known() {
        let all = serde_json::json!({"read_lag_seconds": 0.1, "transit_lag_seconds": 0.2, "apply_lag_seconds": 0.3, "end_to_end_lag_seconds": 0.6});
        assert_eq!(lags(&all), Some(Lags { read: 0.1, transit: 0.2, apply: 0.3, end_to_end: 0.6 }));
        assert_eq!(lags(&Value::Null), None);
    }
}

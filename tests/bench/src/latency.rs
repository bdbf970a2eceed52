//! Commit at the source to commit in the target, under a paced load.
//!
//! Every transaction also writes a mark. When it committed at the source stands in the source's binlog (the server's own
//! microseconds, taken before the commit waits for the disk); when it was *seen* in the target, a watcher tells that asks
//! every 10 ms, so that half of that is in the figures; when it *committed* in the target, the target's binlog tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::mysql;
use lutra_harness::workload::sysbench::Lane;
use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bed::{Bed, DATABASE, FLOW, micros_since};
use crate::report::{Report, per_second};
use crate::{Setting, binlog, note, now_micros};

/// How often the watcher asks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long everything may take to arrive behind the last transaction.
const LAST_LIMIT: Duration = Duration::from_secs(60);

/// When transactions are due: number `n` at `begin + n * interval`, whoever is free takes the next.
struct Schedule {
    begin: Instant,
    interval: Duration,
    next: AtomicU64,
    count: u64,
}

/// Measures at `rate` row changes a second for `seconds`, after a warm-up of a tenth of that, at most 10 s.
///
/// # Errors
/// When something does not run, or not every transaction arrives.
pub async fn run(setting: &Setting, rate: u64, seconds: u64, lanes: u32, report: &mut Report) -> Result<()> {
    let bed = Bed::open(setting, &[]).await?;
    for service in FLOW {
        bed.start(service)?;
    }
    bed.world.caught_up(Duration::from_secs(60)).await?;
    let (source, target) = (bed.server("source")?, bed.server("target")?);
    let (source_file, target_file) = (binlog::begin_file(source).await?, binlog::begin_file(target).await?);

    let per_second_wanted = rate as f64 / setting.workload.rows_per_transaction() as f64;
    let warm_up = (per_second_wanted * (seconds as f64 / 10.0).min(10.0)) as u64;
    let count = warm_up + (per_second_wanted * seconds as f64) as u64;
    note(format!("{rate} rows/s for {seconds} s"));
    let schedule = Schedule {
        begin: Instant::now() + Duration::from_millis(500),
        interval: Duration::from_secs_f64(1.0 / per_second_wanted),
        next: AtomicU64::new(0),
        count,
    };
    let meter = bed.meter()?;
    let began = Instant::now();
    let (commits, seen) = flow(&bed, Arc::new(schedule), lanes).await?;
    let took = began.elapsed();
    let costs = meter.finish()?;
    bed.world.assert_equal().await?;

    let committed = binlog::mark_times(&binlog::read(&binlog::files_from(source, &source_file).await?)?, DATABASE)?;
    let applied = binlog::mark_times(&binlog::read(&binlog::files_from(target, &target_file).await?)?, DATABASE)?;
    let (mut to_seen, mut to_commit) = (Vec::new(), Vec::new());
    for id in warm_up..count {
        let at = committed.get(&id).with_context(|| format!("find the mark {id} in the source's binlog"))?;
        let there = applied.get(&id).with_context(|| format!("find the mark {id} in the target's binlog"))?;
        let visible = seen.get(usize::try_from(id)?).with_context(|| format!("find the mark {id} in the target"))?;
        to_seen.push(micros_since(*at, *visible));
        to_commit.push(micros_since(*at, *there));
    }
    let mut commit_times: Vec<Duration> =
        commits.into_iter().filter(|(id, _)| *id >= warm_up).map(|(_, t)| t).collect();
    let rows = count * setting.workload.rows_per_transaction();
    let mut figures = report.of(&format!("{rate} rows/s"), rows);
    figures.times(["seen_mean", "seen_median", "seen_p99", "seen_longest"], &mut to_seen)?;
    figures.times(["commit_mean", "commit_median", "commit_p99", "commit_longest"], &mut to_commit)?;
    let names = ["source_commit_mean", "source_commit_median", "source_commit_p99", "source_commit_longest"];
    figures.times(names, &mut commit_times)?;
    figures.figure("rows_per_second", per_second(rows, took), "rows/s")?;
    figures.costs(&costs)
}

/// Writes by the schedule and watches the target; how long each commit took at the source, and when each mark was seen.
async fn flow(bed: &Bed, schedule: Arc<Schedule>, lanes: u32) -> Result<(Vec<(u64, Duration)>, Vec<i64>)> {
    let (count, deadline) =
        (schedule.count, schedule.begin + schedule.interval * u32::try_from(schedule.count)? + LAST_LIMIT);
    let mut watcher = JoinSet::new();
    watcher.spawn(watch(bed.world.target_url.clone(), count, deadline));
    let mut writers = JoinSet::new();
    for lane in 0..lanes {
        let lane = Lane::open(&bed.world.source_url, DATABASE, lane, lanes).await?;
        writers.spawn(write(lane, Arc::clone(&schedule)));
    }
    let mut commits = Vec::new();
    while let Some(written) = writers.join_next().await {
        commits.extend(written.context("write at the source")??);
    }
    ensure!(Instant::now() < deadline, "the source does not keep up with the load");
    let seen = watcher.join_next().await.context("watch the target")?.context("watch the target")?;
    Ok((commits, seen.map_err(|error| error.context(bed.world.logs()))?))
}

async fn write(mut lane: Lane, schedule: Arc<Schedule>) -> Result<Vec<(u64, Duration)>> {
    let mut commits = Vec::new();
    loop {
        let id = schedule.next.fetch_add(1, Ordering::Relaxed);
        if id >= schedule.count {
            return Ok(commits);
        }
        tokio::time::sleep_until(schedule.begin + schedule.interval * u32::try_from(id)?).await;
        commits.push((id, lane.transaction(id).await?));
    }
}

/// When each mark from 0 to `count` was first seen, microseconds since the epoch.
async fn watch(url: String, count: u64, deadline: Instant) -> Result<Vec<i64>> {
    let mut connection = mysql::connect(&url).await?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = vec![0; usize::try_from(count)?];
    // Everything below `low` was seen; lanes do not commit in the order of ids.
    let (mut low, mut above) = (0, BTreeSet::new());
    while low < count {
        ticks.tick().await;
        let query = format!("SELECT id FROM `{DATABASE}`.mark WHERE id >= {low}");
        let ids: Vec<u64> = connection.query(query).await.context("look for marks")?;
        let now = now_micros();
        for id in ids.into_iter().filter(|id| above.insert(*id)) {
            if let Some(at) = seen.get_mut(usize::try_from(id)?) {
                *at = now;
            }
        }
        while above.remove(&low) {
            low += 1;
        }
        if Instant::now() > deadline {
            bail!("{} of {count} transactions did not arrive in time", count - low);
        }
    }
    Ok(seen)
}

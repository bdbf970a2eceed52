//! What it came to.

use std::fmt;
use std::time::Duration;

use lutra_harness::oracle::Report;
use lutra_harness::process::Usage;
use lutra_harness::services::Service;

use super::screen::seconds;
use super::shop::Sold;

/// What to type next when nothing runs on.
pub(super) const AFTERWARDS: &str = "Everything is ended again. Next:\n\
    \x20 cargo xtask demo --keep            # leaves it running, to try things on\n\
    \x20 cargo xtask demo --seconds 600     # longer\n\
    \x20 cargo xtask demo --rate 0          # as fast as the source goes\n\
    \x20 docs/guide/first-pipeline.md       # the same on servers of your own";

/// What it came to.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) sold: Sold,
    /// Transactions a second that were wanted; 0 for as many as it takes.
    pub(super) rate: u64,
    /// From the last commit at the source until the target had everything.
    pub(super) caught_up: Duration,
    /// From the SIGKILL to the next commit in the target.
    pub(super) recovered: Duration,
    /// End-to-end lags in order of size, in seconds.
    pub(super) lags: Vec<f64>,
    pub(super) usage: Vec<(Service, Usage)>,
    pub(super) report: Report,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sold { transactions, rows, ddl, time } = self.sold;
        let per_second = |count: u64| count as f64 / time.as_secs_f64().max(0.001);
        // A machine that is busy with other things does not give the source its time.
        let short = per_second(transactions) < self.rate as f64 * 0.9;
        let wanted = if short { format!(" of {} wanted", self.rate) } else { String::new() };
        writeln!(f)?;
        writeln!(
            f,
            "written at the source   {transactions} transactions, {rows} rows, {ddl} DDL statements in {:.0} s",
            time.as_secs_f64()
        )?;
        writeln!(
            f,
            "                        {:.0} transactions/s{wanted}, {:.0} rows/s",
            per_second(transactions),
            per_second(rows)
        )?;
        writeln!(
            f,
            "loader killed           next commit in the target {} after the SIGKILL",
            seconds(self.recovered.as_secs_f64())
        )?;
        writeln!(
            f,
            "caught up               {} after the last commit at the source",
            seconds(self.caught_up.as_secs_f64())
        )?;
        if let (Some(median), Some(worst)) = (self.lags.get(self.lags.len() / 2), self.lags.last()) {
            writeln!(f, "lag, end to end         median {}, worst {}", seconds(*median), seconds(*worst))?;
        }
        for (service, usage) in &self.usage {
            let (name, cpu, memory) =
                (format!("{service} used"), usage.cpu.as_secs_f64(), usage.peak_resident_bytes >> 20);
            let since = if *service == Service::Loader { " since its restart" } else { "" };
            writeln!(f, "{name:<23} {cpu:.1} s CPU, {memory} MiB at most{since}")?;
        }
        writeln!(f, "source and target       {}", self.report)
    }
}

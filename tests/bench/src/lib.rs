//! Benchmarks on the real servers.
//!
//! Each run has servers of its own, writes one of the workloads W1–W4 (`lutra_harness::workload::sysbench`) at the source,
//! and gives figures as JSON lines and as a table. The rooms:
//!
//! - [`decode`]: the binlog decoder and the row codec alone, on one core;
//! - [`stage`]: the extractor, or the transformer, alone on a backlog;
//! - [`drain`]: a backlog into the target, through the loader alone or through everything, beside MySQL's own replica;
//! - [`copy`]: a full load beside `mysqldump | mysql` and the server's clone;
//! - [`latency`]: commit to commit under a paced load;
//! - around them [`bed`] (servers, services and backlog of a run), [`replica`], [`meter`] (processor time and memory per
//!   process), [`binlog`] (what the servers' own binlogs say) and [`report`].

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod bed;
pub mod binlog;
pub mod copy;
pub mod decode;
pub mod drain;
pub mod latency;
pub mod meter;
pub mod replica;
pub mod report;
pub mod stage;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use lutra_harness::services::{Profile, Service};
use lutra_harness::workload::sysbench::Workload;

use crate::report::Report;

/// Measure Lutra on real servers.
///
/// Figures come as JSON lines on standard output as they are measured (or in the file that --json names), and as a table
/// at the end.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", max_term_width = 110)]
pub struct Arguments {
    /// What is measured.
    #[command(subcommand)]
    pub bench: Bench,
    /// What is written at the source
    #[arg(long, global = true, value_enum, default_value_t = WorkloadArgument::W1)]
    pub workload: WorkloadArgument,
    /// Row changes of the backlog [default: 300,000; extract and transform 1,000,000; copy 2,000,000]
    #[arg(long, global = true)]
    pub rows: Option<u64>,
    /// Servers whose commits do not wait for the disk
    #[arg(long, global = true)]
    pub relaxed: bool,
    /// Append the JSON lines to this file instead of printing them
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The benchmarks.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// Decode a binlog on one core: MiB/s and rows/s, alone and with the encoding of log records
    Decode {
        /// How often
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// The extractor alone: a backlog at the source to Kafka
    Extract,
    /// The transformer alone: a source's log to a pipeline's log
    Transform,
    /// The loader alone: a pipeline's log to the target
    Load,
    /// All stages: a backlog at the source to the target, beside MySQL's own replica (serial, and with 4 workers)
    Drain {
        /// Do not measure MySQL's own replica
        #[arg(long)]
        no_replica: bool,
    },
    /// A full load of a table of so many rows, beside `mysqldump | mysql` and the server's clone
    Copy {
        /// Secondary indexes are made behind the rows
        #[arg(long)]
        indexes_after: bool,
    },
    /// Commit at the source to commit in the target, at a paced load (W1)
    Latency {
        /// Row changes a second; several runs when given several times
        #[arg(long, default_values_t = [1_000, 5_000])]
        rate: Vec<u64>,
        /// Length of each run
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Sessions that write at the source
        #[arg(long, default_value_t = 8)]
        lanes: u32,
    },
}

impl Bench {
    fn name(&self) -> &'static str {
        match self {
            Self::Decode { .. } => "decode",
            Self::Extract => "extract",
            Self::Transform => "transform",
            Self::Load => "load",
            Self::Drain { .. } => "drain",
            Self::Copy { .. } => "copy",
            Self::Latency { .. } => "latency",
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Extract | Self::Transform => 1_000_000,
            Self::Copy { .. } => 2_000_000,
            _ => 300_000,
        }
    }
}

/// The workloads by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkloadArgument {
    /// Transactions of 10 rows over 8 tables: 2 inserts, 6 updates, 2 deletes
    W1,
    /// Inserts of 1,000 rows
    W2,
    /// Updates of rows of 40 columns of mixed types, 10 in a transaction
    W3,
    /// Transactions of one update
    W4,
}

impl From<WorkloadArgument> for Workload {
    fn from(argument: WorkloadArgument) -> Self {
        match argument {
            WorkloadArgument::W1 => Self::W1,
            WorkloadArgument::W2 => Self::W2,
            WorkloadArgument::W3 => Self::W3,
            WorkloadArgument::W4 => Self::W4,
        }
    }
}

/// What a run is told.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What is written.
    pub workload: Workload,
    /// Row changes of the backlog.
    pub rows: u64,
    /// Commits do not wait for the disk.
    pub relaxed: bool,
}

impl Setting {
    /// Transactions of the backlog.
    pub fn transactions(&self) -> u64 {
        self.rows.div_ceil(self.workload.rows_per_transaction()).max(1)
    }
}

/// Runs a benchmark.
///
/// # Errors
/// When servers or services do not do what is asked, or source and target differ at the end.
pub async fn run(arguments: Arguments) -> Result<()> {
    let bench = &arguments.bench;
    let setting = Setting {
        workload: if matches!(bench, Bench::Latency { .. }) { Workload::W1 } else { arguments.workload.into() },
        rows: arguments.rows.unwrap_or_else(|| bench.rows()),
        relaxed: arguments.relaxed,
    };
    if Profile::from_env() == Profile::Debug {
        note("these are debug programs: the figures say nothing (`cargo xtask bench` builds release ones)");
    }
    let mut report = Report::new(bench.name(), &setting, arguments.json.as_deref())?;
    match bench {
        Bench::Decode { rounds } => decode::run(&setting, *rounds, &mut report).await?,
        Bench::Extract => stage::run(&setting, Service::Extractor, &mut report).await?,
        Bench::Transform => stage::run(&setting, Service::Transformer, &mut report).await?,
        Bench::Load => drain::load(&setting, &mut report).await?,
        Bench::Drain { no_replica } => drain::drain(&setting, !no_replica, &mut report).await?,
        Bench::Copy { indexes_after } => copy::run(&setting, *indexes_after, &mut report).await?,
        Bench::Latency { rate, seconds, lanes } => {
            for rate in rate {
                latency::run(&setting, *rate, *seconds, *lanes, &mut report).await?;
            }
        }
    }
    println!("{report}");
    Ok(())
}

/// Says on standard error what goes on.
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Microseconds since the epoch.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_behind_the_bench() {
        let parsed = Arguments::try_parse_from(["bench", "drain", "--rows", "10", "--workload", "w2", "--relaxed"]);
        assert!(parsed.is_ok_and(|a| a.rows == Some(10) && a.relaxed && a.workload == WorkloadArgument::W2));
    }
}

//! Figures: a JSON line each as they come, and a table of all at the end.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lutra_harness::services::Profile;
use serde::Serialize;

use crate::Setting;
use crate::meter::Costs;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The benchmark.
    pub bench: &'static str,
    /// What was written at the source.
    pub workload: &'static str,
    /// What was measured: `lutra`, `replica serial`, …
    pub subject: String,
    /// Whose figure it is, where it is that of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What it tells.
    pub metric: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// Row changes that the figure stands on.
    pub rows: u64,
    /// Whether commits waited for the disk: `default` or `relaxed`.
    pub durability: &'static str,
    /// How the programs were built.
    pub profile: &'static str,
}

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    workload: &'static str,
    durability: &'static str,
    file: Option<File>,
    figures: Vec<Figure>,
}

impl Report {
    /// No figures yet. They go to `file`, or to standard output.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn new(bench: &'static str, setting: &Setting, file: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        Ok(Self {
            bench,
            workload: setting.workload.name(),
            durability: if setting.relaxed { "relaxed" } else { "default" },
            file: file.map(open).transpose()?,
            figures: Vec::new(),
        })
    }

    /// The figures of one subject over `rows` row changes.
    pub fn of(&mut self, subject: &str, rows: u64) -> Subject<'_> {
        Subject { report: self, subject: subject.to_owned(), rows }
    }

    fn add(&mut self, figure: Figure) -> Result<()> {
        let line = serde_json::to_string(&figure).context("write a figure as JSON")?;
        match &mut self.file {
            Some(file) => writeln!(file, "{line}").context("write a figure")?,
            None => println!("{line}"),
        }
        self.figures.push(figure);
        Ok(())
    }
}

/// The figures of one subject.
#[derive(Debug)]
pub struct Subject<'r> {
    report: &'r mut Report,
    subject: String,
    rows: u64,
}

impl Subject<'_> {
    /// A figure of the whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn figure(&mut self, metric: &'static str, value: f64, unit: &'static str) -> Result<()> {
        self.write(None, metric, value, unit)
    }

    /// Processor time and memory by process.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn costs(&mut self, costs: &Costs) -> Result<()> {
        for cost in &costs.processes {
            let name = Some(cost.name.clone());
            let seconds = cost.cpu.as_secs_f64();
            self.write(name.clone(), "cpu", seconds, "s")?;
            self.write(name.clone(), "cpu_per_million_rows", per_million(seconds, self.rows), "s")?;
            if let Some(bytes) = cost.peak_bytes {
                self.write(name, "peak_memory", bytes as f64 / f64::from(1 << 20), "MiB")?;
            }
        }
        Ok(())
    }

    /// A distribution of times: mean, median, p99 and the longest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn times(&mut self, names: [&'static str; 4], times: &mut [Duration]) -> Result<()> {
        times.sort_unstable();
        let mean = times.iter().sum::<Duration>().as_secs_f64() / times.len().max(1) as f64;
        let values = [mean, quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0)];
        names.into_iter().zip(values).try_for_each(|(name, seconds)| self.figure(name, seconds * 1e3, "ms"))
    }

    fn write(&mut self, process: Option<String>, metric: &'static str, value: f64, unit: &'static str) -> Result<()> {
        self.report.add(Figure {
            bench: self.report.bench,
            workload: self.report.workload,
            subject: self.subject.clone(),
            process,
            metric,
            value: (value * 1e4).round() / 1e4,
            unit,
            rows: self.rows,
            durability: self.report.durability,
            profile: if Profile::from_env() == Profile::Release { "release" } else { "debug" },
        })
    }
}

/// Per second, of a count in a time.
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

fn per_million(seconds: f64, rows: u64) -> f64 {
    seconds * 1e6 / rows.max(1) as f64
}

/// In seconds, of sorted times.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).map_or(0.0, Duration::as_secs_f64)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{} {}, {} durability", self.bench, self.workload, self.durability)?;
        for subject in self.figures.chunk_by(|a, b| a.subject == b.subject) {
            write!(
                f,
                "\n\n{}, {} row changes",
                subject.first().map_or("", |s| &s.subject),
                number(subject_rows(subject))
            )?;
            let (whole, processes): (Vec<&Figure>, Vec<&Figure>) = subject.iter().partition(|f| f.process.is_none());
            let line = |figure: &&Figure| {
                vec![figure.metric.replace('_', " "), format!("{} {}", number(figure.value), figure.unit)]
            };
            aligned(f, &whole.iter().map(line).collect::<Vec<_>>())?;
            let mut lines: Vec<Vec<String>> = Vec::new();
            for figures in processes.chunk_by(|a, b| a.process == b.process) {
                let cell = |metric| {
                    let found = figures.iter().find(|figure| figure.metric == metric);
                    found.map_or_else(String::new, |figure| format!("{} {}", number(figure.value), figure.unit))
                };
                let name = figures.first().and_then(|figure| figure.process.clone()).unwrap_or_default();
                lines.push(vec![name, cell("cpu"), cell("cpu_per_million_rows"), cell("peak_memory")]);
            }
            if !lines.is_empty() {
                lines.insert(0, ["process", "cpu", "per million rows", "peak memory"].map(str::to_owned).to_vec());
                aligned(f, &lines)?;
            }
        }
        Ok(())
    }
}

fn subject_rows(figures: &[Figure]) -> f64 {
    figures.first().map_or(0.0, |figure| figure.rows as f64)
}

/// Columns as wide as they must be, the first one to the left and the others to the right.
fn aligned(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let widths: Vec<usize> =
        (0..4).map(|i| lines.iter().filter_map(|l| l.get(i)).map(String::len).max().unwrap_or(0)).collect();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        write!(f, "\n  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// With thousands apart, and as many decimals as matter.
fn number(value: f64) -> String {
    let decimals = if value.abs() >= 1_000.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(c);
    }
    out + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let shown: Vec<String> = [0.0, 1.2345, 12.34, 999.96, 1234.5, 1_234_567.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0.000", "1.234", "12.3", "1,000.0", "1,234", "1,234,567"]);
    }

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|q| quantile(&times, q)), [51.0, 99.0, 100.0]);
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }
}

//! Processor time and memory of each process over a window.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lutra_harness::process::ProcessId;

/// A process under measurement.
#[derive(Debug)]
struct Watched {
    name: String,
    id: ProcessId,
    /// What it had used at the window's begin.
    before: Duration,
    fresh: bool,
}

/// Measures from its making on.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    busy_before: Duration,
    watched: Vec<Watched>,
}

/// What a process used in the window.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The process.
    pub name: String,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory it ever had, where it was started for this window.
    pub peak_bytes: Option<u64>,
}

/// What was used in the window.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Length of the window.
    pub took: Duration,
    /// By process; the last one, `others`, is everything else on the machine.
    pub processes: Vec<Cost>,
}

impl Meter {
    /// Begins a window over processes that run already.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn start(running: Vec<(String, ProcessId)>) -> Result<Self> {
        let watched = running.into_iter().map(|(name, id)| {
            let before = id.usage().with_context(|| format!("measure {name}"))?.cpu;
            Ok(Watched { name, id, before, fresh: false })
        });
        let watched = watched.collect::<Result<_>>()?;
        Ok(Self { began: Instant::now(), busy_before: machine_busy()?, watched })
    }

    /// Adds a process that was started inside the window.
    pub fn add(&mut self, name: &str, id: ProcessId) {
        self.watched.push(Watched { name: name.to_owned(), id, before: Duration::ZERO, fresh: true });
    }

    /// When the window began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Ends the window.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn finish(self) -> Result<Costs> {
        let took = self.began.elapsed();
        let mut processes = Vec::with_capacity(self.watched.len() + 1);
        let mut ours = Duration::ZERO;
        for process in self.watched {
            let usage = process.id.usage().with_context(|| format!("measure {}", process.name))?;
            let cpu = usage.cpu.saturating_sub(process.before);
            ours += cpu;
            let peak_bytes = process.fresh.then_some(usage.peak_resident_bytes);
            processes.push(Cost { name: process.name, cpu, peak_bytes });
        }
        let others = machine_busy()?.saturating_sub(self.busy_before).saturating_sub(ours);
        processes.push(Cost { name: "others".to_owned(), cpu: others, peak_bytes: None });
        Ok(Costs { took, processes })
    }
}

/// Time that all processors were busy since boot: of `/proc/stat`, in ticks of 10 ms.
fn machine_busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    Ok(Duration::from_millis(10 * busy_ticks(first)))
}

/// User, nice, system, interrupts; not idle, not waiting for the disk, not what a hypervisor took. Guests count as user.
fn busy_ticks(line: &str) -> u64 {
    let fields = line.split_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    fields.take(7).enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, ticks)| ticks).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        assert_eq!(busy_ticks("cpu  10 1 20 5000 600 2 3 77 0 0"), 36);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn a_busy_process_is_seen_and_not_counted_among_the_others() {
        let meter = Meter::start(vec![("self".to_owned(), ProcessId::own().unwrap())]).unwrap();
        let mut turns = 0_u64;
        while meter.began().elapsed() < Duration::from_millis(100) {
            turns = std::hint::black_box(turns + 1);
        }
        let costs = meter.finish().unwrap();
        assert_eq!(costs.processes.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["self", "others"]);
        assert!(costs.processes[0].cpu > Duration::ZERO && costs.took >= Duration::from_millis(100), "{costs:?}");
    }
}

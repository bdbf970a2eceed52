//! Whether a process that lives long keeps to what it has: memory, descriptors, connections and threads over an hour.
//!
//! Of each process the most of every minute is kept. When a run ends, a line is fitted through the minutes of each process
//! that lived for an hour, behind a first part that belongs to its start: where it rises by more than noise, something
//! leaks, however far from its bound it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lutra_harness::process::ProcessId;
use serde::{Deserialize, Serialize};

use super::resources::Usage;
use crate::findings::{Findings, Invariant};

/// What is kept is the most of so long.
pub const MINUTE: Duration = Duration::from_secs(60);
/// A process is judged that lived for so many minutes.
const LEAST: usize = 60;
/// The first of them are its start.
const START: usize = 10;
/// What the fitted line may rise by, from behind the start to the end. Memory is also let a tenth of what there is.
const NOISE: Usage = Usage { mib: 16, descriptors: 16, connections: 12, threads: 8 };

/// What the processes of a run had, minute by minute.
#[derive(Debug)]
pub struct Lives {
    minute: Duration,
    lives: BTreeMap<String, Vec<Life>>,
}

#[derive(Debug)]
struct Life {
    id: ProcessId,
    began: Instant,
    minutes: Vec<Usage>,
}

/// What a long life came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Whose.
    pub process: String,
    /// How many minutes.
    pub minutes: usize,
    /// What it had behind its start.
    pub first: Usage,
    /// What it had in its last minute.
    pub last: Usage,
    /// What the fitted line rises by in between: MiB, descriptors, connections, threads.
    pub rise: [f64; 4],
}

impl Default for Lives {
    fn default() -> Self {
        Self::in_minutes_of(MINUTE)
    }
}

impl Lives {
    /// With minutes of another length, for a control that has no hour.
    #[must_use]
    pub fn in_minutes_of(minute: Duration) -> Self {
        Self { minute, lives: BTreeMap::new() }
    }

    /// A look at a process.
    pub fn saw(&mut self, name: &str, id: ProcessId, usage: Usage) {
        let lives = self.lives.entry(name.to_owned()).or_default();
        if lives.last().is_none_or(|life| life.id != id) {
            lives.push(Life { id, began: Instant::now(), minutes: Vec::new() });
        }
        let Some(life) = lives.last_mut() else { return };
        let minute = (life.began.elapsed().as_millis() / self.minute.as_millis().max(1)) as usize;
        // A minute in which nobody could look has what the one before it had.
        while life.minutes.len() <= minute {
            let before = life.minutes.last().copied().filter(|_| life.minutes.len() < minute);
            life.minutes.push(before.unwrap_or_default());
        }
        life.minutes[minute] = life.minutes[minute].max(usage);
    }

    /// Judges those that lived long enough.
    pub fn judge(&self, findings: &Findings) -> Vec<Trend> {
        let lives = self.lives.iter().flat_map(|(name, lives)| lives.iter().map(move |life| (name, life)));
        let trends: Vec<Trend> = lives.filter_map(|(name, life)| trend(name, &life.minutes)).collect();
        for trend in &trends {
            findings.look(Invariant::FlatResources, trend.leaks());
        }
        trends
    }
}

fn trend(process: &str, minutes: &[Usage]) -> Option<Trend> {
    // The last one may be a minute that had just begun.
    let whole = minutes.get(..minutes.len().saturating_sub(1)).filter(|whole| whole.len() >= LEAST)?;
    let behind = &whole[START..];
    let rise = [
        rise(behind.iter().map(|u| u.mib)),
        rise(behind.iter().map(|u| u.descriptors)),
        rise(behind.iter().map(|u| u.connections)),
        rise(behind.iter().map(|u| u.threads)),
    ];
    let (first, last) = (*behind.first()?, *behind.last()?);
    Some(Trend { process: process.to_owned(), minutes: whole.len(), first, last, rise })
}

/// What the line of least squares rises by from the first to the last.
fn rise(values: impl ExactSizeIterator<Item = u64>) -> f64 {
    let count = values.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let (mut across, mut along) = (0.0, 0.0);
    for (at, value) in values.enumerate() {
        let from_middle = at as f64 - middle;
        across += from_middle * value as f64;
        along += from_middle * from_middle;
    }
    if along == 0.0 { 0.0 } else { across / along * (count - 1.0) }
}

impl Trend {
    /// Memory, descriptors, connections and threads in words.
    #[must_use]
    pub fn words(&self) -> [String; 4] {
        let Self { first, last, rise, .. } = self;
        let words = |first: u64, last: u64, rise: f64| format!("{first} to {last}, fitted {rise:+.1}");
        [
            words(first.mib, last.mib, rise[0]),
            words(first.descriptors, last.descriptors, rise[1]),
            words(first.connections, last.connections, rise[2]),
            words(first.threads, last.threads, rise[3]),
        ]
    }

    /// What rises by more than noise.
    fn leaks(&self) -> Option<String> {
        let memory = (self.first.mib as f64 / 10.0).max(NOISE.mib as f64);
        let [descriptors, connections, threads] =
            [NOISE.descriptors, NOISE.connections, NOISE.threads].map(|most| most as f64);
        let kinds = [
            ("MiB", self.first.mib, self.last.mib, memory),
            ("descriptors", self.first.descriptors, self.last.descriptors, descriptors),
            ("connections", self.first.connections, self.last.connections, connections),
            ("threads", self.first.threads, self.last.threads, threads),
        ];
        let risen = kinds.into_iter().zip(self.rise).find(|((.., noise), rise)| rise > noise);
        risen.map(|((what, first, last, noise), rise)| {
            format!(
                "{} rose by {rise:.0} {what} (from {first} to {last}) in {} minutes; {noise:.0} are noise",
                self.process,
                self.minutes - START
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(of: impl Fn(u64) -> u64) -> Vec<Usage> {
        let usage = |n| Usage { mib: of(n), descriptors: 40, connections: 9, threads: 12 };
        (0..75).map(usage).collect()
    }

    #[test]
    fn a_start_and_noise_are_no_leak() {
        let starts = trend("loader-1", &minutes(|n| n.min(10) * 6 + n % 3)).unwrap_or_else(|| unreachable!());
        assert_eq!((starts.minutes, starts.leaks()), (74, None));
        assert!(starts.rise[0].abs() < 1.0, "{starts:?}");
    }

    #[test]
    fn what_rises_all_the_time_is_one() {
        let leaks = trend("loader-1", &minutes(|n| 50 + n / 2)).and_then(|trend| trend.leaks()).unwrap_or_default();
        assert!(leaks.starts_with("loader-1 rose by 31 MiB (from 55 to 86)"), "{leaks}");
    }

    #[test]
    fn of_a_short_life_nothing_is_said() {
        assert_eq!(trend("loader-1", &minutes(|n| n)[..60]), None);
    }

    #[test]
    fn another_process_of_the_name_is_another_life() {
        let mut lives = Lives::in_minutes_of(Duration::from_secs(3_600));
        for pid in [1, 1, 2] {
            lives.saw("loader-1", ProcessId { pid, started: 7 }, Usage::default());
        }
        assert_eq!(lives.lives["loader-1"].iter().map(|life| life.minutes.len()).collect::<Vec<_>>(), [1, 1]);
        assert!(lives.judge(&Findings::default()).is_empty());
    }
}

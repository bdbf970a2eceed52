//! What a campaign has found: a file for machines that goes on over runs, and a page for people.

mod html;
mod plot;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::fault::{Family, Recovery};
use crate::findings::{self, Invariant, Standing};
use crate::statistics::Distribution;
use crate::watch::flat::Trend;
use crate::watch::health::Second;
use crate::watch::resources::Usage;

/// The version of the file.
const FORMAT: u32 = 2;
/// A kind that could not be injected so often and never was, or so many faults in all, are too many.
const MISSES: u64 = 3;
/// The file for machines.
pub const JSON: &str = "campaign.json";
/// Its figures in Markdown.
pub const WORDS: &str = "report.md";
/// The page for people.
pub const HTML: &str = "report.html";

/// Everything over all runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Campaign {
    /// The version of the file.
    pub format: u32,
    /// Run by run.
    pub runs: Vec<Run>,
    /// By kind of fault.
    pub kinds: BTreeMap<String, Kind>,
    /// By invariant.
    pub invariants: BTreeMap<Invariant, Standing>,
    /// Negative controls: the newest outcome of each.
    pub controls: BTreeMap<String, ControlOutcome>,
    /// What could not be done on the machine of the last run, and why.
    pub unable: BTreeMap<String, String>,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// When it began, in seconds since the epoch.
    pub began_at: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// `debug` or `release`.
    pub profile: String,
    /// Processors of the machine.
    pub processors: usize,
    /// Load of the machine at its end, over fifteen minutes.
    pub load: String,
    /// What was written.
    pub workloads: Vec<String>,
    /// Which servers there were.
    #[serde(default)]
    pub form: String,
    /// Faults injected.
    pub faults: u64,
    /// Faults that could not be injected when their turn came.
    pub not_injected: u64,
    /// Rests at which both sides were held against each other.
    pub rests: u64,
    /// Transactions committed at the source, at least.
    pub transactions: u64,
    /// Committed states of the target that were looked at.
    pub samples: u64,
    /// Commits of the loader that were read in the target's binlog: all of them.
    pub commits: u64,
    /// Row changes in those.
    pub rows: u64,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// The faults, as they came.
    pub marks: Vec<Mark>,
    /// The most that each process had.
    pub peaks: BTreeMap<String, Usage>,
    /// What became of what processes had that lived for an hour.
    #[serde(default)]
    pub trends: Vec<Trend>,
    /// Why it ended before its time, if it did.
    pub broken_off: Option<String>,
}

/// A fault in its run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds after the run began.
    pub at: f64,
    /// The kind.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// Who was struck.
    pub victim: String,
    /// Recovery, in seconds; none where work did not go on.
    pub recovery: Option<f64>,
}

/// A kind of fault over all runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kind {
    /// Its family.
    pub family: Family,
    /// What it does.
    pub about: String,
    /// How many a campaign wants.
    pub wanted: u64,
    /// What is measured, as [`Recovery::name`] calls it.
    pub recovery: Recovery,
    /// How many were injected.
    pub count: u64,
    /// How many could not be injected when their turn came.
    pub not_injected: u64,
    /// Why: the first few reasons.
    pub reasons: Vec<String>,
    /// What was measured, in seconds.
    pub times: Vec<f64>,
}

/// What became of a negative control.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControlOutcome {
    /// What is spoilt.
    pub about: String,
    /// What must see it.
    pub expected: Invariant,
    /// Whether it did.
    pub caught: bool,
    /// What was seen.
    pub seen: String,
}

impl Campaign {
    /// Goes on with the campaign of a folder, or begins one there.
    ///
    /// # Errors
    /// When there is one and it shall not go on, or it cannot be read.
    pub fn open(folder: &Path, resume: bool) -> Result<Self> {
        let path = folder.join(JSON);
        if !path.is_file() {
            return Ok(Self { format: FORMAT, ..Self::default() });
        }
        anyhow::ensure!(
            resume,
            "{} is there already: --resume goes on with it, another --report DIR begins anew",
            path.display()
        );
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let campaign: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("understand {}", path.display()))?;
        anyhow::ensure!(campaign.format == FORMAT, "{} has format {}, not {FORMAT}", path.display(), campaign.format);
        Ok(campaign)
    }

    /// Adds what another campaign has found: faults, findings, controls and runs add up.
    pub fn add(&mut self, other: Self) {
        for (name, kind) in other.kinds {
            let Some(own) = self.kinds.get_mut(&name) else {
                self.kinds.insert(name, kind);
                continue;
            };
            own.count += kind.count;
            own.not_injected += kind.not_injected;
            own.times.extend(kind.times);
            own.reasons.extend(kind.reasons);
            own.reasons.sort_unstable();
            own.reasons.dedup();
        }
        findings::add(&mut self.invariants, &other.invariants);
        self.controls.extend(other.controls);
        self.runs.extend(other.runs);
        self.unable.extend(other.unable);
    }

    /// Writes all files.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let fresh = folder.join("campaign.json.new");
        let bytes = serde_json::to_vec_pretty(self).context("write a campaign down")?;
        std::fs::write(&fresh, bytes).with_context(|| format!("write {}", fresh.display()))?;
        std::fs::rename(&fresh, folder.join(JSON)).context("replace the campaign's file")?;
        std::fs::write(folder.join(WORDS), words::page(self)).context("write the report in Markdown")?;
        std::fs::write(folder.join(HTML), html::page(self)).context("write the report")
    }

    /// Faults by kind so far.
    #[must_use]
    pub fn done(&self) -> BTreeMap<String, u64> {
        self.kinds.iter().map(|(name, kind)| (name.clone(), kind.count)).collect()
    }

    /// All faults so far.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.kinds.values().map(|kind| kind.count).sum()
    }

    /// What was measured, by what it is, over all kinds.
    #[must_use]
    pub fn recoveries(&self) -> BTreeMap<Recovery, Distribution> {
        let mut times: BTreeMap<Recovery, Vec<f64>> = BTreeMap::new();
        for kind in self.kinds.values() {
            times.entry(kind.recovery).or_default().extend(&kind.times);
        }
        times.into_iter().map(|(recovery, times)| (recovery, Distribution::of(&times))).collect()
    }

    /// Violations of an invariant over all runs.
    #[must_use]
    pub fn violations(&self, invariant: Invariant) -> u64 {
        self.invariants.get(&invariant).map_or(0, |standing| standing.violations)
    }

    /// What is too much of what could not be injected: a kind that never could be, or a tenth of all.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let kinds = self.kinds.iter().filter(|(_, kind)| kind.count == 0 && kind.not_injected >= MISSES);
        let mut text: Vec<String> = kinds
            .map(|(name, kind)| {
                format!("{name} was never injected, {} times: {}", kind.not_injected, kind.reasons.join("; "))
            })
            .collect();
        let missed: u64 = self.kinds.values().map(|kind| kind.not_injected).sum();
        if missed > MISSES && missed * 10 > self.faults() + missed {
            text.push(format!("{missed} faults of {} could not be injected", self.faults() + missed));
        }
        text
    }

    /// Something was done, nothing was violated, every control was caught, no run was broken off, and what was wanted was injected.
    #[must_use]
    pub fn holds(&self) -> bool {
        (self.faults() > 0 || !self.controls.is_empty())
            && self.invariants.values().all(|standing| standing.violations == 0)
            && self.controls.values().all(|control| control.caught)
            && self.runs.iter().all(|run| run.broken_off.is_none())
            && self.missing().is_empty()
    }

    /// The verdict in a few lines.
    #[must_use]
    pub fn verdict(&self) -> String {
        let (lost, doubled, torn) = (
            self.violations(Invariant::NothingLost),
            self.violations(Invariant::NothingDoubled),
            self.violations(Invariant::NothingTorn),
        );
        let sum = |of: fn(&Run) -> u64| self.runs.iter().map(of).sum::<u64>();
        let mut text = format!(
            "{}: {} faults of {} kinds in {} runs; {lost} lost, {doubled} doubled, {torn} torn\n\
             {} transactions at the source, {} commits of the target read, {} states sampled, {} rests\n",
            if self.holds() { "HOLDS" } else { "FAILED" },
            self.faults(),
            self.kinds.values().filter(|kind| kind.count > 0).count(),
            self.runs.len(),
            sum(|r| r.transactions),
            sum(|r| r.commits),
            sum(|r| r.samples),
            sum(|r| r.rests),
        );
        for (invariant, standing) in self.invariants.iter().filter(|(_, s)| s.violations > 0) {
            text += &format!("  {} violated {} times:\n", invariant.name(), standing.violations);
            standing.examples.iter().for_each(|example| text += &format!("    {example}\n"));
        }
        for (recovery, times) in self.recoveries() {
            let Distribution { count, p50, p90, p99, max } = times;
            text += &format!(
                "  {:<10} {count:>4} measured, half within {p50:.2} s, 90 % {p90:.2} s, 99 % {p99:.2} s, all {max:.2} s\n",
                recovery.name()
            );
        }
        let missed: u64 = self.kinds.values().map(|kind| kind.not_injected).sum();
        if missed > 0 {
            text += &format!("  {missed} faults could not be injected when their turn came\n");
        }
        self.missing().iter().for_each(|what| text += &format!("  {what}\n"));
        for (name, _) in self.controls.iter().filter(|(_, c)| !c.caught) {
            text += &format!("  the control {name} was not caught\n");
        }
        for why in self.runs.iter().filter_map(|run| run.broken_off.as_ref()) {
            text += &format!("  a run was broken off: {}\n", why.lines().next().unwrap_or_default());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn campaign() -> Campaign {
        let kind = Kind {
            family: Family::Process,
            about: "SIGKILL <now> & again".to_owned(),
            wanted: 100,
            recovery: Recovery::Restart,
            count: 3,
            not_injected: 0,
            reasons: Vec::new(),
            times: vec![0.2, 0.1, 1.5],
        };
        let second = |at: f64| Second { at, commits: 20, waiting: Some(3), mib: 90, pace: 100 };
        let mark = Mark {
            at: 2.5,
            name: "kill-loader".to_owned(),
            family: Family::Process,
            victim: "loader-1".to_owned(),
            recovery: Some(0.2),
        };
        let run = Run {
            seed: 7,
            seconds: 60.0,
            faults: 3,
            timeline: (0..60).map(|n| second(f64::from(n))).collect(),
            marks: vec![mark],
            ..Run::default()
        };
        Campaign {
            format: FORMAT,
            runs: vec![run],
            kinds: BTreeMap::from([("kill-loader".to_owned(), kind)]),
            ..Campaign::default()
        }
    }

    #[test]
    fn a_campaign_goes_on_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Campaign::open(folder.path(), true).unwrap().faults(), 0);
        campaign().write(folder.path()).unwrap();
        assert!(Campaign::open(folder.path(), false).is_err());
        let read = Campaign::open(folder.path(), true).unwrap();
        assert_eq!((read.faults(), read.runs[0].seed, read.runs[0].timeline.len()), (3, 7, 60));
    }

    #[test]
    fn campaigns_add_up() {
        let mut sum = campaign();
        let torn = Standing { looks: 9, violations: 1, examples: vec!["sum 3, not 4".to_owned()] };
        sum.invariants.insert(Invariant::NothingTorn, torn);
        sum.add(campaign());
        assert_eq!((sum.faults(), sum.runs.len(), sum.kinds["kill-loader"].times.len()), (6, 2, 6));
        assert_eq!(sum.violations(Invariant::NothingTorn), 1);
    }

    #[test]
    fn the_verdict_names_what_did_not_hold() {
        assert!(!Campaign::default().holds(), "nothing was tried");
        let mut campaign = campaign();
        assert!(campaign.holds() && campaign.verdict().starts_with("HOLDS: 3 faults of 1 kinds"));
        let torn = Standing { looks: 9, violations: 1, examples: vec!["sum 3, not 4".to_owned()] };
        campaign.invariants.insert(Invariant::NothingTorn, torn);
        let verdict = campaign.verdict();
        assert!(verdict.starts_with("FAILED") && verdict.contains("1 torn") && verdict.contains("sum 3, not 4"));
    }

    #[test]
    fn what_could_not_be_injected_fails_a_campaign_where_it_is_too_much() {
        let mut campaign = campaign();
        let mut never = campaign.kinds["kill-loader"].clone();
        (never.count, never.not_injected, never.reasons) = (0, 2, vec!["no root".to_owned()]);
        campaign.kinds.insert("full".to_owned(), never.clone());
        assert!(campaign.holds());
        never.not_injected = 3;
        campaign.kinds.insert("full".to_owned(), never);
        assert!(!campaign.holds() && campaign.verdict().contains("full was never injected, 3 times: no root"));
    }

    #[test]
    fn the_page_is_whole_and_lets_no_markup_through() {
        let page = html::page(&campaign());
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        assert!(page.contains("SIGKILL &lt;now&gt; &amp; again") && !page.contains("<now>"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.matches("<svg").count() >= 3);
        // Nothing is fetched from anywhere.
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}

//! What must hold, how often it was looked at, and where it did not hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Something that must hold at all times, or at each rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// Every transaction of the source is in the target when both rest.
    NothingLost,
    /// No transaction of the source is in the target twice, at any time.
    NothingDoubled,
    /// No committed state of the target holds a part of a transaction.
    NothingTorn,
    /// Rows of source and target are equal when both rest.
    Equal,
    /// What `SHOW CREATE TABLE` says is equal when both rest.
    DefinitionsEqual,
    /// A key's values in the target are values of the source, in the source's order, ending alike.
    HistoryInOrder,
    /// The checkpoint never moves back.
    WatermarkForward,
    /// Nobody commits after a later owner has.
    NoForeignCommit,
    /// Status never says that all is well while nothing moves for ten seconds.
    NotHealthyWhileStalled,
    /// Running tasks do not rest while ZooKeeper is away.
    FlowsWithoutZookeeper,
    /// Memory, descriptors, connections and threads of every service stay in bounds.
    BoundedResources,
    /// They do not grow over an hour.
    FlatResources,
    /// Rows read are rows applied.
    Conserved,
    /// The conditions that a workload states of itself hold.
    Consistent,
    /// Everything goes on by itself when a fault is over.
    Recovers,
    /// What work cannot get past by itself halts a task that names it.
    Named,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NothingLost,
        Self::NothingDoubled,
        Self::NothingTorn,
        Self::Equal,
        Self::DefinitionsEqual,
        Self::HistoryInOrder,
        Self::WatermarkForward,
        Self::NoForeignCommit,
        Self::NotHealthyWhileStalled,
        Self::FlowsWithoutZookeeper,
        Self::BoundedResources,
        Self::FlatResources,
        Self::Conserved,
        Self::Consistent,
        Self::Recovers,
        Self::Named,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NothingLost => "every ledger line of the source is in the target at each rest",
            Self::NothingDoubled => "no ledger line is in the target twice, in any commit",
            Self::NothingTorn => "sums are constant in each sample and unchanged by each commit of the target",
            Self::Equal => "all rows of source and target are equal at each rest",
            Self::DefinitionsEqual => "all table definitions are equal at each rest",
            Self::HistoryInOrder => "versions of each key rise with each commit of the target",
            Self::WatermarkForward => "the checkpoint never moves back, in any commit",
            Self::NoForeignCommit => "no commit under an epoch older than one that has committed or fenced",
            Self::NotHealthyWhileStalled => "status does not look healthy while nothing moved for 10 s and work waits",
            Self::FlowsWithoutZookeeper => "commits go on while ZooKeeper is away",
            Self::BoundedResources => "memory, descriptors, connections and threads of each service stay in bounds",
            Self::FlatResources => "and do not grow in a process that lives for an hour",
            Self::Conserved => "rows read at the source = rows applied at the target, by the services' own counters",
            Self::Consistent => "a workload's own conditions hold (TPC-C)",
            Self::Recovers => "work goes on by itself within 120 s after each fault",
            Self::Named => {
                "what work cannot get past by itself halts a task within 60 s that names it, and nothing of another history comes"
            }
        }
    }

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// How an invariant did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How often it was looked at and could have failed.
    pub looks: u64,
    /// How often it did not hold.
    pub violations: u64,
    /// The first few of those.
    pub examples: Vec<String>,
}

/// So many examples are kept.
const EXAMPLES: usize = 10;

/// Where all watchers write. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    inner: Arc<Mutex<BTreeMap<Invariant, Standing>>>,
}

impl Findings {
    /// So many looks found nothing wrong.
    pub fn fine(&self, invariant: Invariant, looks: u64) {
        self.with(invariant, |standing| standing.looks += looks);
    }

    /// It did not hold.
    pub fn broken(&self, invariant: Invariant, text: impl Into<String>) {
        let text = text.into();
        self.with(invariant, |standing| {
            standing.looks += 1;
            standing.violations += 1;
            if standing.examples.len() < EXAMPLES && !standing.examples.contains(&text) {
                standing.examples.push(text);
            }
        });
    }

    /// Looked at: wrong if there is something to say.
    pub fn look(&self, invariant: Invariant, wrong: Option<String>) {
        match wrong {
            None => self.fine(invariant, 1),
            Some(text) => self.broken(invariant, text),
        }
    }

    /// How each did.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Invariant, Standing> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What did not hold.
    #[must_use]
    pub fn violated(&self) -> Vec<Invariant> {
        self.all().into_iter().filter(|(_, s)| s.violations > 0).map(|(i, _)| i).collect()
    }

    fn with(&self, invariant: Invariant, change: impl FnOnce(&mut Standing)) {
        change(self.inner.lock().unwrap_or_else(PoisonError::into_inner).entry(invariant).or_default());
    }
}

/// Adds the standings of a run to those of a campaign.
pub fn add(to: &mut BTreeMap<Invariant, Standing>, run: &BTreeMap<Invariant, Standing>) {
    for (invariant, standing) in run {
        let sum = to.entry(*invariant).or_default();
        sum.looks += standing.looks;
        sum.violations += standing.violations;
        let room = EXAMPLES.saturating_sub(sum.examples.len());
        sum.examples.extend(standing.examples.iter().take(room).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_and_violations_are_counted_and_runs_add_up() {
        let findings = Findings::default();
        findings.fine(Invariant::NothingTorn, 5);
        findings.look(Invariant::NothingTorn, Some("sum 3, not 4".to_owned()));
        findings.look(Invariant::Equal, None);
        assert_eq!(findings.violated(), [Invariant::NothingTorn]);
        let mut campaign = BTreeMap::new();
        add(&mut campaign, &findings.all());
        add(&mut campaign, &findings.all());
        let torn = &campaign[&Invariant::NothingTorn];
        assert_eq!((torn.looks, torn.violations, torn.examples.len()), (12, 2, 2));
    }

    #[test]
    fn every_invariant_has_a_name_and_words() {
        assert!(Invariant::ALL.iter().all(|i| !i.name().is_empty() && !i.words().is_empty()));
    }
}

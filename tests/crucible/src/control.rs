//! Negative controls: each spoils something on purpose, and what watches must see it.

mod running;

pub use self::running::run;

use crate::campaign::{Works, database};
use crate::findings::Invariant;
use crate::rig::Rig;

/// What is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A balance in the target.
    Torn,
    /// A ledger line, written twice.
    Doubled,
    /// A ledger line, deleted.
    Lost,
    /// A row's value.
    Changed,
    /// A table's definition.
    Redefined,
    /// A version that goes back.
    VersionBack,
    /// A checkpoint that goes back.
    SlotBack,
    /// An epoch that goes back.
    EpochBack,
    /// A warehouse's sum.
    Inconsistent,
    /// Work that stands still under a status that says all is well.
    Stalled,
    /// A pause while nothing may pause.
    Paused,
    /// A bound that no process keeps.
    Bounded,
    /// A process that takes more and more.
    Leaking,
    /// A row that was read and not applied.
    Unconserved,
    /// A loader that does not come back in time.
    Gone,
    /// A gap that nobody names.
    Unnamed,
    /// A loader without its fence.
    Fence,
    /// A loader whose checkpoint is outside its transaction.
    Checkpoint,
}

impl Control {
    /// All of them; the last ones ruin their cluster.
    pub const ALL: [Self; 18] = [
        Self::Torn,
        Self::Doubled,
        Self::Lost,
        Self::Changed,
        Self::Redefined,
        Self::VersionBack,
        Self::SlotBack,
        Self::EpochBack,
        Self::Inconsistent,
        Self::Stalled,
        Self::Paused,
        Self::Bounded,
        Self::Leaking,
        Self::Unconserved,
        Self::Gone,
        Self::Unnamed,
        Self::Fence,
        Self::Checkpoint,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Doubled => "doubled",
            Self::Lost => "lost",
            Self::Changed => "row-changed",
            Self::Redefined => "redefined",
            Self::VersionBack => "version-back",
            Self::SlotBack => "slot-back",
            Self::EpochBack => "epoch-back",
            Self::Inconsistent => "inconsistent",
            Self::Stalled => "stalled",
            Self::Paused => "paused",
            Self::Bounded => "bounded",
            Self::Leaking => "leaking",
            Self::Unconserved => "unconserved",
            Self::Gone => "gone",
            Self::Unnamed => "unnamed",
            Self::Fence => "fence-off",
            Self::Checkpoint => "checkpoint-outside",
        }
    }

    /// What it spoils.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Torn => "a balance in the target is changed by hand, in a commit of its own",
            Self::Doubled => "a ledger line of the target is written a second time by hand",
            Self::Lost => "a ledger line of the target is deleted by hand",
            Self::Changed => "a value of a row in the target is changed by hand",
            Self::Redefined => "a table of the target gets another definition by hand",
            Self::VersionBack => "a versioned row of the target goes back by hand",
            Self::SlotBack => "the number in a slot row goes back by hand",
            Self::EpochBack => "the term in a slot row goes back by hand",
            Self::Inconsistent => "the warehouse's sum in the target is changed by hand",
            Self::Stalled => "slot rows are locked for longer than 10 s and the watcher is shown a status of before",
            Self::Paused => "all loaders are frozen for 4 s as if ZooKeeper were away",
            Self::Bounded => "the bound of memory is set to 1 MiB",
            Self::Leaking => {
                "a process that opens one file after the other is watched, a tenth of a second for a minute"
            }
            Self::Unconserved => "the loaders' counter is told with one row less",
            Self::Gone => "all loaders are frozen while a change must arrive within 3 s",
            Self::Unnamed => "a lost tail is looked for in the status of a cluster that has none",
            Self::Fence => "a loader runs with its fence switched off, and the slot row is taken away from it",
            Self::Checkpoint => {
                "a loader commits its checkpoint outside the transaction of the rows, and dies in between"
            }
        }
    }

    /// What must see it.
    #[must_use]
    pub fn expected(self) -> Invariant {
        match self {
            Self::Torn => Invariant::NothingTorn,
            Self::Doubled | Self::Fence | Self::Checkpoint => Invariant::NothingDoubled,
            Self::Lost => Invariant::NothingLost,
            Self::Changed => Invariant::Equal,
            Self::Redefined => Invariant::DefinitionsEqual,
            Self::VersionBack => Invariant::HistoryInOrder,
            Self::SlotBack => Invariant::WatermarkForward,
            Self::EpochBack => Invariant::NoForeignCommit,
            Self::Inconsistent => Invariant::Consistent,
            Self::Stalled => Invariant::NotHealthyWhileStalled,
            Self::Paused => Invariant::FlowsWithoutZookeeper,
            Self::Bounded => Invariant::BoundedResources,
            Self::Leaking => Invariant::FlatResources,
            Self::Unconserved => Invariant::Conserved,
            Self::Gone => Invariant::Recovers,
            Self::Unnamed => Invariant::Named,
        }
    }

    /// Whether its cluster is of no use behind it.
    fn ruins(self) -> bool {
        matches!(self, Self::Fence | Self::Checkpoint)
    }

    /// What is done to the target by hand and how it is undone, where that is all.
    fn by_hand(self, db: &Names) -> Option<[String; 2]> {
        let Names { bank, hot, tpcc, probe, task } = db;
        let slot = format!("WHERE task = '{task}' AND slot = 0");
        let account = |change: &str| format!("UPDATE `{bank}`.account_0 SET {change} WHERE id = 7");
        let both = |a: String, b: String| Some([a, b]);
        match self {
            Self::Torn => both(account("balance = balance + 1"), account("balance = balance - 1")),
            Self::Doubled => both(
                format!(
                    "INSERT INTO `{bank}`.ledger SELECT * FROM (SELECT * FROM `{bank}`.ledger ORDER BY transfer LIMIT 1) AS one"
                ),
                format!("DELETE FROM `{bank}`.ledger ORDER BY transfer LIMIT 1"),
            ),
            Self::Lost => both(
                format!(
                    "CREATE TABLE `{tpcc}`.kept AS SELECT * FROM `{bank}`.ledger ORDER BY transfer LIMIT 1; \
                     DELETE FROM `{bank}`.ledger ORDER BY transfer LIMIT 1"
                ),
                format!("INSERT INTO `{bank}`.ledger SELECT * FROM `{tpcc}`.kept; DROP TABLE `{tpcc}`.kept"),
            ),
            Self::Changed => both(
                format!("UPDATE `{tpcc}`.stock SET s_quantity = s_quantity + 1 WHERE i_id = 3"),
                format!("UPDATE `{tpcc}`.stock SET s_quantity = s_quantity - 1 WHERE i_id = 3"),
            ),
            Self::Redefined => both(
                format!("ALTER TABLE `{probe}`.probe COMMENT 'by hand'"),
                format!("ALTER TABLE `{probe}`.probe COMMENT ''"),
            ),
            Self::VersionBack => both(
                format!("UPDATE `{hot}`.counter SET version = version - 1 WHERE id = 0"),
                format!("UPDATE `{hot}`.counter SET version = version + 1 WHERE id = 0"),
            ),
            Self::SlotBack => both(
                format!("UPDATE lutra.slot SET sequence = sequence - 1 {slot}"),
                format!("UPDATE lutra.slot SET sequence = sequence + 1 {slot}"),
            ),
            Self::EpochBack => both(
                format!("UPDATE lutra.slot SET term = term - 1 {slot}"),
                format!("UPDATE lutra.slot SET term = term + 1 {slot}"),
            ),
            Self::Inconsistent => both(
                format!("UPDATE `{tpcc}`.warehouse SET w_ytd = w_ytd + 1"),
                format!("UPDATE `{tpcc}`.warehouse SET w_ytd = w_ytd - 1"),
            ),
            _ => None,
        }
    }
}

/// Databases and task of a control's cluster.
struct Names {
    bank: String,
    hot: String,
    tpcc: String,
    probe: String,
    task: String,
}

impl Names {
    fn of(rig: &Rig, works: &Works) -> Self {
        let named = |name| database(works, name).unwrap_or_default();
        Self {
            bank: named("bank"),
            hot: named("hot"),
            tpcc: named("tpcc"),
            probe: rig.database.clone(),
            task: rig.load_task(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_invariant_has_a_control() {
        let seen: BTreeSet<Invariant> = Control::ALL.iter().map(|control| control.expected()).collect();
        assert_eq!(seen, Invariant::ALL.into_iter().collect());
    }

    #[test]
    fn what_is_done_by_hand_is_undone_by_other_words() {
        let names = Names {
            bank: "b".to_owned(),
            hot: "h".to_owned(),
            tpcc: "t".to_owned(),
            probe: "p".to_owned(),
            task: "load/x".to_owned(),
        };
        let pairs: Vec<_> = Control::ALL.iter().filter_map(|control| control.by_hand(&names)).collect();
        assert_eq!(pairs.len(), 9);
        assert!(pairs.iter().all(|[spoil, undo]| spoil != undo));
    }
}

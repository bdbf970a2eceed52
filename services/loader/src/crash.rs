//! Crash points and broken rules, for tests only: without the feature `crash-points` nothing of it is compiled in.
//!
//! `LUTRA_CRASH_POINT=name:n` ends the process the n-th time it passes there. `LUTRA_BREAK_RULE=name` switches a rule of
//! the protocol off, so that a test can prove that the oracle would see it.

/// Named places at which a process may be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The slot update and the rows are sent and answered, in part.
    MidRows,
    /// The slot update was answered, no row yet.
    AfterSlotUpdate,
    /// Everything is answered, `COMMIT` not sent.
    BeforeCommit,
    /// `COMMIT` is sent, its answer not read.
    CommitUnanswered,
    /// `COMMIT` is answered, progress not told.
    AfterCommit,
    /// The intent is committed, the statement not sent.
    BetweenIntentAndDdl,
    /// The statement is done, the slot row not advanced.
    BetweenDdlAndDone,
}

impl Point {
    /// The name in `LUTRA_CRASH_POINT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MidRows => "mid-rows",
            Self::AfterSlotUpdate => "after-slot-update",
            Self::BeforeCommit => "before-commit",
            Self::CommitUnanswered => "commit-unanswered",
            Self::AfterCommit => "after-commit",
            Self::BetweenIntentAndDdl => "between-intent-and-ddl",
            Self::BetweenDdlAndDone => "between-ddl-and-done",
        }
    }
}

/// Rules that a test may switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The slot row's compare-and-set is not looked at.
    Fence,
    /// The checkpoint is written in a transaction of its own, behind the rows.
    CheckpointInTransaction,
}

impl Rule {
    /// The name in `LUTRA_BREAK_RULE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::CheckpointInTransaction => "checkpoint-in-transaction",
        }
    }
}

/// Dies here if the test says so.
#[cfg(feature = "crash-points")]
pub fn pass(point: Point) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("LUTRA_CRASH_POINT") else { return };
    let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if name == point.name() && PASSED.fetch_add(1, Ordering::SeqCst) + 1 >= times.parse().unwrap_or(1) {
        std::process::abort();
    }
}

/// Dies here if the test says so.
#[cfg(not(feature = "crash-points"))]
pub fn pass(_: Point) {}

/// Whether a test wants to die at that point at all: then a packet is cut there.
#[cfg(feature = "crash-points")]
pub fn wanted(point: Point) -> bool {
    std::env::var("LUTRA_CRASH_POINT").is_ok_and(|w| w.split(':').next() == Some(point.name()))
}

/// Whether a test wants to die at that point at all.
#[cfg(not(feature = "crash-points"))]
pub fn wanted(_: Point) -> bool {
    false
}

/// Whether a test has switched the rule off.
#[cfg(feature = "crash-points")]
pub fn broken(rule: Rule) -> bool {
    std::env::var("LUTRA_BREAK_RULE").is_ok_and(|r| r.split(',').any(|r| r == rule.name()))
}

/// Whether a test has switched the rule off.
#[cfg(not(feature = "crash-points"))]
pub fn broken(_: Rule) -> bool {
    false
}

//! What is done to the services, to their servers and to the links between them.
//!
//! A fault is injected, holds for a time, and is healed. How fast work went on is measured by a change that is committed
//! at the source right behind it: see [`Recovery`].

mod brokers;
mod certificates;
mod coordination;
pub(crate) mod crash;
pub(crate) mod disk;
mod failover;
mod kafka;
mod lost;
mod network;
mod passwords;
mod process;
pub(crate) mod resources;
mod scale;
mod segment;
mod source;
pub(crate) mod stuck;
pub(crate) mod target;

use std::any::Any;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::findings::Invariant;
use crate::ground::Form;
use crate::plan::Dice;
use crate::rig::Rig;

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Lutra's own processes.
    Process,
    /// ZooKeeper and the way to it.
    Coordination,
    /// Kafka.
    Kafka,
    /// The source.
    Source,
    /// The target.
    Target,
    /// The links in between.
    Network,
    /// Disks.
    Disk,
    /// Processor and memory.
    Resources,
}

impl Family {
    /// In words, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Coordination => "coordination",
            Self::Kafka => "kafka",
            Self::Source => "source",
            Self::Target => "target",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Resources => "resources",
        }
    }
}

/// What is measured as recovery, and against which aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// A process is killed and started again at once on the same host: from the kill to the commit of a change made then.
    Restart,
    /// Another worker takes over: from the fault, which lasts, to the commit of a change made then.
    TakeOver,
    /// A worker gives its tasks away in order: the longest pause between two commits meanwhile.
    HandOver,
    /// Another server of the source takes the writes: from then to the commit of a change made then.
    FailOver,
    /// Something lasts for a while: from its end to the commit of a change made then.
    Outage,
    /// Something lasts for a while and should not stop the work: the longest pause between two commits meanwhile.
    Pause,
    /// A manager: from the kill until one answers.
    Management,
}

impl Recovery {
    /// What it is called, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::TakeOver => "take-over",
            Self::HandOver => "hand-over",
            Self::FailOver => "fail-over",
            Self::Outage => "outage",
            Self::Pause => "pause",
            Self::Management => "management",
        }
    }

    /// The aim for the 99th percentile, in seconds, where there is one.
    #[must_use]
    pub fn aim(self) -> Option<f64> {
        match self {
            Self::Restart => Some(2.0),
            Self::TakeOver | Self::Management => Some(10.0),
            Self::HandOver => Some(1.0),
            Self::FailOver => Some(5.0),
            Self::Outage | Self::Pause => None,
        }
    }
}

/// A fault under way.
pub struct Injury {
    /// Who was struck.
    pub victim: String,
    /// When.
    pub since: Instant,
    /// How long it holds.
    pub hold: Duration,
    /// How the return is measured.
    pub recovery: Recovery,
    /// Whether commits must go on meanwhile.
    pub must_flow: bool,
    /// What is kept until it is healed: foreign sessions, processes.
    pub kept: Vec<Box<dyn Any + Send>>,
    /// What was looked at on the way, and what was wrong about it.
    pub looks: Vec<(Invariant, Option<String>)>,
}

impl Injury {
    /// Struck just now.
    fn now(victim: impl Into<String>, recovery: Recovery) -> Self {
        let (victim, since, hold) = (victim.into(), Instant::now(), Duration::ZERO);
        Self { victim, since, hold, recovery, must_flow: false, kept: Vec::new(), looks: Vec::new() }
    }

    /// What heals a fault that was not injected, and so has no victim.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self::now("", Recovery::Outage)
    }

    fn holding(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    fn flowing(mut self) -> Self {
        self.must_flow = true;
        self
    }

    fn looked(mut self, invariant: Invariant, wrong: Option<String>) -> Self {
        self.looks.push((invariant, wrong));
        self
    }

    fn keeping(mut self, kept: impl Any + Send) -> Self {
        self.kept.push(Box::new(kept));
        self
    }
}

/// What a rig has only where a fault is about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A replica of the source.
    Replica,
    /// Clocks of their own for the services.
    Clocks,
    /// Workers that do not run yet.
    Spares,
    /// Certificates for source and target, which services check.
    Certificates,
}

/// One kind of fault.
pub trait Fault: Send + Sync {
    /// Its name.
    fn name(&self) -> String;
    /// Where it strikes.
    fn family(&self) -> Family;
    /// What it does.
    fn about(&self) -> String;
    /// Why this machine cannot do it, if so.
    fn unable(&self) -> Option<String> {
        None
    }
    /// What the rig would need for it and does not have.
    fn lacks(&self, _form: Form) -> Option<&'static str> {
        None
    }
    /// What the rig gets for it.
    fn needs(&self) -> Option<Need> {
        None
    }
    /// How many a whole campaign wants: 100 of those that take seconds (ten at most, from the draw to the commit behind
    /// it, on a machine of its own), 10 of the others.
    fn wanted(&self) -> u64 {
        100
    }
    /// Whether it is part of a run that does not name its faults.
    fn by_default(&self) -> bool {
        true
    }
    /// What must be made ready before the run, once.
    fn prepare<'a>(&'a self, _rig: &'a Rig) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// Does it.
    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>>;
    /// Undoes it, where it does not undo itself.
    fn heal<'a>(&'a self, _rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Undoes what [`Fault::prepare`] did to the machine: to be called when the servers are gone.
pub fn let_go() {
    disk::unmount();
}

/// What a form of the rig has too little or too much of for a fault.
pub(crate) const ONE_BROKER: &str = "it needs a single broker: run it without --brokers";
/// See [`ONE_BROKER`].
pub(crate) const THREE_BROKERS: &str = "it needs --brokers 3";
/// See [`ONE_BROKER`].
pub(crate) const ONE_ZOOKEEPER: &str = "it needs a single ZooKeeper server: run it without --zookeepers";
/// See [`ONE_BROKER`].
pub(crate) const THREE_ZOOKEEPERS: &str = "it needs --zookeepers 3";

/// All kinds, in the order of their families.
#[must_use]
pub fn all() -> Vec<Box<dyn Fault>> {
    let mut all = process::all();
    all.extend(scale::all());
    all.extend(crash::all());
    all.extend(coordination::all());
    all.extend(kafka::all());
    all.extend(brokers::all());
    all.extend(stuck::all());
    all.extend(source::all());
    all.extend(failover::all());
    all.extend(lost::all());
    all.extend(target::all());
    all.extend(passwords::all());
    all.extend(certificates::all());
    all.extend(network::all());
    all.extend(disk::all());
    all.extend(resources::all());
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_says_what_it_does() {
        let all = all();
        let names: BTreeSet<String> = all.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|f| !f.about().is_empty() && f.wanted() > 0));
    }
}

//! Memory, descriptors, connections and threads of the services.

use std::collections::BTreeMap;
use std::fs;

use lutra_harness::process::ProcessId;
use serde::{Deserialize, Serialize};

use super::flat::Lives;
use crate::findings::{Findings, Invariant};

/// What a process may have.
pub const BOUND: Usage = Usage { mib: 512, descriptors: 512, connections: 256, threads: 128 };

/// What a process has, or the most that it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Resident memory.
    pub mib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Those of them that are sockets.
    #[serde(default)]
    pub connections: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of a running process; none when it is gone.
    #[must_use]
    pub fn of(id: ProcessId) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", id.pid)).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let (mut descriptors, mut connections) = (0, 0);
        for descriptor in fs::read_dir(format!("/proc/{}/fd", id.pid)).ok()?.flatten() {
            descriptors += 1;
            let leads_to = fs::read_link(descriptor.path()).unwrap_or_default();
            connections += u64::from(leads_to.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        }
        Some(Self { mib: field("VmRSS:")? / 1024, descriptors, connections, threads: field("Threads:")? })
    }

    /// The greater of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            mib: self.mib.max(other.mib),
            descriptors: self.descriptors.max(other.descriptors),
            connections: self.connections.max(other.connections),
            threads: self.threads.max(other.threads),
        }
    }

    /// What of it is beyond the bound.
    #[must_use]
    pub fn beyond(self, bound: Self) -> Option<String> {
        let over = [
            ("MiB", self.mib, bound.mib),
            ("descriptors", self.descriptors, bound.descriptors),
            ("connections", self.connections, bound.connections),
            ("threads", self.threads, bound.threads),
        ];
        over.into_iter().find(|(_, has, most)| has > most).map(|(what, has, most)| format!("{has} {what}, over {most}"))
    }
}

/// Looks at all processes once; the most that each had goes to `peaks`. What they have together.
pub fn look(
    processes: impl Iterator<Item = (String, Option<ProcessId>)>,
    peaks: &mut BTreeMap<String, Usage>,
    lives: &mut Lives,
    bound: Usage,
    findings: &Findings,
) -> u64 {
    let mut mib = 0;
    for (name, id) in processes {
        let Some((id, usage)) = id.and_then(|id| Some((id, Usage::of(id)?))) else { continue };
        mib += usage.mib;
        lives.saw(&name, id, usage);
        let peak = peaks.entry(name.clone()).or_default();
        *peak = peak.max(usage);
        findings.look(Invariant::BoundedResources, usage.beyond(bound).map(|what| format!("{name} has {what}")));
    }
    mib
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_something_of_each() {
        let own = ProcessId::own().ok().and_then(Usage::of).unwrap_or_default();
        assert!(own.mib > 0 && own.descriptors > 0 && own.threads > 0, "{own:?}");
        assert!(own.beyond(Usage { mib: 0, ..BOUND }).is_some());
        assert_eq!(Usage::default().beyond(BOUND), None);
    }
}

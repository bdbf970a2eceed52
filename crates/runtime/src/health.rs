//! Health: alive while the process answers; ready when every named probe says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Named readiness probes of one process.
#[derive(Clone, Debug, Default)]
pub struct Health {
    probes: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// One named condition of readiness. It starts as not ready; dropping it removes the condition.
#[derive(Debug)]
pub struct Probe {
    health: Health,
    name: String,
}

impl Health {
    /// Adds the condition `name`, which is not met until [`Probe::ready`] is called.
    pub fn probe(&self, name: impl Into<String>) -> Probe {
        let probe = Probe { health: self.clone(), name: name.into() };
        probe.not_ready("starting");
        probe
    }

    /// What is not ready, by name, with the reason. Empty means ready.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.iter().filter_map(|(name, why)| why.clone().map(|why| (name.clone(), why))).collect()
    }

    fn set(&self, name: &str, why: Option<String>) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), why);
    }
}

impl Probe {
    /// The condition is met.
    pub fn ready(&self) {
        self.health.set(&self.name, None);
    }

    /// The condition is not met, because of `why`.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.set(&self.name, Some(why.into()));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.health.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let health = Health::default();
        let zookeeper = health.probe("zookeeper");
        let kafka = health.probe("kafka");
        kafka.ready();
        assert_eq!(health.missing().into_keys().collect::<Vec<_>>(), ["zookeeper"]);
        zookeeper.ready();
        assert!(health.missing().is_empty());
        zookeeper.not_ready("session expired");
        assert_eq!(health.missing().get("zookeeper").map(String::as_str), Some("session expired"));
        drop(zookeeper);
        assert!(health.missing().is_empty());
    }
}

//! What a run stands on: real servers, in a form that is chosen, and a link in front of each.

mod certificates;
pub(crate) mod roles;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use lutra_harness::certificates::Authority;
use lutra_harness::link::{Conditions, Link};
use lutra_harness::server::Kind;
use lutra_harness::{Flavour, Home, Installation, Server, Stack, StackSpec};

use crate::rig::{spares, workers};

/// Which servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The source has a native replica to fail over to.
    pub replica: bool,
    /// Brokers.
    pub brokers: u32,
    /// ZooKeeper servers.
    pub zookeepers: u32,
    /// Whose server the target is.
    pub target: Flavour,
    /// Each service has a clock of its own, which may be moved.
    pub clocks: bool,
    /// There are workers that do not run yet.
    pub spares: bool,
    /// Source and target show certificates of an authority of the run's own, and services want them proven.
    pub certificates: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            replica: false,
            brokers: 1,
            zookeepers: 1,
            target: Flavour::MySql,
            clocks: false,
            spares: false,
            certificates: false,
        }
    }
}

impl Form {
    /// In words, for the report.
    #[must_use]
    pub fn words(self) -> String {
        let replica = if self.replica { ", a replica of the source" } else { "" };
        let target = if self.target == Flavour::MariaDb { ", a MariaDB target" } else { "" };
        let clocks = if self.clocks { ", clocks that may be moved" } else { "" };
        let certificates = if self.certificates { ", TLS with certificates of its own" } else { "" };
        let plural = |n: u32, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let (brokers, zookeepers) = (plural(self.brokers, "broker"), plural(self.zookeepers, "ZooKeeper server"));
        format!("{brokers}, {zookeepers}{replica}{target}{clocks}{certificates}")
    }
}

/// The servers and the links in front of them.
#[derive(Debug)]
pub struct Ground {
    /// Which servers there are.
    pub form: Form,
    /// Their programs.
    pub installation: Installation,
    /// MySQL source (and its replica) and target, Kafka, ZooKeeper.
    pub stack: Arc<Stack>,
    /// Between extractors and each server of the source, by the server's name.
    source: BTreeMap<String, Link>,
    /// Between everybody who writes at the source and the server that takes writes; only where that may change.
    writers: Option<Link>,
    /// The server of the source that takes writes.
    primary: Mutex<String>,
    /// Between loaders and the target.
    pub target: Link,
    /// Between all services and each broker, which tells its clients to come through here.
    kafka: Vec<Link>,
    /// Between each process, by its name, and each ZooKeeper server.
    zookeeper: BTreeMap<String, Vec<Link>>,
    /// What moves the clocks of services, where they have clocks of their own.
    clock: Option<PathBuf>,
    /// Who signed what source and target show, where services want that proven.
    authority: Option<Mutex<Arc<Authority>>>,
}

/// The server of a source that takes writes at first.
const FIRST: &str = "source";

impl Ground {
    /// Starts the servers, whose commits do not wait for the disk.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start(form: Form) -> Result<Self> {
        let installation = Installation::ensure(&Home::from_env(), &|line| crate::note(line))?;
        let mut kafka = Vec::new();
        for _ in 0..form.brokers {
            kafka.push(Link::start("127.0.0.1:1").await?);
        }
        let pair = StackSpec::pair("crucible").relaxed().of(Flavour::MySql, form.target);
        let mut spec = pair.spread(form.brokers, form.zookeepers);
        spec.kafka_advertised = kafka.iter().map(Link::port).collect();
        // There are no events to be run, and a MySQL server that shuts down while its scheduler is on spins for seconds.
        spec = spec.with_mysql_settings(&["event_scheduler=OFF"]);
        if form.replica {
            // Each of the two may be the other's replica.
            spec = spec.with_mysql_settings(&["relay_log=relay", "relay_log_recovery=ON"]).with_replica();
        }
        let stack = Arc::new(Stack::start(&installation, spec).await?);
        for (link, broker) in kafka.iter().zip(stack.all(Kind::Kafka)) {
            link.lead_to(broker.address());
        }
        let mut zookeeper = BTreeMap::new();
        let spares = spares().filter(|_| form.spares).map(|(service, n)| format!("{service}-{n}"));
        for name in workers().into_iter().chain(spares) {
            let mut links = Vec::new();
            for server in stack.all(Kind::ZooKeeper) {
                links.push(Link::start(server.address()).await?);
            }
            zookeeper.insert(name, links);
        }
        let mut source = BTreeMap::new();
        for server in stack.all(Kind::MySql).into_iter().filter(|server| server.name() != "target") {
            source.insert(server.name().to_owned(), Link::start(server.address()).await?);
        }
        let first = stack.mysql(FIRST)?.address();
        let writers = if form.replica { Some(Link::start(first).await?) } else { None };
        let target = Link::start(stack.mysql("target")?.address()).await?;
        let primary = Mutex::new(FIRST.to_owned());
        let clock = if form.clocks {
            Some(lutra_harness::install::ensure_faketime(&Home::from_env(), &|line| crate::note(line))?)
        } else {
            None
        };
        let authority = form.certificates.then(|| Authority::new("the run's first")).transpose()?;
        let authority = authority.map(|first| Mutex::new(Arc::new(first)));
        let ground =
            Self { form, installation, stack, source, writers, primary, target, kafka, zookeeper, clock, authority };
        ground.certify_all().await?;
        Ok(ground)
    }

    /// How far a process's clock is off, in seconds, from now on.
    ///
    /// # Errors
    /// When clocks cannot be moved.
    pub(crate) fn move_clock(&self, process: &str, seconds: i32) -> Result<()> {
        std::fs::write(self.clock_file(process), format!("{seconds:+}\n")).context("move a clock")
    }

    /// All clocks are right.
    pub(crate) fn right_clocks(&self) -> Result<()> {
        let mut own = self.zookeeper.keys().filter(|_| self.clock.is_some());
        own.try_for_each(|process| self.move_clock(process, 0))
    }

    fn clock_file(&self, process: &str) -> PathBuf {
        self.stack.folder().join(format!("{process}.clock"))
    }

    /// What a process is told so that its clock may be moved. (Only the wall clock: how long things take is not.)
    pub(crate) fn clock(&self, process: &str) -> Result<Vec<(&'static str, String)>> {
        let Some(library) = &self.clock else { return Ok(Vec::new()) };
        self.move_clock(process, 0)?;
        Ok(vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.clock_file(process).display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ])
    }

    /// The links of that name (`source`, `target`, `kafka`), or those of a process to ZooKeeper.
    ///
    /// # Errors
    /// When there is none.
    pub fn links(&self, name: &str) -> Result<Vec<&Link>> {
        Ok(match name {
            "source" => self.source.values().collect(),
            "target" => vec![&self.target],
            "kafka" => self.kafka.iter().collect(),
            process => {
                let links = self.zookeeper.get(process);
                links.with_context(|| format!("there is no link called {process}"))?.iter().collect()
            }
        })
    }

    /// All of them.
    pub(crate) fn all_links(&self) -> impl Iterator<Item = &Link> {
        let own = self.source.values().chain(&self.kafka).chain([&self.target]).chain(&self.writers);
        own.chain(self.zookeeper.values().flatten())
    }

    /// Bytes travel like this over all links of a name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn set(&self, name: &str, conditions: Conditions) -> Result<()> {
        self.links(name)?.into_iter().for_each(|link| link.set(conditions));
        Ok(())
    }

    /// Breaks all connections over the links of a name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn reset(&self, name: &str) -> Result<()> {
        for link in self.links(name)? {
            link.reset();
        }
        Ok(())
    }

    /// Where extractors find the source's servers, and services ZooKeeper (each its own) and Kafka.
    pub(crate) fn addresses(&self, name: &str) -> Result<String> {
        Ok(self.links(name)?.into_iter().map(Link::address).collect::<Vec<_>>().join(","))
    }

    /// The processes with links to ZooKeeper.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &String> {
        self.zookeeper.keys()
    }

    /// Where writers find the server of the source that takes writes, now and later.
    pub(crate) fn source_url(&self) -> Result<String> {
        Ok(match &self.writers {
            Some(link) => format!("mysql://root@{}", link.address()),
            None => self.primary()?.url(),
        })
    }

    /// The server of the source that takes writes.
    ///
    /// # Errors
    /// When the stack has none of that name.
    pub fn primary(&self) -> Result<&Server> {
        let name = self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.stack.mysql(&name)
    }

    /// The other one.
    ///
    /// # Errors
    /// When the source has one server only.
    pub fn standby(&self) -> Result<&Server> {
        let primary = self.primary()?.name();
        let other = self.source.keys().find(|name| *name != primary);
        self.stack.mysql(other.ok_or_else(|| anyhow!("the source has no replica"))?)
    }

    /// All servers of the source.
    ///
    /// # Errors
    /// When the stack lacks one.
    pub fn sources(&self) -> Result<Vec<&Server>> {
        let primary = self.primary()?;
        Ok(std::iter::once(primary).chain(self.standby().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_it_has() {
        assert_eq!(Form::default().words(), "1 broker, 1 ZooKeeper server");
        let all = Form { replica: true, brokers: 3, zookeepers: 3, target: Flavour::MariaDb, ..Form::default() };
        assert_eq!(all.words(), "3 brokers, 3 ZooKeeper servers, a replica of the source, a MariaDB target");
    }
}

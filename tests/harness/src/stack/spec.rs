//! What a stack consists of.

use serde::{Deserialize, Serialize};

/// Whether a stack may outlive who started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// Killed and removed when the [`Stack`](super::Stack) is dropped, and killed by the kernel when the process ends otherwise.
    Test,
    /// Runs on until [`Stack::down`](super::Stack::down).
    Kept,
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// MySQL.
    #[default]
    MySql,
    /// MariaDB.
    MariaDb,
}

/// One MySQL or MariaDB server of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MySqlSpec {
    /// Its name.
    pub name: String,
    /// Whose server it is.
    pub flavour: Flavour,
    /// Commits do not wait for the disk (`sync_binlog=0`, `innodb_flush_log_at_trx_commit=2`).
    pub relaxed: bool,
    /// More lines for its settings file, as `name=value`; a later line wins over an earlier one.
    pub settings: Vec<String>,
    /// Its data lie on a disk of their own of so many MiB, in memory. The disk is only seen by the server's process (and
    /// below its `/proc/PID/root`), and is gone with it: such a server is not started twice.
    pub disk_mib: Option<u32>,
    /// It is the native replica of the server `source`.
    pub replica: bool,
}

/// Which servers a stack has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSpec {
    /// Its name; of a kept stack also the name of its folder.
    pub name: String,
    /// The MySQL and MariaDB servers.
    pub mysql: Vec<MySqlSpec>,
    /// Whether there is a Kafka.
    pub kafka: bool,
    /// Whether there is a ZooKeeper.
    pub zookeeper: bool,
    /// How many brokers Kafka has. Of several each is broker and controller, and has every record of the others.
    pub brokers: u32,
    /// How many servers ZooKeeper has.
    pub zookeepers: u32,
    /// The ports under which the brokers, in their order, tell clients to call them, where that is not their own: something
    /// stands in between.
    pub kafka_advertised: Vec<u16>,
    /// Whether it may outlive the starter.
    pub life: Life,
}

impl MySqlSpec {
    /// A server with the default durability.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The same as a server of that flavour.
    #[must_use]
    pub fn of(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }
}

impl StackSpec {
    /// MySQL `source` and `target` with default durability, Kafka and ZooKeeper, gone with the starter.
    #[must_use]
    pub fn pair(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mysql: vec![MySqlSpec::named("source"), MySqlSpec::named("target")],
            kafka: true,
            zookeeper: true,
            brokers: 1,
            zookeepers: 1,
            kafka_advertised: Vec::new(),
            life: Life::Test,
        }
    }

    /// The same with so many brokers and ZooKeeper servers.
    #[must_use]
    pub fn spread(mut self, brokers: u32, zookeepers: u32) -> Self {
        (self.brokers, self.zookeepers) = (brokers, zookeepers);
        self
    }

    /// The same with a source and a target of these flavours.
    #[must_use]
    pub fn of(mut self, source: Flavour, target: Flavour) -> Self {
        for server in &mut self.mysql {
            server.flavour = if server.name == "target" { target } else { source };
        }
        self
    }

    /// The same with a native replica of the source, of its flavour and with its settings. It follows by GTID, logs what it
    /// executes, and lets only administrators write.
    #[must_use]
    pub fn with_replica(mut self) -> Self {
        let source = self.mysql.iter().find(|server| server.name == "source").cloned().unwrap_or_default();
        self.mysql.push(MySqlSpec { name: super::REPLICA_NAME.to_owned(), replica: true, ..source });
        self
    }

    /// The same with commits that do not wait for the disk.
    #[must_use]
    pub fn relaxed(mut self) -> Self {
        self.mysql.iter_mut().for_each(|server| server.relaxed = true);
        self
    }

    /// The same, running on after the starter.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.life = Life::Kept;
        self
    }

    /// The same with more settings for every MySQL and MariaDB server.
    #[must_use]
    pub fn with_mysql_settings(mut self, settings: &[&str]) -> Self {
        for server in &mut self.mysql {
            server.settings.extend(settings.iter().map(|line| (*line).to_owned()));
        }
        self
    }
}

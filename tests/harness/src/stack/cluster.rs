//! Settings of Kafka and ZooKeeper, alone or of several servers.

use std::path::Path;

use anyhow::Result;

use super::layout::{KAFKA_SETTINGS, ZOOKEEPER_SETTINGS, lines_of};
use super::{StackSpec, ports};

/// Of three brokers two must have a record before it counts as written.
const MIN_INSYNC: usize = 2;

/// One broker's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    /// Its number.
    id: u32,
    /// Where clients connect.
    pub(super) port: u16,
    /// Where it tells clients to connect.
    advertised: u16,
    /// Where other brokers connect.
    internal: u16,
    /// Where the controller listens.
    controller: u16,
}

/// One ZooKeeper server's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its number.
    pub(super) id: u32,
    /// Where clients connect.
    pub(super) port: u16,
    /// Where followers connect.
    peer: u16,
    /// Where leaders are elected.
    election: u16,
}

/// The name itself for a single one.
pub(super) fn names(name: &str, count: u32) -> Vec<String> {
    if count <= 1 { vec![name.to_owned()] } else { (1..=count).map(|n| format!("{name}-{n}")).collect() }
}

/// Ports for the brokers of a stack.
pub(super) fn brokers(spec: &StackSpec, taken: &mut Vec<u16>) -> Result<Vec<Broker>> {
    let mut told = spec.kafka_advertised.iter();
    (1..=spec.brokers)
        .map(|id| {
            let (port, internal, controller) = (ports::pick(taken)?, ports::pick(taken)?, ports::pick(taken)?);
            Ok(Broker { id, port, advertised: told.next().copied().unwrap_or(port), internal, controller })
        })
        .collect()
}

/// Ports for the ZooKeeper servers of a stack.
pub(super) fn members(spec: &StackSpec, taken: &mut Vec<u16>) -> Result<Vec<Member>> {
    (1..=spec.zookeepers)
        .map(|id| {
            Ok(Member { id, port: ports::pick(taken)?, peer: ports::pick(taken)?, election: ports::pick(taken)? })
        })
        .collect()
}

/// A killed broker is let in again when its old session has run out: 4 s instead of the default 9. Brokers talk to each other
/// where nothing stands in between.
pub(super) fn kafka_properties(own: &Broker, all: &[Broker], folder: &Path) -> String {
    let Broker { id, port, advertised, internal, controller } = own;
    let mut text = lines_of(KAFKA_SETTINGS);
    text += &format!(
        "log.dirs={}/data\ngroup.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=4\n\
         transaction.state.log.num.partitions=4\nshare.coordinator.state.topic.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
         log.cleaner.dedupe.buffer.size=8388608\nbroker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=1000\n",
        folder.display()
    );
    if all.len() == 1 {
        return text
            + &format!(
                "controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},CONTROLLER://127.0.0.1:{controller}\n"
            );
    }
    let voters: Vec<String> = all.iter().map(|b| format!("{}@127.0.0.1:{}", b.id, b.controller)).collect();
    let copies = all.len();
    text + &format!(
        "node.id={id}\ncontroller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},INTERNAL://127.0.0.1:{internal}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=INTERNAL\ndefault.replication.factor={copies}\n\
         offsets.topic.replication.factor={copies}\ntransaction.state.log.replication.factor={copies}\n\
         share.coordinator.state.topic.replication.factor={copies}\n\
         min.insync.replicas={MIN_INSYNC}\ntransaction.state.log.min.isr={MIN_INSYNC}\n\
         replica.lag.time.max.ms=5000\n",
        voters.join(",")
    )
}

/// Settings of a ZooKeeper server.
pub(super) fn zoo_cfg(own: &Member, all: &[Member], folder: &Path) -> String {
    let mut text = format!(
        "{}dataDir={}/data\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n",
        lines_of(ZOOKEEPER_SETTINGS),
        folder.display(),
        own.port
    );
    if all.len() > 1 {
        text += "initLimit=20\nsyncLimit=10\n";
        all.iter().for_each(|m| text += &format!("server.{}=127.0.0.1:{}:{}\n", m.id, m.peer, m.election));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_server_has_the_plain_name_and_several_are_numbered() {
        assert_eq!(names("kafka", 1), ["kafka"]);
        assert_eq!(names("kafka", 3), ["kafka-1", "kafka-2", "kafka-3"]);
    }

    #[test]
    fn brokers_tell_clients_the_ports_in_front_of_them_and_know_each_other() {
        let told = StackSpec { kafka_advertised: vec![7, 8, 9], ..StackSpec::pair("x").spread(3, 3) };
        let brokers = brokers(&told, &mut Vec::new()).unwrap();
        let text = kafka_properties(&brokers[1], &brokers, Path::new("/x"));
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:8,INTERNAL://"), "{text}");
        assert!(brokers.iter().all(|b| text.contains(&format!("{}@127.0.0.1:{}", b.id, b.controller))));
        // The last of two lines counts.
        assert!(text.rfind("node.id=2").unwrap() > text.rfind("node.id=1").unwrap());
        let members = members(&told, &mut Vec::new()).unwrap();
        assert_eq!(zoo_cfg(&members[0], &members, Path::new("/x")).matches("server.").count(), 3);
        assert_eq!(zoo_cfg(&members[0], &members[..1], Path::new("/x")).matches("server.").count(), 0);
    }
}

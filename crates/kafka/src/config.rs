//! Brokers and client properties.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

/// Largest record that we hand to Kafka, and that log topics take (`max.message.bytes`).
pub(crate) const MAX_RECORD_BYTES: usize = 4 << 20;

/// How to reach Kafka.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Further properties of the client library (TLS, SASL, buffers), secrets already resolved. They win over our own,
    /// except for those that exactly-once rests on.
    pub properties: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Plain connections to these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), properties: BTreeMap::new() }
    }

    fn client(&self, ours: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "lutra");
        // A restarted broker is found again at once, not after the library's 10 s.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        for (key, value) in ours {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config
    }

    /// For metadata and administration.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client(&[], &[("allow.auto.create.topics", "false")])
    }

    /// For the producer of an ordered log.
    pub(crate) fn producer(&self) -> ClientConfig {
        let size = MAX_RECORD_BYTES.to_string();
        self.client(
            &[
                ("compression.type", "lz4"),
                // What is handed over in one burst goes in one request, and while one is under way the next batch forms:
                // several requests side by side gain nothing on one partition and cost the broker one each.
                ("linger.ms", "1"),
                ("max.in.flight.requests.per.connection", "1"),
                ("batch.size", "1048576"),
                ("batch.num.messages", "100000"),
                ("queue.buffering.max.messages", "200000"),
                // The hard bound of memory; the writer's own limit on bytes in flight lies below.
                ("queue.buffering.max.kbytes", "65536"),
                ("message.max.bytes", &size),
                // Longer than a broker's restart; then the attempt ends and the next one reads back what landed.
                ("message.timeout.ms", "60000"),
                ("socket.nagle.disable", "true"),
            ],
            &[("acks", "all"), ("enable.idempotence", "true"), ("allow.auto.create.topics", "false")],
        )
    }

    /// For row schemas: repeating one does no harm, so it has no producer id to wait for.
    pub(crate) fn schema_producer(&self) -> ClientConfig {
        self.client(
            &[("message.timeout.ms", "60000"), ("linger.ms", "0"), ("socket.nagle.disable", "true")],
            &[("acks", "all"), ("enable.idempotence", "false"), ("allow.auto.create.topics", "false")],
        )
    }

    /// For a reader of one partition.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let fetch = (2 * MAX_RECORD_BYTES).to_string();
        self.client(
            &[
                // The library wants a group for manual assignment too; nobody joins it.
                ("group.id", group),
                ("fetch.min.bytes", "1"),
                // The broker's long poll. Short, since a seek waits for the poll before it.
                ("fetch.wait.max.ms", "100"),
                ("fetch.message.max.bytes", &fetch),
                ("fetch.max.bytes", &fetch),
                ("queued.max.messages.kbytes", "16384"),
                // The library rests 1 s when its queue is full: far too long at hundreds of MB/s.
                ("fetch.queue.backoff.ms", "5"),
                ("fetch.error.backoff.ms", "100"),
                ("socket.nagle.disable", "true"),
            ],
            &[
                ("check.crcs", "true"),
                ("auto.offset.reset", "error"),
                // Ordered logs know no transactions; control records would only hide offsets.
                ("isolation.level", "read_uncommitted"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("allow.auto.create.topics", "false"),
            ],
        )
    }
}

impl KafkaConfig {
    /// For a look at the records that come next, with counters of what they take on the way.
    pub(crate) fn sampler(&self, group: &str, statistics_ms: u64) -> ClientConfig {
        let mut config = self.consumer(group);
        config.set("statistics.interval.ms", statistics_ms.to_string());
        // A sample, not all that waits.
        config.set("queued.min.messages", "1").set("queued.max.messages.kbytes", "512");
        config.set("fetch.message.max.bytes", "262144");
        config
    }
}

impl fmt::Debug for KafkaConfig {
    /// Without the values of the properties: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("KafkaConfig").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}

//! [`KafkaLog`]: one ordered log as `lutra-log` wants to see it.

use lutra_log::{TransportError, TransportFactory};

use crate::config::KafkaConfig;
pub use crate::consumer::KafkaReader;
pub use crate::producer::KafkaProducer;

/// Makes producers and readers of one log topic.
#[derive(Clone, Debug)]
pub struct KafkaLog {
    config: KafkaConfig,
    topic: String,
}

impl KafkaLog {
    /// The log in that topic. Does not connect.
    pub fn new(config: &KafkaConfig, topic: &str) -> Self {
        Self { config: config.clone(), topic: topic.to_owned() }
    }

    pub(crate) fn config(&self) -> &KafkaConfig {
        &self.config
    }
}

impl TransportFactory for KafkaLog {
    type Append = KafkaProducer;
    type Read = KafkaReader;

    fn topic(&self) -> &str {
        &self.topic
    }

    async fn producer(&self) -> Result<KafkaProducer, TransportError> {
        let producer = KafkaProducer::new(&self.config, &self.topic)?;
        producer.hurry().await;
        Ok(producer)
    }

    async fn reader(&self) -> Result<KafkaReader, TransportError> {
        let reader = KafkaReader::new(&self.config, &self.topic)?;
        reader.hurry().await;
        Ok(reader)
    }
}

//! What the library says of its own accord.

use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as Cause;

/// Of clients whose requests tell what fails: that brokers are away is not told again, several times a second, as an error.
#[derive(Clone, Debug)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: Cause, reason: &str) {
        tracing::debug!(%error, reason, "a Kafka client reports");
    }
}

impl ConsumerContext for Quiet {}

//! What can go wrong between us and Kafka.

use lutra_log::TransportError;
use lutra_wire::schema::Fingerprint;
use rdkafka::error::KafkaError as Cause;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::admin::TopicFault;

/// Kafka did not do what was asked, or is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A client could not be made.
    #[error("the Kafka client for {brokers} could not be made: check the client properties")]
    Client {
        /// Brokers.
        brokers: String,
        /// Why.
        source: Cause,
    },
    /// No broker answered in time.
    #[error("no Kafka broker of {brokers} answered {operation}: is Kafka running there, and reachable?")]
    Unreachable {
        /// Brokers.
        brokers: String,
        /// What was asked.
        operation: &'static str,
    },
    /// A request failed.
    #[error("topic {topic}: {operation} failed")]
    Request {
        /// The topic.
        topic: String,
        /// What was asked.
        operation: &'static str,
        /// Why.
        source: Cause,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist; the manager makes it when its source or pipeline is applied")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// P8: the topic is there, and not fit for an ordered log.
    #[error("topic {topic} is not fit for an ordered log: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    UnfitTopic {
        /// The topic.
        topic: String,
        /// Everything that is wrong with it.
        faults: Vec<TopicFault>,
    },
    /// A row schema is not in its topic.
    #[error(
        "topic {topic}: row schema {fingerprint} did not appear within {waited_ms} ms; \
         schemas are written before their first use, so the topic was emptied or is another log's"
    )]
    NoSchema {
        /// The topic.
        topic: String,
        /// The schema sought.
        fingerprint: Fingerprint,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// A row schema that this version cannot read.
    #[error("topic {topic}: the row schema at offset {offset} cannot be read; was it written by a later version?")]
    BadSchema {
        /// The topic.
        topic: String,
        /// Where.
        offset: i64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The transport failed.
    #[error("reading or writing failed")]
    Transport(#[from] TransportError),
}

impl KafkaError {
    /// Whether the same may succeed later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoSchema { .. } => true,
            Self::Request { source, .. } => is_transient(source),
            Self::Transport(TransportError::Failed { transient, .. }) => *transient,
            Self::Client { .. }
            | Self::NoTopic { .. }
            | Self::UnfitTopic { .. }
            | Self::BadSchema { .. }
            | Self::Transport(TransportError::OutOfRange { .. }) => false,
        }
    }
}

/// Whether the same may succeed later.
pub(crate) fn is_transient(error: &Cause) -> bool {
    error.rdkafka_error_code().is_none_or(is_transient_code)
}

/// Whether the client gets over it by itself, or a new one would.
pub(crate) fn is_transient_code(code: Code) -> bool {
    !matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::SSL
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::Fatal
    )
}

pub(crate) fn failed(topic: &str, operation: &'static str, error: Cause) -> TransportError {
    TransportError::Failed {
        topic: topic.to_owned(),
        operation,
        transient: is_transient(&error),
        source: Box::new(error),
    }
}

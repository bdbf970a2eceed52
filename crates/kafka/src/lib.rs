//! Kafka, for the rest of the house: the only user of `rdkafka`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`KafkaConfig`]: brokers and client properties |
//! | [`log`] | [`KafkaLog`]: the transport of one ordered log, for `lutra-log` |
//! | [`admin`] | [`KafkaAdmin`]: topics as P8 wants them, made and checked |
//! | [`schemas`] | [`SchemaTopic`]: row schemas by fingerprint in a compacted topic |
//! | [`group`] | offsets for lag tools, written and never read |

pub mod admin;
pub mod config;
mod consumer;
pub mod error;
pub mod group;
pub mod log;
mod producer;
pub mod schemas;

pub use admin::{KafkaAdmin, LogTopic, TopicFault};
pub use config::KafkaConfig;
pub use error::KafkaError;
pub use group::GroupOffsets;
pub use log::KafkaLog;
pub use schemas::SchemaTopic;

//! Kafka, for the rest of the house: the only user of `rdkafka`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`KafkaConfig`]: brokers and client properties |
//! | [`log`] | [`KafkaLog`]: the transport of one ordered log, for `lutra-log` |
//! | [`admin`] | [`KafkaAdmin`]: topics as P8 wants them, made and checked |
//! | [`retention`] | what brokers may remove of a topic, and what of it waits for a reader |
//! | [`schemas`] | [`SchemaTopic`]: row schemas by fingerprint in a compacted topic |
//! | [`group`] | offsets for lag tools, written and never read |

pub mod admin;
mod closing;
pub mod config;
mod consumer;
pub mod error;
pub mod group;
pub mod log;
mod producer;
mod quiet;
pub mod retention;
pub mod schemas;
mod silence;

pub use admin::{KafkaAdmin, LogTopic, TopicFault};
pub use config::KafkaConfig;
pub use error::KafkaError;
pub use group::GroupOffsets;
pub use log::KafkaLog;
pub use retention::{Backlog, Retention};
pub use schemas::SchemaTopic;

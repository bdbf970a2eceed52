//! The control plane. What is wanted (documents) and what is seen (ZooKeeper, Kafka, workers) go in; topics, task
//! definitions and assignments come out. No row passes through here.
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`api`] | requests of people and programs -> answers; writes go to the leader ([`proxy`]) |
//! | [`apply`] | YAML text -> checked documents in ZooKeeper, or everything that is wrong with it |
//! | [`desired`] | documents -> the task definitions that there should be (pure) |
//! | [`assign`] | tasks, workers -> who should run what (pure) |
//! | [`reconcile`] | the two states -> topics, definitions and assignments, until they agree |
//! | [`leader`] | election -> [`reconcile`], while this manager leads |
//! | [`servers`] | documents -> what the databases themselves say |
//! | [`live`] | registered workers -> what they measure |
//! | [`status`] | all of it -> one picture for people |
//! | [`adopt`] | a target's checkpoint -> a new log that continues it |
//! | [`rewind`] | a chosen place -> new logs from there; tables that are loaded again where a target is past it |
//! | `retention` | places of readers, ages of records -> what is left of Kafka's retention |

pub mod access;
pub mod adopt;
pub mod api;
pub mod apply;
pub mod assign;
pub mod config;
pub mod ddl;
pub mod desired;
pub mod disposition;
pub mod doctor;
pub mod documents;
pub mod error;
mod events;
pub mod leader;
pub mod live;
pub mod loads;
pub mod manager;
pub mod proxy;
pub mod reconcile;
mod retention;
pub mod rewind;
pub mod servers;
mod service;
pub mod status;
pub mod wait;

pub use error::ManagerError;
pub use service::run;

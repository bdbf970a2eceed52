//! The extractor: a source's binlog to its ordered log.
//!
//! Rooms, in the order of the data:
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`reader`] | dump stream -> batches of raw events |
//! | [`assembler`] | events -> parts of units; in it, per table, what its table maps say (`table`) |
//! | [`publisher`] | parts -> records on `<source>.log`, row schemas on `<source>.schemas` |
//!
//! Beside them, [`snapshot`] copies tables into the log, and [`definitions`] keeps what tables look like where table maps
//! do not say so. Around them: [`survey`] asks the source's servers and [`failover`] says which one is read, [`start`] proves it
//! and finds where to begin (P7), [`extract`] begins attempt after attempt (P2), `attempt` is one that runs, [`watch`] looks at
//! the server meanwhile, [`service`] runs extractions as tasks of the cluster.

pub mod assembler;
mod attempt;
pub mod config;
pub mod control;
pub mod crash;
pub mod definitions;
pub mod disposition;
pub mod error;
pub mod events;
pub mod extract;
pub mod failover;
pub mod publisher;
pub mod reader;
pub mod runbook;
pub mod service;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod survey;
pub mod watch;

pub use service::{Args, run};

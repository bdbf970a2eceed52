//! The transformer: `<source>.log` -> rules -> `<pipeline>.log`.
//!
//! The rooms, in the order of the data:
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`intake`] | log records -> accepted parts, by the reader's half of the protocol |
//! | [`rules`] | body -> body: routing, column mapping, operation filter; untouched tables pass as bytes |
//! | [`xa`] | prepared XA transactions, held back until they are decided |
//! | [`forward`] | parts -> records of `<pipeline>.log`, keeping their numbers; one unit in, at most one out |
//!
//! [`task`] joins them for one pipeline and one attempt; [`service`] is the wiring of the process.

pub mod config;
pub mod disposition;
pub mod error;
pub mod events;
pub mod forward;
pub mod intake;
pub mod rules;
mod runbook;
pub mod service;
pub mod task;
pub mod xa;

pub use service::run;

//! Scenarios on the real servers: a Lutra of one's own on shared MySQL, Kafka and ZooKeeper.
//!
//! A [`World`] is one cluster: a manager, an extractor, a transformer and a loader as real processes, one source, one
//! target, one pipeline, each with names of its own, so that scenarios run side by side on the same servers. [`Banking`]
//! is work at the source whose copy is sampled and audited. The scenarios:
//!
//! | file | what it proves |
//! |---|---|
//! | `spine.rs` | every kind of row, table and DDL arrives as it is |
//! | `kills.rs` | services killed at random moments lose, double and tear nothing |
//! | `takeover.rs` | frozen and dead owners are replaced within ten seconds, and do no harm when they wake |
//! | `crashes.rs` | the same at every named crash point; with a rule switched off, the audit sees it |
//! | `servers.rs` | ZooKeeper, Kafka, target and source killed under load; lost commit answers; a read-only target |
//! | `ddl.rs` | a [`corpus`] of DDL, tools that change schemas online, and every policy leave source and target alike |
//! | `mariadb.rs` | the same bank, and tables of many kinds, from and to MariaDB |
//! | `operator` | what a person sees and does: commands, specifications, states, lags, traces, a full disk; and no secret anywhere |
//! | `apply.rs` | `lutra apply` holds rules against the tables that source and target have |
//! | `certificates.rs` | certificates are rotated under writes; one of an authority that nobody trusts is named |
//! | `compare.rs` | `lutra compare` finds planted differences, and invents none while writes go on |
//! | `ddl_policies.rs` | what becomes of statements that wait, fail or would lose data |
//! | `failover.rs` | sources that fail over, the only server that is away, and how near retention is |
//! | `images.rs` | row images other than full ones, and rows larger than a log record |
//! | `load.rs` | full loads beside writes |
//! | `metadata.rs` | sources whose table maps do not say what tables look like |
//! | `positions.rs` | places in the source's log under what servers do to them |
//! | `xa.rs` | XA transactions, whoever dies in between |
//! | `sizes.rs` | large transactions and many tables in bounded memory |
//!
//! `cargo xtask test -p lutra-scenarios` builds the services with their crash points and runs them. `LUTRA_SEED` repeats
//! the random choices of a run, which prints its own; `LUTRA_KILLS` says how often each service is killed.

pub mod banking;
pub mod corpus;
pub mod otlp;
pub mod sampler;
mod statements;
pub mod world;

pub use banking::Banking;
pub use world::{World, WorldOptions, binlog_end, executed, flavour};

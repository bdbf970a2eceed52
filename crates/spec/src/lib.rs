//! Specification documents: `kind: source | target | pipeline`, `name`, `spec`.
//!
//! A text becomes documents that cannot be wrong, or the list of *all* its violations with line and column. The types
//! are serde both ways: their JSON is the canonical form that ZooKeeper keeps.
//!
//! | module | holds |
//! |---|---|
//! | [`document`] | [`Document`], [`Spec`], [`Name`] |
//! | [`source`], [`target`], [`pipeline`] | what each kind says |
//! | [`server`] | how a database server is reached: [`Address`], [`Tls`], [`Connection`] |
//! | [`pattern`] | [`TablePattern`] with wildcards and captures, [`TableTemplate`]; system schemas never match |
//! | [`secret`] | [`SecretRef`] and [`Secret`], which prints `[redacted]` |
//! | [`mod@parse`] | YAML text to documents or violations |
//! | [`check`] | what must hold between documents |

pub mod check;
pub mod document;
mod node;
pub mod parse;
pub mod pattern;
pub mod pipeline;
pub mod secret;
pub mod server;
pub mod source;
pub mod target;
mod text;
mod walk;

pub use check::{Finding, Severity, cross_check, target_databases};
pub use document::{Document, Kind, Name, Spec};
pub use parse::{Located, Violation, Violations, parse};
pub use pattern::{Captures, TablePattern, TableTemplate, is_system_schema};
pub use pipeline::{
    ColumnRules, Compare, DdlPolicy, FullLoad, IndexTime, LoadSpec, OnConflict, PipelineSpec, PipelineStart, Route,
    TriggerPolicy,
};
pub use secret::{Secret, SecretError, SecretRef};
pub use server::{Address, AddressError, Connection, HostPort, Tls, TlsMode};
pub use source::{SourceSpec, SourceStart};
pub use target::TargetSpec;

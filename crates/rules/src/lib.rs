//! Transformation rules: compiled once from the specification, planned once per schema version, applied per row.
//!
//! Pure: no clock, no I/O. The same input and the same rules give the same output (P14).
//!
//! | module | takes -> gives |
//! |---|---|
//! | [`compile`] | [`PipelineSpec`](lutra_spec::PipelineSpec) -> [`Rules`], or every [`RuleFault`] |
//! | [`plan`] | row schema -> [`TablePlan`]: target schema and what to do to each row image |
//! | [`ddl`] | DDL of the source -> DDL of the target, names rewritten |
//! | `statement` | statement bytes -> the tables and databases it names, and where |
//! | [`token`] | statement bytes -> tokens that know where they stand |

pub mod compile;
pub mod ddl;
mod ddl_columns;
pub mod fault;
pub mod plan;
mod statement;
#[cfg(test)]
mod testing;
pub mod token;

pub use compile::{OperationFilter, Rules, TableDecision, TableMapping};
pub use ddl::{DdlRoute, NotRouted};
pub use fault::RuleFault;
pub use plan::{ApplyError, TablePlan};

//! Transformation rules: compiled once from the specification, planned once per schema version, applied per row.
//!
//! Pure: no clock, no I/O. The same input and the same rules give the same output (P14).
//!
//! | module | takes -> gives |
//! |---|---|
//! | [`compile`] | [`PipelineSpec`](lutra_spec::PipelineSpec) -> [`Rules`], or every [`RuleFault`] |
//! | [`plan`] | row schema -> [`TablePlan`]: target schema and what to do to each row image |
//! | [`ddl`] | DDL of the source -> DDL of the target, names rewritten |
//! | `ddl_columns` | column rules in the text of a statement on a table |
//! | `ddl_databases` | statements on databases, and where a database leads |
//! | `ddl_objects` | views, routines, triggers, events, accounts |

pub mod compile;
pub mod ddl;
mod ddl_columns;
mod ddl_databases;
mod ddl_objects;
pub mod fault;
pub mod plan;
#[cfg(test)]
mod testing;

pub use compile::{OperationFilter, Rules, TableDecision, TableMapping};
pub use ddl::{DdlRoute, NotRouted};
pub use fault::RuleFault;
pub use plan::{ApplyError, TablePlan};

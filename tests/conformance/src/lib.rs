//! The hard cases of change capture: what a source can write, and that the target has the same.
//!
//! Every case is a file in `cases/`: a header, and SQL that runs at a real source. When the target has followed, its
//! databases must be equal to the byte: rows, definitions, views, routines; or Lutra must have refused the case with the
//! error that the header names. Many cases share one start of the services.
//!
//! - [`case`]: a case file, and what its lines mean;
//! - [`script`]: SQL text cut into statements;
//! - [`runner`]: cases through the services;
//! - [`table`]: the table in `docs/reference/fidelity.md`.

pub mod case;
pub mod runner;
pub mod script;
pub mod table;

pub use case::{Case, Expected, Step};
pub use runner::{Outcome, Pair};

//! Are the tables of a source and a target equal, and where not.
//!
//! The servers compute checksums over slices of the primary key; slices that differ are cut until single rows are left, so
//! that no table is ever held in memory. While writes go on, rows that differ are looked at again, each time behind a point
//! that the target has reached, until they are equal or stay different. Tables without a usable key are compared as
//! multisets of row checksums. Values are compared exactly: text as bytes of its character set, floating point with all
//! digits, dates with zeros, bits and geometry as bytes.
//!
//! | module | what for |
//! |---|---|
//! | [`pair`] | two tables and which columns belong together |
//! | [`comparison`] | compares one pair after another |
//! | [`definition`] | how two definitions differ |
//! | [`report`] | what was found |
//! | `expression` | a column's exact value as SQL |
//! | `key` | what a row is known by, ranges of it |
//! | `slices` | tables with a key |
//! | `buckets` | tables without |

mod buckets;
pub mod comparison;
pub mod definition;
mod expression;
mod key;
pub mod pair;
pub mod report;
mod slices;

pub use comparison::{Comparison, Settle, When};
pub use pair::Pair;
pub use report::{Difference, Report, TableReport};

/// Why a comparison ends early.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A server cannot be asked.
    #[error("compare {table}: the {side} cannot be read")]
    Server {
        /// The table.
        table: String,
        /// `source` or `target`.
        side: &'static str,
        /// Why.
        source: lutra_mysql::Error,
    },
    /// A server gave what cannot be understood.
    #[error("compare {table}: the {side} gave no {what}")]
    Answer {
        /// The table.
        table: String,
        /// `source` or `target`.
        side: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// The target does not follow.
    #[error("the target does not reach the source")]
    Settle(#[source] Box<dyn std::error::Error + Send + Sync>),
}

//! What can be wrong with rules, or between rules and what they meet.

use lutra_change::TableName;

/// A rule that cannot be, or that does not fit the table or statement it met.
///
/// Faults of the first group are found when the rules are compiled; those of the second when a table's schema or a DDL
/// statement is first seen. None is ever worked around: the pipeline halts with the fault's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// An earlier route takes all of its tables.
    #[error(
        "route {route} ({pattern}) is never reached: route {by} ({by_pattern}) before it matches everything it matches; put the narrower one first"
    )]
    Unreachable {
        /// Index of the route.
        route: usize,
        /// Its pattern.
        pattern: String,
        /// Index of the route that shadows it.
        by: usize,
        /// That one's pattern.
        by_pattern: String,
    },
    /// A template uses a capture that the pattern does not have.
    #[error("route {route}: {to} uses ${used}, but {pattern} has {wildcards} wildcard(s)")]
    Capture {
        /// Index of the route.
        route: usize,
        /// Its pattern.
        pattern: String,
        /// Its template.
        to: String,
        /// The capture used.
        used: usize,
        /// Wildcards there are.
        wildcards: usize,
    },
    /// Two columns would bear one name.
    #[error("route {route}: columns {first} and {second} would both be called {name}")]
    RenameTwice {
        /// Index of the route.
        route: usize,
        /// One column.
        first: String,
        /// The other.
        second: String,
        /// The name.
        name: String,
    },
    /// A column is renamed and dropped.
    #[error("route {route}: column {column} is both renamed and dropped")]
    RenamedAndDropped {
        /// Index of the route.
        route: usize,
        /// The column.
        column: String,
    },
    /// A column name that no server takes.
    #[error("route {route}: {column:?} cannot be a column's name")]
    ColumnName {
        /// Index of the route.
        route: usize,
        /// The name.
        column: String,
    },

    /// A table's name in the target comes out empty or in a system schema.
    #[error(
        "table {table} has no name in the target: {to} gives an empty name or one in a system schema; give it a route of its own"
    )]
    NoName {
        /// Table of the source.
        table: TableName,
        /// The template.
        to: String,
    },
    /// A rule names a column that the table does not have.
    #[error(
        "table {table} has no column {column}, which a rule {verb}; take the rule out or name the column as the table does"
    )]
    NoColumn {
        /// Table of the source.
        table: TableName,
        /// The column.
        column: String,
        /// What the rule does.
        verb: &'static str,
    },
    /// A primary key column is dropped.
    #[error(
        "column {column} of {table} is part of the primary key and cannot be dropped: without it rows cannot be found in the target"
    )]
    KeyColumn {
        /// Table of the source.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A renamed column meets another one of that name.
    #[error("column {column} of {table} cannot be called {name}: another column is; rename or drop that one too")]
    NameTaken {
        /// Table of the source.
        table: TableName,
        /// The column.
        column: String,
        /// The name.
        name: String,
    },
    /// No column is left.
    #[error("no column of {table} is left; to carry nothing of a table, give it no route")]
    NoColumnLeft {
        /// Table of the source.
        table: TableName,
    },
    /// A table that the rules drop was planned.
    #[error("table {table} is not carried by this pipeline")]
    NotCarried {
        /// Table of the source.
        table: TableName,
    },
    /// A target schema cannot be made.
    #[error("the row schema of {table} for the target cannot be made: {reason}")]
    Schema {
        /// Table of the source.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// A DDL statement that cannot be carried over as it stands.
    #[error(
        "the statement on {subject} cannot be carried over: {reason}; do in the target by hand what it means there, set `ddl: ignore`, resume, and set it back once the pipeline is behind the statement"
    )]
    Statement {
        /// What the statement is about.
        subject: String,
        /// Why not.
        reason: String,
    },
}

impl RuleFault {
    /// Where in a pipeline's document the route is that is to blame, `spec.tables[2].to`; none where no one place is.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::Unreachable { route, .. } => Some(format!("spec.tables[{route}].match")),
            Self::Capture { route, .. } => Some(format!("spec.tables[{route}].to")),
            Self::RenameTwice { route, .. } => Some(format!("spec.tables[{route}].columns.rename")),
            Self::RenamedAndDropped { route, .. } | Self::ColumnName { route, .. } => {
                Some(format!("spec.tables[{route}].columns"))
            }
            Self::NoName { .. }
            | Self::NoColumn { .. }
            | Self::KeyColumn { .. }
            | Self::NameTaken { .. }
            | Self::NoColumnLeft { .. }
            | Self::NotCarried { .. }
            | Self::Schema { .. }
            | Self::Statement { .. } => None,
        }
    }
}

//! What the planner gives: statements that are still structured, so that they can be tested without a server.

use std::sync::Arc;

use crate::image::Image;
use crate::mapping::TableMap;
use crate::rows::Session;

/// One row change with its images written out.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where the row goes.
    pub map: Arc<TableMap>,
    /// The row before, for updates and deletes.
    pub before: Option<Image>,
    /// The row after, for inserts and updates.
    pub after: Option<Image>,
    /// Both images hold every column.
    pub complete: bool,
    /// A value of the row is only accepted by a session that is not strict (the invalid member of an ENUM).
    pub lenient: bool,
}

/// One statement, or several of the same kind where a size limit cuts.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Rows to insert.
    Insert {
        /// The table.
        map: Arc<TableMap>,
        /// The new rows.
        rows: Vec<Image>,
        /// Needs a session that is not strict.
        lenient: bool,
    },
    /// Rows to change: the same columns in each.
    Update {
        /// The table.
        map: Arc<TableMap>,
        /// Columns to set, ascending indexes into [`TableMap::columns`].
        columns: Vec<usize>,
        /// Before and after.
        rows: Vec<(Image, Image)>,
        /// Needs a session that is not strict.
        lenient: bool,
    },
    /// Rows of a table that is being copied: there with other values, or with these, or not at all.
    Upsert {
        /// The table.
        map: Arc<TableMap>,
        /// The rows.
        rows: Vec<Image>,
        /// None of them may be there with other values.
        exact: bool,
        /// Needs a session that is not strict.
        lenient: bool,
    },
    /// Rows to delete that may not be there.
    Remove {
        /// The table.
        map: Arc<TableMap>,
        /// The old rows.
        rows: Vec<Image>,
    },
    /// Rows to change that may not be there.
    Patch {
        /// The table.
        map: Arc<TableMap>,
        /// Columns to set.
        columns: Vec<usize>,
        /// Before and after.
        rows: Vec<(Image, Image)>,
        /// Needs a session that is not strict.
        lenient: bool,
    },
    /// What follows needs the session set otherwise.
    Session(Session),
    /// Rows to delete.
    Delete {
        /// The table.
        map: Arc<TableMap>,
        /// The old rows.
        rows: Vec<Image>,
    },
}

impl Statement {
    /// The table; none for a session setting.
    pub fn map(&self) -> Option<&Arc<TableMap>> {
        match self {
            Self::Insert { map, .. }
            | Self::Update { map, .. }
            | Self::Delete { map, .. }
            | Self::Upsert { map, .. }
            | Self::Remove { map, .. }
            | Self::Patch { map, .. } => Some(map),
            Self::Session(_) => None,
        }
    }

    /// `insert`, `update`, `delete`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Insert { .. } | Self::Upsert { .. } => "insert",
            Self::Update { .. } | Self::Patch { .. } => "update",
            Self::Delete { .. } | Self::Remove { .. } => "delete",
            Self::Session(_) => "setting",
        }
    }

    /// Rows that must match.
    pub fn rows(&self) -> usize {
        match self {
            Self::Insert { rows, .. }
            | Self::Delete { rows, .. }
            | Self::Upsert { rows, .. }
            | Self::Remove { rows, .. } => rows.len(),
            Self::Update { rows, .. } | Self::Patch { rows, .. } => rows.len(),
            Self::Session(_) => 0,
        }
    }
}

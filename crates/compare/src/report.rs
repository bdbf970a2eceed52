//! What was found.

use serde::Serialize;

/// One difference of rows. Names and values of keys are for the person who asked, and for nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// The source has the row and the target has not.
    Missing {
        /// `id=7`.
        row: String,
    },
    /// The target has the row and the source has not.
    Extra {
        /// `id=7`.
        row: String,
    },
    /// Both have the row.
    Values {
        /// `id=7`.
        row: String,
        /// Which columns differ, by their names in the source.
        columns: Vec<String>,
    },
    /// Rows of a table without a key are there a different number of times.
    Count {
        /// One such row.
        row: String,
        /// How often the source has it.
        source: u64,
        /// How often the target has it.
        target: u64,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { row } => write!(f, "row {row}: missing in the target"),
            Self::Extra { row } => write!(f, "row {row}: only in the target"),
            Self::Values { row, columns } => write!(f, "row {row}: differs in {}", columns.join(", ")),
            Self::Count { row, source, target } => {
                write!(f, "row {row}: {source} times in the source, {target} times in the target")
            }
        }
    }
}

/// What was found in one pair of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Name in the source.
    pub source: String,
    /// Name in the target.
    pub target: String,
    /// Rows in the source, as far as they were counted.
    pub rows: u64,
    /// How the definitions differ.
    pub definition: Vec<String>,
    /// Rows that differ; all of them.
    pub count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Rows that changed each time they were looked at, so that nothing can be said of them.
    pub unsettled: u64,
    /// Why its rows were not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl TableReport {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.count == 0 && self.definition.is_empty()
    }

    pub(crate) fn add(&mut self, difference: Difference, limit: usize) {
        self.count += 1;
        if self.differences.len() < limit {
            self.differences.push(difference);
        }
    }
}

/// What was found in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One by one.
    pub tables: Vec<TableReport>,
    /// Tables that one side lacks.
    pub unpaired: Vec<String>,
}

impl Report {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.unpaired.is_empty() && self.tables.iter().all(TableReport::is_equal)
    }

    /// Rows of which nothing can be said.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.tables.iter().map(|table| table.unsettled).sum()
    }

    /// Rows of the source.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

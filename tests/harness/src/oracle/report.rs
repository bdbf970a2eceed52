//! What a comparison has found.

use std::fmt;

/// One difference between source and target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The target lacks a table.
    MissingTable {
        /// The table in the source.
        source: String,
        /// Its expected name in the target.
        target: String,
    },
    /// The target has a table that the source has not.
    ExtraTable {
        /// The table in the target.
        target: String,
    },
    /// The target's table lacks columns; its rows were not compared.
    MissingColumns {
        /// The table in the target.
        table: String,
        /// The missing columns.
        columns: Vec<String>,
    },
    /// The tables are defined differently.
    Definition {
        /// The table in the target.
        table: String,
        /// The source's definition.
        source: String,
        /// The target's definition.
        target: String,
    },
    /// The target lacks a row (or one of several equal rows of a keyless table).
    MissingRow {
        /// The table in the target.
        table: String,
        /// Its key; of a keyless table the whole row.
        key: String,
        /// How many times it is missing.
        times: u64,
    },
    /// The target has a row too many.
    ExtraRow {
        /// The table in the target.
        table: String,
        /// Its key; of a keyless table the whole row.
        key: String,
        /// How many times it is too many.
        times: u64,
    },
    /// A row has other values.
    Values {
        /// The table in the target.
        table: String,
        /// Its key.
        key: String,
        /// Column, value in the source, value in the target.
        columns: Vec<(String, String, String)>,
    },
    /// The tables are so different that the comparison of this one was given up.
    TooMany {
        /// The table in the target.
        table: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable { source, target } => write!(f, "table {source}: the target has no {target}"),
            Self::ExtraTable { target } => write!(f, "table {target}: only the target has it"),
            Self::MissingColumns { table, columns } => write!(f, "table {table}: no column {}", columns.join(", ")),
            Self::Definition { table, source, target } => {
                write!(f, "table {table}: defined differently\n    source: {source}\n    target: {target}")
            }
            Self::MissingRow { table, key, times } => {
                write!(f, "{table} row {key}: missing in the target{}", count(*times))
            }
            Self::ExtraRow { table, key, times } => write!(f, "{table} row {key}: only in the target{}", count(*times)),
            Self::Values { table, key, columns } => {
                write!(f, "{table} row {key}:")?;
                columns.iter().try_for_each(|(name, source, target)| write!(f, " {name} is {source} -> {target};"))
            }
            Self::TooMany { table } => write!(f, "table {table}: too different to go on"),
        }
    }
}

fn count(times: u64) -> String {
    if times == 1 { String::new() } else { format!(" {times} times") }
}

/// The outcome of a comparison.
#[derive(Debug, Clone)]
pub struct Report {
    /// Tables compared.
    pub tables: u64,
    /// Rows read from the source.
    pub source_rows: u64,
    /// Rows read from the target.
    pub target_rows: u64,
    /// All differences.
    pub count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    limit: usize,
}

impl Report {
    pub(super) fn new(limit: usize) -> Self {
        Self { tables: 0, source_rows: 0, target_rows: 0, count: 0, differences: Vec::new(), limit }
    }

    pub(super) fn add(&mut self, difference: Difference) {
        self.count += 1;
        if self.differences.len() < self.limit {
            self.differences.push(difference);
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tables, rows) = (self.tables, self.source_rows);
        if self.is_equal() {
            return write!(f, "equal: {tables} tables, {rows} rows");
        }
        let (count, target) = (self.count, self.target_rows);
        write!(f, "{count} differences in {tables} tables, {rows} rows in the source and {target} in the target")?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))?;
        match self.count - self.differences.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

//! Two tables, and which of their columns belong together.

use std::collections::BTreeMap;

use lutra_mysql::catalogue::{CatalogueColumn, TableDefinition};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The target.
    Target,
}

impl Side {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// Two tables, and what the rules make of the columns.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The source's table.
    pub source: TableDefinition,
    /// The target's.
    pub target: TableDefinition,
    /// New names of columns by the old ones.
    pub renamed: BTreeMap<String, String>,
    /// Columns that are not carried.
    pub dropped: Vec<String>,
    /// Why the rows are not expected to be the same, where they are not.
    pub skip: Option<String>,
}

impl Pair {
    /// Columns that both have; and the names of those that the target lacks.
    #[must_use]
    pub fn columns(&self) -> (Vec<(CatalogueColumn, CatalogueColumn)>, Vec<String>) {
        let (mut both, mut missing) = (Vec::new(), Vec::new());
        let kept = |column: &&CatalogueColumn| !self.dropped.iter().any(|d| d.eq_ignore_ascii_case(&column.name));
        for column in self.source.columns.iter().filter(kept) {
            let name = self.name(&column.name);
            match self.target.columns.iter().find(|other| other.name.eq_ignore_ascii_case(name)) {
                Some(other) => both.push((column.clone(), other.clone())),
                None => missing.push(name.to_owned()),
            }
        }
        (both, missing)
    }

    /// A column's name in the target.
    pub(crate) fn name<'a>(&'a self, column: &'a str) -> &'a str {
        let renamed = self.renamed.iter().find(|(from, _)| from.eq_ignore_ascii_case(column));
        renamed.map_or(column, |(_, to)| to)
    }

    pub(crate) fn table(&self, side: Side) -> &TableDefinition {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

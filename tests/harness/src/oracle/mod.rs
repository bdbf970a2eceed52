//! Are two databases equal, and where not.
//!
//! The oracle reads both sides itself, column by column, and shares no code with the services: tables, every value of
//! every row (keyless tables as multisets, so that a doubled row is seen), and the definitions where asked. Both servers
//! must be at rest meanwhile.
//!
//! ```no_run
//! # async fn example(source: &str, target: &str) -> anyhow::Result<()> {
//! use lutra_harness::oracle::Comparison;
//! let report = Comparison::new(source, target)
//!     .databases(&["shop"])
//!     .table("shop.user_info", "crm.t_user")
//!     .renamed_column("shop.user_info", "mail", "email")
//!     .run()
//!     .await?;
//! assert!(report.is_equal(), "{report}");
//! # Ok(()) }
//! ```

mod catalogue;
mod pairing;
mod report;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use futures::future::try_join;

use catalogue::{Catalogue, Table, TableName};
pub use report::{Difference, Report};

/// What is compared with what. By default every table of the source outside the system schemas is expected under its own
/// name in the target, and tables that only the target has, in the databases looked at, are differences.
#[derive(Debug, Clone)]
pub struct Comparison {
    source: String,
    target: String,
    databases: Option<BTreeSet<String>>,
    database_map: BTreeMap<String, String>,
    tables: BTreeMap<TableName, TableName>,
    renamed: BTreeMap<TableName, BTreeMap<String, String>>,
    dropped: BTreeMap<TableName, BTreeSet<String>>,
    ignored: BTreeSet<TableName>,
    definitions: bool,
    limit: usize,
}

impl Comparison {
    /// A comparison of two servers by their addresses; the users must be able to read everything compared.
    #[must_use]
    pub fn new(source: &str, target: &str) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            databases: None,
            database_map: BTreeMap::new(),
            tables: BTreeMap::new(),
            renamed: BTreeMap::new(),
            dropped: BTreeMap::new(),
            ignored: BTreeSet::new(),
            definitions: false,
            limit: 20,
        }
    }

    /// Looks at these databases of the source only.
    #[must_use]
    pub fn databases(mut self, names: &[&str]) -> Self {
        self.databases = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// All tables of the source's database are expected in another database of the target.
    #[must_use]
    pub fn database(mut self, source: &str, target: &str) -> Self {
        self.database_map.insert(source.to_owned(), target.to_owned());
        self
    }

    /// The table `database.table` of the source is expected as `database.table` in the target.
    #[must_use]
    pub fn table(mut self, source: &str, target: &str) -> Self {
        self.tables.insert(source.into(), target.into());
        self
    }

    /// A column of the source's table has another name in the target.
    #[must_use]
    pub fn renamed_column(mut self, table: &str, source: &str, target: &str) -> Self {
        self.renamed.entry(table.into()).or_default().insert(source.to_owned(), target.to_owned());
        self
    }

    /// A column of the source's table is not expected in the target.
    #[must_use]
    pub fn dropped_column(mut self, table: &str, column: &str) -> Self {
        self.dropped.entry(table.into()).or_default().insert(column.to_owned());
        self
    }

    /// A table, named as in the source, that is not looked at on either side.
    #[must_use]
    pub fn ignored_table(mut self, table: &str) -> Self {
        self.ignored.insert(table.into());
        self
    }

    /// Compares what `SHOW CREATE TABLE` says too (without the next auto-increment value).
    #[must_use]
    pub fn with_definitions(mut self) -> Self {
        self.definitions = true;
        self
    }

    /// How many differences are described; all are counted.
    #[must_use]
    pub fn limit(mut self, differences: usize) -> Self {
        self.limit = differences;
        self
    }

    /// Compares.
    ///
    /// # Errors
    /// When a server cannot be read; differences are no error.
    pub async fn run(&self) -> Result<Report> {
        let (mut source, mut target) =
            try_join(crate::mysql::connect(&self.source), crate::mysql::connect(&self.target)).await?;
        let (left, right) = try_join(Catalogue::read(&mut source), Catalogue::read(&mut target)).await?;
        let mut report = Report::new(self.limit);
        let pairs = self.pair_tables(left, right, &mut report)?;
        for (source_table, target_table) in &pairs {
            report.tables += 1;
            let what = || format!("compare {} with {}", source_table.name, target_table.name);
            if self.definitions {
                self.compare_definitions(&mut source, &mut target, source_table, target_table, &mut report)
                    .await
                    .with_context(what)?;
            }
            if let Some(plan) = self.plan_columns(source_table, target_table, &mut report) {
                rows::compare(&mut source, &mut target, source_table, target_table, &plan, &mut report)
                    .await
                    .with_context(what)?;
            }
        }
        let _ = try_join(source.disconnect(), target.disconnect()).await;
        Ok(report)
    }

    fn target_name(&self, source: &TableName) -> TableName {
        self.tables.get(source).cloned().unwrap_or_else(|| {
            let database = self.database_map.get(&source.database).unwrap_or(&source.database);
            TableName { database: database.clone(), table: source.table.clone() }
        })
    }

    fn is_looked_at(&self, table: &TableName) -> bool {
        !self.ignored.contains(table) && self.databases.as_ref().is_none_or(|names| names.contains(&table.database))
    }

    fn pair_tables(&self, left: Catalogue, mut right: Catalogue, report: &mut Report) -> Result<Vec<(Table, Table)>> {
        if let Some(name) = self.databases.iter().flatten().find(|name| !left.databases.contains(*name)) {
            bail!("compare the database {name}: the source has none of that name");
        }
        let ignored: BTreeSet<TableName> = self.ignored.iter().map(|name| self.target_name(name)).collect();
        let mut expected_databases = BTreeSet::new();
        for name in left.databases.iter().filter(|name| self.databases.as_ref().is_none_or(|only| only.contains(*name)))
        {
            expected_databases.insert(self.database_map.get(name).unwrap_or(name).clone());
        }
        let mut pairs = Vec::new();
        for (name, table) in left.tables {
            if !self.is_looked_at(&name) {
                continue;
            }
            let target = self.target_name(&name);
            match right.tables.remove(&target) {
                Some(found) => pairs.push((table, found)),
                None => report.add(Difference::MissingTable { source: name.to_string(), target: target.to_string() }),
            }
        }
        // Lutra's own tables in the target are no part of the data.
        let extra = right.tables.into_keys().filter(|name| expected_databases.contains(&name.database));
        for name in extra.filter(|name| name.database != "lutra" && !ignored.contains(name)) {
            report.add(Difference::ExtraTable { target: name.to_string() });
        }
        Ok(pairs)
    }

    /// Which columns are compared with which; `None` when the columns do not fit at all.
    fn plan_columns(&self, source: &Table, target: &Table, report: &mut Report) -> Option<rows::Plan> {
        let renamed = self.renamed.get(&source.name);
        let dropped = self.dropped.get(&source.name);
        let mut missing = Vec::new();
        let mut columns = Vec::new();
        for column in &source.columns {
            if dropped.is_some_and(|names| names.contains(&column.name)) {
                continue;
            }
            let name = renamed.and_then(|names| names.get(&column.name)).unwrap_or(&column.name);
            match target.columns.iter().find(|other| other.name.eq_ignore_ascii_case(name)) {
                Some(other) => columns.push((column.clone(), other.clone())),
                None => missing.push(name.clone()),
            }
        }
        if !missing.is_empty() {
            report.add(Difference::MissingColumns { table: target.name.to_string(), columns: missing });
            return None;
        }
        Some(rows::Plan::new(columns, &source.primary_key))
    }

    async fn compare_definitions(
        &self,
        source: &mut mysql_async::Conn,
        target: &mut mysql_async::Conn,
        left: &Table,
        right: &Table,
        report: &mut Report,
    ) -> Result<()> {
        let (a, b) =
            try_join(catalogue::definition(source, &left.name), catalogue::definition(target, &right.name)).await?;
        if a != b {
            report.add(Difference::Definition { table: right.name.to_string(), source: a, target: b });
        }
        Ok(())
    }
}

//! Compares one pair of tables after another.

use futures::future::{BoxFuture, try_join};
use lutra_mysql::sql::quote_table;
use lutra_mysql::{Connection, Row};

use crate::expression;
use crate::key::Key;
use crate::pair::{Pair, Side};
use crate::report::TableReport;
use crate::{CompareError, buckets, definition, slices};

/// Waits until the target has everything that the source has now.
pub trait Settle: Send {
    /// Returns when it has.
    ///
    /// # Errors
    /// When it does not follow.
    fn settle(&mut self) -> BoxFuture<'_, Result<(), CompareError>>;
}

/// When rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing writes: what differs, differs.
    Quiesce,
    /// Writes go on: what differs is looked at again behind a point that the target has reached.
    Sync,
}

/// A comparison over two connections.
pub struct Comparison<'c> {
    pub(crate) source: &'c mut Connection,
    pub(crate) target: &'c mut Connection,
    pub(crate) settle: &'c mut dyn Settle,
    /// When.
    pub when: When,
    /// So many differences of a table are described; all are counted.
    pub limit: usize,
    /// Both servers are of one family.
    pub same_family: bool,
}

/// Statements for both sessions: exact text, UTC, a scan that may take its time.
const SESSION: &str = "SET NAMES utf8mb4, time_zone='+00:00', sql_mode='', net_write_timeout=600";

/// Times that a difference must show the same face, each behind a new point, to be one: a row that goes back and forth
/// would look so by chance.
pub(crate) const STABLE: u32 = 5;
/// Times that a row is looked at before it is given up as one that never rests.
pub(crate) const ROUNDS: u32 = 30;

impl<'c> Comparison<'c> {
    /// Prepares both sessions.
    ///
    /// # Errors
    /// When a server refuses.
    pub async fn new(
        source: &'c mut Connection,
        target: &'c mut Connection,
        settle: &'c mut dyn Settle,
        when: When,
    ) -> Result<Self, CompareError> {
        let fault = |side: Side| {
            move |source| CompareError::Server { table: "a session".to_owned(), side: side.as_str(), source }
        };
        source.execute(SESSION).await.map_err(fault(Side::Source))?;
        target.execute(SESSION).await.map_err(fault(Side::Target))?;
        let families = (source.flavour().await, target.flavour().await);
        let same_family = families.0.map_err(fault(Side::Source))? == families.1.map_err(fault(Side::Target))?;
        Ok(Self { source, target, settle, when, limit: 20, same_family })
    }

    /// Compares a pair.
    ///
    /// # Errors
    /// When a server cannot be read; differences are no error.
    pub async fn table(&mut self, pair: &Pair) -> Result<TableReport, CompareError> {
        let mut report = TableReport {
            source: pair.source.name.to_string(),
            target: pair.target.name.to_string(),
            skipped: pair.skip.clone(),
            ..TableReport::default()
        };
        let plan = Plan::new(pair);
        report.definition = self.definition(&plan).await?;
        if report.skipped.is_some() || plan.columns.is_empty() {
            return Ok(report);
        }
        match &plan.key {
            Some(key) => slices::compare(self, &plan, key, &mut report).await?,
            None => buckets::compare(self, &plan, &mut report).await?,
        }
        Ok(report)
    }

    /// By the servers' own words where those must be the same, else by what the catalogue says.
    async fn definition(&mut self, plan: &Plan<'_>) -> Result<Vec<String>, CompareError> {
        let pair = plan.pair;
        if !self.same_family
            || !pair.renamed.is_empty()
            || !pair.dropped.is_empty()
            || pair.source.name != pair.target.name
        {
            return Ok(definition::differences(pair, self.same_family));
        }
        let (left, right) = self.ask(plan, |side| format!("SHOW CREATE TABLE {}", plan.table(side))).await?;
        let text = |rows: &[Row], side: Side| {
            let text = rows.first().map(|row| row.string(1)).filter(|text| !text.is_empty());
            let what = "definition";
            text.ok_or_else(|| CompareError::Answer { table: plan.name(side), side: side.as_str(), what })
        };
        Ok(definition::lines(&text(&left, Side::Source)?, &text(&right, Side::Target)?))
    }

    /// Asks both sides at once.
    pub(crate) async fn ask(
        &mut self,
        plan: &Plan<'_>,
        query: impl Fn(Side) -> String,
    ) -> Result<(Vec<Row>, Vec<Row>), CompareError> {
        let (source, target) = (query(Side::Source), query(Side::Target));
        let fault = |side: Side| {
            move |error| CompareError::Server { table: plan.name(side), side: side.as_str(), source: error }
        };
        let left = async { self.source.query(source).await.map_err(fault(Side::Source)) };
        let right = async { self.target.query(target).await.map_err(fault(Side::Target)) };
        try_join(left, right).await
    }

    /// Asks one side.
    pub(crate) async fn ask_one(
        &mut self,
        plan: &Plan<'_>,
        side: Side,
        query: String,
    ) -> Result<Vec<Row>, CompareError> {
        let connection = match side {
            Side::Source => &mut *self.source,
            Side::Target => &mut *self.target,
        };
        let asked = connection.query(query).await;
        asked.map_err(|source| CompareError::Server { table: plan.name(side), side: side.as_str(), source })
    }
}

/// How a pair is compared.
pub(crate) struct Plan<'p> {
    pub(crate) pair: &'p Pair,
    /// Expression of each column at the source, at the target, and its name.
    pub(crate) columns: Vec<(String, String, String)>,
    pub(crate) key: Option<Key>,
}

impl<'p> Plan<'p> {
    fn new(pair: &'p Pair) -> Self {
        let (columns, _) = pair.columns();
        let key = Key::of(&pair.source, &columns);
        let expressions = columns.iter().map(|(source, target)| {
            let (a, b) = expression::both(source, target);
            (a, b, source.name.clone())
        });
        Self { pair, columns: expressions.collect(), key }
    }

    pub(crate) fn name(&self, side: Side) -> String {
        self.pair.table(side).name.to_string()
    }

    /// The table as it stands in a statement.
    pub(crate) fn table(&self, side: Side) -> String {
        quote_table(&self.pair.table(side).name)
    }

    pub(crate) fn expressions(&self, side: Side) -> Vec<String> {
        self.columns.iter().map(|(a, b, _)| if side == Side::Source { a.clone() } else { b.clone() }).collect()
    }

    /// The checksum of a row.
    pub(crate) fn checksum(&self, side: Side) -> String {
        expression::row(&self.expressions(side))
    }
}

/// The answer of [`expression::sums`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) rows: u64,
    pub(crate) digits: (String, String),
}

impl Sums {
    /// From a row, beginning with that column.
    pub(crate) fn read(row: &Row, at: usize) -> Self {
        Self { rows: row.u64(at).unwrap_or_default(), digits: (row.string(at + 1), row.string(at + 2)) }
    }
}

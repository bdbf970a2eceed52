//! Tables with a key: slices of it, cut until single rows are left.

use std::collections::BTreeMap;

use lutra_mysql::Row;

use crate::CompareError;
use crate::comparison::{Comparison, Plan, ROUNDS, STABLE, Sums, When};
use crate::expression;
use crate::key::{Key, Range, Values};
use crate::pair::Side;
use crate::report::{Difference, TableReport};

/// Rows of a slice: some milliseconds of a server's work.
const SLICE: u64 = 20_000;
/// Rows of a slice that is read row by row.
const ROWS: u64 = 500;
/// Rows that are looked at again together.
const AGAIN: usize = 100;

/// A row's checksums at the source and at the target; none where it is not there.
type Face = (Option<String>, Option<String>);

pub(crate) async fn compare(
    comparison: &mut Comparison<'_>,
    plan: &Plan<'_>,
    key: &Key,
    report: &mut TableReport,
) -> Result<(), CompareError> {
    let mut walk = Walk { comparison, plan, key, report };
    let mut range = Range::default();
    loop {
        range.to = walk.boundary(Side::Source, &range, SLICE).await?;
        walk.slice(&range).await?;
        if range.to.is_none() {
            return Ok(());
        }
        range.after = range.to.take();
    }
}

struct Walk<'w, 'c> {
    comparison: &'w mut Comparison<'c>,
    plan: &'w Plan<'w>,
    key: &'w Key,
    report: &'w mut TableReport,
}

impl Walk<'_, '_> {
    /// The key of the n-th row of a range.
    async fn boundary(&mut self, side: Side, range: &Range, n: u64) -> Result<Option<Values>, CompareError> {
        let query = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1 OFFSET {}",
            self.key.select(side),
            self.plan.table(side),
            self.key.within(side, range),
            self.key.order(side),
            n.saturating_sub(1)
        );
        let rows = self.comparison.ask_one(self.plan, side, query).await?;
        Ok(rows.first().map(|row| self.values(row)))
    }

    fn values(&self, row: &Row) -> Values {
        (0..self.key.len()).map(|at| row.string(at)).collect()
    }

    async fn sums(&mut self, range: &Range) -> Result<(Sums, Sums), CompareError> {
        let (plan, key) = (self.plan, self.key);
        let query = |side| {
            let sums = expression::sums("h");
            let (checksum, table, within) = (plan.checksum(side), plan.table(side), key.within(side, range));
            format!("SELECT {sums} FROM (SELECT {checksum} AS h FROM {table} WHERE {within}) AS r")
        };
        let (left, right) = self.comparison.ask(plan, query).await?;
        let read = |rows: &[Row]| rows.first().map(|row| Sums::read(row, 0)).unwrap_or_default();
        Ok((read(&left), read(&right)))
    }

    /// Compares a slice; what differs is cut and compared again.
    async fn slice(&mut self, range: &Range) -> Result<(), CompareError> {
        let mut open = vec![range.clone()];
        let mut whole = true;
        while let Some(range) = open.pop() {
            let (left, right) = self.sums(&range).await?;
            self.report.rows += if std::mem::take(&mut whole) { left.rows } else { 0 };
            if left == right {
                continue;
            }
            let (side, rows) =
                if left.rows >= right.rows { (Side::Source, left.rows) } else { (Side::Target, right.rows) };
            // Cut in the middle of the side that has more; a slice that cannot be cut is read.
            let middle = if rows > ROWS { self.boundary(side, &range, rows / 2).await? } else { None };
            match middle.filter(|middle| Some(middle) != range.to.as_ref()) {
                Some(middle) => {
                    open.push(Range { after: Some(middle.clone()), to: range.to });
                    open.push(Range { after: range.after, to: Some(middle) });
                }
                None => self.rows(&range).await?,
            }
        }
        Ok(())
    }

    /// Compares a small slice row by row.
    async fn rows(&mut self, range: &Range) -> Result<(), CompareError> {
        let key = self.key;
        let faces = self.faces(|side| key.within(side, range)).await?;
        let differ: Vec<(Values, Face)> = faces.into_iter().filter(|(_, (a, b))| a != b).collect();
        for some in differ.chunks(AGAIN) {
            let some: BTreeMap<Values, Face> = some.iter().cloned().collect();
            let settled = match self.comparison.when {
                When::Quiesce => some,
                When::Sync => self.again(some).await?,
            };
            for (values, face) in settled {
                self.describe(&values, face).await?;
            }
        }
        Ok(())
    }

    async fn faces(&mut self, condition: impl Fn(Side) -> String) -> Result<BTreeMap<Values, Face>, CompareError> {
        let (plan, key) = (self.plan, self.key);
        let query = |side| {
            let (keys, checksum, table) = (key.select(side), plan.checksum(side), plan.table(side));
            format!("SELECT {keys}, {checksum} FROM {table} WHERE {}", condition(side))
        };
        let (left, right) = self.comparison.ask(plan, query).await?;
        let mut faces: BTreeMap<Values, Face> = BTreeMap::new();
        for row in &left {
            faces.entry(self.values(row)).or_default().0 = Some(row.string(key.len()));
        }
        for row in &right {
            faces.entry(self.values(row)).or_default().1 = Some(row.string(key.len()));
        }
        Ok(faces)
    }

    /// Looks at rows again, each time when the target has reached the source, until they are equal or stay different.
    async fn again(&mut self, rows: BTreeMap<Values, Face>) -> Result<BTreeMap<Values, Face>, CompareError> {
        let mut settled = BTreeMap::new();
        let mut open: BTreeMap<Values, (Face, u32)> = rows.into_iter().map(|(row, face)| (row, (face, 1))).collect();
        for _ in 0..ROUNDS {
            if open.is_empty() {
                return Ok(settled);
            }
            self.comparison.settle.settle().await?;
            let (key, keys) = (self.key, open.keys().cloned().collect::<Vec<_>>());
            let any = |side| {
                let each = keys.iter().map(|values| format!("({})", key.is(side, values)));
                each.collect::<Vec<_>>().join(" OR ")
            };
            let mut faces = self.faces(any).await?;
            open = open
                .into_iter()
                .filter_map(|(row, (before, times))| {
                    let face = faces.remove(&row).unwrap_or_default();
                    let times = if face == before { times + 1 } else { 1 };
                    (face.0 != face.1).then_some((row, (face, times)))
                })
                .collect();
            let stable: Vec<Values> =
                open.iter().filter(|(_, (_, times))| *times >= STABLE).map(|(row, _)| row.clone()).collect();
            for row in stable {
                if let Some((face, _)) = open.remove(&row) {
                    settled.insert(row, face);
                }
            }
        }
        self.report.unsettled += open.len() as u64;
        Ok(settled)
    }

    async fn describe(&mut self, values: &Values, face: Face) -> Result<(), CompareError> {
        let row = self.key.describe(values);
        let difference = match face {
            (Some(_), None) => Difference::Missing { row },
            (None, _) => Difference::Extra { row },
            (Some(_), Some(_)) if self.report.differences.len() >= self.comparison.limit => {
                Difference::Values { row, columns: Vec::new() }
            }
            (Some(_), Some(_)) => Difference::Values { row, columns: self.columns(values).await? },
        };
        self.report.add(difference, self.comparison.limit);
        Ok(())
    }

    /// The columns in which a row differs.
    async fn columns(&mut self, values: &Values) -> Result<Vec<String>, CompareError> {
        let (plan, key) = (self.plan, self.key);
        let query = |side| {
            let columns = plan.expressions(side).join(", ");
            format!("SELECT {columns} FROM {} WHERE {}", plan.table(side), key.is(side, values))
        };
        let (left, right) = self.comparison.ask(plan, query).await?;
        let value = |rows: &[Row], at| rows.first().and_then(|row| row.bytes(at).map(<[u8]>::to_vec));
        let unlike = plan.columns.iter().enumerate().filter(|(at, _)| value(&left, *at) != value(&right, *at));
        Ok(unlike.map(|(_, (_, _, name))| name.clone()).collect())
    }
}

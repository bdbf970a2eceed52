//! Tables without a key that both sides order alike: multisets of row checksums, by their first digits.

use std::collections::BTreeMap;

use lutra_mysql::Row;

use crate::CompareError;
use crate::comparison::{Comparison, Plan, ROUNDS, STABLE, Sums, When};
use crate::expression;
use crate::pair::Side;
use crate::report::{Difference, TableReport};

/// Digits by which buckets are told apart; each deeper step adds as many.
const DIGITS: usize = 2;
/// A checksum has so many.
const ALL_DIGITS: usize = 64;
/// Different rows of a bucket that is read one by one.
const ROWS: u64 = 5_000;
/// Columns of a row that are shown.
const SHOWN: usize = 6;

/// How often a row is there: at the source, at the target.
type Counts = (u64, u64);

pub(crate) async fn compare(
    comparison: &mut Comparison<'_>,
    plan: &Plan<'_>,
    report: &mut TableReport,
) -> Result<(), CompareError> {
    let mut search = Search { comparison, plan };
    let mut open = vec![String::new()];
    let mut first = true;
    while let Some(prefix) = open.pop() {
        let (left, right) = search.buckets(&prefix).await?;
        if std::mem::take(&mut first) {
            report.rows = left.values().map(|sums| sums.rows).sum();
        }
        let names: Vec<&String> = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))).collect();
        for name in names {
            let (a, b) = (left.get(name), right.get(name));
            if a == b {
                continue;
            }
            let rows = a.into_iter().chain(b).map(|sums| sums.rows).max().unwrap_or_default();
            if rows > ROWS && name.len() + DIGITS < ALL_DIGITS {
                open.push(name.clone());
            } else {
                search.bucket(name, report).await?;
            }
        }
    }
    Ok(())
}

struct Search<'s, 'c> {
    comparison: &'s mut Comparison<'c>,
    plan: &'s Plan<'s>,
}

impl Search<'_, '_> {
    async fn buckets(
        &mut self,
        prefix: &str,
    ) -> Result<(BTreeMap<String, Sums>, BTreeMap<String, Sums>), CompareError> {
        let (plan, digits) = (self.plan, prefix.len() + DIGITS);
        let query = |side| {
            format!(
                "SELECT LEFT(h,{digits}), {} FROM (SELECT {} AS h FROM {}) AS r WHERE h LIKE '{prefix}%' GROUP BY 1",
                expression::sums("h"),
                plan.checksum(side),
                plan.table(side)
            )
        };
        let (left, right) = self.comparison.ask(plan, query).await?;
        let read = |rows: &[Row]| rows.iter().map(|row| (row.string(0), Sums::read(row, 1))).collect();
        Ok((read(&left), read(&right)))
    }

    /// Rows of one bucket by their checksums.
    async fn counts(&mut self, condition: &str) -> Result<BTreeMap<String, Counts>, CompareError> {
        let plan = self.plan;
        let query = |side| {
            let (checksum, table) = (plan.checksum(side), plan.table(side));
            format!("SELECT h, COUNT(*) FROM (SELECT {checksum} AS h FROM {table}) AS r WHERE {condition} GROUP BY h")
        };
        let (left, right) = self.comparison.ask(plan, query).await?;
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for row in &left {
            counts.entry(row.string(0)).or_default().0 = row.u64(1).unwrap_or_default();
        }
        for row in &right {
            counts.entry(row.string(0)).or_default().1 = row.u64(1).unwrap_or_default();
        }
        Ok(counts)
    }

    async fn bucket(&mut self, prefix: &str, report: &mut TableReport) -> Result<(), CompareError> {
        let mut counts = self.counts(&format!("h LIKE '{prefix}%'")).await?;
        counts.retain(|_, (source, target)| source != target);
        if self.comparison.when == When::Sync {
            counts = self.again(counts, report).await?;
        }
        for (checksum, (source, target)) in counts {
            let side = if source > 0 { Side::Source } else { Side::Target };
            let row = if report.differences.len() < self.comparison.limit {
                self.describe(side, &checksum).await?
            } else {
                String::new()
            };
            report.add(Difference::Count { row, source, target }, self.comparison.limit);
        }
        Ok(())
    }

    /// Counts again, each time when the target has reached the source, until counts are equal or stay different.
    async fn again(
        &mut self,
        counts: BTreeMap<String, Counts>,
        report: &mut TableReport,
    ) -> Result<BTreeMap<String, Counts>, CompareError> {
        let mut settled = BTreeMap::new();
        let mut open: BTreeMap<String, (Counts, u32)> = counts.into_iter().map(|(h, c)| (h, (c, 1))).collect();
        for _ in 0..ROUNDS {
            if open.is_empty() {
                return Ok(settled);
            }
            self.comparison.settle.settle().await?;
            let wanted: Vec<String> = open.keys().map(|checksum| format!("'{checksum}'")).collect();
            let now = self.counts(&format!("h IN ({})", wanted.join(","))).await?;
            let mut still = BTreeMap::new();
            for (checksum, (before, times)) in open {
                let counts = now.get(&checksum).copied().unwrap_or_default();
                let times = if counts == before { times + 1 } else { 1 };
                match counts.0 == counts.1 {
                    true => {}
                    false if times >= STABLE => drop(settled.insert(checksum, counts)),
                    false => drop(still.insert(checksum, (counts, times))),
                }
            }
            open = still;
        }
        report.unsettled += open.len() as u64;
        Ok(settled)
    }

    /// One row of that checksum: its first short values.
    async fn describe(&mut self, side: Side, checksum: &str) -> Result<String, CompareError> {
        let plan = self.plan;
        let names: Vec<&String> = plan.columns.iter().map(|(_, _, name)| name).take(SHOWN).collect();
        let columns = plan.pair.columns().0;
        let shown = columns.iter().take(SHOWN).map(|(source, target)| {
            let name =
                lutra_mysql::sql::quote_identifier(if side == Side::Source { &source.name } else { &target.name });
            format!("LEFT(CAST({name} AS CHAR),40)")
        });
        let shown: Vec<String> = shown.collect();
        let query = format!(
            "SELECT {} FROM {} WHERE {} = '{checksum}' LIMIT 1",
            shown.join(", "),
            plan.table(side),
            plan.checksum(side)
        );
        let rows = self.comparison.ask_one(plan, side, query).await?;
        let values = names.iter().enumerate().map(|(at, name)| {
            let value = rows.first().and_then(|row| row.bytes(at)).map(String::from_utf8_lossy);
            format!("{name}={}", value.as_deref().unwrap_or("NULL"))
        });
        Ok(format!("({})", values.collect::<Vec<_>>().join(", ")))
    }
}

//! Every value of every row.

use anyhow::{Context, Result};
use futures::future::try_join;
use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, Conn, QueryResult, Row, Value};

use super::catalogue::{Column, Table};
use super::pairing::{Pairing, Side};
use super::report::{Difference, Report};
use crate::mysql::quoted;

/// Which columns are compared, and what a row is known by.
#[derive(Debug)]
pub(super) struct Plan {
    columns: Vec<(Column, Column)>,
    /// Places of the key's columns among `columns`; empty where the whole row is the key.
    key: Vec<usize>,
    /// Text is compared as it is stored where both sides store it alike, and as UTF-8 otherwise.
    as_stored: bool,
}

/// Rows that may wait for a partner before the comparison of a table is given up.
const WAITING_LIMIT: usize = 500_000;

/// A row's values, each in a form that can be hashed.
type Cells = Vec<Cell>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Cell {
    Null,
    Bytes(Vec<u8>),
    Signed(i64),
    Unsigned(u64),
    /// Bits of the number: -0.0 and 0.0 differ.
    Float(u64),
    Date([u32; 7]),
    Time(bool, [u32; 5]),
}

impl Plan {
    /// A row is known by the source's primary key where all of it is compared.
    pub(super) fn new(columns: Vec<(Column, Column)>, primary_key: &[String]) -> Self {
        let place = |name: &String| columns.iter().position(|(source, _)| source.name == *name);
        let key: Option<Vec<usize>> = primary_key.iter().map(place).collect();
        let as_stored = columns.iter().all(|(source, target)| source.charset == target.charset);
        Self { key: key.unwrap_or_default(), columns, as_stored }
    }

    fn query(&self, table: &Table, side: Side) -> String {
        let name = |(source, target): &(Column, Column)| {
            quoted(if side == Side::Source { &source.name } else { &target.name })
        };
        let mut wanted: Vec<String> = self.columns.iter().map(name).collect();
        // An invalid enum value and an empty member read alike: the number tells them apart.
        let enums =
            self.columns.iter().filter(|(source, target)| source.data_type == "enum" && target.data_type == "enum");
        wanted.extend(enums.map(|column| format!("{} = 0", name(column))));
        let order: Vec<String> = if self.key.is_empty() {
            // Sorting by long values is dear, and no order is needed beyond keeping partners near each other.
            self.columns.iter().filter(|(source, _)| !is_long(&source.data_type)).map(name).collect()
        } else {
            self.key.iter().filter_map(|place| self.columns.get(*place)).map(name).collect()
        };
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        format!("SELECT {} FROM {}{order}", wanted.join(", "), table.name.quoted())
    }

    fn key_of(&self, cells: &Cells) -> Cells {
        if self.key.is_empty() {
            return cells.clone();
        }
        self.key.iter().filter_map(|place| cells.get(*place).cloned()).collect()
    }

    fn describe(&self, key: &Cells) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let places = if self.key.is_empty() { &all } else { &self.key };
        let parts = places.iter().zip(key).filter_map(|(place, cell)| {
            let (source, _) = self.columns.get(*place)?;
            Some(format!("{}={}", source.name, cell.describe()))
        });
        format!("({})", parts.collect::<Vec<_>>().join(", "))
    }

    fn differing(&self, source: &Cells, target: &Cells) -> Vec<(String, String, String)> {
        let name = |place: usize| self.columns.get(place).map_or("an enum's number", |(column, _)| &column.name);
        let pairs = source.iter().zip(target).enumerate().filter(|(_, (a, b))| a != b);
        pairs.map(|(place, (a, b))| (name(place).to_owned(), a.describe(), b.describe())).collect()
    }
}

fn is_long(data_type: &str) -> bool {
    ["blob", "text", "json", "geometry", "vector"].iter().any(|kind| data_type.ends_with(kind))
        || ["point", "linestring", "polygon", "geomcollection", "geometrycollection"].contains(&data_type)
        || data_type.starts_with("multi")
}

/// Reads both tables side by side and reports how their rows differ.
pub(super) async fn compare(
    source: &mut Conn,
    target: &mut Conn,
    left: &Table,
    right: &Table,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    try_join(prepare(source, plan), prepare(target, plan)).await?;
    let rows = try_join(
        source.exec_iter(plan.query(left, Side::Source), ()),
        target.exec_iter(plan.query(right, Side::Target), ()),
    );
    let (mut left_rows, mut right_rows) = rows.await.context("read the rows")?;
    let table = right.name.to_string();
    let mut pairing = Pairing::new();
    let (mut more_left, mut more_right) = (true, true);
    while more_left || more_right {
        let (a, b) = try_join(next(&mut left_rows, more_left), next(&mut right_rows, more_right)).await?;
        (more_left, more_right) = (a.is_some(), b.is_some());
        report.source_rows += u64::from(more_left);
        report.target_rows += u64::from(more_right);
        if a.is_some() && a == b && pairing.waiting() == 0 {
            continue;
        }
        for (side, cells) in [(Side::Source, a), (Side::Target, b)] {
            let Some(cells) = cells else { continue };
            let Some((one, other)) = pairing.take(side, plan.key_of(&cells), cells) else { continue };
            if one != other {
                let key = plan.describe(&plan.key_of(&one));
                report.add(Difference::Values { table: table.clone(), key, columns: plan.differing(&one, &other) });
            }
        }
        if pairing.waiting() > WAITING_LIMIT {
            report.add(Difference::TooMany { table: table.clone() });
            break;
        }
    }
    drop((left_rows, right_rows));
    let (missing, extra) = pairing.into_unpaired();
    for (key, times) in missing {
        report.add(Difference::MissingRow { table: table.clone(), key: plan.describe(&key), times });
    }
    for (key, times) in extra {
        report.add(Difference::ExtraRow { table: table.clone(), key: plan.describe(&key), times });
    }
    Ok(())
}

async fn prepare(connection: &mut Conn, plan: &Plan) -> Result<()> {
    let charset = if plan.as_stored { "NULL" } else { "utf8mb4" };
    let statement = format!(
        "SET time_zone='+00:00', character_set_results={charset}, sort_buffer_size=33554432, \
         net_write_timeout=600, sql_mode=''"
    );
    connection.query_drop(statement).await.context("prepare a session for reading")
}

async fn next(rows: &mut QueryResult<'_, 'static, BinaryProtocol>, more: bool) -> Result<Option<Cells>> {
    if !more {
        return Ok(None);
    }
    let row: Option<Row> = rows.next().await.context("read a row")?;
    Ok(row.map(|row| row.unwrap_raw().into_iter().map(Cell::from).collect()))
}

impl From<Option<Value>> for Cell {
    fn from(value: Option<Value>) -> Self {
        match value {
            None | Some(Value::NULL) => Self::Null,
            Some(Value::Bytes(bytes)) => Self::Bytes(bytes),
            Some(Value::Int(number)) => u64::try_from(number).map_or(Self::Signed(number), Self::Unsigned),
            Some(Value::UInt(number)) => Self::Unsigned(number),
            Some(Value::Float(number)) => Self::Float(u64::from(number.to_bits())),
            Some(Value::Double(number)) => Self::Float(number.to_bits()),
            Some(Value::Date(year, month, day, hour, minute, second, micros)) => Self::Date([
                u32::from(year),
                u32::from(month),
                u32::from(day),
                u32::from(hour),
                u32::from(minute),
                u32::from(second),
                micros,
            ]),
            Some(Value::Time(negative, days, hours, minutes, seconds, micros)) => {
                Self::Time(negative, [days, u32::from(hours), u32::from(minutes), u32::from(seconds), micros])
            }
        }
    }
}

impl Cell {
    /// For people; long values are cut.
    fn describe(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if text.len() <= 80 => format!("{text:?}"),
                _ => {
                    let head: String = bytes.iter().take(40).map(|byte| format!("{byte:02x}")).collect();
                    format!("0x{head} ({} bytes)", bytes.len())
                }
            },
            Self::Signed(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Float(bits) => format!("float bits {bits:#x}"),
            Self::Date([year, month, day, hour, minute, second, micros]) => {
                format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
            }
            Self::Time(negative, [days, hours, minutes, seconds, micros]) => {
                let sign = if *negative { "-" } else { "" };
                format!("{sign}{}:{minutes:02}:{seconds:02}.{micros:06}", days * 24 + hours)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str) -> (Column, Column) {
        let column = Column { name: name.to_owned(), data_type: data_type.to_owned(), charset: None };
        (column.clone(), column)
    }

    fn table() -> Table {
        Table { name: "d.t".into(), columns: Vec::new(), primary_key: Vec::new() }
    }

    #[test]
    fn rows_are_read_in_the_order_of_the_key() {
        let plan =
            Plan::new(vec![column("a", "int"), column("b", "int"), column("c", "text")], &["b".into(), "a".into()]);
        assert_eq!(plan.query(&table(), Side::Source), "SELECT `a`, `b`, `c` FROM `d`.`t` ORDER BY `b`, `a`");
    }

    #[test]
    fn a_keyless_row_is_its_own_key_and_long_values_are_not_sorted_by() {
        let plan = Plan::new(vec![column("a", "int"), column("b", "longtext")], &[]);
        assert_eq!(plan.query(&table(), Side::Target), "SELECT `a`, `b` FROM `d`.`t` ORDER BY `a`");
        let cells = vec![Cell::Unsigned(1), Cell::Null];
        assert_eq!(plan.key_of(&cells), cells);
    }

    #[test]
    fn a_key_column_that_was_dropped_makes_the_whole_row_the_key() {
        let plan = Plan::new(vec![column("a", "int")], &["id".into()]);
        assert!(plan.key.is_empty());
    }

    #[test]
    fn an_enums_number_is_read_beside_its_text() {
        let plan = Plan::new(vec![column("id", "int"), column("e", "enum")], &["id".into()]);
        assert!(plan.query(&table(), Side::Source).starts_with("SELECT `id`, `e`, `e` = 0 FROM"));
    }
}

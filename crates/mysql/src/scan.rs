//! Rows of a table as the server's binary protocol gives them: nothing is lost on the way of a value.

use lutra_change::{Column, ColumnType};
use mysql_async::Value;
use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::sql::{charset_of, quote_identifier};

/// Rows that are handed on together, in bytes and in number.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ROWS: usize = 1_000;

const SCAN: &str = "reading rows";

/// A value of a result row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Signed.
    Int(i64),
    /// Unsigned.
    UInt(u64),
    /// FLOAT, bit for bit.
    Float(f32),
    /// DOUBLE, bit for bit.
    Double(f64),
    /// Text, bytes, decimals, bits.
    Bytes(Vec<u8>),
    /// Date and time; all zero for the zero date.
    Date {
        /// Year, month, day; zeros where the server holds zeros.
        date: (u16, u8, u8),
        /// Hour, minute, second.
        time: (u8, u8, u8),
        /// Microseconds.
        micros: u32,
    },
    /// A span of time.
    Time {
        /// Below zero.
        negative: bool,
        /// Hours, minutes, seconds.
        time: (u32, u8, u8),
        /// Microseconds.
        micros: u32,
    },
}

impl Cell {
    /// Bytes that it takes, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len() + 8,
            _ => 8,
        }
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::NULL => Self::Null,
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Int(n) => Self::Int(n),
            Value::UInt(n) => Self::UInt(n),
            Value::Float(n) => Self::Float(n),
            Value::Double(n) => Self::Double(n),
            Value::Date(year, month, day, hour, minute, second, micros) => {
                Self::Date { date: (year, month, day), time: (hour, minute, second), micros }
            }
            Value::Time(negative, days, hours, minutes, seconds, micros) => {
                let hours = days.saturating_mul(24).saturating_add(u32::from(hours));
                Self::Time { negative, time: (hours, minutes, seconds), micros }
            }
        }
    }
}

/// Statements for a session that reads rows as they are: no conversion of time zones, no locks.
pub const SCAN_SESSION: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET SESSION time_zone='+00:00', sql_mode=''",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// How a column is selected so that [`Connection::scan`] gives its exact value: ENUM and SET by their numbers, text by its bytes.
pub fn scan_expression(column: &Column) -> String {
    let name = quote_identifier(&column.name);
    match column.column_type {
        ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
        // The bytes of the column's own character set.
        ColumnType::Char { collation, .. }
        | ColumnType::VarChar { collation, .. }
        | ColumnType::Text { collation, .. }
            if charset_of(collation) != Some("utf8mb4") =>
        {
            format!("CAST({name} AS BINARY)")
        }
        _ => name,
    }
}

impl Connection {
    /// Runs a query by the binary protocol and hands its rows on in batches as they come; waits while nobody takes them,
    /// and ends early when nobody is there any more. Gives the number of rows handed on.
    ///
    /// # Errors
    /// The server's. Afterwards, and after an early end, the connection is of no use.
    pub async fn scan(&mut self, sql: &str, rows: &mpsc::Sender<Vec<Vec<Cell>>>) -> Result<u64> {
        let after = self.read_timeout();
        let fault = |error| Error::from_driver(SCAN, error);
        let late = |_| Error::Timeout { operation: SCAN, after };
        let conn = self.driver();
        let asked = tokio::time::timeout(after, conn.exec_iter(sql, ())).await;
        let mut result = asked.map_err(late)?.map_err(fault)?;
        let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0);
        loop {
            let next = tokio::time::timeout(after, result.next()).await.map_err(late)?.map_err(fault)?;
            let ends = next.is_none();
            if let Some(row) = next {
                let cells: Vec<Cell> = row.unwrap().into_iter().map(Cell::from).collect();
                bytes += cells.iter().map(Cell::size).sum::<usize>();
                count += 1;
                batch.push(cells);
            }
            if (ends || bytes >= BATCH_BYTES || batch.len() >= BATCH_ROWS) && !batch.is_empty() {
                if rows.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(count);
                }
                bytes = 0;
            }
            if ends {
                result.drop_result().await.map_err(fault)?;
                return Ok(count);
            }
        }
    }
}

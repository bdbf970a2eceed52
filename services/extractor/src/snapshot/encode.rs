//! Cells of a query to the datum that the stream has for the same row.

use std::fmt::Write as _;

use lutra_change::{ColumnType, TableSchema, Value};
use lutra_mysql::Cell;
use lutra_wire::RowEncoder;

use super::SnapshotError;

/// Appends the datum of a row.
///
/// # Errors
/// [`SnapshotError::Value`], [`SnapshotError::Row`].
pub fn encode_row(
    table: &TableSchema,
    encoder: &RowEncoder,
    cells: &[Cell],
    out: &mut Vec<u8>,
) -> Result<(), SnapshotError> {
    let mut text = String::new();
    for (at, column) in table.columns.iter().enumerate() {
        let cell = cells.get(at).unwrap_or(&Cell::Null);
        let value = value(&column.column_type, cell, &mut text)
            .ok_or_else(|| SnapshotError::Value { table: table.name.clone(), column: column.name.clone() })?;
        encoder
            .write(at, value, out)
            .map_err(|source| SnapshotError::Row { table: table.name.clone(), source: Box::new(source) })?;
    }
    Ok(())
}

/// The value of a cell; text that has to be made is made in `text`. None when the cell is of another kind.
pub fn value<'a>(column: &ColumnType, cell: &'a Cell, text: &'a mut String) -> Option<Value<'a>> {
    use ColumnType as T;
    text.clear();
    Some(match (column, cell) {
        (_, Cell::Null) => Value::Null,
        (T::Float, Cell::Float(n)) => Value::Float(*n),
        (T::Double, Cell::Double(n)) => Value::Double(*n),
        (T::Decimal { .. }, Cell::Bytes(bytes)) => Value::Decimal(std::str::from_utf8(bytes).ok()?),
        (T::Year, cell) => Value::Int(integer(cell)?),
        (T::TinyInt { unsigned }, cell)
        | (T::SmallInt { unsigned }, cell)
        | (T::MediumInt { unsigned }, cell)
        | (T::Int { unsigned }, cell)
        | (T::BigInt { unsigned }, cell) => match unsigned {
            true => Value::UInt(unsigned_of(cell)?),
            false => Value::Int(integer(cell)?),
        },
        (T::Enum { .. }, cell) => Value::Enum(u16::try_from(unsigned_of(cell)?).ok()?),
        (T::Set { .. }, cell) => Value::Set(unsigned_of(cell)?),
        (T::Bit { .. }, Cell::Bytes(bytes)) => Value::Bit(bytes),
        (T::Json, Cell::Bytes(bytes)) => Value::Json(std::str::from_utf8(bytes).ok()?),
        (T::Date, Cell::Date { date, .. }) => {
            write_date(text, *date);
            Value::Date(text)
        }
        (T::DateTime { fsp }, Cell::Date { date, time, micros }) => {
            write_date(text, *date);
            let _ = write!(text, " {:02}:{:02}:{:02}", time.0, time.1, time.2);
            write_fraction(text, *micros, *fsp);
            Value::DateTime(text)
        }
        (T::Timestamp { .. }, Cell::Date { date, time, micros }) => Value::Timestamp(micros_of(*date, *time, *micros)),
        (T::Time { fsp }, Cell::Time { negative, time, micros }) => {
            let sign = if *negative { "-" } else { "" };
            let _ = write!(text, "{sign}{:02}:{:02}:{:02}", time.0, time.1, time.2);
            write_fraction(text, *micros, *fsp);
            Value::Time(text)
        }
        (
            T::Char { .. }
            | T::VarChar { .. }
            | T::Text { .. }
            | T::Binary { .. }
            | T::VarBinary { .. }
            | T::Blob { .. }
            | T::Geometry { .. }
            | T::Vector { .. },
            Cell::Bytes(bytes),
        ) => Value::Bytes(bytes),
        _ => return None,
    })
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(n) => Some(*n),
        Cell::UInt(n) => i64::try_from(*n).ok(),
        _ => None,
    }
}

fn unsigned_of(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::UInt(n) => Some(*n),
        Cell::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn write_date(text: &mut String, (year, month, day): (u16, u8, u8)) {
    let _ = write!(text, "{year:04}-{month:02}-{day:02}");
}

fn write_fraction(text: &mut String, micros: u32, fsp: u8) {
    if fsp > 0 {
        let digits = format!("{micros:06}");
        let _ = write!(text, ".{}", digits.get(..usize::from(fsp.min(6))).unwrap_or(&digits));
    }
}

/// Microseconds since the epoch of a time in UTC; 0 for the zero timestamp.
fn micros_of((year, month, day): (u16, u8, u8), (hour, minute, second): (u8, u8, u8), micros: u32) -> i64 {
    if (year, month, day) == (0, 0, 0) {
        return 0;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    seconds * 1_000_000 + i64::from(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(column: &ColumnType, cell: &Cell) -> String {
        let mut text = String::new();
        format!("{:?}", value(column, cell, &mut text))
    }

    #[test]
    fn times_are_written_as_the_stream_has_them() {
        let date = |date, time, micros| Cell::Date { date, time, micros };
        let zero = date((0, 0, 0), (0, 0, 0), 0);
        assert_eq!(of(&ColumnType::Date, &zero), "Some(Date(\"0000-00-00\"))");
        assert_eq!(of(&ColumnType::Timestamp { fsp: 6 }, &zero), "Some(Timestamp(0))");
        let late = date((2038, 1, 19), (3, 14, 7), 999_999);
        assert_eq!(of(&ColumnType::Timestamp { fsp: 6 }, &late), "Some(Timestamp(2147483647999999))");
        assert_eq!(of(&ColumnType::DateTime { fsp: 3 }, &late), "Some(DateTime(\"2038-01-19 03:14:07.999\"))");
        assert_eq!(of(&ColumnType::DateTime { fsp: 0 }, &zero), "Some(DateTime(\"0000-00-00 00:00:00\"))");
        let span = Cell::Time { negative: true, time: (838, 59, 58), micros: 100_000 };
        assert_eq!(of(&ColumnType::Time { fsp: 1 }, &span), "Some(Time(\"-838:59:58.1\"))");
        assert_eq!(
            of(&ColumnType::Timestamp { fsp: 0 }, &date((1970, 1, 1), (0, 0, 1), 0)),
            "Some(Timestamp(1000000))"
        );
        assert_eq!(
            of(&ColumnType::Timestamp { fsp: 0 }, &date((2000, 2, 29), (0, 0, 0), 0)),
            "Some(Timestamp(951782400000000))"
        );
    }

    #[test]
    fn numbers_keep_their_sign_and_a_misfit_is_none() {
        assert_eq!(
            of(&ColumnType::BigInt { unsigned: true }, &Cell::UInt(u64::MAX)),
            "Some(UInt(18446744073709551615))"
        );
        assert_eq!(of(&ColumnType::Int { unsigned: true }, &Cell::Int(5)), "Some(UInt(5))");
        assert_eq!(of(&ColumnType::Int { unsigned: true }, &Cell::Int(-5)), "None");
        assert_eq!(of(&ColumnType::Enum { labels: Vec::new(), collation: 255 }, &Cell::UInt(0)), "Some(Enum(0))");
        assert_eq!(of(&ColumnType::Json, &Cell::Int(1)), "None");
    }
}

//! SQL text: identifiers and literals.
//!
//! Literals are for sessions that [`PLAIN_SESSION`] prepared: client character set `utf8mb4` (so that no byte of a
//! foreign character set can hide a quote), `time_zone='+00:00'` (a TIMESTAMP is UTC), and a `sql_mode` without
//! `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES`.

use std::io::Write as _;

use lutra_change::schema::BINARY_COLLATION;
use lutra_change::{ColumnType, TableName, Value};
use mysql_common::collations::{Collation, CollationId};

/// What a session must have run for the literals of this module to mean what they say.
pub const PLAIN_SESSION: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''";

/// Writes an identifier in backticks.
pub fn write_identifier(out: &mut Vec<u8>, name: &str) {
    out.push(b'`');
    for &byte in name.as_bytes() {
        if byte == b'`' {
            out.push(b'`');
        }
        out.push(byte);
    }
    out.push(b'`');
}

/// An identifier in backticks.
pub fn quote_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Writes `` `database`.`table` ``.
pub fn write_table(out: &mut Vec<u8>, table: &TableName) {
    write_identifier(out, &table.database);
    out.push(b'.');
    write_identifier(out, &table.table);
}

/// `` `database`.`table` ``.
pub fn quote_table(table: &TableName) -> String {
    format!("{}.{}", quote_identifier(&table.database), quote_identifier(&table.table))
}

/// A text as a literal of the session's character set.
pub fn quote_text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_quoted(&mut out, text.as_bytes());
    // Only ASCII was put in, between whole characters.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes `'…'` around the bytes, quotes, backslashes and zero bytes escaped.
pub fn write_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\'' | b'\\' | 0)) {
        let (clean, tail) = rest.split_at(at);
        out.extend_from_slice(clean);
        match tail.first() {
            Some(0) => out.extend_from_slice(b"\\0"),
            Some(&byte) => out.extend_from_slice(&[b'\\', byte]),
            None => {}
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// Writes `X'…'`.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(bytes.len() * 2 + 3);
    out.extend_from_slice(b"X'");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\'');
}

/// How the bytes of a character set are written as a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Introducer {
    /// UTF-8, as the session's own.
    Plain,
    /// `_charset'…'`: no byte of a character can be a quote or backslash.
    Quoted(&'static str),
    /// `_charset X'…'`: bytes of a character can be anything.
    Hex(&'static str),
}

fn introducer(collation: u16) -> Introducer {
    if collation == BINARY_COLLATION {
        return Introducer::Quoted("binary");
    }
    match charset_of(collation) {
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii") => Introducer::Plain,
        Some(
            wide @ ("gbk" | "gb18030" | "gb2312" | "big5" | "sjis" | "cp932" | "ucs2" | "utf16" | "utf16le" | "utf32"),
        ) => Introducer::Hex(wide),
        Some(other) => Introducer::Quoted(other),
        None => Introducer::Quoted("binary"),
    }
}

/// Name of the character set of a collation.
pub fn charset_of(collation: u16) -> Option<&'static str> {
    Some(match collation {
        // MariaDB's own: tailorings, padded and unpadded forms of shared ones, and Unicode 14.
        576..=607 | 2048..=2303 => "utf8mb3",
        608..=639 | 2304..=2559 => "utf8mb4",
        640..=671 | 2560..=2815 => "ucs2",
        672..=703 | 2816..=3071 => "utf16",
        736..=767 | 3072..=3327 => "utf32",
        1024..=2047 => return charset_of(collation - 1024),
        shared => resolve(shared)?.charset,
    })
}

/// Name of a collation.
pub fn collation_name(collation: u16) -> Option<&'static str> {
    Some(resolve(collation)?.collation)
}

/// Most bytes a character of the collation takes.
pub fn bytes_per_character(collation: u16) -> Option<u8> {
    Some(match collation {
        1024..=2047 => return bytes_per_character(collation - 1024),
        576.. => match charset_of(collation)? {
            "utf8mb3" => 3,
            "ucs2" => 2,
            _ => 4,
        },
        shared => resolve(shared)?.max_len,
    })
}

fn resolve(collation: u16) -> Option<Collation<'static>> {
    let found = Collation::resolve(CollationId::from(collation));
    (found.id != CollationId::UNKNOWN_COLLATION_ID).then_some(found)
}

/// Writes a value as a literal that, assigned to a column of that type, stores exactly that value.
pub fn write_literal(out: &mut Vec<u8>, value: &Value<'_>, column: &ColumnType) {
    match *value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Int(n) => write_number(out, n),
        Value::UInt(n) | Value::Set(n) => write_number(out, n),
        Value::Enum(n) => write_number(out, n),
        // The exact double: a shorter text could be rounded twice on its way to a FLOAT.
        Value::Float(n) => write_double(out, f64::from(n)),
        Value::Double(n) => write_double(out, n),
        Value::Decimal(text) if text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'.') => {
            out.extend_from_slice(text.as_bytes());
        }
        Value::Decimal(text) | Value::Date(text) | Value::Time(text) | Value::DateTime(text) => {
            write_quoted(out, text.as_bytes());
        }
        Value::Json(text) => write_quoted(out, lutra_change::json::printed(text).as_bytes()),
        Value::Timestamp(micros) => write_timestamp(out, micros, column),
        Value::Bit(bytes) => write_number(out, bytes.iter().take(8).fold(0u64, |n, &b| n << 8 | u64::from(b))),
        Value::Bytes(bytes) => write_bytes(out, bytes, column),
    }
}

fn write_number(out: &mut Vec<u8>, n: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{n}");
}

fn write_double(out: &mut Vec<u8>, n: f64) {
    // With an exponent it is a floating-point literal, else it would be a DECIMAL one.
    let _ = write!(out, "{n:e}");
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], column: &ColumnType) {
    let introducer = match *column {
        ColumnType::Char { collation, .. }
        | ColumnType::VarChar { collation, .. }
        | ColumnType::Text { collation, .. } => introducer(collation),
        _ => Introducer::Quoted("binary"),
    };
    match introducer {
        // A text that is no UTF-8 (old servers stored such) would be refused without an introducer.
        Introducer::Plain if std::str::from_utf8(bytes).is_ok() => write_quoted(out, bytes),
        Introducer::Plain => {
            out.extend_from_slice(b"_binary");
            write_quoted(out, bytes);
        }
        Introducer::Quoted(charset) => {
            out.push(b'_');
            out.extend_from_slice(charset.as_bytes());
            write_quoted(out, bytes);
        }
        Introducer::Hex(charset) => {
            out.push(b'_');
            out.extend_from_slice(charset.as_bytes());
            out.push(b' ');
            write_hex(out, bytes);
        }
    }
}

fn write_timestamp(out: &mut Vec<u8>, micros: i64, column: &ColumnType) {
    if micros == 0 {
        out.extend_from_slice(b"'0000-00-00 00:00:00'");
        return;
    }
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_of(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(out, "'{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if matches!(column, ColumnType::Timestamp { fsp: 1.. }) || fraction != 0 {
        let _ = write!(out, ".{fraction:06}");
    }
    out.push(b'\'');
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`).
fn civil_of(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn literal(value: Value<'_>, column: &ColumnType) -> String {
        let mut out = Vec::new();
        write_literal(&mut out, &value, column);
        String::from_utf8(out).unwrap()
    }

    const LATIN1_SWEDISH: u16 = 8;
    const GBK_CHINESE: u16 = 28;
    const UTF8MB4_0900: u16 = 255;

    #[test]
    fn identifiers_double_their_backticks() {
        assert_eq!(quote_table(&TableName::new("a`b", "c")), "`a``b`.`c`");
        let mut out = Vec::new();
        write_table(&mut out, &TableName::new("a`b", "c"));
        assert_eq!(out, b"`a``b`.`c`");
    }

    #[test]
    fn text_is_written_in_the_columns_own_character_set() {
        let column = |collation| ColumnType::VarChar { bytes: 40, collation };
        assert_eq!(literal(Value::Bytes("o'b\\é".as_bytes()), &column(UTF8MB4_0900)), "'o\\'b\\\\é'");
        assert_eq!(literal(Value::Bytes(b"a"), &column(LATIN1_SWEDISH)), "_latin1'a'");
        assert_eq!(literal(Value::Bytes(&[0x95, 0x5c]), &column(GBK_CHINESE)), "_gbk X'955C'");
        assert_eq!(literal(Value::Bytes(b"a\0"), &ColumnType::Blob { prefix: 2 }), "_binary'a\\0'");
    }

    #[test]
    fn collations_that_only_mariadb_has_have_a_character_set() {
        for (collation, charset, bytes) in
            [(1069, "utf8mb4", 4), (1032, "latin1", 1), (2048, "utf8mb3", 3), (2308, "utf8mb4", 4), (2564, "ucs2", 2)]
        {
            assert_eq!((charset_of(collation), bytes_per_character(collation)), (Some(charset), Some(bytes)));
        }
        assert_eq!(charset_of(9_000), None);
    }

    #[test]
    fn numbers_keep_every_bit() {
        assert_eq!(literal(Value::Float(0.1), &ColumnType::Float), "1.0000000149011612e-1");
        assert_eq!(literal(Value::Double(1.5), &ColumnType::Double), "1.5e0");
        assert_eq!(literal(Value::UInt(u64::MAX), &ColumnType::BigInt { unsigned: true }), "18446744073709551615");
        assert_eq!(literal(Value::Bit(&[1, 2]), &ColumnType::Bit { length: 9 }), "258");
        assert_eq!(literal(Value::Decimal("-1.50"), &ColumnType::Decimal { precision: 5, scale: 2 }), "-1.50");
    }

    #[test]
    fn timestamps_are_utc() {
        let column = ColumnType::Timestamp { fsp: 6 };
        assert_eq!(literal(Value::Timestamp(0), &column), "'0000-00-00 00:00:00'");
        assert_eq!(literal(Value::Timestamp(1_709_164_800_000_001), &column), "'2024-02-29 00:00:00.000001'");
        assert_eq!(literal(Value::Timestamp(1_000_000), &ColumnType::Timestamp { fsp: 0 }), "'1970-01-01 00:00:01'");
    }
}

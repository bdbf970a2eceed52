//! A column's value as text and as JSON.

use std::fmt::Write as _;

use lutra_binlog::Cell;
use lutra_change::{ColumnType, Value};
use serde_json::{Value as Json, json};

/// As a person reads it: strings, dates and JSON in quotes, bytes in hexadecimal.
pub(super) fn text(column_type: &ColumnType, cell: Cell<'_>, out: &mut String) {
    let value = match cell {
        Cell::Value(value) => value,
        Cell::JsonUpdate(update) => {
            let mut bytes = Vec::new();
            let done = update.write(&mut bytes);
            out.push_str("changes ");
            out.push_str(done.err().unwrap_or(&lutra_change::json::printed(&String::from_utf8_lossy(&bytes))));
            return;
        }
    };
    match value {
        Value::Null => out.push_str("NULL"),
        Value::Decimal(text) => out.push_str(text),
        Value::Bit(bytes) => {
            out.push_str("b'");
            let number = bits(bytes);
            let length = match column_type {
                ColumnType::Bit { length } => usize::from(*length),
                _ => 1,
            };
            let _ = write!(out, "{number:0length$b}'");
        }
        Value::Bytes(bytes) => match readable(column_type, bytes) {
            Some(text) => quoted(text, out),
            None => {
                out.push_str("x'");
                hex(bytes, out);
                out.push('\'');
            }
        },
        other => match json_of(column_type, other) {
            Json::String(text) => quoted(&text, out),
            Json::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
                quoted(&items.join(","), out);
            }
            number => {
                let _ = write!(out, "{number}");
            }
        },
    }
}

/// As a program reads it: numbers as numbers, DECIMAL, dates and JSON as strings exactly as the server prints them,
/// ENUM by its label, SET by its labels, and bytes as `{"hex": …}`.
pub(super) fn json(column_type: &ColumnType, cell: Cell<'_>) -> Json {
    match cell {
        Cell::Value(value) => json_of(column_type, value),
        Cell::JsonUpdate(update) => {
            let mut bytes = Vec::new();
            match update.write(&mut bytes) {
                Ok(()) => json!({"changes": lutra_change::json::printed(&String::from_utf8_lossy(&bytes))}),
                Err(what) => json!({"changes": Json::Null, "error": what}),
            }
        }
    }
}

fn json_of(column_type: &ColumnType, value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(number) => Json::from(number),
        Value::UInt(number) => Json::from(number),
        // By its own digits, not those of the double it becomes.
        Value::Float(number) => number.to_string().parse::<f64>().map_or(Json::Null, Json::from),
        Value::Double(number) => Json::from(number),
        Value::Decimal(text) | Value::Date(text) | Value::Time(text) | Value::DateTime(text) => Json::from(text),
        Value::Json(text) => Json::from(&*lutra_change::json::printed(text)),
        Value::Timestamp(micros) => {
            let fsp = match column_type {
                ColumnType::Timestamp { fsp } => usize::from(*fsp),
                _ => 6,
            };
            Json::from(timestamp(micros, fsp))
        }
        Value::Bit(bytes) => Json::from(bits(bytes)),
        Value::Enum(index) => match column_type {
            ColumnType::Enum { labels, .. } => {
                usize::from(index).checked_sub(1).and_then(|i| labels.get(i)).map_or(Json::from(index), |l| json!(l))
            }
            _ => Json::from(index),
        },
        Value::Set(members) => match column_type {
            ColumnType::Set { labels, .. } if !labels.is_empty() => {
                let on = labels.iter().take(64).enumerate().filter(|(i, _)| members >> i & 1 != 0);
                on.map(|(_, label)| json!(label)).collect()
            }
            _ => Json::from(members),
        },
        Value::Bytes(bytes) => match readable(column_type, bytes) {
            Some(text) => Json::from(text),
            None => {
                let mut text = String::new();
                hex(bytes, &mut text);
                json!({"hex": text})
            }
        },
    }
}

fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Bytes that are text for sure: ASCII, or UTF-8 in a column of that. Bytes of a column whose kind is not known are
/// taken for text where they are UTF-8.
fn readable<'v>(column_type: &ColumnType, bytes: &'v [u8]) -> Option<&'v str> {
    let collation = match column_type {
        ColumnType::Char { collation, .. }
        | ColumnType::VarChar { collation, .. }
        | ColumnType::Text { collation, .. } => *collation,
        _ => return None,
    };
    let utf8 =
        matches!(collation, 33 | 45 | 46 | 76 | 83 | 192..=247 | 255..=323 | 576..=578 | 1069..=1070 | 2048..=2559);
    // Two and four bytes per letter: ASCII bytes mean something else there.
    let wide = matches!(collation, 35 | 54..=56 | 60..=62 | 90 | 101..=191);
    let text = std::str::from_utf8(bytes).ok()?;
    (utf8 || (text.is_ascii() && !wide)).then_some(text)
}

fn timestamp(micros: i64, fsp: usize) -> String {
    let zero = "0000-00-00 00:00:00.000000";
    let text = match micros {
        0 => zero.to_owned(),
        _ => jiff::Timestamp::from_microsecond(micros)
            .map_or_else(|_| micros.to_string(), |t| t.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()),
    };
    let kept = if fsp == 0 { 19 } else { 20 + fsp };
    text.get(..kept.min(text.len())).unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('\'');
    for letter in text.chars() {
        match letter {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(column_type: &ColumnType, value: Value<'_>) -> (String, String) {
        let mut out = String::new();
        text(column_type, Cell::Value(value), &mut out);
        (out, json(column_type, Cell::Value(value)).to_string())
    }

    #[test]
    fn values_are_shown_for_people_and_programs() {
        let latin = ColumnType::VarChar { bytes: 9, collation: 8 };
        let utf8 = ColumnType::Text { prefix: 2, collation: 255 };
        let labels = ColumnType::Set { labels: vec!["a".into(), "b".into()], collation: 255 };
        let choice = ColumnType::Enum { labels: vec!["a".into()], collation: 255 };
        for (column_type, value, people, programs) in [
            (&utf8, Value::Null, "NULL", "null"),
            (&utf8, Value::Bytes("gr\n'ü".as_bytes()), r"'gr\n\'ü'", r#""gr\n'ü""#),
            (&latin, Value::Bytes(b"gr\xfc"), "x'6772fc'", r#"{"hex":"6772fc"}"#),
            (&latin, Value::Bytes(b"plain"), "'plain'", r#""plain""#),
            (&ColumnType::Blob { prefix: 2 }, Value::Bytes(b"a"), "x'61'", r#"{"hex":"61"}"#),
            (&ColumnType::Bit { length: 5 }, Value::Bit(&[5]), "b'00101'", "5"),
            (&labels, Value::Set(3), "'a,b'", r#"["a","b"]"#),
            (&choice, Value::Enum(1), "'a'", r#""a""#),
            (&choice, Value::Enum(0), "0", "0"),
            (
                &ColumnType::BigInt { unsigned: true },
                Value::UInt(u64::MAX),
                "18446744073709551615",
                "18446744073709551615",
            ),
            (&ColumnType::Float, Value::Float(0.1), "0.1", "0.1"),
            (
                &ColumnType::Timestamp { fsp: 3 },
                Value::Timestamp(1_123_000),
                "'1970-01-01 00:00:01.123'",
                r#""1970-01-01 00:00:01.123""#,
            ),
            (
                &ColumnType::Timestamp { fsp: 0 },
                Value::Timestamp(0),
                "'0000-00-00 00:00:00'",
                r#""0000-00-00 00:00:00""#,
            ),
            (&ColumnType::Json, Value::Json("1.0"), "'1.0'", r#""1.0""#),
        ] {
            assert_eq!(both(column_type, value), (people.to_owned(), programs.to_owned()));
        }
    }
}

//! JSON documents as SQL, with the types that JSON text alone would change.
//!
//! MySQL keeps DECIMAL values inside JSON and prints them as they are: `1.10`. Read back from its text such a number becomes a double, and prints
//! as `1.1`; a date becomes a string. So scalars that are [marked](lutra_change::json), and numbers that no double prints as, are put into the
//! document by an expression: `JSON_REPLACE(CAST('{"v": 0}' AS JSON),'$."v"',CAST('1.10' AS DECIMAL(3,2)))`.

use std::borrow::Cow;
use std::fmt::Write as _;

use lutra_change::JsonScalar;
use lutra_change::json::MARK;

use crate::sql::write_quoted;

/// Digits of a DECIMAL, in all and behind the point.
const DIGITS: usize = 65;
const SCALE: usize = 30;

/// Writes a document as MySQL prints it so that the same document is stored; whether as an expression instead of a literal.
pub fn write_document(out: &mut Vec<u8>, text: &str) -> bool {
    let (base, leaves) = leaves(text);
    if leaves.is_empty() {
        write_quoted(out, base.as_bytes());
        return false;
    }
    out.extend_from_slice(b"JSON_REPLACE(CAST(");
    write_quoted(out, base.as_bytes());
    out.extend_from_slice(b" AS JSON)");
    for leaf in leaves {
        out.push(b',');
        write_quoted(out, leaf.path.as_bytes());
        out.push(b',');
        leaf.write(out);
    }
    out.push(b')');
    true
}

/// No cast leads to some types; the column of a table does, as long as the document is made beside it.
const OF_COLUMN: &str = "JSON_EXTRACT((SELECT JSON_ARRAY(c) FROM JSON_TABLE(";

/// A scalar that has a type of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf<'a> {
    path: String,
    scalar: JsonScalar,
    /// As it stands in the document, with its quotes.
    text: &'a str,
}

impl Leaf<'_> {
    /// An expression of that value and type.
    fn write(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, before: &str, text: &str, after: &str| {
            out.extend_from_slice(before.as_bytes());
            write_quoted(out, text.as_bytes());
            out.extend_from_slice(after.as_bytes());
        };
        let inside = self.text.trim_matches('"');
        match self.scalar {
            JsonScalar::Unsigned => put(out, "CAST(", self.text, " AS UNSIGNED)"),
            JsonScalar::Signed => put(out, "CAST(", self.text, " AS SIGNED)"),
            JsonScalar::Decimal => {
                let digits = self.text.bytes().filter(u8::is_ascii_digit).count();
                let scale = self.text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                put(out, "CAST(", self.text, &format!(" AS DECIMAL({digits},{scale}))"));
            }
            JsonScalar::Date => put(out, "CAST(", inside, " AS DATE)"),
            JsonScalar::Time => put(out, "CAST(", inside, " AS TIME(6))"),
            JsonScalar::DateTime => put(out, "CAST(", inside, " AS DATETIME(6))"),
            JsonScalar::Timestamp => put(
                out,
                &format!("{OF_COLUMN}JSON_QUOTE("),
                inside,
                "),'$' COLUMNS (c TIMESTAMP(6) PATH '$')) AS t),'$[0]')",
            ),
            JsonScalar::Bytes => write_bytes(out, inside, self.text),
        }
    }
}

/// Bytes of an SQL type, from `base64:typeN:…`.
fn write_bytes(out: &mut Vec<u8>, printed: &str, text: &str) {
    const VARBINARY: u8 = 15;
    const BIT: u8 = 16;
    let parts = printed.strip_prefix("base64:type").and_then(|rest| rest.split_once(':'));
    let known = parts.and_then(|(kind, base64)| Some((kind.parse::<u8>().ok()?, from_base64(base64)?)));
    // What the server never prints stays the string that it looks like.
    let Some((kind, bytes)) = known else {
        out.extend_from_slice(b"CAST(");
        write_quoted(out, text.as_bytes());
        return out.extend_from_slice(b" AS JSON)");
    };
    let column = match kind {
        VARBINARY => None,
        BIT => Some(format!("BIT({})", bytes.len().clamp(1, 8) * 8)),
        249 => Some("TINYBLOB".to_owned()),
        250 => Some("MEDIUMBLOB".to_owned()),
        251 => Some("LONGBLOB".to_owned()),
        252 => Some("BLOB".to_owned()),
        _ => Some(format!("BINARY({})", bytes.len())),
    };
    let write_hex = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"x'");
        // Writing to a Vec cannot fail.
        bytes.iter().for_each(|byte| drop(std::io::Write::write_fmt(out, format_args!("{byte:02x}"))));
        out.push(b'\'');
    };
    let Some(column) = column else { return write_hex(out) };
    out.extend_from_slice(OF_COLUMN.as_bytes());
    out.extend_from_slice(b"JSON_ARRAY(");
    match kind {
        BIT => {
            let number = bytes.iter().take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
            out.extend_from_slice(number.to_string().as_bytes());
        }
        _ => write_hex(out),
    }
    out.extend_from_slice(format!("),'$[0]' COLUMNS (c {column} PATH '$')) AS t),'$[0]')").as_bytes());
}

/// The bytes; line breaks, as they stand in JSON, are passed over.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.replace("\\n", "").bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// Where a walk through a document stands.
enum Level<'a> {
    /// In an object, at the member of that name (as it is written, with its quotes); none before the first.
    Object(Option<&'a str>),
    /// In an array, at that element.
    Array(u64),
}

/// The document with `0` for each scalar with a type of its own, and these scalars with their paths.
fn leaves(text: &str) -> (Cow<'_, str>, Vec<Leaf<'_>>) {
    if !text.bytes().any(|b| b == b'.' || b == MARK) && !has_long_number(text) {
        return (Cow::Borrowed(text), Vec::new());
    }
    let mut walk = Walk { text, base: String::new(), copied: 0, found: Vec::new(), levels: Vec::new(), marks: 0 };
    let (mut at, mut last_string) = (0, None);
    while let Some(byte) = text.as_bytes().get(at) {
        let begin = at;
        at += 1;
        match byte {
            &MARK => {
                walk.marks += 1;
                continue;
            }
            b'"' => {
                at = end_of_string(text, at);
                last_string = text.get(begin..at);
                walk.scalar(begin, at, |_| None);
            }
            b':' => {
                if let Some(Level::Object(member)) = walk.levels.last_mut() {
                    *member = last_string;
                }
            }
            b'{' => walk.levels.push(Level::Object(None)),
            b'[' => walk.levels.push(Level::Array(0)),
            b'}' | b']' => drop(walk.levels.pop()),
            b',' => {
                if let Some(Level::Array(element)) = walk.levels.last_mut() {
                    *element += 1;
                }
            }
            b'-' | b'0'..=b'9' => {
                let rest = text.get(begin..).unwrap_or_default();
                at = begin + rest.bytes().take_while(|b| b.is_ascii_digit() || b"+-.eE".contains(b)).count();
                walk.scalar(begin, at, |number| only_a_decimal(number).then_some(JsonScalar::Decimal));
            }
            _ => {}
        }
        walk.marks = 0;
    }
    walk.base.push_str(text.get(walk.copied..).unwrap_or_default());
    (Cow::Owned(walk.base), walk.found)
}

/// A walk through a document.
struct Walk<'a> {
    text: &'a str,
    base: String,
    /// Up to where the text is in `base`.
    copied: usize,
    found: Vec<Leaf<'a>>,
    levels: Vec<Level<'a>>,
    /// Marks right before here.
    marks: usize,
}

impl<'a> Walk<'a> {
    /// A scalar from `begin` to `end`, marked or of the type that its text has.
    fn scalar(&mut self, begin: usize, end: usize, of_text: impl FnOnce(&str) -> Option<JsonScalar>) {
        let text = self.text.get(begin..end).unwrap_or_default();
        if let Some(scalar) = JsonScalar::behind(self.marks).or_else(|| of_text(text)) {
            self.base.push_str(self.text.get(self.copied..begin - self.marks).unwrap_or_default());
            self.base.push('0');
            self.copied = end;
            self.found.push(Leaf { path: path(&self.levels), scalar, text });
        }
    }
}

/// Behind the string whose first byte is at `at`.
fn end_of_string(text: &str, mut at: usize) -> usize {
    while let Some(byte) = text.as_bytes().get(at) {
        at += match byte {
            b'\\' => 2,
            b'"' => return at + 1,
            _ => 1,
        };
    }
    text.len()
}

/// Whether there are so many digits in a row that an integer may be too large for 64 bits. (In a string it does no harm.)
fn has_long_number(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|b| {
        run = if b.is_ascii_digit() { run + 1 } else { 0 };
        run >= 19
    })
}

fn path(levels: &[Level<'_>]) -> String {
    let mut path = "$".to_owned();
    for level in levels {
        // Writing to a String cannot fail.
        let _ = match level {
            Level::Object(member) => write!(path, ".{}", member.unwrap_or("\"\"")),
            Level::Array(element) => write!(path, "[{element}]"),
        };
    }
    path
}

/// Whether the number, read from text, would be printed otherwise than as a DECIMAL. Where both print the same, text serves.
fn only_a_decimal(number: &str) -> bool {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
    let scale = unsigned.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if number.contains(['e', 'E']) || digits > DIGITS || scale > SCALE {
        return false;
    }
    let Some((whole, _)) = unsigned.split_once('.') else {
        return number.parse::<i64>().is_err() && number.parse::<u64>().is_err();
    };
    // Doubles of that size are printed without an exponent, with as few digits as tell them apart.
    let plain = whole.len() < 15 && (whole != "0" || !unsigned.starts_with("0.000"));
    let shortest = number.parse::<f64>().map(|n| if n.fract() == 0.0 { format!("{n}.0") } else { n.to_string() });
    !plain || shortest.as_deref() != Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_document(&mut out, text);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn documents_of_what_json_has_are_literals() {
        for text in [r#"{"a": [1, -2.5, 1e20, 0.1, 1.0, -0.0, 18446744073709551615]}"#, "\"1.10\"", "{}", "null", "1.5"]
        {
            assert_eq!(written(text), format!("'{text}'"));
        }
    }

    #[test]
    fn numbers_that_no_double_prints_as_are_put_in_by_their_paths() {
        assert_eq!(written("1.10"), "JSON_REPLACE(CAST('0' AS JSON),'$',CAST('1.10' AS DECIMAL(3,2)))");
        assert_eq!(
            written(r#"{"a": 1.10, "b\"c": [1, [2.50], {"": 100000000000000000000}], "d": "3.30"}"#),
            r#"JSON_REPLACE(CAST('{"a": 0, "b\\"c": [1, [0], {"": 0}], "d": "3.30"}' AS JSON),'$."a"',CAST('1.10' AS DECIMAL(3,2)),'$."b\\"c"[1][0]',CAST('2.50' AS DECIMAL(3,2)),'$."b\\"c"[2].""',CAST('100000000000000000000' AS DECIMAL(21,0)))"#
        );
    }

    #[test]
    fn marked_scalars_are_put_in_with_their_types() {
        assert_eq!(
            written("{\"a\": \t7, \"b\": [\t\t5000000000, \"x\", \t\t\t\t\"2024-02-29\"], \"c\": 1}"),
            r#"JSON_REPLACE(CAST('{"a": 0, "b": [0, "x", 0], "c": 1}' AS JSON),'$."a"',CAST('7' AS UNSIGNED),'$."b"[0]',CAST('5000000000' AS SIGNED),'$."b"[2]',CAST('2024-02-29' AS DATE))"#
        );
        for (scalar, text, expected) in [
            (JsonScalar::Decimal, "-0.10", "CAST('-0.10' AS DECIMAL(3,2))"),
            (JsonScalar::Time, "\"-01:00:00.000000\"", "CAST('-01:00:00.000000' AS TIME(6))"),
            (
                JsonScalar::DateTime,
                "\"0000-00-00 00:00:00.000000\"",
                "CAST('0000-00-00 00:00:00.000000' AS DATETIME(6))",
            ),
            (
                JsonScalar::Timestamp,
                "\"2024-01-01 00:00:00.000000\"",
                "JSON_EXTRACT((SELECT JSON_ARRAY(c) FROM JSON_TABLE(JSON_QUOTE('2024-01-01 00:00:00.000000'),'$' COLUMNS (c TIMESTAMP(6) PATH '$')) AS t),'$[0]')",
            ),
            (JsonScalar::Bytes, "\"base64:type15:AP8n\"", "x'00ff27'"),
            (
                JsonScalar::Bytes,
                "\"base64:type252:AP8n\"",
                "JSON_EXTRACT((SELECT JSON_ARRAY(c) FROM JSON_TABLE(JSON_ARRAY(x'00ff27'),'$[0]' COLUMNS (c BLOB PATH '$')) AS t),'$[0]')",
            ),
            (
                JsonScalar::Bytes,
                "\"base64:type16:AwU=\"",
                "JSON_EXTRACT((SELECT JSON_ARRAY(c) FROM JSON_TABLE(JSON_ARRAY(773),'$[0]' COLUMNS (c BIT(16) PATH '$')) AS t),'$[0]')",
            ),
            (JsonScalar::Bytes, "\"neither\"", r#"CAST('"neither"' AS JSON)"#),
        ] {
            let marks = String::from_utf8_lossy(scalar.marks()).into_owned();
            assert_eq!(written(&format!("{marks}{text}")), format!("JSON_REPLACE(CAST('0' AS JSON),'$',{expected})"));
        }
    }
}

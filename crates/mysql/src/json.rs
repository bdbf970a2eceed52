//! JSON documents as SQL, with the numbers that JSON text alone would change.
//!
//! MySQL keeps DECIMAL values inside JSON and prints them as they are: `1.10`. Read back from its text such a number becomes a double, and prints
//! as `1.1`. So numbers that no double prints as are put into the document by an expression: `JSON_REPLACE(CAST('{"v":0}' AS JSON),'$."v"',1.10)`.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::sql::write_quoted;

/// Digits of a DECIMAL, in all and behind the point.
const DIGITS: usize = 65;
const SCALE: usize = 30;

/// Writes a document as MySQL prints it so that the same text is printed again; whether as an expression instead of a literal.
pub fn write_document(out: &mut Vec<u8>, text: &str) -> bool {
    let (base, decimals) = decimals(text);
    if decimals.is_empty() {
        write_quoted(out, text.as_bytes());
        return false;
    }
    out.extend_from_slice(b"JSON_REPLACE(CAST(");
    write_quoted(out, base.as_bytes());
    out.extend_from_slice(b" AS JSON)");
    for (path, number) in decimals {
        out.push(b',');
        write_quoted(out, path.as_bytes());
        out.push(b',');
        out.extend_from_slice(number.as_bytes());
    }
    out.push(b')');
    true
}

/// Where a walk through a document stands.
enum Level<'a> {
    /// In an object, at the member of that name (as it is written, with its quotes); none before the first.
    Object(Option<&'a str>),
    /// In an array, at that element.
    Array(u64),
}

/// The document with `0` for each number that only a DECIMAL prints as, and these numbers with their paths.
fn decimals(text: &str) -> (Cow<'_, str>, Vec<(String, &str)>) {
    if !text.bytes().any(|b| b == b'.') && !has_long_number(text) {
        return (Cow::Borrowed(text), Vec::new());
    }
    let (mut base, mut found, mut levels) = (String::new(), Vec::new(), Vec::new());
    let (mut copied, mut at) = (0, 0);
    let mut last_string = None;
    while let Some(byte) = text.as_bytes().get(at) {
        let begin = at;
        at += 1;
        match byte {
            b'"' => {
                at = end_of_string(text, at);
                last_string = text.get(begin..at);
            }
            b':' => {
                if let Some(Level::Object(member)) = levels.last_mut() {
                    *member = last_string;
                }
            }
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => {
                if let Some(Level::Array(element)) = levels.last_mut() {
                    *element += 1;
                }
            }
            b'-' | b'0'..=b'9' => {
                let rest = text.get(begin..).unwrap_or_default();
                let length = rest.bytes().take_while(|b| b.is_ascii_digit() || b"+-.eE".contains(b)).count();
                at = begin + length;
                let number = rest.get(..length).unwrap_or_default();
                if only_a_decimal(number) {
                    base.push_str(text.get(copied..begin).unwrap_or_default());
                    base.push('0');
                    copied = at;
                    found.push((path(&levels), number));
                }
            }
            _ => {}
        }
    }
    base.push_str(text.get(copied..).unwrap_or_default());
    (Cow::Owned(base), found)
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
        assert_eq!(written("1.10"), "JSON_REPLACE(CAST('0' AS JSON),'$',1.10)");
        assert_eq!(
            written(r#"{"a": 1.10, "b\"c": [1, [2.50], {"": 100000000000000000000}], "d": "3.30"}"#),
            r#"JSON_REPLACE(CAST('{"a": 0, "b\\"c": [1, [0], {"": 0}], "d": "3.30"}' AS JSON),'$."a"',1.10,'$."b\\"c"[1][0]',2.50,'$."b\\"c"[2].""',100000000000000000000)"#
        );
    }
}

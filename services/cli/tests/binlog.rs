//! `lutra binlog` beside the server's own `mysqlbinlog -vv`, on the recorded binlogs: the same rows, the same values.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// An image: for each column by its number from 1, what the tool prints; absent columns are missing.
type Printed = BTreeMap<usize, (String, String)>;

/// The server's tool gives up at a GEOMETRY column ("Don't know how to handle column type=255").
const UNKNOWN_TO_THE_TOOL: &str = "types.geometries";

/// A row as the server's tool prints it: operation, table, images in their order.
struct Row {
    verb: &'static str,
    table: String,
    images: Vec<Printed>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/binlog/tests/fixtures")
}

/// The tree with the server's programs, and the loader that runs them.
fn server_tool(file: &Path) -> String {
    let home = std::env::var_os("LUTRA_HOME")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.lutra"), PathBuf::from);
    let tree = home.join("dist/mysql/usr");
    let libraries = std::fs::read_dir(tree.join("lib"))
        .unwrap_or_else(|e| panic!("no MySQL in {}: {e}; run cargo xtask stack up", tree.display()))
        .map(|entry| entry.unwrap().path())
        .find(|folder| folder.join("ld-linux-x86-64.so.2").exists())
        .expect("the tree has a loader");
    let output = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .arg(tree.join("bin/mysqlbinlog"))
        .args(["--no-defaults", "-vv", "--base64-output=DECODE-ROWS"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Bytes of any character set: each becomes the letter of its number.
    output.stdout.iter().copied().map(char::from).collect()
}

fn printed_rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("### ")) {
        let begun = [("INSERT INTO ", "insert"), ("UPDATE ", "update"), ("DELETE FROM ", "delete")];
        if let Some((rest, verb)) = begun.iter().find_map(|(words, verb)| Some((line.strip_prefix(words)?, *verb))) {
            rows.push(Row { verb, table: rest.replace('`', ""), images: Vec::new() });
        } else if matches!(line, "SET" | "WHERE") {
            rows.last_mut().unwrap().images.push(Printed::new());
        } else if let Some((number, rest)) = line.trim_start().strip_prefix('@').and_then(|l| l.split_once('=')) {
            let (value, comment) = rest.rsplit_once(" /* ").unwrap_or((rest, ""));
            let images = &mut rows.last_mut().unwrap().images;
            images.last_mut().unwrap().insert(number.parse().unwrap(), (value.trim().to_owned(), comment.to_owned()));
        }
    }
    rows
}

/// A quoted value of the server's tool as bytes.
fn unquoted(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')).unwrap_or_else(|| panic!("{text}"));
    let inner: Vec<u8> = inner.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let mut out = Vec::new();
    let mut rest = inner.as_slice();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'\\' && tail.first() == Some(&b'x') {
            out.push(u8::from_str_radix(std::str::from_utf8(&tail[1..3]).unwrap(), 16).unwrap());
            rest = &tail[3..];
        } else if byte == b'\\' && tail.first() == Some(&b'\\') {
            out.push(byte);
            rest = &tail[1..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Object(hex) => {
            let text = hex["hex"].as_str().unwrap();
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        }
        other => other.to_string().into_bytes(),
    }
}

/// Whether both say the same; `None` where the server's tool prints less than the value.
fn same(ours: &Value, printed: &str, kind: &str) -> Option<bool> {
    if printed == "NULL" || ours.is_null() {
        return Some(printed == "NULL" && ours.is_null());
    }
    // What changed inside a JSON value is a call there, and the whole value here.
    if printed.starts_with("JSON_") || printed.starts_with('@') {
        return None;
    }
    let near = |digits: f64| {
        let (a, b) = (ours.as_f64()?, printed.parse::<f64>().ok()?);
        Some((a - b).abs() <= a.abs() * digits)
    };
    match kind.split(['(', ' ']).next().unwrap_or_default() {
        // Six digits, and all.
        "FLOAT" => near(1e-5),
        "DOUBLE" => near(0.0),
        "TINYINT" | "SHORTINT" | "MEDIUMINT" | "INT" | "LONGINT" => {
            // Signed, and behind it unsigned: which of both it is the tool does not know.
            let ours = ours.to_string();
            Some(printed.split([' ', '(', ')']).any(|number| number == ours))
        }
        "YEAR" => {
            let ours = ours.to_string();
            Some(ours == printed || (ours == "0" && printed == "1900"))
        }
        "DECIMAL" => Some(ours.as_str()? == printed),
        "DATE" => Some(ours.as_str()?.replace('-', ":") == printed.trim_matches('\'')),
        "TIME" | "DATETIME" => Some(ours.as_str()? == printed.trim_matches('\'')),
        "TIMESTAMP" => {
            let text = ours.as_str()?;
            if text.starts_with("0000") {
                return Some(printed.bytes().all(|b| b == b'0' || b == b'.'));
            }
            let at: jiff::civil::DateTime = text.parse().ok()?;
            let micros = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond();
            let (seconds, fraction) = printed.split_once('.').unwrap_or((printed, ""));
            let fraction = format!("{fraction:0<6}");
            Some(seconds.parse::<i64>().ok()? * 1_000_000 + fraction.parse::<i64>().ok()? == micros)
        }
        "BIT" => Some(u64::from_str_radix(printed.strip_prefix("b'")?.strip_suffix('\'')?, 2).ok()? == ours.as_u64()?),
        // By number there, by label here; floats by six digits.
        "ENUM" | "SET" | "VECTOR" => None,
        // A document that is a string is printed as one of SQL, with other escapes.
        "JSON" if ours.as_str()?.starts_with('"') => None,
        // BINARY is stored without the zero bytes at its end, and printed so.
        "STRING" => {
            let (mut ours, printed) = (bytes_of(ours), unquoted(printed));
            while ours.len() > printed.len() && ours.last() == Some(&0) {
                ours.pop();
            }
            Some(ours == printed)
        }
        _ => Some(bytes_of(ours) == unquoted(printed)),
    }
}

#[test]
#[ignore = "needs the server's programs in LUTRA_HOME"]
fn rows_and_values_are_those_of_the_servers_own_tool() {
    let mut compared = 0;
    for name in ["types.1.binlog", "changes.1.binlog", "changes.2.binlog", "partial.1.binlog"] {
        let file = fixtures().join(name);
        let mut theirs = printed_rows(&server_tool(&file));
        theirs.retain(|row| row.table != UNKNOWN_TO_THE_TOOL);
        let output = Command::new(env!("CARGO_BIN_EXE_lutra")).arg("binlog").arg("--json").arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ours: Vec<&Value> =
            lines.iter().filter(|l| l.get("operation").is_some() && l["table"] != UNKNOWN_TO_THE_TOOL).collect();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
        let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        // Names in table order: those of the first whole image of each table.
        for row in &ours {
            let image = row.get("after").or_else(|| row.get("before")).unwrap().as_object().unwrap();
            let known = columns.entry(row["table"].as_str().unwrap()).or_default();
            if image.len() > known.len() {
                *known = image.keys().cloned().collect();
            }
        }
        for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let table = ours["table"].as_str().unwrap();
            assert_eq!((table, ours["operation"].as_str().unwrap()), (theirs.table.as_str(), theirs.verb), "{name}");
            *counts.entry((table.to_owned(), theirs.verb)).or_default() += 1;
            let images: Vec<&Value> = ["before", "after"].iter().filter_map(|key| ours.get(key)).collect();
            assert_eq!(images.len(), theirs.images.len(), "{name}, row {index}");
            for (ours, theirs) in images.iter().zip(&theirs.images) {
                assert_eq!(ours.as_object().unwrap().len(), theirs.len(), "{name}, row {index} of {table}");
                if ours.as_object().unwrap().len() != columns[table].len() {
                    continue;
                }
                for (number, (printed, comment)) in theirs {
                    let column = &columns[table][number - 1];
                    if let Some(same) = same(&ours[column], printed, comment) {
                        assert!(
                            same,
                            "{name}, row {index}: {table}.{column} is {}, the tool says {printed} ({comment})",
                            ours[column]
                        );
                        compared += 1;
                    }
                }
            }
        }
        let summary = &lines.last().unwrap()["summary"]["tables"];
        for ((table, verb), count) in counts {
            assert_eq!(summary[&table][verb], count, "{name}: {table}");
        }
    }
    assert!(compared > 600, "{compared}");
}

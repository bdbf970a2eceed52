//! Text for people, JSON for programs.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

use crate::error::CliError;

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Text, or JSON.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at a terminal.
    pub fn is_terminal(&self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Prints a line, or lines. A reader that went away (`| head`) is no fault.
    pub fn text(&self, text: impl AsRef<str>) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_ref().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    }

    /// Prints a value as JSON, one line.
    pub fn json(&self, value: &Value) {
        self.text(value.to_string());
    }

    /// The value for programs, or the text for people.
    pub fn answer(&self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json { self.json(value) } else { self.text(text(value)) }
    }

    /// Says what went wrong.
    pub fn error(&self, error: &CliError) {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let mut text = if self.json {
            let details = match error {
                CliError::Manager { details, .. } => Value::from(details.clone()),
                other => Value::from(other.lines()),
            };
            json!({"error": {"code": error.code(), "message": message, "details": details}}).to_string()
        } else {
            let lines: String = error.lines().iter().map(|l| format!("\n  {l}")).collect();
            format!("lutra: {message}{lines}")
        };
        text.push('\n');
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// A table with aligned columns and no lines.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain([header.get(column).map_or(0, |h| h.chars().count())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|r| line(r.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// A JSON value as YAML, as a person would write it.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

fn write_yaml(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 || indent > 0 && !out.ends_with("- ") {
                    out.push_str(&" ".repeat(if out.ends_with('\n') { indent } else { 0 }));
                }
                out.push_str(key);
                out.push(':');
                nested(value, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&" ".repeat(indent));
                out.push_str("- ");
                match item {
                    Value::Object(map) if !map.is_empty() => write_yaml(item, indent + 2, out),
                    _ => {
                        out.push_str(&scalar(item));
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_yaml(value, indent, out);
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            out.push('\n');
            write_yaml(value, indent, out);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

/// A scalar, or a list of scalars in brackets.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Whether a text needs no quotes anywhere in YAML.
fn plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(word)
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME  N\na     1\nlong  2");
    }

    #[test]
    fn yaml_is_read_back_as_the_same_document() {
        let text = r#"{"kind":"pipeline","name":"p","spec":{"source":"s","target":"t","tables":[{"match":"shop.user_*","to":"crm.t_$1","operations":["insert"],"columns":{"rename":{"a":"b"},"drop":[]}},{"match":"*.*"}]}}"#;
        let document = lutra_spec::parse(text).unwrap().remove(0).document;
        let printed = yaml(&serde_json::to_value(&document).unwrap());
        assert_eq!(lutra_spec::parse(&printed).unwrap().remove(0).document, document, "{printed}");
    }
}

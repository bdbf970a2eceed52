//! SQL text cut into statements, as the servers' own client does it.

/// Cuts a text at its delimiter (`;`, or what a `DELIMITER` line says). Strings, quoted names and comments are passed
/// over; comments stay part of their statement.
#[must_use]
pub fn statements(text: &str) -> Vec<String> {
    let mut cutter = Cutter { rest: text, delimiter: ";".to_owned(), current: String::new(), done: Vec::new() };
    while !cutter.rest.is_empty() {
        cutter.step();
    }
    cutter.end_statement();
    cutter.done
}

struct Cutter<'t> {
    rest: &'t str,
    delimiter: String,
    current: String,
    done: Vec<String>,
}

impl Cutter<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if self.current.trim().is_empty()
            && let Some(delimiter) = rest.strip_prefix("DELIMITER ")
        {
            let line = delimiter.split('\n').next().unwrap_or_default();
            self.delimiter = line.trim().to_owned();
            self.rest = delimiter.get(line.len()..).unwrap_or_default();
            return;
        }
        if let Some(after) = rest.strip_prefix(self.delimiter.as_str()) {
            self.rest = after;
            self.end_statement();
            return;
        }
        let length = match rest.as_bytes() {
            [quote @ (b'\'' | b'"' | b'`'), ..] => quoted(rest, char::from(*quote)),
            [b'#', ..] => line(rest),
            [b'-', b'-', b' ' | b'\n' | b'\t', ..] => line(rest),
            [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => rest.chars().next().map_or(rest.len(), char::len_utf8),
        };
        let (taken, left) = rest.split_at(length);
        self.current.push_str(taken);
        self.rest = left;
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.current);
        let statement = statement.trim();
        if !statement.is_empty() {
            self.done.push(statement.to_owned());
        }
    }
}

fn line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// Bytes of the string or name at the beginning of the text.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return at + character.len_utf8();
        }
        if character == '\\' && quote != '`' {
            characters.next();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_in_strings_names_and_comments_end_nothing() {
        let text = "SELECT ';', \"a\\\";b\", `;`; -- one; two\nSELECT 2 /* ; */;\n# ;\n;SELECT 'it''s;'";
        assert_eq!(
            statements(text),
            ["SELECT ';', \"a\\\";b\", `;`", "-- one; two\nSELECT 2 /* ; */", "# ;", "SELECT 'it''s;'"]
        );
    }

    #[test]
    fn a_delimiter_line_changes_what_ends_a_statement() {
        let text = "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END//\nDELIMITER ;\nSELECT 1; SELECT 2";
        assert_eq!(statements(text), ["CREATE PROCEDURE p() BEGIN SELECT 1; END", "SELECT 1", "SELECT 2"]);
    }
}

//! Patterns over table names, with captures, and the templates that use them.

use std::fmt;
use std::str::FromStr;

use lutra_change::TableName;
use serde::{Deserialize, Serialize};

/// Databases that are the server's own or Lutra's; no pattern matches a table in them.
pub const SYSTEM_SCHEMAS: [&str; 5] = ["mysql", "sys", "performance_schema", "information_schema", "lutra"];

/// Whether a database is the server's own or Lutra's.
pub fn is_system_schema(database: &str) -> bool {
    SYSTEM_SCHEMAS.iter().any(|s| s.eq_ignore_ascii_case(database))
}

/// A text that is not a pattern or template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a table {what}: {reason}")]
pub struct PatternError {
    text: String,
    what: &'static str,
    reason: String,
}

/// One half of a pattern: literal pieces with a wildcard between each two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Glob(Vec<String>);

impl Glob {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("database and table must both be named, as in shop.orders or shop.*");
        }
        if text.contains("**") {
            return Err("two wildcards in a row are one");
        }
        Ok(Self(text.split('*').map(str::to_owned).collect()))
    }

    fn wildcards(&self) -> usize {
        self.0.len() - 1
    }

    /// The shortest captures, the last one takes the rest.
    fn captures<'a>(&self, text: &'a str, into: &mut Vec<&'a str>) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            let Some(at) = text.find(piece.as_str()) else { return false };
            into.push(&text[..at]);
            text = &text[at + piece.len()..];
        }
        match text.strip_suffix(last.as_str()) {
            Some(capture) => {
                into.push(capture);
                true
            }
            None => false,
        }
    }
}

/// Splits `database.table` at the first dot that is not in backquotes; backquotes around a half are taken off.
fn halves(text: &str) -> Option<(&str, &str)> {
    let unquote = |t: &'_ str| -> Option<(usize, usize)> {
        let inner = t.strip_prefix('`')?;
        inner.find('`').map(|end| (1, end + 1))
    };
    let (database, rest) = match unquote(text) {
        Some((from, to)) => (&text[from..to], text[to + 1..].strip_prefix('.')?),
        None => text.split_once('.').filter(|(database, _)| !database.contains('`'))?,
    };
    let table = match unquote(rest) {
        Some((from, to)) if to + 1 == rest.len() => &rest[from..to],
        Some(_) => return None,
        None if rest.contains('`') => return None,
        None => rest,
    };
    Some((database, table))
}

/// A pattern over full table names: `shop.orders`, `shop.user_*`, `*.*`. A `*` stands for any run of characters, and
/// captures it. Upper and lower case differ, as on a server with `lower_case_table_names=0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablePattern {
    text: String,
    database: Glob,
    table: Glob,
}

/// What the wildcards of a pattern stood for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures<'a>(Vec<&'a str>);

impl TablePattern {
    /// Whether the pattern matches; never for a system schema.
    pub fn matches(&self, database: &str, table: &str) -> bool {
        self.captures(database, table).is_some()
    }

    /// Whether the pattern matches the table.
    pub fn matches_table(&self, name: &TableName) -> bool {
        self.matches(&name.database, &name.table)
    }

    /// What the wildcards stand for, if the pattern matches; never for a system schema.
    pub fn captures<'a>(&self, database: &'a str, table: &'a str) -> Option<Captures<'a>> {
        if is_system_schema(database) {
            return None;
        }
        let mut captures = Vec::new();
        (self.database.captures(database, &mut captures) && self.table.captures(table, &mut captures))
            .then_some(Captures(captures))
    }

    /// Whether the pattern can match some table of the database.
    pub fn matches_database(&self, database: &str) -> bool {
        !is_system_schema(database) && self.database.captures(database, &mut Vec::new())
    }

    /// What the wildcards of the database half stand for, if some table of the database can match.
    pub fn database_captures<'a>(&self, database: &'a str) -> Option<Captures<'a>> {
        let mut captures = Vec::new();
        (!is_system_schema(database) && self.database.captures(database, &mut captures)).then_some(Captures(captures))
    }

    /// Whether the pattern matches every table of the database.
    pub fn matches_whole_database(&self, database: &str) -> bool {
        self.matches_database(database) && self.table.0 == ["", ""]
    }

    /// How many wildcards, and so captures, it has.
    pub fn wildcards(&self) -> usize {
        self.database.wildcards() + self.table.wildcards()
    }

    /// How many of the wildcards are in its database half (they come first).
    pub fn database_wildcards(&self) -> usize {
        self.database.wildcards()
    }

    /// Whether it matches every table that the other one matches.
    pub fn covers(&self, other: &Self) -> bool {
        // What stands for a run of characters in the other one can only be taken by a wildcard of this one.
        let any = |glob: &Glob| glob.0.join("\u{1}");
        self.database.captures(&any(&other.database), &mut Vec::new())
            && self.table.captures(&any(&other.table), &mut Vec::new())
    }

    /// The one database in which it can match, where that half has no wildcard.
    pub fn fixed_database(&self) -> Option<String> {
        match self.database.0.as_slice() {
            [database] => Some(database.clone()),
            _ => None,
        }
    }

    /// The one table it can match, where it has no wildcard.
    pub fn single(&self) -> Option<TableName> {
        match (self.database.0.as_slice(), self.table.0.as_slice()) {
            ([database], [table]) => Some(TableName::new(database, table)),
            _ => None,
        }
    }
}

impl FromStr for TablePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let fault = |reason: &str| PatternError { text: text.to_owned(), what: "pattern", reason: reason.to_owned() };
        let (database, table) = halves(text)
            .ok_or_else(|| fault("write DATABASE.TABLE, with * for any run of characters, as in shop.* or *.*"))?;
        if is_system_schema(database) {
            return Err(fault("tables of the server's own databases are never carried"));
        }
        Ok(Self {
            text: text.to_owned(),
            database: Glob::parse(database).map_err(fault)?,
            table: Glob::parse(table).map_err(fault)?,
        })
    }
}

impl TryFrom<String> for TablePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<TablePattern> for String {
    fn from(pattern: TablePattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    /// Number of a capture, from 1.
    Capture(usize),
}

/// The name of a table in the target: `crm.t_$1`, where `$1` is what the first wildcard of the pattern stood for.
/// `${1}` where a digit follows, `$$` for a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableTemplate {
    text: String,
    database: Vec<Piece>,
    table: Vec<Piece>,
}

impl TableTemplate {
    /// The highest capture it uses, 0 for none.
    pub fn captures_used(&self) -> usize {
        highest(&self.database).max(highest(&self.table))
    }

    /// How many different captures it uses.
    pub fn distinct_captures(&self) -> usize {
        let used: std::collections::BTreeSet<usize> = self
            .database
            .iter()
            .chain(&self.table)
            .filter_map(|p| if let Piece::Capture(n) = p { Some(*n) } else { None })
            .collect();
        used.len()
    }

    /// The highest capture that the database half uses, 0 for none.
    pub fn database_captures_used(&self) -> usize {
        highest(&self.database)
    }

    /// The name for these captures. `None` if a capture is missing or the name comes out empty or in a system schema.
    pub fn expand(&self, captures: &Captures<'_>) -> Option<TableName> {
        let database = fill(&self.database, captures)?;
        let table = fill(&self.table, captures)?;
        (!table.is_empty() && !database.is_empty() && !is_system_schema(&database))
            .then(|| TableName::new(database, table))
    }

    /// The database's name, where it does not depend on captures.
    pub fn fixed_database(&self) -> Option<String> {
        fill(&self.database, &Captures(Vec::new()))
    }

    /// The database's name for these captures of a pattern's database half
    /// ([`TablePattern::database_captures`]). `None` if it depends on the table's captures, or is a system schema.
    pub fn expand_database(&self, captures: &Captures<'_>) -> Option<String> {
        fill(&self.database, captures).filter(|d| !d.is_empty() && !is_system_schema(d))
    }
}

fn highest(pieces: &[Piece]) -> usize {
    pieces.iter().map(|p| if let Piece::Capture(n) = p { *n } else { 0 }).max().unwrap_or(0)
}

fn fill(pieces: &[Piece], captures: &Captures<'_>) -> Option<String> {
    pieces
        .iter()
        .map(|p| match p {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Capture(n) => captures.0.get(n - 1).copied(),
        })
        .collect()
}

fn pieces(text: &str) -> Result<Vec<Piece>, &'static str> {
    const REFERENCE: &str = "a $ is followed by the number of a wildcard from 1, as in $1 or ${1}, or by another $";
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            pieces.push(Piece::Text("$".to_owned()));
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|t| t.split_once('}'));
        let (digits, after) = braced.unwrap_or_else(|| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest.split_at(end)
        });
        match digits.parse::<usize>() {
            Ok(n) if n > 0 => pieces.push(Piece::Capture(n)),
            _ => return Err(REFERENCE),
        }
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

impl FromStr for TableTemplate {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let fault = |reason: &str| PatternError { text: text.to_owned(), what: "name", reason: reason.to_owned() };
        let (database, table) =
            halves(text).ok_or_else(|| fault("write DATABASE.TABLE, as in crm.t_user or crm.t_$1"))?;
        if text.contains('*') {
            return Err(fault("a wildcard's text is taken over by its number, as in crm.t_$1"));
        }
        let template = Self {
            text: text.to_owned(),
            database: pieces(database).map_err(fault)?,
            table: pieces(table).map_err(fault)?,
        };
        if template.database.is_empty() || template.table.is_empty() {
            return Err(fault("database and table must both be named"));
        }
        if template.fixed_database().is_some_and(|d| is_system_schema(&d)) {
            return Err(fault("the server's own databases and Lutra's are not written to"));
        }
        Ok(template)
    }
}

impl TryFrom<String> for TableTemplate {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<TableTemplate> for String {
    fn from(template: TableTemplate) -> Self {
        template.text
    }
}

impl fmt::Display for TableTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn route(pattern: &str, to: &str, database: &str, table: &str) -> Option<String> {
        let pattern: TablePattern = pattern.parse().unwrap();
        let captures = pattern.captures(database, table)?;
        to.parse::<TableTemplate>().unwrap().expand(&captures).map(|t| t.to_string())
    }

    #[test]
    fn wildcards_capture_and_templates_use_the_captures() {
        assert_eq!(route("shop.user_*", "crm.t_$1", "shop", "user_info").as_deref(), Some("crm.t_info"));
        assert_eq!(route("*.*", "all.${1}_$2", "shop", "orders").as_deref(), Some("all.shop_orders"));
        assert_eq!(route("shop.*_log_*", "x.$2$$${1}0", "shop", "a_log_b_log_c").as_deref(), Some("x.b_log_c$a0"));
        assert_eq!(route("shop.orders", "shop.orders2", "shop", "orders").as_deref(), Some("shop.orders2"));
        assert_eq!(route("shop.orders", "x.y", "shop", "Orders"), None);
        assert_eq!(route("shop.a*a", "x.y", "shop", "a"), None);
        assert_eq!(route("`my.shop`.`t`", "x.y", "my.shop", "t").as_deref(), Some("x.y"));
    }

    #[test]
    fn system_schemas_never_match() {
        let all: TablePattern = "*.*".parse().unwrap();
        for database in SYSTEM_SCHEMAS.iter().map(|s| s.to_string()).chain(["MySQL".to_owned()]) {
            assert!(!all.matches(&database, "t"), "{database}");
        }
        assert!(all.matches("shop", "t") && all.matches_whole_database("shop"));
        assert!("mysql.*".parse::<TablePattern>().is_err());
        assert!("lutra.slot".parse::<TableTemplate>().is_err());
        assert_eq!(route("*.t", "$1.t", "mysql", "t"), None);
    }

    #[test]
    fn malformed_patterns_and_templates_are_refused() {
        for bad in ["", "orders", ".orders", "shop.", "shop.**", "`shop.x"] {
            assert!(bad.parse::<TablePattern>().is_err(), "{bad}");
        }
        for bad in ["", "t", "a.$", "a.$0", "a.${x}", "a.*", ".t", "a."] {
            assert!(bad.parse::<TableTemplate>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn captures_put_back_give_the_name(pieces in prop::collection::vec("[ab_]{1,2}", 1..4), table in "[ab_]{0,10}") {
            let text = pieces.join("*");
            let pattern: TablePattern = format!("d.{text}").parse().unwrap();
            if let Some(captures) = pattern.captures("d", &table) {
                let mut name = pieces[0].clone();
                for (capture, piece) in captures.0.iter().zip(&pieces[1..]) {
                    name.push_str(capture);
                    name.push_str(piece);
                }
                prop_assert_eq!(name, table);
            }
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_whatever_stands_there() {
        let covers = |a: &str, b: &str| a.parse::<TablePattern>().unwrap().covers(&b.parse().unwrap());
        for (a, b) in
            [("*.*", "a.b"), ("shop.*", "shop.user_*"), ("s*.*", "shop*.x"), ("a.u*_*", "a.u_*_x"), ("a.b", "a.b")]
        {
            assert!(covers(a, b), "{a} covers {b}");
        }
        for (a, b) in [("a.b", "a.*"), ("shop.user_*", "shop.*"), ("a.*x", "a.x*"), ("a.*b*", "a.*c*")] {
            assert!(!covers(a, b), "{a} does not cover {b}");
        }
    }
}

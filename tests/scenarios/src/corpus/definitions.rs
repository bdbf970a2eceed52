//! Everything that a server says it has in some databases, by name.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use lutra_harness::mysql::quoted;
use lutra_mysql::Flavour;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// One thing that has a definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    /// The word behind SHOW CREATE.
    pub(super) kind: &'static str,
    pub(super) database: String,
    /// Empty for the database itself.
    pub(super) name: String,
}

impl Thing {
    /// Whether a statement may be about it. Names begin with letters and a number of their own.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        let ends = self.name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.name.len());
        match self.kind {
            "DATABASE" => text.contains("DATABASE") || text.contains("SCHEMA"),
            _ => text.contains(self.name.get(..ends).unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}.{}", self.kind, self.database, self.name)
    }
}

/// Who is asked, and how its names become those of the source.
pub(super) struct Reader {
    pub(super) connection: Conn,
    flavour: Flavour,
    databases: Vec<String>,
    /// Texts and what they stand for.
    renamed: Vec<(String, String)>,
    /// Character sets with their default collations.
    defaults: Vec<(String, String)>,
    /// CHECK constraints stand in the order of their names, which begin with the table's: where that is another one, so is
    /// their order.
    sorted_checks: bool,
}

/// Kinds, how to list them (`kind, database, name`), and which column of SHOW CREATE has the text.
const KINDS: &[(&str, usize)] = &[
    ("DATABASE", 1),
    ("TABLE", 1),
    ("VIEW", 1),
    ("SEQUENCE", 1),
    ("PROCEDURE", 2),
    ("FUNCTION", 2),
    ("PACKAGE", 2),
    ("PACKAGE BODY", 2),
    ("TRIGGER", 2),
    ("EVENT", 3),
];

const LIST: &str = "SELECT 'DATABASE', schema_name, '' FROM information_schema.schemata WHERE schema_name IN (@) UNION ALL \
    SELECT CASE table_type WHEN 'VIEW' THEN 'VIEW' WHEN 'SEQUENCE' THEN 'SEQUENCE' ELSE 'TABLE' END, table_schema, table_name \
    FROM information_schema.tables WHERE table_schema IN (@) AND table_type <> 'TEMPORARY' UNION ALL \
    SELECT routine_type, routine_schema, routine_name FROM information_schema.routines WHERE routine_schema IN (@) UNION ALL \
    SELECT 'TRIGGER', trigger_schema, trigger_name FROM information_schema.triggers WHERE trigger_schema IN (@) UNION ALL \
    SELECT 'EVENT', event_schema, event_name FROM information_schema.events WHERE event_schema IN (@)";

/// When it was made is no part of a definition.
const SKIPPED: [&str; 2] = ["Created", "Events"];

impl Reader {
    /// A reader of these databases. Each `renamed` text of what it reads stands for another one.
    pub(super) async fn new(
        mut connection: Conn,
        flavour: Flavour,
        databases: Vec<String>,
        renamed: Vec<(String, String)>,
    ) -> Result<Self> {
        // Names without a database stand for the default one.
        connection.query_drop("SET NAMES utf8mb4, sql_mode = ''").await.context("reset the session")?;
        connection.query_drop("USE information_schema").await.context("reset the session")?;
        let defaults = connection
            .query("SELECT character_set_name, default_collate_name FROM information_schema.character_sets")
            .await?;
        Ok(Self { connection, flavour, databases, renamed, defaults, sorted_checks: false })
    }

    /// The same, whatever the order of a table's CHECK constraints.
    pub(super) fn with_sorted_checks(self) -> Self {
        Self { sorted_checks: true, ..self }
    }

    /// What there is, by the names of the source.
    pub(super) async fn list(&mut self) -> Result<BTreeSet<Thing>> {
        let names: Vec<String> = self.databases.iter().map(|d| format!("'{d}'")).collect();
        let sql = LIST.replace('@', &names.join(", "));
        let found: Vec<(String, String, String)> = self.connection.query(sql).await.context("list what there is")?;
        let thing = |(kind, database, name): (String, String, String)| {
            let (kind, _) = KINDS.iter().find(|(k, _)| *k == kind)?;
            Some(Thing { kind, database: self.plain(&database), name: self.plain(&name) })
        };
        Ok(found.into_iter().filter_map(thing).collect())
    }

    /// What it says of a thing, by the names of the source.
    pub(super) async fn show(&mut self, thing: &Thing) -> Result<String> {
        let place = self.place(thing);
        let column = KINDS.iter().find(|(k, _)| *k == thing.kind).map_or(1, |(_, column)| *column);
        // A view whose table is gone shows itself all the same; a table whose parent is gone too.
        let shown: Result<Option<Row>, _> =
            self.connection.query_first(format!("SHOW CREATE {} {place}", thing.kind)).await;
        Ok(match shown {
            Ok(Some(row)) => {
                let more: Vec<String> = (0..row.len())
                    .filter(|i| *i != column && !SKIPPED.contains(&row.columns_ref()[*i].name_str().as_ref()))
                    .map(|i| text(&row, i))
                    .collect();
                let shown =
                    self.plain(&format!("{} [{}]", self.usual(thing.kind, &text(&row, column)), more.join(" | ")));
                if self.sorted_checks && thing.kind == "TABLE" { with_sorted_checks(&shown) } else { shown }
            }
            Ok(None) => "nothing".to_owned(),
            Err(mysql_async::Error::Server(error)) => self.plain(&format!("error: {error}")),
            Err(error) => return Err(error).context("read a definition"),
        })
    }

    /// Drops a thing without a word in the binlog.
    pub(super) async fn remove(&mut self, thing: &Thing) -> Result<()> {
        let place = self.place(thing);
        let guards = if self.flavour.is_mariadb() { "" } else { ", gtid_next = AUTOMATIC" };
        self.connection.query_drop(format!("SET sql_log_bin = 0, foreign_key_checks = 0{guards}")).await?;
        let dropped = self.connection.query_drop(format!("DROP {} IF EXISTS {place}", thing.kind)).await;
        self.connection.query_drop("SET sql_log_bin = 1, foreign_key_checks = 1").await?;
        dropped.with_context(|| format!("drop {thing}"))
    }

    /// How this server calls it.
    fn place(&self, thing: &Thing) -> String {
        let own = |text: &str| {
            self.renamed.iter().rev().fold(text.to_owned(), |text, (own, source)| match source.as_str() {
                "" => text,
                source => text.replace(source, own),
            })
        };
        let tabular = matches!(thing.kind, "TABLE" | "VIEW" | "SEQUENCE");
        let prefix: String = self
            .renamed
            .iter()
            .filter(|(_, source)| tabular && source.is_empty())
            .map(|(own, _)| own.as_str())
            .collect();
        match thing.kind {
            "DATABASE" => quoted(&own(&thing.database)),
            _ => format!("{}.{}", quoted(&own(&thing.database)), quoted(&format!("{prefix}{}", thing.name))),
        }
    }

    /// A text with the names of the source.
    fn plain(&self, text: &str) -> String {
        self.renamed.iter().fold(text.to_owned(), |text, (own, source)| text.replace(own, source))
    }

    /// What Lutra changes by design is taken back: the guard of triggers, the state of events.
    fn usual(&self, kind: &str, text: &str) -> String {
        match kind {
            "TRIGGER" => match text.split_once("IF @lutra_apply IS NULL THEN ") {
                // MariaDB keeps a comment that stands behind.
                Some((head, body)) => match body.rsplit_once("; END IF") {
                    Some((body, behind)) => format!("{head}{body}{behind}"),
                    None => format!("{head}{body}"),
                },
                None => text.to_owned(),
            },
            "EVENT" => text.replace(" DISABLE ON REPLICA ", " ENABLE ").replace(" DISABLE ON SLAVE ", " ENABLE "),
            "TABLE" => {
                // The source counts on over rows that were refused; they are not in its binlog.
                let text = match text.rsplit_once(" AUTO_INCREMENT=") {
                    Some((before, after)) => {
                        format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
                    }
                    None => text.to_owned(),
                };
                // The server writes the default collation of a character set out in its binlog's CREATE TABLE … SELECT,
                // and a replica of its own then shows it.
                let text = self.defaults.iter().fold(text, |text, (charset, collation)| {
                    text.replace(
                        &format!("CHARACTER SET {charset} COLLATE {collation} "),
                        &format!("CHARACTER SET {charset} "),
                    )
                });
                // The set goes with its collation; who wrote it out is kept over a conversion.
                self.defaults.iter().fold(text, |text, (charset, _)| {
                    text.replace(&format!("CHARACTER SET {charset} COLLATE "), "COLLATE ")
                })
            }
            _ => text.to_owned(),
        }
    }
}

/// The definition of a table with its CHECK constraints in one order, and without the numbers in the names that the server
/// gave them: a copy of the table (LIKE) counts them in the order of their names. They are the last of its lines.
fn with_sorted_checks(table: &str) -> String {
    let is_check = |line: &&str| line.starts_with("  CONSTRAINT ") && line.contains(" CHECK ");
    let mut checks: Vec<String> =
        table.lines().filter(is_check).map(|line| unnumbered(line.trim_end_matches(','))).collect();
    checks.sort_unstable();
    let mut rest = checks.into_iter();
    let line = |line: &str| match if is_check(&line) { rest.next() } else { None } {
        Some(check) if line.ends_with(',') => format!("{check},"),
        Some(check) => check,
        None => line.to_owned(),
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn unnumbered(check: &str) -> String {
    match check.split_once("` CHECK ") {
        Some((name, rest)) if name.contains("_chk_") => {
            format!("{}` CHECK {rest}", name.trim_end_matches(|c: char| c.is_ascii_digit()))
        }
        _ => check.to_owned(),
    }
}

fn text(row: &Row, at: usize) -> String {
    row.get_opt::<String, _>(at).and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_sorted_and_commas_stay_between_lines() {
        let other = "CREATE TABLE `t` (\n  `a` int,\n  CONSTRAINT `t_chk_1` CHECK ((`a` > 1)),\n  CONSTRAINT `b` CHECK ((`a` < 9))\n) x";
        let sorted = "CREATE TABLE `t` (\n  `a` int,\n  CONSTRAINT `b` CHECK ((`a` < 9)),\n  CONSTRAINT `t_chk_` CHECK ((`a` > 1))\n) x";
        assert_eq!(with_sorted_checks(other), sorted);
        assert_eq!(with_sorted_checks(sorted), sorted);
    }
}

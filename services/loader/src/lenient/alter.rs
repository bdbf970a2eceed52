//! ALTER TABLE, item by item.

use std::ops::Range;

use lutra_change::sql_statement::Statement;
use lutra_change::{Number, TableName};
use lutra_mysql::Error;
use lutra_mysql::sql::{quote_identifier, quote_table, quote_text};

use super::{Plan, is_name, kept, kept_table, of};
use crate::target::TargetConnection;

/// Words behind ADD or DROP that are no column's name.
const NO_COLUMN: [&str; 13] = [
    "CONSTRAINT",
    "PRIMARY",
    "UNIQUE",
    "KEY",
    "INDEX",
    "FULLTEXT",
    "SPATIAL",
    "FOREIGN",
    "CHECK",
    "PERIOD",
    "PARTITION",
    "SYSTEM",
    "VECTOR",
];

/// A column of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Column {
    column_type: String,
    charset: String,
    collation: String,
    nullable: bool,
    has_default: bool,
    extra: String,
    generated: bool,
    indexed: bool,
    unique: bool,
}

/// What becomes of an item.
enum Item {
    /// It stays.
    Keep,
    /// It is left out.
    Gone,
    /// This stands for it.
    Other(String),
}

struct Work<'s, 't, C> {
    connection: &'s mut C,
    statement: &'s Statement<'t>,
    table: &'s TableName,
    number: Number,
    before: Vec<String>,
    behind: Vec<String>,
}

/// The statements that do what ALTER TABLE does and lose nothing.
pub(super) async fn plan<C: TargetConnection>(
    connection: &mut C,
    statement: &Statement<'_>,
    after: usize,
    table: &TableName,
    number: Number,
) -> Result<Plan, Error> {
    let items = statement.items(after..statement.tokens.len());
    let mut work = Work { connection, statement, table, number, before: Vec::new(), behind: Vec::new() };
    let (mut kept_items, mut changed) = (Vec::new(), false);
    for item in items {
        match work.item(item.clone()).await? {
            Err(reason) => return Ok(Plan::Wait(reason)),
            Ok(Item::Keep) => kept_items.push(text_of(statement, &item)),
            Ok(Item::Gone) => changed = true,
            Ok(Item::Other(text)) => {
                changed = true;
                kept_items.push(text);
            }
        }
    }
    let Work { mut before, behind, .. } = work;
    if !changed && before.is_empty() && behind.is_empty() {
        return Ok(Plan::AsIs);
    }
    if !kept_items.is_empty() {
        before.push(format!("ALTER TABLE {} {}", quote_table(table), kept_items.join(", ")));
    }
    before.extend(behind);
    // All of it is left out: an empty transaction stands for it.
    Ok(Plan::Instead(if before.is_empty() { vec!["COMMIT".to_owned()] } else { before }))
}

fn text_of(statement: &Statement<'_>, item: &Range<usize>) -> String {
    let start = statement.start_of(item.start);
    let end = item.end.checked_sub(1).and_then(|last| statement.tokens.get(last)).map_or(start, |t| t.end);
    String::from_utf8_lossy(statement.text.get(start..end).unwrap_or_default()).into_owned()
}

impl<C: TargetConnection> Work<'_, '_, C> {
    async fn item(&mut self, item: Range<usize>) -> Result<Result<Item, String>, Error> {
        let s = self.statement;
        let at = item.start;
        let is = |word: &str| s.is(at, word);
        let mut name_at = at + 1;
        while s.is_any(name_at, &["COLUMN", "IF", "NOT", "EXISTS"]) {
            name_at += 1;
        }
        let column = !s.is_any(name_at, &NO_COLUMN) || !is_plain_word(s, name_at);
        match () {
            () if (is("DROP") || is("TRUNCATE")) && s.is(at + 1, "PARTITION") => self.partitions(item).await,
            () if is("DROP") && column => self.drop_column(name_at).await,
            () if is("ADD") && column => self.add_columns(name_at, item).await,
            () if is("MODIFY") => self.change_column(name_at, name_at, item).await,
            () if is("CHANGE") => self.change_column(name_at, name_at + 1, item).await,
            () if is("CONVERT") => {
                Ok(if s.is_any(item.end.saturating_sub(1), &["utf8mb4"]) || names(s, &item, "utf8mb4") {
                    Ok(Item::Keep)
                } else {
                    Err("it converts text to a character set that may lack some of its characters".to_owned())
                })
            }
            () if is("ENGINE") && !names(s, &item, "InnoDB") => {
                Ok(Err("another storage engine may not keep its rows".to_owned()))
            }
            () if is("DISCARD") || is("IMPORT") => Ok(Err("it replaces the table's file".to_owned())),
            () => Ok(Ok(Item::Keep)),
        }
    }

    async fn column(&mut self, name: &str) -> Result<Option<Column>, Error> {
        let condition = of(self.table, "c.table_schema", "c.table_name");
        let sql = format!(
            "SELECT CONCAT_WS('\\n', c.column_type, COALESCE(c.character_set_name, ''), COALESCE(c.collation_name, ''), c.is_nullable, \
             c.column_default IS NOT NULL, c.extra, COALESCE(c.generation_expression, '') <> '', \
             (SELECT COUNT(*) FROM information_schema.statistics s WHERE s.table_schema = c.table_schema AND s.table_name = \
             c.table_name AND s.column_name = c.column_name), \
             (SELECT COUNT(*) FROM information_schema.statistics s WHERE s.table_schema = c.table_schema AND s.table_name = \
             c.table_name AND s.column_name = c.column_name AND s.non_unique = 0)) \
             FROM information_schema.columns c WHERE {condition} AND c.column_name = {}",
            quote_text(name)
        );
        let Some(text) = self.connection.ask(&sql).await? else { return Ok(None) };
        let field: Vec<&str> = text.split('\n').collect();
        let at = |n: usize| field.get(n).copied().unwrap_or_default();
        Ok(Some(Column {
            column_type: at(0).to_ascii_lowercase(),
            charset: at(1).to_owned(),
            collation: at(2).to_owned(),
            nullable: at(3) == "YES",
            has_default: at(4) == "1",
            extra: at(5).to_ascii_lowercase(),
            generated: at(6) == "1",
            indexed: at(7) != "0",
            unique: at(8) != "0",
        }))
    }

    /// The column is kept; rows must come without it.
    async fn drop_column(&mut self, at: usize) -> Result<Result<Item, String>, Error> {
        let Some(name) = self.statement.name(at) else {
            return Ok(Err("it is not understood what it drops".to_owned()));
        };
        let Some(column) = self.column(&name).await? else { return Ok(Ok(Item::Keep)) };
        if column.generated {
            // What is computed can be computed again.
            return Ok(Ok(Item::Keep));
        }
        if column.unique {
            return Ok(Err(format!("column {name} is part of a unique key, which rows without it would not meet")));
        }
        if column.nullable || column.has_default {
            return Ok(Ok(Item::Gone));
        }
        if column.extra.contains("auto_increment") {
            return Ok(Err(format!("column {name} counts by itself")));
        }
        let charset = if column.charset.is_empty() {
            String::new()
        } else {
            format!(" CHARACTER SET {} COLLATE {}", column.charset, column.collation)
        };
        Ok(Ok(Item::Other(format!("MODIFY COLUMN {} {}{charset} NULL", quote_identifier(&name), column.column_type))))
    }

    /// A column that is there already was kept, or is somebody else's: it gives way.
    async fn add_columns(&mut self, at: usize, item: Range<usize>) -> Result<Result<Item, String>, Error> {
        let s = self.statement;
        let mut starts = vec![at];
        if s.sign(at) == Some(b'(') {
            starts = vec![at + 1];
            let mut depth = 0i32;
            for i in at..item.end {
                match s.sign(i) {
                    Some(b'(') => depth += 1,
                    Some(b')') => depth -= 1,
                    Some(b',') if depth == 1 => starts.push(i + 1),
                    _ => {}
                }
            }
        }
        for start in starts {
            let Some(name) = s.name(start).filter(|_| is_name(s, start)) else { continue };
            if s.is_any(start, &NO_COLUMN) && is_plain_word(s, start) {
                continue;
            }
            if self.column(&name).await?.is_some() {
                self.keep_column(&name);
            }
        }
        Ok(Ok(Item::Keep))
    }

    fn keep_column(&mut self, name: &str) -> String {
        let kept = kept(name, self.number);
        self.before.push(format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            quote_table(self.table),
            quote_identifier(name),
            quote_identifier(&kept)
        ));
        kept
    }

    /// A column whose new type may not take all its values: the old one is kept beside it.
    async fn change_column(
        &mut self,
        at: usize,
        new_at: usize,
        item: Range<usize>,
    ) -> Result<Result<Item, String>, Error> {
        let s = self.statement;
        let (Some(old), Some(new)) = (s.name(at), s.name(new_at)) else {
            return Ok(Err("it is not understood what it changes".to_owned()));
        };
        let Some(column) = self.column(&old).await? else { return Ok(Ok(Item::Keep)) };
        let definition = text_of(s, &(new_at + 1..item.end));
        if column.generated || widens(&column.column_type, &column.charset, &definition) {
            return Ok(Ok(Item::Keep));
        }
        if column.indexed {
            return Ok(Err(format!("the new type of column {old} may lose data, and indexes hold it")));
        }
        let kept = self.keep_column(&old);
        let placed = names(s, &item, "AFTER") || names(s, &item, "FIRST");
        let after = if placed { String::new() } else { format!(" AFTER {}", quote_identifier(&kept)) };
        let (new, kept) = (quote_identifier(&new), quote_identifier(&kept));
        self.behind.push(format!("UPDATE {} SET {new} = {kept}", quote_table(self.table)));
        Ok(Ok(Item::Other(format!("ADD COLUMN {new} {definition}{after}"))))
    }

    /// Partitions that are dropped or emptied are exchanged with tables that keep their rows first.
    async fn partitions(&mut self, item: Range<usize>) -> Result<Result<Item, String>, Error> {
        let s = self.statement;
        let sub = format!(
            "SELECT COUNT(*) FROM information_schema.partitions WHERE {} AND subpartition_name IS NOT NULL",
            of(self.table, "table_schema", "table_name")
        );
        if self.connection.ask(&sub).await?.as_deref() != Some("0") {
            return Ok(Err("its partitions have partitions".to_owned()));
        }
        let names: Vec<String> = (item.start + 2..item.end)
            .filter(|at| is_name(s, *at) && !s.is_any(*at, &["IF", "EXISTS"]))
            .filter_map(|at| s.name(at))
            .collect();
        if names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case("ALL")) {
            return Ok(Err("it is not told which partitions it empties".to_owned()));
        }
        let table = quote_table(self.table);
        for name in names {
            let under = TableName::new(self.table.database.clone(), format!("{}_{name}", self.table.table));
            let kept = quote_table(&kept_table(&under, self.number));
            self.before.extend([
                format!("CREATE TABLE {kept} LIKE {table}"),
                format!("ALTER TABLE {kept} REMOVE PARTITIONING"),
                format!("ALTER TABLE {table} EXCHANGE PARTITION {} WITH TABLE {kept}", quote_identifier(&name)),
            ]);
        }
        Ok(Ok(Item::Keep))
    }
}

fn is_plain_word(statement: &Statement<'_>, at: usize) -> bool {
    let quoted =
        |t: &lutra_change::sql_lexer::Token| statement.text.get(t.start).is_some_and(|b| matches!(b, b'`' | b'"'));
    statement.tokens.get(at).is_some_and(|t| !quoted(t))
}

/// Whether an item holds the word, or the name.
fn names(statement: &Statement<'_>, item: &Range<usize>, word: &str) -> bool {
    item.clone().any(|at| statement.name(at).is_some_and(|n| n.eq_ignore_ascii_case(word)))
}

/// Whether a column of the new type takes every value of the old one. What is not known to does not.
fn widens(old: &str, charset: &str, definition: &str) -> bool {
    const INTS: [&str; 5] = ["tinyint", "smallint", "mediumint", "int", "bigint"];
    const BLOBS: [&str; 4] = ["tinyblob", "blob", "mediumblob", "longblob"];
    const TEXTS: [&str; 4] = ["tinytext", "text", "mediumtext", "longtext"];
    let new = definition.to_ascii_lowercase().replace("integer", "int");
    let same_charset = |new: &str| match new.split_once("character set ").or_else(|| new.split_once("charset ")) {
        Some((_, behind)) => {
            behind.split_whitespace().next().is_some_and(|c| c.trim_matches('\'') == charset || c == "utf8mb4")
        }
        // The table's own, which the old one most likely is; else the target refuses what does not fit.
        None => true,
    };
    let (old_word, old_length) = word_and_length(old);
    let (new_word, new_length) = word_and_length(&new);
    let place = |list: &[&str], word: &str| list.iter().position(|w| *w == word);
    let unsigned = |text: &str| text.contains("unsigned") || text.contains("zerofill");
    if let (Some(a), Some(b)) = (place(&INTS, old_word), place(&INTS, new_word)) {
        return if unsigned(old) == unsigned(&new) { b >= a } else { unsigned(old) && b > a };
    }
    if let (Some(a), Some(b)) = (place(&TEXTS, old_word), place(&TEXTS, new_word)) {
        return b >= a && same_charset(&new);
    }
    if let (Some(a), Some(b)) = (place(&BLOBS, old_word), place(&BLOBS, new_word)) {
        return b >= a;
    }
    match (old_word, new_word) {
        ("varchar", "varchar") | ("char", "char" | "varchar") => same_charset(&new) && new_length >= old_length,
        ("varchar" | "char", "mediumtext" | "longtext") => same_charset(&new),
        ("varbinary", "varbinary") | ("bit", "bit") => new_length >= old_length,
        ("decimal", "decimal") => {
            let digits = |l: &[u64]| l.get(1).copied().unwrap_or(0);
            let whole = |l: &[u64]| l.first().copied().unwrap_or(10).saturating_sub(digits(l));
            let (old_length, new_length) = (old_length.as_slice(), new_length.as_slice());
            unsigned(old) == unsigned(&new)
                && whole(new_length) >= whole(old_length)
                && digits(new_length) >= digits(old_length)
        }
        ("datetime", "datetime") | ("timestamp", "timestamp") | ("time", "time") => new_length >= old_length,
        ("float", "float" | "double") | ("double", "double") => {
            (new_length.is_empty() && !unsigned(&new)) || new.starts_with(old)
        }
        ("enum" | "set", _) => {
            // The same members first, then others.
            let members = |text: &str| {
                text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(m, _)| m.to_owned())
            };
            old_word == new_word
                && matches!((members(old), members(&definition.to_ascii_lowercase())), (Some(a), Some(b)) if b.replace(' ', "").starts_with(&a.replace(' ', "")))
        }
        _ => old_word == new_word && new.starts_with(old),
    }
}

/// `decimal(10,2) unsigned`: the word, and the numbers in the parentheses behind it.
fn word_and_length(text: &str) -> (&str, Vec<u64>) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let inside = rest.trim_start().strip_prefix('(').and_then(|r| r.split_once(')')).map(|(inside, _)| inside);
    let numbers = inside.map(|i| i.split(',').filter_map(|n| n.trim().parse().ok()).collect());
    (word, numbers.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_every_old_value_is_wider() {
        for (old, new) in [
            ("int", "BIGINT NOT NULL"),
            ("int unsigned", "bigint"),
            ("varchar(20)", "VARCHAR(40) DEFAULT 'x'"),
            ("decimal(10,2)", "DECIMAL(12,3)"),
            ("datetime", "DATETIME(6)"),
            ("enum('a','b')", "ENUM('a', 'b', 'c')"),
            ("text", "LONGTEXT"),
            ("varchar(9)", "mediumtext character set utf8mb4"),
        ] {
            assert!(widens(old, "latin1", new), "{old} -> {new}");
        }
        for (old, new) in [
            ("bigint", "INT"),
            ("int", "INT UNSIGNED"),
            ("varchar(40)", "VARCHAR(20)"),
            ("varchar(40)", "VARCHAR(40) CHARACTER SET ascii"),
            ("decimal(10,2)", "DECIMAL(11,1)"),
            ("decimal(10,2)", "DECIMAL(10,3)"),
            ("datetime(6)", "DATETIME"),
            ("enum('a','b')", "ENUM('b','a')"),
            ("varchar(9)", "INT"),
            ("double", "FLOAT"),
        ] {
            assert!(!widens(old, "latin1", new), "{old} -> {new}");
        }
    }
}

//! What a server says of its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, anyhow};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::mysql::quoted;

/// A table with its database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableName {
    pub(super) database: String,
    pub(super) table: String,
}

impl From<&str> for TableName {
    fn from(text: &str) -> Self {
        let (database, table) = text.split_once('.').unwrap_or(("", text));
        Self { database: database.to_owned(), table: table.to_owned() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

impl TableName {
    /// As it stands in a statement.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.database), quoted(&self.table))
    }
}

/// A column, invisible ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// `varchar`, `enum`, …
    pub(super) data_type: String,
    /// `None` for what is not text.
    pub(super) charset: Option<String>,
}

/// A base table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: TableName,
    pub(super) columns: Vec<Column>,
    /// Names of the primary key's columns, in its order; empty for a keyless table.
    pub(super) primary_key: Vec<String>,
}

/// All databases and base tables outside the system schemas.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) databases: BTreeSet<String>,
    pub(super) tables: BTreeMap<TableName, Table>,
}

const SYSTEM: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

impl Catalogue {
    pub(super) async fn read(connection: &mut Conn) -> Result<Self> {
        let databases =
            format!("SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN {SYSTEM}");
        let databases = connection.query(databases).await.context("list the databases")?.into_iter().collect();
        let mut tables = BTreeMap::new();
        for (database, table, column, data_type, charset) in columns(connection).await? {
            let name = TableName { database, table };
            let entry = tables.entry(name.clone());
            let table = entry.or_insert_with(|| Table { name, columns: Vec::new(), primary_key: Vec::new() });
            table.columns.push(Column { name: column, data_type, charset });
        }
        for (database, table, column) in primary_keys(connection).await? {
            if let Some(table) = tables.get_mut(&TableName { database, table }) {
                table.primary_key.push(column);
            }
        }
        Ok(Self { databases, tables })
    }
}

async fn columns(connection: &mut Conn) -> Result<Vec<(String, String, String, String, Option<String>)>> {
    let statement = format!(
        "SELECT c.table_schema, c.table_name, c.column_name, LOWER(c.data_type), c.character_set_name \
         FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) \
         WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN {SYSTEM} \
         ORDER BY c.table_schema, c.table_name, c.ordinal_position"
    );
    connection.query(statement).await.context("list the columns")
}

async fn primary_keys(connection: &mut Conn) -> Result<Vec<(String, String, String)>> {
    let statement = format!(
        "SELECT table_schema, table_name, column_name FROM information_schema.statistics \
         WHERE index_name = 'PRIMARY' AND table_schema NOT IN {SYSTEM} AND column_name IS NOT NULL \
         ORDER BY table_schema, table_name, seq_in_index"
    );
    connection.query(statement).await.context("list the primary keys")
}

/// What `SHOW CREATE TABLE` says, without the table's name and the next auto-increment value.
pub(super) async fn definition(connection: &mut Conn, table: &TableName) -> Result<String> {
    // A default of bytes is printed as it is, valid text or not.
    let row: Option<(Vec<u8>, Vec<u8>)> = connection
        .query_first(format!("SHOW CREATE TABLE {}", table.quoted()))
        .await
        .context("show a table's definition")?;
    let (_, text) = row.ok_or_else(|| anyhow!("show the definition of {table}: no row"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(collations_alone(&without_next_value(text.split_once('(').map_or(text.as_str(), |(_, rest)| rest))))
}

/// A collation tells its character set; servers print both or one, depending on how it was once written.
fn collations_alone(text: &str) -> String {
    const SET: &str = " CHARACTER SET ";
    let mut parts = text.split(SET);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let told = part.split_once(' ').and_then(|(set, rest)| {
            let collation = rest.strip_prefix("COLLATE ")?.strip_prefix(set)?;
            collation.starts_with('_').then_some(rest)
        });
        out.push_str(if told.is_some() { " " } else { SET });
        out.push_str(told.unwrap_or(part));
    }
    out
}

fn without_next_value(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once(" AUTO_INCREMENT=") else { return text.to_owned() };
    format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_set_in_front_of_its_collation_says_nothing_more() {
        assert_eq!(
            collations_alone(
                "`a` char(1) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,\n `b` text CHARACTER SET latin1 NOT NULL"
            ),
            "`a` char(1) COLLATE utf8mb4_bin,\n `b` text CHARACTER SET latin1 NOT NULL"
        );
        let comment = "COMMENT ' CHARACTER SET x COLLATE y'";
        assert_eq!(collations_alone(comment), comment);
    }

    #[test]
    fn the_next_auto_increment_value_is_no_part_of_a_definition() {
        let text = "`id` int NOT NULL AUTO_INCREMENT,\n) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4";
        assert_eq!(
            without_next_value(text),
            "`id` int NOT NULL AUTO_INCREMENT,\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        );
    }
}

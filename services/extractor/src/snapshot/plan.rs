//! Which tables are copied, how they are made, and how each is cut.

use lutra_change::{Column, ColumnType, TableName, TableSchema};
use lutra_mysql::Connection;
use lutra_mysql::catalogue::{self, CatalogueColumn, Collations, TableDefinition};
use lutra_mysql::dialect::carried_sql_mode;
use lutra_mysql::scan::scan_expression;
use lutra_mysql::sql::{quote_identifier, quote_table, quote_text, write_literal};
use lutra_mysql::table_schema::table_schema;
use lutra_rules::{Rules, TableDecision};
use lutra_spec::{IndexTime, SourceSpec};
use lutra_wire::{Definition, DefinitionKind};

use super::SnapshotError;
use super::encode::value;
use lutra_mysql::Cell;

/// utf8mb4_general_ci, which every server knows.
pub(super) const UTF8MB4: u16 = 45;

/// A table that is to be copied.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The table.
    pub name: TableName,
    /// Rows that the server thinks it has.
    pub estimate: u64,
}

/// The tables that the source captures and the pipeline carries.
pub async fn tables(
    connection: &mut Connection,
    spec: &SourceSpec,
    rules: &Rules,
) -> Result<Vec<Wanted>, SnapshotError> {
    // MariaDB has tables that are no plain ones.
    const OTHERS: &str = "SELECT table_schema, table_name, LOWER(table_type) FROM information_schema.tables \
                          WHERE table_type IN ('SEQUENCE', 'SYSTEM VERSIONED')";
    let carried = |name: &TableName| {
        spec.captures(&name.database, &name.table) && !matches!(rules.table(name), Ok(TableDecision::Drop) | Err(_))
    };
    for row in connection.query(OTHERS).await? {
        let table = TableName::new(row.string(0), row.string(1));
        if carried(&table) {
            return Err(SnapshotError::Uncopied { table, kind: row.string(2) });
        }
    }
    let mut wanted = Vec::new();
    for table in catalogue::tables(connection).await?.into_iter().filter(|table| carried(&table.name)) {
        let estimate = estimate(connection, &table.name).await?;
        wanted.push(Wanted { name: table.name, estimate });
    }
    Ok(wanted)
}

/// Rows that the server thinks a table has.
pub async fn estimate(connection: &mut Connection, name: &TableName) -> Result<u64, SnapshotError> {
    let sql = format!(
        "SELECT table_rows FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        quote_text(&name.database),
        quote_text(&name.table)
    );
    Ok(connection.query_first(sql).await?.and_then(|row| row.u64(0)).unwrap_or(0))
}

/// The statements that make the databases of these tables where they are not there.
pub async fn databases(connection: &mut Connection, tables: &[TableName]) -> Result<Vec<Definition>, SnapshotError> {
    let mut statements = Vec::new();
    for database in databases_of(tables) {
        if let Some(text) = catalogue::show_create_database(connection, database).await? {
            let statement = text.replacen("CREATE DATABASE ", "CREATE DATABASE IF NOT EXISTS ", 1);
            statements.push(definition(DefinitionKind::Database, database, &[], statement));
        }
    }
    in_own_words(connection, statements).await
}

/// The statements that make these tables; `again` removes them before, all before the first is made: one that is there as it
/// was must not stand in the way of a foreign key. Tables that are gone meanwhile are left out. What is to be made behind the
/// rows stands behind its table.
pub async fn definitions(
    connection: &mut Connection,
    tables: &[TableName],
    again: bool,
    indexes: IndexTime,
) -> Result<Vec<Definition>, SnapshotError> {
    let mut statements = Vec::new();
    let mut removals = Vec::new();
    for name in tables {
        let Some(text) = catalogue::show_create_table(connection, name).await? else { continue };
        if again {
            let statement = format!("DROP TABLE IF EXISTS {}", quote_table(name));
            removals.push(definition(DefinitionKind::Removal, &name.database, &[name], statement));
        }
        let (text, later) = match indexes {
            IndexTime::Before => (text, None),
            IndexTime::After => without_indexes(&text, name),
        };
        let statement = text.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1);
        statements.push(definition(DefinitionKind::Table, &name.database, &[name], statement));
        statements.extend(later.map(|later| definition(DefinitionKind::Deferred, &name.database, &[name], later)));
    }
    removals.extend(statements);
    in_own_words(connection, removals).await
}

/// Says in whose words they are: comments with a version are code to one family only.
async fn in_own_words(
    connection: &mut Connection,
    mut statements: Vec<Definition>,
) -> Result<Vec<Definition>, SnapshotError> {
    if connection.flavour().await?.is_mariadb() {
        statements.iter_mut().for_each(|s| s.context.sql_mode = Some(carried_sql_mode(0)));
    }
    Ok(statements)
}

/// The databases of tables, each once.
pub fn databases_of(tables: &[TableName]) -> Vec<&str> {
    let mut databases: Vec<&str> = tables.iter().map(|t| t.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    databases
}

/// Takes the indexes that are not unique, and the foreign keys, out of a printed `CREATE TABLE`; the statement that makes
/// them. What must be there from the beginning stays: keys that hold rows apart, full-text ones (one at a time can be
/// added), and the one that an AUTO_INCREMENT column needs.
fn without_indexes(text: &str, name: &TableName) -> (String, Option<String>) {
    let Some((head, tail)) = text.rsplit_once("\n)") else { return (text.to_owned(), None) };
    let mut lines: Vec<&str> = head.lines().map(|line| line.strip_suffix(',').unwrap_or(line)).collect();
    let counted = lines.iter().find(|l| l.starts_with("  `") && l.contains(" AUTO_INCREMENT"));
    let counted = counted.and_then(|line| line.trim_start().split(' ').next()).unwrap_or("\0").to_owned();
    let needs = format!("({counted}");
    let is_later = |line: &&str| {
        let line = line.trim_start();
        let key = line.starts_with("KEY ") && !line.contains(&needs);
        key || (line.starts_with("CONSTRAINT ") && line.contains(" FOREIGN KEY ("))
    };
    let later: Vec<String> = lines.iter().filter(|l| is_later(l)).map(|l| format!("ADD {}", l.trim_start())).collect();
    if later.is_empty() {
        return (text.to_owned(), None);
    }
    lines.retain(|line| !is_later(line));
    let first = lines.first().copied().unwrap_or_default();
    let rest = lines.get(1..).unwrap_or_default().join(",\n");
    let statement = format!("ALTER TABLE {} {}", quote_table(name), later.join(", "));
    (format!("{first}\n{rest}\n){tail}"), Some(statement))
}

fn definition(kind: DefinitionKind, database: &str, tables: &[&TableName], statement: String) -> Definition {
    let tables = tables.iter().map(|t| (t.database.clone(), t.table.clone())).collect();
    Definition { kind, database: database.to_owned(), tables, statement, context: Definition::session() }
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// Its definition as the server printed it: another one, another plan.
    pub text: String,
    /// Its columns.
    pub schema: TableSchema,
    /// How each is selected.
    expressions: Vec<String>,
    /// The key by which it is cut, as indexes of columns; empty when it is read whole.
    pub key: Vec<usize>,
    /// Name of the key.
    key_name: String,
    /// Tables whose changes may change this one without a row in the log.
    pub parents: Vec<TableName>,
}

impl ReadPlan {
    /// Plans a table whose definition prints as `text`; none when it is not there any more.
    pub async fn make(
        connection: &mut Connection,
        name: &TableName,
        text: String,
        collations: &Collations,
    ) -> Result<Option<Self>, SnapshotError> {
        let Some(table) = catalogue::table_definition(connection, name).await? else { return Ok(None) };
        let mut schema = table_schema(&table, collations)?;
        schema.name = name.clone();
        let (key_name, key) = key_of(&table, &schema).unwrap_or_default();
        let expressions =
            table.columns.iter().zip(&schema.columns).map(|(column, planned)| expression(column, planned));
        let expressions = expressions.collect();
        let parents = acting_parents(connection, &table).await?;
        Ok(Some(Self { text, schema, expressions, key, key_name, parents }))
    }

    /// Names of the key's columns.
    pub fn key_columns(&self) -> Vec<String> {
        self.key.iter().filter_map(|c| self.schema.columns.get(*c)).map(|c| c.name.clone()).collect()
    }

    /// The query for the rows behind `after` (literals of the key), `limit` of them; for all when it is read whole.
    pub fn query(&self, after: Option<&[Vec<u8>]>, limit: u32) -> String {
        let mut sql = format!("SELECT {} FROM {}", self.expressions.join(","), quote_table(&self.schema.name));
        if self.key.is_empty() {
            return sql;
        }
        let names: Vec<String> = self.key_columns().iter().map(|name| quote_identifier(name)).collect();
        sql.push_str(&format!(" FORCE INDEX ({})", quote_identifier(&self.key_name)));
        if let Some(after) = after {
            let after: Vec<String> = after.iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect();
            sql.push_str(&format!(" WHERE {}", behind(&names, &after)));
        }
        sql.push_str(&format!(" ORDER BY {} LIMIT {limit}", names.join(",")));
        sql
    }

    /// The key of a row, as literals that [`query`](Self::query) takes.
    pub fn bound(&self, cells: &[Cell]) -> Option<Vec<Vec<u8>>> {
        let mut bound = Vec::with_capacity(self.key.len());
        for column in &self.key {
            let column_type = &self.schema.columns.get(*column)?.column_type;
            let mut text = String::new();
            let mut literal = Vec::new();
            write_literal(&mut literal, &value(column_type, cells.get(*column)?, &mut text)?, column_type);
            bound.push(literal);
        }
        Some(bound)
    }
}

/// How a column is selected.
fn expression(column: &CatalogueColumn, planned: &Column) -> String {
    let bytes = match column.data_type.as_str() {
        "uuid" | "inet6" => 16,
        "inet4" => 4,
        _ => return scan_expression(planned),
    };
    format!("CAST({} AS BINARY({bytes}))", quote_identifier(&planned.name))
}

/// `a >= x AND (a > x OR (a = x AND b > y))`: the optimiser makes ranges of it, which it does not of `(a, b) > (x, y)`.
fn behind(names: &[String], after: &[String]) -> String {
    match (names, after) {
        ([name], [value]) => format!("{name} > {value}"),
        ([name, names @ ..], [value, after @ ..]) => {
            format!("{name} >= {value} AND ({name} > {value} OR ({name} = {value} AND {}))", behind(names, after))
        }
        _ => "TRUE".to_owned(),
    }
}

/// The first key that cuts the table: the primary one, else a unique one without NULLs.
fn key_of(table: &TableDefinition, schema: &TableSchema) -> Option<(String, Vec<usize>)> {
    // Their bytes are no literal that MariaDB compares them with.
    let opaque =
        |at: usize| table.columns.get(at).is_some_and(|c| ["uuid", "inet4", "inet6"].contains(&c.data_type.as_str()));
    let usable = |at: usize| {
        schema.columns.get(at).is_some_and(|column| {
            !column.nullable
                && !opaque(at)
                && matches!(
                    column.column_type,
                    ColumnType::TinyInt { .. }
                        | ColumnType::SmallInt { .. }
                        | ColumnType::MediumInt { .. }
                        | ColumnType::Int { .. }
                        | ColumnType::BigInt { .. }
                        | ColumnType::Decimal { .. }
                        | ColumnType::Date
                        | ColumnType::Time { .. }
                        | ColumnType::DateTime { .. }
                        | ColumnType::Timestamp { .. }
                        | ColumnType::Bit { .. }
                        | ColumnType::Enum { .. }
                        | ColumnType::Set { .. }
                        | ColumnType::Char { .. }
                        | ColumnType::VarChar { .. }
                        | ColumnType::Binary { .. }
                        | ColumnType::VarBinary { .. }
                )
        })
    };
    table.unique_keys().find_map(|key| {
        let whole = key.parts.iter().all(|p| p.prefix.is_none() && p.expression.is_none());
        let columns: Option<Vec<usize>> =
            key.parts.iter().map(|p| p.column.as_deref().and_then(|c| schema.column(c))).collect();
        let columns = columns.filter(|columns| whole && columns.iter().all(|c| usable(*c)))?;
        Some((key.name.clone(), columns))
    })
}

/// Tables above this one whose deletes or updates act on its rows.
async fn acting_parents(connection: &mut Connection, table: &TableDefinition) -> Result<Vec<TableName>, SnapshotError> {
    let acts = |rule: &str| !matches!(rule, "RESTRICT" | "NO ACTION");
    let mut parents: Vec<TableName> = Vec::new();
    let mut looked_at = vec![table.clone()];
    while let Some(table) = looked_at.pop() {
        for key in table.foreign_keys.iter().filter(|k| acts(&k.on_update) || acts(&k.on_delete)) {
            if !parents.contains(&key.parent) {
                parents.push(key.parent.clone());
                looked_at.extend(catalogue::table_definition(connection, &key.parent).await?);
            }
        }
    }
    Ok(parents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_a_composite_key_is_ranges() {
        let of = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(behind(&of(&["a"]), &of(&["1"])), "a > 1");
        assert_eq!(
            behind(&of(&["a", "b", "c"]), &of(&["1", "2", "3"])),
            "a >= 1 AND (a > 1 OR (a = 1 AND b >= 2 AND (b > 2 OR (b = 2 AND c > 3))))"
        );
    }

    #[test]
    fn indexes_and_foreign_keys_are_taken_out_of_a_definition() {
        let text = "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a` varchar(9) DEFAULT 'x KEY (y)',\n  \
                    PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`a`),\n  KEY `k` (`a`(3)),\n  KEY `f` ((lower(`a`))),\n  \
                    CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`a`),\n  CONSTRAINT `d` CHECK ((`id` > 0))\n) ENGINE=InnoDB";
        let (rest, later) = without_indexes(text, &TableName::new("d", "t"));
        assert_eq!(
            rest,
            "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a` varchar(9) DEFAULT 'x KEY (y)',\n  \
             PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`a`),\n  CONSTRAINT `d` CHECK ((`id` > 0))\n) ENGINE=InnoDB"
        );
        assert_eq!(
            later.as_deref(),
            Some(
                "ALTER TABLE `d`.`t` ADD KEY `k` (`a`(3)), ADD KEY `f` ((lower(`a`))), ADD CONSTRAINT `c` FOREIGN KEY (`a`) \
                 REFERENCES `p` (`a`)"
            )
        );
        let counted = "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  KEY `i` (`id`)\n) ENGINE=InnoDB";
        assert_eq!(without_indexes(counted, &TableName::new("d", "t")), (counted.to_owned(), None));
    }
}

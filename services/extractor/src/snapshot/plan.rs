//! Which tables are copied, how they are made, and how each is cut.

use lutra_change::{ColumnType, SessionContext, TableName, TableSchema};
use lutra_mysql::Connection;
use lutra_mysql::catalogue::{self, Collations, TableDefinition};
use lutra_mysql::scan::scan_expression;
use lutra_mysql::sql::{quote_identifier, quote_table, quote_text, write_literal};
use lutra_mysql::table_schema::table_schema;
use lutra_rules::{Rules, TableDecision};
use lutra_spec::SourceSpec;
use lutra_wire::{Definition, DefinitionKind};

use super::SnapshotError;
use super::encode::value;
use lutra_mysql::Cell;

/// utf8mb4_general_ci, which every server knows.
const UTF8MB4: u16 = 45;

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
    let mut wanted = Vec::new();
    for table in catalogue::tables(connection).await? {
        let name = table.name;
        let carried = !matches!(rules.table(&name), Ok(TableDecision::Drop) | Err(_));
        if spec.captures(&name.database, &name.table) && carried {
            let estimate = estimate(connection, &name).await?;
            wanted.push(Wanted { name, estimate });
        }
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

/// The statements that make these tables, their databases first; `again` removes them before. Tables that are gone
/// meanwhile are left out.
pub async fn definitions(
    connection: &mut Connection,
    tables: &[TableName],
    again: bool,
) -> Result<Vec<Definition>, SnapshotError> {
    let mut statements = Vec::new();
    let mut databases: Vec<&str> = tables.iter().map(|t| t.database.as_str()).collect();
    databases.dedup();
    for database in databases.into_iter().filter(|_| !again) {
        if let Some(text) = catalogue::show_create_database(connection, database).await? {
            let statement = text.replacen("CREATE DATABASE ", "CREATE DATABASE IF NOT EXISTS ", 1);
            statements.push(definition(DefinitionKind::Database, database, &[], statement));
        }
    }
    for name in tables {
        let Some(text) = catalogue::show_create_table(connection, name).await? else { continue };
        if again {
            let statement = format!("DROP TABLE IF EXISTS {}", quote_table(name));
            statements.push(definition(DefinitionKind::Removal, &name.database, &[name], statement));
        }
        let statement = text.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1);
        statements.push(definition(DefinitionKind::Table, &name.database, &[name], statement));
    }
    Ok(statements)
}

fn definition(kind: DefinitionKind, database: &str, tables: &[&TableName], statement: String) -> Definition {
    let context = SessionContext {
        sql_mode: Some(0),
        character_set_client: Some(UTF8MB4),
        collation_connection: Some(UTF8MB4),
        no_foreign_key_checks: true,
        explicit_defaults_for_timestamp: Some(true),
        ..SessionContext::default()
    };
    let tables = tables.iter().map(|t| (t.database.clone(), t.table.clone())).collect();
    Definition { kind, database: database.to_owned(), tables, statement, context }
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// Its definition as the server printed it: another one, another plan.
    pub text: String,
    /// Its columns.
    pub schema: TableSchema,
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
        let parents = acting_parents(connection, &table).await?;
        Ok(Some(Self { text, schema, key, key_name, parents }))
    }

    /// Names of the key's columns.
    pub fn key_columns(&self) -> Vec<String> {
        self.key.iter().filter_map(|c| self.schema.columns.get(*c)).map(|c| c.name.clone()).collect()
    }

    /// The query for the rows behind `after` (literals of the key), `limit` of them; for all when it is read whole.
    pub fn query(&self, after: Option<&[Vec<u8>]>, limit: u32) -> String {
        let columns: Vec<String> = self.schema.columns.iter().map(scan_expression).collect();
        let mut sql = format!("SELECT {} FROM {}", columns.join(","), quote_table(&self.schema.name));
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
    let usable = |column: usize| {
        schema.columns.get(column).is_some_and(|column| {
            !column.nullable
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
}

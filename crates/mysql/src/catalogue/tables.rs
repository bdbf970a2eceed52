//! Tables: columns, keys, foreign keys and triggers.

use lutra_change::TableName;

use super::is_system;
use crate::connection::{Connection, Param, Row};
use crate::error::Result;
use crate::sql::quote_table;

/// A table in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueTable {
    /// Full name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Collation.
    pub collation: String,
}

/// All base tables of the databases that are not the server's own.
pub async fn tables(connection: &mut Connection) -> Result<Vec<CatalogueTable>> {
    const SQL: &str = "SELECT table_schema, table_name, engine, table_collation FROM information_schema.tables \
                       WHERE table_type = 'BASE TABLE' ORDER BY 1, 2";
    let rows = connection.query(SQL).await?;
    let tables = rows.iter().map(|row| CatalogueTable {
        name: TableName::new(row.string(0), row.string(1)),
        engine: row.string(2),
        collation: row.string(3),
    });
    Ok(tables.filter(|t| !is_system(&t.name.database)).collect())
}

/// A column in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueColumn {
    /// Name.
    pub name: String,
    /// Place in the table, from 1.
    pub ordinal: u32,
    /// `data_type`, lower case (`int`, `varchar`, …).
    pub data_type: String,
    /// `column_type` with length, sign, labels.
    pub column_type: String,
    /// Character set, where it has one.
    pub charset: Option<String>,
    /// Collation, where it has one.
    pub collation: Option<String>,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Default, where there is one.
    pub default: Option<String>,
    /// VIRTUAL or STORED generated: the server makes its value.
    pub generated: bool,
    /// What it is computed from, of a generated one.
    pub expression: Option<String>,
    /// A generated one whose value is kept in the row.
    pub stored: bool,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// INVISIBLE.
    pub invisible: bool,
    /// `ON UPDATE CURRENT_TIMESTAMP`: the server sets it where an update does not.
    pub touched_by_updates: bool,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKeyPart {
    /// Column; `None` for an expression.
    pub column: Option<String>,
    /// Prefix length in characters.
    pub prefix: Option<u32>,
    /// The expression of a functional part.
    pub expression: Option<String>,
}

/// A primary or unique key, or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKey {
    /// Name; `PRIMARY` for the primary key.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Parts in order.
    pub parts: Vec<CatalogueKeyPart>,
    /// `BTREE`, `HASH`, `FULLTEXT`, `SPATIAL`.
    pub index_type: String,
}

impl CatalogueKey {
    /// Whether it is the primary key.
    pub fn is_primary(&self) -> bool {
        self.name == "PRIMARY"
    }
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Constraint name.
    pub name: String,
    /// The table that refers.
    pub child: TableName,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// The table referred to.
    pub parent: TableName,
    /// Its columns, in the same order.
    pub parent_columns: Vec<String>,
    /// ON UPDATE rule: `CASCADE`, `SET NULL`, `NO ACTION`, `RESTRICT`, `SET DEFAULT`.
    pub on_update: String,
    /// ON DELETE rule.
    pub on_delete: String,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Name.
    pub name: String,
    /// Its table.
    pub table: TableName,
    /// `INSERT`, `UPDATE`, `DELETE`.
    pub event: String,
    /// `BEFORE`, `AFTER`.
    pub timing: String,
    /// It begins with Lutra's [`TRIGGER_GUARD`]: applied rows do not fire it.
    pub guarded: bool,
}

/// How the body of a trigger begins that was created for a target that may be promoted.
pub const TRIGGER_GUARD: &str = "IF @lutra_apply IS NULL THEN";

/// What a session sets that applies rows.
pub const TRIGGER_GUARD_MARK: &str = "@lutra_apply = 1";

/// All that is asked of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Full name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Columns in order, hidden ones not included.
    pub columns: Vec<CatalogueColumn>,
    /// All keys; the primary key first.
    pub keys: Vec<CatalogueKey>,
    /// Foreign keys in which this table is the child.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys in which this table is the parent.
    pub referenced_by: Vec<ForeignKey>,
    /// Triggers on it.
    pub triggers: Vec<Trigger>,
}

impl TableDefinition {
    /// The primary key.
    pub fn primary_key(&self) -> Option<&CatalogueKey> {
        self.keys.iter().find(|k| k.is_primary())
    }

    /// The primary and all unique keys.
    pub fn unique_keys(&self) -> impl Iterator<Item = &CatalogueKey> {
        self.keys.iter().filter(|k| k.unique)
    }
}

/// Everything about one table, or one of MariaDB's sequences; `None` where it is not there (or not visible to the account).
pub async fn table_definition(connection: &mut Connection, name: &TableName) -> Result<Option<TableDefinition>> {
    const TABLE: &str = "SELECT table_schema, table_name, engine FROM information_schema.tables \
                         WHERE table_schema = ? AND table_name = ? AND table_type IN ('BASE TABLE', 'SEQUENCE')";
    let Some(row) = connection.exec_query(TABLE, of(name)).await?.into_iter().next() else { return Ok(None) };
    // As the server spells it: on servers with lower-case names ours may be spelt otherwise.
    let name = TableName::new(row.string(0), row.string(1));
    Ok(Some(TableDefinition {
        engine: row.string(2),
        columns: columns(connection, &name).await?,
        keys: keys(connection, &name).await?,
        foreign_keys: foreign_keys(connection, &name, "k.table_schema = ? AND k.table_name = ?").await?,
        referenced_by: foreign_keys(connection, &name, "k.referenced_table_schema = ? AND k.referenced_table_name = ?")
            .await?,
        triggers: triggers(connection, &name).await?,
        name,
    }))
}

/// Whether a table of that name is there and keeps old versions of its rows (MariaDB's `WITH SYSTEM VERSIONING`).
pub async fn is_versioned(connection: &mut Connection, name: &TableName) -> Result<bool> {
    const SQL: &str = "SELECT COUNT(*) FROM information_schema.tables \
                       WHERE table_schema = ? AND table_name = ? AND table_type = 'SYSTEM VERSIONED'";
    let rows = connection.exec_query(SQL, of(name)).await?;
    Ok(rows.first().and_then(|row| row.u64(0)) == Some(1))
}

fn of(name: &TableName) -> Vec<Param> {
    vec![name.database.as_str().into(), name.table.as_str().into()]
}

async fn columns(connection: &mut Connection, name: &TableName) -> Result<Vec<CatalogueColumn>> {
    const SQL: &str = "SELECT column_name, ordinal_position, data_type, column_type, character_set_name, collation_name, \
                       is_nullable, column_default, extra, generation_expression FROM information_schema.columns \
                       WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
    let rows = connection.exec_query(SQL, of(name)).await?;
    Ok(rows.iter().map(column).collect())
}

fn column(row: &Row) -> CatalogueColumn {
    let extra = row.string(8).to_ascii_uppercase();
    CatalogueColumn {
        name: row.string(0),
        ordinal: row.u64(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        data_type: row.string(2).to_ascii_lowercase(),
        column_type: row.string(3),
        charset: row.text(4).map(str::to_owned),
        collation: row.text(5).map(str::to_owned),
        nullable: row.text(6) == Some("YES"),
        default: row.text(7).map(str::to_owned),
        // `DEFAULT_GENERATED` is an expression default, not a generated column.
        generated: extra.contains("VIRTUAL GENERATED")
            || extra.contains("STORED GENERATED")
            || extra.contains("PERSISTENT"),
        expression: row.text(9).filter(|text| !text.is_empty()).map(str::to_owned),
        stored: extra.contains("STORED GENERATED") || extra.contains("PERSISTENT"),
        auto_increment: extra.contains("AUTO_INCREMENT"),
        invisible: extra.contains("INVISIBLE"),
        touched_by_updates: extra.contains("ON UPDATE"),
    }
}

async fn keys(connection: &mut Connection, name: &TableName) -> Result<Vec<CatalogueKey>> {
    // `SHOW` instead of `information_schema.statistics`: there, MySQL hides functional parts from accounts without more rights.
    let rows = connection.query(format!("SHOW INDEX FROM {}", quote_table(name))).await?;
    let mut keys: Vec<CatalogueKey> = Vec::new();
    for row in &rows {
        let part = CatalogueKeyPart {
            column: row.text(4).map(str::to_owned),
            prefix: row.u64(7).and_then(|n| u32::try_from(n).ok()),
            expression: row.text(14).filter(|_| row.text(4).is_none()).map(str::to_owned),
        };
        let key = row.string(2);
        match keys.iter_mut().find(|k| k.name == key) {
            Some(known) => known.parts.push(part),
            None => keys.push(CatalogueKey {
                name: key,
                unique: row.text(1) == Some("0"),
                parts: vec![part],
                index_type: row.string(10),
            }),
        }
    }
    keys.sort_by_key(|k| !k.is_primary());
    Ok(keys)
}

async fn foreign_keys(connection: &mut Connection, name: &TableName, condition: &str) -> Result<Vec<ForeignKey>> {
    let sql = format!(
        "SELECT k.constraint_name, k.table_schema, k.table_name, k.column_name, k.referenced_table_schema, \
         k.referenced_table_name, k.referenced_column_name, r.update_rule, r.delete_rule \
         FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r \
         ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name \
         WHERE k.referenced_table_name IS NOT NULL AND {condition} \
         ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position"
    );
    let rows = connection.exec_query(&sql, of(name)).await?;
    let mut found: Vec<ForeignKey> = Vec::new();
    for row in &rows {
        let (key, child) = (row.string(0), TableName::new(row.string(1), row.string(2)));
        if !found.last().is_some_and(|last| last.name == key && last.child == child) {
            found.push(ForeignKey {
                name: key,
                child,
                columns: Vec::new(),
                parent: TableName::new(row.string(4), row.string(5)),
                parent_columns: Vec::new(),
                on_update: row.string(7),
                on_delete: row.string(8),
            });
        }
        if let Some(last) = found.last_mut() {
            last.columns.push(row.string(3));
            last.parent_columns.push(row.string(6));
        }
    }
    Ok(found)
}

async fn triggers(connection: &mut Connection, name: &TableName) -> Result<Vec<Trigger>> {
    const SQL: &str = "SELECT trigger_name, event_manipulation, action_timing, action_statement FROM information_schema.triggers \
                       WHERE event_object_schema = ? AND event_object_table = ? ORDER BY 1";
    let rows = connection.exec_query(SQL, of(name)).await?;
    let trigger = |row: &Row| Trigger {
        name: row.string(0),
        table: name.clone(),
        event: row.string(1),
        timing: row.string(2),
        guarded: row.string(3).starts_with(TRIGGER_GUARD),
    };
    Ok(rows.iter().map(trigger).collect())
}

/// The statement that makes the table, as the server prints it.
pub async fn show_create_table(connection: &mut Connection, name: &TableName) -> Result<Option<String>> {
    match connection.query_first(format!("SHOW CREATE TABLE {}", quote_table(name))).await {
        Ok(row) => Ok(row.and_then(|r| r.text(1).map(str::to_owned))),
        Err(e) if e.code() == Some(1146) => Ok(None),
        Err(e) => Err(e),
    }
}

//! What a server says of itself and of its tables.
//!
//! | room | what it asks for |
//! |---|---|
//! | `server` | who the server is, whom it follows, its settings and its clock |
//! | `binlog` | its binlog's files, end and retention |
//! | `tables` | tables with columns, keys, foreign keys and triggers |
//! | `collations` | collations by id and by name |

mod binlog;
mod collations;
mod server;
mod tables;

use lutra_change::GtidSet;

pub use self::binlog::{binlog_end, binlog_files, binlog_retention, log_end, mariadb_binlog_state, mariadb_position};
pub use self::collations::{Collation, Collations, collations};
pub use self::server::{Follows, ServerIdentity, clock, follows, identity, variables};
pub use self::tables::{
    CatalogueColumn, CatalogueKey, CatalogueKeyPart, CatalogueTable, ForeignKey, TRIGGER_GUARD, TRIGGER_GUARD_MARK,
    TableDefinition, Trigger, is_versioned, show_create_table, table_definition, tables,
};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::sql::quote_identifier;

/// Schemas of the server itself, and Lutra's own: never captured as rows, never copied.
pub const SYSTEM_SCHEMAS: [&str; 5] = ["mysql", "information_schema", "performance_schema", "sys", "lutra"];

/// The databases that are not the server's own.
pub async fn databases(connection: &mut Connection) -> Result<Vec<String>> {
    let rows = connection.query("SELECT schema_name FROM information_schema.schemata ORDER BY 1").await?;
    Ok(rows.iter().map(|r| r.string(0)).filter(|d| !is_system(d)).collect())
}

/// The default collations of the databases.
pub async fn database_defaults(connection: &mut Connection) -> Result<Vec<(String, String)>> {
    let sql = "SELECT schema_name, default_collation_name FROM information_schema.schemata";
    Ok(connection.query(sql).await?.iter().map(|row| (row.string(0), row.string(1))).collect())
}

/// Whether a database is the server's own or Lutra's.
pub fn is_system(database: &str) -> bool {
    SYSTEM_SCHEMAS.iter().any(|s| s.eq_ignore_ascii_case(database))
}

/// The statement that makes the database.
pub async fn show_create_database(connection: &mut Connection, name: &str) -> Result<Option<String>> {
    match connection.query_first(format!("SHOW CREATE DATABASE {}", quote_identifier(name))).await {
        Ok(row) => Ok(row.and_then(|r| r.text(1).map(str::to_owned))),
        Err(e) if e.code() == Some(1049) => Ok(None),
        Err(e) => Err(e),
    }
}

const QUERY: &str = "a catalogue query";

fn gtid_set(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|e| Error::Unexpected { operation: QUERY, reason: format!("{e}") })
}

fn missing(what: &str) -> Error {
    Error::Unexpected { operation: QUERY, reason: format!("the server gives no {what}") }
}

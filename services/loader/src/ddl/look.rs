//! What the tables of a statement look like: whether it has taken effect, where no GTID tells.

use lutra_change::{Number, TableName};
use lutra_mysql::dialect::session_statement;
use lutra_mysql::sql::{quote_table, quote_text};
use lutra_mysql::{Error, Flavour};
use lutra_wire::record::{Ddl, DdlKind};

use super::failed;
use super::once::Intent;
use super::session::restore;
use crate::error::LoadError;
use crate::target::TargetConnection;

/// Whether a statement whose intent was found has taken effect: all tables changed = yes, none = no, else halt.
pub(super) async fn is_done<C: TargetConnection>(
    connection: &mut C,
    ddl: &Ddl,
    intent: &Intent,
    number: Number,
    flavour: Flavour,
) -> Result<bool, LoadError> {
    let now = digests(connection, ddl, flavour).await?;
    let changed = now.iter().zip(&intent.before).filter(|(a, b)| a != b).count();
    match changed {
        0 => Ok(false),
        n if n == now.len() => Ok(true),
        _ if ddl.kind == DdlKind::DropTable => {
            drop_the_rest(connection, ddl, &now, flavour).await.map_err(failed)?;
            Ok(true)
        }
        _ => Err(LoadError::Ddl {
            number,
            reason: format!(
                "of the tables {} some changed and some did not: finish or undo the statement by hand, clear ddl_intent in \
                 lutra.slot (and advance it if finished), then resume the pipeline",
                ddl.tables.iter().map(quote_table).collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// What the statement's tables look like: definition and table id; `-` for one that is not there.
pub(super) async fn digests<C: TargetConnection>(
    connection: &mut C,
    ddl: &Ddl,
    flavour: Flavour,
) -> Result<Vec<String>, LoadError> {
    let mut found = Vec::with_capacity(ddl.tables.len().max(1));
    for table in &ddl.tables {
        found.push(table_digest(connection, table, flavour).await?);
    }
    if ddl.tables.is_empty() {
        let sql = format!(
            "SELECT CONCAT(default_character_set_name, default_collation_name) FROM information_schema.schemata \
             WHERE schema_name = {}",
            quote_text(&ddl.database)
        );
        found.push(connection.ask(&sql).await.map_err(failed)?.unwrap_or_else(|| "-".to_owned()));
    }
    Ok(found)
}

async fn table_digest<C: TargetConnection>(
    connection: &mut C,
    table: &TableName,
    flavour: Flavour,
) -> Result<String, LoadError> {
    let condition =
        format!("table_schema = {} AND table_name = {}", quote_text(&table.database), quote_text(&table.table));
    let columns = format!(
        "SELECT SHA2(CONCAT_WS('|', MAX(t.create_time), MAX(t.table_collation), (SELECT GROUP_CONCAT(CONCAT_WS(':', column_name, \
         column_type, is_nullable, column_default, extra) ORDER BY ordinal_position SEPARATOR '|') FROM information_schema.columns \
         WHERE {condition}), (SELECT GROUP_CONCAT(CONCAT_WS(':', index_name, seq_in_index, column_name) ORDER BY index_name, \
         seq_in_index SEPARATOR '|') FROM information_schema.statistics WHERE {condition})), 256) \
         FROM information_schema.tables t WHERE {condition} HAVING COUNT(*) > 0"
    );
    let definition = connection.ask(&columns).await.map_err(failed)?;
    let Some(definition) = definition else { return Ok("-".to_owned()) };
    let (database, name) = (quote_text(&table.database), quote_text(&table.table));
    let id = match flavour {
        Flavour::MySql => {
            format!(
                "SELECT table_id FROM information_schema.innodb_tables WHERE name = CONCAT({database}, '/', {name})"
            )
        }
        // There the names are as those of files.
        Flavour::MariaDb => format!(
            "SELECT table_id FROM information_schema.innodb_sys_tables WHERE name = \
             CONCAT(CAST(CONVERT({database} USING filename) AS BINARY), '/', CAST(CONVERT({name} USING filename) AS BINARY))"
        ),
    };
    // Needs PROCESS; without it a TRUNCATE is told by the creation time alone.
    let id = connection.ask(&id).await.ok().flatten().unwrap_or_default();
    Ok(format!("{definition}/{id}"))
}

/// Finishes a `DROP TABLE` of several tables that a crash cut off: not every server drops all of them or none.
async fn drop_the_rest<C: TargetConnection>(
    connection: &mut C,
    ddl: &Ddl,
    now: &[String],
    flavour: Flavour,
) -> Result<(), Error> {
    let rest = ddl.tables.iter().zip(now).filter(|(_, digest)| *digest != "-").map(|(table, _)| quote_table(table));
    let text = format!("DROP TABLE IF EXISTS {}", rest.collect::<Vec<_>>().join(", "));
    connection.run_long(session_statement(&ddl.context, flavour).as_bytes()).await?;
    let dropped = connection.run_long(text.as_bytes()).await;
    restore(connection, ddl, false).await?;
    dropped
}

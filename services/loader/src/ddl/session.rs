//! The session in which a statement runs: as the source's was, and afterwards as rows need it.

use lutra_change::SessionContext;
use lutra_mysql::dialect::{session_statement, unhindered_statement};
use lutra_mysql::sql::quote_identifier;
use lutra_mysql::translate::translate;
use lutra_mysql::{Error, ErrorKind, Flavour};
use lutra_wire::record::{Ddl, DdlKind};

use crate::planner::SQL_MODE;
use crate::target::TargetConnection;

/// Runs the statement as the source's session did.
pub(super) async fn statement<C: TargetConnection>(
    connection: &mut C,
    ddl: &Ddl,
    gtid: Option<&str>,
    flavour: Flavour,
) -> Result<(), Error> {
    if !ddl.database.is_empty() {
        match connection.run_long(format!("USE {}", quote_identifier(&ddl.database)).as_bytes()).await {
            // The statement may name its own tables in full; names without a database must not mean tables of the
            // database that was used before.
            Err(e) if matches!(e.kind(), ErrorKind::NoSuchDatabase | ErrorKind::AccessDenied) => {
                if ddl.tables.is_empty() || ddl.tables.iter().any(|t| t.database == ddl.database) {
                    return Err(e);
                }
                connection.run_long(b"USE lutra").await?;
            }
            other => other?,
        }
    }
    unhinder(connection, flavour).await?;
    // It is about databases (and general tablespaces) alone, and needs privileges that few have.
    let encryption = ddl.context.default_table_encryption.filter(|_| ddl.kind == DdlKind::CreateDatabase);
    if let Some(on) = encryption.filter(|_| !flavour.is_mariadb()) {
        let text = format!("SET timestamp = DEFAULT /*!80016 , default_table_encryption = {}*/", u8::from(on));
        connection.run_long(text.as_bytes()).await?;
    }
    match connection.run_long(session_statement(&ddl.context, flavour).as_bytes()).await {
        // Needs SESSION_VARIABLES_ADMIN, and only ever forbids a statement that the source has allowed.
        Err(e) if e.kind() == ErrorKind::AccessDenied && ddl.context.sql_require_primary_key.is_some() => {
            let context = SessionContext { sql_require_primary_key: None, ..ddl.context.clone() };
            connection.run_long(session_statement(&context, flavour).as_bytes()).await?;
        }
        other => other?,
    }
    if let Some(gtid) = gtid {
        // With a charset of its own: a `character_set_connection` like utf16 would spell it otherwise.
        connection.run_long(format!("SET SESSION gtid_next=_utf8mb4'{gtid}'").as_bytes()).await?;
    }
    connection.run_long(&translate(&ddl.statement, &ddl.context, flavour)).await
}

/// Has the target take what the source has taken, and add nothing of its own.
async fn unhinder<C: TargetConnection>(connection: &mut C, flavour: Flavour) -> Result<(), Error> {
    match connection.run_long(unhindered_statement(flavour).as_bytes()).await {
        // Needs SESSION_VARIABLES_ADMIN. What the target forbids it says; what it adds of its own, it does not.
        Err(e) if e.kind() == ErrorKind::AccessDenied => {
            let adds = connection.ask("SELECT @@sql_generate_invisible_primary_key").await;
            if matches!(adds.as_ref().map(Option::as_deref), Ok(Some("1"))) { Err(e) } else { Ok(()) }
        }
        other => other,
    }
}

/// Brings the session back to what rows need.
pub(super) async fn restore<C: TargetConnection>(connection: &mut C, ddl: &Ddl, by_gtid: bool) -> Result<(), Error> {
    // A GTID that a failed statement left open is given back.
    connection.run_long(b"ROLLBACK").await?;
    // First of all: the words of what follows are in this one.
    connection.run_long(b"SET NAMES utf8mb4").await?;
    // Not every server lets a session have that one.
    let defaults = match ddl.context.explicit_defaults_for_timestamp {
        Some(_) => ", explicit_defaults_for_timestamp=DEFAULT",
        None => "",
    };
    let text = format!(
        "SET sql_mode='{SQL_MODE}', time_zone='+00:00', foreign_key_checks=1, unique_checks=1, timestamp=DEFAULT, \
         collation_server=DEFAULT{defaults} /*M!100201 , check_constraint_checks=1*/"
    );
    connection.run_long(text.as_bytes()).await?;
    if by_gtid { connection.run_long(b"SET SESSION gtid_next='AUTOMATIC'").await } else { Ok(()) }
}

//! What lives beside the tables of a database: routines, views, triggers and events, as the statements that make them.
//!
//! They are made in one unit with the tables, before any row: so each statement of the stream that changes one of them finds
//! it. Which of them the target gets, and in what form, is the rules' to say, as for the same statements in the stream.

use lutra_change::SessionContext;
use lutra_mysql::catalogue::Collations;
use lutra_mysql::dialect::{SQL_MODE_OF_MARIADB, sql_mode_text};
use lutra_mysql::sql::{quote_identifier, quote_text};
use lutra_mysql::{Connection, Flavour, Row};
use lutra_wire::{Definition, DefinitionKind};

use super::SnapshotError;
use super::plan::UTF8MB4;

/// A kind of object: how it is listed and shown.
struct Kind {
    word: &'static str,
    /// Names in a database.
    list: &'static str,
    /// Columns of what `SHOW CREATE` gives: the statement, `sql_mode`, `collation_connection`, `time_zone`.
    statement: usize,
    sql_mode: Option<usize>,
    collation: usize,
    time_zone: Option<usize>,
}

/// In the order in which they are made: views use functions, and triggers may use both.
const KINDS: [Kind; 5] = [
    Kind {
        word: "FUNCTION",
        list: "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'FUNCTION' AND routine_schema = ",
        statement: 2,
        sql_mode: Some(1),
        collation: 4,
        time_zone: None,
    },
    Kind {
        word: "PROCEDURE",
        list: "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'PROCEDURE' AND routine_schema = ",
        statement: 2,
        sql_mode: Some(1),
        collation: 4,
        time_zone: None,
    },
    Kind {
        word: "VIEW",
        list: "SELECT table_name FROM information_schema.views WHERE table_schema = ",
        statement: 1,
        sql_mode: None,
        collation: 3,
        time_zone: None,
    },
    Kind {
        word: "TRIGGER",
        list: "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = ",
        statement: 2,
        sql_mode: Some(1),
        collation: 4,
        time_zone: None,
    },
    Kind {
        word: "EVENT",
        list: "SELECT event_name FROM information_schema.events WHERE event_schema = ",
        statement: 3,
        sql_mode: Some(1),
        collation: 5,
        time_zone: Some(2),
    },
];

/// The statements that make everything of these databases that is no table and that the account sees; `again` removes each
/// before. (What it may not see is a warning of `apply`.)
///
/// # Errors
/// [`SnapshotError::Unseen`] for one whose definition the account may not see; the server's.
pub async fn objects(
    connection: &mut Connection,
    databases: &[&str],
    collations: &Collations,
    again: bool,
) -> Result<Vec<Definition>, SnapshotError> {
    let flavour = connection.flavour().await?;
    let mut found = Vec::new();
    for kind in &KINDS {
        for database in databases {
            // Triggers of one table and moment fire in the order of their making.
            let order = if kind.word == "TRIGGER" {
                "event_object_table, event_manipulation, action_timing, action_order"
            } else {
                "1"
            };
            let names = connection.query(format!("{}{} ORDER BY {order}", kind.list, quote_text(database))).await?;
            for name in names.iter().map(|row| row.string(0)) {
                let Some(made) = show(connection, kind, database, &name, flavour, collations).await? else { continue };
                found.extend(again.then(|| removal(kind, database, &name, &made.context)));
                found.push(made);
            }
        }
    }
    Ok(found)
}

/// What removes it, in the session that makes it anew.
fn removal(kind: &Kind, database: &str, name: &str, context: &SessionContext) -> Definition {
    Definition {
        kind: DefinitionKind::Other,
        database: database.to_owned(),
        tables: Vec::new(),
        statement: format!("DROP {} IF EXISTS {}.{}", kind.word, quote_identifier(database), quote_identifier(name)),
        context: context.clone(),
    }
}

async fn show(
    connection: &mut Connection,
    kind: &Kind,
    database: &str,
    name: &str,
    flavour: Flavour,
    collations: &Collations,
) -> Result<Option<Definition>, SnapshotError> {
    let qualified = format!("{}.{}", quote_identifier(database), quote_identifier(name));
    let shown = connection.query_first(format!("SHOW CREATE {} {qualified}", kind.word)).await;
    let unseen = || SnapshotError::Unseen { what: format!("{} {database}.{name}", kind.word.to_lowercase()) };
    let row: Row = match shown {
        Ok(Some(row)) => row,
        // Gone meanwhile: any definition that changes voids what was read.
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == lutra_mysql::ErrorKind::AccessDenied => return Err(unseen()),
        Err(error) if matches!(error.code(), Some(1146 | 1305 | 1360 | 1539)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let statement = row.text(kind.statement).filter(|text| !text.is_empty()).ok_or_else(unseen)?;
    let context = SessionContext {
        sql_mode: Some(kind.sql_mode.map_or(0, |at| mode_of(&row.string(at), flavour))),
        // The text comes to us in UTF-8, whatever it was written in.
        character_set_client: Some(UTF8MB4),
        collation_connection: row.text(kind.collation).and_then(|name| collations.id(name)).or(Some(UTF8MB4)),
        time_zone: kind.time_zone.map(|at| row.string(at)),
        no_foreign_key_checks: true,
        ..SessionContext::default()
    };
    Ok(Some(Definition {
        kind: DefinitionKind::Other,
        database: database.to_owned(),
        tables: Vec::new(),
        statement: statement.to_owned(),
        context,
    }))
}

/// The carried form of a `sql_mode` that a server prints by names. Names that change no definition have no bit.
fn mode_of(names: &str, flavour: Flavour) -> u64 {
    let family = if flavour.is_mariadb() { SQL_MODE_OF_MARIADB } else { 0 };
    let bit = |name: &str| (0..48).map(|bit| 1_u64 << bit).find(|bit| sql_mode_text(bit | family, flavour) == name);
    names.split(',').filter_map(bit).fold(family, |mask, bit| mask | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_back_from_their_names() {
        for (names, flavour) in [
            ("ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION", Flavour::MySql),
            ("ANSI_QUOTES,TIME_TRUNCATE_FRACTIONAL", Flavour::MySql),
            ("PIPES_AS_CONCAT,EMPTY_STRING_IS_NULL", Flavour::MariaDb),
            ("", Flavour::MySql),
        ] {
            assert_eq!(sql_mode_text(mode_of(names, flavour), flavour), names);
        }
        assert_eq!(mode_of("NO_AUTO_CREATE_USER", Flavour::MySql), 0, "it changes no definition");
    }
}

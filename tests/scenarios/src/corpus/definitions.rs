//! Everything that a server says it has in some databases, by name.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lutra_harness::mysql::quoted;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// Definitions by `kind database.name`.
pub type Definitions = BTreeMap<String, String>;

/// What the server says of these databases. What Lutra changes by design is taken back: the guard of triggers, the state
/// of events.
pub async fn read(connection: &mut Conn, databases: &[String]) -> Result<Definitions> {
    connection.query_drop("SET NAMES utf8mb4, sql_mode = DEFAULT").await.context("reset the session")?;
    // Names without a database stand for the default one.
    connection.query_drop("USE information_schema").await.context("reset the session")?;
    let defaults: Vec<(String, String)> = connection
        .query("SELECT character_set_name, default_collate_name FROM information_schema.character_sets")
        .await?;
    let mut found = Definitions::new();
    for database in databases {
        if let Ok(Some(row)) =
            connection.query_first::<Row, _>(format!("SHOW CREATE DATABASE {}", quoted(database))).await
        {
            found.insert(format!("database {database}"), text(&row, 1));
        }
        for (kind, sql, column) in LISTS {
            let names: Vec<String> = connection.exec(sql, (database,)).await.context("list what there is")?;
            for name in names {
                let show = format!("SHOW CREATE {kind} {}.{}", quoted(database), quoted(&name));
                // A view whose table is gone shows itself all the same; a table whose parent is gone too.
                let shown = match connection.query_first::<Row, _>(show).await {
                    Ok(Some(row)) => {
                        let more: Vec<String> = (0..row.len())
                            .filter(|i| *i != column && !SKIPPED.contains(&row.columns_ref()[*i].name_str().as_ref()))
                            .map(|i| text(&row, i))
                            .collect();
                        format!("{} [{}]", plain(kind, &text(&row, column), &defaults), more.join(" | "))
                    }
                    Ok(None) => "nothing".to_owned(),
                    Err(error) => format!("error: {error}"),
                };
                found.insert(format!("{kind} {database}.{name}"), shown);
            }
        }
        let counts: Vec<String> = connection.exec(LISTS[0].1, (database,)).await?;
        for name in counts {
            let count = format!("SELECT COUNT(*) FROM {}.{}", quoted(database), quoted(&name));
            let rows: Option<u64> = connection.query_first(count).await.unwrap_or(None);
            found.insert(format!("rows {database}.{name}"), format!("{rows:?}"));
        }
    }
    Ok(found)
}

/// When it was made is no part of a definition.
const SKIPPED: [&str; 2] = ["Created", "Events"];

/// What there is, how to list it, and which column of SHOW CREATE has the text.
const LISTS: [(&str, &str, usize); 6] = [
    (
        "TABLE",
        "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'",
        1,
    ),
    ("VIEW", "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'VIEW'", 1),
    (
        "PROCEDURE",
        "SELECT routine_name FROM information_schema.routines WHERE routine_schema = ? AND routine_type = 'PROCEDURE'",
        2,
    ),
    (
        "FUNCTION",
        "SELECT routine_name FROM information_schema.routines WHERE routine_schema = ? AND routine_type = 'FUNCTION'",
        2,
    ),
    ("TRIGGER", "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = ?", 2),
    ("EVENT", "SELECT event_name FROM information_schema.events WHERE event_schema = ?", 3),
];

fn text(row: &Row, at: usize) -> String {
    row.get_opt::<String, _>(at).and_then(Result::ok).unwrap_or_default()
}

fn plain(kind: &str, text: &str, defaults: &[(String, String)]) -> String {
    match kind {
        "TRIGGER" => match text.split_once("IF @lutra_apply IS NULL THEN ") {
            Some((head, body)) => format!("{head}{}", body.trim_end().trim_end_matches("; END IF")),
            None => text.to_owned(),
        },
        "EVENT" => text.replace(" DISABLE ON REPLICA ", " ENABLE ").replace(" DISABLE ON SLAVE ", " ENABLE "),
        "TABLE" => {
            let text = match text.rsplit_once(" AUTO_INCREMENT=") {
                Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
                None => text.to_owned(),
            };
            // The server writes the default collation of a character set out in its binlog's CREATE TABLE … SELECT, and
            // a replica of its own then shows it.
            defaults.iter().fold(text, |text, (charset, collation)| {
                text.replace(
                    &format!("CHARACTER SET {charset} COLLATE {collation} "),
                    &format!("CHARACTER SET {charset} "),
                )
            })
        }
        _ => text.to_owned(),
    }
}

//! The policy `lenient`: a statement that would lose data becomes statements that keep it (P6 for each of them).
//!
//! What is dropped or emptied is kept under a name that says by which unit, in the same database. What cannot be told to be
//! safe waits for a person.

use lutra_change::sql_lexer::{Lexis, TokenKind};
use lutra_change::sql_statement::{Definition, Object, Statement, StatementKind, Verb};
use lutra_change::{DdlKind, Number, SessionContext, TableName};
use lutra_mysql::Error;
use lutra_mysql::sql::{quote_identifier, quote_table, quote_text};
use lutra_wire::record::Ddl;

use crate::target::TargetConnection;

mod alter;

/// What is run in place of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It loses nothing: itself.
    AsIs,
    /// These, in order.
    Instead(Vec<String>),
    /// Nothing that is known to be safe.
    Wait(String),
}

/// Collation utf8mb4_general_ci: what is read here is in UTF-8.
const UTF8MB4: u16 = 45;
/// Characters of a name.
const NAME: usize = 64;

/// The name under which something is kept that the statement of that unit would drop.
pub(crate) fn kept(name: &str, number: Number) -> String {
    let sub = if number.sub == 0 { String::new() } else { format!("_{}", number.sub) };
    format!("_lutra_kept_{}{sub}_{name}", number.sequence).chars().take(NAME).collect()
}

fn kept_table(table: &TableName, number: Number) -> TableName {
    TableName::new(table.database.clone(), kept(&table.table, number))
}

/// What becomes of a statement, as the target is now.
///
/// # Errors
/// The target's.
pub(crate) async fn plan<C: TargetConnection>(connection: &mut C, ddl: &Ddl, number: Number) -> Result<Plan, Error> {
    let lexis = Lexis::of_context(&ddl.context);
    let Some(text) = lexis.charset.decode(&ddl.statement) else {
        return Ok(Plan::Wait("its text cannot be read".to_owned()));
    };
    let context = SessionContext { character_set_client: Some(UTF8MB4), ..ddl.context.clone() };
    let Some(statement) = Statement::new(text.as_bytes(), Lexis::of_context(&context)) else {
        return Ok(Plan::Wait("its text cannot be read".to_owned()));
    };
    let StatementKind::Definition(definition) = statement.kind() else {
        return Ok(Plan::Wait("it is not recognised".to_owned()));
    };
    match (definition.object, definition.kind) {
        (Object::Database, DdlKind::DropDatabase) => Ok(Plan::Wait("it drops a whole database".to_owned())),
        (Object::Sequence, _) if definition.verb == Verb::Drop => {
            Ok(Plan::Wait("it drops a sequence, whose value would be lost".to_owned()))
        }
        (Object::Table, DdlKind::DropTable) => dropped(connection, &definition, ddl, number).await,
        (Object::Table, DdlKind::TruncateTable) => emptied(connection, &definition, ddl, number).await,
        (Object::Table, DdlKind::CreateTable) => {
            let replaces = statement.is(1, "OR") && statement.is(2, "REPLACE");
            match definition.tables(&ddl.database).first() {
                Some(table) if replaces && exists(connection, table).await? => {
                    match set_by(connection, table, number).await? {
                        Err(reason) => Ok(Plan::Wait(reason)),
                        Ok(first) => Ok(Plan::Instead(vec![first, text])),
                    }
                }
                _ => Ok(Plan::AsIs),
            }
        }
        (Object::Table, DdlKind::AlterTable | DdlKind::RenameTable) if statement.is(0, "ALTER") => {
            let Some(table) = definition.tables(&ddl.database).into_iter().next() else {
                return Ok(Plan::Wait("it names no table".to_owned()));
            };
            let after = definition.references.first().map_or(0, |r| r.after);
            alter::plan(connection, &statement, after, &table, number).await
        }
        _ => Ok(Plan::AsIs),
    }
}

async fn exists<C: TargetConnection>(connection: &mut C, table: &TableName) -> Result<bool, Error> {
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.tables WHERE {}", of(table, "table_schema", "table_name"));
    Ok(connection.ask(&sql).await?.as_deref() == Some("1"))
}

fn of(table: &TableName, schema: &str, name: &str) -> String {
    format!("{schema} = {} AND {name} = {}", quote_text(&table.database), quote_text(&table.table))
}

/// Tables whose foreign keys refer to it.
async fn children<C: TargetConnection>(connection: &mut C, table: &TableName) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT MIN(CONCAT(constraint_schema, '.', table_name)) FROM information_schema.referential_constraints WHERE {} AND NOT \
         (constraint_schema = {} AND table_name = {})",
        of(table, "unique_constraint_schema", "referenced_table_name"),
        quote_text(&table.database),
        quote_text(&table.table)
    );
    connection.ask(&sql).await
}

/// Names of its foreign keys.
async fn foreign_keys<C: TargetConnection>(connection: &mut C, table: &TableName) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT GROUP_CONCAT(constraint_name SEPARATOR '\\n') FROM information_schema.referential_constraints WHERE {}",
        of(table, "constraint_schema", "table_name")
    );
    Ok(connection.ask(&sql).await?.unwrap_or_default().lines().map(str::to_owned).collect())
}

/// The statement by which a table takes the name under which it is kept. Its foreign keys would have a say in rows of other
/// tables, and their names are needed by its successor.
async fn set_by<C: TargetConnection>(
    connection: &mut C,
    table: &TableName,
    number: Number,
) -> Result<Result<String, String>, Error> {
    if let Some(child) = children(connection, table).await? {
        return Ok(Err(format!("foreign keys of {child} refer to {table}")));
    }
    let mut items: Vec<String> = foreign_keys(connection, table)
        .await?
        .iter()
        .map(|name| format!("DROP FOREIGN KEY {}", quote_identifier(name)))
        .collect();
    items.push(format!("RENAME TO {}", quote_table(&kept_table(table, number))));
    Ok(Ok(format!("ALTER TABLE {} {}", quote_table(table), items.join(", "))))
}

async fn dropped<C: TargetConnection>(
    connection: &mut C,
    definition: &Definition,
    ddl: &Ddl,
    number: Number,
) -> Result<Plan, Error> {
    let mut statements = Vec::new();
    for table in definition.tables(&ddl.database) {
        if exists(connection, &table).await? {
            match set_by(connection, &table, number).await? {
                Ok(statement) => statements.push(statement),
                Err(reason) => return Ok(Plan::Wait(reason)),
            }
        }
    }
    // Of IF EXISTS, which is all the source is known to have found; or of tables that are views here.
    Ok(if statements.is_empty() { Plan::AsIs } else { Plan::Instead(statements) })
}

async fn emptied<C: TargetConnection>(
    connection: &mut C,
    definition: &Definition,
    ddl: &Ddl,
    number: Number,
) -> Result<Plan, Error> {
    let tables = definition.tables(&ddl.database);
    let Some(table) = tables.first() else { return Ok(Plan::Wait("it names no table".to_owned())) };
    let triggers = format!(
        "SELECT COUNT(*) FROM information_schema.triggers WHERE {}",
        of(table, "event_object_schema", "event_object_table")
    );
    if connection.ask(&triggers).await?.as_deref() != Some("0") {
        return Ok(Plan::Wait(format!("{table} has triggers, which would stay with what is kept")));
    }
    if !foreign_keys(connection, table).await?.is_empty() {
        return Ok(Plan::Wait(format!("{table} has foreign keys, which a table made like it would lack")));
    }
    Ok(match set_by(connection, table, number).await? {
        Err(reason) => Plan::Wait(reason),
        Ok(first) => {
            let like = quote_table(&kept_table(table, number));
            Plan::Instead(vec![first, format!("CREATE TABLE {} LIKE {like}", quote_table(table))])
        }
    })
}

/// Whether a token is a name or a word at all.
fn is_name(statement: &Statement<'_>, at: usize) -> bool {
    statement.tokens.get(at).is_some_and(|t| !matches!(t.kind, TokenKind::Sign(_))) && statement.name(at).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_bears_the_unit_and_fits_a_name() {
        assert_eq!(kept("orders", Number::new(12, 0)), "_lutra_kept_12_orders");
        assert_eq!(kept("orders", Number::new(12, 3)), "_lutra_kept_12_3_orders");
        assert_eq!(kept(&"ä".repeat(64), Number::new(12, 0)).chars().count(), 64);
    }
}

//! Makes the tables whose copies follow (P12), statement by statement as any other DDL (P6).

use lutra_change::Number;
use lutra_mysql::sql::{quote_table, quote_text};

use crate::copying::{CREATE, Define, table_statements};
use crate::ddl::{self, DdlState};
use crate::error::LoadError;
use crate::slot::{Owner, Place};
use crate::target::TargetConnection;

/// Definitions to carry out.
#[derive(Debug)]
pub struct DefineJob {
    /// What to make.
    pub define: Define,
    /// Where its unit leads.
    pub place: Place,
}

/// Makes the tables and advances the slot row over the unit. After a crash it goes on with the statement whose intent is
/// found, else from the first: each may be repeated.
///
/// # Errors
/// [`LoadError::TableExists`], and those of [`ddl::apply`].
pub async fn apply<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
    job: DefineJob,
) -> Result<(), LoadError> {
    let DefineJob { define, place } = job;
    let failed = |source| LoadError::Target { operation: "making the tables of a load", source };
    for statement in CREATE {
        connection.run_long(statement.as_bytes()).await.map_err(failed)?;
    }
    let begun = ddl::intended(state, &define.statements);
    if begun.is_none() && !is_begun(connection, owner, &define).await? {
        ensure_new(connection, &define).await?;
        let defining = table_statements(&owner.task, &define, "defining");
        let fence = owner.intend(slot, known, None, state.next);
        ddl::commit_all(connection, &fence, &defining).await?.then_some(()).ok_or_else(|| moved(owner, slot, known))?;
    }
    for ddl in define.statements.iter().skip(begun.unwrap_or(0)) {
        let next = ddl::run_one(connection, owner, slot, known, state, ddl, place.number).await?;
        let done = owner.intend(slot, known, None, next);
        ddl::commit_all(connection, &done, &[]).await?.then_some(()).ok_or_else(|| moved(owner, slot, known))?;
        state.next = next;
    }
    let copying = table_statements(&owner.task, &define, "copying");
    let advance = owner.advance(slot, known, &place);
    ddl::commit_all(connection, &advance, &copying).await?.then_some(()).ok_or_else(|| moved(owner, slot, known))
}

fn moved(owner: &Owner, slot: u16, known: Number) -> LoadError {
    LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch }
}

/// Whether an earlier start has begun with these very tables.
async fn is_begun<C: TargetConnection>(connection: &mut C, owner: &Owner, define: &Define) -> Result<bool, LoadError> {
    let Some(first) = define.tables.first() else { return Ok(true) };
    let sql = format!(
        "SELECT COUNT(*) FROM `lutra`.`load` WHERE task = {} AND database_name = {} AND table_name = {} AND generation = {} AND \
         state = 'defining'",
        quote_text(&owner.task),
        quote_text(&first.database),
        quote_text(&first.table),
        first.generation
    );
    let found = connection.ask(&sql).await;
    Ok(found.map_err(|source| LoadError::Target { operation: "reading lutra.load", source })?.as_deref() == Some("1"))
}

/// A table that is there already may hold anything: it is not written over, unless it is removed first.
async fn ensure_new<C: TargetConnection>(connection: &mut C, define: &Define) -> Result<(), LoadError> {
    for table in define.tables.iter().map(lutra_wire::CopiedTable::name) {
        let removed = |ddl: &lutra_wire::record::Ddl| {
            ddl.kind == lutra_wire::record::DdlKind::DropTable && ddl.tables.contains(&table)
        };
        if define.statements.iter().any(removed) {
            continue;
        }
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
            quote_text(&table.database),
            quote_text(&table.table)
        );
        let found = connection.ask(&sql).await;
        let found = found.map_err(|source| LoadError::Target { operation: "looking for tables", source })?;
        if found.as_deref() != Some("0") {
            return Err(LoadError::TableExists { drop: format!("DROP TABLE {}", quote_table(&table)), table });
        }
    }
    Ok(())
}

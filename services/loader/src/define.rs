//! Makes the tables whose copies follow (P12), statement by statement as any other DDL (P6).

use lutra_change::Number;
use lutra_mysql::sql::{quote_table, quote_text};
use lutra_wire::record::{Ddl, DdlKind};
use uuid::Uuid;

use crate::copying::{CREATE, Define, statement_marker, table_statements};
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
    /// More statements for the transaction that ends it.
    pub also: Vec<String>,
    /// All tables of the task are made anew: what is written down of their copies, and of statements that wait, is void.
    pub anew: bool,
}

/// Makes the tables, and what lives beside them, and advances the slot row over the unit. After a crash it goes on with
/// the statement whose intent is found, else from the first: those of tables may be repeated, the others are marked.
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
    let DefineJob { define, place, also, anew } = job;
    let failed = |source| LoadError::Target { operation: "making the tables of a load", source };
    for statement in CREATE {
        connection.run_long(statement.as_bytes()).await.map_err(failed)?;
    }
    let statements: Vec<Ddl> = define.to_run().cloned().collect();
    // The same words may stand in an intent of the log that was left.
    let is_ours = !anew || state.intent.as_deref().and_then(ddl::intended_unit) == Some(place.number);
    let begun = ddl::intended(state, &statements).filter(|_| is_ours);
    let again = begun.is_some() || is_begun(connection, owner, &define, anew).await?;
    if anew && begun.is_none() {
        ddl::leave_intent(connection, owner, slot, known, state).await?;
    }
    if !again {
        ensure_new(connection, &define).await?;
        let mut defining = table_statements(&owner.task, &define, "defining");
        if anew {
            defining = [forget(&owner.task), defining, vec![begun_marker(&owner.task, define.id).1]].concat();
        }
        let fence = owner.intend(slot, known, None, state.next);
        ddl::commit_all(connection, &fence, &defining).await?.then_some(()).ok_or_else(|| moved(owner, slot, known))?;
    }
    // What was put off runs where a later start may stand elsewhere: its intent bears no number of the log.
    let number = if define.settles.is_some() { Number::ZERO } else { place.number };
    let mut step = Step { connection, owner, slot, known, state, number };
    let is_object = |ddl: &Ddl| ddl.kind == DdlKind::Other;
    for (at, ddl) in statements.iter().enumerate().skip(begun.unwrap_or(0)) {
        if !is_object(ddl) {
            step.run(ddl, &[]).await.map_err(|error| named(error, at, &define))?;
        }
    }
    let objects = statements.iter().enumerate().filter(|(_, ddl)| is_object(ddl));
    let refused = step.objects(objects.collect(), begun, define.id, again).await?;
    let mut last = table_statements(&owner.task, &define, "copying");
    last.extend(set_aside(owner, place.number, &refused));
    last.extend(also);
    let advance = owner.advance(slot, known, &place);
    ddl::commit_all(connection, &advance, &last).await?.then_some(()).ok_or_else(|| moved(owner, slot, known))
}

/// A statement that the target refused, with its reason.
type Refused<'d> = (usize, &'d Ddl, String);

struct Step<'s, C> {
    connection: &'s mut C,
    owner: &'s Owner,
    slot: u16,
    known: Number,
    state: &'s mut DdlState,
    number: Number,
}

impl<C: TargetConnection> Step<'_, C> {
    /// Runs a statement; `marks` are written with the word that it is done.
    async fn run(&mut self, ddl: &Ddl, marks: &[String]) -> Result<(), LoadError> {
        let (owner, slot, known) = (self.owner, self.slot, self.known);
        let next = ddl::run_one(self.connection, owner, slot, known, self.state, ddl, self.number).await?;
        self.done(next, marks).await
    }

    /// Nothing is under way any more.
    async fn done(&mut self, next: u64, marks: &[String]) -> Result<(), LoadError> {
        let (owner, slot, known) = (self.owner, self.slot, self.known);
        let done = owner.intend(slot, known, None, next);
        let fits = ddl::commit_all(self.connection, &done, marks).await?;
        self.state.next = next;
        fits.then_some(()).ok_or_else(|| moved(owner, slot, known))
    }

    /// Makes routines, views, triggers and events. A view may stand on one behind it: what the target refuses is tried
    /// again as long as others succeed. Gives what it refuses for good.
    async fn objects<'d>(
        &mut self,
        objects: Vec<(usize, &'d Ddl)>,
        begun: Option<usize>,
        define: Uuid,
        again: bool,
    ) -> Result<Vec<Refused<'d>>, LoadError> {
        let mut waiting: Vec<Refused<'d>> = objects.into_iter().map(|(at, ddl)| (at, ddl, String::new())).collect();
        // An intent that is open is settled first.
        waiting.sort_by_key(|(at, ..)| (Some(*at) != begun, *at));
        loop {
            let before = waiting.len();
            let mut refused = Vec::new();
            for (at, ddl, _) in waiting {
                let (id, mark) = statement_marker(&self.owner.task, define, at);
                if again && Some(at) != begun && is_marked(self.connection, self.owner, id).await? {
                    continue;
                }
                match self.run(ddl, &[mark]).await {
                    Ok(()) => {}
                    Err(LoadError::Statement { source, .. }) => {
                        let next = self.state.next;
                        self.done(next, &[]).await?;
                        refused.push((at, ddl, source.to_string()));
                    }
                    Err(error) => return Err(error),
                }
            }
            if refused.is_empty() || refused.len() == before {
                return Ok(refused);
            }
            waiting = refused;
        }
    }
}

/// Says which of many statements failed.
fn named(error: LoadError, at: usize, define: &Define) -> LoadError {
    let tables = define.to_run().nth(at).map(|ddl| &ddl.tables);
    let names = tables.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match error {
        LoadError::Statement { operation, number, source } => {
            LoadError::Statement { operation: format!("{operation} that makes {names}"), number, source }
        }
        other => other,
    }
}

/// What the target refused is set aside in its dead letters: no row depends on it, and a person may make it by hand.
fn set_aside(owner: &Owner, number: Number, refused: &[Refused<'_>]) -> Option<String> {
    let (_, _, first) = refused.first()?;
    for (_, ddl, reason) in refused {
        let begin: String = String::from_utf8_lossy(&ddl.statement).chars().take(120).collect();
        tracing::error!(
            statement = begin,
            reason,
            "the target refuses what lives beside the tables; it is in lutra.dead_letter"
        );
    }
    let texts: Vec<_> = refused.iter().map(|(_, ddl, _)| String::from_utf8_lossy(&ddl.statement)).collect();
    Some(format!(
        "INSERT INTO `lutra`.`dead_letter` (task, sequence, sub, kind, reason, body) VALUES ({}, {}, {}, 'objects', {}, {})",
        quote_text(&owner.task),
        number.sequence,
        number.sub,
        quote_text(&format!("{} statements of a full load, the first: {first}", refused.len())),
        quote_text(&texts.join(";\n"))
    ))
}

fn moved(owner: &Owner, slot: u16, known: Number) -> LoadError {
    LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch }
}

/// Statements by which everything that is written down of a task's tables is void: copies, and what waits or is left out.
/// What was set aside in the dead letters stays: a person may need it.
fn forget(task: &str) -> Vec<String> {
    let task = quote_text(task);
    let tables = ["load", "chunk", "stopped", "parked"];
    let mut statements: Vec<String> =
        tables.iter().map(|table| format!("DELETE FROM `lutra`.`{table}` WHERE task = {task}")).collect();
    statements.push(format!("UPDATE `lutra`.`ddl` SET state = 'settled' WHERE task = {task} AND state <> 'settled'"));
    statements
}

/// That tables are being made anew by these definitions.
fn begun_marker(task: &str, define: Uuid) -> (Uuid, String) {
    statement_marker(task, define, usize::MAX)
}

async fn is_marked<C: TargetConnection>(connection: &mut C, owner: &Owner, id: Uuid) -> Result<bool, LoadError> {
    let task = quote_text(&owner.task);
    let sql = format!("SELECT COUNT(*) FROM `lutra`.`chunk` WHERE task = {task} AND id = '{id}'");
    let found = connection.ask(&sql).await;
    Ok(found.map_err(|source| LoadError::Target { operation: "reading lutra.chunk", source })?.as_deref() == Some("1"))
}

/// Whether an earlier start has begun with these very tables.
async fn is_begun<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    define: &Define,
    anew: bool,
) -> Result<bool, LoadError> {
    if anew {
        return is_marked(connection, owner, begun_marker(&owner.task, define.id).0).await;
    }
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
        let removed = |ddl: &Ddl| ddl.kind == DdlKind::DropTable && ddl.tables.contains(&table);
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

//! DDL, which can not share a transaction with the slot row: made repeatable (P6).
//!
//! An intent goes through P4; then the statement; then P4 advances. Where the target has GTIDs and lets us name one, the
//! statement runs under `<ddl_uuid>:<n>`, and the server itself skips a repeat. Elsewhere the intent holds what the tables
//! looked like before, and a start that finds it compares.

use bytes::Bytes;
use lutra_change::{Number, SessionContext, TableName};
use lutra_mysql::dialect::{session_statement, unhindered_statement};
use lutra_mysql::sql::{quote_identifier, quote_table, quote_text};
use lutra_mysql::translate::translate;
use lutra_mysql::{Error, ErrorKind, Flavour};
use lutra_spec::DdlPolicy;
use lutra_wire::record::{Ddl, DdlKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::blocked::scope::Scope;
use crate::crash::{self, Point};
use crate::decisions::{self, Decision};
use crate::error::LoadError;
use crate::lenient;
use crate::planner::SQL_MODE;
use crate::slot::{Owner, Place};
use crate::target::TargetConnection;

/// Collation utf8mb4_general_ci, which both families of servers have: people write their statements in UTF-8.
const UTF8MB4: u16 = 45;

/// A statement to run.
#[derive(Debug)]
pub struct DdlJob {
    /// The statement.
    pub ddl: Ddl,
    /// Where its unit leads.
    pub place: Place,
    /// What becomes of it when it fails, and whether it waits for a person.
    pub policy: DdlPolicy,
    /// How it and its tables are set aside.
    pub beside: Beside,
}

/// How a statement and its tables are set aside: statements for the transaction that passes over it.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Its tables are held; an error says why everything must wait instead.
    pub alone: Result<(), String>,
    /// They make it wait.
    pub hold: Vec<String>,
    /// They stop its tables; none where it names no table.
    pub stop: Vec<String>,
}

/// A parked statement to run.
#[derive(Debug)]
pub struct ParkedJob {
    /// The statement.
    pub ddl: Ddl,
    /// Its unit.
    pub number: Number,
    /// What becomes of it.
    pub policy: DdlPolicy,
    /// How it is noted while it waits: `parked`, or `stopped`.
    pub waits_as: &'static str,
    /// It is done, once these are.
    pub done: Vec<String>,
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DdlEnd {
    /// It is done with.
    Done,
    /// It waits, and its tables with it.
    Waits(String),
    /// It failed, and its tables are stopped.
    Stopped(String),
}

/// What the slot row says of DDL.
#[derive(Clone, Debug, Default)]
pub struct DdlState {
    /// Source id of our GTIDs.
    pub uuid: String,
    /// The next number under it.
    pub next: u64,
    /// An intent that was found at the start.
    pub intent: Option<String>,
    /// Whether statements run under a GTID of ours.
    pub by_gtid: bool,
    /// What the server understands.
    pub flavour: Flavour,
}

/// What stands in `ddl_intent`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    number: Number,
    statement_sha256: String,
    by_gtid: bool,
    /// Digests of the tables before, in the order of the statement's tables; `-` where there was none.
    before: Vec<String>,
}

/// Applies the statement and advances the slot row over it.
///
/// # Errors
/// [`LoadError::Held`] when a person must decide and everything waits, [`LoadError::Statement`] when the target refuses
/// the statement, [`LoadError::NotRewritten`] when it could not be rewritten, [`LoadError::Ddl`] when its outcome cannot be told,
/// [`LoadError::SlotMoved`], or the target's.
pub async fn apply<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
    job: DdlJob,
) -> Result<DdlEnd, LoadError> {
    let DdlJob { ddl, place, policy, beside } = job;
    let number = place.number;
    let moved = || LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch };
    let fence = owner.stay(slot, known);
    let mut decided = decisions::find(connection, owner, number).await.map_err(failed)?;
    // One that is under way is finished, whatever its policy has become since.
    let begun = intended(state, std::slice::from_ref(&ddl)).is_some();
    if decided.is_none() && policy == DdlPolicy::Hold && !begun {
        return hold(connection, owner, slot, known, &ddl, &place, &beside, "its policy is hold").await;
    }
    if decided.is_none() && policy == DdlPolicy::Lenient {
        if decisions::is_held(connection, owner, number).await.map_err(failed)? {
            let reason = "it cannot be done without losing data".to_owned();
            return Err(LoadError::Held { number, tables: names(&ddl), reason });
        }
        match keep(connection, owner, &fence, state, &ddl, number).await?.ok_or_else(moved)? {
            lenient::Plan::AsIs => {}
            lenient::Plan::Instead(statements) => decided = Some(Decision::Lenient(statements)),
            lenient::Plan::Wait(reason) => {
                return hold(connection, owner, slot, known, &ddl, &place, &beside, &reason).await;
            }
        }
    }
    let mut why = None;
    let next = match run_decided(connection, owner, slot, known, state, &ddl, decided.as_ref(), number).await {
        Err(error) => {
            let Some(reason) = error.refusal() else { return Err(error) };
            let word = match policy {
                _ if decided.as_ref().is_some_and(|d| !matches!(d, Decision::Lenient(_))) => None,
                DdlPolicy::DeadLetter => Some("dead-letter"),
                DdlPolicy::StopTable if !beside.stop.is_empty() => Some("stop-table"),
                DdlPolicy::Lenient if beside.alone.is_ok() => Some("wait"),
                _ => None,
            };
            // Nothing is under way any more, unless the very statement is to be run again. Of several statements some may be
            // done: they are not planned again.
            let over = owner.intend(slot, known, None, state.next);
            let (as_what, fence) = match policy {
                DdlPolicy::Lenient if word.is_none() => ("held", over),
                _ if word.is_some() => ("failed", over),
                _ => ("failed", fence),
            };
            let note = decisions::note(owner, number, &ddl, as_what, &reason, word);
            commit_all(connection, &fence, &[note]).await?.then_some(()).ok_or_else(moved)?;
            let Some(word) = word else { return Err(error) };
            // What failed is known to have failed; its GTID is used up by what stands in its place.
            state.intent = None;
            decided = decisions::of_policy(word);
            why = Some(reason);
            run_decided(connection, owner, slot, known, state, &ddl, decided.as_ref(), number).await?
        }
        other => other?,
    };
    let (end, mut more) = settled(connection, owner, number, decided.as_ref(), why).await?;
    let aside = match end {
        DdlEnd::Done => None,
        DdlEnd::Waits(_) => Some(beside.hold),
        DdlEnd::Stopped(_) => Some(beside.stop),
    };
    if let Some(statements) = aside {
        if statements.is_empty() {
            let reason =
                "its policy was changed while it was set aside: set it back, and change it behind the statement";
            return Err(LoadError::Ddl { number, reason: reason.to_owned() });
        }
        more.extend(statements);
    }
    let advance = owner.advance_over_ddl(slot, known, &place, next);
    commit_all(connection, &advance, &more).await?.then_some(()).ok_or_else(moved)?;
    state.next = next;
    Ok(end)
}

/// Has a statement wait by its policy: it alone with its tables, or with everything behind it.
#[allow(clippy::too_many_arguments, reason = "what every DDL function takes, and how and why it waits")]
async fn hold<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    ddl: &Ddl,
    place: &Place,
    beside: &Beside,
    why: &str,
) -> Result<DdlEnd, LoadError> {
    let moved = || LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch };
    let number = place.number;
    let unfit =
        ddl.unfit_reason().map(|(reason, _)| format!(", and it cannot be rewritten: {reason}")).unwrap_or_default();
    match &beside.alone {
        Ok(()) => {
            let reason = format!("{why}{unfit}");
            let mut more = vec![decisions::note(owner, number, ddl, "parked", &reason, None)];
            more.extend_from_slice(&beside.hold);
            let advance = owner.advance(slot, known, place);
            commit_all(connection, &advance, &more).await?.then_some(()).ok_or_else(moved)?;
            Ok(DdlEnd::Waits(reason))
        }
        Err(everything) => {
            let reason = format!("{why}{unfit}; everything waits behind it, as {everything}");
            let note = decisions::note(owner, number, ddl, "held", &reason, None);
            commit_all(connection, &owner.stay(slot, known), &[note]).await?.then_some(()).ok_or_else(moved)?;
            Err(LoadError::Held { number, tables: names(ddl), reason: everything.clone() })
        }
    }
}

/// What is run in place of a statement so that nothing is lost; written down first, so that a start that follows does not
/// plan anew what is half done. None where the slot row has moved.
async fn keep<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    fence: &str,
    state: &DdlState,
    ddl: &Ddl,
    number: Number,
) -> Result<Option<lenient::Plan>, LoadError> {
    // It was begun as it is.
    if ddl.unfit_reason().is_some() || intended(state, std::slice::from_ref(ddl)).is_some() {
        return Ok(Some(lenient::Plan::AsIs));
    }
    let plan = lenient::plan(connection, ddl, number).await.map_err(failed)?;
    if let lenient::Plan::Instead(statements) = &plan {
        let note = decisions::note(owner, number, ddl, "lenient", "what it would lose is kept", None);
        if !commit_all(connection, fence, &[note, decisions::lenient(owner, number, statements)]).await? {
            return Ok(None);
        }
    }
    Ok(Some(plan))
}

/// What a decision comes to once it is carried out, and what is written down of it.
async fn settled<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    number: Number,
    decided: Option<&Decision>,
    why: Option<String>,
) -> Result<(DdlEnd, Vec<String>), LoadError> {
    let mut more = Vec::new();
    let word = match decided {
        None => return Ok((DdlEnd::Done, more)),
        Some(Decision::StopTable) => "stopped",
        Some(Decision::Wait) => "parked",
        Some(other) => {
            if *other == Decision::DeadLetter {
                more.push(decisions::set_aside(owner, number));
            }
            more.push(decisions::settle(owner, number));
            return Ok((DdlEnd::Done, more));
        }
    };
    let reason = match why {
        Some(reason) => reason,
        None => decisions::reason(connection, owner, number).await.map_err(failed)?,
    };
    more.push(decisions::open(owner, number, word));
    let end = if word == "stopped" { DdlEnd::Stopped(reason) } else { DdlEnd::Waits(reason) };
    Ok((end, more))
}

/// Runs a parked statement as was decided; the slot row stays where it is.
///
/// # Errors
/// As [`apply`]; a refusal is none: the statement waits again.
pub async fn apply_parked<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
    job: ParkedJob,
) -> Result<DdlEnd, LoadError> {
    let ParkedJob { ddl, number, policy, waits_as, done } = job;
    let moved = || LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch };
    let mut decided = decisions::find(connection, owner, number).await.map_err(failed)?;
    let fence = owner.stay(slot, known);
    let waits = match (&decided, policy) {
        (None, DdlPolicy::Hold) => Some("its policy is hold".to_owned()),
        (None, DdlPolicy::Lenient) => {
            match keep(connection, owner, &fence, state, &ddl, number).await?.ok_or_else(moved)? {
                lenient::Plan::AsIs => None,
                lenient::Plan::Instead(statements) => {
                    decided = Some(Decision::Lenient(statements));
                    None
                }
                lenient::Plan::Wait(reason) => Some(reason),
            }
        }
        _ => None,
    };
    if let Some(reason) = waits {
        let note = decisions::note(owner, number, &ddl, waits_as, &reason, None);
        commit_all(connection, &fence, &[note]).await?.then_some(()).ok_or_else(moved)?;
        return Ok(DdlEnd::Waits(reason));
    }
    match run_decided(connection, owner, slot, known, state, &ddl, decided.as_ref(), number).await {
        Ok(next) => {
            let (_, mut more) = settled(connection, owner, number, decided.as_ref(), None).await?;
            more.extend(done);
            let fence = owner.intend(slot, known, None, next);
            commit_all(connection, &fence, &more).await?.then_some(()).ok_or_else(moved)?;
            state.next = next;
            Ok(DdlEnd::Done)
        }
        Err(error) => {
            let Some(reason) = error.refusal() else { return Err(error) };
            state.intent = None;
            let note = decisions::note(owner, number, &ddl, waits_as, &reason, None);
            // Others go on: the intent must not stand in their way.
            let fence = owner.intend(slot, known, None, state.next);
            commit_all(connection, &fence, &[note]).await?.then_some(()).ok_or_else(moved)?;
            Ok(DdlEnd::Waits(reason))
        }
    }
}

/// Runs what was decided in place of the statement, or itself; the number under which the next one runs.
#[allow(clippy::too_many_arguments, reason = "what every DDL function takes, and the decision")]
async fn run_decided<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
    ddl: &Ddl,
    decided: Option<&Decision>,
    number: Number,
) -> Result<u64, LoadError> {
    if let (None | Some(Decision::Approve), Some((reason, _))) = (decided, ddl.unfit_reason()) {
        return Err(LoadError::NotRewritten { number, tables: names(ddl), reason });
    }
    let list = in_place_of(ddl, decided);
    let begun = intended(state, &list);
    if begun.is_none() && decided.is_some() && intended(state, std::slice::from_ref(ddl)).is_some() {
        // The statement it was written for failed. Had it not, its GTID were executed, and that halts.
        state.intent = None;
    }
    let mut next = state.next;
    for instead in list.iter().skip(begun.unwrap_or(0)) {
        next = run_one(connection, owner, slot, known, state, instead, number).await?;
        state.next = next;
    }
    Ok(next)
}

/// The statements that are run: itself, what a person put in its place, or an empty transaction, which uses its GTID up.
fn in_place_of(ddl: &Ddl, decided: Option<&Decision>) -> Vec<Ddl> {
    let text = |text: &[u8]| {
        let context = SessionContext {
            character_set_client: Some(UTF8MB4),
            collation_connection: Some(UTF8MB4),
            ..ddl.context.clone()
        };
        Ddl { statement: Bytes::copy_from_slice(text), context, ..ddl.clone() }
    };
    match decided {
        None | Some(Decision::Approve) => vec![ddl.clone()],
        Some(Decision::Skip | Decision::DeadLetter | Decision::StopTable | Decision::Wait) => {
            vec![Ddl { statement: Bytes::from_static(b"COMMIT"), database: String::new(), ..ddl.clone() }]
        }
        Some(Decision::Replace(statement)) => vec![text(statement)],
        // Each is told by its own tables whether it is done.
        Some(Decision::Lenient(statements)) => statements
            .iter()
            .map(|s| {
                let one = Ddl { tables: Vec::new(), kind: DdlKind::Other, ..text(s.as_bytes()) };
                let tables = Scope::of(&one).own.into_iter().collect();
                Ddl { tables, ..one }
            })
            .collect(),
    }
}

fn names(ddl: &Ddl) -> String {
    let names: Vec<String> = ddl.tables.iter().map(ToString::to_string).collect();
    if names.is_empty() { format!("database {}", ddl.database) } else { names.join(", ") }
}

/// Which of these statements an intent was found for.
pub(crate) fn intended(state: &DdlState, statements: &[Ddl]) -> Option<usize> {
    let intent: Intent = serde_json::from_str(state.intent.as_ref()?).ok()?;
    statements.iter().position(|ddl| digest(&ddl.statement) == intent.statement_sha256)
}

/// The unit of an open intent.
pub(crate) fn intended_unit(intent: &str) -> Option<Number> {
    serde_json::from_str::<Intent>(intent).ok().map(|intent| intent.number)
}

/// Several statements in one transaction, of which the first must match one row; whether it did.
pub(crate) async fn commit_all<C: TargetConnection>(
    connection: &mut C,
    fence: &str,
    more: &[String],
) -> Result<bool, LoadError> {
    let text = std::iter::once(fence).chain(more.iter().map(String::as_str)).collect::<Vec<_>>().join(";");
    let counts = connection.run(format!("BEGIN;{text}").as_bytes()).await.map_err(|e| failed(e.error))?;
    if counts.get(1) != Some(&1) {
        connection.rollback().await.map_err(failed)?;
        return Ok(false);
    }
    connection.commit().await.map_err(failed)?;
    Ok(true)
}

/// Intent and statement; what is left is to advance the slot row over it, with the number under which the next one runs.
///
/// # Errors
/// As [`apply`].
pub(crate) async fn run_one<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
    ddl: &Ddl,
    number: Number,
) -> Result<u64, LoadError> {
    let moved = || LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch };
    let gtid = format!("{}:{}", state.uuid, state.next);
    let open = open_intent(state.intent.take(), number, ddl)?;
    let run = match &open {
        Some(intent) if !intent.by_gtid => !is_done(connection, ddl, intent, number, state.flavour).await?,
        Some(_) => true,
        None => {
            if state.by_gtid && is_executed(connection, &gtid).await? {
                return Err(LoadError::Ddl {
                    number,
                    reason: format!(
                        "GTID {gtid} is executed already, without an intent: was the target restored? `lutra adopt`"
                    ),
                });
            }
            let before = if state.by_gtid { Vec::new() } else { digests(connection, ddl, state.flavour).await? };
            let intent = Intent { number, statement_sha256: digest(&ddl.statement), by_gtid: state.by_gtid, before };
            let text = serde_json::to_string(&intent).unwrap_or_default();
            commit_one(connection, &owner.intend(slot, known, Some(&text), state.next))
                .await?
                .then_some(())
                .ok_or_else(moved)?;
            true
        }
    };
    crash::pass(Point::BetweenIntentAndDdl);
    let by_gtid = open.as_ref().map_or(state.by_gtid, |intent| intent.by_gtid);
    if run {
        let outcome = statement(connection, ddl, by_gtid.then_some(gtid.as_str()), state.flavour).await;
        restore(connection, ddl, by_gtid).await.map_err(failed)?;
        if let Err(source) = outcome {
            let over = source.is_connection_gone()
                || matches!(source.kind(), ErrorKind::LockWaitTimeout | ErrorKind::Deadlock | ErrorKind::ReadOnly);
            return Err(if over {
                failed(source)
            } else {
                LoadError::Statement { operation: format!("the source's {:?} statement", ddl.kind), number, source }
            });
        }
    }
    crash::pass(Point::BetweenDdlAndDone);
    Ok(state.next + u64::from(by_gtid))
}

fn failed(source: Error) -> LoadError {
    LoadError::Target { operation: "applying DDL", source }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The intent in the slot row, when it is this statement's.
fn open_intent(text: Option<String>, number: Number, ddl: &Ddl) -> Result<Option<Intent>, LoadError> {
    let Some(text) = text else { return Ok(None) };
    let intent: Intent = serde_json::from_str(&text)
        .map_err(|e| LoadError::Ddl { number, reason: format!("the intent in lutra.slot cannot be read ({e})") })?;
    if intent.number != number || intent.statement_sha256 != digest(&ddl.statement) {
        return Err(LoadError::Ddl {
            number,
            reason: format!(
                "lutra.slot holds the intent of another statement (unit {}): see what became of it in the target, clear \
                 ddl_intent, then resume the pipeline",
                intent.number
            ),
        });
    }
    Ok(Some(intent))
}

/// A single slot update in a transaction of its own; whether it matched one row.
async fn commit_one<C: TargetConnection>(connection: &mut C, update: &str) -> Result<bool, LoadError> {
    let counts = connection.run(format!("BEGIN;{update}").as_bytes()).await.map_err(|e| failed(e.error))?;
    if counts.last() != Some(&1) {
        connection.rollback().await.map_err(failed)?;
        return Ok(false);
    }
    connection.commit().await.map_err(failed)?;
    Ok(true)
}

async fn is_executed<C: TargetConnection>(connection: &mut C, gtid: &str) -> Result<bool, LoadError> {
    let sql = format!("SELECT GTID_SUBSET('{gtid}', @@global.gtid_executed)");
    Ok(connection.ask(&sql).await.map_err(failed)?.as_deref() == Some("1"))
}

/// Runs the statement as the source's session did.
async fn statement<C: TargetConnection>(
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
async fn restore<C: TargetConnection>(connection: &mut C, ddl: &Ddl, by_gtid: bool) -> Result<(), Error> {
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
         collation_server=DEFAULT{defaults}"
    );
    connection.run_long(text.as_bytes()).await?;
    if by_gtid { connection.run_long(b"SET SESSION gtid_next='AUTOMATIC'").await } else { Ok(()) }
}

/// What the statement's tables look like: definition and table id; `-` for one that is not there.
async fn digests<C: TargetConnection>(
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

/// Whether a statement whose intent was found has taken effect: all tables changed = yes, none = no, else halt.
async fn is_done<C: TargetConnection>(
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

//! DDL, which can not share a transaction with the slot row: made repeatable (P6).
//!
//! An intent goes through P4; then the statement; then P4 advances. Where the target has GTIDs and lets us name one, the
//! statement runs under `<ddl_uuid>:<n>`, and the server itself skips a repeat. Elsewhere the intent holds what the tables
//! looked like before, and a start that finds it compares.
//!
//! Here: what becomes of a statement, by policy and decision. `once` runs it, `session` as the source's session did, and `look`
//! tells whether it is done.

mod look;
mod once;
mod session;

use bytes::Bytes;
use lutra_change::{Number, SessionContext};
use lutra_mysql::{Error, Flavour};
use lutra_spec::DdlPolicy;
use lutra_wire::record::{Ddl, DdlKind};

pub(crate) use self::once::{intended, intended_unit, leave_intent, run_one};
use crate::blocked::scope::Scope;
use crate::decisions::{self, Decision};
use crate::error::LoadError;
use crate::lenient;
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

fn failed(source: Error) -> LoadError {
    LoadError::Target { operation: "applying DDL", source }
}

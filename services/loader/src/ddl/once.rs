//! A statement is run once, whatever dies meanwhile: an intent in the slot row first, then the statement.

use lutra_change::Number;
use lutra_mysql::ErrorKind;
use lutra_wire::record::Ddl;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::look::{digests, is_done};
use super::session::{restore, statement};
use super::{DdlState, failed};
use crate::crash::{self, Point};
use crate::error::LoadError;
use crate::slot::Owner;
use crate::target::TargetConnection;

/// What stands in `ddl_intent`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) number: Number,
    statement_sha256: String,
    by_gtid: bool,
    /// Digests of the tables before, in the order of the statement's tables; `-` where there was none.
    pub(super) before: Vec<String>,
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

/// Intent and statement; what is left is to advance the slot row over it, with the number under which the next one runs.
///
/// # Errors
/// As [`super::apply`].
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

/// Leaves a statement that was under way when its log was left: its tables are made anew, done or not. A GTID that it ran
/// under is used up.
///
/// # Errors
/// As [`super::apply`].
pub(crate) async fn leave_intent<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    slot: u16,
    known: Number,
    state: &mut DdlState,
) -> Result<(), LoadError> {
    if state.intent.take().is_none() {
        return Ok(());
    }
    let gtid = format!("{}:{}", state.uuid, state.next);
    let used = state.by_gtid && is_executed(connection, &gtid).await?;
    let next = state.next + u64::from(used);
    if !commit_one(connection, &owner.intend(slot, known, None, next)).await? {
        return Err(LoadError::SlotMoved { task: owner.task.clone(), slot, known, own: owner.epoch });
    }
    state.next = next;
    Ok(())
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

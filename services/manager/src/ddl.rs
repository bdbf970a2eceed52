//! DDL statements that wait for a person, or failed: read from the pipeline's target, and decided there.

use lutra_change::{Number, TaskId, TaskKind};
use lutra_mysql::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::servers;

const LIST: &str = "SELECT sequence, sub, state, COALESCE(reason, ''), COALESCE(tables_named, ''), \
     COALESCE(default_database, ''), statement, COALESCE(decision, ''), CAST(noted_at AS CHAR) FROM `lutra`.`ddl` \
     WHERE task = ? AND state <> 'settled' ORDER BY sequence, sub";
/// A decision that may be under way already is not changed; a statement that fails again is open again.
const DECIDE: &str = "UPDATE `lutra`.`ddl` SET decision = ?, replacement = ? \
     WHERE task = ? AND sequence = ? AND sub = ? AND state <> 'settled' AND decision IS NULL";

/// A statement that waits or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingStatement {
    /// Number of its unit; by it the statement is approved, skipped or replaced.
    pub unit: String,
    /// `held` by policy with everything behind it, `parked` with its tables alone, `failed` in the target, or `stopped` with
    /// its tables.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The tables it is about.
    pub tables: String,
    /// The session's default database.
    pub database: String,
    /// Its text.
    pub statement: String,
    /// What was decided, and is not carried out yet; empty where nothing was.
    pub decision: String,
    /// When it was noted, in the target's time zone.
    pub noted_at: String,
}

/// What was decided about a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// The pipeline.
    pub pipeline: String,
    /// Number of the statement's unit.
    pub unit: String,
    /// `approve`, `skip` or `replace`.
    pub decision: String,
}

/// The statements of a pipeline that wait or failed.
pub async fn list(manager: &Manager, pipeline: &str) -> Result<Vec<WaitingStatement>, ManagerError> {
    let (mut connection, target) = target_of(manager, pipeline).await?;
    let task = TaskId::new(TaskKind::Load, pipeline).to_string();
    let rows = match connection.exec_query(LIST, vec![task.as_str().into()]).await {
        Ok(rows) => rows,
        // The loader has not been there yet.
        Err(e) if e.kind() == lutra_mysql::ErrorKind::NoSuchTable => Vec::new(),
        Err(e) => return Err(failed(&target)(Box::new(e))),
    };
    let statement = |row: &lutra_mysql::Row| WaitingStatement {
        unit: Number::new(row.u64(0).unwrap_or(0), row.u64(1).unwrap_or(0)).to_string(),
        state: row.string(2),
        reason: row.string(3),
        tables: row.string(4),
        database: row.string(5),
        statement: row.string(6),
        decision: row.string(7),
        noted_at: row.string(8),
    };
    Ok(rows.iter().map(statement).collect())
}

/// Decides about a statement. The load goes on by itself, or is had to.
pub async fn decide(
    manager: &Manager,
    pipeline: &str,
    unit: &str,
    decision: &str,
    replacement: &str,
) -> Result<Decided, ManagerError> {
    let word = match decision {
        "approve" | "skip" if !replacement.is_empty() => {
            return Err(ManagerError::Invalid(format!("{decision} takes no statement")));
        }
        "approve" | "skip" => decision,
        "replace" if replacement.trim().is_empty() => {
            return Err(ManagerError::Invalid("the statement to run instead is missing".to_owned()));
        }
        "replace" => decision,
        other => return Err(ManagerError::Invalid(format!("{other:?} is no decision: approve, skip, replace"))),
    };
    let (sequence, sub) = number_of(unit).ok_or_else(|| ManagerError::Invalid(format!("{unit:?} is no unit")))?;
    let (mut connection, target) = target_of(manager, pipeline).await?;
    let task = TaskId::new(TaskKind::Load, pipeline);
    let name = task.to_string();
    let values = vec![word.into(), replacement.into(), name.as_str().into(), sequence.into(), sub.into()];
    connection.exec(DECIDE, values).await.map_err(|e| failed(&target)(Box::new(e)))?;
    let listed = list(manager, pipeline).await?;
    let Some(decided) = listed.iter().find(|s| s.unit == unit && s.decision == word) else {
        return Err(ManagerError::NotFound { what: "waiting statement with unit", name: unit.to_owned() });
    };
    // A load that goes on beside the statement sees the decision by itself. One that halted at it, or is about to, need not
    // wait for its next try.
    let goes_on = ["parked", "stopped"].contains(&decided.state.as_str());
    if !goes_on || manager.store().snapshot().await?.failures.contains_key(&task) {
        manager.store().request_restart(&task, "a person", serde_json::json!({ "ddl": word })).await?;
        manager.reconcile().await?;
    }
    Ok(Decided { pipeline: pipeline.to_owned(), unit: unit.to_owned(), decision: word.to_owned() })
}

fn number_of(unit: &str) -> Option<(u64, u64)> {
    let (sequence, sub) = unit.split_once('.').unwrap_or((unit, "0"));
    Some((sequence.parse().ok()?, sub.parse().ok()?))
}

fn failed(target: &str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> ManagerError {
    move |source| ManagerError::Server { kind: "target", name: target.to_owned(), source }
}

async fn target_of(manager: &Manager, pipeline: &str) -> Result<(Connection, String), ManagerError> {
    let documents = Documents::read(manager.store()).await?;
    let name = documents.need_pipeline(pipeline)?.target.to_string();
    let target =
        documents.target(&name).ok_or_else(|| ManagerError::NotFound { what: "target", name: name.clone() })?;
    let connection = servers::connect(&target.connection()).await.map_err(|e| failed(&name)(Box::new(e)))?;
    Ok((connection, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_they_are_shown() {
        assert_eq!((number_of("12"), number_of("12.3"), number_of("x")), (Some((12, 0)), Some((12, 3)), None));
    }
}

//! Logs that begin anew at a place that a person chose (P8): for a source with all its pipelines, or for one pipeline.
//!
//! A target that has nothing behind the place goes on there, and what lies between is passed over. One that is past it would
//! get again what it has: it is refused, unless its tables are loaded again. Then its log begins with the unit that makes
//! them, so that nothing between the place and the copy ever comes to it. See ADR 0009.
//!
//! | room | takes -> gives |
//! |---|---|
//! | `point` | the place as it was written -> what it means at the source, and for the targets |
//! | `search` | a place in the source's log -> the unit behind which it lies |
//! | `tables` | a pipeline -> what is dropped and copied, and what forbids it |

mod point;
mod search;
mod tables;

use std::collections::BTreeMap;

use lutra_change::{Number, TaskId, TaskKind};
use lutra_coordination::{Adoption, ClusterSnapshot, LogRef};
use uuid::Uuid;

use self::point::{Chosen, Place, Point};
use crate::adopt::{self, Adopted, Checkpoint, Plan, Reloaded};
use crate::documents::Documents;
use crate::error::ManagerError;
use crate::manager::Manager;

/// So far behind every number that is known a source's log begins when tables are loaded again: a loader that has not heard of
/// it yet goes on in the old log, and must not come past the unit that makes its tables.
const HEADROOM: u64 = 1_000_000;

/// How logs are begun anew.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// The place.
    pub to: String,
    /// The tables of pipelines whose targets are past it are loaded again.
    pub reload: bool,
    /// It is only said what would be done.
    pub dry_run: bool,
}

/// Which pipelines go on at the place, and which are loaded again.
struct Verdict {
    reloads: Vec<Reloaded>,
    notes: Vec<String>,
}

impl Verdict {
    fn loads(&self, pipeline: &str) -> bool {
        self.reloads.iter().any(|reloaded| reloaded.pipeline == pipeline)
    }
}

/// Makes the log of a source anew from a place of it, and those of all its pipelines.
///
/// # Errors
/// [`ManagerError::Invalid`] for words that are no place; [`ManagerError::Conflict`] where the place is nowhere, or a target is
/// past it and its tables are not, or cannot be, loaded again; where servers or logs cannot be asked.
pub async fn source(manager: &Manager, name: &str, rewind: &Rewind) -> Result<Adopted, ManagerError> {
    let point: Point = rewind.to.parse()?;
    let documents = Documents::read(manager.store()).await?;
    let spec = documents.need_source(name)?;
    let cluster = manager.store().snapshot().await?;
    let mut checkpoints = adopt::checkpoints(&documents, name).await?;
    let log = log_of(&cluster, name)?;
    let place = match point {
        Point::Gtid(set) => Place::Gtid(set),
        Point::Position(position) => Place::Position(position),
        Point::Number(_) | Point::Time(_) => {
            let found = search::find(manager, name, &log, &point).await?;
            match found.position {
                Some(position) if found.set.is_empty() => Place::Position(position),
                _ => Place::Gtid(found.set),
            }
        }
    };
    let chosen = Chosen::at(name, spec, place).await?;
    let verdict = judge(manager, &documents, &chosen, &checkpoints, rewind.reload).await?;
    let furthest = checkpoints.values().max_by_key(|c| c.adoption.number).ok_or_else(|| adopt::nobody(name))?;
    let mut begins = chosen.behind(&furthest.adoption);
    if !verdict.reloads.is_empty() {
        begins.number = clear_of(begins.number.max(search::newest(manager, &log).await?));
    }
    for (pipeline, checkpoint) in &mut checkpoints {
        checkpoint.adoption = adoption(&chosen, &checkpoint.adoption, verdict.loads(pipeline));
    }
    let plan = adopt::plan_source(&cluster, &documents, name, begins, &checkpoints)?;
    finish(manager, &cluster, plan, verdict, rewind.dry_run).await
}

/// Makes the log of a pipeline anew from a place in its source's log, which stays as it is.
///
/// # Errors
/// As [`source`].
pub async fn pipeline(manager: &Manager, name: &str, rewind: &Rewind) -> Result<Adopted, ManagerError> {
    let point: Point = rewind.to.parse()?;
    let documents = Documents::read(manager.store()).await?;
    let source = documents.need_pipeline(name)?.source.to_string();
    let spec = documents.need_source(&source)?;
    let cluster = manager.store().snapshot().await?;
    let mut checkpoint = adopt::checkpoint(&documents, name).await?;
    let point = match point {
        // Which transactions lie before a byte of the binlog, the source knows.
        Point::Position(position) if spec.gtid => {
            Point::Gtid(Chosen::at(&source, spec, Place::Position(position)).await?.set)
        }
        other => other,
    };
    let chosen = search::find(manager, &source, &log_of(&cluster, &source)?, &point).await?;
    let checkpoints: BTreeMap<String, Checkpoint> = [(name.to_owned(), checkpoint.clone())].into();
    let verdict = judge(manager, &documents, &chosen, &checkpoints, rewind.reload).await?;
    let reloads = verdict.loads(name);
    let behind = chosen.behind(&checkpoint.adoption);
    if reloads {
        checkpoint.adoption = adoption(&chosen, &checkpoint.adoption, true);
    }
    let mut plan = Plan::new();
    adopt::plan_pipeline(&cluster, &documents, name, &checkpoint, None, &mut plan)?;
    // The loader is held to what its target has, which may lie before the place.
    if let Some(writer) = plan.get_mut(&TaskId::new(TaskKind::Transform, name)).filter(|_| !reloads) {
        writer.adopt = Some(behind);
    }
    finish(manager, &cluster, plan, verdict, rewind.dry_run).await
}

/// Where a pipeline's log begins: behind what its target has, at the place; or with its own tables.
fn adoption(chosen: &Chosen, has: &Adoption, reload: bool) -> Adoption {
    let load = reload.then(Uuid::new_v4);
    Adoption { number: has.number, load, ..chosen.behind(has) }
}

fn clear_of(number: Number) -> Number {
    Number::new(number.sequence.saturating_add(HEADROOM), 0)
}

/// The log that a source writes now.
fn log_of(cluster: &ClusterSnapshot, source: &str) -> Result<LogRef, ManagerError> {
    let task = adopt::definition(cluster, &TaskId::new(TaskKind::Extract, source))?;
    task.log.ok_or_else(|| ManagerError::Conflict(format!("source {source} has no log yet; ask again in a moment")))
}

/// Tells the pipelines that go on at the place from those that are past it.
async fn judge(
    manager: &Manager,
    documents: &Documents,
    chosen: &Chosen,
    checkpoints: &BTreeMap<String, Checkpoint>,
    reload: bool,
) -> Result<Verdict, ManagerError> {
    let ahead = chosen.passed_by(checkpoints);
    if !ahead.is_empty() && !reload {
        return Err(ManagerError::Conflict(refusal(&ahead)));
    }
    let mut verdict = Verdict { reloads: Vec::new(), notes: Vec::new() };
    for (pipeline, checkpoint) in checkpoints {
        if ahead.contains_key(pipeline) {
            let found = tables::of(documents, pipeline).await?;
            verdict.reloads.push(found.reloaded);
            verdict.notes.extend(found.notes);
        } else {
            tables::ensure_copied(manager, documents, pipeline).await?;
            verdict.notes.extend(chosen.passes_over(pipeline, &checkpoint.adoption));
            if reload {
                verdict
                    .notes
                    .push(format!("pipeline {pipeline} is not past the place: its tables are not loaded again"));
            }
        }
    }
    Ok(verdict)
}

fn refusal(ahead: &BTreeMap<String, String>) -> String {
    let why: Vec<&str> = ahead.values().map(String::as_str).collect();
    format!(
        "{}. It would be applied twice. Choose a place that holds what the targets have; or have the tables of such pipelines \
         loaded again: `--reload` (`--reload --dry-run` names them)",
        why.join("; ")
    )
}

async fn finish(
    manager: &Manager,
    cluster: &ClusterSnapshot,
    plan: Plan,
    verdict: Verdict,
    dry_run: bool,
) -> Result<Adopted, ManagerError> {
    let Verdict { reloads, notes } = verdict;
    Ok(Adopted { reloads, notes, ..adopt::carry_out(manager, cluster, plan, dry_run).await? })
}

#[cfg(test)]
mod tests {
    use lutra_change::GtidSet;

    use super::*;

    #[test]
    fn a_pipeline_that_is_loaded_again_has_a_load_of_its_own_and_keeps_its_number() {
        let has = Adoption {
            number: Number::new(7, 2),
            source_uuid: Uuid::nil(),
            gtid_set: GtidSet::new(),
            position: None,
            committed_at: 5,
            load: None,
        };
        let chosen = Chosen {
            set: GtidSet::new(),
            position: None,
            server: Uuid::from_u128(1),
            number: Some(Number::new(3, 0)),
            committed_at: Some(1),
        };
        let [first, second] = [(); 2].map(|()| adoption(&chosen, &has, true));
        assert!(first.load.is_some() && first.load != second.load);
        assert_eq!(first.number, has.number);
        assert_eq!(adoption(&chosen, &has, false).load, None);
        assert_eq!(clear_of(has.number), Number::new(1_000_007, 0), "no loader that goes on for a moment gets there");
    }

    #[test]
    fn a_refusal_names_every_pipeline_and_the_way_out() {
        let ahead = [("a", "a is past it"), ("b", "b is past it")];
        let text = refusal(&ahead.map(|(name, why)| (name.to_owned(), why.to_owned())).into());
        assert!(text.contains("a is past it; b is past it") && text.contains("--reload"), "{text}");
    }
}

//! A place of a source that a person chose: what it means there, and what it means for the targets.

use std::collections::BTreeMap;
use std::str::FromStr;

use lutra_change::{BinlogPosition, GtidSet};
use lutra_coordination::Adoption;
use lutra_mysql::sql::quote_text;
use lutra_mysql::{Connection, Row, catalogue};
use lutra_spec::SourceSpec;
use uuid::Uuid;

use super::Checkpoint;
use crate::error::ManagerError;
use crate::servers;

/// Rows of `SHOW BINLOG EVENTS` that are asked for at once.
const EVENTS: u64 = 5_000;

/// A place, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Behind these transactions.
    Gtid(GtidSet),
    /// At this byte of the binlog.
    Position(BinlogPosition),
}

impl FromStr for Point {
    type Err = ManagerError;

    fn from_str(text: &str) -> Result<Self, ManagerError> {
        let fault = |reason: String| {
            ManagerError::Invalid(format!(
                "{text:?} is no place of a source: write a GTID set or FILE:POSITION; {reason}"
            ))
        };
        // Neither kind of GTID has a dot; names of binlog files always have.
        if text.contains('.') {
            let place = text.rsplit_once(':').and_then(|(file, offset)| Some((file, offset.trim().parse().ok()?)));
            let (file, offset) = place.ok_or_else(|| fault("the position is no number".to_owned()))?;
            return Ok(Self::Position(BinlogPosition::new(file, offset)));
        }
        let set: GtidSet = text.parse().map_err(|e: lutra_change::gtid::GtidError| fault(e.to_string()))?;
        if set.is_empty() { Err(fault("it is empty".to_owned())) } else { Ok(Self::Gtid(set)) }
    }
}

/// A place that the source has.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Everything executed up to there; empty without GTIDs.
    set: GtidSet,
    position: Option<BinlogPosition>,
    server: Uuid,
}

impl Chosen {
    /// Looks the place up at the source: it must be executed, and what follows it must be in the binlog.
    pub(super) async fn at(name: &str, spec: &SourceSpec, point: Point) -> Result<Self, ManagerError> {
        let fault = |source: Box<dyn std::error::Error + Send + Sync>| ManagerError::Server {
            kind: "source",
            name: name.to_owned(),
            source,
        };
        let mut connection = servers::connect(&spec.connection()).await.map_err(|e| fault(Box::new(e)))?;
        let asked = look(&mut connection, spec, point).await;
        asked.map_err(|e| fault(Box::new(e)))?.map_err(|why| ManagerError::Conflict(format!("source {name}: {why}")))
    }

    /// This place, continuing the numbers that a target has.
    pub(super) fn behind(&self, checkpoint: &Adoption) -> Adoption {
        let (gtid_set, position) = (self.set.clone(), self.position.clone());
        Adoption {
            number: checkpoint.number,
            source_uuid: self.server,
            gtid_set,
            position,
            committed_at: checkpoint.committed_at,
        }
    }

    /// What each pipeline passes over.
    ///
    /// # Errors
    /// [`ManagerError::Conflict`] when a target is ahead: it would get again what it has.
    pub(super) fn held_against(&self, checkpoints: &BTreeMap<String, Checkpoint>) -> Result<Vec<String>, ManagerError> {
        let ahead: Vec<String> =
            checkpoints.iter().filter_map(|(name, c)| self.is_passed_by(name, &c.adoption)).collect();
        if !ahead.is_empty() {
            return Err(ManagerError::Conflict(format!(
                "{}. It would be applied twice. Choose a place that holds what the targets have; or delete such a pipeline, and \
                 load its tables again with a pipeline of another name (`load: {{full: {{}}}}`)",
                ahead.join("; ")
            )));
        }
        Ok(checkpoints.iter().filter_map(|(name, c)| self.passes_over(name, &c.adoption)).collect())
    }

    fn is_passed_by(&self, pipeline: &str, has: &Adoption) -> Option<String> {
        if self.set.is_empty() {
            let (mine, theirs) = (self.position.as_ref()?, has.position.as_ref()?);
            let ahead = has.source_uuid == self.server && place_of(mine) < place_of(theirs);
            return ahead.then(|| format!("the target of pipeline {pipeline} is at {theirs}, ahead of the place"));
        }
        let more = has.gtid_set.minus(&self.set);
        (!more.is_empty()).then(|| format!("the target of pipeline {pipeline} is ahead of the place: it has {more}"))
    }

    fn passes_over(&self, pipeline: &str, has: &Adoption) -> Option<String> {
        if self.set.is_empty() {
            let (mine, theirs) = (self.position.as_ref()?, has.position.as_ref()?);
            let other = has.source_uuid != self.server;
            let note = if other { ", a place of another server, which cannot be compared" } else { "" };
            return (other || mine != theirs)
                .then(|| format!("pipeline {pipeline} goes on at {mine}; it stood at {theirs}{note}"));
        }
        let skipped = self.set.minus(&has.gtid_set);
        (!skipped.is_empty()).then(|| {
            format!("pipeline {pipeline} passes over {skipped}: what these changed must be in its target already, or be copied there")
        })
    }
}

/// Files of one name are numbered; past six digits a later one sorts before an earlier one.
fn place_of(position: &BinlogPosition) -> (u64, u64) {
    let number = position.file.rsplit_once('.').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    (number, position.offset)
}

/// The place at a server; the inner error says why it cannot be begun there.
async fn look(
    connection: &mut Connection,
    spec: &SourceSpec,
    point: Point,
) -> lutra_mysql::Result<Result<Chosen, String>> {
    let identity = catalogue::identity(connection).await?;
    let server = Uuid::parse_str(&identity.server_uuid).unwrap_or_default();
    let (set, position) = match point {
        Point::Gtid(_) if !spec.gtid => {
            return Ok(Err("it is followed by file and position (`gtid: false`): write FILE:POSITION".to_owned()));
        }
        Point::Gtid(set) => (set, None),
        Point::Position(position) => {
            let files = catalogue::binlog_files(connection).await?;
            let there = files.iter().any(|file| file.file == position.file && position.offset <= file.offset);
            if !there {
                return Ok(Err(format!("its binlog has no place {position}; see SHOW BINARY LOGS")));
            }
            let set = match spec.gtid {
                false => Some(GtidSet::new()),
                true if identity.flavour.is_mariadb() => catalogue::mariadb_position(connection, &position).await?,
                true => set_before(connection, &position).await?,
            };
            let Some(set) = set else { return Ok(Err(format!("no event ends at {position}"))) };
            (set, Some(position))
        }
    };
    if spec.gtid {
        let (future, gone) = (set.minus(&identity.gtid_executed), identity.gtid_purged.minus(&set));
        if !future.is_empty() {
            return Ok(Err(format!("it has not executed {future}")));
        }
        if !gone.is_empty() {
            return Ok(Err(format!("its binlog no longer has {gone}, which lies behind the place")));
        }
    }
    Ok(Ok(Chosen { set, position, server }))
}

/// MySQL: the GTIDs of everything before a place of a file; `None` where no event ends there.
async fn set_before(connection: &mut Connection, place: &BinlogPosition) -> lutra_mysql::Result<Option<GtidSet>> {
    let (mut set, mut from) = (GtidSet::new(), 4);
    while from < place.offset {
        let sql = format!("SHOW BINLOG EVENTS IN {} FROM {from} LIMIT {EVENTS}", quote_text(&place.file));
        let rows = connection.query(sql).await?;
        let before = from;
        for row in rows.iter().filter(|row| row.u64(1).is_some_and(|at| at < place.offset)) {
            add(row, &mut set)?;
            from = row.u64(4).unwrap_or(from).max(from);
        }
        if from == before {
            break;
        }
    }
    Ok((from == place.offset).then_some(set))
}

/// An event of a file: `Log_name, Pos, Event_type, Server_id, End_log_pos, Info`.
fn add(row: &Row, set: &mut GtidSet) -> lutra_mysql::Result<()> {
    let info = row.text(5).unwrap_or_default();
    let gtids = match row.text(2).unwrap_or_default() {
        "Previous_gtids" => info,
        "Gtid" | "Gtid_tagged" => info.split('\'').nth(1).unwrap_or_default(),
        _ => return Ok(()),
    };
    let operation = "SHOW BINLOG EVENTS";
    let read = gtids.replace('\n', "").parse::<GtidSet>();
    set.union_with(&read.map_err(|e| lutra_mysql::Error::Unexpected { operation, reason: e.to_string() })?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::Number;

    use super::*;

    const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        format!("{SERVER}:{text}").parse().unwrap()
    }

    fn checkpoints(each: &[(&str, &str)]) -> BTreeMap<String, Checkpoint> {
        let one = |gtids: &str| Checkpoint {
            adoption: Adoption {
                number: Number::new(7, 0),
                source_uuid: Uuid::nil(),
                gtid_set: set(gtids),
                position: None,
                committed_at: 0,
            },
            term: 1,
        };
        each.iter().map(|(name, gtids)| ((*name).to_owned(), one(gtids))).collect()
    }

    fn chosen(gtids: &str) -> Chosen {
        Chosen { set: set(gtids), position: None, server: Uuid::nil() }
    }

    #[test]
    fn a_place_is_a_set_of_gtids_or_a_byte_of_a_file() {
        assert_eq!(format!("{SERVER}:1-5").parse::<Point>().unwrap(), Point::Gtid(set("1-5")));
        assert_eq!("0-1-7".parse::<Point>().unwrap(), Point::Gtid("0-1-7".parse().unwrap()));
        let place = Point::Position(BinlogPosition::new("binlog.000004", 157));
        assert_eq!("binlog.000004:157".parse::<Point>().unwrap(), place);
        for wrong in ["", "binlog.000004", "binlog.000004:x", "now"] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_that_is_ahead_of_the_place_forbids_it() {
        let error = chosen("1-8").held_against(&checkpoints(&[("a", "1-8"), ("b", "1-10")])).unwrap_err().to_string();
        assert!(error.contains(&format!("pipeline b is ahead of the place: it has {SERVER}:9-10")), "{error}");
        assert!(!error.contains("pipeline a"), "{error}");
    }

    #[test]
    fn what_is_passed_over_is_named() {
        let notes = chosen("1-10").held_against(&checkpoints(&[("a", "1-8"), ("b", "1-10")])).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(&format!("pipeline a passes over {SERVER}:9-10")), "{notes:?}");
    }

    #[test]
    fn places_of_files_are_compared_by_the_files_numbers() {
        let at = |file: &str| BinlogPosition::new(file, 4);
        assert!(place_of(&at("b.999999")) < place_of(&at("b.1000000")));
    }
}

//! A place that a person chose: how it is written, and what it means at the source and for the targets.

use std::collections::BTreeMap;
use std::str::FromStr;

use lutra_change::{BinlogPosition, GtidSet, Number};
use lutra_coordination::Adoption;
use lutra_mysql::sql::quote_text;
use lutra_mysql::{Connection, Row, catalogue};
use lutra_spec::SourceSpec;
use uuid::Uuid;

use crate::adopt::Checkpoint;
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
    /// Behind this unit of the log.
    Number(Number),
    /// Behind the last unit that was committed before this time, in microseconds since the epoch.
    Time(i64),
}

impl FromStr for Point {
    type Err = ManagerError;

    fn from_str(text: &str) -> Result<Self, ManagerError> {
        let text = text.trim();
        let fault = |reason: String| {
            ManagerError::Invalid(format!(
                "{text:?} is no place: write a GTID set, FILE:POSITION, the number of a unit (SEQUENCE or SEQUENCE.SUB), or a time \
                 like 2026-01-31T12:00:00Z; {reason}"
            ))
        };
        if let Some(number) = number(text) {
            return Ok(Self::Number(number));
        }
        if let Some(time) = time(text) {
            return time.map(Self::Time).map_err(fault);
        }
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

/// A number as `lutra status` and `lutra log tail` print it.
fn number(text: &str) -> Option<Number> {
    let (sequence, sub) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some(Number::new(digits(sequence)?, digits(sub)?))
}

/// A time, where the text has the form of one: `YYYY-MM-DDT…`.
fn time(text: &str) -> Option<Result<i64, String>> {
    let (date, _) = text.split_once('T')?;
    let is_date = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_date.then(|| {
        let time: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| e.to_string())?;
        Ok(time.as_microsecond())
    })
}

/// Microseconds since the epoch, as people read them.
pub(super) fn time_text(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} us"), |time| time.to_string())
}

/// A place that is looked up: where a new log begins, or whereto a target is compared.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Everything executed up to there; empty without GTIDs.
    pub(super) set: GtidSet,
    pub(super) position: Option<BinlogPosition>,
    pub(super) server: Uuid,
    /// The unit of the source's log, where it was found there.
    pub(super) number: Option<Number>,
    pub(super) committed_at: Option<i64>,
}

impl Chosen {
    /// Looks the place up at the source: it must be executed, and what follows it must be in the binlog.
    ///
    /// # Errors
    /// [`ManagerError::Conflict`] when it is not, [`ManagerError::Server`].
    pub(super) async fn at(name: &str, spec: &SourceSpec, point: Place) -> Result<Self, ManagerError> {
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
        Adoption {
            number: self.number.unwrap_or(checkpoint.number),
            source_uuid: self.server,
            gtid_set: self.set.clone(),
            position: self.position.clone(),
            committed_at: self.committed_at.unwrap_or(checkpoint.committed_at),
            load: None,
        }
    }

    /// The pipelines whose targets are past the place, each with what it has more.
    pub(super) fn passed_by(&self, checkpoints: &BTreeMap<String, Checkpoint>) -> BTreeMap<String, String> {
        let each = checkpoints.iter();
        each.filter_map(|(name, c)| Some((name.clone(), self.is_passed_by(name, &c.adoption)?))).collect()
    }

    fn is_passed_by(&self, pipeline: &str, has: &Adoption) -> Option<String> {
        if let Some(number) = self.number.filter(|number| self.set.is_empty() && has.number > *number) {
            return Some(format!("the target of pipeline {pipeline} is at unit {}, ahead of {number}", has.number));
        }
        if self.set.is_empty() {
            let (mine, theirs) = (self.position.as_ref()?, has.position.as_ref()?);
            let ahead = has.source_uuid == self.server && place_of(mine) < place_of(theirs);
            return ahead.then(|| format!("the target of pipeline {pipeline} is at {theirs}, ahead of the place"));
        }
        let more = has.gtid_set.minus(&self.set);
        (!more.is_empty()).then(|| format!("the target of pipeline {pipeline} is ahead of the place: it has {more}"))
    }

    /// What the other pipelines pass over.
    pub(super) fn passes_over(&self, pipeline: &str, has: &Adoption) -> Option<String> {
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

/// A place that a server can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind these transactions.
    Gtid(GtidSet),
    /// At this byte of the binlog.
    Position(BinlogPosition),
}

/// Files of one name are numbered; past six digits a later one sorts before an earlier one.
pub(super) fn place_of(position: &BinlogPosition) -> (u64, u64) {
    let number = position.file.rsplit_once('.').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    (number, position.offset)
}

/// The place at a server; the inner error says why it cannot be begun there.
async fn look(
    connection: &mut Connection,
    spec: &SourceSpec,
    point: Place,
) -> lutra_mysql::Result<Result<Chosen, String>> {
    let identity = catalogue::identity(connection).await?;
    let server = Uuid::parse_str(&identity.server_uuid).unwrap_or_default();
    let (set, position) = match point {
        Place::Gtid(_) if !spec.gtid => {
            return Ok(Err("it is followed by file and position (`gtid: false`): write FILE:POSITION".to_owned()));
        }
        Place::Gtid(set) => (set, None),
        Place::Position(position) => {
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
    Ok(Ok(Chosen { set, position, server, number: None, committed_at: None }))
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
    use super::*;

    const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        format!("{SERVER}:{text}").parse().unwrap()
    }

    fn has(gtids: &str) -> Checkpoint {
        let adoption = Adoption {
            number: Number::new(7, 0),
            source_uuid: Uuid::nil(),
            gtid_set: set(gtids),
            position: None,
            committed_at: 0,
            load: None,
        };
        Checkpoint { adoption, term: 1 }
    }

    fn chosen(gtids: &str) -> Chosen {
        Chosen { set: set(gtids), position: None, server: Uuid::nil(), number: None, committed_at: None }
    }

    #[test]
    fn a_place_is_a_set_of_gtids_a_byte_of_a_file_a_number_or_a_time() {
        let read = |text: &str| text.parse::<Point>().unwrap();
        assert_eq!(read(&format!("{SERVER}:1-5")), Point::Gtid(set("1-5")));
        assert_eq!(read("0-1-7"), Point::Gtid("0-1-7".parse().unwrap()));
        assert_eq!(read("binlog.000004:157"), Point::Position(BinlogPosition::new("binlog.000004", 157)));
        assert_eq!(read("T-bin.000004:157"), Point::Position(BinlogPosition::new("T-bin.000004", 157)));
        assert_eq!(read("1234"), Point::Number(Number::new(1234, 0)));
        assert_eq!(read("1234.5"), Point::Number(Number::new(1234, 5)));
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Point::Time(1_500_000));
        assert_eq!(read("1970-01-01T01:00:01+01:00"), Point::Time(1_000_000));
        for number in [Number::new(7, 0), Number::new(7, 3)] {
            assert_eq!(read(&number.to_string()), Point::Number(number), "as it is printed");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_and_the_forms_are_named() {
        for wrong in
            ["", "binlog.000004", "binlog.000004:x", "now", "1.x", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"]
        {
            let error = wrong.parse::<Point>().unwrap_err();
            assert!(matches!(error, ManagerError::Invalid(_)), "{wrong}");
            assert!(error.to_string().contains("FILE:POSITION"), "{error}");
        }
    }

    #[test]
    fn a_target_that_is_ahead_of_the_place_is_named() {
        let checkpoints = [("a".to_owned(), has("1-8")), ("b".to_owned(), has("1-10"))].into();
        let ahead = chosen("1-8").passed_by(&checkpoints);
        assert_eq!(ahead.keys().collect::<Vec<_>>(), ["b"]);
        assert!(ahead["b"].contains(&format!("pipeline b is ahead of the place: it has {SERVER}:9-10")), "{ahead:?}");
    }

    #[test]
    fn without_gtids_units_of_the_log_are_compared() {
        let mut checkpoint = has("1");
        checkpoint.adoption.gtid_set = GtidSet::new();
        let at = |sequence| Chosen { set: GtidSet::new(), number: Some(Number::new(sequence, 0)), ..chosen("1") };
        let ahead = |sequence| at(sequence).is_passed_by("a", &checkpoint.adoption).is_some();
        assert!(ahead(6) && !ahead(7) && !ahead(8));
    }

    #[test]
    fn what_is_passed_over_is_named() {
        let notes = chosen("1-10").passes_over("a", &has("1-8").adoption).unwrap();
        assert!(notes.contains(&format!("pipeline a passes over {SERVER}:9-10")), "{notes:?}");
        assert_eq!(chosen("1-10").passes_over("b", &has("1-10").adoption), None);
    }

    #[test]
    fn places_of_files_are_compared_by_the_files_numbers() {
        let at = |file: &str| BinlogPosition::new(file, 4);
        assert!(place_of(&at("b.999999")) < place_of(&at("b.1000000")));
    }
}

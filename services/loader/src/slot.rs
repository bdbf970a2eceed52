//! The slot rows: checkpoint, fence and mark in one (P4, P5, P13). This file holds all their SQL.

use lutra_change::{BinlogPosition, Cursor, Epoch, GtidSet, LogId, Number};
use lutra_mysql::Row;
use lutra_mysql::sql::quote_text;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Statements that make Lutra's own tables; run at every start, so that they must be repeatable.
pub const CREATE: [&str; 2] = [
    "CREATE DATABASE IF NOT EXISTS `lutra` DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS `lutra`.`slot` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     slot SMALLINT UNSIGNED NOT NULL, \
     cluster VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', \
     term BIGINT UNSIGNED NOT NULL, attempt INT UNSIGNED NOT NULL, \
     sequence BIGINT UNSIGNED NOT NULL, sub BIGINT UNSIGNED NOT NULL, \
     log_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL, next_offset BIGINT NOT NULL DEFAULT 0, \
     log_term BIGINT UNSIGNED NOT NULL DEFAULT 0, log_attempt INT UNSIGNED NOT NULL DEFAULT 0, \
     source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL, \
     gtid VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL, \
     gtid_set MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL, \
     binlog_file VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, binlog_position BIGINT UNSIGNED NULL, \
     source_committed_at BIGINT NULL COMMENT 'microseconds since the epoch', \
     origins TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, \
     ddl_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, ddl_next BIGINT UNSIGNED NOT NULL DEFAULT 1, \
     ddl_intent TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, \
     ranges TEXT CHARACTER SET ascii COLLATE ascii_bin NULL, \
     PRIMARY KEY (task, slot)) ENGINE=InnoDB",
];

const COLUMNS: &str = "slot, cluster, term, attempt, sequence, sub, log_id, next_offset, log_term, log_attempt, source_uuid, \
                       gtid, gtid_set, binlog_file, binlog_position, source_committed_at, origins, ddl_uuid, ddl_next, ddl_intent";

/// Where a target stands after a unit: what a slot row says of the source and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The last unit.
    pub number: Number,
    /// The place in the log behind it; none on a target that has nothing.
    pub cursor: Option<Cursor>,
    /// The server that was read.
    pub source_uuid: Option<Uuid>,
    /// The last unit's GTID.
    pub gtid: Option<String>,
    /// Everything executed at the source up to the unit.
    pub gtid_set: GtidSet,
    /// Binlog file and byte behind the unit.
    pub position: Option<BinlogPosition>,
    /// The unit's commit time at the source, microseconds since the epoch.
    pub committed_at: i64,
    /// Names of the sources that the changes came from.
    pub origins: Vec<String>,
}

/// One slot row.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its number.
    pub slot: u16,
    /// The cluster that wrote it.
    pub cluster: String,
    /// Whose it is.
    pub epoch: Epoch,
    /// Where it stands.
    pub place: Place,
    /// Source id of the GTIDs under which DDL is run.
    pub ddl_uuid: String,
    /// The next number under it.
    pub ddl_next: u64,
    /// What is under way.
    pub ddl_intent: Option<String>,
}

/// The task whose rows are meant, and its owner.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Task id, `load/<pipeline>`.
    pub task: String,
    /// Cluster id.
    pub cluster: String,
    /// Our epoch.
    pub epoch: Epoch,
}

impl Owner {
    /// Name of the lock that the connection of a slot holds.
    pub fn lock_name(&self, slot: u16) -> String {
        let digest = Sha256::digest(self.task.as_bytes());
        let hash: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
        format!("lutra:{hash}:{slot}")
    }

    /// All rows of the task.
    pub fn select(&self) -> String {
        format!("SELECT {COLUMNS} FROM `lutra`.`slot` WHERE task = {} ORDER BY slot", quote_text(&self.task))
    }

    /// Makes slot 0 where the task has no row (P5).
    pub fn insert_first(&self) -> String {
        format!(
            "INSERT INTO `lutra`.`slot` (task, slot, cluster, term, attempt, sequence, sub, ddl_uuid) \
             VALUES ({}, 0, {}, 0, 0, 0, 0, '{}') ON DUPLICATE KEY UPDATE task = task",
            quote_text(&self.task),
            quote_text(&self.cluster),
            Uuid::new_v4()
        )
    }

    /// Raises the epoch in slot 0, or in all others: matches only rows below it.
    pub fn raise(&self, first: bool) -> String {
        let Epoch { term, attempt } = self.epoch;
        format!(
            "UPDATE `lutra`.`slot` SET term = {term}, attempt = {attempt}, cluster = {} WHERE task = {} AND slot {} 0 \
             AND (term < {term} OR term = {term} AND attempt < {attempt})",
            quote_text(&self.cluster),
            quote_text(&self.task),
            if first { "=" } else { "<>" }
        )
    }

    /// Makes a missing slot at the watermark, which row `watermark` holds.
    pub fn insert_at_watermark(&self, slot: u16, watermark: u16) -> String {
        format!(
            "INSERT INTO `lutra`.`slot` (task, slot, cluster, term, attempt, sequence, sub, log_id, next_offset, log_term, \
             log_attempt, source_uuid, gtid, gtid_set, binlog_file, binlog_position, source_committed_at, origins, ddl_uuid) \
             SELECT task, {slot}, cluster, term, attempt, sequence, sub, log_id, next_offset, log_term, log_attempt, source_uuid, \
             gtid, gtid_set, binlog_file, binlog_position, source_committed_at, origins, '{}' \
             FROM `lutra`.`slot` WHERE task = {} AND slot = {watermark}",
            Uuid::new_v4(),
            quote_text(&self.task)
        )
    }

    fn condition(&self, out: &mut String, slot: u16, known: Number) {
        use std::fmt::Write as _;
        let _ = write!(
            out,
            " WHERE task={} AND slot={slot} AND term={} AND attempt={} AND sequence={} AND sub={}",
            quote_text(&self.task),
            self.epoch.term,
            self.epoch.attempt,
            known.sequence,
            known.sub
        );
    }

    /// The compare-and-set that begins every target transaction (P4). Must match exactly one row.
    pub fn advance(&self, slot: u16, known: Number, place: &Place) -> String {
        let mut out = String::with_capacity(512);
        out.push_str("UPDATE `lutra`.`slot` SET ");
        assignments(&mut out, place);
        self.condition(&mut out, slot, known);
        out
    }

    /// The same for a unit whose end has not been read yet: only its number is known.
    pub fn advance_number(&self, slot: u16, known: Number, number: Number) -> String {
        let mut out = format!("UPDATE `lutra`.`slot` SET sequence={}, sub={}", number.sequence, number.sub);
        self.condition(&mut out, slot, known);
        out
    }

    /// Writes down what DDL is about to be run, or (with none) that it is done (P6).
    pub fn intend(&self, slot: u16, known: Number, intent: Option<&str>, ddl_next: u64) -> String {
        let intent = intent.map_or_else(|| "NULL".to_owned(), quote_text);
        let mut out = format!("UPDATE `lutra`.`slot` SET ddl_intent={intent}, ddl_next={ddl_next}");
        self.condition(&mut out, slot, known);
        out
    }

    /// Changes nothing; matches the row where it is ours and at that number.
    pub fn stay(&self, slot: u16, known: Number) -> String {
        let mut out = "UPDATE `lutra`.`slot` SET ddl_next=ddl_next".to_owned();
        self.condition(&mut out, slot, known);
        out
    }

    /// Stays at the number and says what else the transaction holds: changes the row, so that the mark is in the binlog.
    pub fn mark(&self, slot: u16, known: Number, origins: &str, mark: &str) -> String {
        let mut out = format!("UPDATE `lutra`.`slot` SET origins={}, ranges={}", quote_text(origins), quote_text(mark));
        self.condition(&mut out, slot, known);
        out
    }

    /// Advances over DDL that is done.
    pub fn advance_over_ddl(&self, slot: u16, known: Number, place: &Place, ddl_next: u64) -> String {
        let mut out = format!("UPDATE `lutra`.`slot` SET ddl_intent=NULL, ddl_next={ddl_next}, ");
        assignments(&mut out, place);
        self.condition(&mut out, slot, known);
        out
    }
}

fn assignments(out: &mut String, place: &Place) {
    use std::fmt::Write as _;
    let _ = write!(out, "sequence={},sub={}", place.number.sequence, place.number.sub);
    if let Some(cursor) = &place.cursor {
        let _ = write!(
            out,
            ",log_id='{}',next_offset={},log_term={},log_attempt={}",
            cursor.log_id, cursor.next_offset, cursor.epoch.term, cursor.epoch.attempt
        );
    }
    if let Some(uuid) = &place.source_uuid {
        let _ = write!(out, ",source_uuid='{uuid}'");
    }
    match &place.gtid {
        Some(gtid) => {
            let _ = write!(out, ",gtid='{gtid}'");
        }
        None => out.push_str(",gtid=NULL"),
    }
    let _ = write!(out, ",gtid_set='{}'", place.gtid_set);
    if let Some(position) = &place.position {
        let _ = write!(out, ",binlog_file={},binlog_position={}", quote_text(&position.file), position.offset);
    }
    let _ = write!(out, ",source_committed_at={},origins={}", place.committed_at, quote_text(&place.origins.join(",")));
}

/// Reads a row of [`Owner::select`].
///
/// # Errors
/// A sentence naming the column that cannot be read.
pub fn parse(row: &Row) -> Result<Slot, String> {
    let number = |at: usize, name: &str| row.u64(at).ok_or_else(|| format!("column {name} of lutra.slot is no number"));
    let small =
        |at: usize, name: &str| number(at, name).and_then(|n| u32::try_from(n).map_err(|e| format!("{name}: {e}")));
    let epoch =
        |term: usize, attempt: usize| Ok::<_, String>(Epoch::new(number(term, "term")?, small(attempt, "attempt")?));
    let last = Number::new(number(4, "sequence")?, number(5, "sub")?);
    let log_id = row
        .text(6)
        .filter(|t| !t.is_empty())
        .map(|t| t.parse::<LogId>().map_err(|e| format!("log_id: {e}")))
        .transpose()?;
    let cursor = match log_id {
        Some(log_id) => {
            let next_offset = row.i64(7).ok_or("column next_offset of lutra.slot is no number")?;
            Some(Cursor { log_id, next_offset, epoch: epoch(8, 9)?, number: last })
        }
        None => None,
    };
    let position = row.text(13).zip(row.u64(14)).map(|(file, offset)| BinlogPosition::new(file, offset));
    Ok(Slot {
        slot: u16::try_from(number(0, "slot")?).map_err(|e| format!("slot: {e}"))?,
        cluster: row.string(1),
        epoch: epoch(2, 3)?,
        place: Place {
            number: last,
            cursor,
            source_uuid: row.text(10).and_then(|t| t.parse().ok()),
            gtid: row.text(11).map(str::to_owned),
            gtid_set: row.text(12).unwrap_or_default().parse().map_err(|e| format!("gtid_set: {e}"))?,
            position,
            committed_at: row.i64(15).unwrap_or(0),
            origins: row.string(16).split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect(),
        },
        ddl_uuid: row.string(17),
        ddl_next: number(18, "ddl_next")?,
        ddl_intent: row.text(19).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_statement_compares_owner_and_number() {
        let owner = Owner { task: "load/x".into(), cluster: "c".into(), epoch: Epoch::new(7, 2) };
        let place = Place { number: Number::new(5, 0), ..Place::default() };
        let text = owner.advance(3, Number::new(4, 1), &place);
        assert!(text.starts_with("UPDATE `lutra`.`slot` SET sequence=5,sub=0,"), "{text}");
        assert!(
            text.ends_with("WHERE task='load/x' AND slot=3 AND term=7 AND attempt=2 AND sequence=4 AND sub=1"),
            "{text}"
        );
    }
}

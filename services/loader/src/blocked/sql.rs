//! The SQL of `lutra.stopped` and `lutra.parked`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lutra_change::{Number, TableName};
use lutra_mysql::Row;
use lutra_mysql::sql::quote_text;
use lutra_wire::record::{Ddl, RawBody};

use super::{Block, BlockedTable, Parked, ReadyGroup, Standing};

/// Statements that make these tables.
pub const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS `lutra`.`stopped` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     database_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     group_sequence BIGINT UNSIGNED NOT NULL, group_sub BIGINT UNSIGNED NOT NULL, \
     state ENUM('held','stopped') CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     reason TEXT CHARACTER SET utf8mb4 NULL, \
     row_count BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'left out', \
     since TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     PRIMARY KEY (task, database_name, table_name)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS `lutra`.`parked` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     group_sequence BIGINT UNSIGNED NOT NULL, group_sub BIGINT UNSIGNED NOT NULL, \
     sequence BIGINT UNSIGNED NOT NULL, sub BIGINT UNSIGNED NOT NULL, ordinal INT UNSIGNED NOT NULL, \
     kind ENUM('ddl','rows') CHARACTER SET ascii COLLATE ascii_bin NOT NULL, row_count BIGINT UNSIGNED NOT NULL, \
     origins TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, \
     body LONGBLOB NOT NULL COMMENT 'as in the log of the pipeline', \
     PRIMARY KEY (task, group_sequence, group_sub, sequence, sub, ordinal)) ENGINE=InnoDB",
];

/// A parked item.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its group.
    pub group: Number,
    /// Its unit.
    pub number: Number,
    /// Its place among the unit's items.
    pub ordinal: u32,
    /// Row changes in it.
    pub rows: u64,
    /// The sources that it comes from.
    pub origins: &'a str,
}

fn park(task: &str, kind: &str, item: &Item<'_>, body: &RawBody) -> String {
    let mut out = String::with_capacity(body.len() * 2 + 256);
    let _ = write!(
        out,
        "INSERT INTO `lutra`.`parked` (task, group_sequence, group_sub, sequence, sub, ordinal, kind, row_count, origins, body) \
         VALUES ({}, {}, {}, {}, {}, {}, '{kind}', {}, {}, 0x",
        quote_text(task),
        item.group.sequence,
        item.group.sub,
        item.number.sequence,
        item.number.sub,
        item.ordinal,
        item.rows,
        quote_text(item.origins),
    );
    for byte in body.as_bytes() {
        let _ = write!(out, "{byte:02x}");
    }
    out.push(')');
    out
}

/// Parks row changes.
pub fn park_rows(task: &str, item: &Item<'_>, body: &RawBody) -> String {
    park(task, "rows", item, body)
}

/// Parks a statement.
pub fn park_ddl(task: &str, item: &Item<'_>, ddl: &Ddl) -> String {
    park(task, "ddl", item, &RawBody::ddl(ddl))
}

/// Blocks a table; the reason is that of the note of a statement.
pub fn block(task: &str, table: &TableName, group: Number, block: Block, noted: Number) -> String {
    let task = quote_text(task);
    format!(
        "REPLACE INTO `lutra`.`stopped` (task, database_name, table_name, group_sequence, group_sub, state, reason) VALUES ({task}, \
         {}, {}, {}, {}, '{}', (SELECT reason FROM `lutra`.`ddl` WHERE task = {task} AND sequence = {} AND sub = {}))",
        quote_text(&table.database),
        quote_text(&table.table),
        group.sequence,
        group.sub,
        block.word(),
        noted.sequence,
        noted.sub
    )
}

fn of_group(task: &str, group: Number) -> String {
    format!("task = {} AND group_sequence = {} AND group_sub = {}", quote_text(task), group.sequence, group.sub)
}

/// Makes one group of two.
pub fn merge(task: &str, other: Number, into: Number) -> [String; 2] {
    ["stopped", "parked"].map(|table| {
        format!(
            "UPDATE `lutra`.`{table}` SET group_sequence = {}, group_sub = {} WHERE {}",
            into.sequence,
            into.sub,
            of_group(task, other)
        )
    })
}

/// Counts rows that were left out.
pub fn count(task: &str, table: &TableName, rows: u64) -> String {
    format!(
        "UPDATE `lutra`.`stopped` SET row_count = row_count + {rows} WHERE task = {} AND database_name = {} AND table_name = {}",
        quote_text(task),
        quote_text(&table.database),
        quote_text(&table.table)
    )
}

/// Removes an item that was applied.
pub fn applied(task: &str, group: Number, number: Number, ordinal: u32) -> String {
    format!(
        "DELETE FROM `lutra`.`parked` WHERE {} AND sequence = {} AND sub = {} AND ordinal = {ordinal}",
        of_group(task, group),
        number.sequence,
        number.sub
    )
}

/// A table is as usual again.
pub fn lift_table(task: &str, table: &TableName) -> String {
    format!(
        "DELETE FROM `lutra`.`stopped` WHERE task = {} AND database_name = {} AND table_name = {}",
        quote_text(task),
        quote_text(&table.database),
        quote_text(&table.table)
    )
}

/// All tables of a group are.
pub fn lift_group(task: &str, group: Number) -> String {
    format!("DELETE FROM `lutra`.`stopped` WHERE {}", of_group(task, group))
}

/// Nothing is left to be decided about a group of stopped tables.
pub fn forget_group(task: &str, group: Number) -> [String; 2] {
    [
        format!("DELETE FROM `lutra`.`parked` WHERE {}", of_group(task, group)),
        format!(
            "UPDATE `lutra`.`ddl` SET state = 'settled' WHERE task = {} AND sequence = {} AND sub = {}",
            quote_text(task),
            group.sequence,
            group.sub
        ),
    ]
}

/// Everything waits: who decides has the load start again.
pub fn everything_waits(task: &str) -> String {
    format!(
        "UPDATE `lutra`.`ddl` SET state = 'held' WHERE task = {} AND state = 'parked' AND decision IS NULL",
        quote_text(task)
    )
}

/// The queries for [`Standing`].
pub fn select(task: &str) -> [String; 2] {
    let task = quote_text(task);
    [
        format!(
            "SELECT database_name, table_name, group_sequence, group_sub, state, COALESCE(reason, ''), row_count FROM \
             `lutra`.`stopped` WHERE task = {task}"
        ),
        format!(
            "SELECT group_sequence, group_sub, SUM(row_count), SUM(LENGTH(body)) FROM `lutra`.`parked` WHERE task = {task} \
             GROUP BY group_sequence, group_sub"
        ),
    ]
}

fn number(row: &Row, at: usize) -> Number {
    Number::new(row.u64(at).unwrap_or(0), row.u64(at + 1).unwrap_or(0))
}

/// Reads their rows.
pub fn standing(tables: &[Row], parked: &[Row]) -> Standing {
    let table = |row: &Row| BlockedTable {
        table: TableName::new(row.string(0), row.string(1)),
        group: number(row, 2),
        block: if row.text(4) == Some("stopped") { Block::Stopped } else { Block::Held },
        reason: row.string(5),
        rows: row.u64(6).unwrap_or(0),
    };
    let sum = |row: &Row| (number(row, 0), Parked { rows: row.u64(2).unwrap_or(0), bytes: row.u64(3).unwrap_or(0) });
    Standing { tables: tables.iter().map(table).collect(), parked: parked.iter().map(sum).collect::<BTreeMap<_, _>>() }
}

/// The groups whose first item is no statement that waits for a decision, and those that have none left.
pub fn select_ready(task: &str) -> String {
    let task = quote_text(task);
    format!(
        "SELECT p.group_sequence, p.group_sub, p.sequence, p.sub FROM `lutra`.`parked` p LEFT JOIN `lutra`.`ddl` d \
         ON d.task = p.task AND d.sequence = p.sequence AND d.sub = p.sub \
         WHERE p.task = {task} AND NOT EXISTS (SELECT 1 FROM `lutra`.`parked` e WHERE e.task = p.task AND \
         e.group_sequence = p.group_sequence AND e.group_sub = p.group_sub AND (e.sequence < p.sequence OR e.sequence = p.sequence AND \
         (e.sub < p.sub OR e.sub = p.sub AND e.ordinal < p.ordinal))) \
         AND NOT (p.kind = 'ddl' AND d.state IS NOT NULL AND d.state IN ('held', 'parked', 'stopped') AND d.decision IS NULL) \
         UNION SELECT s.group_sequence, s.group_sub, s.group_sequence, s.group_sub FROM `lutra`.`stopped` s WHERE s.task = {task} \
         AND NOT EXISTS (SELECT 1 FROM `lutra`.`parked` p WHERE p.task = s.task AND p.group_sequence = s.group_sequence AND \
         p.group_sub = s.group_sub)"
    )
}

/// Reads its rows.
pub fn ready(rows: &[Row]) -> Vec<ReadyGroup> {
    rows.iter().map(|row| ReadyGroup { group: number(row, 0), head: number(row, 2) }).collect()
}

/// The first items of a group.
pub fn select_items(task: &str, group: Number, limit: usize) -> String {
    format!(
        "SELECT sequence, sub, ordinal, kind, row_count, COALESCE(origins, ''), body FROM `lutra`.`parked` WHERE {} \
         ORDER BY sequence, sub, ordinal LIMIT {limit}",
        of_group(task, group)
    )
}

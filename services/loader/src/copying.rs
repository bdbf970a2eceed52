//! Tables whose rows are being copied (P12).
//!
//! While a table is copied, every row that the target has is the row that the source had at this place of the log; it only
//! does not have all. So a change of a row that is not there says nothing new or brings the row, and a chunk's rows are
//! either missing or there already, with the same values. What is copied stands in `lutra.load`, what of it came in
//! `lutra.chunk`, both written with the rows (P4).

use std::sync::Arc;

use lutra_change::{Number, Operation, RowFlags, TableName};
use lutra_mysql::Row;
use lutra_mysql::sql::quote_text;
use lutra_wire::record::{Chunk, Ddl, DdlKind};
use lutra_wire::{ChunkStep, CopiedTable, Definition, DefinitionKind};
use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::LoadError;
use crate::unit::{Segment, Unit, UnitBody};

/// Statements that make the tables of a load; run before the first one, so that they must be repeatable.
pub const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS `lutra`.`load` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     database_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     generation INT UNSIGNED NOT NULL, whole BOOLEAN NOT NULL, \
     state ENUM('defining','copying','done') CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     row_count BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     deferred MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'run when all rows are there', \
     PRIMARY KEY (task, database_name, table_name)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS `lutra`.`chunk` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     database_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
     generation INT UNSIGNED NOT NULL, row_count BIGINT UNSIGNED NOT NULL, \
     PRIMARY KEY (task, id)) ENGINE=InnoDB",
];

/// The tables that are being copied at a place of the log.
pub type CopyingSet = FxHashSet<TableName>;

/// What a unit has to do with the copy of tables.
#[derive(Debug, Default)]
pub struct UnitCopy {
    /// It is a chunk.
    pub chunk: Option<Box<ChunkInfo>>,
    /// Tables that are being copied where it stands; none when there are none.
    pub copying: Option<Arc<CopyingSet>>,
    /// The task, under which a chunk is written down.
    pub task: Option<Arc<str>>,
}

/// What a chunk is to the copy of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Its id.
    pub id: Uuid,
    /// The table, as the target names it.
    pub table: CopiedTable,
    /// The chunk before it.
    pub previous: Option<Uuid>,
    /// The last one.
    pub last: bool,
}

/// Tables to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Define {
    /// Its id.
    pub id: Uuid,
    /// The tables whose copies follow.
    pub tables: Vec<CopiedTable>,
    /// The statements, in order.
    pub statements: Vec<Ddl>,
    /// It is what was put off for this table; else what is put off is only written down.
    pub settles: Option<CopiedTable>,
}

/// What a chunk's body is.
#[derive(Debug)]
pub enum ChunkPart {
    /// Tables to be made.
    Define(Define),
    /// Rows.
    Rows(ChunkInfo),
}

/// Reads the step of a chunk.
///
/// # Errors
/// [`LoadError::Unit`] when it is none.
pub fn step_of(number: Number, chunk: &Chunk) -> Result<ChunkPart, LoadError> {
    let step = ChunkStep::parse(&chunk.step).map_err(|source| LoadError::Unit {
        number,
        what: "the step of a chunk",
        source: Box::new(source),
    })?;
    Ok(match step {
        ChunkStep::Define { tables, statements } => ChunkPart::Define(Define {
            id: chunk.id,
            tables,
            statements: statements.iter().map(Definition::to_ddl).collect(),
            settles: None,
        }),
        ChunkStep::Rows { table, previous, last } => ChunkPart::Rows(ChunkInfo { id: chunk.id, table, previous, last }),
    })
}

/// A row of `lutra.load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRow {
    /// The table.
    pub table: CopiedTable,
    /// `defining`, `copying`, `done`.
    pub state: String,
    /// Rows of chunks that are in the target.
    pub rows: u64,
}

/// What the target says of the copies of a task.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    /// By table.
    pub tables: Vec<CopyRow>,
    /// Chunks that are in it.
    pub chunks: Vec<Uuid>,
    /// Statements that wait for the last row of their table.
    pub deferred: Vec<(CopiedTable, String)>,
    /// The target has foreign keys.
    pub related: bool,
}

impl Copies {
    /// The queries for both.
    pub fn select(task: &str) -> [String; 2] {
        let task = quote_text(task);
        [
            format!(
                "SELECT l.database_name, l.table_name, l.generation, l.whole, l.state, l.row_count + COALESCE((SELECT \
                 SUM(c.row_count) FROM `lutra`.`chunk` c WHERE c.task = l.task AND c.database_name = l.database_name AND \
                 c.table_name = l.table_name AND c.generation = l.generation), 0), l.deferred, EXISTS (SELECT 1 FROM \
                 information_schema.referential_constraints) FROM `lutra`.`load` l WHERE l.task = {task}"
            ),
            format!("SELECT id FROM `lutra`.`chunk` WHERE task = {task}"),
        ]
    }

    /// Reads their rows.
    pub fn parse(tables: &[Row], chunks: &[Row]) -> Self {
        let table = |row: &Row| CopyRow {
            table: CopiedTable {
                database: row.string(0),
                table: row.string(1),
                generation: row.u64(2).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
                whole: row.u64(3) == Some(1),
            },
            state: row.string(4),
            rows: row.u64(5).unwrap_or(0),
        };
        let chunk = |row: &Row| row.text(0).and_then(|id| id.parse().ok());
        let deferred = |row: &Row| Some((table(row).table, row.text(6)?.to_owned()));
        Self {
            tables: tables.iter().map(table).collect(),
            chunks: chunks.iter().filter_map(chunk).collect(),
            deferred: tables.iter().filter_map(deferred).collect(),
            related: tables.iter().any(|row| row.u64(7) == Some(1)),
        }
    }
}

/// What is being copied where the scheduler stands.
#[derive(Debug, Default)]
pub struct Copying {
    task: Arc<str>,
    tables: FxHashMap<TableName, CopiedTable>,
    chunks: FxHashSet<Uuid>,
    /// Statements that wait for the last row of their table, or for DDL on it.
    deferred: FxHashMap<TableName, (CopiedTable, Ddl)>,
    /// Tables whose statements wait no longer.
    due: Vec<TableName>,
    /// There are foreign keys: rows must not ask for rows that are not copied yet.
    related: bool,
    /// Shared with the units; made anew when it changes.
    set: Option<Arc<CopyingSet>>,
}

impl Copying {
    /// What the target says.
    pub fn new(task: &str, copies: &Copies) -> Self {
        let open = copies.tables.iter().filter(|row| row.state == "copying");
        let tables: FxHashMap<_, _> = open.map(|row| (row.table.name(), row.table.clone())).collect();
        let deferred: FxHashMap<_, _> = copies
            .deferred
            .iter()
            .map(|(table, text)| (table.name(), (table.clone(), deferred_ddl(&table.name(), text))))
            .collect();
        let due = deferred.keys().filter(|table| !tables.contains_key(table)).cloned().collect();
        let chunks = copies.chunks.iter().copied().collect();
        let mut copying =
            Self { task: Arc::from(task), tables, chunks, deferred, due, related: copies.related, set: None };
        copying.changed();
        copying
    }

    fn changed(&mut self) {
        self.set = (!self.tables.is_empty()).then(|| Arc::new(self.tables.keys().cloned().collect()));
    }

    /// The task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The tables that are being copied.
    pub fn set(&self) -> Option<&Arc<CopyingSet>> {
        self.set.as_ref()
    }

    /// Whether a definition was carried out already.
    pub fn knows(&self, id: Uuid) -> bool {
        self.chunks.contains(&id)
    }

    /// Whether a unit is the last chunk of a table that is being copied: behind it, other rules are in force.
    pub fn ends_with(&self, unit: &Unit) -> bool {
        let last = |info: &ChunkInfo| info.last && self.tables.contains_key(&info.table.name());
        unit.copy.chunk.as_deref().is_some_and(last)
    }

    /// Prepares a unit for where it stands, and takes over what it changes.
    ///
    /// # Errors
    /// [`LoadError::ChunkMissing`].
    pub fn stamp(&mut self, unit: &mut Unit) -> Result<(), LoadError> {
        if let Some(info) = unit.copy.chunk.take() {
            if self.admit(&info, unit.end.number)? {
                unit.copy.copying = self.chunk_set(&info);
                self.passed(&info);
                unit.copy.chunk = Some(info);
                unit.copy.task = Some(Arc::clone(&self.task));
            } else {
                unit.body = UnitBody::Nothing;
            }
            return Ok(());
        }
        if let UnitBody::Ddl(ddl) = &unit.body {
            self.ddl(ddl);
        }
        let Some(set) = self.set.clone() else { return Ok(()) };
        if let UnitBody::Changes(segments) = &mut unit.body {
            segments.iter_mut().for_each(|segment| self.segment(segment));
            if segments.iter().all(|s| s.rows.is_empty()) {
                unit.body = UnitBody::Nothing;
            }
        }
        unit.copy.copying = Some(set);
        Ok(())
    }

    /// Whether a chunk is news. One that is missing before it was lost with a log's tail.
    ///
    /// # Errors
    /// [`LoadError::ChunkMissing`].
    pub fn admit(&self, info: &ChunkInfo, number: Number) -> Result<bool, LoadError> {
        if self.chunks.contains(&info.id) {
            return Ok(false);
        }
        let Some(table) = self.tables.get(&info.table.name()) else { return Ok(true) };
        if info.table.generation != table.generation {
            return Ok(info.table.generation > table.generation);
        }
        match info.previous {
            Some(previous) if !self.chunks.contains(&previous) => {
                Err(LoadError::ChunkMissing { table: info.table.name(), number, previous })
            }
            _ => Ok(true),
        }
    }

    /// The tables that count as being copied for a chunk: its own, unless it comes whole into an empty table.
    pub fn chunk_set(&self, info: &ChunkInfo) -> Option<Arc<CopyingSet>> {
        (!info.table.whole).then(|| Arc::new(std::iter::once(info.table.name()).collect()))
    }

    /// Behind a chunk.
    pub fn passed(&mut self, info: &ChunkInfo) {
        self.chunks.insert(info.id);
        if info.last && self.tables.remove(&info.table.name()).is_some() {
            self.due.extend(self.deferred.get(&info.table.name()).map(|(table, _)| table.name()));
            self.changed();
        }
    }

    /// DDL comes: what was put off for its tables must be made first. A table that is renamed takes the foreign keys of
    /// others with it.
    pub fn before(&mut self, ddl: &Ddl) {
        let all = ddl.tables.is_empty() || matches!(ddl.kind, DdlKind::RenameTable | DdlKind::DropDatabase);
        let concerned = self.deferred.keys().filter(|table| all || ddl.tables.contains(table));
        let news: Vec<TableName> = concerned.filter(|table| !self.due.contains(table)).cloned().collect();
        self.due.extend(news);
    }

    /// Whether something put off is to be made now.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next of what was put off and is to be made now.
    pub fn take_due(&mut self) -> Option<Define> {
        let (table, ddl) = self.due.pop().and_then(|table| self.deferred.remove(&table))?;
        Some(Define { id: Uuid::nil(), tables: Vec::new(), statements: vec![ddl], settles: Some(table) })
    }

    /// Behind definitions.
    pub fn defined(&mut self, define: &Define) {
        self.chunks.insert(define.id);
        define.statements.iter().for_each(|ddl| self.related |= relates(ddl));
        for table in &define.tables {
            self.tables.insert(table.name(), table.clone());
            self.due.retain(|due| *due != table.name());
            match define.deferred(table) {
                Some(ddl) => self.deferred.insert(table.name(), (table.clone(), ddl.clone())),
                None => self.deferred.remove(&table.name()),
            };
        }
        self.changed();
    }

    /// Rows of the stream: those of a table that comes whole are in it; inserts do not ask for rows that are not copied yet.
    /// (Without foreign keys nothing asks, and changes of all kinds can share a transaction.)
    pub fn segment(&self, segment: &mut Segment) {
        let tables = &segment.tables;
        let name = |table: u32| usize::try_from(table).ok().and_then(|t| tables.get(t)).map(|t| &t.name);
        let comes_whole = |table: u32| name(table).and_then(|n| self.tables.get(n)).is_some_and(|t| t.whole);
        segment.rows.retain(|row| !comes_whole(row.table));
        if !self.related {
            return;
        }
        for row in &mut segment.rows {
            if matches!(row.operation, Operation::Insert | Operation::Update) {
                row.flags = RowFlags(row.flags.0 | RowFlags::NO_FOREIGN_KEY_CHECKS);
            }
        }
    }

    /// A table that is renamed while it is copied stays one that is not complete.
    fn ddl(&mut self, ddl: &Ddl) {
        self.related |= relates(ddl);
        if self.set.is_none() || ddl.kind != DdlKind::RenameTable {
            return;
        }
        for pair in ddl.tables.chunks_exact(2) {
            let [old, new] = pair else { continue };
            if let Some(table) = self.tables.remove(old) {
                tracing::warn!(
                    table = %old, renamed = %new,
                    "a table was renamed while it was copied: rows are missing until `lutra load restart` copies it anew"
                );
                self.tables.insert(new.clone(), table.renamed(new));
            }
        }
        self.changed();
    }
}

/// Writes the chunk down, in the transaction of its rows.
pub fn chunk_statements(task: &str, info: &ChunkInfo, rows: u64) -> Vec<String> {
    let (task, database, table) = (quote_text(task), quote_text(&info.table.database), quote_text(&info.table.table));
    let generation = info.table.generation;
    let mut statements = vec![format!(
        "INSERT INTO `lutra`.`chunk` (task, id, database_name, table_name, generation, row_count) VALUES ({task}, '{}', \
         {database}, {table}, {generation}, {rows})",
        info.id
    )];
    if info.last {
        let condition = format!("task = {task} AND database_name = {database} AND table_name = {table}");
        statements
            .push(format!("UPDATE `lutra`.`load` SET state = 'done' WHERE {condition} AND generation = {generation}"));
    }
    statements
}

impl Define {
    /// What is put off for a table.
    fn deferred(&self, table: &CopiedTable) -> Option<&Ddl> {
        self.statements.iter().find(|ddl| is_deferred(ddl) && ddl.tables.first() == Some(&table.name()))
    }

    /// The statements that are run now.
    pub fn to_run(&self) -> impl Iterator<Item = &Ddl> {
        self.statements.iter().filter(|ddl| self.settles.is_some() || !is_deferred(ddl))
    }
}

/// Whether a statement may make a foreign key.
fn relates(ddl: &Ddl) -> bool {
    ddl.statement.windows(10).any(|word| word.eq_ignore_ascii_case(b"REFERENCES"))
}

/// Of all that makes a table, only what is put off alters it.
fn is_deferred(ddl: &Ddl) -> bool {
    ddl.kind == DdlKind::AlterTable
}

/// A statement that was put off, as it was written down.
fn deferred_ddl(table: &TableName, statement: &str) -> Ddl {
    let definition = Definition {
        kind: DefinitionKind::Deferred,
        database: table.database.clone(),
        tables: vec![(table.database.clone(), table.table.clone())],
        statement: statement.to_owned(),
        context: Definition::session(),
    };
    definition.to_ddl()
}

/// Writes the tables of a definition down, in that state.
pub fn table_statements(task: &str, define: &Define, state: &str) -> Vec<String> {
    let task = quote_text(task);
    if let Some(table) = &define.settles {
        return vec![format!(
            "UPDATE `lutra`.`load` SET deferred = NULL WHERE task = {task} AND database_name = {} AND table_name = {}",
            quote_text(&table.database),
            quote_text(&table.table)
        )];
    }
    let row = |table: &CopiedTable| {
        let deferred = define.deferred(table).map(|ddl| String::from_utf8_lossy(&ddl.statement).into_owned());
        format!(
            "REPLACE INTO `lutra`.`load` (task, database_name, table_name, generation, whole, state, deferred) VALUES ({task}, \
             {}, {}, {}, {}, '{state}', {})",
            quote_text(&table.database),
            quote_text(&table.table),
            table.generation,
            table.whole,
            deferred.map_or_else(|| "NULL".to_owned(), |text| quote_text(&text))
        )
    };
    let mut statements: Vec<String> = define.tables.iter().map(row).collect();
    if state == "copying" {
        statements.push(marker(&task, define.id));
    }
    statements
}

/// Writes down that a step without rows was done; `task` is quoted.
fn marker(task: &str, id: Uuid) -> String {
    format!(
        "INSERT INTO `lutra`.`chunk` (task, id, database_name, table_name, generation, row_count) VALUES ({task}, '{id}', '', '', \
         0, 0)"
    )
}

/// The mark that a statement of a definition, which may not be repeated, was run: written down with it.
pub fn statement_marker(task: &str, define: Uuid, index: usize) -> (Uuid, String) {
    let mut hash = Sha256::new();
    hash.update(define.as_bytes());
    hash.update(index.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    (id, marker(&quote_text(task), id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(generation: u32) -> CopiedTable {
        CopiedTable { database: "d".into(), table: "t".into(), generation, whole: false }
    }

    fn info(id: u128, previous: Option<u128>, last: bool) -> ChunkInfo {
        ChunkInfo { id: Uuid::from_u128(id), table: table(1), previous: previous.map(Uuid::from_u128), last }
    }

    fn copying() -> Copying {
        let row = CopyRow { table: table(1), state: "copying".into(), rows: 0 };
        Copying::new("load/p", &Copies { tables: vec![row], ..Copies::default() })
    }

    #[test]
    fn a_chunk_comes_once_and_none_is_missing_before_it() {
        let mut copying = copying();
        let number = Number::new(1, 1);
        assert!(copying.admit(&info(1, None, false), number).unwrap());
        copying.passed(&info(1, None, false));
        assert!(!copying.admit(&info(1, None, false), number).unwrap(), "known");
        assert!(copying.admit(&info(2, Some(1), false), number).unwrap());
        let missing = copying.admit(&info(4, Some(3), false), number);
        assert!(matches!(missing, Err(LoadError::ChunkMissing { .. })), "{missing:?}");
        let old = ChunkInfo { table: table(0), ..info(5, None, false) };
        assert!(!copying.admit(&old, number).unwrap(), "of a copy before");
    }

    #[test]
    fn behind_the_last_chunk_the_table_is_like_any_other() {
        let mut copying = copying();
        assert!(copying.set().is_some());
        copying.passed(&info(1, None, true));
        assert!(copying.set().is_none());
    }

    #[test]
    fn what_is_written_names_task_table_and_generation() {
        let statements = chunk_statements("load/p", &info(1, None, true), 7);
        assert!(statements[0].ends_with("'d', 't', 1, 7)"), "{statements:?}");
        assert!(statements[1].contains("SET state = 'done'") && statements[1].contains("generation = 1"));
        let define = Define { id: Uuid::nil(), tables: vec![table(2)], statements: Vec::new(), settles: None };
        assert_eq!(table_statements("load/p", &define, "defining").len(), 1);
        assert_eq!(table_statements("load/p", &define, "copying").len(), 2);
    }

    #[test]
    fn what_is_put_off_comes_behind_the_last_row_or_before_ddl_on_its_table() {
        let ddl = |table: &str| deferred_ddl(&TableName::new("d", table), "ALTER TABLE d.t ADD KEY k (k)");
        let define = |table: CopiedTable| Define {
            id: Uuid::nil(),
            statements: vec![ddl(&table.table)],
            tables: vec![table],
            settles: None,
        };
        let mut copying = Copying::new("load/p", &Copies::default());
        copying.defined(&define(table(1)));
        assert!(!copying.is_due());
        copying.before(&ddl("other"));
        assert!(!copying.is_due());
        copying.passed(&info(1, None, true));
        let due = copying.take_due().unwrap();
        assert_eq!((due.settles, due.statements.len()), (Some(table(1)), 1));
        assert!(copying.take_due().is_none());
        copying.defined(&define(table(2)));
        copying.before(&ddl("t"));
        assert!(copying.is_due());
        // A start that finds it written down and all rows there.
        let copies =
            Copies { deferred: vec![(table(1), "ALTER TABLE d.t ADD KEY k (k)".to_owned())], ..Copies::default() };
        assert!(Copying::new("load/p", &copies).is_due());
        assert!(
            table_statements("load/p", &define(table(1)), "copying")[0].ends_with("'ALTER TABLE d.t ADD KEY k (k)')")
        );
    }
}

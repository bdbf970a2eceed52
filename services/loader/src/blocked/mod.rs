//! Tables that changes do not reach for now.
//!
//! *Held*: a statement on the table waits for a person. What changes the table behind it is parked in `lutra.parked`, in the
//! transaction that passes over it, and applied in order once the statement is decided. *Stopped*: a statement on the table
//! failed and the policy is `stop-table`: what changes it is left out and counted. Tables that meet in one statement share
//! their fate: they are a group, known by the number of the statement that began it. See ADR 0005.

pub mod replay;
pub mod scope;
pub mod sql;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lutra_change::{Number, TableName};
use lutra_wire::ChangesBuilder;
use lutra_wire::record::Ddl;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::error::LoadError;
use crate::unit::{Segment, Unit, UnitBody, UnitEnd};
use scope::{Meets, Scope};

/// How often the target is asked whether something was decided, while a table is blocked.
const POLL: std::time::Duration = std::time::Duration::from_secs(1);

/// What becomes of what changes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// It is parked.
    Held,
    /// It is left out.
    Stopped,
}

impl Block {
    /// The word in `lutra.stopped`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Stopped => "stopped",
        }
    }
}

/// A table that changes do not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedTable {
    /// The table.
    pub table: TableName,
    /// Its group.
    pub group: Number,
    /// What becomes of its changes.
    pub block: Block,
    /// Why.
    pub reason: String,
    /// Rows left out.
    pub rows: u64,
}

/// What is parked for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Row changes.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A group whose first parked item need not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyGroup {
    /// The group.
    pub group: Number,
    /// The unit of its first item.
    pub head: Number,
}

/// What the target says of a task's blocked tables.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The tables.
    pub tables: Vec<BlockedTable>,
    /// What is parked, by group.
    pub parked: BTreeMap<Number, Parked>,
}

/// What a unit leaves beside its way: statements for its transaction, and rows that are left out.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// They park rows.
    pub statements: Vec<String>,
    /// Rows that those hold.
    pub parked_rows: u64,
    /// Rows left out, by table.
    pub left_out: BTreeMap<TableName, u64>,
    /// Items so far: their ordinals go on with it.
    items: u32,
}

impl Aside {
    /// Whether nothing was set aside.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.left_out.is_empty()
    }

    /// What was set aside so far is under way; ordinals go on.
    pub fn sent(&mut self) {
        *self = Self { items: self.items, ..Self::default() };
    }
}

/// The blocked tables where the scheduler stands.
#[derive(Debug, Default)]
pub struct Blocked {
    task: String,
    source: String,
    limit: u64,
    tables: FxHashMap<TableName, BlockedTable>,
    parked: BTreeMap<Number, Parked>,
    /// An intent of that unit is open: it is settled first.
    intent: Option<Number>,
    ready: VecDeque<ReadyGroup>,
    asked: Option<Instant>,
    changed: bool,
}

impl Blocked {
    /// What the target says. `intent`: the unit of an open DDL intent; `limit`: bytes that may be parked.
    pub fn new(task: &str, source: &str, limit: u64, standing: Standing, intent: Option<Number>) -> Self {
        let tables = standing.tables.into_iter().map(|t| (t.table.clone(), t)).collect();
        Self {
            task: task.to_owned(),
            source: source.to_owned(),
            limit,
            tables,
            parked: standing.parked,
            intent,
            changed: true,
            ..Self::default()
        }
    }

    /// Whether every table is as usual.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.parked.is_empty()
    }

    /// The task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Whether it is time to ask the target for decisions.
    pub fn is_due(&self) -> bool {
        !self.is_empty() && self.ready.is_empty() && self.asked.is_none_or(|at| at.elapsed() >= POLL)
    }

    /// What the target answered.
    pub fn answered(&mut self, mut ready: Vec<ReadyGroup>) {
        self.asked = Some(Instant::now());
        // A statement that was under way when the process ended comes first.
        ready.sort_by_key(|r| (Some(r.head) != self.intent, r.group));
        self.ready = ready.into();
    }

    /// The next group to settle, at that place of the log. A statement of the log that was under way is finished first.
    pub fn next_ready(&mut self, at: Number) -> Option<ReadyGroup> {
        let first = *self.ready.front()?;
        if self.intent.is_some_and(|intent| intent > at) {
            return None;
        }
        self.ready.pop_front();
        self.intent = None;
        Some(first)
    }

    /// Whether a group waits to be settled now. `due`: something that was put off is to be made, and may be what is under
    /// way.
    pub fn has_ready(&self, at: Number, due: bool) -> bool {
        let is_ours = |intent| self.ready.iter().any(|r| r.head == intent);
        !self.ready.is_empty() && self.intent.is_none_or(|intent| intent <= at && (is_ours(intent) || !due))
    }

    /// All blocked tables, with what is parked for them, if that changed since the last time.
    pub fn news(&mut self) -> Option<Vec<BlockedTable>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut all: Vec<BlockedTable> = self.tables.values().cloned().collect();
        for table in &mut all {
            if table.block == Block::Held {
                table.rows = self.parked.get(&table.group).map_or(0, |p| p.rows);
            }
        }
        all.sort_by(|a, b| a.table.cmp(&b.table));
        Some(all)
    }

    /// Whether the unit must wait because nothing more may be parked.
    pub fn is_full_for(&self, unit: &Unit) -> bool {
        if !self.is_full() {
            return false;
        }
        match &unit.body {
            UnitBody::Changes(segments) => segments.iter().any(|s| s.tables.iter().any(|t| self.is_held(&t.name))),
            _ => false,
        }
    }

    /// Whether changes of the table are parked.
    pub fn is_held(&self, table: &TableName) -> bool {
        self.tables.get(table).is_some_and(|t| t.block == Block::Held)
    }

    /// Whether the table is one of these groups'.
    pub fn is_in(&self, table: &TableName, groups: &BTreeSet<Number>) -> bool {
        self.tables.get(table).is_some_and(|t| groups.contains(&t.group))
    }

    /// The tables of a group.
    pub fn of_group(&self, group: Number) -> BTreeSet<TableName> {
        self.tables.values().filter(|t| t.group == group).map(|t| t.table.clone()).collect()
    }

    /// How a statement of the group is noted while it waits.
    pub fn waits_as(&self, group: Number) -> &'static str {
        let stopped = self.tables.values().any(|t| t.group == group && t.block == Block::Stopped);
        if stopped { "stopped" } else { "parked" }
    }

    /// Whether no more may be parked.
    pub fn is_full(&self) -> bool {
        self.parked.values().map(|p| p.bytes).sum::<u64>() >= self.limit
    }

    /// Names of the held tables.
    pub fn held(&self) -> impl Iterator<Item = &TableName> {
        self.tables.values().filter(|t| t.block == Block::Held).map(|t| &t.table)
    }

    /// Sets aside what a unit changes of blocked tables.
    ///
    /// # Errors
    /// [`LoadError::HeldBehind`] for a copied chunk of a held table.
    pub fn stamp(&mut self, unit: &mut Unit) -> Result<(), LoadError> {
        if self.tables.is_empty() {
            return Ok(());
        }
        let mut aside = std::mem::take(&mut unit.aside);
        if let UnitBody::Changes(segments) = &mut unit.body {
            for segment in segments {
                if unit.copy.chunk.is_some() {
                    self.ensure_not_held(segment, unit.end.number)?;
                }
                self.segment(segment, unit.end.number, &unit.end.origins, &mut aside);
            }
        }
        unit.aside = aside;
        Ok(())
    }

    fn ensure_not_held(&self, segment: &Segment, number: Number) -> Result<(), LoadError> {
        match segment.tables.iter().find(|t| self.is_held(&t.name)) {
            Some(table) => Err(LoadError::HeldBehind {
                number,
                tables: table.name.to_string(),
                reason: "rows of its copy cannot be parked".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The same for a piece of a unit.
    pub fn segment(&mut self, segment: &mut Segment, number: Number, origins: &[String], aside: &mut Aside) {
        let fates: Vec<Option<(Block, Number)>> =
            segment.tables.iter().map(|t| self.tables.get(&t.name).map(|b| (b.block, b.group))).collect();
        if fates.iter().all(Option::is_none) {
            return;
        }
        let tables = segment.tables.clone();
        let mut parked: BTreeMap<Number, ChangesBuilder> = BTreeMap::new();
        let mut left_out: BTreeMap<&TableName, u64> = BTreeMap::new();
        segment.rows.retain(|row| {
            let index = usize::try_from(row.table).unwrap_or(usize::MAX);
            let (Some(Some((block, group))), Some(table)) = (fates.get(index), tables.get(index)) else { return true };
            match block {
                Block::Stopped => *left_out.entry(&table.name).or_default() += 1,
                Block::Held => {
                    let builder = parked.entry(*group).or_default();
                    let at = builder.table(table.fingerprint, &table.name);
                    let columns = (row.before_columns.as_ref(), row.after_columns.as_ref());
                    let images = (row.before.as_deref(), row.after.as_deref());
                    builder.push(row.operation, row.flags, at, images.0, images.1, columns.0, columns.1);
                }
            }
            false
        });
        thin_out(segment);
        for (name, rows) in left_out {
            *aside.left_out.entry(name.clone()).or_default() += rows;
            if let Some(table) = self.tables.get_mut(name) {
                table.rows += rows;
            }
        }
        for (group, mut builder) in parked {
            let rows = u64::try_from(builder.rows()).unwrap_or(u64::MAX);
            let body = builder.finish();
            let item = sql::Item { group, number, ordinal: aside.items, rows, origins: &self.origins(origins) };
            aside.statements.push(sql::park_rows(&self.task, &item, &body));
            aside.items += 1;
            aside.parked_rows += rows;
            self.add(group, rows, body.len());
        }
        self.changed = true;
    }

    /// Names of the sources that a unit comes from, as a slot row has them.
    pub fn origins(&self, more: &[String]) -> String {
        let mut all: Vec<&str> = vec![&self.source];
        for origin in more {
            if !all.contains(&origin.as_str()) {
                all.push(origin);
            }
        }
        all.join(",")
    }

    fn add(&mut self, group: Number, rows: u64, bytes: usize) {
        let parked = self.parked.entry(group).or_default();
        parked.rows += rows;
        parked.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.changed = true;
    }

    /// What a statement has to do with blocked tables.
    pub fn meets(&self, scope: &Scope) -> Meets {
        if self.tables.is_empty() { Meets::Nothing } else { scope.meets(&self.tables) }
    }

    /// The statements that set a DDL statement, and all these tables, aside; the group is the statement's own.
    pub fn set_aside(&self, block: Block, tables: &BTreeSet<TableName>, ddl: &Ddl, end: &UnitEnd) -> Vec<String> {
        let (number, origins) = (end.number, self.origins(&end.origins));
        let item = sql::Item { group: number, number, ordinal: 0, rows: 0, origins: &origins };
        let mut statements = vec![sql::park_ddl(&self.task, &item, ddl)];
        statements.extend(tables.iter().map(|t| sql::block(&self.task, t, number, block, number)));
        statements
    }

    /// The statement was set aside with these tables.
    pub fn blocked(&mut self, block: Block, tables: BTreeSet<TableName>, number: Number, reason: &str, bytes: usize) {
        self.add(number, 0, bytes);
        for table in tables {
            let entry = BlockedTable { table: table.clone(), group: number, block, reason: reason.to_owned(), rows: 0 };
            self.tables.insert(table, entry);
        }
    }

    /// The statements that add a DDL statement to groups that it meets, which are one from then on; `new` are tables that
    /// join it. Of stopped tables the statement is left out.
    pub fn join(
        &self,
        block: Block,
        groups: &BTreeSet<Number>,
        new: &BTreeSet<TableName>,
        ddl: &Ddl,
        end: &UnitEnd,
    ) -> Vec<String> {
        let Some(first) = groups.first().copied() else { return Vec::new() };
        let mut statements = Vec::new();
        for other in groups.iter().skip(1) {
            statements.extend(sql::merge(&self.task, *other, first));
        }
        if block == Block::Held {
            let origins = self.origins(&end.origins);
            let item = sql::Item { group: first, number: end.number, ordinal: 0, rows: 0, origins: &origins };
            statements.push(sql::park_ddl(&self.task, &item, ddl));
        }
        statements.extend(new.iter().map(|t| sql::block(&self.task, t, first, block, first)));
        statements
    }

    /// The statement joined the groups.
    pub fn joined(&mut self, block: Block, groups: &BTreeSet<Number>, new: BTreeSet<TableName>, bytes: usize) {
        let Some(first) = groups.first().copied() else { return };
        for table in self.tables.values_mut().filter(|t| groups.contains(&t.group)) {
            table.group = first;
        }
        for other in groups.iter().skip(1) {
            let other = self.parked.remove(other).unwrap_or_default();
            let parked = self.parked.entry(first).or_default();
            (parked.rows, parked.bytes) = (parked.rows + other.rows, parked.bytes + other.bytes);
        }
        if block == Block::Held {
            self.add(first, 0, bytes);
        }
        let reason = self.tables.values().find(|t| t.group == first).map(|t| t.reason.clone()).unwrap_or_default();
        for table in new {
            let entry = BlockedTable { table: table.clone(), group: first, block, reason: reason.clone(), rows: 0 };
            self.tables.insert(table, entry);
        }
        self.changed = true;
    }

    /// What was parked is applied and gone from the target.
    pub fn replayed(&mut self, group: Number, rows: u64, bytes: u64) {
        let parked = self.parked.entry(group).or_default();
        parked.rows = parked.rows.saturating_sub(rows);
        parked.bytes = parked.bytes.saturating_sub(bytes);
        self.changed = true;
    }

    /// The group waits for a decision about its next statement.
    pub fn waits(&mut self, group: Number, reason: &str) {
        for table in self.tables.values_mut().filter(|t| t.group == group) {
            reason.clone_into(&mut table.reason);
        }
        self.changed = true;
    }

    /// The group's tables are as usual again.
    pub fn lifted(&mut self, group: Number) {
        self.tables.retain(|_, t| t.group != group);
        self.parked.remove(&group);
        self.changed = true;
    }

    /// Statements by which tables that are made anew are as usual again; an error where one of them is held.
    ///
    /// # Errors
    /// [`LoadError::HeldBehind`].
    pub fn made_anew(&self, tables: &[TableName], number: Number) -> Result<Vec<String>, LoadError> {
        let mut statements = Vec::new();
        let mut gone: BTreeMap<Number, usize> = BTreeMap::new();
        for blocked in tables.iter().filter_map(|t| self.tables.get(t)) {
            if blocked.block == Block::Held {
                let reason = "it is to be copied anew, and changes of it are parked".to_owned();
                return Err(LoadError::HeldBehind { number, tables: blocked.table.to_string(), reason });
            }
            statements.push(sql::lift_table(&self.task, &blocked.table));
            *gone.entry(blocked.group).or_default() += 1;
        }
        for (group, gone) in gone {
            if self.tables.values().filter(|t| t.group == group).count() == gone {
                statements.extend(sql::forget_group(&self.task, group));
            }
        }
        Ok(statements)
    }

    /// They were.
    pub fn were_made_anew(&mut self, tables: &[TableName]) {
        for table in tables {
            self.tables.remove(table);
        }
        let left: BTreeSet<Number> = self.tables.values().map(|t| t.group).collect();
        self.parked.retain(|group, _| left.contains(group));
        self.changed = true;
    }
}

/// Forgets tables of which no row is left: nobody needs to know what they look like in the target.
fn thin_out(segment: &mut Segment) {
    let mut places: Vec<Option<u32>> = vec![None; segment.tables.len()];
    let mut tables = Vec::new();
    for row in &mut segment.rows {
        let index = usize::try_from(row.table).unwrap_or(usize::MAX);
        let (Some(place), Some(table)) = (places.get_mut(index), segment.tables.get(index)) else { continue };
        row.table = *place.get_or_insert_with(|| {
            tables.push(std::sync::Arc::clone(table));
            u32::try_from(tables.len() - 1).unwrap_or(u32::MAX)
        });
    }
    segment.tables = tables;
}

#[cfg(test)]
mod tests;

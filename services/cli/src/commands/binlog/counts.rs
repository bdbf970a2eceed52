//! What was counted.

use std::collections::BTreeMap;

use lutra_change::{Operation, TableName};
use serde_json::{Map, Value, json};

use crate::output::table;

/// Rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    insert: u64,
    update: u64,
    delete: u64,
}

/// Events, transactions, and rows per table.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) transactions: u64,
    events: BTreeMap<&'static str, u64>,
    tables: BTreeMap<TableName, RowCounts>,
}

impl Counts {
    pub(super) fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    pub(super) fn rows(&mut self, table: &TableName, operation: Operation, rows: u64) {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.clone(), RowCounts::default());
        }
        let Some(counts) = self.tables.get_mut(table) else { return };
        match operation {
            Operation::Insert | Operation::Read => counts.insert += rows,
            Operation::Update => counts.update += rows,
            Operation::Delete => counts.delete += rows,
        }
    }

    pub(super) fn json(&self) -> Value {
        let tables: Map<String, Value> = self
            .tables
            .iter()
            .map(|(name, c)| (name.to_string(), json!({"insert": c.insert, "update": c.update, "delete": c.delete})))
            .collect();
        json!({"summary": {"bytes": self.bytes, "transactions": self.transactions, "events": self.events, "tables": tables}})
    }

    pub(super) fn text(&self) -> String {
        let number = |n: u64| n.to_string();
        let events: Vec<Vec<String>> = self.events.iter().map(|(e, n)| vec![(*e).to_owned(), number(*n)]).collect();
        let rows: Vec<Vec<String>> = self
            .tables
            .iter()
            .map(|(name, c)| vec![name.to_string(), number(c.insert), number(c.update), number(c.delete)])
            .collect();
        format!(
            "{} transactions, {} bytes of events\n\n{}\n\n{}",
            self.transactions,
            self.bytes,
            table(&["EVENT", "COUNT"], &events),
            table(&["TABLE", "INSERTED", "UPDATED", "DELETED"], &rows)
        )
    }
}

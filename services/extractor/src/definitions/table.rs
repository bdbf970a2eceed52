//! What a table looks like, as statements say it.

use lutra_change::schema::BINARY_COLLATION;
use lutra_change::{Column, ColumnType, KeyPart, TableName, TableSchema};
use serde::{Deserialize, Serialize};

use super::charsets::Charsets;

/// A collation that is not known. (No server has one of that id.)
pub(super) const UNKNOWN: u16 = 0;

/// A table as statements define it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Columns in order. Of CHAR and VARCHAR the length is in characters here, and a collation may be 0: not known.
    pub(super) columns: Vec<Column>,
    /// Keys, in the order of their making.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<Key>,
    /// The default collation of columns added later, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) collation: Option<u16>,
}

/// A key, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// Its name; none where the server makes one up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) kind: KeyKind,
    pub(super) parts: Vec<Part>,
}

/// What a key demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyKind {
    Primary,
    Unique,
    Plain,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The column; none for an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<String>,
    /// Characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<u32>,
}

/// Names are compared as the server does, but for accents.
pub(super) fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

impl Definition {
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| same(&c.name, name))
    }

    /// The columns of a primary key cannot be NULL.
    pub(super) fn settle_keys(&mut self) {
        let primary = self.keys.iter().filter(|k| k.kind == KeyKind::Primary);
        let names: Vec<String> = primary.flat_map(|k| &k.parts).filter_map(|p| p.column.clone()).collect();
        for name in names {
            if let Some(at) = self.position(&name)
                && let Some(column) = self.columns.get_mut(at)
            {
                column.nullable = false;
            }
        }
    }

    /// The schema of its rows, and the names of the columns behind them that only the server sees. (Every expression in a
    /// key is one on MySQL; what type they have only table maps say.)
    pub fn schema(&self, name: &TableName, charsets: &Charsets) -> (TableSchema, Vec<String>) {
        let columns: Vec<Column> = self.columns.iter().map(|column| in_bytes(column, charsets)).collect();
        let mut schema = TableSchema { name: name.clone(), columns, primary_key: Vec::new() };
        if let Some(key) = self.row_key(&schema, charsets) {
            let part = |part: &Part| {
                let column = schema.column_of(part)?;
                Some(KeyPart { column, prefix: part.prefix.filter(|_| !is_whole(&schema, column, part, charsets)) })
            };
            schema.primary_key = key.parts.iter().filter_map(part).collect();
        }
        (schema, self.hidden())
    }

    /// The primary key, or as the server takes it for want of one: the first unique key over whole columns without NULLs.
    fn row_key(&self, schema: &TableSchema, charsets: &Charsets) -> Option<&Key> {
        let stands_in = |key: &&Key| {
            key.kind == KeyKind::Unique
                && key.parts.iter().all(|part| {
                    schema.column_of(part).is_some_and(|at| {
                        is_whole(schema, at, part, charsets) && schema.columns.get(at).is_some_and(|c| !c.nullable)
                    })
                })
        };
        let primary = self.keys.iter().find(|key| key.kind == KeyKind::Primary);
        primary.or_else(|| self.keys.iter().find(stands_in))
    }

    fn hidden(&self) -> Vec<String> {
        let mut names = Vec::new();
        for key in &self.keys {
            let name = key.name.as_deref().unwrap_or_default();
            for (at, _) in key.parts.iter().enumerate().filter(|(_, part)| part.column.is_none()) {
                names.push(format!("!hidden!{name}!{at}!0"));
            }
        }
        names
    }
}

trait ColumnOf {
    fn column_of(&self, part: &Part) -> Option<usize>;
}

impl ColumnOf for TableSchema {
    fn column_of(&self, part: &Part) -> Option<usize> {
        let name = part.column.as_deref()?;
        self.columns.iter().position(|c| same(&c.name, name))
    }
}

/// Whether a part of a key is the whole column.
fn is_whole(schema: &TableSchema, column: usize, part: &Part, charsets: &Charsets) -> bool {
    let Some(prefix) = part.prefix else { return true };
    let bytes =
        |characters: u32, collation: u16| characters.saturating_mul(u32::from(charsets.width(collation).unwrap_or(1)));
    match schema.columns.get(column).map(|c| &c.column_type) {
        Some(ColumnType::Char { bytes: all, collation } | ColumnType::VarChar { bytes: all, collation }) => {
            bytes(prefix, *collation) == *all
        }
        Some(ColumnType::Binary { bytes: all } | ColumnType::VarBinary { bytes: all }) => prefix == *all,
        _ => false,
    }
}

/// The column with its length in bytes, 0 where that is not known.
fn in_bytes(column: &Column, charsets: &Charsets) -> Column {
    let bytes = |characters: u32, collation: u16| {
        charsets.width(collation).map_or(0, |width| characters.saturating_mul(u32::from(width)))
    };
    let column_type = match column.column_type {
        ColumnType::Char { bytes: n, collation } => ColumnType::Char { bytes: bytes(n, collation), collation },
        ColumnType::VarChar { bytes: n, collation } => ColumnType::VarChar { bytes: bytes(n, collation), collation },
        ref other => other.clone(),
    };
    Column { column_type, ..column.clone() }
}

/// The type of a column whose collation becomes that: strings of bytes are other types.
pub(super) fn with_collation(column_type: ColumnType, collation: u16) -> ColumnType {
    use ColumnType as T;
    let binary = collation == BINARY_COLLATION;
    match column_type {
        T::Char { bytes, .. } if binary => T::Binary { bytes },
        T::VarChar { bytes, .. } if binary => T::VarBinary { bytes },
        T::Text { prefix, .. } if binary => T::Blob { prefix },
        T::Char { bytes, .. } => T::Char { bytes, collation },
        T::VarChar { bytes, .. } => T::VarChar { bytes, collation },
        T::Text { prefix, .. } => T::Text { prefix, collation },
        T::Enum { labels, .. } => T::Enum { labels, collation },
        T::Set { labels, .. } => T::Set { labels, collation },
        other => other,
    }
}

/// The collation of a column that has one.
pub(super) fn collation_of(column_type: &ColumnType) -> Option<u16> {
    use ColumnType as T;
    match column_type {
        T::Char { collation, .. }
        | T::VarChar { collation, .. }
        | T::Text { collation, .. }
        | T::Enum { collation, .. }
        | T::Set { collation, .. } => Some(*collation),
        _ => None,
    }
}

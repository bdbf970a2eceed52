//! How the rows of one schema become rows of one target table: compiled once, for every row.

use std::sync::Arc;

use lutra_change::{ColumnType, TableName, TableSchema};
use lutra_mysql::{Flavour, sql};

use crate::catalogue::{TargetColumn, TargetKey, TargetTable};
use crate::error::LoadError;

/// When two literals of a key column may be equal for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// When their bytes are.
    Exact,
    /// When they are up to trailing spaces.
    Padded,
    /// When they fold to the same under every collation that we know; non-ASCII text may be equal to anything.
    Collated,
    /// Floating point: both zeros are equal.
    Float,
}

/// How the join of a set-based update compares a key column, when it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinForm {
    /// `t.c = v.c`, by the column's index.
    Plain,
    /// Text: the list's column must bear the target's character set and collation, or the comparison has none.
    Text {
        /// Character set of the target's column.
        charset: String,
        /// Its collation.
        collation: String,
    },
    /// The comparison would convert types, and then scan: one statement per row instead.
    None,
}

/// One column that is written.
#[derive(Clone, Debug)]
pub struct MappedColumn {
    /// Index in the source's row.
    pub source: usize,
    /// Name in the target.
    pub name: String,
    /// The name in backquotes.
    pub quoted: String,
    /// Type at the source: decides how a literal is written.
    pub column_type: ColumnType,
    /// When two values are the same key.
    pub fold: Fold,
    /// How a join compares it.
    pub join: JoinForm,
    /// How an exact comparison is written.
    pub exact: ExactForm,
    /// Whether its values may stand in the list of a joined update (a list has no type for geometry).
    pub listable: bool,
    /// An insert must give it a value: it has no default.
    pub needs_value: bool,
    /// An update that does not set it changes it: every update sets it, to what it is where the source says nothing.
    pub touched_by_updates: bool,
}

/// How the condition "this column holds exactly that value" is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExactForm {
    /// `c <=> literal`.
    Plain,
    /// As text and as bytes: a collation would call different texts equal.
    Text,
    /// As hexadecimal.
    Hex,
    /// As JSON documents.
    Json,
}

/// One unique key over mapped columns.
#[derive(Clone, Debug)]
pub struct MappedKey {
    /// Index name.
    pub name: String,
    /// Indexes into [`TableMap::columns`].
    pub columns: Vec<usize>,
    /// Distinguishes the key from all others in write sets.
    pub seed: u64,
}

/// The way from one row schema to one target table.
#[derive(Debug)]
pub struct TableMap {
    /// Name in the target.
    pub name: TableName,
    /// The name in backquotes.
    pub quoted: String,
    /// `INSERT INTO … (…) VALUES `.
    pub insert_head: String,
    /// The source's columns (for the decoder).
    pub schema: Arc<TableSchema>,
    /// Columns that are written, in source order.
    pub columns: Vec<MappedColumn>,
    /// Names of the target's generated columns.
    pub computed: Vec<String>,
    /// One that is stored, and computed from a TIMESTAMP: in the session's time zone.
    pub computed_in_zone: Option<String>,
    /// One that is stored, and computed from a CHAR, which a session may pad.
    pub computed_from_char: Option<String>,
    /// The target's time zone SYSTEM is UTC.
    pub system_is_utc: bool,
    /// The key that finds a row: primary, else the first unique one without NULLs. `None`: the whole row does.
    pub key: Option<MappedKey>,
    /// Other unique keys.
    pub other_keys: Vec<MappedKey>,
    /// A unique index over prefixes or expressions, or over columns that the source does not have: keys can not be
    /// compared here, so the order of the source is kept and nothing runs beside it.
    pub opaque_keys: bool,
    /// Foreign keys lead from or to other tables.
    pub related: bool,
    /// Foreign keys lead to the table itself.
    pub self_referencing: bool,
    /// For table-wide conflicts.
    pub table_seed: u64,
    /// Its rows are being copied: what a change finds may not be there yet (P12).
    pub copying: bool,
    /// What the server understands.
    pub flavour: Flavour,
}

fn seed(parts: &[&str]) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    parts.hash(&mut hasher);
    hasher.finish()
}

impl TableMap {
    /// Compiles the way from `schema` (already under its target name) to `table`.
    ///
    /// # Errors
    /// [`LoadError::Mapping`] when a column has no place in the target.
    pub fn compile(schema: &Arc<TableSchema>, table: &TargetTable) -> Result<Self, LoadError> {
        let mut columns = Vec::with_capacity(schema.columns.len());
        for (source, column) in schema.columns.iter().enumerate() {
            let Some(target) = table.column(&column.name) else {
                // Hidden columns of functional indexes (MySQL) and of unique keys over long texts (MariaDB): the target
                // makes its own.
                if column.name.starts_with("!hidden!") || column.name.starts_with("DB_ROW_HASH_") {
                    continue;
                }
                return Err(LoadError::Mapping {
                    table: table.name.clone(),
                    reason: format!(
                        "the target has no column {}: add it, or drop it in the pipeline's rules",
                        column.name
                    ),
                });
            };
            if target.generated {
                continue;
            }
            columns.push(map_column(source, &column.column_type, target));
        }
        // Where the target computes every column, a row is `()`; where it has no column at all, there is no such table.
        if columns.is_empty() && schema.columns.is_empty() {
            return Err(LoadError::Mapping { table: table.name.clone(), reason: "no column is written".to_owned() });
        }
        let mut map = Self {
            name: table.name.clone(),
            quoted: sql::quote_table(&table.name),
            insert_head: String::new(),
            schema: Arc::clone(schema),
            columns,
            computed: table.columns.iter().filter(|c| c.generated).map(|c| c.name.clone()).collect(),
            computed_in_zone: table.computed_in_zone.clone(),
            computed_from_char: table.computed_from_char.clone(),
            system_is_utc: table.system_is_utc,
            key: None,
            other_keys: Vec::new(),
            opaque_keys: false,
            related: !table.related.is_empty() || table.self_referencing,
            self_referencing: table.self_referencing,
            table_seed: seed(&[&table.name.database, &table.name.table]),
            copying: false,
            flavour: table.flavour,
        };
        map.set_keys(table);
        let names: Vec<&str> = map.columns.iter().map(|c| c.quoted.as_str()).collect();
        map.insert_head = format!("INSERT INTO {} ({}) VALUES ", map.quoted, names.join(","));
        Ok(map)
    }

    fn set_keys(&mut self, table: &TargetTable) {
        for key in &table.unique_keys {
            // A primary key over prefixes finds a row by the whole values all the same.
            if key.name == "PRIMARY" && !key.plain && !key.columns.is_empty() {
                self.key = self.map_key(table, &TargetKey { plain: true, ..key.clone() });
                self.opaque_keys = true;
                continue;
            }
            let mapped = self.map_key(table, key);
            match mapped {
                Some(mapped) if self.key.is_none() && is_row_key(table, key) => self.key = Some(mapped),
                Some(mapped) => self.other_keys.push(mapped),
                None => self.opaque_keys = true,
            }
        }
    }

    fn map_key(&self, table: &TargetTable, key: &TargetKey) -> Option<MappedKey> {
        if !key.plain {
            return None;
        }
        let columns = key
            .columns
            .iter()
            .map(|name| self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name)))
            .collect::<Option<Vec<_>>>()?;
        Some(MappedKey {
            name: key.name.clone(),
            columns,
            seed: seed(&[&table.name.database, &table.name.table, &key.name]),
        })
    }

    /// All unique keys that can be compared.
    pub fn keys(&self) -> impl Iterator<Item = &MappedKey> {
        self.key.iter().chain(&self.other_keys)
    }

    /// Whether set-based updates can find their rows by the key's index.
    pub fn joins_by_key(&self) -> bool {
        self.key
            .as_ref()
            .is_some_and(|k| k.columns.iter().all(|c| self.columns.get(*c).is_some_and(|c| c.join != JoinForm::None)))
    }

    /// Names of the key's columns, or of all where there is no key.
    pub fn key_names(&self) -> Vec<String> {
        match &self.key {
            Some(key) => key.columns.iter().filter_map(|c| self.columns.get(*c)).map(|c| c.name.clone()).collect(),
            None => self.columns.iter().map(|c| c.name.clone()).collect(),
        }
    }
}

/// A key that names one row: the primary key, or a unique one without NULLs.
fn is_row_key(table: &TargetTable, key: &TargetKey) -> bool {
    key.name == "PRIMARY" || key.columns.iter().all(|name| table.column(name).is_some_and(|c| !c.nullable))
}

fn map_column(source: usize, column_type: &ColumnType, target: &TargetColumn) -> MappedColumn {
    let is_text = matches!(column_type, ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. });
    let same_kind = target.charset.is_some() == is_text || matches!(target.data_type.as_str(), "enum" | "set");
    let fold = match (column_type, &target.collation) {
        (ColumnType::Float | ColumnType::Double, _) => Fold::Float,
        (_, Some(collation)) if collation.ends_with("_bin") => Fold::Padded,
        (_, Some(_)) if is_text => Fold::Collated,
        _ if !same_kind => Fold::Collated,
        _ => Fold::Exact,
    };
    let join = match (column_type, &target.collation) {
        _ if !same_kind => JoinForm::None,
        (
            ColumnType::TinyInt { .. }
            | ColumnType::SmallInt { .. }
            | ColumnType::MediumInt { .. }
            | ColumnType::Int { .. }
            | ColumnType::BigInt { .. }
            | ColumnType::Decimal { .. },
            None,
        ) => JoinForm::Plain,
        (ColumnType::Char { .. } | ColumnType::VarChar { .. }, Some(collation)) => {
            JoinForm::Text { charset: target.charset.clone().unwrap_or_default(), collation: collation.clone() }
        }
        (ColumnType::Binary { .. } | ColumnType::VarBinary { .. }, None) => JoinForm::Plain,
        _ => JoinForm::None,
    };
    let exact = match column_type {
        // JSON of MariaDB is text, on either side.
        _ if target.data_type == "json" => ExactForm::Json,
        ColumnType::Json | ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. } => {
            ExactForm::Text
        }
        ColumnType::Geometry { .. } | ColumnType::Vector { .. } => ExactForm::Hex,
        _ => ExactForm::Plain,
    };
    let quoted = sql::quote_identifier(&target.name);
    let listable = !matches!(column_type, ColumnType::Geometry { .. } | ColumnType::Vector { .. });
    let (name, column_type) = (target.name.clone(), column_type.clone());
    MappedColumn {
        source,
        name,
        quoted,
        column_type,
        fold,
        join,
        exact,
        listable,
        needs_value: target.needs_value,
        touched_by_updates: target.touched_by_updates,
    }
}

/// What a key value folds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// NULL: equal to nothing.
    Null,
    /// Equal at most to what folds to the same bytes (appended to the buffer).
    Bytes,
    /// May be equal to anything.
    Any,
}

/// Appends what a literal of a key column folds to.
pub fn fold(literal: &[u8], fold: Fold, out: &mut Vec<u8>) -> Folded {
    if literal == b"NULL" {
        return Folded::Null;
    }
    let begin = out.len();
    match fold {
        Fold::Exact => out.extend_from_slice(literal),
        Fold::Float => out.extend_from_slice(if literal == b"-0e0" { b"0e0" } else { literal }),
        Fold::Padded => {
            if literal.starts_with(b"_") && literal.get(..16).unwrap_or(literal).windows(3).any(|w| w == b" X'") {
                return Folded::Any;
            }
            out.extend_from_slice(literal);
            trim_spaces(out, begin);
        }
        Fold::Collated => {
            if literal.starts_with(b"_") && !literal.starts_with(b"_latin1") || !literal.is_ascii() {
                out.truncate(begin);
                return Folded::Any;
            }
            // Collations of the server call these letters equal somewhere (roman, swedish, lithuanian, latvian);
            // control characters are ignored by the UCA ones.
            out.extend(literal.iter().filter(|b| **b >= b' ').map(|b| match b.to_ascii_lowercase() {
                b'j' | b'y' => b'i',
                b'u' | b'w' => b'v',
                other => other,
            }));
            trim_spaces(out, begin);
        }
    }
    // Keeps neighbours of a composite key apart.
    out.push(0);
    Folded::Bytes
}

fn trim_spaces(out: &mut Vec<u8>, begin: usize) {
    if out.last() == Some(&b'\'') {
        out.pop();
        while out.len() > begin && out.last() == Some(&b' ') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(literal: &[u8], how: Fold) -> (Folded, Vec<u8>) {
        let mut out = Vec::new();
        (fold(literal, how, &mut out), out)
    }

    #[test]
    fn keys_that_a_collation_calls_equal_fold_to_the_same() {
        assert_eq!(folded(b"'Abc '", Fold::Collated), folded(b"'aBC'", Fold::Collated));
        assert_ne!(folded(b"'abc'", Fold::Collated), folded(b"'abd'", Fold::Collated));
        assert_ne!(folded(b"'abc'", Fold::Padded), folded(b"'Abc'", Fold::Padded));
        assert_eq!(folded("'é'".as_bytes(), Fold::Collated).0, Folded::Any);
        assert_eq!(folded(b"NULL", Fold::Exact).0, Folded::Null);
        assert_eq!(folded(b"-0e0", Fold::Float), folded(b"0e0", Fold::Float));
    }
}

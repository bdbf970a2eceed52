//! What happened to a row, and in which session.

use serde::{Deserialize, Serialize};

/// What a change does to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A new row (after image only).
    Insert,
    /// A changed row (before and after image).
    Update,
    /// A removed row (before image only).
    Delete,
    /// A row of the initial copy (after image only).
    Read,
}

/// Flags of the rows event a change came from (MySQL `Rows_event` flags; bit values are the server's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowFlags(pub u16);

impl RowFlags {
    /// `NO_FOREIGN_KEY_CHECKS_F`: the statement ran with `foreign_key_checks=0`.
    pub const NO_FOREIGN_KEY_CHECKS: u16 = 0x2;
    /// `RELAXED_UNIQUE_CHECKS_F`: the statement ran with `unique_checks=0`.
    pub const RELAXED_UNIQUE_CHECKS: u16 = 0x4;
    /// `NO_CHECK_CONSTRAINT_CHECKS_F` (MariaDB): the statement ran with `check_constraint_checks=0`.
    pub const NO_CHECK_CONSTRAINTS: u16 = 0x80;
    /// `USE_SQL_FOREIGN_KEY_F` (MySQL 9.6 and later): cascades of this statement are in the log as rows of their own.
    pub const SQL_FOREIGN_KEY: u16 = 0x10;

    /// Whether the source statement ran with foreign key checks off.
    pub fn no_foreign_key_checks(self) -> bool {
        self.0 & Self::NO_FOREIGN_KEY_CHECKS != 0
    }

    /// Whether the source statement ran with unique checks off.
    pub fn relaxed_unique_checks(self) -> bool {
        self.0 & Self::RELAXED_UNIQUE_CHECKS != 0
    }

    /// Whether the source statement ran with `CHECK` constraints off.
    pub fn no_check_constraints(self) -> bool {
        self.0 & Self::NO_CHECK_CONSTRAINTS != 0
    }

    /// Whether foreign-key cascades are logged as rows, so that the target must not cascade again.
    pub fn cascades_are_logged(self) -> bool {
        self.0 & Self::SQL_FOREIGN_KEY != 0
    }
}

/// Which columns a partial row image holds, in table order. A column that is not in the set is *absent*, which is not NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnSet {
    words: smallvec::SmallVec<[u64; 2]>,
}

impl ColumnSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column by its index.
    pub fn insert(&mut self, column: usize) {
        let word = column / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (column % 64);
    }

    /// Whether the image holds that column.
    pub fn contains(&self, column: usize) -> bool {
        self.words.get(column / 64).is_some_and(|w| w & (1 << (column % 64)) != 0)
    }

    /// The indexes in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(i, w)| (0..64).filter(move |b| w & (1 << b) != 0).map(move |b| i * 64 + b))
    }

    /// As bytes, least significant column first (the form in log records).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
    }

    /// From the bytes of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::new();
        for (i, byte) in bytes.iter().enumerate() {
            for bit in 0..8 {
                if byte & (1 << bit) != 0 {
                    set.insert(i * 8 + bit);
                }
            }
        }
        set
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> Self {
        let mut set = Self::new();
        columns.into_iter().for_each(|c| set.insert(c));
        set
    }
}

/// What of the source session decides how a statement or row is to be applied (from the status variables of a query event).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionContext {
    /// `sql_mode` as the server's bit mask.
    pub sql_mode: Option<u64>,
    /// Collation id of `character_set_client`.
    pub character_set_client: Option<u16>,
    /// Id of `collation_connection`.
    pub collation_connection: Option<u16>,
    /// Id of `collation_server`.
    pub collation_server: Option<u16>,
    /// Id of `collation_database`, where it was logged.
    pub collation_database: Option<u16>,
    /// Id of `default_collation_for_utf8mb4`.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `time_zone`.
    pub time_zone: Option<String>,
    /// `lc_time_names` number.
    pub lc_time_names: Option<u16>,
    /// `foreign_key_checks` was off.
    pub no_foreign_key_checks: bool,
    /// `unique_checks` was off.
    pub relaxed_unique_checks: bool,
    /// `sql_auto_is_null` was on.
    pub sql_auto_is_null: bool,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// `auto_increment_increment` and `auto_increment_offset`.
    pub auto_increment: Option<(u16, u16)>,
    /// `sql_require_primary_key`.
    pub sql_require_primary_key: Option<bool>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<bool>,
    /// The statement's `SET TIMESTAMP` in microseconds since the epoch.
    pub timestamp_micros: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sets_survive_their_bytes() {
        let set: ColumnSet = [0, 7, 8, 63, 64, 130].into_iter().collect();
        assert_eq!(ColumnSet::from_bytes(&set.to_bytes()).iter().collect::<Vec<_>>(), [0, 7, 8, 63, 64, 130]);
        assert!(!set.contains(1) && set.contains(64) && !set.contains(1_000));
    }
}

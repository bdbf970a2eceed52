//! What the target's tables look like, as far as applying rows must know.

use lutra_change::TableName;
use lutra_mysql::Flavour;

/// One column of a target table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetColumn {
    /// Name as the server spells it.
    pub name: String,
    /// Generated columns are left to the target.
    pub generated: bool,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// NOT NULL without default: an insert must give it a value.
    pub needs_value: bool,
    /// `ON UPDATE CURRENT_TIMESTAMP`: an update that does not set it changes it.
    pub touched_by_updates: bool,
    /// Data type in lower case, without length: `int`, `varchar`, `json`, ….
    pub data_type: String,
    /// Character set of text columns.
    pub charset: Option<String>,
    /// Collation of text columns.
    pub collation: Option<String>,
}

/// One unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetKey {
    /// Index name; `PRIMARY` for the primary key.
    pub name: String,
    /// Column names in index order; empty where a part is an expression.
    pub columns: Vec<String>,
    /// Whether every part is a whole, plain column: otherwise equality of keys can not be told from the row.
    pub plain: bool,
}

/// A table of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTable {
    /// Full name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Whether the engine has transactions.
    pub transactional: bool,
    /// Columns in table order.
    pub columns: Vec<TargetColumn>,
    /// Unique indexes, the primary key first.
    pub unique_keys: Vec<TargetKey>,
    /// Tables that this one's foreign keys point to, and those that point to it.
    pub related: Vec<TableName>,
    /// Whether a foreign key of the table points to the table itself.
    pub self_referencing: bool,
    /// Names of triggers that rows would fire.
    pub triggers: Vec<String>,
    /// A stored generated column that is computed from a TIMESTAMP: in the session's time zone.
    pub computed_in_zone: Option<String>,
    /// A stored generated column that is computed from a CHAR, whose padding is a matter of the session's `sql_mode`.
    pub computed_from_char: Option<String>,
    /// The time zone SYSTEM is UTC.
    pub system_is_utc: bool,
    /// What the server understands.
    pub flavour: Flavour,
}

impl TargetTable {
    /// The column of that name (case-insensitive, as the server compares).
    pub fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }
}

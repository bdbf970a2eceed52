//! A pipeline: one source, rules, one target.

use std::collections::BTreeMap;
use std::time::Duration;

use lutra_change::{GtidSet, Operation};
use serde::{Deserialize, Serialize};

use crate::document::Name;
use crate::pattern::{TablePattern, TableTemplate};
use crate::text;

/// What a `kind: pipeline` document says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// Name of the source.
    pub source: Name,
    /// Name of the target.
    pub target: Name,
    /// Where in the source's log the pipeline begins; resolved once, when its own log is made.
    #[serde(default)]
    pub start: PipelineStart,
    /// Which tables go where; the first route that matches a table decides. Empty: every table, under its own name.
    #[serde(default)]
    pub tables: Vec<Route>,
    /// How the target is written.
    #[serde(default)]
    pub load: LoadSpec,
    /// What becomes of the source's DDL, where a route does not say otherwise.
    #[serde(default)]
    pub ddl: DdlPolicy,
    /// What becomes of the source's triggers.
    #[serde(default)]
    pub triggers: TriggerPolicy,
    /// Whether users, roles and grants are carried. The source must capture them too.
    #[serde(default)]
    pub accounts: bool,
}

/// Where in the source's log a pipeline begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineStart {
    /// With the next unit.
    Now,
    /// With the oldest unit that the source's log still has.
    #[default]
    Earliest,
    /// Behind this GTID set.
    Gtid(GtidSet),
    /// With the first unit that was committed at or after this time, in microseconds since the epoch.
    Time(i64),
}

/// Where one table, or all that a pattern matches, goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The tables of the source, `shop.user_*`.
    #[serde(rename = "match")]
    pub pattern: TablePattern,
    /// Their name in the target, `crm.t_$1`; their own where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<TableTemplate>,
    /// Which operations are carried; all where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<Operation>>,
    /// What happens to columns.
    #[serde(default)]
    pub columns: ColumnRules,
    /// What becomes of DDL on these tables; what the pipeline says where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ddl: Option<DdlPolicy>,
}

/// What happens to the columns of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRules {
    /// Columns that bear another name in the target: from source name to target name.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Columns that the target does not have.
    #[serde(default)]
    pub drop: Vec<String>,
}

impl ColumnRules {
    /// Whether columns pass as they are.
    pub fn is_empty(&self) -> bool {
        self.rename.is_empty() && self.drop.is_empty()
    }
}

/// How the target is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSpec {
    /// Connections that write at the same time.
    pub connections: u16,
    /// Rows in one target transaction, at most (a single source transaction may be larger: it is never torn).
    pub batch_rows: u32,
    /// Bytes of row images in one target transaction, at most.
    pub batch_bytes: u64,
    /// How long a batch may stay open for more transactions. Zero: it goes out as soon as nothing more is waiting.
    #[serde(with = "text::duration")]
    pub batch_age: Duration,
    /// Bytes of changes that wait in `lutra.parked` behind held statements, at most: beyond that everything waits.
    pub parked_bytes: u64,
    /// What an update or delete must find in the target.
    pub compare: Compare,
    /// What happens when it does not.
    pub on_conflict: OnConflict,
    /// Copy the tables before following them; `load: full` is short for its defaults. None: the target has them already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<FullLoad>,
}

/// How tables are copied (P12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FullLoad {
    /// Tables that are read at the same time.
    pub readers: u16,
    /// Rows read at once, at most.
    pub chunk_rows: u32,
    /// Rows read per second, at most, over all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<u32>,
    /// Nothing is read while more statements than that run at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_threads: Option<u32>,
    /// When secondary indexes and foreign keys are made.
    pub indexes: IndexTime,
    /// Routines, views, triggers (as `triggers` says) and events are made behind the tables.
    pub objects: bool,
}

/// When the secondary indexes of copied tables are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexTime {
    /// With their tables.
    #[default]
    Before,
    /// When all rows of their table are there, foreign keys too. Unique keys are made with the table all the same.
    After,
}

impl Default for FullLoad {
    fn default() -> Self {
        Self {
            readers: 2,
            chunk_rows: 4_000,
            rows_per_second: None,
            source_threads: None,
            indexes: IndexTime::Before,
            objects: true,
        }
    }
}

impl Default for LoadSpec {
    fn default() -> Self {
        Self {
            connections: 4,
            batch_rows: 4_000,
            batch_bytes: 4 * 1024 * 1024,
            batch_age: Duration::ZERO,
            parked_bytes: 256 * 1024 * 1024,
            compare: Compare::Key,
            on_conflict: OnConflict::Halt,
            full: None,
        }
    }
}

/// What an update or delete must find in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// A row with that key.
    #[default]
    Key,
    /// A row with exactly the values of the before image.
    Image,
}

/// What happens on a conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// The pipeline halts and says what to do.
    #[default]
    Halt,
    /// The change of the row is set aside in `lutra.dead_letter`, and the others go on.
    DeadLetter,
}

/// What becomes of the source's DDL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DdlPolicy {
    /// It is applied to the target, rewritten for routed names. What fails there halts the pipeline.
    #[default]
    Apply,
    /// Applied so that nothing is lost: what would be dropped or emptied is kept under another name. What cannot be done
    /// so, or fails, waits as with `hold`.
    Lenient,
    /// It waits for a person. What changes its tables is kept behind it in `lutra.parked`; other tables go on.
    Hold,
    /// Applied; what fails is set aside in `lutra.dead_letter`.
    DeadLetter,
    /// Applied; where it fails, its tables are stopped: from there on nothing of them is applied, and the others go on.
    StopTable,
    /// It is left out.
    Ignore,
}

impl DdlPolicy {
    /// Which one counts where a statement is about tables of several: the one that does less by itself.
    pub fn strictness(self) -> u8 {
        match self {
            Self::Apply => 0,
            Self::Lenient => 1,
            Self::DeadLetter => 2,
            Self::StopTable => 3,
            Self::Hold => 4,
            Self::Ignore => 5,
        }
    }
}

/// What becomes of the source's triggers. Their effects are in the log as rows, so that applied rows must not fire them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerPolicy {
    /// They are left out.
    #[default]
    Skip,
    /// They are created with a condition that the loader's sessions do not meet.
    Guard,
}

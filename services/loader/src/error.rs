//! What can go wrong in a load, and what a person can do about it.

use lutra_change::{Epoch, Number, TableName};
use lutra_mysql::sql::quote_table;
use lutra_wire::record::UnitTotals;

/// A failed load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log's rows do not fit the target's table.
    #[error("rows of {table} cannot be mapped: {reason}")]
    Mapping {
        /// The target table.
        table: TableName,
        /// What does not fit.
        reason: String,
    },
    /// A table is not in the target.
    #[error(
        "table {table} is not in the target (unit {number}): create it there, or leave it out of the pipeline's tables"
    )]
    NoTable {
        /// The target table.
        table: TableName,
        /// The unit that has rows for it.
        number: Number,
    },
    /// Rows would fire triggers.
    #[error(
        "table {table} has triggers ({triggers}) that the applied rows would fire again: drop them in the target, or carry them with `triggers: guard`"
    )]
    Triggers {
        /// The target table.
        table: TableName,
        /// Their names.
        triggers: String,
    },
    /// A table whose rows cannot be rolled back.
    #[error(
        "rows of {table} cannot be applied: its engine {engine} has no transactions, so that they would not commit together with the \
         checkpoint. `ALTER TABLE {} ENGINE=InnoDB` in the target, then resume the pipeline; or leave the table out with `exclude` in the \
         source", quote_table(.table)
    )]
    NotTransactional {
        /// The target table.
        table: TableName,
        /// Its engine.
        engine: String,
    },
    /// A row datum could not be decoded.
    #[error("a row of {table} in unit {number} cannot be decoded")]
    Row {
        /// The table.
        table: TableName,
        /// The unit.
        number: Number,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A table that is to be copied is in the target already.
    #[error(
        "table {table} is in the target already, and a full load makes its tables itself: {drop}; or load without `full`"
    )]
    TableExists {
        /// The table.
        table: TableName,
        /// The statement that removes it.
        drop: String,
    },
    /// A chunk that another one follows is not in the target.
    #[error(
        "unit {number} follows a chunk of {table} that never came ({previous}): the log lost it. `lutra load restart` copies the \
         table anew"
    )]
    ChunkMissing {
        /// The table.
        table: TableName,
        /// The unit.
        number: Number,
        /// The chunk.
        previous: uuid::Uuid,
    },
    /// A table that comes in chunks has no key in the target.
    #[error("table {table} is copied in chunks and has no key in the target: keep its key in the pipeline's rules")]
    NoCopyKey {
        /// The table.
        table: TableName,
    },
    /// A partial row image does not say which row is meant.
    #[error(
        "unit {number} changes a row of {table} by a partial image that lacks column {column}: the target finds its rows by {found_by}. \
         Give the table there the source's primary key, or set binlog_row_image = FULL at the source"
    )]
    PartialImage {
        /// The target table.
        table: TableName,
        /// The unit.
        number: Number,
        /// A column that is not there.
        column: String,
        /// How the target finds a row.
        found_by: &'static str,
    },
    /// A stored generated column would get another value than the source's.
    #[error(
        "unit {number} changes a row of {table} whose stored generated column {column} was computed in a session with {setting}: \
         the target would compute another value. Make the column VIRTUAL, or compute it from what no session changes"
    )]
    ForeignComputation {
        /// The target table.
        table: TableName,
        /// The unit.
        number: Number,
        /// The generated column.
        column: String,
        /// What the source's session had.
        setting: String,
    },
    /// The body of a record, or the row schema that it names.
    #[error("unit {number} cannot be read: {what}")]
    Unit {
        /// The unit.
        number: Number,
        /// Which piece.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// P8: a log that makes the tables anew begins otherwise.
    #[error(
        "not_made_anew: the log of {task} shall begin with the definitions that make its tables anew (load {load}) behind unit \
         {known}, which the target has, and begins with unit {number}, which is something else or not behind it. `lutra rewind \
         PIPELINE --to PLACE --reload` begins another one"
    )]
    NotMadeAnew {
        /// The task.
        task: String,
        /// The unit that came.
        number: Number,
        /// Where the target stands.
        known: Number,
        /// The load that was waited for.
        load: uuid::Uuid,
    },
    /// P8: the adopted log continues what this target does not have.
    #[error(
        "target_behind_log: the target of {task} is at unit {number}, its log begins behind unit {adopted}: the target was restored \
         or is another one. `lutra adopt … --from-target` begins a log at what the target has"
    )]
    TargetBehindLog {
        /// The task.
        task: String,
        /// What the target has.
        number: Number,
        /// What the log continues.
        adopted: Number,
    },
    /// The target's checkpoint is of a log that is not this one, and nothing joins the two.
    #[error(
        "another_log: the target's checkpoint of {task}, unit {number}, is a place in log {known}, and the pipeline's log is {found}: \
         pipeline or source were deleted and applied anew. `lutra adopt SOURCE --from-target` goes on behind what the target has; a \
         pipeline of another name begins anew"
    )]
    AnotherLog {
        /// The task.
        task: String,
        /// What the target has.
        number: Number,
        /// The log of the checkpoint.
        known: lutra_change::LogId,
        /// The log that the pipeline has now.
        found: lutra_change::LogId,
        /// What does not fit; none where nothing could tell.
        source: Option<Box<lutra_log::LogError>>,
    },
    /// A unit is not what its writer wrote.
    #[error(
        "unit {number} was read as {} rows, {} bytes, CRC-32C {:08x}, but its writer counted {} rows, {} bytes, {:08x}: the log \
         lost a part of it",
        read.rows, read.bytes, read.crc32c, told.rows, told.bytes, told.crc32c
    )]
    Torn {
        /// The unit.
        number: Number,
        /// What its commit part tells.
        told: UnitTotals,
        /// What was read.
        read: UnitTotals,
    },
    /// A kind of unit that this version does not apply.
    #[error("unit {number} is {kind}, which this version does not apply")]
    Unsupported {
        /// The unit.
        number: Number,
        /// What it is.
        kind: &'static str,
    },
    /// The target does not hold what the source held.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// Another owner holds the target's slot rows.
    #[error("epoch {own} is fenced: the slot row of {task} is at epoch {found}")]
    Fenced {
        /// The task.
        task: String,
        /// Our epoch.
        own: Epoch,
        /// The epoch there.
        found: Epoch,
    },
    /// A slot row is not where we left it.
    #[error(
        "slot {slot} of {task} is not at {known} under epoch {own}: another owner took it, or the target lost commits"
    )]
    SlotMoved {
        /// The task.
        task: String,
        /// The slot.
        slot: u16,
        /// The number that we left there.
        known: Number,
        /// Our epoch.
        own: Epoch,
    },
    /// The slot rows belong to another cluster.
    #[error(
        "the slot rows of {task} belong to cluster {found:?}, this is {own:?}: give the pipeline another name, or `lutra adopt`"
    )]
    ForeignCluster {
        /// The task.
        task: String,
        /// This cluster.
        own: String,
        /// The cluster in the rows.
        found: String,
    },
    /// A statement failed in a way that trying again does not mend.
    #[error("{operation} failed at unit {number}")]
    Statement {
        /// What was done.
        operation: String,
        /// The unit.
        number: Number,
        /// Why.
        source: lutra_mysql::Error,
    },
    /// The target failed, or the connection to it.
    #[error("{operation} in the target failed")]
    Target {
        /// What was done.
        operation: &'static str,
        /// Why.
        source: lutra_mysql::Error,
    },
    /// A secret or an address of the target does not resolve on this machine.
    #[error("the target of {task} cannot be reached from this worker")]
    Unresolved {
        /// The task.
        task: String,
        /// Why not.
        source: lutra_mysql::document::Unresolved,
    },
    /// The target server is not what is needed.
    #[error("the target is not fit: {reason}")]
    Unfit {
        /// What is missing, with the statement that mends it.
        reason: String,
    },
    /// The log.
    #[error("reading the pipeline's log failed")]
    Log(#[from] lutra_log::LogError),
    /// A schema could not be fetched, or another piece of Kafka failed.
    #[error("{operation} failed")]
    Kafka {
        /// What was done.
        operation: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The definition of a task says too little.
    #[error("the definition of {task} is not complete: {missing}")]
    Definition {
        /// The task.
        task: String,
        /// What is missing.
        missing: &'static str,
    },
    /// The log has a hole; the writer was asked to start again.
    #[error("the log has a gap at offset {offset}: unit {expected} was the last, {found} follows")]
    Gap {
        /// Where.
        offset: i64,
        /// The last unit.
        expected: Number,
        /// What the record claims to follow.
        found: Number,
    },
    /// DDL that waits for a person.
    #[error(
        "the statement of unit {number} on {tables} is held, and everything behind it, as {reason}: `lutra ddl list PIPELINE` shows \
         it; approve, skip or replace it"
    )]
    Held {
        /// The unit.
        number: Number,
        /// What it is about.
        tables: String,
        /// Why not only its tables wait.
        reason: String,
    },
    /// A unit that cannot go on beside a held table.
    #[error(
        "unit {number} on {tables} waits for statements that are held before it, and everything behind it, as {reason}: `lutra ddl \
         list PIPELINE` shows them; approve, skip or replace them"
    )]
    HeldBehind {
        /// The unit.
        number: Number,
        /// What it is about.
        tables: String,
        /// Why it cannot go on.
        reason: String,
    },
    /// DDL that could not be rewritten for the target.
    #[error(
        "the statement of unit {number} on {tables} cannot be rewritten for the target: {reason}. `lutra ddl replace PIPELINE {number} \
         SQL` runs another one in its place, `lutra ddl skip` none"
    )]
    NotRewritten {
        /// The unit.
        number: Number,
        /// What it is about.
        tables: String,
        /// Why.
        reason: String,
    },
    /// DDL whose outcome cannot be told.
    #[error("the outcome of a DDL statement in the target cannot be told (unit {number}): {reason}")]
    Ddl {
        /// The unit.
        number: Number,
        /// What was found, and what to do.
        reason: String,
    },
    /// A room ended before its time.
    #[error("{0} ended")]
    Ended(&'static str),
}

/// A row that does not fit what the source changed: names, never values.
#[derive(Debug, thiserror::Error)]
#[error(
    "conflict: {verb} of a row of {table} (key columns {}) by unit {number}: {what}; \
     compare the row with the source, mend it in the target, then resume the pipeline", .key.join(", ")
)]
pub struct Conflict {
    /// The target table.
    pub table: TableName,
    /// `insert`, `update`, `delete`.
    pub verb: &'static str,
    /// Names of the key's columns.
    pub key: Vec<String>,
    /// The last unit of the batch.
    pub number: Number,
    /// What was found.
    pub what: String,
    /// The server's error, where there was one.
    #[source]
    pub source: Option<lutra_mysql::Error>,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The next attempt may succeed.
    Retry,
    /// Another owner runs the task: stop.
    Fenced,
    /// A person must act.
    Halt,
}

impl LoadError {
    /// Why a statement was refused, where it was: its policy says what becomes of it.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Statement { source, .. } => Some(source.to_string()),
            Self::NotRewritten { reason, .. } => Some(format!("it cannot be rewritten for the target: {reason}")),
            _ => None,
        }
    }

    /// What to do about it, and a hint for the operator.
    pub fn disposition(&self) -> (Disposition, &'static str) {
        use lutra_mysql::ErrorKind as Kind;
        match self {
            Self::Fenced { .. } => (Disposition::Fenced, "another worker runs the task; nothing to do"),
            // Settled by taking the target again: a higher epoch there fences us then.
            Self::SlotMoved { .. } => (Disposition::Retry, "the next attempt reads the slot rows again"),
            Self::Gap { .. } => {
                (Disposition::Retry, "the log's writer was asked to start again; if it recurs, see its status")
            }
            Self::Ended(_) => (Disposition::Retry, "see the error before it"),
            Self::Kafka { .. } => (Disposition::Retry, "check that Kafka is reachable and the topics are there"),
            Self::TargetBehindLog { .. } => (
                Disposition::Halt,
                "`lutra adopt PIPELINE --from-target --dry-run` shows what a new log would begin with",
            ),
            Self::NotMadeAnew { .. } => (
                Disposition::Halt,
                "`lutra rewind PIPELINE --to PLACE --reload` begins another log, now that nothing is applied",
            ),
            Self::AnotherLog { .. } => (
                Disposition::Halt,
                "`lutra adopt SOURCE --from-target --dry-run` shows where a new log would go on behind what the target has",
            ),
            Self::Torn { .. } => (
                Disposition::Halt,
                "it is read again; if that does not help, `lutra adopt PIPELINE --from-target` starts a new log",
            ),
            Self::Log(lutra_log::LogError::Halt { .. }) => (Disposition::Halt, "see the error's text"),
            Self::Log(_) => (Disposition::Retry, "check that Kafka is reachable"),
            Self::Target { source, .. } | Self::Statement { source, .. } => match source.kind() {
                Kind::AccessDenied => {
                    (Disposition::Halt, "correct user, password or grants; `lutra doctor --grants` prints them")
                }
                Kind::ReadOnly => {
                    (Disposition::Retry, "the target takes no writes: end its read-only mode, or name the new primary")
                }
                Kind::DiskFull => (Disposition::Retry, "the target's disk is full: make room"),
                Kind::Deadlock | Kind::LockWaitTimeout => {
                    (Disposition::Retry, "another session of the target holds locks")
                }
                Kind::ConnectionLost
                | Kind::Timeout
                | Kind::TooManyConnections
                | Kind::Shutdown
                | Kind::Interrupted
                | Kind::DefinitionChanged => (Disposition::Retry, "check that the target is up and reachable"),
                Kind::Tls => (
                    Disposition::Retry,
                    "put the authority that signed the server's certificate into the file that `tls.ca` names; it is read at each connection",
                ),
                Kind::Internal if matches!(self, Self::Target { .. }) => {
                    (Disposition::Retry, "check that the target is up and reachable")
                }
                _ => (Disposition::Halt, "mend the cause in the target, then resume the pipeline"),
            },
            Self::Unresolved { .. } => {
                (Disposition::Halt, "set the variable or file on every machine that runs a loader, then start it again")
            }
            Self::Held { .. } | Self::HeldBehind { .. } => {
                (Disposition::Halt, "`lutra ddl approve|skip|replace PIPELINE UNIT`")
            }
            Self::NotRewritten { .. } => (
                Disposition::Halt,
                "`lutra ddl replace PIPELINE UNIT SQL`, or skip it; for the future, mend the pipeline's rules",
            ),
            Self::NoTable { .. } => (Disposition::Halt, "create the table in the target, then resume the pipeline"),
            Self::TableExists { .. } => {
                (Disposition::Halt, "remove the table from the target, then resume the pipeline")
            }
            Self::ChunkMissing { .. } => (Disposition::Halt, "`lutra load restart` the table"),
            Self::Mapping { .. }
            | Self::NoCopyKey { .. }
            | Self::Triggers { .. }
            | Self::PartialImage { .. }
            | Self::ForeignComputation { .. }
            | Self::NotTransactional { .. } => (Disposition::Halt, "change the target's table or the pipeline's rules"),
            Self::Conflict(_) => {
                (Disposition::Halt, "compare the row in source and target, mend it, then resume the pipeline")
            }
            Self::Unfit { .. } | Self::Definition { .. } | Self::ForeignCluster { .. } => {
                (Disposition::Halt, "see the error's text")
            }
            Self::Row { .. } | Self::Unit { .. } | Self::Unsupported { .. } | Self::Ddl { .. } => {
                (Disposition::Halt, "see the error's text")
            }
        }
    }
}

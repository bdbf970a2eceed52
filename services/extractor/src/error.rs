//! What ends an extraction.

use lutra_change::{BinlogPosition, Gtid, GtidSet, TableName};
use lutra_mysql::checks::CheckResult;

/// Why an extraction ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The task's definition cannot be run.
    #[error("the definition of source {source_name} cannot be run: {reason}")]
    Definition {
        /// The source.
        source_name: String,
        /// Why not.
        reason: String,
    },
    /// A secret or an address does not resolve on this machine.
    #[error("source {source_name} cannot be reached from this worker")]
    Unresolved {
        /// The source.
        source_name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is not as it must be.
    #[error("source {address} is not fit: {}", list(.faults))]
    Unfit {
        /// `host:port`.
        address: String,
        /// What is wrong, each with what mends it.
        faults: Vec<CheckResult>,
    },
    /// P7: the log has transactions that the server does not have.
    #[error(
        "source_behind_log: source {address} does not have these transactions of the log: {phantom}{}. It was restored from a \
         backup, or another server took over without them. Bring a server that has them, or let targets lose them: \
         `lutra rewind SOURCE --to GTID_SET --reload`{}", besides(.own), beside(.servers)
    )]
    SourceBehindLog {
        /// `host:port`.
        address: String,
        /// What the log has and the server has not.
        phantom: GtidSet,
        /// What the server has and the log has not.
        own: Box<GtidSet>,
        /// All servers of the list with what they lack; empty where only one was asked.
        servers: String,
    },
    /// The server's binlog no longer has what the log has not.
    #[error(
        "purged_past_log: source {address} has executed these transactions, the log does not have them, and they are purged from \
         its binlog: {purged}. It was purged before it was read, or they are errant transactions from before a fail-over. \
         Bring a server whose binlog has them, or copy what they changed and `lutra rewind SOURCE --to GTID_SET`{}", beside(.servers)
    )]
    PurgedPastLog {
        /// `host:port`.
        address: String,
        /// What nobody can read there.
        purged: GtidSet,
        /// All servers of the list with what they lack.
        servers: String,
    },
    /// P7: the server has another transaction under the same GTID.
    #[error(
        "another_history: the last transaction of the log, {gtid}, is another one at source {address}: {difference}. The source \
         was restored and went its own way; compare source and target, then `lutra adopt`"
    )]
    AnotherHistory {
        /// `host:port`.
        address: String,
        /// The transaction.
        gtid: String,
        /// What differs.
        difference: String,
    },
    /// P7: without GTIDs a position means something on one server only.
    #[error(
        "source {address} has server UUID {found}, the log was written from {expected}: without GTIDs there is no fail-over; \
         switch GTIDs on, or start a new log with `lutra adopt`"
    )]
    AnotherServer {
        /// `host:port`.
        address: String,
        /// The server that answers.
        found: String,
        /// The server of the log.
        expected: String,
    },
    /// The server cannot be asked or read.
    #[error("reading source {address} failed")]
    Source {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: Box<lutra_mysql::Error>,
    },
    /// The dump stream ended although it was to go on.
    #[error("source {address} ended the dump stream")]
    StreamEnded {
        /// `host:port`.
        address: String,
    },
    /// What the server sends and what it says of its log do not fit.
    #[error(
        "source {address} has sent its binlog up to {sent}, but that log ends at {log_end} and nothing more comes: it was reset, \
         or its dump is stuck; it is read anew"
    )]
    StreamAstray {
        /// `host:port`.
        address: String,
        /// Up to where.
        sent: BinlogPosition,
        /// Where the log ends.
        log_end: BinlogPosition,
    },
    /// A switch-over left the server alive.
    #[error(
        "source {address} takes no writes any more and follows nobody, and {successor} takes them: the servers are asked again"
    )]
    SteppedDown {
        /// `host:port`.
        address: String,
        /// The new primary, `host:port`.
        successor: String,
    },
    /// What the binlog holds cannot be carried on.
    #[error("the binlog cannot be followed at {position}")]
    Assemble {
        /// Where the last event ended.
        position: BinlogPosition,
        /// Why.
        #[source]
        source: Box<AssembleError>,
    },
    /// A row schema could not be written.
    #[error("the row schema of {table} could not be written")]
    Schema {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// P8: the log's topic is not fit, or the broker cannot be asked.
    #[error("topic {topic} cannot be written")]
    Broker {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: Box<lutra_kafka::KafkaError>,
    },
    /// What the log says of its tables' definitions cannot be read, or not be written.
    #[error("the definitions of the tables of source {source_name} cannot be kept in the schemas' topic")]
    Definitions {
        /// The source.
        source_name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log.
    #[error("writing the log failed")]
    Log(#[source] Box<lutra_log::LogError>),
}

impl From<lutra_log::LogError> for ExtractError {
    fn from(error: lutra_log::LogError) -> Self {
        Self::Log(Box::new(error))
    }
}

fn besides(own: &GtidSet) -> String {
    if own.is_empty() { String::new() } else { format!("; it has these that the log does not: {own}") }
}

fn beside(servers: &str) -> String {
    if servers.is_empty() { String::new() } else { format!(". The servers: {servers}") }
}

fn list(faults: &[CheckResult]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why the events of a binlog do not make units.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// An event or a row cannot be decoded.
    #[error("an event cannot be decoded")]
    Decode(#[from] lutra_binlog::DecodeError),
    /// A row cannot be encoded.
    #[error("a row cannot be encoded")]
    Encode(#[from] lutra_wire::WireError),
    /// Events out of order.
    #[error("the binlog is not continuous: {what}")]
    NotContinuous {
        /// What does not fit.
        what: String,
    },
    /// P7: files before this one hold transactions that never came.
    #[error(
        "the file begins behind transactions that were never sent: {missing}; the source's history is not the one the log followed"
    )]
    PreviousGtids {
        /// What is missing.
        missing: GtidSet,
    },
    /// A transaction whose GTID the log has already.
    #[error("transaction {gtid} came again")]
    GtidRepeated {
        /// The GTID.
        gtid: Gtid,
    },
    /// The source runs without GTIDs, or writes a transaction without one.
    #[error(
        "a transaction has no GTID although the source is followed by GTID; set gtid_mode = ON at the source, or write `gtid: false`"
    )]
    NoGtid,
    /// P11.
    #[error("the source lost events: {message}; compare source and target, then start anew behind this place")]
    Incident {
        /// The server's text.
        message: String,
    },
    /// P11.
    #[error(
        "rows were changed by a statement that is logged as text ({what}), which cannot be followed; set binlog_format = ROW"
    )]
    StatementText {
        /// Its first word.
        what: String,
    },
    /// P11: rows that never came.
    #[error(
        "XA transaction {xid} is committed, and was prepared before the log begins: its rows are not in it. Copy what it changed \
         to the target, and start anew behind this place with `lutra rewind SOURCE --to PLACE`"
    )]
    XaUnknown {
        /// Its XID.
        xid: String,
    },
    /// P11: two of one name.
    #[error(
        "XA transaction {xid} begins, and the one of that name that was prepared before was never decided in the binlog: somebody \
         ended it with sql_log_bin = 0, or the server lost it. Compare source and target, then start anew behind this place \
         with `lutra rewind SOURCE --to PLACE`"
    )]
    XaTaken {
        /// Its XID.
        xid: String,
    },
    /// P11.
    #[error(
        "a transaction that ends in {what} changed rows of {tables}: tables without transactions keep such changes, others do not; \
         convert them to InnoDB, or leave them out with `exclude`"
    )]
    RolledBack {
        /// ROLLBACK, ROLLBACK TO.
        what: &'static str,
        /// The tables.
        tables: String,
    },
    /// P6.
    #[error(
        "table {old} was not captured and is renamed to {new}, which is: its rows were never carried. Exclude {new}, or copy it to \
         the target and start anew behind this statement"
    )]
    RenamedIn {
        /// Old name.
        old: TableName,
        /// New name.
        new: TableName,
    },
    /// A session setting of MariaDB that changes what a definition means.
    #[error(
        "a definition was made in a session with {setting}, which is not carried: make definitions in sessions without it, \
         or leave the table out with `exclude`"
    )]
    ForeignSession {
        /// The setting.
        setting: &'static str,
    },
    /// A table whose table maps do not say what it looks like, and nobody else does.
    #[error(
        "what table {table} looks like here is not known: its table maps do not name its columns (binlog_row_metadata is not FULL at \
         the source), and {why}. Set binlog_row_metadata = FULL there; then start anew behind this place with `lutra rewind SOURCE --to \
         PLACE` and a fresh copy of the table, or leave it out with `exclude`"
    )]
    Undefined {
        /// The table.
        table: TableName,
        /// Why not.
        why: String,
    },
    /// A DDL statement that cannot be read.
    #[error("a statement cannot be read: a quote or comment is left open")]
    UnreadableStatement,
    /// P13.
    #[error(
        "a transaction of a Lutra loader does not say which sources it came from; the loader is of another version"
    )]
    MarkWithoutOrigins,
}

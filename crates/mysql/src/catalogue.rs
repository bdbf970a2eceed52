//! What a server says of itself and of its tables.

use std::collections::BTreeMap;

use lutra_change::gtid::DomainGtid;
use lutra_change::{BinlogPosition, GtidSet, TableName};

use crate::connection::{Connection, Param, Row};
use crate::dialect::Flavour;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::{quote_identifier, quote_table, quote_text};

/// Schemas of the server itself, and Lutra's own: never captured as rows, never copied.
pub const SYSTEM_SCHEMAS: [&str; 5] = ["mysql", "information_schema", "performance_schema", "sys", "lutra"];

/// Who a server is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `server_uuid`. MariaDB has none: there it is made of `server_uid`, `server_id`, host name, port and data folder, so
    /// that it stays the same as long as these do.
    pub server_uuid: String,
    /// `server_id`.
    pub server_id: u32,
    /// `version`.
    pub version: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// `gtid_executed`; on MariaDB `gtid_binlog_pos`.
    pub gtid_executed: GtidSet,
    /// `gtid_purged`; on MariaDB the position before the oldest binlog file (empty where the account may not ask).
    pub gtid_purged: GtidSet,
    /// `lower_case_table_names`.
    pub lower_case_table_names: u8,
    /// `read_only` or `super_read_only`.
    pub read_only: bool,
}

/// Asks a server who it is.
pub async fn identity(connection: &mut Connection) -> Result<ServerIdentity> {
    let variables = variables(connection).await?;
    let text = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let set = |name: &'static str| gtid_set(&text(name));
    let version = text("version");
    let flavour = Flavour::of_version(&version);
    let (gtid_executed, gtid_purged) = match flavour {
        Flavour::MySql => (set("gtid_executed")?, set("gtid_purged")?),
        Flavour::MariaDb => (set("gtid_binlog_pos")?, mariadb_purged(connection, &text("log_bin")).await?),
    };
    let server_uuid = match flavour {
        Flavour::MySql => text("server_uuid"),
        Flavour::MariaDb => {
            made_uuid(&["server_uid", "server_id", "hostname", "port", "datadir"].map(text)).to_string()
        }
    };
    Ok(ServerIdentity {
        server_uuid,
        server_id: text("server_id").parse().unwrap_or(0),
        flavour,
        gtid_executed,
        gtid_purged,
        lower_case_table_names: text("lower_case_table_names").parse().unwrap_or(0),
        read_only: text("read_only") == "ON" || text("super_read_only") == "ON",
        version,
    })
}

fn gtid_set(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|e| Error::Unexpected { operation: QUERY, reason: format!("{e}") })
}

/// Where MariaDB stood before its oldest binlog file.
async fn mariadb_purged(connection: &mut Connection, log_bin: &str) -> Result<GtidSet> {
    if log_bin != "ON" {
        return Ok(GtidSet::new());
    }
    match binlog_files(connection).await {
        Ok(files) => match files.first() {
            Some(first) => {
                Ok(mariadb_position(connection, &BinlogPosition::new(&first.file, 4)).await?.unwrap_or_default())
            }
            None => Ok(GtidSet::new()),
        },
        // Told by `ensure_grants`.
        Err(e) if e.kind() == ErrorKind::AccessDenied => Ok(GtidSet::new()),
        Err(e) => Err(e),
    }
}

/// Where MariaDB stood at a place in its binlog; `None` where no event ends there, or the file is not there (any more).
pub async fn mariadb_position(connection: &mut Connection, place: &BinlogPosition) -> Result<Option<GtidSet>> {
    let sql = format!("SELECT BINLOG_GTID_POS({}, {})", quote_text(&place.file), place.offset);
    connection.query_text(sql).await?.map(|text| gtid_set(&text)).transpose()
}

/// The last GTID of each server in each domain of MariaDB's binlog (`gtid_binlog_state`).
pub async fn mariadb_binlog_state(connection: &mut Connection) -> Result<Vec<DomainGtid>> {
    let text = connection.query_text("SELECT @@GLOBAL.gtid_binlog_state").await?.unwrap_or_default();
    let each = text.split(',').map(str::trim).filter(|t| !t.is_empty());
    each.map(gtid_set)
        .map(|set| set.map(|s| s.domains().collect::<Vec<_>>()))
        .collect::<Result<Vec<_>>>()
        .map(|v| v.concat())
}

/// A UUID of version 8 made of these texts (FNV-1a, 128 bits).
fn made_uuid(parts: &[String]) -> uuid::Uuid {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0)));
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

/// Whom a server replicates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nobody, or its replication is stopped.
    Nobody,
    /// A server that it is connected to.
    Connected,
    /// A server that does not answer it.
    Disconnected,
}

/// Whom a server replicates from; `None` where the account may not ask. MariaDB tells all accounts whether it is connected, and
/// few whether it tries to be: one that is not follows nobody.
pub async fn follows(connection: &mut Connection) -> Result<Option<Follows>> {
    if connection.flavour().await?.is_mariadb() {
        let row = connection.query_first("SHOW GLOBAL STATUS LIKE 'Slave_running'").await?;
        let runs = row.is_some_and(|row| row.string(1).eq_ignore_ascii_case("ON"));
        return Ok(Some(if runs { Follows::Connected } else { Follows::Nobody }));
    }
    let rows = match connection.query("SHOW REPLICA STATUS").await {
        Err(e) if e.code() == Some(1064) => connection.query("SHOW SLAVE STATUS").await,
        other => other,
    };
    match rows {
        Ok(rows) => Ok(Some(followed(&rows))),
        Err(e) if e.kind() == ErrorKind::AccessDenied => Ok(None),
        Err(e) => Err(e),
    }
}

/// The channels of a MySQL server, each a row of `SHOW REPLICA STATUS`.
fn followed(rows: &[Row]) -> Follows {
    /// Whether the threads that fetch and that execute run; the same places since MySQL 5.0.
    const FETCHES: usize = 10;
    const EXECUTES: usize = 11;
    let of_group = |row: &Row| (0..row.len()).any(|n| row.text(n) == Some("group_replication_applier"));
    let channel = |row: &Row| match (row.text(FETCHES), row.text(EXECUTES)) {
        (Some("Yes"), Some("Yes")) => Follows::Connected,
        (_, Some("Yes")) if of_group(row) => Follows::Connected,
        (Some("Connecting"), _) | (Some("Yes"), _) | (_, Some("Yes")) => Follows::Disconnected,
        _ => Follows::Nobody,
    };
    let channels: Vec<Follows> = rows.iter().map(channel).collect();
    let first = |wanted: Follows| channels.contains(&wanted).then_some(wanted);
    first(Follows::Connected).or_else(|| first(Follows::Disconnected)).unwrap_or(Follows::Nobody)
}

/// All global variables by their lower-case names.
pub async fn variables(connection: &mut Connection) -> Result<BTreeMap<String, String>> {
    let rows = connection.query("SHOW GLOBAL VARIABLES").await?;
    Ok(rows.iter().map(|row| (row.string(0).to_ascii_lowercase(), row.string(1))).collect())
}

const QUERY: &str = "a catalogue query";

/// Now at the server, microseconds since the epoch.
pub async fn clock(connection: &mut Connection) -> Result<i64> {
    let row = connection.query_first("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").await?;
    row.and_then(|r| r.i64(0)).ok_or_else(|| missing("UNIX_TIMESTAMP"))
}

fn missing(what: &str) -> Error {
    Error::Unexpected { operation: QUERY, reason: format!("the server gives no {what}") }
}

/// Where the binlog ends now, with the GTIDs executed up to there where the server says them beside it: MySQL does.
pub async fn log_end(connection: &mut Connection) -> Result<(BinlogPosition, Option<GtidSet>)> {
    let (row, position) = log_status(connection).await?;
    let set = match connection.flavour().await? {
        Flavour::MySql => Some(gtid_set(&row.string(4))?),
        Flavour::MariaDb => None,
    };
    Ok((position, set))
}

/// Where the binlog ends now, with the GTIDs executed up to there.
pub async fn binlog_end(connection: &mut Connection) -> Result<(BinlogPosition, GtidSet)> {
    let (row, position) = log_status(connection).await?;
    let set = match connection.flavour().await? {
        Flavour::MySql => gtid_set(&row.string(4))?,
        Flavour::MariaDb => mariadb_position(connection, &position)
            .await?
            .ok_or_else(|| missing("GTID position at its binlog's end"))?,
    };
    Ok((position, set))
}

async fn log_status(connection: &mut Connection) -> Result<(Row, BinlogPosition)> {
    let row = match connection.flavour().await? {
        Flavour::MariaDb => connection.query_first("SHOW MASTER STATUS").await?,
        Flavour::MySql => match connection.query_first("SHOW BINARY LOG STATUS").await {
            Err(e) if e.code() == Some(1064) => connection.query_first("SHOW MASTER STATUS").await?,
            other => other?,
        },
    };
    let row = row.ok_or_else(|| missing("binary log status; its binary log is off"))?;
    let position = BinlogPosition::new(row.string(0), row.u64(1).ok_or_else(|| missing("binlog position"))?);
    Ok((row, position))
}

/// For how many seconds the server keeps its binlog files; `None` where time does not purge them.
pub async fn binlog_retention(connection: &mut Connection) -> Result<Option<u64>> {
    const SQL: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                       ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')";
    let rows = connection.query(SQL).await?;
    let found: BTreeMap<String, String> =
        rows.iter().map(|row| (row.string(0).to_ascii_lowercase(), row.string(1))).collect();
    Ok(retention(&found))
}

/// MariaDB knows days only before 10.6, and fractions of them since.
fn retention(variables: &BTreeMap<String, String>) -> Option<u64> {
    if variables.get("binlog_expire_logs_auto_purge").is_some_and(|value| value == "OFF") {
        return None;
    }
    let seconds = variables.get("binlog_expire_logs_seconds").and_then(|value| value.parse::<u64>().ok());
    let days = || variables.get("expire_logs_days").and_then(|value| value.split('.').next()?.parse::<u64>().ok());
    seconds.or_else(|| days().map(|days| days.saturating_mul(86_400))).filter(|seconds| *seconds > 0)
}

/// The binlog files that are there, oldest first, with their sizes.
pub async fn binlog_files(connection: &mut Connection) -> Result<Vec<BinlogPosition>> {
    let rows = connection.query("SHOW BINARY LOGS").await?;
    Ok(rows.iter().map(|row| BinlogPosition::new(row.string(0), row.u64(1).unwrap_or(0))).collect())
}

/// The databases that are not the server's own.
pub async fn databases(connection: &mut Connection) -> Result<Vec<String>> {
    let rows = connection.query("SELECT schema_name FROM information_schema.schemata ORDER BY 1").await?;
    Ok(rows.iter().map(|r| r.string(0)).filter(|d| !is_system(d)).collect())
}

/// The default collations of the databases.
pub async fn database_defaults(connection: &mut Connection) -> Result<Vec<(String, String)>> {
    let sql = "SELECT schema_name, default_collation_name FROM information_schema.schemata";
    Ok(connection.query(sql).await?.iter().map(|row| (row.string(0), row.string(1))).collect())
}

/// Whether a database is the server's own or Lutra's.
pub fn is_system(database: &str) -> bool {
    SYSTEM_SCHEMAS.iter().any(|s| s.eq_ignore_ascii_case(database))
}

/// A table in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueTable {
    /// Full name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Collation.
    pub collation: String,
}

/// All base tables of the databases that are not the server's own.
pub async fn tables(connection: &mut Connection) -> Result<Vec<CatalogueTable>> {
    const SQL: &str = "SELECT table_schema, table_name, engine, table_collation FROM information_schema.tables \
                       WHERE table_type = 'BASE TABLE' ORDER BY 1, 2";
    let rows = connection.query(SQL).await?;
    let tables = rows.iter().map(|row| CatalogueTable {
        name: TableName::new(row.string(0), row.string(1)),
        engine: row.string(2),
        collation: row.string(3),
    });
    Ok(tables.filter(|t| !is_system(&t.name.database)).collect())
}

/// A column in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueColumn {
    /// Name.
    pub name: String,
    /// Place in the table, from 1.
    pub ordinal: u32,
    /// `data_type`, lower case (`int`, `varchar`, …).
    pub data_type: String,
    /// `column_type` with length, sign, labels.
    pub column_type: String,
    /// Character set, where it has one.
    pub charset: Option<String>,
    /// Collation, where it has one.
    pub collation: Option<String>,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Default, where there is one.
    pub default: Option<String>,
    /// VIRTUAL or STORED generated: the server makes its value.
    pub generated: bool,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// INVISIBLE.
    pub invisible: bool,
    /// `ON UPDATE CURRENT_TIMESTAMP`: the server sets it where an update does not.
    pub touched_by_updates: bool,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKeyPart {
    /// Column; `None` for an expression.
    pub column: Option<String>,
    /// Prefix length in characters.
    pub prefix: Option<u32>,
    /// The expression of a functional part.
    pub expression: Option<String>,
}

/// A primary or unique key, or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKey {
    /// Name; `PRIMARY` for the primary key.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Parts in order.
    pub parts: Vec<CatalogueKeyPart>,
    /// `BTREE`, `HASH`, `FULLTEXT`, `SPATIAL`.
    pub index_type: String,
}

impl CatalogueKey {
    /// Whether it is the primary key.
    pub fn is_primary(&self) -> bool {
        self.name == "PRIMARY"
    }
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Constraint name.
    pub name: String,
    /// The table that refers.
    pub child: TableName,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// The table referred to.
    pub parent: TableName,
    /// Its columns, in the same order.
    pub parent_columns: Vec<String>,
    /// ON UPDATE rule: `CASCADE`, `SET NULL`, `NO ACTION`, `RESTRICT`, `SET DEFAULT`.
    pub on_update: String,
    /// ON DELETE rule.
    pub on_delete: String,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Name.
    pub name: String,
    /// Its table.
    pub table: TableName,
    /// `INSERT`, `UPDATE`, `DELETE`.
    pub event: String,
    /// `BEFORE`, `AFTER`.
    pub timing: String,
    /// It begins with Lutra's [`TRIGGER_GUARD`]: applied rows do not fire it.
    pub guarded: bool,
}

/// How the body of a trigger begins that was created for a target that may be promoted.
pub const TRIGGER_GUARD: &str = "IF @lutra_apply IS NULL THEN";
/// What a session sets that applies rows.
pub const TRIGGER_GUARD_MARK: &str = "@lutra_apply = 1";

/// All that is asked of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Full name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Columns in order, hidden ones not included.
    pub columns: Vec<CatalogueColumn>,
    /// All keys; the primary key first.
    pub keys: Vec<CatalogueKey>,
    /// Foreign keys in which this table is the child.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys in which this table is the parent.
    pub referenced_by: Vec<ForeignKey>,
    /// Triggers on it.
    pub triggers: Vec<Trigger>,
}

impl TableDefinition {
    /// The primary key.
    pub fn primary_key(&self) -> Option<&CatalogueKey> {
        self.keys.iter().find(|k| k.is_primary())
    }

    /// The primary and all unique keys.
    pub fn unique_keys(&self) -> impl Iterator<Item = &CatalogueKey> {
        self.keys.iter().filter(|k| k.unique)
    }
}

/// Everything about one table, or one of MariaDB's sequences; `None` where it is not there (or not visible to the account).
pub async fn table_definition(connection: &mut Connection, name: &TableName) -> Result<Option<TableDefinition>> {
    const TABLE: &str = "SELECT table_schema, table_name, engine FROM information_schema.tables \
                         WHERE table_schema = ? AND table_name = ? AND table_type IN ('BASE TABLE', 'SEQUENCE')";
    let Some(row) = connection.exec_query(TABLE, of(name)).await?.into_iter().next() else { return Ok(None) };
    // As the server spells it: on servers with lower-case names ours may be spelt otherwise.
    let name = TableName::new(row.string(0), row.string(1));
    Ok(Some(TableDefinition {
        engine: row.string(2),
        columns: columns(connection, &name).await?,
        keys: keys(connection, &name).await?,
        foreign_keys: foreign_keys(connection, &name, "k.table_schema = ? AND k.table_name = ?").await?,
        referenced_by: foreign_keys(connection, &name, "k.referenced_table_schema = ? AND k.referenced_table_name = ?")
            .await?,
        triggers: triggers(connection, &name).await?,
        name,
    }))
}

/// Whether a table of that name is there and keeps old versions of its rows (MariaDB's `WITH SYSTEM VERSIONING`).
pub async fn is_versioned(connection: &mut Connection, name: &TableName) -> Result<bool> {
    const SQL: &str = "SELECT COUNT(*) FROM information_schema.tables \
                       WHERE table_schema = ? AND table_name = ? AND table_type = 'SYSTEM VERSIONED'";
    let rows = connection.exec_query(SQL, of(name)).await?;
    Ok(rows.first().and_then(|row| row.u64(0)) == Some(1))
}

fn of(name: &TableName) -> Vec<Param> {
    vec![name.database.as_str().into(), name.table.as_str().into()]
}

async fn columns(connection: &mut Connection, name: &TableName) -> Result<Vec<CatalogueColumn>> {
    const SQL: &str = "SELECT column_name, ordinal_position, data_type, column_type, character_set_name, collation_name, \
                       is_nullable, column_default, extra, generation_expression FROM information_schema.columns \
                       WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
    let rows = connection.exec_query(SQL, of(name)).await?;
    Ok(rows.iter().map(column).collect())
}

fn column(row: &Row) -> CatalogueColumn {
    let extra = row.string(8).to_ascii_uppercase();
    CatalogueColumn {
        name: row.string(0),
        ordinal: row.u64(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        data_type: row.string(2).to_ascii_lowercase(),
        column_type: row.string(3),
        charset: row.text(4).map(str::to_owned),
        collation: row.text(5).map(str::to_owned),
        nullable: row.text(6) == Some("YES"),
        default: row.text(7).map(str::to_owned),
        // `DEFAULT_GENERATED` is an expression default, not a generated column.
        generated: extra.contains("VIRTUAL GENERATED")
            || extra.contains("STORED GENERATED")
            || extra.contains("PERSISTENT"),
        auto_increment: extra.contains("AUTO_INCREMENT"),
        invisible: extra.contains("INVISIBLE"),
        touched_by_updates: extra.contains("ON UPDATE"),
    }
}

async fn keys(connection: &mut Connection, name: &TableName) -> Result<Vec<CatalogueKey>> {
    // `SHOW` instead of `information_schema.statistics`: there, MySQL hides functional parts from accounts without more rights.
    let rows = connection.query(format!("SHOW INDEX FROM {}", quote_table(name))).await?;
    let mut keys: Vec<CatalogueKey> = Vec::new();
    for row in &rows {
        let part = CatalogueKeyPart {
            column: row.text(4).map(str::to_owned),
            prefix: row.u64(7).and_then(|n| u32::try_from(n).ok()),
            expression: row.text(14).filter(|_| row.text(4).is_none()).map(str::to_owned),
        };
        let key = row.string(2);
        match keys.iter_mut().find(|k| k.name == key) {
            Some(known) => known.parts.push(part),
            None => keys.push(CatalogueKey {
                name: key,
                unique: row.text(1) == Some("0"),
                parts: vec![part],
                index_type: row.string(10),
            }),
        }
    }
    keys.sort_by_key(|k| !k.is_primary());
    Ok(keys)
}

async fn foreign_keys(connection: &mut Connection, name: &TableName, condition: &str) -> Result<Vec<ForeignKey>> {
    let sql = format!(
        "SELECT k.constraint_name, k.table_schema, k.table_name, k.column_name, k.referenced_table_schema, \
         k.referenced_table_name, k.referenced_column_name, r.update_rule, r.delete_rule \
         FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r \
         ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name \
         WHERE k.referenced_table_name IS NOT NULL AND {condition} \
         ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position"
    );
    let rows = connection.exec_query(&sql, of(name)).await?;
    let mut found: Vec<ForeignKey> = Vec::new();
    for row in &rows {
        let (key, child) = (row.string(0), TableName::new(row.string(1), row.string(2)));
        if !found.last().is_some_and(|last| last.name == key && last.child == child) {
            found.push(ForeignKey {
                name: key,
                child,
                columns: Vec::new(),
                parent: TableName::new(row.string(4), row.string(5)),
                parent_columns: Vec::new(),
                on_update: row.string(7),
                on_delete: row.string(8),
            });
        }
        if let Some(last) = found.last_mut() {
            last.columns.push(row.string(3));
            last.parent_columns.push(row.string(6));
        }
    }
    Ok(found)
}

async fn triggers(connection: &mut Connection, name: &TableName) -> Result<Vec<Trigger>> {
    const SQL: &str = "SELECT trigger_name, event_manipulation, action_timing, action_statement FROM information_schema.triggers \
                       WHERE event_object_schema = ? AND event_object_table = ? ORDER BY 1";
    let rows = connection.exec_query(SQL, of(name)).await?;
    let trigger = |row: &Row| Trigger {
        name: row.string(0),
        table: name.clone(),
        event: row.string(1),
        timing: row.string(2),
        guarded: row.string(3).starts_with(TRIGGER_GUARD),
    };
    Ok(rows.iter().map(trigger).collect())
}

/// The statement that makes the table, as the server prints it.
pub async fn show_create_table(connection: &mut Connection, name: &TableName) -> Result<Option<String>> {
    match connection.query_first(format!("SHOW CREATE TABLE {}", quote_table(name))).await {
        Ok(row) => Ok(row.and_then(|r| r.text(1).map(str::to_owned))),
        Err(e) if e.code() == Some(1146) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The statement that makes the database.
pub async fn show_create_database(connection: &mut Connection, name: &str) -> Result<Option<String>> {
    match connection.query_first(format!("SHOW CREATE DATABASE {}", quote_identifier(name))).await {
        Ok(row) => Ok(row.and_then(|r| r.text(1).map(str::to_owned))),
        Err(e) if e.code() == Some(1049) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A collation of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collation {
    /// Its id, as in binlog events.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Name of its character set.
    pub charset: String,
    /// It is the default one of the character set.
    pub is_default: bool,
    /// Bytes that a character takes at most.
    pub bytes_per_character: u8,
}

/// The collations that a server knows.
pub async fn collations(connection: &mut Connection) -> Result<Vec<Collation>> {
    const SQL: &str = "SELECT c.id, c.collation_name, c.character_set_name, c.is_default, s.maxlen                        FROM information_schema.collations c                        JOIN information_schema.character_sets s ON s.character_set_name = c.character_set_name";
    // MariaDB 10.10 and later list there those whose names do not hold for one character set alone.
    const MARIADB: &str = "SELECT c.id, c.full_collation_name, c.character_set_name, c.is_default, s.maxlen                            FROM information_schema.collation_character_set_applicability c                            JOIN information_schema.character_sets s ON s.character_set_name = c.character_set_name";
    let rows = match connection.flavour().await? {
        Flavour::MySql => connection.query(SQL).await?,
        Flavour::MariaDb => match connection.query(MARIADB).await {
            Err(e) if e.code() == Some(1054) => connection.query(SQL).await?,
            rows => rows?,
        },
    };
    let collation = |row: &Row| {
        Some(Collation {
            id: u16::try_from(row.u64(0)?).ok()?,
            name: row.string(1),
            charset: row.string(2),
            is_default: row.text(3) == Some("Yes"),
            bytes_per_character: u8::try_from(row.u64(4)?).ok()?,
        })
    };
    Ok(rows.iter().filter_map(collation).collect())
}

/// Collation ids with the names of collation and character set.
#[derive(Clone, Debug, Default)]
pub struct Collations {
    by_id: BTreeMap<u16, (String, String)>,
}

impl Collations {
    /// Reads them from a server.
    pub async fn read(connection: &mut Connection) -> Result<Self> {
        const SQL: &str =
            "SELECT id, collation_name, character_set_name FROM information_schema.collations WHERE id IS NOT NULL";
        let rows = connection.query(SQL).await?;
        let entry = |row: &Row| Some((u16::try_from(row.u64(0)?).ok()?, (row.string(1), row.string(2))));
        Ok(Self { by_id: rows.iter().filter_map(entry).collect() })
    }

    /// Name of a collation.
    pub fn name(&self, id: u16) -> Option<&str> {
        self.by_id.get(&id).map(|(name, _)| name.as_str())
    }

    /// Name of a collation's character set.
    pub fn charset(&self, id: u16) -> Option<&str> {
        self.by_id.get(&id).map(|(_, charset)| charset.as_str())
    }

    /// The id of a collation.
    pub fn id(&self, name: &str) -> Option<u16> {
        self.by_id.iter().find(|(_, (n, _))| n == name).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binlogs_are_kept_for_seconds_for_days_or_for_ever() {
        let of = |pairs: &[(&str, &str)]| {
            retention(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[("binlog_expire_logs_seconds", "3600"), ("expire_logs_days", "0.04")]), Some(3_600));
        assert_eq!(of(&[("expire_logs_days", "7")]), Some(7 * 86_400));
        assert_eq!(of(&[("binlog_expire_logs_seconds", "0")]), None);
        let off = ("binlog_expire_logs_auto_purge", "OFF");
        assert_eq!(of(&[("binlog_expire_logs_seconds", "3600"), off]), None);
    }

    #[test]
    fn a_made_uuid_tells_servers_apart() {
        let of = |parts: [&str; 2]| made_uuid(&parts.map(str::to_owned));
        assert_eq!(of(["a", "1"]), of(["a", "1"]));
        assert_ne!(of(["a", "1"]), of(["a1", ""]));
        assert_eq!(of(["a", "1"]).get_version_num(), 8);
    }
}

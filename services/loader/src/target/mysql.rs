//! MySQL and MariaDB as a target.

use std::collections::BTreeSet;
use std::time::Duration;

use lutra_change::{Number, TableName};
use lutra_mysql::catalogue::{self, TableDefinition};
use lutra_mysql::sql::quote_identifier;
use lutra_mysql::{ConnectOptions, Connection, Error, ErrorKind, Flavour, Row};
use tokio::sync::{Mutex, OnceCell};

use super::{Capabilities, PacketError, Target, TargetConnection, Warning};
use crate::blocked::replay::ParkedItem;
use crate::blocked::{ReadyGroup, Standing, sql as blocked};
use crate::catalogue::{TargetColumn, TargetKey, TargetTable};
use crate::copying::Copies;
use crate::decisions;
use crate::error::LoadError;
use crate::planner::SQL_MODE;
use crate::slot::{self, Owner, Slot};

/// How long a statement of a batch may wait for a lock: other sessions' locks, and batches behind it that are told to
/// give way long before.
const LOCK_WAIT_SECONDS: u32 = 5;
/// A statement without answer for so long is taken for lost.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// DDL may rebuild a table.
const DDL_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// A MySQL or MariaDB target: servers that fail over to each other.
#[derive(Debug)]
pub struct MySqlTarget {
    servers: Vec<ConnectOptions>,
    /// For catalogue queries.
    reader: Mutex<Option<Connection>>,
    /// Engines with transactions, in lower case; asked for once.
    transactional: OnceCell<BTreeSet<String>>,
}

impl MySqlTarget {
    /// The target behind these addresses; the first that answers and takes writes is used.
    pub fn new(servers: Vec<ConnectOptions>) -> Self {
        Self { servers, reader: Mutex::new(None), transactional: OnceCell::new() }
    }

    async fn read(&self, operation: &'static str, sql: &str) -> Result<Vec<Row>, LoadError> {
        let mut reader = self.reader.lock().await;
        let connection = match &mut *reader {
            Some(connection) if !connection.is_disconnected() => connection,
            gone => gone.insert(self.open().await?),
        };
        connection.query(sql).await.map_err(failed(operation))
    }

    async fn open(&self) -> Result<Connection, LoadError> {
        let mut fault = None;
        for server in &self.servers {
            match open_one(server).await {
                Ok(connection) => return Ok(connection),
                Err(error) => fault = Some(error),
            }
        }
        Err(fault.unwrap_or(LoadError::Unfit { reason: "no server is named".to_owned() }))
    }
}

async fn open_one(server: &ConnectOptions) -> Result<Connection, LoadError> {
    let failed = |operation| move |source| LoadError::Target { operation, source };
    let mut options = server.clone().with_found_rows();
    options.read_timeout = READ_TIMEOUT;
    options.init = vec![
        format!(
            "SET SESSION sql_mode='{SQL_MODE}', time_zone='+00:00', innodb_lock_wait_timeout={LOCK_WAIT_SECONDS}, autocommit=1, max_error_count=1024, {}",
            catalogue::TRIGGER_GUARD_MARK
        ),
        "SET NAMES utf8mb4".to_owned(),
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
    ];
    let mut connection = Connection::connect(&options).await.map_err(failed("connecting"))?;
    let read_only = connection.query_text("SELECT @@global.read_only").await.map_err(failed("asking for read_only"))?;
    if read_only.as_deref() == Some("1") {
        return Err(LoadError::Target {
            operation: "connecting for writing",
            source: Error::Server {
                operation: "SELECT @@global.read_only",
                code: 1290,
                state: "HY000".to_owned(),
                message: format!("{} is read-only", connection.address()),
            },
        });
    }
    Ok(connection)
}

fn failed(operation: &'static str) -> impl Fn(Error) -> LoadError {
    move |source| LoadError::Target { operation, source }
}

impl Target for MySqlTarget {
    type Connection = MySqlConnection;

    async fn take(&self, owner: &Owner, slots: u16) -> Result<(Vec<Slot>, Capabilities), LoadError> {
        let mut connection = self.open().await?;
        create_tables(&mut connection).await?;
        hurry(&mut connection, owner).await?;
        let taken = take(&mut connection, owner, slots).await;
        if taken.is_err() {
            let _ = connection.rollback().await;
        }
        taken?;
        let rows = read_slots(&mut connection, owner).await?;
        let capabilities = probe(&mut connection).await?;
        *self.reader.lock().await = Some(connection);
        Ok((rows, capabilities))
    }

    async fn copies(&self, owner: &Owner) -> Result<Copies, LoadError> {
        let reading = failed("reading lutra.load");
        let mut reader = self.reader.lock().await;
        let connection = match &mut *reader {
            Some(connection) if !connection.is_disconnected() => connection,
            gone => gone.insert(self.open().await?),
        };
        const PRESENT: &str =
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'lutra' AND table_name = 'chunk'";
        if connection.query_text(PRESENT).await.map_err(&reading)?.as_deref() != Some("1") {
            return Ok(Copies::default());
        }
        let [tables, chunks] = Copies::select(&owner.task);
        let tables = connection.query(tables).await.map_err(&reading)?;
        let chunks = connection.query(chunks).await.map_err(&reading)?;
        Ok(Copies::parse(&tables, &chunks))
    }

    async fn standing(&self, task: &str) -> Result<Standing, LoadError> {
        let [tables, parked] = blocked::select(task);
        let tables = self.read("reading lutra.stopped", &tables).await?;
        Ok(blocked::standing(&tables, &self.read("reading lutra.parked", &parked).await?))
    }

    async fn ready(&self, task: &str) -> Result<Vec<ReadyGroup>, LoadError> {
        Ok(blocked::ready(&self.read("asking for decisions in lutra.ddl", &blocked::select_ready(task)).await?))
    }

    async fn parked(&self, task: &str, group: Number, limit: usize) -> Result<Vec<ParkedItem>, LoadError> {
        let rows = self.read("reading lutra.parked", &blocked::select_items(task, group, limit)).await?;
        Ok(rows.iter().map(ParkedItem::of).collect())
    }

    async fn connect(&self, owner: &Owner, slot: u16) -> Result<MySqlConnection, LoadError> {
        let mut connection = self.open().await?;
        let sql = format!("SELECT GET_LOCK('{}', 10)", owner.lock_name(slot));
        let got = connection.query_text(&sql).await.map_err(failed("taking the slot's lock"))?;
        if got.as_deref() != Some("1") {
            return Err(LoadError::Target {
                operation: "taking the slot's lock",
                source: Error::Server {
                    operation: "GET_LOCK",
                    code: 1205,
                    state: "HY000".to_owned(),
                    message: "another connection holds it".to_owned(),
                },
            });
        }
        Ok(MySqlConnection { connection })
    }

    async fn table(&self, name: &TableName) -> Result<Option<TargetTable>, LoadError> {
        let mut reader = self.reader.lock().await;
        let connection = match &mut *reader {
            Some(connection) if !connection.is_disconnected() => connection,
            gone => gone.insert(self.open().await?),
        };
        let definition =
            catalogue::table_definition(connection, name).await.map_err(failed("reading the catalogue"))?;
        let flavour = connection.flavour().await.map_err(failed("asking for the server's version"))?;
        if definition.is_none()
            && flavour.is_mariadb()
            && catalogue::is_versioned(connection, name).await.map_err(failed("reading the catalogue"))?
        {
            const REASON: &str = "it is system-versioned: its old rows would bear the target's times, and deleted ones come as \
                                  changed ones. Such tables are not carried: leave it out with `exclude` in the source";
            return Err(LoadError::Mapping { table: name.clone(), reason: REASON.to_owned() });
        }
        let Some(definition) = definition else { return Ok(None) };
        let engines = self.transactional.get_or_try_init(|| transactional_engines(connection));
        let transactional = engines.await?.contains(&definition.engine.to_ascii_lowercase());
        let mut table = TargetTable { transactional, ..describe(definition, flavour) };
        if table.computed_in_zone.is_some() {
            let zone = connection.query_text("SELECT @@system_time_zone").await;
            table.system_is_utc =
                matches!(zone.map_err(failed("asking for the time zone"))?.as_deref(), Some("UTC" | "GMT"));
        }
        Ok(Some(table))
    }
}

/// Makes Lutra's tables where the account may; where it may not, they must be there.
async fn create_tables(connection: &mut Connection) -> Result<(), LoadError> {
    const PRESENT: &str = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'lutra' \
                           AND table_name IN ('slot', 'ddl', 'dead_letter', 'stopped', 'parked')";
    if connection.query_text(PRESENT).await.map_err(failed("looking for lutra.slot"))?.as_deref() == Some("5") {
        return Ok(());
    }
    for statement in slot::CREATE.into_iter().chain(decisions::CREATE).chain(blocked::CREATE) {
        connection.execute(statement).await.map_err(failed("making lutra.slot"))?;
    }
    Ok(())
}

/// Ends connections of an owner before us, so that its open transactions do not keep us waiting. No proof of anything.
async fn hurry(connection: &mut Connection, owner: &Owner) -> Result<(), LoadError> {
    let slots = read_slots(connection, owner).await?;
    if let Some(slot) = slots.iter().find(|s| s.slot == 0 && s.epoch >= owner.epoch) {
        return Err(LoadError::Fenced { task: owner.task.clone(), own: owner.epoch, found: slot.epoch });
    }
    if let Some(slot) = slots.iter().find(|s| !s.cluster.is_empty() && s.cluster != owner.cluster) {
        return Err(LoadError::ForeignCluster {
            task: owner.task.clone(),
            own: owner.cluster.clone(),
            found: slot.cluster.clone(),
        });
    }
    for slot in &slots {
        let sql = format!("SELECT IS_USED_LOCK('{}')", owner.lock_name(slot.slot));
        let holder = connection.query_text(&sql).await.map_err(failed("looking for the owner before"))?;
        if let Some(holder) = holder.and_then(|h| h.parse::<u64>().ok()) {
            // Without the right to do so we wait for its row locks instead.
            if let Err(error) = connection.kill(holder).await {
                tracing::debug!(%error, holder, "the owner before could not be hurried");
            }
        }
    }
    Ok(())
}

/// P5, in one transaction: raise before reading.
async fn take(connection: &mut Connection, owner: &Owner, slots: u16) -> Result<(), LoadError> {
    const RAISE: &str = "raising the epoch in lutra.slot";
    connection.execute("BEGIN").await.map_err(failed(RAISE))?;
    connection.execute(owner.insert_first()).await.map_err(failed(RAISE))?;
    if connection.execute(owner.raise(true)).await.map_err(failed(RAISE))?.rows != 1 {
        let found = read_slots(connection, owner).await?;
        let found = found.first().map_or(owner.epoch, |s| s.epoch);
        return Err(LoadError::Fenced { task: owner.task.clone(), own: owner.epoch, found });
    }
    connection.execute(owner.raise(false)).await.map_err(failed(RAISE))?;
    let present = read_slots(connection, owner).await?;
    let watermark = super::watermark(&present).map_or(0, |s| s.slot);
    let known: BTreeSet<u16> = present.iter().map(|s| s.slot).collect();
    for slot in (0..slots).filter(|s| !known.contains(s)) {
        connection.execute(owner.insert_at_watermark(slot, watermark)).await.map_err(failed("making the slots"))?;
    }
    connection.commit().await.map_err(failed(RAISE))
}

async fn read_slots(connection: &mut Connection, owner: &Owner) -> Result<Vec<Slot>, LoadError> {
    let rows = connection.query(owner.select()).await.map_err(failed("reading lutra.slot"))?;
    rows.iter().map(slot::parse).collect::<Result<_, _>>().map_err(|reason| LoadError::Unfit { reason })
}

/// Whether DDL can be run under a GTID of its own.
async fn probe(connection: &mut Connection) -> Result<Capabilities, LoadError> {
    let flavour = connection.flavour().await.map_err(failed("asking for the server's version"))?;
    if flavour.is_mariadb() {
        return Ok(Capabilities { ddl_by_gtid: false, flavour });
    }
    let mode = connection.query_text("SELECT @@global.gtid_mode").await;
    if !matches!(mode, Ok(Some(mode)) if mode == "ON") {
        return Ok(Capabilities::default());
    }
    let probe = format!("SET SESSION gtid_next='{}:1'", uuid::Uuid::new_v4());
    let allowed = match connection.execute(probe).await {
        Ok(_) => {
            // An owned GTID that is rolled back is given back unused.
            connection.execute("ROLLBACK").await.map_err(failed("probing gtid_next"))?;
            true
        }
        Err(error) if error.kind() == ErrorKind::AccessDenied => false,
        Err(error) => return Err(failed("probing gtid_next")(error)),
    };
    connection.execute("SET SESSION gtid_next='AUTOMATIC'").await.map_err(failed("probing gtid_next"))?;
    Ok(Capabilities { ddl_by_gtid: allowed, flavour })
}

async fn transactional_engines(connection: &mut Connection) -> Result<BTreeSet<String>, LoadError> {
    const SQL: &str = "SELECT LOWER(engine) FROM information_schema.engines WHERE transactions = 'YES'";
    let rows = connection.query(SQL).await.map_err(failed("asking for the engines"))?;
    Ok(rows.iter().map(|row| row.string(0)).collect())
}

/// A stored generated column that depends on a column of that type, be it by way of other generated ones. MariaDB has none
/// that depend on the session.
fn computed_from(table: &TableDefinition, data_type: &str) -> Option<String> {
    let mut found: Vec<&str> =
        table.columns.iter().filter(|c| c.data_type == data_type && !c.generated).map(|c| c.name.as_str()).collect();
    loop {
        let names = |text: &str, name: &str| text.contains(&quote_identifier(name));
        let depends = |text: &str| found.iter().any(|name| names(text, name));
        let next = table
            .columns
            .iter()
            .find(|c| !found.contains(&c.name.as_str()) && c.expression.as_deref().is_some_and(depends))?;
        if next.stored {
            return Some(next.name.clone());
        }
        found.push(&next.name);
    }
}

/// The catalogue's answer in the loader's words.
fn describe(table: TableDefinition, flavour: Flavour) -> TargetTable {
    let columns = table.columns.iter().map(|c| TargetColumn {
        name: c.name.clone(),
        generated: c.generated,
        nullable: c.nullable,
        needs_value: !c.nullable && c.default.is_none() && !c.auto_increment && !c.generated,
        touched_by_updates: c.touched_by_updates,
        data_type: c.data_type.clone(),
        charset: c.charset.clone(),
        collation: c.collation.clone(),
    });
    let keys = table.unique_keys().map(|k| TargetKey {
        name: k.name.clone(),
        columns: k.parts.iter().map(|p| p.column.clone().unwrap_or_default()).collect(),
        plain: k.parts.iter().all(|p| p.column.is_some() && p.prefix.is_none()),
    });
    let parents = table.foreign_keys.iter().map(|f| f.parent.clone());
    let related: BTreeSet<TableName> =
        parents.chain(table.referenced_by.iter().map(|f| f.child.clone())).filter(|n| *n != table.name).collect();
    let session_counts = !flavour.is_mariadb();
    TargetTable {
        computed_in_zone: computed_from(&table, "timestamp").filter(|_| session_counts),
        computed_from_char: computed_from(&table, "char").filter(|_| session_counts),
        system_is_utc: false,
        columns: columns.collect(),
        unique_keys: keys.collect(),
        related: related.into_iter().collect(),
        self_referencing: table.foreign_keys.iter().any(|f| f.parent == table.name),
        triggers: table.triggers.iter().filter(|t| !t.guarded).map(|t| t.name.clone()).collect(),
        name: table.name,
        engine: table.engine,
        transactional: true,
        flavour,
    }
}

/// A writing connection.
#[derive(Debug)]
pub struct MySqlConnection {
    connection: Connection,
}

impl TargetConnection for MySqlConnection {
    async fn run(&mut self, text: &[u8]) -> Result<Vec<u64>, Box<PacketError>> {
        match self.connection.batch(text).await {
            Ok(outcomes) => Ok(outcomes.iter().map(|o| o.rows).collect()),
            Err(failed) => {
                Err(Box::new(PacketError { done: failed.done.iter().map(|o| o.rows).collect(), error: failed.error }))
            }
        }
    }

    async fn run_long(&mut self, text: &[u8]) -> Result<(), Error> {
        self.connection.set_read_timeout(DDL_TIMEOUT);
        let outcome = self.connection.execute(text).await;
        self.connection.set_read_timeout(READ_TIMEOUT);
        outcome.map(drop)
    }

    async fn ask(&mut self, text: &str) -> Result<Option<String>, Error> {
        self.connection.query_text(text).await
    }

    async fn warnings(&mut self) -> Result<Vec<Warning>, Error> {
        let rows = self.connection.query("SHOW WARNINGS").await?;
        // What is but a note is one to a strict session too.
        let warnings = rows.iter().filter(|row| row.text(0) != Some("Note"));
        let code = |text: Option<&str>| text.and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok(warnings.map(|row| Warning { code: code(row.text(1)), message: row.string(2) }).collect())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.connection.commit().await
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.connection.rollback().await
    }
}

//! A source in memory: units go into a log in memory, and a load applies them to a real server.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub)]
// A test that fails shows its panics; a supervisor would add nothing.
#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lutra_change::{
    BinlogPosition, Column, ColumnType, Epoch, Gtid, GtidSet, KeyPart, LogId, Number, Operation, RowFlags,
    SessionContext, TableName, TableSchema, Value,
};
use lutra_loader::error::LoadError;
use lutra_loader::intake::Schemas;
use lutra_loader::load::{Input, LoadPlan, attempt};
use lutra_loader::progress::Progress;
use lutra_loader::scheduler::SchedulerOptions;
use lutra_loader::scheduler::batch::BatchPolicy;
use lutra_loader::target::mysql::MySqlTarget;
use lutra_log::memory::MemoryLog;
use lutra_log::{HeaderDraft, LogWriter, SourceDraft, TransportFactory, WriterOptions};
use lutra_mysql::{ConnectOptions, Connection};
use lutra_wire::{
    ChangesBuilder, Ddl, DdlKind, Fingerprint, Heartbeat, PartEnd, RawBody, RowEncoder, RowSchema, UnitDigest,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub fn options() -> ConnectOptions {
    let url = std::env::var("LUTRA_TARGET_URL").expect("LUTRA_TARGET_URL names the server");
    ConnectOptions::from_url(&url).unwrap()
}

/// A connection to a fresh database.
pub async fn fresh(database: &str) -> Connection {
    let mut connection = Connection::connect(&options()).await.unwrap();
    let sql = format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}; USE {database}");
    connection.batch(sql).await.unwrap();
    connection
}

/// All rows of a query as text.
pub async fn rows(connection: &mut Connection, sql: &str) -> Vec<String> {
    let rows = connection.query(sql).await.unwrap();
    rows.iter()
        .map(|r| (0..r.len()).map(|i| r.text(i).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join(","))
        .collect()
}

#[derive(Clone, Default)]
pub struct KnownSchemas(Arc<std::sync::Mutex<HashMap<Fingerprint, Arc<RowSchema>>>>);

impl Schemas for KnownSchemas {
    async fn get(&self, fingerprint: Fingerprint) -> Result<Arc<RowSchema>, LoadError> {
        Ok(Arc::clone(&self.0.lock().unwrap()[&fingerprint]))
    }
}

pub struct Table {
    pub schema: RowSchema,
    pub encoder: RowEncoder,
}

pub fn int(name: &str) -> Column {
    Column { name: name.to_owned(), column_type: ColumnType::Int { unsigned: false }, nullable: true, invisible: false }
}

pub fn text(name: &str) -> Column {
    Column { column_type: ColumnType::VarChar { bytes: 255, collation: 255 }, ..int(name) }
}

pub fn typed(name: &str, column_type: ColumnType) -> Column {
    Column { column_type, ..int(name) }
}

pub struct Source {
    pub log: MemoryLog,
    pub log_id: LogId,
    pub schemas: KnownSchemas,
    pub writer: LogWriter<MemoryLog>,
    pub gtid_set: GtidSet,
    pub uuid: Uuid,
    pub last: Number,
    flags: RowFlags,
}

pub type Change<'a> = (&'a Table, Option<Vec<Value<'a>>>, Option<Vec<Value<'a>>>);

impl Source {
    pub async fn new() -> Self {
        let (log, log_id) = (MemoryLog::new(), LogId::random());
        let options = WriterOptions {
            log_id,
            cluster: "test".to_owned(),
            rules_version: 0,
            begun: false,
            bookmarks: Vec::new(),
            max_in_flight_bytes: 1 << 30,
        };
        let (writer, _) = LogWriter::start(&log, options, Epoch::new(1, 1)).await.unwrap();
        let mut source = Self {
            log,
            log_id,
            schemas: KnownSchemas::default(),
            writer,
            gtid_set: GtidSet::new(),
            uuid: Uuid::new_v4(),
            last: Number::ZERO,
            flags: RowFlags(0),
        };
        source.heartbeat().await;
        source
    }

    pub fn set_flags(&mut self, flags: u16) {
        self.flags = RowFlags(flags);
    }

    pub fn table(&self, database: &str, name: &str, columns: Vec<Column>, key: &[usize]) -> Table {
        let primary_key = key.iter().map(|c| KeyPart { column: *c, prefix: None }).collect();
        let table = TableSchema { name: TableName::new(database, name), columns, primary_key };
        let schema = RowSchema::from_table(&table).unwrap();
        self.schemas.0.lock().unwrap().insert(schema.fingerprint(), Arc::new(schema.clone()));
        Table { encoder: RowEncoder::new(&schema), schema }
    }

    fn next_gtid(&mut self, number: Number) -> Gtid {
        let gtid = Gtid::new(self.uuid, number.sequence);
        self.gtid_set.insert(&gtid);
        gtid
    }

    async fn append(
        &mut self,
        number: Number,
        part: (u32, PartEnd),
        body: &RawBody,
        gtid: Option<Gtid>,
        digest: Option<UnitDigest>,
    ) {
        let last = part.1 == PartEnd::Commit;
        let draft = HeaderDraft {
            number,
            previous: self.last,
            part: part.0,
            end: part.1,
            source: last.then(|| SourceDraft {
                server_uuid: self.uuid,
                position: BinlogPosition::new("binlog.000001", number.sequence * 100),
                gtid,
                gtid_set: &self.gtid_set,
                added: None,
                open_xa: Vec::new(),
                definitions: None,
            }),
            committed_at: 1_700_000_000_000_000,
            read_at: 1_700_000_000_000_000,
            input: None,
            origins: Vec::new(),
            totals: digest.map(|d| d.totals()),
        };
        self.writer.append(draft, body, None).await.unwrap();
        if last {
            self.last = number;
        }
    }

    pub async fn heartbeat(&mut self) {
        let number = self.last.next_sub();
        self.append(
            number,
            (1, PartEnd::Commit),
            &RawBody::heartbeat(&Heartbeat { at: 0, clock_offset: 0 }),
            None,
            None,
        )
        .await;
        self.writer.flush().await.unwrap();
    }

    pub async fn transaction(&mut self, changes: &[Change<'_>]) {
        self.parts(&[changes]).await;
    }

    pub async fn parts(&mut self, parts: &[&[Change<'_>]]) {
        let number = self.last.next_sequence();
        let gtid = self.next_gtid(number);
        let mut digest = UnitDigest::new();
        for (at, changes) in parts.iter().enumerate() {
            let mut builder = ChangesBuilder::new();
            for (table, before, after) in *changes {
                let index = builder.table(table.schema.fingerprint(), &table.schema.table().name);
                let (before, after) = (datum(table, before.as_deref()), datum(table, after.as_deref()));
                let operation = match (&before, &after) {
                    (None, _) => Operation::Insert,
                    (_, None) => Operation::Delete,
                    _ => Operation::Update,
                };
                digest.update(before.as_deref(), after.as_deref());
                builder.push(operation, self.flags, index, before.as_deref(), after.as_deref(), None, None);
            }
            let last = at + 1 == parts.len();
            let end = if last { PartEnd::Commit } else { PartEnd::More };
            let part = u32::try_from(at + 1).unwrap();
            let (gtid, digest) = if last { (Some(gtid.clone()), Some(digest)) } else { (None, None) };
            self.append(number, (part, end), &builder.finish(), gtid, digest).await;
        }
    }

    pub async fn ddl(&mut self, statement: &str, kind: DdlKind, tables: &[TableName]) {
        let number = self.last.next_sequence();
        let gtid = self.next_gtid(number);
        let ddl = Ddl {
            statement: statement.as_bytes().to_vec().into(),
            database: String::new(),
            kind,
            tables: tables.to_vec(),
            context: SessionContext { sql_mode: Some(0), ..SessionContext::default() },
        };
        self.append(number, (1, PartEnd::Commit), &RawBody::ddl(&ddl), Some(gtid), None).await;
    }

    pub async fn flush(&mut self) {
        self.writer.flush().await.unwrap();
    }
}

fn datum(table: &Table, values: Option<&[Value<'_>]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (column, value) in values?.iter().enumerate() {
        table.encoder.write(column, *value, &mut out).unwrap();
    }
    Some(out)
}

pub struct Load {
    pub progress: watch::Receiver<Progress>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), LoadError>>,
}

pub struct LoadSettings {
    pub pipeline: &'static str,
    pub epoch: Epoch,
    pub connections: u16,
    pub rows: usize,
    pub compare_image: bool,
}

impl LoadSettings {
    pub fn new(pipeline: &'static str, term: u64) -> Self {
        Self { pipeline, epoch: Epoch::new(term, 1), connections: 4, rows: 1_000, compare_image: false }
    }
}

/// Forgets what the target knows of a pipeline.
pub async fn forget(connection: &mut Connection, pipeline: &str) {
    // The table may not be there yet.
    let _ = connection.execute(format!("DELETE FROM lutra.slot WHERE task = 'load/{pipeline}'")).await;
}

pub async fn start(source: &Source, settings: LoadSettings) -> Load {
    let (progress, watched) = watch::channel(Progress::default());
    let (gaps, _) = watch::channel(None);
    let stop = CancellationToken::new();
    let plan = LoadPlan {
        pipeline: settings.pipeline.to_owned(),
        task: format!("load/{}", settings.pipeline),
        cluster: "test".to_owned(),
        log_id: source.log_id,
        adopted: None,
        reload: None,
        gtid: true,
        bookmarks: Vec::new(),
        connections: settings.connections,
        parked_bytes: 1 << 20,
        scheduler: SchedulerOptions {
            policy: BatchPolicy { rows: settings.rows, bytes: 4 << 20, compare_image: settings.compare_image },
            batch_age: Duration::ZERO,
            ignore_ddl: false,
            on_conflict: lutra_spec::OnConflict::Halt,
            policies: lutra_loader::decisions::Policies::default(),
            source: "memory".to_owned(),
        },
    };
    let input = Input { transport: source.log.reader().await.unwrap(), schemas: source.schemas.clone(), gaps };
    let target = Arc::new(MySqlTarget::new(vec![options()]));
    let run = attempt(target, input, plan, settings.epoch, progress, stop.clone());
    Load { progress: watched, stop, task: tokio::spawn(run) }
}

impl Load {
    /// Waits until everything in the set is applied.
    pub async fn reach(&mut self, set: &GtidSet) {
        let last_seen = self.progress.clone();
        let reached = self.progress.wait_for(|p| set.is_subset(&p.gtid_set));
        tokio::select! {
            reached = tokio::time::timeout(Duration::from_secs(60), reached) => {
                let reached = reached.is_ok_and(|r| r.is_ok());
                assert!(reached, "not reached: {:?}", last_seen.borrow());
            }
            ended = &mut self.task => panic!("the load ended: {}", describe(ended.unwrap())),
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// The error that ends it.
    pub async fn fails(self) -> LoadError {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("the load goes on");
        ended.unwrap().expect_err("the load ended well")
    }
}

pub fn describe(ended: Result<(), LoadError>) -> String {
    match ended {
        Ok(()) => "well".to_owned(),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}

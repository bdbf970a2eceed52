//! A source database, a log of its own, and a reader of that log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lutra_change::{Epoch, GtidSet, LogId, Number, Operation, TaskId, TaskKind, Value};
use lutra_coordination::{LogRef, ObservedState};
use lutra_extractor::config::ExtractConfig;
use lutra_extractor::control::Control;
use lutra_extractor::error::ExtractError;
use lutra_extractor::extract::{End, Extraction, chain};
use lutra_extractor::status::Board;
use lutra_kafka::{KafkaAdmin, KafkaConfig, KafkaLog, LogTopic, SchemaTopic};
use lutra_log::{Bookmark, Delivered, LogReader, ReadFrom, ReaderStart, TransportFactory};
use lutra_mysql::{ConnectOptions, Connection};
use lutra_runtime::CancellationToken;
use lutra_spec::{SourceSpec, SourceStart};
use lutra_wire::RowDecoder;
use lutra_wire::record::{Body, BodyKind, DdlKind, GtidState, PartEnd, UnitTotals};
use tokio::task::JoinHandle;

/// A coordination for one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local {
    attempts: Arc<AtomicU32>,
    bookmarks: Arc<Mutex<Vec<Bookmark>>>,
    begun: Arc<Mutex<bool>>,
}

impl Control for Local {
    fn next_attempt(&self) -> Epoch {
        Epoch::new(1, self.attempts.fetch_add(1, Ordering::SeqCst) + 1)
    }

    async fn bookmarks(&self) -> Vec<Bookmark> {
        self.bookmarks.lock().unwrap().clone()
    }

    fn publish_bookmark(&self, bookmark: &Bookmark) {
        self.bookmarks.lock().unwrap().push(bookmark.clone());
    }

    fn mark_begun(&self) {
        *self.begun.lock().unwrap() = true;
    }

    fn set_state(&self, _: ObservedState, _: serde_json::Value) {}
}

/// A database at the source and a log for it.
pub(crate) struct Scene {
    pub(crate) source: Connection,
    pub(crate) options: ConnectOptions,
    kafka: KafkaConfig,
    log: LogRef,
    control: Local,
    database: String,
    pub(crate) board: Board,
}

/// A row change: operation, table, values before and after.
pub(crate) type RowSeen = (Operation, String, Option<String>, Option<String>);

/// A unit as it was read back.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) number: Number,
    pub(crate) previous: Number,
    pub(crate) gtid: Option<String>,
    pub(crate) totals: Option<UnitTotals>,
    pub(crate) rows: Vec<RowSeen>,
    pub(crate) parts: Vec<usize>,
    pub(crate) origins: Vec<String>,
    pub(crate) ddl: Option<(DdlKind, Vec<String>, String)>,
}

/// A moving heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) number: Number,
    pub(crate) gtid_set: GtidSet,
    pub(crate) kind: BodyKind,
    pub(crate) end: PartEnd,
}

/// A running extraction.
pub(crate) struct Following {
    stop: CancellationToken,
    task: JoinHandle<Result<End, ExtractError>>,
}

impl Following {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let end = tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it drains").unwrap();
        assert_eq!(end.map_err(|e| chain(&e)), Ok(End::Drained));
    }

    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn failure(self) -> ExtractError {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it ends").unwrap().expect_err("it fails")
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

impl Scene {
    pub(crate) async fn new(database: &str) -> Self {
        let options = ConnectOptions::from_url(&env("LUTRA_SOURCE_URL")).unwrap();
        let mut source = Connection::connect(&options).await.unwrap();
        source
            .batch(format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}; USE {database}"))
            .await
            .unwrap();
        let kafka = KafkaConfig::new(env("LUTRA_KAFKA"));
        let admin = KafkaAdmin::connect(&kafka).await.unwrap();
        let log_id = LogId::random();
        let (topic, schemas_topic) = (format!("{database}-{log_id}.log"), format!("{database}-{log_id}.schemas"));
        admin.create_log_topic(&topic, &LogTopic::default()).await.unwrap();
        admin.create_schema_topic(&schemas_topic, 1).await.unwrap();
        let log = LogRef { topic, log_id, schemas_topic, writer: TaskId::new(TaskKind::Extract, database) };
        Self {
            source,
            options,
            kafka,
            log,
            control: Local::default(),
            database: database.to_owned(),
            board: Board::default(),
        }
    }

    pub(crate) async fn sql(&mut self, sql: &str) {
        self.source.execute(sql).await.unwrap();
    }

    pub(crate) async fn batch(&mut self, sql: &str) {
        self.source.batch(sql).await.unwrap();
    }

    pub(crate) async fn executed(&mut self) -> GtidSet {
        self.source.query_text("SELECT @@gtid_executed").await.unwrap().unwrap().parse().unwrap()
    }

    pub(crate) fn config(&self, tables: &[&str]) -> ExtractConfig {
        let spec = serde_json::json!({
            "servers": [self.options.address()], "user": self.options.user, "tables": tables, "accept_weak_durability": true,
        });
        let mut spec: SourceSpec = serde_json::from_value(spec).unwrap();
        spec.start = SourceStart::Latest;
        ExtractConfig {
            source: self.database.clone(),
            servers: vec![self.options.clone()],
            server_id: 500_000_000 + u32::from(self.database.bytes().map(u16::from).sum::<u16>()),
            spec,
            log: self.log.clone(),
            cluster: "test".to_owned(),
            begun: *self.control.begun.lock().unwrap(),
            adopt: None,
            heartbeat: Duration::from_millis(500),
        }
    }

    pub(crate) async fn follow(&self, tables: &[&str]) -> Following {
        self.follow_as(self.config(tables)).await
    }

    pub(crate) async fn follow_as(&self, config: ExtractConfig) -> Following {
        let following = self.start(config);
        // Begun: what is done at the source from here on is captured.
        for _ in 0..200 {
            if *self.control.begun.lock().unwrap() || following.task.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        following
    }

    pub(crate) fn start(&self, config: ExtractConfig) -> Following {
        let stop = CancellationToken::new();
        let (kafka, control, board) = (self.kafka.clone(), self.control.clone(), self.board.clone());
        let token = stop.clone();
        #[allow(clippy::disallowed_methods, reason = "the test is its own supervisor")]
        let task = tokio::task::spawn(async move {
            let schemas = SchemaTopic::open(&kafka, &config.log.schemas_topic).await.unwrap();
            let log = KafkaLog::new(&kafka, &config.log.topic);
            let extraction = Extraction {
                config,
                log: &log,
                schemas: &schemas,
                control: &control,
                board,
                stop: token,
                traced: false,
            };
            Box::pin(extraction.run()).await
        });
        Following { stop, task }
    }

    async fn reader(&self) -> LogReader<<KafkaLog as TransportFactory>::Read> {
        let transport = KafkaLog::new(&self.kafka, &self.log.topic).reader().await.unwrap();
        let start = ReaderStart { log_id: self.log.log_id, from: ReadFrom::Beginning, bookmarks: Vec::new() };
        LogReader::open(transport, start).await.unwrap()
    }

    /// Reads that many units that are not heartbeats, from the beginning.
    pub(crate) async fn read(&self, count: u64) -> Vec<Seen> {
        let mut seen = Vec::new();
        let done = tokio::time::timeout(Duration::from_secs(40), self.read_into(count, &mut seen)).await;
        assert!(done.is_ok(), "only {} units came: {:?}", seen.len(), seen.last());
        seen
    }

    async fn read_into(&self, count: u64, seen: &mut Vec<Seen>) {
        let mut reader = self.reader().await;
        let schemas = SchemaTopic::open(&self.kafka, &self.log.schemas_topic).await.unwrap();
        let mut decoders = HashMap::new();
        let (mut rows, mut parts) = (Vec::new(), Vec::new());
        while (seen.len() as u64) < count {
            let part = match reader.next().await.unwrap() {
                Delivered::Part(part) => part,
                Delivered::Discarded => {
                    rows.clear();
                    parts.clear();
                    continue;
                }
                Delivered::Gap { expected, found, .. } => panic!("gap: {expected} {found}"),
                _ => continue,
            };
            if part.header.part == 1 {
                rows.clear();
                parts.clear();
            }
            let mut ddl = None;
            match part.body.decode().unwrap() {
                Body::Changes(changes) => {
                    parts.push(part.body.len());
                    for row in &changes.rows {
                        let table = &changes.tables[row.table as usize];
                        let schema = schemas.get(table.fingerprint).await.unwrap();
                        let decoder = &*decoders.entry(table.fingerprint).or_insert_with(|| RowDecoder::new(&schema));
                        let show = |image: &Option<bytes::Bytes>| image.as_ref().map(|i| show(decoder, i));
                        rows.push((row.operation, table.name.table.clone(), show(&row.before), show(&row.after)));
                    }
                }
                Body::Ddl(statement) => {
                    let tables = statement.tables.iter().map(ToString::to_string).collect();
                    ddl = Some((statement.kind, tables, String::from_utf8_lossy(&statement.statement).into_owned()));
                }
                _ => continue,
            }
            if part.header.end == PartEnd::Commit {
                seen.push(Seen {
                    number: part.header.number,
                    previous: part.header.previous,
                    gtid: part.header.source.as_ref().and_then(|s| s.gtid.as_ref()).map(ToString::to_string),
                    totals: part.header.totals,
                    origins: part.header.origins.clone(),
                    rows: std::mem::take(&mut rows),
                    parts: std::mem::take(&mut parts),
                    ddl,
                });
            }
        }
    }

    /// Waits for a moving heartbeat like that.
    pub(crate) async fn wait_for_heartbeat(&self, wanted: impl Fn(&Moved) -> bool) -> Moved {
        let mut reader = self.reader().await;
        let found = async {
            loop {
                if let Delivered::Part(part) = reader.next().await.unwrap()
                    && part.body.kind() == BodyKind::Heartbeat
                    && let Some(source) = &part.header.source
                    && let GtidState::Whole(gtid_set) = &source.gtid_set
                {
                    let moved = Moved {
                        number: part.header.number,
                        gtid_set: gtid_set.clone(),
                        kind: part.body.kind(),
                        end: part.header.end,
                    };
                    if wanted(&moved) {
                        return moved;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("a heartbeat moves")
    }
}

fn show(decoder: &RowDecoder, datum: &[u8]) -> String {
    let mut values = Vec::new();
    let text = |value: Value<'_>| match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        other => format!("{other:?}"),
    };
    decoder.decode(datum, |_, value| values.push(text(value))).unwrap();
    values.join(",")
}

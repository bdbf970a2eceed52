//! `lutra log tail`: an ordered log, record by record, for people.

use std::collections::VecDeque;

use lutra_change::{Epoch, Operation};
use lutra_kafka::{KafkaConfig, KafkaLog, SchemaTopic};
use lutra_log::{ReadTransport, StoredRecord, TransportError, TransportFactory};
use lutra_wire::record::{Body, BodyKind, Changes, Header, PartEnd, Record};
use serde_json::{Value, json};

use super::keys::Keys;
use crate::arguments::TailArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// Keys of one table and operation that are printed for people; `--json` prints all.
const KEYS_SHOWN: usize = 3;

pub(super) async fn run(client: &Client, arguments: &TailArguments, output: &Output) -> Result<(), CliError> {
    let log = client.get(&format!("/v1/logs/{}", arguments.name)).await?;
    let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or_default();
    let brokers = arguments.kafka.clone().unwrap_or_else(|| text("kafka").to_owned());
    let config = KafkaConfig { brokers: brokers.clone(), properties: properties(&arguments.kafka_properties)? };
    let fault = |error: TransportError| CliError::Kafka { brokers: brokers.clone(), source: Box::new(error) };
    let mut reader = KafkaLog::new(&config, text("topic")).reader().await.map_err(fault)?;
    let (first, end) = reader.bounds().await.map_err(fault)?;
    let from = match &arguments.from {
        None => newest(&mut reader, arguments, first, end).await.map_err(fault)?,
        Some(place) => beginning(place, first, end)?,
    };
    let schemas = SchemaTopic::open(&config, text("schemas_topic")).await;
    let schemas = schemas.map_err(|error| CliError::Kafka { brokers: brokers.clone(), source: Box::new(error) })?;
    let mut printer = Printer {
        output,
        keys: Keys::new(schemas),
        heartbeats: arguments.heartbeats,
        in_force: None,
        log_id: text("log_id").to_owned(),
    };
    if from >= end && !arguments.follow {
        return Ok(());
    }
    reader.seek(from).await.map_err(fault)?;
    loop {
        let record = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            record = reader.next() => record.map_err(fault)?,
        };
        let last = record.offset + 1 >= end;
        printer.print(&record).await;
        if last && !arguments.follow {
            return Ok(());
        }
    }
}

fn properties(pairs: &[String]) -> Result<std::collections::BTreeMap<String, String>, CliError> {
    let split = |pair: &String| {
        let (key, value) = pair.split_once('=').ok_or_else(|| CliError::input("--kafka-property must be KEY=VALUE"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    pairs.iter().map(split).collect()
}

/// Where the newest records begin that are to be printed. An idle log is full of heartbeats: looks further and further
/// back until there are enough others.
async fn newest(
    reader: &mut impl ReadTransport,
    arguments: &TailArguments,
    first: i64,
    end: i64,
) -> Result<i64, TransportError> {
    let wanted = usize::try_from(arguments.last.max(1)).unwrap_or(usize::MAX);
    let mut back = i64::from(arguments.last.max(1)) * 4;
    loop {
        let from = end.saturating_sub(back).max(first);
        let mut found = VecDeque::new();
        reader.seek(from).await?;
        let mut at = from;
        while at < end {
            let record = reader.next().await?;
            at = record.offset + 1;
            if arguments.heartbeats || !is_heartbeat(&record) {
                found.push_back(record.offset);
                if found.len() > wanted {
                    found.pop_front();
                }
            }
        }
        match found.front() {
            Some(offset) if found.len() == wanted || from == first => return Ok(*offset),
            None if from == first => return Ok(end),
            _ => back = back.saturating_mul(8),
        }
    }
}

fn is_heartbeat(stored: &StoredRecord) -> bool {
    Record::decode(&stored.value).is_ok_and(|record| record.body.kind() == BodyKind::Heartbeat)
}

fn beginning(place: &str, first: i64, end: i64) -> Result<i64, CliError> {
    match place {
        "beginning" => Ok(first),
        "end" => Ok(end),
        text => {
            let offset = text.parse::<i64>().ok().filter(|o| (first..=end).contains(o));
            offset.ok_or_else(|| {
                CliError::input(format!("--from {text:?} must be beginning, end, or an offset from {first} to {end}"))
            })
        }
    }
}

struct Printer<'o> {
    output: &'o Output,
    keys: Keys,
    heartbeats: bool,
    /// The highest epoch whose start was seen; before the first one nothing is known.
    in_force: Option<Epoch>,
    log_id: String,
}

impl Printer<'_> {
    async fn print(&mut self, stored: &StoredRecord) {
        let record = match Record::decode(&stored.value) {
            Ok(record) => record,
            Err(error) => {
                self.line(
                    &json!({"offset": stored.offset, "error": error.to_string()}),
                    format!("{:>10}  cannot be read: {error}", stored.offset),
                );
                return;
            }
        };
        let kind = record.body.kind();
        if kind == BodyKind::EpochStart {
            self.in_force = self.in_force.max(Some(record.header.epoch));
        }
        if kind == BodyKind::Heartbeat && !self.heartbeats {
            return;
        }
        let void = self.in_force.is_some_and(|epoch| epoch != record.header.epoch)
            || record.header.log_id.to_string() != self.log_id;
        let body = record.body.decode();
        let mut value = described(stored, &record.header, kind, void);
        let summary = match &body {
            Ok(body) => self.contents(body, &mut value).await,
            Err(error) => format!("cannot be read: {error}"),
        };
        let people = self.people(stored, &record.header, void, &summary);
        self.line(&value, people);
    }

    fn people(&self, stored: &StoredRecord, header: &Header, void: bool, summary: &str) -> String {
        let end = match header.end {
            PartEnd::More => "…",
            PartEnd::Commit => "",
            PartEnd::Abort => " aborted",
        };
        let part = if header.part == 1 && header.end == PartEnd::Commit {
            String::new()
        } else {
            format!(" part {}{end}", header.part)
        };
        let gtid = header.source.as_ref().and_then(|s| s.gtid.as_ref()).map(|g| format!("  {g}")).unwrap_or_default();
        let void = if void { "  VOID" } else { "" };
        format!("{:>10}  {}  #{}{part}{gtid}{void}  {summary}", stored.offset, time(stored.appended_at), header.number)
    }

    fn line(&self, value: &Value, text: String) {
        if self.output.is_json() { self.output.json(value) } else { self.output.text(text) }
    }
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |t| format!("{t:.3}"))
}

fn described(stored: &StoredRecord, header: &Header, kind: BodyKind, void: bool) -> Value {
    let source = header.source.as_ref();
    json!({
        "offset": stored.offset,
        "appended_at": stored.appended_at,
        "kind": word(kind),
        "epoch": header.epoch.to_string(),
        "number": header.number.to_string(),
        "previous": header.previous.to_string(),
        "part": header.part,
        "end": match header.end { PartEnd::More => "more", PartEnd::Commit => "commit", PartEnd::Abort => "abort" },
        "void": void,
        "gtid": source.and_then(|s| s.gtid.as_ref()).map(ToString::to_string),
        "position": source.map(|s| s.position.to_string()),
        "committed_at": header.committed_at,
        "origins": header.origins,
        "totals": header.totals.map(|t| json!({"rows": t.rows, "bytes": t.bytes, "crc32c": t.crc32c})),
    })
}

fn word(kind: BodyKind) -> &'static str {
    match kind {
        BodyKind::Changes => "changes",
        BodyKind::Ddl => "ddl",
        BodyKind::Chunk => "chunk",
        BodyKind::Heartbeat => "heartbeat",
        BodyKind::EpochStart => "epoch_start",
        BodyKind::XaPrepare => "xa_prepare",
        BodyKind::XaDecision => "xa_decision",
        BodyKind::Fragment => "fragment",
    }
}

impl Printer<'_> {
    /// What a body says: for programs into `value`, for people as the result.
    async fn contents(&mut self, body: &Body, value: &mut Value) -> String {
        match body {
            Body::Changes(changes) => self.rows(changes, value).await,
            Body::Chunk(chunk) => {
                let rows = self.rows(&chunk.changes, value).await;
                format!("chunk {} for {}: {rows}", chunk.id, chunk.addressee)
            }
            Body::XaPrepare(prepare) => format!("XA prepare: {}", self.rows(&prepare.changes, value).await),
            Body::XaDecision(decision) => {
                value["commit"] = Value::from(decision.commit);
                format!("XA {}", if decision.commit { "commit" } else { "rollback" })
            }
            Body::Fragment(piece) => {
                value["at"] = Value::from(piece.at);
                value["total"] = Value::from(piece.total);
                format!(
                    "piece of a row: bytes {} to {} of {}",
                    piece.at,
                    piece.at + piece.bytes.len() as u64,
                    piece.total
                )
            }
            Body::Ddl(ddl) => {
                let statement = String::from_utf8_lossy(&ddl.statement).into_owned();
                let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
                value["database"] = Value::from(ddl.database.clone());
                value["tables"] = Value::from(ddl.tables.iter().map(ToString::to_string).collect::<Vec<_>>());
                value["statement"] = Value::from(statement);
                format!("DDL in {:?}: {line}", ddl.database)
            }
            Body::Heartbeat(heartbeat) => {
                value["at"] = Value::from(heartbeat.at);
                format!("heartbeat of {}", time(heartbeat.at))
            }
            Body::EpochStart(start) => {
                value["cluster"] = Value::from(start.cluster.clone());
                value["rules_version"] = Value::from(start.rules_version);
                format!("start of an epoch, rules {}", start.rules_version)
            }
        }
    }

    /// Rows by table and operation, with their keys.
    async fn rows(&mut self, changes: &Changes, value: &mut Value) -> String {
        let mut groups: Vec<Group> = Vec::new();
        for row in &changes.rows {
            let Some(table) = changes.tables.get(row.table as usize) else { continue };
            let key = self.keys.of(table, row).await;
            let index = match groups.iter().position(|g| g.table == row.table && g.operation == row.operation) {
                Some(index) => index,
                None => {
                    groups.push(Group {
                        table: row.table,
                        name: table.name.to_string(),
                        operation: row.operation,
                        rows: 0,
                        keys: Vec::new(),
                    });
                    groups.len() - 1
                }
            };
            if let Some(group) = groups.get_mut(index) {
                group.rows += 1;
                group.keys.extend(key);
            }
        }
        let list: Vec<Value> = groups
            .iter()
            .map(|g| json!({"table": g.name, "operation": g.operation, "rows": g.rows, "keys": g.keys}))
            .collect();
        value["changes"] = Value::from(list);
        groups.iter().map(Group::text).collect::<Vec<_>>().join(", ")
    }
}

/// Rows of one table and operation.
struct Group {
    table: u32,
    name: String,
    operation: Operation,
    rows: u64,
    keys: Vec<String>,
}

impl Group {
    fn text(&self) -> String {
        let verb = match self.operation {
            Operation::Insert => "+",
            Operation::Update => "~",
            Operation::Delete => "-",
            Operation::Read => "=",
        };
        let shown = self.keys.iter().take(KEYS_SHOWN).cloned().collect::<Vec<_>>().join(" ");
        let more = if self.keys.len() > KEYS_SHOWN { " …" } else { "" };
        let keys = if shown.is_empty() { String::new() } else { format!(" [{shown}{more}]") };
        format!("{verb}{} {}{keys}", self.rows, self.name)
    }
}

//! `lutra log tail`: an ordered log, record by record, for people.

use lutra_change::{Epoch, Operation};
use lutra_kafka::{KafkaConfig, KafkaLog};
use lutra_log::{ReadTransport, StoredRecord, TransportError, TransportFactory};
use lutra_wire::record::{Body, BodyKind, Changes, Header, PartEnd, Record};
use serde_json::{Value, json};

use crate::arguments::TailArguments;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;


pub(super) async fn run(client: &Client, arguments: &TailArguments, output: &Output) -> Result<(), CliError> {
    let log = client.get(&format!("/v1/logs/{}", arguments.name)).await?;
    let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or_default();
    let brokers = arguments.kafka.clone().unwrap_or_else(|| text("kafka").to_owned());
    let config = KafkaConfig { brokers: brokers.clone(), properties: properties(&arguments.kafka_properties)? };
    let fault = |error: TransportError| CliError::Kafka { brokers: brokers.clone(), source: Box::new(error) };
    let mut reader = KafkaLog::new(&config, text("topic")).reader().await.map_err(fault)?;
    let (first, end) = reader.bounds().await.map_err(fault)?;
    let from = beginning(arguments, first, end)?;
    let mut printer =
        Printer { output, heartbeats: arguments.heartbeats, in_force: None, log_id: text("log_id").to_owned() };
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
        printer.print(&record);
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

fn beginning(arguments: &TailArguments, first: i64, end: i64) -> Result<i64, CliError> {
    match arguments.from.as_deref() {
        None => Ok((end - i64::from(arguments.last)).max(first)),
        Some("beginning") => Ok(first),
        Some("end") => Ok(end),
        Some(text) => {
            let offset = text.parse::<i64>().ok().filter(|o| (first..=end).contains(o));
            offset.ok_or_else(|| {
                CliError::input(format!("--from {text:?} must be beginning, end, or an offset from {first} to {end}"))
            })
        }
    }
}

struct Printer<'o> {
    output: &'o Output,
    heartbeats: bool,
    /// The highest epoch whose start was seen; before the first one nothing is known.
    in_force: Option<Epoch>,
    log_id: String,
}

impl Printer<'_> {
    fn print(&mut self, stored: &StoredRecord) {
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
            Ok(body) => contents(body, &mut value),
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
    }
}

/// What a body says: for programs into `value`, for people as the result.
fn contents(body: &Body, value: &mut Value) -> String {
    match body {
        Body::Changes(changes) => rows(changes, value),
        Body::Chunk(chunk) => format!("chunk {} for {}: {}", chunk.id, chunk.addressee, rows(&chunk.changes, value)),
        Body::XaPrepare(prepare) => format!("XA prepare: {}", rows(&prepare.changes, value)),
        Body::XaDecision(decision) => {
            value["commit"] = Value::from(decision.commit);
            format!("XA {}", if decision.commit { "commit" } else { "rollback" })
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

fn rows(changes: &Changes, value: &mut Value) -> String {
    let mut counts: Vec<(u32, Operation, u64)> = Vec::new();
    for row in &changes.rows {
        match counts.iter_mut().find(|(table, operation, _)| *table == row.table && *operation == row.operation) {
            Some((_, _, count)) => *count += 1,
            None => counts.push((row.table, row.operation, 1)),
        }
    }
    let name = |table: u32| changes.tables.get(table as usize).map(|t| t.name.to_string()).unwrap_or_default();
    let list: Vec<Value> = counts
        .iter()
        .map(|(table, operation, count)| json!({"table": name(*table), "operation": operation, "rows": count}))
        .collect();
    value["changes"] = Value::from(list);
    let verb = |operation| match operation {
        Operation::Insert => "+",
        Operation::Update => "~",
        Operation::Delete => "-",
        Operation::Read => "=",
    };
    counts
        .iter()
        .map(|(table, operation, count)| format!("{}{count} {}", verb(*operation), name(*table)))
        .collect::<Vec<_>>()
        .join(", ")
}

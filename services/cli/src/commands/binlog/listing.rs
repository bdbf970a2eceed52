//! Events, one after the other, as lines.

use std::io::Write;
use std::sync::Arc;

use lutra_binlog::{
    DecodeError, Decoder, Event, EventData, EventHeader, Image, Inflater, PositionTracker, QueryEvent, RowDecoder,
    RowsEvent, Scratch, TableCache, TableMap, event_name,
};
use lutra_change::{Operation, TableSchema};
use serde_json::{Map, Value, json};

use super::counts::Counts;
use super::value;
use crate::error::CliError;

/// The largest event a server writes.
const LARGEST_EVENT: usize = 1 << 30;

/// Prints events and counts them.
pub(super) struct Listing<W: Write> {
    out: W,
    json: bool,
    /// Only the counts.
    quiet: bool,
    decoder: Decoder,
    inflater: Inflater,
    tables: TableCache<Arc<RowDecoder>>,
    scratch: Scratch,
    tracker: PositionTracker,
    file: String,
    counts: Counts,
}

/// Where an event stands.
#[derive(Clone, Copy)]
struct Place<'h> {
    begin: u64,
    end: u64,
    header: &'h EventHeader,
    /// It lies in a compressed transaction.
    inside: bool,
}

impl<W: Write> Listing<W> {
    pub(super) fn new(out: W, json: bool, quiet: bool) -> Self {
        Self {
            out,
            json,
            quiet,
            decoder: Decoder::new(),
            inflater: Inflater::new(LARGEST_EVENT),
            tables: TableCache::default(),
            scratch: Scratch::new(),
            tracker: PositionTracker::new(4),
            file: String::new(),
            counts: Counts::default(),
        }
    }

    /// Another file begins at that byte.
    pub(super) fn file(&mut self, name: &str, position: u64) -> Result<(), CliError> {
        name.clone_into(&mut self.file);
        self.tracker.rotate(position);
        if self.json || self.quiet { Ok(()) } else { writeln!(self.out, "# {name}").map_err(CliError::Print) }
    }

    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::Print)
    }

    /// Prints the counts.
    pub(super) fn finish(&mut self) -> Result<(), CliError> {
        let text = if self.json { self.counts.json().to_string() } else { self.counts.text() };
        let gap = if self.json || self.quiet { "" } else { "\n" };
        writeln!(self.out, "{gap}{text}").and_then(|()| self.out.flush()).map_err(CliError::Print)
    }

    /// One event of the file or stream.
    pub(super) fn event(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let begin = self.tracker.position();
        let (file, mut inflater) = (self.file.clone(), std::mem::replace(&mut self.inflater, Inflater::new(0)));
        let fault = |error: DecodeError| CliError::Failed(format!("{file}, byte {begin}: {error}"));
        let done = self.whole_event(bytes, begin, &mut inflater, &fault);
        self.inflater = inflater;
        done
    }

    fn whole_event(
        &mut self,
        bytes: &[u8],
        begin: u64,
        inflater: &mut Inflater,
        fault: &dyn Fn(DecodeError) -> CliError,
    ) -> Result<(), CliError> {
        let event = self.decoder.decode(bytes).map_err(fault)?;
        let header = event.header;
        match &event.data {
            EventData::FormatDescription(format) => {
                self.tracker.set_flavor(format.flavor());
                self.tables.forget_ids();
            }
            // Not in the file, and not worth a line.
            EventData::Heartbeat(_) => return Ok(()),
            _ => {}
        }
        let end = self.tracker.advance(&header).map_err(fault)?;
        let place = Place { begin, end, header: &header, inside: false };
        self.counts.event(event_name(header.event_type));
        self.counts.bytes += u64::from(header.event_size);
        match &event.data {
            EventData::Compressed(compressed) => {
                let plain = inflater.inflate(compressed).map_err(fault)?;
                let inner = self.decoder.decode_inner(&header, plain).map_err(fault)?;
                return self.decoded(&inner, place, fault);
            }
            EventData::TransactionPayload(payload) => {
                self.decoded(&event, place, fault)?;
                let mut inner = inflater.read(payload).map_err(fault)?;
                while let Some(bytes) = inner.next_event().map_err(fault)? {
                    let event = self.decoder.decode_inner(&header, bytes).map_err(fault)?;
                    self.counts.event(event_name(event.header.event_type));
                    let place = Place { header: &event.header, inside: true, ..place };
                    self.decoded(&event, place, fault)?;
                }
                return Ok(());
            }
            _ => {}
        }
        self.decoded(&event, place, fault)?;
        if let EventData::Rotate(rotate) = &event.data
            && (rotate.artificial || self.file != rotate.file)
            && !(self.file == rotate.file && self.tracker.position() == rotate.position)
        {
            self.file(rotate.file, rotate.position)?;
        }
        Ok(())
    }

    fn decoded(
        &mut self,
        event: &Event<'_>,
        place: Place<'_>,
        fault: &dyn Fn(DecodeError) -> CliError,
    ) -> Result<(), CliError> {
        match &event.data {
            EventData::TableMap(map) => {
                self.tables.observe_with(map, |map| plan(map).map(Arc::new)).map_err(fault)?;
            }
            EventData::Gtid(_) | EventData::MariaDbGtid(_) => self.counts.transactions += 1,
            EventData::Rows(rows) => return self.rows(rows, place, fault),
            _ => {}
        }
        if self.quiet {
            return Ok(());
        }
        let (text, mut fields) = described(&event.data);
        if self.json {
            fields.insert("event".to_owned(), json!(event_name(event.header.event_type)));
            return self.json_line(place, fields);
        }
        let name = event_name(event.header.event_type);
        let mark = if place.inside { "›" } else { " " };
        writeln!(self.out, "{:>10}{mark} {name:<18} {text}", place.begin).map_err(CliError::Print)
    }

    fn json_line(&mut self, place: Place<'_>, mut fields: Map<String, Value>) -> Result<(), CliError> {
        fields.insert("file".to_owned(), json!(self.file));
        fields.insert("position".to_owned(), json!(place.begin));
        fields.insert("end".to_owned(), json!(place.end));
        fields.insert("timestamp".to_owned(), json!(place.header.timestamp));
        fields.insert("server_id".to_owned(), json!(place.header.server_id));
        if place.inside {
            fields.insert("in_payload".to_owned(), json!(true));
        }
        writeln!(self.out, "{}", Value::Object(fields)).map_err(CliError::Print)
    }

    fn rows(
        &mut self,
        event: &RowsEvent<'_>,
        place: Place<'_>,
        fault: &dyn Fn(DecodeError) -> CliError,
    ) -> Result<(), CliError> {
        if event.is_dummy() {
            return Ok(());
        }
        let table = Arc::clone(self.tables.get(event).map_err(fault)?);
        let schema = Arc::clone(table.schema());
        if !self.quiet && !self.json {
            let name = event_name(place.header.event_type);
            let mark = if place.inside { "›" } else { " " };
            writeln!(self.out, "{:>10}{mark} {name:<18} {}", place.begin, schema.name).map_err(CliError::Print)?;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut images = table.rows(event, &mut scratch).map_err(fault)?;
        let (mut rows, mut row) = (0, Map::new());
        while let Some(image) = images.next_image() {
            if self.quiet {
                images.decode_cells(|_, _| Ok::<_, DecodeError>(())).map_err(fault)?;
            } else if self.json {
                let mut values = Map::new();
                let shown = images.decode_cells(|column, cell| {
                    if let Some(column) = schema.columns.get(column) {
                        values.insert(column.name.clone(), value::json(&column.column_type, cell));
                    }
                    Ok::<_, DecodeError>(())
                });
                shown.map_err(fault)?;
                row.insert(if image == Image::Before { "before" } else { "after" }.to_owned(), Value::Object(values));
            } else {
                let line = image_line(&mut images, image, &schema).map_err(fault)?;
                writeln!(self.out, "{line}").map_err(CliError::Print)?;
            }
            if image == Image::After || event.operation == Operation::Delete {
                rows += 1;
                if self.json && !self.quiet {
                    let mut fields = std::mem::take(&mut row);
                    fields.insert("event".to_owned(), json!(event_name(place.header.event_type)));
                    fields.insert("operation".to_owned(), json!(event.operation));
                    fields.insert("table".to_owned(), json!(schema.name.to_string()));
                    self.json_line(place, fields)?;
                }
            }
        }
        self.scratch = scratch;
        self.counts.rows(&schema.name, event.operation, rows);
        Ok(())
    }
}

/// How the rows of a table are read; without their names where its server does not tell them.
fn plan(map: &TableMap<'_>) -> Result<RowDecoder, DecodeError> {
    RowDecoder::plan(map).or_else(|error| match error {
        DecodeError::MissingMetadata { .. } => RowDecoder::plan_bare(map),
        other => Err(other),
    })
}

/// One image as a line: `-` as it was, `+` as it is. Columns that the image does not hold are not in the line.
fn image_line(
    images: &mut lutra_binlog::Rows<'_, '_>,
    image: Image,
    schema: &TableSchema,
) -> Result<String, DecodeError> {
    let mut line = format!("{:>14}", if image == Image::Before { "-" } else { "+" });
    images.decode_cells(|column, cell| {
        if let Some(column) = schema.columns.get(column) {
            line.push(' ');
            line.push_str(&column.name);
            line.push('=');
            value::text(&column.column_type, cell, &mut line);
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(line)
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What an event without rows says, for people and for programs.
fn described(data: &EventData<'_>) -> (String, Map<String, Value>) {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (text, value) = match data {
        EventData::FormatDescription(f) => {
            let checksums = if f.checksums { "CRC32" } else { "none" };
            let open = if f.in_use { ", not closed" } else { "" };
            let value = json!({"server_version": f.server_version, "checksums": f.checksums, "in_use": f.in_use});
            (format!("server {}, checksums {checksums}{open}", f.server_version), value)
        }
        EventData::Rotate(r) => {
            (format!("{}:{}", r.file, r.position), json!({"next_file": r.file, "next_position": r.position}))
        }
        EventData::PreviousGtids(set) => (set.to_string(), json!({"gtid_set": set})),
        EventData::Gtid(g) => {
            let gtid = g.gtid.as_ref().map(ToString::to_string);
            let value = json!({
                "gtid": gtid, "last_committed": g.last_committed, "sequence_number": g.sequence_number,
                "committed_at": g.original_commit_timestamp, "transaction_length": g.transaction_length,
            });
            (format!("{} {}", gtid.as_deref().unwrap_or("-"), time(g.original_commit_timestamp)), value)
        }
        EventData::MariaDbGtid(g) => {
            let xa = g.xa.map(|(phase, xid)| format!("{phase:?} {xid}").to_lowercase());
            let words = [(g.standalone, "standalone"), (g.transactional, "transactional"), (g.ddl, "ddl")];
            let mut words: Vec<String> = words.iter().filter(|w| w.0).map(|w| w.1.to_owned()).collect();
            words.extend(xa.clone());
            words.extend(g.alter.map(|a| format!("alter {a:?}").to_lowercase()));
            let value = json!({
                "gtid": g.gtid.to_string(), "standalone": g.standalone, "transactional": g.transactional,
                "ddl": g.ddl, "commit_id": g.commit_id, "xa": xa,
            });
            (format!("{} {}", g.gtid, words.join(", ")), value)
        }
        EventData::GtidList(list) => {
            let gtids: Vec<String> = list.gtids.iter().map(ToString::to_string).collect();
            (gtids.join(","), json!({"gtids": gtids}))
        }
        EventData::BinlogCheckpoint(file) => ((*file).to_owned(), json!({"checkpoint": file})),
        EventData::Query(query) => query_line(query),
        EventData::TableMap(map) => {
            let value = json!({"table": map.name().to_string(), "table_id": map.table_id, "columns": map.columns()});
            (format!("{} (id {}, {} columns)", map.name(), map.table_id, map.columns()), value)
        }
        EventData::RowsQuery(text) => (indented(&lossy(text)), json!({"statement": lossy(text)})),
        EventData::Xid(xid) => (format!("commit {xid}"), json!({"xid": xid})),
        EventData::XaPrepare(xa) => {
            let one = if xa.one_phase { "commit in one phase " } else { "" };
            (format!("{one}{}", xa.xid()), json!({"xa": xa.xid().to_string(), "one_phase": xa.one_phase}))
        }
        EventData::TransactionPayload(p) => {
            let value = json!({"compressed": p.len(), "uncompressed": p.uncompressed_size});
            (format!("{} bytes, {} when inflated", p.len(), p.uncompressed_size), value)
        }
        EventData::Incident(i) => (lossy(i.message), json!({"incident": i.number, "message": lossy(i.message)})),
        _ => (String::new(), json!({})),
    };
    (text, fields(value))
}

fn query_line(query: &QueryEvent<'_>) -> (String, Value) {
    let statement = String::from_utf8_lossy(query.statement).into_owned();
    let value = json!({
        "database": query.database, "statement": statement, "thread_id": query.thread_id,
        "error_code": query.error_code, "session": query.context,
    });
    let database = if query.database.is_empty() { String::new() } else { format!("[{}] ", query.database) };
    (indented(&format!("{database}{statement}")), value)
}

/// Further lines stand below the first one.
fn indented(text: &str) -> String {
    text.replace('\n', "\n                               ")
}

fn time(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(0);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| String::new(), |t| format!("{t:.6}"))
}

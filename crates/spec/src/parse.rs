//! YAML text to documents, or all its violations.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lutra_change::{BinlogPosition, GtidSet, Operation};
use serde::{Deserialize, Serialize};

use crate::check::{Severity, cross_check};
use crate::document::{Document, Kind, Name, Spec};
use crate::node::{self, Node};
use crate::pattern::{TablePattern, TableTemplate};
use crate::pipeline::{
    ColumnRules, Compare, DdlPolicy, FullLoad, IndexTime, LoadSpec, OnConflict, PipelineSpec, PipelineStart, Route,
    TriggerPolicy,
};
use crate::secret::SecretRef;
use crate::server::{Address, Tls, TlsMode};
use crate::source::{SourceSpec, SourceStart};
use crate::target::TargetSpec;
use crate::text;
use crate::walk::{Fields, Walk};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Where in the document, `spec.tables[0].to`; empty for the document itself.
    pub path: String,
    /// What is wrong and, where it can be said, what would be right.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(line: usize, column: usize, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { line, column, path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a text, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} violation(s) in the specification:{}", .0.len(), .0.iter().map(|v| format!("\n  {v}")).collect::<String>())]
pub struct Violations(pub Vec<Violation>);

/// A document and the places of everything in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The document.
    pub document: Document,
    /// Line of its beginning, from 1.
    pub line: usize,
    /// Column of its beginning, from 1.
    pub column: usize,
    /// Line and column of what stands at each path, `spec.tables[0].to`.
    places: BTreeMap<String, (usize, usize)>,
}

impl Located {
    /// Line and column of what stands at a path, or of the nearest thing around it.
    pub fn place(&self, path: &str) -> (usize, usize) {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return (self.line, self.column),
            }
        }
    }
}

/// Reads all documents of a text. Names must be unique in it; references to documents elsewhere are not looked at
/// (see [`cross_check`]).
pub fn parse(text: &str) -> Result<Vec<Located>, Violations> {
    let nodes = node::load(text).map_err(|violation| Violations(vec![violation]))?;
    let mut walk = Walk::default();
    let mut documents = Vec::new();
    for node in nodes.iter().filter(|n| !n.is_null()) {
        if let Some(document) = document(&mut walk, node) {
            let mut places = BTreeMap::new();
            node.places("", &mut places);
            documents.push(Located { document, line: node.line, column: node.column, places });
        }
    }
    if nodes.iter().all(Node::is_null) {
        walk.violations.push(Violation::new(1, 1, "", "there is no document: write kind, name and spec"));
    }
    duplicate_names(&mut walk, &documents);
    if walk.violations.is_empty() {
        return Ok(documents);
    }
    walk.violations.sort_by_key(|v| (v.line, v.column));
    Err(Violations(walk.violations))
}

fn duplicate_names(walk: &mut Walk, documents: &[Located]) {
    let plain: Vec<Document> = documents.iter().map(|d| d.document.clone()).collect();
    for finding in cross_check(&plain).into_iter().filter(|f| f.severity == Severity::Error && f.path == "name") {
        if let Some(place) = documents.iter().rev().find(|d| d.document.name == finding.document) {
            walk.violations.push(Violation::new(place.line, place.column, "name", finding.message));
        }
    }
}

fn document(walk: &mut Walk, node: &Node) -> Option<Document> {
    let mut fields = walk.fields(node, "");
    let kinds: Vec<(&str, Kind)> = Kind::ALL.iter().map(|k| (k.as_str(), *k)).collect();
    let kind = fields.need(walk, "kind", "source").and_then(|n| walk.word(n, "kind", &kinds));
    let name = fields.need(walk, "name", "shop").and_then(|n| walk.parsed::<Name>(n, "name"));
    let spec = fields.need(walk, "spec", "{…}");
    fields.finish(walk);
    let spec = spec.zip(kind).and_then(|(node, kind)| {
        let mut fields = walk.fields(node, "spec");
        let spec = match kind {
            Kind::Source => source(walk, &mut fields).map(Spec::Source),
            Kind::Target => target(walk, &mut fields).map(Spec::Target),
            Kind::Pipeline => pipeline(walk, &mut fields).map(Spec::Pipeline),
        };
        fields.finish(walk);
        spec
    });
    Some(Document { name: name?, spec: spec? })
}

struct Server {
    servers: Vec<Address>,
    user: Option<String>,
    password: Option<SecretRef>,
    tls: Tls,
}

fn server(walk: &mut Walk, fields: &mut Fields<'_>) -> Server {
    let at = fields.path("servers");
    let servers = fields.need(walk, "servers", "[db.example.org:3306]").map(|n| {
        let servers = walk.parsed_list(n, &at);
        if matches!(&n.data, node::Data::Sequence(items) if items.is_empty()) {
            walk.fault(n, &at, "must name at least one server");
        }
        servers
    });
    let at = fields.path("user");
    let user = fields.need(walk, "user", "lutra").and_then(|n| walk.text(n, &at)).map(str::to_owned);
    let at = fields.path("password");
    let password = fields.get("password").and_then(|n| walk.parsed(n, &at));
    let at = fields.path("tls");
    let tls = fields.get("tls").map(|n| tls(walk, n, &at)).unwrap_or_default();
    Server { servers: servers.unwrap_or_default(), user, password, tls }
}

fn tls(walk: &mut Walk, node: &Node, path: &str) -> Tls {
    let modes: Vec<(&str, TlsMode)> = TlsMode::ALL.iter().map(|m| (m.as_str(), *m)).collect();
    if node.text().is_some() {
        return Tls { mode: walk.word(node, path, &modes).unwrap_or_default(), ca: None };
    }
    let mut fields = walk.fields(node, path);
    let at = fields.path("mode");
    let mode = fields.need(walk, "mode", "verify-ca").and_then(|n| walk.word(n, &at, &modes)).unwrap_or_default();
    let at = fields.path("ca");
    let ca_node = fields.get("ca");
    let ca = ca_node.and_then(|n| walk.text(n, &at)).map(str::to_owned);
    if let Some(node) = ca_node
        && !matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity)
    {
        walk.fault(node, &at, "is only used with mode verify-ca or verify-identity");
    }
    fields.finish(walk);
    Tls { mode, ca }
}

fn source(walk: &mut Walk, fields: &mut Fields<'_>) -> Option<SourceSpec> {
    let server = server(walk, fields);
    let at = fields.path("tables");
    let tables = fields.need(walk, "tables", "[\"*.*\"]").map(|n| {
        let tables: Vec<TablePattern> = walk.parsed_list(n, &at);
        if matches!(&n.data, node::Data::Sequence(items) if items.is_empty()) {
            walk.fault(n, &at, "must name at least one table or pattern, as in [\"*.*\"]");
        }
        tables
    });
    let at = fields.path("exclude");
    let exclude = fields.get("exclude").map(|n| walk.parsed_list(n, &at)).unwrap_or_default();
    let at = fields.path("start");
    let start_node = fields.get("start");
    let start = start_node.and_then(|n| source_start(walk, n, &at)).unwrap_or_default();
    let at = fields.path("gtid");
    let gtid = fields.get("gtid").and_then(|n| walk.boolean(n, &at)).unwrap_or(true);
    if let (Some(node), SourceStart::Gtid(_), false) = (start_node, &start, gtid) {
        walk.fault(
            node,
            &fields.path("start"),
            "a GTID set is no start without GTIDs: remove gtid: false or give a position",
        );
    }
    let at = fields.path("server_id");
    let server_id = fields
        .get("server_id")
        .and_then(|n| walk.number(n, &at, 1, u64::from(u32::MAX)))
        .and_then(|n| u32::try_from(n).ok());
    let at = fields.path("accept_weak_durability");
    let accept_weak_durability =
        fields.get("accept_weak_durability").and_then(|n| walk.boolean(n, &at)).unwrap_or(false);
    let at = fields.path("accounts");
    let accounts = fields.get("accounts").and_then(|n| walk.boolean(n, &at)).unwrap_or(false);
    let part_bytes = bytes(walk, fields, "part_bytes", 4 << 10, 1 << 20).unwrap_or(SourceSpec::PART_BYTES);
    let in_flight_bytes =
        bytes(walk, fields, "in_flight_bytes", 1 << 20, 4 << 30).unwrap_or(SourceSpec::IN_FLIGHT_BYTES);
    Some(SourceSpec {
        servers: server.servers,
        user: server.user?,
        password: server.password,
        tls: server.tls,
        tables: tables?,
        exclude,
        start,
        gtid,
        server_id,
        accept_weak_durability,
        accounts,
        part_bytes,
        in_flight_bytes,
    })
}

fn source_start(walk: &mut Walk, node: &Node, path: &str) -> Option<SourceStart> {
    if node.text().is_some() {
        return walk.word(node, path, &[("earliest", ()), ("latest", ())]).map(|()| match node.text() {
            Some("earliest") => SourceStart::Earliest,
            _ => SourceStart::Latest,
        });
    }
    let mut fields = walk.fields(node, path);
    let gtid = fields.get("gtid");
    let position = fields.get("position");
    fields.finish(walk);
    match (gtid, position) {
        (Some(node), None) => walk.parsed::<GtidSet>(node, &format!("{path}.gtid")).map(SourceStart::Gtid),
        (None, Some(node)) => {
            let path = format!("{path}.position");
            let mut fields = walk.fields(node, &path);
            let at = fields.path("file");
            let file = fields.need(walk, "file", "binlog.000042").and_then(|n| walk.text(n, &at)).map(str::to_owned);
            let at = fields.path("offset");
            let offset = fields.need(walk, "offset", "4").and_then(|n| walk.number(n, &at, 4, i64::MAX as u64));
            fields.finish(walk);
            Some(SourceStart::Position(BinlogPosition::new(file?, offset?)))
        }
        _ => {
            walk.fault(node, path, "must be earliest, latest, {gtid: SET} or {position: {file: FILE, offset: BYTE}}");
            None
        }
    }
}

fn target(walk: &mut Walk, fields: &mut Fields<'_>) -> Option<TargetSpec> {
    let server = server(walk, fields);
    Some(TargetSpec { servers: server.servers, user: server.user?, password: server.password, tls: server.tls })
}

fn pipeline(walk: &mut Walk, fields: &mut Fields<'_>) -> Option<PipelineSpec> {
    let at = fields.path("source");
    let source = fields.need(walk, "source", "shop").and_then(|n| walk.parsed::<Name>(n, &at));
    let at = fields.path("target");
    let target = fields.need(walk, "target", "shop-copy").and_then(|n| walk.parsed::<Name>(n, &at));
    let at = fields.path("start");
    let start_node = fields.get("start");
    let start = start_node.and_then(|n| pipeline_start(walk, n, &at));
    let at = fields.path("tables");
    let tables = fields.get("tables").map(|n| {
        let items = walk.items(n, &at);
        items.iter().enumerate().filter_map(|(i, item)| route(walk, item, &format!("{at}[{i}]"))).collect()
    });
    let at = fields.path("load");
    let load = fields.get("load").map(|n| load(walk, n, &at)).unwrap_or_default();
    if let (Some(node), Some(_)) = (start_node.filter(|_| start != Some(PipelineStart::Now)), &load.full) {
        walk.fault(node, &fields.path("start"), "a full load begins now: leave start out");
    }
    let start = if load.full.is_some() { PipelineStart::Now } else { start.unwrap_or_default() };
    let at = fields.path("ddl");
    let ddl = fields.get("ddl").and_then(|n| walk.word(n, &at, &DDL_POLICIES));
    let at = fields.path("triggers");
    let triggers = fields
        .get("triggers")
        .and_then(|n| walk.word(n, &at, &[("skip", TriggerPolicy::Skip), ("guard", TriggerPolicy::Guard)]));
    let at = fields.path("accounts");
    let accounts = fields.get("accounts").and_then(|n| walk.boolean(n, &at));
    Some(PipelineSpec {
        source: source?,
        target: target?,
        start,
        tables: tables.unwrap_or_default(),
        load,
        ddl: ddl.unwrap_or_default(),
        triggers: triggers.unwrap_or_default(),
        accounts: accounts.unwrap_or_default(),
    })
}

const DDL_POLICIES: [(&str, DdlPolicy); 6] = [
    ("apply", DdlPolicy::Apply),
    ("lenient", DdlPolicy::Lenient),
    ("hold", DdlPolicy::Hold),
    ("dead-letter", DdlPolicy::DeadLetter),
    ("stop-table", DdlPolicy::StopTable),
    ("ignore", DdlPolicy::Ignore),
];

fn pipeline_start(walk: &mut Walk, node: &Node, path: &str) -> Option<PipelineStart> {
    if node.text().is_some() {
        return walk.word(node, path, &[("now", ()), ("earliest", ())]).map(|()| match node.text() {
            Some("now") => PipelineStart::Now,
            _ => PipelineStart::Earliest,
        });
    }
    let mut fields = walk.fields(node, path);
    let gtid = fields.get("gtid");
    let time = fields.get("time");
    fields.finish(walk);
    match (gtid, time) {
        (Some(node), None) => walk.parsed::<GtidSet>(node, &format!("{path}.gtid")).map(PipelineStart::Gtid),
        (None, Some(node)) => match node.text().and_then(text::parse_time) {
            Some(micros) => Some(PipelineStart::Time(micros)),
            None => {
                walk.fault(
                    node,
                    &format!("{path}.time"),
                    "must be a UTC time like 2026-01-31T12:00:00Z, or microseconds since 1970",
                );
                None
            }
        },
        _ => {
            walk.fault(node, path, "must be now, earliest, {gtid: SET} or {time: 2026-01-31T12:00:00Z}");
            None
        }
    }
}

fn route(walk: &mut Walk, node: &Node, path: &str) -> Option<Route> {
    let mut fields = walk.fields(node, path);
    let at = fields.path("match");
    let pattern = fields.need(walk, "match", "shop.*").and_then(|n| walk.parsed::<TablePattern>(n, &at));
    let at = fields.path("to");
    let to_node = fields.get("to");
    let to = to_node.and_then(|n| walk.parsed::<TableTemplate>(n, &at));
    if let (Some(node), Some(to), Some(pattern)) = (to_node, &to, &pattern)
        && to.captures_used() > pattern.wildcards()
    {
        let message = format!("uses ${}, but {pattern} has {} wildcard(s)", to.captures_used(), pattern.wildcards());
        walk.fault(node, &at, message);
    }
    let at = fields.path("operations");
    let operations = fields.get("operations").map(|n| operations(walk, n, &at));
    let at = fields.path("columns");
    let columns = fields.get("columns").map(|n| columns(walk, n, &at)).unwrap_or_default();
    let at = fields.path("ddl");
    let ddl = fields.get("ddl").and_then(|n| walk.word(n, &at, &DDL_POLICIES));
    fields.finish(walk);
    Some(Route { pattern: pattern?, to, operations, columns, ddl })
}

fn operations(walk: &mut Walk, node: &Node, path: &str) -> Vec<Operation> {
    const WORDS: [(&str, Operation); 3] =
        [("insert", Operation::Insert), ("update", Operation::Update), ("delete", Operation::Delete)];
    let items = walk.items(node, path);
    let mut operations = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let at = format!("{path}[{i}]");
        match walk.word(item, &at, &WORDS) {
            Some(operation) if operations.contains(&operation) => walk.fault(item, &at, "is named twice"),
            Some(operation) => operations.push(operation),
            None => {}
        }
    }
    if matches!(&node.data, node::Data::Sequence(items) if items.is_empty()) {
        walk.fault(node, path, "must name at least one operation; to carry nothing of a table, give it no route");
    }
    operations
}

fn columns(walk: &mut Walk, node: &Node, path: &str) -> ColumnRules {
    let mut fields = walk.fields(node, path);
    let at = fields.path("rename");
    let rename = fields.get("rename").map(|n| walk.text_map(n, &at)).unwrap_or_default();
    let at = fields.path("drop");
    let drop = fields.get("drop").map(|n| walk.parsed_list::<String>(n, &at)).unwrap_or_default();
    fields.finish(walk);
    for column in drop.iter().filter(|c| rename.contains_key(*c)) {
        walk.fault(node, path, format!("column {column} is both renamed and dropped"));
    }
    ColumnRules { rename, drop }
}

fn load(walk: &mut Walk, node: &Node, path: &str) -> LoadSpec {
    let default = LoadSpec::default();
    if node.text() == Some("full") {
        return LoadSpec { full: Some(FullLoad::default()), ..default };
    }
    let mut fields = walk.fields(node, path);
    let at = fields.path("full");
    let full = fields.get("full").and_then(|n| full_load(walk, n, &at));
    let at = fields.path("connections");
    let connections =
        fields.get("connections").and_then(|n| walk.number(n, &at, 1, 64)).and_then(|n| u16::try_from(n).ok());
    let at = fields.path("batch_rows");
    let batch_rows =
        fields.get("batch_rows").and_then(|n| walk.number(n, &at, 1, 1_000_000)).and_then(|n| u32::try_from(n).ok());
    let batch_bytes = bytes(walk, &mut fields, "batch_bytes", 1 << 10, 1 << 30);
    let parked_bytes = bytes(walk, &mut fields, "parked_bytes", 1 << 10, 1 << 40);
    let at = fields.path("batch_age");
    let batch_age = fields.get("batch_age").and_then(|n| {
        let age = n.text().and_then(text::parse_duration).filter(|d| *d <= Duration::from_secs(60));
        if age.is_none() {
            walk.fault(n, &at, "must be a duration from 0 to 60s, like 20ms");
        }
        age
    });
    let at = fields.path("compare");
    let compare =
        fields.get("compare").and_then(|n| walk.word(n, &at, &[("key", Compare::Key), ("image", Compare::Image)]));
    let at = fields.path("on_conflict");
    let words = [("halt", OnConflict::Halt), ("dead-letter", OnConflict::DeadLetter)];
    let on_conflict = fields.get("on_conflict").and_then(|n| walk.word(n, &at, &words));
    fields.finish(walk);
    LoadSpec {
        connections: connections.unwrap_or(default.connections),
        batch_rows: batch_rows.unwrap_or(default.batch_rows),
        batch_bytes: batch_bytes.unwrap_or(default.batch_bytes),
        batch_age: batch_age.unwrap_or(default.batch_age),
        parked_bytes: parked_bytes.unwrap_or(default.parked_bytes),
        compare: compare.unwrap_or_default(),
        on_conflict: on_conflict.unwrap_or_default(),
        full,
    }
}

/// `true`, `false`, or a mapping of settings.
fn full_load(walk: &mut Walk, node: &Node, path: &str) -> Option<FullLoad> {
    let default = FullLoad::default();
    if node.text().is_some() {
        return walk.boolean(node, path)?.then_some(default);
    }
    let mut fields = walk.fields(node, path);
    let mut number = |walk: &mut Walk, key: &'static str, least: u64, most: u64| {
        let at = fields.path(key);
        fields.get(key).and_then(|n| walk.number(n, &at, least, most)).and_then(|n| u32::try_from(n).ok())
    };
    let readers = number(walk, "readers", 1, 16).and_then(|n| u16::try_from(n).ok());
    let chunk_rows = number(walk, "chunk_rows", 1, 100_000);
    let rows_per_second = number(walk, "rows_per_second", 1, 100_000_000);
    let source_threads = number(walk, "source_threads", 1, 100_000);
    let at = fields.path("indexes");
    let words = [("before", IndexTime::Before), ("after", IndexTime::After)];
    let indexes = fields.get("indexes").and_then(|n| walk.word(n, &at, &words));
    let at = fields.path("objects");
    let objects = fields.get("objects").and_then(|n| walk.boolean(n, &at));
    fields.finish(walk);
    Some(FullLoad {
        readers: readers.unwrap_or(default.readers),
        chunk_rows: chunk_rows.unwrap_or(default.chunk_rows),
        rows_per_second,
        source_threads,
        indexes: indexes.unwrap_or_default(),
        objects: objects.unwrap_or(default.objects),
    })
}

fn bytes(walk: &mut Walk, fields: &mut Fields<'_>, key: &'static str, least: u64, most: u64) -> Option<u64> {
    let at = fields.path(key);
    let node = fields.get(key)?;
    let size = node.text().and_then(text::parse_bytes).filter(|n| (least..=most).contains(n));
    if size.is_none() {
        walk.fault(
            node,
            &at,
            format!(
                "must be a size from {} to {}, like 512KiB or 4MiB",
                text::print_bytes(least),
                text::print_bytes(most)
            ),
        );
    }
    size
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

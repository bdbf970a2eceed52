//! What was written stays readable: records and row schemas of released versions, as bytes.
//!
//! `cargo test -p lutra-wire --test frozen -- --ignored` writes files of `tests/golden` that are not there yet, and the
//! texts anew. The bytes of a released version are never changed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::SchemaCompatibility;
use bytes::Bytes;
use lutra_change::*;
use lutra_wire::codec::LOG_RECORD_SCHEMA;
use lutra_wire::*;
use uuid::Uuid;

/// Every schema under which records were written, the current one last.
const FROZEN: [&str; 3] = [
    include_str!("../../../schemas/frozen/log_record.v1.avsc"),
    include_str!("../../../schemas/frozen/log_record.v2.avsc"),
    include_str!("../../../schemas/frozen/log_record.v3.avsc"),
];

/// Kinds of bodies of version 1.
const KINDS_V1: usize = 7;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn header(end: PartEnd, source: Option<SourceState>) -> Header {
    Header {
        log_id: LogId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
        epoch: Epoch::new(4_294_967_311, 2),
        number: Number::new(1_000_007, 3),
        previous: Number::new(1_000_006, 0),
        part: 1,
        end,
        source,
        committed_at: 1_764_000_000_123_456,
        read_at: 1_764_000_000_223_457,
        input: None,
        origins: Vec::new(),
        totals: None,
    }
}

fn source(whole: bool, tag: &str) -> SourceState {
    let server = Uuid::from_u128(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562);
    let set = format!("{server}:1-77,{server}:blue:5").parse().unwrap();
    SourceState {
        server_uuid: server,
        position: BinlogPosition::new("binlog.000042", 5_000_000_000),
        gtid: Some(Gtid::tagged(server, tag.to_owned(), 77)),
        gtid_set: if whole { GtidState::Whole(set) } else { GtidState::Added(set) },
        open_xa: Vec::new(),
        definitions: None,
    }
}

fn context() -> SessionContext {
    SessionContext {
        sql_mode: Some(1_168_113_696),
        character_set_client: Some(255),
        collation_connection: Some(255),
        collation_server: Some(8),
        time_zone: Some("Europe/Berlin".into()),
        no_foreign_key_checks: true,
        explicit_defaults_for_timestamp: Some(true),
        auto_increment: Some((2, 1)),
        timestamp_micros: Some(1_764_000_000_000_000),
        ..SessionContext::default()
    }
}

fn changes() -> Changes {
    let row = |operation, before: Option<&'static [u8]>, after: Option<&'static [u8]>| RowChange {
        table: 1,
        operation,
        flags: RowFlags(RowFlags::NO_FOREIGN_KEY_CHECKS),
        before: before.map(Bytes::from_static),
        after: after.map(Bytes::from_static),
        before_columns: None,
        after_columns: None,
    };
    let partial =
        RowChange { after_columns: Some([0, 9].into_iter().collect()), ..row(Operation::Read, None, Some(b"")) };
    Changes {
        context: Some(context()),
        tables: vec![
            TableRef { fingerprint: Fingerprint([7; 16]), name: TableName::new("shop", "order") },
            TableRef { fingerprint: Fingerprint([8; 16]), name: TableName::new("shop", "K\u{e4}ufer") },
        ],
        rows: vec![
            row(Operation::Insert, None, Some(b"\x02\x02\x00")),
            row(Operation::Update, Some(b"\x02\x02\x00"), Some(b"\x02\x04\x00")),
            row(Operation::Delete, Some(b"\x02\x04\x00"), None),
            partial,
        ],
    }
}

/// One record of every kind.
fn records() -> Vec<(&'static str, Header, RawBody)> {
    let commit = header(PartEnd::Commit, Some(source(false, "")));
    let cursor = Cursor { log_id: commit.log_id, next_offset: 99, epoch: commit.epoch, number: commit.previous };
    let totals = UnitTotals { rows: 4, bytes: 12, crc32c: 0xdead_beef };
    let ddl = Ddl {
        statement: Bytes::from_static(b"RENAME TABLE a TO b"),
        database: "shop".into(),
        kind: DdlKind::RenameTable,
        tables: vec![TableName::new("shop", "a"), TableName::new("shop", "b")],
        context: context(),
    };
    let chunk = Chunk {
        id: Uuid::from_u128(5),
        addressee: "shop-to-crm".into(),
        step: Bytes::from_static(br#"{"step":"rows"}"#),
        changes: changes(),
    };
    let xid = Bytes::from_static(b"X'6162',X'',1");
    let piece = RawBody::changes(&changes()).fragments(20).nth(1).unwrap();
    let forwarded = Header { totals: Some(totals), origins: vec!["crm".into()], input: Some(cursor), ..commit.clone() };
    vec![
        ("changes", forwarded, RawBody::changes(&changes())),
        ("ddl", commit.clone(), RawBody::ddl(&ddl)),
        ("chunk", header(PartEnd::More, None), RawBody::chunk(&chunk)),
        (
            "heartbeat",
            header(PartEnd::Commit, Some(source(true, "blue"))),
            RawBody::heartbeat(&Heartbeat { at: 1_764_000_000_223_457, clock_offset: -1_500 }),
        ),
        (
            "epoch_start",
            header(PartEnd::Commit, None),
            RawBody::epoch_start(&EpochStart { cluster: "main".into(), rules_version: 3 }),
        ),
        (
            "xa_prepare",
            header(PartEnd::Abort, None),
            RawBody::xa_prepare(&XaPrepare { xid: xid.clone(), changes: changes() }),
        ),
        ("xa_decision", commit, RawBody::xa_decision(&XaDecision { xid, commit: true })),
        ("fragment", header(PartEnd::More, None), piece),
    ]
}

/// The same as version 2 writes them: with XA transactions that are open.
fn records_of_v2() -> Vec<(&'static str, Header, RawBody)> {
    let place = |n| Cursor {
        log_id: LogId(Uuid::from_u128(1)),
        next_offset: n,
        epoch: Epoch::new(9, 1),
        number: Number::new(1_000_001, 0),
    };
    let open = vec![
        OpenXa { xid: "X'61',X'',1".into(), number: None, place: None, decided: false },
        OpenXa {
            xid: "X'6162',X'',1".into(),
            number: Some(Number::new(1_000_002, 0)),
            place: Some(place(77)),
            decided: true,
        },
    ];
    let mut records = records();
    for source in records.iter_mut().filter_map(|(_, header, _)| header.source.as_mut()) {
        source.open_xa.clone_from(&open);
    }
    records
}

/// The same as version 3 writes them: with definitions of the source's tables.
fn records_of_v3() -> Vec<(&'static str, Header, RawBody)> {
    let mut records = records_of_v2();
    for source in records.iter_mut().filter_map(|(_, header, _)| header.source.as_mut()) {
        source.definitions = Some(Fingerprint([5; 16]));
    }
    records
}

fn shown(bytes: &Bytes) -> String {
    let record = Record::decode(bytes).unwrap();
    format!("{:#?}\n{:#?}\n", record.header, record.body.decode().unwrap())
}

fn table() -> TableSchema {
    use ColumnType as T;
    let labels = vec!["a".to_owned(), "b,'c".to_owned()];
    let types = [
        T::TinyInt { unsigned: true },
        T::SmallInt { unsigned: false },
        T::MediumInt { unsigned: true },
        T::Int { unsigned: false },
        T::BigInt { unsigned: true },
        T::BigInt { unsigned: false },
        T::Float,
        T::Double,
        T::Decimal { precision: 65, scale: 30 },
        T::Year,
        T::Date,
        T::Time { fsp: 6 },
        T::DateTime { fsp: 3 },
        T::Timestamp { fsp: 0 },
        T::Bit { length: 64 },
        T::Char { bytes: 40, collation: 255 },
        T::VarChar { bytes: 1020, collation: 28 },
        T::Text { prefix: 2, collation: 8 },
        T::Binary { bytes: 16 },
        T::VarBinary { bytes: 255 },
        T::Blob { prefix: 4 },
        T::Enum { labels: labels.clone(), collation: 255 },
        T::Set { labels, collation: 255 },
        T::Json,
        T::Geometry { kind: 1 },
        T::Vector { dimensions: 2048 },
    ];
    let name = |i: usize| if i < 2 { ["c 1", "c_1"][i].to_owned() } else { i.to_string() };
    let columns = types.into_iter().enumerate().map(|(i, column_type)| Column {
        name: name(i),
        column_type,
        nullable: i % 2 == 1,
        invisible: i == 25,
    });
    TableSchema {
        name: TableName::new("sh\u{f6}p", "all types"),
        columns: columns.collect(),
        primary_key: vec![KeyPart { column: 3, prefix: None }, KeyPart { column: 15, prefix: Some(5) }],
    }
}

#[test]
fn records_of_every_version_are_read_as_they_were_written() {
    for (at, version, kinds) in [(0, "v1", KINDS_V1), (1, "v2", usize::MAX), (2, "v3", usize::MAX)] {
        for (name, ..) in records().iter().take(kinds) {
            let bytes = Bytes::from(fs::read(golden(&format!("{name}.{version}.bin"))).unwrap());
            let text = fs::read_to_string(golden(&format!("{name}.{version}.txt"))).unwrap();
            assert_eq!(shown(&bytes), text, "{name}");
            // A general Avro reader with the current schema reads what was written with the old one.
            let written = Schema::parse_str(FROZEN[at]).unwrap();
            let current = Schema::parse_str(LOG_RECORD_SCHEMA).unwrap();
            let reader = GenericDatumReader::builder(&written).reader_schema(&current).build().unwrap();
            let mut rest = &bytes[10..];
            reader.read_value(&mut rest).unwrap();
            assert!(rest.is_empty(), "{name}");
        }
    }
}

#[test]
fn records_of_the_version_before_have_no_open_xa_transactions() {
    for (name, header, body) in records().into_iter().take(KINDS_V1) {
        let bytes = Bytes::from(fs::read(golden(&format!("{name}.v1.bin"))).unwrap());
        let record = Record::decode(&bytes).unwrap();
        // Chunks had no step then.
        let body = match body.decode().unwrap() {
            Body::Chunk(chunk) => RawBody::chunk(&Chunk { step: Bytes::new(), ..chunk }),
            _ => body,
        };
        assert_eq!((record.header, record.body), (header, body), "{name}");
    }
}

#[test]
fn records_of_version_2_have_no_definitions() {
    for (name, header, body) in records_of_v2() {
        let bytes = Bytes::from(fs::read(golden(&format!("{name}.v2.bin"))).unwrap());
        let record = Record::decode(&bytes).unwrap();
        assert_eq!((record.header, record.body), (header, body), "{name}");
    }
}

#[test]
fn records_are_written_as_they_were() {
    for (name, header, body) in records_of_v3() {
        let mut bytes = Vec::new();
        encode_record(&header, &body, &mut bytes);
        assert_eq!(bytes, fs::read(golden(&format!("{name}.v3.bin"))).unwrap(), "{name}");
    }
}

#[test]
fn the_current_schema_is_frozen_and_reads_all_before_it() {
    let current = Schema::parse_str(LOG_RECORD_SCHEMA).unwrap();
    let newest = Schema::parse_str(FROZEN[FROZEN.len() - 1]).unwrap();
    assert_eq!(current.canonical_form(), newest.canonical_form(), "freeze the changed schema under a new version");
    for frozen in FROZEN {
        SchemaCompatibility::can_read(&Schema::parse_str(frozen).unwrap(), &current).unwrap();
    }
}

#[test]
fn a_row_schema_is_the_same_text_always() {
    let stored = fs::read_to_string(golden("row_schema.v1.json")).unwrap();
    let schema = RowSchema::parse(&stored).unwrap();
    assert_eq!(**schema.table(), table());
    assert_eq!(RowSchema::from_table(&table()).unwrap().json(), stored);
    assert_eq!(
        schema.fingerprint().to_string(),
        fs::read_to_string(golden("row_schema.v1.fingerprint")).unwrap().trim()
    );
}

#[test]
#[ignore = "writes the golden files"]
fn write_the_golden_files() {
    fs::create_dir_all(golden("")).unwrap();
    for (name, header, body) in records_of_v3() {
        let mut bytes = Vec::new();
        encode_record(&header, &body, &mut bytes);
        // What was written stays: only the text of what is read follows the types.
        if let Ok(mut file) = fs::File::create_new(golden(&format!("{name}.v3.bin"))) {
            file.write_all(&bytes).unwrap();
        }
        for version in ["v1", "v2", "v3"] {
            if let Ok(bytes) = fs::read(golden(&format!("{name}.{version}.bin"))) {
                fs::write(golden(&format!("{name}.{version}.txt")), shown(&Bytes::from(bytes))).unwrap();
            }
        }
    }
    if !golden("row_schema.v1.json").exists() {
        let schema = RowSchema::from_table(&table()).unwrap();
        fs::write(golden("row_schema.v1.json"), schema.json()).unwrap();
        fs::write(golden("row_schema.v1.fingerprint"), format!("{}\n", schema.fingerprint())).unwrap();
    }
}

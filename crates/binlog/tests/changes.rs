//! One of each thing that a transaction can be, recorded from a real server, as a readable transcript.
//!
//! `LUTRA_BLESS=1` writes the transcript anew after the fixtures were made anew; read the difference.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use lutra_binlog::{DecodeError, Decoder, Event, EventData, Image, TableCache};
use lutra_change::{Gtid, TableSchema};

/// One line per event; what changes from one recording to the next is left out.
fn line(event: &Event<'_>, images: Option<(&TableSchema, &common::Images)>) -> String {
    match &event.data {
        EventData::FormatDescription(f) => format!("format version={} checksums={}", f.binlog_version, f.checksums),
        EventData::PreviousGtids(set) => format!("previous gtids, {} in all", set.len()),
        EventData::Gtid(g) => {
            let Some(Gtid::MySql { source, number }) = &g.gtid else { panic!("{:?}", g.gtid) };
            let zone =
                if g.original_commit_timestamp == 1_600_000_000_654_321 { " committed elsewhere before" } else { "" };
            assert!(g.immediate_commit_timestamp > 1_700_000_000_000_000 && g.immediate_server_version >= 90_700);
            assert!(g.last_committed < g.sequence_number && g.transaction_length > 0);
            let number = if *number > 1_000_000 { *number } else { 0 };
            format!("\ngtid tag={:?} number={number} statements={}{zone}", source.tag, g.may_have_statements)
        }
        EventData::Query(q) => {
            let context = &q.context;
            let statement = String::from_utf8_lossy(q.statement);
            format!(
                "query database={:?} statement={:?} xid={} sql_mode={:x} charset={:?} collation={:?} zone={:?} fk_off={} uk_off={} timestamp={:?} defaults={:?} invoker={:?} unknown={:?}",
                q.database,
                statement,
                q.ddl_xid.is_some(),
                context.sql_mode.unwrap(),
                context.character_set_client,
                context.collation_connection,
                context.time_zone,
                context.no_foreign_key_checks,
                context.relaxed_unique_checks,
                context.timestamp_micros.filter(|t| *t < 1_750_000_000_000_000),
                context.explicit_defaults_for_timestamp,
                q.invoker,
                q.unknown_status,
            )
        }
        EventData::TableMap(map) => format!("  table {} columns={}", map.name(), map.columns()),
        EventData::Rows(rows) => rows_text(rows, images.unwrap()),
        EventData::RowsQuery(text) => format!("  rows query {:?}", String::from_utf8_lossy(text)),
        EventData::Xid(_) => "xid".to_owned(),
        EventData::XaPrepare(xa) => format!("{xa:?}"),
        EventData::TransactionPayload(p) => {
            assert!(p.uncompressed_size > p.len() as u64);
            "payload".to_owned()
        }
        EventData::Rotate(r) => format!("rotate to {} position={} artificial={}", r.file, r.position, r.artificial),
        other => format!("{other:?}"),
    }
}

fn rows_text(rows: &lutra_binlog::RowsEvent<'_>, (schema, images): (&TableSchema, &common::Images)) -> String {
    let mut text = format!(
        "  {:?} full={} end={} flags={:02x}",
        rows.operation,
        rows.is_full(),
        rows.is_statement_end(),
        rows.flags.0
    );
    for (image, values) in images {
        let absent = schema.columns.len() - rows.columns(*image).unwrap().iter().count();
        assert_eq!(values.len() + absent, schema.columns.len());
        let values: Vec<String> = values.iter().map(|(c, v)| format!("{}={v}", schema.columns[*c].name)).collect();
        let _ = write!(text, "\n    {} {}", if *image == Image::Before { "-" } else { "+" }, values.join(" "));
    }
    text
}

/// The transcript, and the error that ends it.
fn transcript(name: &str) -> (String, Option<DecodeError>) {
    let mut lines = String::new();
    let result = common::walk(&common::fixture(name), |event, images| {
        let _ = writeln!(lines, "{}", line(event, images));
    });
    (lines, result.err())
}

fn compare(name: &str, lines: &str) {
    if std::env::var_os("LUTRA_BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        std::fs::write(path, lines).unwrap();
    }
    let expected = String::from_utf8(common::fixture(name)).unwrap();
    for (number, (line, expected)) in lines.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(lines.lines().count(), expected.lines().count(), "{name}");
}

#[test]
fn everything_up_to_a_table_map_without_full_metadata_is_read() {
    let (lines, error) = transcript("changes.1.binlog");
    compare("changes.expected", &lines);
    let error = error.unwrap();
    assert!(matches!(error, DecodeError::MissingMetadata { .. }), "{error}");
}

#[test]
fn a_table_map_without_full_metadata_says_what_to_set() {
    let file = common::fixture("changes.1.binlog");
    let mut decoder = Decoder::new();
    let errors: Vec<DecodeError> = lutra_binlog::file::events(&file)
        .unwrap()
        .filter_map(|event| match decoder.decode(event.unwrap().bytes) {
            Ok(Event { data: EventData::TableMap(map), .. }) => map.schema().err(),
            _ => None,
        })
        .collect();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(text.contains("changes.pieces") && text.contains("binlog_row_metadata=FULL"), "{text}");
}

#[test]
fn a_repeated_table_map_is_planned_once_whatever_its_id() {
    let file = common::fixture("types.1.binlog");
    let (mut decoder, mut tables) = (Decoder::new(), TableCache::new());
    let mut maps = 0;
    for event in lutra_binlog::file::events(&file).unwrap() {
        let EventData::TableMap(mut map) = decoder.decode(event.unwrap().bytes).unwrap().data else { continue };
        let first = Arc::clone(tables.observe(&map).unwrap());
        assert!(Arc::ptr_eq(&first, tables.observe(&map).unwrap()));
        map.table_id += 1_000;
        assert!(Arc::ptr_eq(&first, tables.observe(&map).unwrap()));
        maps += 1;
    }
    assert!(maps > 5);
}

#[test]
fn files_without_checksums_are_read() {
    let (lines, error) = transcript("changes.2.binlog");
    assert_eq!(error, None);
    assert!(lines.starts_with("format version=4 checksums=false"), "{lines}");
    assert!(lines.contains("Insert full=true"), "{lines}");
}

#[test]
fn positions_follow_the_file() {
    let file = common::fixture("types.1.binlog");
    let mut tracker = lutra_binlog::PositionTracker::new(4);
    for event in lutra_binlog::file::events(&file).unwrap() {
        let event = event.unwrap();
        assert_eq!(tracker.position(), event.offset as u64);
        tracker.advance(&lutra_binlog::EventHeader::read(event.bytes).unwrap()).unwrap();
    }
    assert_eq!(tracker.position(), file.len() as u64);
}

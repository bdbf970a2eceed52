//! MariaDB's own events and types, recorded from a real server, as a readable transcript.
//!
//! `LUTRA_BLESS=1` writes the transcript anew after the fixtures were made anew; read the difference.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;

use lutra_binlog::{DecodeError, Decoder, Event, EventData, Flavor, Image, PositionTracker, RowsEvent};
use lutra_change::TableSchema;

fn line(event: &Event<'_>, images: Option<(&TableSchema, &common::Images)>) -> String {
    match &event.data {
        EventData::FormatDescription(f) => format!("format flavor={:?} checksums={}", f.flavor(), f.checksums),
        EventData::MariaDbGtid(g) => {
            let xa = g.xa.map(|(phase, xid)| format!(" {phase:?} {xid}")).unwrap_or_default();
            let words = [
                (g.standalone, " standalone"),
                (g.transactional, " transactional"),
                (g.ddl, " ddl"),
                (g.waited, " waited"),
                (g.commit_id.is_some(), " grouped"),
            ];
            let words: String = words.iter().filter(|w| w.0).map(|w| w.1).collect();
            let alter = g.alter.map(|a| format!(" alter={a:?}")).unwrap_or_default();
            format!("\ngtid {}{words}{xa}{alter}", g.gtid)
        }
        EventData::GtidList(list) => format!("gtid list of {}", list.gtids.len()),
        EventData::Query(q) => {
            let context = &q.context;
            format!(
                "query database={:?} statement={:?} xid={} sql_mode={:x} charset={:?} fk_off={} uk_off={} timestamp={:?} defaults={:?} {:?} unknown={:?}",
                q.database,
                String::from_utf8_lossy(q.statement),
                q.ddl_xid.is_some(),
                context.sql_mode.unwrap(),
                context.character_set_client,
                context.no_foreign_key_checks,
                context.relaxed_unique_checks,
                context.timestamp_micros.filter(|t| *t < 1_750_000_000_000_000),
                context.explicit_defaults_for_timestamp,
                q.mariadb,
                q.unknown_status,
            )
        }
        EventData::TableMap(map) => format!("  table {} columns={}", map.name(), map.columns()),
        EventData::Rows(rows) => rows_text(rows, images.unwrap()),
        EventData::RowsQuery(text) => format!("  rows query {:?}", String::from_utf8_lossy(text)),
        EventData::Xid(_) => "xid".to_owned(),
        EventData::XaPrepare(xa) => format!("xa prepare {} one_phase={}", xa.xid(), xa.one_phase),
        EventData::Compressed(_) => "  compressed:".to_owned(),
        EventData::Rotate(r) => format!("rotate to {} position={} artificial={}", r.file, r.position, r.artificial),
        other => format!("{other:?}"),
    }
}

fn rows_text(rows: &RowsEvent<'_>, (schema, images): (&TableSchema, &common::Images)) -> String {
    let mut text = format!(
        "  {:?} full={} end={} flags={:02x}",
        rows.operation,
        rows.is_full(),
        rows.is_statement_end(),
        rows.flags.0
    );
    // Times of history are those of the recording.
    let shown = |name: &str| !matches!(name, "row_start" | "row_end");
    for (image, values) in images {
        let values = values.iter().filter(|(c, _)| shown(&schema.columns[*c].name));
        let values: Vec<String> = values.map(|(c, v)| format!("{}={v}", schema.columns[*c].name)).collect();
        let _ = write!(text, "\n    {} {}", if *image == Image::Before { "-" } else { "+" }, values.join(" "));
    }
    text
}

#[test]
fn the_transcript_is_the_recorded_one() {
    let mut lines = String::new();
    for name in ["mariadb.1.binlog", "mariadb.2.binlog"] {
        let walked = common::walk(&common::fixture(name), |event, images| {
            let _ = writeln!(lines, "{}", line(event, images));
        });
        walked.unwrap();
    }
    if std::env::var_os("LUTRA_BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mariadb.expected");
        std::fs::write(path, &lines).unwrap();
    }
    let expected = String::from_utf8(common::fixture("mariadb.expected")).unwrap();
    for (number, (line, expected)) in lines.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(lines.lines().count(), expected.lines().count());
}

/// Whether a value is what the row of `said` says, itself shown as bytes.
fn equal(value: &str, said: &str) -> bool {
    if value == "NULL" || said == "NULL" {
        return value == said;
    }
    match value.split_once(' ') {
        Some(("float" | "double", number)) => number.parse::<f64>().unwrap() == text_of(said).parse::<f64>().unwrap(),
        _ => common::shown(value.as_bytes()) == said,
    }
}

fn text_of(shown: &str) -> String {
    let bytes = (0..shown.len()).step_by(2).map(|i| u8::from_str_radix(&shown[i..i + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

#[test]
fn every_value_is_what_the_server_says() {
    let (mut rows, mut said) = (Vec::<Vec<String>>::new(), Vec::new());
    common::walk(&common::fixture("mariadb.1.binlog"), |event, images| {
        let (EventData::Rows(event), Some((schema, images))) = (&event.data, images) else { return };
        if event.operation != lutra_change::Operation::Insert {
            return;
        }
        let all = images.iter().map(|(_, values)| values.iter().map(|v| v.1.clone()).collect::<Vec<_>>());
        match schema.name.table.as_str() {
            "types" => rows.extend(all.filter(|values| values[0].parse::<i32>().unwrap() < 10)),
            "said" => said.extend(all),
            _ => {}
        }
    })
    .unwrap();
    // The first three rows are said twice.
    assert_eq!((rows.len(), said.len()), (4, 7));
    let mut wrong = Vec::new();
    for (row, said) in rows.iter().take(3).chain(&rows).zip(&said) {
        assert_eq!(row.len(), said.len());
        for (column, (value, said)) in row.iter().zip(said).enumerate() {
            if !equal(value, said) {
                wrong.push(format!("row {}, column {column}: decoded {value}, server says {said}", row[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn positions_follow_the_file_with_and_without_the_events_own() {
    let file = common::fixture("mariadb.1.binlog");
    for dropped in [false, true] {
        let mut tracker = PositionTracker::new(4);
        tracker.set_flavor(Flavor::MariaDb);
        for event in lutra_binlog::file::events(&file).unwrap() {
            let event = event.unwrap();
            assert_eq!(tracker.position(), event.offset as u64);
            let mut header = lutra_binlog::EventHeader::read(event.bytes).unwrap();
            // As MariaDB 11.4 and later leave the positions out.
            if dropped && !matches!(header.event_type, 4 | 15) {
                header.log_pos = 0;
            }
            tracker.advance(&header).unwrap();
        }
        assert_eq!(tracker.position(), file.len() as u64);
    }
}

#[test]
fn a_file_that_turns_encrypted_says_so() {
    let file = common::fixture("mariadb.1.binlog");
    let mut decoder = Decoder::new();
    let first = lutra_binlog::file::events(&file).unwrap().next().unwrap().unwrap();
    decoder.decode(first.bytes).unwrap();
    let start = |flags: u8| {
        let mut event = vec![0, 0, 0, 0, 164, 1, 0, 0, 0, 40, 0, 0, 0, 40, 1, 0, 0, flags, 0];
        event.extend([1; 17]);
        let crc = crc32fast::hash(&event);
        event.extend(crc.to_le_bytes());
        event
    };
    let error = decoder.decode(&start(0)).unwrap_err();
    assert!(
        matches!(error, DecodeError::Unsupported { .. }) && error.to_string().contains("encrypt_binlog"),
        "{error}"
    );
    // As the server sends it, in front of what it decrypts.
    assert_eq!(decoder.decode(&start(0x80)).unwrap().data, EventData::Ignorable);
}

//! Log records, rows in them, row schemas.

use std::sync::OnceLock;

use bytes::Bytes;
use lutra_wire::{Body, RawBody, Record, RowDecoder, RowEncoder, RowSchema, encode_record};

const SCHEMA: &str = include_str!("../../crates/wire/tests/golden/row_schema.v1.json");

/// A record, its tables and its body. What can be read is written again, and that must read the same.
pub fn record(input: &[u8]) {
    let Ok(record) = Record::decode(&Bytes::copy_from_slice(input)) else { return };
    let tables = record.body.tables();
    let Ok(body) = record.body.decode() else { return };
    assert!(tables.is_ok());
    let again = match &body {
        Body::Changes(changes) => RawBody::changes(changes),
        Body::Ddl(ddl) => RawBody::ddl(ddl),
        Body::Chunk(chunk) => RawBody::chunk(chunk),
        Body::Heartbeat(heartbeat) => RawBody::heartbeat(heartbeat),
        Body::EpochStart(start) => RawBody::epoch_start(start),
        Body::XaPrepare(prepare) => RawBody::xa_prepare(prepare),
        Body::XaDecision(decision) => RawBody::xa_decision(decision),
        // Written by cutting a body, not from what was read.
        Body::Fragment(_) => return,
    };
    let mut bytes = Vec::new();
    encode_record(&record.header, &again, &mut bytes);
    let second = Record::decode(&Bytes::from(bytes)).expect("what was written is read");
    assert_eq!(second.header, record.header);
    assert_eq!(second.body.kind(), record.body.kind());
    second.body.decode().expect("what was written is read");
}

/// A row of a table with a column of every type. What can be read is written again, and that must read the same.
pub fn row(input: &[u8]) {
    static CODEC: OnceLock<(RowEncoder, RowDecoder)> = OnceLock::new();
    let (encoder, decoder) = CODEC.get_or_init(|| {
        let schema = RowSchema::parse(SCHEMA).expect("the golden schema is read");
        (RowEncoder::new(&schema), RowDecoder::new(&schema))
    });
    let mut slices = Vec::new();
    let mut values = Vec::new();
    let sliced = decoder.slices(input, &mut slices).is_ok();
    if decoder.decode_into(input, &mut values).is_err() {
        assert!(!sliced);
        return;
    }
    assert_eq!(slices.concat(), input);
    let mut out = Vec::new();
    // An unsigned number or SET beyond its column can be read, not written.
    if values.iter().enumerate().all(|(column, value)| encoder.write(column, *value, &mut out).is_ok()) {
        let mut again = Vec::new();
        decoder.decode_into(&out, &mut again).expect("what was written is read");
        assert_eq!(format!("{again:?}"), format!("{values:?}"));
    }
}

/// A row schema, and a row of it: the schema up to the first line feed, the row behind.
pub fn schema(input: &[u8]) {
    let (schema, row) = input.split_at(input.iter().position(|b| *b == b'\n').unwrap_or(input.len()));
    let Ok(schema) = RowSchema::parse(&String::from_utf8_lossy(schema)) else { return };
    let written = RowSchema::from_table(schema.table()).expect("a table that was read is written");
    assert_eq!(RowSchema::parse(written.json()).expect("what was written is read").table(), schema.table());
    let _ = RowDecoder::new(&schema).decode(row.get(1..).unwrap_or_default(), |_, _| ());
}

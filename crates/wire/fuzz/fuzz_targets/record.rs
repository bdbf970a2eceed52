//! A record, its tables and its body. Seed it with `tests/golden/*.bin`.
//!
//! What can be read is written again, and that must read the same.
#![no_main]

use bytes::Bytes;
use lutra_wire::{Body, RawBody, Record, encode_record};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
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
    };
    let mut bytes = Vec::new();
    encode_record(&record.header, &again, &mut bytes);
    let second = Record::decode(&Bytes::from(bytes)).expect("what was written is read");
    assert_eq!(second.header, record.header);
    assert_eq!(second.body.kind(), record.body.kind());
    second.body.decode().expect("what was written is read");
});

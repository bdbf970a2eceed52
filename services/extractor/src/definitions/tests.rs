#![allow(clippy::unwrap_used)]
//! Real binlogs, their table maps made as a server makes them whose `binlog_row_metadata` is less than FULL: the log's parts
//! must come out the same to the byte.

use std::sync::Arc;

use lutra_binlog::{Decoder, EventData, Inflater, file};
use lutra_change::{BinlogPosition, GtidSet, Number};
use lutra_wire::record::{Body, RawBody};

use super::charsets::of_tests;
use super::{Entry, Store};
use crate::assembler::{Assembler, Output, Resume};
use crate::error::AssembleError;

const TYPES: &[u8] = include_bytes!("../../../../crates/binlog/tests/fixtures/types.1.binlog");
const CHANGES: &[u8] = include_bytes!("../../../../crates/binlog/tests/fixtures/changes.1.binlog");
const TABLE_MAP: u8 = 19;
const PAYLOAD: u8 = 40;

/// What MINIMAL leaves: signs, character sets of strings, geometry types, dimensions.
const MINIMAL: &[u8] = &[1, 2, 3, 7, 13];
/// What MariaDB's NO_LOG leaves.
const NO_LOG: &[u8] = &[];

fn packed(bytes: &[u8], at: usize) -> (usize, usize) {
    match bytes[at] {
        n @ 0..=250 => (usize::from(n), at + 1),
        252 => (usize::from(u16::from_le_bytes([bytes[at + 1], bytes[at + 2]])), at + 3),
        253 => (u32::from_le_bytes([bytes[at + 1], bytes[at + 2], bytes[at + 3], 0]) as usize, at + 4),
        _ => panic!("no such length"),
    }
}

/// The event without the optional metadata that is not in `kept`.
fn stripped(event: &[u8], kept: &[u8], checksum: bool) -> Vec<u8> {
    if event[4] != TABLE_MAP {
        return event.to_vec();
    }
    let end = event.len() - if checksum { 4 } else { 0 };
    let mut at = 19 + 8;
    for _ in 0..2 {
        at += usize::from(event[at]) + 2;
    }
    let (columns, next) = packed(event, at);
    let (metadata, next) = packed(event, next + columns);
    at = next + metadata + columns.div_ceil(8);
    let mut out = event[..at].to_vec();
    while at < end {
        let (length, value) = packed(event, at + 1);
        if kept.contains(&event[at]) {
            out.extend_from_slice(&event[at..value + length]);
        }
        at = value + length;
    }
    let size = u32::try_from(out.len() + event.len() - end).unwrap();
    out[9..13].copy_from_slice(&size.to_le_bytes());
    if checksum {
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    }
    out
}

/// Parts of the captured tables' units, and what is known of the tables at the end.
fn assemble(bytes: &[u8], tables: &str, kept: Option<&[u8]>) -> Result<(Vec<RawBody>, Assembler), AssembleError> {
    let spec = serde_json::json!({ "servers": ["localhost"], "user": "lutra", "tables": [tables] });
    let resume = Resume {
        number: Number::ORIGIN,
        position: BinlogPosition::new("binlog.000001", 4),
        gtid_set: GtidSet::new(),
        known: None,
        half: None,
        open_xa: Vec::new(),
    };
    let mut store = Store::default();
    store.activate(Arc::new(of_tests()), false);
    let mut assembler = Assembler::new(Arc::new(serde_json::from_value(spec).unwrap()), resume).with_definitions(store);
    let (mut decoder, mut inflater, mut bodies) = (Decoder::new(), Inflater::new(1 << 30), Vec::new());
    for event in file::events(bytes)? {
        let event = event?;
        let own = kept.map_or_else(|| event.bytes.to_vec(), |kept| stripped(event.bytes, kept, true));
        let mut header = decoder.decode(&own)?.header;
        // What was left out of it leaves no hole.
        header.event_size = u32::try_from(event.bytes.len()).unwrap();
        let decoded = decoder.decode(&own)?;
        if let EventData::TransactionPayload(payload) = &decoded.data {
            assert_eq!(own[4], PAYLOAD);
            assembler.step_over(&header)?;
            let mut inner = inflater.read(payload)?;
            while let Some(bytes) = inner.next_event()? {
                let bytes = kept.map_or_else(|| bytes.to_vec(), |kept| stripped(bytes, kept, false));
                assembler.inner_event(&decoder.decode_inner(&decoded.header, &bytes)?.data)?;
            }
        } else {
            assembler.event(&header, &decoded.data)?;
        }
        bodies.extend(std::iter::from_fn(|| assembler.take()).filter_map(|output| match output {
            Output::Part(part) => Some(part.body),
            Output::Schema(_) => None,
        }));
    }
    Ok((bodies, assembler))
}

/// A body; of the one table with a label that is not UTF-8, which full metadata shows lossily, without its schema.
fn shown(body: &RawBody) -> String {
    match body.decode().unwrap() {
        Body::Changes(mut changes) => {
            for table in changes.tables.iter_mut().filter(|t| t.name.table == "strings") {
                table.fingerprint = lutra_wire::Fingerprint([0; 16]);
            }
            format!("{changes:?}")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn rows_of_every_type_come_out_the_same_without_full_metadata() {
    let (full, _) = assemble(TYPES, "types.*", None).unwrap();
    assert!(full.len() > 15, "{}", full.len());
    for kept in [MINIMAL, NO_LOG] {
        let (less, _) = assemble(TYPES, "types.*", Some(kept)).unwrap();
        let all: Vec<_> = full.iter().map(shown).collect();
        assert_eq!(all, less.iter().map(shown).collect::<Vec<_>>());
    }
}

#[test]
fn whatever_a_transaction_is_it_comes_out_the_same_without_full_metadata() {
    let without = |kept| match assemble(CHANGES, "changes.t", kept) {
        Ok((bodies, _)) => bodies,
        Err(error) => panic!("{error}"),
    };
    let (full, less) = (without(None), without(Some(MINIMAL)));
    assert!(full.len() >= 8 && full == less, "{full:?}\n{less:?}");
}

#[test]
fn a_table_that_is_not_known_or_does_not_fit_halts_by_name() {
    let fault = |change: &dyn Fn(&mut Store)| {
        let (_, mut assembler) = assemble(TYPES, "types.*", Some(MINIMAL)).unwrap();
        change(assembler.definitions_mut());
        assembler.forget_tables();
        // The first table map of the file once more.
        let mut decoder = Decoder::new();
        for event in file::events(TYPES).unwrap() {
            let event = event.unwrap();
            let own = stripped(event.bytes, MINIMAL, true);
            let decoded = decoder.decode(&own).unwrap();
            if let EventData::TableMap(map) = &decoded.data {
                assert_eq!(map.table, "integers");
                return assembler.inner_event(&decoded.data).map_err(|e| e.to_string());
            }
        }
        panic!("no table map");
    };
    let name = lutra_change::TableName::new("types", "integers");
    fault(&|_| ()).unwrap();
    let with = |swap: &dyn Fn(&mut super::Definition)| {
        let (_, assembler) = assemble(TYPES, "types.*", Some(MINIMAL)).unwrap();
        let Some(Entry::Is(known)) = assembler.definitions().get(&name).cloned() else { panic!("not known") };
        let mut changed = (*known).clone();
        swap(&mut changed);
        fault(&|store| {
            store.set(&name, Entry::Is(Arc::new(changed.clone())));
        })
    };
    // The same number of columns in another order.
    let swapped = with(&|table| table.columns.swap(1, 2)).unwrap_err();
    assert!(swapped.contains("types.integers") && swapped.contains("column tu"), "{swapped}");
    let nulls = with(&|table| table.columns[3].nullable = false).unwrap_err();
    assert!(nulls.contains("takes NULL"), "{nulls}");
    let fewer = with(&|table| drop(table.columns.pop())).unwrap_err();
    assert!(fewer.contains("13 columns"), "{fewer}");
    let unknown = fault(&|store| {
        store.set(&name, Entry::Unknown("of a reason".to_owned()));
    })
    .unwrap_err();
    assert!(unknown.contains("of a reason") && unknown.contains("binlog_row_metadata = FULL"), "{unknown}");
}

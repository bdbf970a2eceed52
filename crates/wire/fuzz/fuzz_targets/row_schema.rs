//! A row schema, and a row of it: the schema up to the first line feed, the row behind. Seed it with
//! `tests/golden/row_schema.v1.json`.
#![no_main]

use lutra_wire::{RowDecoder, RowSchema};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (schema, row) = input.split_at(input.iter().position(|b| *b == b'\n').unwrap_or(input.len()));
    let Ok(schema) = RowSchema::parse(&String::from_utf8_lossy(schema)) else { return };
    let written = RowSchema::from_table(schema.table()).expect("a table that was read is written");
    assert_eq!(RowSchema::parse(written.json()).expect("what was written is read").table(), schema.table());
    let _ = RowDecoder::new(&schema).decode(row.get(1..).unwrap_or_default(), |_, _| ());
});

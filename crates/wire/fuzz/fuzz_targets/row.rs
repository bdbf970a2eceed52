//! A row of a table with a column of every type.
//!
//! What can be read is written again, and that must read the same.
#![no_main]

use std::sync::OnceLock;

use lutra_wire::{RowDecoder, RowEncoder, RowSchema};

const SCHEMA: &str = include_str!("../../tests/golden/row_schema.v1.json");

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
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
});

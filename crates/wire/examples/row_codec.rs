//! What a row costs: encode, add to a body, add up, take apart. `cargo run --release --example row_codec`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for a person")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use lutra_change::{Column, ColumnType, KeyPart, Operation, RowFlags, TableName, TableSchema, Value};
use lutra_wire::{Body, ChangesBuilder, RawBody, RowDecoder, RowEncoder, RowSchema, UnitDigest};

const ROWS: usize = 1_000;
const ROUNDS: usize = 7;

fn main() {
    let schema = RowSchema::from_table(&sysbench()).unwrap();
    let (encoder, decoder) = (RowEncoder::new(&schema), RowDecoder::new(&schema));
    let (c, pad) = ("6".repeat(119), "7".repeat(59));
    let row = [Value::Int(4_711), Value::Int(501_234), Value::Bytes(c.as_bytes()), Value::Bytes(pad.as_bytes())];
    let mut datum = Vec::new();
    write(&encoder, &row, &mut datum);
    println!("{} bytes per row", datum.len());

    let mut out = Vec::with_capacity(512);
    report("encode a row", || {
        out.clear();
        write(&encoder, black_box(&row), &mut out);
        black_box(&out);
    });

    let mut values = Vec::with_capacity(4);
    report("decode a row", || {
        decoder.decode_into(black_box(&datum), &mut values).unwrap();
        black_box(&values);
    });

    let mut builder = ChangesBuilder::new();
    report("encode a row and push it", || {
        out.clear();
        write(&encoder, black_box(&row), &mut out);
        push(&mut builder, &schema, &out);
        if builder.rows() == ROWS {
            black_box(builder.finish());
        }
    });
    builder.clear();

    let mut digest = UnitDigest::new();
    report("add a row to the totals", || digest.update(None, Some(black_box(&datum))));
    black_box(digest.totals());

    let body = filled(&schema, &datum);
    report_of("decode a body, per row", ROWS, || {
        black_box(body.decode().unwrap());
    });
    report_of("pass through a decoded body, per row", ROWS, || {
        let Body::Changes(changes) = body.decode().unwrap() else { return };
        black_box(RawBody::changes(&changes));
    });
}

fn sysbench() -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.into(), column_type, nullable: false, invisible: false };
    TableSchema {
        name: TableName::new("sbtest", "sbtest1"),
        columns: vec![
            column("id", ColumnType::Int { unsigned: false }),
            column("k", ColumnType::Int { unsigned: false }),
            column("c", ColumnType::Char { bytes: 480, collation: 255 }),
            column("pad", ColumnType::Char { bytes: 240, collation: 255 }),
        ],
        primary_key: vec![KeyPart { column: 0, prefix: None }],
    }
}

fn write(encoder: &RowEncoder, row: &[Value<'_>], out: &mut Vec<u8>) {
    for (column, value) in row.iter().enumerate() {
        encoder.write(column, *value, out).unwrap();
    }
}

fn push(builder: &mut ChangesBuilder, schema: &RowSchema, datum: &[u8]) {
    let table = builder.table(schema.fingerprint(), &schema.table().name);
    builder.push(Operation::Insert, RowFlags::default(), table, None, Some(datum), None, None);
}

fn filled(schema: &RowSchema, datum: &[u8]) -> RawBody {
    let mut builder = ChangesBuilder::new();
    (0..ROWS).for_each(|_| push(&mut builder, schema, &Bytes::copy_from_slice(datum)));
    builder.finish()
}

fn report(what: &str, work: impl FnMut()) {
    report_of(what, 1, work);
}

/// The best of some rounds of about 50 ms, as a mean over what one call of `work` does `per_call` times.
#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "measures real time")]
fn report_of(what: &str, per_call: usize, mut work: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begin = std::time::Instant::now();
        let mut calls = 0;
        while begin.elapsed() < Duration::from_millis(50) {
            (0..ROWS.div_ceil(per_call)).for_each(|_| work());
            calls += ROWS.div_ceil(per_call);
        }
        best = best.min(begin.elapsed().as_secs_f64() * 1e9 / (calls * per_call) as f64);
    }
    println!("{best:8.1} ns  {what}");
}

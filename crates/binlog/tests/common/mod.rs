//! What the tests over recorded binlogs share; none of them needs it all.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::path::PathBuf;

use lutra_binlog::{DecodeError, Decoder, Event, EventData, Image, Inflater, RowsEvent, Scratch, TableCache};
use lutra_change::{TableSchema, Value};

/// A file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// Bytes in hexadecimal or, where they are many, as their length and CRC-32: as `types.shown` in `make.sh`.
pub(crate) fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 64 {
        return format!("crc32:{}:{}", bytes.len(), crc32fast::hash(bytes));
    }
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// A value as the query in `make.sh` shows it.
pub(crate) fn text(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Float(n) => format!("float {n:e}"),
        Value::Double(n) => format!("double {n:e}"),
        Value::Decimal(text) | Value::Date(text) | Value::Time(text) | Value::DateTime(text) => text.to_owned(),
        Value::Timestamp(micros) => micros.to_string(),
        Value::Enum(index) => index.to_string(),
        Value::Set(bits) => bits.to_string(),
        Value::Bit(bytes) | Value::Bytes(bytes) => shown(bytes),
        Value::Json(json) => shown(lutra_change::json::printed(json).as_bytes()),
    }
}

/// Shows `visit` every event of a file, those inside payloads too, with the rows of rows events as (image, values).
pub(crate) type Images = Vec<(Image, Vec<(usize, String)>)>;

/// The whole way of a file's bytes.
pub(crate) fn walk(
    file: &[u8],
    mut visit: impl FnMut(&Event<'_>, Option<(&TableSchema, &Images)>),
) -> Result<(), DecodeError> {
    let (mut decoder, mut tables, mut scratch) = (Decoder::new(), TableCache::new(), Scratch::new());
    let mut inflater = Inflater::new(1 << 26);
    let mut each = |event: &Event<'_>, tables: &mut TableCache| -> Result<(), DecodeError> {
        match &event.data {
            EventData::TableMap(map) => {
                tables.observe(map)?;
                visit(event, None);
            }
            EventData::Rows(rows) => {
                let table = tables.get(rows)?;
                let images = images(table, rows, &mut scratch)?;
                visit(event, Some((table.schema(), &images)));
            }
            _ => visit(event, None),
        }
        Ok(())
    };
    for event in lutra_binlog::file::events(file)? {
        let event = decoder.decode(event?.bytes)?;
        each(&event, &mut tables)?;
        match &event.data {
            EventData::TransactionPayload(payload) => {
                let mut inner = inflater.read(payload)?;
                while let Some(bytes) = inner.next_event()? {
                    each(&decoder.decode_inner(&event.header, bytes)?, &mut tables)?;
                }
            }
            EventData::Compressed(compressed) => {
                let bytes = inflater.inflate(compressed)?;
                each(&decoder.decode_inner(&event.header, bytes)?, &mut tables)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn images(
    table: &lutra_binlog::RowDecoder,
    event: &RowsEvent<'_>,
    scratch: &mut Scratch,
) -> Result<Images, DecodeError> {
    let mut rows = table.rows(event, scratch)?;
    let mut images = Vec::new();
    while let Some(image) = rows.next_image() {
        let mut values = Vec::new();
        rows.decode_image(|column, value| {
            values.push((column, text(value)));
            Ok::<_, DecodeError>(())
        })?;
        images.push((image, values));
    }
    Ok(images)
}

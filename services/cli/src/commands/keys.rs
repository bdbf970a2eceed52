//! The primary keys of changed rows, as people read them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lutra_change::Value;
use lutra_kafka::SchemaTopic;
use lutra_wire::RowDecoder;
use lutra_wire::record::{RowChange, TableRef};
use lutra_wire::schema::{Fingerprint, RowSchema};

/// How long a schema is looked for: it was written before the record that names it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads keys; tables whose schema is not found have none.
pub(super) struct Keys {
    schemas: SchemaTopic,
    tables: HashMap<Fingerprint, Option<(Arc<RowSchema>, RowDecoder)>>,
}

impl Keys {
    pub(super) fn new(schemas: SchemaTopic) -> Self {
        Self { schemas, tables: HashMap::new() }
    }

    /// The key of a row: of what it is now, or of what it was when it is gone. None for a table without a key.
    pub(super) async fn of(&mut self, table: &TableRef, row: &RowChange) -> Option<String> {
        if !self.tables.contains_key(&table.fingerprint) {
            let found = tokio::time::timeout(PATIENCE, self.schemas.get(table.fingerprint)).await;
            let plan = found.ok().and_then(Result::ok).map(|schema| {
                let decoder = RowDecoder::new(&schema);
                (schema, decoder)
            });
            self.tables.insert(table.fingerprint, plan);
        }
        let (schema, decoder) = self.tables.get(&table.fingerprint)?.as_ref()?;
        let image = row.after.as_ref().or(row.before.as_ref())?;
        let mut values = Vec::new();
        decoder.decode_into(image, &mut values).ok()?;
        let parts = schema.table().primary_key.iter().map(|part| values.get(part.column).map(print));
        let key: Vec<String> = parts.collect::<Option<_>>()?;
        (!key.is_empty()).then(|| key.join(","))
    }
}

/// A value on one line.
fn print(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) | Value::Timestamp(n) => n.to_string(),
        Value::UInt(n) | Value::Set(n) => n.to_string(),
        Value::Enum(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Decimal(text) | Value::Date(text) | Value::Time(text) | Value::DateTime(text) => (*text).to_owned(),
        Value::Json(text) => lutra_change::json::printed(text).into_owned(),
        Value::Bit(bytes) => hex(bytes),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => hex(bytes),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printed_on_one_line() {
        assert_eq!(print(&Value::Bytes(b"abc")), "abc");
        assert_eq!(print(&Value::Bytes(b"a\nb")), "0x610a62");
        assert_eq!((print(&Value::UInt(7)), print(&Value::Null)), ("7".to_owned(), "NULL".to_owned()));
    }
}

//! Row schemas: derived from table metadata, canonical, fingerprinted.
//!
//! A row schema is an Avro record with one field per column, each a union with null. Everything of the
//! [`TableSchema`] stands in attributes (`lutra.*`), so a schema read back gives the same table, and two tables that
//! differ in anything have different fingerprints.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use lutra_change::{Column, ColumnType, KeyPart, TableName, TableSchema};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::WireError;

/// SHA-256 (first 16 bytes) of a row schema's canonical JSON, attributes included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The schema of a table's row datums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSchema {
    json: Arc<str>,
    fingerprint: Fingerprint,
    table: Arc<TableSchema>,
}

impl RowSchema {
    /// The row schema of a table.
    ///
    /// # Errors
    /// [`WireError::Schema`] for a table without columns.
    pub fn from_table(table: &TableSchema) -> Result<Self, WireError> {
        if table.columns.is_empty() {
            return Err(WireError::Schema { reason: format!("table {} has no columns", table.name) });
        }
        let json = to_json(table).to_string();
        Ok(Self { fingerprint: fingerprint(&json), json: json.into(), table: Arc::new(table.clone()) })
    }

    /// Reads a row schema.
    ///
    /// # Errors
    /// [`WireError::Schema`] when it is not one that [`from_table`](Self::from_table) makes.
    pub fn parse(json: &str) -> Result<Self, WireError> {
        let value: Value = serde_json::from_str(json).map_err(|e| WireError::Schema { reason: e.to_string() })?;
        let schema = Self::from_table(&to_table(&value)?)?;
        if *schema.json != *json {
            let reason = "it is not in canonical form, or was made by another version".to_owned();
            return Err(WireError::Schema { reason });
        }
        Ok(schema)
    }

    /// The schema's canonical JSON: fixed key order, no white space.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Names the schema.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The table it describes.
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }
}

fn fingerprint(json: &str) -> Fingerprint {
    let digest = Sha256::digest(json.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    Fingerprint(short)
}

fn to_json(table: &TableSchema) -> Value {
    let mut names = HashSet::new();
    let record = avro_name(&table.name.table, &mut HashSet::new());
    let fields: Vec<Value> = table.columns.iter().map(|c| field(c, &avro_name(&c.name, &mut names))).collect();
    let mut schema = Map::new();
    schema.insert("type".into(), "record".into());
    schema.insert("name".into(), record.into());
    schema.insert("namespace".into(), "lutra.row".into());
    schema.insert("lutra.database".into(), table.name.database.as_str().into());
    schema.insert("lutra.table".into(), table.name.table.as_str().into());
    let key: Vec<Value> = table.primary_key.iter().map(|p| json!([p.column, p.prefix])).collect();
    schema.insert("lutra.key".into(), key.into());
    schema.insert("fields".into(), fields.into());
    Value::Object(schema)
}

fn field(column: &Column, name: &str) -> Value {
    let mut field = Map::new();
    field.insert("name".into(), name.into());
    field.insert("type".into(), json!(["null", avro_type(&column.column_type)]));
    field.insert("default".into(), Value::Null);
    field.insert("lutra.column".into(), serde_json::to_value(column).unwrap_or_default());
    Value::Object(field)
}

fn avro_type(column: &ColumnType) -> Value {
    use ColumnType as T;
    match column {
        T::BigInt { unsigned: true } => json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0}),
        T::TinyInt { .. } | T::SmallInt { .. } | T::MediumInt { .. } | T::Int { .. } | T::BigInt { .. } | T::Year => "long".into(),
        T::Float => "float".into(),
        T::Double => "double".into(),
        T::Decimal { .. } | T::Date | T::Time { .. } | T::DateTime { .. } | T::Json => "string".into(),
        T::Timestamp { .. } => json!({"type": "long", "logicalType": "timestamp-micros"}),
        T::Enum { .. } => "int".into(),
        T::Bit { .. }
        | T::Set { .. }
        | T::Char { .. }
        | T::VarChar { .. }
        | T::Text { .. }
        | T::Binary { .. }
        | T::VarBinary { .. }
        | T::Blob { .. }
        | T::Geometry { .. }
        | T::Vector { .. } => "bytes".into(),
    }
}

/// A name as Avro allows it (letters, digits, underscore; no digit first), different from those already used.
fn avro_name(name: &str, used: &mut HashSet<String>) -> String {
    let mut plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if plain.is_empty() || plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    let mut candidate = plain.clone();
    let mut n = 2;
    while !used.insert(candidate.clone()) {
        candidate = format!("{plain}_{n}");
        n += 1;
    }
    candidate
}

fn to_table(schema: &Value) -> Result<TableSchema, WireError> {
    let fault = |reason: &str| WireError::Schema { reason: reason.to_owned() };
    let text = |key: &'static str| schema.get(key).and_then(Value::as_str).ok_or_else(|| fault(&format!("no attribute {key}")));
    let fields = schema.get("fields").and_then(Value::as_array).ok_or_else(|| fault("no fields"))?;
    let columns = fields
        .iter()
        .map(|f| {
            let column = f.get("lutra.column").ok_or_else(|| fault("a field has no attribute lutra.column"))?;
            serde_json::from_value::<Column>(column.clone()).map_err(|e| fault(&e.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let key = schema.get("lutra.key").cloned().ok_or_else(|| fault("no attribute lutra.key"))?;
    let key: Vec<(usize, Option<u32>)> = serde_json::from_value(key).map_err(|e| fault(&e.to_string()))?;
    if key.iter().any(|(column, _)| *column >= columns.len()) {
        return Err(fault("the key names a column that is not there"));
    }
    Ok(TableSchema {
        name: TableName::new(text("lutra.database")?, text("lutra.table")?),
        columns,
        primary_key: key.into_iter().map(|(column, prefix)| KeyPart { column, prefix }).collect(),
    })
}

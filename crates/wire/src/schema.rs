//! Row schemas: derived from table metadata, canonical, fingerprinted.
//!
//! A row schema is an Avro record with one field per column, each a union with null. Everything of the
//! [`TableSchema`] stands in attributes (`lutra.*`), so a schema read back gives the same table, and two tables that
//! differ in anything have different fingerprints.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lutra_change::{Column, ColumnType, KeyPart, TableName, TableSchema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::WireError;

/// Version of the attributes. A later one may say things of a table that this version does not know.
const VERSION: u64 = 1;

/// SHA-256 (first 16 bytes) of a row schema's canonical JSON, attributes included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let mut bytes = [0; 16];
        let digits =
            (text.len() == 32).then_some(text.as_bytes()).ok_or_else(|| fault("a fingerprint has 32 digits"))?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
            *byte = pair.ok_or_else(|| fault("a fingerprint is written in hexadecimal digits"))?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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

    /// Reads a row schema, from this version or an earlier one. The text is kept as it is, and so is its fingerprint.
    ///
    /// # Errors
    /// [`WireError::Schema`] when it is not one that [`from_table`](Self::from_table) makes.
    pub fn parse(json: &str) -> Result<Self, WireError> {
        let value: Value = serde_json::from_str(json).map_err(|e| fault(e.to_string()))?;
        let table = to_table(&value)?;
        Ok(Self { fingerprint: fingerprint(json), json: json.into(), table: Arc::new(table) })
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

impl Fingerprint {
    /// Names a text.
    pub fn of(text: &str) -> Self {
        fingerprint(text)
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
    schema.insert("lutra.version".into(), VERSION.into());
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
        T::TinyInt { .. } | T::SmallInt { .. } | T::MediumInt { .. } | T::Int { .. } | T::BigInt { .. } | T::Year => {
            "long".into()
        }
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

fn fault(reason: impl Into<String>) -> WireError {
    WireError::Schema { reason: reason.into() }
}

fn to_table(schema: &Value) -> Result<TableSchema, WireError> {
    let attribute = |key: &str| schema.get(key).ok_or_else(|| fault(format!("it has no {key}")));
    let text = |key: &str| attribute(key)?.as_str().ok_or_else(|| fault(format!("{key} is not text")));
    match attribute("lutra.version")?.as_u64() {
        Some(1..=VERSION) => {}
        other => {
            let found = other.map_or_else(|| "no number".to_owned(), |v| v.to_string());
            return Err(fault(format!(
                "lutra.version is {found}, this version reads up to {VERSION}: read it with the Lutra version that wrote it"
            )));
        }
    }
    let fields = attribute("fields")?.as_array().ok_or_else(|| fault("fields is not a list"))?;
    let columns = fields.iter().map(to_column).collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Err(fault("it has no columns"));
    }
    let key = attribute("lutra.key")?.clone();
    let key: Vec<(usize, Option<u32>)> = serde_json::from_value(key).map_err(|e| fault(format!("lutra.key: {e}")))?;
    if key.iter().any(|(column, _)| *column >= columns.len()) {
        return Err(fault("lutra.key names a column that is not there"));
    }
    Ok(TableSchema {
        name: TableName::new(text("lutra.database")?, text("lutra.table")?),
        columns,
        primary_key: key.into_iter().map(|(column, prefix)| KeyPart { column, prefix }).collect(),
    })
}

fn to_column(field: &Value) -> Result<Column, WireError> {
    let column = field.get("lutra.column").ok_or_else(|| fault("a field has no lutra.column"))?;
    let column: Column = serde_json::from_value(column.clone()).map_err(|e| fault(format!("lutra.column: {e}")))?;
    // The datum is read by the column's type: it must be what a general Avro reader would read.
    if field.get("type") != Some(&json!(["null", avro_type(&column.column_type)])) {
        return Err(fault(format!("the Avro type of {} is not that of its column type", column.name)));
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(names: &[&str]) -> TableSchema {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            column_type: ColumnType::Int { unsigned: false },
            nullable: false,
            invisible: false,
        };
        TableSchema {
            name: TableName::new("shop", "1st"),
            columns: names.iter().map(column).collect(),
            primary_key: vec![KeyPart { column: 0, prefix: None }],
        }
    }

    #[test]
    fn names_follow_avro_and_stay_apart() {
        let json: Value = serde_json::from_str(
            RowSchema::from_table(&table(&["a b", "a_b", "a_b_2", "", "9", "\u{e4}"])).unwrap().json(),
        )
        .unwrap();
        let names: Vec<&str> = json["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a_b", "a_b_2", "a_b_2_2", "_", "_9", "__2"]);
        assert_eq!(json["name"], "_1st");
    }

    #[test]
    fn any_difference_of_tables_shows_in_the_fingerprint() {
        let base = table(&["a", "b"]);
        let mut others = vec![base.clone(); 5];
        others[0].columns[1].nullable = true;
        others[1].primary_key[0].prefix = Some(3);
        others[2].name.database = "shop2".into();
        others[3].columns[0].column_type = ColumnType::Int { unsigned: true };
        others[4].columns[1].invisible = true;
        others.push(base);
        let prints: HashSet<_> = others.iter().map(|t| RowSchema::from_table(t).unwrap().fingerprint()).collect();
        assert_eq!(prints.len(), others.len());
    }

    #[test]
    fn what_is_no_row_schema_is_refused_with_a_reason() {
        let good = RowSchema::from_table(&table(&["a"])).unwrap().json().to_owned();
        for (from, to, reason) in [
            ("\"lutra.version\":1", "\"lutra.version\":2", "read it with the Lutra version"),
            ("\"lutra.version\":1", "\"lutra.version\":\"x\"", "no number"),
            ("\"lutra.database\":\"shop\",", "", "lutra.database"),
            ("[\"null\",\"long\"]", "[\"null\",\"string\"]", "not that of its column type"),
            ("[[0,null]]", "[[1,null]]", "lutra.key"),
            ("{", "", "row schema"),
        ] {
            let error = RowSchema::parse(&good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(RowSchema::from_table(&table(&[])).unwrap_err().to_string().contains("shop.1st"));
    }
}

//! Every column type at its extremes, recorded from a real server: what is decoded is what the server itself says.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use lutra_binlog::EventData;
use lutra_change::{ColumnType, TableSchema};

/// A table and its values.
type Row = (String, Vec<String>);

/// The inserted rows as the lines of `types.expected`, and the schemas by table.
fn decoded() -> (Vec<Row>, BTreeMap<String, TableSchema>) {
    let (mut rows, mut schemas) = (Vec::new(), BTreeMap::new());
    common::walk(&common::fixture("types.1.binlog"), |event, images| {
        let EventData::Rows(_) = event.data else { return };
        let (schema, images) = images.unwrap();
        for (_, values) in images {
            assert!(values.iter().map(|v| v.0).eq(0..schema.columns.len()));
            rows.push((schema.name.table.clone(), values.iter().map(|v| v.1.clone()).collect()));
        }
        schemas.insert(schema.name.table.clone(), schema.clone());
    })
    .unwrap();
    (rows, schemas)
}

fn equal(decoded: &str, expected: &str) -> bool {
    if let Some(number) = decoded.strip_prefix("double ") {
        return number.parse::<f64>().unwrap() == expected.parse::<f64>().unwrap();
    }
    if let Some(number) = decoded.strip_prefix("float ") {
        return f64::from(number.parse::<f32>().unwrap()) == expected.parse::<f64>().unwrap();
    }
    decoded == expected.replace("null", "NULL")
}

#[test]
fn every_value_is_what_the_server_says() {
    let (mut rows, _) = decoded();
    // The file is in the order of tables; rows of one table came in the order of their keys.
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = String::from_utf8(common::fixture("types.expected")).unwrap();
    let expected: Vec<Vec<&str>> = expected.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(rows.len(), expected.len());
    let mut wrong = Vec::new();
    for ((table, values), line) in rows.iter().zip(&expected) {
        assert_eq!(*table, line[0]);
        assert_eq!(values.len(), line.len() - 1, "{table}");
        for (column, (value, said)) in values.iter().zip(&line[1..]).enumerate() {
            if !equal(value, said) {
                wrong.push(format!("{table} row {}, column {column}: decoded {value}, server says {said}", line[1]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn schemas_are_what_the_statements_declared() {
    let (_, schemas) = decoded();
    let column = |table: &str, name: &str| {
        let schema = &schemas[table];
        schema.columns[schema.column(name).unwrap_or_else(|| panic!("{table}.{name}"))].clone()
    };
    for (table, name, expected) in [
        ("integers", "tu", ColumnType::TinyInt { unsigned: true }),
        ("integers", "m", ColumnType::MediumInt { unsigned: false }),
        ("integers", "bu", ColumnType::BigInt { unsigned: true }),
        ("integers", "y", ColumnType::Year),
        ("numbers", "d65", ColumnType::Decimal { precision: 65, scale: 30 }),
        ("numbers", "b33", ColumnType::Bit { length: 33 }),
        ("times", "t5", ColumnType::Time { fsp: 5 }),
        ("times", "dt3", ColumnType::DateTime { fsp: 3 }),
        ("times", "ts6", ColumnType::Timestamp { fsp: 6 }),
        ("strings", "c1", ColumnType::Char { bytes: 1, collation: 8 }),
        ("strings", "c255", ColumnType::Char { bytes: 1020, collation: 255 }),
        ("strings", "cu", ColumnType::Char { bytes: 20, collation: 54 }),
        ("strings", "v64", ColumnType::VarChar { bytes: 256, collation: 255 }),
        ("strings", "vec", ColumnType::Vector { dimensions: 3 }),
        // Behind the VECTOR, which the server counts among the character columns.
        ("strings", "after_vector", ColumnType::VarChar { bytes: 60, collation: 33 }),
        ("strings", "b255", ColumnType::Binary { bytes: 255 }),
        ("strings", "vb300", ColumnType::VarBinary { bytes: 300 }),
        ("strings", "tx", ColumnType::Text { prefix: 2, collation: 8 }),
        ("strings", "lt", ColumnType::Text { prefix: 4, collation: 255 }),
        ("strings", "mb", ColumnType::Blob { prefix: 3 }),
        ("strings", "st", ColumnType::Set { labels: vec!["p".into(), "q".into(), "r".into()], collation: 255 }),
        ("strings", "e_many", ColumnType::Enum { labels: vec!["x".into(), "y".into()], collation: 46 }),
        // A YEAR stands before it, which is listed among the numeric columns.
        ("integers", "flag", ColumnType::TinyInt { unsigned: false }),
        ("geometries", "g", ColumnType::Geometry { kind: 0 }),
        ("geometries", "p", ColumnType::Geometry { kind: 1 }),
        ("geometries", "gc", ColumnType::Geometry { kind: 7 }),
        ("json", "j", ColumnType::Json),
    ] {
        assert_eq!(column(table, name).column_type, expected, "{table}.{name}");
    }
    let ColumnType::Enum { collation: 8, labels } = column("strings", "e").column_type else { panic!("strings.e") };
    assert_eq!(labels.len(), 3);
    assert!(column("strings", "hidden").invisible && !column("strings", "st").invisible);
    assert!(column("integers", "tu").nullable && !column("integers", "flag").nullable);
}

#[test]
fn primary_keys_keep_order_and_prefixes() {
    let (_, schemas) = decoded();
    let keyed = &schemas["keyed"];
    let key: Vec<_> = keyed.primary_key.iter().map(|p| (keyed.columns[p.column].name.as_str(), p.prefix)).collect();
    assert_eq!(key, [("c", Some(7)), ("b", None), ("a", None)]);
    // Hidden columns of functional indexes are not in the binlog.
    assert!(keyed.columns.iter().map(|c| c.name.as_str()).eq(["a", "b", "c", "g", "s", "j"]));
}

//! A table's row schema from the catalogue: what a table map with full metadata would tell.

use lutra_change::{Column, ColumnType, KeyPart, TableSchema, schema::BINARY_COLLATION};

use crate::catalogue::{CatalogueColumn, Collations, TableDefinition};
use crate::sql::bytes_per_character;

/// A column of a type that cannot be told from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of {table} has the type {column_type}, which is not known")]
pub struct UnknownType {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// Its type, as the server prints it.
    pub column_type: String,
}

/// The row schema of a table. Hidden columns of functional indexes, which the catalogue does not show, are not in it.
///
/// # Errors
/// [`UnknownType`].
pub fn table_schema(table: &TableDefinition, collations: &Collations) -> Result<TableSchema, UnknownType> {
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let column_type = column_type(column, collations).ok_or_else(|| UnknownType {
            table: table.name.to_string(),
            column: column.name.clone(),
            column_type: column.column_type.clone(),
        })?;
        columns.push(Column {
            name: column.name.clone(),
            column_type,
            nullable: column.nullable,
            invisible: column.invisible,
        });
    }
    let mut schema = TableSchema { name: table.name.clone(), columns, primary_key: Vec::new() };
    for part in table.primary_key().map(|k| k.parts.as_slice()).unwrap_or_default() {
        let found = part.column.as_deref().and_then(|name| schema.column(name));
        schema.primary_key.extend(found.map(|column| KeyPart { column, prefix: part.prefix }));
    }
    Ok(schema)
}

fn column_type(column: &CatalogueColumn, collations: &Collations) -> Option<ColumnType> {
    use ColumnType as T;
    let text = column.column_type.to_ascii_lowercase();
    let unsigned = text.contains("unsigned");
    let numbers = numbers(&text);
    let first = numbers.first().copied();
    let fsp = first.and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let collation = column.collation.as_deref().and_then(|name| collations.id(name)).unwrap_or(BINARY_COLLATION);
    let characters = |n: u32| n.saturating_mul(u32::from(bytes_per_character(collation).unwrap_or(4)));
    Some(match column.data_type.as_str() {
        "tinyint" => T::TinyInt { unsigned },
        "smallint" => T::SmallInt { unsigned },
        "mediumint" => T::MediumInt { unsigned },
        "int" => T::Int { unsigned },
        "bigint" => T::BigInt { unsigned },
        "float" => T::Float,
        "double" => T::Double,
        "decimal" => T::Decimal {
            precision: u8::try_from(first.unwrap_or(10)).ok()?,
            scale: u8::try_from(numbers.get(1).copied().unwrap_or(0)).ok()?,
        },
        "year" => T::Year,
        "date" => T::Date,
        "time" => T::Time { fsp },
        "datetime" => T::DateTime { fsp },
        "timestamp" => T::Timestamp { fsp },
        "bit" => T::Bit { length: u8::try_from(first.unwrap_or(1)).ok()? },
        "char" => T::Char { bytes: characters(first.unwrap_or(1)), collation },
        "varchar" => T::VarChar { bytes: characters(first?), collation },
        "tinytext" => T::Text { prefix: 1, collation },
        "text" => T::Text { prefix: 2, collation },
        "mediumtext" => T::Text { prefix: 3, collation },
        "longtext" => T::Text { prefix: 4, collation },
        "binary" => T::Binary { bytes: first.unwrap_or(1) },
        "varbinary" => T::VarBinary { bytes: first? },
        "tinyblob" => T::Blob { prefix: 1 },
        "blob" => T::Blob { prefix: 2 },
        "mediumblob" => T::Blob { prefix: 3 },
        "longblob" => T::Blob { prefix: 4 },
        "enum" => T::Enum { labels: labels(&column.column_type)?, collation },
        "set" => T::Set { labels: labels(&column.column_type)?, collation },
        "json" => T::Json,
        "vector" => T::Vector { dimensions: first.unwrap_or(2_048) },
        // MariaDB's; in its binlog, and as they are cast to BINARY, as their bytes.
        "uuid" | "inet6" => T::Binary { bytes: 16 },
        "inet4" => T::Binary { bytes: 4 },
        "geometry" => T::Geometry { kind: 0 },
        "point" => T::Geometry { kind: 1 },
        "linestring" => T::Geometry { kind: 2 },
        "polygon" => T::Geometry { kind: 3 },
        "multipoint" => T::Geometry { kind: 4 },
        "multilinestring" => T::Geometry { kind: 5 },
        "multipolygon" => T::Geometry { kind: 6 },
        "geomcollection" | "geometrycollection" => T::Geometry { kind: 7 },
        _ => return None,
    })
}

/// The numbers in the first brackets: `decimal(10,2) unsigned`.
fn numbers(text: &str) -> Vec<u32> {
    let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|n| n.trim().parse().ok()).collect()
}

/// The labels in `enum('a','b''c')`.
fn labels(text: &str) -> Option<Vec<String>> {
    let inside = text.split_once('(')?.1.strip_suffix(')')?;
    let mut labels = Vec::new();
    let mut rest = inside;
    loop {
        rest = rest.trim_start_matches(',').strip_prefix('\'')?;
        let mut label = String::new();
        loop {
            let (before, behind) = rest.split_once('\'')?;
            label.push_str(before);
            match behind.strip_prefix('\'') {
                Some(more) => {
                    label.push('\'');
                    rest = more;
                }
                None => {
                    rest = behind;
                    break;
                }
            }
        }
        labels.push(label);
        if rest.is_empty() {
            return Some(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_numbers_are_read_as_the_server_prints_them() {
        assert_eq!(labels("enum('a','b''c','','d,e')"), Some(["a", "b'c", "", "d,e"].map(str::to_owned).to_vec()));
        assert_eq!(labels("set('x"), None);
        assert_eq!(numbers("decimal(10,2) unsigned"), [10, 2]);
        assert!(numbers("int").is_empty());
    }
}

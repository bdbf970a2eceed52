//! A column's exact value as SQL: text without any character set to convert, NULL for NULL.

use lutra_mysql::catalogue::CatalogueColumn;
use lutra_mysql::sql::quote_identifier;

/// The expressions that give the same text on both sides exactly where the values are the same.
pub(crate) fn both(source: &CatalogueColumn, target: &CatalogueColumn) -> (String, String) {
    (one(source, target), one(target, source))
}

fn one(column: &CatalogueColumn, other: &CatalogueColumn) -> String {
    let name = quote_identifier(&column.name);
    let text = |converted: &str| {
        if column.charset == other.charset {
            converted.to_owned()
        } else {
            format!("CONVERT({converted} USING utf8mb4)")
        }
    };
    match column.data_type.as_str() {
        // As text the server rounds FLOAT to six digits; as DOUBLE all are there.
        "float" | "double" | "real" => format!("CAST(CAST({name} AS DOUBLE) AS CHAR)"),
        "bit" => format!("CAST(CAST({name} AS UNSIGNED) AS CHAR)"),
        // An invalid value reads as the empty text, which can be a member too: the number tells.
        "enum" | "set" if column.column_type == other.column_type && column.charset == other.charset => {
            format!("CAST(CAST({name} AS UNSIGNED) AS CHAR)")
        }
        "enum" => format!("CONCAT({name} = 0, HEX(CONVERT({name} USING utf8mb4)))"),
        "set" => format!("HEX(CONVERT({name} USING utf8mb4))"),
        "char" | "varchar" | "tinytext" => format!("HEX({})", text(&name)),
        // In hexadecimal they may be larger than a packet.
        "text" | "mediumtext" | "longtext" => digest(&text(&name)),
        "json" => digest(&format!("CAST({name} AS CHAR)")),
        "binary" | "varbinary" | "tinyblob" => format!("HEX({name})"),
        "blob" | "mediumblob" | "longblob" => digest(&name),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" | "date" | "datetime"
        | "timestamp" | "time" | "uuid" | "inet4" | "inet6" => format!("CAST({name} AS CHAR)"),
        // Geometry and vectors: bytes.
        _ => digest(&format!("HEX({name})")),
    }
}

/// MySQL 9.6 and later have no MD5 or SHA1 of their own.
fn digest(text: &str) -> String {
    format!("SHA2({text},256)")
}

/// The checksum of a row.
pub(crate) fn row(expressions: &[String]) -> String {
    // No expression gives `-` or a comma, so that no two rows give the same text.
    let values: Vec<String> = expressions.iter().map(|e| format!("IFNULL({e},'-')")).collect();
    digest(&format!("CONCAT({})", values.join(",',',")))
}

/// Number of rows, and two sums over their checksums: together they tell multisets apart.
pub(crate) fn sums(checksum: &str) -> String {
    format!(
        "COUNT(*), COALESCE(BIT_XOR(CAST(CONV(LEFT({checksum},16),16,10) AS UNSIGNED)),0), \
         COALESCE(SUM(CAST(CONV(RIGHT({checksum},16),16,10) AS UNSIGNED)),0)"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn column(name: &str, data_type: &str, charset: Option<&str>) -> CatalogueColumn {
        CatalogueColumn {
            name: name.to_owned(),
            ordinal: 1,
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            charset: charset.map(str::to_owned),
            collation: charset.map(|charset| format!("{charset}_bin")),
            nullable: true,
            default: None,
            generated: false,
            expression: None,
            stored: false,
            auto_increment: false,
            invisible: false,
            touched_by_updates: false,
        }
    }

    #[test]
    fn text_is_converted_only_between_unlike_character_sets() {
        let (a, b) = (column("a", "varchar", Some("latin1")), column("b", "varchar", Some("utf8mb4")));
        assert_eq!(both(&a, &a).0, "HEX(`a`)");
        assert_eq!(
            both(&a, &b),
            ("HEX(CONVERT(`a` USING utf8mb4))".to_owned(), "HEX(CONVERT(`b` USING utf8mb4))".to_owned())
        );
    }

    #[test]
    fn floats_keep_all_their_digits() {
        let f = column("f", "float", None);
        assert_eq!(both(&f, &f).0, "CAST(CAST(`f` AS DOUBLE) AS CHAR)");
    }
}

//! Types of columns, and values for them.

use super::{Column, Generator};

/// Types with what may be done with their columns.
const TYPES: &[(&str, &str)] = &[
    ("INT", "int"),
    ("INT UNSIGNED", "int"),
    ("INTEGER(11)", "int"),
    ("TINYINT(1)", "int"),
    ("BOOL", "int"),
    ("SMALLINT UNSIGNED ZEROFILL", "int"),
    ("MEDIUMINT", "int"),
    ("BIGINT UNSIGNED", "int"),
    ("INT8", "int"),
    ("MIDDLEINT", "int"),
    ("SERIAL", "serial"),
    ("DECIMAL(20,6)", "num"),
    ("NUMERIC UNSIGNED", "num"),
    ("FIXED(5)", "num"),
    ("DEC(6,2) ZEROFILL", "num"),
    ("FLOAT(24)", "num"),
    ("FLOAT(7,3)", "num"),
    ("REAL", "num"),
    ("DOUBLE PRECISION", "num"),
    ("BIT(9)", "bit"),
    ("YEAR", "year"),
    ("DATE", "date"),
    ("TIME(3)", "time"),
    ("DATETIME(6)", "datetime"),
    ("DATETIME", "datetime"),
    ("TIMESTAMP NULL", "timestamp"),
    ("TIMESTAMP(6)", "stamp6"),
    ("TIMESTAMP", "bare stamp"),
    ("CHAR(12)", "text"),
    ("VARCHAR(64)", "text"),
    ("VARCHAR(40) CHARACTER SET latin1", "text"),
    ("VARCHAR(40) CHARSET gbk COLLATE gbk_bin", "text"),
    ("CHAR(10) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci", "text"),
    ("VARCHAR(20) CHARACTER SET utf8mb4", "text"),
    ("VARCHAR(20) CHARACTER SET ucs2", "text"),
    ("CHAR BYTE", "bytes"),
    ("NATIONAL VARCHAR(20)", "text"),
    ("NCHAR(4)", "text"),
    ("VARCHAR(30) BINARY", "text"),
    ("CHARACTER VARYING(9) ASCII", "text"),
    ("VARCHAR(9) UNICODE", "text"),
    ("TINYTEXT", "blob"),
    ("TEXT(300) COLLATE utf8mb4_bin", "blob"),
    ("LONG VARCHAR", "blob"),
    ("LONGTEXT", "blob"),
    ("BINARY(16)", "bytes"),
    ("VARBINARY(80)", "bytes"),
    ("BLOB", "raw"),
    ("MEDIUMBLOB", "raw"),
    ("ENUM('a','it''s','c,d')", "enum"),
    ("ENUM('é','日') CHARACTER SET utf8mb4", "label"),
    ("SET('x','y','z')", "set"),
    ("JSON", "json"),
    ("GEOMETRY", "geo"),
    ("GEOMETRYCOLLECTION", "shapes"),
];

const MYSQL_TYPES: &[(&str, &str)] = &[
    ("POINT NOT NULL SRID 4326", "point"),
    ("POLYGON SRID 0", "polygon"),
    ("GEOMCOLLECTION", "shapes"),
    ("VECTOR(4)", "vector"),
    ("VECTOR", "vector"),
];

const MARIADB_TYPES: &[(&str, &str)] = &[
    ("POINT NOT NULL", "flat point"),
    ("POLYGON REF_SYSTEM_ID=4326", "polygon"),
    ("UUID", "uuid"),
    ("INET6", "inet6"),
    ("INET4", "inet4"),
    ("VARCHAR(400) COMPRESSED", "packed"),
    ("BLOB COMPRESSED", "packed"),
    ("TEXT COMPRESSED=zlib", "packed"),
    ("VARCHAR(30) COLLATE uca1400_ai_ci", "text"),
    ("NUMBER(8,2)", "oracle"),
    ("VARCHAR2(20)", "oracle"),
];

impl Generator {
    /// A type and its class.
    pub(super) fn data_type(&mut self) -> (&'static str, &'static str) {
        let own = if self.flavour.is_mariadb() { MARIADB_TYPES } else { MYSQL_TYPES };
        if self.chance(8) { self.pick(own) } else { self.pick(TYPES) }
    }

    /// A default for a column of that class.
    pub(super) fn default_of(&mut self, class: &str) -> Option<String> {
        let maria = self.flavour.is_mariadb();
        let text = match class {
            "int" | "num" => self.pick(&["5", "'7'", "(1 + 2)", "0", "TRUE"]),
            "bit" => self.pick(&["b'101'", "b'0'"]),
            "year" => "2024",
            "date" => self.pick(&["'2024-02-29'", "(curdate())"]),
            "time" => "'-12:00:00'",
            "datetime" => "'2024-01-01 00:00:00'",
            "timestamp" | "bare stamp" => self.pick(&["CURRENT_TIMESTAMP", "NOW() ON UPDATE CURRENT_TIMESTAMP"]),
            "stamp6" => "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
            "text" if !maria && self.chance(2) => "(concat('a', 'b''c'))",
            "text" => self.pick(&["'a''b'", "''", "N'n'", "_utf8mb4'x'"]),
            "blob" if !maria => "('long')",
            "blob" => "'long'",
            "bytes" => "0x41",
            "enum" => self.pick(&["NULL", "'a'"]),
            "json" if maria => "'{\"a\": 1}'",
            "json" => "(json_object('a', 1))",
            "geo" if !maria => "(st_geomfromtext('POINT(1 2)'))",
            "uuid" => "'123e4567-e89b-12d3-a456-426655440000'",
            "inet6" => "'::1'",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// A value for that column.
    pub(super) fn value(&mut self, column: &Column) -> String {
        if self.chance(9) && !column.class.ends_with("point") {
            return self.pick(&["NULL", "DEFAULT"]).to_owned();
        }
        let maria = self.flavour.is_mariadb();
        match column.class {
            "int" | "num" => self.pick(&["1", "-5", "42", "0", "100", "'77'"]).to_owned(),
            "bit" => self.pick(&["b'1'", "511", "b'101010101'"]).to_owned(),
            "year" => self.pick(&["1999", "0", "2155"]).to_owned(),
            "date" => self.pick(&["'2024-02-29'", "'0000-00-00'", "'9999-12-31'", "'2024-00-10'"]).to_owned(),
            "time" => self.pick(&["'-838:59:59'", "'12:34:56.789'", "0"]).to_owned(),
            "datetime" => self.pick(&["'2024-02-29 23:59:59.999999'", "'0000-00-00'", "NOW()"]).to_owned(),
            "timestamp" | "stamp6" | "bare stamp" => {
                self.pick(&["'2001-09-09 01:46:40.123456'", "'2037-12-31 00:00:00'", "NOW()"]).to_owned()
            }
            "text" | "blob" => self
                .pick(&["'plain'", "'it''s'", "''", "'12'", "'longer than many columns are'", "'2024-01-01'"])
                .to_owned(),
            "bytes" | "raw" => self.pick(&["0x00FF275C", "'b'", "''"]).to_owned(),
            "packed" => self.pick(&["REPEAT('packed ', 50)", "''", "'x'"]).to_owned(),
            "enum" => self.pick(&["'a'", "'c,d'", "2", "'not there'", "''"]).to_owned(),
            "set" => self.pick(&["'x,z'", "''", "7", "'y,not there'"]).to_owned(),
            "json" => self.pick(&["'{\"a\": [1, 2], \"b\": null}'", "'[]'", "'7'", "'\"s\"'"]).to_owned(),
            "geo" => "ST_GeomFromText('LINESTRING(0 0, 1 1)')".to_owned(),
            "shapes" => "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')".to_owned(),
            "polygon" => "ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))')".to_owned(),
            "point" => "ST_GeomFromText('POINT(10 20)', 4326)".to_owned(),
            "flat point" => "ST_GeomFromText('POINT(10 20)')".to_owned(),
            "vector" => self.pick(&["STRING_TO_VECTOR('[1,2,3,4]')", "0x0000803F00000040"]).to_owned(),
            "uuid" => self.pick(&["'00112233-4455-6677-8899-aabbccddeeff'", "'zz'"]).to_owned(),
            "inet4" => "'10.0.0.1'".to_owned(),
            "inet6" => "'2001:db8::1'".to_owned(),
            "label" if !maria => "1".to_owned(),
            _ => "DEFAULT".to_owned(),
        }
    }
}

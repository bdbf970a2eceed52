//! CREATE TABLE.

use super::{Column, Generator, Partitions, Table};

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
    ("SERIAL", "serial"),
    ("DECIMAL(20,6)", "num"),
    ("NUMERIC UNSIGNED", "num"),
    ("FIXED(5)", "num"),
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
    ("CHAR(12)", "text"),
    ("VARCHAR(64)", "text"),
    ("VARCHAR(40) CHARACTER SET latin1", "text"),
    ("VARCHAR(40) CHARSET gbk COLLATE gbk_bin", "text"),
    ("CHAR(10) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci", "text"),
    ("CHAR BYTE", "bytes"),
    ("NATIONAL VARCHAR(20)", "text"),
    ("NCHAR(4)", "text"),
    ("VARCHAR(30) BINARY", "text"),
    ("CHARACTER VARYING(9) ASCII", "text"),
    ("TINYTEXT", "blob"),
    ("TEXT(300) COLLATE utf8mb4_bin", "blob"),
    ("LONG VARCHAR", "blob"),
    ("LONGTEXT", "blob"),
    ("BINARY(16)", "bytes"),
    ("VARBINARY(80)", "bytes"),
    ("BLOB", "blob"),
    ("MEDIUMBLOB", "blob"),
    ("ENUM('a','it''s','c,d')", "enum"),
    ("ENUM('é','日') CHARACTER SET utf8mb4", "enum"),
    ("SET('x','y','z')", "enum"),
    ("JSON", "json"),
    ("GEOMETRY", "geo"),
    ("POINT NOT NULL SRID 4326", "point"),
    ("POLYGON SRID 0", "geo"),
    ("GEOMETRYCOLLECTION", "geo"),
    ("VECTOR(8)", "blob"),
];

impl Generator {
    pub(super) fn create_table(&mut self, side: char) -> String {
        let home = if self.chance(4) { self.pick(&['a', 'b']) } else { side };
        let name = self.fresh("t");
        let place = self.place(home, &name, side);
        let mut table = Table {
            side: home,
            name,
            columns: vec![Column { name: "id".to_owned(), class: "int" }],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            partitions: Partitions::None,
            transactional: true,
        };
        let mut items = vec!["id INT NOT NULL".to_owned()];
        for _ in 0..self.number(1..7) {
            let (column, definition) = self.column();
            items.push(definition);
            table.columns.push(column);
        }
        table.partitions = match self.number(0..16) {
            0 => Partitions::Hash,
            1 | 2 => Partitions::Range(3),
            3 => Partitions::List(2),
            _ => Partitions::None,
        };
        match self.number(0..12) {
            0 => items[0] = "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'k'".to_owned(),
            1 if table.partitions == Partitions::None => {}
            _ => items.push(
                self.pick(&["PRIMARY KEY (id)", "PRIMARY KEY (id DESC)", "CONSTRAINT PRIMARY KEY USING BTREE (id)"])
                    .to_owned(),
            ),
        }
        for _ in 0..self.number(0..4) {
            let plain = table.partitions == Partitions::None;
            items.extend(self.table_item(&mut table, side, plain));
        }
        let exists = self.pick(&["", "", "", "IF NOT EXISTS "]);
        let mut text = format!("CREATE TABLE {exists}{place} (\n  {}\n)", items.join(",\n  "));
        text.push_str(&self.options(&table));
        text.push_str(&self.partitioned(&table));
        table.transactional =
            !["MyISAM", "MEMORY", "ARCHIVE", "CSV", "BLACKHOLE"].iter().any(|engine| text.contains(engine));
        self.tables.push(table);
        text
    }

    /// A column with its definition.
    pub(super) fn column(&mut self) -> (Column, String) {
        let (data_type, class) = self.pick(TYPES);
        let name = self.fresh("c");
        let quoted = self.quoted(&name);
        let mut text = format!("{quoted} {data_type}");
        if class == "int" && self.chance(8) {
            let how = self.pick(&["GENERATED ALWAYS AS (id * 2) STORED", "AS (id + 1) VIRTUAL", "AS (id % 7)"]);
            return (Column { name, class: "generated" }, format!("{quoted} INT {how}"));
        }
        if !matches!(class, "timestamp" | "point" | "serial") {
            text.push_str(self.pick(&["", "", " NULL", " NOT NULL"]));
        }
        if self.chance(3) {
            let default = match class {
                "int" | "num" => self.pick(&["5", "'7'", "(1 + 2)", "0"]).to_owned(),
                "bit" => "b'101'".to_owned(),
                "year" => "2024".to_owned(),
                "date" => self.pick(&["'2024-02-29'", "(curdate())"]).to_owned(),
                "time" => "'-12:00:00'".to_owned(),
                "datetime" => "'2024-01-01 00:00:00'".to_owned(),
                "timestamp" => self.pick(&["CURRENT_TIMESTAMP", "NOW() ON UPDATE CURRENT_TIMESTAMP"]).to_owned(),
                "stamp6" => "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)".to_owned(),
                "text" if self.chance(2) => "(uuid())".to_owned(),
                "text" => "'a''b'".to_owned(),
                "bytes" => "0x41".to_owned(),
                "enum" => "NULL".to_owned(),
                "json" => "(json_object('a', 1))".to_owned(),
                _ => String::new(),
            };
            if !default.is_empty() {
                text.push_str(&format!(" DEFAULT {default}"));
            }
        }
        if self.chance(12) {
            text.push_str(self.pick(&[" INVISIBLE", " COLUMN_FORMAT DYNAMIC", " STORAGE DISK", " VISIBLE"]));
        }
        if self.chance(5) {
            text.push_str(&format!(" COMMENT {}", self.text()));
        }
        if class == "int" && self.chance(8) {
            let expression = self.pick(&["CHECK", "CONSTRAINT CHECK"]);
            text.push_str(&format!(" {expression} ({quoted} > -100){}", self.pick(&["", " NOT ENFORCED"])));
        }
        (Column { name, class }, text)
    }

    /// An index, constraint or foreign key of a new table.
    fn table_item(&mut self, table: &mut Table, side: char, plain: bool) -> Option<String> {
        let name = self.fresh("k");
        let quoted = self.quoted(&name);
        match self.number(0..8) {
            0 => {
                table.checks.push(name);
                Some(format!(
                    "CONSTRAINT {quoted} CHECK (id > {} AND id <> {})",
                    self.number(0..9),
                    self.number(50..99)
                ))
            }
            1 | 2 if plain => {
                let parent = self.tables.iter().rev().find(|t| t.side == table.side)?.clone();
                let parent = self.place(parent.side, &parent.name, side);
                table.foreign_keys.push(name);
                let action = self.pick(&[
                    "",
                    " ON DELETE CASCADE",
                    " ON UPDATE CASCADE ON DELETE RESTRICT",
                    " ON DELETE NO ACTION",
                ]);
                Some(format!("CONSTRAINT {quoted} FOREIGN KEY (id) REFERENCES {parent} (id){action}"))
            }
            _ => {
                let text = self.index(table, plain)?;
                table.indexes.push(name);
                let (kind, parts) = text;
                Some(format!("{kind} {quoted} {parts}"))
            }
        }
    }

    /// Kind and parts of an index over columns of the table.
    pub(super) fn index(&mut self, table: &Table, plain: bool) -> Option<(&'static str, String)> {
        let at = self.rng_at(table.columns.len());
        let column = table.columns.get(at)?.clone();
        let quoted = self.quoted(&column.name);
        let (kind, part) = match column.class {
            "geo" | "serial" => return None,
            "point" if plain => ("SPATIAL INDEX", quoted),
            "point" => return None,
            "blob" if plain && self.chance(2) => ("FULLTEXT KEY", quoted),
            "text" if plain && self.chance(4) => ("FULLTEXT INDEX", quoted),
            "blob" => ("KEY", format!("{quoted}(10)")),
            "text" if self.chance(3) => ("INDEX", format!("{quoted}(5) DESC")),
            "json" => ("KEY", format!("(CAST({quoted}->'$.a' AS UNSIGNED ARRAY))")),
            "int" if self.chance(4) => ("INDEX", format!("(({quoted} + 1)), id")),
            _ if plain && self.chance(5) => ("UNIQUE KEY", format!("{quoted}, id")),
            _ => (self.pick(&["INDEX", "KEY"]), format!("{quoted} ASC")),
        };
        let mut text = format!("({part})");
        if !kind.contains("FULL") && !kind.contains("SPATIAL") && self.chance(4) {
            text.push_str(self.pick(&[" USING BTREE", " USING HASH", " KEY_BLOCK_SIZE = 4"]));
        }
        if self.chance(5) {
            text.push_str(&format!(" COMMENT {}", self.text()));
        }
        if self.chance(8) {
            text.push_str(self.pick(&[" INVISIBLE", " VISIBLE"]));
        }
        Some((kind, text))
    }

    pub(super) fn rng_at(&mut self, length: usize) -> usize {
        self.number(0..u32::try_from(length.max(1)).unwrap_or(1)) as usize
    }

    fn options(&mut self, table: &Table) -> String {
        let mut text = String::new();
        if self.chance(12) && table.partitions == Partitions::None {
            text.push_str(self.pick(&[
                " ENGINE=MyISAM",
                " ENGINE = MEMORY",
                " ENGINE InnoDB",
                " ENGINE='ARCHIVE'",
                " ENGINE=CSV",
                " ENGINE=BLACKHOLE",
            ]));
        }
        for _ in 0..self.number(0..3) {
            let option = match self.number(0..16) {
                0 => format!("COMMENT={}", self.text()),
                1 => self
                    .pick(&[
                        "CHARSET=utf8mb4",
                        "DEFAULT CHARACTER SET = latin1",
                        "CHARACTER SET ucs2",
                        "COLLATE utf8mb4_0900_as_cs",
                        "CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
                    ])
                    .to_owned(),
                2 => self
                    .pick(&[
                        "ROW_FORMAT=DYNAMIC",
                        "ROW_FORMAT COMPACT",
                        "ROW_FORMAT=REDUNDANT",
                        "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
                    ])
                    .to_owned(),
                3 => "STATS_PERSISTENT=1, STATS_AUTO_RECALC=0 STATS_SAMPLE_PAGES=9".to_owned(),
                4 => "AUTO_INCREMENT=1000".to_owned(),
                5 => "MIN_ROWS=1 MAX_ROWS=1000000".to_owned(),
                6 => "AVG_ROW_LENGTH=100 CHECKSUM=1".to_owned(),
                7 => "PACK_KEYS=0 DELAY_KEY_WRITE=1".to_owned(),
                8 => "ENCRYPTION='N'".to_owned(),
                9 => "COMPRESSION='zlib'".to_owned(),
                10 => "TABLESPACE=innodb_file_per_table".to_owned(),
                11 => "AUTOEXTEND_SIZE=4M".to_owned(),
                _ => "INSERT_METHOD=LAST".to_owned(),
            };
            text.push(' ');
            text.push_str(&option);
        }
        text
    }

    fn partitioned(&mut self, table: &Table) -> String {
        match table.partitions {
            Partitions::None => String::new(),
            Partitions::Hash => self
                .pick(&[
                    "\nPARTITION BY HASH (id) PARTITIONS 3",
                    "\nPARTITION BY LINEAR HASH (id) PARTITIONS 4",
                    "\nPARTITION BY KEY (id) PARTITIONS 2",
                    "\nPARTITION BY LINEAR KEY ALGORITHM=2 (id) PARTITIONS 5",
                    "\n/*!50100 PARTITION BY KEY () PARTITIONS 3 */",
                ])
                .to_owned(),
            Partitions::Range(_) if self.chance(4) => "\nPARTITION BY RANGE COLUMNS (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200) COMMENT 'it''s', PARTITION p2 VALUES LESS THAN (300))".to_owned(),
            Partitions::Range(_) if self.chance(4) => "\nPARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200), PARTITION p2 VALUES LESS THAN (300))".to_owned(),
            Partitions::Range(_) => "\nPARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200) MAX_ROWS = 9, PARTITION p2 VALUES LESS THAN (300))".to_owned(),
            Partitions::List(_) if self.chance(2) => "\nPARTITION BY LIST COLUMNS (id) (PARTITION p0 VALUES IN (1,2,3), PARTITION p1 VALUES IN (4,5,6))".to_owned(),
            Partitions::List(_) => "\nPARTITION BY LIST (id) (PARTITION p0 VALUES IN (1,2,3), PARTITION p1 VALUES IN (4,5,6))".to_owned(),
        }
    }

    pub(super) fn create_like(&mut self, side: char) -> String {
        let model = self.table();
        let mut table = Table { side: model.side, name: self.fresh("l"), foreign_keys: Vec::new(), ..model.clone() };
        if self.chance(3) {
            table.side = side;
        }
        let (new, old) = (self.place(table.side, &table.name, side), self.place(model.side, &model.name, side));
        self.tables.push(table);
        match self.chance(4) {
            true => format!("CREATE TABLE IF NOT EXISTS {new} (LIKE {old})"),
            false => format!("CREATE TABLE {new} LIKE {old}"),
        }
    }

    pub(super) fn create_select(&mut self, side: char) -> String {
        let from = self.table();
        let name = self.fresh("s");
        let (new, old) = (self.place(side, &name, side), self.place(from.side, &from.name, side));
        let (columns, body) = match self.number(0..6) {
            0 => ("", format!("SELECT id, id + 1 AS plus, 'x' AS s FROM {old}")),
            1 => (" (PRIMARY KEY (id)) ENGINE=InnoDB COMMENT 'made of rows'", format!("SELECT DISTINCT id FROM {old}")),
            2 => (" (n BIGINT DEFAULT 3, KEY (id))", format!("AS SELECT id FROM {old} WHERE id > 0")),
            3 => (" (PRIMARY KEY (id))", format!("IGNORE AS SELECT id, NOW(6) AS t FROM {old}")),
            4 => (
                "",
                "SELECT 1 AS id, CAST('2024-01-01' AS DATE) AS d, 1.5 AS n, JSON_ARRAY(1) AS j, NULL AS z".to_owned(),
            ),
            _ => (
                "",
                "WITH RECURSIVE r (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r WHERE id < 20) SELECT * FROM r"
                    .to_owned(),
            ),
        };
        self.tables.push(Table {
            side,
            name,
            columns: vec![Column { name: "id".to_owned(), class: "int" }],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            partitions: Partitions::None,
            transactional: true,
        });
        format!("CREATE TABLE {new}{columns} {body}")
    }

    pub(super) fn temporary(&mut self, side: char) -> String {
        let name = self.fresh("tmp");
        let place = self.place(side, &name, side);
        format!("CREATE TEMPORARY TABLE {place} (a INT, b TEXT)")
    }

    pub(super) fn maintenance(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        match self.number(0..4) {
            0 => format!("ANALYZE TABLE {place}"),
            1 => format!("OPTIMIZE TABLE {place}"),
            2 => format!("FLUSH TABLES {place}"),
            _ => format!("REPAIR TABLE {place}"),
        }
    }

    pub(super) fn insert(&mut self, side: char) -> String {
        let table = self.transactional().unwrap_or_else(|| self.table());
        let place = self.place(table.side, &table.name, side);
        let id = self.number(1..300);
        format!("INSERT IGNORE INTO {place} (id) VALUES ({id}), ({})", id % 6 + 1)
    }
}

//! CREATE TABLE.

use super::partitions::Partitions;
use super::{Column, Generator, Table};

/// What makes a table's rows such as cannot be carried.
pub(super) const WITHOUT_ROWS: &[&str] =
    &["MyISAM", "MEMORY", "ARCHIVE", "CSV", "BLACKHOLE", "Aria", "MERGE", "SYSTEM VERSIONING"];

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
            rows: true,
            keyed: true,
        };
        let mut items = vec!["id INT NOT NULL".to_owned()];
        for _ in 0..self.number(1..7) {
            let (column, definition) = self.column(false);
            items.push(definition);
            table.columns.push(column);
        }
        table.partitions = self.partitions();
        let dated = matches!(table.partitions, Partitions::Years(_));
        if dated {
            items.push("d DATE NOT NULL DEFAULT '2021-06-01'".to_owned());
        }
        match self.number(0..12) {
            0 if !dated => items[0] = "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'k'".to_owned(),
            1 if table.partitions == Partitions::None => table.keyed = false,
            _ if dated => items.push("PRIMARY KEY (id, d)".to_owned()),
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
        text.push_str(&self.partitioned(&table.partitions.clone()));
        table.rows &= !WITHOUT_ROWS.iter().any(|word| text.contains(word));
        self.tables.push(table);
        text
    }

    /// A column with its definition, for a new table or for one that may have rows.
    pub(super) fn column(&mut self, added: bool) -> (Column, String) {
        let (mut data_type, mut class) = self.data_type();
        if added && class == "serial" {
            (data_type, class) = ("INT", "int");
        }
        let name = self.fresh("c");
        let quoted = self.quoted(&name);
        let mut text = format!("{quoted} {data_type}");
        if class == "int" && self.chance(6) {
            let how = self.pick(&[
                "INT GENERATED ALWAYS AS (id * 2) STORED",
                "INT AS (id + 1) VIRTUAL",
                "BIGINT AS (id % 7)",
                "VARCHAR(20) CHARACTER SET latin1 AS (concat('n', id)) VIRTUAL UNIQUE",
                "DOUBLE GENERATED ALWAYS AS (id / 3) STORED COMMENT 'a third'",
                "TINYINT AS (id > 'x''y') VIRTUAL",
            ]);
            return (Column { name, class: "generated" }, format!("{quoted} {how}"));
        }
        if !matches!(class, "timestamp" | "point" | "flat point" | "serial") {
            text.push_str(self.pick(&["", "", " NULL", " NOT NULL"]));
        }
        if self.chance(3)
            && let Some(default) = self.default_of(class)
        {
            text.push_str(&format!(" DEFAULT {default}"));
        }
        if self.chance(12) {
            let own: &[&str] = if self.flavour.is_mariadb() {
                &[" INVISIBLE"]
            } else {
                &[" INVISIBLE", " COLUMN_FORMAT DYNAMIC", " STORAGE DISK", " VISIBLE", " COLUMN_FORMAT FIXED"]
            };
            text.push_str(self.pick(own));
        }
        if self.chance(5) {
            text.push_str(&format!(" COMMENT {}", self.text()));
        }
        if class == "int" && self.chance(8) {
            let expression = self.pick(&["CHECK", "CONSTRAINT CHECK"]);
            text.push_str(&format!(" {expression} ({quoted} > -100){}", self.not_enforced()));
        }
        if class == "int" && self.chance(20) {
            text.push_str(self.pick(&[" UNIQUE", " UNIQUE KEY"]));
        }
        (Column { name, class }, text)
    }

    /// MariaDB has no such words.
    pub(super) fn not_enforced(&mut self) -> &'static str {
        if self.flavour.is_mariadb() { "" } else { self.pick(&["", " NOT ENFORCED", " ENFORCED"]) }
    }

    /// The option of an index that the optimizer leaves alone.
    pub(super) fn hidden_index(&mut self) -> &'static str {
        if self.flavour.is_mariadb() {
            self.pick(&["IGNORED", "NOT IGNORED"])
        } else {
            self.pick(&["INVISIBLE", "VISIBLE"])
        }
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
                let parent = self.tables.iter().rev().find(|t| t.side == table.side && t.keyed)?.clone();
                let parent = self.place(parent.side, &parent.name, side);
                table.foreign_keys.push(name);
                let action = self.pick(&[
                    "",
                    " ON DELETE CASCADE",
                    " ON UPDATE CASCADE ON DELETE RESTRICT",
                    " ON DELETE NO ACTION",
                    " MATCH SIMPLE ON UPDATE CASCADE",
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
        let maria = self.flavour.is_mariadb();
        let (kind, part) = match column.class {
            "geo" | "serial" | "shapes" | "polygon" | "vector" | "packed" | "uuid" | "oracle" => return None,
            "point" | "flat point" if plain => ("SPATIAL INDEX", quoted),
            "point" | "flat point" => return None,
            "blob" if plain && self.chance(2) => ("FULLTEXT KEY", quoted),
            "text" if plain && self.chance(4) => ("FULLTEXT INDEX", quoted),
            "blob" | "raw" => ("KEY", format!("{quoted}(10)")),
            "text" if self.chance(3) => ("INDEX", format!("{quoted}(5) DESC")),
            "json" if maria => return None,
            "json" => (
                "KEY",
                self.pick(&[
                    "(CAST(@->'$.a' AS UNSIGNED ARRAY))",
                    "(CAST(@->'$[*]' AS CHAR(20) ARRAY)), id",
                    "(CAST(json_value(@, '$.b') AS DATE))",
                ])
                .replace('@', &quoted),
            ),
            "int" if !maria && self.chance(3) => {
                ("INDEX", self.pick(&["((@ + 1)), id", "(abs(@)) DESC", "id, ((@ * 2))"]).replace('@', &quoted))
            }
            _ if plain && self.chance(5) => ("UNIQUE KEY", format!("{quoted}, id")),
            _ => (self.pick(&["INDEX", "KEY"]), format!("{quoted} ASC")),
        };
        let mut text = format!("({part})");
        if !kind.contains("FULL") && !kind.contains("SPATIAL") && self.chance(4) {
            text.push_str(self.pick(&[" USING BTREE", " USING HASH", " KEY_BLOCK_SIZE = 4"]));
        } else if kind.contains("FULL") && !maria && self.chance(3) {
            text.push_str(" WITH PARSER ngram");
        }
        if self.chance(5) {
            text.push_str(&format!(" COMMENT {}", self.text()));
        }
        if self.chance(8) {
            text.push_str(&format!(" {}", self.hidden_index()));
        }
        Some((kind, text))
    }

    pub(super) fn rng_at(&mut self, length: usize) -> usize {
        self.number(0..u32::try_from(length.max(1)).unwrap_or(1)) as usize
    }

    fn options(&mut self, table: &Table) -> String {
        let mut text = String::new();
        let maria = self.flavour.is_mariadb();
        if self.chance(10) && table.partitions == Partitions::None {
            let engines: &[&str] = &[
                " ENGINE=MyISAM",
                " ENGINE = MEMORY",
                " ENGINE InnoDB",
                " ENGINE=innodb",
                " ENGINE=CSV",
                if maria { " ENGINE=Aria TRANSACTIONAL=1" } else { " ENGINE='ARCHIVE'" },
                if maria { " ENGINE=Aria ROW_FORMAT=PAGE" } else { " ENGINE=BLACKHOLE" },
            ];
            text.push_str(self.pick(engines));
        }
        for _ in 0..self.number(0..3) {
            let option = match self.number(0..14) {
                0 => format!("COMMENT={}", self.text()),
                1 => self
                    .pick(&[
                        "CHARSET=utf8mb4",
                        "DEFAULT CHARACTER SET = latin1",
                        "CHARACTER SET ucs2",
                        if maria { "COLLATE utf8mb4_uca1400_as_cs" } else { "COLLATE utf8mb4_0900_as_cs" },
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
                8 if maria => "PAGE_COMPRESSED=1 PAGE_COMPRESSION_LEVEL=3".to_owned(),
                9 if maria => "ENCRYPTED=NO".to_owned(),
                // Not PAGE_CHECKSUM: MariaDB's OPTIMIZE TABLE, which is left out, takes it away from tables of InnoDB.
                10 if maria => "STATS_SAMPLE_PAGES=7".to_owned(),
                8 => "ENCRYPTION='N'".to_owned(),
                9 => "COMPRESSION='zlib'".to_owned(),
                10 => "TABLESPACE=innodb_file_per_table".to_owned(),
                11 if !maria => self
                    .pick(&["AUTOEXTEND_SIZE=4M", "SECONDARY_ENGINE=NULL", "SECONDARY_ENGINE_ATTRIBUTE='{\"a\": 1}'"])
                    .to_owned(),
                _ => "INSERT_METHOD=LAST".to_owned(),
            };
            text.push(' ');
            text.push_str(&option);
        }
        text
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
        let values =
            if self.flavour.is_mariadb() { "VALUES (1, 'x'), (2, 'y')" } else { "VALUES ROW(1, 'x'), ROW(2, 'y')" };
        let json = if self.flavour.is_mariadb() { "JSON_ARRAY(1)" } else { "CAST('[1]' AS JSON)" };
        let (columns, body) = match self.number(0..11) {
            0 => ("", format!("SELECT id, id + 1 AS plus, 'x' AS s FROM {old}")),
            1 => (" (PRIMARY KEY (id)) ENGINE=InnoDB COMMENT 'made of rows'", format!("SELECT DISTINCT id FROM {old}")),
            2 => (" (n BIGINT DEFAULT 3, KEY (id))", format!("AS SELECT id FROM {old} WHERE id > 0")),
            3 => (" (PRIMARY KEY (id))", format!("IGNORE AS SELECT id, NOW(6) AS t FROM {old}")),
            4 => ("", format!("SELECT 1 AS id, CAST('2024-01-01' AS DATE) AS d, 1.5 AS n, {json} AS j, NULL AS z")),
            5 => ("", format!("SELECT * FROM {old}")),
            6 => (
                " (id INT PRIMARY KEY, made DATETIME(3) DEFAULT '2024-01-01')",
                format!("REPLACE SELECT id FROM {old}"),
            ),
            7 => (" (id INT, v VARCHAR(9) CHARACTER SET latin1) CHARSET utf8mb4", format!("AS {values}")),
            8 => (
                " (PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 3",
                format!("(SELECT DISTINCT id FROM {old}) UNION (SELECT 7)"),
            ),
            9 => (
                " (id INT AUTO_INCREMENT PRIMARY KEY, half INT AS (id DIV 2) STORED)",
                format!("SELECT 'fixed' AS f FROM {old} LIMIT 3"),
            ),
            _ => (
                "",
                "WITH RECURSIVE r (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r WHERE id < 20) SELECT * FROM r"
                    .to_owned(),
            ),
        };
        let exists = self.pick(&["", "", "", "IF NOT EXISTS "]);
        self.tables.push(Table {
            side,
            name,
            columns: vec![Column { name: "id".to_owned(), class: "int" }],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            partitions: Partitions::None,
            rows: true,
            keyed: columns.contains("PRIMARY"),
        });
        format!("CREATE TABLE {exists}{new}{columns} {body}")
    }

    pub(super) fn temporary(&mut self, side: char) -> String {
        let name = self.fresh("tmp");
        let place = self.place(side, &name, side);
        // Those with rows of a captured table come to nobody either.
        match self.number(0..4) {
            0 => format!("CREATE TEMPORARY TABLE {place} SELECT 1 AS a, 'x' AS b"),
            1 => {
                let model = self.table();
                format!("CREATE TEMPORARY TABLE {place} LIKE {}", self.place(model.side, &model.name, side))
            }
            2 => format!("DROP TEMPORARY TABLE IF EXISTS {place}"),
            _ => format!("CREATE TEMPORARY TABLE {place} (a INT, b TEXT)"),
        }
    }

    pub(super) fn maintenance(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        match self.number(0..5) {
            4 => format!("CHECK TABLE {place} EXTENDED"),
            0 => format!("ANALYZE TABLE {place}"),
            1 => format!("OPTIMIZE TABLE {place}"),
            2 => format!("FLUSH TABLES {place}"),
            _ => format!("REPAIR TABLE {place}"),
        }
    }
}

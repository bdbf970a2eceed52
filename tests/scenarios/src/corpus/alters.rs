//! ALTER TABLE, indexes, renames, truncation, drops.

use super::partitions::Partitions;
use super::tables::WITHOUT_ROWS;
use super::{Generator, Table};

impl Generator {
    pub(super) fn alter_table(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        let mut actions = Vec::new();
        let mut now = table.clone();
        for _ in 0..self.pick(&[1, 1, 1, 1, 2, 2, 3, 6]) {
            actions.extend(self.action(&mut now, side));
        }
        if actions.is_empty() {
            actions.push(format!("COMMENT = {}", self.text()));
        }
        if self.chance(5) {
            actions.push(
                self.pick(&[
                    "ALGORITHM=INSTANT",
                    "ALGORITHM=INSTANT",
                    "ALGORITHM=INPLACE",
                    "ALGORITHM = COPY",
                    "LOCK=NONE",
                    "LOCK=SHARED",
                    "ALGORITHM DEFAULT, LOCK EXCLUSIVE",
                ])
                .to_owned(),
            );
        }
        now.rows &= !actions.iter().any(|action| WITHOUT_ROWS.iter().any(|word| action.contains(word)));
        if let Some(known) = self.remembered(&table) {
            *known = now;
        }
        let ignore = if self.flavour.is_mariadb() && self.chance(12) { "IGNORE " } else { "" };
        format!("ALTER {ignore}TABLE {place} {}", actions.join(", "))
    }

    /// One action; the model of the table follows.
    fn action(&mut self, table: &mut Table, side: char) -> Option<String> {
        match self.number(0..20) {
            0..=3 => {
                let (column, definition) = self.column(!table.keyed);
                let position = match self.number(0..4) {
                    0 => " FIRST".to_owned(),
                    1 => " AFTER id".to_owned(),
                    _ => String::new(),
                };
                table.columns.push(column);
                let word = self.pick(&["ADD COLUMN", "ADD"]);
                Some(format!("{word} {definition}{position}"))
            }
            4 => {
                let ((a, one), (b, two)) = (self.column(!table.keyed), self.column(!table.keyed));
                table.columns.extend([a, b]);
                Some(format!("ADD COLUMN ({one}, {two})"))
            }
            5 | 6 => {
                let at = self.spare_column(table)?;
                let column = table.columns.remove(at);
                let word = self.pick(&["DROP COLUMN", "DROP"]);
                Some(format!("{word} {}", self.quoted(&column.name)))
            }
            7 => {
                let at = self.spare_column(table)?;
                let (new, definition) = self.column(!table.keyed);
                let old = std::mem::replace(&mut table.columns[at], new);
                Some(format!("CHANGE COLUMN {} {definition}", self.quoted(&old.name)))
            }
            8 => {
                let at = self.spare_column(table)?;
                let name = self.quoted(&table.columns[at].name.clone());
                Some(format!(
                    "MODIFY {name} {}",
                    self.pick(&[
                        "VARCHAR(200)",
                        "BIGINT",
                        "TEXT",
                        "VARCHAR(300) CHARACTER SET utf8mb4 NOT NULL DEFAULT ''",
                        "INT FIRST",
                        "DATETIME AFTER id",
                        "DECIMAL(30,4)",
                        "CHAR(3) CHARACTER SET latin1 COMMENT 'cut'",
                        "BLOB",
                        "VARCHAR(20) CHARACTER SET ucs2 INVISIBLE",
                        "DOUBLE NULL",
                    ])
                ))
            }
            9 | 10 => {
                let at = self.spare_column(table)?;
                let new = self.fresh("r");
                let old = std::mem::replace(&mut table.columns[at].name, new.clone());
                Some(format!("RENAME COLUMN {} TO {}", self.quoted(&old), self.quoted(&new)))
            }
            11 | 12 => {
                let plain = table.partitions == Partitions::None;
                let (kind, parts) = self.index(table, plain)?;
                let name = self.fresh("i");
                let quoted = self.quoted(&name);
                table.indexes.push(name);
                Some(format!("ADD {kind} {quoted} {parts}"))
            }
            13 => {
                let at = self.rng_at(table.indexes.len());
                let old = table.indexes.get(at)?.clone();
                match self.number(0..3) {
                    0 => {
                        let new = self.fresh("i");
                        table.indexes[at].clone_from(&new);
                        Some(format!(
                            "RENAME {} {} TO {}",
                            self.pick(&["INDEX", "KEY"]),
                            self.quoted(&old),
                            self.quoted(&new)
                        ))
                    }
                    1 => {
                        let word = self.hidden_index();
                        Some(format!("ALTER INDEX {} {word}", self.quoted(&old)))
                    }
                    _ => {
                        table.indexes.remove(at);
                        Some(format!("DROP INDEX {}", self.quoted(&old)))
                    }
                }
            }
            14 => {
                let name = self.fresh("x");
                let quoted = self.quoted(&name);
                table.checks.push(name);
                Some(format!(
                    "ADD CONSTRAINT {quoted} CHECK (id < {}){}",
                    self.number(10_000..99_999),
                    self.not_enforced()
                ))
            }
            15 => {
                let name = table.checks.pop()?;
                let quoted = self.quoted(&name);
                let maria = self.flavour.is_mariadb();
                Some(match self.number(0..4) {
                    0 | 1 if !maria => {
                        table.checks.push(name);
                        let word = self.pick(&["CHECK", "CONSTRAINT"]);
                        format!("ALTER {word} {quoted}{}", self.pick(&[" NOT ENFORCED", " ENFORCED"]))
                    }
                    2 if !maria => format!("DROP CHECK {quoted}"),
                    _ => format!("DROP CONSTRAINT {quoted}"),
                })
            }
            16 => self.foreign_key(table, side),
            17 => Some(
                self.pick(&[
                    "CONVERT TO CHARACTER SET utf8mb4",
                    "CONVERT TO CHARACTER SET latin1 COLLATE latin1_bin",
                    "DEFAULT CHARACTER SET utf8mb3",
                    "COLLATE = utf8mb4_general_ci",
                    "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci",
                ])
                .to_owned(),
            ),
            18 => Some(
                self.pick(&[
                    "ENGINE = InnoDB",
                    "ENGINE=InnoDB",
                    "ENGINE=MyISAM",
                    "COMMENT = 'RENAME TO x; it''s'",
                    "AVG_ROW_LENGTH = 55 CHECKSUM = 1",
                    "PACK_KEYS = DEFAULT, MAX_ROWS = 100000",
                    "KEY_BLOCK_SIZE=8 ROW_FORMAT=COMPRESSED",
                    "ROW_FORMAT=DYNAMIC",
                    "ROW_FORMAT=COMPACT",
                    "STATS_SAMPLE_PAGES = 33",
                    "AUTO_INCREMENT = 5000",
                    "FORCE",
                    "ORDER BY id",
                    "DISABLE KEYS",
                    "ENABLE KEYS",
                    "DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
                    "ADD PRIMARY KEY (id)",
                    "STATS_PERSISTENT=DEFAULT",
                ])
                .to_owned(),
            ),
            _ => {
                let at = self.spare_column(table)?;
                let (name, class) = (table.columns[at].name.clone(), table.columns[at].class);
                let name = self.quoted(&name);
                let maria = self.flavour.is_mariadb();
                Some(match (class, self.number(0..4)) {
                    (_, 0) => format!("ALTER COLUMN {name} DROP DEFAULT"),
                    ("text" | "blob", 2) if !maria => format!("ALTER COLUMN {name} SET DEFAULT (upper('it''s'))"),
                    (_, 1) if !maria => format!("ALTER COLUMN {name} SET {}", self.pick(&["INVISIBLE", "VISIBLE"])),
                    ("int" | "num", _) => format!("ALTER {name} SET DEFAULT 42"),
                    ("text", _) => format!("ALTER {name} SET DEFAULT 'it''s'"),
                    _ => format!("ALTER {name} SET DEFAULT NULL"),
                })
            }
        }
    }

    /// A column other than `id`.
    pub(super) fn spare_column(&mut self, table: &Table) -> Option<usize> {
        (table.columns.len() > 2).then(|| 1 + self.rng_at(table.columns.len() - 1))
    }

    fn foreign_key(&mut self, table: &mut Table, side: char) -> Option<String> {
        if let Some(name) = table.foreign_keys.pop().filter(|_| self.chance(2)) {
            return Some(format!("DROP FOREIGN KEY {}", self.quoted(&name)));
        }
        let name = self.fresh("f");
        let parent = self.table();
        let place = self.place(parent.side, &parent.name, side);
        let quoted = self.quoted(&name);
        table.foreign_keys.push(name);
        let action =
            self.pick(&[" ON DELETE CASCADE", "", " ON UPDATE CASCADE", " ON DELETE RESTRICT ON UPDATE NO ACTION"]);
        self.counter += 1;
        // An index of that name comes along.
        let index = if self.chance(3) { format!(" k{}", self.counter) } else { String::new() };
        Some(format!("ADD CONSTRAINT {quoted} FOREIGN KEY{index} (id) REFERENCES {place} (id){action}"))
    }

    pub(super) fn create_index(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        let name = self.fresh("n");
        let quoted = self.quoted(&name);
        let plain = table.partitions == Partitions::None;
        let (kind, parts) = self.index(&table, plain).unwrap_or(("INDEX", "(id)".to_owned()));
        let kind = kind.replace("KEY", "INDEX");
        if let Some(known) = self.remembered(&table) {
            known.indexes.push(name);
        }
        let more = self.pick(&["", "", " ALGORITHM = INPLACE", " LOCK=DEFAULT"]);
        format!("CREATE {kind} {quoted} ON {place} {parts}{more}")
    }

    pub(super) fn drop_index(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        let name = self.remembered(&table).and_then(|t| t.indexes.pop()).unwrap_or_else(|| "PRIMARY".to_owned());
        format!("DROP INDEX `{}` ON {place}", name.replace('`', "``"))
    }

    pub(super) fn rename(&mut self, side: char) -> String {
        let (one, two) = (self.table(), self.table());
        let (a, b) = (self.place(one.side, &one.name, side), self.place(two.side, &two.name, side));
        if self.chance(3) && (one.side, &one.name) != (two.side, &two.name) {
            // A swap through a third name: the names stay, what bears them changes.
            let between = self.place(one.side, "middle", side);
            let (first, second) = ((one.side, one.name.clone()), (two.side, two.name.clone()));
            for table in &mut self.tables {
                let is = (table.side, table.name.clone());
                if is == first {
                    (table.side, table.name) = second.clone();
                } else if is == second {
                    (table.side, table.name) = first.clone();
                }
            }
            let word = self.pick(&["TABLE", "TABLE", "TABLES"]);
            return format!("RENAME {word} {a} TO {between}, {b} TO {a}, {between} TO {b}");
        }
        let name = self.fresh("t");
        let to = self.place(side, &name, side);
        if let Some(known) = self.remembered(&one) {
            (known.side, known.name) = (side, name);
        }
        match self.number(0..6) {
            4 => format!("ALTER TABLE {a} RENAME = {to}"),
            5 => {
                let hop = self.place(side, "hop", side);
                format!("RENAME TABLE {a} TO {hop}, {hop} TO {to}")
            }
            0 => format!("ALTER TABLE {a} RENAME TO {to}"),
            1 => format!("ALTER TABLE {a} COMMENT 'renamed', RENAME AS {to}"),
            2 => format!("ALTER TABLE {a} RENAME {to}"),
            _ => format!("RENAME TABLE {a} TO {to}"),
        }
    }

    pub(super) fn truncate(&mut self, side: char) -> String {
        let table = self.table();
        format!("TRUNCATE {}{}", self.pick(&["", "TABLE "]), self.place(table.side, &table.name, side))
    }

    pub(super) fn drop_table(&mut self, side: char) -> String {
        let mut names = Vec::new();
        for _ in 0..self.pick(&[1, 1, 2, 3]) {
            if self.tables.len() > 8 {
                let at = self.rng_at(self.tables.len());
                let table = self.tables.remove(at);
                names.push(self.place(table.side, &table.name, side));
            }
        }
        if self.chance(4) || names.is_empty() {
            names.push("never_there".to_owned());
            return format!("DROP TABLE IF EXISTS {}", names.join(", "));
        }
        let (word, end) = (self.pick(&["TABLE", "TABLES"]), self.pick(&["", " RESTRICT", " CASCADE"]));
        format!("DROP {word} {}{end}", names.join(" , "))
    }
}

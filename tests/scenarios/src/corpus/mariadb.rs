//! What only MariaDB says.

use super::partitions::Partitions;
use super::{Column, Generator, Named, Table};

impl Generator {
    pub(super) fn only_mariadb(&mut self, side: char) -> (&'static str, String) {
        match self.number(0..20) {
            0..=3 => ("replace table", self.replace_table(side)),
            4..=7 => ("alter if exists", self.alter_if_exists(side)),
            8..=10 => ("sequence", self.sequence(side)),
            11..=13 => ("versioned table", self.versioned(side)),
            14 => ("period", self.period(side)),
            15 => ("index", self.index_if_exists(side)),
            16 => ("partition to table", self.convert_partition(side)),
            _ if self.tables_only => ("replace table", self.replace_table(side)),
            17 => ("package", self.package(side)),
            _ => ("replace object", self.replace_object(side)),
        }
    }

    fn replace_table(&mut self, side: char) -> String {
        let old = self.table();
        let place = self.place(old.side, &old.name, side);
        self.tables.retain(|t| (t.side, &t.name) != (old.side, &old.name));
        self.tables.push(Table {
            columns: vec![
                Column { name: "id".to_owned(), class: "int" },
                Column { name: "v".to_owned(), class: "text" },
            ],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            partitions: Partitions::None,
            rows: true,
            keyed: true,
            ..old
        });
        let other = self.table();
        let from = self.place(other.side, &other.name, side);
        match self.number(0..3) {
            0 => format!(
                "CREATE OR REPLACE TABLE {place} (PRIMARY KEY (id)) AS SELECT DISTINCT id, 'v' AS v FROM {from}"
            ),
            1 => {
                format!("CREATE OR REPLACE TABLE {place} (id INT PRIMARY KEY, v VARCHAR(30) DEFAULT concat('a', 'b'))")
            }
            _ => format!(
                "CREATE OR REPLACE TABLE {place} (id INT PRIMARY KEY, v TEXT, CHECK (v <> 'REPLACE')) COMMENT {}",
                self.text()
            ),
        }
    }

    fn alter_if_exists(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        let n = self.number(0..9);
        let action = match self.number(0..9) {
            0 => format!("ADD COLUMN IF NOT EXISTS e{n} INT DEFAULT (1 + {n})"),
            1 => format!("DROP COLUMN IF EXISTS e{n}"),
            2 => format!("ADD INDEX IF NOT EXISTS ei{n} (id)"),
            3 => format!("DROP INDEX IF EXISTS ei{n}, DROP CONSTRAINT IF EXISTS ec{n}"),
            4 => format!("MODIFY COLUMN IF EXISTS e{n} BIGINT"),
            5 => format!("CHANGE COLUMN IF EXISTS e{n} e{} VARCHAR(20)", n + 1),
            6 => format!("ADD CONSTRAINT IF NOT EXISTS ec{n} CHECK (id < 1000000)"),
            7 => format!("RENAME COLUMN IF EXISTS e{n} TO e{}", n + 1),
            _ => format!("ADD COLUMN IF NOT EXISTS e{n} VARCHAR(50) AS (concat(id, 'x')) PERSISTENT AFTER id"),
        };
        let wait = self.pick(&["", "", "WAIT 5 ", "NOWAIT "]);
        let exists = self.pick(&["", "IF EXISTS "]);
        format!("ALTER TABLE {exists}{place} {wait}{action}")
    }

    fn sequence(&mut self, side: char) -> String {
        match self.known(|g| &g.sequences) {
            Some(found) if self.chance(2) => {
                let place = self.place(found.side, &found.name, side);
                match self.number(0..4) {
                    0 => {
                        self.sequences.retain(|s| s.name != found.name);
                        format!("DROP SEQUENCE IF EXISTS {place}, never_a_sequence")
                    }
                    1 => format!("ALTER SEQUENCE {place} INCREMENT BY 5 RESTART WITH 100"),
                    2 => format!("SELECT SETVAL({place}, 500)"),
                    _ => format!("SELECT NEXT VALUE FOR {place}"),
                }
            }
            _ => {
                let name = self.fresh("q");
                let place = self.place(side, &name, side);
                self.sequences.push(Named { side, name });
                let head = self.pick(&["SEQUENCE", "OR REPLACE SEQUENCE", "SEQUENCE IF NOT EXISTS"]);
                let options = self.pick(&[
                    "",
                    " START WITH 5 CACHE 10",
                    " INCREMENT BY -1 MAXVALUE 100 MINVALUE -100 START 50 CYCLE",
                    " NOCACHE NOCYCLE ENGINE=InnoDB",
                ]);
                format!("CREATE {head} {place}{options}")
            }
        }
    }

    fn versioned(&mut self, side: char) -> String {
        let name = self.fresh("w");
        let place = self.place(side, &name, side);
        self.tables.push(Table {
            side,
            name,
            columns: vec![
                Column { name: "id".to_owned(), class: "int" },
                Column { name: "v".to_owned(), class: "text" },
            ],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            partitions: Partitions::None,
            rows: false,
            keyed: true,
        });
        match self.number(0..3) {
            0 => format!("CREATE TABLE {place} (id INT PRIMARY KEY, v VARCHAR(20)) WITH SYSTEM VERSIONING"),
            1 => format!(
                "CREATE TABLE {place} (id INT PRIMARY KEY, v VARCHAR(20) WITHOUT SYSTEM VERSIONING, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, \
                 e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING"
            ),
            _ => format!(
                "CREATE TABLE {place} (id INT PRIMARY KEY, v VARCHAR(20)) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME \
                 (PARTITION p0 HISTORY, PARTITION pn CURRENT)"
            ),
        }
    }

    fn period(&mut self, side: char) -> String {
        let name = self.fresh("o");
        let place = self.place(side, &name, side);
        format!(
            "CREATE TABLE {place} (id INT, s DATE, e DATE, PERIOD FOR valid (s, e), UNIQUE (id, valid WITHOUT OVERLAPS))"
        )
    }

    fn index_if_exists(&mut self, side: char) -> String {
        let table = self.table();
        let place = self.place(table.side, &table.name, side);
        match self.number(0..3) {
            0 => format!("CREATE OR REPLACE INDEX own ON {place} (id)"),
            1 => format!("CREATE INDEX IF NOT EXISTS own ON {place} (id) WAIT 3"),
            _ => format!("DROP INDEX IF EXISTS own ON {place}"),
        }
    }

    fn convert_partition(&mut self, side: char) -> String {
        let table = self.divided();
        let name = self.fresh("y");
        let (place, new) = (self.place(table.side, &table.name, side), self.place(table.side, &name, side));
        let plain = Table { name, partitions: Partitions::None, indexes: Vec::new(), checks: Vec::new(), ..table };
        self.tables.push(plain);
        format!("ALTER TABLE {place} CONVERT PARTITION p1 TO TABLE {new}")
    }

    fn package(&mut self, side: char) -> String {
        let n = self.number(0..5);
        let database = self.database(side);
        match self.number(0..4) {
            0 => {
                format!("CREATE OR REPLACE PACKAGE {database}.pk{n} AS FUNCTION f RETURN INT; PROCEDURE p(a INT); END")
            }
            1 => format!(
                "CREATE OR REPLACE PACKAGE BODY {database}.pk{n} AS FUNCTION f RETURN INT AS BEGIN RETURN 1; END; PROCEDURE p(a INT) AS BEGIN NULL; END; END"
            ),
            2 => format!("DROP PACKAGE BODY IF EXISTS {database}.pk{n}"),
            _ => format!("DROP PACKAGE IF EXISTS {database}.pk{n}"),
        }
    }

    fn replace_object(&mut self, side: char) -> String {
        let n = self.number(0..6);
        let database = self.database(side);
        let table = self.table();
        let on = self.place(table.side, &table.name, side);
        match self.number(0..5) {
            0 => format!(
                "CREATE OR REPLACE PROCEDURE {database}.op{n} (a INT DEFAULT 5) FOR i IN 1..3 DO SELECT i; END FOR"
            )
            .replace(" DEFAULT 5", ""),
            1 => format!("CREATE OR REPLACE FUNCTION {database}.of{n} (a INT) RETURNS INT RETURN a + {n}"),
            2 => format!(
                "CREATE OR REPLACE AGGREGATE FUNCTION {database}.og{n} (x INT) RETURNS INT BEGIN DECLARE s INT DEFAULT 0; DECLARE CONTINUE HANDLER \
                 FOR NOT FOUND RETURN s; LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END"
            ),
            3 => {
                let trigger = self.place(table.side, &format!("ot{n}"), side);
                format!("CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT ON {on} FOR EACH ROW SET @r = {n}")
            }
            _ => format!(
                "CREATE OR REPLACE EVENT {database}.oe{n} ON SCHEDULE EVERY {} DAY STARTS '2036-01-01' DO SET @e = {n}",
                n + 1
            ),
        }
    }
}

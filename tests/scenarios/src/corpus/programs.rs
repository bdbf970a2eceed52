//! Triggers, events, databases, accounts, and what is not captured.

use super::{Generator, Named};

impl Generator {
    pub(super) fn trigger(&mut self, side: char) -> String {
        match self.known(|g| &g.triggers) {
            Some(found) if self.chance(3) => {
                self.triggers.retain(|t| t.name != found.name);
                let place = self.place(found.side, &found.name, side);
                format!("DROP TRIGGER IF EXISTS {place}")
            }
            _ => {
                let table = self.table();
                let name = self.fresh("g");
                let place = self.place(table.side, &name, side);
                let on = self.place(table.side, &table.name, side);
                self.triggers.push(Named { side: table.side, name });
                let order = self.known(|g| &g.triggers).filter(|_| self.chance(4));
                let order = order.map_or_else(String::new, |g| format!("FOLLOWS {} ", self.quoted(&g.name)));
                let exists = self.pick(&["", "", "IF NOT EXISTS "]);
                let (timing, event) = (self.pick(&["BEFORE", "AFTER"]), self.pick(&["INSERT", "UPDATE", "DELETE"]));
                let body = match self.number(0..4) {
                    0 => "SET @seen = 1".to_owned(),
                    1 => "BEGIN SET @a = 'it''s; -- no'; IF @a IS NULL THEN SET @b = 2; END IF; END".to_owned(),
                    2 => "SET @x = (SELECT 1), @y = 2".to_owned(),
                    _ => "x: BEGIN /* c */ DECLARE n INT; SET n = 1; LEAVE x; END x".to_owned(),
                };
                let definer = self.pick(&["", "", "DEFINER = CURRENT_USER ", "DEFINER=`x y`@`%` "]);
                format!("CREATE {definer}TRIGGER {exists}{place} {timing} {event} ON {on} FOR EACH ROW {order}{body}")
            }
        }
    }

    pub(super) fn event(&mut self, side: char) -> String {
        match self.known(|g| &g.events) {
            Some(found) if self.chance(2) => {
                let place = self.place(found.side, &found.name, side);
                match self.number(0..4) {
                    0 => {
                        self.events.retain(|e| e.name != found.name);
                        format!("DROP EVENT IF EXISTS {place}")
                    }
                    1 => format!(
                        "ALTER EVENT {place} {}",
                        self.pick(&[
                            "ENABLE",
                            "DISABLE",
                            "COMMENT 'ENABLE'",
                            "ON COMPLETION PRESERVE",
                            "ON SCHEDULE EVERY 2 DAY STARTS '2035-01-01 00:00:00'"
                        ])
                    ),
                    2 => format!("ALTER EVENT {place} DO SET @z = 'it''s'"),
                    _ => {
                        let name = self.fresh("e");
                        let to = self.place(found.side, &name, side);
                        if let Some(event) = self.events.iter_mut().find(|e| e.name == found.name) {
                            event.name = name;
                        }
                        format!("ALTER EVENT {place} RENAME TO {to}")
                    }
                }
            }
            _ => {
                let name = self.fresh("e");
                let place = self.place(side, &name, side);
                self.events.push(Named { side, name });
                let schedule = self.pick(&[
                    "EVERY 1 DAY STARTS '2036-01-01 00:00:00'",
                    "AT '2037-01-01 03:04:05'",
                    "EVERY 2 WEEK STARTS '2034-02-03 01:00:00' ENDS '2036-02-03 01:00:00'",
                    "EVERY '1:30' HOUR_MINUTE STARTS '2033-01-01 00:00:00'",
                ]);
                let kept = self.pick(&["", " ON COMPLETION PRESERVE", " ON COMPLETION NOT PRESERVE"]);
                let replica = if self.flavour.is_mariadb() { " DISABLE ON SLAVE" } else { " DISABLE ON REPLICA" };
                let state = self.pick(&["", "", " ENABLE", " DISABLE", replica]);
                let exists = self.pick(&["", "", "IF NOT EXISTS "]);
                let comment = if self.chance(3) { format!(" COMMENT {}", self.text()) } else { String::new() };
                let body = self.pick(&["SET @a = 1", "BEGIN SET @a = 'DO ENABLE'; DO SLEEP(0); END", "DO 1"]);
                format!("CREATE EVENT {exists}{place} ON SCHEDULE {schedule}{kept}{state}{comment} DO {body}")
            }
        }
    }

    pub(super) fn alter_database(&mut self, side: char) -> String {
        let third = self.database('c');
        let maria = self.flavour.is_mariadb();
        match self.number(0..9) {
            0 if !self.third => {
                self.third = true;
                format!("CREATE DATABASE IF NOT EXISTS `{third}` CHARACTER SET latin1")
            }
            1 | 2 if self.third => {
                self.third = false;
                format!("DROP SCHEMA IF EXISTS {third}")
            }
            3 | 4 if self.third => {
                let name = self.fresh("t");
                format!(
                    "CREATE TABLE {third}.{} (id INT PRIMARY KEY, v VARCHAR(20)) COMMENT {}",
                    self.quoted(&name),
                    self.text()
                )
            }
            5 => format!(
                "ALTER DATABASE {} {}",
                self.database(side),
                self.pick(&["CHARACTER SET utf8mb4", "COLLATE utf8mb4_bin", "DEFAULT CHARSET = latin1"])
            ),
            6 if maria => format!("ALTER DATABASE {} COMMENT {}", self.database(side), self.text()),
            6 => "ALTER SCHEMA DEFAULT ENCRYPTION = 'N'".to_owned(),
            7 => format!("ALTER DATABASE {}", self.pick(&["COLLATE utf8mb4_unicode_ci", "CHARACTER SET utf8mb3"])),
            _ => {
                self.third = true;
                format!(
                    "CREATE SCHEMA {third}{}",
                    self.pick(&["", " DEFAULT CHARSET utf8mb4", " COLLATE = utf8mb4_bin"])
                )
            }
        }
    }

    /// What belongs to no database: it is left out.
    pub(super) fn of_the_server(&mut self) -> String {
        self.counter += 1;
        let (n, prefix) = (self.counter, self.prefix.clone());
        match self.number(0..9) {
            0 => format!("CREATE USER 'u {n}'@'%' IDENTIFIED BY 'secret; DROP TABLE t'"),
            1 => format!("CREATE ROLE r{n}"),
            2 => format!("GRANT SELECT, INSERT ON `{prefix}_a`.* TO `root`@`127.0.0.1` WITH GRANT OPTION"),
            3 => format!("CREATE USER IF NOT EXISTS w{n}@localhost"),
            4 => format!("DROP USER IF EXISTS nobody{n}, 'no body'@'10.%'"),
            5 => format!("CREATE SERVER s{n} FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1', DATABASE 'x')"),
            6 if !self.flavour.is_mariadb() => format!("CREATE TABLESPACE ts{n} ADD DATAFILE 'ts{n}.ibd'"),
            7 if !self.flavour.is_mariadb() => {
                format!(
                    "CREATE OR REPLACE SPATIAL REFERENCE SYSTEM {} NAME 'x{n}' DEFINITION 'GEOGCS[\"x\",DATUM[\"d\",SPHEROID[\"s\",6378137,298.257223563]],PRIMEM[\"p\",0],UNIT[\"degree\",0.017453292519943278],AXIS[\"Lat\",NORTH],AXIS[\"Lon\",EAST]]'",
                    1_000_000 + n
                )
            }
            _ => "FLUSH PRIVILEGES".to_owned(),
        }
    }

    /// Statements of a database that nobody follows, some of them on captured tables too.
    pub(super) fn not_captured(&mut self, side: char) -> String {
        self.counter += 1;
        let (n, other) = (self.counter, self.database('x'));
        let mine = self.table();
        let place = self.place(mine.side, &mine.name, side);
        match (self.number(0..10), self.foreign.last().copied()) {
            (1, _) => format!("INSERT INTO {other}.kept VALUES ({n}, 'not for you')"),
            (2, _) => format!("CREATE VIEW {other}.v{n} AS SELECT id FROM {place}"),
            (3, _) => format!("CREATE PROCEDURE {other}.p{n} () DELETE FROM {other}.kept"),
            (4, _) => format!("ALTER TABLE {other}.kept ADD c{n} INT, COMMENT 'x{n}'"),
            (5, _) => format!("CREATE TABLE {other}.s{n} AS SELECT id FROM {place}"),
            (6, _) => format!("DROP TABLE IF EXISTS {other}.gone{n}, {}.gone{n}", self.database(side)),
            // Lists of which a part alone is carried.
            (7, Some(t)) => {
                self.foreign.pop();
                self.tables.retain(|t| (t.side, &t.name) != (mine.side, &mine.name));
                format!("DROP TABLE {place}, {other}.t{t}")
            }
            (8, Some(t)) => {
                self.foreign.pop();
                self.tables.retain(|t| (t.side, &t.name) != (mine.side, &mine.name));
                format!("DROP TABLE {other}.t{t}, {place} RESTRICT")
            }
            (9, Some(t)) => {
                self.foreign.pop();
                self.foreign.push(n);
                let name = self.fresh("t");
                let to = self.place(mine.side, &name, side);
                if let Some(known) = self.remembered(&mine) {
                    known.name = name;
                }
                format!("RENAME TABLE {other}.t{t} TO {other}.t{n}, {place} TO {to}")
            }
            _ => {
                self.foreign.push(n);
                format!("CREATE TABLE {other}.t{n} (a INT, v VARCHAR(20)) ENGINE=MyISAM")
            }
        }
    }
}

//! Views, routines, triggers, events, databases.

use super::{Generator, Named};

impl Generator {
    /// One of these, if there is one.
    fn known(&mut self, of: fn(&Self) -> &Vec<Named>) -> Option<Named> {
        let length = of(self).len();
        let at = self.rng_at(length);
        of(self).get(at).cloned()
    }

    pub(super) fn view(&mut self, side: char) -> String {
        let table = self.table();
        let from = self.place(table.side, &table.name, side);
        let body = match self.number(0..7) {
            0 => format!("SELECT * FROM {from}"),
            1 => format!("SELECT t.id AS x, t.id + 1 AS `y z` FROM {from} AS t WHERE t.id > 0"),
            2 => format!("SELECT COUNT(*) AS n, MAX(id) FROM {from} GROUP BY id HAVING n > 1"),
            3 => format!("SELECT a.id FROM {from} a JOIN {from} b USING (id)"),
            4 => format!("SELECT 'it''s' AS s, id FROM {from} UNION ALL SELECT 'b', 2"),
            5 => format!("WITH q AS (SELECT id FROM {from}) SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS r FROM q"),
            _ => "SELECT 1 AS one, 'a' || 'b' AS two, NOT 1 BETWEEN 0 AND 2 AS three".to_owned(),
        };
        let check = self.pick(&["", "", " WITH CHECK OPTION", " WITH LOCAL CHECK OPTION"]);
        match self.known(|g| &g.views) {
            Some(view) if self.chance(3) => {
                let place = self.place(view.side, &view.name, side);
                match self.number(0..3) {
                    0 => format!("ALTER SQL SECURITY INVOKER VIEW {place} AS {body}"),
                    1 => format!("CREATE OR REPLACE ALGORITHM=MERGE VIEW {place} AS {body}"),
                    _ => {
                        self.views.retain(|v| v.name != view.name);
                        format!("DROP VIEW IF EXISTS {place}, no_such_view")
                    }
                }
            }
            _ => {
                let name = self.fresh("v");
                let place = self.place(side, &name, side);
                self.views.push(Named { side, name });
                let head = self.pick(&[
                    "",
                    "ALGORITHM = TEMPTABLE ",
                    "DEFINER = CURRENT_USER SQL SECURITY DEFINER ",
                    "DEFINER='nobody'@'nowhere' ",
                ]);
                format!("CREATE {head}VIEW {place} AS {body}{check}")
            }
        }
    }

    pub(super) fn routine(&mut self, side: char) -> String {
        if self.chance(2) { self.procedure(side) } else { self.function(side) }
    }

    fn procedure(&mut self, side: char) -> String {
        match self.known(|g| &g.procedures) {
            Some(found) if self.chance(3) => {
                let place = self.place(found.side, &found.name, side);
                match self.chance(2) {
                    true => format!("ALTER PROCEDURE {place} COMMENT {} SQL SECURITY INVOKER", self.text()),
                    false => {
                        self.procedures.retain(|p| p.name != found.name);
                        format!("DROP PROCEDURE {place}")
                    }
                }
            }
            _ => {
                let name = self.fresh("p");
                let table = self.table();
                let place = self.place(side, &name, side);
                let target = self.place(table.side, &table.name, side);
                self.procedures.push(Named { side, name });
                let body = match self.number(0..4) {
                    0 => "SELECT 1".to_owned(),
                    1 => format!(
                        "BEGIN\n  -- it's a comment;\n  DECLARE x INT DEFAULT 0; /* ; */\n  WHILE x < 3 DO SET x = x + 1; END WHILE;\n  DELETE FROM {target} WHERE id = x;\nEND"
                    ),
                    2 => "lbl: LOOP LEAVE lbl; END LOOP lbl".to_owned(),
                    _ => format!(
                        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN END; TRUNCATE TABLE {target}; DROP TABLE IF EXISTS gone; END"
                    ),
                };
                let attributes = self.pick(&[
                    "",
                    "COMMENT 'it''s; ok' ",
                    "MODIFIES SQL DATA SQL SECURITY INVOKER ",
                    "LANGUAGE SQL NOT DETERMINISTIC ",
                ]);
                format!(
                    "CREATE PROCEDURE {place} (IN a INT, OUT b VARCHAR(10) CHARACTER SET latin1, INOUT c DECIMAL(5,2)) {attributes}{body}"
                )
            }
        }
    }

    fn function(&mut self, side: char) -> String {
        match self.known(|g| &g.functions) {
            Some(found) if self.chance(3) => {
                let place = self.place(found.side, &found.name, side);
                match self.chance(2) {
                    true => format!("ALTER FUNCTION {place} COMMENT {}", self.text()),
                    false => {
                        self.functions.retain(|f| f.name != found.name);
                        format!("DROP FUNCTION IF EXISTS {place}")
                    }
                }
            }
            _ => {
                let name = self.fresh("f");
                let place = self.place(side, &name, side);
                self.functions.push(Named { side, name });
                let definer = self.pick(&["", "DEFINER=`root`@`%` ", "DEFINER = 'no one'@localhost "]);
                match self.number(0..3) {
                    0 => format!("CREATE {definer}FUNCTION {place} (a INT) RETURNS INT DETERMINISTIC RETURN a * 2"),
                    1 => format!(
                        "CREATE {definer}FUNCTION IF NOT EXISTS {place} () RETURNS VARCHAR(20) CHARSET utf8mb4 NO SQL RETURN 'x;y'"
                    ),
                    _ => format!(
                        "CREATE {definer}FUNCTION {place} (s TEXT) RETURNS JSON READS SQL DATA BEGIN IF s IS NULL THEN RETURN NULL; END IF; RETURN JSON_QUOTE(s); END"
                    ),
                }
            }
        }
    }

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
                let (timing, event) = (self.pick(&["BEFORE", "AFTER"]), self.pick(&["INSERT", "UPDATE", "DELETE"]));
                let body = match self.number(0..4) {
                    0 => "SET @seen = 1".to_owned(),
                    1 => "BEGIN SET @a = 'it''s; -- no'; IF @a IS NULL THEN SET @b = 2; END IF; END".to_owned(),
                    2 => "SET @x = (SELECT 1), @y = 2".to_owned(),
                    _ => "x: BEGIN /* c */ DECLARE n INT; SET n = 1; LEAVE x; END x".to_owned(),
                };
                format!("CREATE TRIGGER {place} {timing} {event} ON {on} FOR EACH ROW {body}")
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
                let state = self.pick(&["", "", " ENABLE", " DISABLE", " DISABLE ON REPLICA"]);
                let comment = if self.chance(3) { format!(" COMMENT {}", self.text()) } else { String::new() };
                let body = self.pick(&["SET @a = 1", "BEGIN SET @a = 'DO ENABLE'; DO SLEEP(0); END", "DO 1"]);
                format!("CREATE EVENT {place} ON SCHEDULE {schedule}{kept}{state}{comment} DO {body}")
            }
        }
    }

    pub(super) fn alter_database(&mut self, side: char) -> String {
        let third = format!("{}_c", self.prefix);
        match self.number(0..6) {
            0 => {
                self.more.push(third.clone());
                format!("CREATE DATABASE IF NOT EXISTS `{third}` CHARACTER SET latin1")
            }
            1 if self.more.pop().is_some() => format!("DROP SCHEMA IF EXISTS {third}"),
            2 => format!(
                "ALTER DATABASE {} {}",
                self.database(side),
                self.pick(&["CHARACTER SET utf8mb4", "COLLATE utf8mb4_bin", "DEFAULT CHARSET = latin1"])
            ),
            3 => format!("ALTER DATABASE {}", self.pick(&["COLLATE utf8mb4_0900_ai_ci", "CHARACTER SET utf8mb3"])),
            4 => "ALTER SCHEMA DEFAULT ENCRYPTION = 'N'".to_owned(),
            _ => format!("CREATE SCHEMA {third}"),
        }
    }
}

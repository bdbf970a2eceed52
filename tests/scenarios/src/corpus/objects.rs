//! Views and routines.

use super::{Generator, Named};

impl Generator {
    /// One of these, if there is one.
    pub(super) fn known(&mut self, of: fn(&Self) -> &Vec<Named>) -> Option<Named> {
        let length = of(self).len();
        let at = self.rng_at(length);
        of(self).get(at).cloned()
    }

    pub(super) fn view(&mut self, side: char) -> String {
        let table = self.table();
        let from = self.place(table.side, &table.name, side);
        if !self.flavour.is_mariadb() && self.chance(8) {
            return self.duality_view(side, &from);
        }
        let other = self.known(|g| &g.views).map_or_else(|| from.clone(), |v| self.place(v.side, &v.name, side));
        let body = match self.number(0..12) {
            7 => format!("SELECT * FROM {other}"),
            8 => format!("(SELECT id FROM {from}) EXCEPT (SELECT 3) ORDER BY 1 LIMIT 5"),
            9 => format!(
                "SELECT d.x FROM (SELECT MAX(id) AS x FROM {from}) AS d WHERE EXISTS (SELECT 1 FROM {from} WHERE id = 1)"
            ),
            10 => format!(
                "SELECT t.*, _latin1'x' COLLATE latin1_bin AS l, CASE WHEN id > 1 THEN 'a;b' ELSE \"q\" END AS c FROM {from} t"
            ),
            11 => format!("TABLE {from}")
                .replace("TABLE", if self.flavour.is_mariadb() { "SELECT id FROM" } else { "TABLE" }),
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
                let columns = if body.starts_with("WITH q") { " (one, two)" } else { "" };
                self.views.push(Named { side, name });
                let head = self.pick(&[
                    "",
                    "ALGORITHM = TEMPTABLE ",
                    "DEFINER = CURRENT_USER SQL SECURITY DEFINER ",
                    "DEFINER='nobody'@'nowhere' ",
                    "OR REPLACE ALGORITHM=UNDEFINED DEFINER=`root`@`127.0.0.1` SQL SECURITY INVOKER ",
                    "DEFINER=nobody@10.0.0.1 ",
                ]);
                format!("CREATE {head}VIEW {place}{columns} AS {body}{check}")
            }
        }
    }

    /// MySQL's view of rows as JSON documents.
    fn duality_view(&mut self, side: char, from: &str) -> String {
        let name = self.fresh("j");
        let place = self.place(side, &name, side);
        self.views.push(Named { side, name });
        let with = self.pick(&["", "WITH (INSERT, UPDATE, DELETE) "]);
        let replace = self.pick(&["", "OR REPLACE "]);
        format!(
            "CREATE {replace}JSON RELATIONAL DUALITY VIEW {place} AS SELECT JSON_DUALITY_OBJECT({with}'_id': id) FROM {from}"
        )
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
                let exists = self.pick(&["", "", "IF NOT EXISTS "]);
                let body = match self.number(0..7) {
                    4 => format!("SELECT id FROM {target} WHERE id IN (SELECT id FROM {target})"),
                    5 => "BEGIN DECLARE c CURSOR FOR SELECT 1; OPEN c; CLOSE c; CREATE TEMPORARY TABLE x (a INT); DROP TEMPORARY TABLE x; END".to_owned(),
                    6 => format!("BEGIN\r\n\tIF a > 1 THEN ALTER TABLE {target} COMMENT 'x'; ELSEIF a = 'it''s' THEN SET b = \"q\"; END IF;\n# end\nEND"),
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
                    "CREATE PROCEDURE {exists}{place} (IN a INT, OUT b VARCHAR(10) CHARACTER SET latin1, INOUT c DECIMAL(5,2)) {attributes}{body}"
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
}

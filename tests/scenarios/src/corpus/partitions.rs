//! Tables that are divided into partitions, and what is done with those.

use super::{Generator, Table};

/// How a table is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Partitions {
    None,
    /// By HASH or KEY.
    Hash,
    /// By ranges of 100; the names are `p0`, `p1`, …, and the number is the next one's.
    Range(u32),
    /// The same, each with two subpartitions.
    Subpartitions(u32),
    /// By lists; the same names.
    List(u32),
    /// By ranges of the column `d`, a year each from 2020 on, and the rest in `pmax`.
    Years(u32),
}

impl Generator {
    pub(super) fn partitions(&mut self) -> Partitions {
        match self.number(0..20) {
            0 | 1 => Partitions::Hash,
            2 | 3 => Partitions::Range(3),
            4 => Partitions::Subpartitions(3),
            5 => Partitions::List(2),
            6 => Partitions::Years(2),
            _ => Partitions::None,
        }
    }

    /// The clause of CREATE TABLE.
    pub(super) fn partitioned(&mut self, partitions: &Partitions) -> String {
        let text = match partitions {
            Partitions::None => return String::new(),
            Partitions::Hash => self.pick(&[
                "PARTITION BY HASH (id) PARTITIONS 3",
                "PARTITION BY LINEAR HASH (id) PARTITIONS 4",
                "PARTITION BY KEY (id) PARTITIONS 2",
                "PARTITION BY LINEAR KEY ALGORITHM=2 (id) PARTITIONS 5",
                "/*!50100 PARTITION BY KEY () PARTITIONS 3 */",
                "PARTITION BY HASH (id DIV 10) (PARTITION p0 COMMENT = 'it''s', PARTITION p1, PARTITION `p 2` ENGINE = InnoDB)",
            ]),
            Partitions::Range(_) => self.pick(&[
                "PARTITION BY RANGE COLUMNS (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200) COMMENT 'it''s', PARTITION p2 VALUES LESS THAN (300))",
                "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200) MAX_ROWS = 9, PARTITION p2 VALUES LESS THAN (300))",
            ]),
            Partitions::Subpartitions(_) => self.pick(&[
                "PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200), PARTITION p2 VALUES LESS THAN (300))",
                "PARTITION BY RANGE (id) SUBPARTITION BY KEY (id) (PARTITION p0 VALUES LESS THAN (100) (SUBPARTITION s0, SUBPARTITION s1 COMMENT 'b'), PARTITION p1 VALUES LESS THAN (200) (SUBPARTITION s2, SUBPARTITION s3), PARTITION p2 VALUES LESS THAN (300) (SUBPARTITION s4, SUBPARTITION s5))",
            ]),
            Partitions::List(_) => self.pick(&[
                "PARTITION BY LIST COLUMNS (id) (PARTITION p0 VALUES IN (1,2,3), PARTITION p1 VALUES IN (4,5,6))",
                "PARTITION BY LIST (id) (PARTITION p0 VALUES IN (1,2,3), PARTITION p1 VALUES IN (4,5,6,NULL))",
            ]),
            Partitions::Years(_) => self.pick(&[
                "PARTITION BY RANGE COLUMNS (d) (PARTITION p0 VALUES LESS THAN ('2021-01-01'), PARTITION p1 VALUES LESS THAN ('2022-01-01'), PARTITION pmax VALUES LESS THAN (MAXVALUE))",
                "PARTITION BY RANGE COLUMNS (d, id) (PARTITION p0 VALUES LESS THAN ('2021-01-01', 0), PARTITION p1 VALUES LESS THAN ('2022-01-01', MAXVALUE), PARTITION pmax VALUES LESS THAN (MAXVALUE, MAXVALUE))",
                "PARTITION BY RANGE (YEAR(d)) (PARTITION p0 VALUES LESS THAN (2021), PARTITION p1 VALUES LESS THAN (2022), PARTITION pmax VALUES LESS THAN MAXVALUE)",
                "PARTITION BY RANGE (TO_DAYS(d)) SUBPARTITION BY HASH (TO_DAYS(d)) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (TO_DAYS('2021-01-01')), PARTITION p1 VALUES LESS THAN (TO_DAYS('2022-01-01')), PARTITION pmax VALUES LESS THAN MAXVALUE)",
            ]),
        };
        format!("\n{text}")
    }

    pub(super) fn alter_partitions(&mut self, side: char) -> String {
        let table = self.divided();
        let place = self.place(table.side, &table.name, side);
        let mut now = table.clone();
        let (last, action) = match &mut now.partitions {
            Partitions::None => {
                now.partitions = Partitions::Hash;
                let text = self.pick(&[
                    "PARTITION BY HASH (id) PARTITIONS 4",
                    "PARTITION BY KEY (id) PARTITIONS 2",
                    "COMMENT 'divided' PARTITION BY LINEAR HASH (id) PARTITIONS 2",
                ]);
                (0, text.to_owned())
            }
            Partitions::Hash => match self.number(0..5) {
                0 => (0, "ADD PARTITION PARTITIONS 2".to_owned()),
                1 => (0, "COALESCE PARTITION 1".to_owned()),
                2 => {
                    now.partitions = Partitions::None;
                    (0, "REMOVE PARTITIONING".to_owned())
                }
                _ => (0, String::new()),
            },
            Partitions::Range(next) | Partitions::Subpartitions(next) => {
                let at = *next;
                match self.number(0..9) {
                    0..=2 => {
                        *next += 1;
                        (at, format!("ADD PARTITION (PARTITION p{at} VALUES LESS THAN ({}))", (at + 1) * 100))
                    }
                    3 => (at, format!("DROP PARTITION p{}", self.number(0..at))),
                    4 => {
                        let text = format!(
                            "REORGANIZE PARTITION p{0} INTO (PARTITION p{0}a VALUES LESS THAN ({1}), PARTITION p{0} VALUES LESS THAN ({2}))",
                            at - 1,
                            at * 100 - 50,
                            at * 100
                        );
                        (at, text)
                    }
                    5 => (
                        at,
                        format!(
                            "REORGANIZE PARTITION p0, p1 INTO (PARTITION p1 VALUES LESS THAN (200) COMMENT {})",
                            self.text()
                        ),
                    ),
                    6 if table.partitions == Partitions::Range(at) => {
                        return self.exchange(&table, side, &format!("p{}", at - 1));
                    }
                    _ => (at, String::new()),
                }
            }
            Partitions::List(next) => {
                let at = *next;
                match self.number(0..5) {
                    0 | 1 => {
                        *next += 1;
                        (
                            at,
                            format!(
                                "ADD PARTITION (PARTITION p{at} VALUES IN ({}, {}) COMMENT 'x')",
                                at * 10,
                                at * 10 + 1
                            ),
                        )
                    }
                    2 => (at, format!("DROP PARTITION p{}", self.number(0..at))),
                    3 => (
                        at,
                        "REORGANIZE PARTITION p0 INTO (PARTITION p0 VALUES IN (1), PARTITION pz VALUES IN (2,3))"
                            .to_owned(),
                    ),
                    _ => (at, String::new()),
                }
            }
            Partitions::Years(next) => {
                let at = *next;
                match self.number(0..4) {
                    0 => {
                        *next += 1;
                        let text = format!(
                            "REORGANIZE PARTITION pmax INTO (PARTITION p{at} VALUES LESS THAN ('{}-01-01'), PARTITION pmax VALUES LESS THAN (MAXVALUE))",
                            2021 + at
                        );
                        (at, text)
                    }
                    1 => (at, "DROP PARTITION p0, p1".to_owned()),
                    _ => (at, String::new()),
                }
            }
        };
        let action = if action.is_empty() { self.on_partitions(last) } else { action };
        if let Some(known) = self.remembered(&table) {
            *known = now;
        }
        format!("ALTER TABLE {place} {action}")
    }

    /// What can be done with partitions of every kind.
    fn on_partitions(&mut self, next: u32) -> String {
        let which = match self.number(0..3) {
            0 => "ALL".to_owned(),
            1 => format!("p{}", next.max(1) - 1),
            _ => "p0, p1".to_owned(),
        };
        match self.number(0..8) {
            0..=2 => format!("TRUNCATE PARTITION {which}"),
            3 => format!("REBUILD PARTITION {which}"),
            4 => format!("ANALYZE PARTITION {which}"),
            5 => format!("CHECK PARTITION {which}"),
            6 => format!("OPTIMIZE PARTITION {which}"),
            _ => "REMOVE PARTITIONING".to_owned(),
        }
    }

    /// Exchanges a partition with a table that was made for it, if there is one; else makes one.
    fn exchange(&mut self, table: &Table, side: char, partition: &str) -> String {
        let place = self.place(table.side, &table.name, side);
        let other = format!("{}x", table.name);
        let swapped = self.place(table.side, &other, side);
        match self.tables.iter_mut().find(|t| t.side == table.side && t.name == other) {
            None => {
                self.tables.push(Table { name: other, foreign_keys: Vec::new(), ..table.clone() });
                format!("CREATE TABLE {swapped} LIKE {place}")
            }
            Some(known) if known.partitions != Partitions::None => {
                known.partitions = Partitions::None;
                format!("ALTER TABLE {swapped} REMOVE PARTITIONING")
            }
            Some(_) => {
                let how = self.pick(&["", " WITHOUT VALIDATION", " WITH VALIDATION"]);
                format!("ALTER TABLE {place} EXCHANGE PARTITION {partition} WITH TABLE {swapped}{how}")
            }
        }
    }
}

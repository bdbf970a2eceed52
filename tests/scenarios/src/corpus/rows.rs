//! Rows, so that there is something to convert, to move between partitions, and to lose.

use super::{Column, Generator, Table};

impl Generator {
    pub(super) fn change_rows(&mut self, side: char) -> String {
        let Some(table) = self.with_rows() else { return self.not_captured(side) };
        let place = self.place(table.side, &table.name, side);
        let id = self.number(1..300);
        match self.number(0..10) {
            0 => format!("DELETE FROM {place} WHERE id % 7 = {}", id % 7),
            1 | 2 => match self.spare_column(&table) {
                Some(at) if table.columns[at].class != "generated" => {
                    let column = table.columns[at].clone();
                    let (name, value) = (self.quoted(&column.name), self.value(&column));
                    format!("UPDATE IGNORE {place} SET {name} = {value} WHERE id % 3 = {}", id % 3)
                }
                _ => format!("UPDATE IGNORE {place} SET id = id + 1 WHERE id = {id}"),
            },
            3 => format!("REPLACE INTO {place} (id) VALUES ({id}), ({})", id % 6 + 1),
            4 => format!(
                "INSERT IGNORE INTO {place} (id) VALUES ({id}), ({}) ON DUPLICATE KEY UPDATE id = id",
                id % 6 + 1
            ),
            5 => {
                let other = self.table();
                let from = self.place(other.side, &other.name, side);
                format!("INSERT IGNORE INTO {place} (id) SELECT id FROM {from}")
            }
            _ => self.insert(&table, &place),
        }
    }

    fn insert(&mut self, table: &Table, place: &str) -> String {
        let columns: Vec<Column> = table.columns.iter().filter(|c| c.class != "generated").cloned().collect();
        let names: Vec<String> = columns.iter().map(|c| self.quoted(&c.name)).collect();
        let mut rows = Vec::new();
        for _ in 0..self.number(1..4) {
            let id = self.number(1..300);
            let values: Vec<String> =
                columns.iter().map(|c| if c.name == "id" { id.to_string() } else { self.value(c) }).collect();
            rows.push(format!("({})", values.join(", ")));
        }
        let word = self.pick(&["INSERT IGNORE", "INSERT IGNORE", "INSERT", "REPLACE"]);
        format!("{word} INTO {place} ({}) VALUES {}", names.join(", "), rows.join(", "))
    }
}

//! Rows of many types, with the values at their edges.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Leg, Workload, write};

/// Columns with values that they may be given.
const COLUMNS: [(&str, &str, &[&str]); 22] = [
    ("i8", "TINYINT", &["-128", "127", "0", "NULL"]),
    ("u64", "BIGINT UNSIGNED", &["0", "18446744073709551615", "9223372036854775808", "NULL"]),
    ("i24", "MEDIUMINT", &["-8388608", "8388607", "NULL"]),
    ("f", "FLOAT", &["0.1", "-3.40282e38", "1e-30", "NULL"]),
    ("d", "DOUBLE", &["0.1", "-1.7976931348623157e308", "2.2250738585072014e-308", "NULL"]),
    ("n", "DECIMAL(65,30)", &["0.000000000000000000000000000001", "-99999999999999999999999999999999999.9", "NULL"]),
    ("b", "BIT(64)", &["0", "b'1'", "18446744073709551615", "NULL"]),
    ("y", "YEAR", &["1901", "2155", "0", "NULL"]),
    ("da", "DATE", &["'1000-01-01'", "'9999-12-31'", "NULL"]),
    ("t", "TIME(6)", &["'-838:59:58.999999'", "'00:00:00.000001'", "'838:59:59'", "NULL"]),
    ("dt", "DATETIME(6)", &["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'", "NOW(6)", "NULL"]),
    ("ts", "TIMESTAMP(6) NULL", &["'1970-01-02 00:00:01.000001'", "'2038-01-18 03:14:07.999999'", "NOW(6)", "NULL"]),
    ("c", "CHAR(10)", &["''", "'a  '", "'zehn Zeich'", "NULL"]),
    ("v", "VARCHAR(500)", &["''", "REPEAT('\u{2603}', 400)", "'it''s \\\\ \"x\"'", "NULL"]),
    ("l", "VARCHAR(40) CHARACTER SET latin1", &["_latin1 X'E4F6FC'", "''", "NULL"]),
    ("bi", "BINARY(8)", &["X'0000000000000000'", "X'00FF'", "X'20202020'", "NULL"]),
    ("vb", "VARBINARY(300)", &["X''", "RANDOM_BYTES(300)", "X'00'", "NULL"]),
    ("bl", "BLOB", &["X''", "RANDOM_BYTES(1000)", "NULL"]),
    ("tx", "TEXT", &["''", "REPEAT('\u{1F9A6}', 300)", "NULL"]),
    ("e", "ENUM('a','b','\u{fc}')", &["'a'", "'\u{fc}'", "NULL"]),
    ("s", "SET('x','y','z')", &["''", "'x,z'", "'x,y,z'", "NULL"]),
    (
        "j",
        "JSON",
        &["'null'", "'{\"a\": [1, 2.5, \"\u{e4}\", null, true], \"b\": {}}'", "JSON_OBJECT('n', 1.10)", "NULL"],
    ),
];
const ROWS: u32 = 40;

/// Rows of many types.
pub(super) struct Types;

fn transaction(db: &str, random: &mut ChaCha8Rng) -> String {
    let id = random.random_range(0..ROWS);
    if random.random_range(0..8) == 0 {
        return format!("DELETE FROM `{db}`.kinds WHERE id = {id}");
    }
    let mut values = Vec::new();
    for (name, _, of) in COLUMNS {
        if random.random_range(0..3) != 0 {
            values.push(format!("{name} = {}", of[random.random_range(0..of.len())]));
        }
    }
    let values = if values.is_empty() { "i8 = 1".to_owned() } else { values.join(", ") };
    format!("INSERT INTO `{db}`.kinds SET id = {id}, {values} ON DUPLICATE KEY UPDATE {values}")
}

impl Workload for Types {
    fn name(&self) -> &'static str {
        "types"
    }

    fn about(&self) -> &'static str {
        "rows of 22 columns of as many types, with the values at their edges"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
            let create = format!(
                "CREATE TABLE `{database}`.kinds (id INT PRIMARY KEY, {}) CHARACTER SET utf8mb4",
                columns.join(", ")
            );
            execute(url, &[&create]).await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let db = leg.database.clone();
            write(&leg, 0, Duration::from_millis(50), |random, _| transaction(&db, random)).await
        })
    }
}

//! The benchmark workloads W1–W4, written by stored procedures so that the source is never what is measured.

use mysql_async::prelude::Queryable;

use super::run_all;
use crate::mysql::connect;

/// A benchmark workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// 10-row transactions over 8 sysbench-like tables: 2 inserts, 6 updates, 2 deletes.
    W1,
    /// 1,000-row inserts.
    W2,
    /// 40 mixed-type columns, one-row updates in transactions of 10.
    W3,
    /// One-row transactions (updates).
    W4,
}

impl Workload {
    /// Row changes in one transaction.
    pub fn rows_per_transaction(self) -> u64 {
        match self {
            Self::W1 | Self::W3 => 10,
            Self::W2 => 1_000,
            Self::W4 => 1,
        }
    }

    /// `w1` … `w4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
        }
    }
}

/// Rows each of the 8 tables starts with.
const START_ROWS: u32 = 10_000;

fn table(db: &str, n: u32) -> String {
    format!(
        "CREATE TABLE `{db}`.sbtest{n} (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', \
         pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_{n} (k))"
    )
}

fn wide_table(db: &str) -> String {
    let kinds = [
        "INT", "BIGINT UNSIGNED", "VARCHAR(40)", "DECIMAL(12,4)", "DATETIME(3)", "DOUBLE", "TINYINT", "DATE", "VARBINARY(24)", "TIMESTAMP NULL",
    ];
    let columns: Vec<String> = (0..39).map(|i| format!("c{i} {}", kinds[i % kinds.len()])).collect();
    format!("CREATE TABLE `{db}`.wide (id INT NOT NULL PRIMARY KEY, {})", columns.join(", "))
}

/// One transaction of W1 in the procedure language: ids rise, so deletes and inserts never meet.
fn w1_body() -> String {
    let mut body = String::new();
    for i in 0..10u32 {
        // table by turns: each branch is one static statement, so nothing is prepared at run time
        let arms: Vec<String> = (1..=8)
            .map(|n| {
                let statement = match i {
                    0 | 5 => format!("INSERT INTO sbtest{n} (k, c, pad) VALUES (FLOOR(RAND()*100000), REPEAT(MD5(RAND()),3), MD5(RAND()))"),
                    4 | 9 => format!("DELETE FROM sbtest{n} WHERE id >= @low{n} ORDER BY id LIMIT 1"),
                    _ => format!("UPDATE sbtest{n} SET k = k + 1, c = REPEAT(MD5(RAND()),3) WHERE id = @low{n} + 200 + FLOOR(RAND()*9000)"),
                };
                let after = if matches!(i, 4 | 9) { format!("SET @low{n} = @low{n} + 1; ") } else { String::new() };
                format!("WHEN {} THEN {statement}; {after}", n - 1)
            })
            .collect();
        body.push_str(&format!("CASE (i + {}) % 8 {} END CASE;\n", i * 3, arms.join(" ")));
    }
    body
}

/// Creates the workload's database, tables, rows and procedure `run(transactions)`.
pub async fn create(url: &str, db: &str, workload: Workload) -> anyhow::Result<()> {
    let mut conn = connect(url).await?;
    run_all(&mut conn, &[format!("DROP DATABASE IF EXISTS `{db}`"), format!("CREATE DATABASE `{db}`"), format!("USE `{db}`")]).await?;
    let body = match workload {
        Workload::W1 | Workload::W4 => {
            for n in 1..=8 {
                run_all(&mut conn, &[table(db, n), fill(n)]).await?;
            }
            if workload == Workload::W1 { w1_body() } else { w4_body() }
        }
        Workload::W2 => {
            run_all(&mut conn, &[table(db, 1), fill(1), "CREATE TABLE sink LIKE sbtest1".to_owned()]).await?;
            "INSERT INTO sink (k, c, pad) SELECT k, c, pad FROM sbtest1 LIMIT 1000;".to_owned()
        }
        Workload::W3 => {
            run_all(&mut conn, &[wide_table(db), wide_fill()]).await?;
            w3_body()
        }
    };
    let lows: Vec<String> = (1..=8).map(|n| format!("SET @low{n} = COALESCE(@low{n}, 1);")).collect();
    let procedure = format!(
        "CREATE PROCEDURE run(transactions INT) BEGIN DECLARE i INT DEFAULT 0; {} WHILE i < transactions DO START TRANSACTION; {body} COMMIT; SET i = i + 1; END WHILE; END",
        lows.join(" ")
    );
    run_all(&mut conn, &[procedure]).await
}

fn fill(n: u32) -> String {
    format!(
        "INSERT INTO sbtest{n} (k, c, pad) WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000), \
         t (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < {}) \
         SELECT FLOOR(RAND()*100000), REPEAT(MD5(RAND()),3), MD5(RAND()) FROM s, t",
        START_ROWS / 1_000
    )
}

fn wide_fill() -> String {
    "INSERT INTO wide (id) WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000) SELECT i FROM s".to_owned()
}

fn w3_body() -> String {
    let update = "UPDATE wide SET c0 = i, c1 = 18446744073709551615 - i, c2 = MD5(RAND()), c3 = RAND()*1000000, c4 = NOW(3), c5 = RAND(), \
                  c6 = i % 100, c7 = CURDATE(), c8 = UNHEX(MD5(RAND())), c9 = NOW(), c12 = MD5(RAND()), c13 = RAND()*100 WHERE id = 1 + FLOOR(RAND()*1000);";
    update.repeat(10)
}

fn w4_body() -> String {
    let arms: Vec<String> = (1..=8)
        .map(|n| format!("WHEN {} THEN UPDATE sbtest{n} SET k = k + 1, c = REPEAT(MD5(RAND()),3) WHERE id = 1 + FLOOR(RAND()*{START_ROWS}); ", n - 1))
        .collect();
    format!("CASE i % 8 {} END CASE;", arms.join(" "))
}

/// Writes that many transactions, as fast as the server can with relaxed durability when `relaxed`; returns rows written.
pub async fn run(url: &str, db: &str, workload: Workload, transactions: u64, relaxed: bool) -> anyhow::Result<u64> {
    let mut conn = connect(url).await?;
    if relaxed {
        run_all(&mut conn, &["SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 2"]).await?;
    }
    conn.query_drop(format!("USE `{db}`")).await?;
    let result = conn.query_drop(format!("CALL run({transactions})")).await;
    if relaxed {
        run_all(&mut conn, &["SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"]).await?;
    }
    result?;
    Ok(transactions * workload.rows_per_transaction())
}

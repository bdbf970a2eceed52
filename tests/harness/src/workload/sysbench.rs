//! The benchmark workloads W1–W4, written by stored procedures so that the source is never what is measured.
//!
//! Every statement of a transaction hits exactly the rows it names: ids are drawn before the statement (`RAND()` in a
//! `WHERE` is drawn anew for each row), from the range of ids that is known to be there. The procedures live in a database
//! of their own that never comes into the binlog.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use mysql_async::Conn;
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

    /// Rows that one transaction inserts, updates and deletes.
    pub fn shape(self) -> [u64; 3] {
        match self {
            Self::W1 => [2, 6, 2],
            Self::W2 => [1_000, 0, 0],
            Self::W3 => [0, 10, 0],
            Self::W4 => [0, 1, 0],
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

const TABLES: u32 = 8;
/// As sysbench fills them: 120 and 60 characters.
const LONG: &str = "REPEAT(HEX(RANDOM_BYTES(20)), 3)";
const PAD: &str = "HEX(RANDOM_BYTES(30))";

/// Types of the wide table's columns by turns, with what a new value is.
const KINDS: [(&str, &str); 13] = [
    ("INT", "FLOOR(RAND() * 2147483647)"),
    ("BIGINT UNSIGNED", "FLOOR(RAND() * 9000000000000000000)"),
    ("VARCHAR(40)", "HEX(RANDOM_BYTES(16))"),
    ("DECIMAL(12,4)", "ROUND(RAND() * 99999999, 4)"),
    ("DATETIME(3)", "NOW(3)"),
    ("DOUBLE", "RAND()"),
    ("TINYINT", "FLOOR(RAND() * 127)"),
    ("DATE", "DATE_ADD('2000-01-01', INTERVAL FLOOR(RAND() * 9000) DAY)"),
    ("VARBINARY(24)", "RANDOM_BYTES(24)"),
    ("TIMESTAMP NULL", "NOW()"),
    ("ENUM('small','medium','large')", "ELT(1 + FLOOR(RAND() * 3), 'small', 'medium', 'large')"),
    ("TIME", "SEC_TO_TIME(FLOOR(RAND() * 86000))"),
    ("TEXT", "HEX(RANDOM_BYTES(30))"),
];
const WIDE_COLUMNS: usize = 39;

/// The wide table's column `i`: type and new value. The last one is JSON.
fn wide_column(i: usize) -> (&'static str, &'static str) {
    if i + 1 == WIDE_COLUMNS {
        ("JSON", "JSON_OBJECT('n', FLOOR(RAND() * 1000), 'tag', HEX(RANDOM_BYTES(4)))")
    } else {
        KINDS[i % KINDS.len()]
    }
}

fn narrow_table(db: &str, n: u32) -> [String; 2] {
    let create = format!(
        "CREATE TABLE `{db}`.sbtest{n} (id INT NOT NULL, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', \
         pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_{n} (k))"
    );
    let fill = format!(
        "INSERT INTO `{db}`.sbtest{n} (id, k, c, pad) {SERIES} SELECT 1 + s.i + 1000 * t.i, FLOOR(RAND() * 100000), {LONG}, {PAD} FROM s, t"
    );
    [create, fill]
}

fn wide_table(db: &str) -> [String; 2] {
    let columns: Vec<String> = (0..WIDE_COLUMNS).map(|i| format!("c{i} {}", wide_column(i).0)).collect();
    let values: Vec<&str> = (0..WIDE_COLUMNS).map(|i| wide_column(i).1).collect();
    [
        format!("CREATE TABLE `{db}`.wide (id INT NOT NULL PRIMARY KEY, {})", columns.join(", ")),
        format!("INSERT INTO `{db}`.wide {SERIES} SELECT 1 + s.i + 1000 * t.i, {} FROM s, t", values.join(", ")),
    ]
}

/// The 10,000 rows that each table starts with, ids from 1: a recursion may be 1,000 deep.
const SERIES: &str = "WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < 999), \
                      t (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM t WHERE i < 9)";

/// One transaction of W1: `@l` and `@h` hold, per table, the lowest id of the session's lane and the next free one, so that
/// rows between them are there. Over the transactions each table gets as many inserts as deletes. Transaction `n` of a lane
/// is of kind `n % 8`, and each kind is a procedure of its own: choosing tables inside of one cost the server as much as the rows.
fn w1_body(db: &str, kind: u32) -> String {
    let statement = |step: u32, n: u32| match step {
        0 | 5 => format!(
            "INSERT INTO `{db}`.sbtest{n} VALUES (@h{n}, FLOOR(RAND() * 100000), {LONG}, {PAD}); SET @h{n} = @h{n} + @lanes;"
        ),
        4 | 9 => format!("DELETE FROM `{db}`.sbtest{n} WHERE id = @l{n}; SET @l{n} = @l{n} + @lanes;"),
        _ => format!(
            "SET r = CAST(@l{n} + @lanes * FLOOR(RAND() * ((@h{n} - @l{n}) DIV @lanes)) AS SIGNED); \
             UPDATE `{db}`.sbtest{n} SET k = k + 1, c = {LONG} WHERE id = r;"
        ),
    };
    (0..10).map(|step| statement(step, 1 + (kind + step * 3) % TABLES)).collect()
}

fn w3_body(db: &str) -> String {
    let values: Vec<String> = (0..KINDS.len()).map(|i| format!("c{i} = {}", wide_column(i).1)).collect();
    let update = format!("SET r = {ANY_ROW}; UPDATE `{db}`.wide SET {} WHERE id = r;\n", values.join(", "));
    update.repeat(10)
}

fn w4_body(db: &str, n: u32) -> String {
    format!("SET r = {ANY_ROW}; UPDATE `{db}`.sbtest{n} SET k = k + 1, c = {LONG} WHERE id = r;")
}

const ANY_ROW: &str = "CAST(1 + FLOOR(RAND() * 10000) AS SIGNED)";

/// The database of the procedures.
fn driver(db: &str) -> String {
    format!("{db}_driver")
}

/// Creates the workload's database, tables and rows, and its procedures. The table `mark` (one column, `id`) is for whoever
/// measures: see [`mark`] and [`Lane::transaction`].
///
/// # Errors
/// When a statement fails.
pub async fn create(url: &str, db: &str, workload: Workload) -> anyhow::Result<()> {
    let mut conn = connect(url).await?;
    let mut statements = vec![
        format!("DROP DATABASE IF EXISTS `{db}`"),
        format!("CREATE DATABASE `{db}`"),
        format!("CREATE TABLE `{db}`.mark (id BIGINT UNSIGNED NOT NULL PRIMARY KEY)"),
    ];
    match workload {
        Workload::W1 | Workload::W4 => statements.extend((1..=TABLES).flat_map(|n| narrow_table(db, n))),
        Workload::W2 => {
            statements.extend(narrow_table(db, 1));
            statements.push(format!(
                "CREATE TABLE `{db}`.sink (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, \
                 pad CHAR(60) NOT NULL, KEY (k))"
            ));
        }
        Workload::W3 => statements.extend(wide_table(db)),
    }
    run_all(&mut conn, &statements).await?;
    create_procedures(&mut conn, db, workload).await
}

async fn create_procedures(conn: &mut Conn, db: &str, workload: Workload) -> anyhow::Result<()> {
    let driver = driver(db);
    let range = |n| {
        format!("SELECT MIN(id), MAX(id) + lanes INTO @l{n}, @h{n} FROM `{db}`.sbtest{n} WHERE id % lanes = lane; ")
    };
    let (ranges, bodies): (String, Vec<String>) = match workload {
        Workload::W1 => ((1..=TABLES).map(range).collect(), (0..TABLES).map(|kind| w1_body(db, kind)).collect()),
        Workload::W2 => (
            String::new(),
            vec![format!("INSERT INTO `{db}`.sink (k, c, pad) SELECT k, c, pad FROM `{db}`.sbtest1 WHERE id <= 1000;")],
        ),
        Workload::W3 => (String::new(), vec![w3_body(db)]),
        Workload::W4 => (String::new(), (1..=TABLES).map(|n| w4_body(db, n)).collect()),
    };
    let kinds = bodies.len();
    let procedure = |(kind, body): (usize, &String)| {
        format!("CREATE PROCEDURE `{driver}`.body{kind}() BEGIN DECLARE r BIGINT; {body} END")
    };
    let arm = |kind: usize| format!("WHEN {kind} THEN CALL body{kind}();");
    let body = format!("CASE @n % {kinds} {} END CASE; SET @n = @n + 1;", (0..kinds).map(arm).collect::<String>());
    let mut statements = vec![
        "SET SESSION sql_log_bin = 0".to_owned(),
        format!("DROP DATABASE IF EXISTS `{driver}`"),
        format!("CREATE DATABASE `{driver}`"),
        format!(
            "CREATE PROCEDURE `{driver}`.open_lane(lane BIGINT, lanes BIGINT) BEGIN SET @lanes = lanes, @n = lane; {ranges} END"
        ),
    ];
    statements.extend(bodies.iter().enumerate().map(procedure));
    statements.extend([
        format!(
            "CREATE PROCEDURE `{driver}`.run(transactions BIGINT) BEGIN DECLARE i BIGINT DEFAULT 0; WHILE i < transactions DO \
             START TRANSACTION; {body} COMMIT; SET i = i + 1; END WHILE; END"
        ),
        format!(
            "CREATE PROCEDURE `{driver}`.begin_marked(id BIGINT UNSIGNED) BEGIN START TRANSACTION; {body} \
             INSERT INTO `{db}`.mark VALUES (id); END"
        ),
        "SET SESSION sql_log_bin = 1".to_owned(),
    ]);
    run_all(conn, &statements).await
}

/// One session of several that write the workload side by side; each has rows of its own.
#[derive(Debug)]
pub struct Lane {
    conn: Conn,
    driver: String,
}

impl Lane {
    /// Opens lane `lane` of `lanes`.
    ///
    /// # Errors
    /// When the server cannot be reached, or [`create`] was not run.
    pub async fn open(url: &str, db: &str, lane: u32, lanes: u32) -> anyhow::Result<Self> {
        let (mut conn, driver) = (connect(url).await?, driver(db));
        conn.query_drop(format!("CALL `{driver}`.open_lane({lane}, {lanes})"))
            .await
            .context("open a lane of a workload")?;
        Ok(Self { conn, driver })
    }

    /// Runs transactions one after the other, as fast as the server can.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn run(&mut self, transactions: u64) -> anyhow::Result<()> {
        let call = format!("CALL `{}`.run({transactions})", self.driver);
        self.conn.query_drop(call).await.context("run transactions of a workload")
    }

    /// Runs one transaction that also writes the mark `id`; returns how long its commit took.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn transaction(&mut self, id: u64) -> anyhow::Result<Duration> {
        let call = format!("CALL `{}`.begin_marked({id})", self.driver);
        self.conn.query_drop(call).await.context("run a transaction of a workload")?;
        let began = Instant::now();
        self.conn.query_drop("COMMIT").await.context("commit a transaction of a workload")?;
        Ok(began.elapsed())
    }
}

/// Writes the mark `id` in a transaction of its own.
///
/// # Errors
/// When the statement fails.
pub async fn mark(url: &str, db: &str, id: u64) -> anyhow::Result<()> {
    crate::mysql::execute(url, &[&format!("INSERT INTO `{db}`.mark VALUES ({id})")]).await
}

/// Writes that many transactions in one session, with relaxed durability meanwhile when `relaxed`; returns rows written.
///
/// # Errors
/// When a statement fails.
pub async fn run(url: &str, db: &str, workload: Workload, transactions: u64, relaxed: bool) -> anyhow::Result<u64> {
    let mut conn = connect(url).await?;
    let before: Option<(u64, u64)> =
        conn.query_first("SELECT @@GLOBAL.sync_binlog, @@GLOBAL.innodb_flush_log_at_trx_commit").await?;
    if relaxed {
        set_durability(&mut conn, (0, 2)).await?;
    }
    let written = async { Lane::open(url, db, 0, 1).await?.run(transactions).await }.await;
    if let Some(before) = before {
        set_durability(&mut conn, before).await?;
    }
    written?;
    Ok(transactions * workload.rows_per_transaction())
}

async fn set_durability(conn: &mut Conn, (binlog, log): (u64, u64)) -> anyhow::Result<()> {
    let statement = format!("SET GLOBAL sync_binlog = {binlog}, GLOBAL innodb_flush_log_at_trx_commit = {log}");
    run_all(conn, &[statement]).await
}

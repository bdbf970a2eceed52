//! What an extraction costs: `cargo test --release -p lutra-extractor --test cost -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

mod support;

use std::time::{Duration, Instant};

use lutra_spec::SourceStart;
use support::Scene;

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned()
}

const TABLES: u32 = 8;
const TRANSACTIONS: u32 = 20_000;

/// W1: transactions of 10 rows over 8 tables: 2 inserts, 6 updates, 2 deletes.
async fn workload(scene: &mut Scene) {
    for n in 0..TABLES {
        let table = format!("CREATE TABLE s{n} (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60), KEY (k))");
        scene.sql(&table).await;
        let fill = format!(
            "INSERT INTO s{n} WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             SELECT i, i, REPEAT('c', 119), REPEAT('p', 59) FROM n"
        );
        scene.sql(&fill).await;
    }
    let mut body = String::new();
    for row in 0..10 {
        let table = format!("s{}", row % TABLES);
        let key = format!("1 + (i * 7 + {row} * 131) % 1000");
        body += &match row {
            0 | 1 => format!("INSERT INTO {table} VALUES (10000 + i, i, REPEAT('n', 119), REPEAT('q', 59));"),
            2 | 3 => format!("DELETE FROM s{} WHERE id = 10000 + i;", row - 2),
            4 | 5 => format!("UPDATE {table} SET c = CONCAT(i, '-', REPEAT('u', 100)) WHERE id = {key};"),
            _ => format!("UPDATE {table} SET k = k + 1 WHERE id = {key};"),
        };
    }
    let procedure = format!(
        "CREATE PROCEDURE w1(IN count INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < count DO SET i = i + 1; START TRANSACTION; \
         {body} COMMIT; END WHILE; END"
    );
    scene.sql(&procedure).await;
    scene.source.set_read_timeout(Duration::from_secs(600));
    scene.sql(&format!("CALL w1({TRANSACTIONS})")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the stack, and is a measurement"]
async fn a_backlog_of_small_transactions_is_extracted() {
    let mut scene = Scene::new("ex_cost").await;
    let before = scene.executed().await;
    workload(&mut scene).await;
    let mut config = scene.config(&["ex_cost.*"]);
    config.spec.start = SourceStart::Gtid(before);
    let (began, used) = (Instant::now(), cpu());
    let following = scene.start(config);
    let expected = u64::from(TRANSACTIONS) * 10 + u64::from(TABLES) * 1000;
    let status = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(status) = scene.board.all().into_values().next()
            && status.counters.rows >= expected
            && status.in_flight_bytes == 0
        {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(300));
    };
    let (took, used) = (began.elapsed(), cpu() - used);
    following.stop().await;
    let rows = status.counters.rows as f64;
    println!(
        "{rows} rows in {took:?}: {:.0} rows/s, {:.2} CPU s per million rows, {} bytes read, {} records, {}",
        rows / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / rows,
        status.counters.bytes_read,
        status.counters.records,
        peak_memory()
    );
}

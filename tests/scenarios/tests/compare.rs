//! `lutra compare`: planted differences of every kind are found, and none is invented while writes go on.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

const TABLES: [&str; 6] = [
    "CREATE TABLE many (id INT PRIMARY KEY, v VARCHAR(40), f FLOAT, d DOUBLE)",
    "INSERT INTO many WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 45000) \
     SELECT i, CONCAT('row ', i), i / 3, i / 7 FROM n",
    "CREATE TABLE kinds (a INT, b VARCHAR(20) COLLATE utf8mb4_bin, c DATE, t VARCHAR(20) CHARACTER SET latin1, z DATETIME NULL, \
     bits BIT(64), j JSON, g GEOMETRY, n DECIMAL(65,30), e ENUM('', 'x'), bl LONGBLOB, ti TIME(6), ts TIMESTAMP NULL, \
     s VARCHAR(10), PRIMARY KEY (b, c, a))",
    "INSERT INTO kinds WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
     SELECT i, CONCAT('k', i % 7), DATE '2024-01-01' + INTERVAL i DAY, 'ä', '0000-00-00', 18446744073709551615, '{\"a\": 1}', \
     ST_GeomFromText('POINT(1 2)', 4326), 1.5, '', REPEAT(x'00', 1000), '-00:00:00.000001', '2024-07-01 12:00:00', 'end' FROM n",
    "CREATE TABLE keyless (a INT, b VARCHAR(10), f FLOAT)",
    "INSERT INTO keyless WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
     SELECT i % 100, 'x', i % 3 / 3 FROM n",
];

/// One fault of each kind; all rows of `kinds` lie in different slices.
const FAULTS: [&str; 22] = [
    "SET sql_mode='', time_zone='+00:00'",
    "DELETE FROM many WHERE id IN (1, 20000, 45000)",
    "INSERT INTO many VALUES (-5, 'extra', 1, 1), (45001, 'extra', 1, 1)",
    "UPDATE many SET f = f + 0.001 WHERE id = 30000",
    "UPDATE many SET d = d + 1e-12 WHERE id = 77",
    "UPDATE many SET v = 'ROW 500' WHERE id = 500",
    "UPDATE kinds SET t = x'84' WHERE a = 1",
    "UPDATE kinds SET z = NULL WHERE a = 2",
    "UPDATE kinds SET bits = 18446744073709551614 WHERE a = 3",
    // The server does not write a value that it calls equal to the old one.
    "UPDATE kinds SET j = NULL WHERE a = 4",
    "UPDATE kinds SET j = '{\"a\": 1.0}' WHERE a = 4",
    "UPDATE kinds SET g = ST_GeomFromText('POINT(1 2)', 0) WHERE a = 5",
    "UPDATE kinds SET n = 1.500000000000000000000000000001 WHERE a = 6",
    "UPDATE kinds SET e = 0 WHERE a = 7",
    "UPDATE kinds SET bl = CONCAT(REPEAT(x'00', 999), x'01') WHERE a = 8",
    "UPDATE kinds SET ti = '00:00:00.000001' WHERE a = 9",
    "UPDATE kinds SET ts = '2024-07-01 12:00:01' WHERE a = 10",
    "UPDATE kinds SET s = 'end ' WHERE a = 11",
    "INSERT INTO keyless SELECT * FROM keyless WHERE a = 7 LIMIT 1",
    "DELETE FROM keyless WHERE a = 9 LIMIT 2",
    "ALTER TABLE kinds ADD KEY planted (s)",
    "CREATE TABLE only_here (id INT PRIMARY KEY)",
];

async fn world(name: &str) -> Result<World> {
    let world = World::shared(name, WorldOptions::default()).await?;
    world.apply().await?;
    let enter = [format!("CREATE DATABASE `{}`", world.database()), format!("USE `{}`", world.database())];
    let mut statements: Vec<&str> = enter.iter().map(String::as_str).collect();
    statements.push("SET sql_mode='', cte_max_recursion_depth=1000000, time_zone='+00:00', NAMES utf8mb4");
    statements.extend(TABLES);
    world.execute(&statements).await?;
    world.settled(LIMIT).await?;
    Ok(world)
}

/// Runs `lutra compare`; what it says, and whether source and target are equal by its exit code.
async fn compare(world: &World, more: &[&str]) -> Result<(Value, bool)> {
    let pipeline = world.pipeline();
    // The account that follows a source need not read its tables.
    let args = [["compare", pipeline.as_str(), "--json", "--user", "root"].as_slice(), more].concat();
    let (text, equal) = match world.lutra(&args).await {
        Ok(text) => (text, true),
        Err(error) => (format!("{error:#}"), false),
    };
    let start = text.find('{').with_context(|| format!("no JSON in {text}"))?;
    let first = text[start..].lines().next().unwrap_or_default();
    let value: Value = serde_json::from_str(first).with_context(|| format!("understand {text}"))?;
    ensure!(value.get("tables").is_some(), "lutra compare failed: {text}");
    Ok((value, equal))
}

fn differences(report: &Value, table: &str) -> Vec<Value> {
    let tables = report["tables"].as_array().cloned().unwrap_or_default();
    let of = |t: &&Value| t["source"].as_str().is_some_and(|name| name.ends_with(table));
    tables.iter().find(of).and_then(|t| t["differences"].as_array().cloned()).unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs real servers"]
async fn planted_differences_of_every_kind_are_found() -> Result<()> {
    let world = world("planted").await?;
    let (report, equal) = compare(&world, &[]).await?;
    assert!(equal && report["equal"] == true && report["rows"] == 45_000 + 900 + 9_000, "{report}");
    world.written_at(&world.target_url, &FAULTS).await?;
    for at in ["quiesce", "sync"] {
        let (report, equal) = compare(&world, &["--at", at, "--limit", "100"]).await?;
        assert!(!equal && report["equal"] == false && report["unsettled"] == 0, "{report}");
        let many: Vec<String> =
            differences(&report, ".many").iter().map(|d| format!("{} {}", d["kind"], d["row"])).collect();
        let expected = [
            ("extra", -5),
            ("missing", 1),
            ("values", 77),
            ("values", 500),
            ("missing", 20_000),
            ("values", 30_000),
            ("missing", 45_000),
            ("extra", 45_001),
        ];
        let mut expected: Vec<String> = expected.map(|(kind, id)| format!("\"{kind}\" \"(id={id})\"")).to_vec();
        let mut many = many;
        many.sort();
        expected.sort();
        assert_eq!(many, expected);
        let kinds = differences(&report, ".kinds");
        let mut columns: Vec<&str> = kinds.iter().filter_map(|d| d["columns"][0].as_str()).collect();
        columns.sort_unstable();
        assert_eq!(columns, ["bits", "bl", "e", "g", "j", "n", "s", "t", "ti", "ts", "z"], "{kinds:?}");
        assert_eq!(kinds.len(), 11, "{kinds:?}");
        let keyless = differences(&report, ".keyless");
        let times = |d: &Value, side: &str| d[side].as_i64().unwrap_or_default();
        let apart: i64 = keyless.iter().map(|d| (times(d, "source") - times(d, "target")).abs()).sum();
        assert_eq!(apart, 3, "{keyless:?}");
        assert!(keyless.iter().all(|d| d["kind"] == "count"), "{keyless:?}");
        let text = report.to_string();
        assert!(text.contains("only in the target: KEY `planted` (`s`)"), "{text}");
        assert!(report["unpaired"].to_string().contains("only_here: only the target has it"), "{text}");
    }
    let (report, equal) = compare(&world, &["--tables", &format!("{}.keyl*", world.database())]).await?;
    assert!(!equal && report["tables"].as_array().is_some_and(|tables| tables.len() == 1), "{report}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs real servers"]
async fn nothing_is_invented_while_writes_go_on() -> Result<()> {
    let world = world("live").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (url, database, ended) = (world.source_url.clone(), world.database().to_owned(), Arc::clone(&stop));
    let write = async move {
        let mut connection = mysql::connect(&url).await?;
        connection.query_drop(format!("USE `{database}`")).await?;
        connection.query_drop("SET sql_mode=''").await?;
        let mut round = 0u64;
        while !ended.load(Ordering::Relaxed) {
            round += 1;
            let id = round * 7_919 % 45_000;
            for statement in [
                format!("UPDATE many SET v = 'round {round}', f = f + 1 WHERE id = {id}"),
                format!("INSERT INTO many VALUES ({}, 'new', 1, 1)", 100_000 + round),
                format!("DELETE FROM many WHERE id = {}", 100_000 + round.saturating_sub(50)),
                format!("UPDATE kinds SET s = '{round}', bits = {round} WHERE a = {}", round % 900),
                "UPDATE many SET d = d + 1 WHERE id = 3".to_owned(),
                format!("INSERT INTO keyless VALUES ({}, 'new', 1)", round % 100),
            ] {
                connection.query_drop(statement).await?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, anyhow::Error>(round)
    };
    let check = async {
        let done = async {
            for _ in 0..3 {
                let (report, _) =
                    compare(&world, &["--tables", &format!("{0}.many,{0}.kinds", world.database())]).await?;
                ensure!(report["equal"] == true, "{report}");
            }
            mysql::execute(&world.target_url, &[&format!("DELETE FROM `{}`.many WHERE id = 44999", world.database())])
                .await?;
            let (report, _) = compare(&world, &["--tables", &format!("{}.many", world.database())]).await?;
            ensure!(report["equal"] == false && differences(&report, ".many").len() == 1, "{report}");
            Ok(())
        }
        .await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (written, checked) = tokio::join!(write, check);
    checked?;
    assert!(written? > 20);
    Ok(())
}

//! Large transactions and many tables, in bounded memory.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::mysql::connect;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

/// Resident memory of a service, whatever comes.
const BOUND: u64 = 256 << 20;

fn ensure_memory_is_bounded(world: &World) -> Result<()> {
    for (name, service) in &world.services {
        let peak = service.usage()?.peak_resident_bytes;
        println!("{name}: peak {} MiB", peak >> 20);
        ensure!(peak <= BOUND, "{name} had {} MiB resident", peak >> 20);
    }
    Ok(())
}

/// One transaction of about so many MiB.
async fn large_transaction(name: &str, mebibytes: u32, limit: Duration) -> Result<()> {
    let world = World::shared(name, WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database();
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.big (id BIGINT AUTO_INCREMENT PRIMARY KEY, pad VARBINARY(1024))"),
        ])
        .await?;
    let rows = u64::from(mebibytes) * 1_024;
    let mut conn = connect(&world.source_url).await?;
    let depth =
        if world.families().await?[0].is_mariadb() { "max_recursive_iterations" } else { "cte_max_recursion_depth" };
    conn.query_drop(format!("SET SESSION {depth} = 100000")).await?;
    conn.query_drop("BEGIN").await?;
    let mut left = rows;
    while left > 0 {
        let now = left.min(65_536);
        conn.query_drop(format!(
            "INSERT INTO `{db}`.big (pad) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {now}) SELECT RANDOM_BYTES(1000) FROM n"
        ))
        .await?;
        left -= now;
    }
    conn.query_drop("COMMIT").await?;
    let committed = Instant::now();
    world.caught_up(limit).await?;
    println!("{mebibytes} MiB in one transaction: in the target after {:?}", committed.elapsed());
    ensure_memory_is_bounded(&world)?;
    world.assert_equal().await
}

#[tokio::test]
async fn a_large_transaction_passes_in_bounded_memory() -> Result<()> {
    large_transaction("large", 64, Duration::from_secs(120)).await
}

#[tokio::test]
#[ignore = "slow: a transaction of one gibibyte"]
async fn a_transaction_of_a_gibibyte_passes_in_bounded_memory() -> Result<()> {
    large_transaction("gibibyte", 1_024, Duration::from_secs(1_200)).await
}

async fn many_tables(name: &str, tables: u32, limit: Duration) -> Result<()> {
    let world = World::shared(name, WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database();
    let mut conn = connect(&world.source_url).await?;
    conn.query_drop(format!("CREATE DATABASE `{db}`")).await?;
    conn.query_drop(format!("USE `{db}`")).await?;
    for table in 0..tables {
        conn.query_drop(format!("CREATE TABLE t_{table} (id INT PRIMARY KEY, v VARCHAR(20))")).await?;
        conn.query_drop(format!("INSERT INTO t_{table} VALUES (1, 'one'), (2, 'two')")).await?;
    }
    conn.query_drop("BEGIN").await?;
    for table in 0..tables {
        conn.query_drop(format!("UPDATE t_{table} SET v = 'three' WHERE id = 2")).await?;
    }
    conn.query_drop("COMMIT").await?;
    let committed = Instant::now();
    world.caught_up(limit).await?;
    println!("{tables} tables: in the target after {:?}", committed.elapsed());
    ensure_memory_is_bounded(&world)?;
    world.assert_equal().await
}

#[tokio::test]
async fn many_tables_are_followed_in_bounded_memory() -> Result<()> {
    many_tables("tables", 300, Duration::from_secs(180)).await
}

#[tokio::test]
#[ignore = "slow: ten thousand tables"]
async fn ten_thousand_tables_are_followed_in_bounded_memory() -> Result<()> {
    many_tables("tables-slow", 10_000, Duration::from_secs(3_600)).await
}

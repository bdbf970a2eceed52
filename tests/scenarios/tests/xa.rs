//! XA transactions: held back until they are decided, whoever dies in between.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::mysql::connect;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::Mutex;

/// A source whose log begins between another one's XA PREPARE and XA COMMIT halts, by design: both tests are of one server.
static ALONE: Mutex<()> = Mutex::const_new(());

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `statements` in a prepared XA transaction, whose session goes: MariaDB would let nothing else into it.
async fn prepare(world: &World, xid: &str, statements: &[String]) -> Result<()> {
    let mut conn = connect(&world.source_url).await?;
    conn.query_drop(format!("XA START '{xid}'")).await?;
    for statement in statements {
        conn.query_drop(statement).await?;
    }
    conn.query_drop(format!("XA END '{xid}'")).await?;
    conn.query_drop(format!("XA PREPARE '{xid}'")).await?;
    Ok(conn.disconnect().await?)
}

/// `XA COMMIT` or `XA ROLLBACK` from another session than that which prepared: MariaDB knows the XID as soon as that one is gone.
async fn decide(conn: &mut Conn, word: &str, xid: &str) -> Result<()> {
    const UNKNOWN_XID: u16 = 1_397;
    let deadline = Instant::now() + LIMIT;
    loop {
        match conn.query_drop(format!("XA {word} '{xid}'")).await {
            Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_XID && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return Ok(other?),
        }
    }
}

/// So many rows, in words of either family.
fn rows(each: &[usize]) -> String {
    let some = |n: &usize| format!("(SELECT 1{}) t", " UNION ALL SELECT 1".repeat(n - 1));
    let names = each.iter().enumerate().map(|(i, n)| format!("{}{i}", some(n)));
    names.collect::<Vec<_>>().join(", ")
}

async fn count(world: &World, table: &str) -> Result<u64> {
    let mut conn = connect(&world.target_url).await?;
    let sql = format!("SELECT COUNT(*) FROM `{}`.`{table}`", world.database());
    Ok(conn.query_first(sql).await?.unwrap_or_default())
}

/// Kills every service but the manager, and starts it again.
fn restart_all(world: &World) -> Result<()> {
    for name in ["extractor-1", "transformer-1", "loader-1"] {
        world.service(name)?.kill()?;
    }
    for name in ["extractor-1", "transformer-1", "loader-1"] {
        world.service(name)?.start()?;
    }
    Ok(())
}

/// A world with a table `t`, and one beside it that is not captured.
async fn world(name: &str) -> Result<(World, Conn)> {
    let world = World::shared(name, WorldOptions::default()).await?;
    world.apply().await?;
    let mut conn = connect(&world.source_url).await?;
    let db = world.database();
    for statement in [
        format!("CREATE DATABASE `{db}`"),
        format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v VARCHAR(20))"),
        format!("CREATE TABLE `{db}`.big (id INT AUTO_INCREMENT PRIMARY KEY, pad VARBINARY(1000))"),
        format!("CREATE DATABASE `{db}_else`"),
        format!("CREATE TABLE `{db}_else`.t (id INT PRIMARY KEY)"),
        format!("INSERT INTO `{db}`.t VALUES (1, 'one'), (2, 'two')"),
    ] {
        conn.query_drop(statement).await?;
    }
    Ok((world, conn))
}

#[tokio::test]
async fn prepared_transactions_wait_for_their_decision_over_kills_of_all_services() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (world, mut conn) = world("xa").await?;
    let db = world.database().to_owned();
    let xid = |n: u32| format!("{db}.{n}");
    let insert = |id: u32| vec![format!("INSERT INTO `{db}`.t VALUES ({id}, 'xa')")];
    prepare(&world, &xid(1), &insert(11)).await?;
    prepare(&world, &xid(2), &[format!("UPDATE `{db}`.t SET v = 'never' WHERE id = 1")]).await?;
    // Ordinary transactions go on in between.
    conn.query_drop(format!("INSERT INTO `{db}`.t VALUES (3, 'between')")).await?;
    prepare(&world, &xid(3), &[format!("DELETE FROM `{db}`.t WHERE id = 2"), insert(12).remove(0)]).await?;
    prepare(&world, &xid(4), &[format!("INSERT INTO `{db}_else`.t VALUES (1)")]).await?;
    world.settled(LIMIT).await?;
    ensure!(count(&world, "t").await? == 3, "what is prepared is in the target");

    restart_all(&world)?;
    conn.query_drop(format!("INSERT INTO `{db}`.t VALUES (4, 'behind the kill')")).await?;
    world.settled(LIMIT).await?;
    ensure!(count(&world, "t").await? == 4, "what is prepared is in the target");

    decide(&mut conn, "COMMIT", &xid(3)).await?;
    decide(&mut conn, "ROLLBACK", &xid(2)).await?;
    conn.query_drop(format!("UPDATE `{db}`.t SET v = 'changed' WHERE id = 1")).await?;
    world.settled(LIMIT).await?;
    restart_all(&world)?;
    decide(&mut conn, "COMMIT", &xid(4)).await?;
    decide(&mut conn, "COMMIT", &xid(1)).await?;
    world.settled(LIMIT).await?;
    ensure!(count(&world, "t").await? == 5, "the committed ones are in the target, once");
    // An XID may be used again.
    prepare(&world, &xid(1), &insert(21)).await?;
    decide(&mut conn, "COMMIT", &xid(1)).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn large_xa_transactions_pass_in_one_and_two_phases() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (world, mut conn) = world("xa-large").await?;
    let db = world.database().to_owned();
    // Some 12 MiB each: many parts, and beyond what the loader takes for one unit in memory.
    let fill = format!("INSERT INTO `{db}`.big (pad) SELECT RANDOM_BYTES(1000) FROM {}", rows(&[10, 10, 10, 12]));
    let xid = format!("{db}.large");
    prepare(&world, &xid, std::slice::from_ref(&fill)).await?;
    world.caught_up(LIMIT).await?;
    restart_all(&world)?;
    decide(&mut conn, "COMMIT", &xid).await?;
    world.settled(LIMIT).await?;
    ensure!(count(&world, "big").await? == 12_000);

    prepare(&world, &xid, std::slice::from_ref(&fill)).await?;
    decide(&mut conn, "ROLLBACK", &xid).await?;
    conn.query_drop(format!("XA START '{xid}'")).await?;
    conn.query_drop(&fill).await?;
    conn.query_drop(format!("XA END '{xid}'")).await?;
    conn.query_drop(format!("XA COMMIT '{xid}' ONE PHASE")).await?;
    conn.query_drop(format!("XA START '{xid}'")).await?;
    conn.query_drop(format!("INSERT INTO `{db}`.t VALUES (5, 'one phase')")).await?;
    conn.query_drop(format!("XA END '{xid}'")).await?;
    conn.query_drop(format!("XA COMMIT '{xid}' ONE PHASE")).await?;
    restart_all(&world)?;
    world.settled(LIMIT).await?;
    ensure!(count(&world, "big").await? == 24_000);
    Ok(())
}

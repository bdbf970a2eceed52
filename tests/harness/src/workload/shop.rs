//! A small shop: several tables with foreign keys, transactions over tables, updates, deletes, and DDL in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::{Pacer, is_passing, run_all};
use crate::mysql::connect;

/// What the shop has written so far.
#[derive(Debug, Default)]
pub struct ShopCounters {
    /// Committed transactions.
    pub transactions: AtomicU64,
    /// Row changes in them (cascades not counted).
    pub rows: AtomicU64,
    /// DDL statements.
    pub ddl: AtomicU64,
}

/// Creates the shop's database and first rows.
pub async fn create(url: &str, db: &str) -> anyhow::Result<()> {
    let mut conn = connect(url).await?;
    let statements = [
        format!("DROP DATABASE IF EXISTS `{db}`"),
        format!("CREATE DATABASE `{db}` CHARACTER SET utf8mb4"),
        format!("USE `{db}`"),
        "CREATE TABLE customer (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, email VARCHAR(120) NOT NULL UNIQUE, name VARCHAR(80), \
         created DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), tier ENUM('bronze','silver','gold') NOT NULL DEFAULT 'bronze', profile JSON)"
            .into(),
        "CREATE TABLE product (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, sku CHAR(12) NOT NULL UNIQUE, title VARCHAR(120) NOT NULL, \
         price DECIMAL(10,2) NOT NULL, stock INT NOT NULL, tags SET('new','sale','eco'), gross DECIMAL(10,2) GENERATED ALWAYS AS (price * 1.19) STORED)"
            .into(),
        "CREATE TABLE purchase (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer INT UNSIGNED NOT NULL, placed TIMESTAMP(3) NOT NULL, \
         total DECIMAL(12,2) NOT NULL, state ENUM('open','paid','sent','void') NOT NULL, KEY (customer), \
         FOREIGN KEY (customer) REFERENCES customer (id))"
            .into(),
        "CREATE TABLE line (purchase BIGINT UNSIGNED NOT NULL, n SMALLINT UNSIGNED NOT NULL, product INT UNSIGNED NOT NULL, quantity INT NOT NULL, \
         PRIMARY KEY (purchase, n), FOREIGN KEY (purchase) REFERENCES purchase (id) ON DELETE CASCADE, FOREIGN KEY (product) REFERENCES product (id))"
            .into(),
        "CREATE TABLE visit (at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), page VARCHAR(60), customer INT UNSIGNED)".into(),
    ];
    run_all(&mut conn, &statements).await?;
    let customers: Vec<String> =
        (1..=200).map(|i| format!("('c{i}@example.com','Customer {i} \u{2603}', '{{\"n\": {i}}}')")).collect();
    let products: Vec<String> =
        (1..=100).map(|i| format!("('SKU{i:09}','Product {i}', {}.{:02}, 100000)", i * 3 % 97 + 1, i % 100)).collect();
    run_all(
        &mut conn,
        &[
            format!("INSERT INTO customer (email, name, profile) VALUES {}", customers.join(",")),
            format!("INSERT INTO product (sku, title, price, stock) VALUES {}", products.join(",")),
        ],
    )
    .await
}

/// Statements of DDL that the workload runs one after the other, spread over its time.
pub fn ddl_script() -> Vec<&'static str> {
    vec![
        "ALTER TABLE customer ADD COLUMN phone VARCHAR(30) NULL AFTER name",
        "CREATE TABLE coupon (code VARCHAR(16) PRIMARY KEY, percent TINYINT UNSIGNED NOT NULL, until DATE)",
        "ALTER TABLE purchase ADD INDEX by_state (state, placed)",
        "ALTER TABLE product MODIFY title VARCHAR(200) NOT NULL",
        "CREATE TABLE basket LIKE coupon",
        "RENAME TABLE basket TO voucher",
        "TRUNCATE TABLE visit",
        "ALTER TABLE customer DROP COLUMN phone",
        "DROP TABLE voucher",
    ]
}

/// Sells until told to stop, at `transactions_per_second` if that is above 0.
pub async fn run(
    url: &str,
    db: &str,
    seed: u64,
    transactions_per_second: u64,
    counters: Arc<ShopCounters>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut conn = enter(url, db).await?;
    let mut pacer = (transactions_per_second > 0).then(|| Pacer::new(transactions_per_second));
    while !stop.is_cancelled() {
        if let Some(pacer) = &mut pacer {
            pacer.permit().await;
        }
        match transaction(&mut conn, &mut random).await {
            Ok(rows) => {
                counters.transactions.fetch_add(1, Ordering::Relaxed);
                counters.rows.fetch_add(rows, Ordering::Relaxed);
            }
            Err(error) if is_passing(&error) => {
                if conn.query_drop("ROLLBACK").await.is_err() {
                    conn = enter(url, db).await?;
                }
            }
            Err(error) => return Err(error).context("shop transaction"),
        }
    }
    Ok(())
}

/// A connection of a seller, or of who changes the tables. One seller may wait for a row of another who waits behind a
/// waiting ALTER for a table of the first, and MariaDB's ALTER for such a row: the server does not see that as a deadlock, so
/// that the wait must be short.
async fn enter(url: &str, db: &str) -> anyhow::Result<Conn> {
    let mut conn = connect(url).await?;
    conn.query_drop(format!("USE `{db}`")).await?;
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 1").await?;
    Ok(conn)
}

/// Runs the DDL script, one statement every `every`, until done or told to stop.
pub async fn run_ddl(
    url: &str,
    db: &str,
    every: std::time::Duration,
    counters: Arc<ShopCounters>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut conn = enter(url, db).await?;
    for statement in ddl_script() {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
        let mut tries = 1;
        while let Err(error) = conn.query_drop(statement).await {
            let waited = matches!(&error, mysql_async::Error::Server(e) if matches!(e.code, 1205 | 1213));
            if tries == 10 || !waited {
                return Err(error).with_context(|| format!("shop DDL failed: {statement}"));
            }
            tries += 1;
        }
        counters.ddl.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn transaction(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    match random.random_range(0..10) {
        0..6 => buy(conn, random).await,
        6 => advance(conn, random).await,
        7 => void(conn, random).await,
        8 => register(conn, random).await,
        _ => visit(conn, random).await,
    }
}

async fn buy(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    let lines: u64 = random.random_range(1..5);
    conn.query_drop("BEGIN").await?;
    let customer = random.random_range(1..=200);
    conn.query_drop(format!(
        "INSERT INTO purchase (customer, placed, total, state) VALUES ({customer}, NOW(3), 0, 'open')"
    ))
    .await?;
    let purchase = conn.last_insert_id().unwrap_or_default();
    for n in 1..=lines {
        let (product, quantity) = (random.random_range(1..=100), random.random_range(1..4));
        conn.query_drop(format!("INSERT INTO line VALUES ({purchase}, {n}, {product}, {quantity})")).await?;
        conn.query_drop(format!("UPDATE product SET stock = stock - {quantity} WHERE id = {product}")).await?;
    }
    conn.query_drop(format!(
        "UPDATE purchase SET total = (SELECT SUM(l.quantity * p.price) FROM line l JOIN product p ON p.id = l.product WHERE l.purchase = {purchase}) WHERE id = {purchase}"
    ))
    .await?;
    conn.query_drop("COMMIT").await?;
    Ok(2 + 2 * lines)
}

async fn advance(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    let (old, new) = [("open", "paid"), ("paid", "sent")][random.random_range(0..2)];
    conn.query_drop(format!("UPDATE purchase SET state = '{new}' WHERE state = '{old}' ORDER BY id LIMIT 5")).await?;
    Ok(conn.affected_rows())
}

async fn void(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    let newest = random.random_range(0..20);
    let ids: Option<u64> = conn
        .query_first(format!("SELECT id FROM purchase WHERE state = 'open' ORDER BY id DESC LIMIT {newest}, 1"))
        .await?;
    let Some(id) = ids else { return Ok(0) };
    conn.query_drop(format!("DELETE FROM purchase WHERE id = {id}")).await?;
    Ok(conn.affected_rows())
}

async fn register(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    let n: u32 = random.random();
    conn.query_drop(format!(
        "INSERT INTO customer (email, name, tier, profile) VALUES ('{n}@example.org', 'Guest {n}', 'silver', '{{\"n\": {n}, \"ok\": true}}') \
         ON DUPLICATE KEY UPDATE tier = 'gold'"
    ))
    .await?;
    Ok(1)
}

async fn visit(conn: &mut Conn, random: &mut ChaCha8Rng) -> Result<u64, mysql_async::Error> {
    let page = random.random_range(0..20);
    conn.query_drop(format!(
        "INSERT INTO visit (page, customer) VALUES ('/p/{page}', {}), ('/p/{page}', NULL)",
        random.random_range(1..=200)
    ))
    .await?;
    Ok(2)
}

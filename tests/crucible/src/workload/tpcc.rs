//! Orders and payments of one small warehouse, with the conditions that TPC-C states of its tables.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Leg, Look, Memory, Workload, write};
use crate::findings::Invariant;

const DISTRICTS: u32 = 10;
const CUSTOMERS: u32 = 20;
const ITEMS: u32 = 100;
/// The conditions over orders read more than the first one: they are looked at in every n-th sample.
const ORDERS_EVERY: u64 = 10;

/// A small TPC-C.
pub(super) struct Tpcc;

/// In one statement each, so that a condition holds at every commit: the order's number comes from its district.
fn new_order(db: &str, random: &mut ChaCha8Rng) -> String {
    let (d, c) = (random.random_range(1..=DISTRICTS), random.random_range(1..=CUSTOMERS));
    let lines = random.random_range(5..=15);
    let mut text = format!(
        "BEGIN; UPDATE `{db}`.district SET d_next_o_id = d_next_o_id + 1 WHERE d_id = {d}; \
         SELECT d_next_o_id - 1 INTO @o FROM `{db}`.district WHERE d_id = {d}; \
         INSERT INTO `{db}`.orders VALUES ({d}, @o, {c}, {lines}, NULL, NOW(3)); INSERT INTO `{db}`.new_order VALUES ({d}, @o);"
    );
    let values: Vec<String> = (1..=lines)
        .map(|n| format!("({d}, @o, {n}, {}, {}, NULL)", random.random_range(1..=ITEMS), random.random_range(1..=10)))
        .collect();
    text += &format!(" INSERT INTO `{db}`.order_line VALUES {};", values.join(","));
    text += &format!(
        " UPDATE `{db}`.stock SET s_quantity = s_quantity - 1, s_order_cnt = s_order_cnt + 1 WHERE i_id = {}; COMMIT",
        random.random_range(1..=ITEMS)
    );
    text
}

fn payment(db: &str, random: &mut ChaCha8Rng) -> String {
    let (d, c) = (random.random_range(1..=DISTRICTS), random.random_range(1..=CUSTOMERS));
    let amount = format!("{}.{:02}", random.random_range(1..5_000), random.random_range(0..100));
    format!(
        "BEGIN; UPDATE `{db}`.warehouse SET w_ytd = w_ytd + {amount} WHERE w_id = 1; \
         UPDATE `{db}`.district SET d_ytd = d_ytd + {amount} WHERE d_id = {d}; \
         UPDATE `{db}`.customer SET c_balance = c_balance - {amount}, c_payments = c_payments + 1 WHERE d_id = {d} AND c_id = {c}; \
         INSERT INTO `{db}`.history VALUES ({d}, {c}, {amount}, NOW(3)); COMMIT"
    )
}

/// The oldest open order of a district.
fn delivery(db: &str, random: &mut ChaCha8Rng) -> String {
    let d = random.random_range(1..=DISTRICTS);
    format!(
        "BEGIN; SET @o = NULL; SELECT MIN(o_id) INTO @o FROM `{db}`.new_order WHERE d_id = {d}; \
         DELETE FROM `{db}`.new_order WHERE d_id = {d} AND o_id = @o; \
         UPDATE `{db}`.orders SET carrier = 7 WHERE d_id = {d} AND o_id = @o; \
         UPDATE `{db}`.order_line SET delivered = NOW() WHERE d_id = {d} AND o_id = @o; COMMIT"
    )
}

impl Workload for Tpcc {
    fn name(&self) -> &'static str {
        "tpcc"
    }

    fn about(&self) -> &'static str {
        "new orders, payments and deliveries of a small TPC-C warehouse, with its conditions of consistency"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let db = database;
            let list = |rows: Vec<String>| rows.join(",");
            let customers = (1..=DISTRICTS).flat_map(|d| (1..=CUSTOMERS).map(move |c| format!("({d}, {c}, 0, 0)")));
            let statements = [
                format!("CREATE TABLE `{db}`.warehouse (w_id INT PRIMARY KEY, w_ytd DECIMAL(14,2) NOT NULL)"),
                format!(
                    "CREATE TABLE `{db}`.district (d_id INT PRIMARY KEY, d_ytd DECIMAL(14,2) NOT NULL, d_next_o_id INT NOT NULL)"
                ),
                format!(
                    "CREATE TABLE `{db}`.customer (d_id INT, c_id INT, c_balance DECIMAL(14,2) NOT NULL, c_payments INT NOT NULL, PRIMARY KEY (d_id, c_id))"
                ),
                format!(
                    "CREATE TABLE `{db}`.stock (i_id INT PRIMARY KEY, s_quantity INT NOT NULL, s_order_cnt INT NOT NULL)"
                ),
                format!(
                    "CREATE TABLE `{db}`.orders (d_id INT, o_id INT, c_id INT, o_ol_cnt INT NOT NULL, carrier INT, entered DATETIME(3), PRIMARY KEY (d_id, o_id), FOREIGN KEY (d_id, c_id) REFERENCES `{db}`.customer (d_id, c_id))"
                ),
                format!("CREATE TABLE `{db}`.new_order (d_id INT, o_id INT, PRIMARY KEY (d_id, o_id))"),
                format!(
                    "CREATE TABLE `{db}`.order_line (d_id INT, o_id INT, n INT, i_id INT, quantity INT, delivered DATETIME, PRIMARY KEY (d_id, o_id, n), FOREIGN KEY (d_id, o_id) REFERENCES `{db}`.orders (d_id, o_id))"
                ),
                format!("CREATE TABLE `{db}`.history (d_id INT, c_id INT, amount DECIMAL(8,2), at DATETIME(3))"),
                format!("INSERT INTO `{db}`.warehouse VALUES (1, 300000)"),
                format!(
                    "INSERT INTO `{db}`.district VALUES {}",
                    list((1..=DISTRICTS).map(|d| format!("({d}, 30000, 1)")).collect())
                ),
                format!("INSERT INTO `{db}`.customer VALUES {}", list(customers.collect())),
                format!(
                    "INSERT INTO `{db}`.stock VALUES {}",
                    list((1..=ITEMS).map(|i| format!("({i}, 10000, 0)")).collect())
                ),
            ];
            execute(url, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let db = leg.database.clone();
            write(&leg, 0, Duration::from_millis(40), |random, n| match n % 10 {
                0..=4 => new_order(&db, random),
                5..=8 => payment(&db, random),
                _ => delivery(&db, random),
            })
            .await
        })
    }

    fn look<'a>(
        &'a self,
        db: &'a str,
        copy: &'a mut Conn,
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Look, mysql_async::Error>> {
        Box::pin(async move {
            let mut look = Look::default();
            // Conditions 1, 2 and 4 of clause 3.3.2, as what they would be off by.
            let first = format!(
                "SELECT CAST((SELECT SUM(w_ytd) FROM `{db}`.warehouse) - (SELECT SUM(d_ytd) FROM `{db}`.district) AS CHAR)"
            );
            let off: Option<Option<String>> = copy.query_first(first).await?;
            let off = off.flatten().unwrap_or_default();
            look.at(Invariant::Consistent, (off != "0.00").then(|| format!("w_ytd is {off} off the sum of d_ytd")));
            if memory.looks.is_multiple_of(ORDERS_EVERY) {
                let more = format!(
                    "SELECT (SELECT COUNT(*) FROM `{db}`.district d WHERE d_next_o_id - 1 <> \
                     (SELECT COALESCE(MAX(o_id), 0) FROM `{db}`.orders o WHERE o.d_id = d.d_id)), \
                     CAST((SELECT COALESCE(SUM(o_ol_cnt), 0) FROM `{db}`.orders) AS SIGNED) - (SELECT COUNT(*) FROM `{db}`.order_line)"
                );
                let (districts, lines): (i64, i64) = copy.query_first(more).await?.unwrap_or_default();
                look.at(
                    Invariant::Consistent,
                    (districts != 0 || lines != 0)
                        .then(|| format!("{districts} districts with another last order; {lines} order lines too few")),
                );
            }
            Ok(look)
        })
    }

    /// Orders that were delivered are put away, or looking at them would take the machine.
    fn rest<'a>(&'a self, url: &'a str, db: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            execute(
                url,
                &[
                    // A DELETE that names tables by other names looks for them in the default database.
                    &format!("USE `{db}`"),
                    "BEGIN",
                    &format!("DELETE FROM `{db}`.history"),
                    &format!("DELETE l FROM `{db}`.order_line l JOIN `{db}`.district d ON l.d_id = d.d_id WHERE l.o_id < d.d_next_o_id - 40"),
                    &format!("DELETE n FROM `{db}`.new_order n JOIN `{db}`.district d ON n.d_id = d.d_id WHERE n.o_id < d.d_next_o_id - 40"),
                    &format!("UPDATE `{db}`.orders o JOIN `{db}`.district d ON o.d_id = d.d_id SET o.o_ol_cnt = 0 WHERE o.o_id < d.d_next_o_id - 40"),
                    "COMMIT",
                ],
            )
            .await
        })
    }
}

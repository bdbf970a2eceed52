//! Large transactions.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;

use super::{Leg, Workload, write};

/// Rows of a large transaction, of about 1 KiB each.
const ROWS: u64 = 32_000;

/// Large transactions.
pub(super) struct Giants;

impl Workload for Giants {
    fn name(&self) -> &'static str {
        "giants"
    }

    fn about(&self) -> &'static str {
        "a transaction of 32 MiB every 10 s, by turns inserting 32,000 rows, changing and deleting them (not by default)"
    }

    fn by_default(&self) -> bool {
        false
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let create =
                format!("CREATE TABLE `{database}`.giant (id INT PRIMARY KEY, v INT NOT NULL, pad VARCHAR(1000))");
            execute(url, &[&create]).await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let db = leg.database.clone();
            write(&leg, 0, Duration::from_secs(10), |_, n| match n % 3 {
                1 => format!(
                    "SET SESSION cte_max_recursion_depth = {ROWS}; INSERT IGNORE INTO `{db}`.giant \
                     WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < {ROWS}) \
                     SELECT i, {n}, REPEAT('g', 1000) FROM r"
                ),
                2 => format!("UPDATE `{db}`.giant SET v = {n}"),
                _ => format!("DELETE FROM `{db}`.giant"),
            })
            .await
        })
    }
}

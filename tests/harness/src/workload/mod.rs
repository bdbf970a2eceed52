//! Workloads that tests, the demo and the benchmarks run against a source.
//!
//! Each creates its own database, writes to it, and can say what must hold in every committed state of a copy.

pub mod bank;
pub mod shop;
pub mod sysbench;

use std::time::Duration;

use anyhow::Context as _;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Runs the statements one after the other.
pub async fn run_all(conn: &mut Conn, statements: &[impl AsRef<str> + Sync]) -> anyhow::Result<()> {
    for statement in statements {
        let statement = statement.as_ref();
        conn.query_drop(statement).await.with_context(|| format!("statement failed: {statement}"))?;
    }
    Ok(())
}

/// Whether an error is one that a workload must expect while servers are killed: the transaction is tried again.
pub fn is_passing(error: &mysql_async::Error) -> bool {
    match error {
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => true,
        // lock wait, deadlock, server shutting down, connection killed, read-only
        mysql_async::Error::Server(e) => matches!(e.code, 1053 | 1205 | 1213 | 1290 | 1836 | 1927 | 3159 | 1317),
        _ => false,
    }
}

/// Holds a loop to a rate.
pub struct Pacer {
    interval: tokio::time::Interval,
    per_second: u64,
    /// Hundredths of a permit that are left.
    left: u64,
}

impl Pacer {
    /// `per_second` permits a second, given out every 10 ms.
    pub fn new(per_second: u64) -> Self {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        Self { interval, per_second, left: 0 }
    }

    /// Waits for the next permit.
    pub async fn permit(&mut self) {
        while self.left < 100 {
            self.interval.tick().await;
            self.left += self.per_second;
        }
        self.left -= 100;
    }
}

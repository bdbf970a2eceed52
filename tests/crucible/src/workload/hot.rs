//! One row that everybody updates, and fifty that carry a version.

use std::time::Duration;

use anyhow::Result;
use futures::future::{BoxFuture, try_join};
use lutra_harness::mysql::execute;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::Rng;

use super::{Leg, Look, Memory, Workload, write};
use crate::findings::Invariant;

/// Rows that carry a version, besides the hot one, which is 0.
const KEYS: u32 = 50;
/// The hot row's pace: 500 a second with release programs; debug ones follow a fifth of that beside the other workloads.
const HOT_REST: Duration = if cfg!(debug_assertions) { Duration::from_millis(8) } else { Duration::from_micros(1_700) };

/// The hot row.
pub(super) struct Hot;

impl Workload for Hot {
    fn name(&self) -> &'static str {
        "hot"
    }

    fn about(&self) -> &'static str {
        "one row updated up to 500 times a second, and 50 rows, each with a version that rises by one"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let rows: Vec<String> = (0..=KEYS).map(|id| format!("({id}, 1)")).collect();
            execute(
                url,
                &[
                    &format!("CREATE TABLE `{database}`.counter (id INT PRIMARY KEY, version BIGINT NOT NULL)"),
                    &format!("INSERT INTO `{database}`.counter VALUES {}", rows.join(",")),
                ],
            )
            .await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let update = |db: &str, id: u32| format!("UPDATE `{db}`.counter SET version = version + 1 WHERE id = {id}");
            let db = leg.database.clone();
            let hot = write(&leg, 0, HOT_REST, |_, _| update(&db, 0));
            let keys = write(&leg, 1, Duration::from_millis(40), |random, _| {
                let (a, b) = (random.random_range(1..=KEYS), random.random_range(1..=KEYS));
                format!("BEGIN; {}; {}; COMMIT", update(&db, a), update(&db, b))
            });
            let (hot, keys) = try_join(hot, keys).await?;
            Ok(hot + keys)
        })
    }

    fn look<'a>(
        &'a self,
        database: &'a str,
        copy: &'a mut Conn,
        memory: &'a mut Memory,
    ) -> BoxFuture<'a, Result<Look, mysql_async::Error>> {
        Box::pin(async move {
            let mut look = Look::default();
            let rows: Vec<(u32, i64)> = copy.query(format!("SELECT id, version FROM `{database}`.counter")).await?;
            let mut wrong = None;
            for (id, version) in rows {
                let high = memory.high.entry(format!("counter {id}")).or_insert(version);
                if version < *high {
                    wrong = Some(format!("key {id} went back from version {high} to {version}"));
                }
                *high = version;
            }
            look.at(Invariant::HistoryInOrder, wrong);
            Ok(look)
        })
    }
}

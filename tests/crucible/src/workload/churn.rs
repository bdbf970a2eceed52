//! Keys that move: primary keys, unique keys that are swapped and passed round, rows deleted and made again.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;
use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::{Leg, Workload, write};

const ROWS: u32 = 60;
/// Primary keys move up and down by this.
const AWAY: u32 = 1_000;

/// Keys that move.
pub(super) struct Churn;

fn transaction(db: &str, random: &mut ChaCha8Rng, n: u64) -> String {
    let picked: Vec<usize> = sample(random, ROWS as usize, 3).into_vec();
    let row = |i: usize| picked.get(i).map_or(0, |p| *p as u32);
    let (a, b, c) = (row(0), row(1), row(2));
    let table = format!("`{db}`.churn");
    // The row of a number, wherever its primary key is just now.
    let at = |r: u32| format!("id IN ({r}, {})", r + AWAY);
    match random.random_range(0..5) {
        0 => format!("UPDATE {table} SET id = IF(id < {AWAY}, id + {AWAY}, id - {AWAY}), v = {n} WHERE {}", at(a)),
        1 => format!(
            "BEGIN; SELECT u INTO @a FROM {table} WHERE {}; SELECT u INTO @b FROM {table} WHERE {}; \
             UPDATE {table} SET u = -1 WHERE {}; UPDATE {table} SET u = @a WHERE {}; \
             UPDATE {table} SET u = @b, v = {n} WHERE {}; COMMIT",
            at(a),
            at(b),
            at(a),
            at(b),
            at(a)
        ),
        2 => format!(
            "BEGIN; SELECT u INTO @a FROM {table} WHERE {}; SELECT u INTO @b FROM {table} WHERE {}; \
             SELECT u INTO @c FROM {table} WHERE {}; UPDATE {table} SET u = -1 WHERE {}; \
             UPDATE {table} SET u = @a WHERE {}; UPDATE {table} SET u = @b WHERE {}; \
             UPDATE {table} SET u = @c, v = {n} WHERE {}; COMMIT",
            at(a),
            at(b),
            at(c),
            at(a),
            // Each takes what the one before it has just left.
            at(b),
            at(c),
            at(a)
        ),
        3 => format!(
            "BEGIN; SELECT id, u INTO @i, @u FROM {table} WHERE {}; DELETE FROM {table} WHERE id = @i; \
             INSERT INTO {table} VALUES (@i, @u, {n}, 'again'); COMMIT",
            at(b)
        ),
        _ => format!("UPDATE {table} SET v = {n}, w = REPEAT('{}', {}) WHERE {}", n % 10, n % 60, at(c)),
    }
}

impl Workload for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn about(&self) -> &'static str {
        "primary keys moved, unique keys swapped and passed round three rows, rows deleted and made again in one transaction"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, {}, 0, NULL)", id * 10)).collect();
            execute(
                url,
                &[
                    &format!(
                        "CREATE TABLE `{database}`.churn (id INT PRIMARY KEY, u INT NOT NULL UNIQUE, v BIGINT NOT NULL, w VARCHAR(80))"
                    ),
                    &format!("INSERT INTO `{database}`.churn VALUES {}", rows.join(",")),
                ],
            )
            .await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let db = leg.database.clone();
            // One writer: two would see each other's unique keys between the statements.
            write(&leg, 0, Duration::from_millis(40), |random, n| transaction(&db, random, n)).await
        })
    }
}

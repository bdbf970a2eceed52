//! Money over four tables and a ledger without keys.

use std::time::Duration;

use anyhow::Result;
use futures::future::{BoxFuture, try_join_all};
use lutra_harness::mysql::execute;
use lutra_harness::workload::bank::Bank as Tables;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Leg, Look, Memory, Workload, write};
use crate::findings::Invariant;

/// Writers at the source.
const LANES: u64 = 2;
/// Rest of a writer after each transfer.
const REST: Duration = Duration::from_millis(15);
/// Doubled lines stay: they are looked for in every n-th sample only, which costs more than a sum.
const DOUBLES_EVERY: u64 = 25;
/// With more lines than this the ledger is emptied at a rest, or looking at it would take the machine.
const LONG: u64 = 6_000;

/// The bank.
pub(super) struct Bank;

fn transfer(db: &str, id: u64, random: &mut ChaCha8Rng) -> String {
    let amount: i64 = random.random_range(1..50);
    let (from, to) = (random.random_range(0..4), random.random_range(0..4));
    let (payer, payee) = (random.random_range(0..100), random.random_range(0..100));
    format!(
        "BEGIN; UPDATE `{db}`.account_{from} SET balance = balance - {amount} WHERE id = {payer}; \
         UPDATE `{db}`.account_{to} SET balance = balance + {amount}, note = 'to {id}' WHERE id = {payee}; \
         INSERT INTO `{db}`.ledger VALUES ({id}, {amount}, 'm{}'); COMMIT",
        id % 7
    )
}

/// What each transfer writes into the ledger: never the same twice.
fn id(leg: u64, lane: u64, n: u64) -> u64 {
    (leg << 36) | (lane << 32) | n
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn about(&self) -> &'static str {
        "transfers over four tables and a ledger without keys, 2 writers"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Tables::new(database).create(url).await })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let lanes = (0..LANES).map(|lane| {
                let db = leg.database.clone();
                let number = leg.number;
                let leg = leg.clone();
                async move { write(&leg, lane, REST, |random, n| transfer(&db, id(number, lane, n), random)).await }
            });
            Ok(try_join_all(lanes).await?.into_iter().sum())
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
            let total = Tables::new(database).total();
            let sums: Vec<String> =
                (0..4).map(|t| format!("(SELECT COALESCE(SUM(balance),0) FROM `{database}`.account_{t})")).collect();
            let sum: Option<i64> = copy.query_first(format!("SELECT CAST({} AS SIGNED)", sums.join("+"))).await?;
            let sum = sum.unwrap_or_default();
            look.at(
                Invariant::NothingTorn,
                (sum != total).then(|| format!("the sum of all balances is {sum}, not {total}")),
            );
            if memory.looks.is_multiple_of(DOUBLES_EVERY) {
                let lines: Option<(u64, u64)> = copy
                    .query_first(format!("SELECT COUNT(*), COUNT(DISTINCT transfer) FROM `{database}`.ledger"))
                    .await?;
                let (lines, distinct) = lines.unwrap_or_default();
                let wrong = (lines != distinct).then(|| format!("{lines} ledger lines for {distinct} transfers"));
                look.at(Invariant::NothingDoubled, wrong);
            }
            Ok(look)
        })
    }

    fn rest<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut conn = lutra_harness::mysql::connect(url).await?;
            let lines: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM `{database}`.ledger")).await?;
            conn.disconnect().await?;
            if lines.unwrap_or_default() > LONG {
                execute(url, &[&format!("TRUNCATE `{database}`.ledger")]).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn no_two_transfers_have_the_same_number() {
        let mut seen = std::collections::BTreeSet::new();
        for (leg, lane, n) in (0..3).flat_map(|l| (0..2).flat_map(move |w| (1..50).map(move |n| (l, w, n)))) {
            assert!(seen.insert(id(leg, lane, n)));
        }
    }

    #[test]
    fn what_is_taken_is_given() {
        let text = transfer("b", 9, &mut ChaCha8Rng::seed_from_u64(1));
        let amount = |sign: &str| {
            text.split(&format!("balance {sign} ")).nth(1).and_then(|t| t.split([' ', ',']).next().map(str::to_owned))
        };
        assert!(amount("-").is_some());
        assert_eq!(amount("-"), amount("+"));
    }
}

//! The shop at the source: sellers side by side, and somebody who changes its tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lutra_harness::workload::shop::{self, ShopCounters, ddl_script};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Its database.
pub(super) const DATABASE: &str = "shop";
/// Sellers, where the rate feeds as many.
const SELLERS: u64 = 4;

/// The open shop.
#[derive(Debug)]
pub(super) struct Shop {
    counters: Arc<ShopCounters>,
    stop: CancellationToken,
    people: JoinSet<Result<()>>,
    opened: Instant,
}

/// What was sold, in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sold {
    /// Committed transactions.
    pub(super) transactions: u64,
    /// Rows changed in them.
    pub(super) rows: u64,
    /// Statements of DDL.
    pub(super) ddl: u64,
    /// Since it was opened.
    pub(super) time: Duration,
}

impl Shop {
    /// Makes the tables anew and lets the sellers begin. The script of DDL is spread over `time`.
    pub(super) async fn open(url: &str, rate: u64, time: Duration) -> Result<Self> {
        shop::create(url, DATABASE).await?;
        let (counters, stop) = (Arc::<ShopCounters>::default(), CancellationToken::new());
        let mut people = JoinSet::new();
        for (seed, share) in (1..).zip(shares(rate)) {
            let (url, counters, stop) = (url.to_owned(), Arc::clone(&counters), stop.clone());
            people.spawn(async move { shop::run(&url, DATABASE, seed, share, counters, stop).await });
        }
        let every = time / u32::try_from(ddl_script().len() + 1).unwrap_or(u32::MAX);
        let (url, changes, stopped) = (url.to_owned(), Arc::clone(&counters), stop.clone());
        people.spawn(async move { shop::run_ddl(&url, DATABASE, every, changes, stopped).await });
        Ok(Self { counters, stop, people, opened: Instant::now() })
    }

    /// What was sold so far. Fails when somebody cannot go on.
    pub(super) fn sold(&mut self) -> Result<Sold> {
        while let Some(ended) = self.people.try_join_next() {
            ended??;
        }
        if self.people.is_empty() {
            bail!("nobody sells any more");
        }
        Ok(self.count())
    }

    fn count(&self) -> Sold {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Sold {
            transactions: of(&self.counters.transactions),
            rows: of(&self.counters.rows),
            ddl: of(&self.counters.ddl),
            time: self.opened.elapsed(),
        }
    }

    /// Since it was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Ends what is under way; the final figures.
    pub(super) async fn close(mut self) -> Result<Sold> {
        self.stop.cancel();
        while let Some(ended) = self.people.join_next().await {
            ended??;
        }
        Ok(self.count())
    }
}

/// The rate of each seller; 0 stands for no limit.
fn shares(rate: u64) -> Vec<u64> {
    let sellers = if rate == 0 { SELLERS } else { SELLERS.min(rate) };
    (0..sellers).map(|seller| rate / sellers + u64::from(seller < rate % sellers)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sellers_share_the_rate_and_none_is_left_without_a_limit() {
        assert_eq!(shares(300), [75; 4]);
        assert_eq!(shares(10), [3, 3, 2, 2]);
        assert_eq!(shares(2), [1, 1]);
        assert_eq!(shares(0), [0; 4]);
    }
}

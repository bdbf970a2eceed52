//! Money over four tables, and a keyless ledger: the sum is constant in every committed state, and no ledger line is twice.

use anyhow::Context as _;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::{is_passing, run_all};
use crate::mysql::connect;

/// The bank: `accounts` accounts in each of four tables.
#[derive(Clone, Debug)]
pub struct Bank {
    /// Database name.
    pub database: String,
    /// Accounts in each of the four tables.
    pub accounts: u32,
    /// Opening balance of each account.
    pub opening: i64,
    /// Rest after each transfer.
    pub pause: std::time::Duration,
}

/// What a sampler saw in one consistent read of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankState {
    /// Sum of all balances in all four tables.
    pub sum: i64,
    /// Ledger lines.
    pub ledger: u64,
    /// Different transfer numbers in the ledger.
    pub distinct: u64,
}

impl Bank {
    /// A bank in the named database.
    pub fn new(database: impl Into<String>) -> Self {
        Self { database: database.into(), accounts: 100, opening: 1_000, pause: std::time::Duration::ZERO }
    }

    /// What the sum of all balances must always be.
    pub fn total(&self) -> i64 {
        4 * i64::from(self.accounts) * self.opening
    }

    /// Creates the database, tables and opening balances.
    pub async fn create(&self, url: &str) -> anyhow::Result<()> {
        let mut conn = connect(url).await?;
        let db = &self.database;
        run_all(&mut conn, &[format!("DROP DATABASE IF EXISTS `{db}`"), format!("CREATE DATABASE `{db}`")]).await?;
        for table in 0..4 {
            let rows: Vec<String> = (0..self.accounts).map(|id| format!("({id},{})", self.opening)).collect();
            run_all(
                &mut conn,
                &[
                    format!("CREATE TABLE `{db}`.account_{table} (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40))"),
                    format!("INSERT INTO `{db}`.account_{table} (id, balance) VALUES {}", rows.join(",")),
                ],
            )
            .await?;
        }
        let ledger =
            format!("CREATE TABLE `{db}`.ledger (transfer BIGINT NOT NULL, amount INT NOT NULL, memo VARCHAR(20))");
        run_all(&mut conn, &[ledger]).await
    }

    /// Moves money until told to stop or `transfers` are done; returns how many committed. Each transfer is one transaction
    /// over two or three tables and the ledger; a transfer whose commit reply was lost is looked up, not guessed.
    pub async fn run(
        &self,
        url: &str,
        writer: u32,
        seed: u64,
        transfers: u64,
        stop: CancellationToken,
    ) -> anyhow::Result<u64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ u64::from(writer));
        let mut conn = None;
        let mut done = 0;
        while done < transfers && !stop.is_cancelled() {
            let transfer = (u64::from(writer) << 40) | done;
            if conn.is_none() {
                conn = self.reconnect(url, &stop).await?;
            }
            let Some(open) = conn.as_mut() else { break };
            match self.transfer(open, transfer, &mut random).await {
                Ok(()) => {
                    done += 1;
                    if !self.pause.is_zero() {
                        tokio::time::sleep(self.pause).await;
                    }
                }
                Err(error) if is_passing(&error) => {
                    conn = self.reconnect(url, &stop).await?;
                    let Some(open) = conn.as_mut() else { break };
                    let query = format!("SELECT COUNT(*) FROM `{}`.ledger WHERE transfer = {transfer}", self.database);
                    done += open.query_first::<u64, _>(query).await.ok().flatten().unwrap_or(0);
                }
                Err(error) => return Err(error).context("bank transfer"),
            }
        }
        Ok(done)
    }

    async fn reconnect(&self, url: &str, stop: &CancellationToken) -> anyhow::Result<Option<Conn>> {
        for _ in 0..600 {
            if stop.is_cancelled() {
                return Ok(None);
            }
            match connect(url).await {
                Ok(conn) => return Ok(Some(conn)),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
        anyhow::bail!("the bank's server did not come back within 60 s")
    }

    async fn transfer(
        &self,
        conn: &mut Conn,
        transfer: u64,
        random: &mut ChaCha8Rng,
    ) -> Result<(), mysql_async::Error> {
        let db = &self.database;
        let amount: i64 = random.random_range(1..50);
        let (from, to) = (random.random_range(0..4), random.random_range(0..4));
        let (payer, payee) = (random.random_range(0..self.accounts), random.random_range(0..self.accounts));
        conn.query_drop("BEGIN").await?;
        conn.query_drop(format!("UPDATE `{db}`.account_{from} SET balance = balance - {amount} WHERE id = {payer}"))
            .await?;
        conn.query_drop(format!(
            "UPDATE `{db}`.account_{to} SET balance = balance + {amount}, note = 'to {transfer}' WHERE id = {payee}"
        ))
        .await?;
        conn.query_drop(format!("INSERT INTO `{db}`.ledger VALUES ({transfer}, {amount}, 'm{}')", transfer % 7))
            .await?;
        conn.query_drop("COMMIT").await
    }

    /// Reads one consistent state of a copy.
    pub async fn sample(&self, conn: &mut Conn) -> Result<BankState, mysql_async::Error> {
        let db = &self.database;
        let sums: Vec<String> =
            (0..4).map(|t| format!("(SELECT COALESCE(SUM(balance),0) FROM `{db}`.account_{t})")).collect();
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        let query = format!(
            "SELECT CAST({} AS SIGNED), (SELECT COUNT(*) FROM `{db}`.ledger), (SELECT COUNT(DISTINCT transfer) FROM `{db}`.ledger)",
            sums.join("+")
        );
        let row: Option<(i64, u64, u64)> = conn.query_first(query).await?;
        conn.query_drop("COMMIT").await?;
        let (sum, ledger, distinct) = row.unwrap_or_default();
        Ok(BankState { sum, ledger, distinct })
    }

    /// Why a sampled state of a copy is wrong, if it is: torn (sum), or doubled (ledger).
    pub fn fault(&self, state: BankState) -> Option<String> {
        if state.sum != self.total() && state.sum != 0 {
            return Some(format!("torn: the sum of all balances is {}, not {}", state.sum, self.total()));
        }
        (state.ledger != state.distinct)
            .then(|| format!("doubled: {} ledger lines for {} transfers", state.ledger, state.distinct))
    }
}

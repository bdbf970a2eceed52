//! A native replica of the stack's source: what the server's own replication makes of a binlog, and where a source can
//! move to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::{Flavour, Stack};
use crate::mysql::connect;

/// The name of the source's replica in a stack.
pub const REPLICA_NAME: &str = "replica";
/// How long a question to the replica waits before its state is looked at.
const LOOK_SECONDS: u32 = 1;

/// A source and its native replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    flavour: Flavour,
    source: String,
    replica: String,
    source_port: u16,
    /// What the replica logs: there it says why it stands.
    log: PathBuf,
}

/// How far a replica has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicated {
    /// It has executed everything that its source had.
    Everything,
    /// It stands at this error.
    Stopped(String),
}

impl Stack {
    /// The address of the source's native replica, where the stack has one.
    #[must_use]
    pub fn replica_url(&self) -> Option<String> {
        self.mysql(REPLICA_NAME).ok().map(crate::Server::url)
    }

    /// The source and its native replica.
    ///
    /// # Errors
    /// When the stack has none, or it does not answer.
    pub async fn replication(&self) -> Result<Replication> {
        self.replication_between("source", REPLICA_NAME).await
    }

    /// The same of two servers that may have changed their parts.
    ///
    /// # Errors
    /// When the stack lacks one of them, or the replica does not answer.
    pub async fn replication_between(&self, source: &str, replica: &str) -> Result<Replication> {
        let (source, replica) = (self.mysql(source)?, self.mysql(replica)?);
        let version = crate::mysql::version(&replica.url()).await?;
        let flavour = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        let log = replica.process().launch().log;
        Ok(Replication { flavour, source: source.url(), replica: replica.url(), source_port: source.port(), log })
    }
}

impl Replication {
    /// Lets the replica follow its source, by GTID, from what it has; it takes writes of administrators only.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn follow(&self) -> Result<()> {
        let change = match self.flavour {
            Flavour::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', \
                 SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400",
                self.source_port
            ),
            Flavour::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', MASTER_USE_GTID=slave_pos, \
                 MASTER_CONNECT_RETRY=1",
                self.source_port
            ),
        };
        self.run(&[&change, "SET GLOBAL read_only = ON", "START REPLICA"]).await
    }

    /// Waits until the replica has executed everything that its source has now, or stands at an error.
    ///
    /// # Errors
    /// When it has neither within `limit`, or a server does not answer.
    pub async fn wait(&self, limit: Duration) -> Result<Replicated> {
        let mut source = connect(&self.source).await?;
        let sql = self.either("SELECT @@GLOBAL.gtid_executed", "SELECT @@GLOBAL.gtid_binlog_pos");
        let wanted: Option<String> = source.query_first(sql).await.context("ask the source for its transactions")?;
        self.wait_for(&wanted.unwrap_or_default(), limit).await
    }

    /// Lets the replica pass over the transaction at which it stands.
    ///
    /// # Errors
    /// When there is none, or a statement fails.
    pub async fn skip(&self) -> Result<()> {
        self.run(&["STOP REPLICA"]).await?;
        match self.flavour {
            Flavour::MySql => {
                let next = self.next_mysql().await?;
                self.run(&[
                    &format!("SET gtid_next = '{next}'"),
                    "BEGIN",
                    "COMMIT",
                    "SET gtid_next = AUTOMATIC",
                    "START REPLICA",
                ])
                .await
            }
            Flavour::MariaDb => {
                let next = self.next_mariadb().await?;
                self.run(&[&format!("SET GLOBAL gtid_slave_pos = '{next}'"), "START REPLICA"]).await
            }
        }
    }

    /// Makes a server of its own of the replica, when it has executed what it had received. The source need not be there.
    ///
    /// # Errors
    /// When the replica does not execute what it has within `limit`, stands at an error, or a statement fails.
    pub async fn promote(&self, limit: Duration) -> Result<()> {
        self.run(&["STOP REPLICA IO_THREAD"]).await?;
        let state = self.state().await?;
        let received = state.get(self.either("Retrieved_Gtid_Set", "Gtid_IO_Pos")).cloned().unwrap_or_default();
        if let Replicated::Stopped(error) = self.wait_for(&received, limit).await? {
            bail!("promote the replica: it stands at an error: {error}");
        }
        let mut statements = vec!["STOP REPLICA", "RESET REPLICA ALL"];
        if self.flavour == Flavour::MySql {
            statements.push("SET GLOBAL super_read_only = OFF");
        }
        statements.push("SET GLOBAL read_only = OFF");
        self.run(&statements).await
    }

    async fn wait_for(&self, wanted: &str, limit: Duration) -> Result<Replicated> {
        let wanted = wanted.replace(['\n', ' '], "");
        let wait = self.either("WAIT_FOR_EXECUTED_GTID_SET", "MASTER_GTID_WAIT");
        let begun = Instant::now();
        let mut connection = connect(&self.replica).await?;
        loop {
            let waited: Option<i64> = connection
                .query_first(format!("SELECT {wait}('{wanted}', {LOOK_SECONDS})"))
                .await
                .with_context(|| format!("wait for {wanted} at the replica"))?;
            if waited == Some(0) {
                return Ok(Replicated::Everything);
            }
            let state = self.state().await?;
            let stands = ["SQL", "IO"].iter().find_map(|thread| {
                state.get(&format!("Last_{thread}_Error")).filter(|error| !error.is_empty()).cloned()
            });
            // A source that is away for a moment is no error to stand at: it is called again.
            let running =
                state.get(self.either("Replica_SQL_Running", "Slave_SQL_Running")).is_some_and(|r| r == "Yes");
            if let (false, Some(error)) = (running, &stands) {
                return Ok(Replicated::Stopped(format!("{error}\n{}", self.reason())));
            }
            if begun.elapsed() > limit {
                bail!("wait for {wanted} at the replica: not there after {limit:?}; its error is {stands:?}");
            }
        }
    }

    /// The first transaction of the source that the replica has not executed.
    async fn next_mysql(&self) -> Result<String> {
        let mut source = connect(&self.source).await?;
        let there: Option<String> = source.query_first("SELECT @@GLOBAL.gtid_executed").await?;
        let there = there.unwrap_or_default();
        let mut connection = connect(&self.replica).await?;
        let missing: Option<String> = connection
            .query_first(format!("SELECT GTID_SUBTRACT('{there}', @@GLOBAL.gtid_executed)"))
            .await
            .context("ask what the replica lacks")?;
        first_of(&missing.unwrap_or_default()).context("pass over a transaction: the replica has all")
    }

    /// The position behind the transaction at which the replica stands: the source has one domain, and counts by one.
    async fn next_mariadb(&self) -> Result<String> {
        let mut connection = connect(&self.replica).await?;
        let position: Option<String> = connection.query_first("SELECT @@GLOBAL.gtid_slave_pos").await?;
        let position = position.unwrap_or_default();
        let next = |position: &str| {
            let (server, number) = position.rsplit_once('-')?;
            Some(format!("{server}-{}", number.parse::<u64>().ok()? + 1))
        };
        next(&position).with_context(|| format!("pass over a transaction behind {position:?}"))
    }

    async fn state(&self) -> Result<BTreeMap<String, String>> {
        let mut connection = connect(&self.replica).await?;
        let row: Option<Row> =
            connection.query_first("SHOW REPLICA STATUS").await.context("ask the replica for its state")?;
        let row = row.ok_or_else(|| anyhow!("ask the replica for its state: it follows nobody"))?;
        let names = row.columns_ref().iter().map(|column| column.name_str().into_owned()).enumerate();
        let value = |at| row.get_opt::<String, _>(at).and_then(Result::ok).unwrap_or_default();
        Ok(names.map(|(at, name)| (name, value(at))).collect())
    }

    /// What a MySQL replica's log says of its worker; MariaDB's state has it.
    fn reason(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().rfind(|line| line.contains("failed executing transaction")).unwrap_or_default().to_owned()
    }

    async fn run(&self, statements: &[&str]) -> Result<()> {
        crate::mysql::execute(&self.replica, statements).await.context("change the replica")
    }

    fn either<'a>(&self, mysql: &'a str, mariadb: &'a str) -> &'a str {
        match self.flavour {
            Flavour::MySql => mysql,
            Flavour::MariaDb => mariadb,
        }
    }
}

/// The first transaction of a set of GTIDs.
fn first_of(set: &str) -> Option<String> {
    let mut parts = set.split(',').next()?.trim().split(':');
    let (server, range) = (parts.next()?, parts.next()?);
    Some(format!("{server}:{}", range.split('-').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_transaction_of_a_set_is_found() {
        assert_eq!(first_of("aa-bb:7-9:12,cc-dd:1").as_deref(), Some("aa-bb:7"));
        assert_eq!(first_of("aa-bb:5").as_deref(), Some("aa-bb:5"));
        assert_eq!(first_of(""), None);
    }
}

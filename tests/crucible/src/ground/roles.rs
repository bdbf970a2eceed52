//! Which of a source's two servers takes writes, and how that changes.

use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::link::Conditions;
use lutra_harness::mysql::{connect, execute};
use lutra_harness::{Replicated, Server};
use mysql_async::prelude::Queryable;

use super::{FIRST, Ground};

/// A replica has what its source had by then.
const CATCHES_UP: Duration = Duration::from_secs(60);

impl Ground {
    /// Breaks the writers' connections and lets them have no new ones.
    pub(crate) fn hold_writers(&self) {
        if let Some(link) = &self.writers {
            link.set(Conditions { refuse: true, ..Conditions::default() });
            link.reset();
        }
    }

    /// Writers go to this server from now on.
    pub(crate) fn lead_writers(&self, server: &Server) {
        server.name().clone_into(&mut self.primary.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(link) = &self.writers {
            link.lead_to(server.address());
            link.set(Conditions::default());
            link.reset();
        }
    }

    /// Writes stop, the replica gets everything, and becomes the primary; the old one is killed then, or stays as it is,
    /// read-only. Since when the new one takes writes.
    pub(crate) async fn fail_over(&self, kill: bool) -> Result<Instant> {
        let (old, new) = (self.primary()?, self.standby()?);
        self.hold_writers();
        execute(&old.url(), &["SET GLOBAL super_read_only = ON"]).await.context("take the writes away")?;
        let replication = self.stack.replication_between(old.name(), new.name()).await?;
        if let Replicated::Stopped(error) = replication.wait(CATCHES_UP).await? {
            bail!("the replica stands at an error: {error}");
        }
        if kill {
            old.kill()?;
        }
        replication.promote(CATCHES_UP).await?;
        let since = Instant::now();
        self.lead_writers(new);
        Ok(since)
    }

    /// The standby follows the primary, and takes writes of nobody.
    pub(crate) async fn follow(&self) -> Result<()> {
        let (primary, standby) = (self.primary()?, self.standby()?);
        if !standby.process().is_alive() {
            standby.start().await?;
        }
        forget(standby).await?;
        execute(&standby.url(), &["SET GLOBAL super_read_only = ON"]).await.context("take the writes away")?;
        self.stack.replication_between(primary.name(), standby.name()).await?.follow().await
    }

    /// Makes the standby anew, as a copy of the primary, which rests meanwhile; then it follows.
    pub(crate) async fn rebuild(&self) -> Result<()> {
        let (primary, standby) = (self.primary()?, self.standby()?);
        self.hold_writers();
        primary.stop().await?;
        standby.kill()?;
        let [from, to] = [primary, standby].map(|server| server.folder().join("data"));
        std::fs::remove_dir_all(&to).with_context(|| format!("remove {}", to.display()))?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "--sparse=auto"]).arg(&from).arg(&to).stdin(Stdio::null());
        let copied = tokio::task::spawn_blocking(move || copy.status()).await?.context("copy a data folder")?;
        ensure!(copied.success(), "copy {} to {}: cp ended with {copied}", from.display(), to.display());
        // It is another server from now on: what it had numbered itself is gone.
        std::fs::remove_file(to.join("auto.cnf")).context("remove a server's identity")?;
        primary.start().await?;
        self.lead_writers(primary);
        standby.start().await?;
        self.follow().await
    }

    /// Puts right what a fail-over that failed half-way left: one server takes writes, and the other one follows it. Both run.
    pub(crate) async fn mend_roles(&self) -> Result<()> {
        if !self.form.replica {
            return Ok(());
        }
        let (primary, standby) = (self.primary()?, self.standby()?);
        forget(primary).await?;
        execute(&primary.url(), &["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"]).await?;
        self.lead_writers(primary);
        if more(standby, primary).await?.is_empty() { self.follow().await } else { self.rebuild().await }
    }

    /// The server that took writes at first takes them again.
    pub(crate) async fn come_home(&self) -> Result<()> {
        if self.primary()?.name() == FIRST {
            return Ok(());
        }
        self.fail_over(false).await?;
        self.follow().await
    }
}

/// What the first server has executed and the second has not.
pub(crate) async fn more(first: &Server, second: &Server) -> Result<String> {
    subtract(first, &executed(&first.url()).await?, &executed(&second.url()).await?).await
}

/// The first set of GTIDs without the second, as a server prints it.
pub(crate) async fn subtract(server: &Server, first: &str, second: &str) -> Result<String> {
    let mut conn = connect(&server.url()).await?;
    let left: Option<String> = conn.query_first(format!("SELECT GTID_SUBTRACT('{first}', '{second}')")).await?;
    conn.disconnect().await?;
    Ok(left.unwrap_or_default().replace('\n', ""))
}

/// What a server has executed.
pub(crate) async fn executed(url: &str) -> Result<String> {
    let mut conn = connect(url).await?;
    let set: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await.context("ask for GTIDs")?;
    conn.disconnect().await?;
    Ok(set.unwrap_or_default().replace('\n', ""))
}

/// A server follows nobody any more.
async fn forget(server: &Server) -> Result<()> {
    let mut conn = connect(&server.url()).await?;
    // One that never followed anybody may say so.
    let _ = conn.query_drop("STOP REPLICA").await;
    conn.query_drop("RESET REPLICA ALL").await.context("let a server follow nobody")?;
    conn.disconnect().await.context("close a connection to MySQL")
}

//! The target.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::Flavour;
use lutra_harness::mysql::{connect, execute};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let ways = [
        Way::Kill,
        Way::Restart,
        Way::Freeze,
        Way::ReadOnly,
        Way::Locked,
        Way::Deadlock,
        Way::Capped,
        Way::Connections,
        Way::LostAnswer,
        Way::SlowCommits,
        Way::SlowDisk,
    ];
    ways.map(|way| -> Box<dyn Fault> { Box::new(Target { way }) }).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kill,
    Restart,
    Freeze,
    ReadOnly,
    Locked,
    Deadlock,
    Capped,
    Connections,
    LostAnswer,
    SlowCommits,
    SlowDisk,
}

struct Target {
    way: Way,
}

impl Fault for Target {
    fn name(&self) -> String {
        match self.way {
            Way::Kill => "target-killed",
            Way::Restart => "target-restarted",
            Way::Freeze => "target-frozen",
            Way::ReadOnly => "target-read-only",
            Way::Locked => "target-locked",
            Way::Deadlock => "target-deadlock",
            Way::Capped => "target-connections-capped",
            Way::Connections => "target-connections-killed",
            Way::LostAnswer => "commit-answer-lost",
            Way::SlowCommits => "target-slow-commits",
            Way::SlowDisk => "target-slow-disk",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Target
    }

    fn about(&self) -> String {
        match self.way {
            Way::Kill => "SIGKILL to the target, started again at once, recovering",
            Way::Restart => "the target is stopped in order and started again",
            Way::Freeze => "SIGSTOP to the target for 1 to 4 s, then SIGCONT",
            Way::ReadOnly => "SET GLOBAL read_only = 1 for 1 to 3 s",
            Way::Locked => "a foreign session holds the rows of a table for 1 to 4 s",
            Way::Deadlock => "a foreign session takes rows first and the loader's slot rows then",
            Way::Capped => "no more connections are let in, and the loader's are killed, for 1 to 3 s",
            Way::Connections => "KILL of all of the loader's connections",
            Way::LostAnswer => "the answer to a COMMIT is lost with its connection; the target has carried it out",
            Way::SlowCommits => {
                "every commit waits for others for up to 0.2 s (binlog_group_commit_sync_delay) for 2 to 4 s"
            }
            Way::SlowDisk => {
                "commits wait for the disk, and every fsync of the target takes 20 to 150 ms longer (strace), for 3 to 6 s"
            }
        }
        .to_owned()
    }

    fn unable(&self) -> Option<String> {
        (self.way == Way::SlowDisk && !has_strace()).then(|| "strace is not here".to_owned())
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let (server, url) = (rig.ground.stack.mysql("target")?, &rig.world.target_url);
            let injury = Injury::now("target", Recovery::Outage);
            Ok(match self.way {
                Way::Kill => {
                    server.kill()?;
                    server.start().await?;
                    injury
                }
                Way::Restart => {
                    server.restart().await?;
                    injury
                }
                Way::Freeze => {
                    server.freeze()?;
                    injury.holding(dice.span(1_000, 4_000))
                }
                Way::ReadOnly => {
                    execute(url, &["SET GLOBAL read_only = 1"]).await?;
                    injury.holding(dice.span(1_000, 3_000))
                }
                Way::Locked => {
                    let conn = lock_a_table(rig, dice).await?;
                    injury.keeping(conn).holding(dice.span(1_000, 4_000))
                }
                Way::Deadlock => {
                    let met = deadlock(rig, dice).await?;
                    Injury::now(if met { "target (met)" } else { "target (not met)" }, Recovery::Outage)
                }
                Way::Capped => {
                    // One session does it and undoes it: another one may not get in meanwhile.
                    let mut conn = connect(url).await?;
                    conn.query_drop("SET GLOBAL max_connections = 1").await.context("cap the connections")?;
                    kill_by(&mut conn, "lt\\_").await?;
                    injury.keeping(conn).holding(dice.span(1_000, 3_000))
                }
                Way::Connections => {
                    let killed = kill_connections(url, "lt\\_").await?;
                    Injury::now(format!("target ({killed} connections)"), Recovery::Outage)
                }
                Way::LostAnswer if rig.ground.form.certificates => {
                    super::certificates::lose_an_answer(rig, dice).await?;
                    Injury::now("target", Recovery::Outage)
                }
                Way::LostAnswer => {
                    let before = rig.ground.target.lost();
                    rig.ground.target.lose_answers(1);
                    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
                    while rig.ground.target.lost() == before && tokio::time::Instant::now() < deadline {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    anyhow::ensure!(rig.ground.target.lost() > before, "no commit was seen on the way to the target");
                    Injury::now("target", Recovery::Outage)
                }
                Way::SlowCommits => {
                    execute(url, slow_commits(rig.ground.form.target)).await?;
                    injury.holding(dice.span(2_000, 4_000))
                }
                Way::SlowDisk => {
                    let id = server.process().id().context("the target was never started")?;
                    // Commits wait for the disk, and the disk takes its time.
                    execute(url, &["SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"])
                        .await?;
                    let millis = dice.number(20..=150);
                    let slow = slowed(id.pid, millis).await?;
                    let injury = Injury::now(format!("target, {millis} ms"), Recovery::Outage);
                    injury.keeping(slow).holding(dice.span(3_000, 6_000))
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let url = &rig.world.target_url;
            if self.way == Way::Capped {
                let conn = injury.kept.iter_mut().find_map(|kept| kept.downcast_mut::<Conn>());
                let conn = conn.context("find the session that capped the connections")?;
                conn.query_drop("SET GLOBAL max_connections = 200").await.context("let connections in again")?;
            }
            injury.kept.clear();
            match self.way {
                Way::Freeze => rig.ground.stack.mysql("target")?.thaw(),
                Way::ReadOnly => execute(url, &["SET GLOBAL read_only = 0"]).await,
                Way::SlowCommits | Way::SlowDisk => execute(url, settings_back(rig.ground.form.target)).await,
                _ => Ok(()),
            }
        })
    }
}

/// Every commit waits for others for up to 0.2 s.
pub(super) fn slow_commits(flavour: Flavour) -> &'static [&'static str] {
    match flavour {
        Flavour::MySql => &["SET GLOBAL binlog_group_commit_sync_delay = 200000"],
        Flavour::MariaDb => {
            &["SET GLOBAL binlog_commit_wait_usec = 200000", "SET GLOBAL binlog_commit_wait_count = 1000"]
        }
    }
}

/// What takes back every setting that a fault makes of the target.
pub(crate) fn settings_back(flavour: Flavour) -> &'static [&'static str] {
    const MYSQL: [&str; 5] = [
        "SET GLOBAL read_only = 0",
        "SET GLOBAL max_connections = 200",
        "SET GLOBAL sync_binlog = 0",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 2",
        "SET GLOBAL binlog_group_commit_sync_delay = 0",
    ];
    const MARIADB: [&str; 6] = [
        MYSQL[0],
        MYSQL[1],
        MYSQL[2],
        MYSQL[3],
        "SET GLOBAL binlog_commit_wait_count = 0",
        "SET GLOBAL binlog_commit_wait_usec = 100000",
    ];
    match flavour {
        Flavour::MySql => &MYSQL,
        Flavour::MariaDb => &MARIADB,
    }
}

fn has_strace() -> bool {
    let mut command = Command::new("strace");
    let asked = command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Every fsync of a process takes so much longer while this lives.
struct Slowed(Child);

impl Drop for Slowed {
    fn drop(&mut self) {
        // The kernel lets go of what a tracer held.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn slowed(pid: i32, millis: u64) -> Result<Slowed> {
    let mut command = Command::new("strace");
    let inject = format!("inject=fsync,fdatasync:delay_exit={}", millis * 1_000);
    command.args(["-q", "-f", "-p", &pid.to_string(), "-e", "trace=fsync,fdatasync", "-e", &inject, "-o", "/dev/null"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start strace")?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    if let Some(status) = child.try_wait().context("look at strace")? {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        }
        anyhow::bail!("strace ended with {status}: {said}");
    }
    Ok(Slowed(child))
}

/// Ends every connection of users whose names begin like this; how many there were.
pub(super) async fn kill_connections(url: &str, users: &str) -> Result<usize> {
    let mut conn = connect(url).await?;
    let killed = kill_by(&mut conn, users).await?;
    conn.disconnect().await?;
    Ok(killed)
}

async fn kill_by(conn: &mut Conn, users: &str) -> Result<usize> {
    let question = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER LIKE '{users}%'");
    let ids: Vec<u64> = conn.query(question).await.context("ask for connections")?;
    for id in &ids {
        // It may have gone by itself.
        let _ = conn.query_drop(format!("KILL {id}")).await;
    }
    Ok(ids.len())
}

/// A table of the target that the workloads write.
async fn a_table(conn: &mut Conn, rig: &Rig, dice: &mut Dice) -> Result<String> {
    let prefix = rig.database.trim_end_matches("probe").replace('_', "\\_");
    let question = format!(
        "SELECT CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE '{prefix}%' \
         AND TABLE_SCHEMA NOT LIKE '%storm' ORDER BY 1"
    );
    let tables: Vec<String> = conn.query(question).await.context("ask the target for its tables")?;
    dice.one(&tables).cloned().context("the target has no tables")
}

/// A session that holds all rows of a table until it is dropped.
async fn lock_a_table(rig: &Rig, dice: &mut Dice) -> Result<Conn> {
    let mut conn = connect(&rig.world.target_url).await?;
    let table = a_table(&mut conn, rig, dice).await?;
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} FOR UPDATE) AS locked")).await?;
    Ok(conn)
}

/// Takes rows, lets the loader wait for them, and asks for its slot rows: whether the server called it a deadlock here.
/// Where it did not, the loader was rolled back instead, or had nothing to do with the table.
async fn deadlock(rig: &Rig, dice: &mut Dice) -> Result<bool> {
    let mut conn = lock_a_table(rig, dice).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 1").await?;
    let slots = format!("SELECT slot FROM lutra.slot WHERE task = '{}' FOR UPDATE", rig.load_task());
    let met = conn.query::<u16, _>(slots).await.is_err();
    let _ = conn.query_drop("ROLLBACK").await;
    Ok(met)
}

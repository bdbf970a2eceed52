//! The source fails over to a replica that lacks published transactions, or purges what was not read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use lutra_harness::Server;
use lutra_harness::mysql::{connect, execute};
use lutra_harness::services::Service;
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::failover::write_errant;
use super::{Family, Fault, Injury, Need, Recovery};
use crate::findings::Invariant;
use crate::ground::roles::{executed, subtract};
use crate::plan::Dice;
use crate::rig::{EACH, LIMIT, Rig, tasks};
use crate::watch::named;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(LostTail { adopted: false }), Box::new(LostTail { adopted: true }), Box::new(Purged)]
}

struct LostTail {
    /// The target does not have the tail, and a new log begins at what it has; else the old primary comes back.
    adopted: bool,
}

/// How a lost tail is mended by the old primary's return.
struct Returns {
    /// While the other one still takes writes.
    both: bool,
}

impl Fault for LostTail {
    fn name(&self) -> String {
        if self.adopted { "source-lost-tail-adopted" } else { "source-lost-tail" }.to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        let what = "the replica is behind when the primary is killed, takes the writes, and lacks published transactions: \
                    that must halt the extractor under its name, with both sets";
        let mend = if self.adopted {
            "no loader ran meanwhile, and `lutra adopt SOURCE --from-target` goes on without the tail"
        } else {
            "the target has the tail, and the old primary comes back, with or without the other one"
        };
        format!("{what}; {mend}")
    }

    fn wanted(&self) -> u64 {
        10
    }

    fn by_default(&self) -> bool {
        !self.adopted
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Replica)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let ground = &rig.ground;
            let (old, new) = (ground.primary()?, ground.standby()?);
            let replication = ground.stack.replication_between(old.name(), new.name()).await?;
            if self.adopted {
                for n in 1..=EACH {
                    rig.world.service(&format!("{}-{n}", Service::Loader))?.kill()?;
                }
                // What the target has the replica must have too, or the place where a new log begins is lost as well.
                replication.wait(LIMIT).await?;
            }
            execute(&new.url(), &["STOP REPLICA IO_THREAD"]).await.context("keep the replica behind")?;
            if self.adopted {
                tokio::time::sleep(dice.span(500, 2_000)).await;
            } else {
                rig.probe(Instant::now(), LIMIT).await.context("write a tail")?;
            }
            ground.hold_writers();
            let had = executed(&old.url()).await?;
            published(rig, old, &had).await.context("publish the tail")?;
            if !self.adopted {
                rig.world.caught_up(LIMIT).await?;
            }
            old.kill()?;
            // What it has received it executes before it is one of its own.
            replication.promote(LIMIT).await?;
            let tail = subtract(new, &had, &executed(&new.url()).await?).await?;
            ensure!(!tail.is_empty(), "the replica has everything");
            let mut own = Vec::new();
            for _ in 0..dice.number(1..=3) {
                own.push(write_errant(rig, new.name()).await?);
            }
            let theirs = subtract(new, &executed(&new.url()).await?, &had).await?;
            let words =
                ["source_behind_log".to_owned(), tail.clone(), format!("it has these that the log does not: {theirs}")];
            let (wrong, after) = named::look(rig, &words).await;
            let numbers: Vec<String> = own.iter().map(u64::to_string).collect();
            let question = format!("SELECT COUNT(*) FROM `{}`.errant WHERE n IN ({})", rig.database, numbers.join(","));
            let came = rig.counted(&question).await?;
            let foreign = (came > 0).then(|| format!("{came} transactions of the other history are in the target"));
            let victim = format!("{} lacks {tail}; named after {:.1} s", new.name(), after.as_secs_f64());
            let injury = Injury::now(victim, Recovery::Outage).looked(Invariant::Named, wrong.or(foreign));
            if !self.adopted {
                return Ok(injury.keeping(Returns { both: dice.number(0..=1) == 0 }));
            }
            ground.lead_writers(new);
            rig.world.lutra(&["adopt", &rig.world.source(), "--from-target"]).await?;
            for n in 1..=EACH {
                rig.world.service(&format!("{}-{n}", Service::Loader))?.start()?;
            }
            Ok(injury)
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let ground = &rig.ground;
            if injury.victim.is_empty() {
                return Ok(());
            }
            if self.adopted {
                rig.probe(Instant::now(), LIMIT).await?;
                return ground.rebuild().await.context("make the old primary a copy of the new one");
            }
            let Some(both) = injury.kept.iter().find_map(|kept| kept.downcast_ref::<Returns>().map(|r| r.both)) else {
                return Ok(());
            };
            let (old, new) = (ground.primary()?, ground.standby()?);
            if !both {
                new.kill()?;
            }
            old.start().await?;
            ground.lead_writers(old);
            // A halted task is tried again by itself, but slowly: who brings a server back says so.
            rig.world.lutra(&["start", &rig.world.pipeline()]).await?;
            rig.probe(Instant::now(), LIMIT).await?;
            ground.rebuild().await.context("make the other server a copy of the one that came back")
        })
    }
}

/// Waits until the extractor has all of this in its log. It may have read the other server until now, and then it goes over
/// to this one first: what it never read is not lost.
async fn published(rig: &Rig, server: &Server, set: &str) -> Result<()> {
    let (task, deadline) = (format!("extract/{}", rig.world.source()), Instant::now() + LIMIT);
    loop {
        let status = rig.status().await?;
        let (read, in_flight) = read_by(&status, &task);
        let unread = subtract(server, set, &read).await?;
        if unread.is_empty() && in_flight == Some(0) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the extractor has not read {unread} in {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What an extractor says that it has read, and how many bytes of it the log has not acknowledged.
fn read_by(status: &Value, task: &str) -> (String, Option<u64>) {
    let Some(found) = tasks(status).find(|found| found["task"] == task) else { return (String::new(), None) };
    let measured = &found["measured"];
    (measured["gtid_set"].as_str().unwrap_or_default().to_owned(), measured["in_flight_bytes"].as_u64())
}

/// The primary purges what the extractor has not read; its replica still has it.
struct Purged;

impl Fault for Purged {
    fn name(&self) -> String {
        "source-binlog-purged".to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        "no extractor runs while the primary writes and purges its binlog; then they read on from its replica"
            .to_owned()
    }

    fn wanted(&self) -> u64 {
        10
    }

    fn by_default(&self) -> bool {
        false
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Replica)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let (primary, standby) = (rig.ground.primary()?, rig.ground.standby()?);
            for n in 1..=EACH {
                rig.world.service(&format!("{}-{n}", Service::Extractor))?.kill()?;
            }
            let had = executed(&primary.url()).await?;
            tokio::time::sleep(dice.span(500, 2_000)).await;
            // What the replica has not fetched the server would not purge.
            rig.ground.stack.replication_between(primary.name(), standby.name()).await?.wait(LIMIT).await?;
            let mut conn = connect(&primary.url()).await?;
            conn.query_drop("FLUSH BINARY LOGS").await?;
            let status: Option<Row> = conn.query_first("SHOW BINARY LOG STATUS").await?;
            let file: Option<String> = status.and_then(|status| status.get(0));
            let file = file.context("the source writes no binlog")?;
            conn.query_drop(format!("PURGE BINARY LOGS TO '{file}'")).await.context("purge the source's binlog")?;
            let purged: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_purged").await?;
            let unread = subtract(primary, &purged.unwrap_or_default().replace('\n', ""), &had).await?;
            ensure!(!unread.is_empty(), "nothing was purged that was not read");
            for n in 1..=EACH {
                rig.world.service(&format!("{}-{n}", Service::Extractor))?.start()?;
            }
            Ok(Injury::now(format!("{}, {unread}", primary.name()), Recovery::Outage))
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for n in 1..=EACH {
                let extractor = rig.world.service(&format!("{}-{n}", Service::Extractor))?;
                if !extractor.is_alive() {
                    extractor.start()?;
                }
            }
            Ok(())
        })
    }
}

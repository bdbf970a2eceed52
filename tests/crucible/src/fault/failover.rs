//! The source fails over to its replica, which has everything that was published.

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;

use super::{Family, Fault, Injury, Need, Recovery};
use crate::findings::Invariant;
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(FailOver { errant: false }), Box::new(FailOver { errant: true })]
}

struct FailOver {
    /// The replica has transactions of its own before it is promoted.
    errant: bool,
}

/// Rows that only the replica had.
struct Errant(Vec<u64>);

impl Fault for FailOver {
    fn name(&self) -> String {
        if self.errant { "source-failed-over-errant" } else { "source-failed-over" }.to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        let own = if self.errant { "the replica gets transactions of its own; " } else { "" };
        format!(
            "{own}writes stop, the replica gets everything, the source's primary is killed or left alive read-only, and the \
             replica takes the writes; the old primary follows it then"
        )
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Replica)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let (old, new) = (rig.ground.primary()?.name().to_owned(), rig.ground.standby()?.name().to_owned());
            let kill = dice.number(0..=1) == 0;
            let mut own = Vec::new();
            if self.errant {
                for _ in 0..dice.number(1..=5) {
                    own.push(write_errant(rig, &new).await?);
                }
            }
            let since = rig.ground.fail_over(kill).await?;
            let how = if kill { "killed" } else { "left read-only" };
            let injury = Injury::now(format!("{new} behind {old}, {how}"), Recovery::FailOver).keeping(Errant(own));
            Ok(Injury { since, ..injury })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // Nothing to undo where nothing was done: mending knows better.
            let Some(own) = injury.kept.iter_mut().find_map(|kept| kept.downcast_mut::<Errant>()) else {
                return Ok(());
            };
            let own = std::mem::take(&mut own.0);
            if !own.is_empty() {
                // They were committed before the row that has arrived by now.
                let numbers: Vec<String> = own.iter().map(u64::to_string).collect();
                let question =
                    format!("SELECT COUNT(*) FROM `{}`.errant WHERE n IN ({})", rig.database, numbers.join(","));
                let came = rig.counted(&question).await?;
                let wrong = (came != own.len() as u64)
                    .then(|| format!("{came} of {} transactions of the new primary's own have come", own.len()));
                injury.looks.push((Invariant::NothingLost, wrong));
            }
            rig.ground.follow().await.context("let the old primary follow the new one")
        })
    }
}

/// Writes a row at a server of the source, whoever takes the writes; its number.
pub(super) async fn write_errant(rig: &Rig, server: &str) -> Result<u64> {
    let n = rig.number();
    let server = rig.ground.stack.mysql(server)?;
    let insert = format!("INSERT INTO `{}`.errant VALUES ({n})", rig.database);
    let written = execute(&server.url(), &["SET GLOBAL super_read_only = OFF", &insert]).await;
    written.context("write at a server of the source")?;
    Ok(n)
}

//! Processes that abort at a named place in their own code.

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::services::{Service, ServiceProcess};

use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

/// Named places, with whether DDL or a large transaction leads there.
const POINTS: [(Service, &str); 12] = [
    (Service::Loader, "after-slot-update"),
    (Service::Loader, "mid-rows"),
    (Service::Loader, "before-commit"),
    (Service::Loader, "commit-unanswered"),
    (Service::Loader, "after-commit"),
    (Service::Loader, "between-intent-and-ddl"),
    (Service::Loader, "between-ddl-and-done"),
    (Service::Extractor, "after-epoch-start"),
    (Service::Extractor, "mid-transaction"),
    (Service::Extractor, "before-commit-part"),
    (Service::Extractor, "after-commit-part"),
    (Service::Extractor, "after-schema"),
];

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    POINTS.into_iter().map(|(service, point)| -> Box<dyn Fault> { Box::new(Crash { service, point }) }).collect()
}

/// So often is done what leads to a place, and so long is waited each time for the process to die of it.
const ROUNDS: u32 = 30;
const ROUND: std::time::Duration = std::time::Duration::from_secs(3);

struct Crash {
    service: Service,
    point: &'static str,
}

/// Whether it is told to die at a place, or to break a rule.
pub(crate) fn is_armed(process: &ServiceProcess) -> bool {
    process.process().launch().env.iter().any(|(name, _)| name == "LUTRA_CRASH_POINT" || name == "LUTRA_BREAK_RULE")
}

/// Replaces a process by one with these variables.
pub(crate) fn restart_with(process: &ServiceProcess, variables: &[(&str, &str)]) -> Result<()> {
    process.kill()?;
    process.process().change_launch(|launch| {
        launch.env.retain(|(name, _)| name != "LUTRA_CRASH_POINT" && name != "LUTRA_BREAK_RULE");
        launch.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    });
    process.start()
}

/// DDL, a table that is new, and a transaction of several parts: every place is passed.
async fn a_bit_of_everything(rig: &Rig) -> Result<()> {
    let db = &rig.database;
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i, REPEAT('x', 1000) FROM n";
    rig.world
        .execute(&[
            &format!("DROP TABLE IF EXISTS `{db}`.fresh, `{db}`.old"),
            &format!("CREATE TABLE `{db}`.fresh (id INT PRIMARY KEY, pad VARCHAR(1000))"),
            &format!("INSERT INTO `{db}`.fresh {fill}"),
            &format!("ALTER TABLE `{db}`.fresh ADD COLUMN more INT"),
            &format!("UPDATE `{db}`.fresh SET more = id"),
            &format!("RENAME TABLE `{db}`.fresh TO `{db}`.old"),
        ])
        .await
}

impl Fault for Crash {
    fn name(&self) -> String {
        format!("crash-{}-{}", self.service, self.point)
    }

    fn family(&self) -> Family {
        Family::Process
    }

    fn about(&self) -> String {
        format!("the {} that owns the task aborts at the {}", self.service, self.point)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let owner = rig.owner(self.service).await?;
            let victim = owner.process().launch().name;
            let times = if self.point == "after-epoch-start" { 1 } else { dice.number(1..=3) };
            restart_with(owner, &[("LUTRA_CRASH_POINT", &format!("{}:{times}", self.point))])?;
            // Until it has died: what leads to some places comes once in each round.
            let mut died = false;
            for _ in 0..ROUNDS {
                a_bit_of_everything(rig).await?;
                died = owner.wait(ROUND).await.is_ok();
                if died {
                    break;
                }
            }
            let injury = Injury::now(victim, Recovery::Restart);
            restart_with(owner, &[])?;
            anyhow::ensure!(
                died,
                "{} was not reached in {ROUNDS} rounds of {ROUND:?}\n{}",
                self.point,
                rig.world.logs()
            );
            Ok(injury)
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let db = &rig.database;
            rig.world.execute(&[&format!("DROP TABLE IF EXISTS `{db}`.fresh, `{db}`.old")]).await.context("tidy up")
        })
    }
}

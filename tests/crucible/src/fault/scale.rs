//! More workers and fewer: one, four, one, and two again.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::services::{Service, ServiceProcess};

use super::{Family, Fault, Injury, Need, Recovery};
use crate::plan::Dice;
use crate::rig::{LIMIT, Rig, SCALED};

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    SCALED.map(|service| -> Box<dyn Fault> { Box::new(Scaled { service }) }).into()
}

/// The workers of a service.
struct Scaled {
    service: Service,
}

impl Scaled {
    /// Those that always run, and the spare ones.
    fn workers<'r>(&self, rig: &'r Rig) -> Vec<&'r ServiceProcess> {
        let all = rig.world.services.values().chain(rig.spares.values());
        all.filter(|process| process.service() == self.service).collect()
    }
}

async fn end(process: &ServiceProcess) -> Result<()> {
    process.terminate()?;
    let name = process.process().launch().name;
    process.wait(LIMIT).await.with_context(|| format!("end {name} in order"))?;
    Ok(())
}

impl Fault for Scaled {
    fn name(&self) -> String {
        format!("scale-{}", self.service)
    }

    fn family(&self) -> Family {
        Family::Process
    }

    fn about(&self) -> String {
        format!(
            "the other {0} ends in order, so that one is left; three more are started; the one with the task and two others end \
             in order, so that one is left that did not have it",
            self.service
        )
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Spares)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let owner = rig.owner(self.service).await?;
            let name = owner.process().launch().name;
            let workers = self.workers(rig);
            let others: Vec<&ServiceProcess> =
                workers.into_iter().filter(|worker| worker.process().launch().name != name).collect();
            for worker in others.iter().filter(|worker| worker.is_alive()) {
                end(worker).await?;
            }
            rig.probe(Instant::now(), LIMIT).await?;
            for worker in &others {
                worker.start()?;
            }
            rig.probe(Instant::now(), LIMIT).await?;
            let heir = dice.one(&others).context("there is nobody else")?.process().launch().name;
            let mut injury = Injury::now(format!("{name}, then {heir}"), Recovery::HandOver);
            for worker in others.iter().filter(|worker| worker.process().launch().name != heir) {
                end(worker).await?;
            }
            // Only one is left that can have the task.
            injury.since = Instant::now();
            end(owner).await?;
            Ok(injury)
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let own = rig.world.services.values().filter(|process| process.service() == self.service);
            for worker in own.filter(|worker| !worker.is_alive()) {
                worker.start()?;
            }
            let spares = rig.spares.values().filter(|process| process.service() == self.service);
            for spare in spares.filter(|spare| spare.is_alive()) {
                end(spare).await?;
            }
            Ok(())
        })
    }
}

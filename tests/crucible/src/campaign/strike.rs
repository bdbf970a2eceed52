//! One fault: drawn, injected, endured, healed, measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{IMPATIENCE, PAUSE, Running, short};
use crate::fault::{Injury, Recovery};
use crate::findings::Invariant;
use crate::plan::{self, Quota};
use crate::report::{Kind, Mark};
use crate::rig::LIMIT;

/// A kind that could not be injected so often is not tried again where each is wanted once.
const ATTEMPTS: u64 = 3;
/// So many reasons are kept for each kind.
const REASONS: usize = 5;

impl Running<'_> {
    /// What is still wanted.
    pub(super) fn quotas(&self) -> Vec<Quota> {
        let failed = |name: &str| self.failed.get(name).copied().unwrap_or_default();
        let injected = |name: &str| self.campaign.kinds.get(name).is_some_and(|kind| kind.count > 0);
        let wanted = |name: &str| !self.each || (!injected(name) && failed(name) < ATTEMPTS);
        let quota = |name: String, wanted: u64| Quota { name, wanted: if self.each { 1 } else { wanted } };
        let open = self.faults.iter().filter(|f| wanted(&f.name()));
        open.map(|f| quota(f.name(), f.wanted())).collect()
    }

    /// One fault, from the draw to the commit that shows that work goes on.
    pub(super) async fn strike(&mut self) -> Result<()> {
        let quotas = self.quotas();
        // One that cannot be injected here must not be drawn for ever.
        let done: BTreeMap<String, u64> = if self.each {
            self.failed.clone()
        } else {
            self.campaign.kinds.iter().map(|(name, kind)| (name.clone(), kind.count + kind.not_injected)).collect()
        };
        let drawn = plan::next(&quotas, &done, &mut self.dice).context("there is no fault to inject")?.name.clone();
        let at = self.faults.iter().position(|f| f.name() == drawn).context("the fault is gone")?;
        let beats = self.dice.number(1..=25);
        let progressed = self.pulse.after(beats, IMPATIENCE).await;
        let (seconds, trigger) = (self.chronicle.seconds(), if progressed { "commits" } else { "clock" });
        let fault = &self.faults[at];
        let injected = fault.inject(self.rig, &mut self.dice).await;
        let mut injury = match injected {
            Ok(injury) => injury,
            Err(error) => return self.not_injected(at, &error).await,
        };
        let measured = self.endure(at, &mut injury).await;
        for (invariant, wrong) in injury.looks.drain(..) {
            self.findings.look(invariant, wrong.map(|text| format!("{drawn}: {text}")));
        }
        let recovery = measured.as_ref().ok().map(Duration::as_secs_f64);
        self.count(at, &injury, recovery);
        let text = match recovery {
            Some(recovery) => format!("{drawn} ({}): {} {recovery:.2} s", injury.victim, injury.recovery.name()),
            None => format!("{drawn} ({}): work does NOT go on", injury.victim),
        };
        let hold = injury.hold.as_secs_f64();
        self.chronicle.note(
            "fault",
            &text,
            json!({ "fault": drawn, "victim": injury.victim, "after": beats, "trigger": trigger, "hold": hold,
                    "struck_at": seconds, "recovery": recovery }),
        );
        match measured {
            Ok(_) => self.findings.fine(Invariant::Recovers, 1),
            Err(error) => {
                self.findings
                    .broken(Invariant::Recovers, format!("{drawn} ({}): {}", injury.victim, short(&error, 400)));
                return Err(error.context(format!("go on after {drawn} ({})", injury.victim)));
            }
        }
        Ok(())
    }

    /// Holds, heals, and measures how work went on.
    async fn endure(&self, at: usize, injury: &mut Injury) -> Result<Duration> {
        let rig = self.rig;
        let rest_of = |injury: &Injury| injury.hold.saturating_sub(injury.since.elapsed());
        Ok(match injury.recovery {
            Recovery::Restart | Recovery::TakeOver | Recovery::FailOver => {
                let measured = rig.probe(injury.since, LIMIT).await?;
                tokio::time::sleep(rest_of(injury)).await;
                self.heal(at, injury).await?;
                rig.probe(Instant::now(), LIMIT).await?;
                measured
            }
            Recovery::Management => {
                let measured = rig.managed(injury.since).await?;
                tokio::time::sleep(rest_of(injury)).await;
                self.heal(at, injury).await?;
                rig.probe(Instant::now(), LIMIT).await?;
                measured
            }
            Recovery::HandOver => {
                rig.probe(injury.since, LIMIT).await?;
                let measured = self.pulse.longest_pause(injury.since, Instant::now());
                self.heal(at, injury).await?;
                rig.probe(Instant::now(), LIMIT).await?;
                measured
            }
            Recovery::Pause => {
                tokio::time::sleep(rest_of(injury)).await;
                let measured = self.pulse.longest_pause(injury.since, Instant::now());
                if injury.must_flow {
                    let rested = self.pulse.longest_rest(injury.since, Instant::now());
                    let wrong = (rested > PAUSE).then(|| format!("{}: no commit for {rested:?}", injury.victim));
                    self.findings.look(Invariant::FlowsWithoutZookeeper, wrong);
                }
                self.heal(at, injury).await?;
                rig.probe(Instant::now(), LIMIT).await?;
                measured.max(self.pulse.longest_pause(injury.since, Instant::now()))
            }
            Recovery::Outage => {
                tokio::time::sleep(rest_of(injury)).await;
                self.heal(at, injury).await?;
                rig.probe(Instant::now(), LIMIT).await?
            }
        })
    }

    /// Undoes a fault; where that fails, everything is put right by other means, and it is written down.
    async fn heal(&self, at: usize, injury: &mut Injury) -> Result<()> {
        let Err(error) = self.faults[at].heal(self.rig, injury).await else { return Ok(()) };
        let (name, why) = (self.faults[at].name(), short(&error, 400));
        self.chronicle.note("unhealed", &format!("{name}: {why:.200}"), json!({ "fault": name, "why": why }));
        injury.kept.clear();
        self.rig.mend().await.with_context(|| format!("mend what {name} left"))
    }

    /// It could not be injected: what it left half-way is undone, and it is counted with its reason. It is no fault of the
    /// product's unless work does not go on.
    async fn not_injected(&mut self, at: usize, error: &anyhow::Error) -> Result<()> {
        let (name, why) = (self.faults[at].name(), short(error, 300));
        self.chronicle.note(
            "not done",
            &format!("{name}: {why:.200}"),
            json!({ "not_injected": name, "why": short(error, 4_000) }),
        );
        let kind = self.kind(at, Recovery::Outage);
        kind.not_injected += 1;
        if kind.reasons.len() < REASONS && !kind.reasons.contains(&why) {
            kind.reasons.push(why);
        }
        *self.failed.entry(name.clone()).or_default() += 1;
        self.run.not_injected += 1;
        // Who is struck is not known: what a heal cannot do without that, mending does.
        let _ = self.faults[at].heal(self.rig, &mut Injury::of_nobody()).await;
        self.rig.mend().await.context("mend what a fault left half-way")?;
        if let Err(error) = self.rig.probe(Instant::now(), LIMIT).await {
            self.findings.broken(Invariant::Recovers, format!("after a half-injected {name}: {}", short(&error, 400)));
            bail!("work does not go on after a half-injected {name}: {error:#}");
        }
        Ok(())
    }

    fn kind(&mut self, at: usize, recovery: Recovery) -> &mut Kind {
        let fault = &self.faults[at];
        self.campaign.kinds.entry(fault.name()).or_insert_with(|| Kind {
            family: fault.family(),
            about: fault.about(),
            wanted: fault.wanted(),
            recovery,
            count: 0,
            not_injected: 0,
            reasons: Vec::new(),
            times: Vec::new(),
        })
    }

    fn count(&mut self, at: usize, injury: &Injury, recovery: Option<f64>) {
        let measured = recovery.map(|r| (r * 10_000.0).round() / 10_000.0);
        let kind = self.kind(at, injury.recovery);
        kind.recovery = injury.recovery;
        kind.count += 1;
        kind.times.extend(measured);
        self.run.faults += 1;
        let fault = &self.faults[at];
        let struck = injury.since.saturating_duration_since(self.began).as_secs_f64();
        self.run.marks.push(Mark {
            at: struck,
            name: fault.name(),
            family: fault.family(),
            victim: injury.victim.clone(),
            recovery: measured,
        });
    }
}

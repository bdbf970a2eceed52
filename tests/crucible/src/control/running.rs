//! How each control is run: what is done, and who must see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lutra_harness::mysql::{connect, execute};
use lutra_harness::process::ProcessId;
use lutra_harness::services::Service;
use mysql_async::prelude::Queryable;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Control, Names};
use crate::campaign::{self, PAUSE, Working, Works, short};
use crate::chronicle::Chronicle;
use crate::fault::crash::restart_with;
use crate::findings::{Findings, Invariant};
use crate::ground::Ground;
use crate::report::{Campaign, ControlOutcome};
use crate::rig::{LIMIT, Rig};
use crate::watch::audit::{Auditor, Subject};
use crate::watch::conserved::{Counted, Verdict};
use crate::watch::flat::Lives;
use crate::watch::health::{Monitor, Record, STALL};
use crate::watch::resources::{self, BOUND, Usage};
use crate::watch::sampler::Sampled;
use crate::watch::{Sampler, conserved, named, rest};
use crate::workload::Pace;

/// Workloads that controls need.
const WORKLOADS: [&str; 3] = ["bank", "hot", "tpcc"];
/// So long a spoilt state stays, for a sampler of fifty looks a second.
const SEEN_BY_THEN: Duration = Duration::from_millis(900);

/// Runs the controls, each with findings of its own, and writes down which were caught.
///
/// # Errors
/// When one cannot be run.
pub async fn run(
    ground: &Arc<Ground>,
    controls: &[Control],
    seed: u64,
    stop: &CancellationToken,
    chronicle: &Chronicle,
    campaign: &mut Campaign,
) -> Result<()> {
    let (gentle, ruinous): (Vec<Control>, Vec<Control>) =
        controls.iter().copied().partition(|control| !control.ruins());
    if !gentle.is_empty() {
        let (rig, works) = campaign::open(ground, "controls", &WORKLOADS.map(str::to_owned)).await?;
        for control in gentle {
            if stop.is_cancelled() {
                return Ok(());
            }
            let findings = Findings::default();
            one(control, &rig, &works, seed, &findings)
                .await
                .with_context(|| format!("the control {}", control.name()))?;
            conclude(control, &findings, chronicle, campaign);
        }
        campaign::clear(&rig, &works).await?;
    }
    for control in ruinous {
        if stop.is_cancelled() {
            return Ok(());
        }
        let findings = Findings::default();
        let (rig, works) = campaign::open(ground, control.name(), &["bank".to_owned()]).await?;
        ruin(control, &rig, &works, seed, &findings)
            .await
            .with_context(|| format!("the control {}", control.name()))?;
        conclude(control, &findings, chronicle, campaign);
    }
    Ok(())
}

fn conclude(control: Control, findings: &Findings, chronicle: &Chronicle, campaign: &mut Campaign) {
    let all = findings.all();
    let standing = all.get(&control.expected()).cloned().unwrap_or_default();
    let caught = standing.violations > 0;
    let seen = standing.examples.first().cloned().unwrap_or_else(|| format!("{:?}", findings.violated()));
    let seen: String = seen.chars().take(300).collect();
    let said = if caught { "caught" } else { "NOT CAUGHT" };
    chronicle.note(
        "control",
        &format!("{}: {said}: {seen:.120}", control.name()),
        json!({ "control": control.name(), "caught": caught }),
    );
    let outcome = ControlOutcome { about: control.about().to_owned(), expected: control.expected(), caught, seen };
    campaign.controls.insert(control.name().to_owned(), outcome);
}

/// A control that leaves its cluster as it was.
async fn one(control: Control, rig: &Rig, works: &Works, seed: u64, findings: &Findings) -> Result<()> {
    let names = Names::of(rig, works);
    let subject = Subject { task: names.task.clone(), bank: Some(names.bank.clone()), hot: Some(names.hot.clone()) };
    let mut auditor = Auditor::begin(&rig.world.target_url, subject).await?;
    let copy = Sampled {
        url: rig.world.target_url.clone(),
        task: names.task.clone(),
        workloads: campaign::works("controls", &WORKLOADS.map(str::to_owned)),
    };
    let sampler = Sampler::start(copy, findings.clone());
    let working = Working::start(rig, works, seed, 1_000 + control as u64, &Pace::default());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let done = match control {
        Control::Stalled => stalled(rig, &sampler, &names, findings).await,
        Control::Paused => paused(rig, &sampler, findings).await,
        Control::Gone => gone(rig, findings).await,
        Control::Unnamed => {
            findings.look(Invariant::Named, named::unnamed(&rig.status().await?, &["source_behind_log".to_owned()]));
            Ok(())
        }
        Control::Bounded => {
            let processes = rig.world.services.iter().map(|(name, s)| (name.clone(), s.process().id()));
            let bound = Usage { mib: 1, ..BOUND };
            resources::look(processes, &mut BTreeMap::new(), &mut Lives::default(), bound, findings);
            Ok(())
        }
        Control::Leaking => leaking(findings).await,
        _ => Ok(()),
    };
    working.stop().await?;
    done?;
    rig.world.caught_up(LIMIT).await?;
    if let Some([spoil, undo]) = control.by_hand(&names) {
        // What is there and right is seen before it is spoilt: one look at least.
        tokio::time::sleep(SEEN_BY_THEN).await;
        execute(&rig.world.target_url, &[&spoil]).await?;
        tokio::time::sleep(SEEN_BY_THEN).await;
        // A loader that commits meanwhile would take the slot row for another owner's.
        let hurried = matches!(control, Control::SlotBack | Control::EpochBack);
        if hurried {
            execute(&rig.world.target_url, &[&undo]).await?;
        }
        rest::look_at(rig, Some(&names.bank), &mut auditor, findings).await?;
        if !hurried {
            execute(&rig.world.target_url, &[&undo]).await?;
        }
    }
    if control == Control::Unconserved {
        let before = conserved::counters(rig).await?;
        rig.probe(Instant::now(), LIMIT).await?;
        rig.world.caught_up(LIMIT).await?;
        let mut after = conserved::counters(rig).await?;
        // One less for who has applied something in between.
        let more =
            |name: &String, counted: &Counted| before.workers.get(name).is_some_and(|b| b.applied < counted.applied);
        if let Some((_, counted)) = after.workers.iter_mut().find(|(name, counted)| more(name, counted)) {
            counted.applied -= 1;
        }
        let wrong = match conserved::between(&before, &after) {
            Verdict::Wrong(text) => Some(text),
            Verdict::Conserved(_) | Verdict::Changed(_) => None,
        };
        findings.look(Invariant::Conserved, wrong);
    }
    sampler.finish().await;
    Ok(())
}

/// Work stands still while the watcher is shown what was before.
async fn stalled(rig: &Rig, sampler: &Sampler, names: &Names, findings: &Findings) -> Result<()> {
    let shown = Some(rig.status().await?);
    let mut conn = connect(&rig.world.target_url).await?;
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM lutra.slot WHERE task = '{}' FOR UPDATE) AS s",
        names.task
    ))
    .await?;
    let monitor = Monitor {
        rig,
        bank: Some(names.bank.clone()),
        pulse: Arc::clone(&sampler.pulse),
        findings: findings.clone(),
        bound: BOUND,
        record: Arc::new(Mutex::new(Record::default())),
        shown,
        pace: Pace::default(),
    };
    let stop = CancellationToken::new();
    let limit = async {
        tokio::time::sleep(STALL + Duration::from_secs(5)).await;
        stop.cancel();
    };
    tokio::join!(monitor.run(Instant::now(), stop.clone()), limit);
    conn.query_drop("ROLLBACK").await?;
    conn.disconnect().await.context("let the slot rows go")
}

/// A process that keeps what it opens, watched as a service is.
async fn leaking(findings: &Findings) -> Result<()> {
    const MINUTE: Duration = Duration::from_millis(100);
    const MINUTES: u32 = 70;
    let leak = "for i in $(seq 400); do exec {kept}</dev/null; sleep 0.05; done";
    let mut process =
        std::process::Command::new("bash").args(["-c", leak]).spawn().context("start a process that leaks")?;
    let id = i32::try_from(process.id()).ok().and_then(ProcessId::of).context("it is gone")?;
    let mut lives = Lives::in_minutes_of(MINUTE);
    for _ in 0..MINUTES * 2 {
        tokio::time::sleep(MINUTE / 2).await;
        if let Some(usage) = Usage::of(id) {
            lives.saw("a process that leaks", id, usage);
        }
    }
    process.kill().and_then(|()| process.wait()).context("end it")?;
    lives.judge(findings);
    Ok(())
}

/// All loaders, frozen; `false` wakes them.
fn freeze_loaders(rig: &Rig, frozen: bool) -> Result<()> {
    let loaders = rig.world.services.values().filter(|s| s.service() == Service::Loader);
    for loader in loaders {
        if frozen { loader.freeze()? } else { loader.thaw()? }
    }
    Ok(())
}

async fn paused(rig: &Rig, sampler: &Sampler, findings: &Findings) -> Result<()> {
    let since = Instant::now();
    freeze_loaders(rig, true)?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pause = sampler.pulse.longest_pause(since, Instant::now());
    freeze_loaders(rig, false)?;
    let wrong = (pause > PAUSE).then(|| format!("no commit for {pause:?}"));
    findings.look(Invariant::FlowsWithoutZookeeper, wrong);
    rig.probe(Instant::now(), LIMIT).await.map(drop)
}

async fn gone(rig: &Rig, findings: &Findings) -> Result<()> {
    freeze_loaders(rig, true)?;
    let arrived = rig.probe(Instant::now(), Duration::from_secs(3)).await;
    freeze_loaders(rig, false)?;
    findings.look(Invariant::Recovers, arrived.err().map(|error| short(&error, 100)));
    rig.probe(Instant::now(), LIMIT).await.map(drop)
}

/// A control behind which the target is wrong for good.
async fn ruin(control: Control, rig: &Rig, works: &Works, seed: u64, findings: &Findings) -> Result<()> {
    let names = Names::of(rig, works);
    let subject = Subject { task: names.task.clone(), bank: Some(names.bank.clone()), hot: None };
    let mut auditor = Auditor::begin(&rig.world.target_url, subject).await?;
    let working = Working::start(rig, works, seed, 2_000 + control as u64, &Pace::default());
    rig.probe(Instant::now(), LIMIT).await?;
    let owner = rig.owner(Service::Loader).await?;
    if control == Control::Fence {
        restart_with(owner, &[("LUTRA_BREAK_RULE", "fence")])?;
        rig.probe(Instant::now(), LIMIT).await?;
        let take = format!("UPDATE lutra.slot SET attempt = attempt + 1000 WHERE task = '{}'", names.task);
        execute(&rig.world.target_url, &[&take]).await?;
        // What is committed now is committed without a checkpoint.
        tokio::time::sleep(Duration::from_secs(1)).await;
    } else {
        let crash = [("LUTRA_CRASH_POINT", "before-commit:5"), ("LUTRA_BREAK_RULE", "checkpoint-in-transaction")];
        restart_with(owner, &crash)?;
        owner.wait(LIMIT).await.context("the place was not reached")?;
    }
    restart_with(owner, &[])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    working.stop().await?;
    // It may not catch up any more: a doubled row is a conflict.
    let _ = rig.world.caught_up(Duration::from_secs(10)).await;
    auditor.read_on(findings).await
}

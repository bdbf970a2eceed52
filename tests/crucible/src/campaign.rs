//! The run: work, faults, rests.

mod strike;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql::execute;
use lutra_harness::services::Profile;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chronicle::Chronicle;
use crate::fault::{self, Fault, Need};
use crate::findings::{self, Findings, Invariant};
use crate::ground::{Form, Ground};
use crate::plan::Dice;
use crate::report::{Campaign, Run};
use crate::rig::{LIMIT, Rig};
use crate::watch::audit::{Auditor, Subject};
use crate::watch::conserved::Verdict;
use crate::watch::health::{Monitor, Record};
use crate::watch::resources::BOUND;
use crate::watch::sampler::Sampled;
use crate::watch::{Pulse, Sampler, conserved, rest};
use crate::workload::{self, Leg, Pace, Workload};

/// Without progress for so long a fault strikes all the same; it is written down that it did.
const IMPATIENCE: Duration = Duration::from_secs(15);
/// While something is away that must not be missed, commits may pause for so long.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);
/// How long work goes on without faults, for the services' own counters.
const UNDISTURBED: Duration = Duration::from_secs(5);
/// So many such stretches are tried, should workers not live through them.
const STRETCHES: usize = 3;

/// What takes part in a run.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Names of workloads.
    pub workloads: Vec<String>,
    /// Names of faults.
    pub faults: Vec<String>,
}

/// How long a run is.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Minutes.
    pub minutes: Option<f64>,
    /// Faults.
    pub faults: Option<u64>,
    /// Until every kind was injected once, in this run or those that it goes on with.
    pub each: bool,
    /// Faults between two rests.
    pub rest_every: u64,
    /// How many times as long writers rest.
    pub slower: u32,
    /// Told when somebody wants it to end: it does at the next rest.
    pub stop: CancellationToken,
}

impl Choice {
    /// What the names choose; everything that is on by default where there are none.
    ///
    /// # Errors
    /// When a name chooses nothing, or only what this machine or this form of the rig cannot do.
    pub fn of(workloads: &[String], faults: &[String], form: Form) -> Result<Self> {
        let all = workload::all();
        let mut chosen: Vec<String> = Vec::new();
        for name in workloads {
            ensure!(all.iter().any(|w| w.name() == name), "there is no workload {name}; --list says which there are");
            chosen.push(name.clone());
        }
        if chosen.is_empty() {
            chosen = all.iter().filter(|w| w.by_default()).map(|w| w.name().to_owned()).collect();
        }
        Ok(Self { workloads: chosen, faults: chosen_faults(faults, form)? })
    }
}

impl Choice {
    /// Whether one of the faults needs this.
    #[must_use]
    pub fn needs(&self, need: Need) -> bool {
        fault::all().iter().any(|fault| fault.needs() == Some(need) && self.faults.contains(&fault.name()))
    }
}

fn chosen_faults(names: &[String], form: Form) -> Result<Vec<String>> {
    let all = fault::all();
    let barred = |f: &dyn Fault| f.unable().or_else(|| f.lacks(form).map(str::to_owned));
    if names.is_empty() {
        let on = all.iter().filter(|f| f.by_default() && barred(f.as_ref()).is_none());
        return Ok(on.map(|f| f.name()).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let fits = |f: &&dyn Fault| f.name().starts_with(name.as_str()) || f.family().name() == name;
        let found: Vec<&dyn Fault> = all.iter().map(AsRef::as_ref).filter(fits).collect();
        ensure!(!found.is_empty(), "there is no fault {name}; --list says which there are");
        let able: Vec<String> = found.iter().filter(|f| barred(**f).is_none()).map(|f| f.name()).collect();
        let why = found.first().and_then(|f| barred(*f)).unwrap_or_default();
        ensure!(!able.is_empty(), "{name}: {why}");
        chosen.extend(able.into_iter().filter(|n| !chosen.contains(n)).collect::<Vec<_>>());
    }
    Ok(chosen)
}

/// The beginning of an error with its causes: logs may hang on it.
pub(crate) fn short(error: &anyhow::Error, most: usize) -> String {
    format!("{error:#}").replace('\n', " ").chars().take(most).collect()
}

/// Seconds since the epoch.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Workloads with their databases.
pub(crate) type Works = Vec<(Box<dyn Workload>, String)>;

/// The named workloads, in databases of a name's own.
pub(crate) fn works(prefix: &str, names: &[String]) -> Works {
    let wanted = workload::all().into_iter().filter(|w| names.iter().any(|n| n == w.name()));
    wanted
        .map(|w| {
            let db = format!("{prefix}_{}", w.name());
            (w, db)
        })
        .collect()
}

/// The database of a workload, if it takes part.
pub(crate) fn database(works: &Works, name: &str) -> Option<String> {
    works.iter().find(|(w, _)| w.name() == name).map(|(_, db)| db.clone())
}

/// A cluster with its workloads made and brought to the target.
pub(crate) async fn open(ground: &Arc<Ground>, name: &str, names: &[String]) -> Result<(Rig, Works)> {
    let works = works(&name.replace('-', "_"), names);
    let databases: Vec<String> = works.iter().map(|(_, db)| db.clone()).collect();
    let rig = Rig::start(ground, name, &databases).await?;
    for (work, db) in &works {
        rig.world.execute(&[&format!("DROP DATABASE IF EXISTS `{db}`"), &format!("CREATE DATABASE `{db}`")]).await?;
        let made = work.create(&rig.world.source_url, db).await;
        made.with_context(|| format!("make the tables of the workload {}", work.name()))?;
    }
    rig.world.caught_up(LIMIT).await?;
    Ok((rig, works))
}

/// Work under way between two rests.
pub(crate) struct Working {
    stop: CancellationToken,
    writers: Vec<JoinHandle<Result<u64>>>,
}

impl Working {
    /// Starts all writers.
    pub(crate) fn start(rig: &Rig, works: &Works, seed: u64, number: u64, pace: &Pace) -> Self {
        let stop = CancellationToken::new();
        let writers = works.iter().map(|(work, db)| {
            let (url, database) = (rig.world.source_url.clone(), db.clone());
            let writing = work.run(Leg { url, database, seed, number, stop: stop.clone(), pace: pace.clone() });
            #[allow(clippy::disallowed_methods, reason = "the run's own tasks, joined in `stop`")]
            let writer = tokio::spawn(writing);
            writer
        });
        Self { writers: writers.collect(), stop }
    }

    /// Stops them; transactions that committed.
    pub(crate) async fn stop(self) -> Result<u64> {
        self.stop.cancel();
        let mut done = 0;
        for writer in self.writers {
            done += writer.await.context("a writer")??;
        }
        Ok(done)
    }
}

/// A run of a campaign.
struct Running<'c> {
    rig: &'c Rig,
    works: &'c Works,
    faults: Vec<Box<dyn Fault>>,
    dice: Dice,
    seed: u64,
    chronicle: &'c Chronicle,
    findings: Findings,
    pulse: Arc<Pulse>,
    pace: Pace,
    auditor: Auditor,
    run: Run,
    campaign: &'c mut Campaign,
    began: Instant,
    /// How often a kind could not be injected in this run.
    failed: BTreeMap<String, u64>,
    each: bool,
}

/// Runs until the budget is spent, and adds what was found to the campaign.
///
/// # Errors
/// When work does not go on after a fault, or the run itself cannot: what it found is in the campaign all the same.
pub async fn run(
    ground: &Arc<Ground>,
    choice: &Choice,
    budget: &Budget,
    seed: u64,
    chronicle: &Chronicle,
    campaign: &mut Campaign,
) -> Result<()> {
    chronicle
        .say("start", format!("workloads {}; {} kinds of faults", choice.workloads.join(", "), choice.faults.len()));
    let (rig, works) = open(ground, "crucible", &choice.workloads).await?;
    let faults: Vec<_> = fault::all().into_iter().filter(|f| choice.faults.contains(&f.name())).collect();
    for fault in &faults {
        fault.prepare(&rig).await.with_context(|| format!("prepare {}", fault.name()))?;
    }
    campaign.unable = fault::all().into_iter().filter_map(|f| Some((f.name(), f.unable()?))).collect();
    chronicle.say("form", ground.form.words());
    let (bank, hot) = (database(&works, "bank"), database(&works, "hot"));
    let subject = Subject { task: rig.load_task(), bank: bank.clone(), hot };
    let auditor = Auditor::begin(&rig.world.target_url, subject).await?;
    let findings = Findings::default();
    let copy = Sampled {
        url: rig.world.target_url.clone(),
        task: rig.load_task(),
        workloads: self::works("crucible", &choice.workloads),
    };
    let sampler = Sampler::start(copy, findings.clone());
    let (pulse, began, record) = (Arc::clone(&sampler.pulse), Instant::now(), Arc::new(Mutex::new(Record::default())));
    let (stop, pace) = (CancellationToken::new(), Pace::slowed(budget.slower));
    let monitor = Monitor {
        rig: &rig,
        bank: bank.clone(),
        pulse: Arc::clone(&pulse),
        findings: findings.clone(),
        bound: BOUND,
        record: Arc::clone(&record),
        shown: None,
        pace: pace.clone(),
    };
    let mut running = Running {
        rig: &rig,
        works: &works,
        faults,
        dice: Dice::new(seed),
        seed,
        chronicle,
        findings: findings.clone(),
        pulse: Arc::clone(&pulse),
        pace: pace.clone(),
        auditor,
        run: Run {
            seed,
            began_at: now(),
            workloads: choice.workloads.clone(),
            form: ground.form.words(),
            ..Run::default()
        },
        campaign,
        began,
        failed: BTreeMap::new(),
        each: budget.each,
    };
    let watching = monitor.run(began, stop.clone());
    let working = async {
        let done = running.legs(budget).await;
        stop.cancel();
        done
    };
    let (done, ()) = tokio::join!(working, watching);
    sampler.finish().await;
    if done.is_err() {
        keep_evidence(&rig, chronicle.folder()).await;
    }
    let record = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
    running.close(record, &done);
    done
}

impl Running<'_> {
    async fn legs(&mut self, budget: &Budget) -> Result<()> {
        let limit = match (budget.minutes, budget.faults) {
            (None, None) if !budget.each => Some(5.0),
            (minutes, _) => minutes,
        };
        let spent = |running: &Self| {
            budget.stop.is_cancelled()
                || limit.is_some_and(|minutes| running.began.elapsed().as_secs_f64() >= minutes * 60.0)
                || budget.faults.is_some_and(|faults| running.run.faults >= faults)
                || running.quotas().is_empty()
        };
        let mut number = 1;
        while !spent(self) {
            let working = Working::start(self.rig, self.works, self.seed, number, &self.pace);
            let mut struck = Ok(());
            for _ in 0..budget.rest_every {
                if spent(self) {
                    break;
                }
                struck = self.strike().await;
                if struck.is_err() {
                    break;
                }
            }
            let stopped = working.stop().await;
            struck?;
            self.run.transactions += stopped?;
            self.rest(number).await?;
            number += 1;
        }
        self.undisturbed(number).await
    }

    async fn rest(&mut self, number: u64) -> Result<()> {
        let before = self.findings.violated();
        let bank = database(self.works, "bank");
        rest::look(self.rig, bank.as_deref(), &mut self.auditor, &self.findings).await?;
        self.run.rests += 1;
        let after = self.findings.violated();
        let text = format!(
            "rest {number}: {}, {} commits read, {} samples",
            if after == before { "equal" } else { "VIOLATED" },
            self.auditor.commits,
            self.pulse.samples()
        );
        self.chronicle.note("rest", &text, json!({ "rest": number, "violated": after }));
        // A run that is itself killed has told what it found until here.
        let (mut so_far, mut run) = (self.campaign.clone(), self.run.clone());
        run.seconds = self.began.elapsed().as_secs_f64();
        (run.samples, run.commits, run.rows) = (self.pulse.samples(), self.auditor.commits, self.auditor.rows);
        findings::add(&mut so_far.invariants, &self.findings.all());
        so_far.runs.push(run);
        so_far.write(self.chronicle.folder())?;
        for (work, db) in self.works {
            work.rest(&self.rig.world.source_url, db).await?;
        }
        Ok(())
    }

    /// A stretch without faults: what was read is what was applied. Where a worker was started again meanwhile nothing can
    /// be said, and another stretch says it.
    async fn undisturbed(&mut self, mut number: u64) -> Result<()> {
        let mut changes = Vec::new();
        while changes.len() < STRETCHES {
            self.rig.world.caught_up(LIMIT).await?;
            let before = conserved::counters(self.rig).await?;
            let working = Working::start(self.rig, self.works, self.seed, number, &self.pace);
            tokio::time::sleep(UNDISTURBED).await;
            self.run.transactions += working.stop().await?;
            self.rest(number).await?;
            // Tidying up at the rest wrote something too.
            self.rig.world.caught_up(LIMIT).await?;
            let after = conserved::counters(self.rig).await?;
            number += 1;
            match conserved::between(&before, &after) {
                Verdict::Conserved(rows) => {
                    self.chronicle.say("conserved", format!("{rows} rows read, and as many applied"));
                    self.findings.fine(Invariant::Conserved, 1);
                    return Ok(());
                }
                Verdict::Wrong(text) => {
                    self.findings.broken(Invariant::Conserved, text);
                    return Ok(());
                }
                Verdict::Changed(text) => {
                    self.chronicle.say("restarted", format!("workers in a stretch without faults: {text}"));
                    changes.push(text);
                }
            }
        }
        let text = format!("workers ended in {STRETCHES} stretches without faults: {}", changes.join("; "));
        self.findings.broken(Invariant::Conserved, text);
        Ok(())
    }

    fn close(&mut self, record: Record, done: &Result<()>) {
        let run = &mut self.run;
        run.seconds = self.began.elapsed().as_secs_f64();
        run.profile = if Profile::from_env() == Profile::Debug { "debug" } else { "release" }.to_owned();
        run.processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        run.load = load.split_whitespace().nth(2).unwrap_or_default().to_owned();
        (run.samples, run.commits, run.rows) = (self.pulse.samples(), self.auditor.commits, self.auditor.rows);
        run.timeline = record.seconds;
        run.peaks = record.peaks;
        run.trends = record.lives.judge(&self.findings);
        run.broken_off = done.as_ref().err().map(|error| format!("{error:#}"));
        findings::add(&mut self.campaign.invariants, &self.findings.all());
        self.campaign.runs.push(std::mem::take(run));
    }
}

/// What a person wants to see who looks for the cause: what Lutra says of itself, and the logs of services and servers.
async fn keep_evidence(rig: &Rig, folder: &Path) {
    let logs = folder.join("logs");
    let _ = std::fs::create_dir_all(&logs);
    let services = rig.world.services.iter().map(|(name, service)| (name.as_str(), service.process()));
    let servers = rig.ground.stack.servers().map(|server| (server.name(), server.process()));
    for (name, process) in services.chain(servers) {
        let _ = std::fs::copy(process.launch().log, logs.join(format!("{name}.log")));
    }
    let status = match rig.status().await {
        Ok(status) => format!("{status:#}"),
        Err(error) => format!("{error:#}"),
    };
    let _ = std::fs::write(logs.join("status.json"), status);
}

/// Empties databases of a cluster that is done with, on both sides.
pub(crate) async fn clear(rig: &Rig, works: &Works) -> Result<()> {
    for db in works.iter().map(|(_, db)| db).chain([&rig.database]) {
        let drop = format!("DROP DATABASE IF EXISTS `{db}`");
        execute(&rig.world.source_url, &[&drop]).await?;
        execute(&rig.world.target_url, &[&drop]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_families_and_beginnings_choose_faults() {
        let of = |names: &[&str], form| chosen_faults(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), form);
        let chosen = |names: &[&str]| of(names, Form::default());
        assert_eq!(chosen(&["kill-loader"]).unwrap(), ["kill-loader"]);
        assert_eq!(chosen(&["kill-loader", "kill-"]).unwrap().len(), 4);
        assert_eq!(chosen(&["kafka"]).unwrap().len(), 8);
        assert!(chosen(&["broker-killed"]).is_err_and(|e| e.to_string().contains("--brokers 3")));
        let three = Form { brokers: 3, ..Form::default() };
        assert_eq!(of(&["broker-killed"], three).unwrap(), ["broker-killed"]);
        assert!(of(&["kafka-killed"], three).is_err());
        assert!(chosen(&["nonsense"]).is_err());
        assert!(chosen(&[]).unwrap().len() > 30);
    }

    #[test]
    fn workloads_are_chosen_by_name() {
        assert_eq!(Choice::of(&["hot".to_owned()], &[], Form::default()).unwrap().workloads, ["hot"]);
        assert!(Choice::of(&["cold".to_owned()], &[], Form::default()).is_err());
        assert!(Choice::of(&[], &[], Form::default()).unwrap().needs(Need::Replica));
        assert!(!Choice::of(&[], &["kill-".to_owned()], Form::default()).unwrap().needs(Need::Replica));
        assert!(!Choice::of(&[], &[], Form::default()).unwrap().workloads.contains(&"giants".to_owned()));
    }
}

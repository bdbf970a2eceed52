//! Every fault we can make, on the real servers, and what became of the data: `cargo xtask crucible`.
//!
//! A *campaign* writes [`workload`]s at a source and injects [`fault`]s into services, servers and links, one after the
//! other, as a seed draws them ([`plan`]); a fault strikes when the target has made some progress, not when a clock says
//! so. Meanwhile [`watch`]ers hold committed states of the target against what must be true of them ([`findings`]):
//! fifty samples a second, every single commit in the target's own binlog, and both sides row by row at each rest. What
//! was found and how fast work went on adds up over runs in one file and one page ([`report`]). A [`control`] spoils
//! something on purpose: the run that has it must fail.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod campaign;
pub mod chronicle;
pub mod control;
pub mod fault;
pub mod findings;
pub mod ground;
pub mod plan;
pub mod report;
pub mod rig;
pub mod statistics;
pub mod watch;
pub mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lutra_harness::Flavour;
use tokio_util::sync::CancellationToken;

use crate::campaign::{Budget, Choice};
use crate::chronicle::Chronicle;
use crate::control::Control;
use crate::fault::Need;
use crate::ground::{Form, Ground};
use crate::report::Campaign;

/// Inject faults into real servers and services, and hold the target against the source.
///
/// Exit codes: 0 everything held, 1 something did not (of --control: it was caught, as it must be), 2 the run itself failed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask crucible", bin_name = "cargo xtask crucible", max_term_width = 110)]
pub struct Arguments {
    /// How long [default: 5 minutes]
    #[arg(long, value_name = "N", conflicts_with = "faults")]
    pub minutes: Option<f64>,
    /// How many faults
    #[arg(long, value_name = "N")]
    pub faults: Option<u64>,
    /// Every kind of fault once, in an order that is drawn
    #[arg(long, conflicts_with_all = ["minutes", "faults"])]
    pub each: bool,
    /// Repeats the choices of a run [default: another one each time; it is printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only these workloads (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub workload: Vec<String>,
    /// Only these faults, by name, family or the beginning of a name (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub fault: Vec<String>,
    /// How many brokers: with 3, faults of several brokers take the place of those of a single one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = one_or_three)]
    pub brokers: u32,
    /// How many ZooKeeper servers: the same
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = one_or_three)]
    pub zookeepers: u32,
    /// Whose server the target is
    #[arg(long, value_name = "SERVER", default_value = "mysql", value_parser = ["mysql", "mariadb"])]
    pub target: String,
    /// Where the report goes [default: crucible in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Go on with the campaign in that folder: counts add up
    #[arg(long)]
    pub resume: bool,
    /// Run nothing: add up what the campaigns of these folders have found, in the folder of --report
    #[arg(long, value_name = "DIR", requires = "report", conflicts_with_all = ["minutes", "faults", "each", "controls"])]
    pub add: Vec<PathBuf>,
    /// Faults between two rests
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub rest_every: u64,
    /// The writers rest so many times as long: where several rigs share a machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub slower: u32,
    /// Say what there is, and what of it this machine can do
    #[arg(long)]
    pub list: bool,
    /// Only this negative control (may be given several times): the run must fail
    #[arg(long, value_name = "NAME", conflicts_with_all = ["minutes", "faults", "each"])]
    pub control: Vec<String>,
    /// Behind the faults all negative controls, each of which must be caught
    #[arg(long)]
    pub controls: bool,
}

fn one_or_three(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| matches!(n, 1 | 3)).ok_or_else(|| "1 or 3".to_owned())
}

impl Arguments {
    /// The form of the rig, as far as it is told.
    fn form(&self) -> Form {
        let target = if self.target == "mariadb" { Flavour::MariaDb } else { Flavour::MySql };
        Form { brokers: self.brokers, zookeepers: self.zookeepers, target, ..Form::default() }
    }
}

/// What this process mounts goes with it, however it ends: to be called before there is a second thread.
pub fn own_mounts() {
    fault::disk::own_mounts();
}

/// Says on standard error what goes on.
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Does what it is told; whether everything held.
///
/// # Errors
/// When the run itself fails: what it found until then is written.
pub async fn run(arguments: Arguments) -> Result<bool> {
    let mut form = arguments.form();
    if arguments.list {
        list(form);
        return Ok(true);
    }
    if let (Some(folder), false) = (&arguments.report, arguments.add.is_empty()) {
        return add_up(folder, &arguments);
    }
    let choice = Choice::of(&arguments.workload, &arguments.fault, form)?;
    let controls = chosen_controls(&arguments)?;
    let folder = match &arguments.report {
        Some(folder) => folder.clone(),
        None => lutra_harness::services::target_folder()?.join("crucible").join(stamp()),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut campaign = Campaign::open(&folder, arguments.resume)?;
    let chronicle = Chronicle::open(&folder.join("decisions.jsonl"), false)?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    chronicle.note("run", &format!("seed {seed}"), serde_json::json!({ "seed": seed }));
    let stop = stopped_by_hand();
    let only_controls = !arguments.control.is_empty();
    form.replica = !only_controls && choice.needs(Need::Replica);
    form.clocks = !only_controls && choice.needs(Need::Clocks);
    form.spares = !only_controls && choice.needs(Need::Spares);
    form.certificates = !only_controls && choice.needs(Need::Certificates);
    let ground = Arc::new(Ground::start(form).await?);
    let mut done = Ok(());
    if !only_controls {
        let Arguments { minutes, faults, each, rest_every, slower, .. } = arguments;
        let budget = Budget { minutes, faults, each, rest_every, slower, stop: stop.clone() };
        done = campaign::run(&ground, &choice, &budget, seed, &chronicle, &mut campaign).await;
    }
    if done.is_ok() && !controls.is_empty() {
        done = control::run(&ground, &controls, seed, &stop, &chronicle, &mut campaign).await;
    }
    let written = campaign.write(&folder);
    // The file system under the target goes before its folder does.
    for server in ground.stack.servers() {
        server.kill()?;
    }
    fault::let_go();
    println!("{}", campaign.verdict());
    println!("{}", folder.join(report::HTML).display());
    done.and(written)?;
    let failed_as_it_must = only_controls && campaign.controls.values().any(|control| control.caught);
    Ok(campaign.holds() && !failed_as_it_must)
}

/// Adds campaigns up, without a run.
fn add_up(folder: &Path, arguments: &Arguments) -> Result<bool> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut sum = Campaign::open(folder, arguments.resume)?;
    for other in &arguments.add {
        ensure!(other.join(report::JSON).is_file(), "{} holds no campaign", other.display());
        sum.add(Campaign::open(other, true)?);
    }
    // What is wanted of a kind, and what it is, are this version's words.
    for fault in fault::all() {
        if let Some(kind) = sum.kinds.get_mut(&fault.name()) {
            (kind.wanted, kind.about) = (fault.wanted(), fault.about());
        }
    }
    sum.write(folder)?;
    println!("{}", sum.verdict());
    Ok(sum.holds())
}

/// Told at Ctrl-C or SIGTERM; the second one ends it at once, and all servers and services with it.
fn stopped_by_hand() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    #[allow(clippy::disallowed_methods, reason = "it ends with the process")]
    tokio::spawn(async move {
        if by_hand().await.is_ok() {
            note("ending at the next rest; the campaign goes on with --resume");
            told.cancel();
        }
        if by_hand().await.is_ok() {
            std::process::exit(130);
        }
    });
    stop
}

async fn by_hand() -> std::io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminated.recv() => Ok(()),
    }
}

fn chosen_controls(arguments: &Arguments) -> Result<Vec<Control>> {
    if arguments.controls {
        return Ok(Control::ALL.to_vec());
    }
    let named = |name: &String| {
        let found = Control::ALL.into_iter().find(|control| control.name() == name.as_str());
        found.with_context(|| format!("there is no control {name}; --list says which there are"))
    };
    arguments.control.iter().map(named).collect()
}

/// Seconds since the epoch, as the name of a folder.
fn stamp() -> String {
    campaign::now().to_string()
}

fn list(form: Form) {
    println!("workloads:");
    for workload in workload::all() {
        println!("  {:<28} {}", workload.name(), workload.about());
    }
    println!("faults:");
    for fault in fault::all() {
        println!("  {:<28} {:<13} {}", fault.name(), fault.family().name(), fault.about());
        if let Some(why) = fault.unable().or_else(|| fault.lacks(form).map(str::to_owned)) {
            println!("  {:<28} not here: {why}", "");
        }
    }
    println!("invariants:");
    for invariant in findings::Invariant::ALL {
        println!("  {:<28} {}", invariant.name(), invariant.words());
    }
    println!("controls:");
    for control in Control::ALL {
        println!("  {:<28} {}", control.name(), control.about());
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_run_is_as_long_as_it_is_told_in_one_way() {
        assert!(Arguments::try_parse_from(["c", "--minutes", "3", "--seed", "4", "--controls"]).is_ok());
        assert!(Arguments::try_parse_from(["c", "--minutes", "3", "--faults", "9"]).is_err());
        assert!(Arguments::try_parse_from(["c", "--each", "--faults", "9"]).is_err());
        assert!(Arguments::try_parse_from(["c", "--report", "d", "--add", "a", "--add", "b"]).is_ok());
        assert!(Arguments::try_parse_from(["c", "--add", "a"]).is_err());
        assert!(Arguments::try_parse_from(["c", "--control", "torn", "--faults", "9"]).is_err());
        let form = |words: &[&str]| Arguments::try_parse_from(words).map(|arguments| arguments.form());
        assert!(
            form(&["c", "--brokers", "3", "--target", "mariadb"]).is_ok_and(|f| f.brokers == 3 && f.zookeepers == 1)
        );
        assert!(form(&["c", "--brokers", "2"]).is_err());
    }
}

//! The report in Markdown: figures without plots, to be kept beside the code.

use std::fmt::Write;

use super::Campaign;
use crate::findings::Invariant;
use crate::statistics::Distribution;
use crate::watch::flat::Trend;

/// The whole report.
pub(super) fn page(campaign: &Campaign) -> String {
    let mut text = format!("# What was measured under faults\n\n```\n{}```\n", campaign.verdict());
    text += "\n## What must hold\n\n| invariant | looked at | violated |\n|---|---:|---:|\n";
    for invariant in Invariant::ALL {
        let standing = campaign.invariants.get(&invariant).cloned().unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {} |", invariant.name(), standing.looks, standing.violations);
    }
    if !campaign.controls.is_empty() {
        text += "\n## Negative controls: each must be caught\n\n| control | must be seen as | |\n|---|---|---|\n";
        for (name, control) in &campaign.controls {
            let caught = if control.caught { "caught" } else { "**not caught**" };
            let _ = writeln!(text, "| {name} | {} | {caught} |", control.expected.name());
        }
    }
    text += "\n## Recovery, in seconds\n\n| what | n | p50 | p90 | p99 | max | aim for p99 |\n|---|---:|---:|---:|---:|---:|---:|\n";
    for (recovery, times) in campaign.recoveries() {
        let aim = recovery.aim().map(|aim| aim.to_string()).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {aim} |", recovery.name(), figures(&times));
    }
    text += &kinds(campaign);
    text += "\n## Runs\n\n| seed | servers | workloads | build | seconds | faults | not injected | rests | transactions | commits read |\n|---|---|---|---|---:|---:|---:|---:|---:|---:|\n";
    for run in &campaign.runs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} | {} | {} | {} | {} | {} |",
            run.seed,
            run.form,
            run.workloads.join(" "),
            run.profile,
            run.seconds,
            run.faults,
            run.not_injected,
            run.rests,
            run.transactions,
            run.commits
        );
    }
    text += &trends(campaign);
    for run in campaign.runs.iter().filter(|run| run.broken_off.is_some()) {
        let why = run.broken_off.as_deref().and_then(|why| why.lines().next()).unwrap_or_default();
        let _ = writeln!(text, "\nThe run with seed {} was broken off: {why}", run.seed);
    }
    text
}

/// What became of what processes had that lived for an hour: behind their start, in their last minute, and by the fitted line.
fn trends(campaign: &Campaign) -> String {
    let lives: Vec<(u64, &Trend)> = campaign.runs.iter().flat_map(|r| r.trends.iter().map(|t| (r.seed, t))).collect();
    if lives.is_empty() {
        return String::new();
    }
    let mut text = "\n## Processes that lived for an hour\n\n| seed | process | minutes | MiB | descriptors | connections | threads |\n\
                    |---|---|---:|---|---|---|---|\n"
        .to_owned();
    for (seed, trend) in lives {
        let _ = writeln!(text, "| {seed} | {} | {} | {} |", trend.process, trend.minutes, trend.words().join(" | "));
    }
    text
}

fn kinds(campaign: &Campaign) -> String {
    let mut text = "\n## By kind\n\n| fault | injected | not injected | measured | n | p50 | p90 | p99 | max |\n\
                    |---|---:|---:|---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (name, kind) in &campaign.kinds {
        let (times, measured) = (Distribution::of(&kind.times), kind.recovery.name());
        let _ =
            writeln!(text, "| {name} | {} | {} | {measured} | {} |", kind.count, kind.not_injected, figures(&times));
    }
    for (name, kind) in campaign.kinds.iter().filter(|(_, kind)| !kind.reasons.is_empty()) {
        let _ = writeln!(text, "\nNot injected: {name}: {}", kind.reasons.join("; "));
    }
    for (name, why) in &campaign.unable {
        let _ = writeln!(text, "\nNot on this machine: {name}: {why}");
    }
    text
}

fn figures(seen: &Distribution) -> String {
    format!("{} | {:.2} | {:.2} | {:.2} | {:.2}", seen.count, seen.p50, seen.p90, seen.p99, seen.max)
}

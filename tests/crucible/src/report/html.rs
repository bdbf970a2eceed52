//! The page for people: one file that fetches nothing.

use std::fmt::Write;

use super::plot::{Line, Strip, Stroke, escaped, over_time, strips};
use super::{Campaign, Run};
use crate::fault::{Family, Recovery};
use crate::findings::Invariant;
use crate::statistics::Distribution;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}td,th{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:left;\
    vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:#060}.bad{color:#b00;font-weight:bold}\
    svg{width:100%;height:auto;margin:.3em 0 1em}svg text{font-size:11px;fill:currentColor}svg .end{text-anchor:end}svg .mid{text-anchor:middle}\
    svg .grid{stroke:#ddd}.small{color:#666;font-size:13px}";

fn colour(family: Family) -> &'static str {
    match family {
        Family::Process => "#1f6fb2",
        Family::Coordination => "#8a3fb0",
        Family::Kafka => "#444444",
        Family::Source => "#2a8c4a",
        Family::Target => "#c26a00",
        Family::Network => "#b02a5b",
        Family::Disk => "#7a5c00",
        Family::Resources => "#00838f",
    }
}

/// The whole page.
pub(super) fn page(campaign: &Campaign) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Lutra: what was measured under faults</title>\
         <style>{STYLE}</style></head><body><h1>What was measured under faults</h1>"
    );
    let class = if campaign.holds() { "good" } else { "bad" };
    let _ = write!(page, "<pre class=\"{class}\">{}</pre>", escaped(&campaign.verdict()));
    page += &invariants(campaign);
    page += &controls(campaign);
    page += &recoveries(campaign);
    page += &kinds(campaign);
    page += &runs(campaign);
    page += &unable(campaign);
    page + "</body></html>\n"
}

fn invariants(campaign: &Campaign) -> String {
    let mut text = "<h2>What must hold</h2><table><tr><th>invariant<th class=\"n\">looked at<th class=\"n\">violated<th>what it says</tr>".to_owned();
    for invariant in Invariant::ALL {
        let standing = campaign.invariants.get(&invariant).cloned().unwrap_or_default();
        let class = match (standing.violations, standing.looks) {
            (0, 0) => "",
            (0, _) => "good",
            _ => "bad",
        };
        let looks = if standing.looks == 0 { "never".to_owned() } else { standing.looks.to_string() };
        let _ = write!(
            text,
            "<tr><td>{}<td class=\"n\">{looks}<td class=\"n {class}\">{}<td>{}",
            invariant.name(),
            standing.violations,
            invariant.words()
        );
        standing
            .examples
            .iter()
            .for_each(|example| text += &format!("<br><span class=\"bad\">{}</span>", escaped(example)));
        text += "</tr>";
    }
    text + "</table>"
}

fn controls(campaign: &Campaign) -> String {
    if campaign.controls.is_empty() {
        return "<h2>Negative controls</h2><p>None were run: <code>--controls</code> runs them.</p>".to_owned();
    }
    let mut text = "<h2>Negative controls</h2><p>Each spoils something; the run that has it must fail.</p>\
                    <table><tr><th>control<th>what is spoilt<th>must be seen by<th>caught<th>what was seen</tr>"
        .to_owned();
    for (name, control) in &campaign.controls {
        let (class, caught) = if control.caught { ("good", "yes") } else { ("bad", "NO") };
        let _ = write!(
            text,
            "<tr><td>{}<td>{}<td>{}<td class=\"{class}\">{caught}<td class=\"small\">{}</tr>",
            escaped(name),
            escaped(&control.about),
            control.expected.name(),
            escaped(&control.seen)
        );
    }
    text + "</table>"
}

fn figures(seen: &Distribution) -> String {
    let cell = |seconds: f64| format!("<td class=\"n\">{seconds:.2}");
    format!("<td class=\"n\">{}{}{}{}{}", seen.count, cell(seen.p50), cell(seen.p90), cell(seen.p99), cell(seen.max))
}

fn recoveries(campaign: &Campaign) -> String {
    let words = |recovery: Recovery| match recovery {
        Recovery::Restart => "killed and started again at once on the same host: kill to commit of a change made then",
        Recovery::TakeOver => "another worker takes over: fault to commit of a change made then",
        Recovery::HandOver => "planned: longest pause between two commits",
        Recovery::FailOver => {
            "another server of the source takes the writes: from then to commit of a change made then"
        }
        Recovery::Outage => "something lasts and ends: its end to commit of a change made then",
        Recovery::Pause => "something lasts: longest pause between two commits",
        Recovery::Management => "a manager goes: until one answers",
    };
    let mut text = "<h2>How fast work goes on</h2><p>Seconds.</p><table><tr><th>what<th class=\"n\">n<th class=\"n\">p50<th class=\"n\">p90\
                    <th class=\"n\">p99<th class=\"n\">max<th class=\"n\">aim for p99</tr>"
        .to_owned();
    for (recovery, seen) in campaign.recoveries() {
        let aim = match recovery.aim() {
            None => "<td class=\"n\">".to_owned(),
            Some(aim) => {
                format!("<td class=\"n {}\">{aim:.0}", if seen.p99 <= aim || seen.count == 0 { "good" } else { "bad" })
            }
        };
        let _ = write!(
            text,
            "<tr><td>{}<br><span class=\"small\">{}</span>{}{aim}</tr>",
            recovery.name(),
            words(recovery),
            figures(&seen)
        );
    }
    text += "</table>";
    let rows: Vec<Strip<'_>> = campaign
        .kinds
        .iter()
        .filter(|(_, kind)| !kind.times.is_empty())
        .map(|(name, kind)| Strip { name, colour: colour(kind.family), times: &kind.times, aim: kind.recovery.aim() })
        .collect();
    text + &strips(&rows)
}

fn kinds(campaign: &Campaign) -> String {
    let mut text = "<h2>Faults</h2><table><tr><th>kind<th class=\"n\">wanted<th class=\"n\">injected<th class=\"n\">n<th class=\"n\">p50\
                    <th class=\"n\">p90<th class=\"n\">p99<th class=\"n\">max<th>measured</tr>"
        .to_owned();
    for (name, kind) in &campaign.kinds {
        let missed = match kind.not_injected {
            0 => String::new(),
            n => format!("<br><span class=\"small\">{n} could not be: {}</span>", escaped(&kind.reasons.join("; "))),
        };
        let _ = write!(
            text,
            "<tr><td><span style=\"color:{}\">&#9679;</span> {}<br><span class=\"small\">{}</span><td class=\"n\">{}<td class=\"n\">{}{missed}{}<td>{}</tr>",
            colour(kind.family),
            escaped(name),
            escaped(&kind.about),
            kind.wanted,
            kind.count,
            figures(&Distribution::of(&kind.times)),
            kind.recovery.name()
        );
    }
    text + "</table>"
}

fn runs(campaign: &Campaign) -> String {
    let mut text = "<h2>Runs</h2>".to_owned();
    for run in &campaign.runs {
        let _ = write!(
            text,
            "<h3>Seed {}</h3><p>{} s, {} build, {} processors, load {}; {} faults ({} could not be injected), {} rests, {} transactions \
             at the source, {} commits and {} row changes read in the target's binlog, {} states sampled. Workloads: {}.</p>",
            run.seed,
            run.seconds.round(),
            escaped(&run.profile),
            run.processors,
            escaped(&run.load),
            run.faults,
            run.not_injected,
            run.rests,
            run.transactions,
            run.commits,
            run.rows,
            run.samples,
            escaped(&run.workloads.join(", "))
        );
        if let Some(why) = &run.broken_off {
            let _ = write!(text, "<pre class=\"bad\">broken off: {}</pre>", escaped(why));
        }
        text += &plots(run);
        text += &peaks(run);
    }
    text
}

fn plots(run: &Run) -> String {
    let strokes = || -> Vec<Stroke> {
        let title = |m: &super::Mark| match m.recovery {
            Some(seconds) => format!("{} ({}): {seconds:.2} s", m.name, m.victim),
            None => format!("{} ({})", m.name, m.victim),
        };
        run.marks.iter().map(|m| Stroke { at: m.at, colour: colour(m.family), title: title(m) }).collect()
    };
    let of = |value: fn(&crate::watch::health::Second) -> Option<f64>| -> Vec<(f64, f64)> {
        run.timeline.iter().filter_map(|s| Some((s.at, value(s)?))).collect()
    };
    let commits = Line { name: "commits of the target", colour: "#1f6fb2", points: of(|s| Some(s.commits as f64)) };
    let waiting = Line {
        name: "transfers not yet in the target",
        colour: "#b02a5b",
        points: of(|s| s.waiting.map(|n| n.max(0) as f64)),
    };
    let memory = Line { name: "memory of all services", colour: "#2a8c4a", points: of(|s| Some(s.mib as f64)) };
    let plot = |line: Line, titled: bool, unit: &str| over_time(&[line], &strokes(), titled, run.seconds, unit);
    let pace = Line { name: "rest of the writers", colour: "#8a3fb0", points: of(|s| Some(f64::from(s.pace))) };
    let plots =
        [plot(commits, true, "1/s"), plot(waiting, false, ""), plot(memory, false, "MiB"), plot(pace, false, "%")];
    plots.concat()
}

fn peaks(run: &Run) -> String {
    let mut text = "<table><tr><th>process<th class=\"n\">most MiB<th class=\"n\">most descriptors<th class=\"n\">most connections<th class=\"n\">most threads</tr>".to_owned();
    for (name, peak) in &run.peaks {
        let _ = write!(
            text,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escaped(name),
            peak.mib,
            peak.descriptors,
            peak.connections,
            peak.threads
        );
    }
    text += "</table>";
    if !run.trends.is_empty() {
        text += "<table><tr><th>lived for an hour<th>minutes<th>MiB<th>descriptors<th>connections<th>threads</tr>";
    }
    for trend in &run.trends {
        let words = trend.words().join("<td>");
        let _ = write!(text, "<tr><td>{}<td>{}<td>{words}</tr>", escaped(&trend.process), trend.minutes);
    }
    text + if run.trends.is_empty() { "" } else { "</table>" }
}

fn unable(campaign: &Campaign) -> String {
    if campaign.unable.is_empty() {
        return String::new();
    }
    let mut text = "<h2>Not done on this machine</h2><ul>".to_owned();
    for (name, why) in &campaign.unable {
        let _ = write!(text, "<li>{}: {}</li>", escaped(name), escaped(why));
    }
    text + "</ul>"
}

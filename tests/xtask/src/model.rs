//! `cargo xtask model`: the protocol's models, checked by spin.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use lutra_harness::Home;
use lutra_harness::home::repository;
use lutra_harness::install::ensure_spin;
use lutra_harness::process::describe;

use crate::consent::Consent;

/// Memory that a search may take, in MiB.
const MEMORY_MIB: u32 = 3_000;
const LARGE_MEMORY_MIB: u32 = 16_000;
/// A search that takes longer is unfinished.
const PATIENCE: Duration = Duration::from_secs(300);
const LARGE_PATIENCE: Duration = Duration::from_secs(3_600);

/// Which models.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only cases whose line holds one of these
    filters: Vec<String>,
    /// Also the large cases: minutes to an hour each, up to 16 GB
    #[arg(long)]
    large: bool,
    #[command(flatten)]
    consent: Consent,
}

/// What a search says of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Every state was visited, and no assertion broke.
    Holds,
    /// An assertion broke.
    Fails,
    /// Out of time or memory.
    Unfinished,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Unfinished => "unfinished",
        })
    }
}

/// A line of `docs/model/cases.txt`.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    wanted: Verdict,
    large: bool,
    model: String,
    options: Vec<String>,
}

/// What spin's searcher printed.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    states: u64,
    broken: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = repository().join("docs/model");
    let text = fs::read_to_string(folder.join("cases.txt")).context("read docs/model/cases.txt")?;
    let mut cases = parse(&text)?;
    cases.retain(|case| {
        let line = case.to_string();
        (arguments.large || !case.large)
            && (arguments.filters.is_empty() || arguments.filters.iter().any(|filter| line.contains(filter.as_str())))
    });
    let home = Home::from_env();
    arguments.consent.ask(&home)?;
    let spin = ensure_spin(&home, &|line| eprintln!("{line}"))?;
    let mut wrong = 0;
    for case in &cases {
        let began = Instant::now();
        let outcome = check(&spin, &folder, case).with_context(|| format!("check {case}"))?;
        let good = outcome.verdict == case.wanted;
        wrong += usize::from(!good);
        println!(
            "{:<5} {:<10} {:>10} states {:>5.1} s  {case}{}",
            if good { "ok" } else { "WRONG" },
            outcome.verdict,
            outcome.states,
            began.elapsed().as_secs_f64(),
            outcome.broken.map(|what| format!("\n      {what}")).unwrap_or_default(),
        );
    }
    println!("models: {} cases, {wrong} not as wanted", cases.len());
    if wrong == 0 && !cases.is_empty() { Ok(()) } else { bail!("the models and docs/model/cases.txt disagree") }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.model, self.options.join(" "))
    }
}

/// `holds|fails small|large MODEL OPTION…`; `#` begins a comment.
fn parse(text: &str) -> Result<Vec<Case>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let wanted = match words.next() {
                Some("holds") => Verdict::Holds,
                Some("fails") => Verdict::Fails,
                _ => bail!("cases.txt: `{line}` begins neither with `holds` nor with `fails`"),
            };
            let large = match words.next() {
                Some("small") => false,
                Some("large") => true,
                _ => bail!("cases.txt: `{line}` is neither small nor large"),
            };
            let model = words.next().ok_or_else(|| anyhow!("cases.txt: `{line}` names no model"))?.to_owned();
            Ok(Case { wanted, large, model, options: words.map(str::to_owned).collect() })
        })
        .collect()
}

/// Makes a searcher of the model and runs it to its end.
fn check(spin: &Path, folder: &Path, case: &Case) -> Result<Outcome> {
    let work = tempfile::tempdir().context("make a folder to work in")?;
    fs::copy(folder.join(&case.model), work.path().join(&case.model)).context("copy the model")?;
    step(Command::new(spin).args(&case.options).arg("-a").arg(&case.model), work.path(), "spin")?;
    let memory = if case.large { LARGE_MEMORY_MIB } else { MEMORY_MIB };
    let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compile.args(["-O2", "-w", "-DSAFETY", "-DCOLLAPSE"]).arg(format!("-DMEMLIM={memory}"));
    step(compile.args(["-o", "pan", "pan.c"]), work.path(), "the C compiler")?;
    let patience = if case.large { LARGE_PATIENCE } else { PATIENCE };
    let mut search = Command::new("timeout");
    search.arg(patience.as_secs().to_string()).arg(work.path().join("pan")).arg("-m400000");
    let output = search.current_dir(work.path()).stdin(Stdio::null()).output().context("start the search")?;
    Ok(read_outcome(&String::from_utf8_lossy(&output.stdout)))
}

fn step(command: &mut Command, folder: &Path, what: &str) -> Result<()> {
    let output = command.current_dir(folder).stdin(Stdio::null()).output().with_context(|| format!("start {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{what} {}: {}", describe(Some(output.status)), String::from_utf8_lossy(&said).trim())
}

fn read_outcome(text: &str) -> Outcome {
    let broken = text.lines().find_map(|line| line.strip_prefix("pan:1: "));
    let states = text.lines().find_map(|line| line.trim().strip_suffix(" states, stored")?.trim().parse().ok());
    let whole = !text.contains("max search depth too small") && !text.contains("out of memory");
    let verdict =
        if broken.is_some_and(|what| what.contains("assertion violated") || what.contains("invalid end state")) {
            Verdict::Fails
        } else if whole && text.contains("errors: 0") {
            Verdict::Holds
        } else {
            Verdict::Unfinished
        };
    let broken = broken.map(|what| what.split(" (at depth").next().unwrap_or(what).to_owned());
    Outcome { verdict, states: states.unwrap_or(0), broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_is_wanted_its_size_the_model_and_options() {
        let cases = parse("# a comment\n\nholds small log.pml -DS=2\nfails large log.pml -DNO_EPOCH -DN=1\n").unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!((cases[0].wanted, cases[0].large), (Verdict::Holds, false));
        assert_eq!(cases[1].to_string(), "log.pml -DNO_EPOCH -DN=1");
        assert!(parse("maybe small log.pml").is_err() && parse("holds log.pml").is_err());
    }

    #[test]
    fn a_search_that_was_cut_off_is_neither_right_nor_wrong() {
        let holds = "State-vector 36 byte, depth reached 15, errors: 0\n      299 states, stored\n";
        let outcome = read_outcome(holds);
        assert_eq!((outcome.verdict, outcome.states), (Verdict::Holds, 299));
        assert_eq!(read_outcome("pan: out of memory\nerrors: 0").verdict, Verdict::Unfinished);
        assert_eq!(read_outcome("").verdict, Verdict::Unfinished);
        let fails = read_outcome("pan:1: assertion violated (runs==1) (at depth 12)\nerrors: 1\n");
        assert_eq!(fails.verdict, Verdict::Fails);
        assert_eq!(fails.broken.as_deref(), Some("assertion violated (runs==1)"));
    }
}

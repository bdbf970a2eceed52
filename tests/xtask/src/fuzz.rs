//! `cargo xtask fuzz`: coverage-guided fuzzing with libFuzzer, from the kept corpus.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use lutra_harness::home::repository;
use lutra_harness::services::target_folder;

/// Memory that a target may take, in MiB, and what one allocation may.
const MEMORY_MIB: u32 = 1_024;
const ALLOCATION_MIB: u32 = 256;
/// An input that takes longer is a finding.
const SECONDS_PER_INPUT: u32 = 10;

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these targets [default: all, one after the other]
    target: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Put what was found worth keeping into the kept corpus, at its smallest
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let fuzz = repository().join("fuzz");
    // The same versions of everything as the workspace.
    std::fs::copy(repository().join("Cargo.lock"), fuzz.join("engine/Cargo.lock")).context("copy Cargo.lock")?;
    let targets = if arguments.target.is_empty() { all(&fuzz)? } else { arguments.target.clone() };
    let mut failed = Vec::new();
    for target in &targets {
        println!("fuzzing {target} for {} s", arguments.seconds);
        if !fuzz_one(&fuzz, target, arguments)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("findings in {}: see fuzz/engine/artifacts", failed.join(", ")) }
}

/// The targets are the folders of the corpus.
fn all(fuzz: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fuzz.join("corpus")).context("read fuzz/corpus")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs one target in a corpus of its own that begins with the kept one; says whether it ended without a finding.
fn fuzz_one(fuzz: &std::path::Path, target: &str, arguments: &Arguments) -> Result<bool> {
    let kept = fuzz.join("corpus").join(target);
    if !kept.is_dir() {
        bail!("there is no target {target}");
    }
    let working: PathBuf = target_folder()?.join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&working).with_context(|| format!("make {}", working.display()))?;
    let mut command = engine(fuzz, "run", target)?;
    command.args([&working, &kept]).arg("--").arg(format!("-max_total_time={}", arguments.seconds));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-malloc_limit_mb={ALLOCATION_MIB}"));
    command.arg(format!("-timeout={SECONDS_PER_INPUT}")).arg("-print_final_stats=1");
    if !command.status().context("start cargo fuzz")?.success() {
        return Ok(false);
    }
    if arguments.keep {
        let mut merge = engine(fuzz, "run", target)?;
        let merged = merge.args([&kept, &working]).args(["--", "-merge=1"]).status().context("start cargo fuzz")?;
        return Ok(merged.success());
    }
    Ok(true)
}

/// `cargo fuzz` with the nightly compiler: without a sanitizer, since no code of ours is unsafe.
fn engine(fuzz: &std::path::Path, verb: &str, target: &str) -> Result<Command> {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", verb, "--fuzz-dir"]).arg(fuzz.join("engine")).args([
        "--sanitizer",
        "none",
        target,
    ]);
    command.env("CARGO_TARGET_DIR", target_folder()?.join("fuzz")).stdin(Stdio::null());
    Ok(command)
}

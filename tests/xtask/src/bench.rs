//! `cargo xtask bench`: builds release programs and hands over to the benchmarks, which need what xtask itself must not.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use lutra_harness::Home;
use lutra_harness::services::{Binaries, Profile, cargo, target_folder};

use crate::consent::Consent;

/// Which benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    consent: Consent,
    /// decode, extract, transform, load, drain, copy or latency, with its options: see `cargo xtask bench drain --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "BENCH")]
    bench: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    // `--yes` may stand behind the benchmark too.
    let (yes, bench): (Vec<_>, Vec<_>) =
        arguments.bench.iter().partition(|word| matches!(word.as_str(), "--yes" | "-y"));
    let consent = Consent { yes: arguments.consent.yes || !yes.is_empty() };
    let installation = consent.install(&home)?;
    Binaries::build(installation.tools(), Profile::Release)?;
    let mut build = cargo(installation.tools());
    build.args(["build", "--release", "--package", "lutra-bench"]);
    let built = build.stdin(Stdio::null()).status().context("start cargo to build the benchmarks")?;
    if !built.success() {
        bail!("the benchmarks could not be built");
    }
    let mut command = std::process::Command::new(target_folder()?.join("release").join("lutra-bench"));
    command.args(bench).env("LUTRA_PROFILE", "release").env("LUTRA_HOME", home.root());
    let status = command.stdin(Stdio::null()).status().context("start the benchmark")?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}

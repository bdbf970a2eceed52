//! `cargo xtask test`: the test suite on real servers.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use lutra_harness::services::{Binaries, Profile, cargo};
use lutra_harness::{Home, Installation, Stack, StackSpec};

use crate::consent::Consent;

/// Which tests.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what ends in minutes
    #[arg(long, conflicts_with = "slow")]
    fast: bool,
    /// Only the long scenarios
    #[arg(long)]
    slow: bool,
    /// Only the tests of this package (may be given several times)
    #[arg(long, short = 'p', value_name = "PACKAGE")]
    package: Vec<String>,
    /// Only tests whose names hold one of these
    filters: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Where the long scenarios are, each marked `#[ignore]`.
const SLOW_PACKAGE: &str = "lutra-scenarios";

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    let installation = arguments.consent.install(&home)?;
    build(arguments, &installation)?;
    // Dies with this process; the tests that can share use it.
    let stack = Stack::start(&installation, StackSpec::pair("suite").relaxed()).await?;
    let done = tokio::task::block_in_place(|| run_both(arguments, &installation, &stack));
    stack.down()?;
    done
}

/// The scenarios run the services' programs. For the whole workspace everything is built at once, as `cargo test` does
/// it: building the programs alone chooses other features of shared crates and would compile those twice.
fn build(arguments: &Arguments, installation: &Installation) -> Result<()> {
    let profile = Profile::from_env();
    if profile == Profile::Debug && arguments.package.is_empty() && !arguments.slow {
        let mut command = cargo(installation.tools());
        command.args(["build", "--locked", "--workspace", "--all-targets"]);
        let status = command.stdin(Stdio::null()).status().context("start cargo build")?;
        if !status.success() {
            bail!("the build failed");
        }
    } else if arguments.slow
        || arguments.package.is_empty()
        || arguments.package.iter().any(|name| name == SLOW_PACKAGE)
    {
        Binaries::build(installation.tools(), profile)?;
    }
    Ok(())
}

fn run_both(arguments: &Arguments, installation: &Installation, stack: &Stack) -> Result<()> {
    let fast = if arguments.slow { Ok(()) } else { run_suite(arguments, installation, stack, false) };
    let slow = if arguments.fast { Ok(()) } else { run_suite(arguments, installation, stack, true) };
    fast.and(slow)
}

fn run_suite(arguments: &Arguments, installation: &Installation, stack: &Stack, slow: bool) -> Result<()> {
    let mut command = cargo(installation.tools());
    command.args(["test", "--locked", "--no-fail-fast"]);
    match (slow, arguments.package.as_slice()) {
        (true, _) => command.args(["--package", SLOW_PACKAGE]),
        (false, []) => command.arg("--workspace"),
        (false, packages) => command.args(packages.iter().flat_map(|name| ["--package", name])),
    };
    command.arg("--").args(&arguments.filters);
    if slow {
        // One at a time: they stop servers, measure times and fill memory.
        command.args(["--ignored", "--test-threads", "1"]);
    }
    command.envs(stack.env()).env("LUTRA_STACK", stack.name()).env("LUTRA_HOME", installation.home().root());
    let status = command.stdin(Stdio::null()).status().context("start cargo test")?;
    if !status.success() {
        bail!("the {} tests failed", if slow { "slow" } else { "fast" });
    }
    Ok(())
}

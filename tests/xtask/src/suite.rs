//! `cargo xtask test`: the test suite on real servers.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use lutra_harness::services::{Binaries, Profile, TEST_FEATURES, cargo};
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
    /// This server, `source` or `target`, is MariaDB (may be given twice)
    #[arg(long, value_name = "SERVER", value_parser = ["source", "target"])]
    mariadb: Vec<String>,
    /// Only tests whose names hold one of these
    filters: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Where the long scenarios are, each marked `#[ignore]`.
const SLOW_PACKAGES: [&str; 3] = ["lutra-scenarios", "lutra-conformance", "xtask"];

/// Tests of single crates against the real servers. They are marked `#[ignore]`, so that a plain `cargo test` needs none.
const SERVER_TESTS: [(&str, &[&str]); 6] = [
    ("lutra-mysql", &["server"]),
    ("lutra-cli", &["binlog"]),
    ("lutra-kafka", &["broker"]),
    ("lutra-extractor", &["extraction"]),
    ("lutra-loader", &["target", "kinds", "exact"]),
    ("lutra-manager", &["control"]),
];

/// The three parts of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Everything that is not marked `#[ignore]`.
    Fast,
    /// [`SERVER_TESTS`].
    Servers,
    /// The long scenarios.
    Slow,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    let installation = arguments.consent.install(&home)?;
    build(arguments, &installation)?;
    // Dies with this process; the tests that can share use it.
    let stack =
        Stack::start(&installation, crate::stack::with_mariadb(StackSpec::pair("suite").relaxed(), &arguments.mariadb))
            .await?;
    let done = tokio::task::block_in_place(|| run_parts(arguments, &installation, &stack));
    stack.down()?;
    done
}

/// The scenarios run the services' programs. For the whole workspace everything is built at once, as `cargo test` does
/// it: building the programs alone chooses other features of shared crates and would compile those twice.
fn build(arguments: &Arguments, installation: &Installation) -> Result<()> {
    let profile = Profile::from_env();
    if profile == Profile::Debug && arguments.package.is_empty() && !arguments.slow {
        let mut command = cargo(installation.tools());
        command.args(["build", "--locked", "--workspace", "--all-targets", "--features", &TEST_FEATURES.join(",")]);
        let status = command.stdin(Stdio::null()).status().context("start cargo build")?;
        if !status.success() {
            bail!("the build failed");
        }
    } else if arguments.slow
        || arguments.package.is_empty()
        || arguments.package.iter().any(|name| SLOW_PACKAGES.contains(&name.as_str()))
    {
        Binaries::build(installation.tools(), profile)?;
    }
    Ok(())
}

fn run_parts(arguments: &Arguments, installation: &Installation, stack: &Stack) -> Result<()> {
    let parts: &[Part] = match (arguments.fast, arguments.slow) {
        (true, _) => &[Part::Fast, Part::Servers],
        (_, true) => &[Part::Slow],
        _ => &[Part::Fast, Part::Servers, Part::Slow],
    };
    // Every part runs, whatever became of the one before: a failure is told with all others.
    parts.iter().map(|part| run_part(*part, arguments, installation, stack)).fold(Ok(()), Result::and)
}

fn run_part(part: Part, arguments: &Arguments, installation: &Installation, stack: &Stack) -> Result<()> {
    let wanted = |name: &str| arguments.package.is_empty() || arguments.package.iter().any(|p| p == name);
    let mut command = cargo(installation.tools());
    command.args(["test", "--locked", "--no-fail-fast"]);
    match part {
        Part::Fast if arguments.package.is_empty() => {
            command.args(["--workspace", "--features", &TEST_FEATURES.join(",")]);
        }
        Part::Fast => {
            command.args(arguments.package.iter().flat_map(|name| ["--package", name]));
            command.args(features_of(arguments.package.iter().map(String::as_str)));
        }
        Part::Servers => {
            let chosen: Vec<_> = SERVER_TESTS.iter().filter(|(name, _)| wanted(name)).collect();
            if chosen.is_empty() {
                return Ok(());
            }
            command.args(chosen.iter().flat_map(|(name, _)| ["--package", name]));
            command.args(chosen.iter().flat_map(|(_, tests)| tests.iter()).flat_map(|test| ["--test", test]));
            command.args(features_of(chosen.iter().map(|(name, _)| *name)));
        }
        Part::Slow => {
            let chosen: Vec<&str> = SLOW_PACKAGES.into_iter().filter(|name| wanted(name)).collect();
            if chosen.is_empty() {
                return Ok(());
            }
            command.args(chosen.iter().flat_map(|name| ["--package", name]));
        }
    }
    command.arg("--").args(&arguments.filters);
    match part {
        Part::Fast => {}
        Part::Servers => {
            command.args(["--ignored", "--test-threads", "2"]);
        }
        // One at a time: they stop servers, measure times and fill memory.
        Part::Slow => {
            command.args(["--ignored", "--test-threads", "1"]);
        }
    }
    command.envs(stack.env()).env("LUTRA_STACK", stack.name()).env("LUTRA_HOME", installation.home().root());
    let status = command.stdin(Stdio::null()).status().context("start cargo test")?;
    if !status.success() {
        bail!("the {} part of the suite failed", format!("{part:?}").to_lowercase());
    }
    Ok(())
}

/// [`TEST_FEATURES`] of the chosen packages: building those without would replace the programs that the scenarios run.
fn features_of<'a>(packages: impl Iterator<Item = &'a str>) -> Vec<String> {
    let packages: Vec<&str> = packages.collect();
    let chosen = |feature: &&&str| feature.split('/').next().is_some_and(|name| packages.contains(&name));
    TEST_FEATURES.iter().filter(chosen).flat_map(|feature| ["--features".to_owned(), (*feature).to_owned()]).collect()
}

//! `cargo xtask check`: the gate that CI runs too.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lutra_harness::Home;
use lutra_harness::home::repository;
use lutra_harness::install::Toolchain;
use lutra_harness::process::describe;
use lutra_harness::services::cargo;

use crate::compose;
use crate::consent::Consent;
use crate::edges;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these; all when none is named
    #[arg(value_enum)]
    steps: Vec<Step>,
    /// Write the golden dependency edges anew
    #[arg(long)]
    bless: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// rustfmt changes nothing
    Format,
    /// The dependency edges are those of docs/dependency-edges.txt
    Edges,
    /// compose.yaml and deploy/ say the same as the harness
    Compose,
    /// Licences, sources and bans of deny.toml
    Deny,
    /// Clippy has nothing to say
    Clippy,
    /// The documentation builds without a warning
    Docs,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    let tools = arguments.consent.build_tools(&home)?;
    let chosen = if arguments.steps.is_empty() { Step::value_variants() } else { arguments.steps.as_slice() };
    let mut failed = Vec::new();
    for step in chosen {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("== {name}");
        if let Err(error) = step.run(&tools, &home, arguments.bless) {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("the check failed: {}", failed.join(", "));
    }
    eprintln!("all checks passed");
    Ok(())
}

impl Step {
    fn run(self, tools: &Toolchain, home: &Home, bless: bool) -> Result<()> {
        match self {
            Self::Format => succeed(cargo(tools).args(["fmt", "--all", "--check"])),
            Self::Clippy => {
                let mut command = cargo(tools);
                command.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]);
                succeed(&mut command)
            }
            Self::Deny => deny(tools, home),
            Self::Compose => compose::check(&repository()),
            Self::Edges => check_edges(tools, bless),
            Self::Docs => {
                let mut command = cargo(tools);
                command.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "--deny warnings");
                succeed(&mut command)
            }
        }
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().context("start cargo")?;
    if !status.success() {
        bail!("cargo {}", describe(Some(status)));
    }
    Ok(())
}

fn check_edges(tools: &Toolchain, bless: bool) -> Result<()> {
    let mut command = cargo(tools);
    command.args(["metadata", "--no-deps", "--format-version", "1"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata {}", describe(Some(output.status)));
    }
    edges::check(&output.stdout, &repository().join("docs/dependency-edges.txt"), bless)
}

fn deny(tools: &Toolchain, home: &Home) -> Result<()> {
    let program = cargo_deny(tools, home)?;
    let mut deny = Command::new(program);
    // The database of advisories lies in a foreign repository that a build machine need not reach.
    deny.current_dir(repository()).args(["--locked", "check", "bans", "licenses", "sources"]);
    succeed(&mut deny)
}

/// The machine's own `cargo-deny`, or one that is built once into the home folder.
fn cargo_deny(tools: &Toolchain, home: &Home) -> Result<PathBuf> {
    let own = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if own.is_ok_and(|status| status.success()) {
        return Ok("cargo-deny".into());
    }
    let root = home.dist().join("cargo-deny");
    let program = root.join("bin/cargo-deny");
    let _lock = home.lock("cargo-deny")?;
    if !program.is_file() {
        eprintln!("building cargo-deny into {} (once, some minutes)", root.display());
        let mut command = cargo(tools);
        command.args(["install", "cargo-deny", "--locked", "--quiet", "--debug", "--root"]).arg(&root);
        // It runs for seconds: a quick build is worth more than a quick program.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        // A folder of its own: the workspace's may be named by CARGO_TARGET_DIR.
        command.arg("--target-dir").arg(home.cache().join("cargo-deny-target"));
        succeed(&mut command).context("build cargo-deny")?;
        let _ = std::fs::remove_dir_all(home.cache().join("cargo-deny-target"));
    }
    Ok(program)
}

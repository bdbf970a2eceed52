//! `cargo xtask crucible`: builds the services and hands over to the crucible, which needs what xtask itself must not.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use lutra_harness::Home;
use lutra_harness::services::{Binaries, Profile, cargo, target_folder};

use crate::consent::Consent;

/// Which run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    consent: Consent,
    /// What the crucible takes: see `cargo xtask crucible -- --help`. LUTRA_PROFILE=release measures release programs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let home = Home::from_env();
    // `--yes` may stand behind the options too.
    let (yes, options): (Vec<_>, Vec<_>) =
        arguments.options.iter().partition(|word| matches!(word.as_str(), "--yes" | "-y"));
    let consent = Consent { yes: arguments.consent.yes || !yes.is_empty() };
    let installation = consent.install(&home)?;
    let profile = Profile::from_env();
    Binaries::build_breakable(installation.tools(), profile)?;
    let mut build = cargo(installation.tools());
    build.args(["build", "--package", "lutra-crucible"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    let built = build.stdin(Stdio::null()).status().context("start cargo to build the crucible")?;
    if !built.success() {
        bail!("the crucible could not be built");
    }
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    let mut command = std::process::Command::new(target_folder()?.join(folder).join("lutra-crucible"));
    let profile = if profile == Profile::Release { "release" } else { "debug" };
    command.args(options).env("LUTRA_PROFILE", profile).env("LUTRA_HOME", home.root());
    // In this process's place: Ctrl-C reaches the crucible itself, and its exit code is this command's.
    Err(command.stdin(Stdio::null()).exec()).context("start the crucible")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn options_go_on_to_the_crucible_as_they_are() {
        let words = Words::try_parse_from(["crucible", "--minutes", "3", "--fault", "kill-", "--yes"]);
        let options = words.map(|w| w.arguments.options).unwrap_or_default();
        assert_eq!(options, ["--minutes", "3", "--fault", "kill-", "--yes"]);
    }
}

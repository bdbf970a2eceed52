//! Says what would be downloaded, and asks.

use std::fmt;
use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use clap::Args;
use lutra_harness::install::{Need, Toolchain};
use lutra_harness::{Home, Installation};

/// Whether to ask.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Download what is missing without asking (as when CI=true)
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// Something is missing and was not allowed to be downloaded.
#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was downloaded; add --yes to allow it")
    }
}

impl std::error::Error for Refused {}

impl Consent {
    /// The programs, after a word about what is missing.
    pub(crate) fn install(self, home: &Home) -> Result<Installation> {
        self.ask(home)?;
        Installation::ensure(home, &|line| eprintln!("{line}"))
    }

    /// What cargo needs, without asking for the servers where the machine or the folder has it.
    pub(crate) fn build_tools(self, home: &Home) -> Result<Toolchain> {
        match Installation::build_tools(home)? {
            Some(tools) => Ok(tools),
            None => Ok(self.install(home)?.tools().clone()),
        }
    }

    /// Returns when nothing is missing or it may be downloaded.
    pub(crate) fn ask(self, home: &Home) -> Result<()> {
        let needs = Installation::missing(home);
        if needs.is_empty() {
            return Ok(());
        }
        eprint!("{}", announcement(&needs, home));
        if self.yes || std::env::var("CI").is_ok_and(|value| value == "true") {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Refused.into());
        }
        eprint!("Go on? [Y/n] ");
        std::io::stderr().flush().context("ask")?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("read the answer")?;
        match answer.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => Ok(()),
            _ => Err(Refused.into()),
        }
    }
}

fn announcement(needs: &[Need], home: &Home) -> String {
    let total: u32 = needs.iter().map(|need| need.mib).sum();
    let mut text = format!("Missing here, to be downloaded (about {total} MiB) into {}:\n", home.root().display());
    for need in needs {
        text += &format!("  {:<46} from {:<14} {:>4} MiB\n", need.what, need.from, need.mib);
    }
    text + "No root is needed, and nothing outside that folder is changed.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_names_what_from_where_and_where_to() {
        let need = Need { what: "Maven".to_owned(), from: "Debian", mib: 10 };
        let text = announcement(&[need.clone(), need], &Home::at("/somewhere".into()));
        assert!(text.contains("about 20 MiB") && text.contains("/somewhere") && text.contains("Maven"), "{text}");
    }
}

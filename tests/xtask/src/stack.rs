//! `cargo xtask stack`: the servers alone.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use lutra_harness::{Flavour, Home, Stack, StackSpec};

use crate::consent::Consent;

/// What to do with a stack.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start it, or find it running; prints its addresses and writes them to stack.env in its folder
    Up {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        consent: Consent,
        /// Commits do not wait for the disk
        #[arg(long)]
        relaxed: bool,
        /// This server, `source` or `target`, is MariaDB (may be given twice)
        #[arg(long, value_name = "SERVER", value_parser = ["source", "target"])]
        mariadb: Vec<String>,
    },
    /// Kill its servers and services and remove its folder
    Down {
        /// The stack of this name; may be left out where there is only one
        #[arg(long)]
        name: Option<String>,
        /// All stacks
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// All stacks, and the downloads and programs too: the whole folder
        #[arg(long)]
        purge: bool,
    },
    /// Say what runs where, and what it uses
    Status {
        #[command(flatten)]
        named: Named,
    },
}

/// Which stack.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name of the stack; several run side by side
    #[arg(long, default_value = "dev")]
    name: String,
}

pub(crate) async fn run(command: Command) -> Result<()> {
    let home = Home::from_env();
    match command {
        Command::Up { named, consent, relaxed, mariadb } => {
            let spec = with_mariadb(StackSpec::pair(&named.name), &mariadb);
            up(&home, if relaxed { spec.relaxed() } else { spec }, consent).await
        }
        Command::Down { purge: true, .. } => purge(&home),
        Command::Down { all: true, .. } => down_all(&home),
        Command::Down { name: Some(name), .. } => down(&home, &name),
        Command::Down { name: None, .. } => down_the_only(&home),
        Command::Status { named } => status(&home, &named.name),
    }
}

/// The stack with these of its servers as MariaDB.
pub(crate) fn with_mariadb(spec: StackSpec, names: &[String]) -> StackSpec {
    let flavour = |name: &str| if names.iter().any(|n| n == name) { Flavour::MariaDb } else { Flavour::MySql };
    spec.of(flavour("source"), flavour("target"))
}

async fn up(home: &Home, spec: StackSpec, consent: Consent) -> Result<()> {
    if Stack::find(home, &spec.name)?.is_none() {
        consent.ask(home)?;
    }
    let stack = Stack::up(home, spec, &|line| eprintln!("{line}")).await?;
    for (name, value) in stack.env() {
        println!("{name}={value}");
    }
    eprintln!("written to {}", stack.folder().join("stack.env").display());
    Ok(())
}

fn down(home: &Home, name: &str) -> Result<()> {
    match Stack::find(home, name)? {
        Some(stack) => stack.down(),
        None => {
            eprintln!("there is no stack {name}");
            Ok(())
        }
    }
}

/// Where there are several, somebody may be at work on another one: they must be named.
fn down_the_only(home: &Home) -> Result<()> {
    match lutra_harness::stack::kept(home).as_slice() {
        [] => {
            eprintln!("there is no stack");
            Ok(())
        }
        [name] => down(home, name),
        several => bail!("there are several stacks ({}): say which with --name, or --all", several.join(", ")),
    }
}

fn down_all(home: &Home) -> Result<()> {
    lutra_harness::stack::kept(home).iter().try_for_each(|name| down(home, name))
}

fn purge(home: &Home) -> Result<()> {
    down_all(home)?;
    match std::fs::remove_dir_all(home.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", home.root().display()))
        }
        _ => Ok(()),
    }
}

fn status(home: &Home, name: &str) -> Result<()> {
    let stack = Stack::find(home, name)?;
    let stack =
        stack.with_context(|| format!("there is no stack {name}; `cargo xtask stack up --name {name}` starts it"))?;
    for server in stack.servers() {
        let id = server.process().id().filter(|id| id.is_alive());
        let state = match id {
            None => "stopped".to_owned(),
            Some(id) => {
                let usage = id.usage()?;
                format!(
                    "pid {:<8} {:>5} MiB  {:>7.1} s CPU",
                    id.pid,
                    usage.resident_bytes >> 20,
                    usage.cpu.as_secs_f64()
                )
            }
        };
        println!("{:<10} {:<32} {state}", server.name(), server.url());
    }
    println!("folder     {}", stack.folder().display());
    Ok(())
}

//! `cargo xtask stack`: the servers alone.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use lutra_harness::{Home, Stack, StackSpec};

/// What to do with a stack.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start it, or find it running; writes stack.env with its addresses
    Up(Named),
    /// Kill its servers and remove its folder
    Down(Named),
    /// Say what runs where
    Status(Named),
}

/// Which stack.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name of the stack; several can run side by side
    #[arg(long, default_value = "dev")]
    name: String,
}

pub(crate) async fn run(command: Command) -> Result<()> {
    let home = Home::from_env();
    match command {
        Command::Up(named) => up(&home, &named.name).await,
        Command::Down(named) => down(&home, &named.name),
        Command::Status(named) => status(&home, &named.name),
    }
}

async fn up(home: &Home, name: &str) -> Result<()> {
    let stack = Stack::up(home, StackSpec::pair(name), &|line| eprintln!("{line}")).await?;
    for (name, value) in stack.env() {
        println!("{name}={value}");
    }
    eprintln!("written to {}", stack.folder().join("stack.env").display());
    Ok(())
}

fn down(home: &Home, name: &str) -> Result<()> {
    match Stack::find(home, name)? {
        Some(stack) => stack.down(),
        None => Ok(eprintln!("there is no stack {name}")),
    }
}

fn status(home: &Home, name: &str) -> Result<()> {
    let stack = Stack::find(home, name)?;
    let stack = stack.with_context(|| format!("there is no stack {name}; `cargo xtask stack up --name {name}` starts it"))?;
    for server in stack.servers() {
        let state = if server.process().is_alive() { "running" } else { "stopped" };
        println!("{:<10} {state} {}", server.name(), server.url());
    }
    Ok(())
}

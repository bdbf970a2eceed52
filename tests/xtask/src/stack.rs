//! `cargo xtask stack`: the servers alone.

use anyhow::Result;
use clap::{Args, Subcommand};
use lutra_harness::{Home, Installation, Stack, StackSpec};

/// What to do with a stack.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start it, or find it running; writes stack.env with its addresses
    Up(Named),
    /// Kill its servers and remove its folder
    Down(Named),
    /// Say what runs where
    Status(Named),
}

/// Which stack.
#[derive(Debug, Args)]
pub struct Named {
    /// Name of the stack; several can run side by side
    #[arg(long, default_value = "dev")]
    name: String,
}

pub async fn run(command: Command) -> Result<()> {
    let home = Home::from_env();
    match command {
        Command::Up(named) => up(&home, &named.name).await,
        Command::Down(named) => Stack::attach(&home, &named.name)?.down(),
        Command::Status(named) => status(&home, &named.name).await,
    }
}

async fn up(home: &Home, name: &str) -> Result<()> {
    let stack = match Stack::attach(home, name) {
        Ok(stack) => {
            stack.resume().await?;
            stack
        }
        Err(_) => {
            let installation = Installation::ensure(home, &|line| eprintln!("{line}"))?;
            Stack::start(&installation, StackSpec::pair(name).kept()).await?
        }
    };
    for (name, value) in stack.env() {
        println!("{name}={value}");
    }
    println!("written to {}", stack.folder().join("stack.env").display());
    Ok(())
}

async fn status(home: &Home, name: &str) -> Result<()> {
    let stack = Stack::attach(home, name)?;
    for server in stack.servers() {
        let state = if server.process().is_alive() { "running" } else { "stopped" };
        println!("{:<10} {state} {}", server.name(), server.url());
    }
    Ok(())
}

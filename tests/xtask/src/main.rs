//! `cargo xtask`: the servers, the tests and the gate, one command each.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod stack;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Lutra's own tasks: servers, tests, checks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Real MySQL (twice), Kafka and ZooKeeper on this machine
    #[command(subcommand)]
    Stack(stack::Command),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Stack(command) => stack::run(command).await,
    }
}

//! `cargo xtask`: the servers, the tests and the gate, one command each.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod check;
mod compose;
mod consent;
mod crucible;
mod demo;
mod edges;
mod fuzz;
mod model;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod runbooks;
mod stack;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lutra_harness::Home;

/// The environment lacks something that was not allowed to be fetched.
const EXIT_ENVIRONMENT: u8 = 3;

/// Lutra's own tasks: the demo, servers, tests, checks.
///
/// Real MySQL, Kafka and ZooKeeper are downloaded and run without root, all in one folder: .lutra in the repository, or
/// the one that LUTRA_HOME names.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 something must be fetched and may not (see --yes)";

#[derive(Debug, Subcommand)]
enum Task {
    /// Follow a real MySQL into another one, watched live, with a SIGKILL on the way
    Demo(demo::Arguments),
    /// Real MySQL (source and target), Kafka and ZooKeeper on this machine
    #[command(subcommand)]
    Stack(stack::Command),
    /// Print what plain cargo needs to build here: eval "$(cargo xtask env)"
    Env(consent::Consent),
    /// Run the test suite on real servers
    Test(suite::Arguments),
    /// The gate: format, lints, licences, dependency edges, documentation
    Check(check::Arguments),
    /// Fuzz the decoders of foreign bytes: needs a nightly compiler and cargo-fuzz
    Fuzz(fuzz::Arguments),
    /// Check the protocol's models with spin
    Model(model::Arguments),
    /// Measure on real servers, with release programs
    Bench(bench::Arguments),
    /// Inject faults into real servers and services, and hold the target against the source
    Crucible(crucible::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments).await,
        Task::Stack(command) => stack::run(command).await,
        Task::Env(consent) => print_env(consent),
        Task::Test(arguments) => suite::run(&arguments).await,
        Task::Check(arguments) => check::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Model(arguments) => model::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Crucible(arguments) => crucible::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<consent::Refused>() { EXIT_ENVIRONMENT } else { 1 })
        }
    }
}

/// Nothing is printed where the machine has all that it takes.
fn print_env(consent: consent::Consent) -> anyhow::Result<()> {
    for (name, value) in consent.build_tools(&Home::from_env())?.cargo_env() {
        println!("export {name}='{}'", value.replace('\'', "'\\''"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        super::Arguments::command().debug_assert();
    }
}

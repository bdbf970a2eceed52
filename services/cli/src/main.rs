//! `lutra`: the command line for people.

use std::process::ExitCode;

use clap::Parser;
use lutra_cli::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return lutra_cli::refuse(&error, std::env::args_os().any(|argument| argument == "--json")),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return lutra_cli::report(&lutra_cli::CliError::Runtime(error), arguments.json),
    };
    runtime.block_on(lutra_cli::run(arguments))
}

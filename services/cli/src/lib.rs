//! The command line: what a person types, what the manager answers, what a person reads.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`] | the commands and their options, with the help a newcomer reads |
//! | [`client`] | the way to the manager: by `--manager`, or by asking ZooKeeper who leads |
//! | [`commands`] | one module per command |
//! | [`error`] | what goes wrong, and the exit code: 0 ok, 1 failed, 2 invalid input, 3 environment |
//! | [`output`] | text for people, `--json` for programs |

pub mod arguments;
pub mod client;
pub mod commands;
pub mod error;
pub mod output;

use std::process::ExitCode;

pub use error::CliError;

use crate::arguments::Arguments;
use crate::output::Output;

/// Runs one command.
pub async fn run(arguments: Arguments) -> ExitCode {
    let json = arguments.json;
    // Nothing here depends on which provider it is; the manager's address may be an https one.
    match commands::run(arguments, &Output::new(json)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, json),
    }
}

/// Says what is wrong with the command line itself, or prints the help that was asked for.
pub fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() || !json {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.render().to_string();
    let mut lines = text.trim().lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    report(&CliError::Input { message, details: lines.map(str::to_owned).collect() }, true)
}

/// Says what went wrong, with its causes, and gives the exit code.
pub fn report(error: &CliError, json: bool) -> ExitCode {
    Output::new(json).error(error);
    ExitCode::from(error.exit_code())
}

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

/// Says what went wrong, with its causes, and gives the exit code.
pub fn report(error: &CliError, json: bool) -> ExitCode {
    Output::new(json).error(error);
    ExitCode::from(error.exit_code())
}

//! Every fault we can make, on the real servers: `cargo xtask crucible`.
#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use lutra_crucible::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

//! Every fault we can make, on the real servers: `cargo xtask crucible`.
#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use lutra_crucible::{Arguments, own_mounts, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    own_mounts();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

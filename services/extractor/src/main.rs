//! The extractor's process: parse, prove, run, drain.

use std::process::ExitCode;

use lutra_runtime::Boot;

fn main() -> ExitCode {
    match Boot::parse::<lutra_extractor::Args>() {
        Ok(boot) => boot.run(lutra_extractor::run),
        Err(code) => code,
    }
}

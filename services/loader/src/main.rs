//! Ordered log to target database, exactly once.

use std::process::ExitCode;

use lutra_loader::config::LoaderArgs;
use lutra_runtime::Boot;

fn main() -> ExitCode {
    match Boot::parse::<LoaderArgs>() {
        Ok(boot) => boot.run(lutra_loader::run),
        Err(code) => code,
    }
}

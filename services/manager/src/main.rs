//! The manager: decides who runs what, and is never on the data path.

use std::process::ExitCode;

use lutra_manager::config::ManagerArgs;
use lutra_runtime::Boot;

fn main() -> ExitCode {
    match Boot::parse::<ManagerArgs>() {
        Ok(boot) => boot.run(lutra_manager::run),
        Err(code) => code,
    }
}

//! The transformer's process.

use std::process::ExitCode;

use lutra_runtime::Boot;
use lutra_transformer::config::TransformerArgs;

fn main() -> ExitCode {
    match Boot::parse::<TransformerArgs>() {
        Ok(boot) => boot.run(lutra_transformer::run),
        Err(code) => code,
    }
}

//! What the loader can be told.

use clap::Parser;
use lutra_runtime::{CommonArgs, ServiceArgs, Violations};

/// Lutra loader: applies the ordered logs of pipelines to target databases, exactly once.
#[derive(Debug, Parser)]
#[command(name = "lutra-loader", version)]
pub struct LoaderArgs {
    /// What every service takes.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Pipelines that this worker loads at the same time, at most
    #[arg(long, env = "LUTRA_CAPACITY", value_name = "N", default_value_t = 64)]
    pub capacity: u32,
}

impl ServiceArgs for LoaderArgs {
    const SERVICE: &'static str = "loader";

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(&self, violations: &mut Violations) {
        if self.capacity == 0 {
            violations.add("capacity", "0", "must be at least 1");
        }
    }
}

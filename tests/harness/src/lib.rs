//! Gets and runs real MySQL, MariaDB, Kafka and ZooKeeper; the oracle that compares databases.
//!
//! One library serves the demo, the tests and the benchmarks. The rooms:
//!
//! - [`home`]: the one folder in which everything lives (`LUTRA_HOME`, by default `.lutra` in the repository);
//! - [`install`]: downloads and unpacks what the machine lacks, without root;
//! - [`process`]: child processes that never outlive who started them, unless asked to;
//! - [`server`]: one running server and what can be done to it (stop, kill, freeze, restart);
//! - [`stack`]: a set of servers with their own ports and folder, [`SharedStack`], one for a whole test process,
//!   and [`Replication`], a source with its native replica;
//! - [`link`]: what stands between clients and a server, and spoils their connections;
//! - [`certificates`]: an authority of one's own, and servers that show its certificates;
//! - [`services`]: Lutra's own service processes;
//! - [`mysql`]: users and small questions to a MySQL server;
//! - [`oracle`]: are two databases equal, and where not;
//! - [`workload`]: what tests, the demo and the benchmarks write at a source.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use lutra_harness::{Home, Installation, Stack, StackSpec};
//! let installation = Installation::ensure(&Home::from_env(), &|line| eprintln!("{line}"))?;
//! let stack = Stack::start(&installation, StackSpec::pair("example")).await?;
//! let source = stack.mysql("source")?;
//! source.kill()?;
//! source.restart().await?;
//! # Ok(()) }
//! ```

pub mod certificates;
pub mod home;
pub mod install;
pub mod link;
pub mod mysql;
pub mod oracle;
pub mod process;
pub mod server;
pub mod services;
pub mod stack;
pub mod workload;

pub use home::Home;
pub use install::Installation;
pub use server::Server;
pub use stack::{Flavour, Life, MySqlSpec, Replicated, Replication, SharedStack, Stack, StackSpec};

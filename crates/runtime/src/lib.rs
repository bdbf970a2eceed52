//! Boot, configuration, telemetry, supervisor, retry, shutdown, health endpoint.
//!
//! A service's `main` is one screen:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use lutra_runtime::{Boot, CommonArgs, Context, ServiceArgs, Violations};
//!
//! /// Follows something.
//! #[derive(Debug, clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     common: CommonArgs,
//! }
//!
//! impl ServiceArgs for Args {
//!     const SERVICE: &'static str = "follower";
//!     fn common(&self) -> &CommonArgs {
//!         &self.common
//!     }
//! }
//!
//! async fn run(context: Context, _args: Args) -> Result<(), std::io::Error> {
//!     let address = context.serve(axum::Router::new()).await?;
//!     tracing::info!(%address, "listening");
//!     context.shutdown.cancelled().await;
//!     Ok(())
//! }
//!
//! fn main() -> ExitCode {
//!     match Boot::parse::<Args>() {
//!         Ok(boot) => boot.run(run),
//!         Err(code) => code,
//!     }
//! }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`boot`] | [`Boot`]: arguments, configuration file, logging, TLS provider, runtime, signals, ordered shutdown |
//! | [`arguments`] | [`CommonArgs`], which every service flattens; [`ServiceArgs`]; [`Violations`] |
//! | [`context`] | [`Context`]: what a running service is given |
//! | [`supervisor`] | [`Supervisor`] and [`TaskKind`]: what an error, a panic and an early return do |
//! | [`pace`] | [`Pace`]: what trickles in is taken in bursts |
//! | [`retry`] | [`Backoff`]: validated, exponential, jittered, cancellable, never silently finite |
//! | [`http`], [`health`] | `/metrics`, `/health/live`, `/health/ready` |
//! | [`trace_context`] | W3C trace context in and out of record headers |
//! | [`identity`] | [`WorkerIdentity`]: the stable worker id and its lock |

pub mod arguments;
pub mod boot;
pub mod context;
mod events;
pub mod file;
pub mod health;
pub mod http;
pub mod identity;
pub mod pace;
mod process;
pub mod retry;
pub mod supervisor;
mod telemetry;
pub mod trace_context;

pub use arguments::{CommonArgs, LogFormat, ServiceArgs, Violation, Violations};
pub use boot::{Boot, EXIT_CONFIG};
pub use context::Context;
pub use health::{Health, Probe};
pub use identity::{IdentityError, WorkerIdentity};
pub use pace::Pace;
pub use retry::{Backoff, BackoffPolicy, Cancelled};
pub use supervisor::{Supervisor, TaskKind};
pub use tokio_util::sync::CancellationToken;

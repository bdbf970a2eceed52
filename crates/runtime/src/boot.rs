//! The life of a service's process: a synchronous boot that fails on bad configuration before a runtime exists, the
//! service's future, and an ordered, bounded, narrated shutdown.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::{ServiceArgs, Violations};
use crate::context::Context;
use crate::file;
use crate::health::Health;
use crate::supervisor::Supervisor;
use crate::telemetry::Telemetry;

/// Exit code of a bad configuration (`EX_USAGE` of sysexits).
pub const EXIT_CONFIG: u8 = 64;

/// How often the living are named during a shutdown.
const NARRATION: Duration = Duration::from_secs(5);

/// What supporting tasks (HTTP, sessions) may take to end after the service itself has ended.
const CLOSING_GRACE: Duration = Duration::from_secs(5);

/// A service with checked arguments, not yet running.
#[derive(Debug)]
pub struct Boot<A> {
    args: A,
}

impl Boot<()> {
    /// Reads and checks command line, environment and configuration file of the service. `Err` is the exit code of a
    /// process that shall end now (help printed: 0; bad configuration, all violations printed: 64).
    pub fn parse<A: ServiceArgs>() -> Result<Boot<A>, ExitCode> {
        Self::parse_from::<A>(std::env::args_os().collect())
    }

    /// As [`parse`](Self::parse), of these arguments; the first is the program's name.
    pub fn parse_from<A: ServiceArgs>(arguments: Vec<OsString>) -> Result<Boot<A>, ExitCode> {
        let mut violations = Violations::default();
        let mut command = A::command().version(env!("CARGO_PKG_VERSION"));
        if let Some(path) = file::find(&arguments) {
            command = file::apply(&path, command, &mut violations);
        }
        match command.try_get_matches_from(arguments).and_then(|matches| A::from_arg_matches(&matches)) {
            Ok(args) => {
                args.common().check(&mut violations);
                args.check(&mut violations);
                if violations.is_empty() { Ok(Boot { args }) } else { Err(refuse(&violations)) }
            }
            Err(error) => {
                let _ = error.print();
                if !violations.is_empty() {
                    refuse(&violations);
                }
                let code = if error.use_stderr() { EXIT_CONFIG } else { 0 };
                Err(ExitCode::from(code))
            }
        }
    }
}

/// Prints all violations; there is no log yet.
fn refuse(violations: &Violations) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: the configuration cannot be used:");
    for violation in violations.iter() {
        let _ = writeln!(stderr, "  {violation}");
    }
    ExitCode::from(EXIT_CONFIG)
}

impl<A: ServiceArgs> Boot<A> {
    /// The checked arguments.
    pub fn args(&self) -> &A {
        &self.args
    }

    /// Runs the service until its future ends or shutdown is asked for, then ends everything in order. The exit code is
    /// 0 after an asked-for shutdown or an `Ok`, and 1 after a failure, whose chain has been logged.
    pub fn run<F, Fut, E>(self, service: F) -> ExitCode
    where
        F: FnOnce(Context, A) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Into<anyhow::Error>,
    {
        match self.start(service) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                if tracing::dispatcher::has_been_set() {
                    tracing::error!(error = %format_args!("{error:#}"), "the service failed");
                } else {
                    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
                }
                ExitCode::FAILURE
            }
        }
    }

    fn start<F, Fut, E>(self, service: F) -> Result<(), anyhow::Error>
    where
        F: FnOnce(Context, A) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Into<anyhow::Error>,
    {
        // Two TLS providers in the tree make rustls panic at the first connect: the choice is made here. An error says
        // that one is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let common = self.args.common().clone();
        let telemetry = {
            let _context = runtime.enter();
            Telemetry::install(A::SERVICE, &common)?
        };
        let shutdown = CancellationToken::new();
        let context = Context {
            service: A::SERVICE,
            common,
            shutdown: shutdown.clone(),
            supervisor: Supervisor::new(shutdown),
            health: Health::default(),
            metrics: telemetry.metrics.clone(),
        };
        let result = runtime.block_on(live(context, self.args, service));
        // Before the runtime goes: the exporter's client lives in it.
        telemetry.shutdown();
        // Blocking calls that still run must not hold the process.
        runtime.shutdown_timeout(Duration::from_secs(1));
        result
    }
}

/// Signals, service, shutdown.
async fn live<A, F, Fut, E>(context: Context, args: A, service: F) -> Result<(), anyhow::Error>
where
    A: ServiceArgs,
    F: FnOnce(Context, A) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    let supervisor = context.supervisor.clone();
    let shutdown = context.shutdown.clone();
    let grace = Duration::from_secs(context.common.shutdown_seconds);
    watch_signals(&supervisor, shutdown.clone())?;
    tracing::info!(
        service = A::SERVICE,
        version = env!("CARGO_PKG_VERSION"),
        cluster = context.common.cluster,
        "starting"
    );
    let alive = supervisor.enter(A::SERVICE);
    let mut work = std::pin::pin!(service(context, args));
    let ended = tokio::select! {
        biased;
        result = &mut work => Some(result),
        () = shutdown.cancelled() => None,
    };
    shutdown.cancel();
    let result = match ended {
        Some(result) => result.map_err(Into::into),
        None => drain(work, &supervisor, grace).await,
    };
    drop(alive);
    supervisor.close(CLOSING_GRACE).await;
    tracing::info!(service = A::SERVICE, "stopped");
    // The first cause is the one to tell: what the service says afterwards is often its consequence.
    match supervisor.take_failure() {
        Some(cause) => Err(cause),
        None => result,
    }
}

/// Waits for the service's own end within `grace`, naming who is alive.
async fn drain<Fut, E>(work: Fut, supervisor: &Supervisor, grace: Duration) -> Result<(), anyhow::Error>
where
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    tracing::info!(grace_seconds = grace.as_secs(), "shutting down: work in hand is finished first");
    let narrate = async {
        loop {
            tokio::time::sleep(NARRATION).await;
            tracing::info!(alive = ?supervisor.alive(), "still shutting down");
        }
    };
    tokio::select! {
        biased;
        result = tokio::time::timeout(grace, work) => match result {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(anyhow::anyhow!(
                "the shutdown took longer than {} s; still alive: {}", grace.as_secs(), supervisor.alive().join(", ")
            )),
        },
        () = narrate => Ok(()),
    }
}

/// The first SIGTERM or SIGINT begins the shutdown; the second ends the process at once.
fn watch_signals(supervisor: &Supervisor, shutdown: CancellationToken) -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closing = supervisor.closing();
    let watch = async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stop signal: shutting down; a second one ends the process at once");
        shutdown.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("second stop signal: ending at once");
        #[allow(clippy::disallowed_methods, reason = "the ordered shutdown is what the second signal cuts short")]
        std::process::exit(130)
    };
    // Not a supervised task: it must not appear among those who hold up the shutdown.
    supervisor.spawn_silent(async move {
        tokio::select! {
            () = watch => {}
            () = closing.cancelled() => {}
        }
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

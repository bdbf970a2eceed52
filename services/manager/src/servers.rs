//! What the databases themselves say: reachable or not, fit or not.

use std::time::Duration;

use lutra_mysql::checks::{self, SourceCheckOptions, TargetCheckOptions};
use lutra_mysql::{ConnectOptions, Connection, DumpStart, Password, TlsMode, TlsOptions, catalogue};
use lutra_spec::{SourceSpec, SourceStart, TargetSpec};

use crate::error::{ManagerError, NamedCheck, chain};

/// How long one server may take to be reached from here.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("its password is not known here")]
    Secret(#[source] lutra_spec::SecretError),
    #[error("its address is not known here")]
    Address(#[source] lutra_spec::AddressError),
    #[error("it does not let us in")]
    Connect(#[source] lutra_mysql::Error),
    #[error("its document names no server")]
    Nowhere,
}

/// Connects to the first server of a document that answers.
pub(crate) async fn connect(how: &lutra_spec::Connection) -> Result<Connection, Unreachable> {
    let password = how.resolve_password().map_err(Unreachable::Secret)?;
    let password = Some(password.expose()).filter(|p| !p.is_empty()).map(Password::new);
    let mut last = Unreachable::Nowhere;
    for server in how.resolve_servers().map_err(Unreachable::Address)? {
        let mut options = ConnectOptions::new(server.host, server.port, &how.user).with_password(password.clone());
        options.connect_timeout = CONNECT_TIMEOUT;
        options.read_timeout = Duration::from_secs(15);
        options.program = "lutra-manager".to_owned();
        options.tls =
            TlsOptions { mode: tls_mode(how.tls.mode), ca: how.tls.ca.as_ref().map(Into::into), identity: None };
        match Connection::connect(&options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Unreachable::Connect(error),
        }
    }
    Err(last)
}

fn tls_mode(mode: lutra_spec::TlsMode) -> TlsMode {
    match mode {
        lutra_spec::TlsMode::Disabled => TlsMode::Disabled,
        lutra_spec::TlsMode::Preferred => TlsMode::Preferred,
        lutra_spec::TlsMode::Required => TlsMode::Required,
        lutra_spec::TlsMode::VerifyCa => TlsMode::VerifyCa,
        lutra_spec::TlsMode::VerifyIdentity => TlsMode::VerifyIdentity,
    }
}

/// A server's checks, or why it could not be asked.
pub(crate) enum Asked {
    /// All checks, met or not.
    Checks(Vec<NamedCheck>),
    /// It could not be asked from here; its workers may reach it all the same.
    Unreachable(String),
}

/// Checks a source. `begun`: its start is behind it and says nothing any more.
pub(crate) async fn source(name: &str, spec: &SourceSpec, begun: bool) -> Asked {
    let subject = format!("source {name}");
    let mut connection = match connect(&spec.connection()).await {
        Ok(connection) => connection,
        Err(error) => return Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    };
    let start = match &spec.start {
        SourceStart::Gtid(set) if !begun => Some(DumpStart::Gtid(set.clone())),
        SourceStart::Position(position) if !begun => Some(DumpStart::Position(position.clone())),
        _ => None,
    };
    let options = SourceCheckOptions {
        gtid: spec.gtid,
        accept_weak_durability: spec.accept_weak_durability,
        // The extractor of a source that runs already holds its server id.
        server_id: if begun { None } else { spec.server_id },
        start,
        user: spec.user.clone(),
    };
    answer(&subject, checks::source(&mut connection, &options).await)
}

/// Checks a target.
pub(crate) async fn target(name: &str, spec: &TargetSpec) -> Asked {
    let subject = format!("target {name}");
    let mut connection = match connect(&spec.connection()).await {
        Ok(connection) => connection,
        Err(error) => return Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    };
    let options = TargetCheckOptions { user: spec.user.clone(), lower_case_table_names: None };
    answer(&subject, checks::target(&mut connection, &options).await)
}

fn answer(subject: &str, result: lutra_mysql::Result<Vec<checks::CheckResult>>) -> Asked {
    match result {
        Ok(results) => Asked::Checks(results.into_iter().map(|check| NamedCheck::of(subject, check)).collect()),
        Err(error) => Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    }
}

/// Where the source stands now.
pub(crate) async fn executed(name: &str, spec: &SourceSpec) -> Result<catalogue::ServerIdentity, ManagerError> {
    let fault = |source: Box<dyn std::error::Error + Send + Sync>| ManagerError::Server {
        kind: "source",
        name: name.to_owned(),
        source,
    };
    let mut connection = connect(&spec.connection()).await.map_err(|e| fault(Box::new(e)))?;
    catalogue::identity(&mut connection).await.map_err(|e| fault(Box::new(e)))
}

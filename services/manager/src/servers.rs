//! What the databases themselves say: reachable or not, fit or not.

use std::time::Duration;

use lutra_mysql::checks::{self, SourceCheckOptions, TargetCheckOptions};
use lutra_mysql::{Connection, DumpStart, catalogue, document};
use lutra_spec::{SourceSpec, SourceStart, TargetSpec};

use crate::error::{ManagerError, NamedCheck, chain};

/// How long one server may take to be reached from here.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error(transparent)]
    Document(#[from] document::Unresolved),
    #[error("it does not let us in")]
    Connect(#[source] lutra_mysql::Error),
    #[error("its document names no server")]
    Nowhere,
}

/// Connects to the first server of a document that answers.
pub(crate) async fn connect(how: &lutra_spec::Connection) -> Result<Connection, Unreachable> {
    let mut last = Unreachable::Nowhere;
    for mut options in document::servers(how, "lutra-manager")? {
        options.connect_timeout = CONNECT_TIMEOUT;
        options.read_timeout = Duration::from_secs(15);
        match Connection::connect(&options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Unreachable::Connect(error),
        }
    }
    Err(last)
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
    };
    answer(&subject, checks::source(&mut connection, &options).await)
}

/// Checks a target of which `databases` are written; none of them: nobody says which.
pub(crate) async fn target(name: &str, spec: &TargetSpec, databases: Vec<String>) -> Asked {
    let subject = format!("target {name}");
    let mut connection = match connect(&spec.connection()).await {
        Ok(connection) => connection,
        Err(error) => return Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    };
    let options = TargetCheckOptions { databases, lower_case_table_names: None };
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

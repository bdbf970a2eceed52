//! What a manager refuses or fails at, and how it says so over HTTP.

use lutra_coordination::CoordinationError;
use lutra_kafka::KafkaError;
use lutra_mysql::checks::CheckResult;
use lutra_spec::Violations;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::apply::{NamedFault, PlacedFinding};

/// What a manager refuses or fails at.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The text is no specification.
    #[error("the specification has violations")]
    Violations(#[source] Violations),
    /// The documents do not fit together.
    #[error("the documents do not fit together")]
    Findings(Vec<PlacedFinding>),
    /// The rules of pipelines cannot be.
    #[error("rules of pipelines cannot be carried out")]
    Rules(Vec<NamedFault>),
    /// A server is not as it must be.
    #[error("servers are not as they must be")]
    Servers(Vec<NamedCheck>),
    /// There is no such thing.
    #[error("there is no {what} {name}")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for is malformed.
    #[error("{0}")]
    Invalid(String),
    /// No manager leads.
    #[error("no manager leads just now; ask again in a moment")]
    NoLeader,
    /// The leader does not answer.
    #[error("the leading manager at {address} does not answer")]
    Leader {
        /// Where it should be.
        address: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// A worker does not answer.
    #[error("worker {worker} at {address} does not answer")]
    Worker {
        /// Which worker.
        worker: String,
        /// Where it should be.
        address: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// What was waited for has not come in time.
    #[error("{0}")]
    Timeout(String),
    /// ZooKeeper.
    #[error("ZooKeeper does not do what was asked")]
    Coordination(#[from] CoordinationError),
    /// Kafka.
    #[error("Kafka does not do what was asked")]
    Kafka(#[from] KafkaError),
    /// A database server.
    #[error("{kind} {name} cannot be asked")]
    Server {
        /// `source` or `target`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log of a source.
    #[error("the log of source {source_name} cannot be read")]
    Log {
        /// The source.
        source_name: String,
        /// Why not.
        #[source]
        source: Box<lutra_log::LogError>,
    },
    /// A document in ZooKeeper is not one.
    #[error("the {kind} {name} in ZooKeeper is not a document of this version; apply it again")]
    Stored {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The HTTP endpoint.
    #[error("the HTTP endpoint cannot be served")]
    Serve(#[source] std::io::Error),
    /// The HTTP client.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// A check of a server, with the server's name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NamedCheck {
    /// What was checked: `source shop`, `Kafka`, ….
    pub subject: String,
    /// Name of the check.
    pub name: String,
    /// Whether it is as required.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What is required.
    pub required: String,
    /// What mends it.
    pub mend: String,
}

impl NamedCheck {
    /// A server's check under the server's name.
    pub fn of(subject: &str, check: CheckResult) -> Self {
        let CheckResult { name, ok, found, required, mend } = check;
        Self { subject: subject.to_owned(), name: name.to_owned(), ok, found, required, mend }
    }

    /// A check of the manager's own.
    pub fn new(subject: &str, name: &str, ok: bool, found: impl Into<String>, required: &str, mend: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            name: name.to_owned(),
            ok,
            found: found.into(),
            required: required.to_owned(),
            mend: mend.to_owned(),
        }
    }
}

/// An error with everything below it, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

//! The page of `deploy/runbooks` for each error.

use lutra_log::{LogError, TransportError};
use lutra_mysql::ErrorKind as Kind;

use crate::error::LoadError as E;

/// Its name.
pub(crate) fn page(error: &E) -> &'static str {
    match error {
        E::Mapping { .. }
        | E::NoTable { .. }
        | E::Triggers { .. }
        | E::NotTransactional { .. }
        | E::TableExists { .. }
        | E::NoCopyKey { .. }
        | E::PartialImage { .. }
        | E::ForeignComputation { .. } => "table-unfit",
        E::ChunkMissing { .. } => "chunk-missing",
        E::Row { .. } | E::Unit { .. } | E::Unsupported { .. } => "unit-cannot-be-read",
        E::TargetBehindLog { .. } | E::AnotherLog { .. } | E::NotMadeAnew { .. } => "target-behind-log",
        E::Torn { .. }
        | E::Gap { .. }
        | E::Log(LogError::Halt { .. } | LogError::Transport(TransportError::OutOfRange { .. })) => "log-halted",
        E::Conflict(_) => "conflict",
        E::Definition { .. } | E::Unresolved { .. } | E::ForeignCluster { .. } | E::Unfit { .. } => {
            "definition-cannot-be-run"
        }
        E::Held { .. } | E::HeldBehind { .. } | E::NotRewritten { .. } | E::Ddl { .. } => "ddl-waits",
        E::Statement { source, .. } | E::Target { source, .. } => match source.kind() {
            Kind::AccessDenied => "access-denied",
            Kind::Tls => "tls-refused",
            Kind::ReadOnly | Kind::DiskFull | Kind::TooManyConnections => "target-takes-no-writes",
            Kind::ConnectionLost | Kind::Timeout | Kind::Shutdown | Kind::Interrupted | Kind::DefinitionChanged => {
                "server-unreachable"
            }
            _ => "statement-failed",
        },
        E::Fenced { .. } | E::SlotMoved { .. } | E::Log(_) | E::Kafka { .. } | E::Ended(_) => "server-unreachable",
    }
}

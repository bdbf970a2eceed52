//! The page of `deploy/runbooks` for each error.

use lutra_log::{LogError, TransportError};

use crate::error::TransformError;

/// Its name.
pub(crate) fn page(error: &TransformError) -> &'static str {
    use TransformError as E;
    match error {
        E::Rules(_) | E::Unfit { .. } => "rules-unfit",
        E::Definition { .. } | E::NoStart { .. } => "definition-cannot-be-run",
        E::Prepared { .. } => "prepared-rows-lost",
        E::Torn { .. } | E::Log(LogError::Halt { .. } | LogError::Transport(TransportError::OutOfRange { .. })) => {
            "log-halted"
        }
        E::Schemas(source) if source.is_transient() => "server-unreachable",
        E::Schemas(_) | E::Row { .. } | E::Body { .. } | E::Step { .. } | E::Unsupported { .. } => {
            "unit-cannot-be-read"
        }
        E::Log(_) | E::Coordination(_) => "server-unreachable",
    }
}

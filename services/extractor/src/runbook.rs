//! The page of `deploy/runbooks` for each error.

use lutra_kafka::KafkaError;
use lutra_mysql::ErrorKind;

use crate::error::ExtractError;

/// Its name.
pub fn page(error: &ExtractError) -> &'static str {
    match error {
        ExtractError::Definition { .. } | ExtractError::Unresolved { .. } => "definition-cannot-be-run",
        ExtractError::Unfit { .. } => "source-unfit",
        ExtractError::SourceBehindLog { .. } => "source-behind-log",
        ExtractError::PurgedPastLog { .. } => "purged-past-log",
        ExtractError::AnotherHistory { .. } | ExtractError::AnotherServer { .. } => "another-history",
        ExtractError::Source { source, .. } => match source.kind() {
            ErrorKind::AccessDenied | ErrorKind::Internal => "access-denied",
            ErrorKind::Tls => "tls-refused",
            ErrorKind::BinlogUnavailable => "binlog-unavailable",
            _ => "server-unreachable",
        },
        ExtractError::Assemble { .. } => "binlog-not-followed",
        ExtractError::Broker { source, .. } => match source.as_ref() {
            KafkaError::NoTopic { .. } | KafkaError::UnfitTopic { .. } => "topic-unfit",
            _ => "server-unreachable",
        },
        ExtractError::Log(error) if matches!(error.as_ref(), lutra_log::LogError::Halt { .. }) => "log-halted",
        ExtractError::StreamEnded { .. }
        | ExtractError::StreamAstray { .. }
        | ExtractError::SteppedDown { .. }
        | ExtractError::Schema { .. }
        | ExtractError::Definitions { .. }
        | ExtractError::Log(_) => "server-unreachable",
    }
}

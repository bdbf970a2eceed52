//! What becomes of an extraction that ended with an error.

use lutra_coordination::Disposition;
use lutra_kafka::KafkaError;
use lutra_log::LogError;
use lutra_mysql::ErrorKind;

use crate::error::ExtractError;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next attempt, at once or after a short back-off: nothing is known to be wrong.
    Attempt,
    /// Another owner has the task.
    Fenced,
    /// The task has failed; it is tried again by its policy.
    Fail(Disposition, &'static str),
}

/// Judges an error. The default is to halt.
pub fn judge(error: &ExtractError) -> Next {
    match error {
        ExtractError::Definition { .. } => {
            Next::Fail(Disposition::Halt, "correct the source's document and apply it again")
        }
        ExtractError::Unresolved { .. } => {
            Next::Fail(Disposition::Retry, "set the variable or file on every machine that runs an extractor")
        }
        ExtractError::Unfit { .. } => {
            Next::Fail(Disposition::Retry, "run the statements named; `lutra doctor` shows the checks")
        }
        ExtractError::SourceBehindLog { .. } => Next::Fail(
            Disposition::Halt,
            "bring a server that has these transactions; or `lutra adopt SOURCE --from-target` where no target has them, else `lutra rewind SOURCE --to GTID_SET --reload`",
        ),
        ExtractError::PurgedPastLog { .. } => Next::Fail(
            Disposition::Halt,
            "bring a server whose binlog has them; else copy what they changed by hand and `lutra rewind SOURCE --to GTID_SET`",
        ),
        ExtractError::AnotherHistory { .. } | ExtractError::AnotherServer { .. } => {
            Next::Fail(Disposition::Halt, "compare source and target, then `lutra adopt SOURCE --from-target`")
        }
        ExtractError::Source { source, .. } => judge_source(source),
        ExtractError::StreamEnded { .. } | ExtractError::StreamAstray { .. } | ExtractError::SteppedDown { .. } => {
            Next::Attempt
        }
        ExtractError::Assemble { .. } => Next::Fail(Disposition::Halt, "the message says what stands in the way"),
        ExtractError::Schema { .. } | ExtractError::Definitions { .. } => Next::Attempt,
        ExtractError::Broker { source, .. } => match source.as_ref() {
            KafkaError::NoTopic { .. } | KafkaError::UnfitTopic { .. } => Next::Fail(
                Disposition::Retry,
                "the manager makes topics when a source is applied; mend the topic's settings",
            ),
            _ => Next::Attempt,
        },
        ExtractError::Log(error) => match error.as_ref() {
            LogError::Attempt { .. } | LogError::Transport(_) => Next::Attempt,
            LogError::Fenced { .. } => Next::Fenced,
            LogError::Halt { .. } => Next::Fail(Disposition::Halt, "the message says what to do about the log"),
        },
    }
}

fn judge_source(error: &lutra_mysql::Error) -> Next {
    match error.kind() {
        ErrorKind::AccessDenied => {
            Next::Fail(Disposition::Retry, "correct user, password or grants; `lutra doctor --grants` prints them")
        }
        // The server ends an older dump when a newer one has its id: the log tells who of the two may go on.
        ErrorKind::BinlogUnavailable if error.to_string().contains("same server_uuid/server_id") => Next::Attempt,
        ErrorKind::BinlogUnavailable => Next::Fail(
            Disposition::Halt,
            "the binlog does not reach back to the log's end, or another replica has our server id: see the server's message",
        ),
        ErrorKind::Tls => Next::Fail(
            Disposition::Retry,
            "put the authority that signed the server's certificate into the file that `tls.ca` names; it is read at each connection",
        ),
        ErrorKind::Internal => {
            Next::Fail(Disposition::Retry, "check whether a MySQL or MariaDB answers at that address")
        }
        _ => Next::Attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> Next {
        let (state, message) = ("HY000".to_owned(), message.to_owned());
        judge_source(&lutra_mysql::Error::Server { operation: "the dump stream", code, state, message })
    }

    #[test]
    fn a_purged_binlog_halts_and_a_newer_dump_does_not() {
        assert!(matches!(server(1236, "Could not find first log file name"), Next::Fail(Disposition::Halt, _)));
        assert_eq!(
            server(1236, "A replica with the same server_uuid/server_id as this replica has connected"),
            Next::Attempt
        );
        assert_eq!(server(2013, "Lost connection"), Next::Attempt);
        assert!(matches!(server(1045, "Access denied"), Next::Fail(Disposition::Retry, _)));
        let tls = lutra_mysql::Error::Tls { reason: "the certificate".to_owned() };
        assert!(matches!(judge_source(&tls), Next::Fail(Disposition::Retry, hint) if hint.contains("tls.ca")));
    }
}

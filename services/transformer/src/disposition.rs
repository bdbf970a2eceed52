//! What becomes of a transformation that ended: one exhaustive answer per error. The default is to halt.

use lutra_coordination::{Disposition, TaskEnd, TaskFailure};
use lutra_log::{LogError, TransportError};

use crate::error::TransformError;

/// How the run ends for the worker's agent.
pub(crate) fn of(error: &TransformError) -> Result<TaskEnd, TaskFailure> {
    use TransformError as E;
    let (disposition, hint) = match error {
        E::Log(LogError::Fenced { .. }) => return Ok(TaskEnd::Fenced),
        E::Log(LogError::Attempt { .. } | LogError::Transport(TransportError::Failed { .. })) => {
            (Disposition::Retry, "nothing: the task starts again by itself")
        }
        E::Log(LogError::Transport(TransportError::OutOfRange { .. })) => (
            Disposition::Halt,
            "the log lost what was not read yet: `lutra adopt PIPELINE --from-target --dry-run` shows what a new log would begin with",
        ),
        E::Log(LogError::Halt { .. }) => (
            Disposition::Halt,
            "look at the log with `lutra log tail`; `lutra adopt` starts a new one from what the target has",
        ),
        E::Prepared { source: crate::xa::PreparedError::Log { source, .. }, .. }
            if !matches!(source.as_ref(), LogError::Halt { .. }) =>
        {
            (Disposition::Retry, "check that Kafka is reachable")
        }
        E::Prepared { .. } => (
            Disposition::Halt,
            "the source's log lost rows that were prepared long ago: keep it longer than transactions stay prepared; copy what the \
             transaction changed, then `lutra rewind SOURCE --to PLACE` with a place behind it",
        ),
        E::Torn { .. } => (
            Disposition::Halt,
            "it is read again; if that does not help, `lutra adopt PIPELINE --from-target` starts a new log",
        ),
        E::Schemas(source) if source.is_transient() => (Disposition::Retry, "check that Kafka is reachable"),
        E::Coordination(_) => (Disposition::Retry, "check that ZooKeeper is reachable"),
        E::Rules(_) | E::Unfit { .. } => (Disposition::Halt, "mend the pipeline's rules and `lutra apply` them"),
        E::Schemas(_)
        | E::Definition { .. }
        | E::Row { .. }
        | E::Body { .. }
        | E::Step { .. }
        | E::Unsupported { .. }
        | E::NoStart { .. } => (Disposition::Halt, "see the message; `lutra doctor` checks the parts around it"),
    };
    Err(TaskFailure::new(error, disposition, hint).with_runbook(crate::runbook::page(error)))
}

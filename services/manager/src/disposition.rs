//! What each error means to the reconciler and to a caller.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lutra_coordination::CoordinationError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ManagerError, chain};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Tried again by itself.
    Retry,
    /// The caller, or a person, must change something.
    Refuse,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable word: `violations`, `not_found`, `timeout`, ….
    pub code: String,
    /// What failed, with its causes.
    pub message: String,
    /// All that is wrong, one by one, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
}

pub(crate) fn disposition(error: &ManagerError) -> Disposition {
    match error {
        ManagerError::Coordination(CoordinationError::Changed { .. } | CoordinationError::LeadershipLost) => {
            Disposition::Retry
        }
        ManagerError::Coordination(error) if error.is_transient() => Disposition::Retry,
        ManagerError::Kafka(_)
        | ManagerError::NoLeader
        | ManagerError::Leader { .. }
        | ManagerError::Worker { .. }
        | ManagerError::Server { .. }
        | ManagerError::Log { .. }
        | ManagerError::Timeout(_) => Disposition::Retry,
        ManagerError::Violations(_)
        | ManagerError::Findings(_)
        | ManagerError::Rules(_)
        | ManagerError::Servers(_)
        | ManagerError::NotFound { .. }
        | ManagerError::Conflict(_)
        | ManagerError::Invalid(_)
        | ManagerError::Coordination(_)
        | ManagerError::Stored { .. }
        | ManagerError::Serve(_)
        | ManagerError::Client(_) => Disposition::Refuse,
    }
}

fn status(error: &ManagerError) -> (StatusCode, &'static str) {
    match error {
        ManagerError::Violations(_) => (StatusCode::UNPROCESSABLE_ENTITY, "violations"),
        ManagerError::Findings(_) => (StatusCode::UNPROCESSABLE_ENTITY, "findings"),
        ManagerError::Rules(_) => (StatusCode::UNPROCESSABLE_ENTITY, "rules"),
        ManagerError::Servers(_) => (StatusCode::UNPROCESSABLE_ENTITY, "servers"),
        ManagerError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
        ManagerError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        ManagerError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        ManagerError::Coordination(CoordinationError::Changed { .. } | CoordinationError::Exists { .. }) => {
            (StatusCode::CONFLICT, "changed")
        }
        ManagerError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        ManagerError::Leader { .. }
        | ManagerError::Worker { .. }
        | ManagerError::Server { .. }
        | ManagerError::Log { .. } => (StatusCode::BAD_GATEWAY, "unreachable"),
        ManagerError::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
        ManagerError::Coordination(_) => (StatusCode::SERVICE_UNAVAILABLE, "zookeeper"),
        ManagerError::Kafka(_) => (StatusCode::SERVICE_UNAVAILABLE, "kafka"),
        ManagerError::Stored { .. } | ManagerError::Serve(_) | ManagerError::Client(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

fn details(error: &ManagerError) -> Vec<Value> {
    fn all<T: Serialize>(items: &[T]) -> Vec<Value> {
        items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect()
    }
    match error {
        ManagerError::Violations(violations) => all(&violations.0),
        ManagerError::Findings(findings) => all(findings),
        ManagerError::Rules(faults) => all(faults),
        ManagerError::Servers(checks) => all(checks),
        _ => Vec::new(),
    }
}

impl IntoResponse for ManagerError {
    fn into_response(self) -> Response {
        let (status, code) = status(&self);
        // Violations print themselves as a list: the details hold them one by one.
        let message = if matches!(self, Self::Violations(_)) { self.to_string() } else { chain(&self) };
        let problem = Problem { code: code.to_owned(), message, details: details(&self) };
        (status, Json(json!({ "error": problem }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_tried_again() {
        assert_eq!(disposition(&ManagerError::NoLeader), Disposition::Retry);
        assert_eq!(disposition(&ManagerError::Conflict("x".to_owned())), Disposition::Refuse);
        assert_eq!(status(&ManagerError::NotFound { what: "source", name: "x".to_owned() }).0, StatusCode::NOT_FOUND);
    }
}

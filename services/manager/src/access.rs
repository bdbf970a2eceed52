//! Who may call.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::manager::Manager;

/// Lets calls with the right token pass, where there is a token. Without one only programs on this machine can call; a
/// web page that a browser on this machine shows is none of them, and is told by its `Origin`.
pub(crate) async fn check(State(manager): State<Manager>, request: Request, next: Next) -> Response {
    let allowed = match &manager.inner.token {
        Some(token) => {
            let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
            given.and_then(|v| v.strip_prefix("Bearer ")).is_some_and(|given| same(given.as_bytes(), token.as_bytes()))
        }
        None => !request.headers().contains_key(header::ORIGIN),
    };
    if allowed {
        return next.run(request).await;
    }
    let message = "the call needs the manager's token: send it as `Authorization: Bearer TOKEN` (lutra: --token-file)";
    (StatusCode::UNAUTHORIZED, Json(json!({"error": {"code": "unauthorized", "message": message}}))).into_response()
}

/// Compares in a time that does not tell how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}

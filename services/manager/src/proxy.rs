//! Writes that come to a manager that does not lead go on to the one that does.

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ManagerError;
use crate::manager::Manager;

/// Marks a request that was passed on once: it is not passed on again.
const FORWARDED: &str = "x-lutra-forwarded";
/// How long the leader may take: an apply asks servers and makes topics.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(55);
/// The largest specification that is taken.
pub(crate) const LARGEST_BODY: usize = 4 << 20;

/// Passes writes on to the leader; reads, and waits, are answered by whoever is asked.
pub(crate) async fn to_the_leader(State(manager): State<Manager>, request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET || request.uri().path().ends_with("/wait");
    if reads || manager.leads() {
        return next.run(request).await;
    }
    if request.headers().contains_key(FORWARDED) {
        return ManagerError::NoLeader.into_response();
    }
    forward(&manager, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn forward(manager: &Manager, request: Request) -> Result<Response, ManagerError> {
    let address = manager.store().leader_address().await?.ok_or(ManagerError::NoLeader)?;
    let fault = |source| ManagerError::Leader { address: address.clone(), source };
    let (parts, body) = request.into_parts();
    // The uri itself has lost the prefix under which these routes are nested.
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let bytes = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|e| ManagerError::Invalid(format!("the request's body cannot be read: {e}")))?;
    let mut headers = HeaderMap::new();
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(FORWARDED, header::HeaderValue::from_static("1"));
    let sent = manager
        .inner
        .http
        .request(parts.method, format!("http://{address}{path}"))
        .headers(headers)
        .body(bytes)
        .timeout(LONGEST)
        .send()
        .await;
    let answer = sent.map_err(fault)?;
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(Body::from(answer.bytes().await.map_err(fault)?));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

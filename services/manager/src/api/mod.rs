//! The REST API, and its description at `/openapi.json`.

pub mod cluster;
pub mod ddl;
pub mod documents;
pub mod pipelines;

use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::access;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::proxy;

/// The description of the API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Lutra manager", description = "Sources, targets, pipelines, and what becomes of them."),
    paths(
        documents::list, documents::apply, documents::get, documents::delete,
        documents::sources, documents::targets, documents::pipelines,
        pipelines::command, pipelines::load, pipelines::wait, pipelines::adopt_pipeline, pipelines::adopt_source,
        pipelines::rewind_pipeline, pipelines::rewind_source,
        ddl::list, ddl::decide,
        cluster::tasks, cluster::task, cluster::restart, cluster::workers, cluster::status, cluster::doctor, cluster::log,
    ),
    components(schemas(crate::disposition::Problem)),
    modifiers(&Token)
)]
pub struct Description;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// All routes. Access is checked first, then writes are passed on to the leader.
pub fn router(manager: &Manager) -> Router {
    let v1 = Router::new()
        .route("/documents", get(documents::list).post(documents::apply))
        .route("/documents/{kind}/{name}", get(documents::get).delete(documents::delete))
        .route("/sources", get(documents::sources))
        .route("/targets", get(documents::targets))
        .route("/pipelines", get(documents::pipelines))
        .route("/sources/{name}/adopt", post(pipelines::adopt_source))
        .route("/pipelines/{name}/adopt", post(pipelines::adopt_pipeline))
        .route("/sources/{name}/rewind", post(pipelines::rewind_source))
        .route("/pipelines/{name}/rewind", post(pipelines::rewind_pipeline))
        .route("/pipelines/{name}/wait", post(pipelines::wait))
        .route("/pipelines/{name}/ddl", get(ddl::list))
        .route("/pipelines/{name}/ddl/{unit}/{decision}", post(ddl::decide))
        .route("/pipelines/{name}/load/{command}", post(pipelines::load))
        .route("/pipelines/{name}/{command}", post(pipelines::command))
        .route("/tasks", get(cluster::tasks))
        .route("/tasks/{kind}/{name}", get(cluster::task))
        .route("/tasks/{kind}/{name}/restart", post(cluster::restart))
        .route("/workers", get(cluster::workers))
        .route("/status", get(cluster::status))
        .route("/doctor", get(cluster::doctor))
        .route("/logs/{name}", get(cluster::log))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(proxy::LARGEST_BODY))
        .layer(from_fn_with_state(manager.clone(), proxy::to_the_leader))
        .layer(from_fn_with_state(manager.clone(), access::check))
        .layer(from_fn(errors_as_json))
        .with_state(manager.clone());
    Router::new().nest("/v1", v1).route("/openapi.json", get(|| async { Json(Description::openapi()) }))
}

async fn no_route(OriginalUri(uri): OriginalUri) -> ManagerError {
    ManagerError::NotFound { what: "path", name: uri.path().to_owned() }
}

async fn no_method(OriginalUri(uri): OriginalUri) -> Response {
    let message = format!("{} does not take this method", uri.path());
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"error": {"code": "method", "message": message}}))).into_response()
}

/// What axum refuses by itself (a malformed query) comes as text: callers get one shape for all errors.
async fn errors_as_json(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let json_already =
        response.headers().get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    if !(status.is_client_error() || status.is_server_error()) || json_already {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), 64 << 10).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&text).into_owned();
    (status, Json(json!({"error": {"code": "invalid", "message": message}}))).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_description_names_every_route() {
        let description = serde_json::to_value(Description::openapi()).unwrap();
        for path in ["/v1/documents", "/v1/pipelines/{name}/wait", "/v1/status", "/v1/logs/{name}"] {
            assert!(description["paths"].get(path).is_some(), "{path}");
        }
        assert!(description["components"]["schemas"].get("Status").is_some());
    }

    #[test]
    fn the_description_and_the_routes_are_the_same() {
        // A router does not tell its routes: they are read where they are written.
        let routes = include_str!("mod.rs").split("let v1 = Router::new()").nth(1).unwrap();
        let routes = routes.split(".fallback(").next().unwrap();
        let mut served = std::collections::BTreeSet::new();
        for route in routes.split(".route(").skip(1) {
            let path = route.split('"').nth(1).unwrap();
            for method in ["get", "post", "delete", "put"] {
                if route.contains(&format!("{method}(")) {
                    served.insert(format!("{method} /v1{path}"));
                }
            }
        }
        let description = serde_json::to_value(Description::openapi()).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let described: std::collections::BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(served, described);
        // Every word in braces of a path is told as a parameter.
        for (path, methods) in paths {
            for operation in methods.as_object().unwrap().values() {
                let named = path.matches('{').count();
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                assert_eq!(parameters.filter(|p| p["in"] == "path").count(), named, "{path}");
            }
        }
    }
}

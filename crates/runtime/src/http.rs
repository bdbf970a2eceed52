//! The HTTP endpoint of a process: metrics and health, and whatever routes the service adds.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::process;
use crate::supervisor::{Supervisor, TaskKind};

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: PrometheusHandle,
}

/// Binds `address` (port 0 takes a free one), serves under `supervisor` until its closing, and returns the address that
/// was bound.
pub(crate) async fn serve(
    address: SocketAddr,
    extra: Router,
    health: Health,
    metrics: PrometheusHandle,
    supervisor: &Supervisor,
) -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot bind {address} for HTTP ({error}); choose another --bind"))
    })?;
    let bound = listener.local_addr()?;
    let router = router(health, metrics).merge(extra);
    let closing = supervisor.closing();
    supervisor.spawn(TaskKind::Critical, "http", async move {
        axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned()).await
    });
    Ok(bound)
}

fn router(health: Health, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(render_ready))
        .with_state(Shared { health, metrics })
}

async fn render_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    process::sample().emit();
    shared.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

async fn render_ready(State(shared): State<Shared>) -> impl IntoResponse {
    let missing = shared.health.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_metrics_and_extra_routes_answer_on_one_port() {
        let supervisor = Supervisor::new(CancellationToken::new());
        let health = Health::default();
        let probe = health.probe("zookeeper");
        let handle = PrometheusBuilder::new().build_recorder().handle();
        let extra = Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(any, extra, health, handle, &supervisor).await.unwrap();
        assert_ne!(address.port(), 0);
        assert!(get(address, "/health/live").await.starts_with("HTTP/1.1 200"));
        let ready = get(address, "/health/ready").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("zookeeper"), "{ready}");
        probe.ready();
        assert!(get(address, "/health/ready").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/hello").await.ends_with("hello"));
        supervisor.close(Duration::from_secs(2)).await;
        assert!(supervisor.alive().is_empty());
    }
}

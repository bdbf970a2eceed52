//! What a running service is given.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::arguments::CommonArgs;
use crate::health::Health;
use crate::http;
use crate::identity::{IdentityError, WorkerIdentity, default_data_dir};
use crate::supervisor::Supervisor;

/// What a running service is given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The service's name.
    pub service: &'static str,
    /// The checked common arguments.
    pub common: CommonArgs,
    /// Cancelled when the process shall end: stop intake, drain, give back, then return from the service's future.
    pub shutdown: CancellationToken,
    /// Where tasks are spawned.
    pub supervisor: Supervisor,
    /// Where readiness probes are registered.
    pub health: Health,
    pub(crate) metrics: PrometheusHandle,
}

impl Context {
    /// Binds the HTTP endpoint and serves metrics, health and `extra` until the very end of the shutdown. Returns the
    /// address that was bound.
    pub async fn serve(&self, extra: Router) -> Result<SocketAddr, std::io::Error> {
        let address = self.common.bind_address();
        http::serve(address, extra, self.health.clone(), self.metrics.clone(), &self.supervisor).await
    }

    /// The address under which others reach what was bound at `bound`.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        self.common.advertise.clone().unwrap_or_else(|| bound.to_string())
    }

    /// The directory for what must survive a restart.
    pub fn data_dir(&self) -> PathBuf {
        self.common.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    /// Takes this worker's stable id, locked until it is dropped.
    pub fn worker_identity(&self) -> Result<WorkerIdentity, IdentityError> {
        WorkerIdentity::acquire(self.service, &self.data_dir(), self.common.worker_id.as_deref())
    }
}

//! What can go wrong between us and ZooKeeper.

use lutra_change::TaskId;

/// Shorthand of this crate.
pub type Result<T, E = CoordinationError> = std::result::Result<T, E>;

/// What can go wrong between us and ZooKeeper.
#[derive(Debug, thiserror::Error)]
pub enum CoordinationError {
    /// The client or the server refused an operation.
    #[error("ZooKeeper: {operation} {path}")]
    Operation {
        /// What was tried.
        operation: &'static str,
        /// On which node.
        path: String,
        /// What came back.
        #[source]
        source: zookeeper_client::Error,
    },
    /// There is no session, and none came within the time allowed.
    #[error("no session with ZooKeeper at {hosts}; check that it runs and is reachable from here (--zookeeper)")]
    NotConnected {
        /// The configured servers.
        hosts: String,
    },
    /// A node holds something that this version does not understand.
    #[error("ZooKeeper node {path} does not hold what it should")]
    Payload {
        /// The node.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A node was written by a newer version.
    #[error("ZooKeeper node {path} has payload version {found}, this program knows {known}; upgrade it")]
    PayloadVersion {
        /// The node.
        path: String,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A node that must exist does not.
    #[error("ZooKeeper node {path} does not exist")]
    NotFound {
        /// The node.
        path: String,
    },
    /// A node that must not exist does.
    #[error("ZooKeeper node {path} exists already")]
    Exists {
        /// The node.
        path: String,
    },
    /// A node was changed by another since it was read.
    #[error("ZooKeeper node {path} was changed by another meanwhile; read it again")]
    Changed {
        /// The node.
        path: String,
    },
    /// The lock of the leader is gone: another manager leads.
    #[error("this manager no longer leads; nothing was written")]
    LeadershipLost,
    /// A worker id is in use elsewhere.
    #[error(
        "worker {id} of service {service} is registered from another data directory; give this one another --worker-id"
    )]
    WorkerIdTaken {
        /// The service.
        service: String,
        /// The id.
        id: String,
    },
    /// A task has no definition.
    #[error("task {task} is not defined")]
    NoSuchTask {
        /// The task.
        task: TaskId,
    },
}

impl CoordinationError {
    /// The operation may work when tried again with this or the next session. A write may have been done.
    pub fn is_transient(&self) -> bool {
        use zookeeper_client::Error as Zk;
        match self {
            Self::NotConnected { .. } => true,
            Self::Operation { source, .. } => matches!(
                source,
                Zk::ConnectionLoss
                    | Zk::SessionExpired
                    | Zk::SessionMoved
                    | Zk::ClientClosed
                    | Zk::Timeout
                    | Zk::NoHosts
                    | Zk::Throttled
                    | Zk::NotReadOnly
                    | Zk::UnexpectedError(_)
                    | Zk::Custom(_)
            ),
            _ => false,
        }
    }

    /// A node holds what this version does not understand.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Payload { .. } | Self::PayloadVersion { .. })
    }

    pub(crate) fn operation(operation: &'static str, path: &str, source: zookeeper_client::Error) -> Self {
        use zookeeper_client::Error as Zk;
        let path = path.to_owned();
        match source {
            Zk::NoNode => Self::NotFound { path },
            Zk::NodeExists => Self::Exists { path },
            Zk::BadVersion => Self::Changed { path },
            source => Self::Operation { operation, path, source },
        }
    }
}

//! What every room of the manager is given.

use std::sync::Arc;
use std::time::Duration;

use lutra_coordination::{Leadership, Store};
use lutra_kafka::{KafkaAdmin, KafkaConfig, LogTopic};
use tokio::sync::{OnceCell, watch};

use crate::error::ManagerError;
use crate::reconcile::Reconciler;
use crate::retention::Headrooms;

/// How long a worker or the leader may take to answer an ordinary call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What every room is given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Manager {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) kafka: Kafka,
    pub(crate) http: reqwest::Client,
    pub(crate) token: Option<String>,
    /// The leadership, while this manager has it.
    pub(crate) leadership: watch::Receiver<Option<Arc<Leadership>>>,
    pub(crate) reconciler: Reconciler,
    /// What is left of the logs' retention for their readers.
    pub(crate) headrooms: Headrooms,
}

/// Kafka, connected when it is first needed: a manager answers while Kafka is away.
#[derive(Debug)]
pub(crate) struct Kafka {
    config: KafkaConfig,
    pub(crate) topics: LogTopic,
    admin: OnceCell<KafkaAdmin>,
}

impl Kafka {
    pub(crate) fn new(config: KafkaConfig, topics: LogTopic) -> Self {
        Self { config, topics, admin: OnceCell::new() }
    }

    /// How it is reached.
    pub(crate) fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// The brokers, as configured.
    pub(crate) fn brokers(&self) -> &str {
        &self.config.brokers
    }

    /// The connection.
    pub(crate) async fn admin(&self) -> Result<&KafkaAdmin, ManagerError> {
        Ok(self.admin.get_or_try_init(|| KafkaAdmin::connect(&self.config)).await?)
    }
}

impl Manager {
    /// Typed access to ZooKeeper.
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The leadership, or the error that another manager has it.
    pub(crate) fn leadership(&self) -> Result<Arc<Leadership>, ManagerError> {
        self.inner.leadership.borrow().clone().ok_or(ManagerError::NoLeader)
    }

    /// Whether this manager leads.
    pub(crate) fn leads(&self) -> bool {
        self.inner.leadership.borrow().is_some()
    }

    /// One pass of the reconciler, now.
    pub(crate) async fn reconcile(&self) -> Result<(), ManagerError> {
        let leadership = self.leadership()?;
        self.inner.reconciler.run_once(self, &leadership).await.map(|_| ())
    }
}

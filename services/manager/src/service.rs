//! Wiring only.

use std::sync::Arc;

use lutra_coordination::{Coordination, LeaderElection};
use lutra_kafka::KafkaConfig;
use lutra_runtime::{Context, TaskKind};
use tokio::sync::watch;

use crate::config::ManagerArgs;
use crate::error::ManagerError;
use crate::manager::{CALL_TIMEOUT, Inner, Kafka, Manager};
use crate::reconcile::Reconciler;
use crate::retention::Headrooms;
use crate::{api, leader, retention};

/// The manager's life.
pub async fn run(context: Context, args: ManagerArgs) -> Result<(), ManagerError> {
    let common = &context.common;
    let Some(coordination) = Coordination::open(&context).await? else { return Ok(()) };
    let (leads, leadership) = watch::channel(None);
    let kafka = KafkaConfig { brokers: common.kafka.clone(), properties: common.kafka_property_map() };
    let manager = Manager {
        inner: Arc::new(Inner {
            store: coordination.store(),
            kafka: Kafka::new(kafka, args.log_topic()),
            http: reqwest::Client::builder()
                .connect_timeout(CALL_TIMEOUT)
                .no_proxy()
                .build()
                .map_err(ManagerError::Client)?,
            token: args.token(),
            leadership,
            reconciler: Reconciler::default(),
            headrooms: Headrooms::default(),
        }),
    };
    let bound = context.serve(api::router(&manager)).await.map_err(ManagerError::Serve)?;
    let address = context.advertised(bound);
    tracing::info!(%address, zookeeper = common.zookeeper, kafka = common.kafka, cluster = common.cluster, token = args.token_file.is_some(), "manager is up");
    let election = LeaderElection::new(coordination.clone(), address);
    let shutdown = context.shutdown.clone();
    context.supervisor.spawn(TaskKind::Critical, "leader", leader::run(manager.clone(), election, leads, shutdown));
    let measures = retention::run(manager.clone(), context.shutdown.clone());
    context.supervisor.spawn(TaskKind::BestEffort, "retention", measures);
    context.shutdown.cancelled().await;
    // The lock goes with the session: closing it lets the next manager lead at once.
    let mut leadership = manager.inner.leadership.clone();
    let _ = leadership.wait_for(Option::is_none).await;
    coordination.close().await;
    Ok(())
}

//! Looks at everything that a run stands on, and says what mends it.

use futures::future::join_all;
use lutra_change::{TaskId, TaskKind};
use lutra_coordination::ClusterSnapshot;
use lutra_spec::{Kind, target_databases};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::documents::Documents;
use crate::error::{ManagerError, NamedCheck, chain};
use crate::manager::Manager;
use crate::servers::{self, Asked};

/// What was looked at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Whether everything is as it must be.
    pub ok: bool,
    /// All checks.
    pub checks: Vec<NamedCheck>,
}

/// Looks at everything.
pub async fn examine(manager: &Manager) -> Result<Report, ManagerError> {
    let store = manager.store();
    let documents = Documents::read(store).await?;
    let cluster = store.snapshot().await?;
    let mut checks = vec![NamedCheck::new("ZooKeeper", "ensure_session", true, "connected", "a session", "")];
    let leader = store.leader_address().await?;
    let found = leader.clone().unwrap_or_else(|| "nobody".to_owned());
    checks.push(NamedCheck::new(
        "managers",
        "ensure_leader",
        leader.is_some(),
        found,
        "one manager that leads",
        "look at the managers' logs",
    ));
    checks.extend(workers(&documents, &cluster));
    checks.extend(topics(manager, &cluster).await);
    checks.extend(databases(&documents, &cluster).await);
    checks.extend(failures(&cluster));
    Ok(Report { ok: checks.iter().all(|c| c.ok), checks })
}

fn workers(documents: &Documents, cluster: &ClusterSnapshot) -> Vec<NamedCheck> {
    let needed = TaskKind::ALL.into_iter().filter(|kind| match kind {
        TaskKind::Extract => documents.names(Kind::Source).next().is_some(),
        TaskKind::Transform | TaskKind::Load => documents.names(Kind::Pipeline).next().is_some(),
    });
    needed
        .map(|kind| {
            let service = kind.service();
            let count = cluster.workers.keys().filter(|w| w.service == service).count();
            let mend = format!("start lutra-{service} with the same --zookeeper, --kafka and --cluster");
            NamedCheck::new(service, "ensure_worker", count > 0, format!("{count} registered"), "at least one", &mend)
        })
        .collect()
}

async fn topics(manager: &Manager, cluster: &ClusterSnapshot) -> Vec<NamedCheck> {
    let admin = match manager.inner.kafka.admin().await {
        Ok(admin) => admin,
        Err(error) => {
            let mend = "check --kafka and that the brokers run";
            return vec![NamedCheck::new("Kafka", "ensure_brokers", false, chain(&error), "brokers that answer", mend)];
        }
    };
    let mut checks = vec![NamedCheck::new("Kafka", "ensure_brokers", true, "connected", "brokers that answer", "")];
    for (id, task) in &cluster.tasks {
        let Some(log) = &task.value.log else { continue };
        let subject = format!("topic {}", log.topic);
        let (ok, found) = match admin.ensure_log_topic(&log.topic, &manager.inner.kafka.topics).await {
            Ok(()) => (true, "fit".to_owned()),
            Err(error) => (false, chain(&error)),
        };
        let mend = format!(
            "set the topic right with Kafka's tools; if records are lost: lutra adopt {} --from-target",
            id.name
        );
        checks.push(NamedCheck::new(&subject, "ensure_log_topic", ok, found, "a topic fit for an ordered log", &mend));
    }
    checks
}

async fn databases(documents: &Documents, cluster: &ClusterSnapshot) -> Vec<NamedCheck> {
    let begun = |name: &str| cluster.tasks.get(&TaskId::new(TaskKind::Extract, name)).is_some_and(|t| t.value.begun);
    let sources = documents.names(Kind::Source).filter_map(|name| documents.source(name).map(|spec| (name, spec)));
    let sources =
        join_all(sources.map(|(name, spec)| async move {
            (format!("source {name}"), servers::source(name, spec, begun(name)).await)
        }))
        .await;
    let targets = documents.names(Kind::Target).filter_map(|name| documents.target(name).map(|spec| (name, spec)));
    let targets = join_all(targets.map(|(name, spec)| {
        let databases = target_databases(&documents.plain(), name).into_iter().collect();
        async move { (format!("target {name}"), servers::target(name, spec, databases).await) }
    }))
    .await;
    let mut checks = Vec::new();
    for (subject, asked) in sources.into_iter().chain(targets) {
        match asked {
            Asked::Checks(found) => checks.extend(found),
            Asked::Unreachable(why) => {
                let mend = "check address, account, password and network from the manager's machine";
                checks.push(NamedCheck::new(
                    &subject,
                    "ensure_reachable",
                    false,
                    why,
                    "a server that lets us in",
                    mend,
                ));
            }
        }
    }
    checks
}

fn failures(cluster: &ClusterSnapshot) -> Vec<NamedCheck> {
    let check = |(id, failure): (&TaskId, &lutra_coordination::FailureReport)| {
        let found =
            std::iter::once(&failure.message).chain(&failure.chain).map(String::as_str).collect::<Vec<_>>().join(": ");
        NamedCheck::new(&format!("task {id}"), "ensure_running", false, found, "no failure", &failure.hint)
    };
    cluster.failures.iter().map(check).collect()
}

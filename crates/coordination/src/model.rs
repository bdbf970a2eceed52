//! What the nodes hold: small JSON that an operator can read with a shell. Every payload carries `"version": 1`.

use std::fmt;
use std::str::FromStr;

use lutra_change::{BinlogPosition, Epoch, GtidSet, LogId, Number, TaskId};
use lutra_spec::{PipelineSpec, SourceSpec, TargetSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What a person, through the manager, wants of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DesiredState {
    /// It shall run.
    #[default]
    Running,
    /// It shall keep its owner and do nothing.
    Paused,
    /// It shall have no owner.
    Stopped,
    /// It goes, with its log, whatever is wanted under its name meanwhile: that is made anew behind it.
    Removed,
}

/// What a task is seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ObservedState {
    /// Defined, and nobody wants it to run yet.
    Created,
    /// It shall run and has no worker.
    Pending,
    /// It has a worker and is starting.
    Assigned,
    /// It has a worker, and waits for servers that are on the way to what it needs of them.
    Recovering,
    /// It runs.
    Running,
    /// It has a worker and is told to do nothing.
    Paused,
    /// It does not run for a reason that is told; it is tried again by its policy.
    Failed,
    /// It reached its end.
    Completed,
    /// It was stopped for good.
    Cancelled,
}

impl fmt::Display for ObservedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Pending => "PENDING",
            Self::Assigned => "ASSIGNED",
            Self::Recovering => "RECOVERING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Failed => "FAILED",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        })
    }
}

/// A specification with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named<T> {
    /// The document's name.
    pub name: String,
    /// What it says.
    pub spec: T,
}

impl<T> Named<T> {
    /// `spec` under `name`.
    pub fn new(name: impl Into<String>, spec: T) -> Self {
        Self { name: name.into(), spec }
    }
}

/// An ordered log with its schemas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRef {
    /// The log's topic.
    pub topic: String,
    /// The identity that every record bears (P8).
    pub log_id: LogId,
    /// The topic of the row schemas.
    pub schemas_topic: String,
    /// The task that writes it: whose bookmarks a reader begins at, and who is asked to restart at a gap (P3).
    pub writer: TaskId,
}

/// Where a log begins that continues what a target already has. An extractor's origin is the heartbeat `number.next_sub()`,
/// which covers everything before it, at this place of the source, where it goes on reading; a transformer goes on behind
/// that number of its input, and its origin covers the input up to there. A loader whose target is *behind* the number must
/// halt: what lies between is in no log.
/// With `load`, the tables are made anew instead, and whatever the target has says nothing: the transformer begins with the
/// unit that makes them, as it does for a first full load, and the loader takes nothing before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// The last unit that the target has.
    pub number: Number,
    /// The server that was read.
    pub source_uuid: Uuid,
    /// Everything executed at the source up to that unit.
    pub gtid_set: GtidSet,
    /// Binlog file and byte behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<BinlogPosition>,
    /// Its commit time at the source, microseconds since the epoch.
    #[serde(default)]
    pub committed_at: i64,
    /// The pipeline's tables are loaded again, by the load of this id ([`LoadRequest::id`](crate::LoadRequest::id)): its
    /// log begins with the unit that makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Uuid>,
}

/// What a worker needs to know to run a task (`tasks/<task>`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinition {
    /// What is wanted.
    pub desired: DesiredState,
    /// Raised whenever anything in the specification changes: the owner drains and starts again in the next epoch.
    pub spec_version: u64,
    /// The source (all tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Named<SourceSpec>>,
    /// The target (load tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Named<TargetSpec>>,
    /// The pipeline (transform and load tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Named<PipelineSpec>>,
    /// The log it writes (extract and transform tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRef>,
    /// The log it reads (transform and load tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<LogRef>,
    /// Added to the `czxid` to make the term; raised by `adopt` when ZooKeeper was made anew.
    #[serde(default)]
    pub epoch_floor: u64,
    /// The log it writes continues a history that another log began (`lutra adopt`, `lutra rewind`, P8). Says nothing once
    /// begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adoption>,
    /// The cluster's id, which logs and targets are compared with.
    pub cluster: Uuid,
    /// The origin of the log it writes was acknowledged (P2). Kept in a node of its own, filled in by every read.
    #[serde(skip)]
    pub begun: bool,
}

impl TaskDefinition {
    /// A task that shall run, of nothing yet.
    pub fn new(cluster: Uuid) -> Self {
        Self {
            desired: DesiredState::Running,
            spec_version: 1,
            source: None,
            target: None,
            pipeline: None,
            log: None,
            input: None,
            epoch_floor: 0,
            adopt: None,
            cluster,
            begun: false,
        }
    }

    /// A run under `self` may not go on under `newer`.
    pub(crate) fn needs_restart(&self, newer: &Self) -> bool {
        let changed = |a: &Self, b: &Self| (a.spec_version, a.epoch_floor) != (b.spec_version, b.epoch_floor);
        changed(self, newer) || self.log != newer.log || self.input != newer.input || self.cluster != newer.cluster
    }
}

/// A worker by service and id. Its text, `<service>.<id>`, is its node under `assignments`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    /// `extractor`, `transformer`, `loader`.
    pub service: String,
    /// The stable id.
    pub id: String,
}

impl WorkerKey {
    /// The worker `id` of `service`.
    pub fn new(service: impl Into<String>, id: impl Into<String>) -> Self {
        Self { service: service.into(), id: id.into() }
    }
}

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.id)
    }
}

/// A text that is not `<service>.<id>`.
#[derive(Debug, thiserror::Error)]
#[error("worker {0:?} is not of the form SERVICE.ID")]
pub struct WorkerKeyError(String);

impl FromStr for WorkerKey {
    type Err = WorkerKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((service, id)) if !service.is_empty() && !id.is_empty() => Ok(Self::new(service, id)),
            _ => Err(WorkerKeyError(text.to_owned())),
        }
    }
}

impl Serialize for WorkerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkerKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a worker says of itself when it registers (`workers/<service>/<id>`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// `extractor`, `transformer`, `loader`.
    pub service: String,
    /// The stable id.
    pub id: String,
    /// Where its HTTP endpoint listens.
    pub address: String,
    /// Tasks it takes at most.
    pub capacity: u32,
    /// Version of the program.
    pub build: String,
    /// The id of the locked file that holds the worker id: the same id from elsewhere is another worker.
    pub home: Uuid,
    /// It gives its tasks back and shall get no more.
    #[serde(default)]
    pub draining: bool,
}

impl WorkerInfo {
    /// A worker of `service` with this stable identity.
    pub fn new(
        service: impl Into<String>,
        identity: &lutra_runtime::WorkerIdentity,
        address: impl fmt::Display,
        capacity: u32,
    ) -> Self {
        Self {
            service: service.into(),
            id: identity.id().to_owned(),
            address: address.to_string(),
            capacity,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            home: identity.home(),
            draining: false,
        }
    }

    /// Service and id.
    pub fn key(&self) -> WorkerKey {
        WorkerKey::new(&self.service, &self.id)
    }
}

/// A registered worker, as the manager sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// What it says of itself.
    #[serde(flatten)]
    pub info: WorkerInfo,
    /// When it registered, in milliseconds since the epoch (ZooKeeper's clock).
    pub registered_at: i64,
}

/// That a task shall be run by a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assignment {
    /// The worker.
    pub worker: WorkerKey,
    /// The task.
    pub task: TaskId,
}

/// What the owner of a task says of it (`running/<task>`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// The owner.
    pub worker: WorkerKey,
    /// The owner's home, see [`WorkerInfo::home`].
    pub home: Uuid,
    /// ASSIGNED, RUNNING, PAUSED, FAILED, COMPLETED.
    pub state: ObservedState,
    /// The epoch of the newest start.
    pub epoch: Epoch,
    /// The specification version that it runs.
    pub spec_version: u64,
    /// More, for people: the service says what.
    #[serde(default)]
    pub detail: Value,
}

/// Why a task does not run (`tasks/<task>/failure`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The causes, outermost first.
    pub chain: Vec<String>,
    /// The page of `deploy/runbooks` that is about it; empty where there is none.
    #[serde(default)]
    pub runbook: String,
    /// A person must act; it is tried again slowly all the same.
    pub halted: bool,
    /// Failures in a row.
    pub failures: u32,
    /// When, in milliseconds since the epoch.
    pub failed_at: i64,
    /// When it is tried again, in milliseconds since the epoch.
    pub retry_at: i64,
    /// Who ran it.
    pub worker: WorkerKey,
}

/// The wish that a task's owner start it again (`tasks/<task>/restart`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Who asks: a task or a person.
    pub by: String,
    /// Why: the service says what, such as the offset of a gap.
    pub reason: Value,
}

impl RestartRequest {
    /// A reader met a gap (P3): its `reason` has a `gap`. The start that answers trusts proven bookmarks only.
    pub fn is_for_gap(&self) -> bool {
        self.reason.get("gap").is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn states_are_written_in_capitals() {
        assert_eq!(serde_json::to_string(&ObservedState::Cancelled).unwrap(), "\"CANCELLED\"");
        assert_eq!(serde_json::to_string(&DesiredState::Paused).unwrap(), "\"PAUSED\"");
        assert_eq!(ObservedState::Failed.to_string(), "FAILED");
    }

    #[test]
    fn definitions_survive_their_text_without_begun() {
        let mut definition = TaskDefinition::new(Uuid::new_v4());
        definition.begun = true;
        let text = serde_json::to_string(&definition).unwrap();
        let read: TaskDefinition = serde_json::from_str(&text).unwrap();
        assert!(!read.begun);
        assert!(!definition.needs_restart(&read));
        let newer = TaskDefinition { spec_version: 2, ..read };
        assert!(definition.needs_restart(&newer));
    }

    /// What a newer manager asks for and this program does not know must not be left out silently.
    #[test]
    fn definitions_with_something_unknown_are_refused() {
        let mut value = serde_json::to_value(TaskDefinition::new(Uuid::new_v4())).unwrap();
        value["from_the_future"] = serde_json::json!(true);
        let error = serde_json::from_value::<TaskDefinition>(value).unwrap_err().to_string();
        assert!(error.contains("from_the_future"), "{error}");
    }

    /// What workers only say of themselves may say more.
    #[test]
    fn workers_of_newer_versions_are_understood() {
        let info = serde_json::json!({
            "service": "loader", "id": "a", "address": "x:1", "capacity": 1, "build": "9", "home": Uuid::new_v4(),
            "from_the_future": true,
        });
        assert_eq!(serde_json::from_value::<WorkerInfo>(info).unwrap().build, "9");
    }

    #[test]
    fn worker_keys_survive_their_text() {
        let key = WorkerKey::new("loader", "loader-1f.x");
        assert_eq!(key.to_string().parse::<WorkerKey>().unwrap(), key);
        assert!("loader".parse::<WorkerKey>().is_err());
    }
}

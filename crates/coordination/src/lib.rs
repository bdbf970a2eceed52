//! ZooKeeper decides who should run; logs and targets decide who can (P9).
//!
//! The only user of the ZooKeeper client: tree, sessions, registration, election, task ownership.
//!
//! | module | holds |
//! |---|---|
//! | [`tree`] | every path under `/lutra/<cluster>` |
//! | [`model`] | what the nodes hold: definitions, states, failures, workers |
//! | [`session`] | [`Coordination`]: one session after the other, for ever |
//! | [`store`] | [`Store`]: typed reads, documents, restart requests |
//! | [`changes`] | [`ChangeStream`]: what a manager is woken by |
//! | [`leader`] | [`LeaderElection`] and [`Leadership`]: the fenced writes |
//! | [`task`] | [`TaskRunner`], [`TaskContext`], [`TaskHandle`]: what a service implements and is given |
//! | [`agent`] | [`WorkerAgent`]: takes, runs, reports and gives back tasks |

pub mod agent;
pub mod changes;
pub mod error;
mod events;
mod keeper;
pub mod leader;
pub mod load;
pub mod model;
mod node;
pub mod session;
pub mod store;
pub mod task;
pub mod tree;
mod watch;

pub use agent::{AgentOptions, WorkerAgent};
pub use changes::{Change, ChangeStream};
pub use error::{CoordinationError, Result};
pub use leader::{LeaderElection, Leadership};
pub use load::{CopyState, LoadProgress, LoadRequest, LoadStream, TableProgress, TableWish, Wish};
pub use model::{
    Adoption, Assignment, DesiredState, FailureReport, LogRef, Named, ObservedState, RestartRequest, RunningStatus,
    TaskDefinition, WorkerInfo, WorkerKey, WorkerStatus,
};
pub use node::{Stored, Version};
pub use session::{Coordination, CoordinationConfig};
pub use store::{ClusterSnapshot, Store};
pub use task::{Disposition, TaskContext, TaskEnd, TaskFailure, TaskHandle, TaskRunner};

//! Scenarios on the real servers: a Lutra of one's own on shared MySQL, Kafka and ZooKeeper.
//!
//! A [`World`] is one cluster: a manager, an extractor, a transformer and a loader as real processes, one source, one
//! target, one pipeline, each with names of its own, so that scenarios run side by side on the same servers.

pub mod banking;
pub mod proxy;
pub mod sampler;
pub mod world;

pub use banking::Banking;
pub use world::{World, WorldOptions};

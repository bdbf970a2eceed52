//! Who looks while it happens, and at each rest.

pub mod audit;
pub mod conserved;
pub mod flat;
pub mod health;
pub mod named;
pub mod resources;
pub mod rest;
pub mod sampler;

pub use sampler::{Pulse, Sampler};

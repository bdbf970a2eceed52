//! Scenarios on the real servers.

//! Benchmarks on the real servers.
fn main() {}

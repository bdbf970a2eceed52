//! Ordered log to target database, exactly once.
fn main() {}

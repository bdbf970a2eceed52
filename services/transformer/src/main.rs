//! Ordered log to ordered log, by rules.
fn main() {}

//! Binlog to ordered log.
fn main() {}

//! cargo xtask: demo, test, check, bench, stack.
fn main() {}

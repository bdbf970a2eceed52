//! The control plane: reconcilers, REST API.
fn main() {}

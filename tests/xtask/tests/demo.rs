//! The demo, short and built for debugging, from its first line to its exit code.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
#[ignore = "long"]
fn the_demo_survives_its_kill_and_ends_with_source_and_target_equal() {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--yes", "--seconds", "10", "--rate", "50"])
        .env("LUTRA_PROFILE", "debug")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("{said}\nin {:?}", began.elapsed());
    assert!(output.status.success(), "the demo ended with {}", output.status);
    for part in ["killed the loader (SIGKILL)", "next commit in the target", "source and target       equal"] {
        assert!(said.contains(part), "the demo did not say {part:?}");
    }
    // Nobody looks at a terminal: lines, and no pictures.
    assert!(!said.contains('\u{1b}'), "the demo writes to a terminal that is none");
}

//! Every key of a specification stands in its reference, and nothing else does.

use std::collections::BTreeSet;
use std::fs;

use lutra_harness::home::repository;

/// Where keys are taken out of the mappings of a document.
const PARSER: &str = "crates/spec/src/parse.rs";
/// Keys of a document around its `spec`, and of what stands in the reference as a whole.
const AROUND: [&str; 10] = ["kind", "name", "spec", "tls", "mode", "ca", "columns", "position", "file", "offset"];

/// The keys that the parser asks for.
fn parsed() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join(PARSER)).unwrap();
    let asked =
        ["get(\"", ".need(walk, \"", "bytes(walk, fields, \"", "bytes(walk, &mut fields, \"", "number(walk, \""];
    let keys = asked.iter().flat_map(|before| text.split(before).skip(1)).filter_map(|rest| rest.split('"').next());
    keys.filter(|key| !AROUND.contains(key)).map(str::to_owned).collect()
}

/// The keys in the first column of the reference's tables.
fn told() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("docs/reference/specification.md")).unwrap();
    let first = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let keys = first.flat_map(|cell| cell.split(", ")).map(|key| key.trim_matches('`'));
    keys.map(|key| key.rsplit('.').next().unwrap_or(key))
        .filter(|key| !AROUND.contains(key))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_reference_names_every_key_of_a_specification() {
    let (parsed, told) = (parsed(), told());
    assert!(parsed.contains("on_conflict") && parsed.contains("rows_per_second"), "{parsed:?}");
    let missing: Vec<_> = parsed.difference(&told).filter(|key| !["gtid", "time"].contains(&key.as_str())).collect();
    let made_up: Vec<_> = told.difference(&parsed).collect();
    assert!(missing.is_empty() && made_up.is_empty(), "missing: {missing:?}; made up: {made_up:?}");
}

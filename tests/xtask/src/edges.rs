//! Which of the workspace's crates uses which: a golden file, so that a new edge is a visible change.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

const HEAD: &str = "# Which crate of the workspace uses which. Checked by `cargo xtask check edges`;\n\
    # `cargo xtask check edges --bless` writes it anew. A new edge needs a reason in its commit.\n";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// The edges that `cargo metadata --no-deps` tells of, one a line.
fn edges(metadata: &[u8]) -> Result<String> {
    let metadata: Metadata = serde_json::from_slice(metadata).context("understand cargo's metadata")?;
    let own: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut lines = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|dependency| own.contains(dependency.name.as_str())) {
            let kind = dependency.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            lines.insert(format!("{} -> {}{kind}\n", package.name, dependency.name));
        }
    }
    Ok(std::iter::once(HEAD.to_owned()).chain(lines).collect())
}

/// Compares with the golden file, or writes it anew.
pub(crate) fn check(metadata: &[u8], golden: &Path, bless: bool) -> Result<()> {
    let now = edges(metadata)?;
    if bless {
        return fs::write(golden, now).with_context(|| format!("write {}", golden.display()));
    }
    let before = fs::read_to_string(golden).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (old, new) = (lines(&before), lines(&now));
    if old == new {
        return Ok(());
    }
    let added = new.difference(&old).map(|line| format!("  + {line}\n"));
    let text: String = added.chain(old.difference(&new).map(|line| format!("  - {line}\n"))).collect();
    bail!(
        "the dependency edges differ from {}:\n{text}if that is meant: cargo xtask check edges --bless",
        golden.display()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const METADATA: &[u8] = br#"{"packages": [
        {"name": "b", "dependencies": [{"name": "a", "kind": null}, {"name": "serde", "kind": null}]},
        {"name": "a", "dependencies": [{"name": "b", "kind": "dev"}]}]}"#;

    #[test]
    fn edges_are_those_within_the_workspace_with_their_kind() {
        assert_eq!(edges(METADATA).unwrap(), format!("{HEAD}a -> b (dev)\nb -> a\n"));
    }

    #[test]
    fn a_new_edge_is_told_and_blessed() {
        let folder = tempfile::tempdir().unwrap();
        let golden = folder.path().join("edges.txt");
        fs::write(&golden, format!("{HEAD}b -> a\nb -> c\n")).unwrap();
        let error = check(METADATA, &golden, false).unwrap_err().to_string();
        assert!(error.contains("+ a -> b (dev)") && error.contains("- b -> c"), "{error}");
        check(METADATA, &golden, true).unwrap();
        check(METADATA, &golden, false).unwrap();
    }
}

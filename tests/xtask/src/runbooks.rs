//! Every page that a service names is there, and every page that is there is named.

use std::collections::BTreeSet;
use std::fs;

use lutra_harness::home::repository;

const PARTS: [&str; 4] = ["**What.**", "**Why.**", "**How to see it.**", "**What to do.**"];

/// The names in a service's `runbook.rs`: its string literals.
fn named() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for service in ["extractor", "transformer", "loader"] {
        let path = repository().join(format!("services/{service}/src/runbook.rs"));
        let text = fs::read_to_string(&path).unwrap();
        names.extend(text.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    names
}

#[test]
fn services_name_the_runbooks_that_there_are() {
    let folder = repository().join("deploy/runbooks");
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .filter(|name| name != "README")
        .collect();
    assert_eq!(named(), pages);
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    for page in &pages {
        let text = fs::read_to_string(folder.join(format!("{page}.md"))).unwrap();
        let found: Vec<_> = PARTS.iter().filter_map(|part| text.find(part)).collect();
        assert!(found.len() == PARTS.len() && found.is_sorted(), "{page} lacks a part");
        assert!(index.contains(&format!("({page}.md)")), "the index lacks {page}");
    }
}

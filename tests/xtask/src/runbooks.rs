//! Every page that a service names is there, and every page that is there is named; and every command that people are told to run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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

/// The commands of `lutra`: the variants of its enumeration, as clap spells them.
fn commands() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("services/cli/src/arguments.rs")).unwrap();
    let body = text.split("pub enum Command {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let words = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    words.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_lowercase()).collect()
}

/// All files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let fits = endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending));
            if path.is_dir() { files(&path, endings) } else { Vec::from_iter(fits.then_some(path)) }
        })
        .collect()
}

#[test]
fn people_are_told_to_run_commands_that_there_are() {
    let commands = commands();
    assert!(commands.contains("adopt") && commands.contains("completions"), "{commands:?}");
    let folders =
        ["docs", "deploy", "services", "crates"].map(|folder| files(&repository().join(folder), &["md", "rs"]));
    let readme = vec![repository().join("README.md")];
    let (mut told, mut wrong) = (0, Vec::new());
    for path in folders.iter().chain([&readme]).flatten() {
        let text = fs::read_to_string(path).unwrap();
        for rest in text.split("`lutra ").skip(1) {
            let command: String = rest.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            told += 1;
            if !command.is_empty() && !commands.contains(&command) {
                wrong.push(format!("{}: lutra {command}", path.display()));
            }
        }
    }
    assert!(told > 100 && wrong.is_empty(), "of {told}: {wrong:?}");
}

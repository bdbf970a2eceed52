//! The 82 hard cases: none is missing, and each ends as `docs/reference/fidelity.md` says.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lutra_conformance::runner::{Suite, copied};
use lutra_conformance::table::{self, Results};
use lutra_conformance::{Case, Expected, Outcome};

/// The last case about types and values.
const LAST_OF_TYPES: u16 = 27;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Result<Vec<Case>> {
    Case::read_all(&root().join("cases"))
}

#[test]
fn no_hard_case_is_missing() -> Result<()> {
    let have: BTreeSet<u16> = cases()?.iter().map(|case| case.number).collect();
    let missing: Vec<u16> = (1..=82).filter(|number| !have.contains(number)).collect();
    assert!(missing.is_empty(), "no case file for {missing:?}");
    Ok(())
}

#[test]
fn a_test_that_is_named_is_there() -> Result<()> {
    for case in cases()? {
        let Expected::Tested(file, function) = &case.expected else { continue };
        let text = std::fs::read_to_string(root().join("../..").join(file)).with_context(|| format!("read {file}"))?;
        ensure!(text.contains(&format!("fn {function}(")), "{}: {file} has no {function}", case.name);
    }
    Ok(())
}

#[test]
fn the_page_lists_every_case() -> Result<()> {
    let text = std::fs::read_to_string(table::path())?;
    for case in cases()? {
        ensure!(text.contains(&format!("| `{}` |", case.name)), "{} is not in the page's table", case.name);
    }
    Ok(())
}

/// `LUTRA_CASES` chooses cases by the beginnings of their names (`01,21-json`); `LUTRA_BLESS=1` writes the results down.
#[tokio::test]
#[ignore = "needs real servers"]
async fn every_case_ends_as_the_page_says() -> Result<()> {
    if let Some(folder) = std::env::var_os("LUTRA_CASES_FROM") {
        return strangers(Path::new(&folder)).await;
    }
    let all = cases()?;
    let chosen = chosen(&all);
    let mut suite = Suite::new(&chosen);
    let mut outcomes = Vec::new();
    for case in &chosen {
        let outcome = suite.run(case).await?;
        println!("{}: {outcome:?}", case.name);
        outcomes.push(outcome);
    }
    let pair = suite.pair().context("no case ran")?;
    hold(&pair.to_string(), &all, &chosen, &outcomes)
}

/// The cases about types and values: rows that a full load copies are the same as those that are followed.
#[tokio::test]
#[ignore = "needs real servers"]
async fn every_type_is_copied_as_the_page_says() -> Result<()> {
    let from = std::env::var_os("LUTRA_CASES_FROM");
    let all = from.as_ref().map_or_else(cases, |folder| Case::read_all(Path::new(folder)))?;
    let chosen: Vec<Case> = chosen(&all).into_iter().filter(|case| case.number <= LAST_OF_TYPES).collect();
    let (pair, outcomes) = copied(&chosen).await?;
    if from.is_some() {
        let failed = |(case, outcome): (&Case, Outcome)| match outcome {
            Outcome::Failed(how) => Some(format!("{}: {how}", case.name)),
            _ => None,
        };
        let failed: Vec<String> = chosen.iter().zip(outcomes).filter_map(failed).collect();
        ensure!(failed.is_empty(), "{} script(s) fail:\n{}", failed.len(), failed.join("\n"));
        return Ok(());
    }
    for (case, outcome) in chosen.iter().zip(&outcomes) {
        println!("{}: {outcome:?}", case.name);
    }
    hold(&format!("{pair}, copied"), &all, &chosen, &outcomes)
}

/// Case files of another folder, `LUTRA_CASES_FROM`: scripts that the page knows nothing of. All must end as they say themselves.
async fn strangers(folder: &Path) -> Result<()> {
    let chosen = chosen(&Case::read_all(folder)?);
    let mut suite = Suite::new(&chosen);
    let mut failed = Vec::new();
    for case in &chosen {
        let outcome = suite.run(case).await?;
        println!("{}: {outcome:?}", case.name);
        if let Outcome::Failed(how) = outcome {
            failed.push(format!("{}: {how}", case.name));
        }
    }
    ensure!(failed.is_empty(), "{} script(s) fail:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

fn chosen(all: &[Case]) -> Vec<Case> {
    let wanted = std::env::var("LUTRA_CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let chosen = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| case.name.starts_with(name));
    all.iter().filter(chosen).cloned().collect()
}

/// Holds outcomes against the page, or writes them there.
fn hold(pair: &str, all: &[Case], chosen: &[Case], outcomes: &[Outcome]) -> Result<()> {
    let text = std::fs::read_to_string(table::path())?;
    let mut results = Results::parse(&text);
    let mut unlike = Vec::new();
    for (case, outcome) in chosen.iter().zip(outcomes) {
        let (kept, found) = (results.kept(case, pair).to_owned(), table::word(case, pair, outcome));
        if kept != found {
            unlike.push(format!("{}: the page says `{kept}`, seen: {found} {outcome:?}", case.name));
        }
        results.set(case, pair, outcome);
    }
    if std::env::var_os("LUTRA_BLESS").is_some() {
        std::fs::write(table::path(), results.written_into(&text, all)?)?;
        return Ok(());
    }
    ensure!(unlike.is_empty(), "{pair}: {} case(s) end otherwise:\n{}", unlike.len(), unlike.join("\n"));
    Ok(())
}

//! The table in `docs/reference/fidelity.md`: every case, and how it ends on each pair of servers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lutra_mysql::Flavour;

use crate::case::{Case, Expected};
use crate::runner::Outcome;

const BEGIN: &str = "<!-- results: written by the conformance suite -->\n";
const END: &str = "<!-- end of results -->\n";
/// Pairs of servers, and how the rows came: followed in the stream, or copied by a full load.
const PAIRS: [&str; 6] = [
    "MySQL → MySQL",
    "MySQL → MySQL, copied",
    "MariaDB → MariaDB",
    "MySQL → MariaDB",
    "MariaDB → MySQL",
    "MariaDB → MariaDB, copied",
];

/// What a cell may say.
const WORDS: [&str; 7] = ["equal", "refused", "differs", "passes", "pending", "**fails**", "-"];

/// The file.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fidelity.md")
}

/// Results by case and pair, as a text keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<(String, String), String>);

impl Results {
    /// Reads them out of the file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut results = BTreeMap::new();
        let table = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map_or("", |(table, _)| table);
        for line in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let line = line.replace("\\|", "");
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let Some(name) = cells.get(2).map(|cell| cell.trim_matches('`').to_owned()) else { continue };
            for (pair, cell) in PAIRS.iter().zip(cells.iter().skip(3)) {
                if WORDS.contains(cell) {
                    results.insert((name.clone(), (*pair).to_owned()), (*cell).to_owned());
                }
            }
        }
        Self(results)
    }

    /// What is kept of a case.
    #[must_use]
    pub fn kept(&self, case: &Case, pair: &str) -> &str {
        self.0.get(&(case.name.clone(), pair.to_owned())).map_or("", String::as_str)
    }

    /// Takes an outcome in.
    pub fn set(&mut self, case: &Case, pair: &str, outcome: &Outcome) {
        self.0.insert((case.name.clone(), pair.to_owned()), word(case, pair, outcome).to_owned());
    }

    /// The table.
    #[must_use]
    pub fn table(&self, cases: &[Case]) -> String {
        let mut table = format!(
            "| # | Case | Test | {} | Note |\n|---|---|---|{}---|\n",
            PAIRS.join(" | "),
            "---|".repeat(PAIRS.len())
        );
        let mut cases: Vec<&Case> = cases.iter().collect();
        cases.sort_by_key(|case| (case.number, case.name.clone()));
        for case in cases {
            let cells = PAIRS.map(|pair| {
                let kept = self.0.get(&(case.name.clone(), pair.to_owned()));
                kept.map_or(String::new(), Clone::clone)
            });
            let cell = |text: &str| text.replace('|', "\\|");
            let note = note(case);
            let (number, title, name, cells) = (case.number, cell(&case.title), &case.name, cells.join(" | "));
            table.push_str(&format!("| {number} | {title} | `{name}` | {cells} | {} |\n", cell(&note)));
        }
        table
    }

    /// The file's text with this table in it.
    ///
    /// # Errors
    /// When the text has no place for it.
    pub fn written_into(&self, text: &str, cases: &[Case]) -> Result<String> {
        let (before, rest) = text.split_once(BEGIN).context("the file has no mark where results begin")?;
        let (_, after) = rest.split_once(END).context("the file has no mark where results end")?;
        Ok(format!("{before}{BEGIN}{}{END}{after}", self.table(cases)))
    }
}

/// The word that the table has for an outcome.
#[must_use]
pub fn word(case: &Case, pair: &str, outcome: &Outcome) -> &'static str {
    match (outcome, &case.expected) {
        (Outcome::Equal, _) => "equal",
        (Outcome::Refused, _) => "refused",
        (Outcome::Differs, _) => "differs",
        (Outcome::Failed(_), _) => "**fails**",
        (Outcome::NotRun, Expected::Pending(_)) if is_meant_for(case, pair) => "pending",
        // The tests that are named run on MySQL, or on no server.
        (Outcome::NotRun, Expected::Tested(..)) if pair == PAIRS[0] => "passes",
        (Outcome::NotRun, _) => "-",
    }
}

/// Whether the case can run on these servers at all.
fn is_meant_for(case: &Case, pair: &str) -> bool {
    let flavour = |name: &str| if name.starts_with("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    pair.split_once(" → ").is_none_or(|(source, target)| case.fits(flavour(source), flavour(target)))
}

fn note(case: &Case) -> String {
    let why = |expected: &Expected| match expected {
        Expected::Refused(text) => format!("halts with “{text}”"),
        Expected::Differs(how) => how.clone(),
        Expected::Pending(why) => why.clone(),
        Expected::Tested(file, function) => format!("tested by `{function}` in `{file}`"),
        Expected::Equal => String::new(),
    };
    let exceptions = case.exceptions.iter().map(|(on, expected)| (on.as_str(), why(expected)));
    let exceptions = exceptions.filter(|(_, why)| !why.is_empty()).map(|(on, why)| format!("{}: {why}", name_of(on)));
    let all: Vec<String> = [why(&case.expected), case.note.clone()].into_iter().chain(exceptions).collect();
    all.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}

fn name_of(servers: &str) -> &str {
    match servers {
        "mysql-mariadb" => PAIRS[3],
        "mariadb-mysql" => PAIRS[4],
        "mariadb-mariadb" => PAIRS[2],
        "mariadb-copied" => PAIRS[5],
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_of_one_family_is_not_pending_on_another() -> Result<()> {
        let case =
            Case::parse("24-x", "-- case: 24\n-- title: x\n-- source: mariadb\n-- target: mariadb\n-- pending: y\n")?;
        let words = PAIRS.map(|pair| word(&case, pair, &Outcome::NotRun));
        assert_eq!(words, ["-", "-", "pending", "-", "-", "pending"]);
        Ok(())
    }

    #[test]
    fn results_survive_their_table() -> Result<()> {
        let cases =
            [Case::parse("01-x", "-- case: 1\n-- title: a | b\n")?, Case::parse("02-y", "-- case: 2\n-- title: c\n")?];
        let pair = PAIRS[0];
        let mut results = Results::default();
        results.set(&cases[1], pair, &Outcome::Equal);
        let text = results.written_into(&format!("before\n{BEGIN}{END}after\n"), &cases)?;
        assert!(text.starts_with("before\n") && text.ends_with("after\n"));
        assert_eq!(Results::parse(&text), results);
        assert_eq!(Results::parse(&text).kept(&cases[1], pair), "equal");
        Ok(())
    }
}

//! A case file, and what its lines mean.
//!
//! The header is made of lines `-- key: value`:
//!
//! | key | meaning |
//! |---|---|
//! | `case` | number of the hard case |
//! | `title` | what it is about |
//! | `source`, `target` | `mysql` or `mariadb`, where it can run on one of them only |
//! | `expect` | `equal` (the default), or `refused TEXT`: a task halts with a message that holds the text |
//! | `pending` | why it cannot be right yet; it is not run |
//! | `tested` | `FILE FUNCTION`: the test elsewhere that proves it; it is not run here |
//! | `mysql-mariadb`, `mariadb-mysql`, `mariadb-mariadb`, `copied` | as `expect`, on these servers, or where a full load brings the rows |
//! | `mariadb-copied` | as `copied`, on MariaDB |
//! | `note` | what a reader of the table should know |
//!
//! Besides the two words of `expect` there is `differs TEXT`: the target differs, and TEXT says how and why.
//!
//! Behind it stands SQL. It runs in a database of its own; `{db}` is that database's name, and `{db}_2` may be used beside
//! it. Between statements, lines `-- @…` direct the run:
//!
//! | line | meaning |
//! |---|---|
//! | `-- @session NAME` | go on in this session (the first is `main`) |
//! | `-- @target` | go on at the target, by an account of its own; `-- @session` leads back |
//! | `-- @fails` | the next statement fails at the server, and may |
//! | `-- @verbatim` | what stands up to the next direction is one statement, quotes not looked at |
//! | `-- @settle` | wait until the target has followed, and compare |
//! | `-- @close` | end the session |
//! | `-- @restart SERVICE` | kill a service and start it again |
//! | `-- @probe SELECT …` | at the end, this query gives the same on both sides |

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lutra_mysql::Flavour;

use crate::script::statements;

/// How a case ends where all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Source and target are equal.
    Equal,
    /// A task halts with a message that holds this text.
    Refused(String),
    /// The target differs: how and why.
    Differs(String),
    /// Not run: why it cannot be right yet.
    Pending(String),
    /// Not run here: file and function of the test that proves it.
    Tested(String, String),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a statement; whether it must fail.
    Run(String, bool),
    /// Go on in this session.
    Session(String),
    /// Go on at the target.
    Target,
    /// Wait and compare.
    Settle,
    /// End the session.
    Close,
    /// Kill this service and start it again.
    Restart(String),
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of its file, without the ending.
    pub name: String,
    /// Number of the hard case.
    pub number: u16,
    /// What it is about.
    pub title: String,
    /// Where it can run: the source's server.
    pub source: Option<Flavour>,
    /// Where it can run: the target's server.
    pub target: Option<Flavour>,
    /// How it ends where all is well.
    pub expected: Expected,
    /// The same for some servers, by their names (`mysql-mariadb`), or for a full load (`copied`), where it ends otherwise.
    pub exceptions: BTreeMap<String, Expected>,
    /// What a reader of the table should know.
    pub note: String,
    /// What is done.
    pub steps: Vec<Step>,
    /// Queries that give the same on both sides.
    pub probes: Vec<String>,
}

impl Case {
    /// Reads all cases of a folder, in the order of their names.
    ///
    /// # Errors
    /// When a file is not a case; the error names it.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let name = path.file_stem().and_then(|name| name.to_str()).context("a file's name is not text")?;
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            Self::parse(name, &text).with_context(|| format!("understand {}", path.display()))
        };
        paths.iter().map(read).collect()
    }

    /// Reads a case.
    ///
    /// # Errors
    /// When the header or a direction is not understood.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut case = Self {
            name: name.to_owned(),
            number: 0,
            title: String::new(),
            source: None,
            target: None,
            expected: Expected::Equal,
            exceptions: BTreeMap::new(),
            note: String::new(),
            steps: Vec::new(),
            probes: Vec::new(),
        };
        let mut body = text;
        while let Some(rest) = body.strip_prefix("-- ").filter(|rest| !rest.starts_with('@')) {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            case.header(line)?;
            body = after;
        }
        case.body(body)?;
        if case.number == 0 || case.title.is_empty() {
            bail!("a case has a number and a title");
        }
        Ok(case)
    }

    fn header(&mut self, line: &str) -> Result<()> {
        let (key, value) = line.split_once(": ").with_context(|| format!("`{line}` is not `key: value`"))?;
        let value = value.trim();
        match key {
            "case" => self.number = value.parse().context("the number of a case")?,
            "title" => value.clone_into(&mut self.title),
            "source" => self.source = Some(flavour(value)?),
            "target" => self.target = Some(flavour(value)?),
            "note" => value.clone_into(&mut self.note),
            "pending" => self.expected = Expected::Pending(value.to_owned()),
            "tested" => {
                let (file, function) = value.split_once(' ').context("tested: FILE FUNCTION")?;
                self.expected = Expected::Tested(file.to_owned(), function.to_owned());
            }
            "expect" => self.expected = expected(value)?,
            "mysql-mariadb" | "mariadb-mysql" | "mariadb-mariadb" | "copied" | "mariadb-copied" => {
                self.exceptions.insert(key.to_owned(), expected(value)?);
            }
            _ => bail!("there is no key `{key}`"),
        }
        Ok(())
    }

    /// Directions stand on lines of their own, between statements.
    fn body(&mut self, text: &str) -> Result<()> {
        let mut sql = String::new();
        let (mut fails, mut verbatim) = (false, false);
        for line in text.split_inclusive('\n') {
            let Some(direction) = line.strip_prefix("-- @") else {
                sql.push_str(line);
                continue;
            };
            self.run(&std::mem::take(&mut sql), std::mem::take(&mut verbatim), &mut fails);
            let (word, rest) = direction.trim().split_once(' ').unwrap_or((direction.trim(), ""));
            let step = match word {
                "fails" => {
                    fails = true;
                    continue;
                }
                "verbatim" => {
                    verbatim = true;
                    continue;
                }
                "probe" => {
                    self.probes.push(rest.to_owned());
                    continue;
                }
                "session" => Step::Session(rest.to_owned()),
                "target" => Step::Target,
                "settle" => Step::Settle,
                "close" => Step::Close,
                "restart" => Step::Restart(rest.to_owned()),
                _ => bail!("there is no direction `@{word}`"),
            };
            self.steps.push(step);
        }
        self.run(&sql, verbatim, &mut fails);
        Ok(())
    }

    fn run(&mut self, sql: &str, verbatim: bool, fails: &mut bool) {
        for statement in if verbatim { vec![sql.trim_end().to_owned()] } else { statements(sql) } {
            self.steps.push(Step::Run(statement, std::mem::take(fails)));
        }
    }

    /// Whether it can run on these servers.
    #[must_use]
    pub fn fits(&self, source: Flavour, target: Flavour) -> bool {
        self.source.is_none_or(|wanted| wanted == source) && self.target.is_none_or(|wanted| wanted == target)
    }

    /// How it ends on these servers (`mysql-mariadb`), or where it is copied (`copied`).
    #[must_use]
    pub fn expected_on(&self, servers: &str) -> &Expected {
        let general = servers.strip_prefix("mariadb-").filter(|kind| *kind == "copied");
        let exception = self.exceptions.get(servers).or_else(|| self.exceptions.get(general?));
        exception.unwrap_or(&self.expected)
    }

    /// Whether it is run by this suite.
    #[must_use]
    pub fn is_run(&self) -> bool {
        matches!(self.expected, Expected::Equal | Expected::Refused(_) | Expected::Differs(_))
    }
}

fn expected(value: &str) -> Result<Expected> {
    Ok(match value.split_once(' ') {
        Some(("refused", text)) => Expected::Refused(text.to_owned()),
        Some(("differs", text)) => Expected::Differs(text.to_owned()),
        None if value == "equal" => Expected::Equal,
        _ => bail!("`{value}` is neither `equal`, `refused TEXT` nor `differs TEXT`"),
    })
}

fn flavour(text: &str) -> Result<Flavour> {
    match text {
        "mysql" => Ok(Flavour::MySql),
        "mariadb" => Ok(Flavour::MariaDb),
        _ => bail!("`{text}` is neither `mysql` nor `mariadb`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_statements_and_directions_are_told_apart() -> Result<()> {
        let text = "-- case: 7\n-- title: dates\n-- source: mysql\n-- expect: refused no such thing\n-- copied: differs a little\n\
                    CREATE TABLE t (a INT); INSERT INTO t VALUES (1);\n-- @session b\n-- @fails\nSELECT;\n-- @settle\n\
                    -- @probe SELECT 1\nSELECT 2;\n";
        let case = Case::parse("07-dates", text)?;
        assert_eq!((case.number, case.source), (7, Some(Flavour::MySql)));
        assert_eq!(case.expected_on("mysql-mysql"), &Expected::Refused("no such thing".to_owned()));
        assert_eq!(case.expected_on("copied"), &Expected::Differs("a little".to_owned()));
        let run = |text: &str, fails| Step::Run(text.to_owned(), fails);
        assert_eq!(
            case.steps,
            [
                run("CREATE TABLE t (a INT)", false),
                run("INSERT INTO t VALUES (1)", false),
                Step::Session("b".to_owned()),
                run("SELECT", true),
                Step::Settle,
                run("SELECT 2", false)
            ]
        );
        assert_eq!(case.probes, ["SELECT 1"]);
        assert!(case.fits(Flavour::MySql, Flavour::MariaDb) && !case.fits(Flavour::MariaDb, Flavour::MySql));
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in ["-- title: x\nSELECT 1", "-- case: 1\n-- colour: red\n", "-- case: 1\n-- title: x\n-- @jump\n"] {
            assert!(Case::parse("x", bad).is_err(), "{bad}");
        }
    }
}

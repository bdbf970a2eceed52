//! Column rules in the text of CREATE TABLE, ALTER TABLE, CREATE INDEX.

use std::ops::Range;

use lutra_change::sql_lexer::{TokenKind, quote};
use lutra_change::{DdlKind, Statement};
use lutra_spec::ColumnRules;

use crate::ddl::Edit;

/// Words that begin an item of CREATE TABLE which defines no column.
const NO_COLUMN: [&str; 10] =
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "KEY", "INDEX", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PERIOD"];

/// What an item does to the column that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Adds, changes the type of, or drops it under its own name.
    Define,
    /// DROP COLUMN.
    Drop,
    /// CHANGE or RENAME COLUMN.
    Rename,
}

/// The edits that carry out column rules; `None` if nothing of the statement is left.
pub(crate) fn edits(
    statement: &Statement<'_>,
    behind: usize,
    kind: DdlKind,
    rules: &ColumnRules,
) -> Result<Option<Vec<Edit>>, String> {
    match kind {
        DdlKind::CreateTable => {
            if statement.is(behind, "LIKE") || statement.is(behind + 1, "LIKE") {
                return Err("it is made like another table, whose columns may have other rules".to_owned());
            }
            let items = statement.items(group(statement, behind)?);
            let kept = Editor { statement, rules, edits: Vec::new() }
                .run(&items, |at| (!NO_COLUMN.iter().any(|w| statement.is(at, w))).then_some((at, Action::Define)))?;
            Ok(Some(kept.0))
        }
        DdlKind::AlterTable if statement.is(0, "ALTER") => {
            let items = statement.items(behind..statement.tokens.len());
            let all = items.len();
            let (edits, removed) =
                Editor { statement, rules, edits: Vec::new() }.run(&items, |at| altered(statement, at))?;
            Ok((removed == 0 || removed < all).then_some(edits))
        }
        // CREATE INDEX; DROP INDEX names no column.
        DdlKind::AlterTable => match group(statement, behind) {
            Ok(range) => Ok(Some(
                Editor { statement, rules, edits: Vec::new() }
                    .run(std::slice::from_ref(&(range.start - 1..range.end)), |_| None)?
                    .0,
            )),
            Err(_) => Ok(Some(Vec::new())),
        },
        _ => Ok(Some(Vec::new())),
    }
}

/// The column that an item of ALTER TABLE is about.
fn altered(statement: &Statement<'_>, at: usize) -> Option<(usize, Action)> {
    let action = match () {
        () if statement.is(at, "ADD") || statement.is(at, "MODIFY") || statement.is(at, "ALTER") => Action::Define,
        () if statement.is(at, "DROP") => Action::Drop,
        () if statement.is(at, "CHANGE") => Action::Rename,
        () if statement.is(at, "RENAME") && statement.is(at + 1, "COLUMN") => Action::Rename,
        () => return None,
    };
    let mut name_at = at + 1;
    while ["COLUMN", "IF", "NOT", "EXISTS"].iter().any(|w| statement.is(name_at, w)) {
        name_at += 1;
    }
    let other = ["PARTITION", "SYSTEM"].iter().chain(&NO_COLUMN).any(|w| statement.is(name_at, w));
    (!other && statement.sign(name_at) != Some(b'(')).then_some((name_at, action))
}

/// The tokens inside the parentheses that open at or behind a token.
fn group(statement: &Statement<'_>, from: usize) -> Result<Range<usize>, String> {
    let open =
        (from..statement.tokens.len()).find(|i| statement.sign(*i) == Some(b'(')).ok_or("it lists no columns")?;
    let mut depth = 0usize;
    for at in open..statement.tokens.len() {
        match statement.sign(at) {
            Some(b'(') => depth += 1,
            Some(b')') if depth == 1 => return Ok(open + 1..at),
            Some(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Err("its parentheses do not close".to_owned())
}

struct Editor<'s, 't> {
    statement: &'s Statement<'t>,
    rules: &'s ColumnRules,
    edits: Vec<Edit>,
}

impl Editor<'_, '_> {
    /// Goes through the items; gives the edits and how many items are gone.
    fn run(
        mut self,
        items: &[Range<usize>],
        about: impl Fn(usize) -> Option<(usize, Action)>,
    ) -> Result<(Vec<Edit>, usize), String> {
        let mut gone = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let subject = about(item.start);
            if let Some((at, action)) = subject
                && let Some(column) = self.name(at)
            {
                if dropped(self.rules, &column) {
                    if action == Action::Rename {
                        return Err(format!("it gives another name to column {column}, which a rule drops"));
                    }
                    gone.push(index);
                    continue;
                }
                if let Some(new) = renamed(self.rules, &column) {
                    if action != Action::Define {
                        return Err(format!("it drops or renames column {column}, which a rule calls {new}"));
                    }
                    self.replace(at, new);
                }
            }
            self.mentions(item.clone(), subject.map(|(at, _)| at))?;
        }
        self.remove(items, &gone);
        Ok((self.edits, gone.len()))
    }

    fn name(&self, at: usize) -> Option<String> {
        self.statement.name(at)
    }

    fn replace(&mut self, at: usize, new: &str) {
        if let Some(token) = self.statement.tokens.get(at) {
            self.edits.push((token.start..token.end, quote(new)));
        }
    }

    /// Columns named inside an item: in parentheses, and behind AFTER. What stands behind REFERENCES is another table's.
    fn mentions(&mut self, item: Range<usize>, subject: Option<usize>) -> Result<(), String> {
        let mut depth = 0i32;
        for at in item {
            match self.statement.sign(at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                _ => {}
            }
            if self.statement.is(at, "REFERENCES") {
                return Ok(());
            }
            let after = at > 0 && self.statement.is(at - 1, "AFTER");
            if Some(at) == subject || !(depth > 0 || after) || self.is_function(at) {
                continue;
            }
            let Some(column) = self.name(at) else { continue };
            if dropped(self.rules, &column) {
                let (Some(first), Some(token)) =
                    (self.statement.tokens.get(at.wrapping_sub(1)), self.statement.tokens.get(at))
                else {
                    continue;
                };
                if !after {
                    return Err(format!("it uses column {column}, which a rule drops"));
                }
                self.edits.push((first.start..token.end, String::new()));
            } else if let Some(new) = renamed(self.rules, &column) {
                let new = new.to_owned();
                self.replace(at, &new);
            }
        }
        Ok(())
    }

    /// Whether a word is called as a function; `name(10)` is a column's prefix.
    fn is_function(&self, at: usize) -> bool {
        let word = self.statement.tokens.get(at).is_some_and(|t| t.kind == TokenKind::Word);
        let number = self.name(at + 2).is_some_and(|n| n.bytes().all(|c| c.is_ascii_digit()));
        word && self.statement.sign(at + 1) == Some(b'(') && !(number && self.statement.sign(at + 3) == Some(b')'))
    }

    /// Takes whole items out, with the comma that is one too many.
    fn remove(&mut self, items: &[Range<usize>], gone: &[usize]) {
        let start = |i: usize| items.get(i).and_then(|r| self.statement.tokens.get(r.start)).map(|t| t.start);
        let end = |i: usize| items.get(i).and_then(|r| self.statement.tokens.get(r.end.checked_sub(1)?)).map(|t| t.end);
        let first_kept = (0..items.len()).find(|i| !gone.contains(i));
        let mut edits = Vec::new();
        for &index in gone {
            // Before the first item that stays, the comma behind goes along; after it, the one before.
            let range = match first_kept {
                Some(kept) if index < kept => start(index).zip(start(index + 1)),
                _ => end(index.wrapping_sub(1)).or_else(|| start(index)).zip(end(index)),
            };
            if let Some((from, to)) = range {
                edits.push((from..to, String::new()));
            }
        }
        self.edits.extend(edits);
    }
}

fn dropped(rules: &ColumnRules, column: &str) -> bool {
    rules.drop.iter().any(|d| d.eq_ignore_ascii_case(column))
}

fn renamed<'r>(rules: &'r ColumnRules, column: &str) -> Option<&'r str> {
    rules.rename.iter().find(|(from, _)| from.eq_ignore_ascii_case(column)).map(|(_, to)| to.as_str())
}

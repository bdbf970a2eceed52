//! Clauses of a statement: where one begins and ends, and whether it says a collation.

use super::{Quotes, comment_length, is_word, line_length, quoted_length};
use crate::dialect::Flavour;

/// What came before in a statement that is read from its beginning.
#[derive(Debug, Default)]
pub(super) struct Clauses<'a> {
    /// Its last words, the latest first; numbers do not count.
    words: [&'a [u8]; 4],
    /// Whether the clause says a collation, and of those around it by brackets.
    collated: bool,
    around: Vec<bool>,
    /// The clause is about a column whose type has no room for a default in the row itself.
    bulky: bool,
}

/// Types of which MySQL takes no plain default.
const BULKY: [&str; 9] =
    ["TEXT", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT", "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "JSON"];

/// Whether a statement makes or changes a table: tells by its first words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfTable {
    words: u8,
    defines: bool,
    found: bool,
}

impl OfTable {
    /// `CREATE OR REPLACE TEMPORARY TABLE`.
    const FIRST: u8 = 5;

    pub(super) fn word(&mut self, word: &[u8]) {
        if self.words >= Self::FIRST {
            return;
        }
        if self.words == 0 {
            self.defines = word.eq_ignore_ascii_case(b"CREATE") || word.eq_ignore_ascii_case(b"ALTER");
        }
        self.found |= self.defines && word.eq_ignore_ascii_case(b"TABLE");
        self.words += 1;
    }

    pub(super) fn is_it(self) -> bool {
        self.found
    }
}

/// Length of the call of a function that a text begins with: its name and what stands in parentheses behind it. None where
/// it is another word, and of the current time, which needs no parentheses.
pub(super) fn call_length(text: &[u8], quotes: Quotes) -> usize {
    const NO_CALLS: [&[u8]; 16] = [
        b"CURRENT_TIMESTAMP",
        b"NOW",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
        b"WHERE",
        b"ON",
        b"AS",
        b"CHECK",
        b"ORDER",
        b"KEY",
        b"REFERENCES",
        b"CHARACTER",
        b"CHARSET",
        b"COLLATE",
        b"NULL",
        b"IN",
    ];
    let name = text.iter().take_while(|b| is_word(**b)).count();
    let word = text.get(..name).unwrap_or_default();
    if word.first().is_none_or(u8::is_ascii_digit) || NO_CALLS.iter().any(|no| word.eq_ignore_ascii_case(no)) {
        return 0;
    }
    let behind = text.get(name..).unwrap_or_default();
    let mut at = name + behind.iter().take_while(|b| b.is_ascii_whitespace()).count();
    if text.get(at) != Some(&b'(') {
        return 0;
    }
    let mut depth = 0u32;
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'\'' | b'"' | b'`' => quoted_length(text.get(at..).unwrap_or_default(), quotes).max(1),
            b'(' => {
                depth += 1;
                1
            }
            b')' if depth == 1 => return at + 1,
            b')' => {
                depth -= 1;
                1
            }
            _ => 1,
        };
    }
    0
}

impl<'a> Clauses<'a> {
    pub(super) fn word(&mut self, word: &'a [u8]) {
        if word.iter().all(u8::is_ascii_digit) {
            return;
        }
        let [first, second, third, _] = self.words;
        self.words = [word, first, second, third];
        self.collated |= word.eq_ignore_ascii_case(b"COLLATE");
        self.bulky |= BULKY.iter().any(|bulky| word.eq_ignore_ascii_case(bulky.as_bytes()));
    }

    /// How many brackets are open.
    pub(super) fn depth(&self) -> usize {
        self.around.len()
    }

    /// Whether a default of the column that the clause is about must stand in parentheses for MySQL.
    pub(super) fn is_bulky(&self) -> bool {
        self.bulky
    }

    pub(super) fn sign(&mut self, sign: u8) {
        match sign {
            b'(' => self.around.push(std::mem::take(&mut self.collated)),
            b')' => self.collated = self.around.pop().unwrap_or(false),
            b',' | b';' => {
                self.collated = false;
                self.bulky = false;
            }
            _ => {}
        }
    }

    /// Whether the name of a character set comes next, whose collation may be said: not in a session's own `SET`, and not
    /// behind `COLLATE`. MySQL takes none in a `CAST`.
    pub(super) fn names_charset(&self, to: Flavour) -> bool {
        let [first, second, third, fourth] = self.words;
        let is = |word: &[u8], text: &str| word.eq_ignore_ascii_case(text.as_bytes());
        let (before, type_of) = match () {
            () if is(first, "CHARSET") => (second, third),
            () if is(first, "SET") && (is(second, "CHARACTER") || is(second, "CHAR")) => (third, fourth),
            () => return false,
        };
        let cast = !to.is_mariadb() && is(type_of, "AS") && is(before, "CHAR");
        !self.collated && !cast && !is(before, "SET")
    }
}

/// Whether the rest of a clause says a collation. Options of a table may have commas between them.
pub(super) fn says_collation(text: &[u8], quotes: Quotes) -> bool {
    let (mut at, mut depth, mut fresh) = (0, 0u32, false);
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        at += match byte {
            b'\'' | b'"' | b'`' => quoted_length(rest, quotes),
            b'#' => line_length(rest),
            b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace) => line_length(rest),
            b'/' if rest.starts_with(b"/*!") => 3,
            b'/' if rest.starts_with(b"/*M!") => 4,
            b'/' if rest.starts_with(b"/*") => comment_length(rest),
            b'(' => {
                depth += 1;
                1
            }
            b')' if depth == 0 => return false,
            b')' => {
                depth -= 1;
                1
            }
            b';' => return false,
            b',' if depth == 0 => {
                fresh = true;
                1
            }
            b if is_word(b) => {
                let length = rest.iter().take_while(|b| is_word(**b)).count();
                let word = rest.get(..length).unwrap_or_default();
                let is = |text: &str| depth == 0 && word.eq_ignore_ascii_case(text.as_bytes());
                match () {
                    () if is("COLLATE") || is("BINARY") => return true,
                    () if fresh && !is("DEFAULT") => return false,
                    () if ["SELECT", "BEGIN", "RETURN", "RETURNS"].into_iter().any(is) => return false,
                    () => {}
                }
                length
            }
            _ => 1,
        }
        .max(1);
    }
    false
}

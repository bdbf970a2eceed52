//! Finds the tables and databases that a DDL statement names, and where it names them.
//!
//! Not a parser of MySQL's grammar: it knows where in the statements of [`DdlKind`](lutra_wire::record::DdlKind) a name
//! of a table or database stands, and nothing else. What it does not understand it says so about.

use std::ops::Range;

use crate::token::{Lexis, Token, TokenKind, name, tokens};

/// How a statement means a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The statement is about it.
    Subject,
    /// It is the new name of the subject before it.
    RenamedTo,
    /// It is mentioned: referenced by a foreign key, taken as a model.
    Mentioned,
}

/// A table where a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) role: Role,
    /// As written; none where the default database is meant.
    pub(crate) database: Option<String>,
    pub(crate) table: String,
    /// The bytes of the name.
    pub(crate) bytes: Range<usize>,
    /// Index of the token behind the name.
    pub(crate) after: usize,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// CREATE, ALTER or DROP DATABASE.
    Database {
        /// None: ALTER DATABASE without a name means the default database.
        name: Option<String>,
        bytes: Range<usize>,
        /// Byte at which `IF NOT EXISTS` may be put in.
        create_at: Option<usize>,
    },
    /// A statement on tables.
    Tables {
        references: Vec<Reference>,
        /// DROP TABLE and RENAME TABLE: a list of which parts may be left out.
        list: bool,
        /// Byte at which `IF NOT EXISTS` may be put in.
        create_at: Option<usize>,
    },
}

/// A statement taken apart.
pub(crate) struct Statement<'t> {
    pub(crate) text: &'t [u8],
    pub(crate) tokens: Vec<Token>,
}

impl<'t> Statement<'t> {
    pub(crate) fn new(text: &'t [u8], lexis: Lexis) -> Option<Self> {
        Some(Self { text, tokens: tokens(text, lexis)? })
    }

    /// Whether the token is that unquoted word.
    pub(crate) fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| {
            t.kind == TokenKind::Word
                && self.text.get(t.start..t.end).is_some_and(|b| b.eq_ignore_ascii_case(word.as_bytes()))
        })
    }

    fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|w| self.is(at, w))
    }

    pub(crate) fn sign(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            TokenKind::Sign(c) => Some(c),
            _ => None,
        }
    }

    fn skip(&self, mut at: usize, words: &[&str]) -> usize {
        while self.is_any(at, words) {
            at += 1;
        }
        at
    }

    fn skip_if_exists(&self, at: usize) -> usize {
        match (self.is(at, "IF"), self.is(at + 1, "NOT"), self.is(at + 1, "EXISTS"), self.is(at + 2, "EXISTS")) {
            (true, true, _, true) => at + 3,
            (true, _, true, _) => at + 2,
            _ => at,
        }
    }

    fn name_at(&self, at: usize) -> Option<String> {
        name(self.text, *self.tokens.get(at)?)
    }

    fn start_of(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(self.text.len(), |t| t.start)
    }

    /// The table named at a token: `table` or `database.table`.
    fn reference(&self, at: usize, role: Role) -> Option<Reference> {
        let first = self.name_at(at)?;
        let start = self.tokens.get(at)?.start;
        if self.sign(at + 1) == Some(b'.') {
            let table = self.name_at(at + 2)?;
            let end = self.tokens.get(at + 2)?.end;
            return Some(Reference { role, database: Some(first), table, bytes: start..end, after: at + 3 });
        }
        Some(Reference { role, database: None, table: first, bytes: start..self.tokens.get(at)?.end, after: at + 1 })
    }

    /// What the statement is about; `None` if it is not understood.
    pub(crate) fn subject(&self) -> Option<Subject> {
        const MODIFIERS: [&str; 9] =
            ["OR", "REPLACE", "TEMPORARY", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE", "IGNORE"];
        let verb = 0;
        let at = self.skip(verb + 1, &MODIFIERS);
        let object = |word: &str| self.is(at, word);
        if self.is(verb, "TRUNCATE") {
            let reference = self.reference(self.skip(1, &["TABLE"]), Role::Subject)?;
            return Some(tables(vec![reference], false, None));
        }
        if object("DATABASE") || object("SCHEMA") {
            return self.database(at + 1, self.is(verb, "CREATE"));
        }
        match () {
            () if self.is(verb, "CREATE") && object("TABLE") => self.create_table(at + 1),
            () if self.is(verb, "ALTER") && object("TABLE") => self.alter_table(at + 1),
            () if self.is_any(verb, &["CREATE", "DROP"]) && object("INDEX") => {
                let on = (at..self.tokens.len()).find(|i| self.is(*i, "ON"))?;
                Some(tables(vec![self.reference(on + 1, Role::Subject)?], false, None))
            }
            () if self.is(verb, "DROP") && (object("TABLE") || object("TABLES")) => self.table_list(at + 1),
            () if self.is(verb, "RENAME") && (object("TABLE") || object("TABLES")) => self.rename_list(at + 1),
            () => None,
        }
    }

    fn database(&self, at: usize, create: bool) -> Option<Subject> {
        let name_at = self.skip_if_exists(at);
        let create_at = (create && name_at == at).then(|| self.start_of(at));
        let nameless = name_at >= self.tokens.len()
            || self.is_any(name_at, &["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ", "COMMENT"]);
        if nameless && !create {
            return Some(Subject::Database {
                name: None,
                bytes: self.start_of(at)..self.start_of(at),
                create_at: None,
            });
        }
        let token = *self.tokens.get(name_at)?;
        Some(Subject::Database { name: Some(self.name_at(name_at)?), bytes: token.start..token.end, create_at })
    }

    fn create_table(&self, at: usize) -> Option<Subject> {
        let name_at = self.skip_if_exists(at);
        let create_at = (name_at == at).then(|| self.start_of(at));
        let subject = self.reference(name_at, Role::Subject)?;
        let mut next = subject.after;
        let mut references = vec![subject];
        if self.sign(next) == Some(b'(') && self.is(next + 1, "LIKE") {
            next += 1;
        }
        if self.is(next, "LIKE") {
            references.push(self.reference(next + 1, Role::Mentioned)?);
        } else {
            self.foreign_keys(next, &mut references)?;
        }
        Some(tables(references, false, create_at))
    }

    fn foreign_keys(&self, from: usize, references: &mut Vec<Reference>) -> Option<()> {
        for at in (from..self.tokens.len()).filter(|i| self.is(*i, "REFERENCES")) {
            references.push(self.reference(at + 1, Role::Mentioned)?);
        }
        Some(())
    }

    fn alter_table(&self, at: usize) -> Option<Subject> {
        let subject = self.reference(self.skip_if_exists(at), Role::Subject)?;
        let from = subject.after;
        let mut references = vec![subject];
        let mut depth = 0i32;
        for at in from..self.tokens.len() {
            match self.sign(at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                _ => {}
            }
            let role = match () {
                () if self.is(at, "REFERENCES") => Role::Mentioned,
                () if depth == 0 && self.is(at, "WITH") && self.is(at + 1, "TABLE") => Role::Subject,
                () if depth == 0 && self.is(at, "RENAME") && !self.is_any(at + 1, &["COLUMN", "INDEX", "KEY"]) => {
                    Role::RenamedTo
                }
                () => continue,
            };
            let mut name_at = self.skip(at + 1, &["TABLE", "TO", "AS"]);
            if self.sign(name_at) == Some(b'=') {
                name_at += 1;
            }
            references.push(self.reference(name_at, role)?);
        }
        Some(tables(references, false, None))
    }

    fn table_list(&self, at: usize) -> Option<Subject> {
        let mut references = Vec::new();
        let mut at = self.skip_if_exists(at);
        loop {
            let reference = self.reference(at, Role::Subject)?;
            at = reference.after;
            references.push(reference);
            if self.sign(at) != Some(b',') {
                return Some(tables(references, true, None));
            }
            at += 1;
        }
    }

    fn rename_list(&self, at: usize) -> Option<Subject> {
        let mut references = Vec::new();
        let mut at = self.skip_if_exists(at);
        loop {
            let old = self.reference(at, Role::Subject)?;
            if !self.is(old.after, "TO") {
                return None;
            }
            let new = self.reference(old.after + 1, Role::RenamedTo)?;
            at = new.after;
            references.extend([old, new]);
            if self.sign(at) != Some(b',') {
                return Some(tables(references, true, None));
            }
            at += 1;
        }
    }
}

fn tables(references: Vec<Reference>, list: bool, create_at: Option<usize>) -> Subject {
    Subject::Tables { references, list, create_at }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(text: &str) -> Vec<String> {
        match Statement::new(text.as_bytes(), Lexis::default()).unwrap().subject() {
            None => vec!["not understood".to_owned()],
            Some(Subject::Database { name, .. }) => vec![format!("database {}", name.unwrap_or_default())],
            Some(Subject::Tables { references, .. }) => references
                .iter()
                .map(|r| format!("{:?} {}.{}", r.role, r.database.as_deref().unwrap_or("-"), r.table))
                .collect(),
        }
    }

    #[test]
    fn tables_are_found_wherever_the_grammar_puts_them() {
        for (text, expected) in [
            (
                "create table if not exists `a b`.t (x int, foreign key (x) references u (y))",
                &["Subject a b.t", "Mentioned -.u"][..],
            ),
            ("CREATE TABLE t LIKE s.u", &["Subject -.t", "Mentioned s.u"]),
            ("CREATE TABLE t (LIKE u)", &["Subject -.t", "Mentioned -.u"]),
            ("CREATE TABLE t (a varchar(9) CHECK (a LIKE 'x'))", &["Subject -.t"]),
            ("ALTER TABLE t RENAME COLUMN a TO b, RENAME TO s.u", &["Subject -.t", "RenamedTo s.u"]),
            ("ALTER TABLE t RENAME INDEX a TO b, ADD c INT", &["Subject -.t"]),
            ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", &["Subject -.t", "Subject -.u"]),
            ("CREATE UNIQUE INDEX i USING BTREE ON s.t (a)", &["Subject s.t"]),
            ("DROP INDEX i ON t", &["Subject -.t"]),
            ("DROP TABLE IF EXISTS a, s.`b` /* generated by server */", &["Subject -.a", "Subject s.b"]),
            ("RENAME TABLE a TO b, s.c TO d", &["Subject -.a", "RenamedTo -.b", "Subject s.c", "RenamedTo -.d"]),
            ("TRUNCATE t", &["Subject -.t"]),
            ("truncate table s.t", &["Subject s.t"]),
            ("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `s` DEFAULT CHARSET utf8mb4", &["database s"]),
            ("ALTER SCHEMA DEFAULT CHARSET utf8mb4", &["database "]),
            ("DROP SCHEMA IF EXISTS s", &["database s"]),
            ("CREATE VIEW v AS SELECT 1", &["not understood"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}

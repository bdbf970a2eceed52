//! What a statement of the binlog is, which databases and tables it is about, and where it names them.
//!
//! Not a parser of MySQL's grammar: it knows where in each kind of statement the names of databases, tables, views,
//! routines, triggers and events stand, and nothing else. What it does not understand it says so about.

#[path = "sql_definition.rs"]
mod definition;

use std::ops::Range;

use crate::id::TableName;
use crate::sql_lexer::{Lexis, Token, TokenKind, tokens};

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Nothing at all: empty, or comments only.
    Empty,
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK` of the whole transaction.
    Rollback,
    /// `SAVEPOINT`, `RELEASE SAVEPOINT`: of no effect on rows.
    Savepoint,
    /// `ROLLBACK TO`: rows logged since the savepoint never were.
    RollbackTo,
    /// `XA START`, `XA BEGIN`.
    XaStart,
    /// `XA END`, `XA RECOVER`.
    XaEnd,
    /// `XA PREPARE`.
    XaPrepare,
    /// `XA COMMIT`.
    XaCommit,
    /// `XA ROLLBACK`.
    XaRollback,
    /// INSERT, UPDATE, DELETE and their kin: a change of rows as text, which must not be in a row-based binlog.
    RowChange,
    /// ANALYZE, OPTIMIZE, FLUSH and their kin: changes neither definitions nor rows.
    Maintenance,
    /// It changes definitions.
    Definition(Box<Definition>),
    /// Not recognised.
    Unknown,
}

/// What a DDL statement does, as far as routing and applying must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DdlKind {
    /// CREATE DATABASE.
    CreateDatabase,
    /// ALTER DATABASE.
    AlterDatabase,
    /// DROP DATABASE.
    DropDatabase,
    /// CREATE TABLE (also LIKE; CREATE … SELECT is a transaction with rows).
    CreateTable,
    /// ALTER TABLE, CREATE INDEX, DROP INDEX.
    AlterTable,
    /// DROP TABLE.
    DropTable,
    /// RENAME TABLE, and ALTER TABLE … RENAME.
    RenameTable,
    /// TRUNCATE TABLE.
    TruncateTable,
    /// Any other statement that changes definitions (views, routines, users, …), and one that is not recognised.
    Other,
}

/// What a definition defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A database.
    Database,
    /// A base table, or an index of one.
    Table,
    /// A view.
    View,
    /// A procedure, function, package or library.
    Routine,
    /// A trigger.
    Trigger,
    /// A scheduled event.
    Event,
    /// A sequence (MariaDB).
    Sequence,
    /// Users, roles, and what they may do.
    Account,
    /// Something of the whole server: a tablespace, a server link, a spatial reference system, a plugin.
    Instance,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// CREATE.
    Create,
    /// ALTER, and everything else that changes it.
    Alter,
    /// DROP.
    Drop,
}

/// How a statement means what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The table or view that it is about.
    Subject,
    /// The new name of the subject before it.
    RenamedTo,
    /// A table that is mentioned: referenced by a foreign key, taken as a model.
    Mentioned,
    /// A routine, trigger or event: no table.
    Named,
}

/// A name where a statement has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// How it is meant.
    pub role: Role,
    /// As written; none where the default database is meant.
    pub database: Option<String>,
    /// Table, view, routine, trigger or event.
    pub table: String,
    /// The bytes of the name.
    pub bytes: Range<usize>,
    /// Index of the token behind the name.
    pub after: usize,
}

impl Reference {
    /// The full name, for a session whose default database is that.
    pub fn name(&self, default: &str) -> TableName {
        TableName::new(self.database.as_deref().unwrap_or(default), &self.table)
    }
}

/// The database that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDatabase {
    /// None: ALTER DATABASE without a name means the default database.
    pub name: Option<String>,
    /// The bytes of the name, or where it may be put in.
    pub bytes: Range<usize>,
}

/// A statement that changes definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it does, in short.
    pub kind: DdlKind,
    /// What it defines.
    pub object: Object,
    /// What becomes of it.
    pub verb: Verb,
    /// The database, of a statement on one.
    pub database: Option<NamedDatabase>,
    /// The names, in order of mention; for RENAME: old, new, old, new, ….
    pub references: Vec<Reference>,
    /// DROP and RENAME of tables or views: a list of which parts may be left out.
    pub list: bool,
    /// Byte at which `IF NOT EXISTS` may be put in.
    pub create_at: Option<usize>,
    /// Index of the token with which the body of a view, routine, trigger or event, or its attributes, begin.
    pub body: usize,
    /// Of a temporary table: no other session ever sees it.
    pub temporary: bool,
    /// `CREATE TABLE … SELECT`, whose rows follow in the same transaction: the bytes of its words `START TRANSACTION`.
    /// They stand behind the columns; options of the table may follow.
    pub rows_follow: Option<Range<usize>>,
}

impl Definition {
    /// The tables and views that it changes, in order of mention.
    pub fn tables(&self, default: &str) -> Vec<TableName> {
        let changed = |r: &&Reference| matches!(r.role, Role::Subject | Role::RenamedTo);
        self.references.iter().filter(changed).map(|r| r.name(default)).collect()
    }

    /// The database in which the object lives; for statements on a database: that one.
    pub fn home<'a>(&'a self, default: &'a str) -> &'a str {
        match &self.database {
            Some(database) => database.name.as_deref().unwrap_or(default),
            None => self.references.first().and_then(|r| r.database.as_deref()).unwrap_or(default),
        }
    }
}

/// A statement taken apart.
#[derive(Debug)]
pub struct Statement<'t> {
    /// Its text.
    pub text: &'t [u8],
    /// How it is read.
    pub lexis: Lexis,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

impl<'t> Statement<'t> {
    /// Takes it apart; `None` if a quote or comment is left open.
    pub fn new(text: &'t [u8], lexis: Lexis) -> Option<Self> {
        Some(Self { text, lexis, tokens: tokens(text, lexis)? })
    }

    /// Whether the token is that unquoted word.
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| t.is_word(self.text, word))
    }

    /// Whether the token is one of these unquoted words.
    pub fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|w| self.is(at, w))
    }

    /// The punctuation that the token is.
    pub fn sign(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            TokenKind::Sign(c) => Some(c),
            _ => None,
        }
    }

    /// The name that the token spells.
    pub fn name(&self, at: usize) -> Option<String> {
        self.tokens.get(at)?.name(self.text, self.lexis)
    }

    /// Where the token begins; behind the end: where the text ends.
    pub fn start_of(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(self.text.len(), |t| t.start)
    }

    /// The items of a list: these tokens, split at the commas outside of parentheses. A list of partitions
    /// (`DROP PARTITION a, b`) is one item; empty ones are none.
    pub fn items(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut items = Vec::new();
        let (mut from, mut depth) = (range.start, 0i32);
        for at in range.clone() {
            match self.sign(at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                Some(b',') if depth == 0 && !self.is(from + 1, "PARTITION") => {
                    items.push(from..at);
                    from = at + 1;
                }
                _ => {}
            }
        }
        items.push(from..range.end);
        items.retain(|item| item.start < item.end);
        items
    }

    /// What the statement does.
    pub fn kind(&self) -> StatementKind {
        use StatementKind as K;
        let word = |w: &str| self.is(0, w);
        match () {
            () if self.tokens.iter().all(|t| t.kind == TokenKind::Sign(b';')) => K::Empty,
            () if word("BEGIN") || (word("START") && self.is(1, "TRANSACTION")) => K::Begin,
            () if word("COMMIT") => K::Commit,
            () if word("ROLLBACK") && self.is(self.skip(1, &["WORK"]), "TO") => K::RollbackTo,
            () if word("ROLLBACK") => K::Rollback,
            () if word("SAVEPOINT") || word("RELEASE") => K::Savepoint,
            () if word("XA") && self.is_any(1, &["START", "BEGIN"]) => K::XaStart,
            () if word("XA") && self.is(1, "PREPARE") => K::XaPrepare,
            () if word("XA") && self.is(1, "COMMIT") => K::XaCommit,
            () if word("XA") && self.is(1, "ROLLBACK") => K::XaRollback,
            () if word("XA") => K::XaEnd,
            () if self.is_any(0, &["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO"]) => {
                K::RowChange
            }
            () if self
                .is_any(0, &["ANALYZE", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM", "FLUSH", "CACHE", "RESET"]) =>
            {
                K::Maintenance
            }
            () => self.definition().map_or(K::Unknown, |d| K::Definition(Box::new(d))),
        }
    }
}

#[cfg(test)]
#[path = "sql_statement_tests.rs"]
mod tests;

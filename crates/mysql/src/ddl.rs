//! What a statement in the binlog is: transaction control, DDL with the tables it touches, or text that must not be there.

use lutra_change::TableName;
use lutra_change::sql_lexer::{Lexis, Token, TokenKind, tokens};

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementKind {
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
    /// CREATE DATABASE.
    CreateDatabase,
    /// ALTER DATABASE.
    AlterDatabase,
    /// DROP DATABASE.
    DropDatabase,
    /// CREATE TABLE.
    CreateTable,
    /// ALTER TABLE, CREATE INDEX, DROP INDEX.
    AlterTable,
    /// DROP TABLE.
    DropTable,
    /// RENAME TABLE, and ALTER TABLE … RENAME.
    RenameTable,
    /// TRUNCATE.
    TruncateTable,
    /// Another statement that changes definitions or accounts: views, routines, triggers, users, …
    Other,
    /// INSERT, UPDATE, DELETE and their kin: a change of rows as text, which must not be in a row-based binlog.
    RowChange,
    /// Nothing at all: empty, or comments only.
    Empty,
}

/// A statement, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// The tables it touches, in order of mention; for RENAME: old, new, old, new, …. For database statements: one name
    /// with an empty table.
    pub tables: Vec<TableName>,
    /// Of a temporary table: no other session ever sees it.
    pub temporary: bool,
    /// `CREATE TABLE … SELECT`, whose rows follow in the same transaction: where its text `START TRANSACTION` begins.
    pub rows_follow: Option<usize>,
}

/// Classifies a statement; `database` is the session's default one. `None` if a quote or comment is left open.
pub fn classify(text: &[u8], database: &str, lexis: Lexis) -> Option<Statement> {
    let tokens = tokens(text, lexis)?;
    let mut parser = Parser { text, database, tokens: &tokens, at: 0 };
    let mut statement =
        Statement { kind: StatementKind::Empty, tables: Vec::new(), temporary: false, rows_follow: None };
    parser.statement(&mut statement);
    Some(statement)
}

struct Parser<'a> {
    text: &'a [u8],
    database: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Steps over that keyword.
    fn eat(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|t| t.is_word(self.text, word));
        self.at += usize::from(found);
        found
    }

    /// Steps over the first of these that comes next.
    fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|w| self.eat(w))
    }

    fn eat_sign(&mut self, sign: u8) -> bool {
        let found = self.peek().is_some_and(|t| t.kind == TokenKind::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn is_sign(&self, sign: u8) -> bool {
        self.peek().is_some_and(|t| t.kind == TokenKind::Sign(sign))
    }

    fn name(&mut self) -> Option<String> {
        let name = self.peek()?.name(self.text)?;
        self.at += 1;
        Some(name)
    }

    /// `table` or `database.table`.
    fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if self.eat_sign(b'.') {
            return Some(TableName::new(first, self.name()?));
        }
        Some(TableName::new(self.database, first))
    }

    fn if_exists(&mut self) {
        if self.eat("IF") {
            self.eat("NOT");
            self.eat("EXISTS");
        }
    }

    fn statement(&mut self, s: &mut Statement) {
        use StatementKind as K;
        let Some(first) = self.peek().and_then(|t| t.name(self.text)) else { return };
        self.at += 1;
        s.kind = match first.to_ascii_uppercase().as_str() {
            "BEGIN" => K::Begin,
            "START" if self.eat("TRANSACTION") => K::Begin,
            "COMMIT" => K::Commit,
            "ROLLBACK" if self.rolls_back_to() => K::RollbackTo,
            "ROLLBACK" => K::Rollback,
            "SAVEPOINT" | "RELEASE" => K::Savepoint,
            "XA" if self.eat_any(&["START", "BEGIN"]) => K::XaStart,
            "XA" if self.eat("PREPARE") => K::XaPrepare,
            "XA" if self.eat("COMMIT") => K::XaCommit,
            "XA" if self.eat("ROLLBACK") => K::XaRollback,
            "XA" => K::XaEnd,
            "CREATE" => self.create(s),
            "ALTER" => self.alter(s),
            "DROP" => self.drop(s),
            "RENAME" if self.eat_any(&["TABLE", "TABLES"]) => {
                self.renames(s);
                K::RenameTable
            }
            "TRUNCATE" => {
                self.eat("TABLE");
                s.tables.extend(self.table());
                K::TruncateTable
            }
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" | "CALL" | "DO" => K::RowChange,
            _ => K::Other,
        };
    }

    /// `ROLLBACK [WORK] TO`.
    fn rolls_back_to(&mut self) -> bool {
        self.eat("WORK");
        self.eat("TO")
    }

    fn create(&mut self, s: &mut Statement) -> StatementKind {
        use StatementKind as K;
        if self.eat("OR") {
            self.eat("REPLACE");
        }
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.if_exists();
            self.database_name(s);
            return K::CreateDatabase;
        }
        s.temporary = self.eat("TEMPORARY");
        if self.eat("TABLE") {
            self.if_exists();
            s.tables.extend(self.table());
            self.create_like(s);
            s.rows_follow = self.trailing_start_transaction();
            return K::CreateTable;
        }
        self.eat_any(&["UNIQUE", "FULLTEXT", "SPATIAL"]);
        if self.eat("INDEX") {
            self.table_behind_on(s);
            return K::AlterTable;
        }
        K::Other
    }

    /// `LIKE other` behind the name, bare or in parentheses.
    fn create_like(&mut self, s: &mut Statement) {
        let at = self.at;
        self.eat_sign(b'(');
        if self.eat("LIKE") {
            s.tables.extend(self.table());
        } else {
            self.at = at;
        }
    }

    /// The server writes an atomic `CREATE TABLE … SELECT` as the bare definition with these words behind it.
    fn trailing_start_transaction(&self) -> Option<usize> {
        let [.., start, transaction] = self.tokens else { return None };
        (start.is_word(self.text, "START") && transaction.is_word(self.text, "TRANSACTION")).then_some(start.start)
    }

    fn table_behind_on(&mut self, s: &mut Statement) {
        while self.at < self.tokens.len() && !self.eat("ON") {
            self.at += 1;
        }
        s.tables.extend(self.table());
    }

    fn database_name(&mut self, s: &mut Statement) {
        // `ALTER DATABASE CHARACTER SET …` means the session's default database.
        let name = match self.peek() {
            Some(t)
                if t.kind == TokenKind::Word
                    && ["CHARACTER", "CHARSET", "COLLATE", "DEFAULT", "ENCRYPTION", "READ"]
                        .iter()
                        .any(|w| t.is_word(self.text, w)) =>
            {
                None
            }
            _ => self.name(),
        };
        s.tables.push(TableName::new(name.unwrap_or_else(|| self.database.to_owned()), ""));
    }

    fn alter(&mut self, s: &mut Statement) -> StatementKind {
        use StatementKind as K;
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.database_name(s);
            return K::AlterDatabase;
        }
        self.eat_any(&["ONLINE", "OFFLINE"]);
        self.eat("IGNORE");
        if !self.eat("TABLE") {
            return K::Other;
        }
        let Some(table) = self.table() else { return K::Other };
        s.tables.push(table.clone());
        match self.alter_actions() {
            Actions::Renamed(new) => {
                s.tables.push(new);
                K::RenameTable
            }
            Actions::Exchanged(other) => {
                s.tables.push(other);
                K::AlterTable
            }
            Actions::Plain => K::AlterTable,
        }
    }

    /// Looks for `RENAME [TO|AS] table` and `EXCHANGE PARTITION p WITH TABLE table` at the start of an action.
    fn alter_actions(&mut self) -> Actions {
        let mut depth = 0_usize;
        let mut at_start = true;
        let mut found = Actions::Plain;
        while let Some(token) = self.peek() {
            let was_start = std::mem::replace(&mut at_start, false);
            match token.kind {
                TokenKind::Sign(b'(') => depth += 1,
                TokenKind::Sign(b')') => depth = depth.saturating_sub(1),
                TokenKind::Sign(b',') if depth == 0 => at_start = true,
                _ if was_start && token.is_word(self.text, "RENAME") => {
                    self.at += 1;
                    if self.eat_any(&["COLUMN", "INDEX", "KEY"]) {
                        continue;
                    }
                    if !self.eat_any(&["TO", "AS"]) {
                        self.eat_sign(b'=');
                    }
                    if let Some(new) = self.table() {
                        found = Actions::Renamed(new);
                    }
                    continue;
                }
                _ if was_start && token.is_word(self.text, "EXCHANGE") => {
                    while self.at < self.tokens.len() && !self.eat("TABLE") {
                        self.at += 1;
                    }
                    if let Some(other) = self.table() {
                        found = Actions::Exchanged(other);
                    }
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        found
    }

    fn drop(&mut self, s: &mut Statement) -> StatementKind {
        use StatementKind as K;
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.if_exists();
            self.database_name(s);
            return K::DropDatabase;
        }
        s.temporary = self.eat("TEMPORARY");
        if self.eat_any(&["TABLE", "TABLES"]) {
            self.if_exists();
            loop {
                s.tables.extend(self.table());
                if !self.eat_sign(b',') {
                    return K::DropTable;
                }
            }
        }
        if self.eat("INDEX") {
            self.table_behind_on(s);
            return K::AlterTable;
        }
        K::Other
    }

    fn renames(&mut self, s: &mut Statement) {
        loop {
            let old = self.table();
            self.eat("TO");
            let new = self.table();
            s.tables.extend(old);
            s.tables.extend(new);
            if !self.is_sign(b',') {
                return;
            }
            self.at += 1;
        }
    }
}

enum Actions {
    Plain,
    Renamed(TableName),
    Exchanged(TableName),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use StatementKind as K;

    use super::*;

    fn of(text: &str) -> (StatementKind, Vec<String>) {
        let s = classify(text.as_bytes(), "d", Lexis::default()).unwrap();
        (s.kind, s.tables.iter().map(ToString::to_string).collect())
    }

    fn check(text: &str, kind: StatementKind, tables: &[&str]) {
        assert_eq!(of(text), (kind, tables.iter().map(|t| (*t).to_owned()).collect()), "{text}");
    }

    #[test]
    fn transaction_control_is_told_from_definitions() {
        check("BEGIN", K::Begin, &[]);
        check("/* x */ START TRANSACTION", K::Begin, &[]);
        check("COMMIT", K::Commit, &[]);
        check("ROLLBACK", K::Rollback, &[]);
        check("ROLLBACK TO `a`", K::RollbackTo, &[]);
        check("SAVEPOINT a", K::Savepoint, &[]);
        check("XA COMMIT X'01',X'',1", K::XaCommit, &[]);
        check("XA START X'01',X'',1", K::XaStart, &[]);
        check("-- nothing\n", K::Empty, &[]);
        check("insert into t values (1)", K::RowChange, &[]);
    }

    #[test]
    fn tables_are_found_in_order_of_mention() {
        check("CREATE TABLE IF NOT EXISTS `a``b`.t (x INT)", K::CreateTable, &["a`b.t"]);
        check("CREATE TABLE t LIKE o.u", K::CreateTable, &["d.t", "o.u"]);
        check("CREATE TABLE t (LIKE u)", K::CreateTable, &["d.t", "d.u"]);
        check("CREATE UNIQUE INDEX i ON t (x)", K::AlterTable, &["d.t"]);
        check("DROP INDEX i ON t", K::AlterTable, &["d.t"]);
        check("DROP TABLE IF EXISTS `a`,`b`.`c` /* generated by server */", K::DropTable, &["d.a", "b.c"]);
        check("TRUNCATE t", K::TruncateTable, &["d.t"]);
        check("RENAME TABLE a TO b, x.c TO y.d", K::RenameTable, &["d.a", "d.b", "x.c", "y.d"]);
        check("ALTER TABLE t ADD COLUMN (rename INT), RENAME COLUMN a TO b", K::AlterTable, &["d.t"]);
        check("ALTER TABLE t ADD x INT, RENAME AS o.u", K::RenameTable, &["d.t", "o.u"]);
        check("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", K::AlterTable, &["d.t", "d.u"]);
        check("CREATE DATABASE IF NOT EXISTS x", K::CreateDatabase, &["x."]);
        check("ALTER SCHEMA CHARACTER SET utf8mb4", K::AlterDatabase, &["d."]);
        check("DROP DATABASE `x`", K::DropDatabase, &["x."]);
        check("CREATE VIEW v AS SELECT 1", K::Other, &[]);
        check("CREATE USER u", K::Other, &[]);
    }

    #[test]
    fn versioned_comments_are_read() {
        check("CREATE /*!32302 TABLE */ t (x INT)", K::CreateTable, &["d.t"]);
        let s = classify(b"CREATE TEMPORARY TABLE t (x INT)", "d", Lexis::default()).unwrap();
        assert!(s.temporary && s.kind == K::CreateTable);
    }

    #[test]
    fn a_create_with_rows_behind_it_is_seen() {
        let text = b"CREATE TABLE `t` (\n  `a` int\n) START TRANSACTION";
        let s = classify(text, "d", Lexis::default()).unwrap();
        assert_eq!(s.rows_follow, Some(text.len() - "START TRANSACTION".len()));
        assert!(classify(b"CREATE TABLE t (a 'x", "d", Lexis::default()).is_none());
    }
}

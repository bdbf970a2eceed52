//! Where in each kind of DDL statement the names stand.

use std::ops::Range;

use super::{DdlKind, Definition, NamedDatabase, Object, Reference, Role, Statement, Verb};
use crate::sql_lexer::TokenKind;

impl Statement<'_> {
    pub(super) fn skip(&self, mut at: usize, words: &[&str]) -> usize {
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

    /// MariaDB: `WAIT n`, `NOWAIT`.
    fn skip_wait(&self, at: usize) -> usize {
        match (self.is(at, "NOWAIT"), self.is(at, "WAIT")) {
            (true, _) => at + 1,
            (_, true) => at + 2,
            _ => at,
        }
    }

    /// Behind `DEFINER = user@host`, `ALGORITHM = x`, `SQL SECURITY x` and the words that may stand before an object.
    fn skip_modifiers(&self, mut at: usize) -> usize {
        const WORDS: [&str; 16] = [
            "OR",
            "REPLACE",
            "TEMPORARY",
            "UNIQUE",
            "FULLTEXT",
            "SPATIAL",
            "VECTOR",
            "ONLINE",
            "OFFLINE",
            "IGNORE",
            "AGGREGATE",
            "UNDO",
            "JSON",
            "RELATIONAL",
            "DUALITY",
            "MATERIALIZED",
        ];
        loop {
            at = match () {
                // An object, not a modifier.
                () if self.is(at, "SPATIAL") && self.is(at + 1, "REFERENCE") => return at,
                () if self.is_any(at, &WORDS) => at + 1,
                () if self.is(at, "ALGORITHM") && self.sign(at + 1) == Some(b'=') => at + 3,
                () if self.is(at, "SQL") && self.is(at + 1, "SECURITY") => at + 3,
                () if self.is(at, "DEFINER") => {
                    self.behind_user(if self.sign(at + 1) == Some(b'=') { at + 2 } else { at + 1 })
                }
                () => return at,
            };
        }
    }

    /// Behind `user@host`, `CURRENT_USER` or `CURRENT_USER()`.
    fn behind_user(&self, at: usize) -> usize {
        let mut at = at + 1;
        if self.sign(at) == Some(b'(') && self.sign(at + 1) == Some(b')') {
            return at + 2;
        }
        if self.sign(at) != Some(b'@') {
            return at;
        }
        at += 2;
        // A host without quotes goes on as long as no space comes.
        while let (Some(before), Some(token)) = (self.tokens.get(at.wrapping_sub(1)), self.tokens.get(at)) {
            let continues = matches!(token.kind, TokenKind::Sign(b'.' | b'-' | b'%' | b':') | TokenKind::Word);
            if before.end != token.start || !continues {
                break;
            }
            at += 1;
        }
        at
    }

    /// The table named at a token: `table`, `database.table`, or `.table`.
    fn reference(&self, at: usize, role: Role) -> Option<Reference> {
        let start = self.tokens.get(at)?.start;
        let (database, at) = match (self.sign(at), self.sign(at + 1)) {
            (Some(b'.'), _) => (None, at + 1),
            (_, Some(b'.')) => (Some(self.name(at)?), at + 2),
            _ => (None, at),
        };
        let token = self.tokens.get(at)?;
        Some(Reference { role, database, table: self.name(at)?, bytes: start..token.end, after: at + 1 })
    }

    /// What the statement defines; `None` if it is not understood.
    pub fn definition(&self) -> Option<Definition> {
        match () {
            () if self.is(0, "CREATE") => self.create(),
            () if self.is(0, "ALTER") => self.alter(),
            () if self.is(0, "DROP") => self.drop(),
            () if self.is(0, "RENAME") && self.is_any(1, &["TABLE", "TABLES"]) => self.rename_list(2),
            () if self.is(0, "RENAME") && self.is(1, "USER") => Some(of(Object::Account, Verb::Alter)),
            () if self.is(0, "TRUNCATE") => {
                let table = self.reference(self.skip(1, &["TABLE"]), Role::Subject)?;
                Some(on_tables(DdlKind::TruncateTable, Verb::Alter, vec![table]))
            }
            () if self.is_any(0, &["GRANT", "REVOKE"]) => Some(of(Object::Account, Verb::Alter)),
            () if self.is(0, "SET") && self.is_any(1, &["PASSWORD", "DEFAULT", "ROLE", "RESOURCE"]) => {
                Some(of(Object::Account, Verb::Alter))
            }
            () if self.is_any(0, &["INSTALL", "UNINSTALL"]) => Some(of(Object::Instance, Verb::Alter)),
            () => None,
        }
    }

    fn create(&self) -> Option<Definition> {
        let at = self.skip_modifiers(1);
        let temporary = (1..at).any(|i| self.is(i, "TEMPORARY"));
        match () {
            () if self.is_any(at, &["DATABASE", "SCHEMA"]) => self.database(at + 1, Verb::Create),
            () if self.is(at, "TABLE") => Some(Definition { temporary, ..self.create_table(at + 1)? }),
            () if self.is(at, "INDEX") => self.on_index(at, Verb::Create),
            () if self.is(at, "VIEW") => self.one(at + 1, Object::View, Verb::Create),
            () if self.is(at, "FUNCTION") && self.is_loadable(at) => Some(of(Object::Instance, Verb::Create)),
            () if self.is_any(at, &["PROCEDURE", "FUNCTION", "LIBRARY"]) => {
                self.one(at + 1, Object::Routine, Verb::Create)
            }
            () if self.is(at, "PACKAGE") => self.one(self.skip(at + 1, &["BODY"]), Object::Routine, Verb::Create),
            () if self.is(at, "EVENT") => self.one(at + 1, Object::Event, Verb::Create),
            () if self.is(at, "TRIGGER") => self.create_trigger(at + 1),
            () if self.is(at, "SEQUENCE") => {
                Some(Definition { temporary, ..self.one(at + 1, Object::Sequence, Verb::Create)? })
            }
            () => self.of_server(at, Verb::Create),
        }
    }

    fn alter(&self) -> Option<Definition> {
        let at = self.skip_modifiers(1);
        match () {
            () if self.is_any(at, &["DATABASE", "SCHEMA"]) => self.database(at + 1, Verb::Alter),
            () if self.is(at, "TABLE") => self.alter_table(at + 1),
            () if self.is(at, "VIEW") => self.one(at + 1, Object::View, Verb::Alter),
            () if self.is_any(at, &["PROCEDURE", "FUNCTION", "LIBRARY"]) => {
                self.one(at + 1, Object::Routine, Verb::Alter)
            }
            () if self.is(at, "EVENT") => self.alter_event(at + 1),
            () if self.is(at, "SEQUENCE") => self.one(at + 1, Object::Sequence, Verb::Alter),
            () => self.of_server(at, Verb::Alter),
        }
    }

    fn drop(&self) -> Option<Definition> {
        let at = self.skip_modifiers(1);
        let temporary = (1..at).any(|i| self.is(i, "TEMPORARY"));
        match () {
            () if self.is_any(at, &["DATABASE", "SCHEMA"]) => self.database(at + 1, Verb::Drop),
            () if self.is_any(at, &["TABLE", "TABLES"]) => {
                Some(Definition { temporary, kind: DdlKind::DropTable, ..self.list(at + 1, Object::Table)? })
            }
            () if self.is(at, "VIEW") => self.list(at + 1, Object::View),
            () if self.is(at, "SEQUENCE") => self.list(at + 1, Object::Sequence),
            () if self.is(at, "INDEX") => self.on_index(at, Verb::Drop),
            () if self.is_any(at, &["PROCEDURE", "FUNCTION", "LIBRARY"]) => {
                self.one(at + 1, Object::Routine, Verb::Drop)
            }
            () if self.is(at, "PACKAGE") => self.one(self.skip(at + 1, &["BODY"]), Object::Routine, Verb::Drop),
            () if self.is(at, "TRIGGER") => self.one(at + 1, Object::Trigger, Verb::Drop),
            () if self.is(at, "EVENT") => self.one(at + 1, Object::Event, Verb::Drop),
            () => self.of_server(at, Verb::Drop),
        }
    }

    /// Accounts, and what belongs to the whole server.
    fn of_server(&self, at: usize, verb: Verb) -> Option<Definition> {
        const SERVER: [&str; 6] = ["SERVER", "TABLESPACE", "LOGFILE", "INSTANCE", "RESOURCE", "SPATIAL"];
        if self.is_any(at, &["USER", "ROLE"]) {
            return Some(of(Object::Account, verb));
        }
        self.is_any(at, &SERVER).then(|| of(Object::Instance, verb))
    }

    /// `CREATE FUNCTION name RETURNS type SONAME 'file'`.
    fn is_loadable(&self, at: usize) -> bool {
        let name = self.skip_if_exists(at + 1);
        self.is(name + 1, "RETURNS") && self.is(name + 3, "SONAME")
    }

    fn database(&self, at: usize, verb: Verb) -> Option<Definition> {
        const OPTIONS: [&str; 7] = ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ", "COMMENT"];
        let name_at = self.skip_if_exists(at);
        let nameless = name_at >= self.tokens.len() || self.is_any(name_at, &OPTIONS);
        let (kind, create_at) = match verb {
            Verb::Create => {
                // MariaDB's `OR REPLACE` does not go with `IF NOT EXISTS`.
                let plain = name_at == at && !self.is(at.saturating_sub(2), "REPLACE");
                (DdlKind::CreateDatabase, plain.then(|| self.start_of(at)))
            }
            Verb::Alter => (DdlKind::AlterDatabase, None),
            Verb::Drop => (DdlKind::DropDatabase, None),
        };
        let database = if nameless && verb == Verb::Alter {
            NamedDatabase { name: None, bytes: self.start_of(at)..self.start_of(at) }
        } else {
            let token = self.tokens.get(name_at)?;
            NamedDatabase { name: Some(self.name(name_at)?), bytes: token.start..token.end }
        };
        Some(Definition { kind, database: Some(database), create_at, ..of(Object::Database, verb) })
    }

    /// A statement on one view, routine, event, sequence, or on a trigger without its table.
    fn one(&self, at: usize, object: Object, verb: Verb) -> Option<Definition> {
        let name_at = self.skip_if_exists(at);
        let tabular = matches!(object, Object::View | Object::Sequence);
        let reference = self.reference(name_at, if tabular { Role::Subject } else { Role::Named })?;
        let create_at = (verb == Verb::Create && name_at == at).then(|| self.start_of(at));
        Some(Definition { body: reference.after, references: vec![reference], create_at, ..of(object, verb) })
    }

    fn create_trigger(&self, at: usize) -> Option<Definition> {
        let trigger = self.one(at, Object::Trigger, Verb::Create)?;
        let on = (trigger.body..trigger.body + 8).find(|i| self.is(*i, "ON"))?;
        let table = self.reference(on + 1, Role::Subject)?;
        if !(self.is(table.after, "FOR") && self.is(table.after + 1, "EACH") && self.is(table.after + 2, "ROW")) {
            return None;
        }
        let mut body = table.after + 3;
        if self.is_any(body, &["FOLLOWS", "PRECEDES"]) {
            body = self.reference(body + 1, Role::Named)?.after;
        }
        let references = trigger.references.into_iter().chain([table]).collect();
        Some(Definition { references, body, ..of(Object::Trigger, Verb::Create) })
    }

    fn alter_event(&self, at: usize) -> Option<Definition> {
        let mut event = self.one(at, Object::Event, Verb::Alter)?;
        let do_at = (event.body..self.tokens.len()).find(|i| self.is(*i, "DO")).unwrap_or(self.tokens.len());
        if let Some(rename) = (event.body..do_at).find(|i| self.is(*i, "RENAME") && self.is(i + 1, "TO")) {
            event.references.push(self.reference(rename + 2, Role::Named)?);
        }
        Some(event)
    }

    fn create_table(&self, at: usize) -> Option<Definition> {
        let name_at = self.skip_if_exists(at);
        let create_at = (name_at == at).then(|| self.start_of(at));
        let subject = self.reference(name_at, Role::Subject)?;
        let mut next = subject.after;
        let home = subject.database.clone();
        let mut references = vec![subject];
        if self.sign(next) == Some(b'(') && self.is(next + 1, "LIKE") {
            next += 1;
        }
        if self.is(next, "LIKE") {
            references.push(self.reference(next + 1, Role::Mentioned)?);
        } else {
            for at in next..self.tokens.len() {
                match () {
                    () if self.is(at, "REFERENCES") => references.push(self.parent(at + 1, home.as_deref())?),
                    () if self.is(at, "UNION") => self.merged(at, &mut references)?,
                    () => {}
                }
            }
        }
        let rows_follow = self.start_transaction(next);
        Some(Definition { create_at, rows_follow, ..on_tables(DdlKind::CreateTable, Verb::Create, references) })
    }

    /// The words `START TRANSACTION` outside of parentheses.
    fn start_transaction(&self, from: usize) -> Option<Range<usize>> {
        let mut depth = 0i32;
        for at in from..self.tokens.len() {
            match self.sign(at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                _ if depth == 0 && self.is(at, "START") && self.is(at + 1, "TRANSACTION") => {
                    return Some(self.start_of(at)..self.tokens.get(at + 1)?.end);
                }
                _ => {}
            }
        }
        None
    }

    /// The table that a foreign key leads to: without a database it is in the one of the table that has the key, wherever
    /// the session stands.
    fn parent(&self, at: usize, home: Option<&str>) -> Option<Reference> {
        let reference = self.reference(at, Role::Mentioned)?;
        Some(Reference { database: reference.database.or_else(|| home.map(str::to_owned)), ..reference })
    }

    /// `UNION = (table, …)` of the MERGE engine.
    fn merged(&self, at: usize, references: &mut Vec<Reference>) -> Option<()> {
        let mut at = if self.sign(at + 1) == Some(b'=') { at + 2 } else { at + 1 };
        if self.sign(at) != Some(b'(') || self.is_any(at + 1, &["SELECT", "VALUES", "TABLE", "WITH"]) {
            return Some(());
        }
        while matches!(self.sign(at), Some(b'(' | b',')) && self.sign(at + 1) != Some(b')') {
            let reference = self.reference(at + 1, Role::Mentioned)?;
            at = reference.after;
            references.push(reference);
        }
        Some(())
    }

    fn alter_table(&self, at: usize) -> Option<Definition> {
        let subject = self.reference(self.skip_if_exists(at), Role::Subject)?;
        let (from, home) = (subject.after, subject.database.clone());
        let mut references = vec![subject];
        let mut depth = 0i32;
        for at in from..self.tokens.len() {
            match self.sign(at) {
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                _ => {}
            }
            let role = match () {
                () if self.is(at, "REFERENCES") => {
                    references.push(self.parent(at + 1, home.as_deref())?);
                    continue;
                }
                () if depth != 0 => continue,
                () if self.is(at, "UNION") => {
                    self.merged(at, &mut references)?;
                    continue;
                }
                () if self.is(at, "WITH") && self.is(at + 1, "TABLE") => Role::Subject,
                // MariaDB: CONVERT TABLE t TO PARTITION p, CONVERT PARTITION p TO TABLE t.
                () if self.is(at, "TABLE") && (self.is(at - 1, "CONVERT") || self.is(at - 1, "TO")) => Role::Subject,
                () if self.is(at, "RENAME") && !self.is_any(at + 1, &["COLUMN", "INDEX", "KEY"]) => Role::RenamedTo,
                () => continue,
            };
            let mut name_at = self.skip(at + 1, &["TABLE", "TO", "AS"]);
            if self.sign(name_at) == Some(b'=') {
                name_at += 1;
            }
            references.push(self.reference(name_at, role)?);
        }
        let renamed = matches!(references.as_slice(), [_, new] if new.role == Role::RenamedTo);
        let kind = if renamed { DdlKind::RenameTable } else { DdlKind::AlterTable };
        Some(on_tables(kind, Verb::Alter, references))
    }

    /// CREATE INDEX, DROP INDEX: both change a table.
    fn on_index(&self, at: usize, verb: Verb) -> Option<Definition> {
        let on = (at..self.tokens.len()).find(|i| self.is(*i, "ON"))?;
        Some(on_tables(DdlKind::AlterTable, verb, vec![self.reference(on + 1, Role::Subject)?]))
    }

    fn list(&self, at: usize, object: Object) -> Option<Definition> {
        let mut references = Vec::new();
        let mut at = self.skip_if_exists(at);
        loop {
            let reference = self.reference(at, Role::Subject)?;
            at = reference.after;
            references.push(reference);
            if self.sign(at) != Some(b',') {
                return Some(Definition { references, list: true, body: at, ..of(object, Verb::Drop) });
            }
            at += 1;
        }
    }

    fn rename_list(&self, at: usize) -> Option<Definition> {
        let mut references = Vec::new();
        let mut at = self.skip_if_exists(at);
        loop {
            let old = self.reference(at, Role::Subject)?;
            let to = self.skip_wait(old.after);
            if !self.is(to, "TO") {
                return None;
            }
            let new = self.reference(to + 1, Role::RenamedTo)?;
            at = new.after;
            references.extend([old, new]);
            if self.sign(at) != Some(b',') {
                return Some(Definition { list: true, ..on_tables(DdlKind::RenameTable, Verb::Alter, references) });
            }
            at += 1;
        }
    }
}

fn of(object: Object, verb: Verb) -> Definition {
    Definition {
        kind: DdlKind::Other,
        object,
        verb,
        database: None,
        references: Vec::new(),
        list: false,
        create_at: None,
        body: 0,
        temporary: false,
        rows_follow: None,
    }
}

fn on_tables(kind: DdlKind, verb: Verb, references: Vec<Reference>) -> Definition {
    let body = references.first().map_or(0, |r| r.after);
    Definition { kind, references, body, ..of(Object::Table, verb) }
}

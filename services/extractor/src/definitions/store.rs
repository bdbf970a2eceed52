//! What the captured tables look like where the stream stands, and how that is kept on the source's log.
//!
//! A unit's source state names a record of the schemas' topic. That says what is different from an earlier such record, down
//! to one that says all: so a definition is written once per change, and whoever reads the log back has all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lutra_change::sql_statement::{Definition as Words, Object, Role, Verb};
use lutra_change::{DdlKind, SessionContext, Statement, TableName};
use lutra_wire::Fingerprint;
use serde::{Deserialize, Serialize};

use super::charsets::Charsets;
use super::reader::{Session, Unclear, unclear};
use super::table::Definition;
use super::{alter, create};

/// After so many records that say what is different, one says all.
const DEEPEST: usize = 200;
/// About so much in one record.
const RECORD_BYTES: usize = 256 << 10;

/// What is known of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It looks like that.
    Is(Arc<Definition>),
    /// What it looks like is not known.
    Unknown(String),
}

/// A record of definitions.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The record that it is different from.
    base: Option<Fingerprint>,
    tables: Vec<Stored>,
    /// Default collations of all databases that are known, where that is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    databases: Option<BTreeMap<String, u16>>,
}

/// A table in a record; with neither of the two it is gone.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    name: TableName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<Arc<Definition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

/// Records that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("definitions {name}: {reason}")]
pub struct Unreadable {
    name: Fingerprint,
    reason: String,
}

/// A statement that changes definitions, as the binlog has it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The statement.
    pub statement: &'a Statement<'a>,
    /// What it is about.
    pub words: &'a Words,
    /// The session's default database.
    pub database: &'a str,
    /// The session.
    pub context: &'a SessionContext,
    /// Of a MariaDB.
    pub mariadb: bool,
}

/// The definitions of the captured tables.
#[derive(Debug, Default)]
pub struct Store {
    tables: BTreeMap<TableName, Entry>,
    /// None as long as table maps say everything themselves.
    charsets: Option<Arc<Charsets>>,
    /// The server takes names that differ in case for the same.
    lower_case: bool,
    /// Rises with everything that is known otherwise than before.
    version: u64,
    /// Different since the last record.
    dirty: BTreeSet<TableName>,
    /// Changed by the last statement: to be asked for where that is quick.
    touched: Vec<TableName>,
    /// Default collations of databases.
    databases: BTreeMap<String, u16>,
    /// They are different since the last record.
    defaults_changed: bool,
    /// Databases that were made while definitions were followed: what is not known there is not there. Not kept over starts,
    /// where other tables may be captured.
    born: BTreeSet<String>,
    last: Option<Fingerprint>,
    depth: usize,
}

impl Store {
    /// Begins to follow definitions.
    pub fn activate(&mut self, charsets: Arc<Charsets>, lower_case: bool) {
        self.charsets = Some(charsets);
        self.lower_case = lower_case;
    }

    /// Whether definitions are followed.
    pub fn is_active(&self) -> bool {
        self.charsets.is_some()
    }

    /// The character sets of the server.
    pub fn charsets(&self) -> Option<&Arc<Charsets>> {
        self.charsets.as_ref()
    }

    /// The record that says all that is known.
    pub fn name(&self) -> Option<Fingerprint> {
        self.last
    }

    /// Whether there is something to be written or asked.
    pub fn has_news(&self) -> bool {
        !self.dirty.is_empty() || !self.touched.is_empty() || self.defaults_changed
    }

    /// Tables that were changed since this was asked last.
    pub fn take_touched(&mut self) -> Vec<TableName> {
        std::mem::take(&mut self.touched)
    }

    fn key(&self, name: &TableName) -> TableName {
        if self.lower_case {
            TableName::new(name.database.to_lowercase(), name.table.to_lowercase())
        } else {
            name.clone()
        }
    }

    /// What is known of a table.
    pub fn get(&self, name: &TableName) -> Option<&Entry> {
        if self.lower_case { self.tables.get(&self.key(name)) } else { self.tables.get(name) }
    }

    /// What is known of a table now. Says whether that is something else than before.
    pub fn set(&mut self, name: &TableName, entry: Entry) -> bool {
        let name = self.key(name);
        if self.tables.get(&name) == Some(&entry) {
            return false;
        }
        self.tables.insert(name.clone(), entry);
        self.dirty.insert(name);
        self.version += 1;
        true
    }

    fn remove(&mut self, name: &TableName) -> Option<Entry> {
        let name = self.key(name);
        let entry = self.tables.remove(&name)?;
        self.dirty.insert(name);
        self.version += 1;
        Some(entry)
    }

    /// Takes in a statement. Says whether anything is known otherwise now; `follows` says of which tables that matters.
    pub fn statement(&mut self, change: &Change<'_>, follows: impl Fn(&TableName) -> bool) -> bool {
        let Some(charsets) = self.charsets.clone().filter(|_| !change.words.temporary) else { return false };
        let before = self.version;
        match (change.words.object, change.words.verb) {
            (Object::Database, Verb::Create | Verb::Alter) => {
                let replaces = change.statement.is(1, "OR");
                if change.words.verb == Verb::Create && (replaces || change.words.create_at.is_some()) {
                    let name = change.words.home(change.database);
                    self.remove_all(name);
                    self.born.insert(name.to_lowercase());
                }
                self.on_database(change, &charsets);
            }
            (Object::Database, Verb::Drop) => {
                let name = change.words.home(change.database);
                self.remove_all(name);
                self.born.remove(&name.to_lowercase());
                self.defaults_changed |= self.databases.remove(name).is_some();
            }
            (Object::Table, _) => self.on_tables(change, &charsets, follows),
            _ => {}
        }
        self.version != before
    }

    /// A database is gone, or is another one.
    fn remove_all(&mut self, database: &str) {
        let same = |t: &&TableName| t.database == database || self.lower_case && t.database == database.to_lowercase();
        let gone: Vec<_> = self.tables.keys().filter(same).cloned().collect();
        gone.iter().for_each(|name| drop(self.remove(name)));
    }

    /// The default of a database decides over tables made later.
    fn on_database(&mut self, change: &Change<'_>, charsets: &Charsets) {
        let name = change.words.home(change.database).to_owned();
        let creates = change.words.verb == Verb::Create;
        if creates && change.words.create_at.is_none() && self.databases.contains_key(&name) {
            return;
        }
        let session = Session { charsets, context: change.context, mariadb: change.mariadb, default: None };
        let collation = match create::of_database(change.statement, 2, &session) {
            Ok(Some(collation)) => Some(collation),
            Ok(None) if creates => change.context.collation_server,
            Ok(None) => self.databases.get(&name).copied(),
            Err(_) => None,
        };
        let before = match collation {
            Some(collation) => self.databases.insert(name, collation),
            None => self.databases.remove(&name),
        };
        self.defaults_changed |= before != collation;
    }

    /// The default collation of a database, by its name.
    pub fn set_default(&mut self, database: &str, collation: &str) {
        if let Some(id) = self.charsets.as_ref().and_then(|c| c.collation(collation)) {
            self.defaults_changed |= self.databases.insert(database.to_owned(), id) != Some(id);
        }
    }

    fn session<'a>(&self, change: &Change<'a>, name: &TableName, charsets: &'a Charsets) -> Session<'a> {
        let default = self.databases.get(&name.database).copied();
        Session { charsets, context: change.context, mariadb: change.mariadb, default }
    }

    /// A statement that is not understood may have changed any table of a database.
    pub fn doubt(&mut self, database: &str) -> bool {
        self.born.remove(&database.to_lowercase());
        let names: Vec<_> = self.tables.keys().filter(|t| t.database.eq_ignore_ascii_case(database)).cloned().collect();
        for name in &names {
            self.set(name, Entry::Unknown("a statement in its database was not understood".to_owned()));
        }
        self.touched.extend(names.iter().cloned());
        !names.is_empty()
    }

    fn on_tables(&mut self, change: &Change<'_>, charsets: &Charsets, follows: impl Fn(&TableName) -> bool) {
        let words = change.words;
        let names = words.tables(change.database);
        match words.kind {
            DdlKind::CreateTable => {
                let Some(name) = names.first().filter(|name| follows(name)) else { return };
                let if_missing = words.create_at.is_none();
                if if_missing && matches!(self.get(name), Some(Entry::Is(_))) {
                    return;
                }
                let made = self.created(change, name, charsets);
                let is_new = self.get(name).is_none() && self.born.contains(&name.database.to_lowercase());
                let made = match if_missing && !is_new {
                    true => made.and_then(|_| unclear("it was made if it was not there")),
                    false => made,
                };
                self.take_in(name, made);
            }
            DdlKind::DropTable => names.iter().for_each(|name| drop(self.remove(name))),
            DdlKind::RenameTable if words.list => self.renamed(&names, follows),
            DdlKind::RenameTable | DdlKind::AlterTable => {
                let Some(name) = names.first() else { return };
                self.altered(change, name, charsets);
                let renamed = words.references.iter().find(|r| r.role == Role::RenamedTo);
                if let Some(new) = renamed.map(|r| r.name(change.database)) {
                    self.touched.retain(|touched| touched != name);
                    self.touched.extend(follows(&new).then(|| self.key(&new)));
                    self.renamed(&[name.clone(), new], follows);
                } else if change.mariadb {
                    // A partition becomes a table, or a table a partition.
                    names.iter().skip(1).for_each(|name| {
                        if follows(name) {
                            self.take_in(name, unclear("it was made of a partition, or became one"));
                        }
                    });
                }
            }
            _ => {}
        }
    }

    fn take_in(&mut self, name: &TableName, made: Result<Definition, Unclear>) {
        let entry = match made {
            Ok(definition) => Entry::Is(Arc::new(definition)),
            Err(Unclear(why)) => Entry::Unknown(why),
        };
        self.set(name, entry);
        let name = self.key(name);
        if !self.touched.contains(&name) {
            self.touched.push(name);
        }
    }

    fn created(&self, change: &Change<'_>, name: &TableName, charsets: &Charsets) -> Result<Definition, Unclear> {
        let (words, statement) = (change.words, change.statement);
        let after = words.references.first().map_or(0, |r| r.after);
        let like =
            statement.is(after, "LIKE") || (statement.sign(after) == Some(b'(') && statement.is(after + 1, "LIKE"));
        if like {
            let model = words.references.get(1).map(|r| r.name(change.database));
            return match model.as_ref().and_then(|model| self.get(model)) {
                Some(Entry::Is(model)) => Ok((**model).clone()),
                _ => unclear("it was made like a table that is not known"),
            };
        }
        create::create(statement, after, &self.session(change, name, charsets))
    }

    fn altered(&mut self, change: &Change<'_>, name: &TableName, charsets: &Charsets) {
        let (words, statement) = (change.words, change.statement);
        let Some(Entry::Is(table)) = self.get(name).cloned() else {
            // Not known yet, or not any more: what it was changed by is not looked at.
            if self.get(name).is_some() {
                self.touched.push(name.clone());
            }
            return;
        };
        let after = words.references.first().map_or(0, |r| r.after);
        let made = match words.verb {
            Verb::Create => alter::create_index(statement, after, &table),
            Verb::Drop => alter::drop_index(statement, &table),
            Verb::Alter => alter::alter(statement, after, &table, &self.session(change, name, charsets)),
        };
        self.take_in(name, made);
    }

    /// Old, new, old, new, …
    fn renamed(&mut self, names: &[TableName], follows: impl Fn(&TableName) -> bool) {
        // A chain may go through names that are not followed.
        for pair in names.chunks_exact(2) {
            let [old, new] = pair else { continue };
            match self.remove(old) {
                Some(entry) => {
                    self.set(new, entry);
                }
                None => {
                    // It comes from where nothing is followed.
                    self.born.remove(&new.database.to_lowercase());
                    self.remove(new);
                }
            }
        }
        for name in names {
            if !follows(name) {
                self.remove(name);
            }
        }
    }

    /// What is to be written before the next unit: records with their names, in order.
    pub fn records(&mut self) -> Vec<(Fingerprint, String)> {
        if self.dirty.is_empty() && !self.defaults_changed {
            return Vec::new();
        }
        let dirty = std::mem::take(&mut self.dirty);
        let whole = self.last.is_none() || self.depth >= DEEPEST;
        let names: Vec<_> = if whole { self.tables.keys().cloned().collect() } else { dirty.into_iter().collect() };
        let mut base = self.last.filter(|_| !whole);
        let mut depth = if whole { 0 } else { self.depth };
        let (mut written, mut tables, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut names = names.into_iter().peekable();
        loop {
            let name = names.next();
            let ends = name.is_none();
            if let Some(name) = name {
                let (definition, unknown) = match self.tables.get(&name) {
                    Some(Entry::Is(definition)) => (Some(Arc::clone(definition)), None),
                    Some(Entry::Unknown(why)) => (None, Some(why.clone())),
                    None => (None, None),
                };
                bytes += 200 + definition.as_ref().map_or(0, |d| d.columns.len() * 100);
                tables.push(Stored { name, definition, unknown });
            }
            if (ends && (!tables.is_empty() || written.is_empty())) || bytes > RECORD_BYTES {
                let changed = std::mem::take(&mut self.defaults_changed) || (whole && written.is_empty());
                let databases = changed.then(|| self.databases.clone());
                let record = Record { base, tables: std::mem::take(&mut tables), databases };
                // Nothing in it can fail to be written.
                let text = serde_json::to_string(&record).unwrap_or_default();
                let name = Fingerprint::of(&text);
                (base, bytes) = (Some(name), 0);
                depth += 1;
                written.push((name, text));
            }
            if ends {
                break;
            }
        }
        (self.last, self.depth) = (base, depth);
        written
    }

    /// What the records say that lead to that name.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn restore(&mut self, records: &HashMap<Fingerprint, String>, name: Fingerprint) -> Result<(), Unreadable> {
        let mut chain = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next {
            let fault = |reason: String| Unreadable { name, reason };
            let text = records.get(&name).ok_or_else(|| fault("they are not in the schemas' topic".to_owned()))?;
            let record: Record = serde_json::from_str(text).map_err(|e| fault(e.to_string()))?;
            next = record.base;
            chain.push(record);
        }
        self.depth = chain.len();
        self.tables.clear();
        self.databases = chain.iter().find_map(|record| record.databases.clone()).unwrap_or_default();
        self.defaults_changed = false;
        for stored in chain.into_iter().rev().flat_map(|record| record.tables) {
            match (stored.definition, stored.unknown) {
                (Some(definition), _) => self.tables.insert(stored.name, Entry::Is(definition)),
                (None, Some(why)) => self.tables.insert(stored.name, Entry::Unknown(why)),
                (None, None) => self.tables.remove(&stored.name),
            };
        }
        self.last = Some(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::sql_lexer::Lexis;

    use super::super::charsets::of_tests;
    use super::*;

    fn store() -> Store {
        let mut store = Store::default();
        store.activate(Arc::new(of_tests()), false);
        store.set_default("d", "utf8mb4_0900_ai_ci");
        store
    }

    fn run(store: &mut Store, text: &str) {
        let context = SessionContext { collation_server: Some(255), ..SessionContext::default() };
        let statement = Statement::new(text.as_bytes(), Lexis::default()).unwrap();
        let words = statement.definition().unwrap();
        let change = Change { statement: &statement, words: &words, database: "d", context: &context, mariadb: false };
        store.statement(&change, |table| table.database == "d");
    }

    /// `t(a,b) u?`: what is known, and what is known not to be.
    fn shown(store: &Store) -> String {
        let entry = |(name, entry): (&TableName, &Entry)| match entry {
            Entry::Is(table) => {
                let columns: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
                format!("{}({})", name.table, columns.join(","))
            }
            Entry::Unknown(_) => format!("{}?", name.table),
        };
        store.tables.iter().map(entry).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tables_are_made_changed_renamed_and_dropped() {
        let mut store = store();
        for (text, expected) in [
            ("CREATE TABLE t (a INT, b INT)", "t(a,b)"),
            ("CREATE TABLE u LIKE t", "t(a,b) u(a,b)"),
            ("ALTER TABLE u ADD c INT FIRST, RENAME TO v", "t(a,b) v(c,a,b)"),
            ("RENAME TABLE t TO x, v TO t, x TO v", "t(c,a,b) v(a,b)"),
            ("CREATE TABLE IF NOT EXISTS t (z INT)", "t(c,a,b) v(a,b)"),
            ("CREATE TABLE IF NOT EXISTS w (z INT)", "t(c,a,b) v(a,b) w?"),
            ("ALTER TABLE v ADD q SOMETHING_NEW", "t(c,a,b) v? w?"),
            ("DROP TABLE v, w", "t(c,a,b)"),
            ("CREATE TABLE v (z INT)", "t(c,a,b) v(z)"),
            ("RENAME TABLE v TO other.v", "t(c,a,b)"),
            ("CREATE TEMPORARY TABLE t (k INT)", "t(c,a,b)"),
            ("TRUNCATE TABLE t", "t(c,a,b)"),
            ("DROP DATABASE d", ""),
        ] {
            run(&mut store, text);
            assert_eq!(shown(&store), expected, "{text}");
        }
    }

    #[test]
    fn in_a_database_that_was_made_in_view_nothing_is_there_that_was_not_seen() {
        let mut store = store();
        for (text, expected) in [
            ("CREATE DATABASE d", ""),
            ("CREATE TABLE IF NOT EXISTS t (a INT)", "t(a)"),
            ("CREATE TABLE IF NOT EXISTS t (b INT)", "t(a)"),
            ("DROP TABLE t", ""),
            ("CREATE TABLE IF NOT EXISTS t (b INT)", "t(b)"),
            ("CREATE OR REPLACE DATABASE d", ""),
            ("CREATE TABLE IF NOT EXISTS t (c INT)", "t(c)"),
            ("RENAME TABLE other.u TO u", "t(c)"),
            ("CREATE TABLE IF NOT EXISTS u (c INT)", "t(c) u?"),
            ("DROP DATABASE d", ""),
            ("CREATE DATABASE IF NOT EXISTS d", ""),
            ("CREATE TABLE IF NOT EXISTS t (d INT)", "t?"),
        ] {
            run(&mut store, text);
            assert_eq!(shown(&store), expected, "{text}");
        }
    }

    #[test]
    fn what_was_written_is_read_back_whatever_the_number_of_records() {
        let (mut store, mut records, mut seen) = (store(), HashMap::new(), Vec::new());
        for n in 0..2 * DEEPEST + 10 {
            run(&mut store, &format!("CREATE TABLE t{} (a{n} INT, e ENUM('x'))", n % 7));
            if n % 11 == 0 {
                run(&mut store, &format!("DROP TABLE t{}", n % 7));
            }
            if n % 13 == 0 {
                store.set(&TableName::new("d", "t6"), Entry::Unknown("why".to_owned()));
            }
            let written = store.records();
            assert_eq!(written.len(), 1, "one record for one change");
            records.extend(written);
            seen.push((store.name().unwrap(), shown(&store)));
        }
        assert!(store.records().is_empty());
        for (name, expected) in &seen {
            let mut back = self::store();
            back.restore(&records, *name).unwrap();
            assert_eq!((shown(&back), back.name()), (expected.clone(), Some(*name)));
            assert!(back.depth <= DEEPEST + 1);
        }
        records.remove(&seen.first().unwrap().0);
        assert!(self::store().restore(&records, seen.get(3).unwrap().0).is_err());
    }

    #[test]
    fn a_large_base_is_cut_into_records() {
        let mut store = store();
        for n in 0..3_000 {
            run(&mut store, &format!("CREATE TABLE t{n} (a INT, b INT)"));
        }
        let written = store.records();
        assert!(written.len() > 2 && written.iter().all(|(_, text)| text.len() < 1 << 20));
        let mut back = self::store();
        back.restore(&written.into_iter().collect(), store.name().unwrap()).unwrap();
        assert_eq!(shown(&back), shown(&store));
    }

    #[test]
    fn a_statement_that_is_not_understood_puts_its_database_in_doubt() {
        let mut store = store();
        run(&mut store, "CREATE TABLE t (a INT)");
        assert!(store.doubt("d") && !store.doubt("e"));
        assert_eq!(shown(&store), "t?");
    }

    #[test]
    fn tables_follow_the_default_of_their_database() {
        let mut store = store();
        let collation = |store: &Store| match store.get(&TableName::new("d", "t")) {
            Some(Entry::Is(table)) => table.collation,
            _ => None,
        };
        for (text, expected) in [
            ("ALTER DATABASE d CHARACTER SET latin1", 8),
            ("ALTER DATABASE d DEFAULT COLLATE = utf8mb4_bin", 46),
            ("CREATE DATABASE IF NOT EXISTS d CHARACTER SET latin1", 46),
        ] {
            run(&mut store, text);
            run(&mut store, "CREATE TABLE t (e ENUM('x'))");
            assert_eq!(collation(&store), Some(expected), "{text}");
            run(&mut store, "DROP TABLE t");
        }
        run(&mut store, "DROP DATABASE d");
        run(&mut store, "CREATE DATABASE d");
        run(&mut store, "CREATE TABLE t (e ENUM('x'))");
        assert_eq!(collation(&store), Some(255), "the server's");
    }

    #[test]
    fn nothing_is_followed_where_table_maps_say_everything() {
        let mut store = Store::default();
        run(&mut store, "CREATE TABLE t (a INT)");
        assert!(!store.has_news() && store.name().is_none() && shown(&store).is_empty());
    }
}

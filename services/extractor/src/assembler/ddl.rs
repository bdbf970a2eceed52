//! Statements: transaction control and DDL units.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lutra_binlog::{EventHeader, QueryEvent};
use lutra_change::sql_lexer::{Lexis, quote};
use lutra_change::sql_statement::{Definition, Object, Role, Statement, StatementKind, Verb};
use lutra_change::{DdlKind, Gtid, TableName};
use lutra_wire::record::{Ddl, PartEnd, RawBody};

use super::table::is_followed;
use super::wording::{in_its_charset, of_those_captured};
use super::{Assembler, Output, UnitPart};
use crate::definitions::Change;
use crate::error::AssembleError;

impl Assembler {
    pub(super) fn query(&mut self, header: &EventHeader, query: &QueryEvent<'_>) -> Result<(), AssembleError> {
        self.tracker.advance(header)?;
        if query.is_begin() {
            return self.begin_group(&query.context);
        }
        if query.is_commit() {
            return self.commit();
        }
        if self.open.as_ref().is_some_and(|open| open.without_effect) {
            return self.uncaptured(Some(query.database));
        }
        let in_group = self.mariadb && self.open.as_ref().is_some_and(|open| open.group);
        let read = in_its_charset(query, in_group);
        let query = read.as_ref().unwrap_or(query);
        let statement = Statement::new(query.statement, Lexis::of_context(&query.context))
            .ok_or(AssembleError::UnreadableStatement)?;
        match statement.kind() {
            StatementKind::Begin => self.begin_group(&query.context),
            StatementKind::XaStart => self.xa_start(query),
            StatementKind::Commit => self.commit(),
            StatementKind::Rollback => self.rolled_back("ROLLBACK"),
            StatementKind::RollbackTo => self.rollback("ROLLBACK TO"),
            StatementKind::Savepoint | StatementKind::XaEnd => Ok(()),
            StatementKind::XaPrepare => self.xa_prepare(),
            StatementKind::XaCommit => self.xa_decision(query.statement, true),
            StatementKind::XaRollback => self.xa_decision(query.statement, false),
            StatementKind::RowChange if !lutra_mysql::catalogue::is_system(query.database) => {
                let words = String::from_utf8_lossy(query.statement);
                let what = words.split_whitespace().next().unwrap_or_default().to_owned();
                Err(AssembleError::StatementText { what })
            }
            StatementKind::Empty if self.opened()?.group => Ok(()),
            StatementKind::Empty | StatementKind::RowChange | StatementKind::Maintenance => self.uncaptured(None),
            StatementKind::Definition(definition) => self.definition(query, &statement, &definition),
            StatementKind::Unknown => self.unknown(query),
        }
    }

    /// P11: a group that ends in a rollback never was, where everything in it can be rolled back; its GTID was.
    pub(super) fn rolled_back(&mut self, what: &'static str) -> Result<(), AssembleError> {
        let open = self.opened()?;
        if open.transactional && open.rows > 0 {
            let given_out = open.parts > 0;
            open.rows = 0;
            self.builder.clear();
            if given_out {
                self.give_part(PartEnd::Abort);
            }
            self.builder.clear();
            return self.commit();
        }
        self.rollback(what).and_then(|()| self.commit())
    }

    /// P11: a group with captured rows that is rolled back by a logged statement held tables without transactions.
    pub(super) fn rollback(&mut self, what: &'static str) -> Result<(), AssembleError> {
        if self.opened()?.rows > 0 {
            return Err(AssembleError::RolledBack { what, tables: self.open_tables() });
        }
        Ok(())
    }

    /// A statement that makes no unit. Outside a group it is a transaction of its own.
    pub(super) fn uncaptured(&mut self, database: Option<&str>) -> Result<(), AssembleError> {
        let open = self.opened()?;
        if database == Some("lutra") {
            open.own = true;
        } else {
            open.foreign = true;
        }
        if open.group { Ok(()) } else { self.commit() }
    }

    /// A statement that is not recognised is carried where its session stood in a captured database: what becomes of it
    /// is for the pipelines to say.
    fn unknown(&mut self, query: &QueryEvent<'_>) -> Result<(), AssembleError> {
        if self.tail.is_some() || !self.captures_in(query.database) {
            return self.uncaptured(Some(query.database));
        }
        if self.definitions.doubt(query.database) {
            self.forget_tables();
        }
        self.give_ddl(query, DdlKind::Other, Vec::new(), query.statement, false)
    }

    fn definition(
        &mut self,
        query: &QueryEvent<'_>,
        parsed: &Statement<'_>,
        statement: &Definition,
    ) -> Result<(), AssembleError> {
        if (statement.rows_follow.is_some() || self.mariadb) && self.open.is_none() && !self.spec.gtid {
            self.begin_half(query);
            return Ok(());
        }
        let wanted = !statement.temporary && self.is_captured(statement, query.database)?;
        // With rows behind it the group goes on. MariaDB does not say so in the statement.
        let rows_follow = statement.rows_follow.is_some() || self.mariadb && self.opened()?.group;
        if self.tail.is_some() || !wanted {
            if self.tail.is_none() {
                self.follow(query, parsed, statement);
            }
            let database = Some(statement.home(query.database));
            return if statement.rows_follow.is_some() { Ok(()) } else { self.uncaptured(database) };
        }
        self.check_session(query)?;
        if rows_follow && self.is_second_half(query)? {
            return Ok(());
        }
        self.follow(query, parsed, statement);
        let captures = |t: &TableName| self.spec.captures(&t.database, &t.table);
        let (captured, tables) = of_those_captured(query.statement, statement, query.database, captures);
        let text = match &statement.rows_follow {
            Some(words) => without(query.statement, words),
            None if fails_for_some(query, parsed, statement, self.mariadb) => of_those_there(&captured, parsed),
            None if statement.list => captured,
            None => with_definer(query, parsed, statement),
        };
        self.give_ddl(query, statement.kind, tables, &text, rows_follow)
    }

    /// What the statement makes of the tables that it names.
    fn follow(&mut self, query: &QueryEvent<'_>, parsed: &Statement<'_>, statement: &Definition) {
        let (database, context) = (query.database, &query.context);
        let change = Change { statement: parsed, words: statement, database, context, mariadb: self.mariadb };
        let spec = Arc::clone(&self.spec);
        if self.definitions.statement(&change, |table| is_followed(&spec, table)) {
            self.forget_tables();
        }
    }

    /// Without GTIDs the log ended inside this statement: what follows are its rows.
    pub(super) fn begin_half(&mut self, query: &QueryEvent<'_>) {
        let committed_at = query.context.timestamp_micros.unwrap_or(0);
        self.open = Some(super::open::Open { committed_at, group: true, ..super::open::Open::default() });
        let _ = self.begin_group(&query.context);
    }

    /// Whether the log has this `CREATE TABLE … SELECT` already, and ends behind it.
    fn is_second_half(&mut self, query: &QueryEvent<'_>) -> Result<bool, AssembleError> {
        let Some(committed_at) = self.half.take() else { return Ok(false) };
        let open = self.opened()?;
        if open.committed_at != committed_at {
            let what = format!(
                "the log ends inside a CREATE TABLE … SELECT of {committed_at} µs, the source goes on elsewhere"
            );
            return Err(AssembleError::NotContinuous { what });
        }
        self.begin_group(&query.context)?;
        Ok(true)
    }

    /// The unit of a DDL statement. With `rows_follow` (`CREATE TABLE … SELECT`) the rows come behind it, as a unit of
    /// their own that bears the GTID.
    fn give_ddl(
        &mut self,
        query: &QueryEvent<'_>,
        kind: DdlKind,
        tables: Vec<TableName>,
        text: &[u8],
        rows_follow: bool,
    ) -> Result<(), AssembleError> {
        let open = self.opened()?;
        let (gtid, committed_at, inside) = (open.gtid.clone(), open.committed_at, open.inside);
        if rows_follow {
            self.begin_group(&query.context)?;
        }
        if !rows_follow {
            self.note_executed(gtid.as_ref());
            self.open = None;
        }
        let ddl = Ddl {
            statement: Bytes::copy_from_slice(text),
            database: query.database.to_owned(),
            kind,
            tables,
            context: self.carried_context(query),
        };
        self.windows.ddl(&ddl);
        let body = RawBody::ddl(&ddl);
        self.give_unit(body, gtid.filter(|_| !rows_follow), committed_at);
        if rows_follow {
            self.go_on_inside(inside, None);
        }
        Ok(())
    }

    /// Gives out a unit of one part without rows.
    pub(super) fn give_unit(&mut self, body: RawBody, gtid: Option<Gtid>, committed_at: i64) {
        let previous = self.number;
        self.number = self.number.next_sequence();
        let place = self.unit_place(gtid);
        self.output.push_back(Output::Part(Box::new(UnitPart {
            number: self.number,
            previous,
            part: 1,
            end: PartEnd::Commit,
            body,
            rows: 0,
            place: Some(place),
            committed_at,
            read_at: self.now,
            origins: Vec::new(),
            totals: None,
        })));
    }

    /// The unit given out last ends inside a transaction. Without GTIDs a stream that begins behind it begins inside that
    /// transaction, with its first statement.
    pub(super) fn go_on_inside(&mut self, inside: u64, gtid: Option<Gtid>) {
        if let Some(Output::Part(part)) = self.output.back_mut()
            && let Some(place) = &mut part.place
        {
            place.inside = gtid;
            if !self.spec.gtid {
                place.position.offset = inside;
            }
        }
    }

    /// Whether tables of the database can be captured.
    fn captures_in(&self, database: &str) -> bool {
        self.spec.tables.iter().any(|p| p.matches_database(database))
    }

    /// Whether a statement concerns what is captured.
    fn is_captured(&self, statement: &Definition, default: &str) -> Result<bool, AssembleError> {
        let captures = |t: &TableName| self.spec.captures(&t.database, &t.table);
        match statement.object {
            Object::Database | Object::Routine | Object::Event => {
                return Ok(self.captures_in(statement.home(default)));
            }
            // DROP TRIGGER does not name the table.
            Object::Trigger if !statement.references.iter().any(|r| r.role == Role::Subject) => {
                return Ok(self.captures_in(statement.home(default)));
            }
            Object::Account => return Ok(self.spec.accounts),
            Object::Instance => return Ok(false),
            Object::Table | Object::View | Object::Sequence | Object::Trigger => {}
        }
        let tables = statement.tables(default);
        if statement.kind != DdlKind::RenameTable {
            return Ok(tables.iter().any(captures));
        }
        let mut pairs = tables.chunks_exact(2);
        let entering = pairs.find_map(|pair| match pair {
            [old, new] if !captures(old) && captures(new) => Some((old.clone(), new.clone())),
            _ => None,
        });
        // A chain that ends where it began (a swap through a helper name) brings nothing in.
        match entering {
            Some((old, new)) if !came_from_captured(&tables, &old, captures) => {
                Err(AssembleError::RenamedIn { old, new })
            }
            _ => Ok(tables.iter().any(captures)),
        }
    }
}

/// Whether the table of that name got it in the same statement from a captured one.
fn came_from_captured(renames: &[TableName], name: &TableName, captures: impl Fn(&TableName) -> bool) -> bool {
    renames.chunks_exact(2).any(|pair| matches!(pair, [old, new] if new == name && captures(old)))
}

/// The text without these bytes.
fn without<'q>(text: &[u8], words: &Range<usize>) -> Cow<'q, [u8]> {
    let (before, behind) = (text.get(..words.start), text.get(words.end..));
    Cow::Owned([before.unwrap_or_default(), behind.unwrap_or_default()].concat())
}

/// A DROP of several objects drops those that are there, and then fails. MySQL says so in the log; MariaDB writes a statement
/// of its own over all of them, which its replicas take for `IF EXISTS`.
fn fails_for_some(query: &QueryEvent<'_>, parsed: &Statement<'_>, statement: &Definition, mariadb: bool) -> bool {
    const UNKNOWN_TABLE: u16 = 1051;
    const UNKNOWN_SEQUENCE: u16 = 4091;
    const UNKNOWN_VIEW: u16 = 4092;
    let unknown = [UNKNOWN_TABLE, UNKNOWN_SEQUENCE, UNKNOWN_VIEW].contains(&query.error_code);
    let made = mariadb && query.statement.trim_ascii_end().ends_with(b"/* generated by server */");
    (unknown || made) && statement.verb == Verb::Drop && !parsed.is(2, "IF")
}

/// `DROP TABLE …` as `DROP TABLE IF EXISTS …`.
fn of_those_there<'q>(text: &[u8], parsed: &Statement<'_>) -> Cow<'q, [u8]> {
    let end = parsed.tokens.get(1).map_or(0, |object| object.end.min(text.len()));
    let (before, behind) = text.split_at(end);
    Cow::Owned([before, b" IF EXISTS", behind].concat())
}

/// ALTER EVENT makes whoever runs it the event's definer. The server says so beside the statement; here it goes in.
fn with_definer<'q>(query: &QueryEvent<'q>, parsed: &Statement<'_>, statement: &Definition) -> Cow<'q, [u8]> {
    let text = query.statement;
    let (Some((user, host)), Object::Event, Verb::Alter) = (query.invoker, statement.object, statement.verb) else {
        return Cow::Borrowed(text);
    };
    let (false, Some(alter)) = (parsed.is(1, "DEFINER"), parsed.tokens.first()) else { return Cow::Borrowed(text) };
    let (before, behind) = text.split_at(alter.end.min(text.len()));
    let definer = format!(" DEFINER={}@{}", quote(user), quote(host));
    Cow::Owned([before, definer.as_bytes(), behind].concat())
}

//! Views, routines, triggers, events, sequences and accounts: what lives beside the tables of a database.

use std::ops::Range;

use lutra_change::sql_lexer::{TokenKind, quote};
use lutra_change::sql_statement::{Definition, Object, Role, Statement, Verb};
use lutra_change::{TableName, sql_statement::Reference};
use lutra_spec::TriggerPolicy;
use lutra_wire::record::Ddl;

use crate::compile::Rules;
use crate::ddl::{DdlRoute, Edit, NotRouted, Routed, edited, fault, qualified, table_of};
use crate::ddl_databases::Home;
use crate::fault::RuleFault;

/// The condition of a guarded trigger: the loader's sessions have that variable, nobody else's does.
const GUARD: &str = "IF @lutra_apply IS NULL THEN ";

impl Rules {
    pub(crate) fn route_object(
        &self,
        ddl: &Ddl,
        statement: &Statement<'_>,
        definition: Definition,
    ) -> Result<DdlRoute, RuleFault> {
        match definition.object {
            Object::Account if !self.accounts => Ok(DdlRoute::Left(NotRouted::Account)),
            Object::Account => Ok(DdlRoute::Pass),
            Object::Instance => Ok(DdlRoute::Left(NotRouted::Instance)),
            Object::Trigger if self.triggers == TriggerPolicy::Skip => Ok(DdlRoute::Left(NotRouted::Trigger)),
            Object::View | Object::Sequence => self.route_views(ddl, statement, definition),
            _ => self.route_named(ddl, statement, &definition),
        }
    }

    /// Views and sequences have names among those of tables.
    fn route_views(&self, ddl: &Ddl, statement: &Statement<'_>, definition: Definition) -> Result<DdlRoute, RuleFault> {
        let (list, verb, body) = (definition.list, definition.verb, definition.body);
        let routed = self.all_routed(ddl, definition)?;
        if routed.iter().all(|r| r.target.is_none()) {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        }
        if routed.iter().any(|r| r.merges) {
            let source = routed.first().map(|r| table_of(&r.source)).unwrap_or_default();
            return Err(fault(source, "other tables of the source go to its name too"));
        }
        let mut edits = if list { self.drops(&routed) } else { view_names(&routed) };
        if verb == Verb::Drop {
            let same = routed.iter().all(|r| r.target.as_ref() == Some(&r.source) && r.source.database == ddl.database);
            return Ok(if same { DdlRoute::Pass } else { rewritten(ddl, edits, tables_of(&routed), None) });
        }
        let subject = routed.first().map(|r| table_of(&r.source)).unwrap_or_default();
        let database = self.home_of(&ddl.database, &subject)?;
        edits.extend(self.body_edits(statement, body, ddl, &subject)?);
        let same = routed.iter().all(|r| r.target.as_ref() == Some(&r.source)) && database == ddl.database;
        if same && edits.iter().all(|(range, _)| range.end <= statement.start_of(body)) {
            return Ok(DdlRoute::Pass);
        }
        Ok(rewritten(ddl, edits, tables_of(&routed), Some(database)))
    }

    /// Routines, events and triggers belong to a database; what they do is in their bodies.
    fn route_named(
        &self,
        ddl: &Ddl,
        statement: &Statement<'_>,
        definition: &Definition,
    ) -> Result<DdlRoute, RuleFault> {
        let source = definition.home(&ddl.database).to_owned();
        let word = format!("{:?}", definition.object).to_lowercase();
        let name = definition.references.first().map(|r| r.table.clone()).unwrap_or_default();
        let subject = format!("{word} {source}.{name}");
        let table = definition.references.iter().find(|r| r.role == Role::Subject).cloned();
        let table = table.map(|t| self.routed(t, &ddl.database)).transpose()?;
        if table.as_ref().is_some_and(|t| t.target.is_none()) {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        }
        let home = match self.home(&source) {
            Home::Alike(home) => home,
            Home::NotCarried if table.is_none() => return Ok(DdlRoute::Left(NotRouted::NotCarried)),
            Home::NotCarried => return Err(fault(subject, "not all tables of its database are carried")),
            Home::Changed => {
                return Err(fault(subject, "tables of its database have other names or columns in the target"));
            }
        };
        let database = self.home_of(&ddl.database, &subject)?;
        let mut edits = Vec::new();
        if home != source || database != ddl.database {
            edits.extend(definition.references.iter().filter(|r| r.role == Role::Named).map(|r| named(r, &home)));
            edits.extend(table.iter().filter_map(|t| Some((t.reference.bytes.clone(), qualified(t.target.as_ref()?)))));
        }
        // The new name of an event stands in what counts as its body.
        let of_a_name = |edit: &Edit| definition.references.iter().any(|r| within(&edit.0, &r.bytes));
        edits.extend(
            self.body_edits(statement, definition.body, ddl, &subject)?.into_iter().filter(|edit| !of_a_name(edit)),
        );
        match (definition.object, definition.verb) {
            (Object::Trigger, Verb::Create) => edits.extend(guard(statement, definition)),
            (Object::Event, Verb::Create | Verb::Alter) => edits.extend(disabled(statement, definition)),
            _ => {}
        }
        if edits.is_empty() {
            return Ok(DdlRoute::Pass);
        }
        let tables = table.iter().filter_map(|t| t.target.clone()).collect();
        Ok(rewritten(ddl, edits, tables, Some(database)))
    }

    /// The default database in the target: names without one in a body mean tables of it.
    fn home_of(&self, database: &str, subject: &str) -> Result<String, RuleFault> {
        match self.home(database) {
            _ if database.is_empty() => Ok(String::new()),
            Home::Alike(target) => Ok(target),
            // Its tables bear their own names there, or are not there.
            Home::NotCarried if !self.renames(database) => Ok(database.to_owned()),
            _ => Err(fault(
                subject.to_owned(),
                format!(
                    "it is written for database {database}, whose tables have other names or columns in the target"
                ),
            )),
        }
    }

    /// Whether some route gives tables of the database other names or columns.
    fn renames(&self, database: &str) -> bool {
        let about = self.routes.iter().filter(|r| r.pattern.matches_database(database));
        about.into_iter().any(|r| r.to.is_some() || !r.columns.is_empty())
    }

    /// Names of databases in a body: `database.table`, `database.table.column`.
    fn body_edits(
        &self,
        statement: &Statement<'_>,
        body: usize,
        ddl: &Ddl,
        subject: &str,
    ) -> Result<Vec<Edit>, RuleFault> {
        let mut edits = Vec::new();
        for at in body..statement.tokens.len() {
            let qualifies = statement.sign(at + 1) == Some(b'.')
                && (at == 0 || !matches!(statement.sign(at - 1), Some(b'.' | b'@')));
            let Some(name) = qualifies.then(|| statement.name(at)).flatten() else { continue };
            // A pattern with a wildcard matches aliases too: only databases that are named for sure.
            let certain = name == ddl.database || self.names_database(&name);
            if !certain || !self.renames(&name) {
                continue;
            }
            match self.home(&name) {
                Home::Alike(target) if target == name => {}
                Home::Alike(target) => {
                    let bytes = bytes(statement, at);
                    let written = ddl.statement.get(bytes.start).copied();
                    edits.push((bytes, quote_as(&target, written)));
                }
                _ => {
                    let reason = format!("it names {name}, whose tables have other names or columns in the target");
                    return Err(fault(subject.to_owned(), reason));
                }
            }
        }
        Ok(edits)
    }

    fn names_database(&self, name: &str) -> bool {
        self.routes.iter().any(|r| r.pattern.database_wildcards() == 0 && r.pattern.matches_database(name))
    }
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn bytes(statement: &Statement<'_>, at: usize) -> Range<usize> {
    statement.tokens.get(at).map_or(0..0, |t| t.start..t.end)
}

/// A name in the quotes that stood there: the body of a routine is kept as it is written.
fn quote_as(name: &str, written: Option<u8>) -> String {
    match written {
        Some(b'"') => format!("\"{}\"", name.replace('"', "\"\"")),
        _ => quote(name),
    }
}

fn named(reference: &Reference, database: &str) -> Edit {
    (reference.bytes.clone(), format!("{}.{}", quote(database), quote(&reference.table)))
}

fn view_names(routed: &[Routed<'_>]) -> Vec<Edit> {
    routed.iter().filter_map(|r| Some((r.reference.bytes.clone(), qualified(r.target.as_ref()?)))).collect()
}

fn tables_of(routed: &[Routed<'_>]) -> Vec<TableName> {
    routed.iter().filter_map(|r| r.target.clone()).collect()
}

fn rewritten(ddl: &Ddl, edits: Vec<Edit>, tables: Vec<TableName>, database: Option<String>) -> DdlRoute {
    let database = database.or_else(|| tables.first().map(|t| t.database.clone())).unwrap_or_default();
    DdlRoute::Rewritten(Ddl { statement: edited(&ddl.statement, edits), database, tables, ..ddl.clone() })
}

/// Puts the body of a trigger under the condition that the loader's sessions do not meet.
fn guard(statement: &Statement<'_>, definition: &Definition) -> Vec<Edit> {
    let start = statement.start_of(definition.body);
    let last = statement.tokens.iter().rev().find(|t| t.kind != TokenKind::Sign(b';'));
    let end = last.map_or(statement.text.len(), |t| t.end);
    vec![(start..start, GUARD.to_owned()), (end..end, "; END IF".to_owned())]
}

/// An event that would run at the target is created as on a replica of the server: a promoted target can enable it.
fn disabled(statement: &Statement<'_>, definition: &Definition) -> Option<Edit> {
    const REPLICA: &str = "DISABLE ON SLAVE";
    let mut depth = 0i32;
    let mut comment = None;
    for at in definition.body..statement.tokens.len() {
        match statement.sign(at) {
            Some(b'(') => depth += 1,
            Some(b')') => depth -= 1,
            _ => {}
        }
        if depth != 0 {
            continue;
        }
        let text = statement.tokens.get(at + 1).is_some_and(|t| t.kind == TokenKind::Text);
        match () {
            () if statement.is(at, "DISABLE") => return None,
            () if statement.is(at, "ENABLE") => return Some((bytes(statement, at), REPLICA.to_owned())),
            () if statement.is(at, "COMMENT") && text => comment = comment.or(Some(statement.start_of(at))),
            () if statement.is(at, "DO") => {
                let at = comment.unwrap_or_else(|| statement.start_of(at));
                return (definition.verb == Verb::Create).then(|| (at..at, format!("{REPLICA} ")));
            }
            () => {}
        }
    }
    None
}

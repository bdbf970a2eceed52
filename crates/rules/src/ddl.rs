//! DDL of the source to DDL of the target: what is not carried is left out, names are rewritten.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use lutra_change::sql_lexer::{Lexis, quote};
use lutra_change::sql_statement::{Definition, Object, Reference, Role, Statement, StatementKind};
use lutra_change::{DdlKind, TableName};
use lutra_spec::{ColumnRules, DdlPolicy};
use lutra_wire::record::Ddl;

use crate::compile::{Rules, TableDecision};
use crate::ddl_columns;
use crate::fault::RuleFault;

/// What becomes of a DDL statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DdlRoute {
    /// The statement stands as it is.
    Pass,
    /// The statement for the target: fully qualified names, and a default database that the target has (none for
    /// statements on databases).
    Rewritten(Ddl),
    /// Nothing of it is carried.
    Left(NotRouted),
}

/// Why a statement is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotRouted {
    /// It is about tables or databases that are not carried.
    NotCarried,
    /// The pipeline or route says `ddl: ignore`.
    Ignored,
    /// It is about triggers, and the pipeline says `triggers: skip`.
    Trigger,
    /// It is about users, roles or grants, and the pipeline does not say `accounts: true`.
    Account,
    /// It is about something of the whole server: a tablespace, a server link, a plugin.
    Instance,
    /// It changes neither definitions nor rows.
    Maintenance,
    /// It is about columns that the target does not have.
    DroppedColumns,
}

/// A replacement of bytes in a statement.
pub(crate) type Edit = (Range<usize>, String);

/// A reference with its place in source and target.
pub(crate) struct Routed<'r> {
    pub(crate) reference: Reference,
    pub(crate) source: TableName,
    /// None: not carried.
    pub(crate) target: Option<TableName>,
    columns: Option<&'r ColumnRules>,
    pub(crate) merges: bool,
}

impl Rules {
    /// What becomes of a DDL statement.
    pub fn route_ddl(&self, ddl: &Ddl) -> Result<DdlRoute, RuleFault> {
        let statement = Statement::new(&ddl.statement, Lexis::of_context(&ddl.context));
        let Some(statement) = statement else { return self.not_understood(ddl) };
        let definition = match statement.kind() {
            StatementKind::Definition(definition) => definition,
            StatementKind::Maintenance => return Ok(DdlRoute::Left(NotRouted::Maintenance)),
            _ => return self.not_understood(ddl),
        };
        if self.is_ignored(ddl, &definition) {
            return Ok(DdlRoute::Left(NotRouted::Ignored));
        }
        let route = match definition.object {
            Object::Database => self.route_database(ddl, &definition),
            Object::Table => self.route_tables(ddl, &statement, *definition),
            _ => self.route_object(ddl, &statement, *definition),
        }?;
        if let DdlRoute::Rewritten(rewritten) = &route {
            safe_to_rewrite(ddl, rewritten)?;
        }
        Ok(route)
    }

    /// Whether everything that the statement is about has the policy `ignore`.
    fn is_ignored(&self, ddl: &Ddl, definition: &Definition) -> bool {
        let tables = definition.tables(&ddl.database);
        let all = !tables.is_empty() && tables.iter().all(|t| self.policy(t) == DdlPolicy::Ignore);
        all || (tables.is_empty() && self.ddl == DdlPolicy::Ignore)
    }

    /// A statement of which it is not known where it names its tables: it passes if nothing in it would change.
    fn not_understood(&self, ddl: &Ddl) -> Result<DdlRoute, RuleFault> {
        if self.ddl == DdlPolicy::Ignore {
            return Ok(DdlRoute::Left(NotRouted::Ignored));
        }
        let mut changes = ddl.tables.is_empty() && !self.keeps(&ddl.database);
        let mut carried = ddl.tables.is_empty();
        for table in &ddl.tables {
            match self.table(table)? {
                TableDecision::Pass => carried = true,
                TableDecision::Drop => changes = true,
                TableDecision::Map(_) => (carried, changes) = (true, true),
            }
        }
        match (carried, changes) {
            (false, _) => Ok(DdlRoute::Left(NotRouted::NotCarried)),
            (true, false) => Ok(DdlRoute::Pass),
            (true, true) => Err(fault(subject_of(ddl), "it is not understood where it names its tables")),
        }
    }

    pub(crate) fn routed(&self, reference: Reference, default: &str) -> Result<Routed<'_>, RuleFault> {
        let source = reference.name(default);
        let (target, columns, merges) = match self.table(&source)? {
            TableDecision::Pass => (Some(source.clone()), None, false),
            TableDecision::Drop => (None, None, false),
            TableDecision::Map(m) => (Some(m.to), Some(m.columns).filter(|c| !c.is_empty()), m.merges),
        };
        Ok(Routed { reference, source, target, columns, merges })
    }

    fn route_tables(
        &self,
        ddl: &Ddl,
        statement: &Statement<'_>,
        definition: Definition,
    ) -> Result<DdlRoute, RuleFault> {
        let (kind, list, create_at) = (definition.kind, definition.list, definition.create_at);
        let routed = self.all_routed(ddl, definition)?;
        if routed.iter().filter(|r| r.reference.role != Role::Mentioned).all(|r| r.target.is_none()) {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        }
        merged_tables(kind, &routed)?;
        let mut edits = match (list, kind) {
            (true, DdlKind::RenameTable) => renames(&routed)?,
            (true, _) => self.drops(&routed),
            (false, _) => names(&routed)?,
        };
        if let Some(at) = create_at.filter(|_| routed.iter().any(|r| r.merges)) {
            edits.push((at..at, "IF NOT EXISTS ".to_owned()));
        }
        if let Some(first) = routed.first().filter(|_| !list)
            && let Some(columns) = first.columns
        {
            let behind = first.reference.after;
            match ddl_columns::edits(statement, behind, kind, columns)
                .map_err(|reason| fault(table_of(&first.source), reason))?
            {
                Some(more) => edits.extend(more),
                None => return Ok(DdlRoute::Left(NotRouted::DroppedColumns)),
            }
        }
        let shortened = list && routed.iter().any(|r| self.policy(&r.source) == DdlPolicy::Ignore);
        Ok(assembled(ddl, &routed, edits, shortened))
    }

    pub(crate) fn all_routed(&self, ddl: &Ddl, definition: Definition) -> Result<Vec<Routed<'_>>, RuleFault> {
        definition.references.into_iter().map(|r| self.routed(r, &ddl.database)).collect()
    }

    /// Leaves what is not carried out of a DROP of several tables or views.
    pub(crate) fn drops(&self, routed: &[Routed<'_>]) -> Vec<Edit> {
        let carried = routed.iter().filter(|r| self.policy(&r.source) != DdlPolicy::Ignore);
        let kept: Vec<String> = carried.filter_map(|r| r.target.as_ref().map(qualified)).collect();
        whole_list(routed, &kept)
    }
}

/// The statement for the target, or word that it stands as it is.
fn assembled(ddl: &Ddl, routed: &[Routed<'_>], edits: Vec<Edit>, shortened: bool) -> DdlRoute {
    let same = |r: &Routed<'_>| r.target.as_ref() == Some(&r.source) && r.columns.is_none() && !r.merges;
    let at_home = |r: &Routed<'_>| r.source.database == ddl.database;
    if !shortened && routed.iter().all(|r| same(r) && at_home(r)) {
        return DdlRoute::Pass;
    }
    let tables: Vec<TableName> =
        routed.iter().filter(|r| r.reference.role != Role::Mentioned).filter_map(|r| r.target.clone()).collect();
    let database = tables.first().map(|t| t.database.clone()).unwrap_or_default();
    DdlRoute::Rewritten(Ddl { statement: edited(&ddl.statement, edits), database, tables, ..ddl.clone() })
}

/// A statement on one of several tables that share a table of the target must not reach the others' rows.
fn merged_tables(kind: DdlKind, routed: &[Routed<'_>]) -> Result<(), RuleFault> {
    match routed.iter().find(|r| r.merges) {
        Some(table) if kind != DdlKind::CreateTable => {
            let target = table.target.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(fault(table_of(&table.source), format!("other tables of the source also go to {target}")))
        }
        _ => Ok(()),
    }
}

/// Replaces every name; all of them must be carried.
pub(crate) fn names(routed: &[Routed<'_>]) -> Result<Vec<Edit>, RuleFault> {
    let subject = routed.first().map(|r| table_of(&r.source)).unwrap_or_default();
    routed
        .iter()
        .map(|r| match &r.target {
            Some(target) => Ok((r.reference.bytes.clone(), qualified(target))),
            None => Err(fault(subject.clone(), format!("it also names table {}, which is not carried", r.source))),
        })
        .collect()
}

/// Leaves the pairs that are not carried out of a RENAME TABLE.
fn renames(routed: &[Routed<'_>]) -> Result<Vec<Edit>, RuleFault> {
    let mut kept = Vec::new();
    for pair in routed.chunks_exact(2) {
        let [old, new] = pair else { continue };
        match (&old.target, &new.target) {
            (None, None) => {}
            (Some(from), Some(to)) if old.columns == new.columns => {
                kept.push(format!("{} TO {}", qualified(from), qualified(to)));
            }
            (Some(_), Some(_)) => {
                return Err(fault(
                    table_of(&old.source),
                    format!("it becomes {}, whose columns have other rules", new.source),
                ));
            }
            (None, Some(_)) => {
                let reason = format!(
                    "it is not carried and becomes {}, which is: its rows are not in the target and must be copied there",
                    new.source
                );
                return Err(fault(table_of(&old.source), reason));
            }
            (Some(to), None) => {
                let reason = format!(
                    "it becomes {}, which is not carried: decide what becomes of {to} in the target",
                    new.source
                );
                return Err(fault(table_of(&old.source), reason));
            }
        }
    }
    Ok(whole_list(routed, &kept))
}

pub(crate) fn whole_list(routed: &[Routed<'_>], kept: &[String]) -> Vec<Edit> {
    match (routed.first(), routed.last()) {
        (Some(first), Some(last)) => vec![(first.reference.bytes.start..last.reference.bytes.end, kept.join(", "))],
        _ => Vec::new(),
    }
}

pub(crate) fn qualified(table: &TableName) -> String {
    format!("{}.{}", quote(&table.database), quote(&table.table))
}

pub(crate) fn table_of(table: &TableName) -> String {
    format!("table {table}")
}

fn subject_of(ddl: &Ddl) -> String {
    let tables: Vec<String> = ddl.tables.iter().map(ToString::to_string).collect();
    if tables.is_empty() { format!("database {}", ddl.database) } else { format!("table {}", tables.join(", ")) }
}

pub(crate) fn fault(subject: String, reason: impl Into<Cow<'static, str>>) -> RuleFault {
    RuleFault::Statement { subject, reason: reason.into().into_owned() }
}

/// Applies replacements that do not overlap.
pub(crate) fn edited(text: &[u8], mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = Vec::with_capacity(text.len() + 32 * edits.len());
    let mut at = 0;
    for (range, with) in edits {
        out.extend_from_slice(text.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(with.as_bytes());
        at = at.max(range.end);
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Bytes::from(out)
}

/// Names go in as UTF-8.
fn safe_to_rewrite(ddl: &Ddl, rewritten: &Ddl) -> Result<(), RuleFault> {
    let charset = Lexis::of_context(&ddl.context).charset;
    let taken = |name: &str| charset.takes(name);
    if rewritten.tables.iter().all(|t| taken(&t.database) && taken(&t.table)) && taken(&rewritten.database) {
        return Ok(());
    }
    let collation = ddl.context.character_set_client.unwrap_or(0);
    Err(fault(
        subject_of(ddl),
        format!("its new name cannot be written in the character set of the statement (collation {collation})"),
    ))
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;

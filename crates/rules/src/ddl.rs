//! DDL of the source to DDL of the target: what is not carried is left out, names are rewritten.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use lutra_change::TableName;
use lutra_spec::{ColumnRules, DdlPolicy};
use lutra_wire::record::{Ddl, DdlKind};

use crate::compile::{Rules, TableDecision};
use crate::ddl_columns;
use crate::fault::RuleFault;
use crate::statement::{Reference, Role, Statement, Subject};
use crate::token::{Lexis, quote};

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
    /// The pipeline says `ddl: ignore`.
    Ignored,
    /// It defines something other than tables and databases: views, routines, triggers, events, users.
    OtherObject,
    /// It is about columns that the target does not have.
    DroppedColumns,
}

/// A replacement of bytes in a statement.
pub(crate) type Edit = (Range<usize>, String);

/// A reference with its place in source and target.
struct Routed<'r> {
    reference: Reference,
    source: TableName,
    /// None: not carried.
    target: Option<TableName>,
    columns: Option<&'r ColumnRules>,
    merges: bool,
}

impl Rules {
    /// What becomes of a DDL statement.
    pub fn route_ddl(&self, ddl: &Ddl) -> Result<DdlRoute, RuleFault> {
        if self.ddl == DdlPolicy::Ignore {
            return Ok(DdlRoute::Left(NotRouted::Ignored));
        }
        if ddl.kind == DdlKind::Other {
            return Ok(DdlRoute::Left(NotRouted::OtherObject));
        }
        let lexis = Lexis::of_sql_mode(ddl.context.sql_mode.unwrap_or(0));
        let statement = Statement::new(&ddl.statement, lexis);
        let understood = statement.as_ref().and_then(|s| s.subject().map(|subject| (s, subject)));
        let Some((statement, subject)) = understood else {
            return self.not_understood(ddl);
        };
        let route = match subject {
            Subject::Database { name, bytes, create_at } => {
                self.route_database(ddl, name.as_deref(), bytes, create_at)?
            }
            Subject::Tables { references, list, create_at } => {
                self.route_tables(ddl, statement, references, list, create_at)?
            }
        };
        if let DdlRoute::Rewritten(rewritten) = &route {
            safe_to_rewrite(ddl, rewritten)?;
        }
        Ok(route)
    }

    /// A statement whose tables are known, but not where it names them: it passes if nothing in it would change.
    fn not_understood(&self, ddl: &Ddl) -> Result<DdlRoute, RuleFault> {
        let mut changes = ddl.tables.is_empty() && !self.routes.is_empty();
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

    fn route_database(
        &self,
        ddl: &Ddl,
        name: Option<&str>,
        bytes: Range<usize>,
        create_at: Option<usize>,
    ) -> Result<DdlRoute, RuleFault> {
        let source = name.unwrap_or(&ddl.database).to_owned();
        let Some(target) = self.database_in_target(&source, ddl.kind)? else {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        };
        let mut edits = Vec::new();
        if target != source || name.is_none() {
            let space = if name.is_none() { " " } else { "" };
            edits.push((bytes, format!("{}{space}", quote(&target))));
        }
        // Several databases may lead to this one, and people make the target's databases beforehand.
        if let Some(at) = create_at {
            edits.push((at..at, "IF NOT EXISTS ".to_owned()));
        }
        if edits.is_empty() && ddl.database.is_empty() {
            return Ok(DdlRoute::Pass);
        }
        Ok(DdlRoute::Rewritten(Ddl {
            statement: edited(&ddl.statement, edits),
            database: String::new(),
            ..ddl.clone()
        }))
    }

    /// The database that stands for one of the source, if there is exactly one.
    fn database_in_target(&self, source: &str, kind: DdlKind) -> Result<Option<String>, RuleFault> {
        if lutra_spec::is_system_schema(source) {
            return Ok(None);
        }
        if self.routes.is_empty() {
            return Ok(Some(source.to_owned()));
        }
        let subject = || format!("database {source}");
        let mut targets: Vec<String> = Vec::new();
        let mut whole: Option<String> = None;
        for route in &self.routes {
            let Some(captures) = route.pattern.database_captures(source) else { continue };
            let target = match &route.to {
                None => source.to_owned(),
                Some(to) => to
                    .expand_database(&captures)
                    .ok_or_else(|| fault(subject(), format!("its tables go to databases named by {to}")))?,
            };
            let keeps_apart = route.to.as_ref().is_none_or(|t| t.distinct_captures() == route.pattern.wildcards());
            if route.pattern.matches_whole_database(source) && keeps_apart {
                whole.get_or_insert_with(|| target.clone());
            }
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        let sole = targets.len() <= 1;
        let Some(first) = targets.first() else { return Ok(None) };
        if kind != DdlKind::DropDatabase {
            // Where most of its tables go; else its own name, if some stay there; else the one there is.
            let own = targets.iter().find(|t| *t == source);
            return match whole.as_ref().or(own).or(Some(first).filter(|_| sole)) {
                Some(target) => Ok(Some(target.clone())),
                None => Err(fault(subject(), "its tables go to several databases".to_owned())),
            };
        }
        match whole {
            Some(target) if sole && self.sole_source(source, &target) => Ok(Some(target)),
            _ => {
                let names = targets.join(", ");
                Err(fault(subject(), format!("{names} of the target may hold tables that did not come from it")))
            }
        }
    }

    /// Whether no route brings tables of another database into this one of the target.
    fn sole_source(&self, source: &str, target: &str) -> bool {
        self.routes.iter().filter(|r| r.pattern.single().is_none_or(|t| t.database != source)).all(|route| match &route
            .to
        {
            None => source == target || !route.pattern.matches_database(target),
            Some(to) if route.pattern.database_wildcards() == 0 => {
                route.pattern.matches_database(source) || to.fixed_database().is_none_or(|d| d != target)
            }
            Some(to) => to.database_captures_used() > 0 && source == target,
        })
    }

    fn routed(&self, reference: Reference, default: &str) -> Result<Routed<'_>, RuleFault> {
        let source = TableName::new(reference.database.as_deref().unwrap_or(default), &reference.table);
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
        references: Vec<Reference>,
        list: bool,
        create_at: Option<usize>,
    ) -> Result<DdlRoute, RuleFault> {
        let routed: Vec<Routed<'_>> =
            references.into_iter().map(|r| self.routed(r, &ddl.database)).collect::<Result<_, _>>()?;
        if routed.iter().filter(|r| r.reference.role != Role::Mentioned).all(|r| r.target.is_none()) {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        }
        merged_tables(ddl, &routed)?;
        let mut edits = match (list, ddl.kind) {
            (true, DdlKind::RenameTable) => renames(&routed)?,
            (true, _) => drops(&routed),
            (false, _) => names(&routed)?,
        };
        if let Some(at) = create_at.filter(|_| routed.iter().any(|r| r.merges)) {
            edits.push((at..at, "IF NOT EXISTS ".to_owned()));
        }
        if let Some(first) = routed.first().filter(|_| !list)
            && let Some(columns) = first.columns
        {
            let behind = first.reference.after;
            match ddl_columns::edits(statement, behind, ddl.kind, columns)
                .map_err(|reason| fault(table_of(&first.source), reason))?
            {
                Some(more) => edits.extend(more),
                None => return Ok(DdlRoute::Left(NotRouted::DroppedColumns)),
            }
        }
        Ok(assembled(ddl, &routed, edits))
    }
}

/// The statement for the target, or word that it stands as it is.
fn assembled(ddl: &Ddl, routed: &[Routed<'_>], edits: Vec<Edit>) -> DdlRoute {
    let same = |r: &Routed<'_>| r.target.as_ref() == Some(&r.source) && r.columns.is_none() && !r.merges;
    let at_home = |r: &Routed<'_>| r.source.database == ddl.database;
    if routed.iter().all(|r| same(r) && at_home(r)) {
        return DdlRoute::Pass;
    }
    let tables: Vec<TableName> =
        routed.iter().filter(|r| r.reference.role != Role::Mentioned).filter_map(|r| r.target.clone()).collect();
    let database = tables.first().map(|t| t.database.clone()).unwrap_or_default();
    DdlRoute::Rewritten(Ddl { statement: edited(&ddl.statement, edits), database, tables, ..ddl.clone() })
}

/// A statement on one of several tables that share a table of the target must not reach the others' rows.
fn merged_tables(ddl: &Ddl, routed: &[Routed<'_>]) -> Result<(), RuleFault> {
    match routed.iter().find(|r| r.merges) {
        Some(table) if ddl.kind != DdlKind::CreateTable => {
            let target = table.target.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(fault(table_of(&table.source), format!("other tables of the source also go to {target}")))
        }
        _ => Ok(()),
    }
}

/// Replaces every name; all of them must be carried.
fn names(routed: &[Routed<'_>]) -> Result<Vec<Edit>, RuleFault> {
    let subject = routed.first().map(|r| table_of(&r.source)).unwrap_or_default();
    routed
        .iter()
        .map(|r| match &r.target {
            Some(target) => Ok((r.reference.bytes.clone(), qualified(target))),
            None => Err(fault(subject.clone(), format!("it also names table {}, which is not carried", r.source))),
        })
        .collect()
}

/// Leaves the tables that are not carried out of a DROP TABLE.
fn drops(routed: &[Routed<'_>]) -> Vec<Edit> {
    let kept: Vec<String> = routed.iter().filter_map(|r| r.target.as_ref().map(qualified)).collect();
    whole_list(routed, &kept)
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

fn whole_list(routed: &[Routed<'_>], kept: &[String]) -> Vec<Edit> {
    match (routed.first(), routed.last()) {
        (Some(first), Some(last)) => vec![(first.reference.bytes.start..last.reference.bytes.end, kept.join(", "))],
        _ => Vec::new(),
    }
}

fn qualified(table: &TableName) -> String {
    format!("{}.{}", quote(&table.database), quote(&table.table))
}

fn table_of(table: &TableName) -> String {
    format!("table {table}")
}

fn subject_of(ddl: &Ddl) -> String {
    let tables: Vec<String> = ddl.tables.iter().map(ToString::to_string).collect();
    if tables.is_empty() { format!("database {}", ddl.database) } else { format!("table {}", tables.join(", ")) }
}

fn fault(subject: String, reason: impl Into<Cow<'static, str>>) -> RuleFault {
    RuleFault::Statement { subject, reason: reason.into().into_owned() }
}

/// Applies replacements that do not overlap.
fn edited(text: &[u8], mut edits: Vec<Edit>) -> Bytes {
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

/// Names go in as UTF-8, and the tokenizer takes bytes below 0x80 for ASCII: refuses what would not bear that.
fn safe_to_rewrite(ddl: &Ddl, rewritten: &Ddl) -> Result<(), RuleFault> {
    let Some(collation) = ddl.context.character_set_client else { return Ok(()) };
    // Collations of big5, sjis, gbk, cp932 and gb18030, whose second bytes look like ASCII.
    let double = matches!(collation, 1 | 84 | 13 | 88 | 28 | 87 | 95 | 96 | 248..=250);
    // Collations of utf8mb3 and utf8mb4.
    let utf8 = matches!(collation, 33 | 76 | 83 | 192..=215 | 223 | 45 | 46 | 224..=247 | 255..=323);
    let foreign_name = !utf8 && rewritten.tables.iter().any(|t| !t.database.is_ascii() || !t.table.is_ascii());
    if (double && !ddl.statement.is_ascii()) || foreign_name {
        return Err(fault(
            subject_of(ddl),
            format!(
                "it is written in the character set of collation {collation}, in which names cannot be replaced safely"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;

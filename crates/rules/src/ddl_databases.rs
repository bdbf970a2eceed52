//! Statements on databases, and where a database of the source leads.

use lutra_change::DdlKind;
use lutra_change::TableName;
use lutra_change::sql_lexer::quote;
use lutra_change::sql_statement::{Definition, Verb};
use lutra_wire::record::Ddl;

use crate::compile::{Rules, TableDecision};
use crate::ddl::{DdlRoute, NotRouted, edited, fault};
use crate::fault::RuleFault;

/// Where the database of a view, routine, trigger or event leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Not all of its tables are carried, or none.
    NotCarried,
    /// To that database, in which every table bears its own name and has its own columns.
    Alike(String),
    /// Its tables have other names or columns, or go to several databases.
    Changed,
}

impl Rules {
    /// Whether everything of the database stays what it is.
    pub(crate) fn keeps(&self, database: &str) -> bool {
        self.routes.is_empty() || self.home(database) == Home::Alike(database.to_owned())
    }

    /// Where a database leads that is carried whole.
    pub(crate) fn home(&self, database: &str) -> Home {
        if lutra_spec::is_system_schema(database) {
            return Home::NotCarried;
        }
        if self.routes.is_empty() {
            return Home::Alike(database.to_owned());
        }
        let about = || self.routes.iter().filter(|r| r.pattern.matches_database(database));
        if !about().any(|r| r.pattern.matches_whole_database(database)) {
            return Home::NotCarried;
        }
        // A table that no narrower route can name.
        let probe = TableName::new(database, "\u{1}");
        let target = match self.table(&probe) {
            Ok(TableDecision::Pass) => database.to_owned(),
            Ok(TableDecision::Map(m)) if m.to.table == probe.table && m.columns.is_empty() && !m.merges => {
                m.to.database
            }
            _ => return Home::Changed,
        };
        // Narrower routes may only say what the whole one says too.
        let narrower = about().filter(|r| !r.pattern.matches_whole_database(database));
        let alike = narrower.clone().all(|r| r.to.is_none() && r.columns.is_empty()) && target == database;
        if narrower.count() == 0 || alike { Home::Alike(target) } else { Home::Changed }
    }

    pub(crate) fn route_database(&self, ddl: &Ddl, definition: &Definition) -> Result<DdlRoute, RuleFault> {
        let Some(named) = &definition.database else { return Ok(DdlRoute::Left(NotRouted::NotCarried)) };
        let source = named.name.as_deref().unwrap_or(&ddl.database).to_owned();
        // `CREATE OR REPLACE DATABASE` drops what is there.
        let before = ddl.statement.get(..named.bytes.start).unwrap_or_default().to_ascii_uppercase();
        let replaces = definition.verb == Verb::Create && before.windows(7).any(|word| word == b"REPLACE");
        let kind = if replaces { DdlKind::DropDatabase } else { definition.kind };
        let Some(target) = self.database_in_target(&source, kind)? else {
            return Ok(DdlRoute::Left(NotRouted::NotCarried));
        };
        let mut edits = Vec::new();
        if target != source || named.name.is_none() {
            let space = if named.name.is_none() { " " } else { "" };
            edits.push((named.bytes.clone(), format!("{}{space}", quote(&target))));
        }
        // Several databases may lead to this one, and people make the target's databases beforehand.
        if let Some(at) = definition.create_at {
            edits.push((at..at, "IF NOT EXISTS ".to_owned()));
        }
        if edits.is_empty() && ddl.database.is_empty() {
            return Ok(DdlRoute::Pass);
        }
        Ok(DdlRoute::Rewritten(Ddl {
            statement: edited(&ddl.statement, edits),
            database: String::new(),
            kind: definition.kind,
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
}

//! What a statement is about, as far as its order among others matters.

use std::collections::BTreeSet;

use lutra_change::sql_lexer::Lexis;
use lutra_change::sql_statement::{Object, Role, Statement, StatementKind};
use lutra_change::{DdlKind, Number, TableName};
use lutra_wire::record::Ddl;
use rustc_hash::FxHashMap;

use super::{Block, BlockedTable};

/// What a statement is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// What it defines; none where that is not understood.
    pub object: Option<Object>,
    /// Tables that it changes.
    pub own: BTreeSet<TableName>,
    /// Tables that it takes as a model, or refers to.
    pub mentioned: BTreeSet<TableName>,
    /// The database that it is about.
    pub database: Option<String>,
    /// Every name in it, in lower case, where it is not understood which of them are tables.
    pub(crate) names: BTreeSet<String>,
}

/// What a statement has to do with blocked tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meets {
    /// Nothing.
    Nothing,
    /// It is about tables of these groups.
    Groups(Block, BTreeSet<Number>),
    /// It cannot be told apart from what is held: everything waits.
    Everything(String),
}

impl Scope {
    /// What the statement is about.
    pub fn of(ddl: &Ddl) -> Self {
        let mut scope = Self { own: ddl.tables.iter().cloned().collect(), ..Self::default() };
        let on_database = matches!(ddl.kind, DdlKind::CreateDatabase | DdlKind::AlterDatabase | DdlKind::DropDatabase);
        let (fault, text) = match ddl.unfit_reason() {
            Some((_, text)) => (true, text),
            None => (false, ddl.statement.clone()),
        };
        let Some(statement) = Statement::new(&text, Lexis::of_context(&ddl.context)) else { return scope };
        let definition = match statement.kind() {
            StatementKind::Definition(definition) => Some(definition),
            _ => None,
        };
        if let Some(definition) = definition {
            scope.object = Some(definition.object);
            let home = definition.home(&ddl.database).to_owned();
            scope.database = (on_database || definition.object == Object::Database).then_some(home);
            // The names of one that could not be rewritten are those of the source.
            if !fault {
                for reference in &definition.references {
                    let names = match reference.role {
                        Role::Mentioned => &mut scope.mentioned,
                        Role::Subject | Role::RenamedTo => &mut scope.own,
                        Role::Named => continue,
                    };
                    names.insert(reference.name(&ddl.database));
                }
            }
        }
        scope.mentioned = &scope.mentioned - &scope.own;
        if scope.object != Some(Object::Table) {
            let names = (0..statement.tokens.len()).filter_map(|at| statement.name(at));
            scope.names = names.map(|n| n.to_lowercase()).collect();
        }
        scope
    }

    /// Why nothing but its tables cannot wait for it; tables that foreign keys tie to it are looked at elsewhere.
    pub fn waits_alone(&self) -> Result<(), String> {
        let names =
            |tables: &BTreeSet<TableName>| tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self.object {
            Some(Object::Table) if self.own.is_empty() => Err("it names no table of the target".to_owned()),
            Some(Object::Table) if !self.mentioned.is_empty() => {
                Err(format!("it refers to {}, which may change meanwhile", names(&self.mentioned)))
            }
            Some(Object::Table) => Ok(()),
            Some(Object::Database) => Err("it concerns a whole database".to_owned()),
            Some(_) => Err("what it defines may depend on any table".to_owned()),
            None => Err("it is not understood what it concerns".to_owned()),
        }
    }

    /// What it has to do with these tables.
    pub(super) fn meets(&self, tables: &FxHashMap<TableName, BlockedTable>) -> Meets {
        let held = || tables.values().filter(|t| t.block == Block::Held);
        if let Some(database) = &self.database {
            return match held().find(|t| t.table.database == *database) {
                Some(table) => Meets::Everything(format!("it concerns the database of {}, which is held", table.table)),
                None => Meets::Nothing,
            };
        }
        let met: Vec<&BlockedTable> =
            self.own.iter().chain(&self.mentioned).filter_map(|name| tables.get(name)).collect();
        if matches!(self.object, Some(Object::View | Object::Trigger) | None) {
            let named = held().find(|t| self.names.contains(&t.table.table.to_lowercase()));
            if let Some(table) = named {
                return Meets::Everything(format!("it names {}, which is held", table.table));
            }
        }
        let groups = met.iter().map(|t| t.group).collect();
        let of = |block| met.iter().any(|t| t.block == block);
        match (of(Block::Held), of(Block::Stopped)) {
            (false, false) => Meets::Nothing,
            (true, true) => Meets::Everything("of its tables one is held and another one stopped".to_owned()),
            (true, false) => Meets::Groups(Block::Held, groups),
            (false, true) => Meets::Groups(Block::Stopped, groups),
        }
    }
}

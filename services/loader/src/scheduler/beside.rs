//! Statements, and how they are set aside: their tables wait or stop, the others go on.

use std::collections::BTreeSet;

use lutra_change::{Number, TableName};
use lutra_spec::DdlPolicy;
use lutra_wire::record::{Ddl, RawBody};
use tracing::Instrument;

use super::{Scheduler, Waiting};
use crate::blocked::scope::{Meets, Scope};
use crate::blocked::{Block, sql};
use crate::ddl::{Beside, DdlEnd, DdlJob};
use crate::error::LoadError;
use crate::events::{SetAside, ddl_span};
use crate::target::Target;
use crate::unit::UnitEnd;
use crate::writer::{Job, Outcome};

impl<T: Target> Scheduler<T> {
    /// Deals with a statement on blocked tables: it joins what is parked for them, or is left out; whether it did.
    pub(super) async fn meets_blocked(&mut self, ddl: &Ddl, end: &UnitEnd) -> Result<bool, LoadError> {
        let scope = Scope::of(ddl);
        let (block, groups) = match self.blocked.meets(&scope) {
            Meets::Nothing => return Ok(false),
            Meets::Everything(reason) => return Err(self.waits_behind(ddl, end.number, reason).await?),
            Meets::Groups(block, groups) => (block, groups),
        };
        let tied = self.maps.tied(&scope.own).await?;
        let known = |table: &TableName| self.blocked.is_in(table, &groups);
        let new: BTreeSet<TableName> = match block {
            Block::Stopped => tied.iter().filter(|t| !known(t)).cloned().collect(),
            Block::Held => {
                let own = Scope {
                    mentioned: scope.mentioned.iter().filter(|t| !known(t)).cloned().collect(),
                    ..scope.clone()
                };
                let stranger = tied.iter().find(|t| !known(t) && !scope.own.contains(*t));
                let refused = match stranger {
                    Some(table) => Err(format!("foreign keys tie its tables to {table}")),
                    None => own.waits_alone().and_then(|()| self.none_is_copied(&scope.own)),
                };
                if let Err(reason) = refused {
                    return Err(self.waits_behind(ddl, end.number, reason).await?);
                }
                scope.own.iter().filter(|t| !known(t)).cloned().collect()
            }
        };
        let statements = self.blocked.join(block, &groups, &new, ddl, end);
        self.place.origins.clear();
        self.advance(end);
        self.pass(statements).await?;
        let reason = "it is about tables that are set aside";
        SetAside { number: end.number, block, tables: &scope.own, reason }.emit();
        self.blocked.joined(block, &groups, new, RawBody::ddl(ddl).len());
        self.tally.applied_alone(&self.place, 0);
        Ok(true)
    }

    fn none_is_copied(&self, tables: &BTreeSet<TableName>) -> Result<(), String> {
        match self.copying.set().and_then(|set| tables.iter().find(|t| set.contains(*t))) {
            Some(table) => Err(format!("the rows of {table} are being copied")),
            None => Ok(()),
        }
    }

    /// Runs a statement, or sets it aside as its policy says.
    pub(super) async fn run_statement(&mut self, ddl: Ddl, policy: DdlPolicy, end: &UnitEnd) -> Result<(), LoadError> {
        let scope = Scope::of(&ddl);
        let may = matches!(policy, DdlPolicy::Hold | DdlPolicy::Lenient | DdlPolicy::StopTable);
        let tied = if may { self.maps.tied(&scope.own).await? } else { BTreeSet::new() };
        let alone = match tied.iter().find(|t| !scope.own.contains(*t)) {
            Some(table) => Err(format!("foreign keys tie its tables to {table}")),
            None => scope.waits_alone().and_then(|()| self.none_is_copied(&scope.own)),
        };
        let aside = |block, tables: &BTreeSet<TableName>| match tables.is_empty() {
            true => Vec::new(),
            false => self.blocked.set_aside(block, tables, &ddl, end),
        };
        let (hold, stop) =
            if may { (aside(Block::Held, &scope.own), aside(Block::Stopped, &tied)) } else { (Vec::new(), Vec::new()) };
        let bytes = RawBody::ddl(&ddl).len();
        let beside = Beside { alone, hold, stop };
        let job = DdlJob { ddl, place: self.place.clone(), policy, beside };
        let outcome = self.alone(Job::Ddl(Box::new(job))).instrument(ddl_span(end)).await?;
        self.maps.forget();
        let Outcome::Ddl(ended) = outcome else { return self.settle(outcome) };
        let (block, tables, reason) = match ended {
            DdlEnd::Done => return Ok(()),
            DdlEnd::Waits(reason) => (Block::Held, scope.own, reason),
            DdlEnd::Stopped(reason) => (Block::Stopped, tied, reason),
        };
        SetAside { number: end.number, block, tables: &tables, reason: &reason }.emit();
        self.blocked.blocked(block, tables, end.number, &reason, bytes);
        Ok(())
    }

    /// Commits the place with these statements. Nothing is under way.
    pub(super) async fn pass(&mut self, statements: Vec<String>) -> Result<(), LoadError> {
        let job = Job::Pass { place: Box::new(self.place.clone()), statements };
        let outcome = self.alone(job).await?;
        self.settle(outcome)?;
        self.applied = self.place.number;
        Ok(())
    }

    /// A unit that can neither be applied nor be parked: everything waits for what is held. Gives the error that says so.
    async fn waits_behind(&mut self, ddl: &Ddl, number: Number, reason: String) -> Result<LoadError, LoadError> {
        let tables = ddl.tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let tables = if tables.is_empty() { format!("database {}", ddl.database) } else { tables };
        self.everything_waits(LoadError::HeldBehind { number, tables, reason }).await
    }

    /// Notes that everything waits, so that a decision has the load start again; gives the error back.
    pub(super) async fn everything_waits(&mut self, error: LoadError) -> Result<LoadError, LoadError> {
        self.pass(vec![sql::everything_waits(self.blocked.task())]).await?;
        Ok(error)
    }

    /// Nothing could be taken of what waits: because no more may be parked?
    pub(super) async fn ensure_room(&mut self) -> Result<(), LoadError> {
        let Some(Waiting::Unit(unit)) = self.queue.front() else { return Ok(()) };
        if !self.blocked.is_full_for(unit) || !self.flights.is_empty() {
            return Ok(());
        }
        let error = self.no_room(unit.end.number);
        Err(self.everything_waits(error).await?)
    }

    /// The error that no more may be parked.
    pub(super) fn no_room(&self, number: Number) -> LoadError {
        let tables = self.blocked.held().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let reason = "more than `parked_bytes` of the pipeline's `load` is parked for them".to_owned();
        LoadError::HeldBehind { number, tables, reason }
    }
}

//! Telemetry: typed events, per batch and never per row; names are constants; no row value ever.
#![allow(clippy::disallowed_macros, reason = "here they are made")]

use std::collections::{BTreeSet, HashMap};

use lutra_change::{Number, TableName};
use lutra_runtime::trace_context;

use crate::blocked::{Block, BlockedTable};
use crate::error::Conflict;
use crate::progress::{Lags, Progress};
use crate::scheduler::batch::Planned;
use crate::slot::Place;
use crate::unit::{Unit, UnitEnd};
use crate::writer::Fault;

/// Row changes applied.
pub const ROWS: &str = "lutra_loader_rows_applied_total";
/// Source transactions applied.
pub const TRANSACTIONS: &str = "lutra_loader_transactions_applied_total";
/// Target transactions committed.
pub const BATCHES: &str = "lutra_loader_batches_committed_total";
/// Batches rolled back and run again.
pub const RERUNS: &str = "lutra_loader_batches_rerun_total";
/// Batches whose rows went one by one, because as sets they did not fit.
pub const ONE_BY_ONE: &str = "lutra_loader_batches_one_by_one_total";
/// Conflicts found.
pub const CONFLICTS: &str = "lutra_loader_conflicts_total";
/// Attempts begun.
pub const ATTEMPTS: &str = "lutra_loader_attempts_total";
/// The four lags.
pub const LAGS: [&str; 4] =
    ["lutra_read_lag_seconds", "lutra_transit_lag_seconds", "lutra_apply_lag_seconds", "lutra_end_to_end_lag_seconds"];

/// Row changes parked behind held statements.
pub const PARKED: &str = "lutra_loader_rows_parked_total";
/// Row changes of stopped tables, left out.
pub const LEFT_OUT: &str = "lutra_loader_rows_left_out_total";
/// Tables that changes do not reach now, by `state`: `held` or `stopped`.
pub const BLOCKED: &str = "lutra_loader_blocked_tables";

/// A batch is in the target.
pub struct BatchCommitted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// Rows in it.
    pub rows: u64,
    /// Source transactions in it.
    pub transactions: u64,
    /// Rows that it parked and left out.
    pub aside: (u64, u64),
    /// Where the load stands.
    pub progress: &'a Progress,
}

impl BatchCommitted<'_> {
    /// Counts it.
    pub fn emit(self) {
        let labels = [("pipeline", self.pipeline.to_owned())];
        metrics::counter!(ROWS, &labels).increment(self.rows);
        metrics::counter!(TRANSACTIONS, &labels).increment(self.transactions);
        metrics::counter!(BATCHES, &labels).increment(1);
        if self.aside != (0, 0) {
            metrics::counter!(PARKED, &labels).increment(self.aside.0);
            metrics::counter!(LEFT_OUT, &labels).increment(self.aside.1);
        }
        LagsMeasured { pipeline: self.pipeline, lags: &self.progress.lags }.emit();
    }
}

/// The lags were measured.
pub struct LagsMeasured<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The lags.
    pub lags: &'a Lags,
}

impl LagsMeasured<'_> {
    /// This process does not measure them any more: another one may.
    pub fn gone(pipeline: &str) {
        for name in LAGS {
            metrics::gauge!(name, "pipeline" => pipeline.to_owned()).set(f64::NAN);
        }
    }

    /// Shows them.
    pub fn emit(self) {
        let Lags { read_lag_seconds, transit_lag_seconds, apply_lag_seconds, end_to_end_lag_seconds } = *self.lags;
        let values = [read_lag_seconds, transit_lag_seconds, apply_lag_seconds, end_to_end_lag_seconds];
        for (name, value) in LAGS.into_iter().zip(values) {
            metrics::gauge!(name, "pipeline" => self.pipeline.to_owned()).set(value);
        }
    }
}

/// A batch was rolled back; it runs again alone.
pub struct BatchRerun<'a> {
    /// Why.
    pub fault: &'a Fault,
}

impl BatchRerun<'_> {
    /// Counts it.
    pub fn emit(self) {
        metrics::counter!(RERUNS).increment(1);
        match self.fault {
            Fault::Locked(error) | Fault::Refused { error, .. } => {
                tracing::debug!(%error, "a batch was rolled back and runs again alone");
            }
            Fault::Count { expected, found, .. } => {
                tracing::debug!(expected, found, "a batch was rolled back and runs again alone");
            }
            Fault::Over(_) => {}
        }
    }
}

/// A batch whose statements did not fit although it ran alone; its rows go one by one now, which is slow.
pub struct OneByOne<'a> {
    /// What did not fit.
    pub fault: &'a Fault,
    /// The statements.
    pub planned: &'a Planned,
    /// Where the batch leads.
    pub place: &'a Place,
}

impl OneByOne<'_> {
    /// Counts and tells it.
    pub fn emit(self) {
        metrics::counter!(ONE_BY_ONE).increment(1);
        let label = |statement: usize| {
            let label = self.planned.labels.get(statement)?.as_ref()?;
            Some(format!("{} {}", label.verb, label.map.name))
        };
        let number = self.place.number;
        match self.fault {
            Fault::Count { statement, expected, found } => {
                let statement = label(*statement).unwrap_or_default();
                tracing::warn!(%number, statement, expected, found, "a batch does not fit as sets: its rows go one by one");
            }
            Fault::Refused { statement, error } => {
                let statement = statement.and_then(label).unwrap_or_default();
                tracing::warn!(%number, statement, %error, "a batch does not fit as sets: its rows go one by one");
            }
            Fault::Locked(_) | Fault::Over(_) => {}
        }
    }
}

/// The span of a batch, inside the trace of its first unit that has one; none where no unit is traced.
pub fn batch_span(units: &[Unit], rows: u64) -> tracing::Span {
    let Some(traced) = units.iter().find(|u| u.end.trace.traceparent.is_some()) else { return tracing::Span::none() };
    within(&traced.end, tracing::info_span!("load", number = %traced.end.number, rows, units = units.len()))
}

/// The span of a statement, inside the trace of its unit; none where that is not traced.
pub fn ddl_span(end: &UnitEnd) -> tracing::Span {
    match end.trace.traceparent {
        Some(_) => within(end, tracing::info_span!("ddl", number = %end.number)),
        None => tracing::Span::none(),
    }
}

fn within(end: &UnitEnd, span: tracing::Span) -> tracing::Span {
    let values = [end.trace.traceparent.as_ref(), end.trace.tracestate.as_ref()];
    let named = trace_context::HEADERS.iter().zip(values);
    let headers: HashMap<String, String> =
        named.filter_map(|(name, value)| Some(((*name).to_owned(), value?.clone()))).collect();
    trace_context::set_parent(&span, &headers);
    span
}

/// A row does not fit what the source changed.
pub struct ConflictFound<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
}

impl ConflictFound<'_> {
    /// Counts it.
    pub fn emit(self) {
        metrics::counter!(CONFLICTS, "pipeline" => self.pipeline.to_owned()).increment(1);
    }
}

/// The change of a row is set aside.
pub struct RowSetAside<'a> {
    /// Why, and where.
    pub conflict: &'a Conflict,
}

impl RowSetAside<'_> {
    /// Tells it: names, never values.
    pub fn emit(self) {
        let Conflict { table, verb, number, what, .. } = self.conflict;
        tracing::error!(%table, verb, %number, what, "the change of a row does not fit: it is set aside in lutra.dead_letter");
    }
}

/// The tables that changes do not reach now.
pub struct BlockedTables<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The tables.
    pub tables: &'a [BlockedTable],
}

impl BlockedTables<'_> {
    /// Counts them.
    pub fn emit(self) {
        for block in [Block::Held, Block::Stopped] {
            let found = self.tables.iter().filter(|t| t.block == block).count();
            metrics::gauge!(BLOCKED, "pipeline" => self.pipeline.to_owned(), "state" => block.word())
                .set(u32::try_from(found).unwrap_or(u32::MAX));
        }
    }
}

/// A statement was set aside.
pub struct SetAside<'a> {
    /// Its unit.
    pub number: Number,
    /// What becomes of its tables.
    pub block: Block,
    /// The tables.
    pub tables: &'a BTreeSet<TableName>,
    /// Why.
    pub reason: &'a str,
}

impl SetAside<'_> {
    /// Tells it.
    pub fn emit(self) {
        let Self { number, block, tables, reason } = self;
        let tables = tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(%number, tables, state = block.word(), reason, "a statement is set aside with its tables");
    }
}

/// Tables are as usual again.
pub struct GroupSettled {
    /// Their group.
    pub group: Number,
    /// The tables.
    pub tables: BTreeSet<TableName>,
}

impl GroupSettled {
    /// Tells it.
    pub fn emit(self) {
        let tables = self.tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(unit = %self.group, tables, "what was decided is carried out: changes reach the tables again");
    }
}

/// A start of a load.
pub struct AttemptBegun<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// Its epoch.
    pub epoch: lutra_change::Epoch,
    /// Where the target stands.
    pub number: Number,
    /// How DDL is made repeatable.
    pub ddl_by_gtid: bool,
}

impl AttemptBegun<'_> {
    /// Tells it.
    pub fn emit(self) {
        metrics::counter!(ATTEMPTS).increment(1);
        let ddl = if self.ddl_by_gtid { "gtid" } else { "definition digests" };
        tracing::info!(pipeline = self.pipeline, epoch = %self.epoch, number = %self.number, ddl, "load begins");
    }
}

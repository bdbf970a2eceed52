//! What the transformer says: typed events, per part and not per row.
#![allow(clippy::disallowed_macros, reason = "this is the file where telemetry is made")]

use lutra_change::{Epoch, Number};
use lutra_log::AttemptEnd;
use lutra_rules::{NotRouted, RuleFault};
use lutra_wire::record::DdlKind;

/// A transformation goes on at the end of its log.
pub(crate) struct Started<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) number: Number,
    pub(crate) fresh: bool,
}

impl Started<'_> {
    pub(crate) fn emit(self) {
        let Self { pipeline, epoch, number, fresh } = self;
        tracing::info!(pipeline, %epoch, %number, fresh, "transforming");
    }
}

/// One part was handed over.
pub(crate) struct PartForwarded<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) bytes: usize,
    pub(crate) complete: bool,
}

impl PartForwarded<'_> {
    pub(crate) fn emit(self) {
        let labels = [("pipeline", self.pipeline.to_owned())];
        metrics::counter!("lutra_transform_bytes_total", &labels).increment(self.bytes as u64);
        if self.complete {
            metrics::counter!("lutra_transform_units_total", &labels).increment(1);
        }
    }
}

/// A DDL statement of the source is not carried.
pub(crate) struct DdlLeftOut<'a> {
    pub(crate) number: Number,
    pub(crate) kind: DdlKind,
    pub(crate) reason: &'a NotRouted,
}

impl DdlLeftOut<'_> {
    pub(crate) fn emit(self) {
        let Self { number, kind, reason } = self;
        match reason {
            NotRouted::NotCarried | NotRouted::Ignored => {
                tracing::debug!(%number, ?kind, ?reason, "a DDL statement is left out");
            }
            _ => tracing::warn!(%number, ?kind, ?reason, "a DDL statement is left out"),
        }
    }
}

/// A DDL statement of the source cannot be rewritten: the policy of its tables says what becomes of it.
pub(crate) struct DdlNotRewritten<'a> {
    pub(crate) number: Number,
    pub(crate) kind: DdlKind,
    pub(crate) fault: &'a RuleFault,
}

impl DdlNotRewritten<'_> {
    pub(crate) fn emit(self) {
        let Self { number, kind, fault } = self;
        tracing::error!(%number, ?kind, %fault, "a DDL statement cannot be rewritten: it is left to the policy of its tables");
    }
}

/// The source's log has a gap: its writer was asked to start again.
pub(crate) struct GapSeen<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) offset: i64,
    pub(crate) expected: Number,
    pub(crate) found: Number,
}

impl GapSeen<'_> {
    pub(crate) fn emit(self) {
        let Self { pipeline, offset, expected, found } = self;
        metrics::counter!("lutra_log_gaps_total", "pipeline" => pipeline.to_owned()).increment(1);
        tracing::error!(pipeline, offset, %expected, %found, "the source's log has a gap; its extractor is asked to start again");
    }
}

/// An attempt is over; the next one reads back what landed.
pub(crate) struct AttemptOver<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) reason: &'a AttemptEnd,
}

impl AttemptOver<'_> {
    pub(crate) fn emit(self) {
        let Self { pipeline, reason } = self;
        tracing::warn!(pipeline, %reason, "starting again under the next epoch");
    }
}

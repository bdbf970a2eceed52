//! Telemetry: each thing worth telling is a type; per batch or per second, never per row.
#![allow(clippy::disallowed_macros, reason = "the one place where metrics are written")]

use lutra_change::{BinlogPosition, Epoch, Number};
use uuid::Uuid;

use crate::error::ExtractError;
use crate::status::{Counters, TaskStatus};

/// An extraction goes on from a place.
#[derive(Debug)]
pub struct Started<'a> {
    /// The source.
    pub source: &'a str,
    /// The server that is read.
    pub server: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The epoch of the attempt.
    pub epoch: Epoch,
    /// The last unit of the log.
    pub number: Number,
    /// Where reading begins.
    pub position: &'a BinlogPosition,
}

impl Started<'_> {
    /// Tells it.
    pub fn emit(self) {
        metrics::counter!("lutra_extractor_starts_total", "source" => self.source.to_owned()).increment(1);
        tracing::info!(
            source = self.source, server = self.server, version = self.version, epoch = %self.epoch, number = %self.number,
            position = %self.position, "extraction runs"
        );
    }
}

/// What an extraction measures of itself.
const MEASURED: [&str; 4] = [
    "lutra_read_lag_seconds",
    "lutra_extractor_clock_offset_seconds",
    "lutra_extractor_in_flight_bytes",
    "lutra_extractor_retention_headroom_seconds",
];

/// What was done since the last time.
#[derive(Debug)]
pub struct Progressed<'a> {
    /// The source.
    pub source: &'a str,
    /// What was done since the last time.
    pub done: Counters,
    /// How it does now.
    pub status: &'a TaskStatus,
}

impl Progressed<'_> {
    /// Tells it.
    pub fn emit(self) {
        let counts = [
            ("lutra_extractor_read_bytes_total", self.done.bytes_read),
            ("lutra_extractor_events_total", self.done.events),
            ("lutra_extractor_transactions_total", self.done.transactions),
            ("lutra_extractor_units_total", self.done.units),
            ("lutra_extractor_records_total", self.done.records),
            ("lutra_extractor_rows_total", self.done.rows),
            ("lutra_extractor_written_bytes_total", self.done.bytes_written),
        ];
        for (name, count) in counts {
            metrics::counter!(name, "source" => self.source.to_owned()).increment(count);
        }
        let TaskStatus { read_lag_seconds, clock_offset_seconds, in_flight_bytes, .. } = *self.status;
        let headroom = self.status.retention_headroom_seconds;
        let values = [Some(read_lag_seconds), Some(clock_offset_seconds), Some(in_flight_bytes as f64), headroom];
        for (name, value) in MEASURED.into_iter().zip(values) {
            if let Some(value) = value {
                metrics::gauge!(name, "source" => self.source.to_owned()).set(value);
            }
        }
    }

    /// This process does not measure them any more: another one may.
    pub fn gone(source: &str) {
        for name in MEASURED {
            metrics::gauge!(name, "source" => source.to_owned()).set(f64::NAN);
        }
    }
}

/// No server of the source can be read yet.
#[derive(Debug)]
pub struct Recovering<'a> {
    /// The source.
    pub source: &'a str,
    /// Each server with what it lacks.
    pub servers: &'a str,
}

impl Recovering<'_> {
    /// Tells it.
    pub fn emit(self) {
        metrics::counter!("lutra_extractor_recoveries_total", "source" => self.source.to_owned()).increment(1);
        tracing::warn!(
            source = self.source,
            servers = self.servers,
            runbook = "server-unreachable",
            "no server can be read yet; they are asked again"
        );
    }
}

/// The source's retention comes near to what is read.
#[derive(Debug)]
pub struct RetentionNear<'a> {
    /// The source.
    pub source: &'a str,
    /// What is wrong.
    pub warning: &'a str,
}

impl RetentionNear<'_> {
    /// Tells it.
    pub fn emit(self) {
        tracing::warn!(source = self.source, runbook = "purged-past-log", "{}", self.warning);
    }
}

/// Another server is read than before.
#[derive(Debug)]
pub struct FailedOver<'a> {
    /// The source.
    pub source: &'a str,
    /// The server that is read now.
    pub server: &'a str,
    /// Its UUID.
    pub uuid: Uuid,
    /// The one that was read before.
    pub before: Uuid,
}

impl FailedOver<'_> {
    /// Tells it.
    pub fn emit(self) {
        metrics::counter!("lutra_extractor_fail_overs_total", "source" => self.source.to_owned()).increment(1);
        tracing::info!(
            source = self.source, server = self.server, uuid = %self.uuid, before = %self.before, "another server is read"
        );
    }
}

/// An attempt ended, and the next one begins.
#[derive(Debug)]
pub struct AttemptEnded<'a> {
    /// The source.
    pub source: &'a str,
    /// Why.
    pub error: &'a ExtractError,
    /// The whole chain of causes.
    pub text: &'a str,
}

impl AttemptEnded<'_> {
    /// Tells it.
    pub fn emit(self) {
        metrics::counter!("lutra_extractor_attempts_ended_total", "source" => self.source.to_owned()).increment(1);
        tracing::warn!(
            source = self.source,
            error = self.text,
            "an attempt ended; the next one reads back what is in the log"
        );
    }
}

/// The log's last transaction was found again at the source (P7).
#[derive(Debug)]
pub struct HistoryConfirmed<'a> {
    /// The source.
    pub source: &'a str,
    /// The transaction.
    pub gtid: String,
}

impl HistoryConfirmed<'_> {
    /// Tells it.
    pub fn emit(self) {
        tracing::debug!(
            source = self.source,
            gtid = self.gtid,
            "the source has the log's last transaction as the log has it"
        );
    }
}

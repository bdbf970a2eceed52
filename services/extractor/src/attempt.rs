//! A running attempt: what comes from the source, the log's answers, the seconds and what full loads want, one at a time.

use std::cmp::Ordering;
use std::time::Duration;

use lutra_binlog::{Decoder, EventData, Inflater};
use lutra_change::{BinlogPosition, Epoch, TaskId, TaskKind};
use lutra_coordination::ObservedState;
use lutra_log::{SourcePlace, TransportFactory, WriterProgress};
use lutra_mysql::EventBatch;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::assembler::Assembler;
use crate::config::SILENCE;
use crate::control::Control;
use crate::definitions::Definer;
use crate::definitions::follow::{self, assemble, fault};
use crate::error::ExtractError;
use crate::events::{HistoryConfirmed, Progressed, RetentionNear};
use crate::extract::{End, Extraction, now_micros};
use crate::publisher::{Publisher, SchemaStore};
use crate::reader::Batches;
use crate::snapshot::Ask;
use crate::snapshot::desk::{Desk, Room, compare};
use crate::status::{Counters, TaskStatus};
use crate::watch::{Sight, Witness};

/// A bookmark is published at least so often (P2).
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// And whenever so many bytes were acknowledged since the last one.
const BOOKMARK_BYTES: u64 = 64 << 20;

/// What the log was given is acknowledged in milliseconds; after so long the time since counts as lag.
const PATIENCE_MICROS: i64 = 3_000_000;

/// Neither the stream nor a question beside it has had an answer for so long.
fn is_deaf(since: Instant, answered: Option<Instant>, now: Instant) -> bool {
    now.duration_since(answered.map_or(since, |at| at.max(since))) > SILENCE
}

/// A running attempt.
pub(crate) struct Run<'r, 'a, F: TransportFactory, S, C> {
    pub(crate) extraction: &'r Extraction<'a, F, S, C>,
    pub(crate) assembler: Assembler,
    /// Asks what tables look like, where table maps do not say so.
    pub(crate) definer: Definer,
    pub(crate) decoder: Decoder,
    pub(crate) inflater: Inflater,
    pub(crate) publisher: Publisher<F, S>,
    pub(crate) batches: Batches,
    /// What the server says beside its stream.
    pub(crate) sight: watch::Receiver<Option<Sight>>,
    pub(crate) witness: Witness,
    /// Since when the server's first event is waited for; `None` once it has come.
    pub(crate) unheard_since: Option<Instant>,
    pub(crate) epoch: Epoch,
    pub(crate) address: String,
    pub(crate) counters: Counters,
    pub(crate) told: Counters,
    pub(crate) bookmarked_at: Instant,
    pub(crate) bookmarked_bytes: u64,
    pub(crate) last_error: Option<String>,
    /// When the last unit of the log was committed at the source, microseconds; 0 where unknown.
    pub(crate) began_behind: i64,
    pub(crate) retention_warning: Option<String>,
    /// Full loads (P12).
    pub(crate) desk: Desk,
}

impl<F: TransportFactory, S: SchemaStore, C: Control> Run<'_, '_, F, S, C> {
    /// Runs to its end, and says what is in the log for good.
    pub(crate) async fn run(mut self) -> (Result<End, ExtractError>, Option<SourcePlace>) {
        let outcome = self.follow().await;
        (outcome, self.publisher.bookmark().and_then(|bookmark| bookmark.source))
    }

    async fn follow(&mut self) -> Result<End, ExtractError> {
        let mut ticks = tokio::time::interval(self.extraction.config.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.bookmark();
        self.tell("seeking");
        self.extraction.control.set_state(ObservedState::Running, json!({ "server": self.address }));
        loop {
            tokio::select! {
                biased;
                // 1. Stop is heard at once.
                () = self.extraction.stop.cancelled() => return self.drain().await,
                // 2. The log's answers; an error ends the attempt.
                error = self.publisher.drive() => return Err(error),
                // 3. A heartbeat each second, also under load.
                _ = ticks.tick() => self.tick().await?,
                // 4. What full loads want: little, and the stream goes on behind it.
                ask = self.desk.next() => self.ask(ask).await?,
                // 5. What the source sends.
                batch = self.batches.next() => self.batch(batch).await?,
            }
        }
    }

    /// Everything handed over is in the log; an unfinished unit is void at the next start.
    async fn drain(&mut self) -> Result<End, ExtractError> {
        self.tell("draining");
        self.publisher.flush().await?;
        self.bookmark();
        Ok(End::Drained)
    }

    async fn tick(&mut self) -> Result<(), ExtractError> {
        self.assembler.set_now(now_micros());
        let offset = self.clock_offset();
        if let Some(sight) = self.sight.borrow().as_ref() {
            let log_end =
                self.witness.reached(self.assembler.position(), self.assembler.gtid_set(), Instant::now(), sight);
            self.ensure_same_log(log_end)?;
            self.ensure_tail_came(&sight.log_end)?;
            if let Some(successor) = sight.successor.clone() {
                return Err(ExtractError::SteppedDown { address: self.address.clone(), successor });
            }
        }
        match self.unheard_since {
            None => self.publisher.heartbeat(&mut self.assembler, offset, &mut self.counters).await?,
            // It searches for the place, which may take minutes. No heartbeat says meanwhile that nothing waits.
            Some(since) => self.ensure_answers(since)?,
        }
        let bytes = self.publisher.progress().borrow().acknowledged_bytes;
        if self.bookmarked_at.elapsed() >= BOOKMARK_EVERY || bytes - self.bookmarked_bytes >= BOOKMARK_BYTES {
            self.bookmark();
        }
        self.desk.tell_durable(self.publisher.bookmark().map(|b| b.cursor.number));
        self.publish_chunks().await?;
        self.tell(if self.unheard_since.is_none() { "running" } else { "seeking" });
        Ok(())
    }

    /// P7: what the log ends with stands somewhere in this server's binlog.
    fn ensure_tail_came(&self, log_end: &BinlogPosition) -> Result<(), ExtractError> {
        let ends = compare(&self.assembler.position(), log_end) != Ordering::Less;
        let Some(gtid) = self.assembler.missing_tail().filter(|_| ends) else { return Ok(()) };
        let difference = format!("the server's binlog has been read up to {log_end}, and does not have it");
        Err(ExtractError::AnotherHistory { address: self.address.clone(), gtid: gtid.to_string(), difference })
    }

    /// A server that searches says nothing on its stream, and answers beside it. One that does neither is gone.
    fn ensure_answers(&self, since: Instant) -> Result<(), ExtractError> {
        let answered = self.sight.borrow().as_ref().map(|sight| sight.asked_at);
        if !is_deaf(since, answered, Instant::now()) {
            return Ok(());
        }
        let source = lutra_mysql::Error::Timeout { operation: "waiting for the binlog's first event", after: SILENCE };
        Err(ExtractError::Source { address: self.address.clone(), source: Box::new(source) })
    }

    async fn batch(&mut self, batch: Option<Result<EventBatch, lutra_mysql::Error>>) -> Result<(), ExtractError> {
        let address = || self.address.clone();
        let batch = batch.ok_or_else(|| ExtractError::StreamEnded { address: address() })?;
        let batch = batch.map_err(|e| ExtractError::Source { address: address(), source: Box::new(e) })?;
        self.unheard_since = None;
        self.assembler.set_now(now_micros());
        let _span = self.extraction.traced.then(|| self.trace(&batch));
        for event in batch.iter() {
            self.event(event).await?;
        }
        self.counters.bytes_read += batch.size() as u64;
        self.counters.events += batch.len() as u64;
        self.counters.transactions = self.assembler.transactions();
        self.batches.give_back(batch);
        Ok(())
    }

    /// One trace per batch: its context goes with the first record that comes of it.
    fn trace(&mut self, batch: &EventBatch) -> tracing::Span {
        let span = tracing::info_span!("extract", source = self.extraction.config.source, events = batch.len());
        let mut headers = lutra_runtime::trace_context::inject(&span);
        if let Some(traceparent) = headers.remove("traceparent") {
            let tracestate = headers.remove("tracestate");
            self.publisher.set_trace(lutra_log::RecordHeaders { traceparent: Some(traceparent), tracestate });
        }
        span
    }

    async fn event(&mut self, bytes: &[u8]) -> Result<(), ExtractError> {
        let event = self.decoder.decode(bytes).map_err(|e| fault(&self.assembler, e.into()))?;
        if let EventData::Heartbeat(beat) = &event.data {
            let place = self.desk.heard(beat.file, beat.position, beat.exact, &self.assembler.position());
            let log_end = self.sight.borrow().as_ref().and_then(|sight| self.witness.heard(place, sight));
            self.ensure_same_log(log_end)?;
        }
        if let EventData::TransactionPayload(payload) = &event.data {
            self.assembler.step_over(&event.header).map_err(|e| fault(&self.assembler, e))?;
            let mut inner = self.inflater.read(payload).map_err(|e| fault(&self.assembler, e.into()))?;
            while let Some(bytes) = inner.next_event().map_err(|e| fault(&self.assembler, e.into()))? {
                let event =
                    self.decoder.decode_inner(&event.header, bytes).map_err(|e| fault(&self.assembler, e.into()))?;
                assemble(&mut self.assembler, &mut self.definer, None, &event.data).await?;
                if self.assembler.definitions().has_news() {
                    let source = &self.extraction.config.source;
                    follow::settle(&mut self.assembler, &mut self.definer, &self.publisher, source).await?;
                }
                self.publisher.publish(&mut self.assembler, &mut self.counters).await?;
            }
        } else if let EventData::Compressed(packed) = &event.data {
            let bytes = self.inflater.inflate(packed).map_err(|e| fault(&self.assembler, e.into()))?;
            let inner =
                self.decoder.decode_inner(&event.header, bytes).map_err(|e| fault(&self.assembler, e.into()))?;
            assemble(&mut self.assembler, &mut self.definer, Some(&event.header), &inner.data).await?;
        } else {
            assemble(&mut self.assembler, &mut self.definer, Some(&event.header), &event.data).await?;
        }
        if self.assembler.definitions().has_news() {
            let source = &self.extraction.config.source;
            follow::settle(&mut self.assembler, &mut self.definer, &self.publisher, source).await?;
        }
        self.publisher.publish(&mut self.assembler, &mut self.counters).await?;
        if self.desk.is_waiting() {
            self.publish_chunks().await?;
        }
        match self.assembler.tail_check() {
            Some(check) => self.confirm(&check),
            None => Ok(()),
        }
    }

    /// Fails when the end of the server's log contradicts what it sends.
    fn ensure_same_log(&self, log_end: Option<BinlogPosition>) -> Result<(), ExtractError> {
        let Some(log_end) = log_end else { return Ok(()) };
        Err(ExtractError::StreamAstray { address: self.address.clone(), sent: self.assembler.position(), log_end })
    }

    /// The source's clock less ours, microseconds; zero until it was asked.
    fn clock_offset(&self) -> i64 {
        self.sight.borrow().as_ref().map_or(0, |sight| sight.clock_offset)
    }

    /// P7: the log's last transaction was looked at again.
    fn confirm(&self, check: &crate::assembler::TailCheck) -> Result<(), ExtractError> {
        let gtid = check.gtid().to_string();
        match check.difference() {
            Some(difference) => Err(ExtractError::AnotherHistory { address: self.address.clone(), gtid, difference }),
            None => {
                HistoryConfirmed { source: &self.extraction.config.source, gtid }.emit();
                Ok(())
            }
        }
    }

    /// A wish of a full load's reader.
    async fn ask(&mut self, ask: Ask) -> Result<(), ExtractError> {
        let lag = seconds(self.lag_micros());
        let (assembler, publisher, counters) = (&mut self.assembler, &mut self.publisher, &mut self.counters);
        self.desk.take(ask, lag, Room { assembler, publisher, counters }).await
    }

    /// Publishes the chunks that the stream has passed.
    async fn publish_chunks(&mut self) -> Result<(), ExtractError> {
        let (assembler, publisher, counters) = (&mut self.assembler, &mut self.publisher, &mut self.counters);
        self.desk.publish_due(Room { assembler, publisher, counters }).await
    }

    fn bookmark(&mut self) {
        if let Some(bookmark) = self.publisher.bookmark() {
            self.extraction.control.publish_bookmark(&bookmark);
        }
        self.bookmarked_at = Instant::now();
        self.bookmarked_bytes = self.publisher.progress().borrow().acknowledged_bytes;
    }

    /// Publish acknowledged less source commit, microseconds; with the time for which the log has acknowledged nothing of what
    /// it was given, where that lasts.
    fn lag_micros(&self) -> i64 {
        let progress = *self.publisher.progress().borrow();
        let lag = match (progress.heartbeat_at, progress.committed_at) {
            // An idle source: what the newest heartbeat took.
            (read_at, _) if read_at != 0 => progress.acknowledged_at - read_at,
            (_, 0) => 0,
            (_, committed_at) => progress.acknowledged_at + self.clock_offset() - committed_at,
        };
        lag + unanswered(&progress, now_micros())
    }

    /// Seconds until the source may purge what comes next; told once when little is left.
    fn headroom(&mut self, committed_at: i64) -> Option<f64> {
        let committed_at = if committed_at == 0 { self.began_behind } else { committed_at };
        let sight = self.sight.borrow();
        let sight = sight.as_ref()?;
        let headroom = sight.headroom(&self.assembler.position(), committed_at, now_micros())?;
        if !sight.is_short(headroom) {
            self.retention_warning = None;
        } else if self.retention_warning.is_none() {
            let kept = sight.retention.unwrap_or_default();
            let warning = format!(
                "the source keeps its binlog for {kept} s, and may purge what is to be read next in {headroom:.0} s: raise \
                 binlog_expire_logs_seconds at the source until it is read"
            );
            RetentionNear { source: &self.extraction.config.source, warning: &warning }.emit();
            self.retention_warning = Some(warning);
        }
        Some(headroom)
    }

    /// Says how it does.
    fn tell(&mut self, state: &'static str) {
        let progress = *self.publisher.progress().borrow();
        let offset = self.clock_offset();
        let lag = self.lag_micros();
        let headroom = self.headroom(progress.committed_at);
        let status = TaskStatus {
            retention_headroom_seconds: headroom,
            warning: self.retention_warning.clone(),
            state,
            server: self.address.clone(),
            epoch: self.epoch,
            acknowledged: progress.acknowledged,
            position: self.assembler.position(),
            gtid_set: self.assembler.gtid_set().clone(),
            read_lag_seconds: seconds(lag),
            clock_offset_seconds: seconds(offset),
            in_flight_bytes: progress.in_flight_bytes,
            counters: self.counters,
            last_error: self.last_error.clone(),
        };
        let done = self.counters.since(&self.told);
        self.told = self.counters;
        Progressed { source: &self.extraction.config.source, done, status: &status }.emit();
        let task = TaskId::new(TaskKind::Extract, &self.extraction.config.source).to_string();
        self.extraction.board.set(&task, status);
    }
}

/// For how long a log that was given something has acknowledged nothing, microseconds.
fn unanswered(progress: &WriterProgress, now: i64) -> i64 {
    let since = now - progress.acknowledged_at;
    if progress.in_flight_bytes > 0 && since > PATIENCE_MICROS { since } else { 0 }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_searches_is_waited_for_while_it_answers_beside_its_stream() {
        let since = Instant::now();
        let after = |seconds| since + Duration::from_secs(seconds);
        assert!(!is_deaf(since, None, after(10)), "it has just begun");
        assert!(is_deaf(since, None, after(11)));
        assert!(!is_deaf(since, Some(after(100)), after(105)), "it answers");
        assert!(is_deaf(since, Some(after(100)), after(111)), "it answered, and does no more");
    }

    #[test]
    fn a_log_that_acknowledges_nothing_of_what_it_was_given_is_a_lag() {
        let progress = |in_flight_bytes| WriterProgress {
            acknowledged: lutra_change::Number::ZERO,
            committed_at: 0,
            heartbeat_at: 0,
            offset: 0,
            acknowledged_at: 1_000_000,
            acknowledged_bytes: 0,
            in_flight_bytes,
        };
        assert_eq!(unanswered(&progress(1), 2_000_000), 0, "it has a moment");
        assert_eq!(unanswered(&progress(1), 9_000_000), 8_000_000);
        assert_eq!(unanswered(&progress(0), 9_000_000), 0, "it was given nothing");
    }
}

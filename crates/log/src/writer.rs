//! [`LogWriter`]: one start = one epoch = one producer = one `EpochStart` (P2).

pub(crate) mod core;
pub(crate) mod draft;
pub(crate) mod start;

use futures::FutureExt;
use lutra_change::{Cursor, Epoch, LogId, Number};
use lutra_wire::record::{BodyKind, PartEnd, RawBody};
use lutra_wire::{FRAGMENT_BYTES, RECORD_LIMIT};
use tokio::sync::watch;

use self::core::{Wanted, WriterCore};
pub use self::draft::{HeaderDraft, SourceDraft};
use self::start::StartCore;
use crate::bookmark::{Bookmark, LastUnit, SourcePlace};
use crate::error::{AttemptEnd, Halt, LogError};
use crate::place::{self, Held, Place};
use crate::transport::{
    AppendError, AppendTransport, ReadTransport, RecordHeaders, StoredRecord, Ticket, TransportError, TransportFactory,
};

/// Time after which a read that should find a record asks whether the log still reaches that far.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a writer has to know of its task.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The task's log.
    pub log_id: LogId,
    /// Cluster id, written into the `EpochStart`.
    pub cluster: String,
    /// Version of the rules in force from this start (transformer), 0 for extractors.
    pub rules_version: u64,
    /// Whether the task has begun: its origin was acknowledged once, so the log must not be empty (P8).
    pub begun: bool,
    /// Published places, in any order; the latest that the log still holds is where reading back begins. A start that was
    /// asked for because a reader met a gap is given [only the proven ones](Bookmark::only_proven).
    pub bookmarks: Vec<Bookmark>,
    /// Bytes that may be handed over and not acknowledged; [`LogWriter::append`] waits beyond.
    pub max_in_flight_bytes: usize,
}

/// The end of the valid chain at a start: where the writer goes on.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The last unit.
    pub number: Number,
    /// The place behind the own `EpochStart`.
    pub cursor: Cursor,
    /// Where the source stood after the last unit, with the whole GTID set.
    pub source: Option<SourcePlace>,
    /// In a transformer's log: where its input stood after the last unit.
    pub input: Option<Cursor>,
    /// The last transaction or DDL statement, when it lies behind the place where reading back began.
    pub last_unit: Option<LastUnit>,
    /// The log has no unit yet: the first record appended must be the origin, a heartbeat with number `(0,1)`.
    pub empty: bool,
}

/// How far the log has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterProgress {
    /// The last complete unit that is in the log, every foreign record before it having been read.
    pub acknowledged: Number,
    /// Commit time of that unit at the source, microseconds since the epoch; 0 where unknown.
    pub committed_at: i64,
    /// When the newest heartbeat was read, if it was acknowledged after that unit; else 0.
    pub heartbeat_at: i64,
    /// The last acknowledged offset.
    pub offset: i64,
    /// When it was acknowledged, microseconds since the epoch.
    pub acknowledged_at: i64,
    /// Bytes acknowledged since the start.
    pub acknowledged_bytes: u64,
    /// Bytes handed over and not acknowledged.
    pub in_flight_bytes: usize,
}

/// The writer of one log, for one attempt.
///
/// Delivery reports are taken in while [`append`](Self::append), [`drive`](Self::drive) or [`flush`](Self::flush) run:
/// whoever holds a writer and has nothing to append awaits `drive`. After an error the writer is of no more use; what it
/// had in flight may still land, and is void once the next start is in force.
#[derive(Debug)]
pub struct LogWriter<F: TransportFactory> {
    topic: String,
    producer: F::Append,
    reader: F::Read,
    /// Where `reader` stands, unless a seek was cut short.
    reader_at: Option<i64>,
    core: WriterCore,
    progress: watch::Sender<WriterProgress>,
    max_in_flight_bytes: usize,
    /// Parts of the open unit that are there because bodies went in pieces.
    more_parts: u32,
    ended: bool,
}

impl<F: TransportFactory> LogWriter<F> {
    /// Appends the `EpochStart` of `epoch`, reads back up to that very record under the reader's rules, and says where the
    /// valid chain ends.
    ///
    /// # Errors
    /// [`LogError::Fenced`]: a higher epoch is in force. [`LogError::Attempt`]: start again under the next epoch.
    /// [`LogError::Halt`]: not the task's log, emptied, headless (P8), or contradicting itself.
    pub async fn start(factory: &F, options: WriterOptions, epoch: Epoch) -> Result<(Self, Tail), LogError> {
        let topic = factory.topic().to_owned();
        let mut start = StartCore::new(&topic, &options, epoch);
        // Both connect meanwhile; nothing is read before the record below is in its place.
        let (mut producer, mut reader) = futures::try_join!(factory.producer(), factory.reader())?;
        let value = start.epoch_start(&options);
        let sent = hand_over(&mut producer, value, &RecordHeaders::default()).await;
        let ticket = sent.map_err(|e| start.undelivered(e))?;
        start.delivered(producer.delivered().await, ticket)?;

        // Only now: as long as our record is in its place, nothing below it changes any more.
        let bounds = reader.bounds().await?;
        let from = start.begin_at(first_held(&mut reader, &options, bounds, false).await?, bounds)?;
        reader.seek(from).await?;
        while !start.is_done() {
            match next_or_end(&mut reader, start.position()).await? {
                Some(stored) => start.read(&stored)?,
                None => return Err(start.lost()),
            }
            if start.is_in_doubt() {
                let from = start.begin_at(first_held(&mut reader, &options, bounds, true).await?, bounds)?;
                reader.seek(from).await?;
            }
        }
        let (core, tail) = start.finish(options.begun)?;
        let (progress, _) = watch::channel(core.progress());
        let reader_at = Some(tail.cursor.next_offset);
        let max_in_flight_bytes = options.max_in_flight_bytes.max(1);
        let (more_parts, ended) = (0, false);
        let writer =
            Self { topic, producer, reader, reader_at, core, progress, max_in_flight_bytes, more_parts, ended };
        Ok((writer, tail))
    }

    /// Hands one part over, in order; waits while too many bytes are in flight. Not cancel safe: a call that was dropped
    /// ends the attempt.
    ///
    /// # Errors
    /// As [`drive`](Self::drive); [`Halt::BreaksChain`] for a part that readers would not accept.
    pub async fn append(
        &mut self,
        draft: HeaderDraft<'_>,
        body: &RawBody,
        headers: Option<&RecordHeaders>,
    ) -> Result<Ticket, LogError> {
        let outcome = self.append_pieces(draft, body, headers).await;
        self.ended |= outcome.is_err();
        outcome
    }

    /// A body too large for one record goes in pieces, each a part of the unit; those behind it count on from there.
    async fn append_pieces(
        &mut self,
        mut draft: HeaderDraft<'_>,
        body: &RawBody,
        headers: Option<&RecordHeaders>,
    ) -> Result<Ticket, LogError> {
        // A heartbeat that rests may come in the middle of a unit.
        if draft.number > draft.previous {
            self.more_parts = if draft.part == 1 { 0 } else { self.more_parts };
            draft.part = draft.part.saturating_add(self.more_parts);
        }
        if body.len() <= RECORD_LIMIT {
            return self.append_checked(draft, body, body.kind(), headers).await;
        }
        let mut pieces = body.fragments(FRAGMENT_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                return self.append_checked(draft, &piece, body.kind(), headers).await;
            }
            let one = HeaderDraft { end: PartEnd::More, source: None, totals: None, input: None, ..draft.clone() };
            self.append_checked(one, &piece, body.kind(), headers).await?;
            draft.part = draft.part.saturating_add(1);
            self.more_parts = self.more_parts.saturating_add(1);
        }
        Err(self.core.attempt_over(AttemptEnd::Ended))
    }

    async fn append_checked(
        &mut self,
        draft: HeaderDraft<'_>,
        body: &RawBody,
        kind: BodyKind,
        headers: Option<&RecordHeaders>,
    ) -> Result<Ticket, LogError> {
        self.take_reports()?;
        while self.core.in_flight_bytes() >= self.max_in_flight_bytes {
            self.step().await?;
        }
        let (header, value) = self.core.draft(draft, body, kind)?;
        let none = RecordHeaders::default();
        let headers = headers.unwrap_or(&none);
        loop {
            match self.producer.append(value.clone(), headers) {
                Ok(ticket) => {
                    self.core.handed_over(ticket, body.kind(), header, value.len());
                    return Ok(ticket);
                }
                Err(AppendError::QueueFull) => self.step().await?,
                Err(AppendError::Failed(source)) => {
                    let reason = AttemptEnd::DeliveryFailed { number: header.number, part: header.part, source };
                    return Err(self.core.attempt_over(reason));
                }
            }
        }
    }

    /// Takes in delivery reports and reads foreign records for as long as all is well; returns only with the error that
    /// ends the attempt. Cancel safe: meant as one arm of a `select`.
    pub async fn drive(&mut self) -> LogError {
        loop {
            if let Err(error) = self.step().await {
                self.ended = true;
                return error;
            }
        }
    }

    /// Waits until everything handed over is in the log. Cancel safe.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub async fn flush(&mut self) -> Result<(), LogError> {
        while !self.core.is_settled() {
            let outcome = self.step().await;
            self.ended |= outcome.is_err();
            outcome?;
        }
        Ok(())
    }

    /// How far the log has acknowledged.
    pub fn progress(&self) -> watch::Receiver<WriterProgress> {
        self.progress.subscribe()
    }

    /// The place that may be published now: behind the last acknowledged unit, every foreign record before it having been
    /// read. `None` before the log has units.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.core.bookmark()
    }

    /// The epoch of this attempt.
    pub fn epoch(&self) -> Epoch {
        self.core.epoch()
    }

    /// The number of the last complete unit handed over.
    pub fn last_appended(&self) -> Number {
        self.core.last_appended()
    }

    /// Takes in the reports that are there already.
    fn take_reports(&mut self) -> Result<(), LogError> {
        self.check_alive()?;
        while !self.core.is_settled() {
            let Some(delivery) = self.producer.delivered().now_or_never() else { break };
            self.core.delivered(delivery)?;
        }
        self.publish();
        Ok(())
    }

    /// Waits for one thing to happen, and takes it in.
    async fn step(&mut self) -> Result<(), LogError> {
        self.check_alive()?;
        match self.core.wanted() {
            Wanted::Report => self.core.delivered(self.producer.delivered().await)?,
            Wanted::Record { from } => {
                if self.reader_at != Some(from) {
                    self.reader_at = None;
                    self.reader.seek(from).await?;
                    self.reader_at = Some(from);
                }
                tokio::select! {
                    biased;
                    delivery = self.producer.delivered() => self.core.delivered(delivery)?,
                    stored = next_or_end(&mut self.reader, from) => match stored? {
                        Some(stored) => {
                            self.reader_at = Some(stored.offset + 1);
                            self.core.read(&stored)?;
                        }
                        None => return Err(self.core.tail_lost(from)),
                    },
                }
            }
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let now = self.core.progress();
        self.progress.send_if_modified(|p| {
            let news = *p != now;
            *p = now;
            news
        });
    }

    fn check_alive(&self) -> Result<(), LogError> {
        if self.ended {
            return Err(LogError::Attempt { topic: self.topic.clone(), reason: AttemptEnd::Ended });
        }
        Ok(())
    }
}

/// The latest bookmark that the log still holds.
async fn first_held<R: ReadTransport>(
    reader: &mut R,
    options: &WriterOptions,
    bounds: (i64, i64),
    only_proven: bool,
) -> Result<Option<Bookmark>, LogError> {
    for bookmark in start::candidates(options, only_proven) {
        if place::held(reader, options.log_id, &Place::of_bookmark(bookmark), bounds).await? == Held::Yes {
            return Ok(Some(bookmark.clone()));
        }
    }
    Ok(None)
}

/// Hands the first record of a producer over.
async fn hand_over<P: AppendTransport>(
    producer: &mut P,
    value: bytes::Bytes,
    headers: &RecordHeaders,
) -> Result<Ticket, TransportError> {
    loop {
        match producer.append(value.clone(), headers) {
            Ok(ticket) => return Ok(ticket),
            // Cannot be with an empty buffer; a report would be a stranger's.
            Err(AppendError::QueueFull) => tokio::task::yield_now().await,
            Err(AppendError::Failed(error)) => return Err(error),
        }
    }
}

/// The next record, or `None` when the log turns out to end at or before `position`.
async fn next_or_end<R: ReadTransport>(reader: &mut R, position: i64) -> Result<Option<StoredRecord>, TransportError> {
    loop {
        match tokio::time::timeout(PATIENCE, reader.next()).await {
            Ok(Err(TransportError::OutOfRange { .. })) => return Ok(None),
            Ok(stored) => return stored.map(Some),
            Err(_) if reader.bounds().await?.1 <= position => return Ok(None),
            Err(_) => {}
        }
    }
}

fn halted(topic: &str, found: impl Into<Box<Halt>>) -> LogError {
    LogError::Halt { topic: topic.to_owned(), found: found.into() }
}

fn attempt_over(topic: &str, reason: AttemptEnd) -> LogError {
    LogError::Attempt { topic: topic.to_owned(), reason }
}

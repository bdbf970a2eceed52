//! Intake: the reader's side of the log. Parts become whole units.
//!
//! A unit that fits the memory for units is handed on when it is complete; a larger one while it is read. Bytes are
//! bounded by permits that come back when rows are done.

use std::sync::Arc;

use lutra_change::Number;
use lutra_kafka::SchemaTopic;
use lutra_log::{Delivered, LogPart, LogReader, ReadTransport};
use lutra_wire::record::{Body, BodyKind, Changes, PartEnd, RowChange, UnitTotals};
use lutra_wire::{Fingerprint, RowSchema, UnitDigest};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::blocked::Aside;
use crate::copying::{self, ChunkInfo, ChunkPart, UnitCopy};
use crate::error::LoadError;
use crate::scheduler::now_micros;
use crate::unit::{KnownTables, Message, Piece, Segment, Unit, UnitBody, UnitEnd};

/// A unit beyond this is applied while it is read.
const UNIT_BYTES: usize = 8 << 20;
/// Row images that wait or are under way, in all.
const MEMORY: usize = 32 << 20;
/// Permits count in this unit, so that 32 bits suffice.
const PERMIT_BYTES: usize = 1 << 10;
/// Parts of a large unit that wait.
const PIECES: usize = 4;

/// Gives row schemas by fingerprint.
pub trait Schemas: Send + 'static {
    /// The schema; waits for it.
    ///
    /// # Errors
    /// When it is not there.
    fn get(&self, fingerprint: Fingerprint) -> impl Future<Output = Result<Arc<RowSchema>, LoadError>> + Send;
}

impl Schemas for SchemaTopic {
    async fn get(&self, fingerprint: Fingerprint) -> Result<Arc<RowSchema>, LoadError> {
        Self::get(self, fingerprint).await.map_err(|source| LoadError::Kafka {
            operation: format!("fetching row schema {fingerprint}"),
            source: Box::new(source),
        })
    }
}

impl<S: Schemas + Sync> Schemas for Arc<S> {
    async fn get(&self, fingerprint: Fingerprint) -> Result<Arc<RowSchema>, LoadError> {
        S::get(self, fingerprint).await
    }
}

/// A hole in the log, for whoever can ask its writer to start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapSeen {
    /// Where.
    pub offset: i64,
    /// The last unit.
    pub expected: Number,
    /// What the record claims to follow.
    pub found: Number,
}

/// The reader's side of the log.
#[derive(Debug)]
pub struct Intake<R, S> {
    reader: LogReader<R>,
    schemas: S,
    tables: KnownTables,
    memory: Arc<Semaphore>,
    messages: mpsc::Sender<Message>,
    gaps: watch::Sender<Option<GapSeen>>,
    open: Open,
}

/// The unit that is being read.
#[derive(Debug, Default)]
struct Open {
    segments: Vec<Segment>,
    bytes: usize,
    large: Option<mpsc::Sender<Piece>>,
    digest: UnitDigest,
    /// What the unit is to the copy of a table (P12).
    chunk: Option<Box<ChunkInfo>>,
}

impl<R: ReadTransport, S: Schemas> Intake<R, S> {
    /// Reads with that reader.
    pub fn new(
        reader: LogReader<R>,
        schemas: S,
        messages: mpsc::Sender<Message>,
        gaps: watch::Sender<Option<GapSeen>>,
    ) -> Self {
        let memory = Arc::new(Semaphore::new(MEMORY / PERMIT_BYTES));
        Self { reader, schemas, tables: KnownTables::default(), memory, messages, gaps, open: Open::default() }
    }

    /// Reads until nobody listens any more.
    ///
    /// # Errors
    /// The log's, or what cannot be read.
    pub async fn run(mut self) -> Result<(), LoadError> {
        loop {
            let delivered = self.reader.next().await?;
            let listening = match delivered {
                Delivered::Part(part) => self.part(part).await?,
                Delivered::Discarded => self.discard().await,
                Delivered::Heartbeat { heartbeat, appended_at, .. } => {
                    let alive = Message::Alive { at: heartbeat.at, clock_offset: heartbeat.clock_offset, appended_at };
                    self.messages.send(alive).await.is_ok()
                }
                Delivered::EpochStart { .. } => true,
                Delivered::Gap { offset, expected, found, .. } => {
                    tracing::error!(offset, %expected, %found, "the log has a gap; its writer is asked to start again");
                    self.gaps.send_replace(Some(GapSeen { offset, expected, found }));
                    self.discard().await
                }
            };
            if !listening {
                return Ok(());
            }
        }
    }

    async fn discard(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        match open.large {
            Some(pieces) => pieces.send(Piece::Discarded).await.is_ok(),
            None => true,
        }
    }

    /// Takes a part; whether anybody listens.
    async fn part(&mut self, part: LogPart) -> Result<bool, LoadError> {
        let number = part.header.number;
        if part.header.part == 1 && !self.discard().await {
            return Ok(false);
        }
        let body = part.body.decode().map_err(|source| LoadError::Unit {
            number,
            what: "the body of its record",
            source: Box::new(source),
        })?;
        match body {
            Body::Changes(changes) => {
                if !self.add(number, changes).await? {
                    return Ok(false);
                }
            }
            Body::Ddl(ddl) => return Ok(self.send(&part, UnitBody::Ddl(Box::new(ddl))).await),
            Body::Heartbeat(heartbeat) => {
                let alive = Message::Alive {
                    at: heartbeat.at,
                    clock_offset: heartbeat.clock_offset,
                    appended_at: part.appended_at,
                };
                return Ok(self.send(&part, UnitBody::Nothing).await && self.messages.send(alive).await.is_ok());
            }
            Body::Chunk(chunk) => {
                match copying::step_of(number, &chunk)? {
                    ChunkPart::Define(define) => {
                        return Ok(self.send(&part, UnitBody::Define(Box::new(define))).await);
                    }
                    ChunkPart::Rows(info) => self.open.chunk = Some(Box::new(info)),
                }
                if !self.add(number, chunk.changes).await? {
                    return Ok(false);
                }
            }
            Body::EpochStart(_) | Body::XaPrepare(_) | Body::XaDecision(_) | Body::Fragment(_) => {
                return Err(LoadError::Unsupported { number, kind: kind_name(part.body.kind()) });
            }
        }
        if part.header.end != PartEnd::Commit {
            return Ok(true);
        }
        self.check_whole(number, part.header.totals)?;
        Ok(self.complete(&part).await)
    }

    /// Holds the unit to the totals that its commit part tells, before it can commit. The chain alone cannot see a unit
    /// whose middle was lost with the log's tail and refilled by the same writer.
    fn check_whole(&self, number: Number, told: Option<UnitTotals>) -> Result<(), LoadError> {
        let read = self.open.digest.totals();
        match told {
            Some(told) if told != read => Err(LoadError::Torn { number, told, read }),
            _ => Ok(()),
        }
    }

    /// Adds the rows of a part to the open unit, or passes them on where the unit is large.
    async fn add(&mut self, number: Number, changes: Changes) -> Result<bool, LoadError> {
        let tables = self.tables.of(number, &changes.tables, |fingerprint| self.schemas.get(fingerprint)).await?;
        let bytes: usize = changes.rows.iter().map(size).sum();
        changes.rows.iter().for_each(|r| self.open.digest.update(r.before.as_deref(), r.after.as_deref()));
        let permit = self.permit(bytes).await;
        let segment = Segment { tables, rows: changes.rows, context: changes.context.map(Box::new), bytes, permit };
        if self.open.large.is_none() && self.open.bytes + bytes > UNIT_BYTES {
            let (pieces, waiting) = mpsc::channel(PIECES);
            let chunk = self.open.chunk.take();
            if self.messages.send(Message::Large { number, chunk, pieces: waiting }).await.is_err() {
                return Ok(false);
            }
            for segment in std::mem::take(&mut self.open.segments) {
                if pieces.send(Piece::Rows(segment)).await.is_err() {
                    return Ok(false);
                }
            }
            self.open.large = Some(pieces);
        }
        match &self.open.large {
            Some(pieces) => Ok(pieces.send(Piece::Rows(segment)).await.is_ok()),
            None => {
                self.open.bytes += bytes;
                self.open.segments.push(segment);
                Ok(true)
            }
        }
    }

    /// The bytes' share of the memory; a part that alone is larger takes all of it.
    async fn permit(&mut self, bytes: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let permits = bytes.div_ceil(PERMIT_BYTES).min(MEMORY / PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).acquire_many_owned(permits).await.ok()
    }

    async fn complete(&mut self, part: &LogPart) -> bool {
        let open = std::mem::take(&mut self.open);
        if let Some(pieces) = open.large {
            return pieces.send(Piece::End(Box::new(self.end(part)))).await.is_ok();
        }
        let empty = open.chunk.is_none() && open.segments.iter().all(|s| s.rows.is_empty());
        let copy = UnitCopy { chunk: open.chunk, ..UnitCopy::default() };
        let body = if empty { UnitBody::Nothing } else { UnitBody::Changes(open.segments) };
        self.messages
            .send(Message::Unit(Box::new(Unit { end: self.end(part), body, copy, aside: Aside::default() })))
            .await
            .is_ok()
    }

    async fn send(&mut self, part: &LogPart, body: UnitBody) -> bool {
        let copy = UnitCopy::default();
        self.messages
            .send(Message::Unit(Box::new(Unit { end: self.end(part), body, copy, aside: Aside::default() })))
            .await
            .is_ok()
    }

    fn end(&self, part: &LogPart) -> UnitEnd {
        UnitEnd {
            number: part.header.number,
            source: part.header.source.clone(),
            cursor: self.reader.cursor(),
            committed_at: part.header.committed_at,
            appended_at: part.appended_at,
            taken_at: now_micros(),
            origins: part.header.origins.clone(),
            trace: part.headers.clone(),
        }
    }
}

fn size(row: &RowChange) -> usize {
    row.before.as_ref().map_or(0, bytes::Bytes::len) + row.after.as_ref().map_or(0, bytes::Bytes::len)
}

fn kind_name(kind: BodyKind) -> &'static str {
    match kind {
        BodyKind::Chunk => "a snapshot chunk",
        BodyKind::XaPrepare => "a prepared XA transaction",
        BodyKind::XaDecision => "the decision over an XA transaction",
        BodyKind::EpochStart => "an epoch start",
        BodyKind::Fragment => "a piece of a row",
        BodyKind::Changes => "changes",
        BodyKind::Ddl => "DDL",
        BodyKind::Heartbeat => "a heartbeat",
    }
}

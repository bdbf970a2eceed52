//! The desk: readers' wishes meet the stream. Chunks are published between transactions, behind their high marks.

use std::cmp::Ordering;

use lutra_change::{BinlogPosition, Number, Operation, RowFlags};
use lutra_log::TransportFactory;
use lutra_wire::record::{PartEnd, RawBody};
use lutra_wire::{ChangesBuilder, Fingerprint, UnitDigest};
use tokio::sync::{mpsc, oneshot, watch};

use super::window::{FoldedRow, ReadRow, Watched};
use super::{Answer, Ask, ChunkRows, ChunkUnit, Opened};
use crate::assembler::{Assembler, Output};
use crate::error::ExtractError;
use crate::publisher::{Publisher, SchemaStore};
use crate::status::Counters;

/// Nothing is read while the stream is so far behind, in bytes of binlog (P12) …
const BEHIND_BYTES: u64 = 32 << 20;
/// … or in time.
const BEHIND_SECONDS: f64 = 5.0;
/// Bytes of a part.
const PART_BYTES: usize = 512 << 10;
/// Wishes that wait.
const ASKS: usize = 16;

/// Rows of a copy are not checked against rows that are not copied yet, nor against what let them in at the source.
const FLAGS: RowFlags = RowFlags(RowFlags::NO_FOREIGN_KEY_CHECKS | RowFlags::NO_CHECK_CONSTRAINTS);

/// The core loop's side of the copies.
#[derive(Debug)]
pub struct Desk {
    asks: mpsc::Receiver<Ask>,
    /// Chunks that wait for the stream to pass them.
    waiting: Vec<ChunkUnit>,
    /// Windows that wait for the end of the transaction that is being read: one opened in its middle would not see the
    /// rows that came before.
    opening: Vec<(Watched, oneshot::Sender<Opened>)>,
    /// Where the source says it has sent everything up to.
    heard: Option<BinlogPosition>,
    durable: watch::Sender<Number>,
    builder: ChangesBuilder,
}

/// The readers' side.
#[derive(Clone, Debug)]
pub struct DeskHandle {
    /// Wishes.
    pub asks: mpsc::Sender<Ask>,
    /// The last unit that is in the log for good.
    pub durable: watch::Receiver<Number>,
}

/// What the desk works with.
pub struct Room<'a, F: TransportFactory, S> {
    /// The stream's state.
    pub assembler: &'a mut Assembler,
    /// The log.
    pub publisher: &'a mut Publisher<F, S>,
    /// What is counted.
    pub counters: &'a mut Counters,
}

impl Desk {
    /// A desk and its readers' side.
    pub fn new() -> (Self, DeskHandle) {
        let (sender, asks) = mpsc::channel(ASKS);
        let (durable, seen) = watch::channel(Number::ZERO);
        let desk = Self {
            asks,
            waiting: Vec::new(),
            opening: Vec::new(),
            heard: None,
            durable,
            builder: ChangesBuilder::new(),
        };
        (desk, DeskHandle { asks: sender, durable: seen })
    }

    /// The next wish; waits for ever when there are no readers. Cancel safe.
    pub async fn next(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }

    /// Whether chunks or windows wait.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.opening.is_empty()
    }

    /// The source's heartbeat: it has sent everything up to there, which is given back.
    pub fn heard(&mut self, file: &str, position: u64, exact: bool, stream: &BinlogPosition) -> &BinlogPosition {
        // A position modulo 2^32 is completed by the stream's own.
        let position = if exact { position } else { (stream.offset & !0xffff_ffff) | position };
        self.heard.insert(BinlogPosition::new(file, position))
    }

    /// What is in the log for good (P2).
    pub fn tell_durable(&mut self, number: Option<Number>) {
        if let Some(number) = number {
            self.durable.send_if_modified(|known| std::mem::replace(known, number) != number);
        }
    }

    /// Takes a wish.
    pub async fn take<F: TransportFactory, S: SchemaStore>(
        &mut self,
        ask: Ask,
        lag_seconds: f64,
        room: Room<'_, F, S>,
    ) -> Result<(), ExtractError> {
        match ask {
            Ask::Open { watched, end, reply } => {
                let stream = room.assembler.position();
                if is_level(&self.reached(&stream), &end, lag_seconds) && !room.assembler.looks_again() {
                    self.opening.push((watched, reply));
                    return self.publish_due(room).await;
                }
                // A reader that is gone needs no answer.
                let _ = reply.send(Opened::Behind);
                Ok(())
            }
            Ask::Close(window) => {
                room.assembler.windows().close(window);
                Ok(())
            }
            Ask::Publish(unit) => {
                self.waiting.push(*unit);
                self.publish_due(room).await
            }
        }
    }

    /// Publishes the chunks that the stream has passed and opens windows, if it stands between two transactions.
    pub async fn publish_due<F: TransportFactory, S: SchemaStore>(
        &mut self,
        room: Room<'_, F, S>,
    ) -> Result<(), ExtractError> {
        if !room.assembler.is_between_units() {
            return Ok(());
        }
        let reached = self.reached(&room.assembler.position());
        let is_due = |unit: &ChunkUnit| compare(&reached, &unit.high) != Ordering::Less;
        while let Some(at) = self.waiting.iter().position(is_due) {
            // In the order in which they were handed in.
            let unit = self.waiting.remove(at);
            self.publish(unit, room.assembler, room.publisher, room.counters).await?;
        }
        for (watched, reply) in self.opening.drain(..) {
            open(watched, reply, room.assembler);
        }
        Ok(())
    }

    /// The farther of the stream's place and what the source's heartbeat says.
    fn reached(&self, stream: &BinlogPosition) -> BinlogPosition {
        match &self.heard {
            Some(heard) if compare(heard, stream) == Ordering::Greater => heard.clone(),
            _ => stream.clone(),
        }
    }

    async fn publish<F: TransportFactory, S: SchemaStore>(
        &mut self,
        unit: ChunkUnit,
        assembler: &mut Assembler,
        publisher: &mut Publisher<F, S>,
        counters: &mut Counters,
    ) -> Result<(), ExtractError> {
        let ChunkUnit { window, id, addressee, step, table, schema, rows, reply, .. } = unit;
        if let Some(reason) = assembler.windows().void(window) {
            assembler.windows().close(window);
            // A reader that is gone has nothing to read again.
            let _ = reply.send(Answer::Void(reason));
            return Ok(());
        }
        let before = publisher.bookmark().map(Box::new);
        let step = step.to_bytes();
        let fingerprint = schema.as_ref().map(|s| s.fingerprint()).unwrap_or(Fingerprint([0; 16]));
        if let Some(schema) = schema {
            publisher.output(Output::Schema(schema), assembler, counters).await?;
        }
        let mut parts = Parts { number: 0, digest: UnitDigest::new(), rows: 0 };
        let mut batch;
        let mut more = None;
        match rows {
            ChunkRows::Slice(rows) => batch = assembler.windows().fold(window, rows),
            ChunkRows::Whole(mut receiver) => {
                assembler.windows().close(window);
                batch = plain(receiver.recv().await);
                more = Some(receiver);
            }
        }
        loop {
            let ends = batch.is_empty();
            for row in &batch {
                if self.builder.len() >= PART_BYTES {
                    let body = self.builder.finish_chunk(id, &addressee, &step);
                    let part = parts.next(assembler, PartEnd::More, body);
                    publisher.output(Output::Part(Box::new(part)), assembler, counters).await?;
                }
                let index = self.builder.table(row.fingerprint.unwrap_or(fingerprint), &table);
                self.builder.push(Operation::Read, FLAGS, index, None, Some(&row.datum), None, None);
                parts.digest.update(None, Some(&row.datum));
            }
            let Some(receiver) = more.as_mut().filter(|_| !ends) else { break };
            match receiver.recv().await {
                Some(rows) => batch = plain(Some(rows)),
                None => {
                    // The read failed in its middle: the unit never was.
                    self.builder.clear();
                    let body = self.builder.finish_chunk(id, &addressee, &step);
                    let part = parts.next(assembler, PartEnd::Abort, body);
                    if part.part > 1 {
                        publisher.output(Output::Part(Box::new(part)), assembler, counters).await?;
                    }
                    let _ = reply.send(Answer::Void("the read ended early".to_owned()));
                    return Ok(());
                }
            }
        }
        let body = self.builder.finish_chunk(id, &addressee, &step);
        let part = parts.next(assembler, PartEnd::Commit, body);
        let number = part.number;
        publisher.output(Output::Part(Box::new(part)), assembler, counters).await?;
        let _ = reply.send(Answer::Published { number, rows: parts.rows, before });
        Ok(())
    }
}

/// Opens a window where the stream stands, between two transactions.
fn open(watched: Watched, reply: oneshot::Sender<Opened>, assembler: &mut Assembler) {
    let (executed, place) = (assembler.gtid_set().clone(), assembler.position());
    let window = assembler.windows().open(watched);
    if reply.send(Opened::Window { window, executed, place }).is_err() {
        assembler.windows().close(window);
    }
}

/// The parts of a unit.
struct Parts {
    number: u32,
    digest: UnitDigest,
    rows: u64,
}

impl Parts {
    fn next(&mut self, assembler: &mut Assembler, end: PartEnd, body: RawBody) -> crate::assembler::UnitPart {
        self.number += 1;
        let totals = self.digest.totals();
        let rows = usize::try_from(totals.rows - self.rows).unwrap_or(usize::MAX);
        self.rows = totals.rows;
        assembler.chunk_part(self.number, end, body, rows, (end == PartEnd::Commit).then_some(totals))
    }
}

fn plain(rows: Option<Vec<ReadRow>>) -> Vec<FoldedRow> {
    rows.unwrap_or_default().into_iter().map(|row| FoldedRow { fingerprint: None, datum: row.datum }).collect()
}

/// Whether the stream is near enough to the binlog's end for a chunk to be read.
fn is_level(stream: &BinlogPosition, end: &BinlogPosition, lag_seconds: f64) -> bool {
    if compare(stream, end) != Ordering::Less {
        return true;
    }
    // In another file: what is left of ours is not known, and soon read.
    let behind = if stream.file == end.file { end.offset - stream.offset } else { BEHIND_BYTES };
    behind < BEHIND_BYTES && lag_seconds < BEHIND_SECONDS
}

/// Places of one server's binlog: its files are numbered, with more digits behind 999999.
pub fn compare(a: &BinlogPosition, b: &BinlogPosition) -> Ordering {
    let file = |p: &BinlogPosition| (p.file.len(), p.file.clone());
    file(a).cmp(&file(b)).then(a.offset.cmp(&b.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64) -> BinlogPosition {
        BinlogPosition::new(file, offset)
    }

    #[test]
    fn files_are_in_the_order_of_their_numbers() {
        assert_eq!(compare(&at("b.999999", 9), &at("b.1000000", 4)), Ordering::Less);
        assert_eq!(compare(&at("b.000002", 4), &at("b.000001", 900)), Ordering::Greater);
        assert_eq!(compare(&at("b.000002", 4), &at("b.000002", 4)), Ordering::Equal);
    }

    #[test]
    fn a_stream_far_behind_is_not_level() {
        assert!(is_level(&at("b.000001", 100), &at("b.000001", 100), 100.0), "an idle source");
        assert!(is_level(&at("b.000001", 100), &at("b.000001", 5_000), 0.5));
        assert!(!is_level(&at("b.000001", 100), &at("b.000001", 5_000), 6.0));
        assert!(!is_level(&at("b.000001", 100), &at("b.000001", 64 << 20), 0.5));
        assert!(!is_level(&at("b.000001", 100), &at("b.000002", 200), 0.5));
    }
}

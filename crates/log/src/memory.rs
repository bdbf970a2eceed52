//! A broker in memory with scripted faults: [`MemoryLog`].
//!
//! Each producer has a pipe of its own. Normally a record lands at once; a producer may be [held](MemoryLog::hold), so
//! that what it was given lands when the test says, also long after the producer is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::transport::{
    AppendError, AppendTransport, Delivery, ReadTransport, RecordHeaders, StoredRecord, Ticket, TransportError,
    TransportFactory,
};

/// What becomes of a record when it lands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is appended and acknowledged with its offset.
    #[default]
    Land,
    /// It is appended and acknowledged, but the broker does not say where.
    LandWithoutOffset,
    /// It is appended; the acknowledgement is lost, and the producer reports a failure.
    LoseReply,
    /// It is not appended, and the producer reports a failure.
    Fail,
    /// It is appended twice, one behind the other; the first is acknowledged.
    Repeat,
}

#[derive(Debug, Default)]
struct Producer {
    held: bool,
    fates: VecDeque<Fate>,
    in_flight: VecDeque<(Ticket, Bytes, RecordHeaders)>,
    reports: VecDeque<Delivery>,
}

#[derive(Debug, Default)]
struct Log {
    first: i64,
    records: VecDeque<StoredRecord>,
    producers: Vec<Producer>,
    hold_new: bool,
    clock: i64,
}

impl Log {
    fn end(&self) -> i64 {
        self.first + self.records.len() as i64
    }

    fn push(&mut self, value: Bytes, headers: RecordHeaders) -> i64 {
        let offset = self.end();
        self.clock += 1;
        self.records.push_back(StoredRecord { offset, value, appended_at: self.clock, headers });
        offset
    }

    fn get(&self, offset: i64) -> Option<&StoredRecord> {
        usize::try_from(offset - self.first).ok().and_then(|i| self.records.get(i))
    }

    /// Lets the oldest record in flight land. False if there is none.
    fn land(&mut self, producer: usize) -> bool {
        let Some(p) = self.producers.get_mut(producer) else { return false };
        let Some((ticket, value, headers)) = p.in_flight.pop_front() else { return false };
        let fate = p.fates.pop_front().unwrap_or_default();
        let offset = (fate != Fate::Fail).then(|| self.push(value.clone(), headers.clone()));
        if fate == Fate::Repeat {
            self.push(value, headers);
        }
        let report = match fate {
            Fate::Land | Fate::Repeat => Delivery::Acknowledged { ticket, offset },
            Fate::LandWithoutOffset => Delivery::Acknowledged { ticket, offset: None },
            Fate::LoseReply | Fate::Fail => Delivery::Failed {
                ticket,
                error: TransportError::Failed {
                    topic: "memory".into(),
                    operation: "append",
                    transient: true,
                    source: "scripted fault".into(),
                },
            },
        };
        if let Some(p) = self.producers.get_mut(producer) {
            p.reports.push_back(report);
        }
        true
    }
}

/// One log in memory. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    log: Arc<Mutex<Log>>,
    changed: Arc<Notify>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, f: impl FnOnce(&mut Log) -> T) -> T {
        let result = f(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    /// How many producers were made; they are numbered from 0.
    pub fn producers(&self) -> usize {
        self.lock().producers.len()
    }

    /// From now on that producer's records stay in flight until [`land`](Self::land) is called.
    pub fn hold(&self, producer: usize) {
        self.change(|log| log.producers.get_mut(producer).map(|p| p.held = true));
    }

    /// Producers made from now on are held from their first record.
    pub fn hold_new_producers(&self, hold: bool) {
        self.change(|log| log.hold_new = hold);
    }

    /// Lets the oldest record in flight of that producer land. False if there is none.
    pub fn land(&self, producer: usize) -> bool {
        self.change(|log| log.land(producer))
    }

    /// That producer's records land at once again, those in flight first.
    pub fn release(&self, producer: usize) {
        self.change(|log| {
            while log.land(producer) {}
            if let Some(p) = log.producers.get_mut(producer) {
                p.held = false;
            }
        });
    }

    /// Scripts what becomes of that producer's next records, in order.
    pub fn script(&self, producer: usize, fates: impl IntoIterator<Item = Fate>) {
        self.change(|log| log.producers.get_mut(producer).map(|p| p.fates.extend(fates)));
    }

    /// The log loses its last `count` records, acknowledged or not.
    pub fn lose_tail(&self, count: usize) {
        self.change(|log| {
            let keep = log.records.len().saturating_sub(count);
            log.records.truncate(keep);
        });
    }

    /// Retention removes everything before `offset`.
    pub fn lose_head(&self, offset: i64) {
        self.change(|log| {
            while log.first < offset && log.records.pop_front().is_some() {
                log.first += 1;
            }
        });
    }

    /// Appends a record that no producer of ours wrote.
    pub fn append_foreign(&self, value: Bytes) -> i64 {
        self.change(|log| log.push(value, RecordHeaders::default()))
    }

    /// Everything that the log holds.
    pub fn records(&self) -> Vec<StoredRecord> {
        self.lock().records.iter().cloned().collect()
    }
}

impl TransportFactory for MemoryLog {
    type Append = MemoryProducer;
    type Read = MemoryReader;

    fn topic(&self) -> &str {
        "memory"
    }

    async fn producer(&self) -> Result<MemoryProducer, TransportError> {
        let number = self.change(|log| {
            let held = log.hold_new;
            log.producers.push(Producer { held, ..Producer::default() });
            log.producers.len() - 1
        });
        Ok(MemoryProducer { log: self.clone(), number, next: 0 })
    }

    async fn reader(&self) -> Result<MemoryReader, TransportError> {
        Ok(MemoryReader { log: self.clone(), position: 0 })
    }
}

/// A producer of a [`MemoryLog`]. Dropping it leaves its records in flight.
#[derive(Debug)]
pub struct MemoryProducer {
    log: MemoryLog,
    number: usize,
    next: u64,
}

impl MemoryProducer {
    /// Its number in the log's scripts.
    pub fn number(&self) -> usize {
        self.number
    }
}

impl AppendTransport for MemoryProducer {
    fn append(&mut self, value: Bytes, headers: &RecordHeaders) -> Result<Ticket, AppendError> {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.log.change(|log| {
            let Some(p) = log.producers.get_mut(self.number) else { return };
            p.in_flight.push_back((ticket, value, headers.clone()));
            if !p.held {
                log.land(self.number);
            }
        });
        Ok(ticket)
    }

    async fn delivered(&mut self) -> Delivery {
        loop {
            let changed = self.log.changed.clone();
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let report = self.log.lock().producers.get_mut(self.number).and_then(|p| p.reports.pop_front());
            match report {
                Some(report) => return report,
                None => notified.await,
            }
        }
    }
}

/// A reader of a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryReader {
    log: MemoryLog,
    position: i64,
}

impl ReadTransport for MemoryReader {
    fn topic(&self) -> &str {
        "memory"
    }

    async fn seek(&mut self, offset: i64) -> Result<(), TransportError> {
        self.position = offset;
        Ok(())
    }

    async fn next(&mut self) -> Result<StoredRecord, TransportError> {
        loop {
            let changed = self.log.changed.clone();
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let log = self.log.lock();
                if let Some(record) = log.get(self.position) {
                    self.position = record.offset + 1;
                    return Ok(record.clone());
                }
                if self.position < log.first || self.position > log.end() {
                    return Err(TransportError::OutOfRange { topic: "memory".into(), offset: self.position });
                }
            }
            notified.await;
        }
    }

    async fn bounds(&mut self) -> Result<(i64, i64), TransportError> {
        let log = self.log.lock();
        Ok((log.first, log.end()))
    }
}

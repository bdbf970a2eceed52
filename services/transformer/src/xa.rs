//! Prepared XA transactions (P11): their rows are held back until the decision.
//!
//! They stay where they are, in the source's log: the decision's record says from where they can be read. A commit makes an
//! ordinary transaction of them, under the decision's number; so nobody behind this room has to know of XA. What was
//! prepared a moment ago is kept here, to be spared the second reading; what is kept is never needed.

use std::collections::VecDeque;

use lutra_change::{LogId, Number, OpenXa};
use lutra_kafka::{KafkaConfig, KafkaLog};
use lutra_log::{Delivered, LogError, LogReader, ReadFrom, ReadTransport, ReaderStart, TransportFactory};
use lutra_wire::record::{Header, PartEnd, RawBody, UnitTotals};

/// A prepare up to this size is kept.
const UNIT_BYTES: usize = 4 << 20;
/// All that are kept.
const KEPT_BYTES: usize = 16 << 20;

/// The parts of one prepared transaction.
#[derive(Debug)]
struct Kept {
    number: Number,
    parts: Vec<RawBody>,
    bytes: usize,
    totals: Option<UnitTotals>,
}

/// What was prepared a moment ago.
#[derive(Debug, Default)]
pub struct Prepared {
    units: VecDeque<Kept>,
    bytes: usize,
    open: Option<Kept>,
}

impl Prepared {
    /// Takes a part of a prepare.
    pub fn part(&mut self, header: &Header, body: &RawBody) {
        let kept = self.open.take().filter(|open| header.part > 1 && open.number == header.number);
        let kept = kept.or_else(|| {
            (header.part == 1).then(|| Kept { number: header.number, parts: Vec::new(), bytes: 0, totals: None })
        });
        let Some(mut kept) = kept else { return };
        kept.bytes += body.len();
        if kept.bytes > UNIT_BYTES {
            return;
        }
        kept.parts.push(body.clone());
        if header.end != PartEnd::Commit {
            self.open = Some(kept);
            return;
        }
        kept.totals = header.totals;
        self.bytes += kept.bytes;
        self.units.push_back(kept);
        while self.bytes > KEPT_BYTES {
            self.bytes -= self.units.pop_front().map_or(self.bytes, |oldest| oldest.bytes);
        }
    }

    /// Gives back what is kept of a prepare.
    pub fn take(&mut self, number: Number) -> Option<(Vec<RawBody>, Option<UnitTotals>)> {
        let at = self.units.iter().position(|unit| unit.number == number)?;
        let unit = self.units.remove(at)?;
        self.bytes -= unit.bytes;
        Some((unit.parts, unit.totals))
    }
}

/// Why the rows of a prepared transaction cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PreparedError {
    /// The decision does not say where they are.
    #[error("its decision does not say where its rows are")]
    NoPlace,
    /// The log.
    #[error("the source's log cannot be read from {place}")]
    Log {
        /// Where reading began.
        place: lutra_change::Cursor,
        /// Why.
        #[source]
        source: Box<LogError>,
    },
    /// The log goes on behind it.
    #[error("the source's log does not hold its prepare, unit {number}, behind {place}")]
    NotThere {
        /// The prepare's number.
        number: Number,
        /// Where reading began.
        place: lutra_change::Cursor,
    },
}

/// What reading a prepare again gives, one thing at a time.
#[derive(Debug)]
pub enum Again {
    /// The next part; with the unit's totals when it is the last.
    Part(RawBody, Option<Option<UnitTotals>>),
    /// What was given so far is void: it begins anew.
    Void,
}

/// Reads one prepare again.
#[derive(Debug)]
pub struct PrepareReader<R> {
    reader: LogReader<R>,
    place: lutra_change::Cursor,
    number: Number,
}

impl PrepareReader<<KafkaLog as TransportFactory>::Read> {
    /// A reader of the prepare that a decision names.
    ///
    /// # Errors
    /// [`PreparedError`]: no place, or the log does not hold it any more.
    pub async fn open(kafka: &KafkaConfig, topic: &str, log_id: LogId, open: &OpenXa) -> Result<Self, PreparedError> {
        let (Some(number), Some(place)) = (open.number, open.place) else { return Err(PreparedError::NoPlace) };
        let failed = |source: LogError| PreparedError::Log { place, source: Box::new(source) };
        let transport = KafkaLog::new(kafka, topic).reader().await.map_err(|e| failed(e.into()))?;
        Self::of(transport, log_id, number, place).await
    }
}

impl<R: ReadTransport> PrepareReader<R> {
    async fn of(
        transport: R,
        log_id: LogId,
        number: Number,
        place: lutra_change::Cursor,
    ) -> Result<Self, PreparedError> {
        let failed = |source: LogError| PreparedError::Log { place, source: Box::new(source) };
        // What was applied before is of no interest: the prepare is found by its number.
        let start = ReaderStart::new(log_id, ReadFrom::Cursor(place, lutra_change::GtidSet::new()));
        let reader = LogReader::open(transport, start).await.map_err(failed)?;
        Ok(Self { reader, place, number })
    }

    /// The next part.
    ///
    /// # Errors
    /// [`PreparedError`].
    pub async fn next(&mut self) -> Result<Again, PreparedError> {
        let (number, place) = (self.number, self.place);
        loop {
            let delivered = self.reader.next().await;
            let delivered = delivered.map_err(|source| PreparedError::Log { place, source: Box::new(source) })?;
            match delivered {
                Delivered::Part(part) if part.header.number == number => {
                    let last = (part.header.end == PartEnd::Commit).then_some(part.header.totals);
                    return Ok(Again::Part(part.body, last));
                }
                Delivered::Part(part) if part.header.number > number => {
                    return Err(PreparedError::NotThere { number, place });
                }
                Delivered::Discarded => return Ok(Again::Void),
                Delivered::Gap { .. } => return Err(PreparedError::NotThere { number, place }),
                Delivered::Part(_) | Delivered::Heartbeat { .. } | Delivered::EpochStart { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{Epoch, LogId, Operation, RowFlags, TableName};
    use lutra_wire::{ChangesBuilder, Fingerprint};

    use super::*;

    fn body(bytes: usize) -> RawBody {
        let mut builder = ChangesBuilder::new();
        let table = builder.table(Fingerprint([1; 16]), &TableName::new("a", "b"));
        let row = vec![7; bytes];
        builder.push(Operation::Insert, RowFlags::default(), table, None, Some(&row), None, None);
        builder.finish_xa_prepare(b"x")
    }

    fn header(number: u64, part: u32, end: PartEnd) -> Header {
        Header {
            log_id: LogId::random(),
            epoch: Epoch::new(1, 1),
            number: Number::new(number, 0),
            previous: Number::new(number - 1, 0),
            part,
            end,
            source: None,
            committed_at: 0,
            read_at: 0,
            input: None,
            origins: Vec::new(),
            totals: None,
        }
    }

    #[test]
    fn what_is_kept_is_whole_units_of_bounded_size() {
        let mut prepared = Prepared::default();
        prepared.part(&header(1, 1, PartEnd::More), &body(10));
        prepared.part(&header(1, 2, PartEnd::Commit), &body(10));
        assert_eq!(prepared.take(Number::new(1, 0)).unwrap().0.len(), 2);
        assert!(prepared.take(Number::new(1, 0)).is_none());
        // A unit whose beginning was missed, and one that began anew.
        prepared.part(&header(2, 2, PartEnd::Commit), &body(10));
        assert!(prepared.take(Number::new(2, 0)).is_none());
        prepared.part(&header(3, 1, PartEnd::More), &body(10));
        prepared.part(&header(3, 1, PartEnd::Commit), &body(10));
        assert_eq!(prepared.take(Number::new(3, 0)).unwrap().0.len(), 1);
        // Too large alone; and all together.
        prepared.part(&header(4, 1, PartEnd::More), &body(UNIT_BYTES));
        prepared.part(&header(4, 2, PartEnd::Commit), &body(10));
        assert!(prepared.take(Number::new(4, 0)).is_none());
        (5..20).for_each(|n| prepared.part(&header(n, 1, PartEnd::Commit), &body(UNIT_BYTES / 2)));
        assert!(prepared.bytes <= KEPT_BYTES && prepared.take(Number::new(5, 0)).is_none());
        assert!(prepared.take(Number::new(19, 0)).is_some());
    }
}

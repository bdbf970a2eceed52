//! [`LogReader`]: the accepted parts of a log, in order, from a place that is checked first.

mod core;
mod trail;

use lutra_change::{Cursor, Epoch, GtidSet, LogId, Number};
use lutra_wire::record::{Header, Heartbeat, RawBody};

pub(crate) use self::core::ReaderCore;

use crate::bookmark::Bookmark;
use crate::chain::Chain;
use crate::error::{Halt, LogError};
use crate::place::{self, Held};
use crate::transport::{ReadTransport, RecordHeaders, TransportError};

/// Where reading begins.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "made once per start")]
pub enum ReadFrom {
    /// The reader's own cursor, with the GTIDs that it has applied up to there.
    Cursor(Cursor, GtidSet),
    /// A place that the log's writer published.
    Bookmark(Bookmark),
    /// Offset 0.
    Beginning,
}

/// Which log to read, from where.
#[derive(Clone, Debug)]
pub struct ReaderStart {
    /// The expected log.
    pub log_id: LogId,
    /// Where reading begins.
    pub from: ReadFrom,
    /// Published places to go back to if the log lost the tail that the reader's own cursor was in, and all places that it
    /// has passed since. Without a fitting (proven) one the reader goes back to offset 0; what it has applied is dropped by
    /// number in either case.
    pub bookmarks: Vec<Bookmark>,
}

impl ReaderStart {
    /// Reading of `log_id` from there, going back to what it has passed, or to offset 0, if the log lost its tail.
    pub fn new(log_id: LogId, from: ReadFrom) -> Self {
        Self { log_id, from, bookmarks: Vec::new() }
    }

    /// With places to go back to.
    #[must_use]
    pub fn with_bookmarks(mut self, bookmarks: Vec<Bookmark>) -> Self {
        self.bookmarks = bookmarks;
        self
    }
}

/// One part of a unit that the chain accepts.
#[derive(Clone, Debug)]
pub struct LogPart {
    /// Where it is.
    pub offset: i64,
    /// When the broker appended it, microseconds since the epoch.
    pub appended_at: i64,
    /// Its header.
    pub header: Header,
    /// Its body, undecoded.
    pub body: RawBody,
    /// Trace context.
    pub headers: RecordHeaders,
}

/// What a log says, one thing at a time.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// Another start of the writer is in force from here. May be told again when the reader had to go back.
    EpochStart {
        /// Its epoch.
        epoch: Epoch,
        /// The rules that hold from here (P14).
        rules_version: u64,
        /// Where.
        offset: i64,
    },
    /// One part of the open unit. Part 1 opens it; `end == Commit` completes it: the unit is accepted.
    Part(LogPart),
    /// The open unit is void: forget its parts, and undo what was applied of them.
    Discarded,
    /// The source lives and nothing moved: a time and a position, no number.
    Heartbeat {
        /// Its header.
        header: Header,
        /// What it says.
        heartbeat: Heartbeat,
        /// When the broker appended it, microseconds since the epoch.
        appended_at: i64,
    },
    /// Something is missing. What follows is void until the writer's next start: raise the alarm and ask for that start,
    /// which trusts [only proven bookmarks](Bookmark::only_proven). Told again if that start does not fit.
    Gap {
        /// Where it was seen.
        offset: i64,
        /// The last unit.
        expected: Number,
        /// What the record at `offset` follows.
        found: Number,
    },
}

/// What a log says, from a place on.
#[derive(Debug)]
pub struct LogReader<R> {
    transport: R,
    core: ReaderCore,
}

impl<R: ReadTransport> LogReader<R> {
    /// Checks that the log still is where reading begins, and places the reader there.
    ///
    /// # Errors
    /// [`Halt::ForeignLog`], [`Halt::EmptyLog`], [`Halt::HeadLost`] inside [`LogError::Halt`] (P8), or the transport's.
    pub async fn open(transport: R, start: ReaderStart) -> Result<Self, LogError> {
        let core = ReaderCore::new(start).map_err(|found| halt(&transport, found))?;
        let mut reader = Self { transport, core };
        reader.place().await?;
        Ok(reader)
    }

    /// The next thing that the log says; waits for it. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Halt`] when numbers and GTIDs contradict each other, a record cannot be read, a gap survives the
    /// writer's restart, or the log lost what was not read yet; or the transport's.
    pub async fn next(&mut self) -> Result<Delivered, LogError> {
        loop {
            if self.core.at_gap() {
                let end = self.transport.bounds().await?.1;
                self.core.asked_for_start(end);
            }
            if let Some(delivered) = self.core.pop() {
                return Ok(delivered);
            }
            if self.core.must_place {
                self.place().await?;
                continue;
            }
            match self.transport.next().await {
                Ok(stored) => self.core.feed(stored).map_err(|found| halt(&self.transport, found))?,
                Err(TransportError::OutOfRange { .. }) => self.core.must_place = true,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The place behind the last complete unit or heartbeat. Parts delivered up to there never come again.
    pub fn cursor(&self) -> Cursor {
        self.core.cursor
    }

    /// Every GTID up to the last complete unit.
    pub fn gtid_set(&self) -> &GtidSet {
        self.core.history.applied()
    }

    /// The chain so far: the epoch in force, the last unit.
    pub fn chain(&self) -> &Chain {
        self.core.history.chain()
    }

    /// The offset that the log's next record will get, for lags.
    ///
    /// # Errors
    /// The transport's.
    pub async fn end_offset(&mut self) -> Result<i64, LogError> {
        Ok(self.transport.bounds().await?.1)
    }

    /// Seeks the first of our cursor, the places passed and the bookmarks before it, and offset 0, that the log still holds.
    async fn place(&mut self) -> Result<(), LogError> {
        let bounds = self.transport.bounds().await?;
        self.core.check_bounds(bounds).map_err(|found| halt(&self.transport, found))?;
        let mut chosen = None;
        for place in self.core.candidates() {
            if place::held(&mut self.transport, self.core.log_id, &place, bounds).await? == Held::Yes {
                chosen = Some(place.cursor);
                break;
            }
        }
        let offset = self.core.place(chosen, bounds).map_err(|found| halt(&self.transport, found))?;
        self.transport.seek(offset).await?;
        self.core.must_place = false;
        Ok(())
    }
}

fn halt<R: ReadTransport>(transport: &R, found: Box<Halt>) -> LogError {
    LogError::Halt { topic: transport.topic().to_owned(), found }
}

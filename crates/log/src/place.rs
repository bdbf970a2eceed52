//! P8: is the place that a cursor or bookmark names still in the log, and still the same?

use bytes::Bytes;
use lutra_change::{Cursor, LogId};
use lutra_wire::record::BodyKind;

use crate::bookmark::Bookmark;
use crate::codec;
use crate::error::{Halt, LogError};
use crate::transport::ReadTransport;

/// What the log says about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The record before it is the one that the place was taken behind.
    Yes,
    /// The log begins behind it.
    HeadLost,
    /// The log ends before it, or holds another record there: its tail was lost once.
    TailLost,
}

/// Judges a place by the log's bounds alone; `None`: the record before it decides.
pub(crate) fn held_by_bounds(cursor: &Cursor, first: i64, end: i64) -> Option<Held> {
    if cursor.next_offset > end {
        Some(Held::TailLost)
    } else if cursor.next_offset < first {
        Some(Held::HeadLost)
    } else if cursor.next_offset == first {
        Some(Held::Yes)
    } else {
        None
    }
}

/// A place and what is known of the record before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The place.
    pub(crate) cursor: Cursor,
    /// The record before it is an `EpochStart`.
    pub(crate) behind_start: bool,
}

impl Place {
    /// The place of a reader's cursor.
    pub(crate) fn of_cursor(cursor: Cursor) -> Self {
        Self { cursor, behind_start: false }
    }

    /// The place of a bookmark.
    pub(crate) fn of_bookmark(bookmark: &Bookmark) -> Self {
        Self { cursor: bookmark.cursor, behind_start: bookmark.proven }
    }
}

/// Judges a place by the record before it.
pub(crate) fn held_by_record(log_id: LogId, place: &Place, offset: i64, value: &Bytes) -> Result<Held, Box<Halt>> {
    let cursor = &place.cursor;
    if offset != cursor.next_offset - 1 {
        return Ok(Held::TailLost);
    }
    let record = codec::decode(offset, value)?;
    let header = &record.header;
    if header.log_id != log_id {
        return Err(Box::new(Halt::ForeignLog { offset, expected: log_id, found: header.log_id }));
    }
    let start = record.body.kind() == BodyKind::EpochStart;
    let same_kind = start || !place.behind_start;
    let same = same_kind && header.epoch == cursor.epoch && (start || header.number <= cursor.number);
    Ok(if same { Held::Yes } else { Held::TailLost })
}

/// Asks the log about a place.
pub(crate) async fn held<R: ReadTransport>(
    transport: &mut R,
    log_id: LogId,
    place: &Place,
    (first, end): (i64, i64),
) -> Result<Held, LogError> {
    if let Some(held) = held_by_bounds(&place.cursor, first, end) {
        return Ok(held);
    }
    transport.seek(place.cursor.next_offset - 1).await?;
    let stored = transport.next().await?;
    held_by_record(log_id, place, stored.offset, &stored.value)
        .map_err(|found| LogError::Halt { topic: transport.topic().to_owned(), found })
}

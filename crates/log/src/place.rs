//! P8: is the place that a cursor or bookmark names still in the log, and still the same?

use bytes::Bytes;
use lutra_change::{Cursor, LogId};
use lutra_wire::record::BodyKind;

use crate::bookmark::Bookmark;
use crate::codec;
use crate::error::{Halt, LogError};
use crate::transport::{ReadTransport, TransportError};

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
    let stored = match transport.next().await {
        // It was there when the bounds were asked for. If the log's head is what went, the next look at them says so.
        Err(TransportError::OutOfRange { .. }) => return Ok(Held::TailLost),
        stored => stored?,
    };
    held_by_record(log_id, place, stored.offset, &stored.value)
        .map_err(|found| LogError::Halt { topic: transport.topic().to_owned(), found })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{Epoch, Number};
    use uuid::Uuid;

    use super::*;
    use crate::memory::MemoryLog;
    use crate::transport::TransportFactory;

    #[tokio::test]
    async fn a_place_that_the_log_lost_since_its_bounds_were_asked_for_is_lost() {
        let (log, log_id) = (MemoryLog::new(), LogId(Uuid::nil()));
        for _ in 0..3 {
            log.append_foreign(Bytes::from_static(b"x"));
        }
        let cursor = Cursor { log_id, next_offset: 8, epoch: Epoch::ZERO, number: Number::ZERO };
        let mut reader = log.reader().await.unwrap();
        let asked = held(&mut reader, log_id, &Place::of_cursor(cursor), (0, 9)).await;
        assert_eq!(asked.unwrap(), Held::TailLost);
    }
}

//! Records for tests.

use lutra_change::{BinlogPosition, Epoch, Gtid, GtidSet, LogId, Number};
use lutra_wire::record::{GtidState, Header, PartEnd, SourceState};
use uuid::Uuid;

pub(crate) const LOG: LogId = LogId(Uuid::from_u128(0x10c));

pub(crate) fn gtid(n: u64) -> Gtid {
    Gtid::new(Uuid::from_u128(0xa), n)
}

pub(crate) fn gtids(numbers: impl IntoIterator<Item = u64>) -> GtidSet {
    let mut set = GtidSet::new();
    numbers.into_iter().for_each(|n| set.insert(&gtid(n)));
    set
}

/// A record of one part: `(previous, number]` of `epoch`.
pub(crate) fn header(epoch: u64, previous: Number, number: Number) -> Header {
    Header {
        log_id: LOG,
        epoch: Epoch::new(epoch, 0),
        number,
        previous,
        part: 1,
        end: PartEnd::Commit,
        source: None,
        committed_at: 0,
        read_at: 0,
        input: None,
        origins: Vec::new(),
        totals: None,
    }
}

/// The transaction numbered `n`, in one part.
pub(crate) fn transaction(epoch: u64, n: u64) -> Header {
    header(epoch, Number::new(n - 1, 0), Number::new(n, 0))
}

/// The same with the GTID `gtid`, all of `executed` being executed behind it.
pub(crate) fn with_gtid(mut header: Header, n: u64, executed: impl IntoIterator<Item = u64>) -> Header {
    header.source = Some(SourceState {
        server_uuid: Uuid::nil(),
        position: BinlogPosition::new("b", 4),
        gtid: Some(gtid(n)),
        gtid_set: GtidState::Whole(gtids(executed)),
        open_xa: Vec::new(),
        definitions: None,
    });
    header
}

/// The same as part `part`.
pub(crate) fn part(mut header: Header, part: u32, end: PartEnd) -> Header {
    header.part = part;
    header.end = end;
    header
}

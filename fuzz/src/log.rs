//! What a log's reader makes of records that are not what its writer wrote.

use bytes::Bytes;
use futures::FutureExt as _;
use lutra_log::memory::MemoryLog;
use lutra_log::{LogReader, ReadFrom, ReaderStart, TransportFactory};
use lutra_wire::Record;

/// Records, each behind two bytes of length. The log that is expected is that of the first one that can be read.
pub fn reader(input: &[u8]) {
    let log = MemoryLog::new();
    let (mut rest, mut log_id) = (input, None);
    while let Some((&length, tail)) = rest.split_first_chunk::<2>() {
        let (record, tail) = tail.split_at(usize::from(u16::from_le_bytes(length)).min(tail.len()));
        let value = Bytes::copy_from_slice(record);
        if log_id.is_none() {
            log_id = Record::decode(&value).ok().map(|record| record.header.log_id);
        }
        log.append_foreign(value);
        rest = tail;
    }
    let Some(log_id) = log_id else { return };
    // Nothing in memory is waited for but the end of the log.
    let read = async {
        let Ok(transport) = log.reader().await else { return };
        let Ok(mut reader) = LogReader::open(transport, ReaderStart::new(log_id, ReadFrom::Beginning)).await else {
            return;
        };
        let mut last = reader.cursor();
        while reader.next().await.is_ok() {
            let cursor = reader.cursor();
            assert!(cursor.number >= last.number || cursor.next_offset <= last.next_offset);
            last = cursor;
        }
    };
    let _ = read.now_or_never();
}

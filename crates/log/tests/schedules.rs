//! Schedules through the whole of writer and reader, on the log in memory whose faults are scripted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use bytes::Bytes;
use lutra_change::{BinlogPosition, Cursor, Epoch, Gtid, GtidSet, LogId, Number, SessionContext};
use lutra_log::memory::{Fate, MemoryLog, MemoryReader};
use lutra_log::{
    AttemptEnd, Delivered, Halt, HeaderDraft, LogError, LogReader, LogWriter, ReadFrom, ReaderStart, SourceDraft, Tail,
    TransportFactory, WriterOptions,
};
use lutra_wire::{Ddl, DdlKind, Heartbeat, PartEnd, RawBody};
use uuid::Uuid;

const LOG: LogId = LogId(Uuid::from_u128(0x10c));

fn options() -> WriterOptions {
    WriterOptions {
        log_id: LOG,
        cluster: "memory".into(),
        rules_version: 0,
        begun: false,
        bookmarks: Vec::new(),
        max_in_flight_bytes: 1 << 20,
    }
}

fn heartbeat() -> RawBody {
    RawBody::heartbeat(&Heartbeat { at: 1, clock_offset: 0 })
}

fn body() -> RawBody {
    RawBody::ddl(&Ddl {
        statement: Bytes::from_static(b"x"),
        database: String::new(),
        kind: DdlKind::Other,
        tables: Vec::new(),
        context: SessionContext::default(),
    })
}

/// A writer that sends transactions of one part as an extractor would.
struct Source {
    writer: LogWriter<MemoryLog>,
    last: Number,
    executed: GtidSet,
}

impl Source {
    async fn start(log: &MemoryLog, term: u64) -> Result<(Self, Tail), LogError> {
        Self::start_with(log, term, options()).await
    }

    async fn start_with(log: &MemoryLog, term: u64, options: WriterOptions) -> Result<(Self, Tail), LogError> {
        let (writer, tail) = LogWriter::start(log, options, Epoch::new(term, 0)).await?;
        let executed = tail.source.as_ref().map(|s| s.gtid_set.clone()).unwrap_or_default();
        let mut source = Self { writer, last: tail.number, executed };
        if tail.empty {
            source.append(Number::ORIGIN, None, &heartbeat()).await?;
            source.writer.flush().await?;
        }
        Ok((source, tail))
    }

    async fn append(&mut self, number: Number, gtid: Option<u64>, body: &RawBody) -> Result<(), LogError> {
        let gtid = gtid.map(|n| Gtid::new(Uuid::from_u128(0xa), n));
        gtid.iter().for_each(|g| self.executed.insert(g));
        let source = SourceDraft {
            server_uuid: Uuid::nil(),
            position: BinlogPosition::new("b", 4),
            gtid,
            gtid_set: &self.executed,
            added: None,
            open_xa: Vec::new(),
            definitions: None,
        };
        let draft = HeaderDraft {
            number,
            previous: self.last,
            part: 1,
            end: PartEnd::Commit,
            source: Some(source),
            committed_at: 1,
            read_at: 1,
            input: None,
            origins: Vec::new(),
            totals: None,
        };
        self.writer.append(draft, body, None).await?;
        self.last = number;
        Ok(())
    }

    /// The next transaction.
    async fn next(&mut self, gtid: u64) -> Result<(), LogError> {
        self.append(self.last.next_sequence(), Some(gtid), &body()).await
    }

    async fn transactions(&mut self, gtids: impl IntoIterator<Item = u64>) -> Result<(), LogError> {
        for gtid in gtids {
            self.next(gtid).await?;
        }
        self.writer.flush().await
    }
}

async fn reader(log: &MemoryLog, from: ReadFrom) -> Result<LogReader<MemoryReader>, LogError> {
    LogReader::open(log.reader().await.unwrap(), ReaderStart::new(LOG, from)).await
}

/// What is there to read now: numbers of the units accepted, and how often something else was said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    units: Vec<u64>,
    starts: usize,
    gaps: usize,
    heartbeats: usize,
}

async fn drain(reader: &mut LogReader<MemoryReader>) -> Result<Seen, LogError> {
    let mut seen = Seen::default();
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(10), reader.next()).await {
        match next? {
            Delivered::Part(part) if part.header.number.sub == 0 => seen.units.push(part.header.number.sequence),
            Delivered::Part(_) | Delivered::Discarded => {}
            Delivered::EpochStart { .. } => seen.starts += 1,
            Delivered::Gap { .. } => seen.gaps += 1,
            Delivered::Heartbeat { .. } => seen.heartbeats += 1,
        }
    }
    Ok(seen)
}

async fn units(log: &MemoryLog) -> Vec<u64> {
    let mut reader = reader(log, ReadFrom::Beginning).await.unwrap();
    drain(&mut reader).await.unwrap().units
}

fn halt(error: LogError) -> Halt {
    match error {
        LogError::Halt { found, .. } => *found,
        other => panic!("{other:?}"),
    }
}

fn attempt(error: LogError) -> AttemptEnd {
    match error {
        LogError::Attempt { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_behind_what_a_zombie_landed_before_it() {
    let log = MemoryLog::new();
    let (mut zombie, _) = Source::start(&log, 1).await.unwrap();
    zombie.transactions([1]).await.unwrap();
    log.hold(0);
    zombie.next(2).await.unwrap();
    zombie.next(3).await.unwrap();
    // Transaction 2 lands before the new start, 3 after it.
    log.land(0);
    let (mut source, tail) = Source::start(&log, 2).await.unwrap();
    assert_eq!((tail.number, tail.source.unwrap().gtid_set.len()), (Number::new(2, 0), 2));
    log.land(0);
    source.transactions([3, 4]).await.unwrap();
    assert_eq!(units(&log).await, [1, 2, 3, 4]);
    let fenced = zombie.writer.drive().await;
    assert!(matches!(fenced, LogError::Fenced { by, .. } if by == Epoch::new(2, 0)), "{fenced:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_ends_the_attempt_and_the_next_one_does_not_send_again() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    log.script(0, [Fate::Land, Fate::LoseReply]);
    source.next(1).await.unwrap();
    source.next(2).await.unwrap();
    let end = attempt(source.writer.flush().await.unwrap_err());
    assert!(matches!(end, AttemptEnd::DeliveryFailed { number, .. } if number == Number::new(2, 0)), "{end:?}");
    assert!(matches!(attempt(source.next(3).await.unwrap_err()), AttemptEnd::Ended));
    let (mut source, tail) = Source::start(&log, 2).await.unwrap();
    assert_eq!(tail.number, Number::new(2, 0));
    source.transactions([3]).await.unwrap();
    assert_eq!(units(&log).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_without_offsets_are_settled_by_reading_back() {
    let log = MemoryLog::new();
    log.hold_new_producers(true);
    log.script(0, []);
    let starting = Source::start(&log, 1);
    let landing = async {
        while log.producers() == 0 {
            tokio::task::yield_now().await;
        }
        log.script(0, [Fate::LandWithoutOffset]);
        while !log.land(0) {
            tokio::task::yield_now().await;
        }
        log.release(0);
    };
    let (started, ()) = tokio::join!(starting, landing);
    let (mut source, tail) = started.unwrap();
    assert_eq!(tail.cursor.next_offset, 1);
    log.script(0, [Fate::LandWithoutOffset, Fate::Land]);
    source.transactions([1, 2]).await.unwrap();
    let bookmark = source.writer.bookmark().unwrap();
    assert_eq!((bookmark.cursor.number, bookmark.cursor.next_offset), (Number::new(2, 0), 4));
}

#[tokio::test(start_paused = true)]
async fn a_lost_tail_ends_the_attempt_and_is_written_again_at_the_end_of_the_valid_chain() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    source.transactions([1, 2, 3]).await.unwrap();
    let mut ahead = reader(&log, ReadFrom::Beginning).await.unwrap();
    assert_eq!(drain(&mut ahead).await.unwrap().units, [1, 2, 3]);
    // 2 and 3 are lost; 4 leaves a hole behind 1.
    log.lose_tail(2);
    source.next(4).await.unwrap();
    assert!(matches!(attempt(source.writer.flush().await.unwrap_err()), AttemptEnd::TailLost { .. }));

    let mut behind = reader(&log, ReadFrom::Beginning).await.unwrap();
    assert_eq!(drain(&mut behind).await.unwrap(), Seen { units: vec![1], starts: 1, gaps: 1, heartbeats: 0 });
    let (mut source, tail) = Source::start(&log, 2).await.unwrap();
    assert_eq!(tail.number, Number::new(1, 0));
    source.transactions([2, 3, 4]).await.unwrap();
    assert_eq!(drain(&mut behind).await.unwrap().units, [2, 3, 4]);
    // The reader that had 2 and 3 already gets neither again.
    assert_eq!(drain(&mut ahead).await.unwrap().units, [4]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_tail_in_another_order_halts_who_had_read_it() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    source.transactions([1, 2]).await.unwrap();
    let mut ahead = reader(&log, ReadFrom::Beginning).await.unwrap();
    drain(&mut ahead).await.unwrap();
    log.lose_tail(1);
    // The new primary committed 3 before 2.
    let (mut source, _) = Source::start(&log, 2).await.unwrap();
    source.transactions([3, 2]).await.unwrap();
    let found = halt(drain(&mut ahead).await.unwrap_err());
    assert!(matches!(found, Halt::GtidNeverApplied { .. }), "{found}");
    assert!(found.to_string().contains("00000000-0000-0000-0000-00000000000a:1-2"), "shows both: {found}");
    assert_eq!(units(&log).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_log_made_anew_or_emptied_halts() {
    let log = MemoryLog::new();
    let begun = WriterOptions { begun: true, ..options() };
    let found = halt(Source::start_with(&log, 1, begun.clone()).await.err().unwrap());
    assert!(matches!(found, Halt::EmptyLog { .. }), "{found}");

    let log = MemoryLog::new();
    let foreign = WriterOptions { log_id: LogId(Uuid::from_u128(9)), ..options() };
    let _stranger = Source::start_with(&log, 1, foreign).await.unwrap();
    let found = halt(Source::start_with(&log, 2, begun).await.err().unwrap());
    assert!(matches!(found, Halt::ForeignLog { .. }), "{found}");
    let found = halt(drain(&mut reader(&log, ReadFrom::Beginning).await.unwrap()).await.unwrap_err());
    assert!(matches!(found, Halt::ForeignLog { offset: 0, .. }), "{found}");
    let cursor = Cursor { log_id: LOG, next_offset: 2, epoch: Epoch::new(1, 0), number: Number::new(1, 0) };
    let found = halt(reader(&log, ReadFrom::Cursor(cursor, GtidSet::new())).await.err().unwrap());
    assert!(matches!(found, Halt::ForeignLog { .. }), "{found}");
    let found = halt(reader(&MemoryLog::new(), ReadFrom::Cursor(cursor, GtidSet::new())).await.err().unwrap());
    assert!(matches!(found, Halt::EmptyLog { .. }), "{found}");
}

#[tokio::test(start_paused = true)]
async fn retention_that_passed_a_reader_halts_it_and_a_bookmark_helps_a_writer() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    source.transactions([1, 2]).await.unwrap();
    let mut slow = reader(&log, ReadFrom::Beginning).await.unwrap();
    drain(&mut slow).await.unwrap();
    let (cursor, applied) = (slow.cursor(), slow.gtid_set().clone());
    source.transactions([3, 4]).await.unwrap();
    let bookmark = source.writer.bookmark().unwrap();
    source.transactions([5]).await.unwrap();
    log.lose_head(5);
    for from in [ReadFrom::Cursor(cursor, applied), ReadFrom::Beginning] {
        let found = halt(reader(&log, from).await.err().unwrap());
        assert!(matches!(found, Halt::HeadLost { first: 5, .. }), "{found}");
    }
    let found = halt(Source::start(&log, 2).await.err().unwrap());
    assert!(matches!(found, Halt::HeadLost { .. }), "{found}");

    let with_bookmark = WriterOptions { begun: true, bookmarks: vec![bookmark.clone()], ..options() };
    let (_, tail) = Source::start_with(&log, 3, with_bookmark).await.unwrap();
    assert_eq!((tail.number, tail.source.unwrap().gtid_set.len()), (Number::new(5, 0), 5));
    let mut fresh = reader(&log, ReadFrom::Bookmark(bookmark)).await.unwrap();
    assert_eq!(fresh.gtid_set().len(), 4);
    assert_eq!(drain(&mut fresh).await.unwrap().units, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_at_its_cursor_and_gets_nothing_twice() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    source.transactions([1, 2, 3]).await.unwrap();
    let mut first = reader(&log, ReadFrom::Beginning).await.unwrap();
    drain(&mut first).await.unwrap();
    assert_eq!(
        (first.cursor().number, first.end_offset().await.unwrap()),
        (Number::new(3, 0), first.cursor().next_offset)
    );
    source.append(source.last, None, &heartbeat()).await.unwrap();
    source.transactions([4]).await.unwrap();
    let from = ReadFrom::Cursor(first.cursor(), first.gtid_set().clone());
    let mut second = reader(&log, from).await.unwrap();
    assert_eq!(drain(&mut second).await.unwrap(), Seen { units: vec![4], starts: 0, gaps: 0, heartbeats: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_lower_epoch_is_fenced_at_its_start() {
    let log = MemoryLog::new();
    Source::start(&log, 5).await.unwrap();
    let fenced = Source::start(&log, 4).await.err().unwrap();
    assert!(matches!(fenced, LogError::Fenced { by, .. } if by == Epoch::new(5, 0)), "{fenced:?}");
    let reused = attempt(Source::start(&log, 5).await.err().unwrap());
    assert!(matches!(reused, AttemptEnd::EpochReused { .. }), "{reused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_start_changes_nothing() {
    let log = MemoryLog::new();
    log.hold_new_producers(true);
    let landing = async {
        while log.producers() == 0 {
            tokio::task::yield_now().await;
        }
        log.script(0, [Fate::Repeat]);
        while !log.land(0) {
            tokio::task::yield_now().await;
        }
        log.release(0);
    };
    let (started, ()) = tokio::join!(Source::start(&log, 1), landing);
    let (mut source, _) = started.unwrap();
    source.transactions([1]).await.unwrap();
    assert_eq!(log.records().len(), 4);
    assert_eq!(units(&log).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_halts_and_is_named() {
    let log = MemoryLog::new();
    Source::start(&log, 1).await.unwrap();
    log.append_foreign(Bytes::from_static(b"not a record"));
    let found = halt(drain(&mut reader(&log, ReadFrom::Beginning).await.unwrap()).await.unwrap_err());
    assert!(matches!(found, Halt::BadRecord { offset: 2, .. }), "{found}");
}

#[tokio::test(start_paused = true)]
async fn appending_waits_while_too_much_is_in_flight() {
    let log = MemoryLog::new();
    let small = WriterOptions { max_in_flight_bytes: 300, ..options() };
    let (mut source, _) = Source::start_with(&log, 1, small).await.unwrap();
    log.hold(0);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(10), source.next(sent + 1)).await.is_ok() {
        sent += 1;
    }
    assert!((1..5).contains(&sent), "{sent}");
    assert!(source.writer.progress().borrow().in_flight_bytes >= 300);
    log.release(0);
    source.writer.flush().await.unwrap();
    assert_eq!(source.writer.progress().borrow().in_flight_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_lost_with_the_tail_is_noticed() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    source.transactions([1]).await.unwrap();
    log.hold_new_producers(true);
    let losing = async {
        while log.producers() == 1 {
            tokio::task::yield_now().await;
        }
        while !log.land(1) {
            tokio::task::yield_now().await;
        }
        log.lose_tail(1);
    };
    let (started, ()) = tokio::join!(Source::start(&log, 2), losing);
    let end = attempt(started.err().unwrap());
    assert!(matches!(end, AttemptEnd::StartLost { offset: 3 }), "{end:?}");
}

/// A body of about so many bytes.
fn large(bytes: usize, fill: u8) -> RawBody {
    RawBody::ddl(&Ddl {
        statement: Bytes::from(vec![fill; bytes]),
        database: String::new(),
        kind: DdlKind::Other,
        tables: Vec::new(),
        context: SessionContext::default(),
    })
}

#[tokio::test]
async fn a_body_beyond_a_record_goes_in_pieces_and_is_read_whole() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    // Parts of one unit: small, large, small, large.
    let bodies = [body(), large(9 << 20, 1), large(10, 2), large(5 << 20, 3)];
    let draft = |part: usize, executed| HeaderDraft {
        number: Number::new(1, 0),
        previous: Number::ORIGIN,
        part: u32::try_from(part + 1).unwrap(),
        end: if part + 1 == 4 { PartEnd::Commit } else { PartEnd::More },
        source: (part + 1 == 4).then_some(SourceDraft {
            server_uuid: Uuid::nil(),
            position: BinlogPosition::new("b", 4),
            gtid: None,
            gtid_set: executed,
            added: None,
            open_xa: Vec::new(),
            definitions: None,
        }),
        committed_at: 1,
        read_at: 1,
        input: None,
        origins: Vec::new(),
        totals: None,
    };
    let executed = GtidSet::new();
    for (part, body) in bodies.iter().enumerate() {
        source.writer.append(draft(part, &executed), body, None).await.unwrap();
        if part < 3 {
            // The second goes by without a change in the middle of it.
            let resting = HeaderDraft { number: Number::ORIGIN, part: 1, end: PartEnd::Commit, ..draft(0, &executed) };
            source.writer.append(resting, &heartbeat(), None).await.unwrap();
        }
    }
    source.last = Number::new(1, 0);
    source.next(2).await.unwrap();
    source.writer.flush().await.unwrap();
    let mut reader = reader(&log, ReadFrom::Beginning).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        if let Delivered::Part(part) = reader.next().await.unwrap()
            && part.header.number.sub == 0
        {
            seen.push((part.header.number.sequence, part.header.part, part.header.end, part.body));
        }
    }
    let parts: Vec<_> = seen.iter().map(|(number, part, end, _)| (*number, *part, *end)).collect();
    let (more, commit) = (PartEnd::More, PartEnd::Commit);
    assert_eq!(parts, [(1, 1, more), (1, 2, more), (1, 12, more), (1, 13, commit), (2, 1, commit)]);
    assert!(seen.iter().zip(&bodies).all(|((.., read), written)| read == written));
    // A writer that starts behind it goes on.
    let (_, tail) = Source::start(&log, 2).await.unwrap();
    assert_eq!(tail.number, Number::new(2, 0));
}

#[tokio::test]
async fn a_body_of_which_pieces_never_came_is_forgotten_with_its_unit() {
    let log = MemoryLog::new();
    let (mut source, _) = Source::start(&log, 1).await.unwrap();
    let executed = GtidSet::new();
    let draft = HeaderDraft {
        number: Number::new(1, 0),
        previous: Number::ORIGIN,
        part: 1,
        end: PartEnd::More,
        source: None,
        committed_at: 1,
        read_at: 1,
        input: None,
        origins: Vec::new(),
        totals: None,
    };
    // Its first pieces alone, as of a writer that was killed.
    let whole = large(9 << 20, 1);
    for (n, piece) in whole.fragments(1 << 20).take(3).enumerate() {
        let part = u32::try_from(n + 1).unwrap();
        source.writer.append(HeaderDraft { part, ..draft.clone() }, &piece, None).await.unwrap();
    }
    source.writer.flush().await.unwrap();
    drop((source, executed));
    let (mut again, _) = Source::start(&log, 2).await.unwrap();
    again.append(Number::new(1, 0), Some(1), &whole).await.unwrap();
    again.writer.flush().await.unwrap();
    let mut reader = reader(&log, ReadFrom::Beginning).await.unwrap();
    let mut read = None;
    while read.is_none() {
        if let Delivered::Part(part) = reader.next().await.unwrap()
            && part.header.number.sub == 0
        {
            read = Some(part.body);
        }
    }
    assert_eq!(read, Some(whole));
}

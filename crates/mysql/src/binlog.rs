//! The dump stream: raw event bytes, in server order.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use lutra_change::{BinlogPosition, GtidSet};
use mysql_async::{BinlogStreamRequest, GnoInterval, Sid};
use mysql_common::binlog::consts::{BinlogChecksumAlg, EventType};
use mysql_common::binlog::events::{BinlogEventHeader, Event};
use mysql_common::packets::Tag;
use mysql_common::proto::MySerialize;

use crate::connection::Connection;
use crate::dialect::Flavour;
use crate::error::{Error, Result};
use crate::options::ConnectOptions;

/// Length of every event's header.
const HEADER_LENGTH: usize = BinlogEventHeader::LEN;

/// Where a dump starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpStart {
    /// Everything that is not in the set.
    Gtid(GtidSet),
    /// A byte in a file, at which an event begins.
    Position(BinlogPosition),
}

/// What is asked of the server.
#[derive(Clone, Debug)]
pub struct DumpRequest {
    /// Where to start.
    pub start: DumpStart,
    /// Our server id: no other replica of the server may have it.
    pub server_id: u32,
    /// After so long a silence the server sends a heartbeat.
    pub heartbeat: Duration,
    /// End the stream where the binlog ends, instead of waiting for more.
    pub until_end: bool,
}

/// Raw events in order: whole ones, header and checksum included, back to back in one buffer.
#[derive(Debug, Default)]
pub struct EventBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EventBatch {
    /// Forgets the events, keeps the buffer (unless a giant event grew it).
    pub fn clear(&mut self) {
        const KEPT: usize = 4 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.ends.clear();
    }

    /// Bytes of all events.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The events, each with its 19-byte header and, where the server writes one, its checksum.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, &end)| self.bytes.get(start..end))
    }

    /// Adds an event's bytes.
    pub fn push(&mut self, event: &[u8]) {
        self.bytes.extend_from_slice(event);
        self.ends.push(self.bytes.len());
    }

    /// Gives the last event a checksum, unless it has one.
    fn add_checksum(&mut self) {
        const CRC: usize = 4;
        let start = self.ends.len().checked_sub(2).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        let event = self.bytes.get(start..).unwrap_or_default();
        if event.split_last_chunk::<CRC>().is_some_and(|(body, crc)| crc32fast::hash(body).to_le_bytes() == *crc) {
            return;
        }
        let Ok(size) = u32::try_from(event.len() + CRC) else { return };
        if let Some(bytes) = self.bytes.get_mut(start + 9..start + 13) {
            bytes.copy_from_slice(&size.to_le_bytes());
        }
        let crc = crc32fast::hash(self.bytes.get(start..).unwrap_or_default());
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        if let Some(end) = self.ends.last_mut() {
            *end = self.bytes.len();
        }
    }

    fn push_event(&mut self, event: &Event) {
        let header_at = self.bytes.len();
        event.header().serialize(&mut self.bytes);
        debug_assert_eq!(self.bytes.len() - header_at, HEADER_LENGTH);
        self.bytes.extend_from_slice(event.data());
        if event.header().event_type_raw() == EventType::FORMAT_DESCRIPTION_EVENT as u8
            && let Ok(Some(algorithm)) = event.footer().get_checksum_alg()
        {
            self.bytes.push(match algorithm {
                BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_OFF => 0,
                BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32 => 1,
            });
        }
        if let Some(checksum) = event.checksum() {
            self.bytes.extend_from_slice(&checksum);
        }
        self.ends.push(self.bytes.len());
    }
}

/// A stream of raw events.
pub trait BinlogSource: Send {
    /// Waits for an event, then adds it and what else is there already, up to about `bytes` bytes.
    ///
    /// Returns `false` at the end of a stream that ends. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Whatever breaks the stream; it is of no use afterwards. [`Error::Timeout`] when not even a heartbeat came.
    fn read(&mut self, batch: &mut EventBatch, bytes: usize) -> impl Future<Output = Result<bool>> + Send;
}

/// A dump stream over the driver.
pub struct BinlogStream {
    stream: mysql_async::BinlogStream,
    read_timeout: Duration,
    /// The driver inflates a transaction payload and hands out what is in it behind the payload itself. Decoding is
    /// ours: these events are dropped. They alone bear no position.
    inside_payload: bool,
    /// MariaDB's heartbeats lack the checksum that all other events have, since the driver asks for `ALL` kinds of them
    /// (a word that only MySQL knows): they get one here.
    mariadb: bool,
    /// The events of the stream have checksums.
    checksums: bool,
    until_end: bool,
    /// An event has come.
    begun: bool,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl std::fmt::Debug for BinlogStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BinlogStream").field("read_timeout", &self.read_timeout).finish_non_exhaustive()
    }
}

const DUMP: &str = "the dump stream";
/// Until its first event a server may say nothing at all: by GTID it opens its files one by one, from the last, and sends no
/// heartbeat meanwhile. Who gives up sooner begins the same search again, without end.
const SEEK_LIMIT: Duration = Duration::from_secs(120);

impl BinlogStream {
    /// Connects and asks for the dump. The read time-out of the options must be longer than the heartbeat.
    pub async fn connect(options: &ConnectOptions, request: &DumpRequest) -> Result<Self> {
        let mut connection = Connection::connect(options).await?;
        let flavour = connection.flavour().await?;
        for statement in session_statements(request, flavour)? {
            connection.execute(statement).await?;
        }
        let stream = tokio::time::timeout(options.connect_timeout, ask(connection, request, flavour))
            .await
            .map_err(|_| Error::Timeout { operation: DUMP, after: options.connect_timeout })??;
        let timer = Box::pin(tokio::time::sleep(options.read_timeout));
        let (read_timeout, until_end) = (options.read_timeout, request.until_end);
        let mariadb = flavour.is_mariadb();
        Ok(Self {
            stream,
            read_timeout,
            inside_payload: false,
            mariadb,
            checksums: false,
            until_end,
            begun: false,
            timer,
        })
    }

    /// Says goodbye.
    pub async fn close(self) {
        // The server drops a dump thread at the next write anyway; a failed goodbye changes nothing.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close()).await;
    }

    /// One poll of the driver, in which a panic becomes an error: it unwraps on truncated events.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let stream = Pin::new(&mut self.stream);
        match std::panic::catch_unwind(AssertUnwindSafe(|| stream.poll_next(context))) {
            Ok(poll) => match poll.map(|event| event.map(|e| e.map_err(|e| Error::from_driver(DUMP, e)))) {
                // Over TLS the server ends a dump that was asked for up to the end by closing the connection, without a
                // goodbye.
                Poll::Ready(Some(Err(Error::ConnectionLost { source, .. })))
                    if self.until_end && source.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    Poll::Ready(None)
                }
                poll => poll,
            },
            Err(panic) => Poll::Ready(Some(Err(Error::Driver { operation: DUMP, reason: panic_text(panic.as_ref()) }))),
        }
    }

    fn poll_read(&mut self, batch: &mut EventBatch, bytes: usize, context: &mut Context<'_>) -> Poll<Result<bool>> {
        loop {
            match self.poll_event(context) {
                Poll::Ready(Some(Ok(event))) => {
                    self.begun = true;
                    if self.is_wanted(&event) {
                        batch.push_event(&event);
                        self.mend_heartbeat(&event, batch);
                    }
                    if batch.size() >= bytes {
                        return Poll::Ready(Ok(true));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(!batch.is_empty())),
                Poll::Pending if !batch.is_empty() => return Poll::Ready(Ok(true)),
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(context));
                    return Poll::Ready(Err(Error::Timeout { operation: DUMP, after: self.patience() }));
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.begun { self.read_timeout } else { self.read_timeout.max(SEEK_LIMIT) }
    }

    fn mend_heartbeat(&mut self, event: &Event, batch: &mut EventBatch) {
        let event_type = event.header().event_type_raw();
        if event_type == EventType::FORMAT_DESCRIPTION_EVENT as u8 {
            let algorithm = event.footer().get_checksum_alg();
            self.checksums = matches!(algorithm, Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)));
        }
        if self.mariadb && self.checksums && event_type == EventType::HEARTBEAT_EVENT as u8 {
            batch.add_checksum();
        }
    }

    fn is_wanted(&mut self, event: &Event) -> bool {
        let header = event.header();
        if self.inside_payload && header.log_pos() == 0 && header.event_type_raw() != EventType::ROTATE_EVENT as u8 {
            return false;
        }
        self.inside_payload = header.event_type_raw() == EventType::TRANSACTION_PAYLOAD_EVENT as u8;
        true
    }
}

impl BinlogSource for BinlogStream {
    async fn read(&mut self, batch: &mut EventBatch, bytes: usize) -> Result<bool> {
        let deadline = tokio::time::Instant::now() + self.patience();
        self.timer.as_mut().reset(deadline);
        std::future::poll_fn(|context| self.poll_read(batch, bytes, context)).await
    }
}

fn session_statements(request: &DumpRequest, flavour: Flavour) -> Result<Vec<String>> {
    let nanos = request.heartbeat.as_nanos();
    let mut statements = match flavour {
        Flavour::MySql => {
            // Version 8: made by our own rule. The server ends an older dump under the same UUID as soon as this one begins.
            let uuid = uuid::Builder::from_custom_bytes(u128::from(request.server_id).to_be_bytes()).into_uuid();
            vec![
                // Without the `@source` name (it wins over the driver's `@master…='ALL'`) heartbeats come without the
                // checksum that all other events have.
                "SET @source_binlog_checksum = @@GLOBAL.binlog_checksum".to_owned(),
                format!("SET @source_heartbeat_period = {nanos}, @master_heartbeat_period = {nanos}"),
                format!("SET @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"),
            ]
        }
        // Capability 4: it knows GTID events, so that they need not be sent as `BEGIN`.
        Flavour::MariaDb => vec![format!("SET @mariadb_slave_capability = 4, @master_heartbeat_period = {nanos}")],
    };
    if let (Flavour::MariaDb, DumpStart::Gtid(set)) = (flavour, &request.start) {
        if set.intervals().next().is_some() {
            return Err(foreign_set(set, "a MariaDB server"));
        }
        statements.push(format!(
            "SET @slave_connect_state = '{set}', @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
        ));
    }
    // While the log is slow, back-pressure stops our reading: the server's default of 60 s would end the dump.
    statements.push("SET SESSION net_write_timeout = 3600".to_owned());
    Ok(statements)
}

fn foreign_set(set: &GtidSet, server: &str) -> Error {
    Error::Unexpected { operation: DUMP, reason: format!("{server} cannot be asked for the GTIDs behind {set}") }
}

async fn ask(connection: Connection, request: &DumpRequest, flavour: Flavour) -> Result<mysql_async::BinlogStream> {
    let mut ask = BinlogStreamRequest::new(request.server_id).with_hostname(b"lutra");
    if request.until_end {
        ask = ask.with_non_blocking();
    }
    let ask = match (&request.start, flavour) {
        (DumpStart::Gtid(set), Flavour::MySql) => ask.with_gtid().with_gtid_set(sids(set)?),
        // Where to begin was said by `@slave_connect_state`.
        (DumpStart::Gtid(_), Flavour::MariaDb) => ask.with_pos(4_u64),
        (DumpStart::Position(position), _) => ask.with_filename(position.file.as_bytes()).with_pos(position.offset),
    };
    connection.into_driver().get_binlog_stream(ask).await.map_err(|e| Error::from_driver(DUMP, e))
}

fn sids(set: &GtidSet) -> Result<Vec<Sid<'static>>> {
    if set.domains().next().is_some() {
        return Err(foreign_set(set, "a MySQL server"));
    }
    let mut sids: Vec<Sid<'static>> = Vec::new();
    let mut previous = None;
    for (source, first, last) in set.intervals() {
        let interval = GnoInterval::new(first, last.saturating_add(1));
        if previous != Some(source) {
            let mut sid = Sid::new(*source.uuid.as_bytes());
            if !source.tag.is_empty() {
                let fault =
                    |_| Error::Unexpected { operation: DUMP, reason: format!("{:?} is no GTID tag", source.tag) };
                sid = sid.with_tag(Tag::new(source.tag.clone()).map_err(fault)?);
            }
            sids.push(sid);
            previous = Some(source);
        }
        if let Some(sid) = sids.pop() {
            sids.push(sid.with_interval(interval));
        }
    }
    Ok(sids)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_batch_gives_back_the_events_it_was_given() {
        let mut batch = EventBatch::default();
        batch.push(b"one");
        batch.push(b"");
        batch.push(b"three");
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        batch.clear();
        assert!(batch.is_empty() && batch.iter().next().is_none());
    }

    #[test]
    fn an_event_without_a_checksum_gets_one_once() {
        let mut batch = EventBatch::default();
        batch.push(b"one");
        let mut heartbeat = vec![0; HEADER_LENGTH];
        heartbeat[4] = 27;
        heartbeat.extend_from_slice(b"binlog.000001");
        batch.push(&heartbeat);
        batch.add_checksum();
        batch.add_checksum();
        let events: Vec<_> = batch.iter().collect();
        assert_eq!((events[0], events[1].len()), (&b"one"[..], heartbeat.len() + 4));
        assert_eq!(events[1][9..13], (heartbeat.len() as u32 + 4).to_le_bytes());
        let (body, crc) = events[1].split_last_chunk::<4>().unwrap();
        assert_eq!(crc32fast::hash(body).to_le_bytes(), *crc);
    }

    #[test]
    fn a_set_of_the_other_family_is_refused() {
        let position: GtidSet = "0-1-100".parse().unwrap();
        assert!(sids(&position).is_err());
        let mysql: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
        let request = |set| DumpRequest {
            start: DumpStart::Gtid(set),
            server_id: 7,
            heartbeat: Duration::from_secs(1),
            until_end: false,
        };
        assert!(session_statements(&request(mysql), Flavour::MariaDb).is_err());
        let statements = session_statements(&request(position), Flavour::MariaDb).unwrap();
        assert!(statements.iter().any(|s| s.contains("@slave_connect_state = '0-1-100'")), "{statements:?}");
    }

    #[test]
    fn a_set_becomes_one_block_per_source_and_tag() {
        let set: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:blue:1-2".parse().unwrap();
        let sids = sids(&set).unwrap();
        assert_eq!(sids.len(), 2);
        assert_eq!(sids[0].intervals().iter().map(|i| (i.start(), i.end())).collect::<Vec<_>>(), [(1, 6), (7, 8)]);
        assert!(sids[1].tag().is_some());
    }
}

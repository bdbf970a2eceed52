//! One event's bytes to an [`Event`].

use lutra_change::GtidSet;

use crate::compressed::CompressedEvent;
use crate::control::{FormatDescription, Heartbeat, Incident, Rotate, XaPrepare, gtid_set};
use crate::error::{DecodeError, Fault, Place};
use crate::flavor::Flavor;
use crate::gtid::GtidEvent;
use crate::header::{EventHeader, HEADER_LENGTH, event_type};
use crate::mariadb::{GtidList, MariaDbGtidEvent};
use crate::payload::PayloadEvent;
use crate::query::QueryEvent;
use crate::reader::Reader;
use crate::rows::RowsEvent;
use crate::table_map::TableMap;

const CRC_LENGTH: usize = 4;
/// Where the flags lie in the header: the format description's "in use" flag is not part of its checksum.
const FLAGS_OFFSET: usize = 17;

const STATEMENT_HINT: &str = "it belongs to a change logged as statement text: set binlog_format=ROW at the source";
const PIECE_HINT: &str =
    "it is a piece of a larger rows event: raise binlog_row_event_fragment_threshold at the source";
const ENCRYPTED_HINT: &str =
    "the file is encrypted from here on (encrypt_binlog=ON): read it from the server, which decrypts it";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its header.
    pub header: EventHeader,
    /// What it says.
    pub data: EventData<'a>,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventData<'a> {
    /// A file begins: how its events are laid out.
    FormatDescription(FormatDescription<'a>),
    /// The stream goes on in another file.
    Rotate(Rotate<'a>),
    /// The GTIDs of all files before this one.
    PreviousGtids(GtidSet),
    /// A transaction begins.
    Gtid(GtidEvent),
    /// A statement.
    Query(QueryEvent<'a>),
    /// What the table of the following rows looks like.
    TableMap(TableMap<'a>),
    /// Rows.
    Rows(RowsEvent<'a>),
    /// MariaDB: a transaction or statement begins.
    MariaDbGtid(MariaDbGtidEvent<'a>),
    /// MariaDB: where each domain stands.
    GtidList(GtidList),
    /// MariaDB: transactions in files before this one need no recovery.
    BinlogCheckpoint(&'a str),
    /// MariaDB: a statement or rows, to be [inflated](crate::Inflater::inflate) first.
    Compressed(CompressedEvent<'a>),
    /// The text of the statement whose rows follow (`binlog_rows_query_log_events=ON`; MariaDB
    /// `binlog_annotate_row_events=ON`).
    RowsQuery(&'a [u8]),
    /// The transaction is committed.
    Xid(u64),
    /// The XA transaction is prepared.
    XaPrepare(XaPrepare<'a>),
    /// A whole compressed transaction, without the event that begins it.
    TransactionPayload(PayloadEvent<'a>),
    /// The source is alive.
    Heartbeat(Heartbeat<'a>),
    /// The source lost events.
    Incident(Incident<'a>),
    /// The server was shut down in good order.
    Stop,
    /// Nothing that concerns rows: an unknown type that is marked as ignorable, or one of group replication's own
    /// (transaction context, view change).
    Ignorable,
}

/// Whether the events of the stream carry a CRC-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    /// No format description was seen yet.
    Unknown,
    Off,
    Crc32,
}

/// Turns the bytes of events, in the order of the stream, into [`Event`]s.
///
/// It remembers what the last format description said; nothing else.
#[derive(Clone, Debug)]
pub struct Decoder {
    checksums: Checksums,
    server_version: String,
    flavor: Flavor,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a stream or file.
    pub fn new() -> Self {
        Self { checksums: Checksums::Unknown, server_version: String::new(), flavor: Flavor::MySql }
    }

    /// Version of the server that wrote the current file; empty before its format description.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    /// The family of the server that wrote the current file.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Decodes one whole event and verifies its checksum, if it carries one.
    pub fn decode<'a>(&mut self, event: &'a [u8]) -> Result<Event<'a>, DecodeError> {
        let header = whole(event)?;
        let end = event.len() - self.checksum_length(&header, event)?;
        let body = event.get(HEADER_LENGTH..end).unwrap_or_default();
        if header.event_type == event_type::FORMAT_DESCRIPTION {
            return self.format_description(header, event);
        }
        let data = parse(self.flavor, &header, header.place(), body)?;
        Ok(Event { header, data })
    }

    /// Decodes an event that came out of a [payload](PayloadEvent) or was [inflated](crate::Inflater::inflate), whose own
    /// header is `outer`: such events carry no checksum, and where they stand is what `outer` says.
    pub fn decode_inner<'a>(&self, outer: &EventHeader, event: &'a [u8]) -> Result<Event<'a>, DecodeError> {
        let header = whole(event)?;
        let place = Place { log_pos: outer.log_pos, ..header.place() };
        let data = parse(self.flavor, &header, place, event.get(HEADER_LENGTH..).unwrap_or_default())?;
        if matches!(data, EventData::TransactionPayload(_) | EventData::Compressed(_)) {
            return Err(DecodeError::Malformed { place, what: "it lies inside something compressed" });
        }
        Ok(Event { header, data })
    }

    fn format_description<'a>(&mut self, header: EventHeader, event: &'a [u8]) -> Result<Event<'a>, DecodeError> {
        let place = header.place();
        let body = event.get(HEADER_LENGTH..).unwrap_or_default();
        let format = FormatDescription::parse(&header, body).map_err(|f| f.in_event(place, HEADER_LENGTH))?;
        if format.checksums {
            verify(&header, event)?;
        }
        check_layout(&format).map_err(|f| f.in_event(place, HEADER_LENGTH))?;
        self.checksums = if format.checksums { Checksums::Crc32 } else { Checksums::Off };
        format.server_version.clone_into(&mut self.server_version);
        self.flavor = format.flavor();
        Ok(Event { header, data: EventData::FormatDescription(format) })
    }

    /// How many bytes at the event's end are a checksum, after verifying it.
    fn checksum_length(&self, header: &EventHeader, event: &[u8]) -> Result<usize, DecodeError> {
        match (self.checksums, header.event_type) {
            // It carries the field always and says itself whether it counts.
            (_, event_type::FORMAT_DESCRIPTION) => Ok(0),
            (Checksums::Crc32, _) => verify(header, event).map(|()| CRC_LENGTH),
            // The sender's own rotate in front of a format description has one if the reader asked for checksums; only
            // the bytes tell.
            (_, event_type::ROTATE) if header.is_artificial() || header.log_pos == 0 => {
                Ok(if verify(header, event).is_ok() { CRC_LENGTH } else { 0 })
            }
            (Checksums::Off, _) => Ok(0),
            // Nobody could tell where its body ends.
            (Checksums::Unknown, _) => {
                Err(DecodeError::Malformed { place: header.place(), what: "no format description came before it" })
            }
        }
    }
}

/// Reads the header and checks that these bytes are that event, whole.
fn whole(event: &[u8]) -> Result<EventHeader, DecodeError> {
    let header = EventHeader::read(event)?;
    if header.event_size as usize == event.len() {
        Ok(header)
    } else {
        Err(DecodeError::Malformed { place: header.place(), what: "its size is not the number of its bytes" })
    }
}

/// Compares the CRC-32 at the event's end with that of its bytes.
fn verify(header: &EventHeader, event: &[u8]) -> Result<(), DecodeError> {
    let place = header.place();
    let Some((bytes, stored)) = event.split_last_chunk::<CRC_LENGTH>() else {
        return Err(DecodeError::Malformed { place, what: "it is too short for a checksum" });
    };
    let stored = u32::from_le_bytes(*stored);
    let computed = if header.event_type == event_type::FORMAT_DESCRIPTION && header.flags & 1 != 0 {
        let mut copy = bytes.to_vec();
        if let Some(flags) = copy.get_mut(FLAGS_OFFSET) {
            *flags &= !1;
        }
        crc32fast::hash(&copy)
    } else {
        crc32fast::hash(bytes)
    };
    if stored == computed { Ok(()) } else { Err(DecodeError::Checksum { place, stored, computed }) }
}

/// Refuses files whose events have other fixed parts than those this decoder reads.
fn check_layout(format: &FormatDescription<'_>) -> Result<(), Fault> {
    use event_type as t;
    let fixed = [
        (t::QUERY, 13),
        (t::ROTATE, 8),
        (t::TABLE_MAP, 8),
        (t::WRITE_ROWS, 10),
        (t::UPDATE_ROWS, 10),
        (t::DELETE_ROWS, 10),
    ];
    let mariadb = [
        (t::MARIADB_GTID, 19),
        (t::MARIADB_GTID_LIST, 4),
        (t::QUERY_COMPRESSED, 13),
        (t::WRITE_ROWS_COMPRESSED_V1, 8),
        (t::UPDATE_ROWS_COMPRESSED_V1, 8),
        (t::DELETE_ROWS_COMPRESSED_V1, 8),
        (t::WRITE_ROWS_COMPRESSED, 10),
        (t::UPDATE_ROWS_COMPRESSED, 10),
        (t::DELETE_ROWS_COMPRESSED, 10),
    ];
    let mariadb = if format.flavor() == Flavor::MariaDb { &mariadb[..] } else { &[] };
    for &(number, length) in fixed.iter().chain(mariadb) {
        if format.post_header_lengths.get(usize::from(number) - 1) != Some(&length) {
            return Err(Fault { what: "its events are laid out in an unknown way", at: 57 });
        }
    }
    Ok(())
}

/// Parses what lies between header and checksum.
fn parse<'a>(flavor: Flavor, header: &EventHeader, place: Place, body: &'a [u8]) -> Result<EventData<'a>, DecodeError> {
    use event_type as t;
    let fault = |f: Fault| f.in_event(place, HEADER_LENGTH);
    Ok(match header.event_type {
        t::TABLE_MAP => EventData::TableMap(TableMap::parse(flavor, place, body).map_err(fault)?),
        t::WRITE_ROWS
        | t::UPDATE_ROWS
        | t::DELETE_ROWS
        | t::PARTIAL_UPDATE_ROWS
        | t::WRITE_ROWS_V1
        | t::UPDATE_ROWS_V1
        | t::DELETE_ROWS_V1 => EventData::Rows(RowsEvent::parse(place, body).map_err(fault)?),
        t::GTID | t::ANONYMOUS_GTID | t::GTID_TAGGED => EventData::Gtid(GtidEvent::parse(header, body).map_err(fault)?),
        t::QUERY => EventData::Query(QueryEvent::parse(flavor, header, body).map_err(fault)?),
        t::XID => EventData::Xid(Reader::new(body).u64().map_err(fault)?),
        t::TRANSACTION_PAYLOAD => EventData::TransactionPayload(PayloadEvent::parse(place, body).map_err(fault)?),
        t::ROTATE => EventData::Rotate(Rotate::parse(header, body).map_err(fault)?),
        t::HEARTBEAT | t::HEARTBEAT_V2 => EventData::Heartbeat(Heartbeat::parse(header, body).map_err(fault)?),
        t::PREVIOUS_GTIDS => EventData::PreviousGtids(gtid_set(body).map_err(fault)?),
        // A byte of length that cannot hold it comes first; the text goes to the end.
        t::ROWS_QUERY => EventData::RowsQuery(body.get(1..).unwrap_or_default()),
        t::XA_PREPARE => EventData::XaPrepare(XaPrepare::parse(body).map_err(fault)?),
        t::INCIDENT => EventData::Incident(Incident::parse(body).map_err(fault)?),
        t::STOP => EventData::Stop,
        t::FORMAT_DESCRIPTION => {
            return Err(DecodeError::Malformed { place, what: "it lies inside something compressed" });
        }
        t::IGNORABLE | t::TRANSACTION_CONTEXT | t::VIEW_CHANGE => EventData::Ignorable,
        t::MARIADB_ANNOTATE_ROWS.. if flavor == Flavor::MariaDb => return mariadb(header, place, body),
        _ if header.is_ignorable() => EventData::Ignorable,
        t::INTVAR
        | t::RAND
        | t::USER_VAR
        | t::APPEND_BLOCK
        | t::DELETE_FILE
        | t::BEGIN_LOAD_QUERY
        | t::EXECUTE_LOAD_QUERY => {
            return Err(DecodeError::Unsupported { place, hint: STATEMENT_HINT });
        }
        _ => return Err(DecodeError::UnknownEvent { place }),
    })
}

/// The same for the types that only MariaDB has.
fn mariadb<'a>(header: &EventHeader, place: Place, body: &'a [u8]) -> Result<EventData<'a>, DecodeError> {
    use event_type as t;
    let fault = |f: Fault| f.in_event(place, HEADER_LENGTH);
    Ok(match header.event_type {
        t::MARIADB_GTID => EventData::MariaDbGtid(MariaDbGtidEvent::parse(header, body).map_err(fault)?),
        t::MARIADB_GTID_LIST => EventData::GtidList(GtidList::parse(body).map_err(fault)?),
        t::MARIADB_ANNOTATE_ROWS => EventData::RowsQuery(body),
        t::MARIADB_BINLOG_CHECKPOINT => {
            let mut reader = Reader::new(body);
            let length = reader.u32().map_err(fault)?;
            let name = reader.take(length as usize).map_err(fault)?;
            EventData::BinlogCheckpoint(reader.text(name).map_err(fault)?)
        }
        // The sender decrypts, and marks what it sends of this as ignorable.
        t::MARIADB_START_ENCRYPTION if header.is_ignorable() => EventData::Ignorable,
        t::MARIADB_START_ENCRYPTION => return Err(DecodeError::Unsupported { place, hint: ENCRYPTED_HINT }),
        t::QUERY_COMPRESSED..=t::DELETE_ROWS_COMPRESSED => {
            EventData::Compressed(CompressedEvent::parse(header, body).map_err(fault)?)
        }
        t::PARTIAL_ROW_DATA => return Err(DecodeError::Unsupported { place, hint: PIECE_HINT }),
        _ if header.is_ignorable() => EventData::Ignorable,
        _ => return Err(DecodeError::UnknownEvent { place }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(event_type: u8, flags: u16, body: &[u8], checksum: bool) -> Vec<u8> {
        let size = HEADER_LENGTH + body.len() + if checksum { CRC_LENGTH } else { 0 };
        let mut event = vec![0, 0, 0, 0, event_type, 1, 0, 0, 0];
        event.extend((size as u32).to_le_bytes());
        event.extend([99, 0, 0, 0]);
        event.extend(flags.to_le_bytes());
        event.extend(body);
        if checksum {
            let crc = crc32fast::hash(&event);
            event.extend(crc.to_le_bytes());
        }
        event
    }

    fn format_description(algorithm: u8, flags: u16) -> Vec<u8> {
        let mut body = vec![4, 0];
        body.extend(b"9.7.4");
        body.resize(56, 0);
        body.push(19);
        let mut lengths = [0; 42];
        for (number, length) in [(2, 13), (4, 8), (19, 8), (30, 10), (31, 10), (32, 10)] {
            lengths[number - 1] = length;
        }
        body.extend(lengths);
        body.push(algorithm);
        // The checksum is that of the closed file.
        let mut event = event(event_type::FORMAT_DESCRIPTION, 0, &body, true);
        event[FLAGS_OFFSET..HEADER_LENGTH].copy_from_slice(&flags.to_le_bytes());
        event
    }

    fn decoder(algorithm: u8) -> Decoder {
        let mut decoder = Decoder::new();
        decoder.decode(&format_description(algorithm, 0)).unwrap();
        decoder
    }

    #[test]
    fn a_file_that_is_still_open_has_the_checksum_of_a_closed_one() {
        let bytes = format_description(1, 1);
        let mut decoder = Decoder::new();
        let EventData::FormatDescription(format) = decoder.decode(&bytes).unwrap().data else { panic!() };
        assert!(format.in_use && format.checksums);
        assert_eq!(decoder.server_version(), "9.7.4");
        let mut bad = bytes.clone();
        bad[30] ^= 1;
        assert!(Decoder::new().decode(&bad).is_err());
    }

    #[test]
    fn the_rotate_before_a_format_description_is_read_with_and_without_checksum() {
        let body = [&4u64.to_le_bytes()[..], b"binlog.000007"].concat();
        for checksum in [true, false] {
            let bytes = event(event_type::ROTATE, 0x20, &body, checksum);
            let EventData::Rotate(rotate) = Decoder::new().decode(&bytes).unwrap().data else { panic!() };
            assert_eq!((rotate.file, rotate.position, rotate.artificial), ("binlog.000007", 4, true));
        }
        let bytes = event(event_type::XID, 0, &[0; 8], false);
        assert!(Decoder::new().decode(&bytes).is_err());
    }

    #[test]
    fn unknown_events_are_an_error_unless_they_are_marked_as_ignorable() {
        for algorithm in [0, 1] {
            let mut decoder = decoder(algorithm);
            let checksum = algorithm == 1;
            let error = decoder.decode(&event(77, 0, b"x", checksum)).unwrap_err();
            assert!(error.to_string().contains("type 77") && error.to_string().contains("position 99"), "{error}");
            assert_eq!(decoder.decode(&event(77, 0x80, b"x", checksum)).unwrap().data, EventData::Ignorable);
            // MariaDB's own mean nothing in a file of MySQL.
            assert!(matches!(
                decoder.decode(&event(162, 0, &[0; 19], checksum)),
                Err(DecodeError::UnknownEvent { .. })
            ));
        }
    }

    #[test]
    fn a_flipped_bit_is_a_checksum_error_and_a_wrong_size_is_malformed() {
        let mut decoder = decoder(1);
        let good = event(event_type::XID, 0, &7u64.to_le_bytes(), true);
        assert_eq!(decoder.decode(&good).unwrap().data, EventData::Xid(7));
        let mut bad = good.clone();
        bad[20] ^= 4;
        assert!(matches!(decoder.decode(&bad), Err(DecodeError::Checksum { .. })));
        assert!(matches!(decoder.decode(&good[..good.len() - 1]), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn both_heartbeats_are_read() {
        let mut decoder = decoder(0);
        let bytes = event(event_type::HEARTBEAT, 0, b"binlog.000001", false);
        let EventData::Heartbeat(heartbeat) = decoder.decode(&bytes).unwrap().data else { panic!() };
        assert_eq!((heartbeat.file, heartbeat.position, heartbeat.exact), ("binlog.000001", 99, false));
        let body = [&[1, 13][..], b"binlog.000001", &[2, 9, 254, 1, 0, 0, 0, 1, 0, 0, 0, 0]].concat();
        let bytes = event(event_type::HEARTBEAT_V2, 0, &body, false);
        let EventData::Heartbeat(heartbeat) = decoder.decode(&bytes).unwrap().data else { panic!() };
        assert_eq!((heartbeat.file, heartbeat.position, heartbeat.exact), ("binlog.000001", (1 << 32) + 1, true));
    }

    #[test]
    fn rows_of_version_1_are_read() {
        let mut decoder = decoder(0);
        let bytes = event(event_type::UPDATE_ROWS_V1, 0, &[5, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 7, 0, 8], false);
        let EventData::Rows(rows) = decoder.decode(&bytes).unwrap().data else { panic!() };
        assert_eq!((rows.table_id, rows.len(), rows.is_statement_end(), rows.is_full()), (5, 4, true, true));
    }
}

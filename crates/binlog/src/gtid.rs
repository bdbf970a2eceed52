//! The event that begins a transaction.

use lutra_change::Gtid;
use uuid::Uuid;

use crate::control::tag;
use crate::error::Fault;
use crate::header::{EventHeader, event_type};
use crate::reader::Reader;

/// Type code in front of the two logical timestamps.
const LOGICAL_CLOCK: u8 = 2;
/// The bit of a 7-byte commit timestamp that says that another one follows.
const TIMESTAMP_FOLLOWS: u64 = 1 << 55;
/// The bit of a 4-byte server version that says that another one follows.
const VERSION_FOLLOWS: u32 = 1 << 31;
/// The last field of a tagged GTID event that this decoder knows.
const LAST_FIELD: u64 = 11;

/// What a transaction begins with, whether it has a GTID or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidEvent {
    /// The GTID; none where the source runs without (`gtid_mode=OFF`).
    pub gtid: Option<Gtid>,
    /// The transaction may hold changes as statement text.
    pub may_have_statements: bool,
    /// Logical clock: the transaction may run beside all after this one.
    pub last_committed: i64,
    /// Logical clock: the transaction's own number in this file.
    pub sequence_number: i64,
    /// Commit time at the server that was read, microseconds since the epoch; 0 where unknown.
    pub immediate_commit_timestamp: u64,
    /// Commit time at the server that committed first, microseconds since the epoch; 0 where unknown.
    pub original_commit_timestamp: u64,
    /// Bytes of all events of the transaction, this one included; 0 where unknown.
    pub transaction_length: u64,
    /// Version of the server that was read, like 90704; 0 where unknown.
    pub immediate_server_version: u32,
    /// Version of the server that committed first; 0 where unknown.
    pub original_server_version: u32,
}

impl GtidEvent {
    pub(crate) fn parse(header: &EventHeader, body: &[u8]) -> Result<Self, Fault> {
        if header.event_type == event_type::GTID_TAGGED {
            Self::parse_tagged(body)
        } else {
            Self::parse_plain(header, body)
        }
    }

    /// The fixed layout, whose later parts came with 5.7 and 8.0 and are absent in older files.
    fn parse_plain(header: &EventHeader, body: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let uuid = Uuid::from_bytes(reader.array()?);
        let number = reader.u64()?;
        let mut event = Self { may_have_statements: flags & 1 != 0, ..Self::default() };
        if header.event_type == event_type::GTID {
            event.gtid = Some(gtid(&reader, uuid, String::new(), number)?);
        }
        if reader.is_empty() {
            return Ok(event);
        }
        if reader.u8()? != LOGICAL_CLOCK {
            return Err(reader.fault("its logical clock is of an unknown kind"));
        }
        event.last_committed = reader.u64()? as i64;
        event.sequence_number = reader.u64()? as i64;
        if reader.is_empty() {
            return Ok(event);
        }
        let immediate = reader.u56()?;
        event.immediate_commit_timestamp = immediate & !TIMESTAMP_FOLLOWS;
        event.original_commit_timestamp =
            if immediate & TIMESTAMP_FOLLOWS != 0 { reader.u56()? } else { event.immediate_commit_timestamp };
        if reader.is_empty() {
            return Ok(event);
        }
        event.transaction_length = reader.packed()?;
        if reader.is_empty() {
            return Ok(event);
        }
        let immediate = reader.u32()?;
        event.immediate_server_version = immediate & !VERSION_FOLLOWS;
        event.original_server_version =
            if immediate & VERSION_FOLLOWS != 0 { reader.u32()? } else { event.immediate_server_version };
        Ok(event)
    }

    /// The numbered fields of MySQL's serialization library. Fields carry no length, so that unknown ones, which come
    /// last, end the reading; the message says whether they may be left unread.
    fn parse_tagged(body: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        if reader.varlen()? != 1 {
            return Err(reader.fault("its serialization format is not version 1"));
        }
        if reader.varlen()? != body.len() as u64 {
            return Err(reader.fault("its message size is not that of the event"));
        }
        if reader.varlen()? > LAST_FIELD {
            return Err(reader.fault("it has a field that must not be ignored and that this version does not know"));
        }
        let (mut event, mut uuid, mut number, mut label) = (Self::default(), None, None, String::new());
        let (mut original_time, mut original_version) = (None, None);
        while !reader.is_empty() {
            match reader.varlen()? {
                0 => event.may_have_statements = reader.varlen()? & 1 != 0,
                1 => uuid = Some(spelt_uuid(&mut reader)?),
                2 => number = u64::try_from(reader.varlen_signed()?).ok(),
                3 => label = tag(&mut reader)?,
                4 => event.last_committed = reader.varlen_signed()?,
                5 => event.sequence_number = reader.varlen_signed()?,
                6 => event.immediate_commit_timestamp = reader.varlen()?,
                7 => original_time = Some(reader.varlen()?),
                8 => event.transaction_length = reader.varlen()?,
                9 => event.immediate_server_version = version(&mut reader)?,
                10 => original_version = Some(version(&mut reader)?),
                LAST_FIELD => {
                    reader.varlen()?;
                }
                _ => break,
            }
        }
        let (Some(uuid), Some(number)) = (uuid, number) else {
            return Err(reader.fault("it has no GTID"));
        };
        event.gtid = Some(gtid(&reader, uuid, label, number)?);
        event.original_commit_timestamp = original_time.unwrap_or(event.immediate_commit_timestamp);
        event.original_server_version = original_version.unwrap_or(event.immediate_server_version);
        Ok(event)
    }
}

fn gtid(reader: &Reader<'_>, uuid: Uuid, tag: String, number: u64) -> Result<Gtid, Fault> {
    // The server's range: 1 to 2^63 - 2.
    if number == 0 || number >= i64::MAX as u64 {
        return Err(reader.fault("its transaction number is out of range"));
    }
    Ok(Gtid::tagged(uuid, tag, number))
}

/// A UUID as sixteen variable-length numbers.
fn spelt_uuid(reader: &mut Reader<'_>) -> Result<Uuid, Fault> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(reader.varlen()?).map_err(|_| reader.fault("a byte of its UUID is out of range"))?;
    }
    Ok(Uuid::from_bytes(bytes))
}

fn version(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    u32::try_from(reader.varlen()?).map_err(|_| reader.fault("a server version is out of range"))
}

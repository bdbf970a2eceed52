//! Events about the stream itself: format description, rotate, heartbeat, previous GTIDs, incident, XA prepare.

use std::fmt;

use lutra_change::GtidSet;
use lutra_change::gtid::SourceId;
use uuid::Uuid;

use crate::error::Fault;
use crate::flavor::Flavor;
use crate::header::{EventHeader, event_type};
use crate::reader::Reader;

/// How the events of a file are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription<'a> {
    /// Binlog format version, always 4.
    pub binlog_version: u16,
    /// Version of the server that wrote the file, like `9.7.4`.
    pub server_version: &'a str,
    /// When the file was begun by a start of the server, seconds since the epoch; 0 otherwise.
    pub created_at: u32,
    /// Whether the events carry a CRC-32.
    pub checksums: bool,
    /// Whether the server still has the file open, or did not close it (`LOG_EVENT_BINLOG_IN_USE_F`).
    pub in_use: bool,
    /// Length of the fixed part behind the header, per event type from 1.
    pub(crate) post_header_lengths: &'a [u8],
}

impl<'a> FormatDescription<'a> {
    /// `body`: without the header, with the algorithm byte and the checksum at the end.
    pub(crate) fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let binlog_version = reader.u16()?;
        if binlog_version != 4 {
            return Err(reader.fault("its binlog format version is not 4"));
        }
        let padded = reader.take(50)?;
        let server_version = padded.split(|&b| b == 0).next().unwrap_or_default();
        let server_version = reader.text(server_version)?;
        let created_at = reader.u32()?;
        if reader.u8()? != 19 {
            return Err(reader.fault("its events have headers of another length than 19"));
        }
        let rest = reader.rest();
        let Some((post_header_lengths, [algorithm, _crc @ ..])) =
            rest.len().checked_sub(5).and_then(|n| rest.split_at_checked(n))
        else {
            return Err(reader.fault("it has no checksum field (the server is older than MySQL 5.6)"));
        };
        let checksums = match algorithm {
            0 => false,
            1 => true,
            _ => return Err(reader.fault("its checksum algorithm is neither NONE nor CRC32")),
        };
        Ok(Self {
            binlog_version,
            server_version,
            created_at,
            checksums,
            in_use: header.flags & 1 != 0,
            post_header_lengths,
        })
    }

    /// The family of the server that wrote the file.
    pub fn flavor(&self) -> Flavor {
        Flavor::of(self.server_version)
    }
}

/// The stream goes on in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// Where in that file.
    pub position: u64,
    /// Its name.
    pub file: &'a str,
    /// Made by the sender (at the start of a stream, and in front of each file), not in any file.
    pub artificial: bool,
}

impl<'a> Rotate<'a> {
    pub(crate) fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let position = reader.u64()?;
        let name = reader.rest();
        let file = reader.text(name)?;
        if file.is_empty() {
            return Err(reader.fault("it names no file"));
        }
        Ok(Self { position, file, artificial: header.is_artificial() || header.log_pos == 0 })
    }
}

/// The source is alive and has nothing to send, or passes over events that it need not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The file the source reads.
    pub file: &'a str,
    /// The byte it has reached there; modulo 2^32 unless the event is of version 2.
    pub position: u64,
    /// Whether `position` is a true one.
    pub exact: bool,
}

impl<'a> Heartbeat<'a> {
    pub(crate) fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        if header.event_type == event_type::HEARTBEAT {
            let name = reader.rest();
            return Ok(Self { file: reader.text(name)?, position: u64::from(header.log_pos), exact: false });
        }
        let mut heartbeat = Self { file: "", position: 0, exact: true };
        // Fields of type, length, value until the end mark 0.
        while !reader.is_empty() {
            let field = reader.packed()?;
            if field == 0 {
                break;
            }
            let value = reader.packed_bytes()?;
            match field {
                1 => heartbeat.file = reader.text(value)?,
                2 => heartbeat.position = Reader::new(value).packed()?,
                _ => {}
            }
        }
        Ok(heartbeat)
    }
}

/// Something happened at the source that the binlog does not hold (lost events).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident<'a> {
    /// 1 is "lost events".
    pub number: u16,
    /// What the server says.
    pub message: &'a [u8],
}

impl<'a> Incident<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        Ok(Self { number: reader.u16()?, message: if reader.is_empty() { &[] } else { reader.short_bytes()? } })
    }
}

/// The name of an XA transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xid<'a> {
    /// `formatID`.
    pub format_id: i32,
    /// Global transaction id.
    pub gtrid: &'a [u8],
    /// Branch qualifier.
    pub bqual: &'a [u8],
}

impl<'a> Xid<'a> {
    /// As a MariaDB GTID event has it: lengths of one byte.
    pub(crate) fn parse_short(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let format_id = i32::from_le_bytes(reader.array()?);
        let (gtrid, bqual) = (u32::from(reader.u8()?), u32::from(reader.u8()?));
        Self::parts(reader, format_id, gtrid, bqual)
    }

    fn parts(reader: &mut Reader<'a>, format_id: i32, gtrid: u32, bqual: u32) -> Result<Self, Fault> {
        // The SQL limit of both.
        if gtrid > 64 || bqual > 64 {
            return Err(reader.fault("an XID part is longer than 64 bytes"));
        }
        Ok(Self { format_id, gtrid: reader.take(gtrid as usize)?, bqual: reader.take(bqual as usize)? })
    }
}

impl fmt::Display for Xid<'_> {
    /// As both servers write it in the `XA` statements of the binlog: `X'6774',X'62',1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.gtrid, self.bqual] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        write!(f, "{}", self.format_id)
    }
}

/// The end of a transaction that is only prepared (`XA PREPARE`), or committed in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// `XA COMMIT … ONE PHASE`: it is a commit.
    pub one_phase: bool,
    /// `formatID` of the XID.
    pub format_id: i32,
    /// Global transaction id.
    pub gtrid: &'a [u8],
    /// Branch qualifier.
    pub bqual: &'a [u8],
}

impl<'a> XaPrepare<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let one_phase = reader.u8()? != 0;
        let format_id = i32::from_le_bytes(reader.array()?);
        let (gtrid, bqual) = (reader.u32()?, reader.u32()?);
        let Xid { format_id, gtrid, bqual } = Xid::parts(&mut reader, format_id, gtrid, bqual)?;
        Ok(Self { one_phase, format_id, gtrid, bqual })
    }

    /// The transaction's name.
    pub fn xid(&self) -> Xid<'a> {
        Xid { format_id: self.format_id, gtrid: self.gtrid, bqual: self.bqual }
    }
}

/// Parses a GTID set in the server's own encoding, untagged or (MySQL 8.3 and later) tagged (`Gtid_set::encode`).
pub(crate) fn gtid_set(body: &[u8]) -> Result<GtidSet, Fault> {
    let mut reader = Reader::new(body);
    let head = reader.u64()?;
    let (tagged, sources) = match head >> 56 {
        0 => (false, head),
        1 => (true, (head >> 8) & 0xffff_ffff_ffff),
        _ => return Err(reader.fault("a GTID set is in an unknown encoding")),
    };
    let mut set = GtidSet::new();
    for _ in 0..sources {
        let uuid = Uuid::from_bytes(reader.array()?);
        let tag = if tagged { tag(&mut reader)? } else { String::new() };
        let source = SourceId { uuid, tag };
        let mut last = 0;
        for _ in 0..reader.u64()? {
            let (first, end) = (reader.u64()?, reader.u64()?);
            if first <= last || end <= first || end > i64::MAX as u64 {
                return Err(reader.fault("a GTID interval is empty or out of order"));
            }
            set.insert_interval(source.clone(), first, end - 1);
            last = end;
        }
    }
    if reader.is_empty() { Ok(set) } else { Err(reader.fault("bytes follow a GTID set")) }
}

/// A tag: its length and its letters.
pub(crate) fn tag(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let length = reader.varlen()?;
    // `mysql::gtid::tag_max_length`.
    if length > 32 {
        return Err(reader.fault("a GTID tag is longer than 32 letters"));
    }
    let bytes = reader.take(length as usize)?;
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_') {
        return Err(reader.fault("a GTID tag has other characters than a-z, 0-9 and _"));
    }
    Ok(reader.text(bytes)?.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn uuid() -> Vec<u8> {
        Uuid::parse_str(UUID).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn untagged_gtid_sets_are_read() {
        let mut body = 1u64.to_le_bytes().to_vec();
        body.extend(uuid());
        for number in [2u64, 1, 6, 7, 8] {
            body.extend(number.to_le_bytes());
        }
        assert_eq!(gtid_set(&body).unwrap().to_string(), format!("{UUID}:1-5:7"));
        body.push(0);
        assert!(gtid_set(&body).is_err());
    }

    #[test]
    fn tagged_gtid_sets_are_read() {
        let mut body = ((1u64 << 56) | (2 << 8) | 1).to_le_bytes().to_vec();
        for tag in ["", "blue"] {
            body.extend(uuid());
            body.push((tag.len() as u8) << 1);
            body.extend(tag.as_bytes());
            for number in [1u64, 3, 4] {
                body.extend(number.to_le_bytes());
            }
        }
        assert_eq!(gtid_set(&body).unwrap().to_string(), format!("{UUID}:3:blue:3"));
    }

    #[test]
    fn hostile_gtid_sets_end_at_their_bytes() {
        let mut body = 0x00ff_ffff_ffff_ffffu64.to_le_bytes().to_vec();
        body.extend(uuid());
        body.extend(u64::MAX.to_le_bytes());
        assert!(gtid_set(&body).is_err());
    }
}

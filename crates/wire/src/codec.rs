//! The log record's encoding: Avro single-object encoding of `schemas/log_record.avsc`, written and read by hand.
//!
//! The body is the last field, so that it can be passed on as bytes behind a new header.

use bytes::Bytes;
use lutra_change::{BinlogPosition, Cursor, Epoch, Gtid, GtidSet, LogId, Number, OpenXa};
use uuid::Uuid;

use crate::avro::{Fault, Input, put_bool, put_branch, put_bytes, put_len, put_long, share};
use crate::error::WireError;
use crate::record::{BodyKind, GtidState, Header, PartEnd, RawBody, Record, SourceState, UnitTotals};
use crate::schema::Fingerprint;

/// The record's schema, as it stands in `schemas/log_record.avsc`.
pub const LOG_RECORD_SCHEMA: &str = include_str!("../../../schemas/log_record.avsc");

/// CRC-64-AVRO of the schema's parsing canonical form.
pub const LOG_RECORD_FINGERPRINT: u64 = 0x9980_9658_4d50_142a;

/// That of version 2, before sources had definitions: still read.
const FINGERPRINT_V2: u64 = 0x92e9_15f8_fadb_8062;

/// That of version 1, before open XA transactions and fragments: still read.
const FINGERPRINT_V1: u64 = 0x03d9_0f10_4096_6420;

const MARKER: [u8; 2] = [0xc3, 0x01];

/// Appends a whole record: marker, schema fingerprint, header, body.
pub fn encode_record(header: &Header, body: &RawBody, out: &mut Vec<u8>) {
    out.reserve(256 + body.bytes.len());
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&LOG_RECORD_FINGERPRINT.to_le_bytes());
    put_header(out, header);
    out.extend_from_slice(&body.bytes);
}

impl Record {
    /// Reads the header and finds the body, which stays undecoded and shares the record's memory.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are no log record of a known schema.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut input = Input::new(bytes);
        if input.fixed::<2>("the record's marker").ok() != Some(MARKER) {
            return Err(WireError::NoMarker);
        }
        let found = u64::from_le_bytes(input.fixed("the record's schema fingerprint")?);
        let version = match found {
            LOG_RECORD_FINGERPRINT => 3,
            FINGERPRINT_V2 => 2,
            FINGERPRINT_V1 => 1,
            _ => return Err(WireError::UnknownSchema { found, known: LOG_RECORD_FINGERPRINT }),
        };
        let header = header(&mut input, version)?;
        let rest = input.take(input.left(), "the record's body")?;
        let kind = BodyKind::of_branch(Input::new(rest).long("the body's kind")?)?;
        let bytes = match (version, kind) {
            (1, BodyKind::Chunk) => RawBody::chunk_of_v1(rest)?,
            _ => share(bytes, rest),
        };
        Ok(Self { header, body: RawBody { kind, bytes } })
    }
}

fn put_header(out: &mut Vec<u8>, header: &Header) {
    out.extend_from_slice(header.log_id.0.as_bytes());
    put_epoch(out, header.epoch);
    put_number(out, header.number);
    put_number(out, header.previous);
    put_long(out, i64::from(header.part));
    put_long(
        out,
        match header.end {
            PartEnd::More => 0,
            PartEnd::Commit => 1,
            PartEnd::Abort => 2,
        },
    );
    put_branch(out, header.source.is_some());
    if let Some(source) = &header.source {
        put_source(out, source);
    }
    put_long(out, header.committed_at);
    put_long(out, header.read_at);
    put_branch(out, header.input.is_some());
    if let Some(cursor) = &header.input {
        put_cursor(out, cursor);
    }
    if !header.origins.is_empty() {
        put_len(out, header.origins.len());
        header.origins.iter().for_each(|o| put_bytes(out, o.as_bytes()));
    }
    put_len(out, 0);
    put_branch(out, header.totals.is_some());
    if let Some(totals) = &header.totals {
        put_long(out, totals.rows as i64);
        put_long(out, totals.bytes as i64);
        put_long(out, i64::from(totals.crc32c as i32));
    }
}

fn header(input: &mut Input<'_>, version: u8) -> Result<Header, WireError> {
    Ok(Header {
        log_id: LogId(Uuid::from_bytes(input.fixed("log_id")?)),
        epoch: epoch(input)?,
        number: number(input)?,
        previous: number(input)?,
        part: input.number("part")?,
        end: part_end(input)?,
        source: if input.present("source")? { Some(source(input, version)?) } else { None },
        committed_at: input.long("committed_at")?,
        read_at: input.long("read_at")?,
        input: input.optional("input", cursor)?,
        origins: origins(input)?,
        totals: input.optional("totals", totals)?,
    })
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    put_long(out, epoch.term as i64);
    put_long(out, i64::from(epoch.attempt));
}

fn epoch(input: &mut Input<'_>) -> Result<Epoch, Fault> {
    Ok(Epoch { term: input.number("epoch.term")?, attempt: input.number("epoch.attempt")? })
}

fn put_number(out: &mut Vec<u8>, number: Number) {
    put_long(out, number.sequence as i64);
    put_long(out, number.sub as i64);
}

fn number(input: &mut Input<'_>) -> Result<Number, Fault> {
    Ok(Number { sequence: input.number("number.sequence")?, sub: input.number("number.sub")? })
}

fn part_end(input: &mut Input<'_>) -> Result<PartEnd, Fault> {
    match input.long("end")? {
        0 => Ok(PartEnd::More),
        1 => Ok(PartEnd::Commit),
        2 => Ok(PartEnd::Abort),
        found => Err(Fault::out_of_range("end", found)),
    }
}

fn put_source(out: &mut Vec<u8>, source: &SourceState) {
    out.extend_from_slice(source.server_uuid.as_bytes());
    put_bytes(out, source.position.file.as_bytes());
    put_long(out, source.position.offset as i64);
    put_branch(out, source.gtid.is_some());
    if let Some(gtid) = &source.gtid {
        put_bytes(out, gtid.to_string().as_bytes());
    }
    let (whole, set) = match &source.gtid_set {
        GtidState::Whole(set) => (true, set),
        GtidState::Added(set) => (false, set),
    };
    put_bool(out, whole);
    put_bytes(out, set.to_string().as_bytes());
    if !source.open_xa.is_empty() {
        put_len(out, source.open_xa.len());
        source.open_xa.iter().for_each(|open| put_open_xa(out, open));
    }
    put_len(out, 0);
    put_branch(out, source.definitions.is_some());
    if let Some(definitions) = &source.definitions {
        out.extend_from_slice(&definitions.0);
    }
}

fn put_open_xa(out: &mut Vec<u8>, open: &OpenXa) {
    put_bytes(out, open.xid.as_bytes());
    put_branch(out, open.number.is_some());
    if let Some(number) = open.number {
        put_number(out, number);
    }
    put_branch(out, open.place.is_some());
    if let Some(place) = &open.place {
        put_cursor(out, place);
    }
    put_bool(out, open.decided);
}

fn open_xa(input: &mut Input<'_>) -> Result<Vec<OpenXa>, Fault> {
    let mut all = Vec::new();
    input.array("source.open_xa", |i| {
        all.push(OpenXa {
            xid: i.text("open_xa.xid")?.to_owned(),
            number: i.optional("open_xa.number", number)?,
            place: i.optional("open_xa.place", cursor)?,
            decided: i.bool("open_xa.decided")?,
        });
        Ok(())
    })?;
    Ok(all)
}

fn source(input: &mut Input<'_>, version: u8) -> Result<SourceState, WireError> {
    Ok(SourceState {
        server_uuid: Uuid::from_bytes(input.fixed("source.server_uuid")?),
        position: BinlogPosition {
            file: input.text("source.file")?.to_owned(),
            offset: input.number("source.offset")?,
        },
        gtid: if input.present("source.gtid")? { Some(parsed::<Gtid>("source.gtid", input)?) } else { None },
        gtid_set: {
            let whole = input.bool("source.gtid_set_whole")?;
            let set = parsed::<GtidSet>("source.gtid_set", input)?;
            if whole { GtidState::Whole(set) } else { GtidState::Added(set) }
        },
        open_xa: if version >= 2 { open_xa(input)? } else { Vec::new() },
        definitions: match version {
            3.. if input.present("source.definitions")? => Some(Fingerprint(input.fixed("source.definitions")?)),
            _ => None,
        },
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    input: &mut Input<'_>,
) -> Result<T, WireError> {
    input.text(what)?.parse().map_err(|e: T::Err| WireError::Malformed { what, reason: e.to_string() })
}

fn put_cursor(out: &mut Vec<u8>, cursor: &Cursor) {
    out.extend_from_slice(cursor.log_id.0.as_bytes());
    put_long(out, cursor.next_offset);
    put_epoch(out, cursor.epoch);
    put_number(out, cursor.number);
}

fn cursor(input: &mut Input<'_>) -> Result<Cursor, Fault> {
    Ok(Cursor {
        log_id: LogId(Uuid::from_bytes(input.fixed("input.log_id")?)),
        next_offset: input.long("input.next_offset")?,
        epoch: epoch(input)?,
        number: number(input)?,
    })
}

fn origins(input: &mut Input<'_>) -> Result<Vec<String>, Fault> {
    let mut origins = Vec::new();
    input.array("origins", |i| {
        origins.push(i.text("origins")?.to_owned());
        Ok(())
    })?;
    Ok(origins)
}

fn totals(input: &mut Input<'_>) -> Result<UnitTotals, Fault> {
    Ok(UnitTotals {
        rows: input.number("totals.rows")?,
        bytes: input.number("totals.bytes")?,
        crc32c: input.int("totals.crc32c")? as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_record_is_told_from_one_of_another_version() {
        assert_eq!(Record::decode(&Bytes::from_static(b"{}")).err(), Some(WireError::NoMarker));
        assert_eq!(Record::decode(&Bytes::new()).err(), Some(WireError::NoMarker));
        let other = Record::decode(&Bytes::from_static(b"\xc3\x01\x01\0\0\0\0\0\0\0rest")).err();
        assert_eq!(other, Some(WireError::UnknownSchema { found: 1, known: LOG_RECORD_FINGERPRINT }));
        let text = other.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("0000000000000001") && text.contains("read it with"), "{text}");
    }
}

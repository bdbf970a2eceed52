//! MariaDB's compressed statements and rows (`log_bin_compress=ON`), and zlib as MariaDB frames it.

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::{DecodeError, Fault, Place};
use crate::header::{EventHeader, HEADER_LENGTH, event_type};
use crate::reader::Reader;

/// Room grows by what was really inflated, this much at a time, not by what a length claims.
const CHUNK: usize = 64 << 10;

/// A statement or rows whose bulk is compressed. [`Inflater::inflate`](crate::Inflater::inflate) gives the event as it
/// would be without, for [`Decoder::decode_inner`](crate::Decoder::decode_inner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedEvent<'a> {
    header: EventHeader,
    /// The type the event has once inflated.
    plain_type: u8,
    /// What lies in front of the compressed bytes.
    head: &'a [u8],
    packed: &'a [u8],
}

impl<'a> CompressedEvent<'a> {
    pub(crate) fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        use event_type as t;
        let mut reader = Reader::new(body);
        let plain_type = match header.event_type {
            t::WRITE_ROWS_COMPRESSED_V1 => t::WRITE_ROWS_V1,
            t::UPDATE_ROWS_COMPRESSED_V1 => t::UPDATE_ROWS_V1,
            t::DELETE_ROWS_COMPRESSED_V1 => t::DELETE_ROWS_V1,
            t::WRITE_ROWS_COMPRESSED => t::WRITE_ROWS,
            t::UPDATE_ROWS_COMPRESSED => t::UPDATE_ROWS,
            t::DELETE_ROWS_COMPRESSED => t::DELETE_ROWS,
            _ => t::QUERY,
        };
        if plain_type == t::QUERY {
            // Thread, time, database length, error, status length; status; database and its zero byte.
            let fixed = reader.take(13)?;
            let length = |at| usize::from(fixed.get(at).copied().unwrap_or(0));
            reader.take((length(11) | length(12) << 8) + length(8) + 1)?;
        } else {
            // Table id and flags; extra information in version 2; columns and one or two bitmaps.
            reader.take(8)?;
            if matches!(plain_type, t::WRITE_ROWS | t::UPDATE_ROWS | t::DELETE_ROWS) {
                let extra = usize::from(reader.u16()?);
                let extra = extra
                    .checked_sub(2)
                    .ok_or_else(|| reader.fault("its extra information is shorter than its length"))?;
                reader.take(extra)?;
            }
            let bitmap = reader.packed_length()?.div_ceil(8);
            reader.take(bitmap)?;
            if matches!(plain_type, t::UPDATE_ROWS | t::UPDATE_ROWS_V1) {
                reader.take(bitmap)?;
            }
        }
        let head = body.get(..reader.at()).unwrap_or_default();
        Ok(Self { header: *header, plain_type, head, packed: reader.rest() })
    }

    /// Rebuilds the event in `out`, which is cleared first.
    pub(crate) fn rebuild(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), DecodeError> {
        let place = Place { offset: HEADER_LENGTH + self.head.len(), ..self.header.place() };
        let fault = |what| DecodeError::Malformed { place, what };
        let mut reader = Reader::new(self.packed);
        let kind = reader.u8().map_err(|_| fault("its compressed part is empty"))?;
        // Bit 7 marks it, bits 4 to 6 are the algorithm (0 is zlib), bits 0 to 2 the bytes of the length.
        if kind & 0xf0 != 0x80 {
            return Err(fault("it is compressed in an unknown way"));
        }
        let length = big_endian(&mut reader, usize::from(kind & 7)).map_err(|f| fault(f.what))?;
        let total = HEADER_LENGTH.saturating_add(self.head.len()).saturating_add(length);
        let size = u32::try_from(total).ok().filter(|_| total <= limit);
        let size = size.ok_or_else(|| fault("it would be larger than any event may be once inflated"))?;
        out.clear();
        let EventHeader { timestamp, server_id, log_pos, flags, .. } = self.header;
        out.extend(timestamp.to_le_bytes());
        out.push(self.plain_type);
        out.extend(server_id.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(log_pos.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(self.head);
        inflate(reader.rest(), true, length, out).map_err(fault)
    }
}

/// A number of one to four bytes, the highest first.
fn big_endian(reader: &mut Reader<'_>, width: usize) -> Result<usize, Fault> {
    if !(1..=4).contains(&width) {
        return Err(reader.fault("the length of something compressed has not 1 to 4 bytes"));
    }
    Ok(reader.take(width)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

/// Appends what zlib made of exactly `length` bytes; with zlib's own header and checksum, or bare.
fn inflate(packed: &[u8], framed: bool, length: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut zlib = Decompress::new(framed);
    let (begin, mut rest) = (out.len(), packed);
    loop {
        let missing = length.saturating_sub(out.len() - begin);
        // One byte more than is missing, so that the end of the stream is seen and a longer one is noticed.
        out.reserve_exact(missing.saturating_add(1).min(CHUNK.max(out.len() - begin)));
        let (read, written) = (zlib.total_in(), out.len());
        let status = zlib.decompress_vec(rest, out, FlushDecompress::None).map_err(|_| "it does not inflate")?;
        let consumed = usize::try_from(zlib.total_in() - read).unwrap_or(usize::MAX);
        rest = rest.get(consumed..).unwrap_or_default();
        let inflated = out.len() - begin;
        if inflated > length {
            return Err("it inflates to more bytes than it says");
        }
        if status == Status::StreamEnd {
            return if inflated == length { Ok(()) } else { Err("it inflates to fewer bytes than it says") };
        }
        if consumed == 0 && out.len() == written {
            return Err("its compressed part is truncated");
        }
    }
}

/// The value of a `COMPRESSED` column: a byte that says how, and the bytes. Gives the bytes where they lie, or inflates
/// them into `room`.
pub(crate) fn column<'v, 'a: 'v>(
    stored: &'a [u8],
    limit: usize,
    room: &'v mut Vec<u8>,
) -> Result<&'v [u8], &'static str> {
    let Some((&kind, plain)) = stored.split_first() else {
        return Ok(stored);
    };
    match kind >> 4 {
        0 => Ok(plain),
        // Bits 0 to 2 are the bytes of the length; bit 3 says that zlib's own frame is missing.
        8 => {
            let mut reader = Reader::new(plain);
            let length = big_endian(&mut reader, usize::from(kind & 7)).map_err(|fault| fault.what)?;
            if length > limit {
                return Err("a compressed value is longer than its column");
            }
            room.clear();
            inflate(reader.rest(), kind & 8 == 0, length, room)?;
            Ok(room)
        }
        _ => Err("a value is compressed in an unknown way"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn values_come_out_as_they_went_in() {
        let plain = b"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk".repeat(5_000);
        let packed = [&[0x83, 0x02, 0xbf, 0x20][..], &zlib(&plain)].concat();
        let mut room = Vec::new();
        assert_eq!(column(&packed, 1 << 20, &mut room).unwrap(), plain);
        assert_eq!(column(b"\0short", 10, &mut room).unwrap(), b"short");
        assert_eq!(column(b"", 10, &mut room).unwrap(), b"");
        assert!(column(&packed, 1_000, &mut room).is_err());
        assert!(column(&[0x70, 1], 10, &mut room).is_err());
        for cut in 1..packed.len() {
            assert!(column(&packed[..cut], 1 << 20, &mut room).is_err(), "{cut}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let (mut room, packed) = (Vec::new(), zlib(&[7; 1_000]));
        for length in [0u16, 999, 1_001, 60_000] {
            let stored = [&[0x82][..], &length.to_be_bytes(), &packed].concat();
            assert!(column(&stored, 1 << 20, &mut room).is_err(), "{length}");
        }
        // What claims 4 GiB takes no more room than it fills.
        let stored = [&[0x84, 0xff, 0xff, 0xff, 0xff][..], &packed].concat();
        let mut room = Vec::new();
        assert!(column(&stored, usize::MAX, &mut room).is_err());
        assert!(room.capacity() <= 4 * CHUNK);
    }
}

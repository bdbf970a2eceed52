//! Compressed transactions (`binlog_transaction_compression=ON`), inflated as a stream.

use zstd::stream::raw::{Decoder as Zstd, InBuffer, Operation, OutBuffer};

use crate::compressed::CompressedEvent;
use crate::error::{DecodeError, Fault, Place};
use crate::header::{EventHeader, HEADER_LENGTH};
use crate::reader::Reader;

/// How many bytes are inflated at once.
const CHUNK: usize = 64 << 10;

/// The compression of a payload's bytes (`mysql::binlog::event::compression::type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

/// A whole transaction in one event: all its events but the one that begins it, without checksums, compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadEvent<'a> {
    compression: Compression,
    /// Inflated size, as the event says: a hint, never to be relied on.
    pub uncompressed_size: u64,
    bytes: &'a [u8],
    log_pos: u32,
}

impl<'a> PayloadEvent<'a> {
    /// The body is fields of type, length and value, all packed, up to the end mark 0; then the bytes.
    pub(crate) fn parse(place: Place, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let (mut size, mut compression, mut uncompressed_size) = (None, None, 0);
        loop {
            let field = reader.packed()?;
            if field == 0 {
                break;
            }
            let value = Reader::new(reader.packed_bytes()?).packed();
            match field {
                1 => size = Some(value?),
                2 => compression = Some(value?),
                3 => uncompressed_size = value?,
                _ => {}
            }
        }
        let compression = match compression {
            Some(0) => Compression::Zstd,
            Some(255) => Compression::None,
            Some(_) => return Err(reader.fault("its compression is neither ZSTD nor NONE")),
            None => return Err(reader.fault("it does not name its compression")),
        };
        let bytes = reader.rest();
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Err(reader.fault("its payload size is not the number of bytes that follow"));
        }
        Ok(Self { compression, uncompressed_size, bytes, log_pos: place.log_pos })
    }

    /// Compressed size.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Inflates payloads, one after the other, with the same buffers.
///
/// Memory is bounded by the largest inner event, itself bounded by the limit given, and by zstd's window.
pub struct Inflater {
    zstd: Option<Zstd<'static>>,
    buffer: Vec<u8>,
    limit: usize,
}

impl Inflater {
    /// An inflater that refuses inner events larger than `limit` bytes. (The server's own bound is 1 GiB.)
    pub fn new(limit: usize) -> Self {
        Self { zstd: None, buffer: Vec::new(), limit }
    }

    /// A MariaDB event with a compressed bulk as it would be without, whole: for
    /// [`Decoder::decode_inner`](crate::Decoder::decode_inner).
    pub fn inflate(&mut self, event: &CompressedEvent<'_>) -> Result<&[u8], DecodeError> {
        event.rebuild(&mut self.buffer, self.limit)?;
        Ok(&self.buffer)
    }

    /// Begins to inflate a payload.
    pub fn read<'i, 'a>(&'i mut self, payload: &PayloadEvent<'a>) -> Result<PayloadReader<'i, 'a>, DecodeError> {
        let log_pos = payload.log_pos;
        if payload.compression == Compression::Zstd {
            let fault = |e: std::io::Error| DecodeError::Payload { log_pos, what: format!("zstd does not start: {e}") };
            match &mut self.zstd {
                Some(zstd) => zstd.reinit().map_err(fault)?,
                None => self.zstd = Some(Zstd::new().map_err(fault)?),
            }
        }
        let zstd = if payload.compression == Compression::Zstd { self.zstd.as_mut() } else { None };
        Ok(PayloadReader {
            source: Source { zstd, input: payload.bytes, consumed: 0, frame_open: false },
            buffer: &mut self.buffer,
            begin: 0,
            end: 0,
            limit: self.limit,
            log_pos,
        })
    }
}

/// The compressed side of a reader.
struct Source<'i, 'a> {
    zstd: Option<&'i mut Zstd<'static>>,
    input: &'a [u8],
    consumed: usize,
    /// Whether a zstd frame was begun and not ended.
    frame_open: bool,
}

impl Source<'_, '_> {
    /// Fills as much of `output` as there is; 0 is the end.
    fn fill(&mut self, output: &mut [u8]) -> Result<usize, String> {
        let Some(zstd) = &mut self.zstd else {
            let rest = self.input.get(self.consumed..).unwrap_or_default();
            let count = rest.len().min(output.len());
            if let (Some(to), Some(from)) = (output.get_mut(..count), rest.get(..count)) {
                to.copy_from_slice(from);
            }
            self.consumed += count;
            return Ok(count);
        };
        loop {
            let rest = self.input.get(self.consumed..).unwrap_or_default();
            let mut from = InBuffer::around(rest);
            let mut to = OutBuffer::around(output);
            let hint = zstd.run(&mut from, &mut to).map_err(|e| format!("it does not inflate: {e}"))?;
            let (read, written) = (from.pos(), to.pos());
            self.consumed += read;
            if read > 0 || written > 0 {
                self.frame_open = hint != 0;
            }
            if written > 0 {
                return Ok(written);
            }
            if read == 0 {
                return if self.frame_open { Err("it is truncated".to_owned()) } else { Ok(0) };
            }
        }
    }
}

/// The inner events of one payload, one at a time.
pub struct PayloadReader<'i, 'a> {
    source: Source<'i, 'a>,
    buffer: &'i mut Vec<u8>,
    begin: usize,
    end: usize,
    limit: usize,
    log_pos: u32,
}

impl PayloadReader<'_, '_> {
    /// The next inner event, for [`Decoder::decode_inner`](crate::Decoder::decode_inner); `None` at the end.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        if !self.ensure(HEADER_LENGTH)? {
            return if self.begin == self.end {
                Ok(None)
            } else {
                Err(self.fault("it ends in the middle of a header"))
            };
        }
        let header = EventHeader::read(self.buffer.get(self.begin..self.end).unwrap_or_default())?;
        let size = header.event_size as usize;
        if size < HEADER_LENGTH {
            return Err(self.fault("an inner event is smaller than its header"));
        }
        if size > self.limit {
            let what = format!("an inner event has {size} bytes, the limit is {}", self.limit);
            return Err(DecodeError::Payload { log_pos: self.log_pos, what });
        }
        if !self.ensure(size)? {
            return Err(self.fault("it ends in the middle of an event"));
        }
        let begin = self.begin;
        self.begin += size;
        Ok(self.buffer.get(begin..begin + size))
    }

    /// Inflates until `count` bytes lie ready; false when the payload ends before.
    fn ensure(&mut self, count: usize) -> Result<bool, DecodeError> {
        if self.end - self.begin >= count {
            return Ok(true);
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        while self.end < count {
            // Grown by what was really inflated, not by what a header claims.
            if self.buffer.len() < self.end + CHUNK {
                self.buffer.resize((self.end + CHUNK).max((self.end * 2).min(self.limit)), 0);
            }
            let log_pos = self.log_pos;
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let filled = self.source.fill(room).map_err(|what| DecodeError::Payload { log_pos, what })?;
            if filled == 0 {
                return Ok(false);
            }
            self.end += filled;
        }
        Ok(true)
    }

    fn fault(&self, what: &str) -> DecodeError {
        DecodeError::Payload { log_pos: self.log_pos, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(size: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.push(16);
        bytes.extend([0; 4]);
        bytes.extend((size as u32).to_le_bytes());
        bytes.extend([0; 6]);
        bytes.resize(size, fill);
        bytes
    }

    fn body(compression: u8, bytes: &[u8]) -> Vec<u8> {
        let mut body = vec![2, if compression == 255 { 3 } else { 1 }];
        body.extend(if compression == 255 { &[252, 255, 0][..] } else { &[0][..] });
        body.push(0);
        body.extend(bytes);
        body
    }

    fn read(inflater: &mut Inflater, body: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
        let payload = PayloadEvent::parse(Place::default(), body).unwrap();
        let mut reader = inflater.read(&payload)?;
        let mut events = Vec::new();
        while let Some(event) = reader.next_event()? {
            events.push(event.to_vec());
        }
        Ok(events)
    }

    #[test]
    fn inner_events_come_out_one_by_one() {
        let events = vec![event(19, 0), event(300_000, 7), event(31, 1), event(70_000, 2)];
        let plain = events.concat();
        let mut inflater = Inflater::new(1 << 20);
        for _ in 0..2 {
            let packed = zstd::bulk::compress(&plain, 3).unwrap();
            assert_eq!(read(&mut inflater, &body(0, &packed)).unwrap(), events);
            assert_eq!(read(&mut inflater, &body(255, &plain)).unwrap(), events);
        }
        let frames =
            [zstd::bulk::compress(&events[0], 3).unwrap(), zstd::bulk::compress(&events[1], 3).unwrap()].concat();
        assert_eq!(read(&mut inflater, &body(0, &frames)).unwrap(), events[..2]);
    }

    #[test]
    fn cut_or_oversized_payloads_are_refused() {
        let plain = [event(50, 0), event(5_000, 7)].concat();
        let packed = zstd::bulk::compress(&plain, 3).unwrap();
        let mut inflater = Inflater::new(1 << 20);
        for cut in 1..packed.len() {
            assert!(read(&mut inflater, &body(0, &packed[..cut])).is_err(), "{cut}");
        }
        assert!(read(&mut inflater, &body(255, &plain[..60])).is_err());
        assert!(read(&mut Inflater::new(4_000), &body(0, &packed)).is_err());
        assert!(PayloadEvent::parse(Place::default(), &[2, 1, 9, 0]).is_err());
    }
}

//! MySQL's binary JSON to the text that the server prints (`json_binary.h` and `Json_wrapper::to_string` of the MySQL
//! source), with [marks](lutra_change::json) in front of scalars whose type that text does not tell.

use lutra_change::JsonScalar;

use crate::double;
use crate::error::Fault;
use crate::reader::Reader;
use crate::text::{self, Temporal, Text};

/// The server refuses deeper documents (`JSON_DOCUMENT_MAX_DEPTH`).
const MAX_DEPTH: u32 = 100;
const TOO_DEEP: &str = "a JSON document is deeper than 100 levels";

mod kind {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Prints a document into `out`, which is cleared first.
///
/// Containers point at their members, so hostile bytes can point at the same ones over and over: whoever prints more than
/// the document has bytes to account for is stopped.
pub(crate) fn print(document: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.clear();
    // What an in-place conversion of a column left: the server reads it as null.
    let Some((&kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    Printer::new(out, document.len()).value(kind, value, 0).map_err(|fault| fault.what)
}

/// Writes values behind what is there.
pub(crate) struct Printer<'o> {
    out: &'o mut Vec<u8>,
    /// Bytes of the document that were not yet accounted for.
    budget: usize,
}

impl<'o> Printer<'o> {
    /// A printer of a document of that many bytes.
    pub(crate) fn new(out: &'o mut Vec<u8>, budget: usize) -> Self {
        Self { out, budget }
    }

    /// A whole document: its kind and its bytes.
    pub(crate) fn document(&mut self, document: &[u8]) -> Result<(), Fault> {
        match document.split_first() {
            Some((&kind, value)) => self.value(kind, value, 0),
            None => {
                self.text("null");
                Ok(())
            }
        }
    }

    /// Begins a container.
    pub(crate) fn enter(&mut self, object: bool, depth: u32) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault { what: TOO_DEEP, at: 0 });
        }
        self.out.push(if object { b'{' } else { b'[' });
        Ok(())
    }

    /// Ends a container.
    pub(crate) fn leave(&mut self, object: bool) {
        self.out.push(if object { b'}' } else { b']' });
    }

    pub(crate) fn account(&mut self, bytes: usize) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Fault { what: "JSON members overlap", at: 0 })?;
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: impl std::fmt::Display) -> Result<(), Fault> {
        use std::io::Write as _;
        write!(self.out, "{number}").map_err(|_| Fault { what: "a JSON number does not print", at: 0 })
    }

    fn mark(&mut self, scalar: JsonScalar) {
        self.out.extend_from_slice(scalar.marks());
    }

    /// The server takes whole numbers of 32 bits for signed ones and larger ones for unsigned ones when it parses text.
    fn unsigned(&mut self, number: u64) -> Result<(), Fault> {
        if u32::try_from(number).is_ok() {
            self.mark(JsonScalar::Unsigned);
        }
        self.number(number)
    }

    fn signed(&mut self, number: i64) -> Result<(), Fault> {
        if number > i64::from(u32::MAX) {
            self.mark(JsonScalar::Signed);
        }
        self.number(number)
    }

    /// A value of that kind that begins with `bytes`.
    pub(crate) fn value(&mut self, kind: u8, bytes: &[u8], depth: u32) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        match kind {
            kind::SMALL_OBJECT => self.container::<2>(bytes, true, depth),
            kind::LARGE_OBJECT => self.container::<4>(bytes, true, depth),
            kind::SMALL_ARRAY => self.container::<2>(bytes, false, depth),
            kind::LARGE_ARRAY => self.container::<4>(bytes, false, depth),
            kind::LITERAL => {
                let literal = match reader.u8()? {
                    0 => "null",
                    1 => "true",
                    2 => "false",
                    _ => return Err(reader.fault("a JSON literal is unknown")),
                };
                self.text(literal);
                Ok(())
            }
            kind::INT16 => self.number(reader.u16()? as i16),
            kind::UINT16 => self.unsigned(reader.u16()?.into()),
            kind::INT32 => self.number(reader.u32()? as i32),
            kind::UINT32 => self.unsigned(reader.u32()?.into()),
            kind::INT64 => self.signed(reader.u64()? as i64),
            kind::UINT64 => self.unsigned(reader.u64()?),
            kind::DOUBLE => {
                let number = f64::from_le_bytes(reader.array()?);
                double::print(number, self.out).ok_or_else(|| reader.fault("a JSON number is not finite"))
            }
            kind::STRING => {
                let string = sized(&mut reader)?;
                self.account(string.len())?;
                self.quoted(string);
                Ok(())
            }
            kind::OPAQUE => self.opaque(&mut reader),
            _ => Err(reader.fault("a JSON value is of an unknown kind")),
        }
    }

    /// Count, size, keys (offset and length), members (kind and offset, or the value itself where it is small enough);
    /// numbers are `N` bytes wide, offsets count from here.
    fn container<const N: usize>(&mut self, bytes: &[u8], object: bool, depth: u32) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        if depth >= MAX_DEPTH {
            return Err(reader.fault(TOO_DEEP));
        }
        let (count, size) = (reader.uint(N)? as usize, reader.uint(N)? as usize);
        let Some(bytes) = bytes.get(..size) else {
            return Err(reader.fault("a JSON container is larger than what holds it"));
        };
        let entry = N + 1 + if object { N + 2 } else { 0 };
        self.account(count.saturating_mul(entry))?;
        let keys = reader.take(if object { count * (N + 2) } else { 0 })?;
        let mut keys = Reader::new(keys);
        let mut members = Reader::new(reader.take(count * (N + 1))?);
        self.out.push(if object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.text(", ");
            }
            if object {
                let (offset, length) = (keys.uint(N)? as usize, usize::from(keys.u16()?));
                let key = bytes.get(offset..).and_then(|tail| tail.get(..length));
                let key = key.ok_or_else(|| reader.fault("a JSON key lies outside its object"))?;
                self.account(length)?;
                self.quoted(key);
                self.text(": ");
            }
            let kind = members.u8()?;
            let slot = members.take(N)?;
            let small = matches!(kind, kind::LITERAL | kind::INT16 | kind::UINT16);
            if small || (N == 4 && matches!(kind, kind::INT32 | kind::UINT32)) {
                self.value(kind, slot, depth + 1)?;
            } else {
                let offset = Reader::new(slot).uint(N)? as usize;
                let member =
                    bytes.get(offset..).ok_or_else(|| reader.fault("a JSON member lies outside its container"))?;
                self.value(kind, member, depth + 1)?;
            }
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }

    /// A scalar of an SQL type: type number, length, bytes.
    fn opaque(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let column_type = reader.u8()?;
        let bytes = sized(reader)?;
        self.account(bytes.len())?;
        match column_type {
            // DECIMAL: precision and scale in front.
            246 => {
                let mut number = Reader::new(bytes);
                let (precision, scale) = (number.u8()?, number.u8()?);
                if !(1..=65).contains(&precision) || scale > 30 || scale > precision {
                    return Err(number.fault("a JSON decimal is out of range"));
                }
                let mut room = Text::default();
                let text = text::decimal(&mut number, precision, scale, &mut room)?;
                self.mark(JsonScalar::Decimal);
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            10 => self.temporal(bytes, Temporal::Date, JsonScalar::Date),
            11 => self.temporal(bytes, Temporal::Time, JsonScalar::Time),
            7 => self.temporal(bytes, Temporal::DateTime, JsonScalar::Timestamp),
            12 => self.temporal(bytes, Temporal::DateTime, JsonScalar::DateTime),
            // A string that was stored as what it came from.
            253 => {
                self.quoted(bytes);
                Ok(())
            }
            _ => {
                self.mark(JsonScalar::Bytes);
                self.text("\"base64:type");
                self.number(column_type)?;
                self.out.push(b':');
                base64(bytes, self.out);
                self.out.push(b'"');
                Ok(())
            }
        }
    }

    fn temporal(&mut self, bytes: &[u8], kind: Temporal, scalar: JsonScalar) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        let packed = reader.u64()? as i64;
        let mut room = Text::default();
        text::json_temporal(packed, kind, &mut room).map_err(|what| reader.fault(what))?;
        self.mark(scalar);
        self.out.push(b'"');
        self.out.extend_from_slice(room.as_str().as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    /// A string in quotes, with `"`, `\` and control characters escaped, and nothing else.
    pub(crate) fn quoted(&mut self, string: &[u8]) {
        self.out.push(b'"');
        let mut rest = string;
        while let Some(at) = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
            let (plain, tail) = rest.split_at_checked(at).unwrap_or_default();
            self.out.extend_from_slice(plain);
            let Some((&byte, tail)) = tail.split_first() else { break };
            self.escaped(byte);
            rest = tail;
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    fn escaped(&mut self, byte: u8) {
        let hex = |nibble: u8| b"0123456789abcdef".get(usize::from(nibble)).copied().unwrap_or(b'0');
        match byte {
            b'"' | b'\\' => self.out.extend([b'\\', byte]),
            0x08 => self.text("\\b"),
            0x09 => self.text("\\t"),
            0x0a => self.text("\\n"),
            0x0c => self.text("\\f"),
            0x0d => self.text("\\r"),
            _ => self.out.extend([b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

/// An object or array, entered at any member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    bytes: &'a [u8],
    /// Bytes of a number: 2 in small containers, 4 in large ones.
    width: usize,
    object: bool,
    count: usize,
}

impl<'a> Container<'a> {
    /// The container of that kind that begins with `bytes`; `None` for a scalar.
    pub(crate) fn read(kind: u8, bytes: &'a [u8]) -> Result<Option<Self>, Fault> {
        let (width, object) = match kind {
            kind::SMALL_OBJECT => (2, true),
            kind::LARGE_OBJECT => (4, true),
            kind::SMALL_ARRAY => (2, false),
            kind::LARGE_ARRAY => (4, false),
            _ => return Ok(None),
        };
        let mut reader = Reader::new(bytes);
        let (count, size) = (reader.uint(width)? as usize, reader.uint(width)? as usize);
        let bytes = bytes.get(..size).ok_or_else(|| reader.fault("a JSON container is larger than what holds it"))?;
        let container = Self { bytes, width, object, count };
        // All entries are there: what a member is counted by was really read.
        container.slice(2 * width, count.saturating_mul(container.entry()))?;
        Ok(Some(container))
    }

    pub(crate) fn is_object(&self) -> bool {
        self.object
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of what is said of one member.
    fn entry(&self) -> usize {
        self.width + 1 + if self.object { self.width + 2 } else { 0 }
    }

    fn slice(&self, offset: usize, length: usize) -> Result<&'a [u8], Fault> {
        let slice = self.bytes.get(offset..).and_then(|tail| tail.get(..length));
        slice.ok_or(Fault { what: "a JSON member lies outside its container", at: offset })
    }

    /// The key of an object's member.
    pub(crate) fn key(&self, index: usize) -> Result<&'a [u8], Fault> {
        let entry = self.width + 2;
        let mut reader = Reader::new(self.slice(2 * self.width + index * entry, entry)?);
        let (offset, length) = (reader.uint(self.width)? as usize, usize::from(reader.u16()?));
        self.slice(offset, length)
    }

    /// Kind and bytes of a member.
    pub(crate) fn member(&self, index: usize) -> Result<(u8, &'a [u8]), Fault> {
        let keys = if self.object { self.count * (self.width + 2) } else { 0 };
        let mut reader = Reader::new(self.slice(2 * self.width + keys + index * (self.width + 1), self.width + 1)?);
        let kind = reader.u8()?;
        let slot = reader.rest();
        let small = matches!(kind, kind::LITERAL | kind::INT16 | kind::UINT16);
        if small || (self.width == 4 && matches!(kind, kind::INT32 | kind::UINT32)) {
            return Ok((kind, slot));
        }
        let offset = Reader::new(slot).uint(self.width)? as usize;
        let bytes = self.bytes.get(offset..);
        Ok((kind, bytes.ok_or(Fault { what: "a JSON member lies outside its container", at: offset })?))
    }
}

/// A length of seven bits per byte, low ones first, and that many bytes.
fn sized<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let mut length = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = reader.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let length = u32::try_from(length).map_err(|_| reader.fault("a JSON length is out of range"))?;
            return reader.take(length as usize);
        }
    }
    Err(reader.fault("a JSON length is out of range"))
}

/// Base64 as the server's own encoder writes it: a line break, here already escaped, after every 76 characters.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |index: u32| ALPHABET.get((index & 63) as usize).copied().unwrap_or(b'=');
    for (group, chunk) in bytes.chunks(3).enumerate() {
        if group > 0 && group % 19 == 0 {
            out.extend_from_slice(b"\\n");
        }
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(letter(number >> 18));
        out.push(letter(number >> 12));
        out.push(if chunk.len() > 1 { letter(number >> 6) } else { b'=' });
        out.push(if chunk.len() > 2 { letter(number) } else { b'=' });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn printed(document: &[u8]) -> Result<String, &'static str> {
        let mut out = Vec::new();
        print(document, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn containers_and_scalars_are_printed() {
        // {"a": 1, "b": [true, null]}
        let document = [
            &[0u8, 2, 0, 30, 0][..],
            &[18, 0, 1, 0, 19, 0, 1, 0],
            &[5, 1, 0, 2, 20, 0],
            b"ab",
            &[2, 0, 10, 0, 4, 1, 0, 4, 0, 0],
        ]
        .concat();
        assert_eq!(printed(&document).unwrap(), r#"{"a": 1, "b": [true, null]}"#);
        assert_eq!(printed(b"").unwrap(), "null");
        assert_eq!(printed(b"\x0c\x04a\"\x01\n").unwrap(), r#""a\"\u0001\n""#);
        assert_eq!(printed(b"\x0f\xfc\x02\xff\xfe").unwrap(), "\t\t\t\t\t\t\t\t\"base64:type252://4=\"");
    }

    #[test]
    fn members_that_point_at_one_another_do_not_multiply() {
        // An array whose two members are arrays at the same place, nested as often as fits.
        let mut document = vec![2u8];
        for _ in 0..80 {
            document.extend([2, 0, 200, 0, 2, 10, 0, 2, 10, 0]);
        }
        document.extend([0; 200]);
        assert!(printed(&document).is_err());
    }
}

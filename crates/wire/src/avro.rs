//! Avro's binary encoding (specification 1.12, "Binary Encoding"): varints, zig-zag, blocks.

use bytes::Bytes;

use crate::error::WireError;

/// Appends a `long` (or `int`).
#[inline]
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a length or count. Lengths in memory fit 63 bits.
#[inline]
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_long(out, len as i64);
}

/// Appends `bytes` or a `string`.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a union of null and something: the branch index.
#[inline]
pub(crate) fn put_branch(out: &mut Vec<u8>, present: bool) {
    out.push(if present { 2 } else { 0 });
}

/// Appends `["null", "bytes"]`.
pub(crate) fn put_optional_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_branch(out, bytes.is_some());
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

/// Appends `["null", "long"]` (or `int`).
pub(crate) fn put_optional_long(out: &mut Vec<u8>, value: Option<i64>) {
    put_branch(out, value.is_some());
    if let Some(value) = value {
        put_long(out, value);
    }
}

/// Appends a `boolean`.
pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Reads Avro's binary encoding from bytes that may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        let byte = *self.bytes.get(self.at).ok_or(WireError::CutOff { what })?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn long(&mut self, what: &'static str) -> Result<i64, WireError> {
        let first = self.byte(what)?;
        let mut value = u64::from(first & 0x7f);
        if first & 0x80 != 0 {
            let mut shift = 7;
            loop {
                let byte = self.byte(what)?;
                if shift == 63 && byte > 1 {
                    return Err(WireError::Malformed { what, reason: "a varint of more than 64 bits".to_owned() });
                }
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
            }
        }
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i32, WireError> {
        let found = self.long(what)?;
        i32::try_from(found).map_err(|_| WireError::OutOfRange { what, found })
    }

    /// A `long` that fits `T`.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self, what: &'static str) -> Result<T, WireError> {
        let found = self.long(what)?;
        T::try_from(found).map_err(|_| WireError::OutOfRange { what, found })
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(WireError::OutOfRange { what, found: i64::from(found) }),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(len).filter(|&e| e <= self.bytes.len()).ok_or(WireError::CutOff { what })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N, what)?);
        Ok(fixed)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len: usize = self.number(what)?;
        self.take(len, what)
    }

    #[inline]
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| WireError::NotText { what })
    }

    /// The branch of a union of null and one more: whether it is that one.
    #[inline]
    pub(crate) fn present(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.byte(what)? {
            0 => Ok(false),
            2 => Ok(true),
            found => Err(WireError::OutOfRange { what, found: i64::from(found) }),
        }
    }

    pub(crate) fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.present(what)? { read(self).map(Some) } else { Ok(None) }
    }

    /// An array: every block of it, with or without its size in bytes. Items cost memory only as they are read, and an item
    /// takes at least one byte, so a count cannot promise more than there is.
    pub(crate) fn array(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        loop {
            let mut count = self.long(what)?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or(WireError::OutOfRange { what, found: count })?;
                let _: usize = self.number(what)?;
            }
            if usize::try_from(count).map_or(true, |c| c > self.left()) {
                return Err(WireError::CutOff { what });
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    pub(crate) fn end(&self, what: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            count => Err(WireError::Trailing { what, count }),
        }
    }
}

/// The part of `whole` that `part`, a slice of it, covers; without a copy.
pub(crate) fn share(whole: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { whole.slice_ref(part) }
}

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

/// Why a value cannot be read. Small and free to drop, as it stands in the result of every read; [`WireError`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    what: &'static str,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    CutOff,
    OutOfRange(i64),
    NotText,
    TooLong,
    Trailing(usize),
}

impl Fault {
    fn cut_off(what: &'static str) -> Self {
        Self { what, why: Why::CutOff }
    }

    /// A number that is not one of those allowed.
    pub(crate) fn out_of_range(what: &'static str, found: i64) -> Self {
        Self { what, why: Why::OutOfRange(found) }
    }

    /// A number of more bytes or bits than it may have.
    pub(crate) fn too_long(what: &'static str) -> Self {
        Self { what, why: Why::TooLong }
    }
}

impl From<Fault> for WireError {
    #[cold]
    fn from(Fault { what, why }: Fault) -> Self {
        match why {
            Why::CutOff => Self::CutOff { what },
            Why::OutOfRange(found) => Self::OutOfRange { what, found },
            Why::NotText => Self::NotText { what },
            Why::TooLong => Self::Malformed { what, reason: "a number of more bits than it may have".to_owned() },
            Why::Trailing(count) => Self::Trailing { what, count },
        }
    }
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
    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::cut_off(what))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn long(&mut self, what: &'static str) -> Result<i64, Fault> {
        let first = self.byte(what)?;
        let mut value = u64::from(first & 0x7f);
        if first & 0x80 != 0 {
            let mut shift = 7;
            loop {
                let byte = self.byte(what)?;
                if shift == 63 && byte > 1 {
                    return Err(Fault::too_long(what));
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

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i32, Fault> {
        let found = self.long(what)?;
        i32::try_from(found).map_err(|_| Fault::out_of_range(what, found))
    }

    /// A `long` that fits `T`.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self, what: &'static str) -> Result<T, Fault> {
        let found = self.long(what)?;
        T::try_from(found).map_err(|_| Fault::out_of_range(what, found))
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, Fault> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Fault::out_of_range(what, found.into())),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(len).filter(|&e| e <= self.bytes.len()).ok_or(Fault::cut_off(what))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Fault> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N, what)?);
        Ok(fixed)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Fault> {
        let len: usize = self.number(what)?;
        self.take(len, what)
    }

    #[inline]
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Fault { what, why: Why::NotText })
    }

    /// The branch of a union of null and one more: whether it is that one.
    #[inline]
    pub(crate) fn present(&mut self, what: &'static str) -> Result<bool, Fault> {
        match self.byte(what)? {
            0 => Ok(false),
            2 => Ok(true),
            found => Err(Fault::out_of_range(what, found.into())),
        }
    }

    pub(crate) fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        if self.present(what)? { read(self).map(Some) } else { Ok(None) }
    }

    /// An array: every block of it, with or without its size in bytes. Items cost memory only as they are read, and an
    /// item takes at least one byte, so a count cannot promise more than there is.
    pub(crate) fn array(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            let count = self.long(what)?;
            if count == 0 {
                return Ok(());
            }
            let end = if count < 0 { Some(self.block_end(what)?) } else { None };
            if usize::try_from(count.unsigned_abs()).map_or(true, |c| c > self.left()) {
                return Err(Fault::cut_off(what));
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
            if end.is_some_and(|end| end != self.at) {
                return Err(Fault::out_of_range(what, count));
            }
        }
    }

    /// Where a block that says its size ends.
    fn block_end(&mut self, what: &'static str) -> Result<usize, Fault> {
        let size: usize = self.number(what)?;
        self.at.checked_add(size).filter(|&end| end <= self.bytes.len()).ok_or(Fault::cut_off(what))
    }

    pub(crate) fn end(&self, what: &'static str) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            count => Err(Fault { what, why: Why::Trailing(count) }),
        }
    }
}

/// The part of `whole` that `part`, a slice of it, covers; without a copy.
pub(crate) fn share(whole: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { whole.slice_ref(part) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn texts(bytes: &[u8]) -> Result<Vec<String>, Fault> {
        let mut texts = Vec::new();
        let mut input = Input::new(bytes);
        input.array("texts", |i| {
            texts.push(i.text("text")?.to_owned());
            Ok(())
        })?;
        input.end("texts")?;
        Ok(texts)
    }

    #[test]
    fn longs_are_those_of_the_specification() {
        for (value, bytes) in [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-64, vec![0x7f]), (64, vec![0x80, 1])] {
            let mut out = Vec::new();
            put_long(&mut out, value);
            assert_eq!(out, bytes);
        }
        assert_eq!(Input::new(&[0xff; 10]).long("it"), Err(Fault::too_long("it")));
        assert_eq!(Input::new(&[0xff; 9]).long("it"), Err(Fault::cut_off("it")));
    }

    #[test]
    fn counts_and_sizes_beyond_the_bytes_there_are_cost_nothing() {
        for (count, size) in
            [(i64::MAX, None), (3, None), (-3, Some(2)), (-1, Some(i64::MAX)), (i64::MIN, Some(1)), (-1, Some(-1))]
        {
            let mut bytes = Vec::new();
            put_long(&mut bytes, count);
            size.into_iter().for_each(|s| put_long(&mut bytes, s));
            bytes.extend_from_slice(&[0, 0]);
            assert!(texts(&bytes).is_err(), "{count} {size:?}");
        }
    }

    proptest! {
        #[test]
        fn longs_survive(value: i64) {
            let mut out = Vec::new();
            put_long(&mut out, value);
            let mut input = Input::new(&out);
            prop_assert_eq!(input.long("it"), Ok(value));
            prop_assert_eq!(input.end("it"), Ok(()));
        }

        #[test]
        fn arrays_are_read_however_they_are_cut_into_blocks(blocks in prop::collection::vec((prop::collection::vec("[a-z]{0,3}", 1..4), any::<bool>()), 0..4)) {
            let mut bytes = Vec::new();
            for (items, sized) in &blocks {
                let mut block = Vec::new();
                items.iter().for_each(|i| put_bytes(&mut block, i.as_bytes()));
                put_long(&mut bytes, if *sized { -(items.len() as i64) } else { items.len() as i64 });
                if *sized {
                    put_len(&mut bytes, block.len());
                }
                bytes.extend_from_slice(&block);
            }
            put_len(&mut bytes, 0);
            prop_assert_eq!(texts(&bytes), Ok(blocks.into_iter().flat_map(|b| b.0).collect()));
        }
    }
}

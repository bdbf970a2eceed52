//! Reading little-endian numbers and packed lengths from foreign bytes.

use crate::error::Fault;

const TRUNCATED: &str = "it ends in the middle of a field";

/// A place in foreign bytes. Every step is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The byte to be read next, counted from the start.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether all was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// A fault at this place.
    pub(crate) fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.at }
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        // `at` never passes the end, so the tail always exists.
        match self.bytes.get(self.at..).and_then(|tail| tail.get(..count)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.fault(TRUNCATED)),
        }
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.bytes.get(self.at..).and_then(|tail| tail.first_chunk::<N>()) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.fault(TRUNCATED)),
        }
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u24(&mut self) -> Result<u32, Fault> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u48(&mut self) -> Result<u64, Fault> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    #[inline]
    pub(crate) fn u56(&mut self) -> Result<u64, Fault> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An unsigned number of `width` bytes (0 to 8), little-endian.
    #[inline]
    pub(crate) fn uint(&mut self, width: usize) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let taken = self.take(width)?;
        match bytes.get_mut(..width) {
            Some(low) => low.copy_from_slice(taken),
            None => return Err(self.fault("a number is wider than 8 bytes")),
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// A packed number ("length-encoded integer" of the client protocol).
    pub(crate) fn packed(&mut self) -> Result<u64, Fault> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => Ok(u64::from(self.u16()?)),
            253 => Ok(u64::from(self.u24()?)),
            254 => self.u64(),
            _ => Err(self.fault("a packed number begins with 251 or 255")),
        }
    }

    /// A packed number that counts or measures something inside these bytes.
    pub(crate) fn packed_length(&mut self) -> Result<usize, Fault> {
        let number = self.packed()?;
        usize::try_from(number).map_err(|_| self.fault("a length is out of range"))
    }

    /// A packed length and that many bytes.
    pub(crate) fn packed_bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.packed_length()?;
        self.take(length)
    }

    /// A byte of length and that many bytes.
    pub(crate) fn short_bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    /// A byte of length, that many bytes, and a zero byte that does not count.
    pub(crate) fn short_text_z(&mut self) -> Result<&'a str, Fault> {
        let bytes = self.short_bytes()?;
        let text = self.text(bytes)?;
        if self.u8()? == 0 { Ok(text) } else { Err(self.fault("a name does not end in a zero byte")) }
    }

    /// Bytes as UTF-8 text.
    pub(crate) fn text(&self, bytes: &'a [u8]) -> Result<&'a str, Fault> {
        std::str::from_utf8(bytes).map_err(|_| self.fault("a name is not UTF-8"))
    }

    /// A variable-length unsigned number of MySQL's serialization library: trailing ones of the first byte count the
    /// bytes that follow (MySQL source documentation, "MySQL Serialization Library").
    pub(crate) fn varlen(&mut self) -> Result<u64, Fault> {
        let first = self.u8()?;
        let extra = first.trailing_ones();
        if extra == 8 {
            return self.u64();
        }
        // At most seven more bytes: the shift below stays under 64.
        let high = self.uint(extra as usize)?;
        let low_bits = 7 - extra;
        let low = if extra == 7 { 0 } else { u64::from(first >> (extra + 1)) };
        Ok(low | (high << low_bits))
    }

    /// A variable-length signed number of the same library.
    pub(crate) fn varlen_signed(&mut self) -> Result<i64, Fault> {
        let raw = self.varlen()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Encodes as the format's description says, in its slowest form.
    fn varlen(number: u64) -> Vec<u8> {
        let bits = 64 - number.leading_zeros();
        let bytes = match bits {
            0 => 1,
            57.. => return std::iter::once(0xff).chain(number.to_le_bytes()).collect(),
            n => n.div_ceil(7),
        };
        let whole = (u128::from(number) << bytes) | ((1u128 << (bytes - 1)) - 1);
        whole.to_le_bytes()[..bytes as usize].to_vec()
    }

    #[test]
    fn documented_variable_length_numbers_are_read() {
        assert_eq!(Reader::new(&[0b1111_1011, 0xff, 0b0000_0111]).varlen().unwrap(), 65_535);
        assert_eq!(Reader::new(&[0b1111_0011, 0xff, 0b0000_1111]).varlen_signed().unwrap(), 65_535);
        assert_eq!(Reader::new(&[0b1111_1011, 0xff, 0b0000_1111]).varlen_signed().unwrap(), -65_536);
    }

    proptest! {
        #[test]
        fn variable_length_numbers_survive(number: u64, shift in 0u32..64) {
            let number = number >> shift;
            let bytes = varlen(number);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varlen().unwrap(), number);
            prop_assert!(reader.is_empty());
        }
    }
}

//! Dates, times and decimals in the server's own text (MySQL source documentation, `my_time.cc` and `decimal.cc`).

use crate::error::Fault;
use crate::reader::Reader;

/// Room for the longest text: a DECIMAL with 65 digits, sign, point and leading zero.
const ROOM: usize = 80;

/// A short text on its way; ASCII only.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    bytes: [u8; ROOM],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }
}

impl Text {
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..).and_then(|tail| tail.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    /// Exactly `width` digits (9 at most).
    #[inline]
    fn digits(&mut self, mut number: u32, width: u8) {
        let mut digits = [b'0'; 9];
        let used = digits.get_mut(..usize::from(width)).unwrap_or_default();
        for digit in used.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        if let Some(room) = self.bytes.get_mut(self.length..).and_then(|tail| tail.get_mut(..used.len())) {
            room.copy_from_slice(used);
            self.length += used.len();
        }
    }

    fn fraction(&mut self, micros: u32, fsp: u8) {
        if fsp > 0 {
            self.push(b'.');
            self.digits(micros / 10u32.pow(u32::from(6 - fsp.min(6))), fsp.min(6));
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// Bytes that hold 0 to 9 decimal digits.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Bytes of a DECIMAL.
fn decimal_bytes(precision: u8, scale: u8) -> usize {
    let part =
        |digits: u8| usize::from(digits / 9) * 4 + DIGIT_BYTES.get(usize::from(digits % 9)).copied().unwrap_or(0);
    part(precision.saturating_sub(scale)) + part(scale)
}

/// DECIMAL: groups of nine digits in four bytes, big-endian, the shorter groups outermost; negative numbers have every
/// bit inverted, and the sign bit is set for positive ones.
pub(crate) fn decimal<'t>(
    reader: &mut Reader<'_>,
    precision: u8,
    scale: u8,
    text: &'t mut Text,
) -> Result<&'t str, Fault> {
    let stored = reader.take(decimal_bytes(precision, scale))?;
    let mut bytes = [0; 32];
    let Some(raw) = bytes.get_mut(..stored.len()).filter(|raw| !raw.is_empty()) else {
        return Err(reader.fault("a DECIMAL is wider than 65 digits"));
    };
    raw.copy_from_slice(stored);
    let negative = raw.first().is_some_and(|first| first & 0x80 == 0);
    if negative {
        raw.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if let Some(first) = raw.first_mut() {
        *first &= 0x7f;
    }
    let mut groups = Reader::new(raw);
    let integer = precision.saturating_sub(scale);
    let mut digits = Text::default();
    let widths = std::iter::once(integer % 9)
        .chain(std::iter::repeat_n(9, usize::from(integer / 9)))
        .chain(std::iter::repeat_n(9, usize::from(scale / 9)))
        .chain(std::iter::once(scale % 9));
    for width in widths.filter(|&w| w > 0) {
        let mut number = 0u32;
        for &byte in groups.take(DIGIT_BYTES.get(usize::from(width)).copied().unwrap_or(0))? {
            number = number << 8 | u32::from(byte);
        }
        if number >= 10u32.pow(u32::from(width)) {
            return Err(reader.fault("a group of a DECIMAL is too large"));
        }
        digits.digits(number, width);
    }
    let (whole, rest) = digits.as_str().split_at_checked(usize::from(integer)).unwrap_or_default();
    let zero = whole.bytes().chain(rest.bytes()).all(|b| b == b'0');
    if negative && !zero {
        text.push(b'-');
    }
    let whole = whole.trim_start_matches('0');
    if whole.is_empty() {
        text.push(b'0');
    }
    text.extend(whole.as_bytes());
    if !rest.is_empty() {
        text.push(b'.');
        text.extend(rest.as_bytes());
    }
    Ok(text.as_str())
}

/// The two digits of a number below 100.
#[inline]
fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn push_date(text: &mut Text, year: u32, month: u32, day: u32) {
    let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
    let ([e, f], [g, h]) = (two(month), two(day));
    text.extend(&[a, b, c, d, b'-', e, f, b'-', g, h]);
}

fn push_clock(text: &mut Text, hour: u32, minute: u32, second: u32) {
    if hour >= 100 {
        text.push(b'0' + (hour / 100 % 10) as u8);
    }
    let ([a, b], [c, d], [e, f]) = (two(hour % 100), two(minute), two(second));
    text.extend(&[a, b, b':', c, d, b':', e, f]);
}

/// DATE: day 5 bits, month 4, year 15.
pub(crate) fn date<'t>(reader: &mut Reader<'_>, text: &'t mut Text) -> Result<&'t str, Fault> {
    let packed = reader.u24()?;
    let (year, month, day) = (packed >> 9, packed >> 5 & 15, packed & 31);
    if year > 9999 || month > 12 {
        return Err(reader.fault("a DATE is out of range"));
    }
    push_date(text, year, month, day);
    Ok(text.as_str())
}

/// The fraction of TIME, DATETIME and TIMESTAMP, in microseconds: no, one, two or three bytes, big-endian.
pub(crate) fn fraction(reader: &mut Reader<'_>, fsp: u8) -> Result<u32, Fault> {
    let micros = match fsp {
        0 => 0,
        1 | 2 => u32::from(reader.u8()?) * 10_000,
        3 | 4 => u32::from(u16::from_be_bytes(reader.array()?)) * 100,
        _ => {
            let [a, b, c] = reader.array()?;
            u32::from_be_bytes([0, a, b, c])
        }
    };
    if micros < 1_000_000 { Ok(micros) } else { Err(reader.fault("a fraction of a second is out of range")) }
}

/// A date and time as the server packs it: year and month together, then day, hour, minute, second by bits.
fn push_packed_datetime(text: &mut Text, whole: u64) -> Result<(), &'static str> {
    let (date, clock) = ((whole >> 17) as u32, (whole & 0x1_ffff) as u32);
    let (year_month, day) = (date >> 5, date & 31);
    let (year, month) = (year_month / 13, year_month % 13);
    if whole >> 49 != 0 || year > 9999 {
        return Err("a DATETIME is out of range");
    }
    push_date(text, year, month, day);
    text.push(b' ');
    push_clock(text, clock >> 12, clock >> 6 & 63, clock & 63);
    Ok(())
}

/// DATETIME: five bytes, big-endian, with the highest bit set, and the fraction.
pub(crate) fn datetime<'t>(reader: &mut Reader<'_>, fsp: u8, text: &'t mut Text) -> Result<&'t str, Fault> {
    let [a, b, c, d, e] = reader.array()?;
    let whole = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    let Some(whole) = whole.checked_sub(0x80_0000_0000) else {
        return Err(reader.fault("a DATETIME is negative"));
    };
    push_packed_datetime(text, whole).map_err(|what| reader.fault(what))?;
    let micros = fraction(reader, fsp)?;
    text.fraction(micros, fsp);
    Ok(text.as_str())
}

/// A time as the server packs it: hour 10 bits, minute 6, second 6, then 24 bits of microseconds; sign outside.
fn push_packed_time(text: &mut Text, packed: i64, fsp: u8) -> Result<(), &'static str> {
    if packed < 0 {
        text.push(b'-');
    }
    let magnitude = packed.unsigned_abs();
    let (clock, micros) = ((magnitude >> 24) as u32, (magnitude & 0xff_ffff) as u32);
    if magnitude >> 46 != 0 || micros > 999_999 {
        return Err("a TIME is out of range");
    }
    push_clock(text, clock >> 12, clock >> 6 & 63, clock & 63);
    text.fraction(micros, fsp);
    Ok(())
}

/// TIME: three bytes, big-endian, offset by half their range, and the fraction. A negative time with one or two bytes of
/// fraction holds its whole part rounded down.
pub(crate) fn time<'t>(reader: &mut Reader<'_>, fsp: u8, text: &'t mut Text) -> Result<&'t str, Fault> {
    let packed = if fsp > 4 {
        let [a, b, c, d, e, f] = reader.array()?;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]) as i64 - 0x8000_0000_0000
    } else {
        let [a, b, c] = reader.array()?;
        let mut whole = i64::from(u32::from_be_bytes([0, a, b, c])) - 0x80_0000;
        let (mut part, range, unit) = match fsp {
            0 => (0, 0, 0),
            1 | 2 => (i64::from(reader.u8()?), 0x100, 10_000),
            _ => (i64::from(u16::from_be_bytes(reader.array()?)), 0x1_0000, 100),
        };
        if whole < 0 && part != 0 {
            whole += 1;
            part -= range;
        }
        (whole << 24) + part * unit
    };
    push_packed_time(text, packed, fsp).map_err(|what| reader.fault(what))?;
    Ok(text.as_str())
}

/// MariaDB's own form of old times with a fraction has the same type number, another length, and nothing that tells it
/// from the form without.
const OLD_TIME: &str = "a time in the format of old servers is out of range: where it has a fraction in MariaDB's old format, rebuild the table with mysql56_temporal_format=ON";

/// TIME of tables from before MySQL 5.6.4: the decimal number `hhmmss` in three bytes.
pub(crate) fn old_time<'t>(reader: &mut Reader<'_>, text: &'t mut Text) -> Result<&'t str, Fault> {
    let number = (reader.u24()? << 8) as i32 >> 8;
    if number < 0 {
        text.push(b'-');
    }
    let number = number.unsigned_abs();
    let (hour, minute, second) = (number / 10_000, number / 100 % 100, number % 100);
    if hour > 838 || minute > 59 || second > 59 {
        return Err(reader.fault(OLD_TIME));
    }
    push_clock(text, hour, minute, second);
    Ok(text.as_str())
}

/// DATETIME of tables from before MySQL 5.6.4: the decimal number `yyyymmddhhmmss` in eight bytes.
pub(crate) fn old_datetime<'t>(reader: &mut Reader<'_>, text: &'t mut Text) -> Result<&'t str, Fault> {
    let number = reader.u64()?;
    let Ok(date) = u32::try_from(number / 1_000_000) else {
        return Err(reader.fault("a DATETIME is out of range"));
    };
    if date > 99_999_999 {
        return Err(reader.fault("a DATETIME is out of range"));
    }
    let clock = (number % 1_000_000) as u32;
    if date / 100 % 100 > 12 || date % 100 > 31 || clock / 10_000 > 23 || clock / 100 % 100 > 59 || clock % 100 > 59 {
        return Err(reader.fault(OLD_TIME));
    }
    push_date(text, date / 10_000, date / 100 % 100, date % 100);
    text.push(b' ');
    push_clock(text, clock / 10_000, clock / 100 % 100, clock % 100);
    Ok(text.as_str())
}

/// Which of the temporal types a JSON scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temporal {
    Date,
    Time,
    DateTime,
}

/// A temporal JSON scalar: eight bytes, packed as above with the microseconds below; printed with six digits of fraction.
pub(crate) fn json_temporal(packed: i64, kind: Temporal, text: &mut Text) -> Result<(), &'static str> {
    if kind == Temporal::Time {
        return push_packed_time(text, packed, 6);
    }
    let whole = u64::try_from(packed >> 24).map_err(|_| "a DATETIME is negative")?;
    if kind == Temporal::Date {
        let (year_month, day) = ((whole >> 22) as u32, (whole >> 17 & 31) as u32);
        if whole >> 40 != 0 || year_month / 13 > 9999 {
            return Err("a DATE is out of range");
        }
        push_date(text, year_month / 13, year_month % 13, day);
        return Ok(());
    }
    push_packed_datetime(text, whole)?;
    let micros = (packed & 0xff_ffff) as u32;
    if micros > 999_999 {
        return Err("a fraction of a second is out of range");
    }
    text.fraction(micros, 6);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn show(read: impl for<'t> Fn(&mut Reader<'_>, &'t mut Text) -> Result<&'t str, Fault>, bytes: &[u8]) -> String {
        let mut reader = Reader::new(bytes);
        let mut text = Text::default();
        let shown = read(&mut reader, &mut text).unwrap().to_owned();
        assert!(reader.is_empty());
        shown
    }

    /// Encodes digits as the format's description says, in its slowest form.
    fn encoded(negative: bool, digits: &str, scale: usize) -> Vec<u8> {
        let (whole, rest) = digits.split_at(digits.len() - scale);
        let head = whole.len() % 9;
        let mut groups: Vec<&str> = vec![&whole[..head]];
        groups.extend((head..whole.len()).step_by(9).map(|i| &whole[i..i + 9]));
        groups.extend((0..rest.len()).step_by(9).map(|i| &rest[i..(i + 9).min(rest.len())]));
        let mut bytes: Vec<u8> = Vec::new();
        for group in groups.into_iter().filter(|g| !g.is_empty()) {
            let number: u32 = group.parse().unwrap();
            bytes.extend(&number.to_be_bytes()[4 - DIGIT_BYTES[group.len()]..]);
        }
        if negative {
            bytes.iter_mut().for_each(|b| *b = !*b);
        }
        bytes[0] ^= 0x80;
        bytes
    }

    #[test]
    fn times_of_old_tables_are_read() {
        assert_eq!(show(old_time, &8_385_959u32.to_le_bytes()[..3]), "838:59:59");
        assert_eq!(show(old_time, &(-10_203i32).to_le_bytes()[..3]), "-01:02:03");
        assert_eq!(show(old_datetime, &20_240_229_123_456u64.to_le_bytes()), "2024-02-29 12:34:56");
        assert_eq!(show(old_datetime, &[0; 8]), "0000-00-00 00:00:00");
        assert!(old_datetime(&mut Reader::new(&[0xff; 8]), &mut Text::default()).is_err());
        for bad in [8_390_000u32, 106_000, 60] {
            assert!(old_time(&mut Reader::new(&bad.to_le_bytes()), &mut Text::default()).is_err(), "{bad}");
        }
        for bad in [20_241_301_000_000u64, 20_240_132_000_000, 20_240_101_240_000, 20_240_101_006_000] {
            assert!(old_datetime(&mut Reader::new(&bad.to_le_bytes()), &mut Text::default()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn decimals_survive(negative: bool, digits in "[0-9]{1,65}", scale in 0usize..=30) {
            let scale = scale.min(digits.len());
            let (precision, places) = (digits.len() as u8, scale as u8);
            let bytes = encoded(negative, &digits, scale);
            let shown = show(|r, t| decimal(r, precision, places, t), &bytes);
            let (whole, rest) = digits.split_at(digits.len() - scale);
            let whole = whole.trim_start_matches('0');
            let sign = if negative && digits.bytes().any(|b| b != b'0') { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            prop_assert_eq!(shown, format!("{sign}{}{point}{rest}", if whole.is_empty() { "0" } else { whole }));
        }
    }
}

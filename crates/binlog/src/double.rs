//! DOUBLE in the server's own text (`my_gcvt` of the MySQL source).

use std::fmt::Write as _;

/// Numbers of up to this many digits before the point, or zeros behind it, are written without an exponent
/// (`MAX_DECPT_FOR_F_FORMAT`).
const PLAIN_DIGITS: i32 = 15;

/// Room for what Rust's `{:e}` prints of any double.
#[derive(Default)]
struct Shortest {
    bytes: [u8; 32],
    length: usize,
}

impl std::fmt::Write for Shortest {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let slot = self.bytes.get_mut(self.length..self.length + part.len()).ok_or(std::fmt::Error)?;
        slot.copy_from_slice(part.as_bytes());
        self.length += part.len();
        Ok(())
    }
}

/// Appends the shortest text that reads back as the same number; `.0` behind whole numbers, as in JSON. `None` for what
/// is not finite.
pub(crate) fn print(number: f64, out: &mut Vec<u8>) -> Option<()> {
    if !number.is_finite() {
        return None;
    }
    // `d.ddde±x`: the shortest digits, from the standard library.
    let mut shortest = Shortest::default();
    write!(shortest, "{:e}", number.abs()).ok()?;
    let text = shortest.bytes.get(..shortest.length)?;
    let split = text.iter().position(|&b| b == b'e')?;
    let (mantissa, exponent) = (text.get(..split)?, text.get(split + 1..)?);
    let exponent: i32 = std::str::from_utf8(exponent).ok()?.parse().ok()?;
    let digits = mantissa.iter().copied().filter(u8::is_ascii_digit);
    let count = mantissa.len().saturating_sub(usize::from(mantissa.len() > 1)) as i32;
    let point = exponent + 1;
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if point > -PLAIN_DIGITS && (point <= PLAIN_DIGITS || count > point) {
        plain(digits, count, point, out);
    } else {
        for (index, digit) in digits.enumerate() {
            if index == 1 {
                out.push(b'.');
            }
            out.push(digit);
        }
        out.extend_from_slice(format_exponent(exponent).as_bytes());
    }
    Some(())
}

fn format_exponent(exponent: i32) -> String {
    format!("e{exponent}")
}

/// `digits`, with the point behind the first `point` of them.
fn plain(digits: impl Iterator<Item = u8>, count: i32, point: i32, out: &mut Vec<u8>) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
    }
    for (index, digit) in digits.enumerate() {
        if point > 0 && index as i32 == point {
            out.push(b'.');
        }
        out.push(digit);
    }
    if count <= point {
        out.extend(std::iter::repeat_n(b'0', (point - count).unsigned_abs() as usize));
        out.extend_from_slice(b".0");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn text(number: f64) -> String {
        let mut out = Vec::new();
        print(number, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_look_as_the_server_prints_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (-1234.5678, "-1234.5678"),
            (1e15 - 1.0, "999999999999999.0"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (1_234_567_890_123_456.0, "1.234567890123456e15"),
            (1e20, "1e20"),
            (1.5e300, "1.5e300"),
            (0.1, "0.1"),
            (1e-14, "0.00000000000001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (-1.25e-20, "-1.25e-20"),
            (1234567890123456.7, "1234567890123456.8"),
        ] {
            assert_eq!(text(number), expected, "{number:e}");
        }
    }

    proptest! {
        #[test]
        fn printed_doubles_read_back_as_the_same(bits: u64) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                prop_assert_eq!(text(number).parse::<f64>().unwrap().to_bits(), bits);
            }
        }
    }
}

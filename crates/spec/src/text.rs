//! Sizes and durations as people write them.

use std::time::Duration;

/// `512`, `512KiB`, `4MiB`, `1GiB` (also `K`, `M`, `G`: powers of 1024) in bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest text that [`parse_bytes`] reads back.
pub(crate) fn print_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A UTC time `YYYY-MM-DDTHH:MM:SS[.f…]Z` (RFC 3339), or a number, in microseconds since the epoch.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(micros) = text.parse::<i64>() {
        return (micros >= 0).then_some(micros);
    }
    text.ends_with('Z').then_some(())?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_microsecond()).filter(|t| *t >= 0)
}

/// `0`, `250us`, `20ms`, `1s`, `5m`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    match unit.trim_start() {
        "" if number == 0 => Some(Duration::ZERO),
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// The shortest text that [`parse_duration`] reads back, to the microsecond.
pub(crate) fn print_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0 => "0".to_owned(),
        m if m % 1_000_000 == 0 => format!("{}s", m / 1_000_000),
        m if m % 1_000 == 0 => format!("{}ms", m / 1_000),
        m => format!("{m}us"),
    }
}

/// Durations as text in serde.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::print_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a duration like 20ms")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_written() {
        assert_eq!(parse_bytes("4MiB"), Some(4 << 20));
        assert_eq!(parse_bytes("17"), Some(17));
        assert_eq!((parse_bytes("4 MB"), parse_bytes("MiB"), parse_bytes("99999999999GiB")), (None, None, None));
        assert_eq!((print_bytes(4 << 20), print_bytes(1_000)), ("4MiB".to_owned(), "1000".to_owned()));
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!((parse_time("17"), parse_time("yesterday"), parse_time("-1")), (Some(17), None, None));
        for text in ["0", "250us", "20ms", "90s"] {
            assert_eq!(parse_duration(text).map(print_duration).as_deref(), Some(text));
        }
        assert_eq!((parse_duration("20"), parse_duration("ms"), parse_duration("-1s")), (None, None, None));
    }
}

//! Spans of time as people write them: `4h`, `30m`, `1m30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// Units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The recovery time objective: within how long of the incident a restore must be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rto(Duration);

impl Rto {
    /// An objective of `limit`.
    pub fn new(limit: Duration) -> Self {
        Rto(limit)
    }

    /// The time allowed.
    pub fn limit(self) -> Duration {
        self.0
    }
}

impl FromStr for Rto {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_duration(text).map(Rto)
    }
}

impl fmt::Display for Rto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_duration(self.0))
    }
}

/// Reads a span such as `4h`, `30m`, `1m30s`, `500ms` or `2d`; it is never zero.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = |why: &str| Error::usage(format!("`{text}` is no duration{why}; write it like `4h`, `30m` or `1m30s`"));
    let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0u64);
    while !rest.is_empty() {
        let (number, unit, after) = split_part(rest).ok_or_else(|| bad(""))?;
        let position = units.iter().position(|(name, _)| *name == unit);
        let position = position.ok_or_else(|| bad(" (units are d, h, m, s and ms, each once, longest first)"))?;
        let part = number.checked_mul(units[position].1);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| bad(" that can be counted"))?;
        (rest, units) = (after, &units[position + 1..]);
    }
    if total == 0 {
        return Err(bad(" longer than nothing"));
    }
    Ok(Duration::from_millis(total))
}

/// Splits `1m30s` into 1, `m` and `30s`.
fn split_part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(digits);
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    Some((number.parse().ok()?, unit, rest))
}

/// Writes a span the way [`parse_duration`] reads it, to the millisecond.
pub fn format_duration(span: Duration) -> String {
    let mut left = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, size) in UNITS {
        if left >= size {
            text.push_str(&format!("{}{name}", left / size));
            left %= size;
        }
    }
    if text.is_empty() { "0s".to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, seconds) in [("4h", 14_400), ("30m", 1800), ("1m30s", 90), ("90s", 90), ("1d2h", 93_600)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_duration("1s500ms").unwrap(), Duration::from_millis(1500));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "4",
            "h",
            "4 h",
            "-4h",
            "1.5h",
            "4h4h",
            "30s1m",
            "0s",
            "4w",
            "99999999999999999999h",
            "9999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_message_shows_how_to_write_it() {
        let error = parse_duration("4").unwrap_err();
        assert_eq!(error.to_string(), "`4` is no duration; write it like `4h`, `30m` or `1m30s`");
    }

    #[test]
    fn writing_and_reading_are_inverse() {
        for millis in [1, 999, 1000, 90_000, 14_400_000, 93_784_005] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(span)).unwrap(), span);
        }
    }
}

//! Numbers as people read them, and text as XML takes it.

use jiff::Timestamp;

/// Bytes in binary units: `512 B`, `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // What would be printed as 1024.0 is one of the next unit.
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// A count with its thousands apart: `31,034`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 object`, `3 objects`.
pub fn counted(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A span of time, as long as it needs to be: `0.4s`, `12s`, `3m20s`, `2h5m`, `3d4h`.
pub fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    whole_span(seconds.round() as u64)
}

/// A span of time that is known to the second.
pub fn whole_span(s: u64) -> String {
    let pair = |a: u64, x: &str, b: u64, y: &str| if b == 0 { format!("{a}{x}") } else { format!("{a}{x}{b}{y}") };
    match s {
        0 => "<1s".into(),
        1..60 => format!("{s}s"),
        60..3600 => pair(s / 60, "m", s % 60, "s"),
        3600..86_400 => pair(s / 3600, "h", s % 3600 / 60, "m"),
        _ => pair(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// How long ago something was, in its largest unit: `12s`, `5h`, `3d`. What lies ahead is `0s` old.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let s = now.as_second().saturating_sub(then.as_second()).max(0);
    match s {
        0..120 => format!("{s}s"),
        120..7200 => format!("{}m", s / 60),
        7200..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// Seconds to the millisecond, as JSON has them.
pub fn to_millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Text as it stands in an element or attribute of XML, SVG or HTML.
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_468_006, "1.4 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 31_034, 1_234_567].map(count), ["0", "999", "1,000", "31,034", "1,234,567"]);
        assert_eq!((counted(1, "object"), counted(2, "object")), ("1 object".into(), "2 objects".into()));
    }

    #[test]
    fn spans_are_as_long_as_they_need_to_be() {
        let cases =
            [(0.42, "0.4s"), (9.99, "10.0s"), (12.0, "12s"), (200.0, "3m20s"), (7500.0, "2h5m"), (7200.0, "2h")];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(span(273_600.0), "3d4h");
        assert_eq!((whole_span(0), whole_span(1)), ("<1s".into(), "1s".into()));
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        let at = |s| Timestamp::from_second(s).unwrap();
        for (s, text) in [(5, "5s"), (150, "2m"), (18_000, "5h"), (200_000, "2d"), (-9, "0s")] {
            assert_eq!(age(at(1_000_000), at(1_000_000 + s)), text);
        }
    }
}

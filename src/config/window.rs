//! The daily span in which a run may start and must end.

use std::fmt;

use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::problems::{Problems, suggestion};
use super::raw;
use crate::error::{Error, Result};

/// A daily window such as 00:00–03:00 in a named time zone. It is never empty, and may go past midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The local time at which a run may start.
    pub opens: Time,
    /// The local time at which it must have ended; when that is earlier than `opens`, on the next day.
    pub closes: Time,
    /// The zone that both times are read in, with its clock changes.
    pub time_zone: TimeZone,
    /// The zone's name as the schedule gives it.
    pub zone_name: String,
}

impl Window {
    /// Whether the window closes on the day after it opens.
    pub fn crosses_midnight(&self) -> bool {
        self.closes < self.opens
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{} {}", clock(self.opens), clock(self.closes), self.zone_name)
    }
}

fn clock(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

pub(super) fn validate(raw: &raw::Window, path: &str, problems: &mut Problems<'_>) -> Option<Window> {
    let opens = problems.check(&format!("{path}.opens"), parse_clock(&raw.opens));
    let closes = problems.check(&format!("{path}.closes"), parse_clock(&raw.closes));
    let time_zone = problems.check(&format!("{path}.timeZone"), find_zone(&raw.time_zone));
    let (opens, closes, time_zone) = (opens?, closes?, time_zone?);
    if opens == closes {
        problems.add(path, format!("the window is empty: it opens and closes at {}", clock(opens)));
        return None;
    }
    Some(Window { opens, closes, time_zone, zone_name: raw.time_zone.clone() })
}

fn parse_clock(text: &str) -> Result<Time> {
    let bad = || Error::usage(format!("`{text}` is no time of day; write it like \"00:00\" or \"23:30\""));
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| if digits(text) { text.parse::<i8>().ok() } else { None };
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let (hour, minute) = (number(hour).ok_or_else(bad)?, number(minute).ok_or_else(bad)?);
    Time::new(hour, minute, 0, 0).map_err(|_| bad())
}

/// Looks in the system's time zone database, which is the newer one, then in the one that is built in: small images
/// carry none, and some distributions leave out old names such as `CET`.
fn find_zone(name: &str) -> Result<TimeZone> {
    let zone = TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name));
    zone.ok().filter(|zone| !zone.is_unknown()).ok_or_else(|| {
        let names = zone_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let near = match super::problems::nearest(name, names.iter().copied()) {
            Some(_) => suggestion(name, &names),
            None => "; write it like `CET`, `Europe/Stockholm` or `UTC`".to_string(),
        };
        Error::usage(format!("`{name}` is no time zone of the IANA database{near}"))
    })
}

fn zone_names() -> Vec<String> {
    let system = jiff::tz::db().available().map(|name| name.to_string());
    let built_in = TimeZoneDatabase::bundled();
    system.chain(built_in.available().map(|name| name.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zones_of_the_promise_are_known() {
        for name in ["CET", "Europe/Stockholm", "UTC", "America/Sao_Paulo"] {
            assert!(find_zone(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_time_of_day_has_two_digits_each() {
        assert_eq!(parse_clock("23:30").unwrap(), jiff::civil::time(23, 30, 0, 0));
        for text in ["", "0:00", "24:00", "12:60", "12", "12:00:00", "+1:00", "aa:bb"] {
            assert!(parse_clock(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_window_reads_as_people_say_it() {
        let window = Window {
            opens: parse_clock("23:00").unwrap(),
            closes: parse_clock("03:00").unwrap(),
            time_zone: find_zone("CET").unwrap(),
            zone_name: "CET".to_string(),
        };
        assert_eq!(window.to_string(), "23:00–03:00 CET");
        assert!(window.crosses_midnight());
    }
}

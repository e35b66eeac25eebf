//! The nights of a window: the moments at which it opens and closes on a date, clock changes included.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::config::Window;
use crate::error::{Context, Error, Result};

/// The window of one date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Night {
    /// The local date on which it opens; no two nights share one.
    pub date: Date,
    /// From this moment on a run may start.
    pub opens: Timestamp,
    /// At this moment it must have ended.
    pub closes: Timestamp,
}

impl Night {
    /// The night of a date.
    ///
    /// A local time that the clocks jump over counts as the moment of the jump. One that comes twice opens the window
    /// the first time and closes it the second time. A window that the clocks jump over as a whole opens at the jump,
    /// and is as long as on other nights: otherwise there would be a night without a run.
    pub fn of(window: &Window, date: Date) -> Result<Night> {
        let last = if window.crosses_midnight() { next_date(date, 1)? } else { date };
        let opens = moment(&window.time_zone, date.to_datetime(window.opens), Edge::Opens)?;
        let mut closes = moment(&window.time_zone, last.to_datetime(window.closes), Edge::Closes)?;
        if closes <= opens {
            closes = opens + nominal_length(window);
        }
        Ok(Night { date, opens, closes })
    }

    /// The night that is open at a moment, or else the next one.
    pub fn at_or_after(window: &Window, now: Timestamp) -> Result<Night> {
        // The night before may still be open, and a jump of the clocks moves a date by less than a day.
        let mut date = next_date(now.to_zoned(window.time_zone.clone()).date(), -1)?;
        loop {
            let night = Night::of(window, date)?;
            if now < night.closes {
                return Ok(night);
            }
            date = next_date(date, 1)?;
        }
    }

    /// The night that is open at a moment, or else the last one.
    pub fn at_or_before(window: &Window, now: Timestamp) -> Result<Night> {
        let night = Night::at_or_after(window, now)?;
        if night.contains(now) { Ok(night) } else { night.previous(window) }
    }

    /// The night of the next date.
    pub fn next(&self, window: &Window) -> Result<Night> {
        Night::of(window, next_date(self.date, 1)?)
    }

    /// The night of the date before.
    pub fn previous(&self, window: &Window) -> Result<Night> {
        Night::of(window, next_date(self.date, -1)?)
    }

    /// Whether a run may start at this moment.
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.opens <= moment && moment < self.closes
    }

    /// From its opening to its close.
    pub fn length(&self) -> SignedDuration {
        self.closes.duration_since(self.opens)
    }

    /// How much longer than usual it is; less than nothing when the clocks go forward in it.
    pub fn clock_change(&self, window: &Window) -> SignedDuration {
        self.length() - nominal_length(window)
    }
}

/// What a window's length is when no clock changes.
fn nominal_length(window: &Window) -> SignedDuration {
    let length = window.closes.duration_since(window.opens);
    if window.crosses_midnight() { length + SignedDuration::from_hours(24) } else { length }
}

fn next_date(date: Date, days: i64) -> Result<Date> {
    date.checked_add(days.days()).context(|| format!("count {days} days from {date}"))
}

/// Which end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Opens,
    Closes,
}

fn moment(zone: &TimeZone, local: DateTime, edge: Edge) -> Result<Timestamp> {
    let at = |offset: Offset| offset.to_timestamp(local).context(|| format!("find the moment of {local}"));
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Fold { before, after } => at(if edge == Edge::Opens { before } else { after }),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a time within the gap lies before the jump.
            let jump = zone.following(at(after)?).next();
            let jump = jump.ok_or_else(|| Error::failed(format!("find the clock change at {local}")))?;
            Ok(jump.timestamp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{Time, date, time};

    fn window(zone: &str, opens: Time, closes: Time) -> Window {
        let time_zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        Window { opens, closes, time_zone, zone_name: zone.into() }
    }

    fn night(zone: &str, opens: Time, closes: Time, date: Date) -> (String, String) {
        let night = Night::of(&window(zone, opens, closes), date).unwrap();
        (night.opens.to_string(), night.closes.to_string())
    }

    fn pair(opens: &str, closes: &str) -> (String, String) {
        (opens.into(), closes.into())
    }

    const MIDNIGHT: Time = time(0, 0, 0, 0);
    const THREE: Time = time(3, 0, 0, 0);

    #[test]
    fn a_night_has_three_hours_two_in_spring_and_four_in_autumn() {
        let of = |date| night("Europe/Stockholm", MIDNIGHT, THREE, date);
        assert_eq!(of(date(2026, 11, 21)), pair("2026-11-20T23:00:00Z", "2026-11-21T02:00:00Z"));
        assert_eq!(of(date(2026, 3, 29)), pair("2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"));
        assert_eq!(of(date(2026, 10, 25)), pair("2026-10-24T22:00:00Z", "2026-10-25T02:00:00Z"));
    }

    #[test]
    fn a_time_that_does_not_exist_is_the_jump_and_one_that_comes_twice_is_wide() {
        let half = |hour| time(hour, 30, 0, 0);
        // 02:00 became 03:00.
        let spring = |opens, closes| night("CET", opens, closes, date(2026, 3, 29));
        assert_eq!(spring(half(2), half(4)), pair("2026-03-29T01:00:00Z", "2026-03-29T02:30:00Z"));
        assert_eq!(spring(MIDNIGHT, half(2)), pair("2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"));
        assert_eq!(spring(time(2, 10, 0, 0), time(2, 50, 0, 0)), pair("2026-03-29T01:00:00Z", "2026-03-29T01:40:00Z"));
        // 03:00 became 02:00.
        let autumn = |opens, closes| night("CET", opens, closes, date(2026, 10, 25));
        assert_eq!(autumn(half(2), THREE), pair("2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"));
        assert_eq!(autumn(MIDNIGHT, half(2)), pair("2026-10-24T22:00:00Z", "2026-10-25T01:30:00Z"));
    }

    #[test]
    fn a_midnight_that_does_not_exist_opens_at_one() {
        // Until 2018 the clocks of São Paulo went forward at midnight.
        let of = night("America/Sao_Paulo", MIDNIGHT, THREE, date(2018, 11, 4));
        assert_eq!(of, pair("2018-11-04T03:00:00Z", "2018-11-04T05:00:00Z"));
    }

    #[test]
    fn a_window_past_midnight_is_found_after_midnight() {
        let window = window("UTC", time(23, 0, 0, 0), time(2, 0, 0, 0));
        let at = |text: &str| Night::at_or_after(&window, text.parse().unwrap()).unwrap();
        assert_eq!(at("2026-11-22T01:59:59Z").date, date(2026, 11, 21));
        assert!(at("2026-11-22T01:59:59Z").contains("2026-11-22T01:59:59Z".parse().unwrap()));
        assert_eq!(at("2026-11-22T02:00:00Z").date, date(2026, 11, 22));
        let before = |text: &str| Night::at_or_before(&window, text.parse().unwrap()).unwrap().date;
        assert_eq!(before("2026-11-22T01:59:59Z"), date(2026, 11, 21));
        assert_eq!(before("2026-11-22T02:00:00Z"), date(2026, 11, 21));
        assert_eq!(before("2026-11-22T23:00:00Z"), date(2026, 11, 22));
        assert!(!at("2026-11-22T02:00:00Z").contains("2026-11-22T02:00:00Z".parse().unwrap()));
    }

    #[test]
    fn nights_neither_overlap_nor_leave_out_a_date() {
        for zone in [
            "CET",
            "Europe/Stockholm",
            "UTC",
            "America/Sao_Paulo",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "America/Nuuk",
        ] {
            for (opens, closes) in
                [(MIDNIGHT, THREE), (time(23, 30, 0, 0), time(2, 30, 0, 0)), (THREE, time(2, 59, 0, 0))]
            {
                let window = window(zone, opens, closes);
                let mut night = Night::of(&window, date(2015, 1, 1)).unwrap();
                while night.date < date(2027, 1, 1) {
                    assert!(night.opens < night.closes, "{zone} {night:?}");
                    let next = night.next(&window).unwrap();
                    assert!(night.closes <= next.opens, "{zone} {night:?} {next:?}");
                    assert_eq!(Night::at_or_after(&window, night.opens).unwrap(), night, "{zone}");
                    night = next;
                }
            }
        }
    }
}

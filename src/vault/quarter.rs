//! Quarters of a year: `2026Q4`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::error::Error;

/// Three months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quarter {
    year: i16,
    /// From 1.
    number: i8,
}

impl Quarter {
    /// That of a day.
    pub fn of(day: Date) -> Quarter {
        Quarter { year: day.year(), number: (day.month() - 1) / 3 + 1 }
    }

    /// That of a moment, in UTC.
    pub fn at(moment: Timestamp) -> Quarter {
        Quarter::of(moment.to_zoned(jiff::tz::TimeZone::UTC).date())
    }

    /// Its first day.
    pub fn first_day(self) -> Date {
        jiff::civil::date(self.year, (self.number - 1) * 3 + 1, 1)
    }

    /// Its last day.
    pub fn last_day(self) -> Date {
        let first = self.first_day();
        let next = first.checked_add(3.months()).and_then(|next| next.yesterday());
        // Only behind the end of time.
        next.unwrap_or(Date::MAX)
    }

    /// Whether a day is in it.
    pub fn contains(self, day: Date) -> bool {
        Quarter::of(day) == self
    }

    /// The one before.
    pub fn previous(self) -> Quarter {
        match self.number {
            1 => Quarter { year: self.year - 1, number: 4 },
            number => Quarter { year: self.year, number: number - 1 },
        }
    }

    /// The one after.
    pub fn next(self) -> Quarter {
        match self.number {
            4 => Quarter { year: self.year + 1, number: 1 },
            number => Quarter { year: self.year, number: number + 1 },
        }
    }
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}Q{}", self.year, self.number)
    }
}

impl FromStr for Quarter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::usage(format!("{text:?} is not a quarter")).hint("a quarter looks like 2026Q4");
        let (year, number) = text.split_once('Q').ok_or_else(wrong)?;
        let digits = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
        let year = year.parse().ok().filter(|year| digits && (1970..=9000).contains(year)).ok_or_else(wrong)?;
        let number = ["1", "2", "3", "4"].iter().position(|n| *n == number).ok_or_else(wrong)?;
        Ok(Quarter { year, number: number as i8 + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_quarter_has_its_days_and_neighbours() {
        let q4: Quarter = "2026Q4".parse().unwrap();
        assert_eq!((q4.first_day(), q4.last_day()), (date(2026, 10, 1), date(2026, 12, 31)));
        assert_eq!((q4.next().to_string(), q4.previous().to_string()), ("2027Q1".into(), "2026Q3".into()));
        assert_eq!(q4.next().previous(), q4);
        assert_eq!("2024Q1".parse::<Quarter>().unwrap().last_day(), date(2024, 3, 31));
        for day in [date(2026, 10, 1), date(2026, 12, 31)] {
            assert!(q4.contains(day) && !q4.next().contains(day));
        }
        for bad in ["2026", "2026Q5", "2026Q0", "26Q4", "2026q4", "2026Q04", "-026Q1", "2026Q4 "] {
            assert!(bad.parse::<Quarter>().is_err(), "{bad}");
        }
    }
}

//! What a long-running scheduler remembers of a schedule, so that it does not ask the vault at each tick. Losing it does no
//! harm: the vault knows which nights have their run.

use jiff::{SignedDuration, Timestamp};

use super::{Night, Timing};
use crate::error::Result;

/// The wait after the first failure; doubles with each, up to the longest.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// The wait while another run holds the lease.
const OTHERS_WAIT: SignedDuration = SignedDuration::from_secs(20);

/// How often a schedule that catches up looks outside its window whether there is something to make up for.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(10);

/// What is known about one schedule.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    /// The opening of the last night that needs nothing more.
    settled: Option<Timestamp>,
    failures: u32,
    not_before: Option<Timestamp>,
    /// The night that was tried, and has no run yet.
    open: Option<Night>,
}

/// When a schedule is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// In the window of this night.
    Inside(Night),
    /// Outside of its windows, to make up for a night.
    Outside,
}

impl Agenda {
    /// Whether it should be tried now, and on what occasion; the vault decides whether there is something to do.
    pub fn occasion(&self, timing: &Timing, now: Timestamp) -> Result<Option<Occasion>> {
        let night = Night::at_or_after(timing.window(), now)?;
        if self.not_before.is_some_and(|moment| now < moment) {
            return Ok(None);
        }
        Ok(match night.contains(now) {
            true => {
                let is_time = self.settled != Some(night.opens) && timing.start_of(&night) <= now;
                is_time.then_some(Occasion::Inside(night))
            }
            false => timing.catches_up().then_some(Occasion::Outside),
        })
    }

    /// The run was taken, or there was nothing to do.
    pub fn settle(&mut self, occasion: &Occasion, now: Timestamp) {
        *self = match occasion {
            Occasion::Inside(night) => Agenda { settled: Some(night.opens), ..Agenda::default() },
            Occasion::Outside => {
                Agenda { not_before: Some(now + LOOK_BACK), failures: 0, settled: self.settled, open: self.open.take() }
            }
        };
    }

    /// The run failed; says when it is tried again.
    pub fn fail(&mut self, occasion: &Occasion, now: Timestamp) -> Timestamp {
        let wait = FIRST_WAIT * 2_i32.pow(self.failures.min(10));
        self.failures += 1;
        if let Occasion::Inside(night) = occasion {
            self.open = Some(night.clone());
        }
        self.wait(now, wait.min(LONGEST_WAIT))
    }

    /// Another run is under way; says when to look again whether it is done.
    pub fn yield_to_another(&mut self, now: Timestamp) -> Timestamp {
        self.wait(now, OTHERS_WAIT)
    }

    fn wait(&mut self, now: Timestamp, wait: SignedDuration) -> Timestamp {
        let again = now + wait;
        self.not_before = Some(again);
        again
    }

    /// The night that was tried in vain and has closed; told once.
    pub fn missed(&mut self, now: Timestamp) -> Option<Night> {
        let missed = self.open.take_if(|night| night.closes <= now);
        if missed.is_some() {
            (self.failures, self.not_before) = (0, None);
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CatchUp, Window};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn timing(catch_up: CatchUp) -> Timing {
        let [opens, closes] = [0, 3].map(|hour| jiff::civil::time(hour, 0, 0, 0));
        let window = Window { opens, closes, time_zone: jiff::tz::TimeZone::UTC, zone_name: "UTC".into() };
        Timing::new(window, catch_up, 0)
    }

    fn occasion(agenda: &Agenda, timing: &Timing, now: &str) -> Option<Occasion> {
        agenda.occasion(timing, at(now)).unwrap()
    }

    #[test]
    fn a_night_is_tried_until_it_is_settled_and_then_left_alone() {
        let (timing, mut agenda) = (timing(CatchUp::InWindow), Agenda::default());
        assert_eq!(occasion(&agenda, &timing, "2026-11-20T23:59:59Z"), None);
        let night = occasion(&agenda, &timing, "2026-11-21T00:00:00Z").unwrap();
        let again = agenda.fail(&night, at("2026-11-21T00:00:01Z"));
        assert_eq!(again, at("2026-11-21T00:00:11Z"));
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T00:00:10Z"), None);
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T00:00:11Z"), Some(night.clone()));
        assert_eq!(agenda.fail(&night, again), at("2026-11-21T00:00:31Z"), "the wait doubles");
        agenda.settle(&night, at("2026-11-21T00:01:00Z"));
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T02:59:59Z"), None);
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T12:00:00Z"), None);
        assert!(occasion(&agenda, &timing, "2026-11-22T00:00:00Z").is_some());
        assert_eq!(agenda.missed(at("2026-11-21T03:00:00Z")), None);
    }

    #[test]
    fn a_night_that_was_tried_in_vain_is_told_once_and_the_next_one_begins_anew() {
        let (timing, mut agenda) = (timing(CatchUp::InWindow), Agenda::default());
        let night = occasion(&agenda, &timing, "2026-11-21T02:30:00Z").unwrap();
        for minute in 0..20 {
            agenda.fail(&night, at(&format!("2026-11-21T02:{:02}:00Z", 30 + minute)));
        }
        assert_eq!(agenda.missed(at("2026-11-21T02:59:59Z")), None);
        // The last try ended after the close.
        agenda.fail(&night, at("2026-11-21T03:00:30Z"));
        assert_eq!(agenda.missed(at("2026-11-21T03:00:31Z")).unwrap().closes, at("2026-11-21T03:00:00Z"));
        assert_eq!(agenda.missed(at("2026-11-21T03:00:32Z")), None);
        assert_eq!(agenda.fail(&night, at("2026-11-22T00:00:00Z")), at("2026-11-22T00:00:10Z"));
    }

    #[test]
    fn a_night_that_another_takes_is_not_missed() {
        let (timing, mut agenda) = (timing(CatchUp::InWindow), Agenda::default());
        let night = occasion(&agenda, &timing, "2026-11-21T02:50:00Z").unwrap();
        assert_eq!(agenda.yield_to_another(at("2026-11-21T02:50:00Z")), at("2026-11-21T02:50:20Z"));
        assert_eq!(agenda.missed(at("2026-11-21T03:00:00Z")), None);
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T02:50:20Z"), Some(night));
    }

    #[test]
    fn who_catches_up_looks_outside_the_window_too_but_not_all_the_time() {
        let (timing, mut agenda) = (timing(CatchUp::Always), Agenda::default());
        let noon = at("2026-11-21T12:00:00Z");
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T12:00:00Z"), Some(Occasion::Outside));
        agenda.settle(&Occasion::Outside, noon);
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T12:09:59Z"), None);
        assert_eq!(occasion(&agenda, &timing, "2026-11-21T12:10:00Z"), Some(Occasion::Outside));
        // A run that makes up for a night, and ends in the next window, settles nothing of that one.
        agenda.settle(&Occasion::Outside, at("2026-11-21T23:55:00Z"));
        assert!(matches!(occasion(&agenda, &timing, "2026-11-22T00:05:00Z"), Some(Occasion::Inside(_))));
    }
}

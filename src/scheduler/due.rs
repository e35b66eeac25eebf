//! Is a run due?

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::Night;
use crate::config::{CatchUp, Schedule, Window};
use crate::error::{Error, Result};

/// The longest time after the opening at which a run starts by itself.
const SPREAD: SignedDuration = SignedDuration::from_mins(30);

/// At most this part of a window is given to spreading: the run needs the rest.
const SPREAD_PART: i32 = 6;

/// Openings of two nights are further apart.
const HALF_A_DAY: SignedDuration = SignedDuration::from_hours(12);

/// What a schedule says about time.
#[derive(Debug, Clone)]
pub struct Timing {
    window: Window,
    catch_up: CatchUp,
    /// Spreads clusters: the same number for the same cluster and schedule, wherever it is computed.
    seed: u64,
}

impl Timing {
    /// The timing of a schedule; one without a window is refused.
    pub fn of(schedule: &Schedule) -> Result<Timing> {
        let window = schedule.window.clone().ok_or_else(|| {
            Error::usage(format!("schedule {} has no window, so nothing starts by itself", schedule.name))
                .hint("give it `spec.window`, or take a backup at any time with `ckbackup backup --now`")
        })?;
        let digest = Sha256::digest(format!("{}\n{}", schedule.cluster, schedule.name));
        let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        Ok(Timing::new(window, schedule.catch_up, seed))
    }

    /// A window, what becomes of a night that it passed without a run, and what spreads clusters.
    pub fn new(window: Window, catch_up: CatchUp, seed: u64) -> Timing {
        Timing { window, catch_up, seed }
    }

    /// The window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Whether a night that was missed is made up for at any time of day.
    pub fn catches_up(&self) -> bool {
        self.catch_up == CatchUp::Always
    }

    /// Whether a run is that of a night.
    pub fn is_run_of(&self, run: &WasRun, night: &Night) -> bool {
        run.is_of(night)
    }

    /// When the run of a night starts by itself: soon after the opening, and not at the same moment for all clusters.
    pub fn start_of(&self, night: &Night) -> Timestamp {
        let room = SPREAD.min(night.length() / SPREAD_PART);
        // The same part of the room each night, so that a short one changes little.
        let part = (self.seed % SPREAD.as_secs().unsigned_abs()) as i64;
        night.opens + SignedDuration::from_secs(room.as_secs() * part / SPREAD.as_secs())
    }
}

/// A run that ended in a committed backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasRun {
    /// When it began.
    pub started: Timestamp,
    /// The opening of the window that it belongs to; none when a person asked for it.
    pub window_opened: Option<Timestamp>,
    /// Whether it has everything.
    pub complete: bool,
}

impl WasRun {
    /// Whether it is the run of this night. What a person asked for counts when it began in the window and has
    /// everything.
    fn is_of(&self, night: &Night) -> bool {
        match self.window_opened {
            // Not to the second: tonight's run stays tonight's when the window is moved by an hour.
            Some(opened) => opened.duration_since(night.opens).abs() < HALF_A_DAY,
            None => self.complete && night.contains(self.started),
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A run of this night is to be started.
    Start {
        /// The night.
        night: Night,
        /// Whether its window has closed already, and the run makes up for it.
        late: bool,
    },
    /// Nothing, before this moment.
    Wait {
        /// When the next run starts by itself.
        until: Timestamp,
        /// Its night.
        night: Night,
    },
}

/// Says what is to be done now, and which night was missed: the last one that closed, when it has no run although there
/// were runs before it.
pub fn due(timing: &Timing, runs: &[WasRun], now: Timestamp) -> Result<(Verdict, Option<Date>)> {
    let has_run = |night: &Night| runs.iter().any(|run| timing.is_run_of(run, night));
    let mut night = Night::at_or_after(&timing.window, now)?;
    let before = night.previous(&timing.window)?;
    let missed = !has_run(&before) && runs.iter().any(|run| run.started < before.opens);
    let missed = missed.then_some(before);
    let name = missed.as_ref().map(|night| night.date);
    while has_run(&night) {
        night = night.next(&timing.window)?;
    }
    let start = timing.start_of(&night);
    let verdict = match missed {
        _ if start <= now => Verdict::Start { night, late: false },
        Some(missed) if timing.catch_up == CatchUp::Always && !night.contains(now) => {
            Verdict::Start { night: missed, late: true }
        }
        _ => Verdict::Wait { until: start, night },
    };
    Ok((verdict, name))
}

/// How many nights are looked back at for one that was missed.
const LOOKED_BACK: u32 = 60;

/// The last night that closed without a run, although there were runs before it.
pub fn last_missed(timing: &Timing, runs: &[WasRun], now: Timestamp) -> Result<Option<Night>> {
    let mut night = Night::at_or_after(&timing.window, now)?;
    for _ in 0..LOOKED_BACK {
        night = night.previous(&timing.window)?;
        if !runs.iter().any(|run| run.started < night.opens) {
            return Ok(None);
        }
        if !runs.iter().any(|run| timing.is_run_of(run, &night)) {
            return Ok(Some(night));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use jiff::civil::{Time, date, time};

    // In Nuuk the clocks go forward from 23:00 to midnight.
    const ZONES: [&str; 5] = ["CET", "Europe/Stockholm", "UTC", "America/Sao_Paulo", "America/Nuuk"];

    fn timing(zone: &str, opens: Time, closes: Time, seed: u64) -> Timing {
        let time_zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        let window = Window { opens, closes, time_zone, zone_name: zone.into() };
        Timing::new(window, CatchUp::InWindow, seed)
    }

    fn nightly(zone: &str) -> Timing {
        timing(zone, time(0, 0, 0, 0), time(3, 0, 0, 0), 600)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ran(started: &str, window_opened: Option<&str>, complete: bool) -> WasRun {
        WasRun { started: at(started), window_opened: window_opened.map(at), complete }
    }

    /// The night of the 21st in UTC, as it is seen at a moment.
    fn seen(runs: &[WasRun], now: &str, catch_up: CatchUp) -> (String, Option<Date>) {
        let (verdict, missed) = due(&Timing { catch_up, ..nightly("UTC") }, runs, at(now)).unwrap();
        let text = match verdict {
            Verdict::Start { night, late } => format!("{}{}", night.date, if late { " late" } else { "" }),
            Verdict::Wait { until, .. } => format!("until {until}"),
        };
        (text, missed)
    }

    fn in_window(runs: &[WasRun], now: &str) -> String {
        seen(runs, now, CatchUp::InWindow).0
    }

    #[test]
    fn a_run_starts_in_the_window_after_its_spread_and_once() {
        assert_eq!(in_window(&[], "2026-11-20T23:59:59Z"), "until 2026-11-21T00:10:00Z");
        assert_eq!(in_window(&[], "2026-11-21T00:09:59Z"), "until 2026-11-21T00:10:00Z");
        assert_eq!(in_window(&[], "2026-11-21T00:10:00Z"), "2026-11-21");
        assert_eq!(in_window(&[], "2026-11-21T02:59:59Z"), "2026-11-21");
        assert_eq!(in_window(&[], "2026-11-21T03:00:00Z"), "until 2026-11-22T00:10:00Z");
        let done = [ran("2026-11-21T00:10:00Z", Some("2026-11-21T00:00:00Z"), false)];
        assert_eq!(in_window(&done, "2026-11-21T00:11:00Z"), "until 2026-11-22T00:10:00Z");
        // The clock is set back, even to before the window.
        assert_eq!(in_window(&done, "2026-11-20T23:50:00Z"), "until 2026-11-22T00:10:00Z");
    }

    #[test]
    fn the_last_missed_night_stays_known_and_what_was_before_the_first_run_is_none() {
        let night = |date: &str| ran(&format!("{date}T00:10:00Z"), Some(&format!("{date}T00:00:00Z")), true);
        let runs = [night("2026-11-17"), night("2026-11-19"), night("2026-11-20")];
        let missed = |runs: &[WasRun], now: &str| {
            last_missed(&nightly("UTC"), runs, at(now)).unwrap().map(|night| night.date.to_string())
        };
        assert_eq!(missed(&runs, "2026-11-20T12:00:00Z").as_deref(), Some("2026-11-18"));
        assert_eq!(missed(&runs, "2026-11-21T02:59:59Z").as_deref(), Some("2026-11-18"), "tonight is still open");
        assert_eq!(missed(&runs, "2026-11-21T03:00:00Z").as_deref(), Some("2026-11-21"));
        assert_eq!(missed(&runs[1..], "2026-11-20T12:00:00Z"), None);
        assert_eq!(missed(&[], "2026-11-20T12:00:00Z"), None);
    }

    #[test]
    fn what_a_person_asked_for_is_the_nights_run_when_it_has_everything_and_began_in_the_window() {
        for (started, complete, counts) in [
            ("2026-11-21T00:05:00Z", true, true),
            ("2026-11-21T00:05:00Z", false, false),
            ("2026-11-20T12:00:00Z", true, false),
        ] {
            let said = in_window(&[ran(started, None, complete)], "2026-11-21T01:00:00Z");
            assert_eq!(said == "until 2026-11-22T00:10:00Z", counts, "{started} {complete}: {said}");
        }
    }

    #[test]
    fn a_window_that_is_moved_makes_no_second_run() {
        let moved = [ran("2026-11-21T00:10:00Z", Some("2026-11-21T00:00:00Z"), true)];
        let later = timing("UTC", time(1, 0, 0, 0), time(4, 0, 0, 0), 0);
        let (verdict, _) = due(&later, &moved, at("2026-11-21T01:30:00Z")).unwrap();
        assert!(matches!(verdict, Verdict::Wait { night, .. } if night.date == date(2026, 11, 22)));
        // Past midnight, it is the same date and another night.
        let earlier = timing("UTC", time(23, 0, 0, 0), time(2, 0, 0, 0), 0);
        let (verdict, _) = due(&earlier, &moved, at("2026-11-21T23:30:00Z")).unwrap();
        assert!(matches!(verdict, Verdict::Start { night, .. } if night.date == date(2026, 11, 21)));
    }

    #[test]
    fn a_missed_night_is_named_and_made_up_for_only_where_that_is_wanted() {
        let before = [ran("2026-11-20T00:10:00Z", Some("2026-11-20T00:00:00Z"), true)];
        let noon = "2026-11-21T12:00:00Z";
        let missed = Some(date(2026, 11, 21));
        assert_eq!(seen(&before, noon, CatchUp::InWindow), ("until 2026-11-22T00:10:00Z".into(), missed));
        assert_eq!(seen(&before, noon, CatchUp::Always), ("2026-11-21 late".into(), missed));
        // In the next window its own run is enough.
        for now in ["2026-11-22T00:05:00Z", "2026-11-22T00:20:00Z"] {
            let (text, named) = seen(&before, now, CatchUp::Always);
            assert!(!text.contains("late") && named == missed, "{text}");
        }
        // Nothing is missed before the first backup.
        assert_eq!(seen(&[], noon, CatchUp::Always), ("until 2026-11-22T00:10:00Z".into(), None));
        let late = [&before[..], &[ran(noon, Some("2026-11-21T00:00:00Z"), true)]].concat();
        assert_eq!(seen(&late, "2026-11-21T13:00:00Z", CatchUp::Always), ("until 2026-11-22T00:10:00Z".into(), None));
    }

    #[test]
    fn clusters_are_spread_over_the_begin_of_the_window() {
        let night = |seed| {
            let timing = timing("CET", time(0, 0, 0, 0), time(3, 0, 0, 0), seed);
            let spring = Night::of(&timing.window, date(2026, 3, 29)).unwrap();
            timing.start_of(&spring).duration_since(spring.opens)
        };
        let starts: Vec<_> = (0..10_000).map(night).collect();
        assert!(starts.iter().all(|start| *start < SignedDuration::from_mins(20)), "a sixth of two hours");
        assert!(starts.contains(&SignedDuration::ZERO) && starts.contains(&SignedDuration::from_secs(1199)));
    }

    /// Numbers that look random and are the same each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    /// Ten years of a scheduler that looks at irregular times, is restarted, stands still for half an hour, hands over to
    /// another one, and whose clock is set back and forth by up to ten minutes: one run for each date, in its window.
    fn ten_years(timing: &Timing, seed: u64) {
        let mut dice = Dice(seed);
        let (mut now, end) = (at("2016-01-01T12:00:00Z"), at("2026-01-01T12:00:00Z"));
        let mut runs: Vec<WasRun> = Vec::new();
        let mut dates = BTreeMap::<Date, usize>::new();
        while now < end {
            let wrong = SignedDuration::from_secs(dice.below(1200) as i64 - 600);
            let clock = now + wrong;
            // Whoever looks knows what is in the vault, and nothing else: a restart and another leader see the same.
            let known = &runs[runs.len().saturating_sub(5)..];
            if let (Verdict::Start { night, late }, missed) = due(timing, known, clock).unwrap() {
                assert!(!late && night.contains(clock) && missed.is_none(), "{clock} {night:?} {missed:?}");
                *dates.entry(night.date).or_default() += 1;
                runs.push(WasRun { started: clock, window_opened: Some(night.opens), complete: dice.below(9) > 0 });
                now += SignedDuration::from_mins(1 + dice.below(50) as i64);
            }
            now += SignedDuration::from_mins(1 + dice.below(30) as i64);
        }
        let mut date = *dates.keys().next().unwrap();
        assert!(dates.len() > 3650, "{}", dates.len());
        for (next, count) in dates {
            assert_eq!((next, count), (date, 1), "{}", timing.window);
            date = next.tomorrow().unwrap();
        }
    }

    #[test]
    fn every_night_of_ten_years_has_one_run() {
        for (number, zone) in ZONES.into_iter().enumerate() {
            let number = number as u64;
            ten_years(&nightly(zone), number);
            ten_years(&timing(zone, time(23, 30, 0, 0), time(2, 30, 0, 0), 7 * number), 100 + number);
        }
    }
}

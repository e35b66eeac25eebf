//! A clock that lets a program sleep through a day in seconds.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Scratch;
use super::assets::assets;

/// How long before its time such a clock begins.
const BEHIND: SignedDuration = SignedDuration::from_hours(15);
/// How often it is moved. The library that shows it looks once a second.
const STEP: Duration = Duration::from_millis(200);

/// The clock of programs that get its environment: behind by hours, it catches up with a time, ever slower, and from there goes
/// as every clock does. So what happens at that time happens at its true speed, and no server finds it strange.
#[derive(Debug)]
pub struct FastClock<'a> {
    scratch: &'a Scratch,
    begin: Instant,
    takes: Duration,
    /// By how much it is ahead in the end.
    ahead: SignedDuration,
}

impl<'a> FastClock<'a> {
    /// One that shows `until` after `takes`.
    pub fn start(scratch: &'a Scratch, until: Timestamp, takes: Duration) -> FastClock<'a> {
        let lasts = SignedDuration::try_from(takes).unwrap();
        let ahead = until.duration_since(Timestamp::now() + lasts);
        let clock = FastClock { scratch, begin: Instant::now(), takes, ahead };
        clock.set();
        clock
    }

    /// What a program sees it by. Pauses and time-outs are measured by another clock, which stays true.
    pub fn env(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", assets().faketime.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.scratch.path().join("clock").into()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Moves it until it has caught up.
    pub async fn run(&self) {
        while self.begin.elapsed() < self.takes {
            tokio::time::sleep(STEP).await;
            self.set();
        }
    }

    /// Writes by how many seconds it differs from the true one.
    fn set(&self) {
        let left = 1.0 - (self.begin.elapsed().as_secs_f64() / self.takes.as_secs_f64()).min(1.0);
        let offset = self.ahead.as_secs_f64() - (BEHIND + self.ahead).as_secs_f64() * left * left;
        self.scratch.file("clock", format!("{offset:+.3}\n"));
    }
}

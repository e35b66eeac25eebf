//! Progress for people: bars on a terminal, a line now and then elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::{screen, words};
use crate::progress::Progress;

/// Between two lines where nobody watches: often enough to see life, seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The progress that fits where standard error goes.
pub(super) fn choose(quiet: bool) -> Arc<dyn Progress> {
    match (quiet, screen::is_watched()) {
        (true, _) => Arc::new(Quiet),
        (false, true) => Arc::new(Bars::default()),
        (false, false) => Lines::begin(LINE_EVERY, screen::line),
    }
}

/// How far a task is.
#[derive(Debug, Clone, Copy)]
struct Tally {
    items: u64,
    total: Option<u64>,
    bytes: u64,
    seconds: f64,
}

impl Tally {
    /// `12,000 of 31,000 objects, 40.1 MiB, 3.1 MiB/s, 12s left`
    fn text(&self) -> String {
        let mut parts = Vec::new();
        match self.total {
            Some(total) => parts.push(format!("{} of {}", words::count(self.items), words::counted(total, "object"))),
            None if self.items > 0 => parts.push(words::counted(self.items, "object")),
            None => {}
        }
        if self.bytes > 0 {
            parts.push(words::size(self.bytes));
        }
        if self.seconds >= 1.0 {
            match (self.bytes, self.items) {
                (0, 0) => {}
                (0, items) => parts.push(format!("{}/s", words::count((items as f64 / self.seconds) as u64))),
                (bytes, _) => parts.push(format!("{}/s", words::size((bytes as f64 / self.seconds) as u64))),
            }
            parts.extend(self.left());
        }
        parts.join(", ")
    }

    fn left(&self) -> Option<String> {
        let total = self.total.filter(|total| self.items > 0 && *total > self.items)?;
        let left = (total - self.items) as f64 * self.seconds / self.items as f64;
        Some(format!("{} left", words::span(left.max(1.0).ceil())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended(task: &str, outcome: &str, seconds: f64) -> Option<String> {
    (!outcome.is_empty()).then(|| format!("{task}: {outcome}, {}", words::span(seconds)))
}

/// Only what a person must see.
struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: &str, _: u64, _: u64) {}
    fn end(&self, _: &str, _: &str) {}
    fn say(&self, line: &str) {
        screen::line(line);
    }
}

/// One bar for each task.
#[derive(Default)]
struct Bars {
    tasks: Mutex<HashMap<String, (ProgressBar, Arc<AtomicU64>)>>,
}

impl Bars {
    fn style(total: Option<u64>, bytes: &Arc<AtomicU64>) -> ProgressStyle {
        let template = match total {
            Some(_) => "{prefix}  [{bar:24}]  {tally}",
            None => "{prefix}  {spinner}  {tally}",
        };
        let bytes = bytes.clone();
        let tally = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let bytes = bytes.load(Ordering::Relaxed);
            let seconds = state.elapsed().as_secs_f64();
            let _ = out.write_str(&Tally { items: state.pos(), total, bytes, seconds }.text());
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        style.with_key("tally", tally).progress_chars("=> ")
    }
}

impl Progress for Bars {
    fn begin(&self, task: &str, items: Option<u64>) {
        let bytes = Arc::new(AtomicU64::new(0));
        let bar = items.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = screen::bars().add(bar.with_prefix(task.to_string()));
        bar.set_style(Bars::style(items, &bytes));
        bar.enable_steady_tick(Duration::from_millis(250));
        if let Some((before, _)) = lock(&self.tasks).insert(task.into(), (bar, bytes)) {
            before.finish_and_clear();
        }
    }

    fn advance(&self, task: &str, items: u64, bytes: u64) {
        if let Some((bar, counted)) = lock(&self.tasks).get(task) {
            counted.fetch_add(bytes, Ordering::Relaxed);
            bar.inc(items);
        }
    }

    fn end(&self, task: &str, outcome: &str) {
        let Some((bar, _)) = lock(&self.tasks).remove(task) else { return };
        let seconds = bar.elapsed().as_secs_f64();
        bar.finish_and_clear();
        screen::bars().remove(&bar);
        if let Some(line) = ended(task, outcome, seconds) {
            screen::line(&line);
        }
    }

    fn say(&self, line: &str) {
        screen::line(line);
    }
}

struct Task {
    begun: Instant,
    items: u64,
    total: Option<u64>,
    bytes: u64,
}

/// A line for each running task, now and then.
struct Lines {
    tasks: Mutex<BTreeMap<String, Task>>,
    write: fn(&str),
}

impl Lines {
    fn begin(every: Duration, write: fn(&str)) -> Arc<Lines> {
        let lines = Arc::new(Lines { tasks: Mutex::default(), write });
        let watched = Arc::downgrade(&lines);
        // A thread, not a task: it speaks also while the runtime is held up.
        std::thread::spawn(move || Lines::speak(&watched, every));
        lines
    }

    fn speak(watched: &Weak<Lines>, every: Duration) {
        loop {
            std::thread::sleep(every);
            let Some(lines) = watched.upgrade() else { return };
            lines.all();
        }
    }

    fn all(&self) {
        let tasks = lock(&self.tasks);
        for (name, task) in tasks.iter() {
            let seconds = task.begun.elapsed().as_secs_f64();
            let tally = Tally { items: task.items, total: task.total, bytes: task.bytes, seconds };
            (self.write)(&format!("{name}: {} after {}", tally.text(), words::span(seconds)));
        }
    }
}

impl Progress for Lines {
    fn begin(&self, task: &str, items: Option<u64>) {
        let begun = Task { begun: Instant::now(), items: 0, total: items, bytes: 0 };
        lock(&self.tasks).insert(task.into(), begun);
    }

    fn advance(&self, task: &str, items: u64, bytes: u64) {
        if let Some(task) = lock(&self.tasks).get_mut(task) {
            task.items += items;
            task.bytes += bytes;
        }
    }

    fn end(&self, task: &str, outcome: &str) {
        let Some(done) = lock(&self.tasks).remove(task) else { return };
        if let Some(line) = ended(task, outcome, done.begun.elapsed().as_secs_f64()) {
            (self.write)(&line);
        }
    }

    fn say(&self, line: &str) {
        (self.write)(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_tells_rate_and_time_left() {
        let tally = Tally { items: 500, total: Some(1500), bytes: 10 << 20, seconds: 10.0 };
        assert_eq!(tally.text(), "500 of 1,500 objects, 10.0 MiB, 1.0 MiB/s, 20s left");
        let unknown = Tally { total: None, bytes: 0, ..tally };
        assert_eq!(unknown.text(), "500 objects, 50/s");
        let bytes_only = Tally { items: 0, total: None, ..tally };
        assert_eq!(bytes_only.text(), "10.0 MiB, 1.0 MiB/s");
        assert_eq!(Tally { items: 0, total: None, bytes: 0, seconds: 0.0 }.text(), "");
    }

    #[test]
    fn a_running_task_is_told_of_now_and_then() {
        static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let lines = Lines::begin(Duration::from_millis(5), |line| lock(&SEEN).push(line.into()));
        lines.begin("platform", Some(10));
        lines.advance("platform", 3, 2048);
        let is_told = || lock(&SEEN).iter().any(|line| line.starts_with("platform: 3 of 10 objects, 2.0 KiB"));
        while !is_told() {
            std::thread::yield_now();
        }
        lines.end("platform", "10 objects");
        let seen = lock(&SEEN);
        assert!(seen.iter().any(|line| line.starts_with("platform: 10 objects, ")), "{seen:?}");
    }
}

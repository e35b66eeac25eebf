//! A restore as it is watched: on a terminal one line that stands still, elsewhere a line now and then, with `-o json` every event.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::words::{count, span};
use crate::cli::{Global, Output, screen};
use crate::restore::{Blind, Course, Event, Forecast, Items, StepStatus, Watcher};

/// Between two lines where nobody watches.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Who is told, as the command line asks.
pub(in crate::cli) fn watcher(global: &Global) -> Arc<dyn Watcher> {
    match (global.output, global.quiet) {
        (_, true) => Arc::new(Blind),
        (Output::Json, _) => Arc::new(Events),
        _ if screen::is_watched() => Arc::new(Bar::default()),
        _ => Arc::new(Lines::default()),
    }
}

/// Each event as a line of JSON, on standard error.
struct Events;

impl Watcher for Events {
    fn see(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            screen::write_line(&line);
        }
    }
}

/// What is shown.
#[derive(Default)]
struct View {
    steps: usize,
    ended: usize,
    failed: usize,
    items: Items,
    rate: Rate,
    waiting: Vec<(String, String)>,
    course: Option<Course>,
}

/// Objects a second, over the last looks.
#[derive(Default)]
struct Rate {
    before: Option<(Instant, u64)>,
    now: f64,
}

impl Rate {
    fn look(&mut self, items: u64) {
        let now = Instant::now();
        if let Some((then, counted)) = self.before {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            let measured = items.saturating_sub(counted) as f64 / seconds;
            self.now = 0.7 * self.now + 0.3 * measured;
        }
        self.before = Some((now, items));
    }
}

impl View {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Begin { steps, .. } => self.steps = steps.len(),
            Event::Waiting { step, title, role, .. } => {
                let who = role.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
                self.waiting.push((step.clone(), format!("{title}{who}")));
            }
            Event::Progress { items, .. } => {
                self.items = *items;
                self.rate.look(items.total());
            }
            Event::StepEnd { step, .. } => {
                self.ended += 1;
                self.failed += usize::from(matches!(step.status, StepStatus::Failed | StepStatus::Incomplete));
                self.waiting.retain(|(name, _)| *name != step.name);
            }
            Event::StepBegin { .. } | Event::Usable { .. } => {}
        }
    }

    /// `7 of 23 steps · 12,000 objects, 1,900/s · 10m left, done 1h12m into 4h: on course (secrets)`
    fn text(&self, forecast: &Forecast) -> String {
        let mut parts = vec![format!("{} of {} steps", self.ended, self.steps)];
        let done = self.items.total();
        if done > 0 {
            parts.push(format!("{} objects, {}/s", count(done), count(self.rate.now as u64)));
        }
        let failed = self.items.failed;
        if failed > 0 || self.failed > 0 {
            parts.push(format!("{} failed", count(failed.max(self.failed as u64))));
        }
        parts.push(course_words(forecast));
        parts.extend(self.waiting.first().map(|(step, what)| format!("waits for {step}: {what}")));
        parts.join(" · ")
    }

    /// Whether the course changed since the last time that this was asked.
    fn has_turned(&mut self, forecast: &Forecast) -> bool {
        self.course.replace(forecast.course).is_some_and(|before| before != forecast.course)
    }
}

/// `10m left, done 1h12m into 4h: at risk (secrets)`: the clock began with the incident.
fn course_words(forecast: &Forecast) -> String {
    let (finish, limit) =
        (span(forecast.usable_seconds.unwrap_or(forecast.finish_seconds)), span(forecast.limit_seconds));
    let what = if forecast.usable_seconds.is_some() { "usable" } else { "done" };
    let by = forecast.decided_by.as_ref().map(|step| format!(" ({step})")).unwrap_or_default();
    let left = match forecast.left_seconds > 0.0 {
        true => format!("{} left, ", span(forecast.left_seconds)),
        false => String::new(),
    };
    format!("{left}{what} {finish} into {limit}: {}{by}", forecast.course)
}

/// One line that stands below the bars of the steps.
struct Bar {
    view: Mutex<View>,
    bar: ProgressBar,
}

impl Default for Bar {
    fn default() -> Self {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = screen::bars().add(ProgressBar::new_spinner().with_style(style));
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar { view: Mutex::default(), bar }
    }
}

impl Watcher for Bar {
    fn see(&self, event: &Event) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.see(event);
        if let Event::Progress { forecast, .. } = event {
            self.bar.set_message(view.text(forecast));
            if view.has_turned(forecast) {
                screen::line(&course_words(forecast));
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line when the course changes, and now and then.
#[derive(Default)]
struct Lines {
    view: Mutex<View>,
    last: Mutex<Option<Instant>>,
}

impl Watcher for Lines {
    fn see(&self, event: &Event) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.see(event);
        let Event::Progress { forecast, .. } = event else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.get_or_insert_with(Instant::now).elapsed() >= LINE_EVERY;
        if view.has_turned(forecast) || is_time {
            *last = Some(Instant::now());
            screen::line(&view.text(forecast));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_what_decides() {
        let mut view = View { steps: 3, ended: 1, ..View::default() };
        view.items.created = 1200;
        view.waiting.push(("dns".into(), "Point DNS at it (network)".into()));
        let forecast = Forecast {
            finish_seconds: 4320.0,
            usable_seconds: None,
            left_seconds: 600.0,
            limit_seconds: 14400.0,
            course: Course::AtRisk,
            critical_path: vec![],
            decided_by: Some("secrets".into()),
        };
        assert_eq!(
            view.text(&forecast),
            "1 of 3 steps · 1,200 objects, 0/s · 10m left, done 1h12m into 4h: at risk (secrets) · waits for dns: Point DNS at it (network)"
        );
        assert!(!view.has_turned(&forecast), "the first look is no turn");
        assert!(view.has_turned(&Forecast { course: Course::Late, ..forecast }));
    }
}

//! The steps on a time line: machine's time, people's time, the critical path, and the recovery time objective.

use jiff::Timestamp;

use super::canvas::{Anchor, Canvas, tick};
use crate::report::model::{ExerciseReport, StepReport};
use crate::report::text::Text;
use crate::words::span;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 46.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Characters of a step's name that fit.
const NAME: usize = 26;

/// An objective that is so many times as far away as the end would make all steps unreadably small.
const FAR: f64 = 4.0;

struct Scale {
    begin: Timestamp,
    most: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.most).clamp(0.0, 1.0)
    }

    fn since(&self, moment: Timestamp) -> f64 {
        moment.duration_since(self.begin).as_secs_f64()
    }
}

/// The time line of an exercise.
pub fn timeline(report: &ExerciseReport) -> String {
    let clock = &report.clock;
    let begin = clock.incident_start;
    let ends = report.steps.iter().filter_map(|step| step.finished).map(|at| at.duration_since(begin).as_secs_f64());
    let end = ends.fold(clock.achieved_seconds, f64::max).max(0.001);
    let far = clock.rto_seconds > end * FAR;
    let most = if far { end * 1.15 } else { clock.rto_seconds.max(end) * 1.05 };
    let scale = Scale { begin, most };
    let height = TOP + ROW * report.steps.len() as f64 + 30.0;
    let others = clock.other_seconds.map_or_else(String::new, |others| format!(", neither {}", span(others)));
    let description = format!(
        "{} steps. Achieved {} of {}. Machines worked {}, people were waited for {}{others}.",
        report.steps.len(),
        span(clock.achieved_seconds),
        span(clock.rto_seconds),
        span(clock.machine_seconds),
        span(clock.people_seconds)
    );
    let mut canvas = Canvas::new("timeline", WIDTH, height, "Steps on a time line", description);
    legend(&mut canvas);
    axis(&mut canvas, &scale, height);
    for (step, row) in report.steps.iter().zip(0u32..) {
        draw(&mut canvas, &scale, step, TOP + ROW * f64::from(row));
    }
    let limit = span(clock.rto_seconds);
    let (x, label) = match far {
        true => (WIDTH - RIGHT, format!("objective {limit}: further right →")),
        false => (scale.x(clock.rto_seconds), format!("objective {limit}")),
    };
    canvas.line("target", (x, TOP - 8.0), (x, height - 24.0));
    canvas.text("", (x - 4.0, TOP - 12.0), Anchor::End, &label.into());
    canvas.finish()
}

fn legend(canvas: &mut Canvas) {
    let none = Text::default();
    canvas.rect("machine", (0.0, 6.0), (14.0, 12.0), &none);
    canvas.text("", (20.0, 16.0), Anchor::Start, &"machine".into());
    canvas.rect("people", (90.0, 6.0), (14.0, 12.0), &none);
    canvas.hatch((90.0, 6.0), (14.0, 12.0));
    canvas.text("", (110.0, 16.0), Anchor::Start, &"people".into());
    canvas.rect("critical", (170.0, 6.0), (14.0, 12.0), &none);
    canvas.text("", (190.0, 16.0), Anchor::Start, &"critical path".into());
    canvas.rect("failed", (290.0, 6.0), (14.0, 12.0), &none);
    canvas.text("", (310.0, 16.0), Anchor::Start, &"failed or incomplete".into());
}

fn axis(canvas: &mut Canvas, scale: &Scale, height: f64) {
    let step = tick(scale.most);
    let mut at = 0.0;
    while at <= scale.most {
        let x = scale.x(at);
        canvas.line("axis", (x, TOP - 4.0), (x, height - 24.0));
        canvas.text("quiet", (x, height - 8.0), Anchor::Middle, &if at == 0.0 { "0".into() } else { span(at).into() });
        at += step;
    }
}

fn draw(canvas: &mut Canvas, scale: &Scale, step: &StepReport, y: f64) {
    let name = Text::from(&step.name).cut(NAME);
    canvas.text("", (LEFT - 8.0, y + 12.0), Anchor::End, &name);
    let (Some(started), Some(finished)) = (step.started, step.finished) else {
        canvas.text("quiet", (LEFT + 4.0, y + 12.0), Anchor::Start, &step.outcome.words().into());
        return;
    };
    let (from, to) = (scale.x(scale.since(started)), scale.x(scale.since(finished)));
    let people = scale.x(scale.since(finished) - step.people_seconds).max(from);
    let tells = Text::from(format!(
        "{}: {}, {} machine, {} people",
        step.name,
        step.outcome.words(),
        span(step.machine_seconds),
        span(step.people_seconds)
    ));
    let people = if step.people_seconds > 0.0 { people } else { to };
    if people > from || step.people_seconds == 0.0 {
        canvas.rect("machine", (from, y), (people - from, BAR), &tells);
    }
    if step.people_seconds > 0.0 {
        canvas.rect("people", (people, y), (to - people, BAR), &tells);
        canvas.hatch((people, y), (to - people, BAR));
    }
    if step.critical {
        canvas.rect("critical", (from, y), (to - from, BAR), &Text::default());
    }
    if step.outcome.is_bad() {
        canvas.rect("failed", (from - 2.0, y - 2.0), (to - from + 4.0, BAR + 4.0), &Text::default());
    }
}

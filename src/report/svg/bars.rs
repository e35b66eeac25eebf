//! Recovery time and recovery point over the quarters.

use super::canvas::{Anchor, Canvas, tick};
use crate::report::model::QuarterFigures;
use crate::report::text::Text;
use crate::words::span;

const WIDTH: f64 = 960.0;
const PANEL: f64 = 440.0;
const HEIGHT: f64 = 260.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 30.0;
const LEFT: f64 = 56.0;

/// Two panels: achieved recovery time with its objective, and achieved recovery point.
pub fn history(figures: &[QuarterFigures]) -> String {
    let shown: Vec<_> = figures.iter().map(tell).collect();
    let mut canvas =
        Canvas::new("history", WIDTH, HEIGHT, "Recovery time and point over the quarters", shown.join(" "));
    panel(
        &mut canvas,
        0.0,
        "Longest achieved recovery time",
        "machine",
        figures,
        |f| f.rto_seconds,
        |f| f.rto_target_seconds,
    );
    let right = WIDTH - PANEL;
    panel(&mut canvas, right, "Longest achieved recovery point", "people", figures, |f| f.rpo_seconds, |_| None);
    canvas.finish()
}

fn tell(figures: &QuarterFigures) -> String {
    let or_none = |seconds: Option<f64>| seconds.map_or("none".into(), span);
    format!(
        "{}: recovery time {}, recovery point {}.",
        figures.quarter,
        or_none(figures.rto_seconds),
        or_none(figures.rpo_seconds)
    )
}

fn panel(
    canvas: &mut Canvas,
    left: f64,
    title: &str,
    class: &str,
    figures: &[QuarterFigures],
    value: impl Fn(&QuarterFigures) -> Option<f64>,
    target: impl Fn(&QuarterFigures) -> Option<f64>,
) {
    let values = figures.iter().flat_map(|f| [value(f), target(f)]).flatten();
    let most = values.fold(1.0, f64::max) * 1.1;
    let bottom = HEIGHT - BOTTOM;
    let y = |seconds: f64| bottom - (bottom - TOP) * (seconds / most);
    canvas.text("", (left, 16.0), Anchor::Start, &title.into());
    let step = tick(most);
    let mut at = 0.0;
    while at <= most {
        canvas.line("axis", (left + LEFT, y(at)), (left + PANEL, y(at)));
        let label = if at == 0.0 { "0".into() } else { span(at) };
        canvas.text("quiet", (left + LEFT - 6.0, y(at) + 4.0), Anchor::End, &label.into());
        at += step;
    }
    let each = (PANEL - LEFT) / figures.len().max(1) as f64;
    for (figures, nth) in figures.iter().zip(0u32..) {
        let from = left + LEFT + each * f64::from(nth);
        let middle = from + each / 2.0;
        canvas.text("quiet", (middle, HEIGHT - 10.0), Anchor::Middle, &Text::from(&figures.quarter));
        match value(figures) {
            Some(seconds) => {
                let tells = Text::from(format!("{}: {}", figures.quarter, span(seconds)));
                canvas.rect(class, (from + each * 0.25, y(seconds)), (each * 0.5, bottom - y(seconds)), &tells);
                canvas.text("", (middle, y(seconds) - 4.0), Anchor::Middle, &span(seconds).into());
            }
            None => canvas.text("quiet", (middle, bottom - 6.0), Anchor::Middle, &"none".into()),
        }
        if let Some(seconds) = target(figures) {
            canvas.line("target", (from + each * 0.1, y(seconds)), (from + each * 0.9, y(seconds)));
        }
    }
}

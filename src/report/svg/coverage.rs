//! How many components are proved how far.

use super::canvas::{Anchor, Canvas};
use crate::report::model::{CoverageRow, Proved};
use crate::report::text::Text;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 96.0;

/// One bar, gaps first.
pub fn coverage(rows: &[CoverageRow]) -> String {
    let counts = Proved::ALL.map(|level| (level, rows.iter().filter(|row| row.proved == level).count()));
    let told: Vec<_> = counts.iter().map(|(level, n)| format!("{n} {}", level.words())).collect();
    let description = format!("{} components: {}.", rows.len(), told.join(", "));
    let mut canvas = Canvas::new("coverage-picture", WIDTH, HEIGHT, "Coverage of the components", description);
    let (mut x, all) = (0.0, rows.len().max(1) as f64);
    for ((level, n), nth) in counts.iter().zip(0u32..) {
        let class = format!("l{nth}");
        if *n > 0 {
            let width = WIDTH * *n as f64 / all;
            let tells = Text::from(format!("{n} {}", level.words()));
            canvas.rect(&class, (x, 8.0), ((width - 2.0).max(1.0), 34.0), &tells);
            if level.is_gap() {
                canvas.hatch((x, 8.0), ((width - 2.0).max(1.0), 34.0));
            }
            x += width;
        }
        let (column, row) = (f64::from(nth % 3), f64::from(nth / 3));
        let at = (column * 320.0, 54.0 + row * 20.0);
        canvas.rect(&class, at, (14.0, 12.0), &Text::default());
        canvas.text("", (at.0 + 20.0, at.1 + 10.0), Anchor::Start, &format!("{n} {}", level.words()).into());
    }
    canvas.finish()
}

//! What the pictures are drawn on.

use std::fmt::Write;

use crate::report::text::Text;
use crate::words::xml;

/// An SVG element that is being drawn.
pub(super) struct Canvas {
    id: &'static str,
    width: f64,
    height: f64,
    title: Text,
    description: Text,
    body: String,
}

/// Where a text is anchored.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

impl Canvas {
    pub fn new(
        id: &'static str,
        width: f64,
        height: f64,
        title: impl Into<Text>,
        description: impl Into<Text>,
    ) -> Canvas {
        Canvas { id, width, height, title: title.into(), description: description.into(), body: String::new() }
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A rectangle; what it stands for is told to whoever points at it.
    pub fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), tells: &Text) {
        let ((x, y), (width, height)) = (at, (size.0.max(1.0), size.1));
        let told =
            if tells.as_str().is_empty() { String::new() } else { format!("<title>{}</title>", xml(tells.as_str())) };
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">{told}</rect>"
        ));
    }

    /// Slanted lines over a rectangle, so that it is told from others without colours.
    pub fn hatch(&mut self, at: (f64, f64), size: (f64, f64)) {
        let ((x, y), (width, height)) = (at, size);
        let mut along = 6.0;
        while along < width {
            self.line("hatch", (x + along, y), (x + (along - height / 2.0).max(0.0), y + height));
            along += 6.0;
        }
    }

    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &Text) {
        let ((x, y), anchor) = (at, anchor.word());
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            xml(text.as_str())
        ));
    }

    fn push(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(what);
        self.body.push('\n');
    }

    pub fn finish(self) -> String {
        let Canvas { id, width, height, title, description, body } = self;
        format!(
            "<svg role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n\
             {body}</svg>",
            xml(title.as_str()),
            xml(description.as_str())
        )
    }
}

/// A round step of an axis to `most`, so that there are at most eight of them; in seconds.
pub(super) fn tick(most: f64) -> f64 {
    const STEPS: [f64; 17] = [
        0.1,
        0.5,
        1.0,
        5.0,
        10.0,
        30.0,
        60.0,
        300.0,
        600.0,
        1800.0,
        3600.0,
        7200.0,
        21_600.0,
        86_400.0,
        604_800.0,
        2_592_000.0,
        31_536_000.0,
    ];
    STEPS.into_iter().find(|step| most / step <= 8.0).unwrap_or(most)
}

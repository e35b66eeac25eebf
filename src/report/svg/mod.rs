//! Pictures, drawn here: numbers in, an SVG element out. Colours and dashes come from the style sheet of the page.

mod bars;
mod canvas;
mod coverage;
mod timeline;

pub use self::bars::history;
pub use self::coverage::coverage;
pub use self::timeline::timeline;

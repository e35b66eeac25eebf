//! What a drill or a restore came to, and a quarter of both: one model, whose published schema programs read, and what
//! people read of it.
//!
//! A report becomes a [`document`], which becomes HTML or Markdown. The same report always becomes the same bytes: no clock is
//! asked, and everything is sorted.

mod actions;
mod controls;
mod document;
mod exercise;
mod file;
mod html;
mod junit;
mod markdown;
pub mod model;
mod quarter;
mod quarter_document;
mod redact;
mod schema;
mod svg;
mod text;

pub use self::actions::actions_at;
pub use self::controls::{CONTROLS, Control, SectionId};
pub use self::document::Document;
pub use self::file::{Checked, HTML, JSON, JUNIT, MARKDOWN, Report, SIGNATURE, check, files, write_folder};
pub use self::html::html;
pub use self::junit::junit;
pub use self::markdown::markdown;
pub use self::model::{ExerciseReport, QuarterReport};
pub use self::quarter::{ClusterInput, QUARTERS_SHOWN, QuarterInput, quarter_report, read_cluster};
pub use self::redact::{record_of, without_names};
pub use self::schema::schema;

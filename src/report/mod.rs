//! What a drill or a restore came to, and a quarter of both: one model, whose published schema programs read, and what
//! people read of it.

pub mod model;

pub use self::model::{ExerciseReport, QuarterReport};

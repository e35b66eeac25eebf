//! What a drill came to, for whoever watches: a drill that fails is as bad as a backup that does.

use std::path::Path;

use clap::ValueEnum;
use jiff::Timestamp;

use super::stage::DrillTarget;
use crate::error::Result;
use crate::observe::{Drilled, render_drill, write_metrics_text};
use crate::report::model::ExerciseReport;

/// Writes the metrics of a drill whole, or leaves those that are there. Without a report, it failed before there was one.
pub(super) fn write(file: &Path, target: DrillTarget, report: Option<&ExerciseReport>, at: Timestamp) -> Result<()> {
    let target = target.to_possible_value();
    let target = target.as_ref().map_or("", |target| target.get_name());
    write_metrics_text(file, &render_drill(&Drilled { target, report, at }))
}

//! What a drill came to, for whoever watches: a drill that fails is as bad as a backup that does.

use std::path::Path;

use jiff::Timestamp;

use crate::error::Result;
use crate::observe::write_metrics_text;
use crate::report::model::ExerciseReport;

type Drilled = (ExerciseReport, bool);

/// Writes the metrics of a drill whole, or leaves those that are there. Without a report, it failed before there was one.
pub(super) fn write(file: &Path, drilled: Option<&Drilled>, now: Timestamp) -> Result<()> {
    let good = drilled.is_some_and(|(report, _)| report.verdict.is_good());
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: String| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    };
    gauge("ckbackup_drill_last_end_timestamp_seconds", "When the last drill ended.", now.as_second().to_string());
    gauge("ckbackup_drill_last_success", "Whether the last drill passed.", u8::from(good).to_string());
    if let Some((report, _)) = drilled {
        let took = report.clock.achieved_seconds;
        gauge("ckbackup_drill_last_restore_seconds", "How long the last drill's restore took.", took.to_string());
        let gaps = report.coverage.iter().filter(|row| row.proved.is_gap()).count();
        gauge("ckbackup_drill_last_gaps", "Components that the last drill did not show.", gaps.to_string());
    }
    write_metrics_text(file, &text)
}

//! The metrics of a drill, which leaves them in a file: whoever is not there when it runs learns of it by them.

use jiff::Timestamp;

use crate::report::model::ExerciseReport;

/// One metric: name, help, and how it follows from a drill; none where it does not.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: fn(&Drilled<'_>) -> Option<f64>,
}

/// What came of a drill.
#[derive(Debug, Clone, Copy)]
pub struct Drilled<'a> {
    /// What it restored into: `sandbox`, `context` or `namespace`.
    pub target: &'a str,
    /// Its report; none where it failed before there was one.
    pub report: Option<&'a ExerciseReport>,
    /// When it ended.
    pub at: Timestamp,
}

const METRICS: &[Metric] = &[
    Metric {
        name: "ckbackup_drill_last_end_timestamp_seconds",
        help: "When the last drill ended",
        value: |drilled| Some(drilled.at.as_second() as f64),
    },
    Metric {
        name: "ckbackup_drill_last_success",
        help: "Whether the last drill passed",
        value: |drilled| Some(f64::from(drilled.report.is_some_and(|report| report.verdict.is_good()))),
    },
    Metric {
        name: "ckbackup_drill_last_restore_seconds",
        help: "How long the restore of the last drill took",
        value: |drilled| Some(drilled.report?.clock.achieved_seconds),
    },
    Metric {
        name: "ckbackup_drill_last_gaps",
        help: "How many components the last drill did not show",
        value: |drilled| Some(drilled.report?.coverage.iter().filter(|row| row.proved.is_gap()).count() as f64),
    },
];

/// The names of all of them.
pub fn drill_names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|metric| metric.name)
}

/// The metrics in Prometheus' text format.
pub fn render_drill(drilled: &Drilled<'_>) -> String {
    let line = |metric: &Metric| {
        let (name, value) = (metric.name, (metric.value)(drilled)?);
        let target = drilled.target;
        Some(format!("# HELP {name} {}\n# TYPE {name} gauge\n{name}{{target=\"{target}\"}} {value}\n", metric.help))
    };
    METRICS.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_without_a_report_failed_and_says_nothing_else() {
        let at = "2026-11-21T05:00:00Z".parse().unwrap();
        let text = render_drill(&Drilled { target: "sandbox", report: None, at });
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "ckbackup_drill_last_end_timestamp_seconds{target=\"sandbox\"} 1795237200",
                "ckbackup_drill_last_success{target=\"sandbox\"} 0",
            ]
        );
    }
}

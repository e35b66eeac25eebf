//! Step `scale`: workloads that do not run for a while.

use std::time::Duration;

use super::command::{self, Workload};
use super::duration::parse_duration;
use super::plan::DEFAULT_GATE_TIMEOUT;
use super::problems::{Problems, suggestion};
use super::raw;

/// Which workloads are scaled, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// The workloads; there is at least one.
    pub workloads: Vec<Workload>,
    /// To what.
    pub to: ScaleTo,
    /// How long their pods may take to be gone, or to be ready.
    pub timeout: Duration,
}

/// How many replicas workloads get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleTo {
    /// None; what they had is kept.
    Zero,
    /// What they had before another step scaled them to zero.
    Former,
}

/// Makes a step of what was typed, or notes all that is wrong with it.
pub(super) fn validate(raw: &raw::Scale, path: &str, problems: &mut Problems<'_>) -> Option<Scale> {
    if raw.workloads.is_empty() {
        problems.add(&format!("{path}.workloads"), "names no workload");
        return None;
    }
    let workload = |(at, raw)| command::workload(raw, &format!("{path}.workloads[{at}]"), problems);
    let workloads: Vec<_> = raw.workloads.iter().enumerate().map(workload).collect();
    let to = match raw.to.as_str() {
        "zero" => Some(ScaleTo::Zero),
        "former" => Some(ScaleTo::Former),
        other => {
            let near = suggestion(other, &["zero", "former"]);
            problems.add(&format!("{path}.to"), format!("`{other}` is nothing to scale to{near}"));
            None
        }
    };
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_GATE_TIMEOUT),
        Some(text) => problems.check(&format!("{path}.timeout"), parse_duration(text)),
    };
    Some(Scale { workloads: workloads.into_iter().collect::<Option<_>>()?, to: to?, timeout: timeout? })
}

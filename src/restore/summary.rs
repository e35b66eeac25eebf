//! What came of a restore, as people and programs read it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::preflight::Obstacle;
use super::remap::Remapped;
use crate::vault::manifest::Status;

/// The five outcomes that an object can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Items {
    /// It was not there, and is now.
    pub created: u64,
    /// It was there, and was overwritten.
    pub updated: u64,
    /// It was there, and equal.
    pub unchanged: u64,
    /// It was not written, on purpose.
    pub skipped: u64,
    /// It should have been written, and was not.
    pub failed: u64,
}

impl Items {
    /// Objects in all.
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }

    /// In words, without those of which there are none.
    pub fn words(&self) -> String {
        let all = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.unchanged, "unchanged"),
            (self.skipped, "skipped"),
            (self.failed, "failed"),
        ];
        let words: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        if words.is_empty() { "nothing to do".into() } else { words.join(", ") }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Items) {
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

/// What came of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there, and is now.
    Created,
    /// It was there, and was overwritten.
    Updated,
    /// It was there, and equal.
    Unchanged,
    /// It was not written, on purpose.
    Skipped {
        /// The rule or reason, in few words that many objects share.
        rule: String,
        /// Why this object.
        why: String,
    },
    /// It should have been written, and was not.
    Failed(String),
}

impl Outcome {
    /// Whether the target has it now as the backup does.
    pub fn is_there(&self) -> bool {
        matches!(self, Outcome::Created | Outcome::Updated | Outcome::Unchanged)
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepStatus {
    /// Everything was done.
    Done,
    /// It was done, but some objects failed.
    Incomplete,
    /// It could not be done.
    Failed,
    /// It was not begun, because a step before it failed.
    NotRun,
    /// It was left out, on purpose: its condition does not hold, or somebody said so.
    LeftOut,
    /// A drill's target cannot show it.
    NotExercised,
    /// A dry run: it would be done.
    Planned,
}

impl StepStatus {
    /// Whether the step is over and done with.
    pub fn is_over(self) -> bool {
        matches!(self, StepStatus::Done | StepStatus::LeftOut | StepStatus::NotExercised)
    }
}

impl std::fmt::Display for StepStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            StepStatus::Done => "done",
            StepStatus::Incomplete => "incomplete",
            StepStatus::Failed => "failed",
            StepStatus::NotRun => "not run",
            StepStatus::LeftOut => "left out",
            StepStatus::NotExercised => "not exercised",
            StepStatus::Planned => "planned",
        })
    }
}

/// One step of the summary.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepSummary {
    /// Name in the plan.
    pub name: String,
    /// The key in the plan: `apply`, `gate` and so on.
    pub kind: String,
    /// The cluster that it is for, where the plan spans several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How it ended.
    pub status: StepStatus,
    /// Whether it was left out by its own condition, as the plan says, and not by somebody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_condition: bool,
    /// When it first began; absent for one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// When it was under way, where the restore was gone on with after it had begun; else it was from its begin to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<StepRun>,
    /// How often it was tried.
    #[serde(default)]
    pub tries: u32,
    /// How long it took, in all runs of the restore; a try that was killed does not count.
    pub seconds: f64,
    /// How much of that was spent waiting for a person.
    #[serde(default)]
    pub people_seconds: f64,
    /// How long the plan says that it should take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// Its objects by outcome; all zero for other steps.
    pub items: Items,
    /// Skipped objects by rule, with how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// Skipped objects that were there already and differ: what they are, and where they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standing: Vec<Standing>,
    /// What mappings and patches changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remapped: Vec<Remapped>,
    /// What it counted on both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Compared>,
    /// Objects by type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, u64>,
    /// What a gate waited for in vain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<NotReady>,
    /// Why it failed, or what is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A step in one run of a restore. Of a run that was killed nobody knows when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRun {
    /// From.
    pub started: Timestamp,
    /// To.
    pub ended: Timestamp,
}

impl StepSummary {
    /// When it was under way, over all runs of the restore; empty for one that did not begin.
    pub fn under_way(&self) -> Vec<StepRun> {
        let once = self.started.zip(self.ended).map(|(started, ended)| StepRun { started, ended });
        if self.runs.is_empty() { once.into_iter().collect() } else { self.runs.clone() }
    }

    /// Adds something that is worth knowing.
    pub fn add_note(&mut self, more: &str) {
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {more}"),
            None => more.into(),
        });
    }
}

/// Something that a step counted in the backup and in the target: rows of a table, documents of an index, samples of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What was counted.
    pub what: String,
    /// In the backup.
    pub expected: u64,
    /// In the target.
    pub found: u64,
    /// Whether they count as equal.
    pub equal: bool,
    /// Whether a query gave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_query: bool,
}

impl Compared {
    /// Two numbers that must be the same.
    pub fn new(what: impl Into<String>, expected: u64, found: u64) -> Compared {
        Compared { what: what.into(), expected, found, equal: expected == found, by_query: false }
    }
}

/// An object that did not become ready in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotReady {
    /// `Deployment shop/web`.
    pub object: String,
    /// Why it counts as not ready.
    pub why: String,
    /// The last Events about it, and about its pods, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// An object that was there, differs, and was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// `deployments.apps/shop/web`.
    pub object: String,
    /// Where it differs.
    pub why: String,
}

/// Something that was not restored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Step of the plan.
    pub step: String,
    /// `deployments.apps/shop/web`, or the step itself.
    pub object: String,
    /// Why.
    pub why: String,
}

/// The clock against the recovery time objective.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RtoSummary {
    /// When the incident began.
    pub incident_start: Timestamp,
    /// The plan's limit.
    pub limit_seconds: f64,
    /// From the begin of the incident to the end of the restore.
    pub elapsed_seconds: f64,
    /// From the begin of the incident until people could work again, where the plan names the gate that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable_seconds: Option<f64>,
    /// Whether that was within the limit: the gate, or where the plan names none, the end of the restore.
    pub met: bool,
}

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestoreStatus {
    /// Everything that the plan selects is there.
    Complete,
    /// Some objects or steps failed.
    Incomplete,
    /// It was stopped, or the API server was lost: the same command goes on with it.
    Stopped,
    /// A dry run: nothing was written.
    DryRun,
}

impl std::fmt::Display for RestoreStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RestoreStatus::Complete => "complete",
            RestoreStatus::Incomplete => "incomplete",
            RestoreStatus::Stopped => "stopped",
            RestoreStatus::DryRun => "dry run",
        })
    }
}

/// One of the clusters of a restore that spans several.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSummary {
    /// Its name in the plan.
    pub name: String,
    /// Id of its backup.
    pub backup: String,
    /// Whether that holds everything that it was asked for.
    pub backup_status: Status,
    /// URL of its API server; absent when the plan needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// What came of a restore.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSummary {
    /// Its id, by which it is gone on with; absent for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// Id of the backup.
    pub backup: String,
    /// Whether the backup holds everything that it was asked for.
    pub backup_status: Status,
    /// Name of the plan.
    pub plan: String,
    /// URL of the cluster's API server; absent when the plan needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Every cluster, where the plan spans several; then the two above are those of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetSummary>,
    /// How it ended.
    pub status: RestoreStatus,
    /// Whether it was gone on with: then what its steps took does not tell how long they take.
    pub resumed: bool,
    /// How long it took since it began, with the time in which it was cut off.
    pub seconds: f64,
    /// From the begin of the incident to the end, as it was predicted before the first step.
    pub predicted_seconds: f64,
    /// The steps that decided that.
    pub critical_path: Vec<String>,
    /// The clock.
    pub rto: RtoSummary,
    /// What was found in the way before the first write.
    pub obstacles: Vec<Obstacle>,
    /// All objects by outcome.
    #[serde(skip)]
    pub items: Items,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepSummary>,
    /// What was not restored.
    pub failures: Vec<Failure>,
    /// Objects of the backup that no step selects, by type.
    pub not_selected: BTreeMap<String, u64>,
}

//! The report of one drill or one restore.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coverage::CoverageRow;
use super::follow_up::{Action, Deviation, Erasure, NotExercised, NotRestored, SignOff};
use super::step::StepReport;
use super::used::{BackupUsed, KeyUsed};
use super::verification::Verification;

/// The model's name and version.
pub const REPORT_SCHEMA: &str = "ckbackup.io/report/v1";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ExerciseKind {
    /// A rehearsal.
    Drill,
    /// The real thing.
    Restore,
}

impl ExerciseKind {
    /// In words, and in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            ExerciseKind::Drill => "drill",
            ExerciseKind::Restore => "restore",
        }
    }
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Everything that was asked for was restored and compared, in time.
    Passed,
    /// What was exercised passed, but not everything could be exercised.
    PassedWithGaps,
    /// Everything was restored, but too late.
    Late,
    /// Something was not restored, or differs.
    Failed,
    /// It was stopped before its end.
    Stopped,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::PassedWithGaps => "passed, with gaps",
            Verdict::Late => "late",
            Verdict::Failed => "failed",
            Verdict::Stopped => "stopped",
        }
    }

    /// Whether it proves that the platform comes back in time.
    pub fn is_good(self) -> bool {
        matches!(self, Verdict::Passed | Verdict::PassedWithGaps)
    }
}

/// The plan that was followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanUsed {
    /// Its name.
    pub name: String,
    /// Its version: SHA-256 of its text.
    pub sha256: String,
}

/// What kind of place was restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetKind {
    /// A control plane that was started for it and thrown away.
    Sandbox,
    /// A scratch cluster.
    Context,
    /// A namespace of a cluster.
    Namespace,
    /// The cluster itself.
    Cluster,
    /// Files on a machine, with no cluster.
    Files,
}

impl TargetKind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            TargetKind::Sandbox => "sandbox",
            TargetKind::Context => "scratch cluster",
            TargetKind::Namespace => "namespace",
            TargetKind::Cluster => "cluster",
            TargetKind::Files => "files",
        }
    }
}

/// A place that was restored into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name in the plan, where that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What kind of place.
    pub kind: TargetKind,
    /// Which: a context, a namespace, the URL of an API server.
    pub place: String,
    /// Version of its API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
}

/// Who was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct People {
    /// Who ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran_by: Option<String>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// What was rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What was lost.
    pub lost: String,
    /// What was proved by it; empty where nothing was.
    pub proved: String,
}

/// What was foretold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// How long it would take, as it was foretold before it began.
    pub predicted_seconds: f64,
    /// How long it took.
    pub actual_seconds: f64,
}

/// Time against the recovery time objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClockReading {
    /// When the incident began.
    pub incident_start: Timestamp,
    /// The recovery time objective.
    pub rto_seconds: f64,
    /// The achieved recovery time: from the begin of the incident to the end of the restore.
    pub achieved_seconds: f64,
    /// Whether that is within the objective.
    pub met: bool,
    /// Until people could use the platform, where the plan has a gate for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_seconds: Option<f64>,
    /// Of the achieved time, while machines worked.
    pub machine_seconds: f64,
    /// Of the achieved time, while people were waited for.
    pub people_seconds: f64,
    /// Of the achieved time, while no step was under way: before the first one began, and between a crash and its resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_seconds: Option<f64>,
    /// What was foretold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// The report of a drill or a restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "ckbackup.io/report/v1")]
pub struct ExerciseReport {
    /// [`REPORT_SCHEMA`].
    pub schema: String,
    /// By which it is told from others: `20261126T143000Z-drill-full-platform`.
    pub id: String,
    /// What was done.
    pub kind: ExerciseKind,
    /// What it came to.
    pub verdict: Verdict,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Version of the program.
    pub tool_version: String,
    /// Whether it was cut off and gone on with: its steps took longer than they do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// What was rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// The plan.
    pub plan: PlanUsed,
    /// Where it was restored into.
    pub targets: Vec<Target>,
    /// Who was there.
    #[serde(default)]
    pub people: People,
    /// The backups that were used.
    pub backups: Vec<BackupUsed>,
    /// The keys that were used.
    #[serde(default)]
    pub keys: Vec<KeyUsed>,
    /// The clock.
    pub clock: ClockReading,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepReport>,
    /// Every component of the inventory of systems.
    pub coverage: Vec<CoverageRow>,
    /// What was compared.
    #[serde(default)]
    pub verifications: Vec<Verification>,
    /// What should have been restored, and was not.
    #[serde(default)]
    pub not_restored: Vec<NotRestored>,
    /// What was left out on purpose, or could not be shown.
    #[serde(default)]
    pub not_exercised: Vec<NotExercised>,
    /// Where it went another way than the plan says.
    #[serde(default)]
    pub deviations: Vec<Deviation>,
    /// What is to be done about it, and what was still to be done before.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// The step of GDPR Art. 17.
    pub erasure: Erasure,
    /// Lines to sign on.
    #[serde(default)]
    pub sign_off: Vec<SignOff>,
}

//! The report of a quarter: what the vault's signed records say of it, and what they do not.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exercise::{ExerciseKind, TargetKind, Verdict};
use super::follow_up::{Action, SignOff};
use super::used::{BackupCompleteness, SignatureFound};

/// The model's name and version.
pub const QUARTER_SCHEMA: &str = "ckbackup.io/quarter/v1";

/// A backup of the quarter, whether it still stands in the vault or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRow {
    /// Its id.
    pub id: String,
    /// The night that it is of, by its local date.
    pub night: Date,
    /// When its run began.
    pub started: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// Whether it holds everything that it was asked for.
    pub completeness: BackupCompleteness,
    /// How many things it lacks.
    pub problems: u64,
    /// Members in it.
    pub items: u64,
    /// Bytes in the vault.
    pub stored_bytes: u64,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// The signature of what this is known by: the record, or else the manifest.
    pub signature: SignatureFound,
    /// Whether it stands in the vault.
    pub in_vault: bool,
    /// The highest level that was proved of it, `readable`; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<String>,
    /// When that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Timestamp>,
}

/// A run that ended without a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedRunRow {
    /// When.
    pub at: Timestamp,
    /// The night that it was of.
    pub night: Date,
    /// Why.
    pub reason: String,
}

/// A night without a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissedNight {
    /// Its local date.
    pub night: Date,
    /// Why, where a record says it; absent where there is no record of that night at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A verification that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRow {
    /// When.
    pub at: Timestamp,
    /// Of which backup.
    pub backup: String,
    /// What was proved: `readable`.
    pub level: String,
}

/// Backups that were removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationRow {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub removed: Vec<String>,
}

/// What one cluster has to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterQuarter {
    /// The cluster.
    pub cluster: String,
    /// Nights that are counted.
    pub nights: u64,
    /// Of these, with a complete backup.
    pub nights_complete: u64,
    /// Of these, with a partial backup and no complete one.
    pub nights_partial: u64,
    /// The longest time between two complete backups, in seconds: how much could have been lost. Absent where there are
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_gap_seconds: Option<f64>,
    /// All backups, oldest first.
    pub backups: Vec<BackupRow>,
    /// Runs that ended without a backup.
    #[serde(default)]
    pub failed_runs: Vec<FailedRunRow>,
    /// Nights without a backup.
    #[serde(default)]
    pub missed_nights: Vec<MissedNight>,
    /// Verifications.
    #[serde(default)]
    pub verifications: Vec<VerificationRow>,
    /// Rotations.
    #[serde(default)]
    pub rotations: Vec<RotationRow>,
}

/// A drill or a restore of the quarter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExerciseRow {
    /// Id of its report.
    pub id: String,
    /// What was done.
    pub kind: ExerciseKind,
    /// What it came to.
    pub verdict: Verdict,
    /// When it began.
    pub started: Timestamp,
    /// The plan.
    pub plan: String,
    /// What kinds of places it restored into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetKind>,
    /// The scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// Backups that were used, `workload-1/20261121T000003Z-nightly`.
    pub backups: Vec<String>,
    /// The recovery time objective.
    pub rto_seconds: f64,
    /// The achieved recovery time.
    pub achieved_seconds: f64,
    /// Age of the oldest backup that was used: the achieved recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<f64>,
    /// Components that were restored and compared, and all of them.
    pub components_restored: u64,
    /// Components in scope.
    pub components: u64,
    /// What was not restored.
    pub not_restored: u64,
    /// The signature of the record that holds the report.
    pub signature: SignatureFound,
}

impl ExerciseRow {
    /// Whether it used a backup of a cluster.
    pub fn is_of(&self, cluster: &str) -> bool {
        self.backups.iter().any(|backup| backup.split_once('/').is_some_and(|(of, _)| of == cluster))
    }

    /// Whether it restored one namespace, and so says nothing of the whole.
    pub fn is_of_one_namespace(&self) -> bool {
        self.targets.contains(&TargetKind::Namespace)
    }
}

/// One quarter among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarterFigures {
    /// `2026Q4`.
    pub quarter: String,
    /// Drills and restores.
    pub exercises: u64,
    /// The longest achieved recovery time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<f64>,
    /// The shortest objective that these had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_target_seconds: Option<f64>,
    /// The longest achieved recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<f64>,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GapKind {
    /// A record or manifest whose signature does not hold.
    NotTrusted,
    /// Nights of which no record says anything.
    NightsWithoutRecord,
    /// Nights that were missed, or whose backup is partial.
    NightsWithoutCompleteBackup,
    /// Backups that nobody verified.
    BackupsWithoutVerification,
    /// A cluster with backups and no drill of them, other than of single namespaces.
    NoDrill,
    /// A cluster of whose drills none passed.
    NoDrillPassed,
    /// Corrective actions that are past their day.
    ActionsOverdue,
    /// Corrective actions without owner or day.
    ActionsWithoutOwner,
}

/// A sentence on what is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// What.
    pub kind: GapKind,
    /// Of which cluster; absent where it is of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// In words.
    pub text: String,
}

/// A record that is not counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Its key in the vault.
    pub key: String,
    /// Why.
    pub why: String,
}

/// The report of a quarter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "ckbackup.io/quarter/v1")]
pub struct QuarterReport {
    /// [`QUARTER_SCHEMA`].
    pub schema: String,
    /// `2026Q4`.
    pub quarter: String,
    /// Its first day.
    pub from: Date,
    /// The last day that is counted: that of the quarter, or an earlier one while it is not over.
    pub through: Date,
    /// Version of the program.
    pub tool_version: String,
    /// The vault.
    pub vault: String,
    /// The clusters.
    pub clusters: Vec<ClusterQuarter>,
    /// Drills and restores, oldest first.
    pub exercises: Vec<ExerciseRow>,
    /// This quarter and those before it, oldest first.
    pub history: Vec<QuarterFigures>,
    /// Corrective actions: those that are open, and those that were closed in the quarter.
    pub actions: Vec<Action>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// Records that are not counted, because their signature does not hold or they cannot be read.
    #[serde(default)]
    pub set_aside: Vec<SetAside>,
    /// Records of kinds that this program does not know.
    #[serde(default)]
    pub unknown: Vec<SetAside>,
    /// Lines to sign on.
    #[serde(default)]
    pub sign_off: Vec<SignOff>,
}

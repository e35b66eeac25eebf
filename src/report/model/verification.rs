//! What was compared after the restore.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerificationKind {
    /// Kubernetes objects, field by field.
    Objects,
    /// Indices and documents of a search server.
    Documents,
    /// Metrics, by the results of queries.
    Metrics,
    /// Rows of a database's tables.
    Rows,
    /// Files or stored objects, by their digests.
    Files,
    /// What the stock tools have to show: signature, decryption, unpacking without this program.
    StockTools,
    /// Something else that the scenario asks for.
    Check,
}

impl VerificationKind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            VerificationKind::Objects => "objects, field by field",
            VerificationKind::Documents => "indices and documents",
            VerificationKind::Metrics => "metrics, by query results",
            VerificationKind::Rows => "rows by table",
            VerificationKind::Files => "files, by digest",
            VerificationKind::StockTools => "stock tools",
            VerificationKind::Check => "check",
        }
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerificationOutcome {
    /// Both sides say the same.
    Passed,
    /// They differ.
    Failed,
    /// It could not be compared here; never counted as passed.
    NotExercised,
}

impl VerificationOutcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            VerificationOutcome::Passed => "passed",
            VerificationOutcome::Failed => "failed",
            VerificationOutcome::NotExercised => "not exercised",
        }
    }
}

/// A number that was counted on both sides: `documents in kubernetes-2026.11.20`, `rows in registry.public.project`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountCheck {
    /// What was counted.
    pub name: String,
    /// In the backup.
    pub expected: u64,
    /// After the restore; absent where it could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
}

impl CountCheck {
    /// Whether both sides say the same.
    pub fn is_equal(&self) -> bool {
        self.found == Some(self.expected)
    }
}

/// A query that was asked on both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryCheck {
    /// The query.
    pub query: String,
    /// The answer of the backup's side.
    pub expected: String,
    /// The answer after the restore.
    pub found: String,
    /// Whether they count as equal.
    pub equal: bool,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceNamed {
    /// What: `deployments.apps/shop/web`.
    pub object: String,
    /// How: `missing`, `extra`, or the fields that changed.
    pub what: String,
}

/// The comparison of one component or source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The component, or the source of the backup.
    pub subject: String,
    /// What was compared.
    pub kind: VerificationKind,
    /// What it came to.
    pub outcome: VerificationOutcome,
    /// How many were compared.
    #[serde(default)]
    pub compared: u64,
    /// Equal on both sides.
    #[serde(default)]
    pub equal: u64,
    /// In the backup, not in the target.
    #[serde(default)]
    pub missing: u64,
    /// In the target, not in the backup.
    #[serde(default)]
    pub extra: u64,
    /// On both sides, and different.
    #[serde(default)]
    pub changed: u64,
    /// Objects or fields that were not compared, by the rule that says why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored: BTreeMap<String, u64>,
    /// Numbers that were counted on both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<CountCheck>,
    /// Queries that were asked on both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryCheck>,
    /// What differs, by name; the first of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<DifferenceNamed>,
    /// What is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Verification {
    /// One in which nothing was counted yet.
    pub fn new(subject: impl Into<String>, kind: VerificationKind, outcome: VerificationOutcome) -> Self {
        Verification {
            subject: subject.into(),
            kind,
            outcome,
            compared: 0,
            equal: 0,
            missing: 0,
            extra: 0,
            changed: 0,
            ignored: BTreeMap::new(),
            counts: Vec::new(),
            queries: Vec::new(),
            differences: Vec::new(),
            note: None,
        }
    }
}

//! What a source says it saw: counts, and what is missing. It stands in the manifest as it is here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Omission {
    /// What: a type, a pod, a path.
    pub what: String,
    /// Why.
    pub why: String,
    /// How many objects, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What was listed of one type of Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeRecord {
    /// API version within the group, `v1`.
    pub version: String,
    /// Kind, `Deployment`.
    pub kind: String,
    /// Whether objects of the type live in namespaces.
    pub namespaced: bool,
    /// Objects saved.
    pub count: u64,
    /// The resourceVersion at which the list was read.
    pub resource_version: String,
    /// How many pages it took.
    pub pages: u64,
    /// How often the list had to be begun anew because its continue token expired; later objects are then from a later time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What a source gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Members.
    pub items: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// For each type of Kubernetes object, by `deployments.apps`.
    pub types: BTreeMap<String, TypeRecord>,
    /// What was left out on purpose.
    pub skipped: Vec<Omission>,
    /// What was asked for but could not be read.
    pub problems: Vec<Omission>,
}

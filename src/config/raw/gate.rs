//! What gates and checks wait for.

use serde::Deserialize;

use super::{Filter, HttpAccess, PodPlace};

/// What a gate, or the check of a manual step, waits for: objects of a kind, or exactly one of the others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Gate {
    pub(in crate::config) kind: Option<String>,
    pub(in crate::config) condition: Option<String>,
    #[serde(default)]
    pub(in crate::config) namespaces: Filter,
    pub(in crate::config) labels: Option<String>,
    pub(in crate::config) http: Option<AwaitedAnswer>,
    pub(in crate::config) elasticsearch: Option<AwaitedHealth>,
    pub(in crate::config) prometheus: Option<AwaitedQuery>,
    pub(in crate::config) command: Option<AwaitedCommand>,
    pub(in crate::config) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AwaitedAnswer {
    pub(in crate::config) url: String,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    pub(in crate::config) status: Option<Vec<u16>>,
    pub(in crate::config) contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AwaitedHealth {
    pub(in crate::config) url: String,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    pub(in crate::config) health: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AwaitedQuery {
    pub(in crate::config) url: String,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    pub(in crate::config) query: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AwaitedCommand {
    pub(in crate::config) pod: Option<PodPlace>,
    pub(in crate::config) run: Vec<String>,
}

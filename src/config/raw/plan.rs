//! A restore plan and its steps.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Plan {
    pub(in crate::config) rto: String,
    #[serde(default)]
    pub(in crate::config) targets: BTreeMap<String, Target>,
    pub(in crate::config) usable: Option<String>,
    pub(in crate::config) steps: Vec<Step>,
    #[serde(default)]
    pub(in crate::config) mappings: Mappings,
    #[serde(default)]
    pub(in crate::config) patches: Vec<Patch>,
    pub(in crate::config) webhooks: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Mappings {
    #[serde(default)]
    pub(in crate::config) namespaces: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::config) storage_classes: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::config) image_registries: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::config) domains: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::config) domains_in: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Patch {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) kinds: Vec<String>,
    #[serde(default)]
    pub(in crate::config) namespaces: Filter,
    pub(in crate::config) labels: Option<String>,
    #[serde(default)]
    pub(in crate::config) names: Vec<String>,
    pub(in crate::config) merge: Option<Value>,
    pub(in crate::config) json: Option<Vec<PatchOperation>>,
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct PatchOperation {
    pub(in crate::config) op: String,
    pub(in crate::config) path: String,
    pub(in crate::config) from: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::config) value: Option<Value>,
}

/// A value that may be null, which is another thing than none.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Target {
    pub(in crate::config) cluster: String,
    pub(in crate::config) context: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct When {
    pub(in crate::config) source: Option<String>,
    pub(in crate::config) kinds: Option<Vec<String>>,
    pub(in crate::config) serves: Option<Vec<String>>,
    pub(in crate::config) drill: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Retry {
    pub(in crate::config) times: u32,
    pub(in crate::config) wait: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Nested {
    pub(in crate::config) file: String,
    pub(in crate::config) name: Option<String>,
}

/// A step of exactly one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Step {
    pub(in crate::config) name: String,
    #[serde(default)]
    pub(in crate::config) after: Vec<String>,
    pub(in crate::config) target: Option<String>,
    pub(in crate::config) when: Option<When>,
    pub(in crate::config) on_failure: Option<String>,
    pub(in crate::config) retry: Option<Retry>,
    pub(in crate::config) timeout: Option<String>,
    pub(in crate::config) expect: Option<String>,
    pub(in crate::config) plan: Option<Nested>,
    pub(in crate::config) apply: Option<Apply>,
    pub(in crate::config) gate: Option<Gate>,
    pub(in crate::config) http: Option<HttpRequest>,
    pub(in crate::config) scale: Option<Scale>,
    pub(in crate::config) manual: Option<Manual>,
    pub(in crate::config) files: Option<RestoreFiles>,
    pub(in crate::config) prometheus: Option<RestorePrometheus>,
    pub(in crate::config) elasticsearch: Option<RestoreElasticsearch>,
    pub(in crate::config) objects: Option<RestoreObjects>,
    pub(in crate::config) command: Option<RestoreCommand>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Apply {
    pub(in crate::config) source: Option<String>,
    pub(in crate::config) kinds: Option<Vec<String>>,
    #[serde(default)]
    pub(in crate::config) namespaces: Filter,
    pub(in crate::config) labels: Option<String>,
    #[serde(default)]
    pub(in crate::config) status: Vec<String>,
    pub(in crate::config) conflict: Option<String>,
    #[serde(default)]
    pub(in crate::config) preserve_node_ports: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Manual {
    pub(in crate::config) title: String,
    pub(in crate::config) instructions: Option<String>,
    pub(in crate::config) runbook: Option<String>,
    pub(in crate::config) role: Option<String>,
    pub(in crate::config) minutes: Option<u32>,
    pub(in crate::config) check: Option<Gate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct HttpRequest {
    pub(in crate::config) url: String,
    pub(in crate::config) method: String,
    #[serde(default)]
    pub(in crate::config) headers: BTreeMap<String, String>,
    pub(in crate::config) body: Option<String>,
    pub(in crate::config) body_file: Option<String>,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    pub(in crate::config) status: Option<Vec<u16>>,
    pub(in crate::config) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Scale {
    pub(in crate::config) workloads: Vec<Workload>,
    pub(in crate::config) to: String,
    pub(in crate::config) timeout: Option<String>,
}

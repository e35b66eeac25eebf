//! The files as they are typed. Nothing is checked here but keys and types; the validated types are what is meant.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What every document begins with; anything else is left for later.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Root<S> {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: String,
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) cluster: String,
    pub(super) window: Option<Window>,
    pub(super) catch_up: Option<String>,
    pub(super) on_window_close: Option<String>,
    pub(super) keep: Option<u32>,
    pub(super) rotate: Option<String>,
    pub(super) lease: Option<Lease>,
    pub(super) vault: Vault,
    pub(super) encryption: Encryption,
    pub(super) signing: Signing,
    pub(super) segment_size: Option<String>,
    pub(super) sources: Vec<Source>,
    #[serde(default)]
    pub(super) include: Include,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Window {
    pub(super) opens: String,
    pub(super) closes: String,
    pub(super) time_zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) term: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Vault {
    pub(super) url: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Encryption {
    pub(super) recipients: Vec<String>,
    #[serde(default)]
    pub(super) allow_single_recipient: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Signing {
    pub(super) key_file: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Include {
    #[serde(default)]
    pub(super) plans: Vec<String>,
    #[serde(default)]
    pub(super) runbooks: Vec<String>,
}

/// A source of exactly one kind. Kinds that come later have their keys already, so that they can be refused by name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) prometheus: Option<Prometheus>,
    pub(super) elasticsearch: Option<Elasticsearch>,
    pub(super) objects: Option<Objects>,
    pub(super) files: Option<Files>,
    pub(super) command: Option<Command>,
    pub(super) etcd: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Kubernetes {
    #[serde(default)]
    pub(super) namespaces: Filter,
    #[serde(default)]
    pub(super) resources: Filter,
    pub(super) label_selector: Option<String>,
    pub(super) cluster_scoped: Option<bool>,
    pub(super) defaults: Option<bool>,
    pub(super) page_size: Option<u32>,
    pub(super) parallelism: Option<u32>,
    pub(super) request_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Files {
    pub(super) path: String,
    #[serde(default)]
    pub(super) names: PathFilter,
    pub(super) newer_than: Option<String>,
    pub(super) max_size: Option<String>,
    pub(super) format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Objects {
    pub(super) url: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
    pub(super) credentials_file: Option<String>,
    #[serde(default)]
    pub(super) names: PathFilter,
    pub(super) newer_than: Option<String>,
    pub(super) max_size: Option<String>,
    pub(super) format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestoreObjects {
    pub(super) source: String,
    pub(super) url: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
    pub(super) credentials_file: Option<String>,
    #[serde(default)]
    pub(super) names: PathFilter,
    pub(super) conflict: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PathFilter {
    #[serde(default)]
    pub(super) include: Vec<String>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Prometheus {
    pub(super) url: Option<String>,
    pub(super) data: PrometheusData,
    pub(super) head: Option<bool>,
    pub(super) newer_than: Option<String>,
    pub(super) max_size: Option<String>,
    #[serde(default)]
    pub(super) access: HttpAccess,
    pub(super) alertmanager: Option<HttpServer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpServer {
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrometheusData {
    pub(super) path: Option<String>,
    pub(super) pod: Option<PrometheusPod>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrometheusPod {
    pub(super) namespace: String,
    pub(super) selector: String,
    pub(super) container: Option<String>,
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Elasticsearch {
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
    #[serde(default)]
    pub(super) indices: Vec<String>,
    pub(super) kibana: Option<bool>,
    pub(super) parallelism: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestoreElasticsearch {
    pub(super) source: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
    #[serde(default)]
    pub(super) indices: Vec<String>,
    pub(super) rename: Option<Rename>,
    pub(super) templates: Option<bool>,
    pub(super) conflict: Option<String>,
    pub(super) parallelism: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Command {
    pub(super) pod: Option<PodPlace>,
    pub(super) profile: Option<String>,
    #[serde(default)]
    pub(super) run: Vec<String>,
    pub(super) file: Option<String>,
    pub(super) marker: Option<String>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) databases: Vec<String>,
    pub(super) timeout: Option<String>,
    pub(super) before: Option<Hook>,
    pub(super) after: Option<Hook>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodPlace {
    pub(super) namespace: String,
    pub(super) selector: String,
    pub(super) container: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) run: Vec<String>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestoreCommand {
    pub(super) source: String,
    pub(super) pod: Option<PodPlace>,
    pub(super) profile: Option<String>,
    #[serde(default)]
    pub(super) run: Vec<String>,
    pub(super) file: Option<String>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) databases: Vec<String>,
    pub(super) timeout: Option<String>,
    #[serde(default)]
    pub(super) scale: Vec<Workload>,
    pub(super) conflict: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rename {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpAccess {
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) bearer_token_file: Option<String>,
    pub(super) api_key_file: Option<String>,
    pub(super) ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    pub(super) include: Vec<String>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) rto: String,
    #[serde(default)]
    pub(super) targets: BTreeMap<String, Target>,
    pub(super) usable: Option<String>,
    pub(super) steps: Vec<Step>,
    #[serde(default)]
    pub(super) mappings: Mappings,
    #[serde(default)]
    pub(super) patches: Vec<Patch>,
    pub(super) webhooks: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mappings {
    #[serde(default)]
    pub(super) namespaces: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) storage_classes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) image_registries: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) domains: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) domains_in: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Patch {
    pub(super) name: Option<String>,
    pub(super) kinds: Vec<String>,
    #[serde(default)]
    pub(super) namespaces: Filter,
    pub(super) labels: Option<String>,
    #[serde(default)]
    pub(super) names: Vec<String>,
    pub(super) merge: Option<Value>,
    pub(super) json: Option<Vec<PatchOperation>>,
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PatchOperation {
    pub(super) op: String,
    pub(super) path: String,
    pub(super) from: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) value: Option<Value>,
}

/// A value that may be null, which is another thing than none.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Target {
    pub(super) cluster: String,
    pub(super) context: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct When {
    pub(super) source: Option<String>,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) serves: Option<Vec<String>>,
    pub(super) drill: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) times: u32,
    pub(super) wait: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Nested {
    pub(super) file: String,
    pub(super) name: Option<String>,
}

/// A step of exactly one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: String,
    #[serde(default)]
    pub(super) after: Vec<String>,
    pub(super) target: Option<String>,
    pub(super) when: Option<When>,
    pub(super) on_failure: Option<String>,
    pub(super) retry: Option<Retry>,
    pub(super) timeout: Option<String>,
    pub(super) expect: Option<String>,
    pub(super) plan: Option<Nested>,
    pub(super) apply: Option<Apply>,
    pub(super) gate: Option<Gate>,
    pub(super) http: Option<HttpRequest>,
    pub(super) scale: Option<Scale>,
    pub(super) manual: Option<Manual>,
    pub(super) files: Option<RestoreFiles>,
    pub(super) prometheus: Option<RestorePrometheus>,
    pub(super) elasticsearch: Option<RestoreElasticsearch>,
    pub(super) objects: Option<RestoreObjects>,
    pub(super) command: Option<RestoreCommand>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestoreFiles {
    pub(super) source: String,
    pub(super) to: String,
    #[serde(default)]
    pub(super) names: PathFilter,
    pub(super) conflict: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestorePrometheus {
    pub(super) source: String,
    pub(super) to: Option<String>,
    pub(super) pod: Option<RestorePod>,
    pub(super) check: Option<PrometheusCheck>,
    pub(super) alertmanager: Option<HttpServer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestorePod {
    pub(super) workload: Workload,
    pub(super) claim: String,
    pub(super) path: Option<String>,
    pub(super) image: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrometheusCheck {
    pub(super) url: String,
    pub(super) timeout: Option<String>,
    #[serde(default)]
    pub(super) access: HttpAccess,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Apply {
    pub(super) source: Option<String>,
    pub(super) kinds: Option<Vec<String>>,
    #[serde(default)]
    pub(super) namespaces: Filter,
    pub(super) labels: Option<String>,
    #[serde(default)]
    pub(super) status: Vec<String>,
    pub(super) conflict: Option<String>,
    #[serde(default)]
    pub(super) preserve_node_ports: bool,
}

/// What a gate, or the check of a manual step, waits for: objects of a kind, or exactly one of the others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Gate {
    pub(super) kind: Option<String>,
    pub(super) condition: Option<String>,
    #[serde(default)]
    pub(super) namespaces: Filter,
    pub(super) labels: Option<String>,
    pub(super) http: Option<AwaitedAnswer>,
    pub(super) elasticsearch: Option<AwaitedHealth>,
    pub(super) prometheus: Option<AwaitedQuery>,
    pub(super) command: Option<AwaitedCommand>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AwaitedAnswer {
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
    pub(super) status: Option<Vec<u16>>,
    pub(super) contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AwaitedHealth {
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
    pub(super) health: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AwaitedQuery {
    pub(super) url: String,
    #[serde(default)]
    pub(super) access: HttpAccess,
    pub(super) query: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AwaitedCommand {
    pub(super) pod: Option<PodPlace>,
    pub(super) run: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manual {
    pub(super) title: String,
    pub(super) instructions: Option<String>,
    pub(super) runbook: Option<String>,
    pub(super) role: Option<String>,
    pub(super) minutes: Option<u32>,
    pub(super) check: Option<Gate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpRequest {
    pub(super) url: String,
    pub(super) method: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
    pub(super) body_file: Option<String>,
    #[serde(default)]
    pub(super) access: HttpAccess,
    pub(super) status: Option<Vec<u16>>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Scale {
    pub(super) workloads: Vec<Workload>,
    pub(super) to: String,
    pub(super) timeout: Option<String>,
}

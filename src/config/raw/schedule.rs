//! A schedule and its sources.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Filter, HttpAccess, HttpServer, PathFilter, PodPlace};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Schedule {
    pub(in crate::config) cluster: String,
    pub(in crate::config) window: Option<Window>,
    pub(in crate::config) catch_up: Option<String>,
    pub(in crate::config) on_window_close: Option<String>,
    pub(in crate::config) keep: Option<u32>,
    pub(in crate::config) rotate: Option<String>,
    pub(in crate::config) lease: Option<Lease>,
    pub(in crate::config) vault: Vault,
    pub(in crate::config) encryption: Encryption,
    pub(in crate::config) signing: Signing,
    pub(in crate::config) segment_size: Option<String>,
    pub(in crate::config) sources: Vec<Source>,
    #[serde(default)]
    pub(in crate::config) include: Include,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Window {
    pub(in crate::config) opens: String,
    pub(in crate::config) closes: String,
    pub(in crate::config) time_zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Lease {
    pub(in crate::config) namespace: Option<String>,
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) term: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Vault {
    pub(in crate::config) url: String,
    pub(in crate::config) endpoint: Option<String>,
    pub(in crate::config) region: Option<String>,
    #[serde(default)]
    pub(in crate::config) allow_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Encryption {
    pub(in crate::config) recipients: Vec<String>,
    #[serde(default)]
    pub(in crate::config) allow_single_recipient: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Signing {
    pub(in crate::config) key_file: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Include {
    #[serde(default)]
    pub(in crate::config) plans: Vec<String>,
    #[serde(default)]
    pub(in crate::config) runbooks: Vec<String>,
}

/// A source of exactly one kind. Kinds that come later have their keys already, so that they can be refused by name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Source {
    pub(in crate::config) name: String,
    pub(in crate::config) kubernetes: Option<Kubernetes>,
    pub(in crate::config) prometheus: Option<Prometheus>,
    pub(in crate::config) elasticsearch: Option<Elasticsearch>,
    pub(in crate::config) objects: Option<Objects>,
    pub(in crate::config) files: Option<Files>,
    pub(in crate::config) command: Option<Command>,
    pub(in crate::config) etcd: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Kubernetes {
    #[serde(default)]
    pub(in crate::config) namespaces: Filter,
    #[serde(default)]
    pub(in crate::config) resources: Filter,
    pub(in crate::config) label_selector: Option<String>,
    pub(in crate::config) cluster_scoped: Option<bool>,
    pub(in crate::config) defaults: Option<bool>,
    pub(in crate::config) page_size: Option<u32>,
    pub(in crate::config) parallelism: Option<u32>,
    pub(in crate::config) request_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Files {
    pub(in crate::config) path: String,
    #[serde(default)]
    pub(in crate::config) names: PathFilter,
    pub(in crate::config) newer_than: Option<String>,
    pub(in crate::config) max_size: Option<String>,
    pub(in crate::config) format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Objects {
    pub(in crate::config) url: String,
    pub(in crate::config) endpoint: Option<String>,
    pub(in crate::config) region: Option<String>,
    #[serde(default)]
    pub(in crate::config) allow_http: bool,
    pub(in crate::config) credentials_file: Option<String>,
    #[serde(default)]
    pub(in crate::config) names: PathFilter,
    pub(in crate::config) newer_than: Option<String>,
    pub(in crate::config) max_size: Option<String>,
    pub(in crate::config) format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Prometheus {
    pub(in crate::config) url: Option<String>,
    pub(in crate::config) data: PrometheusData,
    pub(in crate::config) head: Option<bool>,
    pub(in crate::config) newer_than: Option<String>,
    pub(in crate::config) max_size: Option<String>,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    pub(in crate::config) alertmanager: Option<HttpServer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct PrometheusData {
    pub(in crate::config) path: Option<String>,
    pub(in crate::config) pod: Option<PrometheusPod>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct PrometheusPod {
    pub(in crate::config) namespace: String,
    pub(in crate::config) selector: String,
    pub(in crate::config) container: Option<String>,
    pub(in crate::config) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Elasticsearch {
    pub(in crate::config) url: String,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    #[serde(default)]
    pub(in crate::config) indices: Vec<String>,
    pub(in crate::config) kibana: Option<bool>,
    pub(in crate::config) parallelism: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Command {
    pub(in crate::config) pod: Option<PodPlace>,
    pub(in crate::config) profile: Option<String>,
    #[serde(default)]
    pub(in crate::config) run: Vec<String>,
    pub(in crate::config) file: Option<String>,
    pub(in crate::config) marker: Option<String>,
    pub(in crate::config) user: Option<String>,
    #[serde(default)]
    pub(in crate::config) databases: Vec<String>,
    pub(in crate::config) timeout: Option<String>,
    pub(in crate::config) before: Option<Hook>,
    pub(in crate::config) after: Option<Hook>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Hook {
    pub(in crate::config) run: Vec<String>,
    pub(in crate::config) timeout: Option<String>,
}

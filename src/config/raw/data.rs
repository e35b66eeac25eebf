//! Steps that bring back data: one for each kind of source beside objects of Kubernetes.

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestoreObjects {
    pub(in crate::config) source: String,
    pub(in crate::config) url: String,
    pub(in crate::config) endpoint: Option<String>,
    pub(in crate::config) region: Option<String>,
    #[serde(default)]
    pub(in crate::config) allow_http: bool,
    pub(in crate::config) credentials_file: Option<String>,
    #[serde(default)]
    pub(in crate::config) names: PathFilter,
    pub(in crate::config) conflict: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestoreElasticsearch {
    pub(in crate::config) source: String,
    pub(in crate::config) url: String,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
    #[serde(default)]
    pub(in crate::config) indices: Vec<String>,
    pub(in crate::config) rename: Option<Rename>,
    pub(in crate::config) templates: Option<bool>,
    pub(in crate::config) conflict: Option<String>,
    pub(in crate::config) parallelism: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestoreCommand {
    pub(in crate::config) source: String,
    pub(in crate::config) pod: Option<PodPlace>,
    pub(in crate::config) profile: Option<String>,
    #[serde(default)]
    pub(in crate::config) run: Vec<String>,
    pub(in crate::config) file: Option<String>,
    pub(in crate::config) user: Option<String>,
    #[serde(default)]
    pub(in crate::config) databases: Vec<String>,
    pub(in crate::config) timeout: Option<String>,
    #[serde(default)]
    pub(in crate::config) scale: Vec<Workload>,
    pub(in crate::config) conflict: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Rename {
    pub(in crate::config) from: String,
    pub(in crate::config) to: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestoreFiles {
    pub(in crate::config) source: String,
    pub(in crate::config) to: String,
    #[serde(default)]
    pub(in crate::config) names: PathFilter,
    pub(in crate::config) conflict: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestorePrometheus {
    pub(in crate::config) source: String,
    pub(in crate::config) to: Option<String>,
    pub(in crate::config) pod: Option<RestorePod>,
    pub(in crate::config) check: Option<PrometheusCheck>,
    pub(in crate::config) alertmanager: Option<HttpServer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RestorePod {
    pub(in crate::config) workload: Workload,
    pub(in crate::config) claim: String,
    pub(in crate::config) path: Option<String>,
    pub(in crate::config) image: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct PrometheusCheck {
    pub(in crate::config) url: String,
    pub(in crate::config) timeout: Option<String>,
    #[serde(default)]
    pub(in crate::config) access: HttpAccess,
}

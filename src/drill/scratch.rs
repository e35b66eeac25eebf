//! Whether a cluster may be restored into as a drill.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Retry};
use crate::error::{Error, Result};
use crate::vault::manifest::Manifest;

/// The label of the namespace `kube-system` that says that a cluster is there for drills.
pub const SCRATCH_LABEL: &str = "ckbackup.io/scratch";

const TIMEOUT: Duration = Duration::from_secs(10);

/// Refuses a cluster that looks like production: one that a backup was taken of, or one that does not say that it is for drills.
pub async fn require_scratch(cluster: &Cluster, manifests: &[&Manifest]) -> Result<()> {
    let path = "/api/v1/namespaces/kube-system";
    let body = Retry::brief().run(|| cluster.get(path, None, TIMEOUT)).await;
    let server = cluster.server();
    let body = body.map_err(|e| Error::failed(format!("see whether {server} is for drills")).because(e))?;
    let namespace: Value = serde_json::from_slice(&body).unwrap_or_default();
    let uid = namespace["metadata"]["uid"].as_str();
    if let Some(manifest) = manifests.iter().find(|m| m.cluster_uid.is_some() && m.cluster_uid.as_deref() == uid) {
        return Err(Error::usage(format!(
            "{server} is {}, the cluster that {} was taken of",
            manifest.cluster, manifest.id
        ))
        .hint("a drill never restores into it: give the context of a scratch cluster, or --target sandbox"));
    }
    match namespace["metadata"]["labels"][SCRATCH_LABEL] == "true" {
        true => Ok(()),
        false => Err(Error::usage(format!("{server} does not say that it is for drills")).hint(format!(
            "if it is: kubectl --context NAME label namespace kube-system {SCRATCH_LABEL}=true; or give --target sandbox"
        ))),
    }
}

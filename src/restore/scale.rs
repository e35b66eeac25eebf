//! Workloads that must not run while what they use is replaced.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, Retry};
use crate::config::Workload;
use crate::error::{Error, Result};

/// Where the former count stands meanwhile, so that a restore that was cut off does not forget it.
const FORMER: &str = "ckbackup.io/former-replicas";

/// How long its pods may take to be gone, or to be back.
const PATIENCE: Duration = Duration::from_secs(300);

const POLL: Duration = Duration::from_millis(500);

const TIMEOUT: Duration = Duration::from_secs(30);

/// A workload that was scaled to zero.
#[derive(Debug)]
pub struct Scaled {
    workload: Workload,
    former: u64,
}

impl Scaled {
    /// For people.
    pub fn words(&self) -> String {
        let Workload { kind, namespace, name } = &self.workload;
        format!("{kind} {namespace}/{name} was scaled to 0 and back to {}", self.former)
    }
}

/// Scales all of them to zero, and waits until none of their pods runs. What was done until an error is taken back.
pub async fn to_zero(cluster: &Cluster, workloads: &[Workload]) -> Result<Vec<Scaled>> {
    let mut scaled = Vec::new();
    for workload in workloads {
        match scale_to_zero(cluster, workload).await {
            Ok(former) => scaled.push(Scaled { workload: workload.clone(), former }),
            Err(e) => {
                if let Err(e) = back(cluster, &scaled).await {
                    tracing::warn!(error = %e.one_line(), "scale back");
                }
                return Err(e);
            }
        }
    }
    Ok(scaled)
}

async fn scale_to_zero(cluster: &Cluster, workload: &Workload) -> Result<u64> {
    let object = get(cluster, workload).await?;
    let noted = object["metadata"]["annotations"][FORMER].as_str().and_then(|text| text.parse().ok());
    let former = noted.unwrap_or_else(|| object["spec"]["replicas"].as_u64().unwrap_or(1));
    let zero = json!({ "metadata": { "annotations": { FORMER: former.to_string() } }, "spec": { "replicas": 0 } });
    patch(cluster, workload, &zero).await?;
    let what = format!("scale {} {}/{} to 0", workload.kind, workload.namespace, workload.name);
    let waited = wait(cluster, workload, &what, |status| status["replicas"].as_u64().unwrap_or_default() == 0).await;
    if let Err(e) = waited {
        scale_back(cluster, workload, former).await?;
        return Err(e);
    }
    Ok(former)
}

/// Gives each its former count, and waits until that many are ready. All are tried; the first error is told.
pub async fn back(cluster: &Cluster, scaled: &[Scaled]) -> Result<()> {
    let mut first = Ok(());
    for Scaled { workload, former } in scaled {
        let what = format!("scale {} {}/{} back to {former}", workload.kind, workload.namespace, workload.name);
        let done = async {
            scale_back(cluster, workload, *former).await?;
            wait(cluster, workload, &what, |status| status["readyReplicas"].as_u64().unwrap_or_default() >= *former)
                .await
        };
        first = first.and(done.await);
    }
    first
}

async fn scale_back(cluster: &Cluster, workload: &Workload, former: u64) -> Result<()> {
    let former = json!({ "metadata": { "annotations": { FORMER: null } }, "spec": { "replicas": former } });
    patch(cluster, workload, &former).await
}

async fn get(cluster: &Cluster, workload: &Workload) -> Result<Value> {
    let path = workload.path();
    let doing = || format!("look at {} {}/{}", workload.kind, workload.namespace, workload.name);
    let body = Retry::default()
        .run(|| cluster.get(&path, None, TIMEOUT))
        .await
        .map_err(|e| Error::failed(doing()).because(e))?;
    serde_json::from_slice(&body).map_err(|e| Error::failed(doing()).because(e))
}

async fn patch(cluster: &Cluster, workload: &Workload, patch: &Value) -> Result<()> {
    let (path, body) = (workload.path(), patch.to_string());
    let patched = Retry::default().run(|| cluster.merge(&path, body.clone().into())).await;
    patched.map(drop).map_err(|e| {
        Error::failed(format!("scale {} {}/{}", workload.kind, workload.namespace, workload.name)).because(e)
    })
}

async fn wait(cluster: &Cluster, workload: &Workload, what: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let object = get(cluster, workload).await?;
        // A count from before the change says nothing.
        let is_current = object["status"]["observedGeneration"].as_u64() >= object["metadata"]["generation"].as_u64();
        if is_current && done(&object["status"]) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(format!("{what}: not within {} s", PATIENCE.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

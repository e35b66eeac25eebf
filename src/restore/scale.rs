//! Workloads that must not run while what they use is replaced.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
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

/// A workload that is scaled to zero, and its former count.
#[derive(Debug, Clone)]
pub struct Scaled {
    workload: Workload,
    former: u64,
}

/// What all steps have in the cluster only meanwhile: whoever ends the restore puts it right.
#[derive(Debug, Default)]
pub struct Interim {
    /// Workloads that are scaled to zero.
    scaled: Mutex<Vec<Scaled>>,
    /// The paths of pods that were made.
    pods: Mutex<Vec<String>>,
}

impl Interim {
    /// A pod is about to be made at this path.
    pub async fn add_pod(&self, path: &str) {
        self.pods.lock().await.push(path.into());
    }

    /// It is gone.
    pub async fn forget_pod(&self, path: &str) {
        self.pods.lock().await.retain(|pod| pod != path);
    }
}

impl Scaled {
    fn words(&self) -> String {
        format!("{} was scaled to 0 and back to {}", shown(&self.workload), self.former)
    }
}

fn shown(workload: &Workload) -> String {
    format!("{} {}/{}", workload.kind, workload.namespace, workload.name)
}

/// Scales all of them to zero, and waits until none of their pods is left.
pub async fn to_zero(cluster: &Cluster, workloads: &[Workload], interim: &Interim) -> Result<()> {
    let mut selectors = Vec::new();
    for workload in workloads {
        let object = get(cluster, workload).await?;
        let former = former(&object);
        interim.scaled.lock().await.push(Scaled { workload: workload.clone(), former });
        let annotations = json!({ FORMER: former.to_string() });
        let zero = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": 0 } });
        patch(cluster, workload, &zero).await?;
        selectors.push((workload, selector(&object)));
    }
    for (workload, selector) in selectors {
        let patience = Patience::new(format!("wait for the pods of {} to be gone", shown(workload)));
        // Those that are ending still hold connections, and are counted nowhere else.
        while count_pods(cluster, workload, &selector).await? > 0 {
            patience.pause().await?;
        }
    }
    Ok(())
}

/// Its replicas; those of before, where a restore that was cut off has left it at zero.
fn former(object: &Value) -> u64 {
    let now = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let noted = object["metadata"]["annotations"][FORMER].as_str().and_then(|text| text.parse().ok());
    if now > 0 { now } else { noted.unwrap_or(0) }
}

/// Gives those of a step their former count: all first, as they may need each other, then each is waited for. The first error is
/// told, in words what was done.
pub async fn back(cluster: &Cluster, workloads: &[Workload], interim: &Interim) -> Result<Vec<String>> {
    let mine: Vec<Scaled> = {
        let mut all = interim.scaled.lock().await;
        let (mine, others) = all.drain(..).partition(|scaled| workloads.contains(&scaled.workload));
        *all = others;
        mine
    };
    let mut first = Ok(());
    for scaled in &mine {
        first = first.and(give_back(cluster, scaled).await);
    }
    for scaled in &mine {
        first = first.and(wait_until_ready(cluster, scaled).await);
    }
    first.map(|()| mine.iter().map(Scaled::words).collect())
}

/// The same for all that are left when a restore was cut off, without waiting for them. Pods go first, as they may hold a volume.
pub async fn back_at_the_end(cluster: &Cluster, interim: &Interim) -> Vec<(String, String)> {
    let mut failed = Vec::new();
    for pod in interim.pods.lock().await.drain(..) {
        match Retry::default().run(|| cluster.delete(&pod)).await {
            Err(e) if e.code() != Some(404) => failed.push((pod, e.to_string())),
            _ => {}
        }
    }
    for scaled in interim.scaled.lock().await.drain(..) {
        if let Err(e) = give_back(cluster, &scaled).await {
            failed.push((shown(&scaled.workload), e.one_line()));
        }
    }
    failed
}

/// Brings back what a restore that was cut off has left at zero.
pub async fn recover(cluster: &Cluster, workloads: &[Workload]) -> Result<()> {
    for workload in workloads {
        let object = get(cluster, workload).await?;
        if object["metadata"]["annotations"][FORMER].is_string() {
            give_back(cluster, &Scaled { workload: workload.clone(), former: former(&object) }).await?;
        }
    }
    Ok(())
}

async fn give_back(cluster: &Cluster, scaled: &Scaled) -> Result<()> {
    let annotations = json!({ FORMER: null });
    let former = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": scaled.former } });
    patch(cluster, &scaled.workload, &former).await
}

async fn is_ready(cluster: &Cluster, scaled: &Scaled) -> Result<bool> {
    let object = get(cluster, &scaled.workload).await?;
    // A count from before the change says nothing.
    let is_current = object["status"]["observedGeneration"].as_u64() >= object["metadata"]["generation"].as_u64();
    Ok(is_current && object["status"]["readyReplicas"].as_u64().unwrap_or_default() >= scaled.former)
}

/// What its pods carry, as a query.
fn selector(object: &Value) -> String {
    let labels = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    url::form_urlencoded::byte_serialize(labels.collect::<Vec<_>>().join(",").as_bytes()).collect()
}

async fn count_pods(cluster: &Cluster, workload: &Workload, selector: &str) -> Result<usize> {
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", workload.namespace);
    let list = read(cluster, &path, &format!("look at the pods of {}", shown(workload))).await?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}

async fn get(cluster: &Cluster, workload: &Workload) -> Result<Value> {
    read(cluster, &workload.path(), &format!("look at {}", shown(workload))).await
}

async fn read(cluster: &Cluster, path: &str, doing: &str) -> Result<Value> {
    let body = Retry::default().run(|| cluster.get(path, None, TIMEOUT)).await;
    let body = body.map_err(|e| Error::failed(doing).because(e))?;
    serde_json::from_slice(&body).map_err(|e| Error::failed(doing).because(e))
}

async fn patch(cluster: &Cluster, workload: &Workload, patch: &Value) -> Result<()> {
    let (path, body) = (workload.path(), patch.to_string());
    let patched = Retry::default().run(|| cluster.merge(&path, body.clone().into())).await;
    patched.map(drop).map_err(|e| Error::failed(format!("scale {}", shown(workload))).because(e))
}

async fn wait_until_ready(cluster: &Cluster, scaled: &Scaled) -> Result<()> {
    let patience = Patience::new(format!("wait for {} to be ready again", shown(&scaled.workload)));
    while !is_ready(cluster, scaled).await? {
        patience.pause().await?;
    }
    Ok(())
}

/// How long something may take.
struct Patience {
    what: String,
    deadline: Instant,
}

impl Patience {
    fn new(what: String) -> Patience {
        Patience { what, deadline: Instant::now() + PATIENCE }
    }

    /// A moment until the next look; an error when there was time enough.
    async fn pause(&self) -> Result<()> {
        if Instant::now() >= self.deadline {
            return Err(Error::failed(format!("{}: not within {} s", self.what, PATIENCE.as_secs())));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_scaled_since_counts_more_than_what_was_noted() {
        let object = |replicas: u64, noted: Option<&str>| json!({"metadata": {"annotations": {FORMER: noted}}, "spec": {"replicas": replicas}});
        assert_eq!(former(&object(3, None)), 3);
        assert_eq!(former(&object(0, Some("3"))), 3);
        assert_eq!(former(&object(5, Some("3"))), 5);
        assert_eq!(former(&object(0, None)), 0);
    }
}

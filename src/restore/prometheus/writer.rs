//! A pod that mounts the volume of a workload as the workload does.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, FoundPod, Retry};
use crate::command::Place;
use crate::config::DataClaim;
use crate::error::{Error, Result};
use crate::restore::scale::Interim;

/// How long it may take until it runs, or is gone.
const PATIENCE: Duration = Duration::from_secs(300);

const POLL: Duration = Duration::from_millis(250);

const TIMEOUT: Duration = Duration::from_secs(30);

/// Should nobody remove it, it ends by itself, in seconds.
const LONGEST: u64 = 12 * 3600;

const CONTAINER: &str = "restore";

/// The pod as it will be, and where the data directory is in it.
pub(super) struct Writer {
    pod: Value,
    namespace: String,
    name: String,
    path: String,
}

impl Writer {
    /// Looks at the workload and the claim. Nothing is made yet.
    pub async fn plan(cluster: &Cluster, claim: &DataClaim) -> Result<Writer> {
        let namespace = claim.workload.namespace.as_str();
        let workload = get(cluster, &claim.workload.path()).await?;
        get(cluster, &format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{}", claim.claim)).await?;
        let name = format!("ckbackup-restore-{}", claim.claim);
        let template = &workload["spec"]["template"]["spec"];
        let volume = volume_of(&workload, claim).ok_or_else(|| unused(claim))?;
        let (container, mount) = mount_of(template, &volume).ok_or_else(|| unused(claim))?;
        let path = claim.path.as_deref().or(mount["mountPath"].as_str()).unwrap_or_default();
        let path = path.trim_end_matches('/').to_string();
        let mut mounted = mount.clone();
        mounted["name"] = json!("data");
        let image = claim.image.as_deref().or(container["image"].as_str()).unwrap_or_default();
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "ckbackup"}},
            "spec": {
                "restartPolicy": "Never", "activeDeadlineSeconds": LONGEST, "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false, "enableServiceLinks": false,
                "containers": [{
                    "name": CONTAINER, "image": image, "command": ["sleep", LONGEST.to_string()],
                    "volumeMounts": [mounted],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim.claim}}],
            },
        });
        for key in ["securityContext", "nodeSelector", "tolerations", "imagePullSecrets"] {
            copy(template, &mut pod["spec"], key);
        }
        for key in ["securityContext", "resources", "imagePullPolicy"] {
            copy(container, &mut pod["spec"]["containers"][0], key);
        }
        Ok(Writer { pod, namespace: namespace.into(), name, path })
    }

    /// Where the data directory is in it.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn object(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    /// Makes it, and waits until it runs.
    pub async fn start(&self, cluster: &Cluster, interim: &Interim) -> Result<Place> {
        // Of a restore that was killed.
        self.remove(cluster, interim).await?;
        interim.add_pod(&self.object()).await;
        let doing = || format!("make pod {}/{}", self.namespace, self.name);
        let pods = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let made = cluster.create(&pods, self.pod.to_string().into());
        made.await.map_err(|e| Error::failed(doing()).because(e))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pod = get(cluster, &self.object()).await?;
            match pod["status"]["phase"].as_str() {
                Some("Running") => break,
                Some(ended @ ("Failed" | "Succeeded")) => {
                    return Err(Error::failed(format!("{}: it ended at once ({ended})", doing())));
                }
                _ if Instant::now() >= deadline => {
                    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
                    let why = waiting.as_str().unwrap_or("it is not scheduled");
                    return Err(Error::failed(format!(
                        "{}: it does not run within {} s: {why}",
                        doing(),
                        PATIENCE.as_secs()
                    )));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        Ok(Place::Pod(cluster.clone(), FoundPod { namespace, name, container: CONTAINER.into() }))
    }

    /// Removes it, and waits until it is gone: the volume is used by it until then.
    pub async fn remove(&self, cluster: &Cluster, interim: &Interim) -> Result<()> {
        let doing = || format!("remove pod {}/{}", self.namespace, self.name);
        let path = self.object();
        match Retry::default().run(|| cluster.delete(&path)).await {
            Err(e) if e.code() != Some(404) => return Err(Error::failed(doing()).because(e)),
            _ => {}
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match cluster.get(&path, None, TIMEOUT).await {
                Err(e) if e.code() == Some(404) => {
                    interim.forget_pod(&path).await;
                    return Ok(());
                }
                _ if Instant::now() >= deadline => {
                    return Err(Error::failed(format!(
                        "{}: it is still there after {} s",
                        doing(),
                        PATIENCE.as_secs()
                    )));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

fn unused(claim: &DataClaim) -> Error {
    let (kind, name) = (&claim.workload.kind, &claim.workload.name);
    Error::failed(format!("{kind} {}/{name} does not mount the claim {}", claim.workload.namespace, claim.claim))
        .hint("`claim` is the claim of the data volume, such as data-prometheus-0; see `kubectl get pvc`")
}

fn copy(from: &Value, to: &mut Value, key: &str) {
    if !from[key].is_null() {
        to[key] = from[key].clone();
    }
}

async fn get(cluster: &Cluster, path: &str) -> Result<Value> {
    let failed = || Error::failed(format!("look at {path}"));
    let body = Retry::default().run(|| cluster.get(path, None, TIMEOUT)).await.map_err(|e| failed().because(e))?;
    serde_json::from_slice(&body).map_err(|e| failed().because(e))
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// What the workload calls the volume: by the claim that it names, or by the template of the claim.
fn volume_of(workload: &Value, claim: &DataClaim) -> Option<String> {
    let mut volumes = each(&workload["spec"]["template"]["spec"]["volumes"]);
    let named = volumes.find(|volume| volume["persistentVolumeClaim"]["claimName"] == claim.claim);
    let is_template = |template: &&Value| {
        let name = template["metadata"]["name"].as_str().unwrap_or_default();
        let number = claim.claim.strip_prefix(&format!("{name}-{}-", claim.workload.name));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let name = match named {
        Some(volume) => &volume["name"],
        None => &each(&workload["spec"]["volumeClaimTemplates"]).find(is_template)?["metadata"]["name"],
    };
    name.as_str().map(String::from)
}

/// The first container that mounts a volume, and how it does.
fn mount_of<'t>(template: &'t Value, volume: &str) -> Option<(&'t Value, &'t Value)> {
    each(&template["containers"]).find_map(|container| {
        let mount = each(&container["volumeMounts"]).find(|mount| mount["name"] == volume)?;
        Some((container, mount))
    })
}

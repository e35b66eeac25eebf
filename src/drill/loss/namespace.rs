//! A namespace that is deleted in a sandbox, and comes back without anything else noticing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{checked, counted};
use crate::cluster::discovery::ResourceType;
use crate::cluster::list::ListOptions;
use crate::cluster::{ApiError, Cluster, Retry};
use crate::error::{Context, Error, Result};
use crate::report::model::{Verification, VerificationKind};

const TIMEOUT: Duration = Duration::from_secs(60);

/// How often what controllers and finalizers leave behind is looked for again.
const ROUNDS: u32 = 5;

/// Kinds that the API server makes and removes by itself.
const SERVERS_OWN: [&str; 3] = ["events", "leases.coordination.k8s.io", "ipaddresses.networking.k8s.io"];

/// Kinds whose status the API server itself writes at any time: their resourceVersions say nothing.
const STATUS_BY_THE_SERVER: [&str; 5] = [
    "apiservices.apiregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "servicecidrs.networking.k8s.io",
];

/// They refuse what is deleted, or let it hang: in a sandbox nobody answers them.
const WEBHOOKS: [&str; 2] = [
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// Type, namespace and name of an object.
type Key = (String, String, String);

/// Every object of a cluster, with the uid and the resourceVersion that it has.
type Everything = BTreeMap<Key, (String, String)>;

/// A namespace that was deleted.
#[derive(Debug)]
pub struct LostNamespace {
    namespace: String,
    before: Everything,
}

impl LostNamespace {
    /// Whether a cluster has the namespace.
    pub async fn is_in(cluster: &Cluster, namespace: &str) -> Result<bool> {
        let path = path_of(namespace);
        match Retry::brief().run(|| cluster.get(&path, None, TIMEOUT)).await {
            Ok(_) => Ok(true),
            Err(e) if e.code() == Some(404) => Ok(false),
            Err(e) => Err(Error::failed(format!("look for namespace {namespace}")).because(e)),
        }
    }

    /// Deletes everything in a namespace of a sandbox, and the namespace itself, object by object: nobody else does there.
    /// Configurations of webhooks go first, and come back by the plan like the rest.
    pub async fn delete(cluster: &Cluster, namespace: &str) -> Result<LostNamespace> {
        let before = everything(cluster).await?;
        let what = || format!("delete namespace {namespace} of the sandbox");
        delete_webhooks(cluster).await.context(what)?;
        for _ in 0..ROUNDS {
            if delete_content(cluster, namespace).await.context(what)? == 0 {
                finalize(cluster, namespace).await.context(what)?;
                return Ok(LostNamespace { namespace: namespace.into(), before });
            }
        }
        Err(Error::failed(what())
            .hint("something in it comes again as soon as it is deleted; run the drill in a sandbox"))
    }

    /// What came back, and what else changed since.
    pub async fn check(&self, cluster: &Cluster) -> Result<Verification> {
        let after = everything(cluster).await?;
        let is_back = |key: &&Key| after.get(*key).is_some_and(|now| now.0 != self.before[*key].0);
        let lost: Vec<_> = self.before.keys().filter(|key| self.is_mine(key)).collect();
        let back = lost.iter().copied().filter(is_back).count();
        let webhooks: Vec<_> = self.before.keys().filter(|key| is_webhook(key)).collect();
        let webhooks_back = webhooks.iter().copied().filter(is_back).count();
        let others = self.before.iter().filter(|(key, _)| !self.is_mine(key) && !is_webhook(key));
        let untouched = others.clone().filter(|(key, was)| after.get(*key) == Some(*was)).count();
        let added = after.keys().filter(|key| !self.before.contains_key(*key)).count();
        let mut counts = vec![
            counted(
                format!("objects of {} that came back, each a new one", self.namespace),
                lost.len() as u64,
                back as u64,
            ),
            counted("other objects that stayed as they were", others.count() as u64, untouched as u64),
            counted("objects that were not there before", 0, added as u64),
        ];
        if !webhooks.is_empty() {
            let what = "configurations of webhooks, deleted as nobody answers them in a sandbox";
            counts.push(counted(what, webhooks.len() as u64, webhooks_back as u64));
        }
        Ok(checked("the deleted namespace", VerificationKind::Check, counts, None))
    }

    fn is_mine(&self, (resource, namespace, name): &Key) -> bool {
        *namespace == self.namespace || (resource == "namespaces" && *name == self.namespace)
    }
}

fn is_webhook((resource, ..): &Key) -> bool {
    WEBHOOKS.contains(&resource.as_str())
}

fn path_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}")
}

async fn listable(cluster: &Cluster) -> Result<Vec<ResourceType>> {
    let found = cluster.discover(TIMEOUT).await.context(|| "learn what the sandbox serves".into())?;
    let is_wanted = |kind: &ResourceType| kind.can("list") && !SERVERS_OWN.contains(&kind.name().as_str());
    Ok(found.types.into_iter().filter(is_wanted).collect())
}

async fn everything(cluster: &Cluster) -> Result<Everything> {
    let mut all = Everything::new();
    for kind in listable(cluster).await? {
        for object in list(cluster, &kind.path()).await.context(|| format!("list {}", kind.name()))? {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_string();
            let key = (kind.name(), text("namespace"), text("name"));
            let is_moving = STATUS_BY_THE_SERVER.contains(&kind.name().as_str());
            let version = if is_moving { String::new() } else { text("resourceVersion") };
            all.insert(key, (text("uid"), version));
        }
    }
    Ok(all)
}

async fn list(cluster: &Cluster, collection: &str) -> Result<Vec<Value>, ApiError> {
    let options = ListOptions { page_size: 1000, label_selector: None, timeout: TIMEOUT, retry: Retry::default() };
    let mut pages = cluster.pages_of_metadata(collection, options);
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.extend(page?.items.iter().filter_map(|item| serde_json::from_slice(&item.json).ok()));
    }
    Ok(all)
}

async fn delete_webhooks(cluster: &Cluster) -> Result<()> {
    for kind in listable(cluster).await?.iter().filter(|kind| WEBHOOKS.contains(&kind.name().as_str())) {
        for object in list(cluster, &kind.path()).await.context(|| format!("list {}", kind.name()))? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            gone(cluster.delete(&format!("{}/{name}", kind.path())).await)?;
        }
    }
    Ok(())
}

/// Deletes what is in a namespace, and says how much there was.
async fn delete_content(cluster: &Cluster, namespace: &str) -> Result<u64> {
    let mut deleted = 0;
    for kind in listable(cluster).await?.iter().filter(|kind| kind.namespaced && kind.can("delete")) {
        let collection = kind.path_in(Some(namespace));
        for object in list(cluster, &collection).await.context(|| format!("list {}", kind.name()))? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{collection}/{}", name.replace('%', "%25"));
            if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
                // Who would do what they wait for does not run here.
                gone(cluster.merge(&path, json!({"metadata": {"finalizers": null}}).to_string().into()).await)?;
            }
            gone(cluster.delete(&format!("{path}?gracePeriodSeconds=0")).await)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// The namespace itself, which waits for a controller to say that it is empty.
async fn finalize(cluster: &Cluster, namespace: &str) -> Result<()> {
    let path = path_of(namespace);
    gone(cluster.delete(&path).await)?;
    let body = match cluster.get(&path, None, TIMEOUT).await {
        Err(e) if e.code() == Some(404) => return Ok(()),
        answer => answer.map_err(|e| Error::failed(format!("look at namespace {namespace}")).because(e))?,
    };
    let mut object: Value = serde_json::from_slice(&body).context(|| format!("read namespace {namespace}"))?;
    object["spec"]["finalizers"] = json!([]);
    gone(cluster.replace(&format!("{path}/finalize"), object.to_string().into()).await)
}

/// What is gone already need not be deleted.
fn gone(answer: Result<bytes::Bytes, ApiError>) -> Result<()> {
    match answer {
        Err(e) if e.code() != Some(404) => Err(Error::failed(format!("delete {}", e.path)).because(e)),
        _ => Ok(()),
    }
}

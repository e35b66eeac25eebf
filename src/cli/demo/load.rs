//! Loads the demo platform into a cluster: objects in order, owners' uids filled in, status written after them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::discovery::{Discovered, ResourceType};
use crate::cluster::{ApiError, Cluster, Retry};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;

const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a type is waited for after its definition was created.
const SERVED_TRIES: u32 = 100;
const POLL: Duration = Duration::from_millis(100);

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Objects.
    pub objects: usize,
    /// Kinds.
    pub kinds: usize,
    /// Namespaces with objects in them.
    pub namespaces: usize,
}

/// Uids by api version, kind, namespace and name.
type Uids = HashMap<(String, String, String, String), String>;

struct Loader<'a> {
    cluster: &'a Cluster,
    found: Discovered,
    uids: Uids,
}

/// Creates every object; the first refusal is an error.
pub async fn load(cluster: &Cluster, objects: Vec<Value>, progress: &dyn Progress) -> Result<Loaded> {
    const TASK: &str = "load the platform";
    progress.begin(TASK, Some(objects.len() as u64));
    let found = cluster.discover(TIMEOUT).await.context(|| "learn what the cluster serves".into())?;
    let mut loader = Loader { cluster, found, uids: Uids::new() };
    let (mut kinds, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    let count = objects.len();
    for object in objects {
        kinds.insert((text(&object, "apiVersion"), text(&object, "kind")));
        namespaces.insert(text(&object["metadata"], "namespace"));
        let shown = format!("{} {}", text(&object, "kind"), text(&object["metadata"], "name"));
        loader.create(object).await.map_err(|e| e.within(format!("load {shown}")))?;
        progress.advance(TASK, 1, 0);
    }
    namespaces.remove("");
    progress.end(TASK, "");
    Ok(Loaded { objects: count, kinds: kinds.len(), namespaces: namespaces.len() })
}

impl Loader<'_> {
    async fn create(&mut self, mut object: Value) -> Result<()> {
        let kind = self.served(&text(&object, "apiVersion"), &text(&object, "kind")).await?;
        let (namespace, name) = (text(&object["metadata"], "namespace"), text(&object["metadata"], "name"));
        self.fill_in_uids(&mut object, &namespace);
        let collection = kind.path_in((!namespace.is_empty()).then_some(namespace.as_str()));
        let body = Bytes::from(object.to_string());
        let answer = Retry::default().run(|| self.try_create(&collection, body.clone())).await?;
        let created: Value = serde_json::from_slice(&answer).context(|| "read what the server made of it".into())?;
        let key = (text(&object, "apiVersion"), text(&object, "kind"), namespace, name.clone());
        self.uids.insert(key, text(&created["metadata"], "uid"));
        let subresource = kind.subresources.iter().any(|s| s == "status");
        if let Some(status) = object.get("status").filter(|_| subresource) {
            let patch = json!({ "status": status }).to_string();
            self.cluster.merge(&format!("{collection}/{name}/status"), Bytes::from(patch)).await?;
        }
        Ok(())
    }

    /// A definition is served a moment after it was created: 404 may pass.
    async fn try_create(&self, collection: &str, body: Bytes) -> Result<Bytes, ApiError> {
        for _ in 1..SERVED_TRIES {
            match self.cluster.create(collection, body.clone()).await {
                Err(e) if e.code() == Some(404) => tokio::time::sleep(POLL).await,
                done => return done,
            }
        }
        self.cluster.create(collection, body).await
    }

    async fn served(&mut self, api_version: &str, kind: &str) -> Result<ResourceType> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        for _ in 0..SERVED_TRIES {
            let known = self.found.types.iter().find(|t| t.group == group && t.kind == kind);
            if let Some(known) = known.filter(|t| self.found.serves(&t.name(), version)) {
                return Ok(ResourceType { version: version.into(), ..known.clone() });
            }
            tokio::time::sleep(POLL).await;
            self.found = self.cluster.discover(TIMEOUT).await?;
        }
        Err(Error::failed(format!("the cluster does not serve {kind} in {api_version}")))
    }

    /// Owner references and claims name their objects; the server gave those their uids.
    fn fill_in_uids(&self, object: &mut Value, namespace: &str) {
        let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            let (version, kind, name) = (text(owner, "apiVersion"), text(owner, "kind"), text(owner, "name"));
            let of = |ns: &str| self.uids.get(&(version.clone(), kind.clone(), ns.to_string(), name.clone()));
            if let Some(uid) = of(namespace).or_else(|| of("")) {
                owner["uid"] = json!(uid);
            }
        }
        let Some(claim) = object.pointer_mut("/spec/claimRef").filter(|c| c.get("uid").is_none()) else { return };
        let (kind, namespace, name) = ("PersistentVolumeClaim".into(), text(claim, "namespace"), text(claim, "name"));
        if let Some(uid) = self.uids.get(&("v1".into(), kind, namespace, name)) {
            claim["uid"] = json!(uid);
        }
    }
}

fn text(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

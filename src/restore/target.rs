//! What the target cluster serves, learned when it is needed: definitions that are restored bring new types on the way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::compile::SavedType;
use super::moved::{Moved, moved};
use super::rules::text;
use super::terminating::Terminating;
use super::write::PATIENCE;
use crate::cluster::discovery::group_version_path;
use crate::cluster::{ApiError, Cluster, Retry};

/// How long a type is waited for whose definition was just restored.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// How long it is believed that a type is not served that nobody has promised: an operator may bring it on the way.
const BELIEVED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(150);
/// An aggregated API that hangs is given up after this, and its objects fail; nothing else waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the target serves of one type.
#[derive(Debug, Clone)]
pub struct ServedType {
    group: String,
    version: String,
    plural: String,
    namespaced: bool,
    /// Whether status is a subresource.
    pub status_subresource: bool,
    /// How objects come from the version that they were saved in.
    way: Way,
}

/// From the version of the backup to that of the target.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is the same version.
    Same,
    /// The definition serves another version, and the target itself judges whether an object fits into it.
    OtherVersion,
    /// A type of Kubernetes itself that went elsewhere.
    Moved(&'static Moved),
}

impl ServedType {
    /// Path of the collection that an object of that namespace is created in.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let base = group_version_path(&self.group, &self.version);
        match namespace {
            Some(ns) if self.namespaced => format!("{base}/namespaces/{ns}/{}", self.plural),
            _ => format!("{base}/{}", self.plural),
        }
    }

    /// `deployments.apps`, as the target calls it.
    pub fn resource(&self) -> String {
        crate::config::resource_name(&self.plural, &self.group)
    }

    /// Its version in the target.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Group and version, as objects name them.
    fn api_version(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "/" };
        format!("{}{dot}{}", self.group, self.version)
    }

    /// Whether objects change their version on the way.
    pub fn is_other_version(&self) -> bool {
        !matches!(self.way, Way::Same)
    }

    /// Brings an object into the version that is served; an error says why it has no equal there.
    pub fn convert(&self, object: &mut Value) -> Result<(), String> {
        match self.way {
            Way::Same => return Ok(()),
            Way::OtherVersion => {}
            Way::Moved(moved) => moved.change(object)?,
        }
        object["apiVersion"] = Value::String(self.api_version());
        Ok(())
    }
}

type Answer = Result<ServedType, Unserved>;

/// Served types, or why a type is not served. Each is asked for once.
pub struct Target {
    cluster: Cluster,
    types: Mutex<HashMap<String, Arc<Mutex<Option<Known>>>>>,
    /// Namespaces that are being deleted.
    pub terminating: Terminating,
}

/// An answer, and until when it is believed.
struct Known {
    answer: Answer,
    until: Option<Instant>,
}

/// Why a type is not served.
#[derive(Debug, Clone)]
pub enum Unserved {
    /// The server says so.
    Missing(String),
    /// The server does not say what it serves: whoever serves the type is not ready.
    NotReady(String),
    /// The server does not answer.
    Lost(String),
}

impl Target {
    /// Nothing is asked yet.
    pub fn new(cluster: Cluster) -> Self {
        Target { cluster, types: Mutex::default(), terminating: Terminating::default() }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How the target serves a type, where it is known already.
    pub async fn known(&self, kind: &SavedType) -> Option<ServedType> {
        let cell = self.cell(kind).await;
        let known = cell.try_lock().ok()?;
        known.as_ref()?.answer.clone().ok()
    }

    /// How the target serves a type. With `awaited`, the type's definition was restored and is waited for.
    pub async fn served(&self, kind: &SavedType, awaited: bool) -> Answer {
        let cell = self.cell(kind).await;
        let mut known = cell.lock().await;
        if let Some(Known { answer, until }) = &*known
            && until.is_none_or(|until| Instant::now() < until)
        {
            return answer.clone();
        }
        let answer = self.ask(kind, awaited).await;
        let until = (answer.is_err() && !awaited).then(|| Instant::now() + BELIEVED);
        *known = Some(Known { answer: answer.clone(), until });
        answer
    }

    /// How the target serves a type now. What is not served is not remembered, as it may still come.
    pub async fn look(&self, kind: &SavedType) -> Answer {
        let cell = self.cell(kind).await;
        let answer = self.ask(kind, false).await;
        if let Ok(_) | Err(Unserved::Lost(_)) = answer {
            let until = answer.is_err().then(|| Instant::now() + BELIEVED);
            *cell.lock().await = Some(Known { answer: answer.clone(), until });
        }
        answer
    }

    async fn cell(&self, kind: &SavedType) -> Arc<Mutex<Option<Known>>> {
        let key = format!("{}/{}", kind.resource, kind.version);
        self.types.lock().await.entry(key).or_default().clone()
    }

    /// Owners whose type is served in another version are named in that one: the garbage collector looks for them there.
    pub async fn rename_owners(&self, object: &mut Value, types: &HashMap<String, SavedType>) {
        let references = object["metadata"].get_mut("ownerReferences").and_then(Value::as_array_mut);
        for reference in references.into_iter().flatten() {
            let version = text(reference, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let named = |t: &&SavedType| t.kind == text(reference, "kind") && t.group == group && t.version == version;
            let Some(owner) = types.values().find(named) else { continue };
            if let Some(served) = self.known(owner).await.filter(ServedType::is_other_version) {
                reference["apiVersion"] = Value::String(served.api_version());
            }
        }
    }

    /// Asks until the type is served or the time is over. One type that is not served holds up only itself.
    async fn ask(&self, kind: &SavedType, awaited: bool) -> Answer {
        let begin = Instant::now();
        let within = if awaited { SERVED_WITHIN } else { Duration::ZERO };
        loop {
            let why = match self.ask_once(kind).await {
                Ok(Some(served)) => return Ok(served),
                Ok(None) => Unserved::Missing(missing(kind)),
                Err(e) if self.cluster.is_lost(&e).await => Unserved::Lost(e.message()),
                Err(e) => Unserved::NotReady(not_ready(kind, &e)),
            };
            // A server that restarts is waited for as long as with writes.
            let within = if matches!(why, Unserved::Lost(_)) { PATIENCE } else { within };
            if begin.elapsed() >= within {
                return Err(why);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ask_once(&self, kind: &SavedType) -> Result<Option<ServedType>, ApiError> {
        if let Some(served) = self.ask_for(&kind.group, &kind.version, kind.plural(), Way::Same).await? {
            return Ok(Some(served));
        }
        if let Some(moved) = moved(&kind.resource, &kind.version) {
            let (plural, group) = moved.to.split_once('.').unwrap_or((moved.to, ""));
            return self.ask_for(group, moved.version, plural, Way::Moved(moved)).await;
        }
        match kind.is_custom() {
            true => self.ask_other_versions(kind).await,
            false => Ok(None),
        }
    }

    /// The versions that the server prefers come first.
    async fn ask_other_versions(&self, kind: &SavedType) -> Result<Option<ServedType>, ApiError> {
        #[derive(Deserialize, Default)]
        struct Group {
            #[serde(default)]
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let group: Option<Group> = self.find(&format!("/apis/{}", kind.group)).await?;
        let others = group.unwrap_or_default().versions.into_iter().filter(|v| v.version != kind.version);
        for Version { version } in others {
            let served = self.ask_for(&kind.group, &version, kind.plural(), Way::OtherVersion).await?;
            if served.is_some() {
                return Ok(served);
            }
        }
        Ok(None)
    }

    async fn ask_for(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        way: Way,
    ) -> Result<Option<ServedType>, ApiError> {
        #[derive(Deserialize, Default)]
        struct Resources {
            #[serde(default)]
            resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            name: String,
            #[serde(default)]
            namespaced: bool,
        }
        let found: Option<Resources> = self.find(&group_version_path(group, version)).await?;
        let found = found.unwrap_or_default();
        let status = format!("{plural}/status");
        let status_subresource = found.resources.iter().any(|r| r.name == status);
        let resource = found.resources.into_iter().find(|r| r.name == plural);
        Ok(resource.map(|r| ServedType {
            group: group.into(),
            version: version.into(),
            plural: r.name,
            namespaced: r.namespaced,
            status_subresource,
            way,
        }))
    }

    /// What stands at a path; none where nothing does, or where it cannot be read.
    async fn find<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ApiError> {
        let retry = Retry { tries: 4, within: TIMEOUT, ..Retry::default() };
        match retry.run(|| self.cluster.get(path, None, TIMEOUT)).await {
            Ok(body) => Ok(serde_json::from_slice(&body).ok()),
            Err(e) if e.code() == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn missing(kind: &SavedType) -> String {
    format!("the target does not serve {} in version {}", kind.resource, kind.version)
}

fn not_ready(kind: &SavedType, error: &ApiError) -> String {
    format!("whoever serves {} in version {} is not ready: {}", kind.resource, kind.version, error.message())
}

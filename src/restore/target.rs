//! What the target cluster serves, learned when it is needed: definitions that are restored bring new types on the way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::compile::SavedType;
use super::write::PATIENCE;
use crate::cluster::discovery::group_version_path;
use crate::cluster::{ApiError, Cluster, Retry};

/// How long a type is waited for whose definition was just restored.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(150);
const TIMEOUT: Duration = Duration::from_secs(15);

/// What the target serves of one type.
#[derive(Debug, Clone)]
pub struct ServedType {
    /// API path of the collection, up to the group and version: `/apis/apps/v1`.
    base: String,
    plural: String,
    namespaced: bool,
    /// Whether status is a subresource.
    pub status_subresource: bool,
}

impl ServedType {
    /// Path of the collection that an object of that namespace is created in.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(ns) if self.namespaced => format!("{}/namespaces/{ns}/{}", self.base, self.plural),
            _ => format!("{}/{}", self.base, self.plural),
        }
    }
}

type Answer = Result<ServedType, Unserved>;

/// Served types, or why a type is not served. Each is asked for once.
pub struct Target {
    cluster: Cluster,
    types: Mutex<HashMap<String, Arc<OnceCell<Answer>>>>,
}

/// Why a type is not served.
#[derive(Debug, Clone)]
pub enum Unserved {
    /// The server says so, or does not say what it serves.
    Missing(String),
    /// The server does not answer.
    Lost(String),
}

impl Target {
    /// Nothing is asked yet.
    pub fn new(cluster: Cluster) -> Self {
        Target { cluster, types: Mutex::default() }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How the target serves a type. With `awaited`, the type's definition was restored and is waited for.
    pub async fn served(&self, kind: &SavedType, awaited: bool) -> Answer {
        let key = format!("{}/{}", kind.resource, kind.version);
        let cell = self.types.lock().await.entry(key).or_default().clone();
        cell.get_or_init(|| self.ask(kind, awaited)).await.clone()
    }

    /// Asks until the type is served or the time is over. One type that is not served holds up only itself.
    async fn ask(&self, kind: &SavedType, awaited: bool) -> Answer {
        let begin = Instant::now();
        let within = if awaited { SERVED_WITHIN } else { Duration::ZERO };
        loop {
            let why = match self.ask_once(kind).await {
                Ok(Some(served)) => return Ok(served),
                Ok(None) => Unserved::Missing(format!(
                    "the target does not serve {} in version {}",
                    kind.resource, kind.version
                )),
                Err(e) if self.cluster.is_lost(&e).await => Unserved::Lost(e.message()),
                Err(e) => Unserved::Missing(e.message()),
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
        #[derive(serde::Deserialize)]
        struct Resources {
            #[serde(default)]
            resources: Vec<Resource>,
        }
        #[derive(serde::Deserialize)]
        struct Resource {
            name: String,
            #[serde(default)]
            namespaced: bool,
        }
        let base = group_version_path(&kind.group, &kind.version);
        let body = match Retry::default().run(|| self.cluster.get(&base, None, TIMEOUT)).await {
            Ok(body) => body,
            Err(e) if e.code() == Some(404) => return Ok(None),
            Err(e) => return Err(e),
        };
        let found: Resources = serde_json::from_slice(&body).unwrap_or(Resources { resources: Vec::new() });
        let status = format!("{}/status", kind.plural());
        let status_subresource = found.resources.iter().any(|r| r.name == status);
        let resource = found.resources.into_iter().find(|r| r.name == kind.plural());
        Ok(resource.map(|r| ServedType { base, plural: r.name, namespaced: r.namespaced, status_subresource }))
    }
}

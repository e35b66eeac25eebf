//! Whether whoever is behind a webhook answers.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::cluster::{ApiError, Cause, Cluster, Retry};
use crate::restore::rules::text;

/// A webhook may take as long; one that takes longer for a mere hello holds up every write.
const LONGEST: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where a webhook sends its questions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// A service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port.
        port: u64,
    },
    /// A server somewhere.
    Url(String),
}

/// What a backend does instead of answering, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It cannot be reached, which whoever asks it learns at once.
    Unreachable(String),
    /// Whoever asks it waits as long as they are ready to.
    Hangs(String),
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Backend::Service { namespace, name, .. } => write!(f, "service {namespace}/{name}"),
            Backend::Url(url) => f.write_str(url),
        }
    }
}

impl Backend {
    /// Of one webhook of a configuration.
    pub fn of(webhook: &Value) -> Option<Backend> {
        let config = &webhook["clientConfig"];
        if let Some(url) = config["url"].as_str() {
            return Some(Backend::Url(url.into()));
        }
        let service = config["service"].as_object()?;
        Some(Backend::Service {
            namespace: service.get("namespace")?.as_str()?.into(),
            name: service.get("name")?.as_str()?.into(),
            port: service.get("port").and_then(Value::as_u64).unwrap_or(443),
        })
    }

    /// Whether it answers anything at all; an error says what it does instead. Who cannot be asked from here is believed to answer.
    pub async fn answers(&self, cluster: &Cluster, seconds: u64) -> Result<(), Silence> {
        let patience = Duration::from_secs(seconds.max(1)).min(LONGEST);
        match self {
            Backend::Url(url) => greet(url, patience).await,
            Backend::Service { namespace, name, port } => {
                if has_ready_endpoint(cluster, namespace, name).await.map_err(Silence::Unreachable)? {
                    greet_through(cluster, &format!("{namespace}/services/https:{name}:{port}"), patience).await?;
                }
                Ok(())
            }
        }
    }

    /// Whether it is ready to be asked; one that is elsewhere is.
    pub async fn is_ready(&self, cluster: &Cluster) -> bool {
        match self {
            Backend::Url(_) => true,
            Backend::Service { namespace, name, .. } => has_ready_endpoint(cluster, namespace, name).await.is_ok(),
        }
    }
}

/// An error where it has none; false where it is a name of somebody elsewhere, or may not be looked at.
async fn has_ready_endpoint(cluster: &Cluster, namespace: &str, name: &str) -> Result<bool, String> {
    let service = match read(cluster, &format!("/api/v1/namespaces/{namespace}/services/{name}")).await {
        Ok(service) => service,
        Err(e) if e.code() == Some(404) => return Err(format!("service {namespace}/{name} is not there")),
        Err(_) => return Ok(false),
    };
    if service["spec"]["type"] == "ExternalName" {
        return Ok(false);
    }
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
    );
    let Ok(slices) = read(cluster, &slices).await else { return Ok(false) };
    let endpoints = slices["items"].as_array().into_iter().flatten().filter_map(|slice| slice["endpoints"].as_array());
    match endpoints.flatten().any(|endpoint| endpoint["conditions"]["ready"] != false) {
        true => Ok(true),
        false => Err(format!("service {namespace}/{name} has no endpoint that is ready")),
    }
}

async fn read(cluster: &Cluster, path: &str) -> Result<Value, ApiError> {
    let body = Retry::brief().run(|| cluster.get(path, None, TIMEOUT)).await?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// The API server passes a hello on. What the backend says to it does not matter.
async fn greet_through(cluster: &Cluster, service: &str, patience: Duration) -> Result<(), Silence> {
    let path = format!("/api/v1/namespaces/{service}/proxy/");
    match cluster.get(&path, None, patience).await {
        Err(e) if matches!(e.cause, Cause::TimedOut(_)) => Err(hangs(patience)),
        Err(e) if matches!(e.code(), Some(502..=504)) => {
            Err(Silence::Unreachable(format!("it cannot be reached: {}", text_of(&e))))
        }
        _ => Ok(()),
    }
}

fn text_of(error: &ApiError) -> String {
    error.message().lines().next().unwrap_or_default().to_string()
}

fn hangs(patience: Duration) -> Silence {
    Silence::Hangs(format!("it takes the connection, and does not answer within {} s", patience.as_secs()))
}

/// A hello from here. A certificate that is not known here says nothing about the API server's trust in it.
async fn greet(url: &str, patience: Duration) -> Result<(), Silence> {
    let builder = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    let Ok(client) = builder.build() else { return Ok(()) };
    match timeout(patience, client.get(url).send()).await {
        Err(_) => Err(hangs(patience)),
        Ok(Err(e)) if e.is_connect() => {
            Err(Silence::Unreachable(format!("it cannot be reached from here: {}", root(&e))))
        }
        Ok(_) => Ok(()),
    }
}

fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// How long the API server waits for a webhook, in seconds.
pub fn patience_of(webhook: &Value) -> u64 {
    webhook["timeoutSeconds"].as_u64().unwrap_or(10)
}

/// Whether the cluster runs pods at all; without nodes no backend ever comes up.
pub async fn has_nodes(cluster: &Cluster) -> bool {
    match read(cluster, "/api/v1/nodes?limit=1").await {
        Ok(list) => list["items"].as_array().is_none_or(|nodes| !nodes.is_empty()),
        Err(_) => true,
    }
}

/// The name of a webhook.
pub fn name_of(webhook: &Value) -> &str {
    text(webhook, "name")
}

//! The only door to the Kubernetes API: connecting, discovery, lists, and writing objects.
//!
//! Objects pass through as the bytes that the server sent. kube gives the connection, its TLS and its log-in; requests and
//! their retries are made here, because what is retried, and for how long, is part of the promise.

mod answer;
mod connect;
pub mod discovery;
pub mod events;
mod exec;
pub mod lease;
pub mod list;
pub mod objects;
mod retry;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use tokio::sync::RwLock;

pub use self::answer::{ApiError, Cause};
use self::connect::{build_client, read_config};
pub use self::exec::FoundPod;
pub use self::retry::Retry;
use crate::error::{Error, Result};

/// Which cluster, and as whom.
#[derive(Debug, Clone)]
pub enum Access {
    /// Kubeconfig files, merged in order as kubectl does; the current context unless one is named.
    Kubeconfig {
        /// The files.
        files: Vec<PathBuf>,
        /// The context.
        context: Option<String>,
    },
    /// The service account of the pod that this runs in.
    Pod {
        /// URL of the API server; none where this is no pod.
        server: Option<String>,
        /// The folder with the account's `token` and `ca.crt`.
        account: PathBuf,
    },
}

/// A connection to one cluster's API server.
#[derive(Clone)]
pub struct Cluster {
    access: Arc<Access>,
    client: Arc<RwLock<Connected>>,
    server: String,
    name: String,
    namespace: String,
}

struct Connected {
    client: kube::Client,
    /// Counts the times that credentials were read again, so that many failing requests lead to one reading.
    generation: u64,
}

/// How a response looks before anyone judges it.
struct Answer {
    status: http::StatusCode,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Cluster {
    /// Reads the configuration and prepares the connection. Nothing is sent yet.
    pub async fn connect(access: Access) -> Result<Cluster> {
        let (config, name) = read_config(&access).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_string();
        let namespace = config.default_namespace.clone();
        let client = build_client(config)?;
        let client = Arc::new(RwLock::new(Connected { client, generation: 0 }));
        Ok(Cluster { access: Arc::new(access), client, server, name, namespace })
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Name of the context, or `in-cluster`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the context, or of the pod.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// An API server that does not answer fails the operation at its begin, in words.
    pub async fn version(&self) -> Result<String> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let body = Retry::brief().run(|| self.get("/version", None, Duration::from_secs(10))).await.map_err(|e| {
            Error::failed(format!("reach the Kubernetes API at {}", self.server))
                .because(e)
                .hint("check that the API server is up and that the context is the right one")
        })?;
        let version: Version = serde_json::from_slice(&body)
            .map_err(|e| Error::failed(format!("{} is not a Kubernetes API server", self.server)).because(e))?;
        Ok(version.git_version)
    }

    /// Uid of the `kube-system` namespace, by which a cluster is recognised; none where it may not be read.
    pub async fn uid(&self) -> Option<String> {
        let path = "/api/v1/namespaces/kube-system";
        let body = Retry::brief().run(|| self.get(path, None, Duration::from_secs(10))).await.ok()?;
        let object: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(object["metadata"]["uid"].as_str()?.to_string())
    }

    /// Whether an error that stayed is about the server rather than about one request: it does not answer any question, or does
    /// not accept the credentials. One object that always breaks its connection is no lost server.
    pub async fn is_lost(&self, error: &ApiError) -> bool {
        match &error.cause {
            Cause::Status { code, .. } => *code == 401,
            Cause::Transport(_) | Cause::TimedOut(_) => self.version().await.is_err(),
            Cause::TooLong(_) => false,
        }
    }

    /// One GET, once.
    pub async fn get(&self, path: &str, accept: Option<&str>, timeout: Duration) -> Result<Bytes, ApiError> {
        self.send(Call { accept, ..Call::get(path, timeout) }).await
    }

    /// One request, once; a body that is not JSON's success is an error with the server's own reason.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Bytes, ApiError> {
        let (client, generation) = {
            let connected = self.client.read().await;
            (connected.client.clone(), connected.generation)
        };
        let answer = self.exchange(client, &call).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        if answer.status == http::StatusCode::UNAUTHORIZED {
            self.log_in_again(generation).await;
        }
        Err(ApiError::from_status(&call, answer.status, answer.retry_after, &answer.body))
    }

    async fn exchange(&self, client: kube::Client, call: &Call<'_>) -> Result<Answer, ApiError> {
        let mut request = Request::builder().method(&call.method).uri(call.path);
        request = request.header(header::ACCEPT, call.accept.unwrap_or("application/json"));
        let body = match &call.content {
            Some((kind, bytes)) => {
                request = request.header(header::CONTENT_TYPE, *kind);
                Body::from(bytes.clone())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|e| ApiError::transport(call, e.to_string()))?;
        let exchange = async {
            let response = client.send(request).await.map_err(|e| ApiError::transport(call, chain(&e)))?;
            let (head, body) = response.into_parts();
            let glimpse = call.glimpse.filter(|_| head.status.is_success());
            let body = read_body(call, body, glimpse).await?;
            Ok(Answer { status: head.status, retry_after: retry::retry_after(&head.headers), body })
        };
        match tokio::time::timeout(call.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::timed_out(call)),
        }
    }

    /// A token that has expired is read again from where it comes from; one reading serves all who failed with it.
    async fn log_in_again(&self, failed: u64) {
        let mut connected = self.client.write().await;
        if connected.generation != failed {
            return;
        }
        let client = match read_config(&self.access).await {
            Ok((config, _)) => build_client(config),
            Err(e) => Err(e),
        };
        match client {
            Ok(client) => *connected = Connected { client, generation: failed + 1 },
            Err(e) => tracing::warn!(error = %e.one_line(), "read the credentials again"),
        }
    }
}

/// One request.
pub(crate) struct Call<'a> {
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    pub accept: Option<&'a str>,
    /// Content type and body.
    pub content: Option<(&'static str, Bytes)>,
    pub timeout: Duration,
    /// Bytes of the answer that are read at most; a longer one fails with [`Cause::TooLong`].
    pub most: usize,
    /// Called once with the begin of a good answer, before the rest is there.
    pub glimpse: Option<Glimpse<'a>>,
}

/// Looks at the begin of an answer.
pub(crate) type Glimpse<'a> = &'a (dyn Fn(&[u8]) + Send + Sync);

/// How much of an answer is shown to a [`Glimpse`], unless the whole is shorter: bytes.
const GLIMPSE: usize = 4096;

impl<'a> Call<'a> {
    /// A GET of JSON, however long.
    pub fn get(path: &'a str, timeout: Duration) -> Self {
        Call { method: Method::GET, path, accept: None, content: None, timeout, most: usize::MAX, glimpse: None }
    }
}

async fn read_body(call: &Call<'_>, body: Body, mut glimpse: Option<Glimpse<'_>>) -> Result<Bytes, ApiError> {
    let mut limited = Limited::new(body, call.most);
    // Put together at the end, when the size is known: growing would copy what is there again and again.
    let (mut pieces, mut read) = (Vec::new(), 0);
    while let Some(frame) = limited.frame().await {
        let frame = frame.map_err(|e| match e.is::<LengthLimitError>() {
            true => ApiError::too_long(call, call.most),
            false => ApiError::transport(call, chain(e.as_ref())),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        pieces.push(data);
        if read >= GLIMPSE
            && let Some(look) = glimpse.take()
        {
            look(&pieces.concat());
        }
    }
    let mut body = BytesMut::with_capacity(read);
    pieces.iter().for_each(|piece| body.extend_from_slice(piece));
    if let Some(look) = glimpse {
        look(&body);
    }
    Ok(body.freeze())
}

fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        let more = c.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = c.source();
    }
    text
}

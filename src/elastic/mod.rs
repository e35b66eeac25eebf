//! The door to an Elasticsearch or OpenSearch server: what it is, requests that are sent again while it is busy, and what it
//! keeps beside its indices.

mod kept;
mod reply;
mod saved;

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

pub use self::kept::{KEPT, Kept};
pub use self::reply::{Refusal, explain};
pub use self::saved::Saved;
use crate::config::HttpAccess;
use crate::endpoint::{Content, Endpoint, Reply};
use crate::error::{Error, Kind, Result};

/// How long one request may take: a page of documents, or a bulk of them, on a server that is busy.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server that is busy or gone is asked again.
const PATIENCE: Duration = Duration::from_secs(90);

/// The first wait between two tries; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The largest answer that is taken, in bytes: more than the largest document that a server takes unless told otherwise.
const MOST: usize = 128 << 20;

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

/// A server that answered.
#[derive(Debug, Clone)]
pub struct Elastic {
    endpoint: Endpoint,
    /// Which of the two it is.
    pub product: Product,
    /// Its version, `8.19.21`.
    pub version: String,
}

/// When a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// After a refusal, and when no answer came: done twice, it does the same.
    Always,
    /// Only after a refusal: what was done is not known when no answer came.
    WhenRefused,
}

impl Elastic {
    /// Asks a server what it is.
    pub async fn connect(url: &Url, access: &HttpAccess) -> Result<Elastic> {
        let endpoint = Endpoint::new(url, access)?;
        let mut elastic = Elastic { endpoint, product: Product::Elasticsearch, version: String::new() };
        let root = elastic.call(Method::GET, "", None, Repeat::Always).await?;
        let about: Value = serde_json::from_slice(&root.body).unwrap_or_default();
        let said = |pointer: &str| about.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
        if said("/version/distribution") == "opensearch" {
            elastic.product = Product::OpenSearch;
        }
        elastic.version = match said("/version/number") {
            // Its root may be closed to whoever asks.
            version if version.is_empty() => elastic.node_version().await?,
            version => version,
        };
        Ok(elastic)
    }

    async fn node_version(&self) -> Result<String> {
        let nodes = self.get("_nodes/_local?filter_path=nodes.*.version").await?;
        let first = nodes["nodes"].as_object().and_then(|nodes| nodes.values().next());
        first.and_then(|node| node["version"].as_str()).map(String::from).ok_or_else(|| {
            Error::failed(format!("{} does not say that it is an Elasticsearch or OpenSearch", self.shown()))
                .hint("check the URL")
        })
    }

    /// The URL, for people.
    pub fn shown(&self) -> &str {
        self.endpoint.shown()
    }

    /// Name and version, for people.
    pub fn words(&self) -> String {
        format!("{:?} {}", self.product, self.version)
    }

    /// Asks for JSON that must be there.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let reply = self.call(Method::GET, path, None, Repeat::Always).await?;
        self.json(path, &reply)
    }

    /// Asks for JSON of a part that the server may not have: a plugin, or a newer version.
    pub async fn get_if_served(&self, path: &str) -> Result<Option<Value>> {
        let reply = self.call(Method::GET, path, None, Repeat::Always).await?;
        match reply.status {
            // Where there is none of a kind, some parts answer so, and with nothing.
            StatusCode::NOT_FOUND if &*reply.body == b"{}" => Ok(Some(Value::Object(Default::default()))),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            StatusCode::BAD_REQUEST if Refusal::of(&reply).is_not_served() => Ok(None),
            _ => self.json(path, &reply).map(Some),
        }
    }

    /// Sends JSON, or nothing where it is null; the answer as JSON, or why it was refused.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        repeat: Repeat,
    ) -> Result<Result<Value, Refusal>> {
        let content = Some(body).filter(|body| !body.is_null()).map(json_content);
        let reply = self.call(method, path, content, repeat).await?;
        Ok(match reply.status.is_success() {
            true => Ok(self.json(path, &reply)?),
            false => Err(Refusal::of(&reply)),
        })
    }

    /// Sends JSON that must be taken.
    pub async fn order(&self, method: Method, path: &str, body: &Value, repeat: Repeat) -> Result<Value> {
        let sent = self.send(method, path, body, repeat).await?;
        sent.map_err(|refusal| self.refused(path, &refusal))
    }

    /// One request, sent again while the server is too busy, or gone. The answer whatever its status but for these.
    pub async fn call(&self, method: Method, path: &str, content: Option<Content>, repeat: Repeat) -> Result<Reply> {
        self.call_for(MOST, method, path, content, repeat).await
    }

    /// The same for an answer of at most so many bytes.
    pub async fn call_for(
        &self,
        most: usize,
        method: Method,
        path: &str,
        content: Option<Content>,
        repeat: Repeat,
    ) -> Result<Reply> {
        let deadline = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let sent = self.endpoint.exchange(method.clone(), path, content.clone(), TIMEOUT, most).await;
            let is_last = Instant::now() + wait > deadline;
            match sent {
                Ok(reply) if reply.status == StatusCode::UNAUTHORIZED => return Err(self.endpoint.refused_log_in()),
                Ok(reply) if is_busy(reply.status, repeat) && !is_last => {
                    tracing::debug!(status = %reply.status, path, "busy; asked again");
                }
                Ok(reply) => return Ok(reply),
                // Files that cannot be read, and answers that are too large, stay so.
                Err(e) if e.kind() == Kind::Usage || repeat == Repeat::WhenRefused || is_last => return Err(e),
                Err(e) => tracing::debug!(error = %e.one_line(), path, "no answer; asked again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn json(&self, path: &str, reply: &Reply) -> Result<Value> {
        if !reply.status.is_success() {
            return Err(self.refused(path, &Refusal::of(reply)));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|e| Error::failed(format!("{} answered with no JSON", self.place(path))).because(e))
    }

    /// A refusal as an error.
    pub fn refused(&self, path: &str, refusal: &Refusal) -> Error {
        let error = Error::failed(format!("{}: {refusal}", self.place(path)));
        match refusal.status {
            StatusCode::FORBIDDEN => {
                error.hint("the user that logs in lacks this right; docs/sources/elasticsearch.md lists them")
            }
            _ => error,
        }
    }

    fn place(&self, path: &str) -> String {
        format!("{}/{}", self.shown(), path.split('?').next().unwrap_or_default())
    }
}

/// The server did nothing, and may do it later. What a gateway says tells nothing about what was done behind it.
fn is_busy(status: StatusCode, repeat: Repeat) -> bool {
    matches!((status.as_u16(), repeat), (429 | 503, _) | (502 | 504, Repeat::Always))
}

/// JSON to be sent.
pub fn json_content(body: &Value) -> Content {
    Content { media_type: "application/json", bytes: body.to_string().into() }
}

/// Lines of a bulk request.
pub fn bulk_content(bytes: Bytes) -> Content {
    Content { media_type: "application/x-ndjson", bytes }
}

/// A name as part of a path.
pub fn in_path(name: &str) -> String {
    // A date in a name may hold a `/` or `<`; `%` begins what is encoded already.
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

//! A proxy in front of a real server that decides, request by request, what goes wrong.
//!
//! What is forwarded is forwarded unchanged (method, path, `Host` and all other headers), so that signed requests stay
//! valid. It runs on a thread of its own, so that it also works while a test blocks its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::{HeaderMap, Method};
use tokio::sync::oneshot;

use super::proxy_front::{self, Front};
use super::proxy_upstream::Upstream;

/// A request as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts from 1, in the order in which the requests arrived.
    pub number: usize,
    pub method: Method,
    /// Path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
}

impl Seen {
    /// Whether the method is this one and the path contains this text.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    /// Whether it changes anything: a question about rights is posted, too, and so is a rehearsal.
    pub fn writes(&self) -> bool {
        self.method != "GET" && !self.path.contains("selfsubjectaccessreviews") && !self.path.contains("dryRun=All")
    }
}

/// Something to do at a moment, such as killing the program under test.
pub type Deed = Box<dyn FnOnce() + Send>;

/// What becomes of one request.
pub enum Action {
    /// It reaches the server, and the answer the client.
    Forward,
    /// It reaches the server, and the answer the client so much later.
    Late(std::time::Duration),
    /// It reaches the server without one of its headers.
    Without(&'static str),
    /// The proxy answers itself: status, headers, body.
    Respond(u16, Vec<(&'static str, String)>, String),
    /// It is never answered, and the connection stays open.
    Hang,
    /// The connection ends before the server sees anything.
    DropBefore,
    /// The server handles it, then the connection ends without an answer.
    DropAfter,
    /// As many bytes of the server's body reach the client, then the connection ends.
    CutBody(usize),
    /// Done first; then the connection ends, before the server sees anything.
    Before(Deed),
    /// The server handles it; then this is done, and the connection ends without an answer.
    After(Deed),
}

impl Action {
    /// A status with an empty body.
    pub fn status(code: u16) -> Action {
        Action::Respond(code, Vec::new(), String::new())
    }

    /// A failure as the Kubernetes API reports it.
    pub fn kubernetes_status(code: u16, reason: &str, message: &str) -> Action {
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "reason": reason, "message": message,
        });
        Action::Respond(code, vec![("content-type", "application/json".into())], status.to_string())
    }

    /// "Too many requests", with the seconds after which to come again.
    pub fn too_many_requests(retry_after: u32) -> Action {
        match Action::kubernetes_status(429, "TooManyRequests", "slow down") {
            Action::Respond(code, mut headers, body) => {
                headers.push(("retry-after", retry_after.to_string()));
                Action::Respond(code, headers, body)
            }
            other => other,
        }
    }
}

/// What decides.
pub type Decide = dyn Fn(&Seen) -> Action + Send + Sync;

/// What the requests of all connections share.
pub(super) struct Shared {
    pub(super) upstream: Upstream,
    decide: Box<Decide>,
    seen: Mutex<Vec<Seen>>,
}

impl Shared {
    /// Notes the request, and asks what becomes of it.
    pub(super) fn decide(&self, method: &Method, path: &str, headers: &HeaderMap) -> Action {
        let seen = {
            let mut all = self.seen.lock().unwrap();
            let (method, path, headers) = (method.clone(), path.to_owned(), headers.clone());
            let seen = Seen { number: all.len() + 1, method, path, headers };
            all.push(seen.clone());
            seen
        };
        (self.decide)(&seen)
    }
}

/// A running proxy; it ends when dropped, with all its connections.
pub struct FaultProxy {
    url: String,
    ca_pem: Option<String>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Clients speak plain HTTP/1.1 to it: in front of the S3 server.
    pub fn plain(upstream: &str, decide: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        FaultProxy::start(Front::plain(), Upstream::plain(upstream), Box::new(decide))
    }

    /// Clients speak TLS to it, with HTTP/2 or HTTP/1.1 as they like: in front of the API server, whose certificate
    /// authority it needs. Clients of the proxy trust [`FaultProxy::ca_pem`].
    pub fn tls(upstream: &str, upstream_ca: &str, decide: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        FaultProxy::start(Front::tls(), Upstream::tls(upstream, upstream_ca), Box::new(decide))
    }

    /// No server is behind it: it must answer everything itself, over TLS.
    pub fn alone(decide: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        FaultProxy::start(Front::tls(), Upstream::plain("http://127.0.0.1:1"), Box::new(decide))
    }

    fn start(front: Front, upstream: Upstream, decide: Box<Decide>) -> Self {
        let shared = Arc::new(Shared { upstream, decide, seen: Mutex::default() });
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = format!("{}://{}", front.scheme(), listener.local_addr().unwrap());
        let ca_pem = front.ca_pem().map(str::to_owned);
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || proxy_front::serve(listener, front, served, stopped));
        FaultProxy { url, ca_pem, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens: `http://127.0.0.1:<port>`, or with `https`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its clients must trust, when it speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many of the requests so far have this method and this text in their path.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.is(method, part)).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

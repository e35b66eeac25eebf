//! A small HTTP server for tests that keeps what it was sent.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// A running server; it ends when dropped.
pub struct Web {
    url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

type Decide = dyn Fn(&Asked) -> Option<(u16, String)> + Send + Sync;

struct Shared {
    decide: Box<Decide>,
    asked: Mutex<Vec<Asked>>,
}

impl Web {
    /// Answers each request with a status and a text; where there are none, the connection ends when the request was read.
    pub async fn start(decide: impl Fn(&Asked) -> Option<(u16, String)> + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { decide: Box::new(decide), asked: Mutex::default() });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Web { url, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        let service = service_fn(move |request| answer(shared.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> std::io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    shared.asked.lock().unwrap().push(asked.clone());
    let (status, text) = (shared.decide)(&asked).ok_or_else(|| std::io::Error::other("no answer"))?;
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
}

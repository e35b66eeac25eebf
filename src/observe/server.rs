//! `/metrics`, `/healthz` and `/readyz`, by plain HTTP/1.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::board::Board;
use super::metrics::{CONTENT_TYPE, render};
use crate::clock::{Clock, SystemClock};
use crate::error::{Context, Error, Result};

/// Few look at it; more connections wait.
const CONNECTIONS: usize = 32;

/// Who says nothing for so long is disconnected.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a connection lasts.
const LONGEST: Duration = Duration::from_secs(120);

const TEXT: &str = "text/plain; charset=utf-8";

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens. Connections wait until it serves.
    pub fn bind(address: SocketAddr) -> Result<Server> {
        let listen = || -> std::io::Result<Server> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Server { listener, address })
        };
        listen().map_err(|e| {
            Error::usage(format!("listen at {address}"))
                .because(e)
                .hint("choose another address; port 0 takes a free one")
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves a board.
    pub async fn serve(self, board: Arc<Board>) -> Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener).context(|| "serve the metrics".into())?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = places.clone().acquire_owned().await.context(|| "serve the metrics".into())?;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = %e, "a connection for the metrics could not be taken");
                    // Without a file descriptor left, the next one fails at once, too.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let board = board.clone();
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let answer = answer(&request, &board);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(SILENCE);
                let serving = http.serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(e)) = tokio::time::timeout(LONGEST, serving).await {
                    tracing::debug!(error = %e, "a connection for the metrics ended");
                }
            });
        }
    }
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => match render(board.snapshot(SystemClock.now())) {
            Ok(metrics) => text(StatusCode::OK, CONTENT_TYPE, metrics),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{}\n", e.one_line())),
        },
        "/healthz" => text(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if board.is_ready() => text(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the vaults were not read yet\n"),
        _ => text(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n"),
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

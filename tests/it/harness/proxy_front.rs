//! The side of the fault proxy that clients talk to.

use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::fault_proxy::{Action, Shared};
use super::proxy_upstream::BoxError;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How clients connect.
pub(super) struct Front {
    tls: Option<(TlsAcceptor, String)>,
}

impl Front {
    pub(super) fn plain() -> Self {
        Front { tls: None }
    }

    /// With a new certificate for 127.0.0.1, which signs itself.
    pub(super) fn tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Front { tls: Some((TlsAcceptor::from(Arc::new(config)), made.cert.pem())) }
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub(super) fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|(_, pem)| pem.as_str())
    }
}

/// Accepts connections until `stopped` resolves; the end of the runtime then ends all of them.
pub(super) fn serve(listener: TcpListener, front: Front, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            () = accept(listener, front, shared) => {}
        }
    });
    runtime.shutdown_background();
}

async fn accept(listener: TcpListener, front: Front, shared: Arc<Shared>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let front = Arc::new(front);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(connection(stream, Arc::clone(&front), Arc::clone(&shared)));
    }
}

/// A client that goes away, or does not trust the certificate, is none of the proxy's business.
async fn connection(stream: TcpStream, front: Arc<Front>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Some((acceptor, _)) = &front.tls else { return http1(stream, shared).await };
    let Ok(stream) = acceptor.accept(stream).await else { return };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http2(stream, shared).await,
        _ => http1(stream, shared).await,
    }
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let executor = TokioExecutor::new();
    let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper end the connection (HTTP/2: the stream) without an answer.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, BoxError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    match shared.decide(request.method(), &path, request.headers()) {
        Action::Forward => Ok(shared.upstream.send(request).await?.map(|body| body.map_err(Into::into).boxed_unsync())),
        Action::Without(header) => {
            let mut request = request;
            request.headers_mut().remove(header);
            Ok(shared.upstream.send(request).await?.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        Action::Late(time) => {
            let answer = shared.upstream.send(request).await?;
            tokio::time::sleep(time).await;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        Action::Respond(status, headers, text) => respond(request, status, headers, text).await,
        Action::Hang => std::future::pending().await,
        Action::DropBefore => Err(cut()),
        Action::DropAfter => handle(request, &shared).await,
        Action::CutBody(bytes) => Ok(shared.upstream.send(request).await?.map(|body| shorten(body, bytes))),
        Action::Before(deed) => {
            deed();
            Err(cut())
        }
        Action::After(deed) => {
            let error = handle(request, &shared).await;
            deed();
            error
        }
    }
}

/// Lets the server do its work to the end, and keeps the answer.
async fn handle(request: Request<Incoming>, shared: &Shared) -> Result<Response<Body>, BoxError> {
    shared.upstream.send(request).await?.into_body().collect().await?;
    Err(cut())
}

/// Reads the request to its end first, as a server does: a client that still writes would see a broken pipe instead.
async fn respond(
    request: Request<Incoming>,
    status: u16,
    headers: Vec<(&'static str, String)>,
    text: String,
) -> Result<Response<Body>, BoxError> {
    request.into_body().collect().await?;
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(text).map_err(|never| match never {}).boxed_unsync())?)
}

fn shorten(body: Incoming, bytes: usize) -> Body {
    let data = BodyStream::new(body).try_filter_map(async |frame| Ok(frame.into_data().ok())).err_into();
    StreamBody::new(first_bytes(data.boxed(), bytes).map_ok(Frame::data)).boxed_unsync()
}

/// As many bytes as there may be, then an error.
fn first_bytes(
    data: BoxStream<'static, Result<Bytes, BoxError>>,
    bytes: usize,
) -> impl Stream<Item = Result<Bytes, BoxError>> {
    futures::stream::unfold(Some((data, bytes)), async |state| {
        let (mut data, left) = state?;
        if left == 0 {
            // Waiting once makes hyper send what it has; an error at once would take that along.
            tokio::task::yield_now().await;
            return Some((Err(cut()), None));
        }
        match data.next().await? {
            Ok(mut chunk) => {
                chunk.truncate(left);
                let left = left - chunk.len();
                Some((Ok(chunk), Some((data, left))))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

fn cut() -> BoxError {
    "the fault proxy ends this connection".into()
}

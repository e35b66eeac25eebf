//! The side of the fault proxy that talks to the real server.

use http::uri::{Authority, Parts, Scheme, Uri};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::api::{tls, tls_without_trust};

pub(super) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
    scheme: Scheme,
    authority: Authority,
}

impl Upstream {
    pub(super) fn plain(url: &str) -> Self {
        Upstream::new(url, tls_without_trust())
    }

    pub(super) fn tls(url: &str, ca_pem: &str) -> Self {
        Upstream::new(url, tls(ca_pem))
    }

    fn new(url: &str, tls: rustls::ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let Parts { scheme, authority, .. } = url.parse::<Uri>().unwrap().into_parts();
        // The proxy gives a request to the server once. A retry of its own would hide what the test wants to see.
        let client = Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(connector);
        Upstream { client, scheme: scheme.unwrap(), authority: authority.unwrap() }
    }

    /// Sends the request as it came. The client adds a `Host` header only where there is none.
    pub(super) async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, BoxError> {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts)?;
        // The client may have spoken another version of HTTP to the proxy.
        *request.version_mut() = http::Version::HTTP_11;
        Ok(self.client.request(request).await?)
    }
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

//! A bare client of S3 for tests, which signs its requests and does nothing else.

use http::{HeaderMap, Method, Request};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequest;

use super::api::tls_without_trust;

/// The region of the S3 server.
pub const REGION: &str = "us-east-1";

/// An access key and its secret.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

/// An answer of the server.
#[derive(Debug)]
pub struct S3Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl S3Response {
    /// The body as text, for XML and messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The id that the server gave to the version of the object.
    pub fn version(&self) -> Option<&str> {
        self.headers.get("x-amz-version-id").map(|id| id.to_str().unwrap())
    }
}

/// Sends requests to one endpoint: that of a server, or of a proxy before it.
#[derive(Debug, Clone)]
pub struct S3Client {
    endpoint: String,
    http: reqwest::Client,
}

impl S3Client {
    pub fn new(endpoint: &str) -> Self {
        // There is no TLS here, but reqwest refuses to be built without a configuration of it.
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls_without_trust()).no_proxy();
        S3Client { endpoint: endpoint.into(), http: http.build().unwrap() }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends a signed request; an error means that there was no answer, or only part of one.
    pub async fn send(
        &self,
        who: &Credentials,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Vec<u8>>,
    ) -> Result<S3Response, reqwest::Error> {
        let request = self.signed(who, method, path, headers, body);
        let response = self.http.execute(request.try_into()?).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(S3Response { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// The request with its signature, for others to send. Each query parameter needs its `=`.
    pub fn signed(
        &self,
        who: &Credentials,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Vec<u8>>,
    ) -> Request<Vec<u8>> {
        let Credentials { access_key: key_id, secret_key } = who.clone();
        let credential = AwsCredential { key_id, secret_key, token: None };
        let body = body.into();
        let mut request = HttpRequest::new(body.clone().into());
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.endpoint).parse().unwrap();
        *request.headers_mut() = headers;
        AwsAuthorizer::new(&credential, "s3", REGION).try_authorize(&mut request, None).unwrap();
        request.map(|_| body)
    }
}

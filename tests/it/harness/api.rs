//! A bare client of the Kubernetes API for tests: it shares nothing with the code under test.

use std::sync::Arc;

use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::PATIENCE;

/// An administrator of one API server. Paths are those of the API, such as `/api/v1/namespaces/x/secrets`.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    server: String,
    token: String,
}

impl Api {
    /// A client that trusts only this certificate. Make one in each test: it is bound to the test's runtime.
    pub fn new(server: &str, token: &str, ca_pem: &str) -> Self {
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls(ca_pem)).no_proxy().timeout(PATIENCE);
        Api { http: http.build().unwrap(), server: server.into(), token: token.into() }
    }

    /// Sends a request and returns the status and the body, whatever they are.
    pub async fn send(&self, method: Method, path: &str, content: Option<(&str, Vec<u8>)>) -> (u16, Vec<u8>) {
        let mut request = self.http.request(method, format!("{}{path}", self.server)).bearer_auth(&self.token);
        if let Some((content_type, body)) = content {
            request = request.header("content-type", content_type).body(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    async fn json(&self, method: Method, path: &str, content: Option<(&str, &Value)>) -> Value {
        let content = content.map(|(kind, value)| (kind, serde_json::to_vec(value).unwrap()));
        let (status, body) = self.send(method.clone(), path, content).await;
        let text = String::from_utf8_lossy(&body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_slice(&body).unwrap()
    }

    /// The object at a path; fails the test when there is none.
    pub async fn get(&self, path: &str) -> Value {
        self.json(Method::GET, path, None).await
    }

    /// What is at a path in another form than plain JSON, such as aggregated discovery.
    pub async fn get_as(&self, path: &str, accept: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.server)).bearer_auth(&self.token).header("accept", accept);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    /// The object at a path, or nothing.
    pub async fn find(&self, path: &str) -> Option<Value> {
        let (status, body) = self.send(Method::GET, path, None).await;
        match status {
            404 => None,
            200 => Some(serde_json::from_slice(&body).unwrap()),
            _ => panic!("GET {path}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// The items of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self.get(path).await;
        list["items"].take().as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Creates an object in the collection at a path.
    pub async fn create(&self, path: &str, object: &Value) -> Value {
        self.json(Method::POST, path, Some(("application/json", object))).await
    }

    /// Replaces the object (or its `/status`) at a path.
    pub async fn replace(&self, path: &str, object: &Value) -> Value {
        self.json(Method::PUT, path, Some(("application/json", object))).await
    }

    /// Changes the object at a path by a JSON merge patch.
    pub async fn patch(&self, path: &str, patch: &Value) -> Value {
        self.json(Method::PATCH, path, Some(("application/merge-patch+json", patch))).await
    }

    /// Applies an object of any type the way kubectl does: by server-side apply.
    pub async fn apply(&self, path: &str, object: &Value) -> Value {
        let path = format!("{path}?fieldManager=test&force=true");
        self.json(Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await
    }

    pub async fn delete(&self, path: &str) {
        self.json(Method::DELETE, path, None).await;
    }

    pub async fn create_namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create("/api/v1/namespaces", &namespace).await;
    }
}

/// TLS that trusts one certificate.
pub fn tls(ca_pem: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    tls_with(roots)
}

/// TLS that connects to nobody, for clients of servers without it.
pub fn tls_without_trust() -> rustls::ClientConfig {
    tls_with(rustls::RootCertStore::empty())
}

/// Without the process-wide default that rustls would otherwise ask for: tests in one process must not depend on it.
fn tls_with(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

//! Whether the API server of a sandbox is ready.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::access::Access;

/// One look must not eat the whole time a server has: another one may succeed.
const LOOK: Duration = Duration::from_secs(5);

/// Asks an API server whether it is ready, as soon as it has made its certificate.
pub(super) struct Probe<'a> {
    access: &'a Access,
    client: Option<reqwest::Client>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(access: &'a Access) -> Self {
        Probe { access, client: None }
    }

    /// Ready means more than `/readyz`: the first namespaces are made in the background.
    pub(super) async fn ready(&mut self) -> bool {
        if self.client.is_none() {
            self.client = self.access.read_ca().and_then(|pem| client(&pem));
        }
        self.answers("/readyz").await && self.answers("/api/v1/namespaces/default").await
    }

    async fn answers(&self, path: &str) -> bool {
        let Some(client) = &self.client else { return false };
        let request = client.get(format!("{}{path}", self.access.server)).bearer_auth(&self.access.token);
        request.send().await.is_ok_and(|response| response.status().is_success())
    }
}

/// A client that trusts only the sandbox's own certificate, and knows no proxy.
fn client(ca_pem: &str) -> Option<reqwest::Client> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).ok()?).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(LOOK).build().ok()
}

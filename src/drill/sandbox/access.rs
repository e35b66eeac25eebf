//! The credentials of a sandbox, and the files they stand in.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Cause, Context, Error, Result};

/// The order of the NIST P-256 group begins with these bytes; a key that does not is certainly below it.
const P256_ORDER_START: [u8; 4] = [0xff; 4];

const CERTIFICATE_BEGINS: &str = "-----BEGIN CERTIFICATE-----";

/// How to reach one API server as its administrator.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) port: u16,
    pub(super) server: String,
    pub(super) token: String,
    pub(super) token_file: PathBuf,
    pub(super) service_account_key: PathBuf,
    /// Where the API server makes its own certificate, and finds it again when it restarts.
    pub(super) cert_dir: PathBuf,
    pub(super) ca_file: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

impl Access {
    /// Makes a token and a key for service account tokens.
    pub(super) fn create(dir: &Path, port: u16) -> Result<Access> {
        let access = Access {
            port,
            server: format!("https://127.0.0.1:{port}"),
            token: hex::encode(random::<32>()?),
            token_file: dir.join("tokens.csv"),
            service_account_key: dir.join("service-accounts.pem"),
            cert_dir: dir.join("certificates"),
            ca_file: dir.join("ca.crt"),
            kubeconfig: dir.join("kubeconfig"),
        };
        write_secret(&access.token_file, &format!("{},admin,admin,system:masters\n", access.token))?;
        write_secret(&access.service_account_key, &ec_private_key()?)?;
        Ok(access)
    }

    /// The certificate that signed the API server's: it stands behind that in the file the server makes. Nothing while
    /// that file is not there, or not whole.
    pub(super) fn read_ca(&self) -> Option<String> {
        let chain = std::fs::read_to_string(self.cert_dir.join("apiserver.crt")).ok()?;
        let ca = &chain[chain.rfind(CERTIFICATE_BEGINS)?..];
        let whole =
            chain.matches(CERTIFICATE_BEGINS).count() > 1 && ca.trim_end().ends_with("-----END CERTIFICATE-----");
        whole.then(|| ca.to_owned())
    }

    /// Writes the certificate and the kubeconfig, once the API server is there.
    pub(super) fn write_kubeconfig(&self, name: &str) -> Result<()> {
        let ca = self.read_ca().ok_or_else(|| Error::failed("the API server made no certificate"))?;
        write_secret(&self.ca_file, &ca)?;
        write_secret(&self.kubeconfig, &kubeconfig(name, &self.server, &ca, &self.token))
    }
}

/// Strings of JSON are strings of YAML, whatever is in them.
fn kubeconfig(name: &str, server: &str, ca: &str, token: &str) -> String {
    let name = serde_json::Value::from(name);
    let ca = STANDARD.encode(ca);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: {name}\n\
         clusters:\n\
         - name: {name}\n  \
           cluster:\n    \
             server: {server}\n    \
             certificate-authority-data: {ca}\n\
         contexts:\n\
         - name: {name}\n  \
           context:\n    \
             cluster: {name}\n    \
             user: {name}\n\
         users:\n\
         - name: {name}\n  \
           user:\n    \
             token: {token}\n"
    )
}

/// A new P-256 key in the form of RFC 5915, without the public part, which Go computes.
fn ec_private_key() -> Result<String> {
    let mut secret = random::<32>()?;
    while secret.starts_with(&P256_ORDER_START) || secret == [0; 32] {
        secret = random::<32>()?;
    }
    // SEQUENCE { INTEGER 1, OCTET STRING secret, [0] OBJECT IDENTIFIER prime256v1 }
    let mut der = vec![0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
    der.extend_from_slice(&secret);
    der.extend_from_slice(&[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    Ok(format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", STANDARD.encode(der)))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Cause::from(e.to_string())).context(|| "get random bytes".into())?;
    Ok(bytes)
}

/// Only this user may read it, and it never takes the place of another file.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(|| format!("write {}", path.display()))
}

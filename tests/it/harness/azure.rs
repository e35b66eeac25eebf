//! Azure Blob Storage, by Azurite, which Microsoft makes for tests: the service itself cannot run here.

use ckbackup::drill::sandbox::{Leashed, Program, free_port};
use http::{Method, Request, StatusCode};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequestBody;

use super::assets::assets;
use super::{Scratch, eventually};
use crate::vault_stage::Place;

const ACCOUNT: &str = "tests";
/// Base64 of `only for tests`.
const KEY: &str = "b25seSBmb3IgdGVzdHM=";

/// A running server with one container. Dropping it kills it.
#[derive(Debug)]
pub struct AzureServer {
    _server: Leashed,
    endpoint: String,
}

impl AzureServer {
    /// Starts one; it is there within a second.
    pub async fn start(scratch: &Scratch, container: &str) -> AzureServer {
        let port = free_port().unwrap();
        let mut server = Leashed::spawn(&program(scratch, port)).unwrap();
        eventually("Azurite listens", async || {
            server.require_running().unwrap_or_else(|e| panic!("{}", e.one_line()));
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        let azure = AzureServer { _server: server, endpoint: format!("http://127.0.0.1:{port}/{ACCOUNT}") };
        azure.create_container(container).await;
        azure
    }

    /// A vault in a container, and what clients take from the environment.
    pub fn place(&self, path: &str) -> Place {
        let env = [
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
            ("AZURE_STORAGE_ENDPOINT", &self.endpoint),
            ("AZURE_ALLOW_HTTP", "true"),
        ];
        Place { url: format!("az://{path}"), env: env.map(|(name, value)| (name, value.to_owned())).into() }
    }

    async fn create_container(&self, name: &str) {
        let url = format!("{}/{name}?restype=container", self.endpoint);
        let request = Request::builder().method(Method::PUT).uri(url).header("content-length", "0");
        let mut request = request.body(HttpRequestBody::empty()).unwrap();
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).unwrap());
        AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut request).unwrap();
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request = reqwest::Request::try_from(request.map(|_| "")).unwrap();
        let created = reqwest::Client::new().execute(request).await.unwrap();
        assert_eq!(created.status(), StatusCode::CREATED);
    }
}

fn program(scratch: &Scratch, port: u16) -> Program {
    let mut args =
        ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost=127.0.0.1"].map(String::from).to_vec();
    args.push(format!("--blobPort={port}"));
    args.push(format!("--location={}", scratch.folder("azurite").display()));
    Program {
        path: assets().azurite.join("node_modules/.bin/azurite-blob"),
        args,
        // It is a script for node, which is found by the path.
        env: vec![
            ("PATH".into(), std::env::var("PATH").unwrap()),
            ("AZURITE_ACCOUNTS".into(), format!("{ACCOUNT}:{KEY}")),
        ],
        log: scratch.path().join("azurite.log"),
    }
}

//! The peers: plain clients of the API server, which do nothing with what they read and know what they write.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;

use crate::platform::{Object, Platform};
use crate::servers::Sandbox;

/// As other clients have it.
pub const PAGE: u32 = 500;
pub const LISTS_AT_A_TIME: usize = 8;

/// What is kept of both ends of a page, to look for the continue token in.
const ENDS: usize = 4096;

/// How long new types may take until all are served, and between two looks.
const UNTIL_SERVED: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// A pool of HTTP/1.1 connections, as many as there are requests at a time: what kube's connector does.
    Http1,
    /// That many HTTP/2 connections, in turn: an API server takes 100 requests at a time on each.
    Http2(usize),
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client of one API server. Its copies share its connections.
#[derive(Clone)]
pub struct Raw {
    clients: Arc<Vec<Https>>,
    turn: Arc<AtomicUsize>,
    server: String,
    authorization: HeaderValue,
}

impl Raw {
    /// Connects with the first request.
    pub fn new(cluster: &Sandbox, connections: Connections) -> Result<Raw> {
        let clients = match connections {
            Connections::Http1 => vec![client(cluster, false)?],
            Connections::Http2(count) => (0..count).map(|_| client(cluster, true)).collect::<Result<_>>()?,
        };
        Ok(Raw {
            clients: Arc::new(clients),
            turn: Arc::default(),
            server: cluster.server().into(),
            authorization: format!("Bearer {}", cluster.token()).parse()?,
        })
    }

    async fn send(&self, method: Method, path: &str, accept: &str, body: Bytes) -> Result<Response<Incoming>> {
        let what = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let response = self.clients[turn].request(request).await.with_context(|| what.clone())?;
        ensure!(response.status().is_success(), "{what}: {}", response.status());
        Ok(response)
    }

    /// One object.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.get_json(path, "application/json").await
    }

    async fn get_json(&self, path: &str, accept: &str) -> Result<Value> {
        let response = self.send(Method::GET, path, accept, Bytes::new()).await?;
        Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
    }

    /// One object, to nowhere.
    async fn read(self, path: String) -> Result<()> {
        let response = self.send(Method::GET, &path, "application/json", Bytes::new()).await?;
        response.into_body().collect().await?;
        Ok(())
    }

    async fn create(self, object: Object) -> Result<()> {
        let response = self.send(Method::POST, &object.collection, "application/json", object.body).await?;
        response.into_body().collect().await?;
        Ok(())
    }
}

fn client(cluster: &Sandbox, http2: bool) -> Result<Https> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.ca_file())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
    let connector = match http2 {
        true => builder.enable_http2().wrap_connector(connector),
        false => builder.enable_http1().wrap_connector(connector),
    };
    Ok(Client::builder(TokioExecutor::new()).http2_only(http2).build(connector))
}

/// Does the same with each item, so many at a time, on all cores.
async fn in_parallel<T, F>(width: usize, items: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut running = futures::stream::iter(items).map(|item| tokio::spawn(work(item))).buffer_unordered(width);
    while let Some(done) = running.next().await {
        done??;
    }
    Ok(())
}

/// Creates objects, so many at a time; gives the seconds that it took.
pub async fn create(client: &Raw, objects: impl IntoIterator<Item = Object>, in_flight: usize) -> Result<f64> {
    let begin = Instant::now();
    in_parallel(in_flight, objects, |object| client.clone().create(object)).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Creates definitions and namespaces, then everything in them; gives the seconds that it took.
pub async fn create_all(client: &Raw, platform: &Platform, in_flight: usize) -> Result<f64> {
    let begin = Instant::now();
    if !platform.definitions.is_empty() {
        create(client, platform.definitions.iter().cloned(), in_flight).await?;
        wait_until_served(client, &platform.objects).await?;
    }
    create(client, platform.namespaces.iter().cloned(), in_flight).await?;
    create(client, platform.objects.iter().cloned(), in_flight).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// A type is served a moment after its definition.
async fn wait_until_served(client: &Raw, objects: &[Object]) -> Result<()> {
    let deadline = Instant::now() + UNTIL_SERVED;
    let collections: HashSet<&str> = objects.iter().map(|object| object.collection.as_str()).collect();
    for collection in collections {
        while let Err(e) = client.get(&format!("{collection}?limit=1")).await {
            ensure!(Instant::now() < deadline, "{e:#}");
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Reads objects one by one, so many at a time, to nowhere; gives the seconds that it took.
pub async fn read(client: &Raw, paths: impl IntoIterator<Item = String>, in_flight: usize) -> Result<f64> {
    let begin = Instant::now();
    in_parallel(in_flight, paths, |path| client.clone().read(path)).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// What was read, to nowhere.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    pub seconds: f64,
    pub bytes: u64,
}

/// Connects, learns what is served, and reads every page of the wanted types (`deployments.apps/v1`).
pub async fn drain(cluster: &Sandbox, connections: Connections, wanted: &HashSet<String>) -> Result<Drained> {
    let begin = Instant::now();
    let client = Raw::new(cluster, connections)?;
    let lists = discover(&client, wanted).await?;
    ensure!(lists.len() == wanted.len(), "{} types are wanted and {} are served", wanted.len(), lists.len());
    let bytes = Arc::new(AtomicU64::new(0));
    in_parallel(LISTS_AT_A_TIME, lists, |path| drain_list(client.clone(), path, bytes.clone())).await?;
    Ok(Drained { seconds: begin.elapsed().as_secs_f64(), bytes: bytes.load(Ordering::Relaxed) })
}

/// Paths of the wanted lists, in the order in which the server names them.
async fn discover(client: &Raw, wanted: &HashSet<String>) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["/api", "/apis"] {
        let found = client.get_json(root, AGGREGATED).await?;
        for group in array(&found["items"]) {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in array(&group["versions"]) {
                let number = version["version"].as_str().unwrap_or_default();
                let plurals = array(&version["resources"]).filter_map(|resource| resource["resource"].as_str());
                let listed = plurals.filter(|plural| wanted.contains(&type_name(plural, name, number)));
                let base = if name.is_empty() { format!("/api/{number}") } else { format!("/apis/{name}/{number}") };
                paths.extend(listed.map(|plural| format!("{base}/{plural}")));
            }
        }
    }
    Ok(paths)
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn type_name(plural: &str, group: &str, version: &str) -> String {
    if group.is_empty() { format!("{plural}/{version}") } else { format!("{plural}.{group}/{version}") }
}

async fn drain_list(client: Raw, path: String, bytes: Arc<AtomicU64>) -> Result<()> {
    let mut next = Some(String::new());
    while let Some(token) = next {
        let page = format!("{path}?limit={PAGE}{token}");
        let response = client.send(Method::GET, &page, "application/json", Bytes::new()).await?;
        next = drain_page(response.into_body(), &bytes).await?.map(|token| format!("&continue={token}"));
    }
    Ok(())
}

/// Reads a page and forgets it, but for the token that continues the list.
async fn drain_page(mut body: Incoming, bytes: &AtomicU64) -> Result<Option<String>> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        head.extend_from_slice(&data[..data.len().min(ENDS - head.len())]);
        tail.extend_from_slice(&data[data.len().saturating_sub(ENDS)..]);
        tail.drain(..tail.len().saturating_sub(ENDS));
    }
    // The API server writes metadata of built-in types before the items; that of custom resources comes after them.
    let head = String::from_utf8_lossy(&head);
    let before_items = head.split("\"items\":").next().unwrap_or_default();
    let tail = String::from_utf8_lossy(&tail);
    let after_items = tail.rsplit(']').next().unwrap_or_default();
    Ok(continue_token(before_items).or_else(|| continue_token(after_items)))
}

/// Tokens are of letters that need no escapes, neither in JSON nor in URLs.
fn continue_token(metadata: &str) -> Option<String> {
    let (_, rest) = metadata.split_once("\"continue\":\"")?;
    let token = rest.split('"').next()?;
    (!token.is_empty()).then(|| token.into())
}

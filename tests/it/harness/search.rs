//! Real Elasticsearch and OpenSearch servers for tests. They take seconds to start, so those without anything special are shared
//! by all tests of the process; each test has indices of its own.

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};

use ckbackup::drill::sandbox::{Leashed, Program, free_port};
use serde_json::{Value, json};

use super::assets::assets;
use super::{PATIENCE, Scratch};

/// The line of configuration with which a server asks who comes; then it knows one user, and has a certificate of its own.
pub const LOCKED: &str = "xpack.security.enabled: true";

const TLS: [&str; 3] = [
    "xpack.security.http.ssl.enabled: true",
    "xpack.security.http.ssl.certificate: cert.pem",
    "xpack.security.http.ssl.key: key.pem",
];

pub const USER: &str = "tester";
pub const PASSWORD: &str = "hunter2";
/// The password as bcrypt makes it.
const HASHED: &str = "$2a$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm";

/// Which server, and which release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    Elasticsearch8,
    Elasticsearch7,
    OpenSearch2,
}

/// A server that answers.
#[derive(Debug)]
pub struct SearchServer {
    server: Option<Leashed>,
    url: String,
    http: reqwest::Client,
    is_locked: bool,
    certificate: PathBuf,
}

/// The shared server of a kind, started by the first test that asks for it. It ends with the test process.
pub fn search(kind: Search) -> &'static SearchServer {
    static SERVERS: [OnceLock<SearchServer>; 3] = [const { OnceLock::new() }; 3];
    SERVERS[kind as usize].get_or_init(|| {
        let (send, receive) = mpsc::channel();
        // A thread of its own, as the server belongs to a runtime, and those of the tests end with the tests.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let scratch = Scratch::named(&format!("shared-{kind:?}"));
                let mut server = SearchServer::start(&scratch, kind, &[]).await;
                let held = server.server.take();
                send.send(server).unwrap();
                std::future::pending::<()>().await;
                drop(held);
            });
        });
        receive.recv().expect("the shared server starts")
    })
}

impl SearchServer {
    /// Starts one of its own, with more lines of configuration.
    pub async fn start(scratch: &Scratch, kind: Search, settings: &[&str]) -> SearchServer {
        let port = free_port().unwrap();
        let folder = scratch.folder(&format!("search-{port}"));
        let program = match kind {
            Search::Elasticsearch8 => elasticsearch("8.19.21", &folder, port, settings),
            Search::Elasticsearch7 => elasticsearch("7.17.29", &folder, port, settings),
            Search::OpenSearch2 => opensearch(&folder, port),
        };
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Leashed::spawn(&program).unwrap();
        let is_locked = settings.contains(&LOCKED);
        let (scheme, http) = match is_locked {
            true => {
                let pem = std::fs::read(folder.join("cert.pem")).unwrap();
                let trusted = reqwest::Certificate::from_pem(&pem).unwrap();
                ("https", reqwest::Client::builder().add_root_certificate(trusted))
            }
            false => ("http", reqwest::Client::builder()),
        };
        // A connection ends with the test that made it, and must not be kept for another one.
        let http = http.pool_max_idle_per_host(0).build().unwrap();
        let url = format!("{scheme}://127.0.0.1:{port}");
        let certificate = folder.join("cert.pem");
        let mut server = SearchServer { server: Some(server), url, http, is_locked, certificate };
        server.wait_until_ready().await;
        server
    }

    async fn wait_until_ready(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.server.as_mut().unwrap().require_running().unwrap_or_else(|e| panic!("{}", e.one_line()));
            let asked = self.request("GET", "_cluster/health?wait_for_status=yellow&timeout=1s", None).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{} is not ready", self.url);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file with its certificate, where it has one.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().pid()
    }

    fn request(&self, method: &str, path: &str, body: Option<(&str, String)>) -> reqwest::RequestBuilder {
        let url = format!("{}/{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if self.is_locked {
            request = request.basic_auth(USER, Some(PASSWORD));
        }
        match body {
            Some((media_type, body)) => request.header("content-type", media_type).body(body),
            None => request,
        }
    }

    /// One request; its status and the answer.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (!body.is_null()).then(|| ("application/json", body.to_string()));
        let answer = self.request(method, path, body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    /// One request that must succeed.
    pub async fn order(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        self.order("GET", path, Value::Null).await
    }

    /// Whether there is anything at a path.
    pub async fn has(&self, path: &str) -> bool {
        self.ask("GET", path, Value::Null).await.0 == 200
    }

    /// Puts so many documents into an index: each has its number, a time, a line of text and, every third, a routing.
    pub async fn fill(&self, index: &str, numbers: std::ops::Range<u32>) {
        let mut lines = String::new();
        for number in numbers {
            let action = match number % 3 {
                0 => json!({"index": {"_id": format!("d{number}"), "routing": format!("r{}", number % 7)}}),
                _ => json!({"index": {"_id": format!("d{number}")}}),
            };
            lines.push_str(&format!("{action}\n{}\n", document(number)));
            if lines.len() > 4 << 20 {
                self.bulk(index, std::mem::take(&mut lines)).await;
            }
        }
        if !lines.is_empty() {
            self.bulk(index, lines).await;
        }
        self.order("POST", &format!("{index}/_refresh"), Value::Null).await;
    }

    /// Sends lines of a bulk request, all of which must be taken.
    pub async fn bulk(&self, index: &str, lines: String) {
        let request = self.request("POST", &format!("{index}/_bulk"), Some(("application/x-ndjson", lines)));
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("\"errors\":false"), "{}", &answer[..answer.len().min(2000)]);
    }

    pub async fn count(&self, index: &str) -> u64 {
        self.get(&format!("{index}/_count")).await["count"].as_u64().unwrap()
    }

    /// All documents of an index: id, routing and content, in the order of their ids.
    pub async fn documents(&self, index: &str) -> Vec<(String, Value, Value)> {
        let mut all: Vec<(String, Value, Value)> = Vec::new();
        let first = json!({"size": 5000, "query": {"match_all": {}}});
        let mut answer = self.order("POST", &format!("{index}/_search?scroll=1m"), first).await;
        loop {
            let hits = answer["hits"]["hits"].as_array().unwrap();
            if hits.is_empty() {
                break;
            }
            let document =
                |hit: &Value| (hit["_id"].as_str().unwrap().into(), hit["_routing"].clone(), hit["_source"].clone());
            all.extend(hits.iter().map(document));
            let next = json!({"scroll": "1m", "scroll_id": answer["_scroll_id"]});
            answer = self.order("POST", "_search/scroll", next).await;
        }
        let done = json!({"scroll_id": answer["_scroll_id"]});
        self.order("DELETE", "_search/scroll", done).await;
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// The content of a document: a number that JSON readers like to change is in it.
pub fn document(number: u32) -> String {
    format!(
        "{{\"@timestamp\":\"2026-11-25T00:{:02}:{:02}Z\",\"n\":{number},\"exact\":{number}.10,\"msg\":\"line {number} of a log, with \\\"quotes\\\" and ä\"}}",
        number / 60 % 60,
        number % 60
    )
}

/// The rig's script for a server, with its arguments.
fn rig(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(script)
}

fn elasticsearch(release: &str, folder: &Path, port: u16, settings: &[&str]) -> Program {
    let home = assets().elasticsearch.join(format!("elasticsearch-{release}"));
    let mut args = vec![home.display().to_string(), folder.display().to_string(), port.to_string()];
    if settings.contains(&LOCKED) {
        std::fs::write(folder.join("users"), format!("{USER}:{HASHED}\n")).unwrap();
        std::fs::write(folder.join("users_roles"), format!("superuser:{USER}\n")).unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        args.extend(TLS.map(String::from));
    } else {
        args.push("xpack.security.enabled: false".into());
    }
    args.extend(settings.iter().map(ToString::to_string));
    Program { path: rig("elasticsearch/start"), args, env: Vec::new(), log: folder.join("server.log") }
}

fn opensearch(folder: &Path, port: u16) -> Program {
    let args = [assets().opensearch.clone(), folder.to_path_buf()].map(|path| path.display().to_string());
    let args = args.into_iter().chain([port.to_string()]).collect();
    Program { path: rig("opensearch/start"), args, env: Vec::new(), log: folder.join("server.log") }
}

//! A real Alertmanager for tests.

use ckbackup::drill::sandbox::{Leashed, Program, free_port};
use serde_json::Value;

use super::assets::assets;
use super::{Scratch, eventually};

/// A running Alertmanager. Dropping it kills it.
#[derive(Debug)]
pub struct Alertmanager {
    _server: Leashed,
    url: String,
}

impl Alertmanager {
    /// Starts one without silences, and waits until it is ready.
    pub async fn start(scratch: &Scratch) -> Alertmanager {
        let port = free_port().unwrap();
        let config = scratch.file("alertmanager.yml", "{route: {receiver: none}, receivers: [{name: none}]}");
        let program = Program {
            path: assets().prometheus.join("alertmanager"),
            args: vec![
                format!("--config.file={}", config.display()),
                format!("--storage.path={}", scratch.folder(&format!("alertmanager-{port}")).display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--cluster.listen-address=".into(),
            ],
            env: Vec::new(),
            log: scratch.path().join(format!("alertmanager-{port}.log")),
        };
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut server = Leashed::spawn(&program).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        eventually("Alertmanager is ready", async || {
            server.require_running().unwrap_or_else(|e| panic!("{}", e.one_line()));
            reqwest::get(format!("{url}/-/ready")).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Alertmanager { _server: server, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a silence, and returns its id.
    pub async fn silence(&self, silence: &Value) -> String {
        let request = reqwest::Client::new().post(format!("{}/api/v2/silences", self.url));
        let answer = request.header("content-type", "application/json").body(silence.to_string()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        json["silenceID"].as_str().unwrap_or_else(|| panic!("{json}")).to_owned()
    }

    /// Ends a silence.
    pub async fn expire(&self, id: &str) {
        let answer = reqwest::Client::new().delete(format!("{}/api/v2/silence/{id}", self.url)).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// All of them, by their comments.
    pub async fn silences(&self) -> Vec<Value> {
        let text = reqwest::get(format!("{}/api/v2/silences", self.url)).await.unwrap().text().await.unwrap();
        let mut all: Vec<Value> = serde_json::from_str(&text).unwrap();
        all.sort_by_key(|silence| silence["comment"].as_str().unwrap().to_owned());
        all
    }
}

//! A real Prometheus for tests, which scrapes itself, and blocks that promtool makes.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ckbackup::drill::sandbox::{Leashed, Program, free_port};
use serde_json::Value;

use super::assets::assets;
use super::{Ckbackup, Scratch, eventually};

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    server: Leashed,
    url: String,
    pub data: PathBuf,
}

impl Prometheus {
    /// Starts one that serves a data directory, with more arguments, and waits until it is ready.
    pub async fn start(scratch: &Scratch, data: &Path, args: &[&str]) -> Prometheus {
        let port = free_port().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: self, static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]}}]\n"
        );
        let config = scratch.file(&format!("prometheus-{port}.yml"), config);
        let mut all = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // Blocks of the past are not to be removed.
            "--storage.tsdb.retention.time=10y".into(),
        ];
        all.extend(args.iter().map(|arg| arg.to_string()));
        let program = Program {
            path: assets().prometheus.join("prometheus"),
            args: all,
            env: Vec::new(),
            log: scratch.path().join(format!("prometheus-{port}.log")),
        };
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut server = Leashed::spawn(&program).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::new();
        eventually("Prometheus is ready", async || {
            server.require_running().unwrap_or_else(|e| panic!("{}", e.one_line()));
            let answer = http.get(format!("{url}/-/ready")).send().await;
            // One that asks for a password is there, too.
            answer.is_ok_and(|answer| answer.status().is_success() || answer.status() == 401)
        })
        .await;
        Prometheus { server, url, data: data.to_path_buf() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The one value of an instant query at a time, in seconds since 1970; none where there is no result.
    pub async fn query(&self, query: &str, at: f64) -> Option<f64> {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = reqwest::get(format!("{}/api/v1/query?query={encoded}&time={at}", self.url)).await.unwrap();
        let json: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(json["status"], "success", "{json}");
        json["data"]["result"][0]["value"][1].as_str().map(|text| text.parse().unwrap())
    }
}

/// The begin of the samples that [`make_blocks`] makes: 2026-11-20T00:00:00Z.
pub const BEGIN: i64 = 1_795_132_800;

/// Fills a data directory with blocks of two hours: `series` series with a sample each minute, for so many hours.
pub async fn make_blocks(scratch: &Scratch, data: &Path, series: u32, hours: u32) {
    let mut text = String::new();
    for number in 0..series {
        writeln!(text, "# TYPE m{number} gauge").unwrap();
        for minute in 0..hours * 60 {
            let time = BEGIN + i64::from(minute) * 60;
            writeln!(text, "m{number}{{host=\"h{}\"}} {} {time}", number % 7, number + minute).unwrap();
        }
    }
    text.push_str("# EOF\n");
    let metrics = scratch.file("metrics.txt", text);
    let run = Ckbackup::program(assets().prometheus.join("promtool"), scratch)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(metrics)
        .arg(data);
    run.run().await.expect_success();
}

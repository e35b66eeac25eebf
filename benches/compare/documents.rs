//! Millions of log documents out of an Elasticsearch and back: against elasticdump, and against bulk requests from memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::ckbackup::drill::sandbox::{Leashed, Program, free_port};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::process::{Output, Usage, run};
use crate::table::{Reach, Row};

/// Its root answers, which elasticdump needs; that of newer releases for tests does not.
const RELEASE: &str = "elasticsearch-7.17.29";

/// How large a bulk request is, in bytes: what ckbackup sends, and about what Elastic advises.
const BULK: usize = 4 << 20;

/// Requests at a time that are tried for the peer; the fastest is taken.
const LANES: [usize; 4] = [2, 3, 4, 8];

const PATIENCE: Duration = Duration::from_secs(120);

const INDEX: &str = "kubernetes-1";

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let documents = bench.settings.documents;
    bench.say(format!("{documents} log documents of an Elasticsearch against elasticdump and raw bulk requests"));
    let server = Server::start(bench).await?;
    let bulks = bulks(documents);
    let lanes = server.best_lanes(bench, &bulks).await?;
    let (mut export, mut dump, mut back, mut raw) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut bare, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = [0.0_f64; 2];
    for round in 1..=bench.settings.rounds {
        let rate = |seconds: f64| documents as f64 / seconds;
        raw.push(rate(server.fill(&bulks, lanes).await?));
        let place = Place::Folder(bench.new_folder("vault"));
        // Who goes first finds the server's caches as the other left them.
        let mut ours = None;
        for side in 0..3 {
            match (side + round) % 3 {
                0 => ours = Some(server.back_up(bench, &place, documents)?),
                1 => dump.push(rate(server.dump(bench, documents)?)),
                _ => bare.push(rate(server.drain(documents).await?)),
            }
        }
        let ours = ours.context("every side had its turn")?;
        first.push(ours.seconds);
        second.push(server.back_up(bench, &place, documents)?.seconds);
        server.order(reqwest::Method::DELETE, INDEX, Bytes::new()).await?;
        let restored = server.restore(bench, &place).await?;
        ensure!(server.count().await? == documents as u64, "not every document came back");
        export.push(rate(ours.seconds));
        back.push(rate(restored.seconds));
        peak = [peak[0].max(ours.peak_mib), peak[1].max(restored.peak_mib)];
        let at = round - 1;
        bench.say(format!(
            "  round {round}: ckbackup {:.0} documents/s, again {:.1} s, back {:.0}; elasticdump {:.0}; pages to nowhere {:.0}; bulk \
             requests {:.0}",
            export[at], second[at], back[at], dump[at], bare[at], raw[at]
        ));
        let Place::Folder(vault) = place else { unreachable!("it is a folder") };
        bench.remove(&vault)?;
    }
    let details = json!({"documents": documents, "lanesOfBulkRequests": lanes});
    let row = |figure: &str, unit, ours: &[f64], peer: &[f64], reach| Row {
        figure: figure.into(),
        unit,
        ours: ours.to_vec(),
        peer: peer.to_vec(),
        reach,
        details: details.clone(),
    };
    Ok(vec![
        row("documents / elasticdump", "docs/s", &export, &dump, Reach::RatioAtLeast(10.0)),
        row("documents / pages to nowhere", "docs/s", &export, &bare, Reach::Nothing),
        row("unchanged index, second night / first", "s", &second, &first, Reach::RatioAtMost(0.1)),
        row("documents back / raw _bulk", "docs/s", &back, &raw, Reach::RatioAtLeast(0.8)),
        row("memory of documents, at most", "MiB", &[peak[0]], &[], Reach::OursAtMost(256.0)),
        row("memory of documents back, at most", "MiB", &[peak[1]], &[], Reach::OursAtMost(256.0)),
    ])
}

/// A server that listens.
struct Server {
    _server: Leashed,
    url: String,
    http: reqwest::Client,
    elasticdump: PathBuf,
}

impl Server {
    async fn start(bench: &Bench) -> Result<Server> {
        let (folder, port) = (bench.new_folder("elasticsearch"), free_port()?);
        std::fs::create_dir_all(&folder)?;
        let home = bench.settings.elasticsearch.join(RELEASE);
        let mut server = Leashed::spawn(&Program {
            path: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/elasticsearch/start").into(),
            args: vec![
                home.display().to_string(),
                folder.display().to_string(),
                port.to_string(),
                "xpack.security.enabled: false".into(),
            ],
            env: vec![("HEAP".into(), "2g".into())],
            log: folder.join("server.log"),
        })?;
        let (url, http) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        let deadline = Instant::now() + PATIENCE;
        let health = format!("{url}/_cluster/health?wait_for_status=yellow&timeout=1s");
        while !http.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
            server.require_running()?;
            ensure!(Instant::now() < deadline, "Elasticsearch is not ready");
            sleep(Duration::from_millis(200)).await;
        }
        Ok(Server { _server: server, url, http, elasticdump: bench.settings.elasticdump.clone() })
    }

    async fn order(&self, method: reqwest::Method, path: &str, body: Bytes) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}/{path}", self.url));
        if !body.is_empty() {
            request = request.header("content-type", "application/x-ndjson").body(body);
        }
        let answer = request.send().await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }

    async fn count(&self) -> Result<u64> {
        self.order(reqwest::Method::POST, &format!("{INDEX}/_refresh"), Bytes::new()).await?;
        let answer = self.order(reqwest::Method::GET, &format!("{INDEX}/_count"), Bytes::new()).await?;
        answer["count"].as_u64().context("no count")
    }

    /// How long it takes to fill a new index, until all documents can be found.
    async fn fill(&self, bulks: &[Bytes], lanes: usize) -> Result<f64> {
        let _ = self.order(reqwest::Method::DELETE, INDEX, Bytes::new()).await;
        let keyword = json!({"type": "keyword"});
        let kubernetes = json!({"properties": {"namespace_name": keyword, "pod_name": keyword, "container_name": keyword, "host": keyword}});
        let index = json!({
            "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
            "mappings": {"properties": {
                "@timestamp": {"type": "date"}, "log": {"type": "text"}, "stream": keyword, "kubernetes": kubernetes,
            }},
        });
        let made = self.http.put(format!("{}/{INDEX}", self.url)).header("content-type", "application/json");
        made.body(index.to_string()).send().await?.error_for_status()?;
        let begin = Instant::now();
        let path = format!("{INDEX}/_bulk?filter_path=errors");
        let send = |bulk: &Bytes| self.order(reqwest::Method::POST, &path, bulk.clone());
        let sending: Vec<_> = bulks.iter().map(send).collect();
        let answers: Vec<Value> = futures::stream::iter(sending).buffer_unordered(lanes).try_collect().await?;
        ensure!(answers.iter().all(|answer| answer["errors"] == false), "a bulk request had errors");
        self.count().await?;
        Ok(begin.elapsed().as_secs_f64())
    }

    async fn best_lanes(&self, bench: &Bench, bulks: &[Bytes]) -> Result<usize> {
        // The first requests find a cold virtual machine, and would be judged for it.
        let some = &bulks[..bulks.len().min(40)];
        self.fill(some, 2).await?;
        let mut tried = Vec::new();
        for lanes in LANES {
            tried.push((self.fill(some, lanes).await?, lanes));
        }
        tried.sort_by(|a, b| a.0.total_cmp(&b.0));
        bench.say(format!("raw bulk requests are fastest with {} at a time", tried[0].1));
        Ok(tried[0].1)
    }

    fn back_up(&self, bench: &Bench, place: &Place, documents: usize) -> Result<Usage> {
        let source = json!({"name": "logs", "elasticsearch": {"url": self.url, "indices": [INDEX]}});
        let taken = ckbackup::back_up_data(place, &ckbackup::write_schedule_of(bench, place, &source)?)?;
        ensure!(taken.summary["status"] == "complete", "of {documents} documents: {}", taken.summary);
        Ok(taken.usage)
    }

    /// What the server can give at all: the largest pages, asked for by two at a time, and thrown away as they come.
    async fn drain(&self, documents: usize) -> Result<f64> {
        let begin = Instant::now();
        let (one, two) = tokio::try_join!(self.drain_slice(0), self.drain_slice(1))?;
        ensure!(one + two == documents, "{} of {documents} documents were given", one + two);
        Ok(begin.elapsed().as_secs_f64())
    }

    async fn drain_slice(&self, slice: u32) -> Result<usize> {
        let first = json!({"size": 10_000, "sort": ["_doc"], "slice": {"id": slice, "max": 2}});
        let mut page = self.page(&format!("{INDEX}/_search?scroll=5m"), &first).await?;
        let mut documents = 0;
        loop {
            // Nothing is read of a document: each begins with its index.
            let count = memchr::memmem::find_iter(&page, b"\"_index\":").count();
            if count == 0 {
                return Ok(documents);
            }
            documents += count;
            let begin = memchr::memmem::find(&page, b"\"_scroll_id\":\"").context("a page does not go on")? + 14;
            let length = memchr::memchr(b'"', &page[begin..]).context("a page does not go on")?;
            let next = json!({"scroll": "5m", "scroll_id": std::str::from_utf8(&page[begin..begin + length])?});
            page = self.page("_search/scroll", &next).await?;
        }
    }

    async fn page(&self, path: &str, body: &Value) -> Result<Bytes> {
        let asked = self.http.post(format!("{}/{path}", self.url)).header("content-type", "application/json");
        Ok(asked.body(body.to_string()).send().await?.error_for_status()?.bytes().await?)
    }

    async fn restore(&self, bench: &Bench, place: &Place) -> Result<Usage> {
        let step = json!({"source": "logs", "url": self.url, "templates": false});
        Ok(ckbackup::restore_data(bench, place, &json!([{"name": "logs", "elasticsearch": step}]))?.usage)
    }

    /// elasticdump with the largest pages that a server gives: its best setting.
    fn dump(&self, bench: &Bench, documents: usize) -> Result<f64> {
        let file = bench.new_folder("dump.ndjson");
        let mut command = Command::new(&self.elasticdump);
        command.env("NODE_NO_WARNINGS", "1").args(["--type=data", "--limit=10000", "--noRefresh", "--quiet"]);
        command.arg(format!("--input={}/{INDEX}", self.url)).arg(format!("--output={}", file.display()));
        let seconds = run(&mut command, Output::Dropped)?.usage.seconds;
        ensure!(lines(&file)? == documents, "elasticdump did not write every document");
        std::fs::remove_file(file)?;
        Ok(seconds)
    }
}

fn lines(file: &Path) -> Result<usize> {
    Ok(memchr::memchr_iter(b'\n', &std::fs::read(file)?).count())
}

/// Log records as a shipper sends them, in bulk requests.
fn bulks(documents: usize) -> Vec<Bytes> {
    const WORDS: [&str; 16] = [
        "GET",
        "POST",
        "/api/v1/orders",
        "/healthz",
        "200",
        "404",
        "timeout",
        "connected",
        "user",
        "failed",
        "retry",
        "payment",
        "took",
        "ms",
        "cache",
        "miss",
    ];
    let (mut all, mut bulk, mut noise) = (Vec::new(), String::new(), 0x9e37_79b9_7f4a_7c15_u64);
    for number in 0..documents {
        let mut next = || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise
        };
        let words: Vec<&str> = (0..12).map(|_| WORDS[next() as usize % WORDS.len()]).collect();
        let document = json!({
            "@timestamp": format!("2026-11-25T{:02}:{:02}:{:02}.{:03}Z", number / 3_600_000 % 24, number / 60_000 % 60, number / 1000 % 60, number % 1000),
            "stream": "stdout",
            "log": format!("{} {:08x}", words.join(" "), next() as u32),
            "kubernetes": {
                "namespace_name": format!("ns-{}", number % 17), "pod_name": format!("app-{}-{:x}", number % 211, number % 211 * 7919),
                "container_name": "main", "host": format!("node-{}", number % 9),
            },
        });
        bulk.push_str(&format!("{{\"index\":{{\"_id\":\"{:016x}{number:04x}\"}}}}\n{document}\n", next()));
        if bulk.len() >= BULK {
            all.push(std::mem::take(&mut bulk).into());
        }
    }
    if !bulk.is_empty() {
        all.push(bulk.into());
    }
    all
}

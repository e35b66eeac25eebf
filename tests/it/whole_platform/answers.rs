//! What the servers themselves say they have: asked before everything is lost, and after it came back.

use std::fmt::Write;

use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use super::servers::{HOURS, INDICES, SERIES, Servers, TABLES};
use crate::harness::prometheus::BEGIN;

/// One question, to one server, and its answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub question: String,
    pub answer: String,
}

/// Everything that is asked. `newest` is a time, in seconds since 1970, that only the newest metrics know of.
pub async fn ask(servers: &Servers, newest: i64) -> Vec<Answer> {
    let mut all = Vec::new();
    let mut note = |question: &str, answer: String| all.push(Answer { question: question.into(), answer });
    let workloads = ready_workloads(servers).await;
    note("Kubernetes: workloads, and their pods that are ready", workloads);

    let end = BEGIN + i64::from(HOURS) * 3600;
    let samples = format!("sum_over_time(count({{__name__=~\"m.+\"}})[{HOURS}h:1m])");
    note(&format!("Prometheus: samples of {SERIES} series"), servers.query(&samples, end - 60).await);
    note("Prometheus: sum of their last values", servers.query("sum({__name__=~\"m.+\"})", end - 60).await);
    note("Prometheus: was it up a second before the backup", servers.query("max(up)", newest).await);
    let silences = servers.alertmanager.silences().await;
    let comments: Vec<_> = silences.iter().map(|silence| silence["comment"].as_str().unwrap_or_default()).collect();
    note("Alertmanager: silences", comments.join(", "));

    for (index, _) in INDICES {
        note(&format!("Elasticsearch: documents of {index}"), count(servers, index).await);
        note(&format!("Elasticsearch: their digest, {index}"), digest_of_documents(servers, index).await);
    }
    note("Elasticsearch: documents by the alias kubernetes", count(servers, "kubernetes").await);

    for table in TABLES {
        let rows = servers.sql("registry", &format!("select count(*) from {table}")).await;
        note(&format!("PostgreSQL: rows of {table}"), rows);
    }
    let digests = "select md5(string_agg(digest, ',' order by id)) from artifact";
    note("PostgreSQL: digest of all of artifact", servers.sql("registry", digests).await);
    let points = servers.influx("select count(value), sum(value) from metrics.autogen.cpu").await;
    note("InfluxDB: points, and their sum", points.lines().last().unwrap_or_default().to_owned());

    let (objects, digest) = archive(servers).await;
    note("S3: objects of the archive", objects);
    note("S3: digest of their contents", digest);
    all
}

async fn ready_workloads(servers: &Servers) -> String {
    let mut all = Vec::new();
    for kind in ["deployments", "statefulsets"] {
        for workload in servers.node.api().list(&format!("/apis/apps/v1/{kind}")).await {
            let name = workload["metadata"]["name"].as_str().unwrap_or_default();
            all.push(format!("{name} {}", workload["status"]["readyReplicas"].as_u64().unwrap_or(0)));
        }
    }
    all.sort();
    all.join(", ")
}

async fn count(servers: &Servers, index: &str) -> String {
    match servers.search.ask("GET", &format!("{index}/_count"), serde_json::Value::Null).await {
        (200, answer) => answer["count"].to_string(),
        (status, _) => format!("refused: {status}"),
    }
}

async fn digest_of_documents(servers: &Servers, index: &str) -> String {
    let mut digest = Sha256::new();
    for (id, routing, content) in servers.search.documents(index).await {
        digest.update(format!("{id} {routing} {content}\n"));
    }
    short(&digest.finalize())
}

async fn archive(servers: &Servers) -> (String, String) {
    let s3 = &servers.archive;
    let get = async |path: &str| {
        let answer = s3.send(s3.root(), Method::GET, path, HeaderMap::new(), "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.body
    };
    let listing = String::from_utf8(get("/logs?list-type=2").await).unwrap();
    let mut keys: Vec<_> = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).collect();
    keys.sort_unstable();
    let mut digest = Sha256::new();
    for key in &keys {
        digest.update(key);
        digest.update(get(&format!("/logs/{key}")).await);
    }
    (keys.len().to_string(), short(&digest.finalize()))
}

fn short(digest: &[u8]) -> String {
    hex::encode(&digest[..8])
}

/// Both side by side, in a table.
pub fn table(before: &[Answer], after: &[Answer]) -> String {
    let width = before.iter().map(|a| a.question.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (before, after) in before.iter().zip(after) {
        let verdict = match before == after {
            true => format!("same       {}", before.answer),
            false => format!("DIFFERENT  {} is now {}", before.answer, after.answer),
        };
        writeln!(text, "  {:width$}  {verdict}", before.question).unwrap();
    }
    text
}

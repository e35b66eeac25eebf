//! Servers that are killed in the middle of being read, or written to: what was read is saved, what is missing is told, and
//! nothing that is not whole is ever listed.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::bucket_stage::BucketStage;
use crate::data_stage::{DataStage, id_of, noise, record, write};
use crate::harness::command::{is_running, signal};
use crate::harness::{
    Action, BucketKind, FaultProxy, Finished, S3Server, Search, SearchServer, eventually, shared_node,
};
use crate::source_command::{sql, with_pod};
use crate::source_prometheus::{ADMIN, filled, metrics, scope as metrics_scope, snapshots};
use crate::vault_stage::{CLUSTER, Place};

/// Kills a server at the first request that is one of these, before it sees that.
fn killing(url: &str, pid: u32, is_one: impl Fn(&str) -> bool + Send + Sync + 'static) -> FaultProxy {
    let is_killed = AtomicBool::new(false);
    FaultProxy::plain(url, move |seen| match is_one(&seen.path) && !is_killed.swap(true, SeqCst) {
        true => Action::Before(Box::new(move || signal(pid, "KILL"))),
        false => Action::Forward,
    })
}

/// A backup of `data` and of another source: partial, with the other one whole.
async fn partial(stage: &DataStage, place: &Place, kind: &str, scope: Value) -> (Value, Finished) {
    let other = json!({"name": "other", "command": {"run": ["echo", "fine"]}});
    let schedule = stage.schedule(place, json!([{"name": "data", kind: scope}, other]));
    let saved = stage.backup_by(place, &schedule).timeout(std::time::Duration::from_secs(300)).run().await.expect(3);
    let id = id_of(&saved);
    let manifest = stage.manifest(place, &id).await;
    assert_eq!((&manifest["status"], &manifest["sources"][2]["status"]), (&json!("partial"), &json!("complete")));
    stage.verify(place, &id).await.expect_success();
    (manifest, saved)
}

#[tokio::test]
async fn an_elasticsearch_that_is_killed_makes_the_backup_partial() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let server = SearchServer::start(&stage.scratch, Search::Elasticsearch8, &[]).await;
    server.fill("kept-1", 0..200).await;
    server.fill("lost-1", 0..40_000).await;
    // The small one is read; of the large one, some pages are.
    let pages = std::sync::atomic::AtomicU32::new(0);
    let proxy = killing(server.url(), server.pid(), move |path| {
        path.starts_with("/_search?") && pages.fetch_add(1, SeqCst) == 6
    });
    let scope = json!({"url": proxy.url(), "indices": ["*-1"]});
    let (manifest, saved) = partial(&stage, &place, "elasticsearch", scope).await;
    let problems = record(&manifest)["problems"].to_string();
    assert!(problems.contains(proxy.url()), "{saved}");
    assert!(record(&manifest)["contents"]["documents"]["count"].as_u64() >= Some(200), "{manifest}");
}

/// Its snapshot is on the disk, and goes on being read.
#[tokio::test]
async fn a_prometheus_that_is_killed_once_it_made_its_snapshot_is_saved_whole() {
    let stage = DataStage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let prometheus = filled(&stage, &[ADMIN]).await;
    let pid = prometheus.pid();
    // When its first block is about to be stored.
    let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
        if seen.is("PUT", "/data/0001.tar.zst.age") {
            signal(pid, "KILL");
        }
        Action::Forward
    });
    let place = Place::through(proxy.url(), s3.root(), "vault");
    let saved = stage.backup(&place, "prometheus", metrics_scope(&prometheus)).run().await.expect_success();
    assert!(!is_running(pid));
    assert!(metrics(&stage.manifest(&place, &id_of(&saved)).await)[0] >= 4, "its newest samples are in a block, too");
    assert_eq!(snapshots(&prometheus), 0);
}

/// A real dump that breaks off far behind its begin.
#[tokio::test]
async fn a_postgresql_whose_dump_breaks_off_makes_the_backup_partial_and_is_not_restored() {
    let node = shared_node().await;
    let namespace = with_pod(node, "postgres").await;
    sql(node, &namespace, "postgres", "create database registry").await;
    let many =
        "create table project as select n as id, repeat(md5(n::text), 8) as note from generate_series(1, 700000) n";
    sql(node, &namespace, "registry", many).await;
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let pod = json!({"namespace": namespace, "selector": "app=postgres"});
    let scope = json!({"profile": "postgres", "pod": pod, "databases": ["registry"]});
    let other = json!({"name": "other", "command": {"run": ["echo", "fine"]}});
    let schedule = stage.schedule(&place, json!([{"name": "data", "command": scope}, other]));
    let running = stage.backup_by(&place, &schedule).arg("--kubeconfig").arg(node.kubeconfig()).start().await;
    // As soon as it copies the table.
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pg_dump' and query like 'COPY%'";
    eventually("the dump is cut off", async || sql(node, &namespace, "postgres", end).await != "0").await;
    let saved = running.finish().await.expect(3);
    let id = id_of(&saved);
    let manifest = stage.manifest(&place, &id).await;
    let problems = record(&manifest)["problems"].to_string();
    // What pg_dump still hears of the server's last words is a matter of moments.
    let is_told = problems.contains("terminating connection") || problems.contains("closed the connection");
    assert!(problems.contains("pg_dump") && is_told, "{problems}");
    let restore = json!({"source": "data", "profile": "postgres", "pod": pod, "databases": ["registry"], "conflict": "overwrite"});
    let restored = stage.restore(&place, &id, json!([{"name": "back", "command": restore}]));
    let refused = restored.arg("--kubeconfig").arg(node.kubeconfig()).run().await.expect(3);
    assert!(refused.json()["failures"].to_string().contains("was not saved to its end"), "{refused}");
    assert_eq!(sql(node, &namespace, "registry", "select count(*) from project").await, "700000");
}

#[tokio::test]
async fn an_archive_whose_server_is_killed_makes_the_backup_partial() {
    let stage = BucketStage::new().await;
    for number in 0..20 {
        stage.put(&format!("archive/logs/{number:02}"), noise(number, 1 << 20)).await;
    }
    let proxy = killing(stage.s3.endpoint(), stage.s3.pid(), |path| path.contains("logs/13"));
    let scope = stage.at(proxy.url(), "archive/logs");
    let (manifest, saved) = partial(&stage.stage, &stage.place, "objects", scope).await;
    let items = record(&manifest)["items"].as_u64().unwrap();
    assert!((1..20).contains(&items), "{saved}");
    let missing: u64 =
        record(&manifest)["problems"].as_array().unwrap().iter().filter_map(|p| p["count"].as_u64()).sum();
    assert_eq!(items + missing, 20, "{manifest}");
}

#[tokio::test]
async fn a_vault_whose_server_is_killed_lists_nothing_new_and_takes_the_next_backup() {
    let stage = DataStage::new().await;
    let mut s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    write(&stage.data(), "big", &noise(7, 30 << 20), 5);
    let proxy = killing(s3.endpoint(), s3.pid(), |path| path.contains("partNumber=2"));
    let failed = stage
        .backup(&Place::through(proxy.url(), s3.root(), "vault"), "files", json!({"path": stage.data()}))
        .timeout(std::time::Duration::from_secs(300));
    let failed = failed.run().await.expect(1);
    assert!(failed.stderr.contains("nothing that was committed is lost"), "{failed}");
    s3.restart(&stage.scratch).await;
    let place = Place::bucket(&s3, "vault");
    let list = || stage.ckbackup(&place).args(["list", "--cluster", CLUSTER, "-o", "json"]);
    let listed = list().run().await;
    assert!(!listed.stdout.contains("\"complete\"") && !listed.stdout.contains("\"partial\""), "{listed}");
    let manifest = stage.save_files(&place).await;
    stage.verify(&place, manifest["id"].as_str().unwrap()).await.expect_success();
}

//! Source `prometheus`, with a real one: what it has is saved, lost, and found again by its own answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, record, tree};
use crate::harness::prometheus::{BEGIN, Prometheus, make_blocks};
use crate::harness::{Action, FaultProxy, eventually};
use crate::vault_stage::Place;

pub const ADMIN: &str = "--web.enable-admin-api";

/// Hours of samples that are in blocks.
pub const HOURS: u32 = 6;

/// A Prometheus with three blocks of many series, and its own metrics in memory.
pub async fn filled(stage: &DataStage, args: &[&str]) -> Prometheus {
    let data = stage.data();
    make_blocks(&stage.scratch, &data, 2000, HOURS).await;
    let prometheus = Prometheus::start(&stage.scratch, &data, args).await;
    eventually("it has scraped itself", async || prometheus.query("up", now()).await == Some(1.0)).await;
    prometheus
}

fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

pub fn scope(prometheus: &Prometheus) -> Value {
    json!({"url": prometheus.url(), "data": {"path": prometheus.data}})
}

/// What is in the blocks: the series that have a last sample, the sum of these, and how many samples one of them has.
pub async fn samples(prometheus: &Prometheus) -> [Option<f64>; 3] {
    let end = (BEGIN + i64::from(HOURS) * 3600 - 1) as f64;
    let ask = async |query: &str| prometheus.query(query, end).await;
    [
        ask("count(last_over_time({__name__=~\"m.*\",host=~\"h.\"}[5m]))").await,
        ask("sum(last_over_time({__name__=~\"m.*\",host=~\"h.\"}[5m]))").await,
        ask(&format!("count_over_time(m7[{HOURS}h])")).await,
    ]
}

/// Each of 2,000 series counts up from its number, by one a minute.
pub fn all_samples() -> [Option<f64>; 3] {
    let last = f64::from(HOURS * 60 - 1);
    [Some(2000.0), Some(2000.0 * 1999.0 / 2.0 + 2000.0 * last), Some(last + 1.0)]
}

pub fn snapshots(prometheus: &Prometheus) -> usize {
    std::fs::read_dir(prometheus.data.join("snapshots")).map_or(0, |entries| entries.count())
}

pub fn metrics(manifest: &Value) -> [u64; 3] {
    ["blocks", "series", "samples"].map(|key| record(manifest)["contents"]["metrics"][key].as_u64().unwrap())
}

#[tokio::test]
async fn metrics_are_saved_with_the_newest_lost_and_found_again_to_the_sample() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let prometheus = filled(&stage, &[ADMIN]).await;
    assert_eq!(samples(&prometheus).await, all_samples());
    let saved = stage.backup(&place, "prometheus", scope(&prometheus)).run().await.expect_success();
    let id = id_of(&saved);
    assert_eq!(snapshots(&prometheus), 0, "the snapshot is gone");
    let manifest = stage.manifest(&place, &id).await;
    let [blocks, series, in_all] = metrics(&manifest);
    assert!(blocks == 4 && series > 6000 && in_all > 720_000, "{blocks} {series} {in_all}");
    stage.verify(&place, &id).await.expect_success();
    let (at, up) = (now(), prometheus.query("count(last_over_time({job=\"self\"}[5m]))", now()).await);

    // Lost: another machine, another folder.
    drop(prometheus);
    std::fs::remove_dir_all(stage.data()).unwrap();
    let to = stage.scratch.folder("restored");
    let step = json!({"name": "metrics", "prometheus": {"source": "data", "to": to}});
    let restored = stage.restore(&place, &id, json!([step])).run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["kind"], "prometheus");
    let back = Prometheus::start(&stage.scratch, &to, &[]).await;
    assert_eq!(samples(&back).await, all_samples());
    let found = back.query("count(last_over_time({job=\"self\"}[5m]))", at).await;
    assert!(found >= up && up > Some(100.0), "the newest samples, too: {found:?} {up:?}");
    drop(back);

    // Again, into the same folder: everything is there, and a Prometheus that serves it is asked.
    let before = tree(&to);
    let refused = stage.restore(&place, &id, json!([step])).run().await.expect(3).json();
    let why = refused["failures"][0]["why"].as_str().unwrap();
    assert!(why.contains("is not empty: it has"), "{why}");
    assert!(tree(&to) == before, "what is there stays as it is");
    for entry in std::fs::read_dir(&to).unwrap() {
        let path = entry.unwrap().path();
        let is_block = path.file_name().unwrap().len() == 26;
        if !is_block && path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if !is_block {
            std::fs::remove_file(path).unwrap();
        }
    }
    // As a restore that was cut off leaves it: a file is missing.
    let chunk = crate::vault_stage::files(&to).into_iter().find(|path| path.ends_with("chunks/000001")).unwrap();
    std::fs::remove_file(to.join(chunk)).unwrap();
    let run = stage.restore(&place, &id, json!([step])).run().await.expect_success().json();
    let items = &run["steps"][0]["items"];
    assert_eq!((&items["created"], &items["failed"]), (&json!(1), &json!(0)), "{run}");
    assert!(items["unchanged"].as_u64().unwrap() > 8, "{run}");
}

#[tokio::test]
async fn a_prometheus_that_serves_what_was_restored_is_asked_for_the_samples_of_each_block() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let data = stage.data();
    make_blocks(&stage.scratch, &data, 50, 4).await;
    let blocks = json!({"data": {"path": data}, "head": false});
    let id = id_of(&stage.backup(&place, "prometheus", blocks).run().await.expect_success());
    // It is started before the restore, on another folder with the same blocks, as a person would start it on the restored one.
    let good = Prometheus::start(&stage.scratch, &data, &[]).await;
    let step = |url: &str, to: &str| {
        let check = json!({"url": url, "timeout": "20s"});
        json!([{"name": "metrics", "prometheus": {"source": "data", "to": to, "check": check}}])
    };
    stage.restore(&place, &id, step(good.url(), "one")).run().await.expect_success();

    let empty = Prometheus::start(&stage.scratch, &stage.scratch.folder("empty"), &[]).await;
    let failed = stage.restore(&place, &id, step(empty.url(), "two")).run().await.expect(3).json();
    let why = failed["failures"][0]["why"].as_str().unwrap();
    assert!(why.contains("has 0 samples from 2026-11-20T00:00:00Z") && why.contains("was restored 6000"), "{why}");
    let whys = failed["failures"].to_string();
    assert!(whys.contains("has 0 series from 2026-11-20T00:00:00Z") && whys.contains("was restored 50"), "{whys}");

    let nobody = stage.restore(&place, &id, step("http://127.0.0.1:9", "three")).run().await.expect(3).json();
    let note = nobody["failures"][0]["why"].as_str().unwrap();
    assert!(note.contains("the restored Prometheus is not ready"), "{note}");
    assert!(nobody["steps"][0]["items"]["created"].as_u64() > Some(0), "what was written stays counted: {nobody}");
}

#[tokio::test]
async fn without_the_admin_api_blocks_alone_are_saved_and_it_is_said_what_to_do() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let prometheus = filled(&stage, &[]).await;
    let partial = stage.backup(&place, "prometheus", scope(&prometheus)).run().await.expect(3);
    assert!(partial.stderr.contains("its admin API is disabled"), "{partial}");
    let manifest = stage.manifest(&place, &id_of(&partial)).await;
    assert_eq!(metrics(&manifest), [3, 6000, 720_000]);
    assert_eq!(record(&manifest)["problems"][0]["what"], "head");

    let blocks = json!({"data": {"path": prometheus.data}, "head": false});
    let saved = stage.backup(&place, "prometheus", blocks).run().await.expect_success();
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(metrics(&manifest), [3, 6000, 720_000]);
    assert!(saved.stderr.contains("head: false"), "{saved}");

    // The newest block only, by size.
    let newest = json!({"data": {"path": prometheus.data}, "head": false, "maxSize": "1kB"});
    let none = stage.backup(&place, "prometheus", newest).run().await.expect_success();
    assert_eq!(record(&stage.manifest(&place, &id_of(&none)).await)["skipped"][0]["count"], 3);
}

#[tokio::test]
async fn a_snapshot_goes_again_after_failures_and_after_ctrl_c() {
    let stage = DataStage::new().await;
    let prometheus = filled(&stage, &[ADMIN]).await;
    // Wrong data directory: the snapshot is made elsewhere, and cannot be found.
    let place = Place::folder(&stage.scratch.folder("vault"));
    let elsewhere = json!({"url": prometheus.url(), "data": {"path": stage.scratch.folder("elsewhere")}});
    let wrong = stage.backup(&place, "prometheus", elsewhere).run().await.expect(1);
    assert!(wrong.stderr.contains("the snapshot is not in"), "{wrong}");
    std::fs::remove_dir_all(prometheus.data.join("snapshots")).unwrap();

    // What a run has left that was killed, and what somebody else has made.
    for (name, mark) in [("20261101T000000Z-0a", true), ("20261101T000001Z-0b", false)] {
        let snapshot = stage.scratch.folder(&format!("{}/snapshots/{name}", prometheus.data.display()));
        if mark {
            std::fs::write(snapshot.join(".ckbackup"), "").unwrap();
        }
    }
    let vault = Place::folder(&stage.scratch.folder("other-vault"));
    stage.backup(&vault, "prometheus", scope(&prometheus)).run().await.expect_success();
    let left: Vec<_> =
        std::fs::read_dir(prometheus.data.join("snapshots")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["20261101T000001Z-0b"]);
    std::fs::remove_dir_all(prometheus.data.join("snapshots")).unwrap();

    // The snapshot is made, and the answer is lost.
    let cut = FaultProxy::plain(prometheus.url(), |_| Action::DropAfter);
    let through = json!({"url": cut.url(), "data": {"path": prometheus.data}});
    stage.backup(&place, "prometheus", through).run().await.expect(1);
    assert_eq!(snapshots(&prometheus), 0);

    // Ctrl-C when the snapshot is made, and its answer is still to come.
    let late = std::time::Duration::from_secs(10);
    let slow = FaultProxy::plain(prometheus.url(), move |_| Action::Late(late));
    let through = json!({"url": slow.url(), "data": {"path": prometheus.data}});
    let running = stage.backup(&place, "prometheus", through).start().await;
    eventually("the snapshot is made", async || snapshots(&prometheus) == 1).await;
    running.signal("INT");
    let stopped = running.finish().await.expect(130);
    assert_eq!(snapshots(&prometheus), 0, "{stopped}");

    // The log-in is refused.
    let locked = FaultProxy::plain(prometheus.url(), |_| Action::status(401));
    let refused = json!({"url": locked.url(), "data": {"path": prometheus.data}});
    let refused = stage.backup(&place, "prometheus", refused).run().await.expect(1);
    assert!(refused.stderr.contains("does not accept the log-in"), "{refused}");
}

/// The password is read from its file, and never shown.
#[tokio::test]
async fn a_prometheus_behind_a_password_is_reached_with_the_right_one_only() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let data = stage.data();
    make_blocks(&stage.scratch, &data, 10, 2).await;
    // bcrypt of "hunter2".
    let users = "basic_auth_users: {backup: \"$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\"}";
    let web = format!("--web.config.file={}", stage.scratch.file("web.yml", users).display());
    let prometheus = Prometheus::start(&stage.scratch, &data, &[ADMIN, &web]).await;
    let with = |password: &str| {
        let file = stage.scratch.file(password, format!("{password}\n"));
        let access = json!({"username": "backup", "passwordFile": file});
        json!({"url": prometheus.url(), "data": {"path": data}, "access": access})
    };
    stage.backup(&place, "prometheus", with("hunter2")).run().await.expect_success();
    let refused = stage.backup(&place, "prometheus", with("hunter3")).run().await.expect(1);
    assert!(refused.stderr.contains("does not accept the log-in") && !refused.stdout.contains("hunter"), "{refused}");
    assert!(!refused.stderr.replace("/hunter3", "").contains("hunter"), "{refused}");
}

/// In its window a source that fails is read again before the night is given up.
#[tokio::test]
async fn in_its_window_a_source_that_fails_is_tried_again() {
    let rig = crate::backup_rig::Rig::new();
    let stage = DataStage::new().await;
    let prometheus = filled(&stage, &[ADMIN]).await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let proxy = FaultProxy::plain(prometheus.url(), move |_| match counted.fetch_add(1, SeqCst) {
        0 => Action::status(503),
        _ => Action::Forward,
    });
    let mut schedule = crate::backup_window::schedule(&rig, -60, 60);
    let metrics = json!({"name": "data", "prometheus": {"url": proxy.url(), "data": {"path": prometheus.data}}});
    schedule["spec"]["sources"].as_array_mut().unwrap().push(metrics);
    let run = crate::backup_window::backup(&rig, &schedule, "--window").run().await.expect_success();
    assert_eq!(run.json()["status"], "complete");
    assert!(run.stderr.contains("could not be read"), "{run}");
    assert_eq!(tries.load(SeqCst), 2);
    assert_eq!(snapshots(&prometheus), 0);
}

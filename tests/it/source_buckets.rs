//! Source `objects`: what is saved of a bucket that others write to and compact, and what the next night costs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::backup_memory::LIMIT_KIB;
use crate::bucket_stage::{BucketStage, copied_from, items, with};
use crate::data_stage::{id_of, noise, record, write};
use crate::harness::command::highest_memory;
use crate::harness::{Action, AzureServer, FaultProxy};
use crate::vault_stage::Place;

const MIB: usize = 1 << 20;

/// An archive of several groups: a day in each folder, as Fluentd writes them.
async fn fill(stage: &BucketStage) -> u64 {
    for day in 1..=12 {
        stage.put(&format!("archive/logs/202611{day:02}/audit/0000.log"), vec![day; 16 * MIB]).await;
        for minute in 0..4 {
            let line = format!("{{\"day\":{day},\"minute\":{minute}}}\n");
            stage.put(&format!("archive/logs/202611{day:02}/audit/000{minute}_0.json"), line).await;
        }
    }
    stage.put("archive/logs/empty", "").await;
    stage.put("archive/logs/large.bin", noise(1, 13 * MIB + 77)).await;
    stage.put("archive/logs/exactly-one-part", noise(2, 4 * MIB)).await;
    stage.put("archive/logs-of-others/x", "not below the prefix").await;
    12 + 48 + 3
}

fn why(manifest: &Value, list: &str) -> Vec<String> {
    let all = record(manifest)[list].as_array().cloned().unwrap_or_default();
    all.iter().map(|omission| omission["why"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_bucket_comes_back_whole_and_an_unchanged_night_is_copied() {
    let stage = BucketStage::new().await;
    let count = fill(&stage).await;
    // What consoles show as a folder is no object to save.
    stage.put("archive/logs/folder/", "").await;
    let scope = stage.at(stage.s3.endpoint(), "archive/logs");
    let first = stage.saved(&scope).await;
    assert_eq!(record(&first)["items"], count, "{first}");
    assert_eq!(record(&first)["contents"]["listed"]["count"], count);
    let groups = copied_from(&first);
    assert!(groups.len() > 2 && groups.iter().all(Option::is_none), "{groups:?}");
    stage.stage.verify(&stage.place, first["id"].as_str().unwrap()).await.expect_success();
    let back = stage.files_of(&first, "back").await;
    assert_eq!(back.len() as u64, count);
    assert!(back["large.bin"] == noise(1, 13 * MIB + 77) && back["empty"].is_empty());
    assert_eq!(back["20261103/audit/0002_0.json"], b"{\"day\":3,\"minute\":2}\n");
    assert!(back["20261112/audit/0000.log"] == vec![12; 16 * MIB]);

    let second = stage.saved(&scope).await;
    let id = |manifest: &Value| manifest["id"].as_str().map(String::from);
    assert!(copied_from(&second).iter().all(|from| *from == id(&first)), "{:?}", copied_from(&second));

    // A new object, and one of the same size with another content: a group each.
    stage.put("archive/logs/20261107/audit/0009_0.json", "new\n").await;
    let third = stage.saved(&scope).await;
    let read = copied_from(&third).iter().filter(|from| from.is_none()).count();
    assert_eq!((read, copied_from(&third).len()), (1, groups.len()));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.put("archive/logs/20261101/audit/0001_0.json", "{\"day\":1,\"minute\":7}\n").await;
    let fourth = stage.saved(&scope).await;
    assert_eq!(copied_from(&fourth).iter().filter(|from| from.is_none()).count(), 1);
    let back = stage.files_of(&fourth, "back-4").await;
    assert_eq!(back["20261101/audit/0001_0.json"], b"{\"day\":1,\"minute\":7}\n");
    assert_eq!(back.len() as u64, count + 1);
}

#[tokio::test]
async fn a_folder_is_saved_like_a_bucket_and_only_what_is_asked_for() {
    let stage = BucketStage::new().await;
    let data = stage.stage.data();
    for (path, hours) in [("new.log", 2), ("old.log", 100), ("x/new.log", 3), ("debug.log", 2), ("new.tmp", 2)] {
        write(&data, path, &[7; 1000], hours);
    }
    let scope = json!({
        "url": format!("file://{}", data.display()), "newerThan": "3d", "maxSize": "1500B",
        "names": {"include": ["*.log"], "exclude": ["debug.log"]},
    });
    let first = stage.saved(&scope).await;
    assert_eq!(record(&first)["items"], 1, "{first}");
    assert_eq!(why(&first, "skipped"), ["older than 3d", "beyond the newest 1500 bytes"]);
    let to = stage.stage.restore_files(&stage.place, first["id"].as_str().unwrap(), "back").await;
    let seconds = |file: std::path::PathBuf| file.metadata().unwrap().modified().unwrap().elapsed().unwrap().as_secs();
    assert!(seconds(to.join("new.log")).abs_diff(7200) < 60, "the time at which it was written is kept");
    assert!(copied_from(&stage.saved(&scope).await).iter().all(Option::is_some));
}

fn events(hours: std::ops::Range<u32>) -> Vec<u8> {
    let line = |hour| {
        format!("{{\"kind\":\"Event\",\"stageTimestamp\":\"2026-11-20T{hour:02}:00:00.000000Z\",\"verb\":\"get\"}}\n")
    };
    hours.map(line).collect::<String>().into_bytes()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn audit_logs_in_a_bucket_are_counted_and_a_gap_is_told() {
    let stage = BucketStage::new().await;
    stage.put("archive/a/20261120/kubeaudit/202611200000_0.gz", gzip(&events(0..3))).await;
    stage.put("archive/a/20261120/kubeaudit/202611200300_0.zst", zstd::bulk::compress(&events(3..7), 1).unwrap()).await;
    stage.put("archive/a/20261120/kubeaudit/202611200700_0.log", events(7..8)).await;
    let scope = with(stage.at(stage.s3.endpoint(), "archive/a"), json!({"format": "kubernetesAudit"}));
    let counted = |manifest: &Value| {
        let events = &record(manifest)["contents"]["events"];
        json!([events["count"], events["first"], events["last"]])
    };
    let first = stage.saved(&scope).await;
    assert_eq!(counted(&first), json!([8, "2026-11-20T00:00:00Z", "2026-11-20T07:00:00Z"]));
    assert!(why(&first, "notices").is_empty(), "{first}");
    // What is copied counts as well.
    assert_eq!(counted(&stage.saved(&scope).await), counted(&first));

    // Retention takes the old ones before the new ones are saved.
    std::fs::remove_dir_all(stage.s3.file("archive", "a/20261120")).unwrap();
    stage.put("archive/a/20261120/kubeaudit/202611200900_0.gz", gzip(&events(9..12))).await;
    let third = stage.saved(&scope).await;
    assert_eq!(counted(&third)[0], 3);
    assert!(why(&third, "notices")[0].contains("no events between 2026-11-20T07:00:00Z and 2026-11-20T09:00:00Z"));
    assert_eq!(third["status"], "complete");

    // One that is far older does not hide that the one in between is missing.
    stage.put("archive/a/20261119/kubeaudit/202611190000_0.gz", gzip(&events(0..1))).await;
    std::fs::remove_dir_all(stage.s3.file("archive", "a/20261120")).unwrap();
    stage.put("archive/a/20261120/kubeaudit/202611202000_0.gz", gzip(&events(20..22))).await;
    let fourth = stage.saved(&scope).await;
    assert!(why(&fourth, "notices")[0].contains("no events between 2026-11-20T11:00:00Z and 2026-11-20T20:00:00Z"));
    // Nothing new is no gap.
    assert!(why(&stage.saved(&scope).await, "notices").is_empty());
}

/// The first request for content arrives: others compact the archive, before any of it is read.
#[tokio::test]
async fn objects_that_are_compacted_while_they_are_read_are_listed_again_and_not_lost() {
    let stage = BucketStage::new().await;
    for name in ["a", "b", "c", "d"] {
        stage.put(&format!("archive/logs/{name}"), format!("{name}\n")).await;
    }
    stage.put("other/compacted", "b\nc\n").await;
    stage.put("other/d", "d, written again\n").await;
    let [from, archive] = [stage.s3.file("other", ""), stage.s3.file("archive", "logs")];
    let done = AtomicBool::new(false);
    let proxy = FaultProxy::plain(stage.s3.endpoint(), move |request| {
        if request.is("GET", "/archive/logs/") && !done.swap(true, SeqCst) {
            for gone in ["b", "c"] {
                std::fs::remove_file(archive.join(gone)).unwrap();
            }
            for new in ["compacted", "d"] {
                std::fs::rename(from.join(new), archive.join(new)).unwrap();
            }
        }
        Action::Forward
    });
    let manifest = stage.saved(&stage.at(proxy.url(), "archive/logs")).await;
    let back = stage.files_of(&manifest, "back").await;
    let text = |name: &str| String::from_utf8(back[name].clone()).unwrap();
    assert_eq!(back.keys().collect::<Vec<_>>(), ["a", "compacted", "d"]);
    assert_eq!((text("a"), text("compacted"), text("d")), ("a\n".into(), "b\nc\n".into(), "d, written again\n".into()));
    assert_eq!(record(&manifest)["contents"]["listed"]["count"], 3);
    let skipped = &record(&manifest)["skipped"][0];
    assert_eq!((&skipped["why"], &skipped["count"]), (&json!("deleted before they were read"), &json!(2)));
    // The group in which something was missed is read again the next night.
    assert!(copied_from(&stage.saved(&stage.at(stage.s3.endpoint(), "archive/logs")).await) == [None]);
}

#[tokio::test]
async fn a_large_object_that_is_replaced_in_the_middle_is_marked_and_the_new_one_saved() {
    let stage = BucketStage::new().await;
    stage.put("archive/logs/big", noise(3, 40 * MIB)).await;
    stage.put("other/big", noise(4, 40 * MIB)).await;
    let [from, to] = [stage.s3.file("other", "big"), stage.s3.file("archive", "logs/big")];
    let done = AtomicBool::new(false);
    let proxy = FaultProxy::plain(stage.s3.endpoint(), move |request| {
        let range = request.headers.get("range").and_then(|range| range.to_str().ok()).unwrap_or_default();
        if range.starts_with(&format!("bytes={}-", 32 * MIB)) && !done.swap(true, SeqCst) {
            std::fs::rename(&from, &to).unwrap();
        }
        Action::Forward
    });
    let saved = stage.save(&stage.at(proxy.url(), "archive/logs")).await.expect(3);
    let manifest = stage.manifest(&saved).await;
    assert_eq!(why(&manifest, "problems"), ["could not be read to their end; what is missing is filled up"]);
    let to = stage.stage.scratch.path().join("back");
    let steps = json!([{"name": "files", "files": {"source": "data", "to": to}}]);
    stage.stage.restore(&stage.place, &id_of(&saved), steps).run().await.expect(3);
    let files = crate::vault_stage::files(&to);
    assert!(files.len() == 2 && files[0] == "big.ckbackup-incomplete" && files[1].starts_with("big~"), "{files:?}");
    assert!(std::fs::read(to.join(&files[1])).unwrap() == noise(4, 40 * MIB), "the new one is whole");
    assert!(noise(3, 40 * MIB).starts_with(&std::fs::read(to.join(&files[0])).unwrap()));
}

#[tokio::test]
async fn a_storage_that_is_busy_or_cuts_connections_is_asked_again() {
    let stage = BucketStage::new().await;
    stage.put("archive/logs/large", noise(5, 9 * MIB)).await;
    for number in 0..20 {
        stage.put(&format!("archive/logs/{number:02}"), format!("{number}\n")).await;
    }
    let asked = AtomicUsize::new(0);
    let proxy = FaultProxy::plain(stage.s3.endpoint(), move |request| {
        let slow_down = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
        match (request.method == "GET").then(|| asked.fetch_add(1, SeqCst)) {
            // The first is the list.
            Some(0 | 3 | 4) => Action::Respond(503, Vec::new(), slow_down.into()),
            Some(7) => Action::DropBefore,
            Some(number) if request.path.ends_with("/large") && number < 40 => Action::CutBody(MIB + 5),
            _ => Action::Forward,
        }
    });
    let manifest = stage.saved(&stage.at(proxy.url(), "archive/logs")).await;
    let back = stage.files_of(&manifest, "back").await;
    assert!(back.len() == 21 && back["large"] == noise(5, 9 * MIB) && back["07"] == b"7\n");
}

/// One object that the storage cannot give out, however often it is asked; then it gives out nothing at all.
#[tokio::test]
async fn an_object_without_an_answer_does_not_take_others_with_it_and_is_read_the_next_night() {
    let stage = BucketStage::new().await;
    for number in 0..20 {
        stage.put(&format!("archive/logs/{number:02}"), format!("{number}\n")).await;
    }
    let broken = FaultProxy::plain(stage.s3.endpoint(), |request| match request.is("GET", "/logs/03") {
        true => Action::status(500),
        false => Action::Forward,
    });
    let manifest = stage.manifest(&stage.save(&stage.at(broken.url(), "archive/logs")).await.expect(3)).await;
    assert!(why(&manifest, "problems")[0].contains("read s3://archive/logs/03"), "{manifest}");
    assert_eq!((&record(&manifest)["problems"][0]["count"], &record(&manifest)["items"]), (&json!(1), &json!(19)));
    let dead = FaultProxy::plain(stage.s3.endpoint(), |request| match request.is("GET", "/logs/") {
        true => Action::status(503),
        false => Action::Forward,
    });
    let failed = stage.save(&stage.at(dead.url(), "archive/logs")).await.expect(1);
    assert!(failed.stderr.contains("nothing could be read"), "{failed}");
    let objects = dead.seen().into_iter().map(|seen| seen.path).filter(|path| path.contains("/logs/"));
    let tried: std::collections::BTreeSet<_> = objects.collect();
    assert!(tried.len() <= 8, "the rest is not tried: {tried:?}");
    let next = stage.saved(&stage.at(stage.s3.endpoint(), "archive/logs")).await;
    assert_eq!((&record(&next)["items"], copied_from(&next)), (&json!(20), vec![None]));
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_leaves_other_sources_alone() {
    let stage = BucketStage::new().await;
    stage.put("archive/logs/a", "a").await;
    let failed = stage.save(&stage.at(stage.s3.endpoint(), "no-such-bucket/logs")).await.expect(1);
    assert!(failed.stderr.contains("no such place: s3://no-such-bucket/logs (the bucket does not exist)"), "{failed}");

    let nobody = stage.s3.create_user(&stage.stage.scratch, "nobody").await;
    let file = "AWS_ACCESS_KEY_ID=nobody\nAWS_SECRET_ACCESS_KEY=nobody-secret\n";
    let file = stage.stage.scratch.file("nobody.env", file);
    let as_nobody = with(stage.at(stage.s3.endpoint(), "archive/logs"), json!({"credentialsFile": file}));
    let failed = stage.save(&as_nobody).await.expect(1);
    assert!(failed.stderr.contains("no permission to list") && !failed.stderr.contains("nobody-secret"), "{failed}");
    // Who may list and not read: the backup is partial beside another source, and says so.
    stage.s3.allow("archive", &[(&nobody, &["s3:ListBucket"])]).await;
    write(&stage.stage.data(), "b", b"b", 2);
    let sources = json!([{"name": "data", "objects": as_nobody}, {"name": "b", "files": {"path": stage.stage.data()}}]);
    let saved = stage.stage.backup_by(&stage.place, &stage.stage.schedule(&stage.place, sources)).run().await.expect(3);
    let manifest = stage.manifest(&saved).await;
    assert_eq!(why(&manifest, "problems"), ["could not be read"], "{manifest}");
    assert_eq!(manifest["sources"][2]["status"], "complete");

    // Without credentials, the client asks the machine that it runs on, last of all.
    let nobody_listens = format!("http://127.0.0.1:{}", ckbackup::drill::sandbox::free_port().unwrap());
    let place = Place { env: vec![("AWS_METADATA_ENDPOINT", nobody_listens)], ..stage.place.clone() };
    let scope = json!({"url": "s3://archive/logs", "endpoint": stage.s3.endpoint(), "allowHttp": true});
    let failed = stage.stage.backup(&place, "objects", scope).run().await.expect(1);
    assert!(failed.stderr.contains("no credentials for s3://archive/logs"), "{failed}");

    let missing = with(stage.at(stage.s3.endpoint(), "archive/logs"), json!({"credentialsFile": "no-such-file"}));
    let failed = stage.save(&missing).await.expect(1);
    assert!(failed.stderr.contains("read the credentials in") && failed.stderr.contains("no-such-file"), "{failed}");
}

#[tokio::test]
async fn a_container_of_azure_is_filled_by_a_restore_and_saved_again() {
    let stage = BucketStage::new().await;
    let azure = AzureServer::start(&stage.stage.scratch, "archive").await;
    let account = azure.place("archive/logs");
    let lines: String = account.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let scope = json!({"url": account.url, "credentialsFile": stage.stage.scratch.file("azure.env", lines)});
    write(&stage.stage.data(), "large", &noise(7, 19 * MIB), 3);
    write(&stage.stage.data(), "x/small", b"small\n", 3);
    write(&stage.stage.data(), "empty", b"", 3);
    let first = stage.stage.save_files(&stage.place).await;
    let restored = stage.restore(first["id"].as_str().unwrap(), &scope, &json!({}), &[]).await.expect_success();
    assert_eq!(items(&restored), [3, 0, 0, 0, 0]);
    let manifest = stage.saved(&scope).await;
    let back = stage.files_of(&manifest, "back").await;
    assert_eq!(back.keys().collect::<Vec<_>>(), ["empty", "large", "x/small"]);
    assert!(back["large"] == noise(7, 19 * MIB) && back["x/small"] == b"small\n");
    assert!(copied_from(&stage.saved(&scope).await).iter().all(Option::is_some));
}

#[tokio::test]
async fn the_vault_itself_is_no_source() {
    let stage = BucketStage::new().await;
    let scope = json!({"url": format!("{}/workload-1", stage.place.url)});
    let refused = stage.save(&scope).await.expect(2);
    assert!(refused.stderr.contains("lie in one another"), "{refused}");
}

#[tokio::test]
async fn a_backup_of_large_and_many_objects_stays_below_256_mib() {
    let stage = BucketStage::new().await;
    let content = noise(6, 64 * MIB);
    for number in 0..4 {
        stage.put(&format!("archive/logs/large-{number}"), content.clone()).await;
    }
    for number in 0..40 {
        stage.put(&format!("archive/logs/mid-{number}"), &content[number..number + 4 * MIB]).await;
    }
    let headers = HeaderMap::new();
    for number in 0..1500 {
        let path = format!("/archive/logs/small/{number}");
        stage.s3.send(stage.s3.root(), Method::PUT, &path, headers.clone(), &content[number..number + 2000]).await;
    }
    let scope = stage.at(stage.s3.endpoint(), "archive/logs");
    let running = stage.stage.backup(&stage.place, "objects", scope).start().await;
    let highest = highest_memory(running.pid()).await;
    let saved = running.finish().await.expect_success();
    assert!(highest > 0 && highest < LIMIT_KIB, "backup: {} MiB", highest >> 10);
    let id = id_of(&saved);
    let mut step = stage.at(stage.s3.endpoint(), "other/back");
    step["source"] = json!("data");
    let steps = json!([{"name": "archive", "objects": step}]);
    let running = stage.stage.restore(&stage.place, &id, steps).start().await;
    let restoring = highest_memory(running.pid()).await;
    assert_eq!(running.finish().await.expect_success().json()["steps"][0]["items"]["created"], 1544);
    assert!(restoring > 0 && restoring < LIMIT_KIB, "restore: {} MiB", restoring >> 10);
    println!("peak of the backup {} MiB, of the restore {} MiB", highest >> 10, restoring >> 10);
}

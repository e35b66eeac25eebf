//! Source `files`: what is saved of a folder that others write to, and how it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, noise, record, tree, write};
use crate::harness::{Action, BucketKind, ControlPlane, FaultProxy, S3Server, eventually};
use crate::vault_stage::{CLUSTER, Place};

const MIB: usize = 1 << 20;

/// Small, empty, of exactly one part, a byte more, of many parts, deep, and with a name longer than a tar header has room for.
fn fill(folder: &std::path::Path) {
    write(folder, "a.log", b"one\ntwo\n", 100);
    write(folder, "empty", b"", 50);
    write(folder, "four", &noise(1, 4 * MIB), 30);
    write(folder, "four-and-a-byte", &noise(2, 4 * MIB + 1), 30);
    write(folder, "large.bin", &noise(3, 13 * MIB + 77), 80);
    write(folder, &format!("{}/deep.log", ["d"; 60].join("/")), b"deep\n", 20);
    write(folder, &format!("{}.log", "n".repeat(251)), b"named\n", 20);
    write(folder, "zeros", &vec![0; 9 * MIB], 2);
    for number in 0..300 {
        write(folder, &format!("many/{number:03}.log"), format!("line {number}\n").repeat(number).as_bytes(), 26);
    }
}

#[tokio::test]
async fn files_of_every_size_come_back_to_the_byte_and_the_second() {
    let stage = DataStage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    fill(&stage.data());
    for place in [Place::folder(&stage.scratch.folder("vault")), Place::bucket(&s3, "vault/prod")] {
        let mut schedule = stage.schedule(&place, json!([{"name": "data", "files": {"path": stage.data()}}]));
        schedule["spec"]["segmentSize"] = json!("2MiB");
        let id = id_of(&stage.backup_by(&place, &schedule).run().await.expect_success());
        let manifest = stage.manifest(&place, &id).await;
        let segments = record(&manifest)["segments"].as_array().unwrap().len();
        assert!(segments > 6, "segments end where they are large enough: {segments}");
        assert_eq!(record(&manifest)["items"], 308);
        let verified = stage.verify(&place, &id).await.expect_success().json();
        assert_eq!(verified["backups"][0]["members"], 309, "with the schedule: {verified}");

        let to = stage.restore_files(&place, &id, &format!("back-{}", segments + place.env.len())).await;
        assert!(tree(&to) == tree(&stage.data()), "what came back is what was there");
        let out = format!("out-{}", place.env.len());
        let extract = ["extract", &id, "--cluster", CLUSTER, "--source", "data", "--to", &out];
        stage.ckbackup(&place).args(extract).run().await.expect_success();
        let extracted = tree(&stage.scratch.path().join(out).join("data"));
        let contents = |tree: std::collections::BTreeMap<String, (Vec<u8>, u64)>| {
            tree.into_iter().map(|(path, (content, _))| (path, content)).collect::<Vec<_>>()
        };
        assert!(contents(extracted) == contents(tree(&stage.data())));
    }
}

#[tokio::test]
async fn stock_tools_open_every_segment_of_large_files() {
    let stage = DataStage::new().await;
    fill(&stage.data());
    let place = Place::folder(&stage.scratch.folder("vault"));
    let mut schedule = stage.schedule(&place, json!([{"name": "data", "files": {"path": stage.data()}}]));
    schedule["spec"]["segmentSize"] = json!("1MiB");
    let id = id_of(&stage.backup_by(&place, &schedule).run().await.expect_success());
    let folder = place.file(&id, "data").display().to_string();
    let script = format!(
        "mkdir out; for s in {folder}/*.tar.zst.age; do age -d -i keys/oncall-identity.txt $s | zstd -dc | tar -x -C out; done"
    );
    stage.shell(&script).await.expect_success();
    assert!(tree(&stage.scratch.path().join("out")) == tree(&stage.data()), "tar restores times, too");
}

#[tokio::test]
async fn a_live_log_is_cut_at_its_last_line_and_other_files_are_not() {
    let stage = DataStage::new().await;
    write(&stage.data(), "live.log", b"whole line\nhalf a li", 0);
    write(&stage.data(), "live.bin", b"\x00\x01\n\x02", 0);
    write(&stage.data(), "no-line-yet.log", b"half", 0);
    write(&stage.data(), "settled.log", b"whole line\nno end", 5);
    write(&stage.data(), "config.json", b"{\n \"a\": 1\n}", 0);
    let place = Place::folder(&stage.scratch.folder("vault"));
    let manifest = stage.save_files(&place).await;
    let to = stage.restore_files(&place, manifest["id"].as_str().unwrap(), "back").await;
    let content = |name: &str| std::fs::read(to.join(name)).unwrap();
    assert_eq!(content("live.log"), b"whole line\n");
    assert_eq!(content("live.bin"), b"\x00\x01\n\x02");
    assert_eq!(content("config.json"), b"{\n \"a\": 1\n}");
    let notice = &record(&manifest)["notices"][0];
    assert_eq!((&notice["count"], &notice["what"]), (&json!(1), &json!("logs")), "{notice}");
    assert_eq!(content("no-line-yet.log"), b"half");
    assert_eq!(content("settled.log"), b"whole line\nno end");
}

/// A vault that takes no part of a large object until it is told to, so that the reader stands still in the first file.
async fn held_up(stage: &DataStage) -> (S3Server, FaultProxy, Arc<AtomicBool>) {
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let go = Arc::new(AtomicBool::new(false));
    let gone = go.clone();
    let proxy = FaultProxy::plain(s3.endpoint(), move |request| {
        let is_part = request.method == "PUT" && request.path.contains("partNumber=");
        match is_part && !gone.load(SeqCst) {
            // The client sends it again.
            true => Action::status(503),
            false => Action::Forward,
        }
    });
    (s3, proxy, go)
}

#[tokio::test]
async fn a_log_that_is_rotated_while_others_are_read_is_neither_lost_nor_doubled() {
    let stage = DataStage::new().await;
    let (s3, proxy, go) = held_up(&stage).await;
    let place = Place::through(proxy.url(), s3.root(), "vault/prod");
    let data = stage.data();
    write(&data, "a-large", &noise(5, 60 * MIB), 0);
    write(&data, "b.log", b"before\n", 0);
    write(&data, "b.log.1", b"oldest\n", 5);
    write(&data, "c.log", b"gone\n", 0);
    write(&data, "d.log", b"all of it\n", 0);
    let running = stage.backup(&place, "files", json!({"path": data})).start().await;
    eventually("the first file is being sent", async || proxy.count("PUT", "partNumber=") > 0).await;
    // By number: the oldest was read under the name that the next one has by now.
    std::fs::rename(data.join("b.log.1"), data.join("b.log.2")).unwrap();
    std::fs::rename(data.join("b.log"), data.join("b.log.1")).unwrap();
    write(&data, "b.log", b"after\n", 0);
    // By copy and truncation.
    std::fs::copy(data.join("d.log"), data.join("d.log.1")).unwrap();
    std::fs::File::options().write(true).open(data.join("d.log")).unwrap().set_len(0).unwrap();
    // Last, so that no new file gets its inode.
    std::fs::remove_file(data.join("c.log")).unwrap();
    go.store(true, SeqCst);
    let saved = running.finish().await.expect_success();
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    let skipped = &record(&manifest)["skipped"];
    assert_eq!(skipped[0]["why"], "deleted before they were read", "{skipped}");
    assert_eq!((&skipped[0]["count"], &record(&manifest)["items"]), (&json!(1), &json!(6)));
    let to = stage.restore_files(&place, &id_of(&saved), "back").await;
    let content = |name: &str| std::fs::read(to.join(name)).unwrap();
    assert_eq!(content("b.log.1"), b"oldest\n");
    let second = crate::vault_stage::files(&to).into_iter().find(|name| name.starts_with("b.log.1~")).unwrap();
    assert_eq!((content(&second), content("b.log")), (b"before\n".to_vec(), b"after\n".to_vec()));
    assert_eq!((content("d.log"), content("d.log.1")), (Vec::new(), b"all of it\n".to_vec()));
    // A unit in which something was missed is read again the next night.
    assert!(record(&manifest)["units"].is_array(), "{manifest}");
}

#[tokio::test]
async fn what_nobody_asks_for_makes_no_backup_partial() {
    use std::os::unix::ffi::OsStrExt;
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    write(&data, "a.log", b"a\n", 2);
    write(&data, "lost+found/x.log", b"x", 2);
    write(&data, "tmp/deep/b.log", b"b", 2);
    std::fs::write(data.join(std::ffi::OsStr::from_bytes(b"back\\slash.unit")), b"x").unwrap();
    std::fs::write(data.join(std::ffi::OsStr::from_bytes(b"no\xffname")), b"x").unwrap();
    let scope = json!({"path": data, "names": {"include": ["*.log"], "exclude": ["tmp"]}});
    let saved = stage.backup(&place, "files", scope).run().await.expect_success();
    assert_eq!(record(&stage.manifest(&place, &id_of(&saved)).await)["items"], 1);
}

#[tokio::test]
async fn a_folder_that_is_empty_where_there_was_something_is_a_volume_that_is_not_mounted() {
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    let none = stage.backup(&place, "files", json!({"path": data})).run().await.expect_success();
    assert!(none.stderr.contains("nothing is there"), "{none}");
    write(&data, "a.log", b"a\n", 2);
    write(&stage.scratch.folder("other"), "b", b"b", 2);
    let sources = json!([{"name": "data", "files": {"path": data}},
        {"name": "other", "files": {"path": stage.scratch.folder("other")}}]);
    let schedule = stage.schedule(&place, sources);
    stage.backup_by(&place, &schedule).run().await.expect_success();
    std::fs::remove_file(data.join("a.log")).unwrap();
    let empty = stage.backup_by(&place, &schedule).run().await.expect(3);
    assert!(empty.stderr.contains("nothing is there, and the last backup had 1"), "{empty}");
}

#[tokio::test]
async fn a_file_that_gets_shorter_while_it_is_read_is_marked_and_never_restored_as_whole() {
    let stage = DataStage::new().await;
    let (s3, proxy, go) = held_up(&stage).await;
    let place = Place::through(proxy.url(), s3.root(), "vault/prod");
    let (data, content) = (stage.data(), noise(6, 100 * MIB));
    write(&data, "cut.bin", &content, 0);
    write(&data, "other", b"whole", 0);
    let running = stage.backup(&place, "files", json!({"path": data})).start().await;
    eventually("the file is being sent", async || proxy.count("PUT", "partNumber=") > 0).await;
    std::fs::File::options().write(true).open(data.join("cut.bin")).unwrap().set_len(70 * MIB as u64 + 5).unwrap();
    go.store(true, SeqCst);
    let saved = running.finish().await.expect(3);
    let id = id_of(&saved);
    let manifest = stage.manifest(&place, &id).await;
    let why = record(&manifest)["problems"][0]["why"].as_str().unwrap();
    assert_eq!(why, "could not be read to their end; what is missing is filled up", "{manifest}");
    assert!(!saved.stderr.contains("panic") && saved.stderr.contains("cut.bin"), "the log names it: {saved}");
    assert!(!manifest.to_string().contains("cut.bin"), "the manifest, which is not encrypted, does not");
    stage.verify(&place, &id).await.expect_success();

    let to = stage.scratch.path().join("back");
    let extract = ["extract", &id, "--cluster", CLUSTER, "--source", "data", "--to", "out", "-o", "json"];
    let extracted = stage.ckbackup(&place).args(extract).run().await.expect(3);
    assert_eq!(extracted.json()["incomplete"], 1);
    assert!(stage.scratch.path().join("out/data/cut.bin.ckbackup-incomplete").exists());
    let steps = json!([{"name": "files", "files": {"source": "data", "to": to}}]);
    let restored = stage.restore(&place, &id, steps).run().await.expect(3);
    assert!(restored.stderr.contains("is partial"), "{restored}");
    let failure = &restored.json()["failures"][0];
    assert_eq!(failure["object"], "cut.bin");
    assert!(failure["why"].as_str().unwrap().contains("only its first 73400325 bytes"), "{failure}");
    assert!(!to.join("cut.bin").exists());
    assert!(std::fs::read(to.join("cut.bin.ckbackup-incomplete")).unwrap() == content[..70 * MIB + 5]);
    assert_eq!(std::fs::read(to.join("other")).unwrap(), b"whole");
}

#[tokio::test]
async fn only_what_is_asked_for_is_saved_and_the_rest_is_counted() {
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    for (path, hours) in [("new.log", 2), ("old.log", 100), ("x/new.log", 3), ("debug.log", 2), ("new.tmp", 2)] {
        write(&data, path, &[7; 1000], hours);
    }
    std::os::unix::fs::symlink("/etc/passwd", data.join("link.log")).unwrap();
    let names = json!({"include": ["*.log"], "exclude": ["debug.log"]});
    let scope = json!({"path": data, "names": names, "newerThan": "3d", "maxSize": "1500B"});
    let saved = stage.backup(&place, "files", scope).run().await.expect_success();
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(record(&manifest)["items"], 1, "{manifest}");
    let skipped: Vec<_> =
        record(&manifest)["skipped"].as_array().unwrap().iter().map(|s| s["why"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["only plain files are saved", "older than 3d", "beyond the newest 1500 bytes"]);
}

#[tokio::test]
async fn what_cannot_be_read_makes_the_backup_partial_or_none() {
    use std::os::unix::ffi::OsStrExt;
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    write(&data, "a.log", b"a\n", 2);
    std::fs::write(data.join(std::ffi::OsStr::from_bytes(b"no\xffname.log")), b"x").unwrap();
    let saved = stage.backup(&place, "files", json!({"path": data})).run().await.expect(3);
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(record(&manifest)["problems"][0]["why"], "their names cannot stand in an archive");

    let missing = stage.backup(&place, "files", json!({"path": "no-such-folder"})).run().await.expect(1);
    assert!(missing.stderr.contains("nothing could be read") && missing.stderr.contains("no-such-folder"), "{missing}");
    assert!(missing.stderr.contains("nothing was committed"), "{missing}");

    // One of two sources.
    let sources = json!([{"name": "data", "files": {"path": data}}, {"name": "gone", "files": {"path": "gone"}}]);
    let saved = stage.backup_by(&place, &stage.schedule(&place, sources)).run().await.expect(3);
    assert!(saved.stderr.contains("not in the backup: gone"), "{saved}");
}

#[tokio::test]
async fn files_that_are_there_are_treated_as_the_plan_says() {
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    for name in ["equal", "differs", "longer", "missing", "sub/x"] {
        write(&data, name, name.as_bytes(), 5);
    }
    write(&data, "large", &noise(8, 9 * MIB), 5);
    let id = stage.save_files(&place).await["id"].as_str().unwrap().to_owned();
    let to = stage.scratch.folder("back");
    let reset = || {
        for (name, content) in
            [("equal", "equal"), ("differs", "DIFFERS"), ("longer", "longer than that"), ("extra", "x")]
        {
            write(&to, name, content.as_bytes(), 1);
        }
        write(&to, "large", &noise(8, 9 * MIB), 1);
    };
    let run = async |conflict: &str, dry_run: bool, code: i32| {
        let step = json!({"name": "files", "files": {"source": "data", "to": to, "conflict": conflict}});
        let run = stage.restore(&place, &id, json!([step]));
        let run = if dry_run { run.arg("--dry-run") } else { run };
        let json = run.run().await.expect(code).json();
        let items = &json["steps"][0]["items"];
        ["created", "updated", "unchanged", "skipped", "failed"].map(|key| items[key].as_u64().unwrap())
    };
    reset();
    assert_eq!(run("skip", true, 0).await, [2, 0, 3, 1, 0], "sizes alone are compared");
    assert!(!to.join("missing").exists(), "a dry run writes nothing");
    assert_eq!(run("skip", false, 0).await, [2, 0, 2, 2, 0]);
    assert_eq!(std::fs::read(to.join("differs")).unwrap(), b"DIFFERS");
    std::fs::remove_file(to.join("missing")).unwrap();
    assert_eq!(run("fail", false, 3).await, [1, 0, 3, 0, 2]);
    assert_eq!(run("overwrite", false, 0).await, [0, 6, 0, 0, 0]);
    for name in ["equal", "differs", "longer", "missing", "sub/x"] {
        assert_eq!(std::fs::read(to.join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(std::fs::read(to.join("extra")).unwrap(), b"x", "nothing is ever deleted");

    // A link must not lead what is restored elsewhere.
    std::fs::remove_dir_all(to.join("sub")).unwrap();
    let elsewhere = stage.scratch.folder("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, to.join("sub")).unwrap();
    assert_eq!(run("overwrite", false, 3).await, [0, 5, 0, 0, 1]);
    assert!(std::fs::read_dir(&elsewhere).unwrap().next().is_none());
    assert_eq!(crate::vault_stage::files(&to).iter().filter(|name| name.contains("ckbackup")).count(), 0);
}

#[tokio::test]
async fn a_step_that_asks_for_what_the_backup_does_not_have_fails_in_words() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    write(&stage.data(), "a", b"a", 5);
    let id = stage.save_files(&place).await["id"].as_str().unwrap().to_owned();
    let step = |kind: &str, source: &str| json!([{"name": "s", kind: {"source": source, "to": "out"}}]);
    let wrong = stage.restore(&place, &id, step("files", "dta")).run().await.expect(3);
    assert!(wrong.json()["failures"][0]["why"].as_str().unwrap().contains("has no source dta"), "{wrong}");
    let wrong = stage.restore(&place, &id, step("prometheus", "data")).run().await.expect(3);
    assert!(wrong.json()["failures"][0]["why"].as_str().unwrap().contains("of kind files, not prometheus"), "{wrong}");
    assert!(!stage.scratch.path().join("out").exists());
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

/// Events of a real API server, which rotates its log by size.
#[tokio::test]
async fn audit_logs_are_counted_and_a_gap_since_the_last_backup_is_told() {
    let stage = DataStage::new().await;
    let (data, place) = (stage.data(), Place::folder(&stage.scratch.folder("vault")));
    let policy = stage.scratch.file("policy.yaml", POLICY);
    let args = [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}/audit.log", data.display()),
        "--audit-log-maxsize=1".into(),
        "--audit-log-mode=blocking-strict".into(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let plane = ControlPlane::start_with(&stage.scratch, "audited", &args).await;
    let api = plane.api();
    let rotated = || std::fs::read_dir(&data).unwrap().count() > 2;
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while !rotated() {
        assert!(std::time::Instant::now() < deadline, "the log was not rotated");
        for _ in 0..50 {
            api.list("/api/v1/configmaps").await;
        }
    }
    let pid = plane.sandbox.pids().1;
    let scope = json!({"path": data, "format": "kubernetesAudit"});
    let saved = stage.backup(&place, "files", scope.clone()).run().await.expect_success();
    let first = stage.manifest(&place, &id_of(&saved)).await;
    let events = |manifest: &Value| record(manifest)["contents"]["events"].clone();
    assert!(events(&first)["count"].as_u64().unwrap() > 500, "{}", events(&first));
    assert!(events(&first)["first"].as_str() < events(&first)["last"].as_str());
    assert!(record(&first)["notices"].is_null(), "{first}");

    // The server goes on; then it is stopped, its log compressed, and what was saved is rotated away.
    for _ in 0..20 {
        api.list("/api/v1/secrets").await;
    }
    crate::harness::command::signal(pid, "KILL");
    let log = std::fs::read(data.join("audit.log")).unwrap();
    let last_saved = events(&first)["last"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let time = |line: &&[u8]| {
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        event["stageTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()).is_some_and(|t| t > last_saved)
    };
    let later: Vec<_> = log.split(|b| *b == b'\n').filter(time).collect();
    assert!(later.len() >= 20, "{}", later.len());
    std::fs::remove_dir_all(&data).unwrap();
    let compressed = zstd::encode_all(&later.join(&b'\n')[..], 3).unwrap();
    write(&stage.data(), "audit.log.zst", &compressed, 2);
    let saved = stage.backup(&place, "files", scope).run().await.expect_success();
    let second = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(events(&second)["count"], later.len() as u64);
    let notice = record(&second)["notices"][0]["why"].as_str().unwrap();
    assert!(notice.contains("no events between") && notice.contains("and"), "{second}");
    assert!(saved.stderr.contains("no events between"), "{saved}");
    assert_eq!(second["status"], "complete");
}

//! `rotate`: the promised number of verified backups stays, whatever else there is and whatever goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use base64::Engine;
use ckbackup::vault::layout::MANIFEST;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::command::signal;
use crate::harness::{Action, BucketKind, Ckbackup, FaultProxy, Finished, S3Server};
use crate::rotation_history::{History, Kind, folders};
use crate::vault_stage::{CLUSTER, Place, Stage};

/// What a keeper may do.
const KEEPER: &[&str] = &[
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
];

/// The keeper: vault and trusted signers, and no key that opens anything.
fn keeper(stage: &Stage, place: &Place, more: &[&str]) -> Ckbackup {
    let run = stage.stranger(place).args(["rotate", "--cluster", CLUSTER, "-o", "json"]);
    run.arg("--signers").arg(stage.key("oncall-allowed_signers")).args(more.iter().copied())
}

async fn rotate(stage: &Stage, place: &Place) -> Finished {
    keeper(stage, place, &[]).run().await
}

fn rows(run: &Finished) -> Vec<Value> {
    run.json()["backups"].as_array().unwrap().clone()
}

fn ids_that(rows: &[Value], field: &str, is: &Value) -> Vec<String> {
    rows.iter().filter(|row| row[field] == *is).map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Four good nights, the last three of which stay, and everything that must not count between them.
async fn mixed() -> (History, [String; 3], Vec<String>) {
    let history = History::new().await;
    let oldest = history.add(24 * 6, Kind::Good);
    let partial = history.add(24 * 7, Kind::Partial);
    let old_remains = history.add(24 * 8, Kind::Remains);
    let third = history.add(24 * 5, Kind::Good);
    history.add(24 * 5 - 1, Kind::Forged);
    history.add(24 * 4, Kind::Damaged);
    history.add(24 * 3, Kind::Partial);
    history.add(50, Kind::Backdated);
    let second = history.add(48, Kind::Good);
    history.add(30, Kind::Remains);
    history.add(25, Kind::Good);
    let newest = history.add(24, Kind::Good);
    let mut gone = vec![oldest, partial, old_remains];
    gone.sort_unstable();
    (history, [newest, second, third], gone)
}

#[tokio::test]
async fn three_verified_copies_stay_and_what_is_older_goes() {
    let (history, copies, gone) = mixed().await;
    let (stage, place) = (&history.stage, &history.place);
    let before = history.ids();

    let planned = keeper(stage, place, &["--dry-run"]).run().await.expect(5);
    assert_eq!(history.ids(), before, "a dry run changes nothing");
    let report = planned.json();
    assert_eq!((&report["keep"], &report["dryRun"]), (&json!(3), &json!(true)));
    assert_eq!(report["copies"], json!({"nightly": 3}));
    assert_eq!(ids_that(&rows(&planned), "counts", &json!(true)), copies);
    let mut to_remove = ids_that(&rows(&planned), "decision", &json!("remove"));
    to_remove.sort_unstable();
    assert_eq!(to_remove, gone);
    assert_eq!(rows(&planned).len(), before.len());
    for why in
        ["it is partial", "it is damaged", "one a day does", "a run may be under way", "was stored at another time"]
    {
        assert!(rows(&planned).iter().any(|row| row["why"].as_str().unwrap().contains(why)), "{why}: {planned}");
    }
    assert!(
        planned.stderr.contains("is damaged: ") && planned.stderr.contains("platform/0001.tar.zst.age"),
        "{planned}"
    );

    let rotated = rotate(stage, place).await.expect(5);
    assert_eq!(rows(&rotated).iter().filter(|row| row["outcome"] == "removed").count(), 3, "{rotated}");
    let left: Vec<_> = before.iter().filter(|id| !gone.contains(id)).cloned().collect();
    assert_eq!(history.ids(), left);
    for id in &gone {
        assert!(!place.file(id, "").exists(), "no empty folder stays: {id}");
    }
    for id in &copies {
        stage.verify(place, id).await.expect_success();
    }
    let again = rotate(stage, place).await.expect(5);
    assert_eq!(ids_that(&rows(&again), "decision", &json!("remove")), [""; 0]);
}

#[tokio::test]
async fn while_there_are_too_few_none_goes_however_old() {
    let history = History::new().await;
    for night in 0..2 {
        history.add(24 * (100 + night), Kind::Good);
        history.add(24 * (200 + night), Kind::Partial);
    }
    let before = history.ids();
    let rotated = rotate(&history.stage, &history.place).await.expect_success();
    assert_eq!((&rotated.json()["copies"], history.ids()), (&json!({"nightly": 2}), before.clone()));
    assert!(rotated.stderr.contains("there are 2 verified backups by nightly, and 3 are to be kept"), "{rotated}");

    // Two are enough when two are asked for; a stranger's trusted signers make none of them count.
    let stage = &history.stage;
    Ckbackup::new(&stage.scratch).args(["keygen", "--dir", "keys", "--name", "other"]).run().await.expect_success();
    let other =
        stage.stranger(&history.place).args(["rotate", "--keep", "1", "--signers", "keys/other-allowed_signers"]);
    other.run().await.expect_success();
    assert_eq!(history.ids(), before);
    keeper(stage, &history.place, &["--keep", "2"]).run().await.expect_success();
    assert_eq!(history.ids().len(), 2);
}

#[tokio::test]
async fn an_error_of_any_list_or_read_stops_before_anything_is_removed() {
    let (history, _, _) = mixed().await;
    let stage = &history.stage;
    let (s3, _) = history.in_bucket(BucketKind::Plain).await;
    // Whatever the keeper reads: lists, manifests, signatures, segments.
    for part in ["list-type=2", "/manifest.json", "/manifest.json.sig", "/0001.tar.zst.age"] {
        let refused = AtomicU32::new(0);
        let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
            // Opening the vault lists too; that comes first.
            let late = seen.is("GET", part) && (part != "list-type=2" || refused.fetch_add(1, SeqCst) >= 1);
            if late { Action::status(403) } else { Action::Forward }
        });
        let failed = keeper(stage, &Place::through(proxy.url(), s3.root(), "vault"), &[]).run().await.expect(1);
        assert!(failed.stderr.contains("no permission to"), "{part}: {failed}");
        assert_eq!(proxy.count("DELETE", ""), 0, "{part}");
    }
}

/// Before anything is removed, and in the middle of it.
#[tokio::test]
async fn whichever_list_fails_the_copies_stay_and_the_next_rotation_finishes() {
    let (history, copies, gone) = mixed().await;
    let stage = &history.stage;
    let s3 = S3Server::start(&stage.scratch).await;
    for nth in 0.. {
        let bucket = format!("vault-{nth}");
        s3.create_bucket(&bucket, BucketKind::Plain).await;
        let place = history.upload(&s3, &bucket).await;
        let lists = AtomicU32::new(0);
        let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
            let fails = seen.is("GET", "list-type=2") && lists.fetch_add(1, SeqCst) == nth;
            if fails { Action::status(403) } else { Action::Forward }
        });
        let run = keeper(stage, &Place::through(proxy.url(), s3.root(), &bucket), &[]).run().await;
        let is_there = |id: &String| s3.file(&bucket, &format!("{CLUSTER}/{id}/{MANIFEST}")).exists();
        assert!(copies.iter().all(is_there), "{nth}: {run}");
        if proxy.count("GET", "list-type=2") <= nth as usize {
            assert!(nth > 5, "{run}");
            break;
        }
        assert!(run.code() != Some(0) && run.stderr.contains("no permission to"), "{nth}: {run}");
        rotate(stage, &place).await.expect(5);
        assert!(copies.iter().all(is_there) && !gone.iter().any(is_there), "{nth}: {run}");
    }
}

#[tokio::test]
async fn uploads_of_dead_runs_are_ended_when_they_are_old() {
    let history = History::new().await;
    history.add(24, Kind::Good);
    let (s3, place) = history.in_bucket(BucketKind::Plain).await;
    for key in [format!("{CLUSTER}/x/old"), format!("{CLUSTER}/x/young"), "others/old".to_string()] {
        let begun = s3.send(s3.root(), Method::POST, &format!("/vault/{key}?uploads="), HeaderMap::new(), "").await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        if key.ends_with("old") {
            let folder = hex::encode(Sha256::digest(&key));
            let upload = s3.file("vault", ".sgwtmp/multipart").join(folder);
            let touch = format!("find {} -exec touch -d '50 hours ago' {{}} +", upload.display());
            Ckbackup::program("sh", &history.stage.scratch).args(["-c", &touch]).run().await.expect_success();
        }
    }
    let unfinished = async || {
        let listed = s3.send(s3.root(), Method::GET, "/vault?uploads=", HeaderMap::new(), "").await.text();
        listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(unfinished().await.len(), 3);
    keeper(&history.stage, &place, &["--dry-run"]).run().await.expect_success();
    assert_eq!(unfinished().await.len(), 3, "a dry run ends nothing");
    let rotated = rotate(&history.stage, &place).await.expect_success();
    assert_eq!(rotated.json()["endedUploads"], 1, "{rotated}");
    let mut left = unfinished().await;
    left.sort_unstable();
    assert_eq!(left, ["others/old".to_string(), format!("{CLUSTER}/x/young")]);

    // Who may not is not told each night: a rule of the bucket does it.
    let proxy = FaultProxy::plain(s3.endpoint(), |seen| match seen.is("GET", "uploads=") {
        true => Action::status(403),
        false => Action::Forward,
    });
    let quiet = rotate(&history.stage, &Place::through(proxy.url(), s3.root(), "vault")).await.expect_success();
    assert!(!quiet.stderr.contains("unfinished"), "{quiet}");
}

#[tokio::test]
async fn a_clock_that_is_behind_the_storage_stops_it() {
    let history = History::new().await;
    for night in 0..4 {
        history.add(24 * night - 3, Kind::Good);
    }
    let failed = rotate(&history.stage, &history.place).await.expect(1);
    assert!(failed.stderr.contains("hint: set this machine's clock"), "{failed}");
    assert_eq!(history.ids().len(), 4);
}

async fn versions(s3: &S3Server, bucket: &str) -> String {
    s3.send(s3.root(), Method::GET, &format!("/{bucket}?versions="), HeaderMap::new(), "").await.text()
}

#[tokio::test]
async fn in_a_bucket_with_versions_nothing_is_left_of_what_goes() {
    let (history, copies, gone) = mixed().await;
    let stage = &history.stage;
    let (s3, _) = history.in_bucket(BucketKind::Versioned).await;
    // Somebody overwrote one, and deleted another by key only.
    let overwritten = format!("/vault/{CLUSTER}/{}/{MANIFEST}", gone[2]);
    assert_eq!(s3.send(s3.root(), Method::PUT, &overwritten, HeaderMap::new(), "x").await.status, 200);
    let deleted = format!("/vault/{CLUSTER}/{}/platform/0001.tar.zst.age", gone[2]);
    assert_eq!(s3.send(s3.root(), Method::DELETE, &deleted, HeaderMap::new(), "").await.status, 204);
    crate::rotation_history::set_time(
        &s3.file("vault", &format!("{CLUSTER}/{}/{MANIFEST}", gone[2])),
        jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 6),
    );

    let user = s3.create_user(&stage.scratch, "keeper").await;
    s3.allow("vault", &[(&user, KEEPER)]).await;
    keeper(stage, &Place::through(s3.endpoint(), &user, "vault"), &[]).run().await.expect(5);
    let left = versions(&s3, "vault").await;
    for id in &gone {
        assert!(!left.contains(id.as_str()), "{id}: {left}");
    }
    assert!(copies.iter().all(|id| left.contains(id.as_str())), "{left}");
}

/// What was deleted by its key only is no remains, however old: a version of its manifest is there, and brings it back.
#[tokio::test]
async fn a_backup_whose_manifest_somebody_deleted_can_be_brought_back() {
    let history = History::new().await;
    let stage = &history.stage;
    let ids: Vec<_> = (3..6).map(|night| history.add(24 * night, Kind::Good)).collect();
    let (s3, place) = history.in_bucket(BucketKind::Versioned).await;
    for id in &ids {
        let path = format!("/vault/{CLUSTER}/{id}/{MANIFEST}");
        assert_eq!(s3.send(s3.root(), Method::DELETE, &path, HeaderMap::new(), "").await.status, 204);
    }
    let rotated = rotate(stage, &place).await.expect_success();
    assert!(rows(&rotated).iter().all(|row| row["why"] == "does not count: its manifest was deleted"), "{rotated}");
    let left = versions(&s3, "vault").await;
    for id in &ids {
        assert_eq!(left.matches(&format!("{CLUSTER}/{id}/{MANIFEST}</Key>")).count(), 2, "{left}");
    }
}

/// A night of one schedule must not push out what another one saved.
#[tokio::test]
async fn each_schedule_has_copies_of_its_own() {
    let history = History::new().await;
    let weekly: Vec<_> = (0..3).map(|week| history.add_by("weekly", 24 * 7 * (week + 1), Kind::Good)).collect();
    let nightly: Vec<_> = (0..5).map(|night| history.add(24 * night + 12, Kind::Good)).collect();
    let rotated = rotate(&history.stage, &history.place).await.expect_success();
    assert_eq!(rotated.json()["copies"], json!({"nightly": 3, "weekly": 3}), "{rotated}");
    let left = history.ids();
    assert!(weekly.iter().chain(&nightly[..3]).all(|id| left.contains(id)) && left.len() == 6, "{left:?}");
}

/// Without the permission it says which one, and removes nothing.
#[tokio::test]
async fn who_may_not_delete_is_told_and_every_backup_stays_whole() {
    let (history, _, gone) = mixed().await;
    let stage = &history.stage;
    let s3 = S3Server::start(&stage.scratch).await;
    for (bucket, kind) in [("plain", BucketKind::Plain), ("versions", BucketKind::Versioned)] {
        s3.create_bucket(bucket, kind).await;
        history.upload(&s3, bucket).await;
        let user = s3.create_user(&stage.scratch, bucket).await;
        let reader: Vec<_> = KEEPER.iter().copied().filter(|action| !action.contains("Delete")).collect();
        s3.allow(bucket, &[(&user, &reader)]).await;
        let place = Place::through(s3.endpoint(), &user, bucket);
        let refused = keeper(stage, &place, &[]).run().await;
        assert!(refused.stderr.contains("no permission to"), "{refused}");
        assert_eq!(rows(&refused).iter().filter(|row| row["outcome"] == "failed").count(), 3, "{refused}");
        stage.verify(&Place::bucket(&s3, bucket), &gone[2]).await.expect_success();
    }
}

#[tokio::test]
async fn what_is_locked_stays_whole_and_it_is_said_until_when() {
    let (history, copies, gone) = mixed().await;
    let stage = &history.stage;
    let (s3, place) = history.in_bucket(BucketKind::Locked).await;
    let until =
        (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // The newest that is to go is locked, as its manifest is.
    let locked = &gone[2];
    let key = format!("/vault/{CLUSTER}/{locked}/{MANIFEST}?retention=");
    let retention = format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
         <RetainUntilDate>{until}</RetainUntilDate></Retention>"
    );
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&retention));
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-amz-checksum-sha256"), digest.parse().unwrap())]);
    let put = s3.send(s3.root(), Method::PUT, &key, headers, retention).await;
    assert_eq!(put.status, 200, "{}", put.text());

    let rotated = rotate(stage, &place).await.expect(5);
    let row = rows(&rotated).into_iter().find(|row| row["id"] == json!(locked)).unwrap();
    assert_eq!((&row["outcome"], &row["lockedUntil"]), (&json!("locked"), &json!(until)), "{rotated}");
    stage.verify(&place, locked).await.expect_success();
    assert_eq!(rows(&rotated).iter().filter(|row| row["outcome"] == "removed").count(), 2, "{rotated}");
    for id in &copies {
        stage.verify(&place, id).await.expect_success();
    }
}

/// Killed before and after each of its deletions, it leaves no backup half there, and the next one finishes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_anywhere_is_finished_by_the_next() {
    let (history, copies, gone) = mixed().await;
    let stage = &history.stage;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let deletions = 3 * 6 - 1;
    for (call, handled) in (1..=deletions).step_by(4).flat_map(|call| [(call, false), (call, true)]) {
        history.upload(&s3, "vault").await;
        let (pid, deleted) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
        let victim = pid.clone();
        let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
            let victim = victim.clone();
            let kill = Box::new(move || signal(victim.load(SeqCst), "KILL"));
            match (seen.is("DELETE", "") && deleted.fetch_add(1, SeqCst) + 1 == call, handled) {
                (false, _) => Action::Forward,
                (true, false) => Action::Before(kill),
                (true, true) => Action::After(kill),
            }
        });
        let running = keeper(stage, &Place::through(proxy.url(), s3.root(), "vault"), &[]).start().await;
        pid.store(running.pid(), SeqCst);
        assert_eq!(running.finish().await.killed_by(), Some(9), "{call} {handled}");

        let place = Place::bucket(&s3, "vault");
        // What is listed as a backup is one: nothing of it was removed.
        for row in stage.list(&place).await.iter().filter(|row| gone.contains(&row["id"].as_str().unwrap().into())) {
            stage.verify(&place, row["id"].as_str().unwrap()).await.expect_success();
        }
        rotate(stage, &place).await.expect(5);
        let left = stage.list(&place).await;
        let left: Vec<_> = left.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!(gone.iter().all(|id| !left.contains(&id.as_str())), "{left:?}");
        assert!(copies.iter().all(|id| left.contains(&id.as_str())), "{left:?}");
        let keys = s3.send(s3.root(), Method::GET, "/vault?list-type=2", HeaderMap::new(), "").await.text();
        assert!(gone.iter().all(|id| !keys.contains(id.as_str())), "{call} {handled}: {keys}");
    }
}

#[tokio::test]
async fn wrong_usage_is_told() {
    let history = History::new().await;
    let (stage, place) = (&history.stage, &history.place);
    let unsigned = stage.stranger(place).args(["rotate"]).run().await.expect(2);
    assert!(unsigned.stderr.contains("no trusted signers") && unsigned.stderr.contains("--signers FILE"), "{unsigned}");
    keeper(stage, place, &["--keep", "0"]).run().await.expect(2);
    let nobody = keeper(stage, place, &[]).run().await.expect_success();
    assert_eq!(nobody.json()["backups"], json!([]));
    history.add(24, Kind::Good);
    let table = stage.ckbackup(place).args(["rotate", "--dry-run"]).run().await.expect_success();
    assert!(
        table.stdout.contains("copy 1 of 3, intact") && table.stdout.contains("0 folders would be removed"),
        "{table}"
    );
    assert_eq!(folders(&[format!("{CLUSTER}/a/b"), format!("{CLUSTER}/a/c")]), ["a"]);
}

#[tokio::test]
async fn a_schedule_that_says_so_rotates_after_the_backup() {
    let history = History::new().await;
    let (stage, place) = (&history.stage, &history.place);
    let nights: Vec<_> = (1..=4).map(|night| history.add(24 * night, Kind::Good)).collect();
    let file = stage.schedule("nightly", place);
    let mut schedule: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut backup = async |rotate: &str| {
        schedule["spec"]["rotate"] = json!(rotate);
        std::fs::write(&file, schedule.to_string()).unwrap();
        stage.stranger(place).args(["backup", "--now", "-o", "json", "-f"]).arg(&file).run().await
    };
    let wrong = backup("afterbackup").await.expect(2);
    assert!(wrong.stderr.contains("did you mean `afterBackup`"), "{wrong}");
    let by_keeper = backup("byKeeper").await.expect_success().json();
    assert_eq!((history.ids().len(), &by_keeper["rotation"]), (5, &Value::Null));

    let run = backup("afterBackup").await.expect_success();
    let (id, rotation) = (run.json()["id"].clone(), &run.json()["rotation"]);
    assert_eq!((&rotation["copies"], &rotation["keep"]), (&json!({"nightly": 3}), &json!(3)), "{run}");
    assert_eq!(
        ids_that(rotation["backups"].as_array().unwrap(), "counts", &json!(true)),
        [id.as_str().unwrap(), &nights[0], &nights[1]]
    );
    let left = history.ids();
    assert!(nights[..2].iter().all(|id| left.contains(id)) && nights[2..].iter().all(|id| !left.contains(id)), "{run}");
    assert!(run.stderr.contains("3 of 3 verified backups by nightly; 2 older folders removed"), "{run}");
}

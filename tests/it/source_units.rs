//! What has not changed is copied inside the vault, what a run that was cut off had finished is taken over, and every backup
//! stands by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, noise, record, tree, write};
use crate::harness::{Action, AzureServer, BucketKind, FaultProxy, S3Server, eventually};
use crate::vault_stage::{CLUSTER, Place};

const MIB: usize = 1 << 20;

/// Two days of logs, and one that is being written.
fn fill(stage: &DataStage) {
    write(&stage.data(), "old/a.log", &noise(1, 7 * MIB), 80);
    write(&stage.data(), "old/b.log", b"b\n", 80);
    write(&stage.data(), "recent.log", &noise(2, 2 * MIB), 30);
    write(&stage.data(), "live.log", b"live\n", 0);
}

/// From which backup each unit was copied.
fn copied_from(manifest: &Value) -> Vec<Option<String>> {
    let units = record(manifest)["units"].as_array().unwrap();
    units.iter().map(|unit| unit["copiedFrom"].as_str().map(String::from)).collect()
}

fn id(manifest: &Value) -> String {
    manifest["id"].as_str().unwrap().to_owned()
}

/// A night in which nothing could be committed leaves many tries behind.
#[tokio::test]
async fn the_last_backup_is_found_behind_many_tries_that_were_given_up() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    fill(&stage);
    let first = stage.save_files(&place).await;
    let began = first["started"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let after = |seconds: i64| began + jiff::SignedDuration::from_secs(seconds);
    for try_ in 1..=9 {
        let id = format!("{}-nightly", after(try_).strftime("%Y%m%dT%H%M%SZ"));
        write(&place.file(&id, ""), "configuration/0001.tar.zst.age", b"given up", 0);
    }
    eventually("their seconds are over", async || jiff::Timestamp::now() > after(10)).await;
    let second = stage.save_files(&place).await;
    assert_eq!(copied_from(&second), [Some(id(&first)), Some(id(&first))]);
}

/// The second backup copies, and the third is whole when the others are gone.
async fn an_unchanged_night_is_copied_and_stands_by_itself(stage: &DataStage, place: &Place, lose: impl Fn(&str)) {
    fill(stage);
    let first = stage.save_files(place).await;
    assert_eq!(copied_from(&first), [None, None]);
    let saved = stage.backup(place, "files", json!({"path": stage.data()})).run().await.expect_success();
    assert_eq!(saved.json()["sources"][0]["copiedBytes"], 9 * MIB as u64 + 2);
    let second = stage.manifest(place, &id_of(&saved)).await;
    assert_eq!(copied_from(&second), [Some(id(&first)), Some(id(&first))]);
    let digests = |manifest: &Value| {
        let segments = record(manifest)["segments"].as_array().unwrap().clone();
        segments.into_iter().filter(|s| !s["unit"].is_null()).map(|s| s["object"]["sha256"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&second), digests(&first));

    // A day in which one file is new is read again, the other is copied.
    write(&stage.data(), "recent-2.log", b"late\n", 30);
    let third = stage.save_files(place).await;
    assert_eq!(copied_from(&third), [Some(id(&second)), None]);

    for other in [&first, &second] {
        lose(&id(other));
    }
    stage.verify(place, &id(&third)).await.expect_success();
    let to = stage.restore_files(place, &id(&third), "back").await;
    assert!(tree(&to) == tree(&stage.data()));
}

#[tokio::test]
async fn in_a_folder_it_is_a_copy_and_no_link() {
    use std::os::unix::fs::MetadataExt;
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let lose = |id: &str| std::fs::remove_dir_all(place.file(id, "")).unwrap();
    an_unchanged_night_is_copied_and_stands_by_itself(&stage, &place, lose).await;
    for file in crate::vault_stage::files(&place.path()) {
        assert_eq!(place.path().join(&file).metadata().unwrap().nlink(), 1, "{file}");
    }
}

#[tokio::test]
async fn in_a_bucket_the_storage_copies() {
    for kind in [BucketKind::Plain, BucketKind::Versioned] {
        let stage = DataStage::new().await;
        let s3 = S3Server::start(&stage.scratch).await;
        s3.create_bucket("vault", kind).await;
        let proxy = FaultProxy::plain(s3.endpoint(), |_| Action::Forward);
        let place = Place::through(proxy.url(), s3.root(), "vault/a prefix/prod");
        let folder = |id: &str| s3.file("vault", &format!("a prefix/prod/{CLUSTER}/{id}"));
        let lose = |id: &str| std::fs::remove_dir_all(folder(id)).unwrap();
        an_unchanged_night_is_copied_and_stands_by_itself(&stage, &place, lose).await;
        let copies = proxy.seen().into_iter().filter(|seen| seen.headers.contains_key("x-amz-copy-source"));
        assert!(copies.count() >= 6, "segments and their indexes");
    }
}

#[tokio::test]
async fn in_a_container_of_azure_the_storage_copies_and_it_is_read_back() {
    let stage = DataStage::new().await;
    let azure = AzureServer::start(&stage.scratch, "vault").await;
    // Azurite keeps all objects in a few files of its own: nothing is lost there.
    an_unchanged_night_is_copied_and_stands_by_itself(&stage, &azure.place("vault/prod"), |_| {}).await;
}

/// Whoever can write to the vault must not have what they wrote handed down to the next backups.
#[tokio::test]
async fn a_unit_that_is_damaged_is_read_again_instead_of_copied() {
    let stage = DataStage::new().await;
    fill(&stage);
    let place = Place::folder(&stage.scratch.folder("vault"));
    let first = stage.save_files(&place).await;
    let segment = record(&first)["segments"][0]["object"]["key"].as_str().unwrap().to_owned();
    let file = place.file(&id(&first), &segment);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let saved = stage.backup(&place, "files", json!({"path": stage.data()})).run().await.expect_success();
    assert!(saved.stderr.contains("read again instead of taken over"), "{saved}");
    let second = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(copied_from(&second), [None, Some(id(&first))]);
    stage.verify(&place, &id(&second)).await.expect_success();

    // The same in a bucket, where the storage makes the copy.
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let place = Place::bucket(&s3, "vault/prod");
    let first = stage.save_files(&place).await;
    let key = format!("prod/{CLUSTER}/{}/{segment}", id(&first));
    let object = s3.file("vault", &key);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let saved = stage.backup(&place, "files", json!({"path": stage.data()})).run().await.expect_success();
    let second = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!(copied_from(&second), [None, Some(id(&first))], "{saved}");
    stage.verify(&place, &id(&second)).await.expect_success();
}

#[tokio::test]
async fn what_was_sealed_for_others_is_not_taken_over() {
    let stage = DataStage::new().await;
    fill(&stage);
    let place = Place::folder(&stage.scratch.folder("vault"));
    stage.save_files(&place).await;
    let mut schedule = stage.schedule(&place, json!([{"name": "data", "files": {"path": stage.data()}}]));
    let new = age::x25519::Identity::generate().to_public().to_string();
    schedule["spec"]["encryption"]["recipients"][1] = json!(new);
    let saved = stage.backup_by(&place, &schedule).run().await.expect_success();
    assert_eq!(copied_from(&stage.manifest(&place, &id_of(&saved)).await), [None, None]);
}

#[tokio::test]
async fn the_next_run_takes_over_what_a_killed_one_had_finished() {
    let stage = DataStage::new().await;
    fill(&stage);
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let stuck = Arc::new(AtomicBool::new(false));
    let is_stuck = stuck.clone();
    let proxy = FaultProxy::plain(s3.endpoint(), move |request| {
        // The second unit's segment.
        let second = request.method == "PUT" && request.path.contains("/data/0002.tar");
        if second {
            is_stuck.store(true, SeqCst);
        }
        if second { Action::Hang } else { Action::Forward }
    });
    let through = Place::through(proxy.url(), s3.root(), "vault/prod");
    let running = stage.backup(&through, "files", json!({"path": stage.data()})).start().await;
    eventually("the second unit is being stored", async || stuck.load(SeqCst)).await;
    running.signal("KILL");
    running.finish().await;

    let place = Place::bucket(&s3, "vault/prod");
    let next = stage.save_files(&place).await;
    let from = copied_from(&next);
    assert!(from[0].as_ref().is_some_and(|killed| *killed < id(&next)) && from[1].is_none(), "{from:?}");
    let verified = stage.verify(&place, &id(&next)).await.expect_success().json();
    assert_eq!(verified["backups"][0]["strays"], json!([]), "receipts are no strays");
    let to = stage.restore_files(&place, &id(&next), "back").await;
    assert!(tree(&to) == tree(&stage.data()));
    // A receipt is checked with stock tools, like a manifest.
    let folder = s3.file("vault", &format!("prod/{CLUSTER}/{}/receipts", id(&next)));
    let script = format!(
        "cut -d' ' -f1,3- keys/oncall-allowed_signers > for-all; for f in {}/*.json; do \
         ssh-keygen -Y verify -f for-all -I $(cut -d' ' -f1 for-all) -n ckbackup-receipt -s $f.sig < $f; done",
        folder.display()
    );
    stage.shell(&script).await.expect_success();
}

/// Somebody who can write to the vault puts a receipt there for what they made.
#[tokio::test]
async fn a_receipt_that_others_signed_counts_for_nothing() {
    let stage = DataStage::new().await;
    fill(&stage);
    let place = Place::folder(&stage.scratch.folder("vault"));
    let first = stage.save_files(&place).await;
    // Without its manifest the backup is what a killed run leaves; its receipts are signed anew by a stranger.
    let folder = place.file(&id(&first), "");
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let script = format!(
        "ssh-keygen -q -t ed25519 -N '' -f stranger; for f in {}/receipts/*.json; do rm $f.sig; \
         ssh-keygen -q -Y sign -f stranger -n ckbackup-receipt $f; done",
        folder.display()
    );
    stage.shell(&script).await.expect_success();
    let second = stage.save_files(&place).await;
    assert_eq!(copied_from(&second), [None, None]);
}

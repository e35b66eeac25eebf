//! What was proved of a backup: signed beside it, shown with its age, and believed only from whom it may come.

use ckbackup::vault::layout::MANIFEST;
use serde_json::{Value, json};

use crate::harness::{BucketKind, Ckbackup};
use crate::rotation_history::{History, Kind};
use crate::vault_stage::{CLUSTER, Place, SEGMENT, Stage, files};

/// A keeper's key, and the trusted signers with it and without it.
async fn keeper(stage: &Stage) -> (String, String) {
    let keygen = Ckbackup::new(&stage.scratch).args(["keygen", "--dir", "keeper", "--only", "attesting"]).run().await;
    assert!(keygen.expect_success().stdout.contains("allowed_attesters"));
    let both = stage.shell("cat keys/oncall-allowed_signers keeper/allowed_attesters > keeper/both").await;
    both.expect_success();
    ("keeper/attesting_key".into(), "keeper/both".into())
}

fn with(stage: &Stage, place: &Place, signers: &str, args: &[&str]) -> Ckbackup {
    stage.stranger(place).args(args.iter().copied()).args(["--cluster", CLUSTER, "--signers", signers, "-o", "json"])
}

async fn proofs(stage: &Stage, place: &Place, signers: &str, id: &str) -> Vec<Value> {
    let shown = with(stage, place, signers, &["show", id]).run().await.expect_success();
    shown.json()["proofs"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_level_is_recorded_and_shown_with_its_age() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let (key, signers) = keeper(&stage).await;
    assert_eq!(proofs(&stage, &place, &signers, &id).await, Vec::<Value>::new());
    let identity = stage.key("oncall-identity.txt").display().to_string();
    let manifest = std::fs::read(place.file(&id, MANIFEST)).unwrap();

    for (more, level) in [(&["--present"][..], "present"), (&[], "intact"), (&["--identity", &identity], "readable")] {
        let run = with(&stage, &place, &signers, &["verify", &id, "--attest", &key]).args(more.iter().copied());
        let verified = run.run().await.expect_success().json();
        assert_eq!(verified["backups"][0]["attested"], json!(level), "{verified}");
        let all = proofs(&stage, &place, &signers, &id).await;
        let last = all.iter().find(|proof| proof["level"] == level).unwrap();
        assert_eq!(last["signature"]["principal"], json!("keeper@vault"));
        assert_eq!(last["objects"], json!(4));
        assert_eq!(last["members"].is_u64(), level == "readable", "{last}");
        assert!(last["at"].is_string());
    }
    let listed = with(&stage, &place, &signers, &["list"]).run().await.expect_success().json();
    assert_eq!(listed["backups"][0]["proof"]["level"], json!("readable"));
    let table = stage.stranger(&place).args(["list", "--signers", &signers]).run().await.expect_success();
    assert!(table.stdout.contains("PROVED") && table.stdout.contains("readable "), "{table}");
    let shown = stage.stranger(&place).args(["show", &id, "--signers", &signers]).run().await.expect_success();
    for level in ["readable at ", "intact at ", "present at ", "good, by keeper@vault"] {
        assert!(shown.stdout.contains(level), "{shown}");
    }
    // The backup itself is what it was: nothing of it is a stray, and stock tools verify the attestation.
    assert_eq!(std::fs::read(place.file(&id, MANIFEST)).unwrap(), manifest);
    assert_eq!(stage.verify(&place, &id).await.expect_success().json()["backups"][0]["strays"], json!([]));
    let folder = place.file(&id, "attestations").display().to_string();
    let script = format!(
        "for f in {folder}/*.json; do ssh-keygen -Y verify -f keeper/both -I keeper@vault -n ckbackup-attestation \
         -s $f.sig < $f; done"
    );
    assert_eq!(stage.shell(&script).await.expect_success().stdout.lines().count(), 3);
}

#[tokio::test]
async fn only_who_is_trusted_for_it_is_believed_and_only_about_this_backup() {
    let history = History::new().await;
    let (stage, place) = (&history.stage, &history.place);
    let (old, new) = (history.add(48, Kind::Good), history.add(24, Kind::Good));
    let (key, signers) = keeper(stage).await;
    with(stage, place, &signers, &["verify", &old, "--attest", &key]).run().await.expect_success();
    let only_backups = stage.key("oncall-allowed_signers").display().to_string();

    // Whoever is not trusted to attest is not believed, the backup's own signer least of all when the lines say so.
    let shown = with(stage, place, &only_backups, &["show", &old]).run().await.expect_success();
    assert_eq!(shown.json()["proofs"], json!([]));
    assert!(shown.stderr.contains("does not count: signed by"), "{shown}");
    let job = stage.key("oncall-signing_key").display().to_string();
    with(stage, place, &signers, &["verify", &new, "--attest", &job]).run().await.expect_success();
    assert_eq!(proofs(stage, place, &signers, &new).await.len(), 0);
    // The keeper's key cannot make a backup: with it, a manifest is signed by nobody who is trusted for that.
    let manifest = place.file(&new, MANIFEST).display().to_string();
    let forge = format!("rm {manifest}.sig; ssh-keygen -q -Y sign -f {key} -n ckbackup {manifest}");
    let forged = stage.copy(place, "forged");
    stage
        .shell(&forge.replace(&place.path().display().to_string(), &forged.path().display().to_string()))
        .await
        .expect_success();
    with(stage, &forged, &signers, &["verify", &new]).run().await.expect(5);

    // An attestation of another backup, one that was changed, and one of a manifest that was replaced since.
    let copy = stage.copy(place, "moved");
    let attestation = files(&copy.file(&old, "attestations")).remove(0);
    let (from, to) = (copy.file(&old, "attestations"), copy.file(&new, "attestations"));
    crate::vault_stage::copy_folder(&from, &to);
    let shown = with(stage, &copy, &signers, &["show", &new]).run().await.expect_success();
    assert!(shown.stderr.contains("it is about another backup") && shown.json()["proofs"] == json!([]), "{shown}");
    let text = std::fs::read_to_string(from.join(&attestation)).unwrap();
    std::fs::write(from.join(&attestation), text.replace("intact", "restored")).unwrap();
    let shown = with(stage, &copy, &signers, &["show", &old]).run().await.expect_success();
    assert!(shown.stderr.contains("does not fit the attestation") && shown.json()["proofs"] == json!([]), "{shown}");
    std::fs::write(from.join(&attestation), "{}").unwrap();
    let shown = with(stage, &copy, &signers, &["list"]).run().await.expect_success();
    assert!(shown.json()["backups"].as_array().unwrap().iter().all(|row| row["proof"].is_null()), "{shown}");
}

#[tokio::test]
async fn what_is_damaged_is_not_attested() {
    let history = History::new().await;
    let (stage, place) = (&history.stage, &history.place);
    let (key, signers) = keeper(stage).await;
    let damaged = history.add(24, Kind::Damaged);
    let run = with(stage, place, &signers, &["verify", &damaged, "--attest", &key]).run().await.expect(5);
    assert_eq!(run.json()["backups"][0]["attested"], Value::Null, "{run}");
    assert!(!place.file(&damaged, "attestations").exists());
    // It is there, and has its size: that is all that a look at it can tell.
    with(stage, place, &signers, &["verify", &damaged, "--present", "--attest", &key]).run().await.expect_success();
    let segment = place.file(&damaged, SEGMENT);
    std::fs::write(&segment, "short").unwrap();
    let short = with(stage, place, &signers, &["verify", &damaged, "--present"]).run().await.expect(5);
    assert!(short.stderr.contains("it has 5 bytes, the manifest says"), "{short}");
    std::fs::remove_file(segment).unwrap();
    let missing = with(stage, place, &signers, &["verify", &damaged, "--present"]).run().await.expect(5);
    assert!(missing.stderr.contains("is missing from the vault"), "{missing}");
    // Without trusted signers nothing is verified, so nothing is attested.
    let unsigned = stage.stranger(place).args(["verify", &damaged, "--present", "--attest", &key, "-o", "json"]);
    unsigned.run().await.expect(5);
    assert_eq!(files(&place.file(&damaged, "attestations")).len(), 2);
}

/// Rotation records what it read back, and removes attestations with their backup.
#[tokio::test]
async fn rotation_attests_what_it_counts() {
    let history = History::new().await;
    let (key, signers) = keeper(&history.stage).await;
    let nights: Vec<_> = (1..=4).map(|night| history.add(24 * night, Kind::Good)).collect();
    let stage = &history.stage;
    let (s3, place) = history.in_bucket(BucketKind::Plain).await;
    with(stage, &place, &signers, &["verify", &nights[3], "--attest", &key]).run().await.expect_success();
    let dry = with(stage, &place, &signers, &["rotate", "--dry-run", "--attest", &key]).run().await.expect_success();
    assert!(proofs(stage, &place, &signers, &nights[0]).await.is_empty(), "{dry}");
    with(stage, &place, &signers, &["rotate", "--attest", &key]).run().await.expect_success();
    for id in &nights[..3] {
        let [proof] = &proofs(stage, &place, &signers, id).await[..] else { panic!("one proof of {id}") };
        assert_eq!((&proof["level"], &proof["objects"]), (&json!("intact"), &json!(4)));
    }
    let keys = s3.send(s3.root(), http::Method::GET, "/vault?list-type=2", http::HeaderMap::new(), "").await.text();
    assert!(!keys.contains(nights[3].as_str()), "{keys}");
}

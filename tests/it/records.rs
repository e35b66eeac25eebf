//! What happens is recorded in the vault as it happens, by whoever may say it, and stays when the backups go.

use ckbackup::vault::record::RECORDS;
use serde_json::{Value, json};

use crate::harness::Ckbackup;
use crate::rotation_history::{History, Kind};
use crate::vault_stage::{CLUSTER, Place, Stage, files};

/// The records in a vault, by kind.
fn records(place: &Place, kind: &str) -> Vec<Value> {
    let folder = place.path().join(CLUSTER).join(RECORDS);
    let found = files(&folder).into_iter().filter(|file| file.ends_with(".json"));
    let read = found.map(|file| {
        assert!(folder.join(format!("{file}.sig")).exists(), "{file} is signed");
        serde_json::from_slice::<Value>(&std::fs::read(folder.join(file)).unwrap()).unwrap()
    });
    read.filter(|record| record["kind"] == kind).collect()
}

async fn keeper(stage: &Stage) {
    Ckbackup::new(&stage.scratch)
        .args(["keygen", "--dir", "keeper", "--only", "attesting"])
        .run()
        .await
        .expect_success();
    let both = stage.shell("cat keys/oncall-allowed_signers keeper/allowed_attesters > keeper/both").await;
    both.expect_success();
}

#[tokio::test]
async fn a_backup_and_its_verification_are_recorded() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    keeper(&stage).await;
    let [record] = records(&place, "backup").try_into().unwrap();
    assert_eq!((&record["cluster"], &record["body"]["id"]), (&json!(CLUSTER), &json!(id)));
    assert_eq!((&record["body"]["status"], &record["body"]["problems"]), (&json!("complete"), &json!(0)));
    let manifest = place.file(&id, "manifest.json").display().to_string();
    let digest = stage.shell(&format!("sha256sum < {manifest}")).await.expect_success();
    assert_eq!(record["body"]["manifestSha256"], json!(digest.stdout.split(' ').next().unwrap()));

    let run =
        stage.stranger(&place).args(["verify", &id, "--signers", "keeper/both", "--attest", "keeper/attesting_key"]);
    run.run().await.expect_success();
    let [record] = records(&place, "verification").try_into().unwrap();
    assert_eq!((&record["body"]["backup"], &record["body"]["level"]), (&json!(id), &json!("intact")));

    // Stock tools check who wrote it.
    let folder = place.path().join(CLUSTER).join(RECORDS).display().to_string();
    let stock = format!(
        "for f in {folder}/*/*-backup-*.json; do ssh-keygen -Y verify -f keeper/both -I backup@cluster -n ckbackup-record -s \
         $f.sig < $f || exit 1; done; for f in {folder}/*/*-verification-*.json; do ssh-keygen -Y verify -f keeper/both -I \
         keeper@vault -n ckbackup-proof-record -s $f.sig < $f || exit 1; done"
    );
    stage.shell(&stock).await.expect_success();
    // Nothing else of the vault is disturbed by them.
    let listed = stage.ckbackup(&place).args(["list", "--all", "-o", "json"]).run().await.expect_success().json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn a_run_that_fails_is_recorded_with_its_reason() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let failed = stage.backup(&place).env("KUBECONFIG", "nowhere").run().await;
    assert_ne!(failed.code(), Some(0), "{failed}");
    let [record] = records(&place, "failedRun").try_into().unwrap();
    assert_eq!(record["name"], json!("nightly"));
    assert!(record["body"]["reason"].as_str().unwrap().contains("nowhere"), "{record}");
    assert_eq!(records(&place, "backup").len(), 1, "{id}");
}

#[tokio::test]
async fn records_stay_when_their_backups_are_removed() {
    let history = History::new().await;
    keeper(&history.stage).await;
    let ids: Vec<_> = [26, 50, 74, 98].into_iter().map(|hours| history.add(hours, Kind::Good)).collect();
    let before = records(&history.place, "backup").len();
    let run = history.stage.stranger(&history.place).args(["rotate", "--keep", "3", "--signers", "keeper/both"]);
    run.args(["--attest", "keeper/attesting_key"]).run().await.expect_success();
    assert_eq!(history.ids().len(), 3);
    let [record] = records(&history.place, "rotation").try_into().unwrap();
    assert_eq!((&record["body"]["keep"], &record["body"]["removed"]), (&json!(3), &json!([ids[3]])));
    assert_eq!(records(&history.place, "verification").len(), 3, "what was read back is recorded");
    assert_eq!(records(&history.place, "backup").len(), before);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_said_and_the_backup_stands() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let first = stage.back_up(&place).await;
    std::fs::remove_dir_all(place.path().join(CLUSTER).join(RECORDS)).unwrap();
    // A file where the folder would be.
    std::fs::write(place.path().join(CLUSTER).join(RECORDS), "in the way").unwrap();
    let run = stage.backup(&place).run().await.expect_success();
    assert!(run.stderr.contains("not recorded in the vault"), "{run}");
    assert_ne!(run.json()["id"], json!(first));
}

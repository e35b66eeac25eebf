//! Each scenario sets up its loss on real servers, and says what it proved only where it did.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Ckbackup;
use crate::harness::assets::assets;
use crate::harness::control_plane::shared;
use crate::restore_fixture::*;

/// A backup of a namespace for two recipients, the plan that restores it, and the shipped scenarios.
struct Stage {
    rig: Rig,
    namespace: String,
    plan: PathBuf,
}

impl Stage {
    async fn new(prefix: &str) -> Stage {
        let rig = Rig::new().await;
        rig.ckbackup("keygen --dir keys --name escrow --only identity").run().await.expect_success();
        let namespace = shared().namespace(prefix).await;
        fill(&namespace, 7).await;
        let file = rig.schedule("nightly", &only(&namespace));
        let text = std::fs::read_to_string(&file).unwrap();
        let escrow = std::fs::read_to_string(rig.path("keys/escrow-recipient.txt")).unwrap();
        let both = text.replace("], allowSingleRecipient: true", &format!(", {}]", escrow.trim()));
        assert_ne!(both, text);
        std::fs::write(&file, both).unwrap();
        rig.back_up_by("nightly.yaml", &shared().kubeconfig).await;
        let plan = rig.plan("[{name: all, apply: {}}]");
        Stage { rig, namespace, plan }
    }

    /// A drill by one of the shipped scenarios, with the key of the engineers on call unless others are named.
    fn drill(&self, scenario: &str, identities: &[&str]) -> Ckbackup {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{scenario}.yaml"));
        let words = "drill run -q -o json --vault vault --signers keys/allowed_signers --attest keys/signing_key --report-dir drill";
        let command = self.rig.ckbackup(words).arg("-f").arg(&self.plan).arg("--scenario").arg(file);
        let command = identities.iter().fold(command, |command, file| command.args(["--identity", file]));
        command.arg("--assets").arg(&assets().control_plane)
    }
}

const ON_CALL: &[&str] = &["keys/identity.txt"];

#[track_caller]
fn check<'r>(report: &'r Value, subject: &str) -> &'r Value {
    let all = report["verifications"].as_array().unwrap();
    let found = all.iter().find(|it| it["subject"].as_str().unwrap().starts_with(subject));
    found.unwrap_or_else(|| panic!("nothing was checked of {subject}: {report:#}"))
}

#[track_caller]
fn counts(check: &Value) -> Vec<(u64, u64)> {
    let all = check["counts"].as_array().unwrap();
    all.iter().map(|count| (count["expected"].as_u64().unwrap(), count["found"].as_u64().unwrap())).collect()
}

#[track_caller]
fn assert_proved(report: &Value, scenario: &str) {
    assert!(["passed", "passedWithGaps"].contains(&report["verdict"].as_str().unwrap()), "{report:#}");
    assert_eq!(report["scenario"]["name"], scenario);
    assert!(!report["scenario"]["proved"].as_str().unwrap().is_empty(), "{report:#}");
}

#[tokio::test]
async fn a_lost_cluster_comes_back_in_a_sandbox() {
    let stage = Stage::new("scenario-cluster").await;
    let told = stage.drill("cluster-lost", ON_CALL).run().await.expect_success().json();
    assert_proved(&told["report"], "cluster-lost");
    assert_eq!(told["attested"], true);
    let objects = check(&told["report"], "workload-1");
    assert_eq!((&objects["missing"], &objects["extra"], &objects["changed"]), (&json!(0), &json!(0), &json!(0)));
    assert!(objects["ignored"]["server-set-metadata (fields)"].as_u64().unwrap() > 8, "{objects:#}");
}

#[tokio::test]
async fn only_the_deleted_namespace_comes_back() {
    let stage = Stage::new("scenario-namespace").await;
    let drill = stage.drill("namespace-deleted", ON_CALL).args(["--namespace", &stage.namespace]);
    let report = drill.run().await.expect_success().json()["report"].take();
    assert_proved(&report, "namespace-deleted");
    let check = check(&report, "the deleted namespace");
    let [(lost, back), (others, untouched), (0, 0)] = counts(check)[..] else { panic!("{check:#}") };
    assert!(lost >= 8 && lost == back, "seven config maps and the namespace: {check:#}");
    assert!(others > 20 && others == untouched, "{check:#}");
    assert_eq!(report["steps"][0]["items"]["created"].as_u64(), Some(lost), "the second restore is the one reported");
}

#[tokio::test]
async fn a_namespace_that_the_backup_has_not_cannot_be_lost() {
    let stage = Stage::new("scenario-none").await;
    let refused = stage.drill("namespace-deleted", ON_CALL).run().await.expect(2);
    assert!(refused.stderr.contains("namespace harbor was not restored"), "{refused}");
}

#[tokio::test]
async fn overwritten_objects_are_found_and_not_restored_and_the_vault_is_as_it_was() {
    let stage = Stage::new("scenario-vault").await;
    let before = digests(&stage.rig.path("vault/workload-1"));
    let report = stage.drill("vault-overwritten", ON_CALL).run().await.expect_success().json()["report"].take();
    assert_proved(&report, "vault-overwritten");
    let found = check(&report, "verification of the overwritten copy");
    assert_eq!(counts(found), [(2, 2), (0, 0)], "{found:#}");
    let named: Vec<_> =
        found["differences"].as_array().unwrap().iter().map(|d| d["object"].as_str().unwrap()).collect();
    assert!(named.iter().any(|key| key.ends_with("platform/0001.tar.zst.age")), "{named:?}");
    let refused = check(&report, "restore from the overwritten copy");
    assert!(refused["note"].as_str().unwrap().starts_with("refused: "), "{refused:#}");
    let after = digests(&stage.rig.path("vault/workload-1"));
    assert!(before.iter().all(|file| after.contains(file)), "the vault itself was not touched");
    let left = std::fs::read_dir(stage.rig.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "no damaged copy stays behind");
}

/// Name and content of every file below a folder.
fn digests(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => digests(&path),
            false => vec![(path.clone(), std::fs::read(&path).unwrap())],
        })
        .collect()
}

#[tokio::test]
async fn without_the_lost_key_another_one_opens_the_backup() {
    let stage = Stage::new("scenario-key").await;
    // Both are given: the lost one must not be used.
    let both = stage.drill("on-call-key-lost", &["keys/identity.txt", "keys/escrow-identity.txt"]);
    let report = both.run().await.expect_success().json()["report"].take();
    assert_proved(&report, "on-call-key-lost");
    let escrow = std::fs::read_to_string(stage.rig.path("keys/escrow-recipient.txt")).unwrap();
    let keys = report["keys"].as_array().unwrap();
    let opened: Vec<_> = keys.iter().filter(|key| key["use"] == "decrypt").map(|key| &key["fingerprint"]).collect();
    assert_eq!(opened, [escrow.trim()], "{keys:?}");
    assert_eq!(counts(check(&report, "the backup, opened without the lost key")), [(0, 0), (1, 1)]);
}

#[tokio::test]
async fn a_drill_with_nothing_but_the_lost_key_fails_as_the_night_would() {
    let stage = Stage::new("scenario-alone").await;
    let refused = stage.drill("on-call-key-lost", ON_CALL).run().await.expect(8);
    assert!(refused.stderr.contains("every given identity is of the key that is taken as lost"), "{refused}");
}

#[tokio::test]
async fn stock_tools_alone_open_all_of_the_backup() {
    let stage = Stage::new("scenario-tool").await;
    let report = stage.drill("ckbackup-missing", ON_CALL).run().await.expect_success().json()["report"].take();
    assert_proved(&report, "ckbackup-missing");
    let opened = check(&report, "the backup, opened with stock tools");
    assert_eq!((&opened["kind"], &opened["outcome"]), (&json!("stockTools"), &json!("passed")));
    let all = counts(opened);
    assert!(all.iter().all(|(expected, found)| expected == found), "{opened:#}");
    assert_eq!(all[0], (1, 1), "the signature: {opened:#}");
    let of = |name: &str| {
        opened["counts"].as_array().unwrap().iter().find(|count| count["name"] == name).unwrap()["found"].as_u64()
    };
    assert_eq!(of("members of source platform that tar lists"), Some(8), "seven config maps and the namespace");
    assert_eq!(of("sampled members of platform that are the same"), Some(8));
    assert!(!stage.rig.path("resources").exists(), "nothing is unpacked but in the scratch folder");
}

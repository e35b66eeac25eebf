//! A run of `backup`: what it says, what it stores, and how one follows another.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::backup_rig::{Rig, loaded};
use super::harness::{Ckbackup, Scratch, control_plane};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A scope that is read quickly.
fn small() -> Value {
    json!({"resources": {"include": ["deployments.apps"]}})
}

fn two_sources() -> Value {
    let secrets = json!({"resources": {"include": ["secrets"]}});
    json!([{"name": "workloads", "kubernetes": small()}, {"name": "secrets", "kubernetes": secrets}])
}

#[tokio::test]
async fn the_summary_in_json_has_the_documented_fields_and_no_others() {
    let rig = Rig::new();
    let run = rig.backup(&loaded().kubeconfig, small()).run().await.expect_success();
    let (summary, saved) = (run.json(), rig.open(&run));
    assert_eq!(keys(&summary), BTreeSet::from(["id", "cluster", "vault", "status", "seconds", "sources"]));
    let [source] = &summary["sources"].as_array().unwrap()[..] else { panic!("one source: {run}") };
    let fields = ["name", "kind", "status", "items", "bytes", "storedBytes", "seconds", "problems", "skipped"];
    assert_eq!(keys(source), BTreeSet::from(fields));

    assert_eq!((&summary["cluster"], &summary["status"]), (&json!("prod"), &json!("complete")));
    assert_eq!(summary["vault"], format!("file://{}", rig.vault().display()));
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!((&source["name"], &source["kind"]), (&json!("platform"), &json!("kubernetes")));
    for field in ["status", "items", "bytes", "storedBytes", "skipped"] {
        assert_eq!(source[field], saved.record()[field], "{field}");
    }
    assert_eq!((&source["items"], &source["problems"]), (&json!(4), &json!([])));
    let stored = std::fs::read_dir(rig.vault().join("prod").join(summary["id"].as_str().unwrap()).join("platform"));
    let sizes: Vec<u64> = stored.unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!((sizes.len(), source["storedBytes"].as_u64().unwrap()), (2, sizes.iter().sum()));
}

#[tokio::test]
async fn people_are_told_what_was_saved_and_how_to_verify_it() {
    let rig = Rig::new();
    let schedule = rig.schedule(json!([{"name": "platform", "kubernetes": small()}]));
    let file = rig.scratch.file("nightly.yaml", schedule.to_string());
    let backup = || {
        let run = Ckbackup::new(&rig.scratch).args(["backup", "--now", "-f"]).arg(&file);
        run.arg("--kubeconfig").arg(&loaded().kubeconfig)
    };
    let run = backup().run().await.expect_success();
    assert!(run.stdout.contains("of cluster prod is complete: 4 objects in"), "{run}");
    assert!(run.stdout.contains("Verify it: ckbackup verify"), "{run}");
    let name = backup().args(["-o", "name"]).run().await.expect_success();
    assert_eq!(name.stdout.trim(), rig.committed().into_iter().max().unwrap());
}

#[tokio::test]
async fn quiet_leaves_standard_error_empty() {
    let rig = Rig::new();
    let loud = rig.backup(&loaded().kubeconfig, small()).run().await.expect_success();
    assert!(loud.stderr.contains("platform: 4 objects, 0 problems"), "{loud}");
    let quiet = rig.backup(&loaded().kubeconfig, small()).arg("--quiet").run().await.expect_success();
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.json()["status"], "complete");
}

#[tokio::test]
async fn all_sources_of_the_schedule_are_saved_each_on_its_own() {
    let rig = Rig::new();
    let run = rig.backup_by(&rig.schedule(two_sources())).arg("--kubeconfig").arg(&loaded().kubeconfig).run().await;
    let saved = rig.open(&run.expect_success());
    assert_eq!(saved.sources.keys().collect::<Vec<_>>(), ["configuration", "secrets", "workloads"]);
    assert_eq!((saved.sources["secrets"].len(), saved.sources["workloads"].len()), (4, 4));
}

#[tokio::test]
async fn a_backup_of_one_source_is_partial_and_says_which_others_are_missing() {
    let rig = Rig::new();
    let backup = || rig.backup_by(&rig.schedule(two_sources())).arg("--kubeconfig").arg(&loaded().kubeconfig);
    let run = backup().args(["--source", "secrets"]).run().await.expect(3);
    let saved = rig.open(&run);
    assert_eq!(saved.sources.keys().collect::<Vec<_>>(), ["configuration", "secrets"]);
    assert_eq!(saved.manifest["status"], "partial");
    assert_eq!(saved.manifest["leftOutSources"], json!(["workloads"]));
    assert_eq!(run.json()["sources"][0]["status"], "complete");
    assert!(run.stderr.contains("not all sources of the schedule are asked for"), "{run}");
    let both = backup().args(["--source", "secrets", "--source", "workloads"]).run().await.expect_success();
    assert_eq!(both.json()["sources"].as_array().unwrap().len(), 2);
    assert!(!both.stderr.contains("not all sources"), "{both}");
}

#[tokio::test]
async fn an_unknown_source_is_refused_before_anything_is_written() {
    let rig = Rig::new();
    let schedule = rig.schedule(two_sources());
    let run = rig.backup_by(&schedule).args(["--source", "secret"]).run().await.expect(2);
    assert!(run.stderr.contains("schedule nightly has no source secret"), "{run}");
    assert!(run.stderr.contains("it has: workloads, secrets"), "{run}");
    assert!(rig.nothing_was_written());
}

#[tokio::test]
async fn the_manifest_says_what_when_by_whom_and_for_whom() {
    let rig = Rig::new();
    let run = rig.backup(&loaded().kubeconfig, small()).run().await.expect_success();
    let manifest = rig.open(&run).manifest;
    let system = loaded().api().get("/api/v1/namespaces/kube-system").await;
    let version = loaded().api().get("/version").await;
    assert_eq!(manifest["clusterUid"], system["metadata"]["uid"]);
    assert_eq!(manifest["serverVersion"], version["gitVersion"]);
    assert_eq!(manifest["recipients"], json!(rig.recipients));
    assert!(manifest["signer"].as_str().unwrap().starts_with("SHA256:"));
    assert_eq!((&manifest["cluster"], &manifest["schedule"]), (&json!("prod"), &json!("nightly")));
    assert_eq!(manifest["previous"], Value::Null);
    assert!(manifest["started"].as_str().unwrap() <= manifest["finished"].as_str().unwrap());
    let stamp = manifest["started"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!(manifest["id"], format!("{stamp}-nightly"));
}

#[tokio::test]
async fn each_manifest_names_the_digest_of_the_one_before() {
    let rig = Rig::new();
    let mut before: Option<(Value, String)> = None;
    for _ in 0..3 {
        let saved = rig.open(&rig.backup(&loaded().kubeconfig, small()).run().await.expect_success());
        let expected = before.map_or(Value::Null, |(id, digest)| json!({"id": id, "sha256": digest}));
        assert_eq!(saved.manifest["previous"], expected);
        before = Some((saved.manifest["id"].clone(), saved.digest));
    }
}

#[tokio::test]
async fn schedule_plans_and_runbooks_are_stored_with_the_backup_and_encrypted() {
    let rig = Rig::new();
    let plan = "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {name: all}\nspec:\n  rto: 4h\n  steps:\n    \
                - name: everything\n      apply: {}\n      runbook: ../runbooks/lost.md\n";
    rig.scratch.file("restore-plans/all.yaml", plan);
    rig.scratch.file("runbooks/lost.md", "# The marker of a runbook\n");
    let mut schedule = rig.schedule(json!([{"name": "platform", "kubernetes": small()}]));
    schedule["spec"]["include"] = json!({"plans": ["restore-plans/*.yaml"], "runbooks": ["runbooks/*.md"]});
    let run = rig.backup_by(&schedule).arg("--kubeconfig").arg(&loaded().kubeconfig).run().await.expect_success();

    let saved = rig.open(&run);
    let files = &saved.sources["configuration"];
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["restore-plans/all.yaml", "runbooks/lost.md", "schedule.yaml"]);
    assert_eq!(files["schedule.yaml"], std::fs::read(rig.scratch.path().join("nightly.yaml")).unwrap());
    assert_eq!(files["restore-plans/all.yaml"], plan.as_bytes());
    assert_eq!(files["runbooks/lost.md"], b"# The marker of a runbook\n");

    let folder = rig.vault().join("prod").join(saved.manifest["id"].as_str().unwrap());
    for entry in std::fs::read_dir(folder.join("configuration")).unwrap().flatten() {
        let stored = std::fs::read(entry.path()).unwrap();
        assert!(stored.starts_with(b"age-encryption.org/v1\n"));
        assert!(!stored.windows(10).any(|w| w == b"The marker"), "in plain text in {}", entry.path().display());
    }
}

#[tokio::test]
async fn two_runs_at_the_same_second_are_two_backups() {
    let rig = Rig::new();
    let schedule = rig.schedule(json!([{"name": "platform", "kubernetes": small()}]));
    let start = || rig.backup_by(&schedule).arg("--kubeconfig").arg(&loaded().kubeconfig).start();
    let all = [start().await, start().await, start().await];
    let mut ids = BTreeSet::new();
    for running in all {
        let saved = rig.open(&running.finish().await.expect_success());
        assert_eq!(saved.names("deployments.apps").len(), 4);
        ids.insert(saved.manifest["id"].as_str().unwrap().to_string());
    }
    assert_eq!(ids.len(), 3);
    assert_eq!(rig.committed().into_iter().collect::<BTreeSet<_>>(), ids);
}

/// Kubeconfigs as kubectl finds them.
mod kubeconfig {
    use super::*;

    fn backup(rig: &Rig) -> Ckbackup {
        rig.backup_by(&rig.schedule(json!([{"name": "platform", "kubernetes": small()}])))
    }

    fn write(scratch: &Scratch, name: &str) -> std::path::PathBuf {
        let cluster = loaded();
        control_plane::write_kubeconfig(scratch, name, &cluster.server, Some(&cluster.ca_pem), &cluster.token)
    }

    #[tokio::test]
    async fn an_unknown_context_is_refused_with_those_that_are_known() {
        let rig = Rig::new();
        let run = backup(&rig).args(["--context", "pord"]).arg("--kubeconfig").arg(&loaded().kubeconfig).run().await;
        let run = run.expect(2);
        assert!(run.stderr.contains("no such context: pord"), "{run}");
        assert!(run.stderr.contains("the kubeconfig knows: loaded"), "{run}");
        assert!(rig.nothing_was_written());
    }

    #[tokio::test]
    async fn without_a_kubeconfig_and_outside_a_pod_it_is_said_how_to_name_a_cluster() {
        let rig = Rig::new();
        let run = backup(&rig).run().await.expect(2);
        assert!(run.stderr.contains("no cluster is named, and this is not a pod with a service account"), "{run}");
        assert!(run.stderr.contains("set KUBECONFIG, or name a context with --context"), "{run}");
        assert!(rig.nothing_was_written());
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_or_broken_is_named() {
        let rig = Rig::new();
        let missing = backup(&rig).env("KUBECONFIG", "/nowhere/config").run().await.expect(2);
        assert!(missing.stderr.contains("read the kubeconfig /nowhere/config"), "{missing}");
        let file = rig.scratch.file("broken", "apiVersion: [v1\n");
        let broken = backup(&rig).arg("--kubeconfig").arg(&file).run().await.expect(2);
        assert!(broken.stderr.contains(&format!("read the kubeconfig {}", file.display())), "{broken}");
        let empty = rig.scratch.file("empty", "apiVersion: v1\nkind: Config\n");
        let empty = backup(&rig).arg("--kubeconfig").arg(&empty).run().await.expect(2);
        assert!(empty.stderr.contains("has no current context"), "{empty}");
        assert!(rig.nothing_was_written());
    }

    #[tokio::test]
    async fn a_list_of_kubeconfigs_is_merged_and_the_first_current_context_counts() {
        let rig = Rig::new();
        let down = control_plane::write_kubeconfig(&rig.scratch, "down", "https://127.0.0.1:9", None, "x");
        let list = std::env::join_paths(["/nowhere/config".into(), down, write(&rig.scratch, "up")]).unwrap();
        let first = backup(&rig).env("KUBECONFIG", &list).run().await.expect(1);
        assert!(first.stderr.contains("reach the Kubernetes API at https://127.0.0.1:9"), "{first}");
        let named = backup(&rig).env("KUBECONFIG", &list).args(["--context", "up"]).run().await.expect_success();
        assert_eq!(named.json()["sources"][0]["items"], 4);
    }

    #[tokio::test]
    async fn the_kubeconfig_in_the_home_folder_is_found() {
        let rig = Rig::new();
        let config = std::fs::read(&loaded().kubeconfig).unwrap();
        rig.scratch.file("home/.kube/config", config);
        backup(&rig).run().await.expect_success();
    }
}

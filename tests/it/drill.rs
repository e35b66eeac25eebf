//! Drills: a rehearsed restore into a control plane of its own or a scratch cluster, compared, reported and signed.

use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::control_plane::shared;
use crate::harness::web::Web;
use crate::harness::{Ckbackup, ControlPlane};
use crate::restore_fixture::*;

const ALL: &str = "[{name: all, apply: {}}, {name: ready, after: [all], gate: {kind: Deployment}}, \
    {name: dns, after: [all], manual: {title: Point DNS at it}}]";

fn drill(rig: &Rig, words: &str) -> Ckbackup {
    let words = format!("drill run -f restore-plans/test.yaml --attest keys/attesting_key {words}");
    rig.reading(&words).env("KUBEBUILDER_ASSETS", &assets().control_plane)
}

/// Keys with which drills are signed, too; whoever has them is trusted beside those who make backups.
async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.ckbackup("keygen --dir keys --only attesting --principal drill@test").run().await.expect_success();
    let read = |name: &str| std::fs::read_to_string(rig.path("keys").join(name)).unwrap();
    let both = read("allowed_signers") + &read("allowed_attesters");
    std::fs::write(rig.path("keys/allowed_signers"), both).unwrap();
    rig
}

async fn backed_up(name: &str) -> (Rig, String) {
    let (rig, namespace) = (rig().await, shared().namespace(name).await);
    fill(&namespace, 5).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    rig.plan(ALL);
    (rig, namespace)
}

/// The levels of proof that `show` tells of the newest backup.
async fn proofs(rig: &Rig) -> Vec<String> {
    let show = rig.ckbackup("show latest -o json --vault vault --signers keys/allowed_signers");
    let shown = show.run().await.expect_success();
    let text = shown.json().to_string();
    ["present", "intact", "readable", "restored"]
        .into_iter()
        .filter(|level| text.contains(&format!("\"{level}\"")))
        .map(Into::into)
        .collect()
}

#[tokio::test]
async fn a_drill_restores_into_a_sandbox_compares_reports_and_attests() {
    let (rig, _) = backed_up("drill-sandbox").await;
    let done = drill(&rig, "--report-dir report --ran-by Ada").run().await.expect_success();
    let told = summary(&done);
    let report = &told["report"];
    assert_eq!(
        (report["verdict"].as_str(), told["attested"].as_bool()),
        (Some("passedWithGaps"), Some(true)),
        "{report:#}"
    );
    let objects = &report["verifications"][0];
    assert_eq!((objects["outcome"].as_str(), objects["missing"].as_u64()), (Some("passed"), Some(0)), "{objects:#}");
    assert!(objects["equal"].as_u64().unwrap() >= 6, "{objects:#}");
    // What a control plane alone cannot show is never called passed.
    let outcome = |name: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap()["outcome"].clone()
    };
    assert_eq!(["all", "ready", "dns"].map(outcome), [json!("done"), json!("notExercised"), json!("notExercised")]);
    let gaps: Vec<&Value> = report["notExercised"].as_array().unwrap().iter().collect();
    assert!(gaps.iter().any(|gap| gap["what"] == "step ready"), "{gaps:?}");
    let coverage = report["coverage"].as_array().unwrap();
    assert!(coverage.len() > 10 && coverage[0]["proved"] != "restored", "{coverage:#?}");
    assert_eq!(report["people"]["ranBy"], "Ada");

    for file in ["report.json", "report.json.sig", "report.html", "report.md", "junit.xml"] {
        assert!(rig.path("report").join(file).is_file(), "{file}");
    }
    rig.ckbackup("report verify report --signers keys/allowed_signers").run().await.expect_success();
    assert_eq!(proofs(&rig).await.last().map(String::as_str), Some("restored"));
    let left: Vec<_> = std::fs::read_dir(rig.scratch.folder("tmp")).unwrap().collect();
    assert!(left.is_empty(), "the sandbox is gone: {left:?}");
}

/// A backup with an object that no server takes.
#[tokio::test]
async fn a_drill_that_does_not_bring_everything_back_fails_and_attests_nothing() {
    const GROUP: &str = "drilled.test";
    let (rig, api, namespace) = (rig().await, shared().api(), shared().namespace("drill-fails").await);
    define(&api, GROUP).await;
    api.create(&things(GROUP, &namespace), &thing(GROUP, "one")).await;
    // Their definition is not in the backup, so that the sandbox does not know them.
    rig.back_up(&shared().kubeconfig, &with_things(&namespace, &[GROUP])).await;
    rig.plan(ALL);
    let failed = drill(&rig, "--report-dir report --metrics-file drill.prom").run().await.expect(3);
    let told = summary(&failed);
    assert_eq!((told["report"]["verdict"].as_str(), told["attested"].as_bool()), (Some("failed"), Some(false)));
    let not_restored = told["report"]["notRestored"].to_string();
    assert!(not_restored.contains("things.drilled.test"), "{not_restored}");
    assert!(!proofs(&rig).await.contains(&"restored".to_string()));
    let metrics = std::fs::read_to_string(rig.path("drill.prom")).unwrap();
    assert!(metrics.contains("ckbackup_drill_last_success{target=\"sandbox\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_cluster_that_looks_like_production_is_refused() {
    let (rig, namespace) = backed_up("drill-production").await;
    let into = |plane: &str| drill(&rig, "--target context --yes").arg("--kubeconfig").arg(plane);
    let own = into(&shared().kubeconfig.display().to_string()).run().await.expect(2);
    assert!(own.stderr.contains("the cluster that") && own.stderr.contains("was taken of"), "{own}");

    let other = ControlPlane::start(&rig.scratch, "scratch").await;
    let unlabelled = into(&other.kubeconfig().display().to_string()).run().await.expect(2);
    assert!(unlabelled.stderr.contains("ckbackup.io/scratch=true"), "{unlabelled}");
    label_as_scratch(&other).await;
    let drilled = drill(&rig, "--target context --yes").arg("--kubeconfig").arg(other.kubeconfig());
    let told = summary(&drilled.run().await.expect_success());
    assert_eq!(told["report"]["targets"][0]["kind"], "context");
    assert_eq!(other.api().list(&config_maps(&namespace)).await.len(), 5);
}

async fn label_as_scratch(plane: &ControlPlane) {
    let label = json!({"metadata": {"labels": {"ckbackup.io/scratch": "true"}}});
    plane.api().patch("/api/v1/namespaces/kube-system", &label).await;
}

/// They stand for production, which answers.
#[tokio::test]
async fn servers_outside_of_a_scratch_cluster_are_asked_only_where_the_plan_has_them_for_drills() {
    let (rig, _) = backed_up("drill-outside").await;
    let server = Web::start(|_| Some((200, "fine".into()))).await;
    let url = server.url();
    rig.plan(&format!(
        "[{{name: all, apply: {{}}}}, \
          {{name: hook, http: {{method: POST, url: \"{url}/hook?token=s3cret\"}}}}, \
          {{name: up, gate: {{http: {{url: \"{url}/up?token=s3cret\"}}}}}}, \
          {{name: query, gate: {{prometheus: {{url: \"{url}\", query: up}}}}}}, \
          {{name: program, gate: {{command: {{run: [\"false\"]}}}}}}, \
          {{name: metrics, prometheus: {{source: metrics, alertmanager: {{url: \"{url}/alerts\"}}, \
              pod: {{workload: {{kind: StatefulSet, namespace: a, name: b}}, claim: c}}}}}}, \
          {{name: ours, when: {{drill: true}}, gate: {{http: {{url: \"{url}/ours\"}}}}}}]"
    ));
    let plane = ControlPlane::start(&rig.scratch, "outside").await;
    label_as_scratch(&plane).await;
    let words = "--target context --yes --report-dir report";
    let done = drill(&rig, words).arg("--kubeconfig").arg(plane.kubeconfig()).run().await.expect_success();
    let told = summary(&done);
    let step = |name: &str| {
        let steps = told["report"]["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no {name}: {told:#}"))
    };
    for name in ["hook", "up", "query", "program", "metrics"] {
        assert_eq!(step(name)["outcome"], "notExercised", "{told:#}");
    }
    assert_eq!([step("all"), step("ours")].map(|step| &step["outcome"]), ["done", "done"], "{told:#}");
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["/ours"]);
    let gaps = told["report"]["notExercised"].to_string();
    assert!(gaps.contains(&format!("it sends a request to {url}/hook, which is not the drill's")), "{gaps}");
    for file in ["report.json", "report.html", "report.md", "junit.xml"] {
        let text = std::fs::read_to_string(rig.path("report").join(file)).unwrap();
        assert!(!text.contains("s3cret"), "{file}");
    }
}

#[tokio::test]
async fn a_sandbox_that_does_not_start_says_why_and_leaves_nothing() {
    let (rig, _) = backed_up("drill-no-sandbox").await;
    let (programs, temporary) = (rig.path("programs"), rig.path("temporary"));
    [&programs, &temporary].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    for program in ["etcd", "kube-apiserver"] {
        std::os::unix::fs::symlink("/bin/false", programs.join(program)).unwrap();
    }
    let failed = drill(&rig, "").env("TMPDIR", &temporary).arg("--assets").arg(&programs).run().await.expect(1);
    assert!(failed.stderr.contains("start the sandbox: ") && failed.stderr.contains("etcd"), "{failed}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{failed}");
}

#[tokio::test]
async fn a_restore_is_reported_and_recorded_as_a_drill_is() {
    let (rig, namespace) = backed_up("restore-report").await;
    empty(&namespace).await;
    // The cluster lives: this came after the backup.
    shared().api().create(&config_maps(&namespace), &config_map("newer")).await;
    let plan = rig.plan("[{name: all, apply: {}}]");
    let restore = rig.restore(&plan, &shared().kubeconfig);
    restore.args("--report-dir report --attest keys/attesting_key".split(' ')).run().await.expect_success();
    let report: Value = serde_json::from_slice(&std::fs::read(rig.path("report/report.json")).unwrap()).unwrap();
    let objects = &report["verifications"][0];
    assert_eq!((objects["outcome"].as_str(), objects["extra"].as_u64()), (Some("passed"), Some(1)), "{objects:#}");
    assert_eq!(report["verdict"], "passedWithGaps", "{report:#}");
    assert_eq!((report["kind"].as_str(), report["erasure"]["status"].as_str()), (Some("restore"), Some("notInPlan")));
    let records = rig.path("vault/workload-1/records");
    let all: Vec<String> = walk(&records);
    assert!(all.iter().any(|name| name.contains("-restore-")), "{all:?}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

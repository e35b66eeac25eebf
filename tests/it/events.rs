//! Kubernetes Events: what becomes of runs is told on the Lease, and a run does not depend on it.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::backup_window::{backup, date_back, lease_of, schedule};
use crate::harness::control_plane::shared;
use crate::harness::{Action, Ckbackup, FaultProxy, eventually};

/// The events about the lease of a test: reason, type and note.
async fn events(rig: &Rig) -> Vec<Value> {
    let all = shared().api().list("/apis/events.k8s.io/v1/namespaces/default/events").await;
    let of_lease = |event: &Value| event["regarding"]["name"] == json!(lease_of(rig));
    all.into_iter().filter(of_lease).collect()
}

/// What was told about the lease of a test, in order.
pub async fn reasons(rig: &Rig) -> Vec<String> {
    let mut events = events(rig).await;
    events.sort_by_key(|event| event["eventTime"].as_str().unwrap().to_owned());
    events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

async fn event(rig: &Rig, reason: &str) -> Value {
    let events = events(rig).await;
    events.iter().find(|event| event["reason"] == reason).unwrap_or_else(|| panic!("{reason}: {events:?}")).clone()
}

#[tokio::test]
async fn what_became_of_each_run_stands_on_its_lease() {
    let rig = Rig::new();
    backup(&rig, &schedule(&rig, 60, 120), "--window").run().await.expect(6);
    let missed = event(&rig, "WindowMissed").await;
    assert_eq!(missed["type"], json!("Warning"));
    assert!(missed["note"].as_str().unwrap().contains("is not open"), "{missed}");
    assert_eq!(missed["regarding"]["uid"], Value::Null, "there was no lease yet");

    let id = backup(&rig, &schedule(&rig, -60, 60), "--window").run().await.expect_success().json()["id"].clone();
    let completed = event(&rig, "BackupCompleted").await;
    assert_eq!(completed["type"], json!("Normal"));
    let note = completed["note"].as_str().unwrap();
    assert!(note.starts_with("prod/nightly: ") && note.contains(id.as_str().unwrap()), "{completed}");
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{}", lease_of(&rig));
    assert_eq!(completed["regarding"]["uid"], shared().api().get(&lease).await["metadata"]["uid"], "{completed}");
    assert_eq!(completed["regarding"]["kind"], json!("Lease"));
    assert_eq!(completed["reportingController"], json!("ckbackup.io/ckbackup"));

    // The night has its run, and to find that out is no event.
    let before = reasons(&rig).await;
    backup(&rig, &schedule(&rig, -60, 60), "--window").run().await.expect_success();
    assert_eq!(reasons(&rig).await, before);

    let mut partial = schedule(&rig, -60, 60);
    let missing = json!({"name": "missing", "kubernetes": {"resources": {"include": ["nothing.example.org"]}}});
    partial["spec"]["sources"].as_array_mut().unwrap().push(missing);
    backup(&rig, &partial, "--now").run().await.expect(3);
    assert!(event(&rig, "BackupPartial").await["note"].as_str().unwrap().contains("is partial"));

    let mut failing = schedule(&rig, -60, 60);
    failing["spec"]["sources"] =
        json!([{"name": "x", "kubernetes": {"resources": {"include": ["nothing.example.org"]}}}]);
    backup(&rig, &failing, "--now").run().await.expect(1);
    let failed = event(&rig, "BackupFailed").await;
    assert!(failed["note"].as_str().unwrap().contains("nothing could be read"), "{failed}");
    assert_eq!(reasons(&rig).await, ["WindowMissed", "BackupCompleted", "BackupPartial", "BackupFailed"]);
}

#[tokio::test]
async fn a_run_goes_on_where_events_cannot_be_written() {
    let rig = Rig::new();
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, |request| match request.is("POST", "/events") {
        true => Action::kubernetes_status(403, "Forbidden", "no events by you"),
        false => Action::Forward,
    });
    let file = rig.scratch.file("nightly.yaml", serde_json::to_vec(&schedule(&rig, -60, 60)).unwrap());
    let run = Ckbackup::new(&rig.scratch).args(["backup", "--window", "-f"]).arg(file).arg("--kubeconfig");
    let run = run.arg(rig.through(&proxy, &shared().token)).run().await.expect_success();
    assert!(run.stderr.contains("the event could not be written") && run.stderr.contains("no events by you"), "{run}");
    assert_eq!((rig.committed().len(), proxy.count("POST", "/events"), events(&rig).await.len()), (1, 1, 0));
}

#[tokio::test]
async fn a_run_outside_of_leases_writes_none() {
    let rig = Rig::new();
    let mut plain = schedule(&rig, -60, 60);
    plain["spec"].as_object_mut().unwrap().remove("lease");
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, |_| Action::Forward);
    let file = rig.scratch.file("nightly.yaml", serde_json::to_vec(&plain).unwrap());
    let run = Ckbackup::new(&rig.scratch).args(["backup", "--now", "-f"]).arg(file).arg("--kubeconfig");
    run.arg(rig.through(&proxy, &shared().token)).run().await.expect_success();
    assert_eq!(proxy.count("POST", "/events"), 0);
}

#[tokio::test]
async fn a_scheduler_tells_of_a_broken_edit() {
    let rig = Rig::new();
    let write = || rig.scratch.file("schedules/nightly.yaml", serde_json::to_vec(&schedule(&rig, 60, 120)).unwrap());
    write();
    let scheduler = Ckbackup::new(&rig.scratch).args(["scheduler", "-f", "schedules", "--kubeconfig"]);
    let running = scheduler.arg(&shared().kubeconfig).start().await;
    running.says("waiting for the windows of nightly").await;
    rig.scratch.file("schedules/nightly.yaml", "spec: {window: nonsense");
    eventually("it is told", async || !events(&rig).await.is_empty()).await;
    let invalid = event(&rig, "ScheduleInvalid").await;
    assert_eq!(invalid["type"], json!("Warning"));
    assert!(invalid["note"].as_str().unwrap().contains("schedules/nightly.yaml"), "{invalid}");
    running.signal("TERM");
    running.finish().await.expect_success();
    assert_eq!(reasons(&rig).await, ["ScheduleInvalid"]);
}

/// Nobody was there when last night's window was open.
#[tokio::test]
async fn a_scheduler_tells_once_of_a_night_that_passed_before_it_was_started() {
    let rig = Rig::new();
    let schedule = schedule(&rig, 60, 120);
    let saved = rig.open(&backup(&rig, &schedule, "--now").run().await.expect_success());
    date_back(&rig, saved.manifest["id"].as_str().unwrap(), SignedDuration::from_hours(24 * 3));
    let scheduler = Ckbackup::new(&rig.scratch).args(["scheduler", "-f", "nightly.yaml", "--kubeconfig"]);
    let running = scheduler.arg(&shared().kubeconfig).start().await;
    running.says("closed without a backup by nightly").await;
    eventually("it is told", async || reasons(&rig).await.contains(&"WindowMissed".into())).await;
    // At the next tick it would be told again.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    running.signal("TERM");
    let ended = running.finish().await.expect_success();
    assert_eq!(ended.stderr.matches("closed without a backup").count(), 1, "{ended}");
    let told = reasons(&rig).await;
    assert_eq!(told.iter().filter(|reason| *reason == "WindowMissed").count(), 1, "{told:?}");
}

/// The copy of two days ago lost its integrity since.
#[tokio::test]
async fn a_rotation_after_a_run_that_finds_damage_is_told() {
    let rig = Rig::new();
    let mut rotating = schedule(&rig, -60, 60);
    let saved = rig.open(&backup(&rig, &rotating, "--now").run().await.expect_success());
    date_back(&rig, saved.manifest["id"].as_str().unwrap(), SignedDuration::from_hours(48));
    let script =
        "cd vault/prod; printf x >> */platform/0001.tar.zst.age; find . -type f -exec touch -d '48 hours ago' {} +";
    Ckbackup::program("bash", &rig.scratch).args(["-euc", script]).run().await.expect_success();
    rotating["spec"]["rotate"] = json!("afterBackup");
    let run = backup(&rig, &rotating, "--now").args(["--metrics-file", "metrics.prom"]).run().await.expect(5);
    assert_eq!(run.json()["status"], json!("complete"), "{run}");
    let failed = event(&rig, "RotationFailed").await;
    assert_eq!((&failed["type"], &failed["action"]), (&json!("Warning"), &json!("Rotate")), "{failed}");
    assert_eq!(reasons(&rig).await, ["BackupCompleted", "BackupCompleted", "RotationFailed"]);
    let metrics = std::fs::read_to_string(rig.scratch.path().join("metrics.prom")).unwrap();
    for line in ["last_rotation_damaged_backups{cluster=\"prod\"} 1", "last_rotation_exit_code{cluster=\"prod\"} 5"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

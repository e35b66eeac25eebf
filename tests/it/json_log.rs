//! The log as JSON: each line is an object and has the id of its run.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::backup_window::{backup, schedule};
use crate::harness::control_plane::shared;
use crate::harness::{Ckbackup, Finished, eventually};

fn lines(run: &Finished) -> Vec<Value> {
    let lines = run.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    lines.collect()
}

/// The one id that all lines have.
fn run_of(lines: &[Value]) -> String {
    let ids: BTreeSet<_> = lines.iter().map(|line| line["run"].as_str().unwrap_or_else(|| panic!("{line}"))).collect();
    assert_eq!(ids.len(), 1, "{lines:?}");
    ids.first().unwrap().to_string()
}

#[tokio::test]
async fn every_line_of_a_run_has_its_id_and_the_backups() {
    let rig = Rig::new();
    let mut both = schedule(&rig, -60, 60);
    let missing = json!({"name": "missing", "kubernetes": {"resources": {"include": ["nothing.example.org"]}}});
    both["spec"]["sources"].as_array_mut().unwrap().push(missing);
    // Of the libraries, too, and of what runs on other threads.
    let run = backup(&rig, &both, "--now").args(["--log-format", "json", "-vvv"]).run().await.expect(3);
    let logged = lines(&run);
    let id = run_of(&logged);
    assert!(logged.len() > 20, "{run}");
    assert!(logged.iter().all(|line| line["command"] == "backup" && line["time"].is_string()), "{run}");
    let warned = logged.iter().find(|line| line["message"].as_str().unwrap().starts_with("not in the backup")).unwrap();
    assert_eq!((&warned["level"], &warned["backup"]), (&json!("warn"), &run.json()["id"]));
    let told: BTreeSet<_> = logged.iter().filter_map(|line| line["backup"].as_str()).collect();
    assert_eq!(told, BTreeSet::from([run.json()["id"].as_str().unwrap()]));

    let again = backup(&rig, &both, "--now").env("CKBACKUP_LOG_FORMAT", "json").run().await.expect(3);
    assert_ne!(run_of(&lines(&again)), id, "each has its own");
}

#[tokio::test]
async fn failures_and_other_verbs_have_theirs_whatever_is_filtered() {
    let rig = Rig::new();
    let closed = backup(&rig, &schedule(&rig, 60, 120), "--window").arg("--log-format=json").env("CKBACKUP_LOG", "off");
    let closed = closed.run().await.expect(6);
    let logged = lines(&closed);
    run_of(&logged);
    let last = logged.last().unwrap();
    assert_eq!(last["level"], json!("error"));
    assert!(last["message"].as_str().unwrap().contains("is not open"), "{closed}");
    assert!(last["fields"]["hint"].as_str().unwrap().contains("it opens at"), "{closed}");

    let id = backup(&rig, &schedule(&rig, -60, 60), "--now").run().await.expect_success().json()["id"].clone();
    let vault = rig.vault().display().to_string();
    let verify = Ckbackup::new(&rig.scratch).args(["verify", "latest", "--vault", &vault, "--log-format", "json"]);
    let verified = verify.run().await.expect(5);
    run_of(&lines(&verified));
    let said = lines(&verified);
    let last = said.last().unwrap();
    assert_eq!((&last["command"], &last["backup"]), (&json!("verify"), &id), "{verified}");
    let wrong = Ckbackup::new(&rig.scratch).args(["list", "--vault", &vault]).env("CKBACKUP_LOG_FORMAT", "xml");
    assert!(wrong.run().await.expect(2).stderr.contains("it is text or json"));
}

#[tokio::test]
async fn the_runs_of_a_scheduler_have_theirs_and_what_is_between_has_none() {
    let rig = Rig::new();
    rig.scratch.file("schedules/nightly.yaml", serde_json::to_vec(&schedule(&rig, -60, 60)).unwrap());
    let key = std::fs::read(rig.scratch.path().join("signing_key")).unwrap();
    rig.scratch.file("schedules/signing_key", key);
    let scheduler = Ckbackup::new(&rig.scratch).args(["scheduler", "-f", "schedules", "--log-format", "json", "-v"]);
    let running = scheduler.arg("--kubeconfig").arg(&shared().kubeconfig).start().await;
    eventually("the night has its run", async || rig.committed().len() == 1).await;
    rig.scratch.file("schedules/nightly.yaml", "spec: {window: nonsense");
    running.says("what was read before stays in force").await;
    running.signal("TERM");
    let ended = running.finish().await.expect_success();
    let logged = lines(&ended);
    let of_run: Vec<_> = logged.iter().filter(|line| line["backup"].is_string()).cloned().collect();
    assert!(!of_run.is_empty(), "{ended}");
    run_of(&of_run);
    let broken = logged.iter().find(|line| line["message"].as_str().unwrap().contains("stays in force")).unwrap();
    assert_eq!((&broken["run"], &broken["level"]), (&Value::Null, &json!("error")));
}

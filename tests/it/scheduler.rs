//! `scheduler`: runs come by themselves when they are due, once a night, whatever is edited, killed or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::backup_window::{lease_of, schedule, schedule_with_short_lease};
use crate::harness::command::Running;
use crate::harness::control_plane::shared;
use crate::harness::{Action, Ckbackup, FaultProxy, Scratch, eventually};

/// Long enough to see that nothing more comes: it looks every five seconds.
const TWO_TICKS: Duration = Duration::from_secs(11);

/// A folder with one schedule in it.
fn write(rig: &Rig, schedule: &Value) {
    rig.scratch.file("schedules/nightly.yaml", serde_json::to_vec(schedule).unwrap());
    let key = std::fs::read(rig.scratch.path().join("signing_key")).unwrap();
    rig.scratch.file("schedules/signing_key", key);
}

fn scheduler(rig: &Rig, kubeconfig: &std::path::Path) -> Ckbackup {
    Ckbackup::new(&rig.scratch)
        .args(["scheduler", "-f", "schedules", "-o", "json", "--kubeconfig"])
        .arg(kubeconfig)
        .timeout(Duration::from_secs(120))
}

/// A scheduler whose run does not end: a list is never answered.
async fn in_the_middle_of_a_run(rig: &Rig) -> (Running, FaultProxy) {
    let proxy =
        FaultProxy::tls(&shared().server, &shared().ca_pem, |request| match request.is("GET", "/deployments") {
            true => Action::Hang,
            false => Action::Forward,
        });
    let running = scheduler(rig, &rig.through(&proxy, &shared().token)).start().await;
    eventually("a run is under way", async || proxy.count("GET", "/deployments") > 0).await;
    (running, proxy)
}

#[tokio::test]
async fn a_run_comes_when_its_window_opens_and_the_night_has_one() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, -60, 60));
    let running = scheduler(&rig, &shared().kubeconfig).start().await;
    eventually("the night has its run", async || rig.committed().len() == 1).await;
    // Some ticks later there is still one, and another scheduler that starts finds it done.
    let other = scheduler(&rig, &shared().kubeconfig).start().await;
    other.says("waiting for the windows of nightly").await;
    tokio::time::sleep(TWO_TICKS).await;
    for scheduler in [running, other] {
        scheduler.signal("TERM");
        let ended = scheduler.finish().await.expect_success();
        assert!(ended.stderr.contains("waiting for the windows of nightly"), "{ended}");
    }
    assert_eq!(rig.committed().len(), 1);
}

#[tokio::test]
async fn an_edit_comes_into_force_and_a_broken_one_is_told_and_does_not() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, 60, 120));
    let running = scheduler(&rig, &shared().kubeconfig).start().await;
    running.says("waiting for the windows of nightly").await;
    rig.scratch.file("schedules/nightly.yaml", "spec: {window: nonsense");
    running.says("what was read before stays in force").await;
    // It is told once, though it is read again and again.
    tokio::time::sleep(TWO_TICKS).await;
    assert!(rig.committed().is_empty());
    write(&rig, &schedule(&rig, -60, 60));
    eventually("the new window has its run", async || rig.committed().len() == 1).await;
    running.signal("TERM");
    let ended = running.finish().await.expect_success();
    assert_eq!(ended.stderr.matches("what was read before stays in force").count(), 1, "{ended}");
    assert!(ended.stderr.contains("schedules/nightly.yaml"), "{ended}");
}

/// One of two schedulers is killed while its run is under way.
#[tokio::test]
async fn two_schedulers_take_one_run_and_one_takes_over_from_the_other() {
    let rig = Rig::new();
    write(&rig, &schedule_with_short_lease(&rig));
    let (stuck, _proxy) = in_the_middle_of_a_run(&rig).await;
    let other = scheduler(&rig, &shared().kubeconfig).start().await;
    other.says("another run is under way").await;
    assert!(rig.committed().is_empty(), "the lease is held");
    stuck.signal("KILL");
    stuck.finish().await;
    eventually("the other one takes over", async || rig.committed().len() == 1).await;
    other.signal("TERM");
    let ended = other.finish().await.expect_success();
    assert!(ended.stderr.contains("another run is under way") && ended.stderr.contains("is tried again at"), "{ended}");
    assert_eq!(rig.committed().len(), 1);
}

#[tokio::test]
async fn a_run_that_fails_is_tried_again_in_its_window() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, -60, 60));
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |_| match is_up.load(SeqCst) {
        true => Action::Forward,
        false => Action::kubernetes_status(403, "Forbidden", "not now"),
    });
    let running = scheduler(&rig, &rig.through(&proxy, &shared().token)).start().await;
    running.says("is tried again at").await;
    assert!(rig.committed().is_empty());
    up.store(true, SeqCst);
    eventually("it is tried again", async || rig.committed().len() == 1).await;
    running.signal("TERM");
    let ended = running.finish().await.expect_success();
    assert!(ended.stderr.contains("not now") && ended.stderr.contains("is tried again at"), "{ended}");
}

/// A stop in the middle of a run leaves nothing that counts, and gives the lease back.
#[tokio::test]
async fn a_stop_in_the_middle_of_a_run_commits_nothing_and_the_next_scheduler_goes_on() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, -60, 60));
    let (running, _proxy) = in_the_middle_of_a_run(&rig).await;
    running.signal("TERM");
    let stopped = running.finish().await.expect(130);
    assert!(stopped.stderr.contains("interrupted; nothing was committed"), "{stopped}");
    assert!(rig.committed().is_empty());
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{}", lease_of(&rig));
    assert_eq!(shared().api().get(&lease).await["spec"]["holderIdentity"], json!(""), "it is given back");
    let next = scheduler(&rig, &shared().kubeconfig).start().await;
    eventually("the next one takes it", async || rig.committed().len() == 1).await;
    next.signal("TERM");
    next.finish().await.expect_success();
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_told_at_once() {
    let scratch = Scratch::new();
    let run = |path: &str| Ckbackup::new(&scratch).args(["scheduler", "-f", path]).run();
    assert!(run("nowhere").await.expect(2).stderr.contains("read nowhere"));
    scratch.folder("empty");
    assert!(run("empty").await.expect(2).stderr.contains("no schedule with a window"));
    scratch.file("broken/a.yaml", "kind: [");
    assert!(run("broken").await.expect(2).stderr.contains("broken/a.yaml"));
    let rig = Rig::new();
    let text = serde_json::to_vec(&schedule(&rig, -60, 60)).unwrap();
    scratch.file("twice/a.yaml", &text);
    scratch.file("twice/b.yaml", &text);
    assert!(run("twice").await.expect(2).stderr.contains("schedule nightly stands in twice/a.yaml already"));
    assert_eq!(json!(rig.committed().len()), json!(0));
}

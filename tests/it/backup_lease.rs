//! One run at a time: the lease is taken, renewed, lost and taken over, and a night never has two commits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::backup_window::{backup, lease_of, schedule, schedule_with_short_lease};
use crate::harness::command::signal;
use crate::harness::control_plane::shared;
use crate::harness::{Action, BucketKind, Ckbackup, FaultProxy, Finished, S3Server, eventually};

/// A run whose lists are held up until they are let go.
struct Slow {
    rig: Rig,
    schedule: Value,
    proxy: FaultProxy,
    go: Arc<AtomicBool>,
    renewals_fail: Arc<AtomicBool>,
}

impl Slow {
    fn new() -> Slow {
        let rig = Rig::new();
        let schedule = schedule_with_short_lease(&rig);
        let (go, renewals_fail) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (gone, failing) = (go.clone(), renewals_fail.clone());
        let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |request| {
            if request.is("GET", "/deployments") && !gone.load(SeqCst) {
                return Action::kubernetes_status(503, "ServiceUnavailable", "not yet");
            }
            match request.is("PUT", "/leases/") && failing.load(SeqCst) {
                true => Action::Hang,
                false => Action::Forward,
            }
        });
        Slow { rig, schedule, proxy, go, renewals_fail }
    }

    /// The run through the proxy.
    fn slow(&self, when: &str) -> Ckbackup {
        let kubeconfig = self.rig.through(&self.proxy, &shared().token);
        self.run(when, &kubeconfig)
    }

    /// Another run, which nothing holds up.
    fn other(&self, when: &str) -> Ckbackup {
        self.run(when, &shared().kubeconfig)
    }

    fn run(&self, when: &str, kubeconfig: &Path) -> Ckbackup {
        let file = self.rig.scratch.file("nightly.yaml", serde_json::to_vec(&self.schedule).unwrap());
        let run = Ckbackup::new(&self.rig.scratch).args(["backup", when, "-o", "json", "-f"]).arg(file);
        run.arg("--kubeconfig").arg(kubeconfig)
    }

    async fn is_listing(&self) {
        eventually("the run reads", async || self.proxy.count("GET", "/deployments") > 0).await;
    }

    async fn lease(&self) -> Value {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{}", lease_of(&self.rig));
        shared().api().find(&path).await.unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn a_second_run_is_told_who_holds_the_lease_and_the_first_one_commits() {
    let slow = Slow::new();
    let first = slow.slow("--window").start().await;
    slow.is_listing().await;
    let held = slow.lease().await;
    assert!(held["spec"]["holderIdentity"].as_str().unwrap().contains(&format!("-{}-", first.pid())), "{held}");
    for when in ["--window", "--now"] {
        let second = slow.other(when).run().await.expect(7);
        assert_eq!(second.json()["kind"], json!("leaseHeld"));
        assert!(
            second.stderr.contains("another run is under way: ") && second.stderr.contains(&lease_of(&slow.rig)),
            "{second}"
        );
    }
    slow.go.store(true, SeqCst);
    let first = first.finish().await.expect_success().json();
    assert_eq!(slow.lease().await["spec"]["holderIdentity"], json!(""), "it is given back");
    let again = slow.other("--window").run().await.expect_success().json();
    assert_eq!(again["taken"], first["id"]);
    assert_eq!(slow.rig.committed().len(), 1);
}

#[tokio::test]
async fn the_lease_of_a_run_that_was_killed_is_taken_over() {
    let slow = Slow::new();
    let first = slow.slow("--window").start().await;
    slow.is_listing().await;
    first.signal("KILL");
    first.finish().await;
    let next = slow.other("--window").run().await.expect_success();
    assert_eq!(slow.rig.committed(), [next.json()["id"].as_str().unwrap()]);
}

/// A process that is stopped in the middle of its run, and goes on after another one took the night's run.
#[tokio::test]
async fn a_run_that_stood_still_does_not_commit_after_another_did() {
    let slow = Slow::new();
    let first = slow.slow("--window").start().await;
    slow.is_listing().await;
    first.signal("STOP");
    let next = slow.other("--window").run().await.expect_success();
    slow.go.store(true, SeqCst);
    first.signal("CONT");
    let lost = first.finish().await.expect(7);
    assert!(lost.stderr.contains("was lost") && lost.stderr.contains("hint: nothing was committed"), "{lost}");
    assert_eq!(slow.rig.committed(), [next.json()["id"].as_str().unwrap()]);
}

/// The same, stopped at each of the last calls before the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_stood_still_just_before_its_commit_does_not_commit() {
    let cases = [
        ("PUT", "/platform/0001.index"),
        ("HEAD", "/platform/0001"),
        ("PUT", "/manifest.json.sig"),
        ("PUT", "/manifest.json"),
    ];
    let runs = cases.into_iter().flat_map(|case| [(case, false), (case, true)]);
    // Two at a time: a run that gets no time on a busy machine loses its lease, as it should.
    futures::StreamExt::for_each_concurrent(futures::stream::iter(runs), 2, stopped_at).await;
}

/// `/manifest.json` is not its signature.
fn is_part(path: &str, part: &str) -> bool {
    path.contains(part) && (part.ends_with(".sig") || !path.contains(".sig"))
}

async fn stopped_at(((method, part), handled): ((&'static str, &'static str), bool)) {
    let slow = Slow::new();
    slow.go.store(true, SeqCst);
    let s3 = S3Server::start(&slow.rig.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let (pid, stopped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (victim, once) = (pid.clone(), stopped.clone());
    let store = FaultProxy::plain(s3.endpoint(), move |request| {
        if request.method != method || !is_part(&request.path, part) || once.swap(true, SeqCst) {
            return Action::Forward;
        }
        let victim = victim.clone();
        let stop = Box::new(move || {
            while victim.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            signal(victim.load(SeqCst), "STOP");
        });
        if handled { Action::After(stop) } else { Action::Before(stop) }
    });
    let mut schedule = slow.schedule.clone();
    schedule["spec"]["vault"] = json!({"url": "s3://vault/prod"});
    let run =
        |endpoint: &str| backup(&slow.rig, &schedule, "--window").envs(crate::harness::s3::env(endpoint, s3.root()));
    let first = run(store.url()).start().await;
    pid.store(first.pid(), SeqCst);
    eventually("the run stands still", async || stopped.load(SeqCst)).await;
    let next = run(s3.endpoint()).run().await.expect_success().json();
    first.signal("CONT");
    let first = first.finish().await;
    // A manifest that reached the store while the lease was held is the night's: the other run finds it at once.
    let was_committed = part == "/manifest.json" && handled;
    // It knows that only when it stood still for less than the lease lasts.
    let expected = |code| code == 7 || was_committed && code == 0;
    assert!(first.code().is_some_and(expected), "{method} {part} {handled}: {first}");
    let listed = Ckbackup::new(&slow.rig.scratch).args(["list", "--vault", "s3://vault/prod", "-o", "json"]);
    let listed = listed.envs(crate::harness::s3::env(s3.endpoint(), s3.root())).run().await.expect_success().json();
    let ids: Vec<_> = listed["backups"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    let night = if was_committed { &next["taken"] } else { &next["id"] };
    assert_eq!(ids, std::slice::from_ref(night), "{method} {part} {handled}");
}

/// Cut off from the API server, a run stops before anybody else can have the lease.
#[tokio::test]
async fn a_run_that_cannot_renew_stops_before_it_commits() {
    let slow = Slow::new();
    let first = slow.slow("--window").start().await;
    slow.is_listing().await;
    slow.renewals_fail.store(true, SeqCst);
    let lost = tokio::time::timeout(Duration::from_secs(60), first.finish()).await.expect("it stops").expect(7);
    assert!(lost.stderr.contains("was lost"), "{lost}");
    assert!(slow.rig.committed().is_empty());
}

/// An answer that is lost on the way is no lost lease.
#[tokio::test]
async fn a_renewal_without_an_answer_is_found_to_be_done() {
    let rig = Rig::new();
    let schedule = schedule_with_short_lease(&rig);
    let (renewals, go) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
    let gone = go.clone();
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |request| {
        if request.is("GET", "/deployments") && !gone.load(SeqCst) {
            return Action::kubernetes_status(503, "ServiceUnavailable", "not yet");
        }
        match request.is("PUT", "/leases/") && renewals.fetch_add(1, SeqCst).is_multiple_of(3) {
            true => Action::DropAfter,
            false => Action::Forward,
        }
    });
    let kubeconfig = rig.through(&proxy, &shared().token);
    let file = rig.scratch.file("nightly.yaml", serde_json::to_vec(&schedule).unwrap());
    let run = Ckbackup::new(&rig.scratch).args(["backup", "--window", "-o", "json", "-f"]).arg(file);
    let run = run.arg("--kubeconfig").arg(kubeconfig).start().await;
    eventually("it renews", async || proxy.count("PUT", "/leases/") >= 6).await;
    go.store(true, SeqCst);
    run.finish().await.expect_success();
    assert_eq!(rig.committed().len(), 1);
}

#[tokio::test]
async fn what_a_lease_lacks_is_told() {
    let rig = Rig::new();
    let with = |lease: Value, when: &str| {
        let mut schedule = schedule(&rig, -60, 60);
        schedule["spec"]["lease"] = lease;
        backup(&rig, &schedule, when)
    };
    let says = |run: &Finished, text: &str| assert!(run.stderr.contains(text), "{text}: {run}");
    says(
        &with(json!({"namespace": "nowhere-at-all"}), "--window").run().await.expect(1),
        "make the namespace nowhere-at-all",
    );
    says(&with(json!({"term": "5s"}), "--now").run().await.expect(2), "from `6s` to `10m`");
    says(&with(json!({"name": "Not_A_Name"}), "--now").run().await.expect(2), "`spec.lease.name`");
    assert!(rig.committed().is_empty());

    let proxy =
        FaultProxy::tls(&shared().server, &shared().ca_pem, |request| match request.path.contains("/leases/") {
            true => Action::kubernetes_status(403, "Forbidden", "leases is forbidden"),
            false => Action::Forward,
        });
    let slow = Slow { proxy, ..Slow::new() };
    let hint = "allow get, create and update on leases.coordination.k8s.io in default";
    says(&slow.slow("--window").run().await.expect(1), hint);
}

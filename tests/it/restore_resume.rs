//! Restores that go on after anything: killed again and again, on another machine, with steps confirmed from elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::command::signal;
use crate::harness::control_plane::shared;
use crate::harness::{Action, Ckbackup, ControlPlane, FaultProxy, Scratch, eventually};
use crate::restore_fixture::*;

/// A proxy that kills a process when it has written so many objects more.
struct Killer {
    proxy: FaultProxy,
    victim: Arc<AtomicU32>,
    writes: Arc<AtomicU32>,
}

impl Killer {
    /// Before an API server. It kills at the 60th write after the last time, and each time a few later, so that it does not always meet
    /// the same object.
    fn before(plane: &ControlPlane) -> Killer {
        let (victim, writes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (pid, count, since) = (victim.clone(), writes.clone(), Arc::new(AtomicU32::new(0)));
        let patience = AtomicU32::new(60);
        let proxy = FaultProxy::tls(plane.sandbox.server(), &plane.ca_pem(), move |request| {
            if !request.writes() {
                return Action::Forward;
            }
            count.fetch_add(1, SeqCst);
            if since.fetch_add(1, SeqCst) + 1 < patience.load(SeqCst) {
                return Action::Forward;
            }
            since.store(0, SeqCst);
            patience.fetch_add(7, SeqCst);
            // After the server has it, and before the answer is there: what was done is not known.
            let pid = pid.clone();
            Action::After(Box::new(move || signal(pid.load(SeqCst), "KILL")))
        });
        Killer { proxy, victim, writes }
    }

    /// Runs it until it is killed, or ends. The summary, where it ended.
    async fn run(&self, command: Ckbackup) -> Option<Value> {
        let running = command.timeout(Duration::from_secs(150)).start().await;
        self.victim.store(running.pid(), SeqCst);
        let finished = running.finish().await;
        match finished.killed_by() {
            Some(9) => None,
            _ => Some(summary(&finished.expect_success())),
        }
    }
}

const KEYS: &str = "--vault demo/vault --identity demo/keys/on-call/identity.txt --signers demo/keys/on-call/allowed_signers -q -o json";

fn verb(scratch: &Scratch, words: &str, kubeconfig: &Path) -> Ckbackup {
    let command = Ckbackup::new(scratch).args(words.split(' ')).args(KEYS.split(' '));
    command.arg("--kubeconfig").arg(kubeconfig)
}

/// A restore by the shipped plan is killed with SIGKILL after every 60 writes or a few more, and gone on with: each time from the journal
/// of the machine, or from that in the vault alone. What stands at the end is what stands without any of that, and nothing is counted twice.
#[tokio::test]
async fn a_restore_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let scratch = Scratch::new();
    let demo = Ckbackup::new(&scratch).args(["demo", "--dir", "demo", "--assets"]).arg(&assets().control_plane);
    demo.timeout(Duration::from_secs(180)).run().await.expect_success();
    let plan = "restore --yes -f demo/restore-plans/workload-cluster.yaml";

    let calm = ControlPlane::start(&scratch, "calm").await;
    let undisturbed = summary(&verb(&scratch, plan, calm.kubeconfig()).run().await.expect_success());

    let plane = ControlPlane::start(&scratch, "stormy").await;
    let killer = Killer::before(&plane);
    let kubeconfig = plane.kubeconfig_through(&killer.proxy, &scratch, "stormy");
    let mut ended = killer.run(verb(&scratch, plan, &kubeconfig)).await;
    let mut rounds = 0;
    while ended.is_none() {
        rounds += 1;
        assert!(rounds < 60, "it does not get on");
        let resume = verb(&scratch, "restore --yes --resume", &kubeconfig);
        // Every third time from another machine, which has only what came into the vault.
        let elsewhere = scratch.path().join(format!("machine-{rounds}"));
        ended = killer.run(if rounds % 3 == 0 { resume.env("CKBACKUP_STATE_DIR", elsewhere) } else { resume }).await;
    }
    let resumed = ended.unwrap();
    assert!(rounds >= 5, "{rounds} rounds, {} writes", killer.writes.load(SeqCst));
    assert_eq!(resumed["status"], "complete", "{resumed:#}");
    let (all, before) = (items(&resumed), items(&undisturbed));
    assert_eq!(all.iter().sum::<u64>(), before.iter().sum::<u64>(), "{all:?} after {before:?}");
    assert_eq!((all[3], all[4]), (before[3], 0), "{all:?} after {before:?}");

    verb(&scratch, "diff latest", plane.kubeconfig()).run().await.expect_success();
    let (after_storms, after_calm) = (fingerprint(&scratch, &plane).await, fingerprint(&scratch, &calm).await);
    let only_in = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|object| !those.contains(object)).cloned().collect()
    };
    let differ = (only_in(&after_storms, &after_calm), only_in(&after_calm, &after_storms));
    assert_eq!(differ, (Vec::new(), Vec::new()));
}

/// Every object of a cluster as a backup by the demo's schedule sees it, without what servers set: its path and digest of its content.
async fn fingerprint(scratch: &Scratch, plane: &ControlPlane) -> Vec<String> {
    let mut all = Vec::new();
    let api = plane.api();
    let paths = [
        "/api/v1/secrets",
        "/api/v1/configmaps",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/statefulsets",
        "/api/v1/services",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/api/v1/persistentvolumeclaims",
        "/apis/networking.k8s.io/v1/ingresses",
        "/api/v1/serviceaccounts",
        DEFINITIONS,
    ];
    for path in paths {
        for mut object in api.list(path).await {
            let metadata = object["metadata"].as_object_mut().unwrap();
            for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
                metadata.remove(key);
            }
            // Owners are compared by name: their uids are the server's to give.
            for owner in metadata.get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten() {
                owner["uid"] = Value::Null;
            }
            // The API server makes it, of its own port.
            if object["metadata"]["name"] == "kubernetes" && path.ends_with("services") {
                continue;
            }
            for given in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
                object["spec"].as_object_mut().map(|spec| spec.remove(given));
            }
            object.as_object_mut().unwrap().remove("status");
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                port.as_object_mut().unwrap().remove("nodePort");
            }
            all.push(format!("{path} {object}"));
        }
    }
    assert!(all.len() > 200, "{} in {}", all.len(), scratch.path().display());
    all.sort();
    all
}

/// What the tests below restore: a few config maps, a step that asks a person, and more.
fn resume(rig: &Rig, words: &str, kubeconfig: &Path) -> Ckbackup {
    rig.reading(words).arg("--kubeconfig").arg(kubeconfig)
}

/// The id of the restore whose journal stands in the vault.
fn restore_id(rig: &Rig) -> String {
    let folder = std::fs::read_dir(rig.path("vault/workload-1/restores")).unwrap();
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max().unwrap()
}

#[tokio::test]
async fn a_manual_step_is_confirmed_from_another_terminal_or_another_machine() {
    let (rig, _) = backed_up("acks").await;
    let plan = rig.plan(ASKS);
    for elsewhere in [false, true] {
        let restore = rig.restore(&plan, &shared().kubeconfig).arg("--await-ack").start().await;
        restore.says("from elsewhere: ckbackup ack ").await;
        let id = restore.said().split("ckbackup ack ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();

        let wrong = rig.ckbackup(&format!("ack {id} maps")).run().await.expect(2);
        assert!(wrong.stderr.contains("no manual step maps") && wrong.stderr.contains("it has: dns"), "{wrong}");
        let ack = match elsewhere {
            false => rig.ckbackup(&format!("ack {id} dns --by Ada")),
            true => {
                eventually("the journal is in the vault", async || {
                    rig.path("vault/workload-1/restores").join(&id).exists()
                })
                .await;
                let words = format!("ack {id} dns --by Ada");
                rig.reading(&words).env("CKBACKUP_STATE_DIR", rig.path("another-machine"))
            }
        };
        let said = ack.run().await.expect_success();
        assert!(said.stdout.contains("Ada"), "{said}");
        let finished = restore.finish().await.expect_success();
        let summary = summary(&finished);
        assert_eq!(step(&summary, "dns")["note"], "Point DNS at it (Ada)");
        assert!(step(&summary, "dns")["peopleSeconds"].as_f64().unwrap() > 0.0, "{summary:#}");
    }
}

/// Reports tell machine's time from people's: a step that was cut off had its part in it.
#[tokio::test]
async fn people_have_taken_their_time_also_where_it_was_cut_off() {
    let (rig, _) = backed_up("cut-off").await;
    let restore = rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--await-ack");
    let summary = cut_off_while_it_waits(restore).await;
    let asked = step(&summary, "dns");
    assert_eq!((asked["status"].as_str(), asked["note"].as_str()), (Some("failed"), Some("stopped in the middle")));
    let seconds = |key: &str| asked[key].as_f64().unwrap();
    assert!(seconds("peopleSeconds") >= 1.0 && seconds("seconds") >= seconds("peopleSeconds"), "{asked:#}");
    assert!(asked["started"].as_str() < asked["ended"].as_str(), "{asked:#}");
}

/// A restore that waits for a person, and is cut off a while later: that long the person has taken.
async fn cut_off_while_it_waits(restore: Ckbackup) -> Value {
    let running = restore.start().await;
    running.says("from elsewhere: ckbackup ack ").await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    running.signal("INT");
    summary(&running.finish().await.expect(130))
}

/// Begin, prediction, first opening and times are those of all runs, not of the last look.
#[tokio::test]
async fn a_resumed_restore_tells_the_numbers_of_all_its_runs() {
    let (rig, _) = backed_up("numbers").await;
    let steps = "[{name: maps, apply: {kinds: [ConfigMap]}}, \
        {name: open, after: [maps], gate: {kind: Namespace, condition: Active, labels: kubernetes.io/metadata.name=default}}, \
        {name: dns, after: [open], manual: {title: Point DNS at it}}]";
    let plan = rig.plan(&format!("{steps}\n  usable: open"));
    let again = || resume(&rig, "restore --resume --await-ack", &shared().kubeconfig);
    let first = cut_off_while_it_waits(rig.restore(&plan, &shared().kubeconfig).arg("--await-ack")).await;
    let second = cut_off_while_it_waits(again()).await;
    let running = again().args(["--report-dir", "report"]).start().await;
    running.says("from elsewhere: ckbackup ack ").await;
    rig.ckbackup("ack latest dns --by Ada").run().await.expect_success();
    let third = summary(&running.finish().await.expect_success());

    let resumed = [&first, &second, &third].map(|summary| summary["resumed"].as_bool());
    assert_eq!(resumed, [Some(false), Some(true), Some(true)]);
    for key in ["predictedSeconds", "criticalPath"] {
        assert_eq!(third[key], first[key], "{key}");
    }
    for name in ["maps", "open"] {
        let (before, after) = (step(&first, name), step(&third, name));
        assert_eq!((&after["started"], &after["ended"]), (&before["started"], &before["ended"]), "{after:#}");
        assert_eq!((&after["items"], after["runs"].as_array().unwrap().len()), (&before["items"], 3), "{after:#}");
        assert!(after["seconds"].as_f64() >= before["seconds"].as_f64(), "{after:#}");
    }
    let dns = step(&third, "dns");
    assert_eq!(dns["started"], step(&first, "dns")["started"], "{dns:#}");
    assert_eq!(dns["runs"].as_array().unwrap().len(), 3, "{dns:#}");
    let all = ["peopleSeconds", "seconds"].map(|key| dns[key].as_f64().unwrap());
    assert!(all[0] >= 2.4 && all[1] >= all[0] && third["seconds"].as_f64().unwrap() > all[1], "{third:#}");
    let usable = [&first, &second, &third].map(|summary| summary["rto"]["usableSeconds"].as_f64().unwrap());
    assert!((usable[1] - usable[0]).abs() < 1.0 && usable[1] == usable[2], "{usable:?}");

    let report: Value = serde_json::from_slice(&std::fs::read(rig.path("report/report.json")).unwrap()).unwrap();
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&report["started"]) <= time(&step(&first, "maps")["started"]), "{report:#}");
}

#[tokio::test]
async fn a_refused_step_stops_what_comes_after_it_and_a_resumed_restore_asks_again() {
    let (rig, _) = backed_up("refused").await;
    let restore = rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--await-ack").start().await;
    restore.says("from elsewhere: ckbackup ack ").await;
    rig.ckbackup("ack latest dns --refuse --by Ada").run().await.expect_success();
    let finished = restore.finish().await.expect(3);
    let refused = summary(&finished);
    assert_eq!(
        (step(&refused, "dns")["status"].as_str(), step(&refused, "rest")["status"].as_str()),
        (Some("failed"), Some("notRun"))
    );

    let again = resume(&rig, "restore --resume --yes", &shared().kubeconfig);
    let resumed = summary(&again.run().await.expect_success());
    assert_eq!(resumed["restore"].as_str(), Some(restore_id(&rig).as_str()));
    assert_eq!((items(&resumed)[0], resumed["status"].as_str()), (5, Some("complete")), "{resumed:#}");
    let over = resume(&rig, "restore --resume --yes", &shared().kubeconfig).run().await.expect(2);
    assert!(over.stderr.contains("is complete: there is nothing to go on with"), "{over}");
}

/// The clock of the incident has kept running, and the cluster must be the one that it began in.
#[tokio::test]
async fn a_resumed_restore_keeps_its_clock_and_its_cluster() {
    let (rig, namespace) = backed_up("keeps").await;
    let (_proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.is("POST", "/configmaps") {
        true => Action::Hang,
        false => Action::Forward,
    });
    let restore = rig.restore(&rig.plan(ASKS), &kubeconfig).args(["--yes", "--incident-start", "5h"]).start().await;
    let journal = rig.path("vault/workload-1/restores");
    eventually("the journal is in the vault", async || journal.exists()).await;
    restore.signal("INT");
    let stopped = restore.finish().await.expect(130);
    assert!(stopped.stderr.contains(&format!("ckbackup restore --resume {}", restore_id(&rig))), "{stopped}");

    let other = ControlPlane::start(&rig.scratch, "other").await;
    let there = resume(&rig, "restore --resume --yes", other.kubeconfig()).run().await.expect(2);
    assert!(there.stderr.contains("is not the cluster that restore") && there.stderr.contains("begin anew"), "{there}");

    let again = resume(&rig, "restore --resume --yes", &shared().kubeconfig);
    let resumed = summary(&again.run().await.expect(4));
    assert!(resumed["rto"]["elapsedSeconds"].as_f64().unwrap() > 18000.0, "{resumed:#}");
    assert_eq!(shared().api().list(&config_maps(&namespace)).await.len(), 5);
}

/// Whoever can write to the vault, but open no backup, cannot make a restore believe that something is done.
#[tokio::test]
async fn a_journal_that_somebody_else_wrote_is_refused() {
    let (rig, _) = backed_up("forged").await;
    let restore = || rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--yes");
    restore().run().await.expect_success();
    let first = restore_id(&rig);
    restore().run().await.expect_success();
    let second = restore_id(&rig);
    let part = |id: &str| rig.path("vault/workload-1/restores").join(id).join("0001.jsonl.zst.age");
    std::fs::copy(part(&first), part(&second)).unwrap();
    let again = resume(&rig, &format!("restore --resume {second} --yes"), &shared().kubeconfig);
    let refused = again.env("CKBACKUP_STATE_DIR", rig.path("another-machine")).run().await.expect(5);
    assert!(refused.stderr.contains("was not written by somebody who can open the backup"), "{refused}");
}

#[tokio::test]
async fn steps_are_chosen_and_left_out_with_a_reason() {
    let (rig, _) = backed_up("chosen").await;
    let plan = rig.plan(ASKS);
    let restore = |words: &str| rig.restore(&plan, &shared().kubeconfig).arg("--yes").args(words.split('|'));
    let status = |summary: &Value, name: &str| step(summary, name)["status"].as_str().unwrap().to_string();

    let from = summary(&restore("--from|dns").run().await.expect_success());
    assert_eq!(["maps", "dns", "rest"].map(|name| status(&from, name)), ["leftOut", "leftOut", "done"]);
    let notes = ["maps", "dns"].map(|name| step(&from, name)["note"].as_str().unwrap());
    assert_eq!(notes, ["the restore begins with dns (--from)", "nobody did it: Point DNS at it"]);
    let only = summary(&restore("--only|maps").run().await.expect_success());
    assert_eq!(["maps", "dns", "rest"].map(|name| status(&only, name)), ["done", "leftOut", "leftOut"]);
    let skip = summary(&restore("--skip|dns|--reason|DNS is a wildcard").run().await.expect_success());
    assert_eq!(["maps", "dns", "rest"].map(|name| status(&skip, name)), ["done", "leftOut", "done"]);
    assert_eq!(step(&skip, "dns")["note"], "DNS is a wildcard");

    restore("--skip|dns").run().await.expect(2);
    let wrong = restore("--only|mapps").run().await.expect(2);
    assert!(wrong.stderr.contains("has no step mapps") && wrong.stderr.contains("it has: maps, dns, rest"), "{wrong}");
}

#[tokio::test]
async fn a_step_is_tried_again_has_its_time_and_its_failure_may_not_matter() {
    let (rig, namespace) = backed_up("tries").await;
    let refused = Arc::new(AtomicU32::new(0));
    let seen = refused.clone();
    let (_proxy, kubeconfig) = rig.in_front_of_shared(move |request| {
        match request.is("POST", "/configmaps") && seen.fetch_add(1, SeqCst) < 5 {
            true => Action::kubernetes_status(403, "Forbidden", "not yet"),
            false => Action::Forward,
        }
    });
    let plan = rig.plan(&format!(
        "[{{name: maps, apply: {{kinds: [ConfigMap]}}, retry: {{times: 2, wait: 100ms}}}}, \
          {{name: never, after: [maps], gate: {{kind: Deployment, condition: Available, namespaces: {{include: [{namespace}]}}}}, \
            timeout: 1s, onFailure: continue}}, \
          {{name: rest, after: [never], apply: {{}}}}, \
          {{name: absent, apply: {{kinds: [Secret]}}, when: {{source: metrics}}}}]"
    ));
    let finished = rig.restore(&plan, &kubeconfig).run().await.expect(3);
    let summary = summary(&finished);
    let maps = step(&summary, "maps");
    assert_eq!(
        (maps["status"].as_str(), maps["tries"].as_u64(), maps["items"]["created"].as_u64()),
        (Some("done"), Some(2), Some(5))
    );
    assert_eq!(step(&summary, "never")["note"], "no Deployment is selected by the gate after 1s");
    assert_eq!(
        (step(&summary, "rest")["status"].as_str(), step(&summary, "absent")["status"].as_str()),
        (Some("done"), Some("leftOut"))
    );
    assert_eq!(step(&summary, "absent")["note"], "the backup has no source metrics");
}

/// Two clusters, each with a backup of the same night, by one plan in which another one stands.
#[tokio::test]
async fn a_plan_spans_clusters_each_with_its_own_backup() {
    let rig = Rig::new().await;
    let (one, two) = (ControlPlane::start(&rig.scratch, "one").await, ControlPlane::start(&rig.scratch, "two").await);
    for (plane, cluster) in [(&one, "mgmt-1"), (&two, "workload-1")] {
        plane.api().create_namespace("app").await;
        plane.api().create(&config_maps("app"), &config_map(cluster)).await;
        let file = rig.schedule("nightly", &only("app"));
        let text =
            std::fs::read_to_string(&file).unwrap().replace("cluster: workload-1", &format!("cluster: {cluster}"));
        std::fs::write(&file, text).unwrap();
        rig.back_up_by("nightly.yaml", plane.kubeconfig()).await;
        plane.api().delete(&format!("{}/{cluster}", config_maps("app"))).await;
    }
    rig.plan_named("objects", "[{name: all, apply: {}}]");
    let both = "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {name: both}\nspec:\n  rto: 4h\n  \
        targets: {management: {cluster: mgmt-1}, workload: {cluster: workload-1}}\n  steps:\n  \
        - {name: management, target: management, plan: {file: objects.yaml}}\n  \
        - {name: workload, target: workload, after: [management], plan: {file: objects.yaml}}\n";
    let plan = rig.scratch.file("restore-plans/both.yaml", both);
    // One kubeconfig with both contexts, as an engineer has it.
    let config = format!("{}:{}", one.kubeconfig().display(), two.kubeconfig().display());
    let words = |more: &str| {
        let command = rig.ckbackup(&format!("restore -f {} {more}", plan.display())).env("KUBECONFIG", &config);
        command.args("-o json --vault vault --identity keys/identity.txt --signers keys/allowed_signers".split(' '))
    };
    let unsaid = words("--target management=one").run().await.expect(2);
    assert!(unsaid.stderr.contains("which cluster is target workload"), "{unsaid}");
    let same = words("--target management=one --target workload=one").run().await.expect(2);
    assert!(same.stderr.contains("are the same cluster"), "{same}");

    let done = words("--target management=one --target workload=two").run().await.expect_success();
    assert!(done.stderr.contains("of the same night"), "{done}");
    let summary = summary(&done);
    assert_eq!(summary["targets"].as_array().unwrap().len(), 2);
    assert_eq!(step(&summary, "workload/all")["target"], "workload");
    for (plane, cluster) in [(&one, "mgmt-1"), (&two, "workload-1")] {
        let names: Vec<_> =
            plane.api().list(&config_maps("app")).await.iter().map(|o| o["metadata"]["name"].clone()).collect();
        assert!(names.contains(&json!(cluster)) && names.len() == 1, "{names:?}");
    }
}

#[tokio::test]
async fn what_happens_is_told_as_events_and_predicted_before() {
    let (rig, _) = backed_up("events").await;
    let plan = rig.plan(ASKS);
    let command = rig
        .ckbackup("restore --yes -o json --vault vault --identity keys/identity.txt --signers keys/allowed_signers -f");
    let finished = command.arg(&plan).arg("--kubeconfig").arg(&shared().kubeconfig).run().await.expect_success();
    let events: Vec<Value> = finished.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "begin", "{finished}");
    for kind in ["stepBegin", "waiting", "stepEnd", "progress"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let progress = events.iter().find(|event| event["event"] == "progress").unwrap();
    assert_eq!(progress["forecast"]["course"], "onCourse", "{progress}");
    let summary = summary(&finished);
    assert!(
        summary["predictedSeconds"].as_f64().unwrap() > 0.0 && summary["criticalPath"].as_array().unwrap().len() == 3
    );
}

#[tokio::test]
async fn a_plan_is_checked_shown_and_drawn() {
    let (rig, _) = backed_up("plans").await;
    let plan = rig.plan("[{name: maps, apply: {kinds: [ConfigMap]}, expect: 2m}, {name: dns, after: [maps], manual: {title: t}, expect: 10m}, {name: aside, apply: {kinds: [Secret]}, expect: 1m}]");
    let look = |verb: &str| rig.ckbackup(&format!("plan {verb} -f")).arg(&plan);
    let shown = look("show").run().await.expect_success();
    assert!(shown.stdout.contains("critical") && shown.stdout.contains("done after 12m of 4h: on course"), "{shown}");
    let text = look("graph").run().await.expect_success();
    assert!(text.stdout.contains("* maps") && text.stdout.contains("  aside"), "{text}");
    let dot = look("graph --format dot").run().await.expect_success();
    assert!(dot.stdout.contains("\"maps\" -> \"dns\" [style=bold"), "{dot}");
    let svg = look("graph --format svg").run().await.expect_success();
    assert!(svg.stdout.starts_with("<svg") && svg.stdout.matches("class=\"critical\"").count() == 2, "{svg}");

    let check = rig
        .ckbackup("plan check --vault vault --identity keys/identity.txt --signers keys/allowed_signers -f")
        .arg(&plan);
    let lacks = check.run().await.expect(3);
    assert!(lacks.stdout.contains("namespaces of the backup come back with no step"), "{lacks}");
    assert!(lacks.stdout.contains("step aside takes nothing of this backup"), "{lacks}");
}

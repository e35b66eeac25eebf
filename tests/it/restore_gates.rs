//! Gates: what opens them, what does not, and what they say when they stay closed.
//!
//! Nobody runs workloads on these API servers: what controllers and kubelets would report is written by hand.

use std::time::Instant;

use ckbackup::cluster::{Access, Cluster};
use ckbackup::config;
use ckbackup::restore::{Closed, check};
use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::prometheus::Prometheus;
use crate::harness::{
    Action, Api, ControlPlane, FaultProxy, Scratch, Search, eventually, search, serve_aggregated, shared_node,
};
use crate::restore_fixture::*;

/// A backup of almost nothing, and an empty namespace: gates only look.
async fn rig() -> (Rig, String) {
    let (rig, namespace) = (Rig::new().await, shared().namespace("gates").await);
    fill(&namespace, 1).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    (rig, namespace)
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn workload(kind: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template()});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": {"gate": name}}, "spec": spec})
}

fn job(name: &str) -> Value {
    let mut template = template();
    template["spec"]["restartPolicy"] = json!("Never");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}})
}

fn gate(name: &str, kind: &str, namespace: &str, more: &str) -> String {
    format!("{{name: {name}, gate: {{kind: {kind}, namespaces: {{include: [{namespace}]}}{more}}}}}")
}

fn note<'s>(summary: &'s Value, name: &str) -> &'s str {
    step(summary, name)["note"].as_str().unwrap_or_else(|| panic!("no note: {summary:#}"))
}

/// A pod that carries the labels of the workloads.
async fn create_pod(api: &Api, namespace: &str, name: &str, volumes: Value) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}});
    api.create(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await;
}

#[tokio::test]
async fn each_kind_is_ready_by_what_is_known_of_it() {
    let (rig, namespace) = rig().await;
    let api = shared().api();
    let apps = |plural: &str| format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    api.create(&apps("deployments"), &workload("Deployment", "web", json!({"replicas": 2}))).await;
    api.create(&apps("statefulsets"), &workload("StatefulSet", "db", json!({"replicas": 2, "serviceName": "db"})))
        .await;
    api.create(&apps("daemonsets"), &workload("DaemonSet", "agent", json!({}))).await;
    api.create(&apps("replicasets"), &workload("ReplicaSet", "rs", json!({"replicas": 1}))).await;
    api.create(&jobs, &job("load")).await;
    create_pod(&api, &namespace, "one", json!([])).await;
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod"];
    let plan = |timeout: &str| {
        let gates: Vec<_> = kinds
            .iter()
            .map(|kind| gate(&kind.to_lowercase(), kind, &namespace, &format!(", timeout: {timeout}")))
            .collect();
        rig.plan(&format!("[{}]", gates.join(", ")))
    };

    let closed = summary(&rig.restore(&plan("1s"), &shared().kubeconfig).run().await.expect(3));
    let seen = "its controller has not seen it as it is now";
    for (gate, why) in [
        ("deployment", format!("Deployment {namespace}/web: {seen}")),
        ("statefulset", format!("StatefulSet {namespace}/db: {seen}")),
        ("daemonset", format!("DaemonSet {namespace}/agent: {seen}")),
        ("replicaset", format!("ReplicaSet {namespace}/rs: {seen}")),
        ("job", format!("Job {namespace}/load: 0 of 1 completed")),
        ("pod", format!("Pod {namespace}/one: its phase is Pending")),
    ] {
        assert_eq!(note(&closed, gate), format!("not ready after 1s, 1 of 1: {why}"));
    }

    let deployment = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 1});
    let path = format!("{}/web/status", apps("deployments"));
    api.patch(&path, &json!({"status": deployment})).await;
    let one_less = rig.restore(
        &rig.plan(&format!("[{}]", gate("web", "Deployment", &namespace, ", timeout: 1s"))),
        &shared().kubeconfig,
    );
    let one_less = summary(&one_less.run().await.expect(3));
    assert_eq!(
        note(&one_less, "web"),
        format!("not ready after 1s, 1 of 1: Deployment {namespace}/web: 1 of 2 available")
    );

    api.patch(&path, &json!({"status": {"availableReplicas": 2}})).await;
    let set = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a"});
    api.patch(&format!("{}/db/status", apps("statefulsets")), &json!({"status": set})).await;
    let agent = json!({"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1,
        "updatedNumberScheduled": 1, "numberAvailable": 1, "numberReady": 1});
    api.patch(&format!("{}/agent/status", apps("daemonsets")), &json!({"status": agent})).await;
    let replicas = json!({"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    api.patch(&format!("{}/rs/status", apps("replicasets")), &json!({"status": replicas})).await;
    api.patch(&format!("{jobs}/load/status"), &json!({"status": job_status("SuccessCriteriaMet", "Complete")})).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(&format!("/api/v1/namespaces/{namespace}/pods/one/status"), &ready).await;
    let open = summary(&rig.restore(&plan("1m"), &shared().kubeconfig).run().await.expect_success());
    kinds.iter().for_each(|kind| assert_eq!(note(&open, &kind.to_lowercase()), "1 ready"));
}

/// A job that has ended: the API server takes an end only with what comes before it.
fn job_status(before: &str, end: &str) -> Value {
    let condition = |name: &str| {
        json!({"type": name, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached its limit",
            "lastTransitionTime": "2026-11-26T00:00:00Z"})
    };
    let mut status = json!({"startTime": "2026-11-26T00:00:00Z", "conditions": [condition(before), condition(end)]});
    if end == "Complete" {
        status["completionTime"] = json!("2026-11-26T00:00:01Z");
        status["succeeded"] = json!(1);
    }
    status
}

#[tokio::test]
async fn a_job_that_fails_closes_its_gate_at_once() {
    let (rig, namespace) = rig().await;
    let (api, jobs) = (shared().api(), format!("/apis/batch/v1/namespaces/{namespace}/jobs"));
    api.create(&jobs, &job("load")).await;
    api.create(&jobs, &job("other")).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let plan = rig.plan(&format!("[{}]", gate("loaded", "Job", &namespace, ", condition: Complete, timeout: 1h")));
    let running = rig.restore(&plan, &kubeconfig).start().await;
    eventually("the gate looks twice", async || proxy.count("GET", "/jobs?") >= 2).await;
    api.patch(&format!("{jobs}/load/status"), &json!({"status": job_status("FailureTarget", "Failed")})).await;
    let closed = summary(&running.finish().await.expect(3));
    let why = "it failed: BackoffLimitExceeded Job has reached its limit";
    assert_eq!(note(&closed, "loaded"), format!("failed, 1 of 2: Job {namespace}/load: {why}"));
    let all = step(&closed, "loaded")["notReady"].as_array().unwrap();
    assert_eq!((all.len(), &all[0]["why"]), (2, &json!(why)), "{all:?}");
}

#[tokio::test]
async fn claims_that_wait_for_their_first_consumer_are_fine_until_a_pod_uses_them() {
    let (rig, namespace) = rig().await;
    let api = shared().api();
    for (name, mode) in [("lazy", "WaitForFirstConsumer"), ("eager", "Immediate")] {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "x.test/none",
            "metadata": {"name": format!("{namespace}-{name}")}, "volumeBindingMode": mode});
        api.create("/apis/storage.k8s.io/v1/storageclasses", &class).await;
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "labels": {"class": name}}, "spec": {
                "storageClassName": format!("{namespace}-{name}"), "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}});
        api.create(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"), &claim).await;
    }
    let of =
        |name: &str| gate(name, "PersistentVolumeClaim", &namespace, &format!(", labels: class={name}, timeout: 1s"));
    let plan = rig.plan(&format!("[{}, {}]", of("lazy"), of("eager")));
    let first = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    assert_eq!(note(&first, "lazy"), "1 ready, of which 1 waits for its first consumer");
    let pending = |name: &str| {
        format!("not ready after 1s, 1 of 1: PersistentVolumeClaim {namespace}/{name}: its phase is Pending")
    };
    assert_eq!(note(&first, "eager"), pending("eager"));

    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "lazy"}}]);
    create_pod(&api, &namespace, "consumer", volumes).await;
    let second = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    assert_eq!(note(&second, "lazy"), pending("lazy"));
}

/// An event about an object, so many minutes past the hour.
async fn create_event(api: &Api, namespace: &str, (kind, name): (&str, &str), reason: &str, minute: u32) {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.{minute}")}, "type": "Warning",
        "involvedObject": {"kind": kind, "name": name, "namespace": namespace},
        "reason": reason, "message": format!("{reason} of {name}"),
        "firstTimestamp": "2026-11-26T00:00:00Z", "lastTimestamp": format!("2026-11-26T00:{minute:02}:00Z"),
    });
    api.create(&format!("/api/v1/namespaces/{namespace}/events"), &event).await;
}

#[tokio::test]
async fn a_gate_that_stays_closed_tells_the_last_events_of_what_is_not_ready() {
    let (rig, namespace) = rig().await;
    let api = shared().api();
    api.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &workload("Deployment", "web", json!({})))
        .await;
    create_pod(&api, &namespace, "web-1", json!([])).await;
    create_event(&api, &namespace, ("Deployment", "web"), "Scaled", 1).await;
    create_event(&api, &namespace, ("Pod", "web-1"), "FailedScheduling", 5).await;
    create_event(&api, &namespace, ("Pod", "web-1"), "BackOff", 4).await;
    create_event(&api, &namespace, ("Pod", "web-1"), "Older", 3).await;
    create_event(&api, &namespace, ("Pod", "stranger"), "Unheard", 9).await;
    let plan = rig.plan(&format!("[{}]", gate("web", "Deployment", &namespace, ", timeout: 1s")));
    let closed = rig.restore(&plan, &shared().kubeconfig).run().await.expect(3);
    let closed = summary(&closed);
    let web = &step(&closed, "web")["notReady"][0];
    assert_eq!(web["object"], format!("Deployment {namespace}/web"));
    assert_eq!(
        web["events"],
        json!(["FailedScheduling: FailedScheduling of web-1", "BackOff: BackOff of web-1", "Older: Older of web-1"])
    );
    let line = note(&closed, "web");
    assert!(line.ends_with("has not seen it as it is now (FailedScheduling: FailedScheduling of web-1)"), "{line}");
}

/// A step's time is that of its gate where it is shorter, and tells no less.
#[tokio::test]
async fn a_gate_whose_step_runs_out_of_time_tells_what_was_not_ready() {
    let (rig, namespace) = rig().await;
    let api = shared().api();
    api.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &workload("Deployment", "web", json!({})))
        .await;
    create_event(&api, &namespace, ("Deployment", "web"), "Scaled", 1).await;
    let namespaces = format!("namespaces: {{include: [{namespace}]}}");
    let plan = rig.plan(&format!(
        "[{{name: short, timeout: 1s, gate: {{kind: Deployment, {namespaces}, timeout: 1h}}}}, \
          {{name: long, timeout: 1h, gate: {{kind: Deployment, {namespaces}, timeout: 2s}}}}]"
    ));
    let closed = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    let seen = "its controller has not seen it as it is now";
    for (name, limit) in [("short", "1s"), ("long", "2s")] {
        let why =
            format!("not ready after {limit}, 1 of 1: Deployment {namespace}/web: {seen} (Scaled: Scaled of web)");
        assert_eq!(note(&closed, name), why);
        let unready =
            json!({"object": format!("Deployment {namespace}/web"), "why": seen, "events": ["Scaled: Scaled of web"]});
        assert_eq!(step(&closed, name)["notReady"], json!([unready]), "{closed:#}");
    }
}

/// Reading what it serves would hang, and so would a gate that asks for more than its own kind.
#[tokio::test]
async fn an_aggregated_api_that_hangs_does_not_stall_the_gate_of_another_kind() {
    const GROUP: &str = "hangs.gates.test";
    let scratch = Scratch::named("restore_gates.aggregated");
    let (rig, plane) = (Rig::new().await, ControlPlane::start(&scratch, "aggregated").await);
    let api = plane.api();
    api.create_namespace("shop").await;
    api.create(&config_maps("shop"), &config_map("one")).await;
    rig.back_up(plane.kubeconfig(), &only("shop")).await;
    let aggregated = serve_aggregated(&api, GROUP, |_| Action::Hang).await;
    let plan = rig.plan(&format!(
        "[{{name: claims, gate: {{kind: PersistentVolumeClaim, timeout: 1m}}}}, \
          {{name: widgets, gate: {{kind: Widget.{GROUP}, timeout: 1s}}}}]"
    ));
    let begin = Instant::now();
    let hung = summary(&rig.restore(&plan, plane.kubeconfig()).run().await.expect(3));
    assert_eq!(note(&hung, "claims"), "0 ready");
    let (claims, widgets) = (&step(&hung, "claims")["seconds"], &step(&hung, "widgets")["seconds"]);
    assert!(claims.as_f64().unwrap() < widgets.as_f64().unwrap(), "{hung:#}");
    assert_eq!(note(&hung, "widgets"), format!("the cluster does not list Widget.{GROUP} after 1s"));
    assert!(begin.elapsed().as_secs() < 60 && aggregated.count("GET", "widgets") >= 1, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_gate_waits_for_the_answer_of_a_server_and_tells_the_last_one() {
    let (rig, _) = rig().await;
    let not_yet = std::sync::atomic::AtomicU32::new(2);
    let server = FaultProxy::alone(move |seen| {
        use std::sync::atomic::Ordering::SeqCst;
        let text = |code: u16, text: &str| Action::Respond(code, Vec::new(), text.into());
        match seen.path.as_str() {
            "/ready?deep=yes" if not_yet.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() => {
                text(503, "starting\nup")
            }
            "/ready?deep=yes" => text(200, "all is well"),
            "/moved" => Action::Respond(302, vec![("location", "/ready".into())], String::new()),
            _ => text(503, "\nno healthy upstream\nat all"),
        }
    });
    rig.scratch.file("restore-plans/ca.pem", server.ca_pem().unwrap());
    let gate = |name: &str, path: &str, more: &str| {
        let url = format!("{}{path}", server.url());
        format!("{{name: {name}, gate: {{timeout: 2s, http: {{url: \"{url}\", access: {{caFile: ca.pem}}{more}}}}}}}")
    };
    let plan = rig.plan(&format!(
        "[{}, {}, {}, {}]",
        gate("ready", "/ready?deep=yes", ", contains: is well"),
        gate("down", "/down", ", status: [200, 204]"),
        gate("moved", "/moved", ""),
        gate("other", "/moved", ", status: [302], contains: x"),
    ));
    // No step needs a cluster, so none is asked for.
    let answered = summary(&rig.restore(&plan, &rig.path("none.kubeconfig")).run().await.expect(3));
    let url = server.url();
    assert_eq!(note(&answered, "ready"), format!("{url}/ready answers 200 OK"));
    let wanted = |path: &str| format!("{url}{path} does not answer as wanted after 2s");
    assert_eq!(note(&answered, "down"), format!("{}: 503 Service Unavailable: no healthy upstream", wanted("/down")));
    assert_eq!(note(&answered, "moved"), format!("{}: 302 Found", wanted("/moved")));
    assert_eq!(note(&answered, "other"), format!("{}: `x` is not in its answer, 302 Found", wanted("/moved")));
    assert!(server.count("GET", "/ready") == 3, "{:?}", server.seen());
}

#[tokio::test]
async fn a_command_that_fails_tells_what_it_said_last() {
    let (rig, _) = rig().await;
    let count = rig.path("count");
    let script = format!("echo x >> {0}; [ $(wc -l < {0}) -ge 3 ]", count.display());
    let plan = rig.plan(&format!(
        "[{{name: third, gate: {{command: {{run: [sh, -c, \"{script}\"]}}}}}}, \
          {{name: never, gate: {{timeout: 1s, command: {{run: [sh, -c, \"echo it is down >&2; exit 3\"]}}}}}}, \
          {{name: missing, gate: {{timeout: 1s, command: {{run: [/no/such/program]}}}}}}]"
    ));
    let ran = summary(&rig.restore(&plan, &rig.path("none.kubeconfig")).run().await.expect(3));
    assert_eq!(note(&ran, "third"), "command sh succeeds");
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 3);
    assert_eq!(note(&ran, "never"), "command sh does not succeed after 1s: exit status: 3: it is down");
    assert!(note(&ran, "missing").starts_with("command /no/such/program cannot be run after 1s: "), "{ran:#}");
}

#[tokio::test]
async fn a_gate_waits_for_the_health_of_an_elasticsearch() {
    let (rig, _) = rig().await;
    let server = search(Search::Elasticsearch8);
    // A single node has no place for replicas.
    server.order("PUT", "gates-health", json!({"settings": {"number_of_shards": 1, "number_of_replicas": 1}})).await;
    let gate = |name: &str, more: &str| {
        format!("{{name: {name}, gate: {{timeout: 20s, elasticsearch: {{url: \"{}\"{more}}}}}}}", server.url())
    };
    let plan = rig.plan(&format!("[{}, {}]", gate("usable", ""), gate("whole", ", health: green")));
    let asked = summary(&rig.restore(&plan, &rig.path("none.kubeconfig")).run().await.expect(3));
    assert_eq!(note(&asked, "usable"), format!("{}/ is yellow", server.url()));
    let whole = note(&asked, "whole");
    assert!(
        whole.contains("is not green after 20s: its health is yellow, ") && whole.contains(" shards are unassigned"),
        "{whole}"
    );
}

#[tokio::test]
async fn a_gate_waits_for_a_query_to_be_true() {
    let (rig, _) = rig().await;
    let server = Prometheus::start(&rig.scratch, &rig.path("data"), &[]).await;
    let gate = |name: &str, timeout: &str, query: &str| {
        format!(
            "{{name: {name}, gate: {{timeout: {timeout}, prometheus: {{url: \"{}\", query: '{query}'}}}}}}",
            server.url()
        )
    };
    let plan = rig.plan(&format!(
        "[{}, {}, {}, {}]",
        gate("up", "1m", "min(up{job=\"self\"})"),
        gate("down", "2s", "1 - up{job=\"self\"}"),
        gate("unknown", "1s", "no_such_metric"),
        gate("wrong", "1h", "up{"),
    ));
    let asked = summary(&rig.restore(&plan, &rig.path("none.kubeconfig")).run().await.expect(3));
    assert_eq!(note(&asked, "up"), "the query is true");
    let untrue = |limit: &str| format!("the query to {}/ is not true after {limit}: ", server.url());
    assert!(note(&asked, "unknown") == format!("{}it has no result", untrue("1s")), "{asked:#}");
    // What cannot be read is not waited for.
    assert!(
        note(&asked, "wrong").contains("is not true: ") && note(&asked, "wrong").contains("parse error"),
        "{asked:#}"
    );
    assert!(note(&asked, "down").starts_with(&untrue("2s")), "{asked:#}");
}

async fn connect(kubeconfig: &std::path::Path) -> Cluster {
    let access = Access::Kubeconfig { files: vec![kubeconfig.into()], context: None };
    Cluster::connect(access).await.unwrap_or_else(|e| panic!("{e}"))
}

/// The check of a manual step says at once what is not true, as a person waits for it.
#[tokio::test]
async fn a_check_looks_once() {
    let (rig, namespace) = rig().await;
    let api = shared().api();
    api.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &workload("Deployment", "web", json!({})))
        .await;
    create_event(&api, &namespace, ("Deployment", "web"), "Scaled", 1).await;
    let looked_at = format!("{{kind: Deployment, namespaces: {{include: [{namespace}]}}}}");
    let plan = rig.plan(&format!("[{{name: dns, manual: {{title: x, minutes: 5, check: {looked_at}}}}}]"));
    let plan = config::read_plan(&plan, None).unwrap();
    assert!(plan.needs_cluster(0));
    let config::Action::Manual(manual) = &plan.steps[0].action else { panic!("no manual step") };
    let cluster = connect(&shared().kubeconfig).await;
    let look = async || check(Some(&cluster), manual.check.as_ref().unwrap()).await;

    let seen = "its controller has not seen it as it is now (Scaled: Scaled of web)";
    match look().await.unwrap_err() {
        Closed::NotReady { words, objects } => {
            assert_eq!(words, format!("not ready, 1 of 1: Deployment {namespace}/web: {seen}"));
            assert_eq!(objects[0].object, format!("Deployment {namespace}/web"));
        }
        lost => panic!("{lost:?}"),
    }
    let status = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    api.patch(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/web/status"), &json!({"status": status}))
        .await;
    assert_eq!(look().await.unwrap(), "1 ready");
}

/// It runs in a real pod, as the `command` step does.
#[tokio::test]
async fn a_gate_asks_a_command_in_a_pod() {
    let (node, rig) = (shared_node().await, Rig::new().await);
    let namespace = node.namespace("gate").await;
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: \"busybox:test\", command: [sleep, \"100000\"]}]
";
    node.apply(&namespace, pod).await;
    node.pod_ready(&namespace, "box").await;
    let cluster = connect(&node.kubeconfig()).await;
    let ask = async |script: &str| {
        let place = format!("{{namespace: {namespace}, selector: app=box}}");
        let run = format!("{{command: {{pod: {place}, run: [sh, -c, \"{script}\"]}}}}");
        let plan = rig.plan(&format!("[{{name: asks, gate: {run}}}]"));
        let plan = config::read_plan(&plan, None).unwrap();
        let config::Action::Gate(gate) = &plan.steps[0].action else { panic!("no gate") };
        check(Some(&cluster), &gate.what).await
    };
    assert_eq!(ask("test -d /bin").await.unwrap(), "command sh succeeds");
    match ask("echo not here >&2; exit 4").await.unwrap_err() {
        Closed::NotReady { words, .. } => assert_eq!(words, "command sh does not succeed: exit status: 4: not here"),
        lost => panic!("{lost:?}"),
    }
}

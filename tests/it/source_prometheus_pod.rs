//! Source `prometheus` out of a pod of a real node.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::data_stage::{DataStage, id_of, noise, record, tree, write};
use crate::harness::control_plane::write_kubeconfig;
use crate::harness::exec::{exec, output_of};
use crate::harness::prometheus::{Prometheus, make_blocks};
use crate::harness::{Action, Api, Ckbackup, FaultProxy, Node, eventually, shared_node};
use crate::job_rights::{collection, printed_in, token};
use crate::source_prometheus::{HOURS, all_samples, metrics, samples};
use crate::vault_stage::Place;

/// It waits for what a test puts into its data directory.
const PROMETHEUS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: prometheus, labels: {app: prometheus}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "prometheus:test"
    command: [sh, -c, "until [ -e go ]; do sleep 0.1; done; rm go; exec prometheus --config.file=/etc/prometheus.yml --storage.tsdb.path=/prometheus --storage.tsdb.retention.time=10y --web.enable-admin-api"]
    workingDir: /prometheus
    readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1}
"#;

/// Its shell is what a test puts to /tools, once it has.
const BOX: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:test", command: [/bin/sleep, "100000"], env: [{name: PATH, value: "/tools:/bin"}]}]
"#;

fn on(node: &Node, run: Ckbackup) -> Ckbackup {
    run.arg("--kubeconfig").arg(node.kubeconfig())
}

/// Puts a folder of this machine into one of a pod.
async fn put(stage: &DataStage, node: &Node, namespace: &str, pod: &str, script: &str) {
    let tar = stage.scratch.path().join("data.tar");
    stage.shell(&format!("cd {} && tar -cf {} *", stage.data().display(), tar.display())).await.expect_success();
    // The shell stays, and with it standard output.
    let script = format!("{script}; exit 0");
    let (status, _) = exec(node, namespace, pod, &["/bin/sh", "-c", &script], std::fs::read(tar).unwrap()).await;
    assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
}

/// A Prometheus in a pod with three blocks and its own metrics; its namespace and URL.
async fn filled(stage: &DataStage, node: &Node) -> (String, String) {
    let namespace = node.namespace("prometheus").await;
    node.apply(&namespace, PROMETHEUS).await;
    make_blocks(&stage.scratch, &stage.data(), 2000, HOURS).await;
    let path = format!("/api/v1/namespaces/{namespace}/pods/prometheus");
    let api = node.api();
    eventually("the pod runs", async || {
        api.find(&path).await.is_some_and(|pod| !pod["status"]["containerStatuses"][0]["state"]["running"].is_null())
    })
    .await;
    put(stage, node, &namespace, "prometheus", "tar -xf - -m -C /prometheus && touch /prometheus/go").await;
    node.pod_ready(&namespace, "prometheus").await;
    let address = api.find(&path).await.unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    let url = format!("http://{address}:9090");
    eventually("it has scraped itself", async || {
        let answer = reqwest::get(format!("{url}/api/v1/query?query=up")).await.unwrap().text().await.unwrap();
        answer.contains("\"1\"]")
    })
    .await;
    (namespace, url)
}

fn scope(url: &str, namespace: &str) -> Value {
    json!({"url": url, "data": {"pod": {"namespace": namespace, "selector": "app=prometheus"}}})
}

async fn snapshots(node: &Node, namespace: &str) -> String {
    output_of(node, namespace, "prometheus", &["sh", "-c", "ls /prometheus/snapshots 2>/dev/null; exit 0"]).await
}

#[tokio::test]
async fn metrics_come_out_of_a_pod_with_the_newest() {
    let (stage, node) = (DataStage::new().await, shared_node().await);
    let place = Place::folder(&stage.scratch.folder("vault"));
    let (namespace, url) = filled(&stage, node).await;
    let backup = |scope| on(node, stage.backup(&place, "prometheus", scope));
    let left = "mkdir -p /prometheus/snapshots/20261101T000000Z-0a && touch /prometheus/snapshots/20261101T000000Z-0a/.ckbackup";
    output_of(node, &namespace, "prometheus", &["sh", "-c", left]).await;
    let id = id_of(&backup(scope(&url, &namespace)).run().await.expect_success());
    assert_eq!(snapshots(node, &namespace).await, "", "the snapshot is gone, and that of a run that was killed");
    let [blocks, series, in_all] = metrics(&stage.manifest(&place, &id).await);
    assert!(blocks == 4 && series > 6000 && in_all > 720_000, "{blocks} {series} {in_all}");
    stage.verify(&place, &id).await.expect_success();

    // It takes the roles that are printed, and no more.
    let schedule = stage.schedule(&place, json!([{"name": "data", "prometheus": scope(&url, &namespace)}]));
    let roles = printed_in(&stage.scratch, &schedule, &namespace).await;
    let (token, api) = (token(&node.api(), &namespace).await, node.api());
    let text = |name: &str| std::fs::read_to_string(node.kubeconfig().with_file_name(name)).unwrap();
    let job = write_kubeconfig(&stage.scratch, "job", text("server").trim(), Some(&text("ca.crt")), &token);
    let as_job = || stage.backup_by(&place, &schedule).arg("--kubeconfig").arg(&job);
    let refused = as_job().run().await.expect(1);
    assert!(refused.stderr.contains("cannot list resource"), "{refused}");
    for role in &roles {
        api.create(&collection(role), role).await;
    }
    let (pods, user) =
        (format!("/api/v1/namespaces/{namespace}/pods"), Api::new(text("server").trim(), &token, &text("ca.crt")));
    eventually("the roles are in force", async || user.send(reqwest::Method::GET, &pods, None).await.0 == 200).await;
    let newest = id_of(&as_job().run().await.expect_success());
    assert_eq!(snapshots(node, &namespace).await, "");
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    assert_eq!(user.send(reqwest::Method::GET, &secrets, None).await.0, 403);

    // Without a snapshot, what has not changed is not read again: it is known by the same marks.
    let mut blocks = scope(&url, &namespace);
    (blocks["head"], blocks["url"]) = (json!(false), Value::Null);
    let again = backup(blocks).run().await.expect_success();
    let manifest = stage.manifest(&place, &id_of(&again)).await;
    assert_eq!(metrics(&manifest), [3, 6000, 720_000]);
    let units = record(&manifest)["units"].as_array().unwrap();
    assert!(units.len() == 3 && units.iter().all(|unit| unit["copiedFrom"] == newest), "{units:?}");

    // The answer of the API is late: Ctrl-C before it is there.
    let late = std::time::Duration::from_secs(10);
    let slow = FaultProxy::plain(&url, move |_| Action::Late(late));
    let running = backup(scope(slow.url(), &namespace)).start().await;
    eventually("the snapshot is made", async || snapshots(node, &namespace).await.lines().count() == 1).await;
    running.signal("INT");
    let stopped = running.finish().await.expect(130);
    assert_eq!(snapshots(node, &namespace).await, "", "{stopped}");

    let to = stage.scratch.folder("restored");
    let step = json!([{"name": "metrics", "prometheus": {"source": "data", "to": to}}]);
    stage.restore(&place, &id, step).run().await.expect_success();
    let back = Prometheus::start(&stage.scratch, &to, &[]).await;
    assert_eq!(samples(&back).await, all_samples());
}

const WHOLE: &str = "01BX5ZZKBKACTAV9WEVGEMMVRZ";
const LOSING: &str = "01BX5ZZKBKACTAV9WEVGEMMVS0";

fn write_block(stage: &DataStage, ulid: &str, hour: u64) {
    let (min, max) = (hour * 3_600_000, (hour + 2) * 3_600_000);
    let meta = json!({"ulid": ulid, "minTime": min, "maxTime": max, "version": 1,
        "stats": {"numSamples": 120, "numSeries": 3, "numChunks": 3}});
    let file = |path: &str, content: &[u8]| write(&stage.data(), &format!("{ulid}/{path}"), content, 1);
    file("chunks/000001", &noise(hour, 9_000_001));
    file("chunks/000002", b"small");
    file("tombstones", b"");
    file("index", &noise(hour + 1, 70_000));
    file("meta.json", meta.to_string().as_bytes());
}

/// The shell of the pod, with a test's functions in front of each script.
const SHELL: &str = "mkdir -p /tools; cat >/tools/functions; cat >/tools/sh <<'END'\n#!/bin/sh\n\
                     shift; script=$1; shift; exec /bin/sh -c \". /tools/functions; $script\" \"$@\"\nEND\n\
                     chmod +x /tools/sh; exit 0";

async fn set_functions(node: &Node, namespace: &str, functions: &str) {
    let (status, _) = exec(node, namespace, "box", &["/bin/sh", "-c", SHELL], functions.into()).await;
    assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
}

#[tokio::test]
async fn blocks_come_out_of_a_pod_to_the_byte_and_one_that_vanishes_is_told() {
    let (stage, node) = (DataStage::new().await, shared_node().await);
    let namespace = node.namespace("blocks").await;
    node.apply(&namespace, BOX).await;
    write_block(&stage, WHOLE, 0);
    write_block(&stage, LOSING, 4);
    let expected = tree(&stage.data());
    node.pod_ready(&namespace, "box").await;
    // Beside them what is no block, or none yet.
    let more = "mkdir -p /data/wal /data/01BX5ZZKBKACTAV9WEVGEMMVS1; echo x >/data/wal/1; tar -xf - -C /data";
    put(&stage, node, &namespace, "box", more).await;
    let pod = json!({"namespace": namespace, "selector": "app=box", "path": "/data/"});
    let scope = json!({"data": {"pod": pod}, "head": false});
    let backup = async |vault: &str| {
        let place = Place::folder(&stage.scratch.folder(vault));
        let run = on(node, stage.backup(&place, "prometheus", scope.clone())).run().await;
        (place, run)
    };
    let restored = async |place: &Place, id: &str, to: &str, code| {
        let steps = json!([{"name": "metrics", "prometheus": {"source": "data", "to": to}}]);
        stage.restore(place, id, steps).run().await.expect(code);
        tree(&stage.scratch.path().join(to))
    };
    let (place, saved) = backup("whole").await;
    let id = id_of(&saved.expect_success());
    assert_eq!(record(&stage.manifest(&place, &id).await)["items"], 10);
    assert!(restored(&place, &id, "back", 0).await == expected);

    // A file goes when the blocks are listed; then the pod sends less than it said.
    let vanishing = format!("find() {{ /bin/find \"$@\" && rm -f {LOSING}/chunks/000002; }}");
    let cutting = "cat() { /bin/head -c 5000000; [ $(/bin/head -c 1 | /bin/wc -c) = 0 ]; }";
    for (vault, functions, why, whole) in [
        ("cut", cutting, "exit status: 1", &[][..]),
        ("vanished", &vanishing, "Prometheus removed it while it was read", &[WHOLE][..]),
    ] {
        set_functions(node, &namespace, functions).await;
        let (place, run) = backup(vault).await;
        let id = id_of(&run.expect(3));
        let manifest = stage.manifest(&place, &id).await;
        let problems = record(&manifest)["problems"].to_string();
        assert!(problems.contains(why) && problems.contains(LOSING), "{vault}: {problems}");
        stage.verify(&place, &id).await;
        let back = restored(&place, &id, &format!("{vault}-back"), 3).await;
        let metas: Vec<_> = back.keys().filter_map(|path| path.strip_suffix("/meta.json")).collect();
        assert_eq!(metas, whole, "only a whole block looks like one: {problems} {:?}", back.keys());
    }

    // A folder that is not there, and a pod that is not.
    for (wrong, why) in [
        (
            json!({"namespace": namespace, "selector": "app=box", "path": "/nothing"}),
            "look for blocks in /nothing in pod",
        ),
        (json!({"namespace": namespace, "selector": "app=other"}), "find a pod by app=other"),
    ] {
        let scope = json!({"data": {"pod": wrong}, "head": false});
        let failed = on(node, stage.backup(&place, "prometheus", scope)).run().await.expect(1);
        assert!(failed.stderr.contains(why), "{failed}");
    }
}

const STATEFUL: &str = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAMESPACE}
provisioner: kubernetes.io/host-path
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: prometheus}
spec:
  replicas: 1
  serviceName: prometheus
  selector: {matchLabels: {app: prometheus}}
  template:
    metadata: {labels: {app: prometheus}}
    spec:
      terminationGracePeriodSeconds: 5
      securityContext: {runAsUser: 0}
      containers:
      - name: main
        image: "prometheus:test"
        volumeMounts: [{name: data, mountPath: /prometheus, subPath: db}]
        readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: NAMESPACE, resources: {requests: {storage: 1Gi}}}
"#;

/// By way of the API server, whatever its address is by then.
fn proxied(node: &Node, namespace: &str) -> Value {
    let file = |name: &str| node.kubeconfig().with_file_name(name);
    let server = std::fs::read_to_string(file("server")).unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/pods/prometheus-0:9090/proxy");
    let access = json!({"bearerTokenFile": file("token"), "caFile": file("ca.crt")});
    json!({"url": format!("{}{path}", server.trim()), "access": access, "timeout": "60s"})
}

/// It runs with its former count, and nothing of the restore is left.
async fn runs_as_before(node: &Node, namespace: &str) {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/prometheus");
    let workload = node.api().find(&path).await.unwrap();
    assert_eq!(workload["spec"]["replicas"], 1);
    assert!(workload["metadata"]["annotations"]["ckbackup.io/former-replicas"].is_null(), "{workload}");
    let pods = node.api().list(&format!("/api/v1/namespaces/{namespace}/pods")).await;
    let names: Vec<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["prometheus-0"]);
}

#[tokio::test]
async fn blocks_go_into_the_volume_of_a_workload_which_runs_again_and_has_every_sample() {
    let (stage, node) = (DataStage::new().await, shared_node().await);
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_blocks(&stage.scratch, &stage.data(), 500, 4).await;
    let scope = json!({"data": {"path": stage.data()}, "head": false});
    let id = id_of(&stage.backup(&place, "prometheus", scope).run().await.expect_success());

    let namespace = node.namespace("stateful").await;
    node.apply(&namespace, &STATEFUL.replace("NAMESPACE", &namespace)).await;
    node.pod_ready(&namespace, "prometheus-0").await;
    let restore = |claim: &str| {
        let workload = json!({"kind": "StatefulSet", "namespace": namespace, "name": "prometheus"});
        let pod = json!({"workload": workload, "claim": claim});
        let wanted = json!({"source": "data", "pod": pod, "check": proxied(node, &namespace)});
        on(node, stage.restore(&place, &id, json!([{"name": "metrics", "prometheus": wanted}])))
    };
    let in_pod = async |script: &str| output_of(node, &namespace, "prometheus-0", &["sh", "-c", script]).await;
    let planned = restore("data-prometheus-0").arg("--dry-run").run().await.expect_success().json();
    assert_eq!(planned["steps"][0]["items"]["created"], 2, "{planned}");
    assert!(!in_pod("ls /prometheus").await.contains("\n01"), "nothing is written");

    let restored = restore("data-prometheus-0").run().await.expect_success();
    let items = restored.json()["steps"][0]["items"].clone();
    assert_eq!((&items["created"], &items["failed"]), (&json!(2), &json!(0)), "{restored}");
    assert!(restored.stdout.contains("was scaled to 0 and back to 1"), "{restored}");
    runs_as_before(node, &namespace).await;
    let sums = in_pod("cd /prometheus; ls -a; sha256sum 0*/* 0*/chunks/* 2>/dev/null; exit 0").await;
    for (path, (content, _)) in tree(&stage.data()) {
        let sum = hex::encode(Sha256::digest(content));
        assert!(sums.contains(&format!("{sum}  {path}")), "{path}: {sums}");
    }
    assert!(!sums.contains(".ckbackup"), "{sums}");

    // Again: they are there. And with a block that is not of the backup, nothing is touched.
    let again = restore("data-prometheus-0").run().await.expect_success().json();
    assert_eq!(again["steps"][0]["items"]["unchanged"], 2, "{again}");
    in_pod("mkdir /prometheus/01BX5ZZKBKACTAV9WEVGEMMVS1").await;
    let refused = restore("data-prometheus-0").run().await.expect(3);
    assert!(refused.stdout.contains("is not empty: it has 01BX5ZZKBKACTAV9WEVGEMMVS1"), "{refused}");
    runs_as_before(node, &namespace).await;
    in_pod("rmdir /prometheus/01BX5ZZKBKACTAV9WEVGEMMVS1").await;

    // Ctrl-C, while the pod that writes is there.
    let (api, file) = (node.api(), |name: &str| node.kubeconfig().with_file_name(name));
    let text = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let proxy = FaultProxy::tls(text("server").trim(), &text("ca.crt"), |request| match request.is("GET", "/exec") {
        true => Action::Hang,
        false => Action::Forward,
    });
    let slow = write_kubeconfig(&stage.scratch, "slow", proxy.url(), proxy.ca_pem(), text("token").trim());
    let workload = json!({"kind": "StatefulSet", "namespace": namespace, "name": "prometheus"});
    let wanted = json!({"source": "data", "pod": {"workload": workload, "claim": "data-prometheus-0"}});
    let step = json!([{"name": "metrics", "prometheus": wanted}]);
    let running = stage.restore(&place, &id, step).arg("--kubeconfig").arg(slow).start().await;
    eventually("its pod is asked", async || proxy.count("GET", "/exec") > 0).await;
    running.signal("INT");
    let stopped = running.finish().await.expect(130);
    let helper = format!("/api/v1/namespaces/{namespace}/pods/ckbackup-restore-data-prometheus-0");
    eventually("its pod is removed", async || api.find(&helper).await.is_none()).await;
    node.pod_ready(&namespace, "prometheus-0").await;
    assert!(!stopped.stderr.contains("failed:"), "{stopped}");
    runs_as_before(node, &namespace).await;

    let other = restore("data-prometheus-1").run().await.expect(3);
    assert!(other.stdout.contains("persistentvolumeclaims/data-prometheus-1"), "{other}");
    runs_as_before(node, &namespace).await;
}

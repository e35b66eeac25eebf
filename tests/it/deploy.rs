//! The manifests under `deploy/kustomize`: built as their users do, taken by a real API server, and allowed to run by its pod
//! security.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::{Api, Ckbackup, ControlPlane, Scratch};

/// The overlays of clusters that are saved.
const CLUSTERS: [&str; 2] = ["workload-cluster", "management-cluster"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn overlay(name: &str) -> PathBuf {
    root().join("deploy/kustomize/overlays").join(name)
}

/// The overlay of a cluster with the scheduler instead of the cron job: in a copy, in which its comment is heeded.
async fn with_scheduler(scratch: &Scratch, name: &str) -> PathBuf {
    let copy = scratch.folder(&format!("with-scheduler/{name}"));
    let folders = ["deploy", "restore-plans", "runbooks"].map(|folder| root().join(folder));
    Ckbackup::program("cp", scratch).arg("-a").args(&folders).arg(&copy).run().await.expect_success();
    let overlay = copy.join("deploy/kustomize/overlays").join(name);
    let file = overlay.join("kustomization.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let heeded = text.replace("# components:\n#   - ", "components:\n  - ");
    assert_ne!(text, heeded);
    std::fs::write(file, heeded).unwrap();
    overlay
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml).map(|document| Deserialize::deserialize(document).unwrap()).collect()
}

/// What kustomize makes of an overlay, in the order in which it can be created.
async fn built(scratch: &Scratch, overlay: &Path) -> Vec<Value> {
    let run = Ckbackup::program(&assets().kustomize, scratch).arg("build").arg(overlay).run().await;
    documents(&run.expect_success().stdout)
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn collection(object: &Value) -> String {
    let plural = match object["kind"].as_str().unwrap() {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

/// As `kubectl apply --server-side` does: overlays of two clusters have objects of the same names.
async fn apply(api: &Api, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let path = format!("{}/{name}?fieldManager=test&force=true&fieldValidation=Strict", collection(object));
    let body = ("application/apply-patch+yaml", serde_json::to_vec(object).unwrap());
    let (status, said) = api.send(reqwest::Method::PATCH, &path, Some(body)).await;
    assert!(matches!(status, 200 | 201), "{path}: {status} {}", String::from_utf8_lossy(&said));
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The pods that cron jobs and deployments would start.
fn pods_of(objects: &[Value]) -> Vec<Value> {
    let template = |object: &Value| match object["kind"].as_str().unwrap() {
        "CronJob" => Some(object["spec"]["jobTemplate"]["spec"]["template"].clone()),
        "Deployment" => Some(object["spec"]["template"].clone()),
        _ => None,
    };
    let pod = |object: &Value| {
        let template = template(object)?;
        let mut metadata = template["metadata"].clone();
        metadata["name"] = json!("try");
        metadata["namespace"] = object["metadata"]["namespace"].clone();
        Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}))
    };
    objects.iter().filter_map(pod).collect()
}

fn container(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]
}

fn arguments(pod: &Value) -> Vec<&str> {
    container(pod)["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

/// Lays out what the pod has mounted from config maps, as the kubelet does it: each file is a link by way of another one, so that
/// all change at once. Returns where `/etc/ckbackup` is.
fn lay_out(scratch: &Scratch, name: &str, objects: &[Value], pod: &Value) -> PathBuf {
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        let maps = of_kind(objects, "ConfigMap");
        let Some(map) = maps.iter().find(|map| map["metadata"]["name"] == volume["configMap"]["name"]) else {
            continue;
        };
        let mounts = container(pod)["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
        let folder = mount["mountPath"].as_str().unwrap().strip_prefix("/etc/ckbackup/").unwrap();
        let mounted = scratch.folder(&format!("{name}/{folder}"));
        symlink("..2026_11_26", mounted.join("..data")).unwrap();
        for (file, text) in map["data"].as_object().unwrap() {
            scratch.file(&format!("{name}/{folder}/..2026_11_26/{file}"), text.as_str().unwrap());
            symlink(format!("..data/{file}"), mounted.join(file)).unwrap();
        }
    }
    scratch.path().join(name)
}

async fn allowed(api: &Api, pod: &Value) -> (u16, String) {
    let path = format!("{}?dryRun=All", collection(pod));
    let body = ("application/json", serde_json::to_vec(pod).unwrap());
    let (status, said) = api.send(reqwest::Method::POST, &path, Some(body)).await;
    (status, String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn every_overlay_is_taken_and_its_pods_run_under_restricted_pod_security() {
    let scratch = Scratch::new();
    let plane = ControlPlane::start(&scratch, "deploy").await;
    let api = plane.api();
    let overlays = ["workload-cluster", "management-cluster", "keeper", "drill"].map(overlay);
    let scheduler = with_scheduler(&scratch, "workload-cluster").await;
    for (overlay, count) in overlays.iter().zip([1, 1, 2, 3]).chain([(&scheduler, 1)]) {
        let (name, objects) = (overlay.display(), built(&scratch, overlay).await);
        let own: BTreeSet<_> = of_kind(&objects, "Namespace").iter().map(|n| n["metadata"]["name"].as_str()).collect();
        // Those of what is saved, which are there in a cluster: the right to run commands in their pods is given in each.
        let others: BTreeSet<_> = objects.iter().map(|object| object["metadata"]["namespace"].as_str()).collect();
        for other in others.difference(&own).copied().flatten() {
            apply(&api, &namespace(other)).await;
        }
        for object in &objects {
            apply(&api, object).await;
        }
        let pods = pods_of(&objects);
        assert_eq!(pods.len(), count, "{name}");
        for pod in &pods {
            // A controller makes it elsewhere.
            let metadata = json!({"name": "default", "namespace": pod["metadata"]["namespace"]});
            apply(&api, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
            let (status, said) = allowed(&api, pod).await;
            assert_eq!(status, 201, "{name}: {said}");
            let mut host = pod.clone();
            host["spec"]["hostNetwork"] = json!(true);
            let (status, said) = allowed(&api, &host).await;
            assert!(status == 403 && said.contains("PodSecurity"), "{name}: {status} {said}");
        }
    }
}

#[tokio::test]
async fn the_overlays_of_clusters_have_the_roles_that_their_schedules_need() {
    let scratch = Scratch::new();
    for name in CLUSTERS {
        let objects = built(&scratch, &overlay(name)).await;
        let pods = pods_of(&objects);
        let mounted = lay_out(&scratch, name, &objects, &pods[0]);
        let file = mounted.join("schedule/nightly.yaml");
        Ckbackup::new(&scratch).arg("validate").arg(&file).run().await.expect_success();
        let rbac = Ckbackup::new(&scratch).args(["rbac", "-f"]).arg(&file).run().await.expect_success().stdout;
        assert_eq!(std::fs::read_to_string(overlay(name).join("rbac.yaml")).unwrap(), rbac, "{name}");
        // Each in its own namespace: kustomize would move them all into one.
        for role in documents(&rbac) {
            assert!(objects.contains(&role), "{name}: {role:#}");
        }
        // The job reads the schedule where it is mounted, and the arguments are understood.
        let args = arguments(&pods[0]);
        assert!(args.contains(&"/etc/ckbackup/schedule/nightly.yaml"), "{name}: {args:?}");
        let help = Ckbackup::new(&scratch).args(&args).arg("--help").run().await.expect_success();
        assert!(help.stdout.contains("--window"), "{help}");
    }
}

#[tokio::test]
async fn every_plan_and_runbook_is_mounted_where_the_schedule_includes_it() {
    let scratch = Scratch::new();
    for name in CLUSTERS {
        let objects = built(&scratch, &overlay(name)).await;
        let mounted = lay_out(&scratch, name, &objects, &pods_of(&objects)[0]);
        for (folder, extension) in [("restore-plans", "yaml"), ("runbooks", "md")] {
            let files = |folder: PathBuf| -> BTreeMap<_, _> {
                let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
                let wanted = paths.filter(|path| path.extension().is_some_and(|e| e == extension));
                wanted
                    .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
                    .collect()
            };
            assert_eq!(files(mounted.join(folder)), files(root().join(folder)), "{name}: {folder}/Kustomization");
        }
    }
}

/// Every address in a value: `http://prometheus.monitoring:9090`.
fn addresses(value: &Value) -> Vec<reqwest::Url> {
    match value {
        Value::String(text) if text.starts_with("http") => vec![text.parse().unwrap()],
        Value::Array(values) => values.iter().flat_map(addresses).collect(),
        Value::Object(values) => values.values().flat_map(addresses).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn every_address_of_a_source_is_let_out() {
    let scratch = Scratch::new();
    for (name, count) in CLUSTERS.into_iter().zip([4, 5]) {
        let objects = built(&scratch, &overlay(name)).await;
        let policies = of_kind(&objects, "NetworkPolicy");
        let rules: Vec<_> =
            policies.iter().filter_map(|policy| policy["spec"]["egress"].as_array()).flatten().collect();
        let text = std::fs::read_to_string(overlay(name).join("nightly.yaml")).unwrap();
        let found = addresses(&documents(&text)[0]["spec"]["sources"]);
        assert_eq!(found.len(), count, "{name}: {found:?}");
        for address in found {
            let (_, namespace) = address.host_str().unwrap().split_once('.').unwrap();
            let lets_out = |rule: &Value| {
                let is_port = |port: &Value| port["port"].as_u64() == address.port_or_known_default().map(u64::from);
                let is_place = |to: &Value| {
                    to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"].as_str() == Some(namespace)
                };
                let all = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
                all("ports").iter().any(is_port) && (rule["to"].is_null() || all("to").iter().any(is_place))
            };
            assert!(rules.iter().any(|rule| lets_out(rule)), "{name}: {address}");
        }
    }
}

#[tokio::test]
async fn the_scheduler_has_the_pod_of_the_cron_job_and_serves_its_metrics() {
    let scratch = Scratch::new();
    for name in CLUSTERS {
        let jobs = pods_of(&built(&scratch, &overlay(name)).await);
        let objects = built(&scratch, &with_scheduler(&scratch, name).await).await;
        assert!(of_kind(&objects, "CronJob").is_empty(), "{name}");
        let pods = pods_of(&objects);
        let (args, port) = (arguments(&pods[0]), &container(&pods[0])["ports"][0]);
        assert_eq!(port, &json!({"name": "metrics", "containerPort": 9090}));
        assert!(args.contains(&"--metrics-address=0.0.0.0:9090"), "{name}: {args:?}");
        let help = Ckbackup::new(&scratch).args(&args).arg("--help").run().await.expect_success();
        assert!(help.stdout.contains("--metrics-address"), "{help}");
        let mounted = lay_out(&scratch, name, &objects, &pods[0]).join("schedule").read_dir().unwrap();
        let names = mounted.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| !name.starts_with('.')).collect::<Vec<_>>(), ["nightly.yaml"]);

        let service = of_kind(&objects, "Service")[0];
        assert_eq!(service["spec"]["selector"], pods[0]["metadata"]["labels"], "{name}");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "metrics");
        let comes_in = |policy: &&Value| policy["spec"]["ingress"][0]["ports"][0]["port"] == "metrics";
        assert_eq!(of_kind(&objects, "NetworkPolicy").into_iter().filter(comes_in).count(), 1, "{name}");

        // All else is the same.
        let mut same = pods[0].clone();
        let own = same["spec"]["containers"][0].as_object_mut().unwrap();
        for key in ["ports", "livenessProbe", "readinessProbe"] {
            assert!(own.remove(key).is_some(), "{name}: {key}");
        }
        own["args"] = container(&jobs[0])["args"].clone();
        own["volumeMounts"].as_array_mut().unwrap().retain(|mount| mount["name"] != "signers");
        same["spec"]["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != "signers");
        same["spec"]["restartPolicy"] = json!("Never");
        // The names of config maps end in digests of their content, in which the copy of the overlay is the same.
        assert_eq!(same, jobs[0], "{name}");
    }
}

#[tokio::test]
async fn the_keeper_attests_for_every_cluster_that_ships_a_schedule() {
    let scratch = Scratch::new();
    let pods = pods_of(&built(&scratch, &overlay("keeper")).await);
    let variable = |pod: &Value| container(pod)["env"][0].clone();
    let kept: BTreeSet<_> = pods.iter().map(|pod| variable(pod)["value"].as_str().unwrap().to_owned()).collect();
    let cluster = |name: &&str| {
        let text = std::fs::read_to_string(overlay(name).join("nightly.yaml")).unwrap();
        documents(&text)[0]["spec"]["cluster"].as_str().unwrap().to_owned()
    };
    assert_eq!(kept, CLUSTERS.iter().map(cluster).collect());
    for pod in &pods {
        let args = arguments(pod);
        assert!(variable(pod)["name"] == "CLUSTER" && args.contains(&"--cluster=$(CLUSTER)"), "{args:?}");
        assert!(args.iter().any(|arg| arg.starts_with("--attest=/etc/ckbackup/attesting/")), "{args:?}");
        let args = args.iter().map(|arg| arg.replace("$(CLUSTER)", "c"));
        Ckbackup::new(&scratch).args(args).arg("--help").run().await.expect_success();
    }
}

#[tokio::test]
async fn the_drills_restore_a_shipped_plan_and_sign_what_they_proved_away_from_keeper_and_clusters() {
    let scratch = Scratch::new();
    let objects = built(&scratch, &overlay("drill")).await;
    let pods = pods_of(&objects);
    let targets: Vec<_> =
        pods.iter().flat_map(|pod| arguments(pod)).filter(|arg| arg.starts_with("--target=")).collect();
    assert_eq!(targets, ["--target=sandbox", "--target=context", "--target=context"], "nightly and quarterly");
    for (pod, name) in pods.iter().zip(["nightly", "quarterly", "quarterly-data"]) {
        let args = arguments(pod);
        for needed in ["--identity=", "--signers=", "--attest=", "--report-dir=/reports/"] {
            assert!(args.iter().any(|arg| arg.starts_with(needed)), "{name}: {needed}");
        }
        Ckbackup::new(&scratch).args(&args).arg("--help").run().await.expect_success();
        let mounted = lay_out(&scratch, name, &objects, pod);
        let plan = args.iter().find_map(|arg| arg.strip_prefix("--file=/etc/ckbackup/")).unwrap();
        Ckbackup::new(&scratch).arg("validate").arg(mounted.join(plan)).run().await.expect_success();
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "it opens backups, and is nobody in its cluster");
        assert_eq!(pod["metadata"]["namespace"], "ckbackup-drill", "who opens backups neither makes nor removes them");
    }
}

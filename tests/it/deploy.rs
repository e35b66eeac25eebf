//! The manifests under `deploy/kustomize`: built as their users do, taken by a real API server, and allowed to run by its pod
//! security.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::{Api, Ckbackup, ControlPlane, Scratch};

fn overlay(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize/overlays").join(name)
}

/// What kustomize makes of an overlay, in the order in which it can be created.
async fn built(scratch: &Scratch, name: &str) -> Vec<Value> {
    let run = Ckbackup::program(&assets().kustomize, scratch).arg("build").arg(overlay(name)).run().await;
    let yaml = run.expect_success().stdout;
    serde_yaml::Deserializer::from_str(&yaml)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
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

/// The pod that a cron job would start.
fn pod_of(cron_job: &Value) -> Value {
    let template = &cron_job["spec"]["jobTemplate"]["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!("try");
    metadata["namespace"] = cron_job["metadata"]["namespace"].clone();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
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
    for name in ["workload-cluster", "keeper"] {
        let objects = built(&scratch, name).await;
        for object in &objects {
            api.create(&collection(object), object).await;
        }
        let cron_job = objects.iter().find(|object| object["kind"] == "CronJob").unwrap();
        let namespace = cron_job["metadata"]["namespace"].as_str().unwrap();
        // A controller makes it elsewhere.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        api.create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await;
        let pod = pod_of(cron_job);
        let (status, said) = allowed(&api, &pod).await;
        assert_eq!(status, 201, "{name}: {said}");
        let mut host = pod.clone();
        host["spec"]["hostNetwork"] = json!(true);
        let (status, said) = allowed(&api, &host).await;
        assert!(status == 403 && said.contains("PodSecurity"), "{name}: {status} {said}");
    }
}

#[tokio::test]
async fn the_overlays_of_clusters_have_the_roles_that_their_schedules_need() {
    let scratch = Scratch::new();
    for name in ["workload-cluster", "management-cluster"] {
        let objects = built(&scratch, name).await;
        let schedule = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let text = schedule["data"]["nightly.yaml"].as_str().unwrap();
        let file = scratch.file(&format!("{name}.yaml"), text);
        Ckbackup::new(&scratch).arg("validate").arg(&file).run().await.expect_success();
        let rbac = Ckbackup::new(&scratch).args(["rbac", "-f"]).arg(&file).run().await.expect_success().stdout;
        assert_eq!(std::fs::read_to_string(overlay(name).join("rbac.yaml")).unwrap(), rbac, "{name}");
        // The job reads the schedule where it is mounted, and the arguments are understood.
        let cron_job = objects.iter().find(|object| object["kind"] == "CronJob").unwrap();
        let container = &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
        let args: Vec<_> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let help = Ckbackup::new(&scratch).args(&args).arg("--help").run().await.expect_success();
        assert!(help.stdout.contains("--window"), "{help}");
    }
}

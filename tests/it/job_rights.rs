//! `ckbackup rbac`: a job runs under exactly the roles that it prints, and not without any of them.

use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::backup_window::{lease_of, schedule};
use crate::harness::control_plane::{shared, write_kubeconfig};
use crate::harness::{Api, Ckbackup, Scratch, eventually};

/// What it prints for a schedule, as objects.
async fn printed(rig: &Rig, schedule: &Value, namespace: &str) -> Vec<Value> {
    printed_in(&rig.scratch, schedule, namespace).await
}

/// The same for a schedule without a rig.
pub async fn printed_in(scratch: &Scratch, schedule: &Value, namespace: &str) -> Vec<Value> {
    let file = scratch.file("nightly.yaml", schedule.to_string());
    let args = ["--service-account", "job", "--namespace", namespace, "-o", "json"];
    let run = Ckbackup::new(scratch).args(["rbac", "-f"]).arg(file).args(args).run().await;
    run.expect_success().json()["items"].as_array().unwrap().clone()
}

pub fn collection(object: &Value) -> String {
    let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{plural}"),
        None => format!("/apis/rbac.authorization.k8s.io/v1/{plural}"),
    }
}

pub async fn token(api: &Api, namespace: &str) -> String {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "job"}});
    api.create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600, "audiences": null}});
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/job/token");
    api.create(&path, &request).await["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_runs_in_its_window_under_exactly_the_roles_that_are_printed() {
    let (rig, api, namespace) = (Rig::new(), shared().api(), shared().namespace("job").await);
    let mut schedule = schedule(&rig, -60, 60);
    schedule["metadata"]["name"] = json!(format!("nightly-{namespace}"));
    schedule["spec"]["lease"] = json!({"name": lease_of(&rig), "namespace": namespace});
    schedule["spec"]["sources"][0]["kubernetes"] =
        json!({"namespaces": {"include": [namespace]}, "resources": {"include": ["configmaps", "deployments.apps"]}});
    let objects = printed(&rig, &schedule, &namespace).await;
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    for object in &objects {
        api.create(&collection(object), object).await;
    }
    let token = token(&api, &namespace).await;
    let kubeconfig = write_kubeconfig(&rig.scratch, "job", &shared().server, Some(&shared().ca_pem), &token);
    let job = Api::new(&shared().server, &token, &shared().ca_pem);
    let may = async |path: &str| job.send(reqwest::Method::GET, path, None).await.0 == 200;
    eventually("the roles are in force", async || {
        may("/api/v1/configmaps?limit=1").await && may("/api/v1/namespaces/kube-system").await
    })
    .await;
    let as_job = |run: Ckbackup| run.arg("--kubeconfig").arg(&kubeconfig);
    let run = as_job(without_kubeconfig(&rig, &schedule, "--window")).run().await.expect_success();
    let saved = rig.open(&run);
    assert!(saved.manifest["clusterUid"].is_string() && saved.manifest["window"].is_object());

    // It could tell the cluster.
    let events = api.list(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")).await;
    assert_eq!(events.iter().map(|event| &event["reason"]).collect::<Vec<_>>(), ["BackupCompleted"]);

    // What the schedule does not name, the account may not read.
    for path in [
        "/apis/events.k8s.io/v1/events?limit=1",
        "/api/v1/secrets?limit=1",
        "/api/v1/nodes?limit=1",
        "/apis/coordination.k8s.io/v1/leases?limit=1",
    ] {
        assert_eq!(job.send(reqwest::Method::GET, path, None).await.0, 403, "{path}");
    }

    // Each rule is needed.
    let role = objects.iter().find(|object| object["kind"] == "ClusterRole").unwrap();
    let path = format!("{}/{}", collection(role), role["metadata"]["name"].as_str().unwrap());
    let rules = role["rules"].as_array().unwrap();
    for without in 0..rules.len() {
        let mut fewer = rules.clone();
        let gone = fewer.remove(without);
        api.patch(&path, &json!({"rules": fewer})).await;
        let resource = gone["resources"][0].as_str().unwrap();
        let probe = match (gone["apiGroups"][0].as_str().unwrap(), gone["verbs"][0].as_str().unwrap()) {
            (_, "get") => "/api/v1/namespaces/kube-system".to_owned(),
            ("", _) => format!("/api/v1/{resource}?limit=1"),
            (group, _) => format!("/apis/{group}/v1/{resource}?limit=1"),
        };
        eventually("the rule is gone", async || !may(&probe).await).await;
        let run = as_job(without_kubeconfig(&rig, &schedule, "--now")).run().await;
        let lacks = run.code() != Some(0) || rig.open(&run).manifest["clusterUid"].is_null();
        assert!(lacks, "it is not needed: {gone}");
    }
}

fn without_kubeconfig(rig: &Rig, schedule: &Value, when: &str) -> Ckbackup {
    let file = rig.scratch.file("nightly.yaml", serde_json::to_vec_pretty(schedule).unwrap());
    Ckbackup::new(&rig.scratch).args(["backup", when, "-o", "json", "-f"]).arg(file)
}

#[tokio::test]
async fn a_schedule_of_everything_needs_to_list_everything_and_one_of_files_needs_nothing() {
    let rig = Rig::new();
    let all = rig.schedule(json!([{"name": "platform", "kubernetes": {"namespaces": {"exclude": ["scratch"]}}}]));
    let objects = printed(&rig, &all, "backup").await;
    assert_eq!(objects.len(), 2, "without a window there is no lease");
    assert_eq!(objects[0]["rules"][0], json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]}));
    assert_eq!(objects[1]["subjects"][0]["namespace"], "backup");
    let files = rig.schedule(json!([{"name": "logs", "files": {"path": "/var/log"}}]));
    assert!(printed(&rig, &files, "backup").await.is_empty());
}

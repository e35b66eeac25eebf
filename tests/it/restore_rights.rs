//! Rights that the log-in of a restore lacks, named before anything fails for them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Scratch, eventually};
use crate::restore_fixture::*;

const MAPS: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}]";

/// Lets the account `limited` of a namespace do more there.
async fn grant(namespace: &str, name: &str, rules: Value) {
    let api = shared().api();
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let (version, group) = ("rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io");
    let role = json!({"apiVersion": version, "kind": "Role", "metadata": {"name": name}, "rules": rules});
    api.create(&format!("{rbac}/roles"), &role).await;
    let subjects = json!([{"kind": "ServiceAccount", "name": "limited", "namespace": namespace}]);
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": name}, "subjects": subjects,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
    });
    api.create(&format!("{rbac}/rolebindings"), &binding).await;
}

/// A kubeconfig of somebody who may read and write config maps of one namespace and nothing else.
async fn limited(rig: &Rig, namespace: &str) -> PathBuf {
    let api = shared().api();
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]}]);
    grant(namespace, "maps", rules).await;
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    api.create(&accounts, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "limited"}}))
        .await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = api.create(&format!("{accounts}/limited/token"), &request).await;
    let token = token["status"]["token"].as_str().unwrap();
    write_limited(&rig.scratch, token)
}

fn write_limited(scratch: &Scratch, token: &str) -> PathBuf {
    let shared = shared();
    crate::harness::control_plane::write_kubeconfig(scratch, "limited", &shared.server, Some(&shared.ca_pem), token)
}

#[tokio::test]
async fn missing_rights_are_named_before_anything_fails_for_them() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("rights").await);
    fill(&namespace, 2).await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    api.create(&secrets, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})).await;
    let kubeconfig: PathBuf = limited(&rig, &namespace).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let plan = rig.plan("[{name: all, apply: {kinds: [ConfigMap, Secret]}}]");
    let dry = summary(&rig.restore(&plan, Path::new(&kubeconfig)).arg("--dry-run").run().await.expect(3));
    let obstacles = dry["obstacles"].to_string();
    assert!(obstacles.contains(&format!("the log-in may not create secrets (in {namespace})")), "{obstacles}");
    assert!(!obstacles.contains("configmaps"), "what it may do is not named: {obstacles}");
    let restored = summary(&rig.restore(&plan, &kubeconfig).run().await.expect(3));
    assert_eq!(items(&restored), [2, 0, 0, 0, 1], "{restored:#}");
}

/// What is in the way, sorted.
fn told(summary: &Value) -> Vec<String> {
    let all = summary["obstacles"].as_array().unwrap().iter();
    let mut told: Vec<_> = all.map(|obstacle| obstacle["what"].as_str().unwrap().to_string()).collect();
    told.sort();
    told
}

/// A database's dump would be fetched before it is known that nobody may enter its pod.
#[tokio::test]
async fn missing_rights_are_named_for_steps_that_write_no_objects() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("step-rights").await);
    fill(&namespace, 1).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let kubeconfig = limited(&rig, &namespace).await;
    let workload = |kind: &str, name: &str| format!("{{kind: {kind}, namespace: {namespace}, name: {name}}}");
    let (web, set) = (workload("Deployment", "web"), workload("StatefulSet", "prometheus"));
    let pod = format!("pod: {{namespace: {namespace}, selector: app=db}}");
    let plan = rig.plan(&format!(
        "[{{name: down, scale: {{workloads: [{web}], to: zero}}}}, \
          {{name: up, scale: {{workloads: [{web}], to: former}}}}, \
          {{name: db, command: {{source: dump, {pod}, run: [cat], scale: [{web}]}}}}, \
          {{name: metrics, prometheus: {{source: metrics, pod: {{workload: {set}, claim: data}}}}}}, \
          {{name: ready, gate: {{kind: Deployment}}}}, \
          {{name: asks, gate: {{command: {{{pod}, run: [\"true\"]}}}}}}, \
          {{name: dns, manual: {{title: x, check: {{kind: Pod, namespaces: {{include: [{namespace}]}}}}}}}}, \
          {{name: other, when: {{source: nowhere}}, command: {{source: nowhere, {pod}, run: [cat]}}}}]"
    ));
    let dry = async || summary(&rig.restore(&plan, &kubeconfig).arg("--dry-run").run().await);
    let (web, set) = (format!("deployments.apps/{namespace}/web"), format!("statefulsets.apps/{namespace}/prometheus"));
    let (pods, exec) = (format!("pods (in {namespace})"), format!("pods/exec (in {namespace})"));
    let everywhere = "deployments.apps (cluster-wide)".to_string();
    let mut expected: Vec<String> = [
        ("down", "get", &web),
        ("down", "list", &pods),
        ("down", "patch", &web),
        ("up", "get", &web),
        ("up", "patch", &web),
        ("db", "create", &exec),
        ("db", "get", &format!("{web}, {exec}")),
        ("db", "list", &pods),
        ("db", "patch", &web),
        ("metrics", "create", &format!("{pods}, {exec}")),
        ("metrics", "delete", &pods),
        ("metrics", "get", &format!("persistentvolumeclaims/{namespace}/data, {pods}, {exec}, {set}")),
        ("metrics", "list", &pods),
        ("metrics", "patch", &set),
        ("ready", "list", &everywhere),
        ("asks", "create", &exec),
        ("asks", "get", &exec),
        ("asks", "list", &pods),
        ("dns", "list", &pods),
    ]
    .map(|(step, verb, what)| format!("the log-in may not {verb} {what}, which step {step} does"))
    .into();
    expected.sort();
    let first = dry().await;
    assert_eq!(told(&first), expected);
    assert!(first["obstacles"].as_array().unwrap().iter().all(|obstacle| obstacle["severity"] == "fails"), "{first:#}");

    // Rights to one object are enough for a step that names it.
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let mut one = rule("apps", "deployments", &["get", "patch"]);
    one["resourceNames"] = json!(["web"]);
    let rules = json!([
        one,
        rule("apps", "statefulsets", &["get", "patch"]),
        rule("", "pods", &["list", "create", "get", "delete"]),
        rule("", "pods/exec", &["create", "get"]),
        rule("", "persistentvolumeclaims", &["get"]),
    ]);
    grant(&namespace, "steps", rules).await;
    let rest = format!("the log-in may not list {everywhere}, which step ready does");
    eventually("the rights are there", async || told(&dry().await) == [rest.clone()]).await;
}

#[tokio::test]
async fn a_log_in_that_may_not_look_for_webhooks_or_go_round_them_is_told_so() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("hook-rights").await);
    fill(&namespace, 1).await;
    let kubeconfig = limited(&rig, &namespace).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let plan = rig.plan(MAPS);
    let dry = async |policy: &str| {
        let restore = rig.restore(&plan, &kubeconfig).args(["--dry-run", "--webhooks", policy]);
        told(&summary(&restore.run().await.expect_success()))
    };
    let both = ["mutating", "validating"]
        .map(|which| format!("{which}webhookconfigurations.admissionregistration.k8s.io (cluster-wide)"));
    let may_not = |verb: &str| format!("the log-in may not {verb} {}", both.join(", "));
    assert_eq!(dry("wait").await, [may_not("list")]);
    assert_eq!(dry("goAround").await, ["get", "list", "update"].map(may_not));
}

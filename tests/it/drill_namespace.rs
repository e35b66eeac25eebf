//! A namespace of the backup beside itself, in a cluster that lives.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Ckbackup, Node, shared_node};
use crate::restore_fixture::*;

/// What acts, what does not, and what gives rights.
const SHOP: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: env}, data: {a: b}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {k: v}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: 'busybox:test', command: [sleep, '9999']}]}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick}, spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {
  restartPolicy: Never, containers: [{name: t, image: 'busybox:test'}]}}}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reads}, rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: reads},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads}, subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: edits},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subjects: [{kind: ServiceAccount, name: default}]}
";

struct Stage {
    node: &'static Node,
    rig: Rig,
    namespace: String,
    plan: PathBuf,
}

impl Stage {
    async fn new(prefix: &str) -> Stage {
        let (node, rig) = (shared_node().await, Rig::new().await);
        let namespace = node.namespace(prefix).await;
        node.apply(&namespace, &SHOP.replace("NAMESPACE", &namespace)).await;
        let scope = format!("{{namespaces: {{include: [{namespace}]}}, clusterScoped: false}}");
        rig.back_up(&node.kubeconfig(), &scope).await;
        let plan = rig.plan("[{name: all, apply: {}}]");
        Stage { node, rig, namespace, plan }
    }

    fn drill(&self) -> Ckbackup {
        let words = "drill run -q -o json --vault vault --identity keys/identity.txt --signers keys/allowed_signers --report-dir drill \
                     --target namespace --namespace";
        let command = self.rig.ckbackup(words).arg(&self.namespace).arg("-f").arg(&self.plan);
        command.arg("--kubeconfig").arg(self.node.kubeconfig())
    }

    fn there(&self) -> String {
        format!("/api/v1/namespaces/ckbackup-drill-{}", self.namespace)
    }

    async fn find(&self, group: &str, rest: &str) -> Option<Value> {
        let path = format!("{group}/namespaces/ckbackup-drill-{}/{rest}", self.namespace);
        self.node.api().find(&path).await
    }
}

#[tokio::test]
async fn a_namespace_is_restored_beside_itself_at_rest_compared_and_removed() {
    let stage = Stage::new("beside").await;
    let told = stage.drill().args(["--attest", "keys/signing_key"]).run().await.expect_success().json();
    let report = &told["report"];

    assert_eq!((&report["verdict"], &report["targets"][0]["kind"]), (&json!("passedWithGaps"), &json!("namespace")));
    let objects = &report["verifications"][0];
    assert_eq!(
        (&objects["missing"], &objects["extra"], &objects["changed"]),
        (&json!(0), &json!(0), &json!(0)),
        "{report:#}"
    );
    assert!(objects["equal"].as_u64().unwrap() >= 7, "{objects:#}");
    assert!(objects["ignored"]["acts-in-a-living-cluster"].as_u64().unwrap() >= 1, "the service: {objects:#}");
    assert_eq!(objects["ignored"]["gives-cluster-rights"], 1, "{objects:#}");
    let not_exercised = report["notExercised"].as_array().unwrap();
    let why = not_exercised.iter().find(|it| it["what"] == "acts-in-a-living-cluster").unwrap();
    assert!(why["why"].as_str().unwrap().contains("act in a living cluster"), "{why:#}");
    assert_eq!(told["attested"], false, "one namespace says nothing of the rest of the backup");
    assert_eq!(stage.node.api().find(&stage.there()).await, None, "it is removed, and waited for");
    assert!(stage.node.api().find(&format!("/api/v1/namespaces/{}", stage.namespace)).await.is_some());
}

#[tokio::test]
async fn nothing_runs_there_and_nothing_gives_rights() {
    let stage = Stage::new("at-rest").await;
    stage.drill().arg("--keep").run().await.expect_success();

    let deployment = stage.find("/apis/apps/v1", "deployments/web").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(stage.find("/apis/batch/v1", "cronjobs/tick").await.unwrap()["spec"]["suspend"], true);
    let bindings = "rolebindings";
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let binding = stage.find(rbac, &format!("{bindings}/reads")).await.unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], format!("ckbackup-drill-{}", stage.namespace));
    assert_eq!(stage.find(rbac, &format!("{bindings}/edits")).await, None);
    assert_eq!(stage.find("/api/v1", "services/web").await, None);
    let pods = stage.node.api().list(&format!("{}/pods", stage.there())).await;
    assert!(pods.is_empty(), "{pods:?}");

    // What an earlier drill left behind is not taken for what this one restored.
    std::fs::remove_dir_all(stage.rig.path("drill")).unwrap();
    let refused = stage.drill().run().await.expect(2);
    assert!(refused.stderr.contains("already") && refused.stderr.contains("kubectl delete namespace"), "{refused}");
    assert!(stage.node.api().find(&stage.there()).await.is_some(), "and it is not removed either");
    stage.node.api().delete(&stage.there()).await;
}

#[tokio::test]
async fn a_drill_that_is_stopped_removes_its_namespace() {
    let stage = Stage::new("stopped").await;
    let api = stage.node.api();
    for number in 0..300 {
        let path = format!("/api/v1/namespaces/{}/configmaps", stage.namespace);
        api.create(&path, &config_map(&format!("item-{number:03}"))).await;
    }
    let scope = format!("{{namespaces: {{include: [{}]}}, clusterScoped: false}}", stage.namespace);
    stage.rig.back_up(&stage.node.kubeconfig(), &scope).await;
    let running = stage.drill().start().await;
    crate::harness::eventually("something is restored", async || {
        stage.find("/api/v1", "configmaps/env").await.is_some()
    })
    .await;
    running.signal("INT");
    running.finish().await.expect(130);
    assert_eq!(api.find(&stage.there()).await, None);
}

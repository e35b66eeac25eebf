//! Controllers that work while a restore does: Gatekeeper makes types on the way, and the garbage collector takes what nobody owns.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::{Api, ControlPlane, eventually};
use crate::restore_fixture::*;

const TEMPLATES: &str = "/apis/templates.gatekeeper.sh/v1/constrainttemplates";
const CONSTRAINTS: &str = "/apis/constraints.gatekeeper.sh/v1/k8srequired";

/// A definition outside namespaces, of any content.
fn cluster_wide(group: &str, plural: &str, kind: &str) -> Value {
    let mut definition = definition(group);
    definition["metadata"]["name"] = json!(format!("{plural}.{group}"));
    definition["spec"]["scope"] = json!("Cluster");
    definition["spec"]["names"] =
        json!({"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")});
    definition
}

async fn define_cluster_wide(api: &Api, group: &str, plural: &str, kind: &str, path: &str) {
    api.create(DEFINITIONS, &cluster_wide(group, plural, kind)).await;
    eventually("the type is served", async || api.send(reqwest::Method::GET, path, None).await.0 == 200).await;
}

async fn undefine(api: &Api, definition: &str, path: &str) {
    let definition = format!("{DEFINITIONS}/{definition}");
    api.delete(&definition).await;
    eventually("the definition is gone", async || api.find(&definition).await.is_none()).await;
    eventually("the type is gone", async || api.send(reqwest::Method::GET, path, None).await.0 == 404).await;
}

#[tokio::test]
async fn constraints_wait_for_the_definition_that_gatekeeper_makes_and_say_so_where_none_runs() {
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "constraints").await;
    let api = plane.api();
    define_cluster_wide(&api, "templates.gatekeeper.sh", "constrainttemplates", "ConstraintTemplate", TEMPLATES).await;
    define_cluster_wide(&api, "constraints.gatekeeper.sh", "k8srequired", "K8sRequired", CONSTRAINTS).await;
    let template = json!({"apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate", "metadata": {"name": "k8srequired"}});
    let constraint =
        json!({"apiVersion": "constraints.gatekeeper.sh/v1", "kind": "K8sRequired", "metadata": {"name": "labels"}});
    api.create(TEMPLATES, &template).await;
    api.create(CONSTRAINTS, &constraint).await;
    // The backup has no definition of the constraint: Gatekeeper makes it.
    let resources = "[constrainttemplates.templates.gatekeeper.sh, k8srequired.constraints.gatekeeper.sh]";
    let scope = format!("{{clusterScoped: true, resources: {{include: {resources}}}}}");
    rig.back_up(plane.kubeconfig(), &scope).await;
    undefine(&api, "k8srequired.constraints.gatekeeper.sh", CONSTRAINTS).await;
    api.delete(&format!("{TEMPLATES}/k8srequired")).await;
    let plan = rig.plan("[{name: all, apply: {}}]");

    let dry = summary(&rig.restore(&plan, plane.kubeconfig()).arg("--dry-run").run().await.expect_success());
    assert_eq!((items(&dry), &dry["obstacles"]), ([2, 0, 0, 0, 0], &json!([])), "{dry:#}");

    let nobody = summary(&rig.restore(&plan, plane.kubeconfig()).run().await.expect(3));
    assert_eq!(items(&nobody), [1, 0, 0, 0, 1], "{nobody:#}");
    let why = nobody["failures"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("Gatekeeper has made no definition of its template"), "{why}");

    api.delete(&format!("{TEMPLATES}/k8srequired")).await;
    let gatekeeper = async {
        let path = format!("{TEMPLATES}/k8srequired");
        eventually("the template is restored", async || api.find(&path).await.is_some()).await;
        api.create(DEFINITIONS, &cluster_wide("constraints.gatekeeper.sh", "k8srequired", "K8sRequired")).await;
    };
    let restore = rig.restore(&plan, plane.kubeconfig()).run();
    let (restored, ()) = tokio::join!(restore, gatekeeper);
    assert_eq!(items(&summary(&restored.expect_success())), [2, 0, 0, 0, 0]);
    assert!(api.find(&format!("{CONSTRAINTS}/labels")).await.is_some());
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// A webhook of a service in the namespace `default`, which is asked about Secrets.
fn webhook_of_service(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": name},
        "webhooks": [{
            "name": format!("{name}.webhook.test"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "default", "name": name}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}],
        }],
    })
}

fn slice(name: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": ["10.9.8.7"], "conditions": {"ready": true}}],
    })
}

/// The second restore has a node that could run the backend, so it waits for that; the first one has none.
#[tokio::test]
async fn a_webhook_comes_last_and_after_its_backend_where_one_can_come_up() {
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "backends").await;
    let (api, slices) = (plane.api(), "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gate"}, "spec": {"ports": [{"port": 443}]}});
    api.create("/api/v1/namespaces/default/services", &service).await;
    api.create(WEBHOOKS, &webhook_of_service("gate")).await;
    let scope =
        "{clusterScoped: true, resources: {include: [mutatingwebhookconfigurations.admissionregistration.k8s.io]}}";
    rig.back_up(plane.kubeconfig(), scope).await;
    let (plan, path) = (rig.plan("[{name: all, apply: {}}]"), format!("{WEBHOOKS}/gate"));

    api.delete(&path).await;
    let first = summary(&rig.restore(&plan, plane.kubeconfig()).run().await.expect_success());
    let note = step(&first, "all")["note"].as_str().unwrap();
    assert_eq!(note, "webhooks were written without waiting for their backends, as the cluster has no nodes");
    assert!(api.find(&path).await.is_some());

    api.delete(&path).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}});
    api.create("/api/v1/nodes", &node).await;
    let running = rig.restore(&plan, plane.kubeconfig()).start().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(api.find(&path).await.is_none(), "its backend is not ready yet");
    api.create(slices, &slice("gate")).await;
    let second = summary(&running.finish().await.expect_success());
    assert_eq!((items(&second), &step(&second, "all")["note"]), ([1, 0, 0, 0, 0], &Value::Null), "{second:#}");
}

/// A real garbage collector.
struct Collector(Child);

impl Collector {
    fn start(plane: &ControlPlane, rig: &Rig) -> Collector {
        let log = std::fs::File::create(rig.path("controller-manager.log")).unwrap();
        let child = Command::new(assets().node.join("kube-controller-manager"))
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .args(["--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Collector(child.unwrap())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An object that belongs to owners.
fn owned(name: &str, owners: &[(&str, &str)]) -> Value {
    let reference = |(name, uid): &(&str, &str)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true});
    let references: Vec<_> = owners.iter().map(reference).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": references}})
}

/// The collector takes an object whose owner never was: it is at work, and has seen what came before.
async fn collects(api: &Api, secrets: &str, name: &str) {
    api.create(secrets, &owned(name, &[("never", "00000000-0000-0000-0000-00000000dead")])).await;
    let path = format!("{secrets}/{name}");
    eventually("the collector takes what nobody owns", async || api.find(&path).await.is_none()).await;
}

#[tokio::test]
async fn garbage_collection_never_eats_what_was_just_restored() {
    const GONE: &str = "00000000-0000-0000-0000-000000000bad";
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "collected").await;
    let (api, secrets) = (plane.api(), "/api/v1/namespaces/default/secrets");
    let owner = api.create(&config_maps("default"), &config_map("owner")).await;
    let uid = owner["metadata"]["uid"].as_str().unwrap();
    // Secrets are written before config maps, so each of these comes before its owner.
    api.create(secrets, &owned("one", &[("owner", uid)])).await;
    api.create(secrets, &owned("two", &[("owner", uid), ("absent", GONE)])).await;
    api.create(secrets, &owned("orphan", &[("absent", GONE)])).await;
    rig.back_up(plane.kubeconfig(), &only("default")).await;
    for name in ["one", "two", "orphan"] {
        api.delete(&format!("{secrets}/{name}")).await;
    }
    api.delete(&format!("{}/owner", config_maps("default"))).await;

    let _collector = Collector::start(&plane, &rig);
    collects(&api, secrets, "before").await;
    let plan = rig.plan("[{name: all, apply: {kinds: [ConfigMap, Secret]}}]");
    rig.restore(&plan, plane.kubeconfig()).run().await.expect_success();
    collects(&api, secrets, "after").await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let owner = api.get(&format!("{}/owner", config_maps("default"))).await;
    for name in ["one", "two"] {
        let secret = api.get(&format!("{secrets}/{name}")).await;
        let references = secret["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(references.len(), 1, "{secret:#}");
        assert_eq!(references[0]["uid"], owner["metadata"]["uid"], "{secret:#}");
    }
    let orphan = api.get(&format!("{secrets}/orphan")).await;
    assert!(orphan["metadata"]["ownerReferences"].is_null(), "{orphan:#}");
}

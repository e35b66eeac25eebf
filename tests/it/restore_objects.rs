//! What of single objects comes back: status, numbers, node ports, owners; and what no step takes.

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Action, Api};
use crate::restore_fixture::*;

/// To the letter, as it stands in the answer of the server.
async fn raw(api: &Api, path: &str) -> String {
    String::from_utf8(api.send(reqwest::Method::GET, path, None).await.1).unwrap()
}

#[tokio::test]
async fn status_comes_back_for_the_kinds_that_the_plan_names_and_numbers_to_the_last_digit() {
    const GROUP: &str = "status.test";
    const OTHER: &str = "nostatus.test";
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("status").await);
    for group in [GROUP, OTHER] {
        define(&api, group).await;
        let text = format!(
            "{{\"apiVersion\":\"{group}/v1\",\"kind\":\"Thing\",\"metadata\":{{\"name\":\"one\"}},\
             \"spec\":{{\"large\":9223372036854775807,\"small\":-9007199254740993,\"share\":0.1234567890123456}}}}"
        );
        let path = things(group, &namespace);
        let created = api.send(reqwest::Method::POST, &path, Some(("application/json", text.into()))).await;
        assert_eq!(created.0, 201);
        let status = json!({"status": {"phase": "Completed", "count": 7}});
        api.patch(&format!("{}/one/status", things(group, &namespace)), &status).await;
    }
    rig.back_up(&shared().kubeconfig, &with_things(&namespace, &[GROUP, OTHER])).await;
    for group in [GROUP, OTHER] {
        api.delete(&format!("{}/one", things(group, &namespace))).await;
    }
    let plan = rig.plan(&format!("[{{name: all, apply: {{status: [Thing.{GROUP}]}}}}]"));
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();

    assert_eq!(items(&summary(&restore)), [2, 0, 1, 0, 0], "{restore}");
    let back = raw(&api, &format!("{}/one", things(GROUP, &namespace))).await;
    for number in ["\"large\":9223372036854775807", "\"small\":-9007199254740993", "\"share\":0.1234567890123456"] {
        assert!(back.contains(number), "{number}: {back}");
    }
    let status = async |group| api.get(&format!("{}/one", things(group, &namespace))).await["status"].clone();
    assert_eq!(status(GROUP).await, json!({"phase": "Completed", "count": 7}));
    assert_eq!(status(OTHER).await, Value::Null);
    rig.diff(&shared().kubeconfig).run().await.expect_success();
}

#[tokio::test]
async fn node_ports_are_given_anew_unless_the_plan_preserves_them() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("ports").await);
    let services = format!("/api/v1/namespaces/{namespace}/services");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 80}]},
    });
    let made = api.create(&services, &service).await;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    for preserve in [true, false] {
        api.delete(&format!("{services}/web")).await;
        // Somebody else takes the port in the meantime, where it need not be kept.
        if !preserve {
            let mut other = service.clone();
            other["metadata"]["name"] = json!("other");
            other["spec"]["ports"][0]["nodePort"] = json!(port);
            api.create(&services, &other).await;
        }
        let plan = rig.plan(&format!("[{{name: all, apply: {{preserveNodePorts: {preserve}}}}}]"));
        rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
        let back = api.get(&format!("{services}/web")).await["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert_eq!(back == port, preserve, "{back} {port}");
    }
}

/// A config map is owned by a secret that a later step brings.
#[tokio::test]
async fn owners_that_come_later_are_set_when_they_are_there() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("owners").await);
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner"}});
    let owner = |uid: &Value, name: &str| json!({"apiVersion": "v1", "kind": "Secret", "name": name, "uid": uid});
    let old = api.create(&secrets, &secret).await["metadata"]["uid"].clone();
    let mut owned = config_map("owned");
    let gone = json!("00000000-0000-0000-0000-000000000000");
    owned["metadata"]["ownerReferences"] = json!([owner(&old, "owner"), owner(&gone, "gone")]);
    api.create(&config_maps(&namespace), &owned).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    api.delete(&format!("{secrets}/owner")).await;

    let plan = rig
        .plan("[{name: maps, apply: {kinds: [ConfigMap]}}, {name: secrets, after: [maps], apply: {kinds: [Secret]}}]");
    for (run, expected) in [(0, [2, 0, 0, 0, 0]), (1, [0, 0, 2, 0, 0])] {
        let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
        assert_eq!(items(&summary(&restore)), expected, "run {run}: {restore}");
        let new = api.get(&format!("{secrets}/owner")).await["metadata"]["uid"].clone();
        assert_ne!(new, old);
        let back = api.get(&format!("{}/owned", config_maps(&namespace))).await;
        assert_eq!(back["metadata"]["ownerReferences"], json!([owner(&new, "owner")]));
    }

    // A restore that was cut off had written the object, and not yet its owner.
    let owned = format!("{}/owned", config_maps(&namespace));
    api.patch(&owned, &json!({"metadata": {"ownerReferences": null}})).await;
    let plan = rig.plan(
        "[{name: secrets, apply: {kinds: [Secret]}}, {name: maps, after: [secrets], apply: {kinds: [ConfigMap]}}]",
    );
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&restore)), [0, 1, 1, 0, 0], "{restore}");
    let new = api.get(&format!("{secrets}/owner")).await["metadata"]["uid"].clone();
    assert_eq!(api.get(&owned).await["metadata"]["ownerReferences"], json!([owner(&new, "owner")]));
}

#[tokio::test]
async fn objects_that_no_step_takes_are_listed() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("rest").await);
    fill(&namespace, 2).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let plan = rig.plan("[{name: secrets, apply: {kinds: [Secret]}}]");
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(summary(&restore)["notSelected"], json!({"configmaps": 2, "namespaces": 1}));
    assert_eq!(items(&summary(&restore)), [0; 5]);
}

#[tokio::test]
async fn the_default_plan_writes_kinds_in_their_order() {
    const GROUP: &str = "order.test";
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("order").await);
    define(&api, GROUP).await;
    api.create(&things(GROUP, &namespace), &thing(GROUP, "one")).await;
    fill(&namespace, 1).await;
    let meta = json!({"name": "one", "labels": {"order": "yes"}});
    let pods = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": rbac, "kind": "Role", "name": "one"});
    let path = |group: &str, plural: &str| format!("{group}/namespaces/{namespace}/{plural}");
    let objects = [
        (path("/api/v1", "secrets"), json!({"apiVersion": "v1", "kind": "Secret"})),
        (path("/api/v1", "serviceaccounts"), json!({"apiVersion": "v1", "kind": "ServiceAccount"})),
        (
            path("/api/v1", "services"),
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}),
        ),
        (
            path("/api/v1", "persistentvolumeclaims"),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }),
        ),
        (path(&format!("/apis/{rbac}/v1"), "roles"), json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role"})),
        (
            path(&format!("/apis/{rbac}/v1"), "rolebindings"),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "roleRef": role}),
        ),
        (
            path("/apis/networking.k8s.io/v1", "networkpolicies"),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}),
        ),
        (
            path("/apis/networking.k8s.io/v1", "ingresses"),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "spec": {"defaultBackend": {"service": {"name": "one", "port": {"number": 80}}}}}),
        ),
        (
            path("/apis/apps/v1", "deployments"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": selector, "template": pods}}),
        ),
        (
            path("/apis/policy/v1", "poddisruptionbudgets"),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"selector": selector}}),
        ),
    ];
    for (path, mut object) in objects {
        object["metadata"] = meta.clone();
        api.create(&path, &object).await;
    }
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "order.test", "labels": {"order": "yes"}},
        "spec": {"matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["never"]}]},
            "validations": [{"expression": "true"}]},
    });
    api.create("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy).await;
    // A label, as other tests have definitions of their own in this cluster.
    let ours = json!({"metadata": {"labels": {"order": "yes"}}});
    for path in [
        format!("{DEFINITIONS}/things.{GROUP}"),
        format!("/api/v1/namespaces/{namespace}"),
        format!("{}/one", things(GROUP, &namespace)),
        format!("{}/item-00", config_maps(&namespace)),
    ] {
        api.patch(&path, &ours).await;
    }
    // Only these types: definitions of other tests come and go meanwhile, and their types with them.
    let scope = format!(
        "{{labelSelector: order=yes, resources: {{include: [customresourcedefinitions.apiextensions.k8s.io, namespaces, \
         persistentvolumeclaims, serviceaccounts, secrets, configmaps, roles.rbac.authorization.k8s.io, \
         rolebindings.rbac.authorization.k8s.io, networkpolicies.networking.k8s.io, services, deployments.apps, \
         poddisruptionbudgets.policy, ingresses.networking.k8s.io, things.{GROUP}, \
         validatingadmissionpolicies.admissionregistration.k8s.io]}}}}"
    );
    rig.back_up(&shared().kubeconfig, &scope).await;

    // Everything is there already, and each object is tried first of all: so the order of the tries shows.
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    rig.restore(&root.join("restore-plans/default.yaml"), &kubeconfig).run().await.expect_success();
    let mut order = Vec::new();
    for request in proxy.seen().iter().filter(|seen| seen.method == "POST" && seen.writes()) {
        let kind = request.path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
        if !order.contains(&kind) {
            order.push(kind);
        }
    }
    let expected = [
        "customresourcedefinitions",
        "namespaces",
        "persistentvolumeclaims",
        "serviceaccounts",
        "secrets",
        "configmaps",
        "roles",
        "rolebindings",
        "networkpolicies",
        "services",
        "deployments",
        "poddisruptionbudgets",
        "ingresses",
        "things",
        "validatingadmissionpolicies",
    ];
    assert_eq!(order, expected);
}

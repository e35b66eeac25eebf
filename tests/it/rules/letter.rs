//! Everything that no rule names comes back to the letter.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::place::*;

/// Numbers as they are written here, not as a float would hold them.
const NUMBERS: &str = r#"{
    "beyond doubles": 9007199254740993, "smallest": -9223372036854775808, "largest": 9223372036854775807,
    "one": 1.0, "long": 0.1234567890123456789, "tiny": 1e-10, "huge": 1.7976931348623157e308, "unsigned": 18446744073709551615,
    "negative zero": -0.0, "zero": 0, "list": [9007199254740993, 1.50, [2e3]]
}"#;

#[tokio::test]
async fn numbers_of_custom_resources() {
    let place = Place::new().await;
    let group = define_widgets(&place, false).await;
    let resource = format!("widgets.{group}");
    let numbers: Value = serde_json::from_str(NUMBERS).unwrap();
    let saved = place.save_here(&resource, widget(&group, "numbers", json!({"spec": numbers}))).await;
    assert_eq!(saved["spec"]["beyond doubles"].to_string(), "9007199254740993");
    assert_eq!(saved["spec"]["smallest"].to_string(), "-9223372036854775808");
    assert_eq!(saved["spec"]["largest"].to_string(), "9223372036854775807");
    assert_eq!(saved["spec"]["one"].to_string(), "1", "the API server's doing");
    let restored = comes_back(&place, &Surroundings::default(), &resource, &saved, &[]).await;
    assert_eq!(restored["spec"].to_string(), saved["spec"].to_string());

    // Also when the saved text is not the server's, as in a backup that somebody wrote by hand.
    let by_hand = widget(&group, "by-hand", json!({"metadata": {"namespace": place.here}, "spec": numbers}));
    comes_back(&place, &Surroundings::default(), &resource, &by_hand, &[]).await;
}

#[tokio::test]
async fn texts_and_emptiness_of_custom_resources() {
    let place = Place::new().await;
    let group = define_widgets(&place, false).await;
    let resource = format!("widgets.{group}");
    let spec = json!({
        "unicode": "zwölf Boxkämpfer 🥊 \u{202e}\u{feff}", "": "no key", "a.b/c~d": "key", "\"\n": "key",
        "lines": "one\ntwo\r\n\tthree\n", "controls": "\u{0}\u{1}\u{7f}\u{2028}", "html": "<a href='&'>",
        "null": null, "emptyMap": {}, "emptyList": [], "nested": {"a": {"b": {"c": {}, "d": [[], [{}], null, ""]}}},
        "metadata": {"uid": "kept", "resourceVersion": "7", "managedFields": [{"a": 1}]},
        "status": {"a": 1}, "clusterIP": "10.0.0.1", "nodeName": "kept", "finalizers": ["kept"],
    });
    let saved = place.save_here(&resource, widget(&group, "texts", json!({"spec": spec}))).await;
    let restored = comes_back(&place, &Surroundings::default(), &resource, &saved, &[]).await;
    assert_eq!(plain(&restored), plain(&saved));
    assert_eq!(restored["spec"], spec);
}

/// Types beside those of the table, with the fields that are easily lost.
fn built_in(place: &Place) -> Vec<(&'static str, Value)> {
    let rules = json!([{"apiGroups": ["*.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}]);
    let webhook = json!([{
        "name": "deny.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"], "rules": rules,
        "clientConfig": {"service": {"name": "x", "namespace": "default", "path": "/v"}, "caBundle": "LS0tLS1CRUdJTg=="},
        "failurePolicy": "Ignore", "matchConditions": [{"name": "a", "expression": "true"}], "timeoutSeconds": 7,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.here}},
    }]);
    let policy = json!({
        "failurePolicy": "Ignore", "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "object.x == 9007199254740993 || 'ä' != \"\\n\"", "messageExpression": "'no'"}],
    });
    let binding = json!({"policyName": "x", "validationActions": ["Warn", "Audit"]});
    let scaler = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1500m"}}},
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}]}},
    });
    let ingress = json!({
        "ingressClassName": "edge", "tls": [{"hosts": ["a.example.com"], "secretName": "tls"}],
        "defaultBackend": {"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "b"}},
        "rules": [{"host": "*.example.com", "http": {"paths": [{
            "path": "/a", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"name": "http"}}},
        }]}}],
    });
    let parameters = json!({"apiGroup": "k8s.example.com", "kind": "Parameters", "name": "p", "scope": "Cluster"});
    let peers = json!([{"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]);
    let network = json!({
        "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}],
        "egress": [{"to": peers, "ports": [{"port": 1, "endPort": 9}]}],
    });
    let daily = json!({
        "schedule": "0 3 * * *", "timeZone": "Europe/Stockholm", "suspend": true, "concurrencyPolicy": "Forbid",
        "jobTemplate": {"metadata": {"labels": {"controller-uid": "kept"}}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "nodeName": "kept", "containers": pod_spec()["containers"],
        }}}},
    });
    let deployment = json!({
        "selector": {"matchLabels": {"app": "x"}}, "template": template(), "replicas": 0, "paused": true,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
    });
    let role = json!({"rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
        "metadata": {"labels": {"rbac.example.com/aggregate": "true"}}});
    let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let rbac = "rbac.authorization.k8s.io/v1";
    let admission = "admissionregistration.k8s.io/v1";
    let [hook, hook2, pol, bin] = ["hook", "hook2", "policy", "binding"].map(|name| place.unique(name));
    vec![
        (
            "validatingwebhookconfigurations",
            object(admission, "ValidatingWebhookConfiguration", &hook, json!({"webhooks": webhook})),
        ),
        (
            "mutatingwebhookconfigurations",
            object(admission, "MutatingWebhookConfiguration", &hook2, json!({"webhooks": webhook})),
        ),
        ("validatingadmissionpolicies", object(admission, "ValidatingAdmissionPolicy", &pol, json!({"spec": policy}))),
        (
            "validatingadmissionpolicybindings",
            object(admission, "ValidatingAdmissionPolicyBinding", &bin, json!({"spec": binding})),
        ),
        (
            "priorityclasses",
            object(
                "scheduling.k8s.io/v1",
                "PriorityClass",
                &place.unique("low"),
                json!({"value": -2147483648_i64, "description": "zwölf", "preemptionPolicy": "Never"}),
            ),
        ),
        (
            "ingressclasses",
            object(
                "networking.k8s.io/v1",
                "IngressClass",
                &place.unique("edge"),
                json!({"spec": {"controller": "example.com/edge", "parameters": parameters}}),
            ),
        ),
        (
            "storageclasses",
            object(
                "storage.k8s.io/v1",
                "StorageClass",
                &place.unique("fast"),
                json!({
            "provisioner": "csi.example.com", "parameters": {"type": "1e3"}, "volumeBindingMode": "WaitForFirstConsumer",
            "mountOptions": ["noatime"], "allowVolumeExpansion": true}),
            ),
        ),
        ("clusterroles", object(rbac, "ClusterRole", &place.unique("metrics"), role)),
        ("clusterroles", object(rbac, "ClusterRole", &place.unique("all"), aggregated)),
        (
            "clusterrolebindings",
            object(
                rbac,
                "ClusterRoleBinding",
                &place.unique("all"),
                json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b"},
                {"kind": "Group", "name": "team ä", "apiGroup": "rbac.authorization.k8s.io"}]}),
            ),
        ),
        (
            "horizontalpodautoscalers",
            here(place, object("autoscaling/v2", "HorizontalPodAutoscaler", "web", json!({"spec": scaler}))),
        ),
        (
            "poddisruptionbudgets",
            here(
                place,
                object(
                    "policy/v1",
                    "PodDisruptionBudget",
                    "web",
                    json!({"spec": {
            "maxUnavailable": "30%", "selector": {}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}}),
                ),
            ),
        ),
        ("ingresses", here(place, object("networking.k8s.io/v1", "Ingress", "web", json!({"spec": ingress})))),
        (
            "networkpolicies",
            here(place, object("networking.k8s.io/v1", "NetworkPolicy", "web", json!({"spec": network}))),
        ),
        ("cronjobs", here(place, object("batch/v1", "CronJob", "daily", json!({"spec": daily})))),
        ("deployments", here(place, object("apps/v1", "Deployment", "web", json!({"spec": deployment})))),
        (
            "resourcequotas",
            here(place, object("v1", "ResourceQuota", "q", json!({"spec": {"hard": {"count/widgets.x": "9"}}}))),
        ),
        (
            "limitranges",
            here(
                place,
                object(
                    "v1",
                    "LimitRange",
                    "l",
                    json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "2"}}]}}),
                ),
            ),
        ),
        (
            "secrets",
            here(
                place,
                object(
                    "v1",
                    "Secret",
                    "immutable",
                    json!({"immutable": true, "data": {"bin": "AP/+gA==", "empty": ""}}),
                ),
            ),
        ),
        (
            "configmaps",
            here(
                place,
                object(
                    "v1",
                    "ConfigMap",
                    "immutable",
                    json!({
            "immutable": true, "binaryData": {"bin": "AP/+gA=="}, "data": {"a": "", "yaml": "a: |\n  b\n", "z": "\u{feff}ä"}}),
                ),
            ),
        ),
        (
            "podtemplates",
            here(
                place,
                object(
                    "v1",
                    "PodTemplate",
                    "t",
                    json!({"template": {
            "metadata": {"labels": {"job-name": "kept"}}, "spec": {"nodeName": "kept", "containers": pod_spec()["containers"]}}}),
                ),
            ),
        ),
        (
            "leases",
            here(
                place,
                object(
                    "coordination.k8s.io/v1",
                    "Lease",
                    "l",
                    json!({"spec": {
            "holderIdentity": "a", "renewTime": "2026-11-21T01:02:03.000004Z", "leaseDurationSeconds": 9}}),
                ),
            ),
        ),
    ]
}

fn here(place: &Place, mut object: Value) -> Value {
    object["metadata"]["namespace"] = place.here.as_str().into();
    object
}

#[tokio::test]
async fn every_other_type() {
    let place = Place::new().await;
    for (plural, object) in built_in(&place) {
        let group = object["apiVersion"].as_str().unwrap().rsplit_once('/').map_or("", |(group, _)| group);
        let resource = if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") };
        let saved = place.save(&resource, object).await;
        let restored = comes_back(&place, &Surroundings::default(), &resource, &saved, &[]).await;
        let [mut one, mut other] = [plain(&saved), plain(&restored)];
        for side in [&mut one, &mut other] {
            side.as_object_mut().unwrap().remove("status");
        }
        assert_eq!(one, other, "{resource}");
        if place.path(&resource, &restored).matches('/').count() == 5 {
            place.delete(&resource, &restored).await;
        }
    }
}

#[tokio::test]
async fn a_definition_with_a_conversion_webhook() {
    let place = Place::new().await;
    let group = format!("{}.example.com", place.here);
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-validations": [{"rule": "self.n <= 9007199254740993", "message": "zwölf"}],
        "properties": {
            "n": {"type": "integer", "format": "int64", "maximum": 9007199254740991_i64, "default": 9007199254740991_i64},
            "f": {"type": "number", "minimum": 0.1, "multipleOf": 0.01, "default": 0.5},
            "either": {"x-kubernetes-int-or-string": true},
            "any": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "default": {}},
        },
    }}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
            "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1}]})
    };
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList",
        "shortNames": ["gg"], "categories": ["all"]});
    let service = json!({"name": "convert", "namespace": "default", "path": "/c", "port": 8443});
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"service": service, "caBundle": CERTIFICATE},
    }});
    let spec = json!({"group": group, "scope": "Cluster", "names": names, "conversion": conversion,
        "versions": [version("v1", false), version("v2", true)]});
    let name = format!("gadgets.{group}");
    let definition = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &name, json!({"spec": spec}));
    let resource = "customresourcedefinitions.apiextensions.k8s.io";
    let saved = place.save(resource, definition).await;
    let path = place.path(resource, &saved);
    crate::harness::eventually("the definition is established", async || {
        place.api.get(&path).await["status"]["acceptedNames"]["plural"] == "gadgets"
    })
    .await;
    let saved = place.api.get(&path).await;
    place.delete(resource, &saved).await;
    let fitted = Surroundings::default().fit(resource, &saved).unwrap();
    let restored = place.restore(resource, &fitted).await;
    assert_eq!(restored["spec"], saved["spec"]);
    assert!(Surroundings::default().comparable(resource, &saved, &restored).is_empty());
    place.delete(resource, &restored).await;
}

/// `-----BEGIN CERTIFICATE-----` is all that the API server looks for.
const CERTIFICATE: &str = "Cg==";

/// They are there in every cluster: a restore must find them, and find them equal.
#[tokio::test]
async fn built_in_priority_classes_and_namespaces_are_found_unchanged() {
    let place = Place::new().await;
    let classes = "priorityclasses.scheduling.k8s.io";
    for (resource, path) in [
        (classes, "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical"),
        ("namespaces", "/api/v1/namespaces/kube-system"),
        ("namespaces", "/api/v1/namespaces/default"),
    ] {
        crate::harness::eventually(path, async || place.api.find(path).await.is_some()).await;
        let saved = place.api.get(path).await;
        let fitted = Surroundings::default().fit(resource, &saved).unwrap();
        let (status, why) = place.post(resource, &fitted).await;
        assert!(status == 409 && why.contains("AlreadyExists"), "{status} {why}");
        assert!(Surroundings::default().comparable(resource, &saved, &fitted).is_empty());
    }
}

/// Any JSON that a custom resource may hold.
fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
        Just(Value::from(9007199254740993_i64)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[test]
fn any_custom_resource() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (place, group) = runtime.block_on(async {
        let place = Place::new().await;
        let group = define_widgets(&place, false).await;
        (place, group)
    });
    let resource = format!("widgets.{group}");
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let number = std::sync::atomic::AtomicU32::new(0);
    proptest!(config, |(tree in any_json())| {
        let name = format!("any-{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        runtime.block_on(async {
            let saved = place.save_here(&resource, widget(&group, &name, json!({"spec": {"tree": tree}}))).await;
            let restored = comes_back(&place, &Surroundings::default(), &resource, &saved, &[]).await;
            prop_assert_eq!(plain(&restored), plain(&saved));
            Ok(())
        })?;
    });
}

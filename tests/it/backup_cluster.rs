//! The cluster that tests of backups read: something of everything that a rule speaks of.

use serde_json::{Value, json};

use super::harness::{Api, eventually};

/// The config maps of namespace `many`, some pages of them.
pub const MANY: usize = 260;

/// The largest number of Kubernetes; JSON readers that use doubles make 9223372036854775808 of it.
pub const LARGEST: i64 = i64::MAX;

/// A name as long as names may be.
pub fn longest_name(last: char) -> String {
    format!("{}{last}", "n".repeat(252))
}

pub async fn fill(api: &Api) {
    for (name, labels) in [
        ("shop-eu", json!({"team": "shop"})),
        ("shop-us", json!({})),
        ("billing", json!({})),
        ("scratch", json!({})),
        ("many", json!({})),
    ] {
        api.create("/api/v1/namespaces", &object("v1", "Namespace", json!({"name": name, "labels": labels}))).await;
    }
    for namespace in ["shop-eu", "shop-us", "billing", "scratch"] {
        fill_namespace(api, namespace).await;
    }
    let path = "/api/v1/namespaces/many/configmaps";
    let many = (0..MANY).map(|n| async move {
        let labels = if n == 0 { json!({"ckbackup.io/exclude": "true"}) } else { json!({}) };
        api.create(path, &config_map(&format!("map-{n:03}"), labels)).await
    });
    futures::future::join_all(many).await;
    fill_core(api).await;
    fill_endpoints(api).await;
    fill_custom(api).await;
}

async fn fill_namespace(api: &Api, namespace: &str) {
    let core = format!("/api/v1/namespaces/{namespace}");
    let labels = json!({"app": "web", "tier": "front"});
    api.create(&format!("{core}/configmaps"), &config_map("settings", labels)).await;
    api.create(&format!("{core}/configmaps"), &config_map("plain", json!({}))).await;
    let mut secret = object("v1", "Secret", json!({"name": "password", "labels": {"app": "web"}}));
    secret["data"] = json!({"password": "aHVudGVyMg=="});
    api.create(&format!("{core}/secrets"), &secret).await;
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.test/web:1"}]},
    });
    let mut deployment = object("apps/v1", "Deployment", json!({"name": "web", "labels": {"app": "web"}}));
    deployment["spec"] = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let mut made = api.create(&path, &deployment).await;
    made["status"] = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2});
    api.replace(&format!("{path}/web/status"), &made).await;
}

async fn fill_core(api: &Api) {
    let billing = "/api/v1/namespaces/billing";
    let kept_out = config_map("kept-out", json!({"ckbackup.io/exclude": "true"}));
    api.create(&format!("{billing}/configmaps"), &kept_out).await;
    let not_kept_out = config_map("not-kept-out", json!({"ckbackup.io/exclude": "false"}));
    api.create(&format!("{billing}/configmaps"), &not_kept_out).await;
    for last in ['a', 'b'] {
        api.create(&format!("{billing}/configmaps"), &config_map(&longest_name(last), json!({}))).await;
    }
    let mut event = object("v1", "Event", json!({"name": "web.1"}));
    event["involvedObject"] = json!({"kind": "Pod", "namespace": "billing", "name": "web"});
    event["reason"] = json!("Started");
    api.create(&format!("{billing}/events"), &event).await;
    let mut lease = object("coordination.k8s.io/v1", "Lease", json!({"name": "leader"}));
    lease["spec"] = json!({"holderIdentity": "web-0"});
    api.create("/apis/coordination.k8s.io/v1/namespaces/billing/leases", &lease).await;
    let mut scaler = object("autoscaling/v2", "HorizontalPodAutoscaler", json!({"name": "web"}));
    scaler["spec"] = json!({
        "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    });
    api.create("/apis/autoscaling/v2/namespaces/billing/horizontalpodautoscalers", &scaler).await;
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"name": "shop:reader:v1"}));
    role["rules"] = json!([]);
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let mut role = object("rbac.authorization.k8s.io/v1", "Role", json!({"name": "shop:eu:reader"}));
    role["rules"] = json!([]);
    api.create("/apis/rbac.authorization.k8s.io/v1/namespaces/shop-eu/roles", &role).await;
}

/// What a controller makes, by each of its marks, and what a person made.
async fn fill_endpoints(api: &Api) {
    let subsets = json!([{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]);
    for metadata in [
        json!({"name": "by-hand"}),
        json!({"name": "made", "annotations": {
            "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}}),
        json!({"name": "made-labelled", "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}),
    ] {
        let mut endpoints = object("v1", "Endpoints", metadata);
        endpoints["subsets"] = subsets.clone();
        api.create("/api/v1/namespaces/billing/endpoints", &endpoints).await;
    }
    let managed_by = "endpointslice.kubernetes.io/managed-by";
    for (name, by) in [
        ("by-hand", "a-person"),
        ("made", "endpointslice-controller.k8s.io"),
        ("mirrored", "endpointslicemirroring-controller.k8s.io"),
    ] {
        let metadata = json!({"name": name, "labels": {managed_by: by}});
        let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", metadata);
        slice["addressType"] = json!("IPv4");
        slice["endpoints"] = json!([{"addresses": ["192.0.2.7"]}]);
        api.create("/apis/discovery.k8s.io/v1/namespaces/billing/endpointslices", &slice).await;
    }
}

/// Custom resources: numbers at the edge, a type in several versions, and those of cert-manager.
async fn fill_custom(api: &Api) {
    let types = [
        ("numbers.test", "numbers", &["v1beta1", "v1"][..]),
        ("cert-manager.io", "certificates", &["v1"]),
        ("cert-manager.io", "certificaterequests", &["v1"]),
        ("acme.cert-manager.io", "orders", &["v1"]),
        ("acme.cert-manager.io", "challenges", &["v1"]),
    ];
    for (group, plural, versions) in types {
        let definition = definition(group, plural, versions);
        api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    }
    for (group, plural, versions) in types {
        // The first version is the one in which objects are stored.
        let version = versions[0];
        let path = format!("/apis/{group}/{version}/namespaces/billing/{plural}");
        let is_served = async || api.send(reqwest::Method::GET, &path, None).await.0 == 200;
        eventually("the custom resource is served", is_served).await;
        let mut custom = object(&format!("{group}/{version}"), &kind_of(plural), json!({"name": "one"}));
        custom["spec"] = json!({"largest": LARGEST, "smallest": i64::MIN, "odd": 9_007_199_254_740_993_i64});
        api.create(&path, &custom).await;
    }
    let all = async || api.get_as("/apis", DISCOVERY).await.to_string().contains("challenges");
    eventually("discovery knows the custom resources", all).await;
}

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn kind_of(plural: &str) -> String {
    plural[..1].to_uppercase() + plural[1..].trim_end_matches('s')
}

fn definition(group: &str, plural: &str, versions: &[&str]) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &&str| {
        let is_stored = *name == versions[0];
        json!({"name": name, "served": true, "storage": is_stored, "schema": schema})
    };
    let name = format!("{plural}.{group}");
    let mut definition = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({"name": name}));
    definition["spec"] = json!({
        "group": group, "scope": "Namespaced",
        "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": kind_of(plural)},
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
    });
    definition
}

pub fn object(api_version: &str, kind: &str, metadata: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

pub fn config_map(name: &str, labels: Value) -> Value {
    let mut map = object("v1", "ConfigMap", json!({"name": name, "labels": labels}));
    map["data"] = json!({"key": "value"});
    map
}

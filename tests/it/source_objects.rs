//! What a backup of a whole cluster holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::backup_cluster::{LARGEST, longest_name};
use super::backup_rig::{Rig, Saved, loaded, raw_items};
use super::harness::Api;

/// A type as the unaggregated discovery tells it, which the program does not ask.
struct Served {
    version: String,
    path: String,
    kind: String,
}

/// Every type that can be listed, in the version that its group prefers.
async fn listable(api: &Api) -> BTreeMap<String, Served> {
    let mut versions = vec![(String::new(), "v1".to_string(), "/api/v1".to_string())];
    for group in api.get("/apis").await["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let preferred = group["preferredVersion"]["version"].as_str().unwrap();
        let others = group["versions"].as_array().unwrap().iter().map(|v| v["version"].as_str().unwrap());
        let all = std::iter::once(preferred).chain(others.filter(|version| *version != preferred));
        versions.extend(all.map(|version| (name.into(), version.into(), format!("/apis/{name}/{version}"))));
    }
    let mut types = BTreeMap::new();
    for (group, version, path) in versions {
        for resource in api.get(&path).await["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            if !resource["verbs"].as_array().unwrap().contains(&json!("list")) || name.contains('/') {
                continue;
            }
            let full = if group.is_empty() { name.to_string() } else { format!("{name}.{group}") };
            types.entry(full).or_insert_with(|| Served {
                version: version.clone(),
                path: format!("{path}/{name}"),
                kind: resource["kind"].as_str().unwrap().into(),
            });
        }
    }
    types
}

/// As the documentation of the source has it; those that this API server does not list are not among them.
const LEFT_OUT: [&str; 15] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "componentstatuses",
    "certificatesigningrequests.certificates.k8s.io",
    "certificaterequests.cert-manager.io",
    "orders.acme.cert-manager.io",
    "challenges.acme.cert-manager.io",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "resourceslices.resource.k8s.io",
    "ipaddresses.networking.k8s.io",
    "storageversions.internal.apiserver.k8s.io",
    "leasecandidates.coordination.k8s.io",
];

async fn take(rig: &Rig, scope: Value) -> Saved {
    rig.open(&rig.backup(&loaded().kubeconfig, scope).run().await.expect_success())
}

fn keys(map: &Value) -> BTreeSet<&str> {
    map.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_type_that_can_be_listed_is_saved_but_what_must_never_come_back() {
    let rig = Rig::new();
    let saved = take(&rig, json!({})).await;

    let served = listable(&loaded().api()).await;
    let expected: BTreeSet<_> = served.keys().map(String::as_str).filter(|name| !LEFT_OUT.contains(name)).collect();
    assert!(expected.len() > 40, "{expected:?}");
    assert_eq!(keys(&saved.record()["types"]), expected);
    assert_eq!(saved.manifest["status"], "complete");
    for name in served.keys().filter(|name| LEFT_OUT.contains(&name.as_str())) {
        assert_eq!(saved.skipped(name).len(), 1, "{name} is in the manifest as skipped");
    }
    for name in ["certificates.cert-manager.io", "deployments.apps", "endpoints"] {
        assert!(saved.types_with_members().contains(&name), "{name}");
    }
}

#[tokio::test]
async fn without_defaults_everything_is_saved_and_events_once() {
    let rig = Rig::new();
    let saved = take(&rig, json!({"defaults": false})).await;

    let served = listable(&loaded().api()).await;
    let all_but_one = served.keys().map(String::as_str).filter(|name| *name != "events.events.k8s.io").collect();
    assert_eq!(keys(&saved.record()["types"]), all_but_one);
    assert_eq!(saved.names("events"), ["billing/web.1"]);
    assert_eq!(saved.skipped("events.events.k8s.io")[0].0, "the same objects as `events`, which is saved");
    assert_eq!(saved.names("leases.coordination.k8s.io").iter().filter(|n| *n == "billing/leader").count(), 1);
    assert!(saved.names("endpoints").contains(&"billing/made".into()));
    assert_eq!(saved.names("challenges.acme.cert-manager.io"), ["billing/one"]);
}

/// A schedule that asks for the second name only must not get nothing.
#[tokio::test]
async fn a_type_served_under_two_groups_is_saved_under_the_one_that_is_asked_for() {
    let rig = Rig::new();
    let scope = json!({"defaults": false, "resources": {"include": ["events.events.k8s.io"]}});
    let saved = take(&rig, scope).await;
    assert_eq!(saved.types_with_members(), ["events.events.k8s.io"]);
    assert_eq!(saved.names("events.events.k8s.io"), ["billing/web.1"]);
}

#[tokio::test]
async fn types_are_saved_in_the_servers_preferred_version() {
    let rig = Rig::new();
    let saved = take(&rig, json!({})).await;
    let served = listable(&loaded().api()).await;
    for (name, record) in saved.record()["types"].as_object().unwrap() {
        let expected = (served[name].version.as_str(), served[name].kind.as_str());
        assert_eq!((record["version"].as_str().unwrap(), record["kind"].as_str().unwrap()), expected, "{name}");
    }
    // Stored as v1beta1, served in both: the newer one is preferred.
    assert_eq!(saved.of_type("numbers.numbers.test")["version"], "v1");
    let number = &saved.members()["resources/numbers.numbers.test/v1/billing/one.json"];
    let number: Value = serde_json::from_slice(number).unwrap();
    assert_eq!(number["apiVersion"], "numbers.test/v1");
    assert_eq!(saved.of_type("horizontalpodautoscalers.autoscaling")["version"], "v2");
}

/// The list is asked for again as it was at the resourceVersion that the manifest names.
#[tokio::test]
async fn counts_versions_and_pages_in_the_manifest_are_those_of_the_server() {
    let rig = Rig::new();
    let scope = json!({"defaults": false, "pageSize": 50});
    let saved = take(&rig, scope).await;
    let api = loaded().api();
    let mut total = 0;
    for (name, served) in listable(&api).await.iter().filter(|(name, _)| *name != "events.events.k8s.io") {
        let record = saved.of_type(name);
        let then =
            format!("resourceVersion={}&resourceVersionMatch=Exact", record["resourceVersion"].as_str().unwrap());
        // What is not in etcd has no versions.
        let query = if name == "componentstatuses" { String::new() } else { then };
        let items = raw_items(&api, &format!("{}?{query}", served.path)).await;
        let left_out: u64 = saved.skipped(name).iter().map(|(_, count)| count.unwrap()).sum();
        let count = record["count"].as_u64().unwrap();
        assert_eq!(count + left_out, items.len() as u64, "{name}");
        assert_eq!(saved.names(name).len() as u64, count, "{name}");
        let pages = items.len().div_ceil(50).max(1) as u64;
        assert_eq!(record["pages"].as_u64().unwrap(), pages, "{name}");
        assert_eq!(record["restarts"], Value::Null, "{name}");
        total += count;
    }
    assert!(saved.of_type("configmaps")["pages"].as_u64().unwrap() >= 6);
    assert_eq!(saved.record()["items"].as_u64().unwrap(), total);
    assert_eq!(saved.members().len() as u64, total);
    let bytes: usize = saved.members().values().map(Vec::len).sum();
    assert_eq!(saved.record()["bytes"].as_u64().unwrap(), bytes as u64);
    let segments = saved.record()["segments"].as_array().unwrap();
    let sum = |field: &dyn Fn(&Value) -> &Value| segments.iter().map(|s| field(s).as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&|s| &s["index"]["members"]), total);
    assert_eq!(sum(&|s| &s["contentBytes"]), bytes as u64);
}

#[tokio::test]
async fn objects_are_stored_as_the_server_sent_them() {
    let rig = Rig::new();
    let saved = take(&rig, json!({})).await;
    let api = loaded().api();
    let mut compared = 0;
    for (name, served) in listable(&api).await {
        let items = raw_items(&api, &served.path).await;
        for full in saved.names(&name).iter().filter(|full| items.contains_key(*full)) {
            let (namespace, object) = full.split_once('/').unwrap_or(("_cluster", full));
            let path = format!("resources/{name}/{}/{namespace}/{object}.json", served.version);
            let stored = String::from_utf8(saved.members()[&path].clone()).unwrap();
            let item = &items[full];
            let api_version = api_version(&name, &served.version);
            let head = format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{}\",", served.kind);
            // A list of a built-in type says the type once, for all items.
            let expected =
                if item.starts_with("{\"apiVersion") { item.clone() } else { format!("{head}{}", &item[1..]) };
            assert_eq!(stored, expected, "{path}");
            compared += 1;
        }
    }
    assert!(compared as f64 > saved.members().len() as f64 * 0.95, "{compared}");
}

fn api_version(name: &str, version: &str) -> String {
    name.split_once('.').map_or(version.to_string(), |(_, group)| format!("{group}/{version}"))
}

#[tokio::test]
async fn status_is_kept() {
    let rig = Rig::new();
    let saved = take(&rig, json!({"resources": {"include": ["deployments.apps"]}})).await;
    let web = &saved.members()["resources/deployments.apps/v1/shop-eu/web.json"];
    let web: Value = serde_json::from_slice(web).unwrap();
    assert_eq!(web["status"]["readyReplicas"], 2);
    assert!(web["metadata"]["managedFields"].is_array(), "nothing is taken off when saving");
}

#[tokio::test]
async fn numbers_of_64_bits_survive() {
    let rig = Rig::new();
    let saved = take(&rig, json!({"resources": {"include": ["numbers.numbers.test"]}})).await;
    let text =
        String::from_utf8(saved.members()["resources/numbers.numbers.test/v1/billing/one.json"].clone()).unwrap();
    for (key, number) in [("largest", LARGEST), ("smallest", i64::MIN), ("odd", 9_007_199_254_740_993)] {
        assert!(text.contains(&format!("\"{key}\":{number}")), "{key}: {text}");
    }
}

#[tokio::test]
async fn long_names_and_names_with_colons_are_saved() {
    let rig = Rig::new();
    let resources = ["configmaps", "clusterroles.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io"];
    let saved = take(&rig, json!({"resources": {"include": resources}})).await;
    assert!(saved.names(resources[1]).contains(&"shop:reader:v1".into()));
    assert!(saved.names(resources[2]).contains(&"shop-eu/shop:eu:reader".into()));
    let names = saved.members().values().map(|json| {
        let object: Value = serde_json::from_slice(json).unwrap();
        object["metadata"]["name"].as_str().unwrap().to_string()
    });
    let long: BTreeSet<_> = names.filter(|name| name.len() == 253).collect();
    assert_eq!(long, BTreeSet::from([longest_name('a'), longest_name('b')]));
    assert!(saved.members().keys().all(|path| path.rsplit('/').next().unwrap().len() <= 255));
}

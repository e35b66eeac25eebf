use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{self, Document};

fn remap(spec: &str) -> Remap {
    let text = format!(
        "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {{name: x}}\nspec:\n  rto: 4h\n{spec}  steps: [{{name: all, apply: {{}}}}]\n"
    );
    match config::parse(&text, Path::new("x.yaml")).unwrap().remove(0) {
        Document::RestorePlan(plan) => Remap::new(&plan),
        other => panic!("{other:?}"),
    }
}

/// Applies to an object of a type; what it is called is taken from the object itself.
fn apply(remap: &Remap, resource: &str, object: &mut Value) -> Result<Uses, String> {
    let before = object.clone();
    let group = resource.split_once('.').map_or("", |(_, group)| group);
    let labels = BTreeMap::new();
    let subject = Subject {
        source: "platform",
        kind: before["kind"].as_str().unwrap_or_default(),
        group,
        namespace: before["metadata"]["namespace"].as_str(),
        name: before["metadata"]["name"].as_str().unwrap_or_default(),
        labels: &labels,
    };
    remap.apply(object, resource, &subject)
}

#[track_caller]
fn becomes(remap: &Remap, resource: &str, before: Value, after: Value) {
    let mut object = before;
    apply(remap, resource, &mut object).unwrap();
    assert_eq!(object, after, "{resource}");
}

#[test]
fn a_namespace_is_renamed_wherever_it_is_named() {
    let remap = remap("  mappings: {namespaces: {shop: store}}\n");
    becomes(
        &remap,
        "namespaces",
        json!({"metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop", "shop.tree.hnc.x-k8s.io/depth": "0"}}}),
        json!({"metadata": {"name": "store", "labels": {"kubernetes.io/metadata.name": "store", "store.tree.hnc.x-k8s.io/depth": "0"}}}),
    );
    becomes(
        &remap,
        "clusterrolebindings.rbac.authorization.k8s.io",
        json!({"subjects": [
            {"kind": "ServiceAccount", "name": "shop", "namespace": "shop"}, {"kind": "User", "name": "system:serviceaccount:shop:x"},
            {"kind": "Group", "name": "system:serviceaccounts:shop"}, {"kind": "Group", "name": "shop"},
        ]}),
        json!({"subjects": [
            {"kind": "ServiceAccount", "name": "shop", "namespace": "store"}, {"kind": "User", "name": "system:serviceaccount:store:x"},
            {"kind": "Group", "name": "system:serviceaccounts:store"}, {"kind": "Group", "name": "shop"},
        ]}),
    );
    let policy = |name: &str| {
        let peer = |selector: Value| json!({"namespaceSelector": selector});
        let labels = peer(json!({"matchLabels": {"kubernetes.io/metadata.name": name}}));
        let expression = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [name, "other"]});
        json!({"metadata": {"namespace": name}, "spec": {
            "ingress": [{"from": [labels]}], "egress": [{"to": [peer(json!({"matchExpressions": [expression]}))]}]}})
    };
    becomes(&remap, "networkpolicies.networking.k8s.io", policy("shop"), policy("store"));
    let pod = |name: &str| {
        let term = json!({"topologyKey": "zone", "namespaces": [name]});
        json!({"metadata": {"namespace": name}, "spec": {"template": {"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}}}}}})
    };
    becomes(&remap, "deployments.apps", pod("shop"), pod("store"));
    for (resource, object) in [
        ("persistentvolumes", json!({"spec": {"claimRef": {"namespace": "NAME", "name": "shop"}}})),
        ("apiservices.apiregistration.k8s.io", json!({"spec": {"service": {"namespace": "NAME"}}})),
        (
            "servicemonitors.monitoring.coreos.com",
            json!({"spec": {"namespaceSelector": {"matchNames": ["NAME", "b"]}}}),
        ),
        ("subnamespaceanchors.hnc.x-k8s.io", json!({"metadata": {"namespace": "parent", "name": "NAME"}})),
        ("k8sx.constraints.gatekeeper.sh", json!({"spec": {"match": {"namespaces": ["NAME"]}}})),
        (
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            json!({
            "metadata": {"annotations": {"cert-manager.io/inject-ca-from": "NAME/ca"}},
            "webhooks": [{"clientConfig": {"service": {"namespace": "NAME", "name": "shop"}}}]}),
        ),
    ] {
        let named = |name: &str| serde_json::from_str(&object.to_string().replace("NAME", name)).unwrap();
        becomes(&remap, resource, named("shop"), named("store"));
        becomes(&remap, resource, named("shopping"), named("shopping"));
    }
}

#[test]
fn two_names_may_be_exchanged() {
    let remap = remap("  mappings: {namespaces: {a: b, b: a}}\n");
    becomes(&remap, "secrets", json!({"metadata": {"namespace": "a"}}), json!({"metadata": {"namespace": "b"}}));
    becomes(&remap, "secrets", json!({"metadata": {"namespace": "b"}}), json!({"metadata": {"namespace": "a"}}));
}

#[test]
fn claims_ask_for_the_new_class_and_classes_keep_their_names() {
    let remap = remap("  mappings: {storageClasses: {fast: premium}}\n");
    let set = |name: &str| json!({"spec": {"volumeClaimTemplates": [{"spec": {"storageClassName": name}}]}});
    becomes(&remap, "statefulsets.apps", set("fast"), set("premium"));
    let claim = |name: &str| json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": name}}});
    becomes(&remap, "persistentvolumeclaims", claim("fast"), claim("premium"));
    let quota =
        |name: &str| json!({"spec": {"hard": {format!("{name}.storageclass.storage.k8s.io/requests.storage"): "1Gi"}}});
    becomes(&remap, "resourcequotas", quota("fast"), quota("premium"));
    let class = json!({"metadata": {"name": "fast"}});
    becomes(&remap, "storageclasses.storage.k8s.io", class.clone(), class);
}

#[test]
fn images_come_from_the_new_registry_and_the_log_in_for_the_old_one_opens_it() {
    let remap = remap("  mappings: {imageRegistries: {docker.io: \"mirror.example/hub\"}}\n");
    let job = |image: &str| {
        let pod = json!({"initContainers": [{"image": image}], "containers": [{"image": image}], "image": "nginx"});
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}})
    };
    becomes(&remap, "cronjobs.batch", job("nginx"), job("mirror.example/hub/library/nginx"));
    let secret = |auths: Value| {
        use base64::Engine;
        let config = json!({ "auths": auths }).to_string();
        let config = base64::engine::general_purpose::STANDARD.encode(config);
        json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": config}})
    };
    let log_in = json!({"auth": "eDp5"});
    let before = secret(json!({"https://index.docker.io/v1/": log_in}));
    let after = secret(json!({"https://index.docker.io/v1/": log_in, "mirror.example": log_in}));
    becomes(&remap, "secrets", before, after);
    let other = secret(json!({"quay.io": log_in}));
    becomes(&remap, "secrets", other.clone(), other);
}

#[test]
fn texts_are_looked_through_only_where_the_plan_says_so() {
    let here = remap("  mappings: {domains: {old.example: new.example}, domainsIn: [ConfigMap]}\n");
    let config = |host: &str| json!({"data": {"a": format!("url: https://dex.{host}/x")}});
    becomes(&here, "configmaps", config("old.example"), config("new.example"));
    becomes(&here, "secrets", config("old.example"), config("old.example"));
    let ingress = |host: &str| {
        json!({"metadata": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": format!("a.{host},b.{host}")}},
            "spec": {"rules": [{"host": format!("a.{host}")}], "tls": [{"hosts": [host]}]}})
    };
    becomes(&here, "ingresses.networking.k8s.io", ingress("old.example"), ingress("new.example"));
    let texts = remap("  mappings: {domains: {old.example: new.example}, domainsIn: [Secret]}\n");
    let secret = |text: &[u8]| {
        use base64::Engine;
        json!({"data": {"a": base64::engine::general_purpose::STANDARD.encode(text)}})
    };
    becomes(&texts, "secrets", secret(b"old.example"), secret(b"new.example"));
    becomes(&texts, "secrets", secret(b"\xff old.example"), secret(b"\xff old.example"));
}

#[test]
fn a_patch_changes_what_it_selects_and_never_what_an_object_is() {
    let remap = remap(concat!(
        "  patches:\n",
        "    - {name: one, kinds: [Deployment], namespaces: {include: [shop]}, merge: {spec: {replicas: 1, paused: null}}}\n",
        "    - {kinds: [ConfigMap], names: [env], json: [{op: test, path: /data/env, value: prod}, {op: replace, path: /data/env, value: test}]}\n",
        "    - {name: wrong, kinds: [Secret], merge: {metadata: {name: other}}}\n",
    ));
    let deployment =
        |spec: Value| json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    becomes(
        &remap,
        "deployments.apps",
        deployment(json!({"replicas": 3, "paused": true})),
        deployment(json!({"replicas": 1})),
    );
    let map = |value: &str| json!({"kind": "ConfigMap", "metadata": {"name": "env"}, "data": {"env": value}});
    becomes(&remap, "configmaps", map("prod"), map("test"));
    let why = apply(&remap, "configmaps", &mut map("dev")).unwrap_err();
    assert!(why.starts_with("patch patches[1] cannot be applied: "), "{why}");
    let mut secret = json!({"kind": "Secret", "metadata": {"name": "env"}});
    let why = apply(&remap, "secrets", &mut secret).unwrap_err();
    assert_eq!(why, "patch wrong changes /metadata/name, which no patch may");
    assert_eq!(remap.idle().count(), 3, "none of them was seen in a backup");
}

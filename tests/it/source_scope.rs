//! Which objects of a cluster a schedule chooses, and that it is said what it leaves out.

use serde_json::{Value, json};

use super::backup_rig::{Rig, Saved, loaded};

async fn take(scope: Value) -> Saved {
    let rig = Rig::new();
    rig.open(&rig.backup(&loaded().kubeconfig, scope).run().await.expect_success())
}

/// In which namespaces anything was saved.
fn namespaces(saved: &Saved) -> Vec<String> {
    let of = |path: &String| path.split('/').nth(3).unwrap().to_string();
    let mut all: Vec<_> = saved.members().keys().map(of).filter(|namespace| namespace != "_cluster").collect();
    all.sort();
    all.dedup();
    all
}

#[tokio::test]
async fn only_included_namespaces_are_saved_and_their_namespace_objects() {
    let saved = take(json!({"namespaces": {"include": ["shop-*", "scr?tch"], "exclude": ["shop-us"]}})).await;
    assert_eq!(namespaces(&saved), ["scratch", "shop-eu"]);
    assert_eq!(saved.names("namespaces"), ["scratch", "shop-eu"]);
    assert_eq!(saved.names("secrets"), ["scratch/password", "shop-eu/password"]);
    assert!(!saved.names("clusterroles.rbac.authorization.k8s.io").is_empty());
    let skipped = saved.skipped("secrets");
    assert_eq!(skipped, [("in a namespace that the schedule leaves out".to_string(), Some(2))]);
}

#[tokio::test]
async fn excluded_namespaces_are_left_out_with_their_namespace_objects() {
    let saved = take(json!({"namespaces": {"exclude": ["many", "shop-*", "kube-*"]}})).await;
    assert_eq!(namespaces(&saved), ["billing", "default", "scratch"]);
    assert_eq!(saved.names("namespaces"), ["billing", "default", "scratch"]);
}

#[tokio::test]
async fn resources_are_chosen_by_name_and_glob() {
    let include = ["secrets", "*.apps", "*.rbac.authorization.k8s.io"];
    let saved = take(json!({"resources": {"include": include, "exclude": ["*roles.*", "replicasets.apps"]}})).await;
    let types: Vec<_> = saved.record()["types"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        types,
        [
            "clusterrolebindings.rbac.authorization.k8s.io",
            "controllerrevisions.apps",
            "daemonsets.apps",
            "deployments.apps",
            "rolebindings.rbac.authorization.k8s.io",
            "secrets",
            "statefulsets.apps",
        ]
    );
    assert_eq!(saved.names("deployments.apps").len(), 4);
    assert_eq!(saved.skipped("configmaps")[0].0, "not in resources.include of the schedule");
    assert_eq!(saved.skipped("replicasets.apps")[0].0, "in resources.exclude of the schedule");
}

#[tokio::test]
async fn a_label_selector_chooses_among_all_types() {
    let saved = take(json!({"labelSelector": "app=web,tier notin (back),!gone"})).await;
    assert_eq!(saved.types_with_members(), ["configmaps", "deployments.apps", "secrets"]);
    let settings = ["billing/settings", "scratch/settings", "shop-eu/settings", "shop-us/settings"];
    assert_eq!(saved.names("configmaps"), settings);
    assert_eq!(saved.of_type("configmaps")["count"], 4);
}

#[tokio::test]
async fn without_cluster_scoped_types_namespaces_are_saved_all_the_same() {
    let saved = take(json!({"clusterScoped": false, "namespaces": {"include": ["billing"]}})).await;
    let record = saved.record()["types"].as_object().unwrap();
    let outside: Vec<_> = record.iter().filter(|(_, t)| t["namespaced"] == false).map(|(name, _)| name).collect();
    assert_eq!(outside, ["namespaces"]);
    assert_eq!(saved.names("namespaces"), ["billing"]);
    let why = "types outside namespaces are off (clusterScoped: false)";
    assert_eq!(saved.skipped("clusterroles.rbac.authorization.k8s.io"), [(why.to_string(), None)]);
}

#[tokio::test]
async fn objects_with_the_opt_out_label_are_left_out_and_counted() {
    let saved = take(json!({"resources": {"include": ["configmaps"]}, "defaults": false})).await;
    let names = saved.names("configmaps");
    assert!(names.contains(&"billing/not-kept-out".into()), "the value must be true");
    assert!(!names.contains(&"billing/kept-out".into()) && !names.contains(&"many/map-000".into()));
    let why = "labelled ckbackup.io/exclude: \"true\"";
    assert_eq!(saved.skipped("configmaps"), [(why.to_string(), Some(2))]);
}

#[tokio::test]
async fn endpoints_that_controllers_make_are_left_out_and_those_made_by_hand_kept() {
    let include = ["endpoints", "endpointslices.discovery.k8s.io"];
    let saved = take(json!({"resources": {"include": include}})).await;
    for name in include {
        assert_eq!(saved.names(name), ["billing/by-hand"]);
        let why = "the endpoint controllers make it from the service's pods";
        assert_eq!(saved.skipped(name), [(why.to_string(), Some(2))]);
    }
}

#[tokio::test]
async fn every_built_in_exclusion_is_in_the_manifest_with_its_reason() {
    let saved = take(json!({})).await;
    for (name, reason) in [
        ("events", "events tell what happened to the old cluster"),
        ("leases.coordination.k8s.io", "a lease names a holder that is gone"),
        ("certificaterequests.cert-manager.io", "cert-manager makes it anew"),
        ("orders.acme.cert-manager.io", "cert-manager makes it anew"),
        ("challenges.acme.cert-manager.io", "cert-manager makes it anew"),
        ("csinodes.storage.k8s.io", "belongs to a node of the old cluster"),
    ] {
        let [(why, None)] = &saved.skipped(name)[..] else { panic!("{name}: {:?}", saved.skipped(name)) };
        assert!(why.starts_with(reason), "{name}: {why}");
        assert!(saved.names(name).is_empty());
    }
}

/// A slip of the pen must not make a backup that lacks what was asked for, and looks whole.
#[tokio::test]
async fn what_is_named_and_does_not_exist_makes_the_backup_partial() {
    let rig = Rig::new();
    let scope = json!({
        "namespaces": {"include": ["shop-eu", "shpo-us", "none-*"]},
        "resources": {"include": ["secrets", "deploymets.apps", "*.example.net"]},
    });
    let partial = rig.backup(&loaded().kubeconfig, scope).run().await.expect(3);
    let problems = partial.json()["sources"][0]["problems"].clone();
    let named: Vec<_> = problems.as_array().unwrap().iter().map(|p| p["what"].as_str().unwrap()).collect();
    assert_eq!(
        named,
        ["deploymets.apps", "namespace shpo-us"],
        "patterns with wildcards may match nothing: {problems}"
    );
    assert!(
        partial.stderr.contains("the server has no such type that can be listed; see resources.include"),
        "{partial}"
    );
    assert!(partial.stderr.contains("there is none; see namespaces.include"), "{partial}");
    assert_eq!(rig.open(&partial).names("secrets"), ["shop-eu/password"]);

    let only = rig.backup(&loaded().kubeconfig, json!({"resources": {"include": ["secret"]}})).run().await.expect(1);
    assert!(only.stderr.contains("nothing could be read; the first problem was secret"), "{only}");
}

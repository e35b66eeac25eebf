//! Mappings and patches, from the plan to the objects in the target.

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::restore_fixture::*;

/// A scope with what mappings reach.
fn scope(namespaces: &str) -> String {
    format!(
        "{{namespaces: {{include: [{namespaces}]}}, clusterScoped: false, resources: {{include: [namespaces, configmaps, secrets, \
          deployments.apps, persistentvolumeclaims, ingresses.networking.k8s.io, rolebindings.rbac.authorization.k8s.io]}}}}"
    )
}

/// Something of everything that mappings change.
async fn fill_shop(namespace: &str) {
    let api = shared().api();
    let within = |group: &str, plural: &str| match group {
        "" => format!("/api/v1/namespaces/{namespace}/{plural}"),
        group => format!("/apis/{group}/namespaces/{namespace}/{plural}"),
    };
    let pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}});
    let objects = [
        (
            within("", "configmaps"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "env"},
            "data": {"url": "https://dex.old.example/auth", "env": "prod"}}),
        ),
        (
            within("apps/v1", "deployments"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": pod}}),
        ),
        (
            within("", "persistentvolumeclaims"),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        (
            within("networking.k8s.io/v1", "ingresses"),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web"}, "spec": {"tls": [{"hosts": ["shop.old.example"]}], "rules": [{"host": "shop.old.example"}]}}),
        ),
        (
            within("rbac.authorization.k8s.io/v1", "rolebindings"),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "web"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": namespace}]}),
        ),
    ];
    for (path, object) in objects {
        api.create(&path, &object).await;
    }
}

fn plan_with(rig: &Rig, old: &str, new: &str) -> std::path::PathBuf {
    rig.plan(&format!(
        "[{{name: all, apply: {{}}}}]
  mappings:
    namespaces: {{{old}: {new}}}
    storageClasses: {{fast: premium}}
    imageRegistries: {{docker.io: mirror.example/hub}}
    domains: {{old.example: new.example}}
    domainsIn: [ConfigMap]
  patches:
    - {{name: small, kinds: [Deployment], namespaces: {{include: [{old}]}}, merge: {{spec: {{replicas: 1}}}}}}
    - {{name: env, kinds: [ConfigMap], names: [env], json: [{{op: replace, path: /data/env, value: drill}}]}}
    - {{name: idle, kinds: [CronJob], merge: {{spec: {{suspend: true}}}}}}"
    ))
}

/// How many objects a mapping or patch changed.
#[track_caller]
fn changed(summary: &Value, what: &str, from: &str) -> u64 {
    let all = step(summary, "all")["remapped"].as_array().unwrap();
    let found = all.iter().find(|change| change["what"] == what && change["from"] == from);
    found.unwrap_or_else(|| panic!("no {what} {from}: {summary:#}"))["objects"].as_u64().unwrap()
}

#[tokio::test]
async fn a_plan_maps_names_and_patches_objects_and_the_dry_run_says_where() {
    let (rig, api, old) = (Rig::new().await, shared().api(), shared().namespace("remap").await);
    let new = format!("{old}-new");
    fill_shop(&old).await;
    rig.back_up(&shared().kubeconfig, &scope(&old)).await;
    let plan = plan_with(&rig, &old, &new);

    let dry = rig.restore(&plan, &shared().kubeconfig).arg("--dry-run").run().await.expect_success();
    let foreseen = summary(&dry);
    assert_eq!(items(&foreseen), [6, 0, 0, 0, 0], "{foreseen:#}");
    assert_eq!(changed(&foreseen, "namespace", &old), 6);
    assert_eq!(changed(&foreseen, "storageClass", "fast"), 1);
    assert_eq!(changed(&foreseen, "imageRegistry", "docker.io"), 1);
    assert_eq!(changed(&foreseen, "domain", "old.example"), 2);
    assert_eq!(changed(&foreseen, "patch", "small"), 1);
    let obstacles = foreseen["obstacles"].to_string();
    assert!(obstacles.contains("patch idle selects nothing"), "{obstacles}");
    assert!(obstacles.contains("storage class premium is neither in the plan nor in the target"), "{obstacles}");
    assert!(api.find(&format!("/api/v1/namespaces/{new}")).await.is_none(), "a dry run writes nothing");

    let restored = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect_success());
    assert_eq!((items(&restored), &restored["status"]), ([6, 0, 0, 0, 0], &json!("complete")), "{restored:#}");
    let get = async |path: &str| api.get(&path.replace("NEW", &new)).await;
    let map = get("/api/v1/namespaces/NEW/configmaps/env").await;
    assert_eq!(map["data"], json!({"url": "https://dex.new.example/auth", "env": "drill"}));
    let web = get("/apis/apps/v1/namespaces/NEW/deployments/web").await;
    assert_eq!(web["spec"]["replicas"], 1);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "mirror.example/hub/library/nginx:1.27");
    assert_eq!(get("/api/v1/namespaces/NEW/persistentvolumeclaims/data").await["spec"]["storageClassName"], "premium");
    let ingress = get("/apis/networking.k8s.io/v1/namespaces/NEW/ingresses/web").await;
    assert_eq!(ingress["spec"]["rules"][0]["host"], "shop.new.example");
    let binding = get("/apis/rbac.authorization.k8s.io/v1/namespaces/NEW/rolebindings/web").await;
    assert_eq!(binding["subjects"][0]["namespace"], json!(new));
    // What is there as the mappings make it is what was asked for.
    let again = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect_success());
    assert_eq!(items(&again), [0, 0, 6, 0, 0], "{again:#}");
}

#[tokio::test]
async fn namespaces_become_one_only_where_no_object_takes_the_place_of_another() {
    let (rig, api) = (Rig::new().await, shared().api());
    let (a, b) = (shared().namespace("merge").await, shared().namespace("merge").await);
    let into = format!("{a}-all");
    api.create(&config_maps(&a), &config_map("same")).await;
    api.create(&config_maps(&b), &config_map("same")).await;
    api.create(&config_maps(&b), &config_map("other")).await;
    rig.back_up(&shared().kubeconfig, &scope(&format!("{a}, {b}"))).await;
    let mappings = format!("mappings: {{namespaces: {{{a}: {into}, {b}: {into}}}}}");
    let all = rig.plan(&format!("[{{name: all, apply: {{}}}}]\n  {mappings}"));
    let refused = rig.restore(&all, &shared().kubeconfig).run().await.expect(2);
    assert!(refused.to_string().contains(&format!("configmaps/{into}/same of {a} and of {b}")), "{refused}");
    assert!(api.find(&format!("/api/v1/namespaces/{into}")).await.is_none());
    api.delete(&format!("{}/same", config_maps(&b))).await;
    rig.back_up(&shared().kubeconfig, &scope(&format!("{a}, {b}"))).await;
    let restored = summary(&rig.restore(&all, &shared().kubeconfig).run().await.expect_success());
    assert_eq!(restored["failures"], json!([]), "{restored:#}");
    assert_eq!(api.list(&config_maps(&into)).await.len(), 2);
}

#[tokio::test]
async fn a_patch_that_does_not_fit_fails_its_object_by_name_and_no_other() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("misfit").await);
    fill(&namespace, 3).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let plan = rig.plan(
        "[{name: all, apply: {kinds: [ConfigMap]}}]
  patches:
    - {name: strict, kinds: [ConfigMap], names: [item-01], json: [{op: test, path: /data/key, value: other}]}",
    );
    let summary = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    assert_eq!(items(&summary), [2, 0, 0, 0, 1], "{summary:#}");
    assert_eq!(summary["failures"][0]["object"], json!(format!("configmaps/{namespace}/item-01")));
    let why = summary["failures"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("patch strict cannot be applied: "), "{why}");
    assert_eq!(api.list(&config_maps(&namespace)).await.len(), 2);
}

//! Objects that are not restored, because something in the cluster makes them, or because they were on their way out.

use base64::Engine;
use serde_json::{Value, json};

use super::place::*;

const TOKEN: &str = "kubernetes.io/service-account-token";

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub async fn what_was_being_deleted_stays_deleted() {
    let place = Place::new().await;
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    let saved = place.save_here("configmaps", object("v1", "ConfigMap", "held", held)).await;
    let path = place.path("configmaps", &saved);
    place.api.delete(&path).await;
    let saved = place.api.get(&path).await;
    assert!(saved["metadata"]["deletionTimestamp"].is_string());

    // As it is, it would come back alive.
    let (status, alive) = place.post_as_saved("configmaps", &saved).await;
    assert!(status == 201 && !alive.contains("deletionTimestamp"), "{status} {alive}");
    Surroundings::default().refuses("being-deleted", "configmaps", &saved);

    let name = place.unique("leaving");
    let held = json!({"spec": {"finalizers": ["kubernetes"]}});
    let saved = place.save("namespaces", object("v1", "Namespace", &name, held)).await;
    place.api.delete(&place.path("namespaces", &saved)).await;
    let saved = place.api.get(&place.path("namespaces", &saved)).await;
    Surroundings::default().refuses("being-deleted", "namespaces", &saved);
}

pub async fn a_mirror_of_a_static_pod_is_left_to_the_kubelet() {
    let place = Place::new().await;
    let marks = json!({"metadata": {"annotations": {
        "kubernetes.io/config.mirror": "0123456789abcdef",
        "kubernetes.io/config.source": "file",
    }}, "spec": pod_spec()});
    let mut pod = object("v1", "Pod", "etcd-node-1", marks);
    pod["spec"]["nodeName"] = "node-1".into();
    let saved = place.save_here("pods", pod).await;

    // Posted as it is, a copy would stand on a node that may not exist, and no kubelet would run it.
    assert_eq!(place.post_as_saved("pods", &saved).await.0, 201);
    Surroundings::default().refuses("mirror-pods", "pods", &saved);

    let config = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    let saved = place.save_here("configmaps", object("v1", "ConfigMap", "not-a-pod", config)).await;
    comes_back(&place, &Surroundings::default(), "configmaps", &saved, &[]).await;
}

/// Owners of every kind that makes objects, and what they made: (resource, owner's resource, owner, object).
async fn made_by_controllers(place: &Place) -> Vec<(&'static str, Value, Value)> {
    let workload = |replicas: bool| {
        let mut spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template()});
        if replicas {
            spec["replicas"] = 2.into();
        }
        json!({"spec": spec})
    };
    let save = async |resource: &str, object: Value| place.save_here(resource, object).await;
    let deployment = save("deployments.apps", object("apps/v1", "Deployment", "web", workload(true))).await;
    let daemon_set = save("daemonsets.apps", object("apps/v1", "DaemonSet", "agent", workload(false))).await;
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": pod_spec()["containers"]}}});
    let cron = json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": job}}});
    let cron_job = save("cronjobs.batch", object("batch/v1", "CronJob", "nightly", cron)).await;
    let service = json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
    let service = save("services", object("v1", "Service", "web", service)).await;

    let owned = |owner: &Value, rest: Value| {
        let mut rest = rest;
        rest["metadata"]["ownerReferences"] = json!([controlled_by(owner)]);
        rest
    };
    let set = object("apps/v1", "ReplicaSet", "web-5d8", owned(&deployment, workload(true)));
    let set = save("replicasets.apps", set).await;
    let pod = save("pods", object("v1", "Pod", "web-5d8-abcde", owned(&set, json!({"spec": pod_spec()})))).await;
    let run = save("jobs.batch", object("batch/v1", "Job", "nightly-1", owned(&cron_job, json!({"spec": job})))).await;
    let revision = owned(&daemon_set, json!({"revision": 1, "data": {"spec": {"template": template()}}}));
    let revision = save("controllerrevisions.apps", object("apps/v1", "ControllerRevision", "agent-1", revision)).await;
    let slice = owned(&service, json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}]}));
    let slice = object("discovery.k8s.io/v1", "EndpointSlice", "web-abcde", slice);
    let slice = save("endpointslices.discovery.k8s.io", slice).await;
    vec![
        ("replicasets.apps", deployment, set.clone()),
        ("pods", set, pod),
        ("jobs.batch", cron_job, run),
        ("controllerrevisions.apps", daemon_set, revision),
        ("endpointslices.discovery.k8s.io", service, slice),
    ]
}

pub async fn what_a_controller_makes_is_left_to_it() {
    let place = Place::new().await;
    for (resource, owner, saved) in made_by_controllers(&place).await {
        // As it is, it comes back for an owner that is gone: the garbage collector would take it.
        let (status, body) = place.post_as_saved(resource, &saved).await;
        let refused = status == 422 && resource == "jobs.batch";
        assert!(refused || (status == 201 && body.contains(uid(&owner))), "{resource}: {status} {body}");
        Surroundings::with_owners([&owner]).refuses("controller-owned", resource, &saved);
    }
}

pub async fn what_nobody_would_make_again_is_restored() {
    let place = Place::new().await;
    let alone = Surroundings::default();
    let pod = place.save_here("pods", object("v1", "Pod", "alone", json!({"spec": pod_spec()}))).await;
    comes_back(&place, &alone, "pods", &pod, &[]).await;

    // A controller that is not in the backup makes nothing; its reference would get the object collected.
    for (resource, _, saved) in made_by_controllers(&place).await {
        let restored = alone.fit(resource, &saved).unwrap();
        assert!(restored["metadata"]["ownerReferences"].is_null());
        assert_eq!(place.post(resource, &restored).await.0, 201, "{resource}");
    }

    // An owner that does not control an object does not make it.
    let owner = place.save_here("configmaps", config_map("owner")).await;
    let mut pod = object("v1", "Pod", "owned", json!({"spec": pod_spec()}));
    pod["metadata"]["ownerReferences"] = json!([owned_by(&owner)]);
    let pod = place.save_here("pods", pod).await;
    let surroundings = Surroundings::with_owners([&owner]);
    comes_back(&place, &surroundings, "pods", &pod, &[".metadata.ownerReferences"]).await;
}

pub async fn what_an_operator_owns_is_restored() {
    let place = Place::new().await;
    let group = define_widgets(&place, false).await;
    let owner = place.save_here(&format!("widgets.{group}"), widget(&group, "database", json!({"spec": {}}))).await;
    let surroundings = Surroundings::with_owners([&owner]);
    let restored = place.restore(&format!("widgets.{group}"), &surroundings.fit("widgets", &owner).unwrap()).await;
    surroundings.owners.restored(uid(&owner), uid(&restored));
    let set = json!({
        "selector": {"matchLabels": {"app": "x"}}, "serviceName": "db", "template": template(),
        "volumeClaimTemplates": [{
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }],
    });
    let cases = [
        ("statefulsets.apps", object("apps/v1", "StatefulSet", "db", json!({"spec": set}))),
        ("secrets", object("v1", "Secret", "db-password", json!({"data": {"password": "MQ=="}}))),
    ];
    for (resource, mut owned) in cases {
        owned["metadata"]["ownerReferences"] = json!([controlled_by(&owner)]);
        let saved = place.save_here(resource, owned).await;
        let back = comes_back(&place, &surroundings, resource, &saved, &[".metadata.ownerReferences[0].uid"]).await;
        assert_eq!(back["metadata"]["ownerReferences"][0]["uid"], uid(&restored));
    }
}

/// A stateful set's pod would never start beside a claim of its name that it does not own.
pub async fn claims_of_ephemeral_volumes_are_left_to_their_pod() {
    let place = Place::new().await;
    let pod = place.save_here("pods", object("v1", "Pod", "db-0", json!({"spec": pod_spec()}))).await;
    let asks = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut claim = object("v1", "PersistentVolumeClaim", "db-0-scratch", json!({"spec": asks}));
    claim["metadata"]["ownerReferences"] = json!([controlled_by(&pod)]);
    let saved = place.save_here("persistentvolumeclaims", claim).await;
    Surroundings::with_owners([&pod]).refuses("controller-owned", "persistentvolumeclaims", &saved);

    let set = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template()});
    let set = place.save_here("statefulsets.apps", object("apps/v1", "StatefulSet", "db", json!({"spec": set}))).await;
    let mut claim = object("v1", "PersistentVolumeClaim", "data-db-0", json!({"spec": asks}));
    claim["metadata"]["ownerReferences"] = json!([controlled_by(&set)]);
    let saved = place.save_here("persistentvolumeclaims", claim).await;
    let surroundings = Surroundings::with_owners([&set]);
    comes_back(&place, &surroundings, "persistentvolumeclaims", &saved, &[".metadata.ownerReferences"]).await;
}

/// A token Secret as the token controller leaves it: there is none here, so this writes what it would.
async fn token_secret(place: &Place, name: &str, account: &str) -> Value {
    let account_saved = object("v1", "ServiceAccount", account, json!({}));
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}", place.here);
    let account_saved = match place.api.find(&path).await {
        Some(there) => there,
        None => place.save_here("serviceaccounts", account_saved).await,
    };
    let rest = json!({
        "type": TOKEN,
        "metadata": {
            "annotations": {"kubernetes.io/service-account.name": account, "note": "kept"},
            "labels": {"kubernetes.io/legacy-token-last-used": "2026-11-21"},
        },
        "data": {"extra": encoded("kept")},
    });
    let secret = place.save_here("secrets", object("v1", "Secret", name, rest)).await;
    let filled = json!({
        "metadata": {"annotations": {"kubernetes.io/service-account.uid": uid(&account_saved)}},
        "data": {"token": encoded("eyJ"), "ca.crt": encoded("---"), "namespace": encoded(&place.here)},
    });
    place.change("secrets", &secret, "", filled).await
}

pub async fn generated_tokens_are_left_out() {
    let place = Place::new().await;
    let long = "a-service-account-with-a-name-that-leaves-no-room-for-its-token";
    // Generated names are cut before the random letters.
    for (name, account) in [("deployer-token-x7k2p", "deployer"), (&format!("{}bcd24", &long[..58]), long)] {
        let saved = token_secret(&place, name, account).await;
        // As it is, it would come back with a token that no API server accepts.
        let (status, posted) = place.post_as_saved("secrets", &saved).await;
        assert!(status == 201 && posted.contains(&encoded("eyJ")), "{status} {posted}");
        Surroundings::default().refuses("generated-token-secrets", "secrets", &saved);
    }
}

pub async fn token_secrets_by_hand_and_other_secrets_are_restored() {
    let place = Place::new().await;
    let but = [
        ".data.ca.crt",
        ".data.namespace",
        ".data.token",
        ".metadata.annotations.kubernetes.io/service-account.uid",
        ".metadata.labels",
    ];
    // `admin` and `prod1` have five characters, but Kubernetes never makes such names.
    for name in ["deployer", "deployer-token", "deployer-token-admin", "deployer-token-prod1", "ci-token-x7k2p"] {
        let saved = token_secret(&place, name, "deployer").await;
        comes_back(&place, &Surroundings::default(), "secrets", &saved, &but).await;
    }
    let release = json!({"type": "helm.sh/release.v1", "data": {"release": encoded("H4sI"), "token": encoded("x")}});
    let helm = object("v1", "Secret", "sh.helm.release.v1.web.v1", release);
    let tls =
        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": encoded("c"), "tls.key": encoded("k"), "ca.crt": ""}});
    let opaque = json!({"data": {"token": encoded("x"), "ca.crt": encoded("y"), "namespace": encoded("z")}});
    let named = object("v1", "Secret", "deployer-token-x7k2p", opaque);
    for secret in [helm, object("v1", "Secret", "web-tls", tls), named] {
        let saved = place.save_here("secrets", secret).await;
        comes_back(&place, &Surroundings::default(), "secrets", &saved, &[]).await;
    }
}

pub async fn a_token_secret_by_hand_comes_back_without_the_old_token() {
    let place = Place::new().await;
    let saved = token_secret(&place, "for-the-pipeline", "pipeline").await;
    let fitted = Surroundings::default().fit("secrets", &saved).unwrap();
    let account = place.api.get(&format!("/api/v1/namespaces/{}/serviceaccounts/pipeline", place.here)).await;
    let account = Surroundings::default().fit("serviceaccounts", &account).unwrap();
    let account = place.restore("serviceaccounts", &account).await;
    let restored = place.restore("secrets", &fitted).await;
    // The token controller deletes a Secret whose account has another uid.
    let marked = &restored["metadata"]["annotations"]["kubernetes.io/service-account.uid"];
    assert!(marked.is_null() || marked == uid(&account), "{marked}");
    assert_eq!(restored["data"], json!({"extra": encoded("kept")}));
    assert_eq!(restored["metadata"]["annotations"]["kubernetes.io/service-account.name"], "pipeline");
    assert_eq!(restored["metadata"]["annotations"]["note"], "kept");
}

pub async fn a_service_account_keeps_only_the_secrets_that_come_back() {
    let place = Place::new().await;
    let rest = json!({
        "secrets": [{"name": "ci-token-x7k2p"}, {"name": "ci-dockercfg"}, {"name": "ci-token-admin"}],
        "imagePullSecrets": [{"name": "registry"}],
        "automountServiceAccountToken": false,
    });
    let saved = place.save_here("serviceaccounts", object("v1", "ServiceAccount", "ci", rest)).await;
    let restored = comes_back(&place, &Surroundings::default(), "serviceaccounts", &saved, &[".secrets"]).await;
    assert_eq!(restored["secrets"], json!([{"name": "ci-dockercfg"}, {"name": "ci-token-admin"}]));

    let rest = json!({"secrets": [{"name": "old-token-x7k2p"}]});
    let saved = place.save_here("serviceaccounts", object("v1", "ServiceAccount", "old", rest)).await;
    let restored = comes_back(&place, &Surroundings::default(), "serviceaccounts", &saved, &[".secrets"]).await;
    assert!(restored.get("secrets").is_none());
}

/// What a new API server has before anybody created anything.
pub async fn what_the_api_server_made_is_left_to_it() {
    let place = Place::new().await;
    let api = "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps";
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let system = "/api/v1/namespaces/kube-system/configmaps";
    let made = [
        ("services", "/api/v1/namespaces/default/services/kubernetes".to_string()),
        ("apiservices.apiregistration.k8s.io", api.to_string()),
        ("clusterroles.rbac.authorization.k8s.io", format!("{rbac}/clusterroles/cluster-admin")),
        ("clusterrolebindings.rbac.authorization.k8s.io", format!("{rbac}/clusterrolebindings/cluster-admin")),
        (
            "roles.rbac.authorization.k8s.io",
            format!("{rbac}/namespaces/kube-system/roles/system:controller:token-cleaner"),
        ),
        ("flowschemas.flowcontrol.apiserver.k8s.io", format!("{flow}/flowschemas/catch-all")),
        (
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
            format!("{flow}/prioritylevelconfigurations/exempt"),
        ),
        ("configmaps", format!("{system}/kube-apiserver-legacy-service-account-token-tracking")),
        ("servicecidrs.networking.k8s.io", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes".to_string()),
    ];
    for (resource, path) in made {
        crate::harness::eventually(&path, async || place.api.find(&path).await.is_some()).await;
        let saved = place.api.get(&path).await;
        Surroundings::default().refuses("cluster-made", resource, &saved);
    }

    let service =
        place.save_here("services", object("v1", "Service", "x", json!({"spec": {"ports": [{"port": 1}]}}))).await;
    let address = format!("/apis/networking.k8s.io/v1/ipaddresses/{}", service["spec"]["clusterIP"].as_str().unwrap());
    let address = place.api.get(&address).await;
    Surroundings::default().refuses("cluster-made", "ipaddresses.networking.k8s.io", &address);
}

/// No other part of a cluster runs here, so this writes what they would.
pub async fn what_other_parts_of_a_cluster_make_is_left_to_them() {
    let place = Place::new().await;
    let storage = "storage.k8s.io/v1";
    let slice = json!({"spec": {
        "driver": "gpu.example.com", "nodeName": "node-1",
        "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
    }});
    let attachment = json!({"spec": {
        "attacher": "csi.example.com", "nodeName": "node-1", "source": {"persistentVolumeName": "pv-1"},
    }});
    let cluster_wide = [
        ("nodes", object("v1", "Node", &place.unique("node"), json!({}))),
        (
            "csinodes.storage.k8s.io",
            object(storage, "CSINode", &place.unique("node"), json!({"spec": {"drivers": []}})),
        ),
        ("volumeattachments.storage.k8s.io", object(storage, "VolumeAttachment", &place.unique("csi"), attachment)),
        ("resourceslices.resource.k8s.io", object("resource.k8s.io/v1", "ResourceSlice", &place.unique("gpu"), slice)),
    ];
    for (resource, made) in cluster_wide {
        let saved = place.save(resource, made).await;
        Surroundings::default().refuses("cluster-made", resource, &saved);
        place.delete(resource, &saved).await;
    }
    let authority = place.save_here("configmaps", config_map("kube-root-ca.crt")).await;
    Surroundings::default().refuses("cluster-made", "configmaps", &authority);
    let capacity = json!({"storageClassName": "fast", "capacity": "1Gi"});
    let capacity = object(storage, "CSIStorageCapacity", "csisc-abcde", capacity);
    let saved = place.save_here("csistoragecapacities.storage.k8s.io", capacity).await;
    Surroundings::default().refuses("cluster-made", "csistoragecapacities.storage.k8s.io", &saved);

    let bootstrap = json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"namespace": "kube-system"}});
    let saved = place.save("secrets", object("v1", "Secret", &place.unique("bootstrap"), bootstrap)).await;
    Surroundings::default().refuses("cluster-made", "secrets", &saved);

    // These names are taken in some clusters and not in others, so they are not created.
    for (namespace, name) in [("kube-public", "cluster-info"), ("kube-system", "extension-apiserver-authentication")] {
        let mut saved = config_map(name);
        saved["metadata"]["namespace"] = namespace.into();
        Surroundings::default().refuses("cluster-made", "configmaps", &saved);
    }
}

pub async fn namesakes_of_what_clusters_make_are_restored() {
    let place = Place::new().await;
    let spec = json!({"spec": {"ports": [{"port": 443}]}});
    let service = place.save_here("services", object("v1", "Service", "kubernetes", spec)).await;
    comes_back(&place, &Surroundings::default(), "services", &service, &[".spec.clusterIP", ".spec.clusterIPs[0]"])
        .await;
    for name in ["extension-apiserver-authentication", "cluster-info", "kube-root-ca"] {
        let saved = place.save_here("configmaps", config_map(name)).await;
        comes_back(&place, &Surroundings::default(), "configmaps", &saved, &[]).await;
    }
    let remote = json!({"spec": {
        "group": format!("{}.example.com", place.here), "version": "v1", "groupPriorityMinimum": 100,
        "versionPriority": 100, "service": {"name": "x", "namespace": "default", "port": 443}, "caBundle": "Y2E=",
    }});
    let name = format!("v1.{}.example.com", place.here);
    let remote = object("apiregistration.k8s.io/v1", "APIService", &name, remote);
    // It is never created for longer than a moment: discovery of every other test would notice.
    let fitted = Surroundings::default().fit("apiservices.apiregistration.k8s.io", &remote).unwrap();
    assert_eq!(fitted, remote);

    // Somebody took it over from the API server: it is theirs now.
    let role = json!({
        "metadata": {
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"},
        },
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    });
    let role = object("rbac.authorization.k8s.io/v1", "ClusterRole", &place.unique("role"), role);
    let saved = place.save("clusterroles.rbac.authorization.k8s.io", role).await;
    comes_back(&place, &Surroundings::default(), "clusterroles.rbac.authorization.k8s.io", &saved, &[]).await;
}

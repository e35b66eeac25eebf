//! What the account may not read, and APIs that do not answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::backup_cluster::{config_map, object};
use super::backup_rig::{Rig, loaded};
use super::harness::control_plane::{shared, write_kubeconfig};
use super::harness::{Action, Api, ControlPlane, FaultProxy, Scratch, eventually, serve_aggregated};

/// A service account `reader` in the namespace, which may list these types of the core group.
async fn create_reader(api: &Api, namespace: &str, resources: &[&str]) {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    api.create(&accounts, &object("v1", "ServiceAccount", json!({"name": "reader"}))).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let name = format!("reader-of-{namespace}");
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"name": name}));
    role["rules"] = json!([{"apiGroups": [""], "resources": resources, "verbs": ["list"]}]);
    api.create(&format!("{rbac}/clusterroles"), &role).await;
    let mut binding = object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", json!({"name": name}));
    binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]);
    api.create(&format!("{rbac}/clusterrolebindings"), &binding).await;
}

/// A token of the service account `reader`; one that is bound to a Secret dies with it.
pub async fn token(api: &Api, namespace: &str, bound_to: Option<&str>) -> String {
    let mut request = object("authentication.k8s.io/v1", "TokenRequest", json!({}));
    request["spec"] = json!({"expirationSeconds": 3600, "audiences": null});
    if let Some(secret) = bound_to {
        request["spec"]["boundObjectRef"] = json!({"kind": "Secret", "apiVersion": "v1", "name": secret});
    }
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/reader/token");
    let made = api.create(&path, &request).await;
    made["status"]["token"].as_str().unwrap().to_string()
}

/// Until the API server lets it list config maps: RBAC reaches its authoriser a moment later.
async fn wait_until_allowed(token: &str) {
    let reader = Api::new(&shared().server, token, &shared().ca_pem);
    let path = "/api/v1/configmaps?limit=1";
    eventually("the account may list", async || reader.send(reqwest::Method::GET, path, None).await.0 == 200).await;
}

#[tokio::test]
async fn what_the_account_may_not_list_is_named_with_its_verb_and_the_rest_saved() {
    let (rig, api) = (Rig::new(), shared().api());
    let namespace = shared().namespace("forbidden").await;
    api.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), &config_map("seen", json!({}))).await;
    create_reader(&api, &namespace, &["configmaps"]).await;
    let token = token(&api, &namespace, None).await;
    wait_until_allowed(&token).await;

    let kubeconfig = write_kubeconfig(&rig.scratch, "reader", &shared().server, Some(&shared().ca_pem), &token);
    let include = ["configmaps", "secrets", "deployments.apps"];
    let scope = json!({"namespaces": {"include": [namespace]}, "resources": {"include": include}});
    let run = rig.backup(&kubeconfig, scope).run().await.expect(3);

    let saved = rig.open(&run);
    assert_eq!(saved.manifest["status"], "partial");
    let lacks = "forbidden: the account lacks the verb `list` on";
    assert_eq!(saved.problem("secrets").unwrap(), format!("{lacks} `secrets` of the core group"));
    assert_eq!(saved.problem("deployments.apps").unwrap(), format!("{lacks} `deployments` of group apps"));
    assert_eq!(saved.problems(), 2);
    assert_eq!(saved.names("configmaps"), [format!("{namespace}/seen")]);
    assert!(saved.manifest["clusterUid"].is_null(), "it may not read kube-system");
    assert!(run.stderr.contains(&format!("secrets: {lacks} `secrets`")), "{}", run.stderr);
}

/// A cluster in which nothing may be read is no backup with nothing in it.
#[tokio::test]
async fn an_account_that_may_list_nothing_gets_no_backup() {
    let (rig, api) = (Rig::new(), shared().api());
    let namespace = shared().namespace("powerless").await;
    create_reader(&api, &namespace, &["configmaps"]).await;
    let token = token(&api, &namespace, None).await;
    let kubeconfig = write_kubeconfig(&rig.scratch, "reader", &shared().server, Some(&shared().ca_pem), &token);

    let run = rig.backup(&kubeconfig, json!({"resources": {"include": ["secrets"]}})).run().await.expect(1);
    assert!(run.stderr.contains("nothing could be read") && run.stderr.contains("`list` on `secrets`"), "{run}");
    assert!(rig.committed().is_empty());
}

/// The token is bound to a Secret. When that is deleted the API server refuses the token, up to ten seconds later: it
/// remembers tokens that it has seen. Meanwhile the list waits.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_read_again() {
    let (rig, api) = (Rig::new(), shared().api());
    let namespace = shared().namespace("expiring").await;
    api.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), &config_map("kept", json!({}))).await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    api.create(&secrets, &object("v1", "Secret", json!({"name": "bound"}))).await;
    create_reader(&api, &namespace, &["configmaps", "services"]).await;
    let old = token(&api, &namespace, Some("bound")).await;
    let new = token(&api, &namespace, None).await;
    wait_until_allowed(&new).await;

    let is_dead = Arc::new(AtomicBool::new(false));
    let go_on = Arc::clone(&is_dead);
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |seen| {
        let held = seen.path.contains("/configmaps?") && !go_on.load(Ordering::SeqCst);
        if held { Action::too_many_requests(2) } else { Action::Forward }
    });
    let file = rig.scratch.file("token", &old);
    let kubeconfig = kubeconfig_with_token_file(&rig.scratch, &proxy, &file);
    let include = ["configmaps", "services"];
    let scope = json!({"namespaces": {"include": [namespace]}, "resources": {"include": include}});
    let running = rig.backup(&kubeconfig, scope).start().await;
    // Other tests fill the same cluster: it may have several pages.
    eventually("the first list was read", async || proxy.count("GET", "/services?") >= 1).await;
    eventually("the second list is asked for", async || proxy.count("GET", "/configmaps?") >= 1).await;

    api.delete(&format!("{secrets}/bound")).await;
    let with_old = Api::new(&shared().server, &old, &shared().ca_pem);
    let refused = async || with_old.send(reqwest::Method::GET, "/version", None).await.0 == 401;
    eventually("the token is refused", refused).await;
    let before = proxy.count("GET", "/configmaps?");
    is_dead.store(true, Ordering::SeqCst);
    eventually("it was refused to ckbackup", async || proxy.count("GET", "/configmaps?") > before).await;
    std::fs::write(&file, &new).unwrap();

    let saved = rig.open(&running.finish().await.expect_success());
    assert_eq!(saved.manifest["status"], "complete");
    assert_eq!(saved.names("configmaps"), [format!("{namespace}/kept")]);
    let authorization = |seen: &super::harness::Seen| seen.headers["authorization"].to_str().unwrap().to_string();
    let last = proxy.seen().into_iter().rfind(|seen| seen.path.contains("/configmaps?")).unwrap();
    assert_eq!(authorization(&last), format!("Bearer {new}"));
    assert!(proxy.count("GET", "/configmaps?") >= before + 2, "once with the old token, once with the new");
}

/// In a pod there is no kubeconfig: the kubelet mounts a token and the cluster's authority, and names the API server.
#[tokio::test]
async fn a_pods_own_account_is_used_where_there_is_no_kubeconfig() {
    let (rig, namespace) = (Rig::new(), shared().namespace("pod").await);
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}});
    shared().api().create(&format!("/api/v1/namespaces/{namespace}/configmaps"), &kept).await;
    rig.scratch.file("account/token", format!("{}\n", shared().token));
    rig.scratch.file("account/ca.crt", shared().ca_pem.clone());
    let (host, port) = shared().server.strip_prefix("https://").unwrap().rsplit_once(':').unwrap();
    let schedule = rig.schedule(json!([{"name": "platform", "kubernetes": {
        "namespaces": {"include": [namespace]}, "resources": {"include": ["configmaps"]}}}]));
    let in_pod = || {
        let backup =
            rig.backup_by(&schedule).env("KUBECONFIG", "").env("HOME", rig.scratch.path().display().to_string());
        backup.env("CKBACKUP_SERVICE_ACCOUNT_DIR", rig.scratch.path().join("account").display().to_string())
    };
    let run = in_pod().env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port).run().await;
    assert_eq!(rig.open(&run.expect_success()).names("configmaps"), [format!("{namespace}/kept")]);

    let outside = in_pod().run().await.expect(2);
    assert!(outside.stderr.contains("this is not a pod with a service account"), "{outside}");
    assert!(outside.stderr.contains("hint: set KUBECONFIG"), "{outside}");
}

pub fn kubeconfig_with_token_file(scratch: &Scratch, proxy: &FaultProxy, token_file: &Path) -> std::path::PathBuf {
    let plain = write_kubeconfig(scratch, "token-file", proxy.url(), proxy.ca_pem(), "");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&plain).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"tokenFile": token_file});
    scratch.file("token-file.kubeconfig", config.to_string())
}

#[tokio::test]
async fn a_token_that_stays_refused_is_told_and_not_tried_for_each_type() {
    let rig = Rig::new();
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, |seen| match seen.path.contains("?limit=") {
        true => Action::kubernetes_status(401, "Unauthorized", "Unauthorized"),
        // The server itself refuses the token, too.
        false if seen.number > 4 => Action::kubernetes_status(401, "Unauthorized", "Unauthorized"),
        false => Action::Forward,
    });
    let kubeconfig = rig.through(&proxy, &shared().token);
    let run = rig.backup(&kubeconfig, json!({"parallelism": 4})).run().await.expect(1);
    assert!(run.stderr.contains("the log-in is no longer accepted"), "{run}");
    let mut lists: Vec<_> = proxy.seen().into_iter().map(|seen| seen.path).filter(|p| p.contains("?limit=")).collect();
    lists.sort();
    lists.dedup();
    assert_eq!(lists.len(), 4, "{lists:?}");
    assert!(rig.committed().is_empty());
}

#[tokio::test]
async fn an_aggregated_api_that_hangs_is_given_up_while_the_others_go_on() {
    let rig = Rig::new();
    let plane = ControlPlane::start(&rig.scratch, "hanging").await;
    let api = plane.api();
    let hanging = serve_aggregated(&api, "hanging.test", |_| Action::Hang).await;
    let own = "/api/v1/namespaces/default/services/kubernetes";
    eventually("the API server has made its own service", async || api.find(own).await.is_some()).await;

    // Few types, so that none of the others can be late on a busy machine.
    let types = ["services", "clusterroles.rbac.authorization.k8s.io", "widgets.hanging.test"];
    let scope = json!({"requestTimeout": "5s", "resources": {"include": types}});
    let begin = Instant::now();
    let run = rig.backup(plane.kubeconfig(), scope).run().await.expect(3);
    let took = begin.elapsed();

    let saved = rig.open(&run);
    assert_eq!(saved.problem("widgets.hanging.test").unwrap(), "no answer within 5s");
    assert_eq!(saved.problems(), 1, "{}", saved.record()["problems"]);
    assert_eq!(hanging.count("GET", "/widgets"), 1, "a list that hangs is asked for once");
    assert!(took >= Duration::from_secs(5), "{took:?}");
    let services = super::backup_rig::raw_items(&api, "/api/v1/services").await;
    assert_eq!(saved.names("services"), services.into_keys().collect::<Vec<_>>());
    assert!(!saved.names("clusterroles.rbac.authorization.k8s.io").is_empty());
}

/// Servers before 1.27 tell what they serve group by group: so does this one, when it is not asked for all at once.
#[tokio::test]
async fn a_server_without_aggregated_discovery_gives_the_same_objects() {
    let types =
        json!({"include": ["secrets", "deployments.apps", "roles.rbac.authorization.k8s.io", "cronjobs.batch"]});
    let scope = json!({"resources": types});
    let is_root = |path: &str| matches!(path.split('?').next(), Some("/api" | "/apis"));
    let old = FaultProxy::tls(&loaded().server, &loaded().ca_pem, move |seen| match is_root(&seen.path) {
        true => Action::Without("accept"),
        false => Action::Forward,
    });
    let rig = Rig::new();
    let by_group =
        rig.open(&rig.backup(&rig.through(&old, &loaded().token), scope.clone()).run().await.expect_success());
    assert!(old.count("GET", "/apis/apps/v1") > 0, "it was asked group by group");
    let at_once = rig.open(&rig.backup(&loaded().kubeconfig, scope.clone()).run().await.expect_success());
    assert_eq!(by_group.sources["platform"], at_once.sources["platform"]);

    // A group whose answer is no answer makes the backup partial.
    let broken = FaultProxy::tls(&loaded().server, &loaded().ca_pem, move |seen| match seen.path.as_str() {
        path if is_root(path) => Action::Without("accept"),
        "/apis/batch/v1" => Action::Respond(200, Vec::new(), "<html>busy</html>".into()),
        _ => Action::Forward,
    });
    let run = rig.backup(&rig.through(&broken, &loaded().token), scope).run().await.expect(3);
    let why = rig.open(&run).problem("batch/v1").unwrap();
    assert!(why.contains("cannot be read"), "{why}");
}

/// Registers APIs that nobody serves: the API server does not know their types.
async fn register_stale(api: &Api, groups: &[&str]) {
    let mut service = object("v1", "Service", json!({"name": "nobody"}));
    service["spec"] = json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 9}]});
    api.create("/api/v1/namespaces/default/services", &service).await;
    for group in groups {
        let name = format!("v1beta1.{group}");
        let mut registration = object("apiregistration.k8s.io/v1", "APIService", json!({"name": name}));
        registration["spec"] = json!({
            "group": group, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": "default", "port": 9},
        });
        api.create("/apis/apiregistration.k8s.io/v1/apiservices", &registration).await;
    }
    let is_stale = async || {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let all = api.get_as("/apis", accept).await;
        let known = all["items"].as_array().unwrap();
        let stale = |group: &&str| {
            let found = known.iter().find(|item| item["metadata"]["name"] == **group);
            found.is_some_and(|item| item["versions"][0]["freshness"] == "Stale")
        };
        groups.iter().all(stale)
    };
    eventually("the groups are known to be stale", is_stale).await;
}

/// Metrics are never saved, so a metrics server that is down must not spoil every night's backup.
#[tokio::test]
async fn a_stale_api_makes_the_backup_partial_unless_it_is_left_out_anyway() {
    let rig = Rig::new();
    let plane = ControlPlane::start(&rig.scratch, "stale").await;
    register_stale(&plane.api(), &["gone.test", "metrics.k8s.io"]).await;

    let saved = rig.open(&rig.backup(plane.kubeconfig(), json!({})).run().await.expect(3));
    let why = "the API behind it does not answer, so its types are not known";
    assert_eq!(saved.problem("gone.test/v1beta1").unwrap(), why);
    assert_eq!(saved.problems(), 1);
    let [(measured, None)] = &saved.skipped("metrics.k8s.io/v1beta1")[..] else {
        panic!("{}", saved.record()["skipped"])
    };
    assert!(measured.starts_with("measured at the moment"), "{measured}");
    assert!(!saved.names("clusterroles.rbac.authorization.k8s.io").is_empty());

    for (resources, code) in [
        (json!({"exclude": ["*.gone.test"]}), 0),
        (json!({"include": ["services", "*.cert-manager.io"]}), 0),
        (json!({"include": ["services", "widgets.gone.test"]}), 3),
        (json!({"include": ["services", "*.test"]}), 3),
    ] {
        rig.backup(plane.kubeconfig(), json!({"resources": resources})).run().await.expect(code);
    }
}

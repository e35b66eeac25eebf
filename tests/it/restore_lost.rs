//! Restores that are cut off: by a lost API server, by a signal. The same command goes on with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::command::signal;
use crate::harness::control_plane::shared;
use crate::harness::{Action, Api, ControlPlane, FaultProxy, eventually};
use crate::restore_fixture::*;
use crate::source_access::{kubeconfig_with_token_file, token};
use crate::vault_stage::add_large_secrets;

const MAPS: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}, \
    {name: open, gate: {kind: Namespace, condition: Active, labels: kubernetes.io/metadata.name=default}}, \
    {name: later, after: [maps], apply: {kinds: [Secret]}}]";

/// The API server is killed at the tenth write. It ends within its patience with a server that restarts, says how to
/// go on, and does so.
#[tokio::test]
async fn a_restore_that_loses_its_api_server_ends_soon_says_how_to_go_on_and_completes() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("lost").await);
    fill(&namespace, 40).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let mut plane = ControlPlane::start(&rig.scratch, "fragile").await;
    plane.api().create_namespace(&namespace).await;
    let victim = plane.sandbox.pids().1;
    let (writes, killed) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
    let proxy = FaultProxy::tls(plane.sandbox.server(), &plane.ca_pem(), move |request| {
        if !request.is("POST", "/configmaps") || killed.load(SeqCst) {
            return Action::Forward;
        }
        match writes.fetch_add(1, SeqCst) {
            9 => {
                let killed = killed.clone();
                Action::After(Box::new(move || {
                    signal(victim, "KILL");
                    killed.store(true, SeqCst);
                }))
            }
            // So that not all are written before the signal has its effect.
            20.. => Action::Hang,
            _ => Action::Forward,
        }
    });
    let kubeconfig = plane.kubeconfig_through(&proxy, &rig.scratch, "fragile");
    let plan = rig.plan(MAPS);

    let begin = Instant::now();
    let lost = rig.restore(&plan, &kubeconfig).timeout(Duration::from_secs(100)).run().await.expect(1);
    assert!(begin.elapsed() < Duration::from_secs(75), "{:?}", begin.elapsed());
    assert!(lost.stderr.contains("was lost") && lost.stderr.contains("--resume"), "{lost}");
    let cut = summary(&lost);
    assert_eq!((cut["status"].as_str(), step(&cut, "later")["status"].as_str()), (Some("stopped"), Some("notRun")));

    plane.sandbox.restart_apiserver().await.unwrap();
    let stood = plane.api().list(&config_maps(&namespace)).await.len() as u64;
    // The tenth was written; of those that were under way beside it nobody knows, but what it says was created stands.
    let said = items(&cut)[0];
    assert!((said.max(1)..40).contains(&stood), "{said} said, {stood} stand: {lost}");
    let done = rig.restore(&plan, &kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&done)), [40 - stood, 0, stood, 0, 0], "{done}");
    assert_eq!(plane.api().list(&config_maps(&namespace)).await.len(), 40);
}

/// Between two steps the vault goes away. What was written is accounted for, and the same command goes on.
#[tokio::test]
async fn a_restore_that_loses_its_vault_keeps_its_account_and_the_same_command_goes_on() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("vault-lost").await);
    fill(&namespace, 5).await;
    // Too much to have been read together with what comes before it.
    add_large_secrets(&namespace, 1).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;

    let (vault, away) = (rig.path("vault"), rig.path("away"));
    let (moves, is_away) = ((vault.clone(), away.clone()), AtomicBool::new(false));
    let (_proxy, kubeconfig) = rig.in_front_of_shared(move |request| {
        if request.is("POST", "/configmaps") && !is_away.swap(true, SeqCst) {
            std::fs::rename(&moves.0, &moves.1).unwrap();
        }
        Action::Forward
    });
    let plan = rig.plan(MAPS);
    let lost = rig.restore(&plan, &kubeconfig).run().await.expect(5);
    let cut = summary(&lost);
    assert_eq!((&cut["status"], &step(&cut, "maps")["items"]["created"]), (&json!("incomplete"), &json!(5)), "{lost}");
    assert_eq!(step(&cut, "later")["status"], "failed", "{lost}");
    assert!(lost.stderr.contains("not all of the backup could be read: "), "{lost}");
    assert!(lost.stderr.contains("/platform/0001.tar.zst.age is missing from the vault"), "{lost}");

    // Where the vault was, the account of the restore may stand by now.
    let _ = std::fs::remove_dir_all(&vault);
    std::fs::rename(away, vault).unwrap();
    let done = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&done)), [0, 0, 6, 0, 0], "{done}");
}

#[tokio::test]
async fn an_api_server_that_is_down_from_the_begin_fails_in_words() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("down").await);
    fill(&namespace, 1).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::DropBefore);
    let down = rig.restore(&rig.plan(MAPS), &kubeconfig).run().await.expect(1);
    assert!(down.stderr.contains(&format!("reach the Kubernetes API at {}", proxy.url())), "{down}");
    assert!(down.stderr.contains("hint: check that the API server is up"), "{down}");
}

/// The token is bound to a Secret, and the API server refuses it a while after that was deleted. Meanwhile writes wait.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_of_a_restore_is_read_again() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("expired").await);
    fill(&namespace, 30).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let accounts = shared().namespace("expired-account").await;
    let named = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    let (of, secrets) = (format!("/api/v1/namespaces/{accounts}"), format!("/api/v1/namespaces/{accounts}/secrets"));
    api.create(&format!("{of}/serviceaccounts"), &named("ServiceAccount", "reader")).await;
    api.create(&secrets, &named("Secret", "bound")).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": accounts},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": accounts}],
    });
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let (old, new) = (token(&api, &accounts, Some("bound")).await, token(&api, &accounts, None).await);
    let as_old = Api::new(&shared().server, &old, &shared().ca_pem);
    let status = async || as_old.send(reqwest::Method::GET, &config_maps(&namespace), None).await.0;
    eventually("the account may do everything", async || status().await == 200).await;

    let (writes, is_dead) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
    let go_on = is_dead.clone();
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |request| {
        let held = request.is("POST", "/configmaps") && !go_on.load(SeqCst) && writes.fetch_add(1, SeqCst) >= 5;
        if held { Action::too_many_requests(1) } else { Action::Forward }
    });
    let file = rig.scratch.file("token", &old);
    let kubeconfig = kubeconfig_with_token_file(&rig.scratch, &proxy, &file);
    let running = rig.restore(&rig.plan(MAPS), &kubeconfig).start().await;
    eventually("some are written, and others wait", async || proxy.count("POST", "/configmaps") > 10).await;
    api.delete(&format!("{secrets}/bound")).await;
    eventually("the token is refused", async || status().await == 401).await;
    std::fs::write(&file, &new).unwrap();
    is_dead.store(true, SeqCst);

    let done = summary(&running.finish().await.expect_success());
    assert_eq!(items(&done), [30, 0, 0, 0, 0], "{done:#}");
    let refused = proxy.seen().iter().filter(|seen| seen.headers["authorization"] == format!("Bearer {old}")).count();
    assert!(refused > 5, "the old token was in use");
    assert_eq!(api.list(&config_maps(&namespace)).await.len(), 30);
}

/// After ten writes the server is silent, so that the signal comes in the middle.
#[tokio::test]
async fn ctrl_c_stops_a_restore_says_what_stands_and_the_same_command_goes_on() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("interrupted").await);
    fill(&namespace, 30).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let writes = AtomicU32::new(0);
    let (proxy, kubeconfig) = rig.in_front_of_shared(move |request| {
        let late = request.is("POST", "/configmaps") && writes.fetch_add(1, SeqCst) >= 10;
        if late { Action::Hang } else { Action::Forward }
    });
    let plan = rig.plan(MAPS);
    let running = rig.restore(&plan, &kubeconfig).start().await;
    eventually("all are in flight", async || proxy.count("POST", "/configmaps") == 30).await;
    eventually("ten stand", async || shared().api().list(&config_maps(&namespace)).await.len() == 10).await;
    let begin = Instant::now();
    running.signal("INT");
    let stopped = running.finish().await.expect(130);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert!(stopped.stderr.contains("--resume"), "{stopped}");
    assert!(stopped.stderr.contains("interrupted; 10 objects are in the cluster"), "{stopped}");
    let cut = summary(&stopped);
    assert_eq!((cut["status"].as_str(), step(&cut, "later")["status"].as_str()), (Some("stopped"), Some("notRun")));

    let done = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&done)), [20, 0, 10, 0, 0], "{done}");
}

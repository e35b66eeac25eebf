//! What becomes of single objects: created, unchanged, skipped, overwritten, refused.

use serde_json::json;

use crate::harness::Action;
use crate::harness::control_plane::shared;
use crate::restore_fixture::*;

const EVERYTHING: &str = "[{name: all, apply: {}}]";

#[tokio::test]
async fn a_second_run_finds_all_unchanged_and_writes_nothing() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("again").await);
    fill(&namespace, 5).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let plan = rig.plan("[{name: maps, apply: {kinds: [ConfigMap]}}]");

    let first = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&first)), [5, 0, 0, 0, 0], "{first}");
    let before = versions(&config_maps(&namespace)).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let second = rig.restore(&plan, &kubeconfig).run().await.expect_success();

    assert_eq!(items(&summary(&second)), [0, 0, 5, 0, 0], "{second}");
    assert_eq!(versions(&config_maps(&namespace)).await, before);
    assert_eq!(proxy.count("PATCH", "") + proxy.count("PUT", "") + proxy.count("DELETE", ""), 0);
    rig.diff(&shared().kubeconfig).run().await.expect_success();
}

/// A write in vain costs a server more than a look, and a look more than its share of a list.
#[tokio::test]
async fn where_many_objects_are_there_they_are_listed_and_what_is_missing_among_them_is_made() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("among").await);
    fill(&namespace, 900).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let maps = config_maps(&namespace);
    shared().api().delete(&format!("{maps}/item-850")).await;
    shared().api().patch(&format!("{maps}/item-860"), &json!({"data": {"key": "changed"}})).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);

    let restore = rig.restore(&rig.plan("[{name: maps, apply: {kinds: [ConfigMap]}}]"), &kubeconfig);
    let restored = restore.run().await.expect_success();

    assert_eq!(items(&summary(&restored)), [1, 0, 898, 1, 0], "{restored}");
    // Those in flight before the first was met, and before the next was met after the one that was missing.
    let writes = proxy.count("POST", "/configmaps");
    assert!(writes < 300, "{writes} writes for one object");
    // Where so many are there, the others come in lists.
    let looks = proxy.count("GET", "/configmaps/item-");
    assert!(looks < 800, "{looks} of 900 objects were looked at one by one");
}

/// Restores over an object that somebody changed since, and one that the backup does not know.
async fn restore_over_a_change(policy: &str, code: i32) -> (serde_json::Value, serde_json::Value) {
    let (rig, namespace) = (Rig::new().await, shared().namespace("over").await);
    let (api, maps) = (shared().api(), config_maps(&namespace));
    fill(&namespace, 2).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    api.patch(&format!("{maps}/item-00"), &json!({"data": {"key": "changed", "added": "since"}})).await;
    api.create(&maps, &config_map("extra")).await;

    let restore = rig.restore(&rig.plan(EVERYTHING), &shared().kubeconfig).args(["--conflict", policy]);
    let finished = restore.run().await.expect(code);

    assert_eq!(api.list(&maps).await.len(), 3, "nothing is deleted");
    assert_eq!(api.get(&format!("{maps}/extra")).await["data"]["key"], "saved");
    (summary(&finished), api.get(&format!("{maps}/item-00")).await)
}

#[tokio::test]
async fn an_object_that_differs_is_skipped_and_it_is_said_where() {
    let (summary, object) = restore_over_a_change("skip", 0).await;
    assert_eq!(items(&summary), [0, 0, 2, 1, 0], "{summary:#}");
    assert_eq!(object["data"], json!({"key": "changed", "added": "since"}));
    assert_eq!(step(&summary, "all")["skipped"], json!({"exists": 1}));
    let told = summary["steps"][0]["standing"].to_string();
    assert!(told.contains("item-00") && told.contains(".data.added") && told.contains(".data.key"), "{summary:#}");
}

#[tokio::test]
async fn an_object_that_differs_is_overwritten_by_server_side_apply() {
    let (summary, object) = restore_over_a_change("overwrite", 0).await;
    assert_eq!(items(&summary), [0, 1, 2, 0, 0], "{summary:#}");
    assert_eq!(object["data"]["key"], "saved");
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|m| m["operation"] == "Apply").unwrap();
    assert_eq!(ours["manager"], "ckbackup");
    assert!(ours["fieldsV1"]["f:data"]["f:key"].is_object(), "{ours}");
}

#[tokio::test]
async fn an_object_that_differs_can_count_as_failed() {
    let (summary, object) = restore_over_a_change("fail", 3).await;
    assert_eq!(items(&summary), [0, 0, 2, 0, 1], "{summary:#}");
    assert_eq!(summary["status"], "incomplete");
    assert_eq!(object["data"]["key"], "changed");
    let failure = &summary["failures"][0];
    assert_eq!((failure["step"].as_str(), summary["failures"].as_array().unwrap().len()), (Some("all"), 1));
    assert!(failure["object"].as_str().unwrap().ends_with("/item-00"), "{failure}");
    assert!(failure["why"].as_str().unwrap().contains(".data.key"), "{failure}");
}

/// In a real cluster a controller makes the `default` service account as soon as its namespace is there.
#[tokio::test]
async fn a_default_service_account_that_is_there_already_is_filled_in_while_it_is_bare() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("account").await);
    let (api, accounts) = (shared().api(), format!("/api/v1/namespaces/{namespace}/serviceaccounts"));
    let own = format!("{accounts}/default");
    let account = |pull: &str| {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"},
            "imagePullSecrets": [{"name": pull}]})
    };
    api.create(&accounts, &account("registry")).await;
    let scope =
        only(&namespace).replace("namespaces, configmaps, secrets, serviceaccounts, services", "serviceaccounts");
    rig.back_up(&shared().kubeconfig, &scope).await;
    let plan = rig.plan(EVERYTHING);
    let bare = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});

    api.delete(&own).await;
    api.create(&accounts, &bare).await;
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&restore)), [0, 1, 0, 0, 0], "{restore}");
    assert_eq!(api.get(&own).await["imagePullSecrets"], json!([{"name": "registry"}]));

    api.delete(&own).await;
    api.create(&accounts, &account("somebody-chose-this")).await;
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&restore)), [0, 0, 0, 1, 0], "{restore}");
    assert_eq!(api.get(&own).await["imagePullSecrets"], json!([{"name": "somebody-chose-this"}]));
}

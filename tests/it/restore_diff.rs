//! `ckbackup diff`: what is missing, extra and changed; and what does not count.

use serde_json::json;

use crate::harness::control_plane::shared;
use crate::restore_fixture::*;

#[tokio::test]
async fn a_cluster_is_compared_with_a_backup() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("diff").await);
    let maps = config_maps(&namespace);
    fill(&namespace, 4).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
    });
    let services = format!("/api/v1/namespaces/{namespace}/services");
    api.create(&services, &service).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    rig.diff(&shared().kubeconfig).run().await.expect_success();

    // What servers set: another uid, time and resourceVersion, another cluster IP.
    api.delete(&format!("{maps}/item-00")).await;
    api.create(&maps, &config_map("item-00")).await;
    api.delete(&format!("{services}/web")).await;
    api.create(&services, &service).await;
    rig.diff(&shared().kubeconfig).run().await.expect_success();

    api.delete(&format!("{maps}/item-01")).await;
    api.create(&maps, &config_map("new")).await;
    api.patch(&format!("{maps}/item-02"), &json!({"data": {"key": "changed"}})).await;
    let diff = rig.diff(&shared().kubeconfig).run().await.expect(1);
    let found = diff.json();
    assert_eq!(found["missing"], json!([format!("configmaps/{namespace}/item-01")]), "{diff}");
    assert_eq!(found["extra"], json!([format!("configmaps/{namespace}/new")]));
    let changed = json!([{"object": format!("configmaps/{namespace}/item-02"), "paths": [".data.key"]}]);
    assert_eq!((&found["changed"], &found["problems"]), (&changed, &json!([])));
}

/// Controllers make pods and replica sets anew, under the uids that their owners have now, and count revisions.
#[tokio::test]
async fn what_controllers_make_of_what_was_restored_is_no_difference() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("controlled").await);
    let (deployments, sets) =
        ["deployments", "replicasets"].map(|kind| format!("/apis/apps/v1/namespaces/{namespace}/{kind}")).into();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = |revision: &str| {
        let annotations = json!({"deployment.kubernetes.io/revision": revision});
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": annotations},
            "spec": spec})
    };
    let owner = |version: &str, kind: &str, object: &serde_json::Value| {
        json!([{"apiVersion": version, "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true}])
    };
    // What the deployment controller and the replica set controller do.
    let control = async |deployment: &serde_json::Value, hash: &str| {
        let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": spec, "metadata": {
            "name": format!("web-{hash}"), "ownerReferences": owner("apps/v1", "Deployment", deployment)}});
        let set = api.create(&sets, &set).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "metadata": {
            "name": format!("web-{hash}-abcde"), "ownerReferences": owner("apps/v1", "ReplicaSet", &set)}});
        api.create(&pods, &pod).await;
    };
    let saved = api.create(&deployments, &deployment("3")).await;
    control(&saved, "5d4f").await;
    let scope = format!(
        "{{namespaces: {{include: [{namespace}]}}, clusterScoped: false, \
          resources: {{include: [namespaces, deployments.apps, replicasets.apps, pods]}}}}"
    );
    rig.back_up(&shared().kubeconfig, &scope).await;

    for path in [
        format!("{deployments}/web"),
        format!("{sets}/web-5d4f"),
        format!("{pods}/web-5d4f-abcde?gracePeriodSeconds=0"),
    ] {
        api.delete(&path).await;
    }
    let plan = rig.plan("[{name: all, apply: {}}]");
    rig.restore(&plan, &shared().kubeconfig).run().await.expect_success();
    let restored = api.get(&format!("{deployments}/web")).await;
    control(&restored, "77c9").await;
    api.patch(
        &format!("{deployments}/web"),
        &json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}}),
    )
    .await;
    let diff = rig.diff(&shared().kubeconfig).run().await.expect_success();
    assert_eq!((&diff.json()["extra"], &diff.json()["changed"]), (&json!([]), &json!([])));
    // And nothing is in the way of a restore that goes on, strict as it may be.
    let again = rig.restore(&plan, &shared().kubeconfig).args(["--conflict", "fail"]).run().await.expect_success();
    assert_eq!(items(&summary(&again))[4], 0, "{again}");
}

/// A type that the backup does not know is no reason to be silent about its objects.
#[tokio::test]
async fn objects_of_a_type_that_came_after_the_backup_are_extra() {
    const GROUP: &str = "newcomer.test";
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("newtype").await);
    fill(&namespace, 1).await;
    // With a wildcard: a type that is named in full has to be there already.
    rig.back_up(&shared().kubeconfig, &with_things(&namespace, &["newcomer.tes?"])).await;
    define(&api, GROUP).await;
    api.create(&things(GROUP, &namespace), &thing(GROUP, "one")).await;
    let diff = rig.diff(&shared().kubeconfig).run().await.expect(1);
    assert_eq!(diff.json()["extra"], json!([format!("things.{GROUP}/{namespace}/one")]), "{diff}");
}

#[tokio::test]
async fn two_backups_are_compared() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("nights").await);
    let maps = config_maps(&namespace);
    fill(&namespace, 3).await;
    let first = rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    api.delete(&format!("{maps}/item-00")).await;
    api.create(&maps, &config_map("new")).await;
    api.patch(&format!("{maps}/item-01"), &json!({"data": {"key": "changed"}})).await;
    let second = rig.back_up(&shared().kubeconfig, &only(&namespace)).await;

    let diff = rig.reading(&format!("diff {first} {second}")).run().await.expect(1);
    let found = diff.json();
    assert_eq!(found["missing"], json!([format!("configmaps/{namespace}/item-00")]), "{diff}");
    assert_eq!(found["extra"], json!([format!("configmaps/{namespace}/new")]));
    assert_eq!(found["changed"][0]["paths"], json!([".data.key"]));
    rig.reading(&format!("diff {first} {first}")).run().await.expect_success();

    let words = format!("diff {first} {second} --vault vault --identity keys/identity.txt");
    let table = rig.ckbackup(&words).run().await.expect(1);
    assert!(table.stdout.contains("1 missing, 1 extra, 1 changed"), "{table}");
    assert!(table.stderr.contains("no trusted signers are given"), "{table}");
}

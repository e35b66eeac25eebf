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

//! Memory is bounded, whatever the size of the cluster and of its objects.

use futures::StreamExt;
use serde_json::{Value, json};

use super::backup_cluster::object;
use super::backup_rig::Rig;
use super::harness::command::highest_memory;
use super::harness::{Api, ControlPlane};

/// What the program may hold at its peak.
pub const LIMIT_KIB: u64 = 256 << 10;

/// Bytes of objects that are nearly as large as the API server takes them, and how many of each type.
const LARGE: (usize, usize) = (900 << 10, 30);

const SMALL: usize = 3000;

async fn create_all(api: &Api, path: &str, objects: impl Iterator<Item = Value>) {
    let creating = objects.map(|object| async move { api.create(path, &object).await });
    futures::stream::iter(creating).buffer_unordered(16).for_each(async |_| ()).await;
}

/// Text that does not get much smaller by compression.
fn noise(seed: usize, length: usize) -> String {
    let mut state = seed as u64 * 2 + 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + (state >> 60) as u8)
    };
    (0..length).map(letter).collect()
}

#[tokio::test]
async fn a_backup_of_large_and_many_objects_stays_below_256_mib() {
    let rig = Rig::new();
    let plane = ControlPlane::start(&rig.scratch, "large").await;
    let api = plane.api();
    let large = (0..LARGE.1).map(|n| {
        let mut object = object("v1", "ConfigMap", json!({"name": format!("large-{n:02}")}));
        object["data"] = json!({"noise": noise(n, LARGE.0)});
        object
    });
    create_all(&api, "/api/v1/namespaces/default/configmaps", large).await;
    let small = (0..SMALL).map(|n| {
        let mut object = object("v1", "Secret", json!({"name": format!("small-{n:04}")}));
        object["stringData"] = json!({"noise": noise(n, 1024)});
        object
    });
    // The last page would be a large one: what came before says nothing of the size of these.
    let last = (0..LARGE.1).map(|n| {
        let mut object = object("v1", "Secret", json!({"name": format!("z-large-{n:02}")}));
        object["stringData"] = json!({"noise": noise(n, LARGE.0)});
        object
    });
    create_all(&api, "/api/v1/namespaces/default/secrets", small.chain(last)).await;

    let running = rig.backup(plane.kubeconfig(), json!({})).start().await;
    let highest = highest_memory(running.pid()).await;
    let run = running.finish().await.expect_success();
    assert!(highest > 0 && highest < LIMIT_KIB, "{} MiB", highest >> 10);

    let saved = rig.open(&run);
    assert!(saved.names("configmaps").len() >= LARGE.1);
    assert_eq!(saved.names("secrets").len(), SMALL + LARGE.1);
    let large = &saved.members()["resources/configmaps/v1/default/large-07.json"];
    let large: Value = serde_json::from_slice(large).unwrap();
    assert_eq!(large["data"]["noise"], noise(7, LARGE.0));
    // Large objects come in small pages, twelve MiB at most.
    let pages = |name| saved.of_type(name)["pages"].as_u64().unwrap();
    assert!(pages("configmaps") >= 3, "{}", saved.of_type("configmaps"));
    assert!(pages("secrets") >= SMALL as u64 / 500 + 4, "{}", saved.of_type("secrets"));
}

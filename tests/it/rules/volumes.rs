//! Volumes and claims: bindings.

use serde_json::{Value, json};

use super::place::*;
use crate::harness::{ControlPlane, Scratch};

fn volume(name: &str, claim: &Value) -> Value {
    let meta = &claim["metadata"];
    let bound = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"],
        "uid": meta["uid"], "resourceVersion": meta["resourceVersion"],
    });
    let rest = json!({
        "metadata": {
            "annotations": {
                "pv.kubernetes.io/bound-by-controller": "yes",
                "pv.kubernetes.io/provisioned-by": "csi.example.com",
            },
            "finalizers": ["kubernetes.io/pv-protection", "external-provisioner.volume.kubernetes.io/finalizer"],
        },
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": bound,
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "fast",
            "csi": {
                "driver": "csi.example.com", "volumeHandle": "vol-1", "fsType": "ext4",
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": "1-2-csi.example.com"},
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{
                "matchExpressions": [{"key": "topology/zone", "operator": "In", "values": ["a"]}],
            }]}},
        },
    });
    object("v1", "PersistentVolume", name, rest)
}

fn claim(name: &str, volume: Option<&str>) -> Value {
    let annotations = json!({
        "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.kubernetes.io/selected-node": "node-1",
        "volume.kubernetes.io/storage-provisioner": "csi.example.com",
    });
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast",
        "volumeMode": "Filesystem",
    });
    if let Some(volume) = volume {
        spec["volumeName"] = volume.into();
    }
    object("v1", "PersistentVolumeClaim", name, json!({"metadata": {"annotations": annotations}, "spec": spec}))
}

/// A volume that names its claim's old uid is taken for released, and deleted with what is on it.
pub async fn a_volume_awaits_its_claim_by_name() {
    let place = Place::new().await;
    let bound = place.save_here("persistentvolumeclaims", claim("data", Some("x"))).await;
    let saved = place.save("persistentvolumes", volume(&place.unique("pv"), &bound)).await;
    let saved = place.change("persistentvolumes", &saved, "/status", json!({"status": {"phase": "Bound"}})).await;
    place.change("persistentvolumes", &saved, "", json!({"metadata": {"finalizers": []}})).await;

    let as_saved = without_version(&saved);
    place.delete("persistentvolumes", &saved).await;
    let wrong = place.save("persistentvolumes", as_saved).await;
    assert_eq!(wrong["spec"]["claimRef"]["uid"], uid(&bound));
    place.change("persistentvolumes", &wrong, "", json!({"metadata": {"finalizers": []}})).await;

    let but = [
        ".metadata.annotations.pv.kubernetes.io/bound-by-controller",
        ".spec.claimRef.resourceVersion",
        ".spec.claimRef.uid",
        ".status.phase",
    ];
    let restored = comes_back(&place, &Surroundings::default(), "persistentvolumes", &saved, &but).await;
    assert_eq!(restored["spec"]["claimRef"]["name"], "data");
    assert_eq!(restored["metadata"]["finalizers"], saved["metadata"]["finalizers"]);
}

const MARKS: [&str; 3] = [
    ".metadata.annotations.pv.kubernetes.io/bind-completed",
    ".metadata.annotations.pv.kubernetes.io/bound-by-controller",
    ".metadata.annotations.volume.kubernetes.io/selected-node",
];

/// A claim that says it is bound, to a volume that is not there, is lost for good.
pub async fn a_claim_keeps_its_volume_only_when_that_is_in_the_backup() {
    let place = Place::new().await;
    let saved = place.save_here("persistentvolumeclaims", claim("data", Some("pv-1"))).await;
    let capacity =
        json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
    let saved = place.change("persistentvolumeclaims", &saved, "/status", capacity).await;
    let (status, wrong) = place.post_as_saved("persistentvolumeclaims", &saved).await;
    assert!(status == 201 && wrong.contains("bind-completed"), "{status} {wrong}");
    let wrong = json!({"apiVersion": "v1", "metadata": {"name": "data", "namespace": place.there}});
    place.change("persistentvolumeclaims", &wrong, "", json!({"metadata": {"finalizers": []}})).await;
    place.delete("persistentvolumeclaims", &wrong).await;

    let status = [".status.accessModes", ".status.capacity", ".status.phase"];
    let but: Vec<_> = MARKS.into_iter().chain(status).collect();
    let with_volume = Surroundings::with_volume("pv-1");
    let restored = comes_back(&place, &with_volume, "persistentvolumeclaims", &saved, &but).await;
    assert_eq!(restored["spec"]["volumeName"], "pv-1");

    let mut saved = saved;
    saved["metadata"]["name"] = "data-2".into();
    let but: Vec<_> = MARKS.into_iter().chain([".spec.volumeName"]).chain(status).collect();
    let restored = comes_back(&place, &Surroundings::default(), "persistentvolumeclaims", &saved, &but).await;
    let provisioner = &restored["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"];
    assert_eq!(provisioner, "csi.example.com");
}

pub async fn claims_keep_what_they_ask_for() {
    let place = Place::new().await;
    let ask = json!({"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1.5Gi"}}});
    let with = |name: &str, more: Value| {
        let mut claim = object("v1", "PersistentVolumeClaim", name, json!({"spec": ask}));
        claim["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claim
    };
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "before"});
    let claims = [
        with("cloned", json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}})),
        with("from-snapshot", json!({"dataSourceRef": snapshot})),
        with("no-class", json!({"storageClassName": ""})),
        with("selecting", json!({"selector": {"matchLabels": {"disk": "a"}}, "volumeMode": "Block"})),
        with("attributes", json!({"volumeAttributesClassName": "gold"})),
    ];
    for claim in claims {
        let saved = place.save_here("persistentvolumeclaims", claim).await;
        comes_back(&place, &Surroundings::default(), "persistentvolumeclaims", &saved, &[]).await;
    }
}

/// The default class came after the claim. A bound claim that is given it no longer fits its volume.
pub async fn a_bound_claim_without_a_class_is_given_none() {
    let scratch = Scratch::new();
    let plane = ControlPlane::start(&scratch, "classes").await;
    plane.api().create_namespace("lost").await;
    plane.api().create_namespace("found").await;
    let place = Place::on(plane.api(), "lost".into(), "found".into());
    let mut old = claim("old", Some("pv-1"));
    old["spec"].as_object_mut().unwrap().remove("storageClassName");
    let saved = place.save_here("persistentvolumeclaims", old).await;
    assert!(saved["spec"].get("storageClassName").is_none());
    let class = json!({
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "csi.example.com",
    });
    place.save("storageclasses.storage.k8s.io", object("storage.k8s.io/v1", "StorageClass", "standard", class)).await;

    let given = || place.api.get("/api/v1/namespaces/found/persistentvolumeclaims/old");
    crate::harness::eventually("the default class is given", async || {
        assert_eq!(place.post_as_saved("persistentvolumeclaims", &saved).await.0, 201);
        let wrong = given().await;
        place.change("persistentvolumeclaims", &wrong, "", json!({"metadata": {"finalizers": []}})).await;
        place.delete("persistentvolumeclaims", &wrong).await;
        wrong["spec"]["storageClassName"] == "standard"
    })
    .await;

    let surroundings = Surroundings::with_volume("pv-1");
    let fitted = surroundings.fit("persistentvolumeclaims", &saved).unwrap();
    let restored = place.restore("persistentvolumeclaims", &fitted).await;
    assert_eq!(restored["spec"]["storageClassName"], "");
    assert!(surroundings.comparable("persistentvolumeclaims", &saved, &restored).is_empty());
}

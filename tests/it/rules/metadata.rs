//! What servers set on every object, owners, finalizers and status.

use serde_json::{Value, json};

use super::place::*;

pub async fn an_object_as_saved_is_refused_and_is_created_without_what_servers_set() {
    let place = Place::new().await;
    let saved = place.save_here("configmaps", config_map("plain")).await;
    let (status, why) = place.post("configmaps", &saved).await;
    assert!(status == 500 || status == 400 || status == 422, "{status} {why}");
    assert!(why.contains("resourceVersion should not be set on objects to be created"), "{why}");

    let restored = comes_back(&place, &Surroundings::default(), "configmaps", &saved, &[]).await;
    assert_ne!(uid(&restored), uid(&saved));
    let managers = restored["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 1, "fields are owned by who wrote them last: {managers:#?}");
}

pub async fn names_labels_and_annotations_stay() {
    let place = Place::new().await;
    let rest = json!({
        "metadata": {
            "generateName": "gener-",
            "labels": {"app.kubernetes.io/name": "x", "empty": ""},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"a\":\"\\u00e9\"}\n",
                "empty": "",
                "text": "zwölf Boxkämpfer 🥊\r\n\t\u{0}end",
                "large": "x".repeat(200 << 10),
            },
            "finalizers": ["example.com/one", "example.com/two"],
        },
        "data": {"key": "value"},
    });
    let saved = place.save_here("configmaps", object("v1", "ConfigMap", "gener-abcde", rest)).await;
    let restored = comes_back(&place, &Surroundings::default(), "configmaps", &saved, &[]).await;
    assert_eq!(plain(&saved), plain(&restored));
    assert_eq!(restored["metadata"]["generateName"], "gener-");
}

pub async fn finalizers_of_living_objects_stay() {
    let place = Place::new().await;
    let group = define_widgets(&place, false).await;
    let held = json!({"metadata": {"finalizers": ["operator.example.com/cleanup"]}, "spec": {"a": 1}});
    let resource = format!("widgets.{group}");
    let saved = place.save_here(&resource, widget(&group, "held", held)).await;
    let restored = comes_back(&place, &Surroundings::default(), &resource, &saved, &[]).await;
    assert_eq!(restored["metadata"]["finalizers"], json!(["operator.example.com/cleanup"]));
}

/// The garbage collector takes objects all of whose owners are gone: no reference may carry a uid that is not alive.
pub async fn references_carry_the_new_uid_of_a_restored_owner_or_are_left_out() {
    let place = Place::new().await;
    let save = async |name: &str| place.save_here("configmaps", config_map(name)).await;
    let (restored, to_come, absent) = (save("restored").await, save("to-come").await, save("absent").await);
    let mut owned = config_map("owned");
    owned["metadata"]["ownerReferences"] = json!([owned_by(&absent), controlled_by(&restored), owned_by(&to_come)]);
    let saved = place.save_here("configmaps", owned).await;
    let surroundings = Surroundings::with_owners([&restored, &to_come]);
    let references = saved["metadata"]["ownerReferences"].as_array().unwrap();
    assert!(surroundings.owners.any_to_come(references));

    let owner = comes_back(&place, &surroundings, "configmaps", &restored, &[]).await;
    surroundings.owners.restored(uid(&restored), uid(&owner));
    let fitted = surroundings.fit("configmaps", &saved).unwrap();
    let back = place.restore("configmaps", &fitted).await;
    assert_eq!(back["metadata"]["ownerReferences"], json!([controlled_by(&owner)]));

    // The one to come arrives: what is written then has both, and still not the absent one.
    let late = place.restore("configmaps", &surroundings.fit("configmaps", &to_come).unwrap()).await;
    surroundings.owners.restored(uid(&to_come), uid(&late));
    assert!(!surroundings.owners.any_to_come(references));
    let patch = json!({"metadata": {"ownerReferences": surroundings.owners.map(references)}});
    let back = place.change("configmaps", &back, "", patch).await;
    assert_eq!(back["metadata"]["ownerReferences"], json!([controlled_by(&owner), owned_by(&late)]));
    assert_eq!(changed(&saved, &back), [".metadata.ownerReferences"]);

    // An object whose owners are all absent comes back with none.
    let mut orphan = config_map("orphan");
    orphan["metadata"]["ownerReferences"] = json!([controlled_by(&absent)]);
    let saved = place.save_here("configmaps", orphan).await;
    let back = comes_back(&place, &surroundings, "configmaps", &saved, &[".metadata.ownerReferences"]).await;
    assert!(back["metadata"].get("ownerReferences").is_none());
}

/// With a finalizer of a controller that is gone, the namespace could never be deleted.
pub async fn a_namespace_gets_only_the_finalizer_that_the_server_sets() {
    let place = Place::new().await;
    let rest = json!({
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "kept"}},
        "spec": {"finalizers": ["kubernetes", "gone.example.com/controller"]},
    });
    let saved = place.save("namespaces", object("v1", "Namespace", &place.unique("finalized"), rest)).await;
    let moved = |mut object: Value| {
        object["metadata"]["name"] = place.unique("restored").into();
        object["metadata"]["labels"].as_object_mut().unwrap().remove("kubernetes.io/metadata.name");
        object
    };
    assert_eq!(saved["spec"]["finalizers"].as_array().unwrap().len(), 2);
    let fitted = Surroundings::default().fit("namespaces", &saved).unwrap();
    let restored = place.restore("namespaces", &moved(fitted)).await;
    assert_eq!(restored["spec"], json!({"finalizers": ["kubernetes"]}));
    let but = changed(&moved(saved.clone()), &moved(restored.clone()));
    assert_eq!(but, [".spec.finalizers"]);
    assert!(Surroundings::default().comparable("namespaces", &moved(saved), &moved(restored)).is_empty());
}

pub async fn status_is_not_restored_where_it_is_a_subresource() {
    let place = Place::new().await;
    let spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template()});
    let saved =
        place.save_here("deployments.apps", object("apps/v1", "Deployment", "web", json!({"spec": spec}))).await;
    let status = json!({"status": {"replicas": 3, "readyReplicas": 3, "observedGeneration": 7}});
    let saved = place.change("deployments.apps", &saved, "/status", status).await;
    assert_eq!(saved["status"]["readyReplicas"], 3);
    // The server itself drops the status of what is created; that a comparison ignores it is the rule's doing.
    let fitted = Surroundings::default().fit("deployments.apps", &saved).unwrap();
    assert!(fitted.get("status").is_none());
    let but = [".status.observedGeneration", ".status.readyReplicas", ".status.replicas"];
    comes_back(&place, &Surroundings::default(), "deployments.apps", &saved, &but).await;

    let group = define_widgets(&place, true).await;
    let resource = format!("widgets.{group}");
    let saved = place.save_here(&resource, widget(&group, "ready", json!({"spec": {"a": 1}}))).await;
    let saved = place.change(&resource, &saved, "/status", json!({"status": {"phase": "Ready"}})).await;
    assert_eq!(saved["status"]["phase"], "Ready");
    comes_back(&place, &Surroundings::default(), &resource, &saved, &[".status"]).await;
}

pub async fn status_is_restored_where_it_is_part_of_the_object() {
    let place = Place::new().await;
    let group = define_widgets(&place, false).await;
    let resource = format!("widgets.{group}");
    let content = json!({"spec": {"a": 1}, "status": {"phase": "Ready", "count": 9007199254740993_i64}});
    let saved = place.save_here(&resource, widget(&group, "ready", content)).await;
    let surroundings = Surroundings { status_subresource: false, ..Surroundings::default() };
    let restored = comes_back(&place, &surroundings, &resource, &saved, &[]).await;
    assert_eq!(restored["status"], saved["status"]);
}

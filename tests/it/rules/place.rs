//! Where rules are tested: two namespaces of the shared API server, one for the lost objects and one for the restored.

use std::collections::HashSet;

use ckbackup::restore::{Facts, Owners, RULES, differences, normalise};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Api;
use crate::harness::control_plane::shared;

tokio::task_local! {
    /// The rule that is left out, to show that its test notices.
    pub static WITHOUT: String;
}

/// What the rules know beside the object.
pub struct Surroundings {
    pub owners: Owners,
    pub volumes: HashSet<String>,
    pub preserve_node_ports: bool,
    pub status_subresource: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        let (owners, volumes) = (Owners::default(), HashSet::new());
        Surroundings { owners, volumes, preserve_node_ports: false, status_subresource: true }
    }
}

impl Surroundings {
    /// A backup that holds the objects with these uids, and that they own something.
    pub fn with_owners<'a>(saved: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut builder = Owners::builder();
        for owner in saved {
            builder.add(uid(owner), &[]);
            builder.add("an object of theirs", &[uid(owner).to_string()]);
        }
        Surroundings { owners: builder.build(), ..Surroundings::default() }
    }

    pub fn with_volume(name: &str) -> Self {
        Surroundings { volumes: HashSet::from([name.to_string()]), ..Surroundings::default() }
    }

    fn facts<'a>(&'a self, resource: &'a str) -> Facts<'a> {
        Facts {
            resource,
            owners: &self.owners,
            volumes: &self.volumes,
            preserve_node_ports: self.preserve_node_ports,
            status_subresource: self.status_subresource,
        }
    }

    /// As `fit`, but without the rule that is left out.
    pub fn fit(&self, resource: &str, saved: &Value) -> Result<Value, String> {
        let without = WITHOUT.try_with(String::clone).unwrap_or_default();
        let mut object = saved.clone();
        for rule in RULES.iter().filter(|rule| rule.name != without) {
            if let Err(why) = rule.apply(&mut object, &self.facts(resource)) {
                assert_eq!(object["metadata"]["name"], saved["metadata"]["name"]);
                return Err(format!("{}: {why}", rule.name));
            }
        }
        Ok(object)
    }

    /// Fails unless the rule leaves the object out.
    #[track_caller]
    pub fn refuses(&self, rule: &str, resource: &str, saved: &Value) {
        match self.fit(resource, saved) {
            Ok(_) => panic!("{resource} {} is restored", saved["metadata"]["name"]),
            Err(why) => assert!(why.starts_with(&format!("{rule}: ")), "{why}"),
        }
    }

    /// Whether a restore, or a comparison, would take the two for the same.
    pub fn comparable(&self, resource: &str, one: &Value, other: &Value) -> Vec<String> {
        let [mut one, mut other] = [one.clone(), other.clone()];
        for object in [&mut one, &mut other] {
            // Both uids of an owner mean the same; what becomes of references has tests of its own.
            object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
            normalise(object, &self.facts(resource));
            object["metadata"].as_object_mut().unwrap().remove("namespace");
        }
        differences(&one, &other, 99)
    }
}

/// Two namespaces of a test, and the API server that has them.
pub struct Place {
    pub api: Api,
    pub here: String,
    pub there: String,
}

impl Place {
    pub async fn new() -> Self {
        Place::on(shared().api(), shared().namespace("lost").await, shared().namespace("found").await)
    }

    pub fn on(api: Api, here: String, there: String) -> Self {
        Place { api, here, there }
    }

    /// A name that no other test has, for objects outside namespaces.
    pub fn unique(&self, name: &str) -> String {
        format!("{}-{name}", self.here)
    }

    /// Creates an object and reads it as a backup would.
    pub async fn save(&self, resource: &str, object: Value) -> Value {
        let created = self.api.create(&self.collection(resource, &object), &object).await;
        self.api.get(&self.path(resource, &created)).await
    }

    /// Creates an object in the namespace of the lost ones, and reads it as a backup would.
    pub async fn save_here(&self, resource: &str, mut object: Value) -> Value {
        object["metadata"]["namespace"] = self.here.as_str().into();
        self.save(resource, object).await
    }

    /// Merges something into an object, by a subresource (`/status`) or not.
    pub async fn change(&self, resource: &str, saved: &Value, subresource: &str, patch: Value) -> Value {
        let path = self.path(resource, saved);
        self.api.patch(&format!("{path}{subresource}"), &patch).await;
        self.api.get(&path).await
    }

    /// Creates a fitted object where it was, or in the other namespace, and reads it.
    pub async fn restore(&self, resource: &str, fitted: &Value) -> Value {
        let (status, body) = self.post(resource, fitted).await;
        assert_eq!(status, 201, "{resource}: {body}");
        self.api.get(&self.path(resource, &self.moved(fitted))).await
    }

    /// Posts an object, whatever comes of it; in the other namespace when it is in the first.
    pub async fn post(&self, resource: &str, object: &Value) -> (u16, String) {
        let object = self.moved(object);
        let content = ("application/json", serde_json::to_vec(&object).unwrap());
        let (status, body) = self.api.send(Method::POST, &self.collection(resource, &object), Some(content)).await;
        (status, String::from_utf8(body).unwrap())
    }

    /// Posts an object as it was saved, but for its resourceVersion, without which no server would look further.
    pub async fn post_as_saved(&self, resource: &str, saved: &Value) -> (u16, String) {
        self.post(resource, &without_version(saved)).await
    }

    pub async fn delete(&self, resource: &str, object: &Value) {
        let path = self.path(resource, object);
        self.api.delete(&path).await;
        crate::harness::eventually("the object is deleted", async || self.api.find(&path).await.is_none()).await;
    }

    pub fn path(&self, resource: &str, object: &Value) -> String {
        format!("{}/{}", self.collection(resource, object), object["metadata"]["name"].as_str().unwrap())
    }

    fn moved(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if object["metadata"]["namespace"] == self.here.as_str() {
            object["metadata"]["namespace"] = self.there.as_str().into();
        }
        object
    }

    fn collection(&self, resource: &str, object: &Value) -> String {
        let version = object["apiVersion"].as_str().unwrap();
        let base = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        let plural = resource.split('.').next().unwrap();
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
            None => format!("{base}/{plural}"),
        }
    }
}

/// Restores and expects the object to be as it was at all but these paths; returns it.
pub async fn comes_back(
    place: &Place,
    surroundings: &Surroundings,
    resource: &str,
    saved: &Value,
    but: &[&str],
) -> Value {
    let fitted = surroundings.fit(resource, saved).unwrap_or_else(|why| panic!("{resource} is left out: {why}"));
    if saved["metadata"]["namespace"] != place.here.as_str()
        && place.api.find(&place.path(resource, saved)).await.is_some()
    {
        place.delete(resource, saved).await;
    }
    let restored = place.restore(resource, &fitted).await;
    let mut differences = changed(saved, &restored);
    // The API server stamps it to the second, so it may come out the same or not.
    differences.retain(|path| path != ".status.lastPhaseTransitionTime");
    assert_eq!(differences, but, "{resource} {}", saved["metadata"]["name"]);
    assert_eq!(surroundings.comparable(resource, saved, &restored), Vec::<String>::new(), "{resource}");
    restored
}

/// Where two objects differ, but for what servers set on every object.
pub fn changed(saved: &Value, restored: &Value) -> Vec<String> {
    differences(&plain(saved), &plain(restored), 99)
}

/// Without namespace and what servers set on every object.
pub fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace"] {
        metadata.remove(key);
    }
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        condition.as_object_mut().unwrap().remove("lastTransitionTime");
    }
    object
}

pub fn without_version(saved: &Value) -> Value {
    let mut object = saved.clone();
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    object
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// An object with a name and this beside it.
pub fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    merge(&mut object, rest);
    object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A reference by which the owner controls an object.
pub fn controlled_by(owner: &Value) -> Value {
    let mut reference = owned_by(owner);
    reference["controller"] = true.into();
    reference["blockOwnerDeletion"] = true.into();
    reference
}

pub fn owned_by(owner: &Value) -> Value {
    let name = &owner["metadata"]["name"];
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": uid(owner)})
}

pub fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "image": "registry.example.com/app:1"}]})
}

pub fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": pod_spec()})
}

pub fn config_map(name: &str) -> Value {
    object("v1", "ConfigMap", name, json!({"data": {"key": "value"}}))
}

/// Defines a namespaced type whose specs may hold anything, and waits until it is served. Returns its group.
pub async fn define_widgets(place: &Place, status_subresource: bool) -> String {
    let group = format!("{}.example.com", place.here);
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"type": "object", "properties": {"spec": open, "status": open}});
    let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    if status_subresource {
        version["subresources"] = json!({"status": {}});
    }
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    let spec = json!({"group": group, "scope": "Namespaced", "names": names, "versions": [version]});
    let name = format!("widgets.{group}");
    let definition = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &name, json!({"spec": spec}));
    place.api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let list = format!("/apis/{group}/v1/namespaces/{}/widgets", place.here);
    crate::harness::eventually("widgets are served", async || place.api.send(Method::GET, &list, None).await.0 == 200)
        .await;
    group
}

pub fn widget(group: &str, name: &str, rest: Value) -> Value {
    object(&format!("{group}/v1"), "Widget", name, rest)
}

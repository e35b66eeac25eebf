//! Custom resources of many kinds, as a platform with many operators has them.

use serde_json::{Value, json};

use crate::platform::{Object, Platform, namespace_name, namespaces, object};

pub const KINDS: usize = 60;
/// The kinds are of so many groups.
const GROUPS: usize = 6;

/// So many objects, the kinds in turn.
pub fn platform(count: usize) -> Platform {
    Platform {
        definitions: (0..KINDS).map(definition).collect(),
        namespaces: namespaces(),
        objects: (0..count).map(resource).collect(),
    }
}

fn group(kind: usize) -> String {
    format!("group-{}.bench.example.org", kind % GROUPS)
}

fn plural(kind: usize) -> String {
    format!("things{kind:02}")
}

fn definition(kind: usize) -> Object {
    let name = format!("Thing{kind:02}");
    let names = json!({
        "plural": plural(kind), "singular": name.to_lowercase(), "kind": name, "listKind": format!("{name}List"),
    });
    let version = json!({
        "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema()},
    });
    let spec = json!({"group": group(kind), "names": names, "scope": "Namespaced", "versions": [version]});
    let body = json!({"metadata": {"name": format!("{}.{}", plural(kind), group(kind))}, "spec": spec});
    object("/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(), &body)
}

fn schema() -> Value {
    let text = json!({"type": "string"});
    let spec = json!({
        "image": text,
        "replicas": {"type": "integer", "minimum": 0},
        "settings": {"type": "object", "additionalProperties": text},
        "endpoints": {"type": "array", "items": {"type": "object", "properties": {"host": text, "port": {"type": "integer"}}}},
    });
    json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["image"], "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    })
}

fn resource(number: usize) -> Object {
    let kind = number % KINDS;
    let name = format!("thing-{number:06}");
    let settings: serde_json::Map<_, _> =
        (0..8).map(|n| (format!("setting-{n}"), format!("value {n} of {name}").into())).collect();
    let endpoints: Vec<_> =
        (0..3).map(|n| json!({"host": format!("{name}-{n}.example.org"), "port": 8000 + n})).collect();
    let spec = json!({"image": "registry.example.org/thing:1.2.3", "replicas": 2, "settings": settings, "endpoints": endpoints});
    let body = json!({
        "apiVersion": format!("{}/v1", group(kind)),
        "kind": format!("Thing{kind:02}"),
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"example.org/team": "platform"}},
        "spec": spec,
    });
    let namespace = namespace_name(number / KINDS);
    object(format!("/apis/{}/v1/namespaces/{namespace}/{}", group(kind), plural(kind)), &body)
}

//! Walking through objects: to places that are known, and to keys wherever they stand.

use serde_json::Value;

/// Stands in a path for every item of a list.
const EACH: &str = "[]";

/// Calls with every value at a path: `subjects/[]/namespace`.
pub fn each_at(value: &mut Value, path: &str, call: &mut dyn FnMut(&mut Value)) {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (first, value) {
        ("", value) => call(value),
        (EACH, Value::Array(items)) => items.iter_mut().for_each(|item| each_at(item, rest, call)),
        (key, Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                each_at(inner, rest, call);
            }
        }
        _ => {}
    }
}

/// Calls with every key and its value, at any depth.
pub fn each_key(value: &mut Value, call: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                call(key, inner);
                each_key(inner, call);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_key(item, call)),
        _ => {}
    }
}

/// An annotation of the object.
pub fn annotation<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut("metadata")?.get_mut("annotations")?.get_mut(key)
}

/// Objects whose content is free: what looks like a field in them is a text of somebody's.
pub fn is_free(resource: &str) -> bool {
    matches!(resource, "configmaps" | "secrets" | "customresourcedefinitions.apiextensions.k8s.io")
}

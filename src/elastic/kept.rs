//! What a server keeps beside its indices: templates, pipelines and policies.

use serde_json::{Map, Value, json};

/// A kind of thing that a server keeps by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The folder of its members in an archive.
    pub folder: &'static str,
    /// Where the API has all of them, and each below that by its name.
    pub path: &'static str,
    /// How they stand in the answer.
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// By name: `{"a": {…}}`.
    ByName,
    /// The same, with what was given in a key of its own: `{"a": {"version": 1, "policy": {…}}}`.
    ByNameWithin(&'static str),
    /// A list of `{"name": …, KEY: {…}}`, itself within a key.
    List { within: &'static str, key: &'static str },
    /// OpenSearch's: a list of `{"_id": …, "policy": {…}}`.
    IdList { within: &'static str, key: &'static str },
}

/// All kinds, in the order in which they come back: each may name those before it.
pub const KEPT: [Kept; 6] = [
    Kept { folder: "policies", path: "_ilm/policy", shape: Shape::ByNameWithin("policy") },
    Kept {
        folder: "state-policies",
        path: "_plugins/_ism/policies",
        shape: Shape::IdList { within: "policies", key: "policy" },
    },
    Kept { folder: "pipelines", path: "_ingest/pipeline", shape: Shape::ByName },
    Kept {
        folder: "component-templates",
        path: "_component_template",
        shape: Shape::List { within: "component_templates", key: "component_template" },
    },
    Kept {
        folder: "index-templates",
        path: "_index_template",
        shape: Shape::List { within: "index_templates", key: "index_template" },
    },
    Kept { folder: "legacy-templates", path: "_template", shape: Shape::ByName },
];

impl Kept {
    /// Reads all of the kind out of an answer: names, and what would make each anew.
    pub fn read(&self, answer: &Value) -> Vec<(String, Value)> {
        let by_name = |key: Option<&'static str>| {
            let empty = Map::new();
            let all = answer.as_object().unwrap_or(&empty);
            let body = |value: &Value| key.map_or_else(|| value.clone(), |key| json!({ key: value[key] }));
            all.iter().map(|(name, value)| (name.clone(), body(value))).collect()
        };
        let list = |within: &str, name: &str, body: &dyn Fn(&Value) -> Value| {
            let entry = |one: &Value| Some((one[name].as_str()?.to_string(), body(one)));
            answer[within].as_array().into_iter().flatten().filter_map(entry).collect()
        };
        match self.shape {
            Shape::ByName => by_name(None),
            Shape::ByNameWithin(key) => by_name(Some(key)),
            Shape::List { within, key } => list(within, "name", &|one| one[key].clone()),
            Shape::IdList { within, key } => list(within, "_id", &|one| json!({ key: policy_of(&one[key]) })),
        }
    }

    /// Whether the server made it by itself, and makes it anew wherever it is missing.
    pub fn is_built_in(&self, name: &str, body: &Value) -> bool {
        let within = if let Shape::ByNameWithin(key) = self.shape { &body[key] } else { body };
        name.starts_with('.') || within["_meta"]["managed"] == true
    }
}

/// What OpenSearch adds to a policy, and does not take.
fn policy_of(policy: &Value) -> Value {
    let mut policy = policy.clone();
    if let Some(policy) = policy.as_object_mut() {
        for added in ["policy_id", "last_updated_time", "schema_version"] {
            policy.remove(added);
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_read_into_what_makes_it_anew() {
        let kept = |folder: &str| KEPT.into_iter().find(|kept| kept.folder == folder).unwrap();
        let policies = json!({"days": {"version": 3, "modified_date": "x", "policy": {"phases": {}}}});
        assert_eq!(kept("policies").read(&policies), [("days".into(), json!({"policy": {"phases": {}}}))]);
        let states =
            json!({"policies": [{"_id": "p", "policy": {"policy_id": "p", "states": []}}], "total_policies": 1});
        assert_eq!(kept("state-policies").read(&states), [("p".into(), json!({"policy": {"states": []}}))]);
        let templates = json!({"index_templates": [{"name": "t", "index_template": {"index_patterns": ["a"]}}]});
        assert_eq!(kept("index-templates").read(&templates), [("t".into(), json!({"index_patterns": ["a"]}))]);
        assert_eq!(
            kept("pipelines").read(&json!({"p": {"processors": []}})),
            [("p".into(), json!({"processors": []}))]
        );
        let managed = json!({"policy": {"_meta": {"managed": true}}});
        assert!(kept("policies").is_built_in("logs", &managed) && kept("pipelines").is_built_in(".x", &json!({})));
        assert!(!kept("pipelines").is_built_in("mine", &json!({"_meta": {"owner": "me"}})));
    }
}

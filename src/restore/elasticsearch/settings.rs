//! The settings of an index: which of them it can be made with, which have to wait until it is filled, and which are the
//! server's own.

use serde_json::{Map, Value, json};

/// What a server decides itself, and refuses to be told.
const SERVERS_OWN: [&str; 15] = [
    "index.uuid",
    "index.creation_date",
    "index.provided_name",
    "index.version.",
    "index.history.uuid",
    "index.resize.",
    "index.shrink.",
    "index.verified_before_close",
    "index.verified_read_only",
    "index.frozen",
    "index.search.throttled",
    "index.store.snapshot.",
    "index.store.type",
    "index.transport_version",
    "index.routing.allocation.initial_recovery",
];

/// What waits until all documents are there: it would slow them down, change them, keep them out, or take the index away.
const LATER: [&str; 9] = [
    "index.refresh_interval",
    "index.number_of_replicas",
    "index.auto_expand_replicas",
    "index.default_pipeline",
    "index.final_pipeline",
    "index.blocks.",
    "index.lifecycle.",
    "index.plugins.index_state_management.",
    "index.routing.allocation.",
];

/// Settings of an index, flat: `index.number_of_shards` and so on.
pub type Settings = Map<String, Value>;

fn is_among(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|known| key == *known || known.ends_with('.') && key.starts_with(known))
}

/// With what an index is made.
pub fn at_first(saved: &Settings) -> Settings {
    let mut settings: Settings = saved.clone();
    settings.retain(|key, _| !is_among(key, &SERVERS_OWN) && !is_among(key, &LATER));
    // Searchable copies and visible documents are made once, in the end, instead of all the time.
    settings.insert("index.number_of_replicas".into(), "0".into());
    settings.insert("index.refresh_interval".into(), "-1".into());
    // Those of a template would change the documents.
    settings.insert("index.default_pipeline".into(), "_none".into());
    settings.insert("index.final_pipeline".into(), "_none".into());
    settings
}

/// What a template gave to a new index, and must not be there while it is filled.
pub fn given_by_templates(made: &Settings, first: &Settings) -> Settings {
    let given = made.keys().filter(|key| is_among(key, &LATER) && !first.contains_key(*key));
    // Where it may be put is the server's own affair.
    let given = given.filter(|key| !key.starts_with("index.routing.allocation.include._tier"));
    given.map(|key| (key.clone(), Value::Null)).collect()
}

/// Keeps everything but what keeps writers out.
pub fn without_blocks(settings: &Settings) -> Settings {
    settings.iter().filter(|(key, _)| !key.starts_with(BLOCKS)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Only what keeps writers out.
pub fn blocks(settings: &Settings) -> Settings {
    settings.iter().filter(|(key, _)| key.starts_with(BLOCKS)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

const BLOCKS: &str = "index.blocks.";

/// What is set when it is filled.
pub fn at_last(saved: &Settings) -> Settings {
    let mut settings: Settings = saved.clone();
    settings.retain(|key, _| is_among(key, &LATER) && !is_among(key, &SERVERS_OWN));
    // What was not set is set no more.
    settings.entry("index.refresh_interval").or_insert(Value::Null);
    for key in ["index.number_of_replicas", "index.default_pipeline", "index.final_pipeline"] {
        settings.entry(key).or_insert(Value::Null);
    }
    // A policy goes by the age of the logs, not by that of the index that they came back in.
    if settings.contains_key("index.lifecycle.name")
        && let Some(created) = saved.get("index.creation_date")
    {
        settings.entry("index.lifecycle.origination_date").or_insert_with(|| created.clone());
    }
    settings
}

/// The setting that a refusal names as one that the server does not know, or keeps for itself.
pub fn refused_setting(reason: &str) -> Option<String> {
    let marks = ["unknown setting [", "private index setting ["];
    let from = marks.iter().find_map(|mark| reason.find(mark).map(|at| at + mark.len()))?;
    let rest = &reason[from..];
    Some(rest[..rest.find(']')?].to_string())
}

/// The mappings that an index is made with: they say until the end that it is not whole.
pub fn marked(mappings: &Value, mark: &str) -> Value {
    let mut mappings = if mappings.is_object() { mappings.clone() } else { json!({}) };
    mappings["_meta"]["ckbackup"] = json!({ "loading": mark });
    mappings
}

/// What stands in the mappings of an index that is being filled.
pub fn mark_of(mappings: &Value) -> Option<&str> {
    mappings["_meta"]["ckbackup"]["loading"].as_str()
}

/// The `_meta` of an index that is whole, and waits for its aliases.
pub fn whole(mappings: &Value, mark: &str) -> Value {
    let mut meta = unmarked(mappings);
    meta["ckbackup"] = json!({ "loaded": mark });
    meta
}

/// What stands in the mappings of such an index.
pub fn loaded_of(mappings: &Value) -> Option<&str> {
    mappings["_meta"]["ckbackup"]["loaded"].as_str()
}

/// The `_meta` of an index that is as it was.
pub fn unmarked(mappings: &Value) -> Value {
    let mut meta = mappings["_meta"].as_object().cloned().unwrap_or_default();
    meta.remove("ckbackup");
    Value::Object(meta)
}

/// Fields that only the later mappings have; null where there are none.
pub fn new_fields(before: &Value, later: &Value) -> Value {
    let mut new = Map::new();
    for (name, field) in later["properties"].as_object().into_iter().flatten() {
        let Some(known) = before["properties"].get(name) else {
            new.insert(name.clone(), field.clone());
            continue;
        };
        let mut inner = json!({ "properties": new_fields(known, field) });
        if !inner["properties"].is_null() {
            // What holds fields is told to be what it is.
            if let Some(kind) = field.get("type") {
                inner["type"] = kind.clone();
            }
            new.insert(name.clone(), inner);
        }
    }
    if new.is_empty() { Value::Null } else { Value::Object(new) }
}

/// Fields that both mappings know, and have of other types.
pub fn other_types(saved: &Value, made: &Value) -> Vec<String> {
    let mut others = Vec::new();
    compare_fields(&saved["properties"], &made["properties"], "", &mut others);
    others
}

fn compare_fields(saved: &Value, made: &Value, path: &str, others: &mut Vec<String>) {
    for (name, field) in saved.as_object().into_iter().flatten() {
        let Some(other) = made.get(name) else { continue };
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // One without a type has fields of its own.
        let kind = |field: &Value| field["type"].as_str().unwrap_or("object").to_string();
        if kind(field) != kind(other) {
            others.push(format!("{path} was {}, and would be {}", kind(field), kind(other)));
        }
        compare_fields(&field["properties"], &other["properties"], &path, others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_came_later_are_found() {
        let long = json!({"type": "long"});
        let before =
            json!({"dynamic": "strict", "properties": {"a": long, "b": {"type": "nested", "properties": {"c": long}}}});
        let later = json!({"properties": {"a": {"type": "long", "coerce": false}, "b": {"type": "nested", "properties": {"c": long, "d": long}}, "e": long}});
        assert_eq!(new_fields(&before, &later), json!({"b": {"type": "nested", "properties": {"d": long}}, "e": long}));
        assert_eq!((new_fields(&before, &before), new_fields(&before, &Value::Null)), (Value::Null, Value::Null));
    }

    #[test]
    fn fields_of_other_types_are_found() {
        let saved = json!({"properties": {"a": {"type": "long"}, "b": {"properties": {"c": {"type": "ip"}}}, "d": {"type": "text"}}});
        let made = json!({"properties": {"a": {"type": "long"}, "b": {"properties": {"c": {"type": "keyword"}}}}});
        assert_eq!(other_types(&saved, &made), ["b.c was ip, and would be keyword"]);
        assert!(other_types(&saved, &json!({})).is_empty());
    }

    #[test]
    fn each_setting_has_its_time() {
        let saved = json!({
            "index.uuid": "u", "index.creation_date": "1795132800000", "index.version.created": "8537000",
            "index.number_of_shards": "2", "index.number_of_replicas": "1", "index.blocks.write": "true",
            "index.lifecycle.name": "days", "index.codec": "best_compression", "index.default_pipeline": "geo",
            "index.routing.allocation.include._tier_preference": "data_hot",
        });
        let saved = saved.as_object().unwrap();
        let first = json!({
            "index.number_of_shards": "2", "index.codec": "best_compression",
            "index.number_of_replicas": "0", "index.refresh_interval": "-1",
            "index.default_pipeline": "_none", "index.final_pipeline": "_none",
        });
        assert_eq!(Value::Object(at_first(saved)), first);
        let last = json!({
            "index.number_of_replicas": "1", "index.blocks.write": "true", "index.lifecycle.name": "days",
            "index.lifecycle.origination_date": "1795132800000", "index.default_pipeline": "geo",
            "index.refresh_interval": null, "index.final_pipeline": null, "index.routing.allocation.include._tier_preference": "data_hot",
        });
        assert_eq!(Value::Object(at_last(saved)), last);
    }

    #[test]
    fn what_a_template_gives_is_taken_away_while_it_is_filled() {
        let made = json!({ "index.lifecycle.name": "days", "index.number_of_replicas": "0", "index.codec": "x" });
        let first = at_first(&Settings::new());
        let given = given_by_templates(made.as_object().unwrap(), &first);
        assert_eq!(Value::Object(given), json!({ "index.lifecycle.name": null }));
        let all = json!({ "index.blocks.write": "true", "index.refresh_interval": null });
        let all = all.as_object().unwrap();
        assert_eq!((blocks(all).len(), without_blocks(all).len()), (1, 1));
    }

    #[test]
    fn what_a_server_does_not_know_is_found_in_its_words() {
        let reason = "unknown setting [index.lifecycle.name] please check that any required plugins are installed";
        assert_eq!(refused_setting(reason).as_deref(), Some("index.lifecycle.name"));
        assert_eq!(refused_setting("mapper_parsing_exception"), None);
    }

    #[test]
    fn an_index_that_is_being_filled_says_so() {
        let marked = marked(&json!({ "_meta": { "owner": "me" }, "properties": {} }), "b");
        assert_eq!((mark_of(&marked), marked["_meta"]["owner"].as_str()), (Some("b"), Some("me")));
        assert_eq!(mark_of(&json!({ "properties": {} })), None);
        let loaded = json!({ "_meta": whole(&marked, "b") });
        assert_eq!((mark_of(&loaded), loaded_of(&loaded)), (None, Some("b")));
        assert_eq!(unmarked(&loaded), json!({ "owner": "me" }));
    }
}

//! Log-ins for registries: a Secret that opens the old one opens the new one, too.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::images::whole_registry;
use super::{Use, Uses};

/// Adds the new registry beside the old one, with the same log-in. One that is there already stays as it is.
pub fn map(object: &mut Value, resource: &str, registries: &BTreeMap<String, String>, uses: &mut Uses) {
    if registries.is_empty() || resource != "secrets" {
        return;
    }
    let (key, inner) = match object["type"].as_str() {
        Some("kubernetes.io/dockerconfigjson") => (".dockerconfigjson", Some("auths")),
        Some("kubernetes.io/dockercfg") => (".dockercfg", None),
        _ => return,
    };
    let Some(value) = object.get_mut("data").and_then(|data| data.get_mut(key)) else { return };
    if let Some(config) = with_new(value.as_str().unwrap_or_default(), inner, registries, uses) {
        *value = Value::String(config);
    }
}

fn with_new(
    encoded: &str,
    inner: Option<&str>,
    registries: &BTreeMap<String, String>,
    uses: &mut Uses,
) -> Option<String> {
    let mut config: Value = serde_json::from_slice(&STANDARD.decode(encoded).ok()?).ok()?;
    let log_ins = match inner {
        Some(inner) => config.get_mut(inner)?,
        None => &mut config,
    };
    let added = added(log_ins.as_object()?, registries, uses);
    if added.is_empty() {
        return None;
    }
    log_ins.as_object_mut()?.extend(added);
    Some(STANDARD.encode(config.to_string()))
}

fn added(log_ins: &Map<String, Value>, registries: &BTreeMap<String, String>, uses: &mut Uses) -> Map<String, Value> {
    let mut added = Map::new();
    for (from, to) in registries {
        let (old, new) = (host(from), host(to));
        let log_in = log_ins.iter().find(|(key, _)| host(key) == old).map(|(_, log_in)| log_in);
        if let Some(log_in) = log_in.filter(|_| !log_ins.keys().any(|key| host(key) == new)) {
            added.insert(new, log_in.clone());
            uses.insert(Use { what: "imageRegistry", from: from.clone(), to: to.clone() });
        }
    }
    added
}

/// Keys are hosts, also with a scheme and a path: `https://index.docker.io/v1/`.
fn host(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    whole_registry(bare.split('/').next().unwrap_or(bare))
}

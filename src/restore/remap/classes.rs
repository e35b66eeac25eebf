//! Where objects name storage classes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::walk::{each_at, each_key, is_free};
use super::{Use, Uses, replace};

/// The field of claims, volumes and templates of claims, wherever they stand.
const FIELD: &str = "storageClassName";
/// The annotation that came before the field.
const BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// How a quota for one class begins with its name.
const QUOTA: &str = ".storageclass.storage.k8s.io/";

/// Puts the new names where the old ones stand. Storage classes themselves keep their names: they are of their cluster.
pub fn map(object: &mut Value, resource: &str, names: &BTreeMap<String, String>, uses: &mut Uses) {
    if names.is_empty() || is_free(resource) {
        return;
    }
    each_key(object, &mut |key, value| {
        if is_class(key) {
            replace(value, "storageClass", names, uses);
        }
    });
    if resource == "resourcequotas" {
        each_at(object, "spec/hard", &mut |hard| map_quotas(hard, names, uses));
    }
}

fn is_class(key: &str) -> bool {
    key == FIELD || key == BETA
}

fn map_quotas(hard: &mut Value, names: &BTreeMap<String, String>, uses: &mut Uses) {
    let Some(hard) = hard.as_object_mut() else { return };
    let renamed = std::mem::take(hard).into_iter().map(|(key, value)| {
        let Some((from, rest)) = key.split_once(QUOTA) else { return (key, value) };
        let Some(to) = names.get(from) else { return (key, value) };
        uses.insert(Use { what: "storageClass", from: from.into(), to: to.clone() });
        (format!("{to}{QUOTA}{rest}"), value)
    });
    *hard = renamed.collect();
}

/// The storage classes that an object names.
pub fn class_names(object: &mut Value, resource: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if !is_free(resource) {
        each_key(object, &mut |key, value| {
            if is_class(key) {
                found.extend(value.as_str().filter(|name| !name.is_empty()).map(String::from));
            }
        });
    }
    found
}

//! Which objects are compared, and where each one of the backup is to be found in the target.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Way;
use crate::cluster::discovery::ResourceType;
use crate::cluster::list::Item;
use crate::config::{KubernetesScope, OPT_OUT_LABEL};
use crate::object_path::{ObjectPath, object_path};

/// How far a comparison reaches, by what namespaces are called on both sides.
pub(super) struct Reach<'a> {
    names: &'a BTreeMap<String, String>,
    only: Option<&'a str>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(way: &'a Way) -> Self {
        Reach { names: &way.remap.mappings().namespaces, only: way.only.as_deref() }
    }

    fn there<'n>(&'n self, namespace: &'n str) -> &'n str {
        self.names.get(namespace).map_or(namespace, String::as_str)
    }

    /// What a namespace of the target is called in the backup.
    pub(super) fn before<'n>(&'n self, there: &'n str) -> &'n str {
        self.names.iter().find(|(_, new)| *new == there).map_or(there, |(old, _)| old.as_str())
    }

    /// Whether an object of the backup is compared.
    pub(super) fn saved(&self, path: &str) -> bool {
        let Some(only) = self.only else { return true };
        ObjectPath::parse(path).is_some_and(|path| match path.namespace {
            Some(namespace) => namespace == only,
            None => path.resource == "namespaces" && path.stem == only,
        })
    }

    /// Whether objects have the same paths on both sides.
    pub(super) fn keeps_paths(&self) -> bool {
        self.names.is_empty()
    }

    /// The path in the target of an object of the backup, as it was saved.
    pub(super) fn path_there(&self, resource: &str, version: &str, object: &Value) -> String {
        let (namespace, name) = (text(object, "namespace"), text(object, "name"));
        let name = if resource == "namespaces" { self.there(name) } else { name };
        object_path(resource, version, self.there(namespace), name)
    }

    /// Whether objects of a type can be within reach.
    pub(super) fn has(&self, kind: &ResourceType) -> bool {
        self.only.is_none() || kind.namespaced || is_namespaces(kind)
    }

    /// The only namespace that has to be listed.
    pub(super) fn listed(&'a self, kind: &ResourceType) -> Option<&'a str> {
        self.only.filter(|_| kind.namespaced).map(|only| self.there(only))
    }

    /// Whether an object of the target would be in a backup of that scope.
    pub(super) fn living(&self, kind: &ResourceType, item: &Item, scope: &KubernetesScope) -> bool {
        let namespace = match kind.namespaced {
            true => Some(&item.namespace),
            false if is_namespaces(kind) => Some(&item.name),
            false => None,
        };
        let controllers = scope.controller_made_left_out_because(&kind.plural, &kind.group).is_some();
        namespace.is_none_or(|namespace| self.is_in(namespace, scope))
            && item.labels.get(OPT_OUT_LABEL).is_none_or(|v| v != "true")
            && !(controllers && item.made_by_controller)
    }

    /// Whether something of the scope would be restored into a namespace.
    fn is_in(&self, namespace: &str, scope: &KubernetesScope) -> bool {
        let mut before = self.names.iter().filter(|(_, new)| *new == namespace).map(|(old, _)| old.as_str()).peekable();
        let is_wanted = |old: &str| scope.namespace(old) && self.only.is_none_or(|only| only == old);
        match before.peek() {
            Some(_) => before.any(is_wanted),
            // What is called otherwise in the target leaves its old name to others.
            None => !self.names.contains_key(namespace) && is_wanted(namespace),
        }
    }
}

fn text<'o>(object: &'o Value, key: &str) -> &'o str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// The path of an object that is called as in the target.
pub(super) fn path_of(resource: &str, version: &str, object: &Value) -> String {
    object_path(resource, version, text(object, "namespace"), text(object, "name"))
}

fn is_namespaces(kind: &ResourceType) -> bool {
    kind.kind == "Namespace" && kind.group.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> BTreeMap<String, String> {
        BTreeMap::from([("shop".to_string(), "shop-drill".to_string())])
    }

    #[test]
    fn an_object_is_looked_for_where_the_mapping_puts_it() {
        let names = names();
        let reach = Reach { names: &names, only: None };
        let there = |resource: &str, namespace: &str, name: &str| {
            reach.path_there(resource, "v1", &json!({"metadata": {"namespace": namespace, "name": name}}))
        };
        assert_eq!(there("configmaps", "shop", "a"), object_path("configmaps", "v1", "shop-drill", "a"));
        assert_eq!(there("namespaces", "", "shop"), object_path("namespaces", "v1", "", "shop-drill"));
        assert_eq!(there("configmaps", "other", "shop"), object_path("configmaps", "v1", "other", "shop"));
    }

    #[test]
    fn living_namespaces_are_those_that_something_is_restored_into() {
        let (names, scope) = (names(), KubernetesScope::default());
        let whole = Reach { names: &names, only: None };
        assert_eq!(["shop-drill", "shop", "other"].map(|n| whole.is_in(n, &scope)), [true, false, true]);
        let only = Reach { names: &names, only: Some("shop") };
        assert_eq!(["shop-drill", "shop", "other"].map(|n| only.is_in(n, &scope)), [true, false, false]);
        assert!(only.saved(&object_path("configmaps", "v1", "shop", "a")));
        assert!(!only.saved(&object_path("configmaps", "v1", "other", "a")));
        assert!(!only.saved(&object_path("clusterroles.rbac.authorization.k8s.io", "v1", "", "shop")));
    }
}

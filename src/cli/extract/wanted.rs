//! Objects as people name them: `deployments.apps/shop/web`, `Namespace/shop`, `deploy/shop/web`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::inventory::TypeRecord;
use crate::object_path::object_path;
use crate::vault::manifest::Manifest;

/// kubectl's short names of the built-in types.
const SHORT: &[(&str, &str)] = &[
    ("cj", "cronjobs.batch"),
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions.apiextensions.k8s.io"),
    ("deploy", "deployments.apps"),
    ("ds", "daemonsets.apps"),
    ("hpa", "horizontalpodautoscalers.autoscaling"),
    ("ing", "ingresses.networking.k8s.io"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies.networking.k8s.io"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses.scheduling.k8s.io"),
    ("pdb", "poddisruptionbudgets.policy"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rs", "replicasets.apps"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses.storage.k8s.io"),
    ("sts", "statefulsets.apps"),
    ("svc", "services"),
];

/// An object that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `deployments.apps`, `deployments`, `deploy`, `Deployment` or `Deployment.apps`.
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split('/').collect();
        let (kind, namespace, name) = match parts[..] {
            [kind, name] => (kind, None, name),
            [kind, namespace, name] => (kind, Some(namespace), name),
            _ => ("", None, ""),
        };
        if kind.is_empty() || name.is_empty() || namespace == Some("") {
            return Err(Error::usage(format!(
                "{text:?} is no object; write it like deployments.apps/NAMESPACE/NAME or namespaces/NAME"
            )));
        }
        Ok(Wanted { kind: kind.into(), namespace: namespace.map(String::from), name: name.into() })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// Where the object stands in each of the sources that hold its type: source and path.
pub(super) fn places(manifest: &Manifest, sources: &[String], object: &Wanted) -> Result<Vec<(String, String)>> {
    let mut places = Vec::new();
    for source in manifest.sources.iter().filter(|s| sources.contains(&s.name)) {
        if let Some((resource, record)) = find_type(&source.types, &object.kind)? {
            let namespace = namespace_of(object, resource, record)?;
            places.push((source.name.clone(), object_path(resource, &record.version, namespace, &object.name)));
        }
    }
    match places.is_empty() {
        true => Err(no_such_type(manifest, object)),
        false => Ok(places),
    }
}

fn namespace_of<'o>(object: &'o Wanted, resource: &str, record: &TypeRecord) -> Result<&'o str> {
    match (&object.namespace, record.namespaced) {
        (Some(namespace), true) => Ok(namespace),
        (None, false) => Ok(""),
        (None, true) => Err(Error::usage(format!("{object}: objects of {resource} are in namespaces"))
            .hint(format!("write {resource}/NAMESPACE/{}", object.name))),
        (Some(_), false) => Err(Error::usage(format!("{object}: objects of {resource} are not in namespaces"))
            .hint(format!("write {resource}/{}", object.name))),
    }
}

type Types = BTreeMap<String, TypeRecord>;

/// The type that a word stands for; an error when it could be one of several.
fn find_type<'t>(types: &'t Types, word: &str) -> Result<Option<(&'t str, &'t TypeRecord)>> {
    let lower = word.to_lowercase();
    let short = SHORT.iter().find(|(short, _)| *short == lower).map(|(_, name)| *name);
    let exact = |name: &str| types.get_key_value(name).map(|(name, record)| (name.as_str(), record));
    // `services` may be a plural of several groups, but of the core group it is the whole name.
    if let Some(found) = exact(&lower).or_else(|| exact(short?)) {
        return Ok(Some(found));
    }
    let mut all = types.iter().filter(|(name, record)| is_called(name, record, &lower));
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some((name, record)), None) => Ok(Some((name, record))),
        (Some((one, _)), Some((two, _))) => {
            let others = all.map(|(name, _)| name.as_str());
            let names: Vec<_> = [one.as_str(), two.as_str()].into_iter().chain(others).collect();
            Err(Error::usage(format!("{word} could be any of {}", names.join(", ")))
                .hint("write the whole name of one"))
        }
    }
}

/// Plural or kind, with or without its group.
fn is_called(name: &str, record: &TypeRecord, lower: &str) -> bool {
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    let kind = record.kind.to_lowercase();
    lower == plural || lower == kind || (!group.is_empty() && lower == format!("{kind}.{group}"))
}

fn no_such_type(manifest: &Manifest, object: &Wanted) -> Error {
    let word = object.kind.to_lowercase();
    let stem = |what: &str| what == word || what.split_once('.').is_some_and(|(plural, _)| plural == word);
    let omissions = manifest.sources.iter().flat_map(|s| s.problems.iter().chain(&s.skipped));
    let why = omissions.into_iter().find(|o| stem(&o.what)).map(|o| format!(": {}: {}", o.what, o.why));
    Error::failed(format!("backup {} holds no objects of type {}{}", manifest.id, object.kind, why.unwrap_or_default()))
        .hint("`ckbackup show BACKUP -o wide` lists the types")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(list: &[(&str, &str, bool)]) -> Types {
        let record = |kind: &str, namespaced| TypeRecord {
            version: "v1".into(),
            kind: kind.into(),
            namespaced,
            count: 1,
            resource_version: "1".into(),
            pages: 1,
            restarts: 0,
        };
        list.iter().map(|(name, kind, namespaced)| (name.to_string(), record(kind, *namespaced))).collect()
    }

    fn known() -> Types {
        types(&[
            ("deployments.apps", "Deployment", true),
            ("namespaces", "Namespace", false),
            ("services", "Service", true),
            ("services.serving.knative.dev", "Service", true),
            ("backups.velero.io", "Backup", true),
            ("backups.postgres.example", "Backup", true),
        ])
    }

    fn found(word: &str) -> Option<String> {
        find_type(&known(), word).unwrap().map(|(name, _)| name.to_string())
    }

    #[test]
    fn a_type_has_several_names() {
        for word in ["deployments.apps", "deployments", "Deployment", "deployment.apps", "deploy"] {
            assert_eq!(found(word).as_deref(), Some("deployments.apps"), "{word}");
        }
        assert_eq!(found("ns").as_deref(), Some("namespaces"));
        assert_eq!(found("services").as_deref(), Some("services"), "the whole name goes before a plural");
        assert_eq!(found("Service.serving.knative.dev").as_deref(), Some("services.serving.knative.dev"));
        assert_eq!(found("widgets"), None);
    }

    #[test]
    fn a_name_of_several_types_is_refused() {
        let error = find_type(&known(), "backups").unwrap_err();
        assert!(error.to_string().contains("backups.postgres.example, backups.velero.io"), "{error}");
    }

    #[test]
    fn an_object_is_two_or_three_parts() {
        let web: Wanted = "deployments.apps/shop/web".parse().unwrap();
        assert_eq!((web.namespace.as_deref(), web.name.as_str()), (Some("shop"), "web"));
        assert_eq!("clusterroles.rbac.authorization.k8s.io/system:node".parse::<Wanted>().unwrap().namespace, None);
        for bad in ["", "deployments", "/a", "a/", "a//b", "a/b/c/d"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn whether_a_namespace_is_needed_is_for_the_type_to_say() {
        let types = known();
        let of = |text: &str, name: &str| namespace_of(&text.parse().unwrap(), name, &types[name]).map(String::from);
        assert_eq!(of("ns/shop", "namespaces").unwrap(), "");
        assert!(of("ns/a/shop", "namespaces").is_err() && of("deploy/web", "deployments.apps").is_err());
    }
}

//! Claims that wait for a pod: their storage class binds a volume only when one uses them, so that they would be waited for
//! without end.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::objects::{built_in, list};
use crate::cluster::{ApiError, Cluster};
use crate::restore::rules::text;

/// A claim without a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PendingClaim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its storage class; none for the default one.
    pub class: Option<String>,
}

impl PendingClaim {
    /// Reads one; none when it is not pending.
    pub fn of(object: &Value) -> Option<PendingClaim> {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let is_pending = text(&object["status"], "phase") == "Pending" && metadata["deletionTimestamp"].is_null();
        is_pending.then(|| PendingClaim {
            namespace: text(metadata, "namespace").into(),
            name: text(metadata, "name").into(),
            class: spec["storageClassName"].as_str().map(String::from),
        })
    }
}

/// Those of the claims that only wait for a pod. What cannot be read is not taken for that.
pub async fn without_consumer(cluster: &Cluster, claims: &[PendingClaim]) -> Result<HashSet<PendingClaim>, ApiError> {
    let classes = list(cluster, &built_in("storage.k8s.io", "StorageClass", "storageclasses"), None, None).await?;
    let lazy = lazy_classes(&classes);
    let lazy = |claim: &&PendingClaim| lazy.contains(&claim.class.as_deref());
    let mut found: HashSet<PendingClaim> = claims.iter().filter(lazy).cloned().collect();
    let namespaces: BTreeSet<String> = found.iter().map(|claim| claim.namespace.clone()).collect();
    for namespace in namespaces {
        let pods = list(cluster, &built_in("", "Pod", "pods"), Some(&namespace), None).await?;
        let used: HashSet<String> = pods.iter().flat_map(used_claims).collect();
        found.retain(|claim| claim.namespace != namespace || !used.contains(&claim.name));
    }
    Ok(found)
}

/// The classes that wait for a pod, by name; without a name the default one, where it is such.
fn lazy_classes(classes: &[Value]) -> HashSet<Option<&str>> {
    let lazy = classes.iter().filter(|class| text(class, "volumeBindingMode") == "WaitForFirstConsumer");
    lazy.flat_map(|class| {
        let is_default = class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
        let named = Some(text(&class["metadata"], "name"));
        [Some(named), is_default.then_some(None)].into_iter().flatten()
    })
    .collect()
}

/// Also those that are made for a pod.
fn used_claims(pod: &Value) -> Vec<String> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let used = volumes.filter_map(|volume| match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(name) => Some(name.to_string()),
        None if volume["ephemeral"].is_object() => {
            Some(format!("{}-{}", text(&pod["metadata"], "name"), text(volume, "name")))
        }
        None => None,
    });
    used.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_class_serves_claims_that_name_none() {
        let class = |name: &str, mode: &str, default: &str| {
            json!({"metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
                "volumeBindingMode": mode})
        };
        let classes = [class("a", "Immediate", "true"), class("b", "WaitForFirstConsumer", "false")];
        assert_eq!(lazy_classes(&classes).into_iter().collect::<Vec<_>>(), [Some("b")]);
        let classes = [class("b", "WaitForFirstConsumer", "true")];
        assert_eq!(lazy_classes(&classes).len(), 2);
    }

    #[test]
    fn claims_of_a_pod_are_named_or_made_for_it() {
        let volumes = json!([{"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "emptyDir": {}},
            {"name": "scratch", "ephemeral": {}}]);
        let pod = json!({"metadata": {"name": "web"}, "spec": {"volumes": volumes}});
        assert_eq!(used_claims(&pod), ["data", "web-scratch"]);
    }
}

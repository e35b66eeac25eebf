//! Types of Kubernetes itself whose version is gone from the target, and where they went.
//!
//! Custom resources need no table: the target's definition says which versions it serves. Of Kubernetes' own types, only
//! those are here whose new version says the same in the same fields, or whose change is known to the last field.

use serde_json::{Value, json};

/// One version that servers have stopped to serve.
#[derive(Debug)]
pub struct Moved {
    /// `ingresses.extensions`.
    pub resource: &'static str,
    /// The versions in which it may be saved.
    pub from: &'static [&'static str],
    /// The type that it is now.
    pub to: &'static str,
    /// Its version there.
    pub version: &'static str,
    /// What else has to change; an error says why an object has no equal.
    change: fn(&mut Value) -> Result<(), String>,
}

const fn equal(
    resource: &'static str,
    from: &'static [&'static str],
    to: &'static str,
    version: &'static str,
) -> Moved {
    Moved { resource, from, to, version, change: |_| Ok(()) }
}

/// Every one that is known.
pub const MOVED: &[Moved] = &[
    Moved { change: ingress, ..equal("ingresses.extensions", &["v1beta1"], "ingresses.networking.k8s.io", "v1") },
    Moved {
        change: ingress,
        ..equal("ingresses.networking.k8s.io", &["v1beta1"], "ingresses.networking.k8s.io", "v1")
    },
    equal("ingressclasses.networking.k8s.io", &["v1beta1"], "ingressclasses.networking.k8s.io", "v1"),
    equal("networkpolicies.extensions", &["v1beta1"], "networkpolicies.networking.k8s.io", "v1"),
    Moved { change: workload, ..equal("deployments.extensions", &["v1beta1"], "deployments.apps", "v1") },
    Moved { change: workload, ..equal("daemonsets.extensions", &["v1beta1"], "daemonsets.apps", "v1") },
    Moved { change: workload, ..equal("replicasets.extensions", &["v1beta1"], "replicasets.apps", "v1") },
    Moved { change: workload, ..equal("deployments.apps", &["v1beta1", "v1beta2"], "deployments.apps", "v1") },
    Moved { change: workload, ..equal("daemonsets.apps", &["v1beta2"], "daemonsets.apps", "v1") },
    Moved { change: workload, ..equal("replicasets.apps", &["v1beta2"], "replicasets.apps", "v1") },
    Moved { change: workload, ..equal("statefulsets.apps", &["v1beta1", "v1beta2"], "statefulsets.apps", "v1") },
    Moved {
        change: disruption_budget,
        ..equal("poddisruptionbudgets.policy", &["v1beta1"], "poddisruptionbudgets.policy", "v1")
    },
    equal("cronjobs.batch", &["v1beta1"], "cronjobs.batch", "v1"),
    equal("horizontalpodautoscalers.autoscaling", &["v2beta2"], "horizontalpodautoscalers.autoscaling", "v2"),
    equal("roles.rbac.authorization.k8s.io", &["v1beta1"], "roles.rbac.authorization.k8s.io", "v1"),
    equal("clusterroles.rbac.authorization.k8s.io", &["v1beta1"], "clusterroles.rbac.authorization.k8s.io", "v1"),
    equal("rolebindings.rbac.authorization.k8s.io", &["v1beta1"], "rolebindings.rbac.authorization.k8s.io", "v1"),
    equal(
        "clusterrolebindings.rbac.authorization.k8s.io",
        &["v1beta1"],
        "clusterrolebindings.rbac.authorization.k8s.io",
        "v1",
    ),
    equal("priorityclasses.scheduling.k8s.io", &["v1beta1"], "priorityclasses.scheduling.k8s.io", "v1"),
    equal("storageclasses.storage.k8s.io", &["v1beta1"], "storageclasses.storage.k8s.io", "v1"),
    equal("csidrivers.storage.k8s.io", &["v1beta1"], "csidrivers.storage.k8s.io", "v1"),
    equal("runtimeclasses.node.k8s.io", &["v1beta1"], "runtimeclasses.node.k8s.io", "v1"),
    equal("apiservices.apiregistration.k8s.io", &["v1beta1"], "apiservices.apiregistration.k8s.io", "v1"),
];

/// Where a type of that version went.
pub fn moved(resource: &str, version: &str) -> Option<&'static Moved> {
    MOVED.iter().find(|moved| moved.resource == resource && moved.from.contains(&version))
}

impl Moved {
    /// Makes an object one of the new version, all but `apiVersion`.
    pub fn change(&self, object: &mut Value) -> Result<(), String> {
        (self.change)(object)
    }
}

/// Fields that only the old versions had; the selector, which is required now, was filled in by the server.
fn workload(object: &mut Value) -> Result<(), String> {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("rollbackTo");
        spec.remove("templateGeneration");
    }
    Ok(())
}

/// An empty selector meant no pod, and means every pod now.
fn disruption_budget(object: &mut Value) -> Result<(), String> {
    let selector = object["spec"]["selector"].as_object();
    let is_empty = selector.is_some_and(|selector| selector.values().all(is_nothing));
    match is_empty {
        true => Err("its empty selector meant no pod, and would mean every pod now; give it one in a patch".into()),
        false => Ok(()),
    }
}

fn is_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.is_empty()) || value.as_array().is_some_and(Vec::is_empty)
}

fn ingress(object: &mut Value) -> Result<(), String> {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if let Some(backend) = spec.remove("backend") {
        spec.insert("defaultBackend".into(), ingress_backend(backend));
    }
    for rule in spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten().filter_map(Value::as_object_mut) {
            path.entry("pathType").or_insert_with(|| json!("ImplementationSpecific"));
            if let Some(backend) = path.get_mut("backend") {
                *backend = ingress_backend(backend.take());
            }
        }
    }
    Ok(())
}

/// `serviceName` and `servicePort` stand below `service` now, and a port has a number or a name.
fn ingress_backend(mut old: Value) -> Value {
    let Some(map) = old.as_object_mut() else { return old };
    let (name, port) = (map.remove("serviceName"), map.remove("servicePort"));
    if let Some(name) = name {
        let port = match port {
            Some(Value::String(name)) => json!({ "name": name }),
            Some(number) => json!({ "number": number }),
            None => json!({}),
        };
        map.insert("service".into(), json!({ "name": name, "port": port }));
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingress_of_old_says_the_same_in_the_new_version() {
        let mut object = json!({"spec": {
            "backend": {"serviceName": "web", "servicePort": 80}, "ingressClassName": "nginx",
            "rules": [{"host": "a.example", "http": {"paths": [
                {"path": "/", "backend": {"serviceName": "web", "servicePort": "http"}},
                {"path": "/x", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
            ]}}],
        }});
        let known = moved("ingresses.extensions", "v1beta1").unwrap();
        known.change(&mut object).unwrap();
        assert_eq!((known.to, known.version), ("ingresses.networking.k8s.io", "v1"));
        assert_eq!(
            object["spec"],
            json!({
                "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}, "ingressClassName": "nginx",
                "rules": [{"host": "a.example", "http": {"paths": [
                    {"path": "/", "pathType": "ImplementationSpecific",
                     "backend": {"service": {"name": "web", "port": {"name": "http"}}}},
                    {"path": "/x", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
                ]}}],
            })
        );
    }

    #[test]
    fn what_would_mean_something_else_has_no_equal() {
        let budgets = moved("poddisruptionbudgets.policy", "v1beta1").unwrap();
        assert!(budgets.change(&mut json!({"spec": {"selector": {}}})).is_err());
        assert!(budgets.change(&mut json!({"spec": {"selector": {"matchLabels": {}}}})).is_err());
        assert!(budgets.change(&mut json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}})).is_ok());
        assert!(budgets.change(&mut json!({"spec": {"minAvailable": 1}})).is_ok(), "no selector means no pod in both");
    }

    #[test]
    fn nobody_is_led_in_a_circle() {
        for known in MOVED {
            assert!(moved(known.to, known.version).is_none(), "{}", known.resource);
        }
    }
}

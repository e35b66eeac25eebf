//! Where objects name namespaces.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::walk::{annotation, each_at, each_key};
use super::{Use, Uses, replace};

/// How a namespace stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The name alone.
    Name,
    /// A label selector that may ask for `kubernetes.io/metadata.name`.
    Selector,
    /// A subject of a binding: an account's namespace, or a user or group that is named after one.
    Subject,
}

/// A place where objects of a type name namespaces.
#[derive(Debug)]
pub struct Place {
    /// `rolebindings.rbac.authorization.k8s.io`; `*` stands for every type, `*.group` for every type of a group.
    pub resource: &'static str,
    /// The way there; `[]` stands for every item of a list.
    pub path: &'static str,
    /// How it stands there.
    pub form: Form,
}

const fn name(resource: &'static str, path: &'static str) -> Place {
    Place { resource, path, form: Form::Name }
}

const fn selector(resource: &'static str, path: &'static str) -> Place {
    Place { resource, path, form: Form::Selector }
}

const fn subject(resource: &'static str, path: &'static str) -> Place {
    Place { resource, path, form: Form::Subject }
}

/// Every place that is known. A namespace that stands elsewhere, such as in the name of a host or in a text, needs a patch.
pub const PLACES: &[Place] = &[
    name("*", "metadata/namespace"),
    name("namespaces", "metadata/name"),
    name("namespaces", "metadata/labels/kubernetes.io~metadata.name"),
    name("namespaces", "metadata/annotations/hnc.x-k8s.io~subnamespace-of"),
    name("subnamespaceanchors.hnc.x-k8s.io", "metadata/name"),
    name("hierarchyconfigurations.hnc.x-k8s.io", "spec/parent"),
    subject("rolebindings.rbac.authorization.k8s.io", "subjects/[]"),
    subject("clusterrolebindings.rbac.authorization.k8s.io", "subjects/[]"),
    name("flowschemas.flowcontrol.apiserver.k8s.io", "spec/rules/[]/subjects/[]/serviceAccount/namespace"),
    name("validatingwebhookconfigurations.admissionregistration.k8s.io", "webhooks/[]/clientConfig/service/namespace"),
    selector("validatingwebhookconfigurations.admissionregistration.k8s.io", "webhooks/[]/namespaceSelector"),
    name("mutatingwebhookconfigurations.admissionregistration.k8s.io", "webhooks/[]/clientConfig/service/namespace"),
    selector("mutatingwebhookconfigurations.admissionregistration.k8s.io", "webhooks/[]/namespaceSelector"),
    selector("*.admissionregistration.k8s.io", "spec/matchConstraints/namespaceSelector"),
    selector("*.admissionregistration.k8s.io", "spec/matchResources/namespaceSelector"),
    name("*.admissionregistration.k8s.io", "spec/paramRef/namespace"),
    name("apiservices.apiregistration.k8s.io", "spec/service/namespace"),
    name("customresourcedefinitions.apiextensions.k8s.io", "spec/conversion/webhook/clientConfig/service/namespace"),
    name("persistentvolumes", "spec/claimRef/namespace"),
    name("persistentvolumes", "spec/csi/controllerPublishSecretRef/namespace"),
    name("persistentvolumes", "spec/csi/controllerExpandSecretRef/namespace"),
    name("persistentvolumes", "spec/csi/nodeStageSecretRef/namespace"),
    name("persistentvolumes", "spec/csi/nodePublishSecretRef/namespace"),
    name("persistentvolumes", "spec/csi/nodeExpandSecretRef/namespace"),
    name("persistentvolumeclaims", "spec/dataSourceRef/namespace"),
    name("storageclasses.storage.k8s.io", "parameters/csi.storage.k8s.io~provisioner-secret-namespace"),
    name("storageclasses.storage.k8s.io", "parameters/csi.storage.k8s.io~controller-publish-secret-namespace"),
    name("storageclasses.storage.k8s.io", "parameters/csi.storage.k8s.io~controller-expand-secret-namespace"),
    name("storageclasses.storage.k8s.io", "parameters/csi.storage.k8s.io~node-stage-secret-namespace"),
    name("storageclasses.storage.k8s.io", "parameters/csi.storage.k8s.io~node-publish-secret-namespace"),
    name("volumesnapshotcontents.snapshot.storage.k8s.io", "spec/volumeSnapshotRef/namespace"),
    selector("networkpolicies.networking.k8s.io", "spec/ingress/[]/from/[]/namespaceSelector"),
    selector("networkpolicies.networking.k8s.io", "spec/egress/[]/to/[]/namespaceSelector"),
    name("ingressclasses.networking.k8s.io", "spec/parameters/namespace"),
    name("endpoints", "subsets/[]/addresses/[]/targetRef/namespace"),
    name("endpointslices.discovery.k8s.io", "endpoints/[]/targetRef/namespace"),
    name("*.gateway.networking.k8s.io", "spec/parentRefs/[]/namespace"),
    name("*.gateway.networking.k8s.io", "spec/rules/[]/backendRefs/[]/namespace"),
    name("gateways.gateway.networking.k8s.io", "spec/listeners/[]/tls/certificateRefs/[]/namespace"),
    selector("gateways.gateway.networking.k8s.io", "spec/listeners/[]/allowedRoutes/namespaces/selector"),
    name("referencegrants.gateway.networking.k8s.io", "spec/from/[]/namespace"),
    name("*.monitoring.coreos.com", "spec/namespaceSelector/matchNames/[]"),
    name("probes.monitoring.coreos.com", "spec/targets/ingress/namespaceSelector/matchNames/[]"),
    name("prometheuses.monitoring.coreos.com", "spec/alerting/alertmanagers/[]/namespace"),
    selector("*.monitoring.coreos.com", "spec/serviceMonitorNamespaceSelector"),
    selector("*.monitoring.coreos.com", "spec/podMonitorNamespaceSelector"),
    selector("*.monitoring.coreos.com", "spec/probeNamespaceSelector"),
    selector("*.monitoring.coreos.com", "spec/ruleNamespaceSelector"),
    selector("*.monitoring.coreos.com", "spec/alertmanagerConfigNamespaceSelector"),
    name("*.constraints.gatekeeper.sh", "spec/match/namespaces/[]"),
    name("*.constraints.gatekeeper.sh", "spec/match/excludedNamespaces/[]"),
    selector("*.constraints.gatekeeper.sh", "spec/match/namespaceSelector"),
    name("configs.config.gatekeeper.sh", "spec/match/[]/excludedNamespaces/[]"),
    name("schedules.velero.io", "spec/template/includedNamespaces/[]"),
    name("schedules.velero.io", "spec/template/excludedNamespaces/[]"),
    name("backups.velero.io", "spec/includedNamespaces/[]"),
    name("backups.velero.io", "spec/excludedNamespaces/[]"),
];

/// Annotations of any object that say `namespace/name`.
const QUALIFIED: [&str; 2] = ["cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret"];

/// The label by which selectors find a namespace by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

type Names = BTreeMap<String, String>;

/// Puts the new names where the old ones stand.
pub fn map(object: &mut Value, resource: &str, names: &Names, uses: &mut Uses) {
    if names.is_empty() {
        return;
    }
    for place in PLACES.iter().filter(|place| fits(place.resource, resource)) {
        each_at_place(object, place.path, &mut |value| match place.form {
            Form::Name => replace(value, "namespace", names, uses),
            Form::Selector => map_selector(value, names, uses),
            Form::Subject => map_subject(value, names, uses),
        });
    }
    for key in QUALIFIED {
        if let Some(value) = annotation(object, key) {
            map_part(value, "", "/", names, uses);
        }
    }
    if resource == "namespaces" {
        map_tree_labels(object, names, uses);
    }
    map_pod_terms(object, names, uses);
}

fn fits(pattern: &str, resource: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(group) => resource.ends_with(group),
        None => pattern == resource,
    }
}

/// A key that holds a `/` stands in the table with a `~`, as `/` divides the path.
fn each_at_place(object: &mut Value, path: &str, call: &mut dyn FnMut(&mut Value)) {
    match path.rsplit_once('/') {
        Some((to, last)) if last.contains('~') => {
            let key = last.replace('~', "/");
            each_at(object, to, &mut |map| {
                if let Some(value) = map.get_mut(&key) {
                    call(value);
                }
            });
        }
        _ => each_at(object, path, call),
    }
}

fn map_selector(selector: &mut Value, names: &Names, uses: &mut Uses) {
    if let Some(value) = selector.get_mut("matchLabels").and_then(|labels| labels.get_mut(NAME_LABEL)) {
        replace(value, "namespace", names, uses);
    }
    let expressions = selector.get_mut("matchExpressions").and_then(Value::as_array_mut);
    for expression in expressions.into_iter().flatten().filter(|e| e["key"] == NAME_LABEL) {
        each_at(expression, "values/[]", &mut |value| replace(value, "namespace", names, uses));
    }
}

fn map_subject(subject: &mut Value, names: &Names, uses: &mut Uses) {
    if let Some(value) = subject.get_mut("namespace") {
        replace(value, "namespace", names, uses);
    }
    let kind = subject["kind"].as_str().unwrap_or_default().to_string();
    let Some(value) = subject.get_mut("name") else { return };
    match kind.as_str() {
        "User" => map_part(value, "system:serviceaccount:", ":", names, uses),
        "Group" => map_part(value, "system:serviceaccounts:", "", names, uses),
        _ => {}
    }
}

/// A namespace between a beginning and a mark; without a mark, it goes to the end.
fn map_part(value: &mut Value, begin: &str, mark: &str, names: &Names, uses: &mut Uses) {
    let Some(rest) = value.as_str().and_then(|text| text.strip_prefix(begin)) else { return };
    let (old, tail) = if mark.is_empty() { (rest, "") } else { rest.split_at(rest.find(mark).unwrap_or(rest.len())) };
    let mut name = json!(old);
    replace(&mut name, "namespace", names, uses);
    *value = json!(format!("{begin}{}{tail}", name.as_str().unwrap_or(old)));
}

/// Hierarchical namespaces carry a label for each namespace above them, which has its name in the key.
fn map_tree_labels(object: &mut Value, names: &Names, uses: &mut Uses) {
    const TREE: &str = ".tree.hnc.x-k8s.io/depth";
    let Some(labels) = object["metadata"].get_mut("labels").and_then(Value::as_object_mut) else { return };
    let old: Vec<_> = labels.keys().filter_map(|key| key.strip_suffix(TREE)).map(String::from).collect();
    let mut moved = Vec::new();
    for from in old {
        let Some(to) = names.get(&from) else { continue };
        moved.extend(labels.remove(&format!("{from}{TREE}")).map(|depth| (format!("{to}{TREE}"), depth)));
        uses.insert(Use { what: "namespace", from, to: to.clone() });
    }
    labels.extend(moved);
}

/// Pods keep near to or away from pods of other namespaces, at any depth: in a workload's template, or in a custom resource.
fn map_pod_terms(object: &mut Value, names: &Names, uses: &mut Uses) {
    each_key(object, &mut |key, value| {
        if !matches!(key, "podAffinity" | "podAntiAffinity") {
            return;
        }
        for (to, term) in [("required", ""), ("preferred", "podAffinityTerm/")] {
            let path = format!("{to}DuringSchedulingIgnoredDuringExecution/[]/{term}");
            each_at(value, &format!("{path}namespaces/[]"), &mut |name| replace(name, "namespace", names, uses));
            each_at(value, &format!("{path}namespaceSelector"), &mut |found| map_selector(found, names, uses));
        }
    });
}

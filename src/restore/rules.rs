//! What is done to an object so that it can be created in another cluster. Each rule stands once, by name.
//!
//! The same rules make two objects comparable: what they take away is what servers and controllers set.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::owners::Owners;

/// What the rules know about the object and its surroundings.
pub struct Facts<'a> {
    /// `deployments.apps`.
    pub resource: &'a str,
    /// Uids of owners, old and new.
    pub owners: &'a Owners,
    /// Names of the persistent volumes in the backup.
    pub volumes: &'a HashSet<String>,
    /// Whether node ports stay as they were.
    pub preserve_node_ports: bool,
    /// Whether the type has a status subresource, so that status cannot be written with the object.
    pub status_subresource: bool,
}

/// What a rule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the object, changed or not.
    Keep,
    /// Do not write it; says why.
    Skip(String),
}

/// One rule.
pub struct Rule {
    /// Name, as it stands in reports.
    pub name: &'static str,
    /// What it does and why, in a line.
    pub what: &'static str,
    apply: fn(&mut Value, &Facts<'_>) -> Verdict,
}

impl Rule {
    /// Applies this rule alone; an error says why the object is not to be written.
    pub fn apply(&self, object: &mut Value, facts: &Facts<'_>) -> Result<(), String> {
        match (self.apply)(object, facts) {
            Keep => Ok(()),
            Skip(why) => Err(why),
        }
    }
}

use Verdict::{Keep, Skip};

/// Every rule, in the order in which they are applied: first what is not written at all.
pub const RULES: &[Rule] = &[
    Rule {
        name: "being-deleted",
        what: "an object that was being deleted when it was saved stays deleted",
        apply: being_deleted,
    },
    Rule { name: "mirror-pods", what: "the kubelet makes a static pod's mirror", apply: mirror_pods },
    Rule {
        name: "controller-owned",
        what: "pods, replica sets, jobs, revisions and endpoints come again from the controller that owns them",
        apply: controller_owned,
    },
    Rule {
        name: "finished",
        what: "a job or a bare pod that came to its end would run again: status, which says so, is not restored",
        apply: finished,
    },
    Rule {
        name: "generated-token-secrets",
        what: "a service account's generated token Secret is signed by keys of the lost cluster",
        apply: generated_token_secrets,
    },
    Rule {
        name: "cluster-made",
        what: "objects that every cluster makes for itself, with its own addresses and certificates",
        apply: cluster_made,
    },
    Rule {
        name: "server-set-metadata",
        what: "uid, resourceVersion, generation, times and managed fields are the server's to set",
        apply: server_set_metadata,
    },
    Rule {
        name: "owner-references",
        what: "owners have new uids; a reference to an owner that is not there would get the object collected",
        apply: owner_references,
    },
    Rule {
        name: "token-secret-data",
        what: "a token Secret that somebody made is filled again by the cluster",
        apply: token_secret_data,
    },
    Rule {
        name: "service-account-tokens",
        what: "a service account does not list generated token Secrets that are not restored",
        apply: service_account_tokens,
    },
    Rule {
        name: "cluster-ips",
        what: "cluster IPs are the new cluster's to give; headless services stay headless",
        apply: cluster_ips,
    },
    Rule { name: "node-ports", what: "node ports are given anew unless the plan preserves them", apply: node_ports },
    Rule {
        name: "volume-bindings",
        what: "volumes and claims find each other by name; uids and marks of the old binding would leave claims lost",
        apply: volume_bindings,
    },
    Rule { name: "job-selectors", what: "a job's selector and labels carry its old uid", apply: job_selectors },
    Rule {
        name: "deployment-revisions",
        what: "a deployment's controller counts its revisions anew",
        apply: deployment_revisions,
    },
    Rule {
        name: "namespace-finalizers",
        what: "the server sets a namespace's finalizers",
        apply: namespace_finalizers,
    },
    Rule {
        name: "pod-placement",
        what: "a pod is placed anew by its priority class, and its ephemeral containers are gone",
        apply: pod_placement,
    },
    Rule { name: "status", what: "status is written by controllers, where it is a subresource", apply: status },
];

/// Applies every rule; the name of the rule and its reason where the object is not to be written.
pub fn fit(object: &mut Value, facts: &Facts<'_>) -> Result<(), (&'static str, String)> {
    for rule in RULES {
        rule.apply(object, facts).map_err(|why| (rule.name, why))?;
    }
    Ok(())
}

/// Applies the rules that change an object, to make it comparable; whether it would be written is not asked.
pub fn normalise(object: &mut Value, facts: &Facts<'_>) {
    for rule in RULES {
        let _ = rule.apply(object, facts);
    }
}

fn being_deleted(object: &mut Value, _: &Facts<'_>) -> Verdict {
    match object["metadata"]["deletionTimestamp"].is_null() {
        true => Keep,
        false => Skip("it was being deleted when it was saved".into()),
    }
}

fn mirror_pods(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let mirror = facts.resource == "pods" && annotation(object, "kubernetes.io/config.mirror").is_some();
    if mirror { Skip("the kubelet makes it from a file on its node".into()) } else { Keep }
}

/// Types whose objects a built-in controller makes for an owner.
const MADE_BY_CONTROLLERS: [&str; 7] = [
    "pods",
    "replicasets.apps",
    "jobs.batch",
    "controllerrevisions.apps",
    "endpointslices.discovery.k8s.io",
    "endpoints",
    "resourceclaims.resource.k8s.io",
];

fn controller_owned(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let controller = owners.into_iter().flatten().find(|o| o["controller"] == true);
    match controller {
        Some(owner) if comes_again(owner, facts) && facts.owners.is_in_backup(text(owner, "uid")) => {
            Skip(format!("{} {} makes it again", text(owner, "kind"), text(owner, "name")))
        }
        _ => Keep,
    }
}

/// Claims that a pod owns are of its ephemeral volumes: one without that owner would keep the pod's namesake from starting.
fn comes_again(owner: &Value, facts: &Facts<'_>) -> bool {
    let of_a_pod = text(owner, "apiVersion") == "v1" && text(owner, "kind") == "Pod";
    MADE_BY_CONTROLLERS.contains(&facts.resource) || (facts.resource == "persistentvolumeclaims" && of_a_pod)
}

fn finished(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let conditions = object["status"]["conditions"].as_array();
    let over = |c: &&Value| matches!(text(c, "type"), "Complete" | "Failed") && text(c, "status") == "True";
    let how = match (facts.resource, text(&object["status"], "phase")) {
        ("pods", phase @ ("Succeeded" | "Failed")) => Some(phase),
        ("jobs.batch", _) => conditions.into_iter().flatten().find(over).map(|c| text(c, "type")),
        _ => None,
    };
    how.map_or(Keep, |how| Skip(format!("it had come to its end: {how}")))
}

const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";

fn generated_token_secrets(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource != "secrets" {
        return Keep;
    }
    let account = annotation(object, "kubernetes.io/service-account.name").unwrap_or_default();
    if object["type"] == TOKEN_SECRET && is_generated_token(name(object), account) {
        return Skip(format!("a generated token of service account {account}"));
    }
    Keep
}

/// Generated names are `<service account>-token-<five characters>`, as Kubernetes generates names: from letters that
/// make no words, after at most 58 other bytes.
fn is_generated_token(secret: &str, account: &str) -> bool {
    const LONGEST: usize = 58;
    let whole = format!("{account}-token-");
    let base = whole.get(..LONGEST).unwrap_or(&whole);
    let suffix = secret.strip_prefix(base);
    suffix.is_some_and(|s| s.len() == 5 && s.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)))
}

fn cluster_made(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let own = |why: &str| Skip(why.to_string());
    match (facts.resource, namespace(object), name(object)) {
        ("nodes", ..) => own("nodes register themselves"),
        ("csinodes.storage.k8s.io" | "volumeattachments.storage.k8s.io", ..)
        | ("csistoragecapacities.storage.k8s.io" | "resourceslices.resource.k8s.io", ..) => {
            own("it belongs to nodes of the lost cluster")
        }
        ("configmaps", _, "kube-root-ca.crt") => own("the cluster publishes its own certificate authority"),
        ("configmaps", "kube-public", "cluster-info") => own("the cluster publishes its own address"),
        ("configmaps", "kube-system", "extension-apiserver-authentication")
        | ("configmaps", "kube-system", "kube-apiserver-legacy-service-account-token-tracking") => {
            own("the API server makes it")
        }
        ("services" | "endpoints", "default", "kubernetes") => own("the API server makes it"),
        ("endpointslices.discovery.k8s.io", "default", "kubernetes") => own("the API server makes it"),
        ("servicecidrs.networking.k8s.io", _, "kubernetes") => own("the API server makes it"),
        ("ipaddresses.networking.k8s.io", ..) => own("the API server gives addresses anew"),
        ("apiservices.apiregistration.k8s.io", ..) if object["spec"]["service"].is_null() => {
            own("the API server registers its own groups")
        }
        ("secrets", "kube-system", _) if object["type"] == "bootstrap.kubernetes.io/token" => own("a bootstrap token"),
        _ => cluster_made_by_mark(object),
    }
}

/// The API server keeps up what it marks so; in another version it may look different.
fn cluster_made_by_mark(object: &mut Value) -> Verdict {
    let bootstrap = object["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults"
        && annotation(object, "rbac.authorization.kubernetes.io/autoupdate") == Some("true");
    let flow_control = annotation(object, "apf.kubernetes.io/autoupdate-spec") == Some("true");
    if bootstrap || flow_control { Skip("the API server keeps it up itself".into()) } else { Keep }
}

fn server_set_metadata(object: &mut Value, _: &Facts<'_>) -> Verdict {
    const SERVERS: [&str; 8] = [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    if let Some(metadata) = at(object, &["metadata"]) {
        metadata.retain(|key, _| !SERVERS.contains(&key.as_str()));
    }
    Keep
}

fn owner_references(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let Some(metadata) = at(object, &["metadata"]) else { return Keep };
    let Some(Value::Array(references)) = metadata.remove("ownerReferences") else { return Keep };
    let mapped: Vec<Value> = references
        .into_iter()
        .filter_map(|mut reference| {
            let uid = facts.owners.new_uid(text(&reference, "uid"))?;
            reference["uid"] = Value::String(uid);
            Some(reference)
        })
        .collect();
    if !mapped.is_empty() {
        metadata.insert("ownerReferences".into(), Value::Array(mapped));
    }
    Keep
}

fn token_secret_data(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource == "secrets" && object["type"] == TOKEN_SECRET {
        for key in ["token", "ca.crt", "namespace"] {
            remove(object, &["data"], key);
        }
        for label in ["kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"] {
            remove(object, &["metadata", "labels"], label);
        }
        drop_if_empty(object, "data");
        remove(object, &["metadata", "annotations"], "kubernetes.io/service-account.uid");
    }
    Keep
}

fn service_account_tokens(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource != "serviceaccounts" {
        return Keep;
    }
    let account = name(object).to_string();
    if let Some(Value::Array(secrets)) = object.get_mut("secrets") {
        secrets.retain(|s| !is_generated_token(text(s, "name"), &account));
    }
    drop_if_empty(object, "secrets");
    Keep
}

fn cluster_ips(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    let Some(spec) = service_spec(object, facts) else { return Keep };
    if spec.get("clusterIP").is_some_and(|ip| ip != "None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    Keep
}

fn node_ports(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.preserve_node_ports {
        return Keep;
    }
    let Some(spec) = service_spec(object, facts) else { return Keep };
    spec.remove("healthCheckNodePort");
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    Keep
}

fn volume_bindings(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    const MARKS: [&str; 4] = [
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/selected-node",
        "volume.kubernetes.io/node-pool",
    ];
    match facts.resource {
        "persistentvolumes" => {
            for key in ["uid", "resourceVersion"] {
                remove(object, &["spec", "claimRef"], key);
            }
        }
        "persistentvolumeclaims" => {
            let known = object["spec"]["volumeName"].as_str().is_some_and(|v| facts.volumes.contains(v));
            if !known {
                remove(object, &["spec"], "volumeName");
            } else if let Some(spec) = at(object, &["spec"]) {
                // Its volume has no class either; without a word, the claim would be given the cluster's default class.
                spec.entry("storageClassName").or_insert_with(|| "".into());
            }
        }
        _ => return Keep,
    }
    for mark in MARKS {
        remove(object, &["metadata", "annotations"], mark);
    }
    Keep
}

fn job_selectors(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
    if facts.resource != "jobs.batch" || object["spec"]["manualSelector"] == true {
        return Keep;
    }
    remove(object, &["spec"], "selector");
    for label in UID_LABELS {
        remove(object, &["spec", "template", "metadata", "labels"], label);
        remove(object, &["metadata", "labels"], label);
    }
    Keep
}

fn deployment_revisions(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource == "deployments.apps" {
        remove(object, &["metadata", "annotations"], "deployment.kubernetes.io/revision");
    }
    Keep
}

fn namespace_finalizers(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource == "namespaces" {
        remove(object, &["spec"], "finalizers");
        drop_if_empty(object, "spec");
    }
    Keep
}

fn pod_placement(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.resource == "pods" {
        // Priority and preemption policy are computed from the priority class, which may not be what it was.
        for key in ["nodeName", "ephemeralContainers", "priority", "preemptionPolicy"] {
            remove(object, &["spec"], key);
        }
    }
    Keep
}

fn status(object: &mut Value, facts: &Facts<'_>) -> Verdict {
    if facts.status_subresource
        && let Some(whole) = object.as_object_mut()
    {
        whole.remove("status");
    }
    Keep
}

fn service_spec<'a>(object: &'a mut Value, facts: &Facts<'_>) -> Option<&'a mut Map<String, Value>> {
    if facts.resource == "services" { at(object, &["spec"]) } else { None }
}

fn at<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut value = object;
    for key in path {
        value = value.get_mut(key)?;
    }
    value.as_object_mut()
}

/// Removes a key, and the map that held it when nothing else is in it and it is not the object's spec.
fn remove(object: &mut Value, path: &[&str], key: &str) {
    let Some(map) = at(object, path) else { return };
    if map.remove(key).is_some() && map.is_empty() && path.len() > 1 {
        let (last, parent) = (path[path.len() - 1], &path[..path.len() - 1]);
        if let Some(parent) = at(object, parent) {
            parent.remove(last);
        }
    }
}

fn drop_if_empty(object: &mut Value, key: &str) {
    let empty = match object.get(key) {
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => false,
    };
    if let (true, Some(map)) = (empty, object.as_object_mut()) {
        map.remove(key);
    }
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// A text field, empty where there is none.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object.get("metadata").map(|m| text(m, "name")).unwrap_or_default()
}

fn namespace(object: &Value) -> &str {
    object.get("metadata").map(|m| text(m, "namespace")).unwrap_or_default()
}

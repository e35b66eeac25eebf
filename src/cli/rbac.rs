//! `rbac`: the roles that a schedule needs, and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, Global, Outcome, Output};
use crate::config::{self, CommandPlace, KubernetesScope, Name, PrometheusData, Schedule, SourceKind, SourceSpec};
use crate::error::{Context, Result};

const EXAMPLES: &str = "\
Examples:
  ckbackup rbac -f schedules/nightly.yaml | kubectl apply -f -
  ckbackup rbac -f schedules/nightly.yaml --service-account backup --namespace backup-system

A list goes over all namespaces, so types are granted in the whole cluster, whatever namespaces the schedule names. RBAC
cannot leave types out: a schedule that only excludes some needs them all. Name types with resources.include for less.";

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Print the roles that a schedule's job needs in its cluster
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RbacArgs {
    /// The schedule
    #[arg(short = 'f', long = "file", value_name = "SCHEDULE")]
    schedule: PathBuf,
    /// Which schedule, when the file holds several
    #[arg(long)]
    name: Option<Name>,
    /// The account that the job runs as
    #[arg(long, value_name = "NAME", default_value = "ckbackup")]
    service_account: Name,
    /// The namespace of that account
    #[arg(long, value_name = "NAME", default_value = "ckbackup")]
    namespace: Name,
}

pub(super) fn run(args: &RbacArgs, global: &Global) -> Outcome {
    let schedule = config::read_schedule(&args.schedule, args.name.as_ref().map(Name::as_str))?;
    let objects = objects(&schedule, &args.service_account, &args.namespace);
    if objects.is_empty() {
        global.note(format!("schedule {} needs no rights in a cluster", schedule.name));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let text = yaml(&objects)?;
    global.print(&list, |form| if form == Output::Name { names(&objects) } else { text })?;
    Ok(DONE)
}

fn names(objects: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let name =
        |object: &Value| format!("{}/{}\n", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]));
    objects.iter().map(name).collect()
}

/// One document for each, as `kubectl apply` takes them.
fn yaml(objects: &[Value]) -> Result<String> {
    let document = |object| serde_yaml::to_string(object).context(|| "write YAML".into());
    Ok(objects.iter().map(document).collect::<Result<Vec<_>>>()?.join("---\n"))
}

/// Roles and bindings, in the order in which they can be created.
fn objects(schedule: &Schedule, account: &Name, namespace: &Name) -> Vec<Value> {
    let subject = json!({"kind": "ServiceAccount", "name": account.as_str(), "namespace": namespace.as_str()});
    let mut objects = Vec::new();
    let scopes: Vec<_> = schedule
        .sources
        .iter()
        .filter_map(|source| match &source.kind {
            SourceKind::Kubernetes(scope) => Some(scope),
            _ => None,
        })
        .collect();
    if !scopes.is_empty() {
        let name = format!("ckbackup-{}-read", schedule.name);
        objects.push(role("ClusterRole", &name, None, reading(&scopes)));
        objects.push(binding("ClusterRoleBinding", "ClusterRole", &name, None, &subject));
    }
    for namespace in exec_namespaces(schedule) {
        let name = format!("ckbackup-{}-exec", schedule.name);
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            // Which method a client opens the connection with decides: the older ones take a GET.
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
        ]);
        objects.push(role("Role", &name, Some(&namespace), rules));
        objects.push(binding("RoleBinding", "Role", &name, Some(&namespace), &subject));
    }
    if schedule.window.is_some() || schedule.lease.is_some() {
        let lease = schedule.lease.clone().unwrap_or_default();
        let place = lease.namespace.as_ref().unwrap_or(namespace);
        let lease = lease.name.as_ref().map_or("ckbackup", Name::as_str);
        let name = format!("ckbackup-{}-lease", schedule.name);
        let group = "coordination.k8s.io";
        let rules = json!([
            // Whoever creates one cannot be held to a name.
            {"apiGroups": [group], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": [group], "resources": ["leases"], "resourceNames": [lease], "verbs": ["get", "update"]},
            // What became of each run, told on the lease.
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
        ]);
        objects.push(role("Role", &name, Some(place), rules));
        objects.push(binding("RoleBinding", "Role", &name, Some(place), &subject));
    }
    objects
}

/// Where commands are run in pods.
fn exec_namespaces(schedule: &Schedule) -> BTreeSet<Name> {
    let place = |source: &SourceSpec| match &source.kind {
        SourceKind::Command(scope) => Some(scope.place.clone()),
        SourceKind::Prometheus(scope) => match &scope.data {
            PrometheusData::Pod { place, .. } => Some(place.clone()),
            PrometheusData::Folder(_) => None,
        },
        _ => None,
    };
    let namespace = |place| match place {
        CommandPlace::Pod { namespace, .. } => Some(namespace),
        CommandPlace::Here => None,
    };
    schedule.sources.iter().filter_map(place).filter_map(namespace).collect()
}

/// What must be listed; and the uid of `kube-system`, by which a cluster is recognised.
fn reading(scopes: &[&KubernetesScope]) -> Value {
    let mut rules = Vec::new();
    match exact_types(scopes) {
        None => rules.push(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]})),
        Some(groups) => {
            for (group, resources) in groups {
                rules.push(json!({"apiGroups": [group], "resources": resources, "verbs": ["list"]}));
            }
        }
    }
    rules.push(json!({
        "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"],
    }));
    Value::Array(rules)
}

/// The types by group, where every scope names its types without wildcards.
fn exact_types(scopes: &[&KubernetesScope]) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |name: &str| {
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        groups.entry(group.to_string()).or_default().insert(plural.to_string());
    };
    for scope in scopes {
        let include = &scope.resources.include;
        let exact: Vec<_> = include.exact().collect();
        if include.is_empty() || exact.len() < include.texts().len() {
            return None;
        }
        exact.into_iter().for_each(&mut add);
        // Whether a namespace is there that the schedule names.
        if scope.namespaces.include.exact().next().is_some() {
            add("namespaces");
        }
    }
    Some(groups)
}

fn metadata(name: &str, namespace: Option<&Name>) -> Value {
    match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace.as_str()}),
        None => json!({"name": name}),
    }
}

fn role(kind: &str, name: &str, namespace: Option<&Name>, rules: Value) -> Value {
    json!({"apiVersion": RBAC, "kind": kind, "metadata": metadata(name, namespace), "rules": rules})
}

fn binding(kind: &str, of: &str, name: &str, namespace: Option<&Name>, subject: &Value) -> Value {
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": name});
    json!({
        "apiVersion": RBAC, "kind": kind, "metadata": metadata(name, namespace),
        "roleRef": reference, "subjects": [subject],
    })
}

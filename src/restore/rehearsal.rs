//! What a drill's target can show, and what it cannot.

use serde_json::Value;

use crate::config::{Action, Awaited, BlocksTo, CommandPlace, Gate, Step};

/// Where a drill restores to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An API server with nothing behind it: no controllers, no nodes.
    ControlPlane,
    /// A cluster of its own, where pods run.
    Cluster,
    /// A namespace of its own in a living cluster, where nothing may act.
    Namespace,
}

/// A rule by which a drill does not restore an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Spared {
    /// Name, as it stands in reports.
    pub rule: &'static str,
    /// What it does and why, in a line.
    pub what: &'static str,
}

/// Objects that would do something in a living cluster.
pub const ACTS: Spared = Spared {
    rule: "acts-in-a-living-cluster",
    what: "objects of these kinds would act in a living cluster: pods run, services and claims take, controllers answer",
};

/// Bindings that would give rights beyond the drill's namespace.
pub const GIVES_RIGHTS: Spared = Spared {
    rule: "gives-cluster-rights",
    what: "a binding to a ClusterRole would give rights that nobody has there now",
};

/// Kinds that do nothing by themselves, workloads at zero replicas and suspended jobs included.
const INERT: [&str; 13] = [
    "configmaps",
    "cronjobs.batch",
    "deployments.apps",
    "limitranges",
    "namespaces",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "resourcequotas",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "secrets",
    "serviceaccounts",
    "statefulsets.apps",
];

impl Stage {
    /// The rule by which an object is not restored there; none where it is.
    pub fn spares(self, resource: &str, object: &Value) -> Option<&'static Spared> {
        match self {
            Stage::ControlPlane | Stage::Cluster => None,
            Stage::Namespace if !INERT.contains(&resource) => Some(&ACTS),
            Stage::Namespace => (object["roleRef"]["kind"] == "ClusterRole").then_some(&GIVES_RIGHTS),
        }
    }
}

/// Kinds whose conditions the API server itself sets.
const SET_BY_THE_SERVER: [&str; 2] = ["CustomResourceDefinition", "Namespace"];

/// Why a step shows nothing on that stage; none where it is run as in an incident.
///
/// A step that writes elsewhere than into the drill's cluster is run only where the plan says that it is for drills: its address is
/// the real one.
pub fn not_exercised(step: &Step, stage: Stage) -> Option<String> {
    let is_for_drills = step.flow.when.iter().any(|when| when.drill == Some(true));
    let needs_pods =
        |what: &str| (stage != Stage::Cluster).then(|| format!("{what}, and a control plane alone runs none"));
    let elsewhere = |what: &str| {
        (!is_for_drills).then(|| format!("{what}, which is not the drill's; a step with `when: {{drill: true}}` could"))
    };
    match &step.action {
        Action::Apply(_) => None,
        Action::Gate(gate) => needs_controllers(gate, stage),
        Action::Http(request) => elsewhere(&format!("it sends a request to {}", request.url)),
        Action::Scale(_) => needs_pods("it waits for pods"),
        Action::Manual(_) => (stage != Stage::Cluster).then(|| "nobody is asked in a sandbox".into()),
        Action::Files(files) => elsewhere(&format!("it writes to {}", files.to.display())),
        Action::Elasticsearch(logs) => elsewhere(&format!("it writes to {}", logs.url)),
        Action::Objects(_) => elsewhere("it writes to a bucket"),
        Action::Command(command) if command.place == CommandPlace::Here => {
            elsewhere("it runs a program on this machine")
        }
        Action::Command(_) => needs_pods("it runs in a pod"),
        Action::Prometheus(metrics) => match &metrics.to {
            Some(BlocksTo::Claim(_)) => needs_pods("it writes through a pod"),
            Some(BlocksTo::Folder(to)) => elsewhere(&format!("it writes to {}", to.display())),
            None => elsewhere("it writes to an Alertmanager"),
        },
    }
}

fn needs_controllers(gate: &Gate, stage: Stage) -> Option<String> {
    if stage == Stage::Cluster {
        return None;
    }
    match &gate.what {
        Awaited::Objects(objects) => {
            let by_the_server = SET_BY_THE_SERVER.iter().any(|kind| objects.kind.matches(kind, group_of(kind)));
            let why = || format!("a controller makes {} ready, and a control plane alone has none", objects.kind);
            (!by_the_server).then(why)
        }
        _ => Some("what it asks does not run in a control plane alone".into()),
    }
}

fn group_of(kind: &str) -> &'static str {
    if kind == "Namespace" { "" } else { "apiextensions.k8s.io" }
}

//! What a drill's target can show, and what it cannot.

use serde_json::Value;

use crate::config::{Action, Awaited, BlocksTo, CommandPlace, Gate, RestorePrometheus, Step};
use crate::endpoint::shown;

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
/// A step that writes elsewhere than into the drill's cluster, or believes what somebody says there, is run only where the plan says
/// that it is for drills: its address is the real one.
pub fn not_exercised(step: &Step, stage: Stage) -> Option<String> {
    let is_for_drills = step.flow.when.iter().any(|when| when.drill == Some(true));
    let needs_pods =
        |what: &str| (stage != Stage::Cluster).then(|| format!("{what}, and a control plane alone runs none"));
    let elsewhere = |what: &str| {
        (!is_for_drills).then(|| format!("{what}, which is not the drill's; a step with `when: {{drill: true}}` could"))
    };
    match &step.action {
        Action::Apply(_) => None,
        Action::Gate(gate) => needs_controllers(gate, stage).or_else(|| elsewhere(&asks_elsewhere(&gate.what)?)),
        Action::Http(request) => elsewhere(&format!("it sends a request to {}", shown(&request.url))),
        Action::Scale(_) => needs_pods("it waits for pods"),
        Action::Manual(_) if stage != Stage::Cluster => Some("nobody is asked in a sandbox".into()),
        Action::Manual(manual) => elsewhere(&asks_elsewhere(manual.check.as_ref()?)?),
        Action::Files(files) => elsewhere(&format!("it writes to {}", files.to.display())),
        Action::Elasticsearch(logs) => elsewhere(&format!("it writes to {}", shown(&logs.url))),
        Action::Objects(_) => elsewhere("it writes to a bucket"),
        Action::Command(command) if command.place == CommandPlace::Here => {
            elsewhere("it runs a program on this machine")
        }
        Action::Command(_) => needs_pods("it runs in a pod"),
        Action::Prometheus(metrics) => match &metrics.to {
            Some(BlocksTo::Claim(_)) => {
                needs_pods("it writes through a pod").or_else(|| elsewhere(&address_beside(metrics)?))
            }
            Some(BlocksTo::Folder(to)) => elsewhere(&format!("it writes to {}", to.display())),
            None => elsewhere("it writes to an Alertmanager"),
        },
    }
}

/// Whom a gate or a check asks outside of the cluster, in words.
fn asks_elsewhere(what: &Awaited) -> Option<String> {
    let url = match what {
        Awaited::Http(answer) => &answer.url,
        Awaited::Elasticsearch(health) => &health.server.url,
        Awaited::Prometheus(query) => &query.server.url,
        Awaited::Command(command) if command.place == CommandPlace::Here => {
            return Some("it runs a program on this machine".into());
        }
        Awaited::Objects(_) | Awaited::Command(_) => return None,
    };
    Some(format!("it asks {}", shown(url)))
}

/// The address that a step has beside the volume that it fills: one that is written to goes before one that is only asked.
fn address_beside(metrics: &RestorePrometheus) -> Option<String> {
    let alertmanager = metrics.alertmanager.as_ref().map(|server| ("alertmanager", &server.url));
    let check = metrics.check.as_ref().map(|check| ("check", &check.url));
    let (key, url) = alertmanager.or(check)?;
    Some(format!("its `{key}` is {}", shown(url)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, parse};

    /// Why a step with this action is not exercised in a scratch cluster.
    fn why(action: &str, when: &str) -> Option<String> {
        let text = format!(
            "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {{name: x}}\nspec:\n  rto: 4h\n  \
             steps: [{{name: one, {when}{action}}}]\n"
        );
        match parse(&text, std::path::Path::new("x.yaml")).unwrap().remove(0) {
            Document::RestorePlan(plan) => not_exercised(&plan.steps[0], Stage::Cluster),
            other => panic!("{other:?}"),
        }
    }

    fn volume(more: &str) -> String {
        let workload = "{kind: StatefulSet, namespace: monitoring, name: prometheus}";
        format!("prometheus: {{source: metrics, pod: {{workload: {workload}, claim: data}}{more}}}")
    }

    #[test]
    fn what_stands_outside_of_a_scratch_cluster_is_neither_written_to_nor_believed() {
        let check = "check: {url: \"http://p:9090/?token=s3cret\"}";
        for (action, what) in [
            (
                "http: {method: POST, url: \"https://x.test/hook?token=s3cret#a\"}",
                "it sends a request to https://x.test/hook",
            ),
            ("gate: {http: {url: \"https://x.test/up?token=s3cret\"}}", "it asks https://x.test/up"),
            ("gate: {elasticsearch: {url: \"https://es.test:9200\"}}", "it asks https://es.test:9200/"),
            ("gate: {prometheus: {url: \"http://p:9090\", query: up}}", "it asks http://p:9090/"),
            ("gate: {command: {run: [kubectl]}}", "it runs a program on this machine"),
            ("manual: {title: t, check: {http: {url: \"https://x.test\"}}}", "it asks https://x.test/"),
            (volume(", alertmanager: {url: \"http://am:9093\"}").as_str(), "its `alertmanager` is http://am:9093/"),
            (volume(&format!(", {check}")).as_str(), "its `check` is http://p:9090/"),
            (
                volume(&format!(", {check}, alertmanager: {{url: \"http://am\"}}")).as_str(),
                "its `alertmanager` is http://am/",
            ),
            ("elasticsearch: {source: logs, url: \"https://es.test?token=s3cret\"}", "it writes to https://es.test/"),
        ] {
            let told = why(action, "").unwrap_or_else(|| panic!("{action} is exercised"));
            assert_eq!(told, format!("{what}, which is not the drill's; a step with `when: {{drill: true}}` could"));
            assert_eq!(why(action, "when: {drill: true}, "), None, "{action}");
        }
    }

    #[test]
    fn what_stands_in_a_scratch_cluster_is_exercised() {
        for action in [
            "apply: {}",
            "gate: {kind: Deployment}",
            "gate: {command: {pod: {namespace: a, selector: b=c}, run: [x]}}",
            "manual: {title: t, check: {kind: Pod}}",
            volume("").as_str(),
        ] {
            assert_eq!(why(action, ""), None, "{action}");
        }
    }
}

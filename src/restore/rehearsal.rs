//! What a drill's target can show, and what it cannot.

use crate::config::{Action, Awaited, BlocksTo, CommandPlace, Gate, Step};

/// Where a drill restores to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An API server with nothing behind it: no controllers, no nodes.
    ControlPlane,
    /// A cluster of its own, where pods run.
    Cluster,
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
        |what: &str| (stage == Stage::ControlPlane).then(|| format!("{what}, and a control plane alone runs none"));
    let elsewhere = |what: &str| {
        (!is_for_drills).then(|| format!("{what}, which is not the drill's; a step with `when: {{drill: true}}` could"))
    };
    match &step.action {
        Action::Apply(_) => None,
        Action::Gate(gate) => needs_controllers(gate, stage),
        Action::Http(request) => elsewhere(&format!("it sends a request to {}", request.url)),
        Action::Scale(_) => needs_pods("it waits for pods"),
        Action::Manual(_) => (stage == Stage::ControlPlane).then(|| "nobody is asked in a sandbox".into()),
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

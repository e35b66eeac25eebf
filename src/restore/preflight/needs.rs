//! The rights that a plan takes in its target: to write objects, for what its other steps do, and to deal with webhooks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::reach::configuration_types;
use crate::cluster::Cluster;
use crate::config::{
    Action, Awaited, AwaitedObjects, BlocksTo, CommandPlace, DataClaim, RestorePrometheus, ScaleTo, Step,
    WebhookPolicy, When, Workload,
};
use crate::restore::compile::SavedType;
use crate::restore::gate::only_namespace;
use crate::restore::rehearsal::not_exercised;
use crate::restore::work::Work;

/// What a restore does with objects of each type.
const VERBS: [&str; 3] = ["create", "get", "patch"];

/// The way into a pod. The method that opens the connection decides which of both is asked for, and newer servers ask for both.
const ENTER: [&str; 2] = ["create", "get"];

/// How long one answer about what is served may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Who takes a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taker<'p> {
    /// The steps that write objects.
    Writers,
    /// A step that does something else, by its name.
    Step(&'p str),
    /// The look for webhooks in the way.
    Lookout,
    /// The way round them.
    Detour,
}

/// A right that is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need<'p> {
    /// Who takes it.
    pub taker: Taker<'p>,
    /// What is done: `get`, `list`.
    pub verb: &'static str,
    /// The type: `deployments.apps`, `pods/exec`.
    pub resource: String,
    /// The object; any of the type where none is named.
    pub name: Option<String>,
    /// The namespaces; the whole cluster where there is none.
    pub namespaces: Vec<&'p str>,
}

impl Need<'_> {
    /// To what it is, for people: in a namespace, or in the whole cluster.
    pub fn words(&self, namespace: Option<&str>) -> String {
        match (&self.name, namespace) {
            (Some(name), Some(namespace)) => format!("{}/{namespace}/{name}", self.resource),
            (None, Some(namespace)) => format!("{} (in {namespace})", self.resource),
            (_, None) => format!("{} (cluster-wide)", self.resource),
        }
    }
}

/// The types that gates may look at, by their names.
type Types = BTreeMap<String, SavedType>;

/// All of them. Those to write objects come last, as there may be more of them than are asked for.
pub async fn of_plan<'p>(work: &'p Work, cluster: &Cluster, kinds: &[&SavedType]) -> Vec<Need<'p>> {
    let mut all = of_steps(work, cluster).await;
    if !kinds.is_empty() {
        all.extend(of_webhooks(work.webhooks.policy));
    }
    for kind in kinds {
        let namespaces: Vec<&str> = match kind.namespaced {
            true => work.compiled.namespaces.iter().map(String::as_str).collect(),
            false => Vec::new(),
        };
        all.extend(VERBS.map(|verb| Need {
            taker: Taker::Writers,
            verb,
            resource: kind.resource.clone(),
            name: None,
            namespaces: namespaces.clone(),
        }));
    }
    all
}

/// Webhooks are looked for wherever objects are written.
fn of_webhooks<'p>(policy: WebhookPolicy) -> Vec<Need<'p>> {
    let mut taken = vec![(Taker::Lookout, "list")];
    if policy == WebhookPolicy::GoAround {
        taken.extend([(Taker::Detour, "get"), (Taker::Detour, "update")]);
    }
    let of = |(taker, verb)| {
        configuration_types().map(|resource| Need { taker, verb, resource, name: None, namespaces: Vec::new() })
    };
    taken.into_iter().flat_map(of).collect()
}

async fn of_steps<'p>(work: &'p Work, cluster: &Cluster) -> Vec<Need<'p>> {
    let steps: Vec<&Step> = work.plan.steps.iter().filter(|step| is_run(work, step)).collect();
    let types = match steps.iter().any(|step| matches!(awaited(step), Some(Awaited::Objects(_)))) {
        true => known_types(work, cluster).await,
        false => Types::new(),
    };
    let all: BTreeSet<_> = steps.into_iter().flat_map(|step| of_step(step, &types)).collect();
    all.into_iter().collect()
}

/// Whether a step is run in this target, as far as that is known before its turn. Targets are told apart by the cluster whose
/// backup they are restored from.
fn is_run(work: &Work, step: &Step) -> bool {
    let target = work.plan.targets.get(step.target);
    target.is_none_or(|target| target.cluster.as_str() == work.backup.manifest.cluster)
        && step.flow.when.iter().all(|when| may_hold(work, when))
        && work.stage.is_none_or(|stage| not_exercised(step, stage).is_none())
        && !work.earlier.is_over(step.name.as_str())
}

fn may_hold(work: &Work, when: &When) -> bool {
    let has_source = |source: &str| work.backup.manifest.source(source).is_some();
    when.source.as_ref().is_none_or(|source| has_source(source.as_str()))
        && when.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| work.compiled.holds(kind)))
        && when.drill.is_none_or(|drill| drill == work.stage.is_some())
}

/// What a step waits for, or what must be true when a person has done it.
fn awaited(step: &Step) -> Option<&Awaited> {
    match &step.action {
        Action::Gate(gate) => Some(&gate.what),
        Action::Manual(manual) => manual.check.as_ref(),
        _ => None,
    }
}

/// Those that the target serves, and those that definitions of the backup bring.
async fn known_types(work: &Work, cluster: &Cluster) -> Types {
    let served = cluster.discover(TIMEOUT).await.map(|found| found.types).unwrap_or_default();
    let served = served.into_iter().filter(|kind| kind.can("list")).map(|kind| SavedType {
        resource: kind.name(),
        version: kind.version,
        kind: kind.kind,
        group: kind.group,
        namespaced: kind.namespaced,
    });
    let saved = work.compiled.types.values().flat_map(HashMap::values);
    let to_come = saved.filter(|kind| work.compiled.is_to_come(kind)).cloned();
    to_come.chain(served).map(|kind| (kind.resource.clone(), kind)).collect()
}

fn of_step<'p>(step: &'p Step, types: &Types) -> Vec<Need<'p>> {
    let mut needs = Needs { taker: Taker::Step(step.name.as_str()), all: Vec::new() };
    match &step.action {
        Action::Scale(wanted) if wanted.to == ScaleTo::Former => {
            wanted.workloads.iter().for_each(|workload| needs.scale(workload));
        }
        Action::Scale(wanted) => wanted.workloads.iter().for_each(|workload| needs.empty(workload)),
        Action::Command(wanted) => {
            needs.run(&wanted.place);
            wanted.scale.iter().for_each(|workload| needs.empty(workload));
        }
        Action::Prometheus(RestorePrometheus { to: Some(BlocksTo::Claim(claim)), .. }) => needs.fill(claim),
        _ => {}
    }
    match awaited(step) {
        Some(Awaited::Objects(wanted)) => needs.list(wanted, types),
        Some(Awaited::Command(wanted)) => needs.run(&wanted.place),
        _ => {}
    }
    needs.all
}

/// What one step takes.
struct Needs<'p> {
    taker: Taker<'p>,
    all: Vec<Need<'p>>,
}

impl<'p> Needs<'p> {
    fn add(&mut self, verbs: &[&'static str], resource: &str, name: Option<&str>, namespace: Option<&'p str>) {
        self.all.extend(verbs.iter().map(|&verb| Need {
            taker: self.taker,
            verb,
            resource: resource.into(),
            name: name.map(String::from),
            namespaces: namespace.into_iter().collect(),
        }));
    }

    /// To give a workload another count.
    fn scale(&mut self, workload: &'p Workload) {
        let resource = if workload.kind == "StatefulSet" { "statefulsets.apps" } else { "deployments.apps" };
        self.add(&["get", "patch"], resource, Some(&workload.name), Some(workload.namespace.as_str()));
    }

    /// To scale it to zero, and see that none of its pods is left.
    fn empty(&mut self, workload: &'p Workload) {
        self.scale(workload);
        self.add(&["list"], "pods", None, Some(workload.namespace.as_str()));
    }

    /// To run a command in a pod that is found by its labels.
    fn run(&mut self, place: &'p CommandPlace) {
        if let CommandPlace::Pod { namespace, .. } = place {
            self.add(&["list"], "pods", None, Some(namespace.as_str()));
            self.add(&ENTER, "pods/exec", None, Some(namespace.as_str()));
        }
    }

    /// To write into the volume of a workload, through a pod that is made for it.
    fn fill(&mut self, claim: &'p DataClaim) {
        let namespace = Some(claim.workload.namespace.as_str());
        self.empty(&claim.workload);
        self.add(&["get"], "persistentvolumeclaims", Some(&claim.claim), namespace);
        self.add(&["create", "get", "delete"], "pods", None, namespace);
        self.add(&ENTER, "pods/exec", None, namespace);
    }

    /// To look at the objects of a gate.
    fn list(&mut self, wanted: &'p AwaitedObjects, types: &Types) {
        for kind in types.values().filter(|kind| wanted.kind.matches(&kind.kind, &kind.group)) {
            let only = only_namespace(&wanted.namespaces).filter(|_| kind.namespaced);
            self.add(&["list"], &kind.resource, None, only);
        }
    }
}

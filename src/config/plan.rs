//! A restore plan: what is done in which order, and what must be true before it goes on.

mod flow;
mod name;
mod nested;
mod read;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use self::flow::{DEFAULT_RETRY_WAIT, Flow, OnFailure, Tries, When};
pub use self::name::StepName;
pub use self::nested::PlanFile;
pub(super) use self::read::{optional_conflict, validate};
pub use self::target::PlanTarget;
use super::command::{CommandPlace, RestoreCommand};
use super::duration::Rto;
use super::elasticsearch::RestoreElasticsearch;
use super::filter::Filter;
use super::gate::{Awaited, Gate};
use super::http::HttpRequest;
use super::kinds::KindPattern;
use super::mappings::Mappings;
use super::names::Name;
use super::objects::RestoreObjects;
use super::patch::Patch;
use super::paths::PathFilter;
use super::problems::suggestion;
use super::prometheus::{BlocksTo, RestorePrometheus};
use super::scale::Scale;
use super::selector::LabelSelector;
use super::webhooks::WebhookPolicy;
use crate::error::{Error, Result};

/// How long a gate waits, unless the plan says.
pub const DEFAULT_GATE_TIMEOUT: Duration = Duration::from_secs(300);

/// A plan file, checked: step names are unique, and no step waits for itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RestorePlan {
    /// The plan's name.
    pub name: Name,
    /// Within how long of the incident everything must be done.
    pub rto: Rto,
    /// The clusters that it spans; none where that is left to the command line.
    pub targets: Vec<PlanTarget>,
    /// The position of the gate that says that people can work again.
    pub usable: Option<usize>,
    /// The steps in the order of the file; there is at least one.
    pub steps: Vec<Step>,
    /// What is called otherwise in the target.
    pub mappings: Mappings,
    /// What is changed in objects, in the order of the file.
    pub patches: Vec<Patch>,
    /// What happens to webhooks of the target that would refuse writes or let them hang.
    pub webhooks: WebhookPolicy,
    /// The whole file as it was read.
    pub source_text: String,
    /// The files of the plans in it.
    pub nested: Vec<PlanFile>,
    /// The file it was read from.
    pub path: PathBuf,
    layers: Vec<Vec<usize>>,
}

/// One node of the plan's graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step's name.
    pub name: StepName,
    /// The positions in [`RestorePlan::steps`] of the steps that must be done before.
    pub after: Vec<usize>,
    /// The position in [`RestorePlan::targets`] of the cluster that it is for; 0 where there are none.
    pub target: usize,
    /// When it runs, how often it is tried, and what its failure means.
    pub flow: Flow,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Writes objects of the backup to the cluster.
    Apply(Apply),
    /// Waits until something is true.
    Gate(Gate),
    /// Sends one request to an HTTP server.
    Http(HttpRequest),
    /// Scales workloads to zero, or back to what they were.
    Scale(Scale),
    /// Asks a person to do something.
    Manual(Manual),
    /// Puts the files of a source into a folder.
    Files(RestoreFiles),
    /// Puts the blocks of a Prometheus into a data directory.
    Prometheus(RestorePrometheus),
    /// Puts the indices of a source into an Elasticsearch or OpenSearch.
    Elasticsearch(RestoreElasticsearch),
    /// Writes the objects of a source to a bucket or folder.
    Objects(RestoreObjects),
    /// Feeds the saved output of a command into another one.
    Command(RestoreCommand),
}

impl Action {
    /// The action's key in a plan.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Apply(_) => "apply",
            Action::Gate(_) => "gate",
            Action::Http(_) => "http",
            Action::Scale(_) => "scale",
            Action::Manual(_) => "manual",
            Action::Files(_) => "files",
            Action::Prometheus(_) => "prometheus",
            Action::Elasticsearch(_) => "elasticsearch",
            Action::Objects(_) => "objects",
            Action::Command(_) => "command",
        }
    }
}

/// Which objects are written, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The source they are taken from; without one, any of the backup.
    pub source: Option<Name>,
    /// The kinds that are taken. Without any: everything that no other apply step takes, in the default order.
    pub kinds: Option<Vec<KindPattern>>,
    /// The namespaces they are taken from. With an include list, objects outside namespaces are not taken, except the
    /// Namespace objects that it names.
    pub namespaces: Filter,
    /// The labels they must carry.
    pub labels: Option<LabelSelector>,
    /// The kinds whose status is restored too.
    pub status: Vec<KindPattern>,
    /// What happens to objects that exist already; without it, what the command line says.
    pub conflict: Option<Conflict>,
    /// Whether services keep their node ports.
    pub preserve_node_ports: bool,
}

/// What happens to an object that exists already and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// It stays as it is.
    #[default]
    Skip,
    /// It becomes what the backup holds.
    Overwrite,
    /// It counts as failed.
    Fail,
}

impl Conflict {
    const ALL: [Conflict; 3] = [Conflict::Skip, Conflict::Overwrite, Conflict::Fail];

    /// The word in plans and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Conflict::Skip => "skip",
            Conflict::Overwrite => "overwrite",
            Conflict::Fail => "fail",
        }
    }
}

impl std::str::FromStr for Conflict {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = Conflict::ALL.map(Conflict::as_str);
        let found = Conflict::ALL.into_iter().find(|conflict| conflict.as_str() == text);
        let near = suggestion(text, &words);
        found.ok_or_else(|| Error::usage(format!("`{text}` is no way to treat existing objects{near}")))
    }
}

/// What a person is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Manual {
    /// One line that says what.
    pub title: String,
    /// More about how.
    pub instructions: Option<String>,
    /// The runbook that says how.
    pub runbook: Option<Runbook>,
    /// Who does it, by their role.
    pub role: Option<String>,
    /// How many minutes of their time it should take.
    pub minutes: Option<u32>,
    /// What must be true when it is done.
    pub check: Option<Awaited>,
}

/// Which files are put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreFiles {
    /// The source that they are taken from.
    pub source: Name,
    /// The folder that they are put into, below which they have the paths that they were saved with.
    pub to: PathBuf,
    /// Which of them.
    pub names: PathFilter,
    /// What happens to files that exist already; without it, what the command line says.
    pub conflict: Option<Conflict>,
}

/// A runbook that a plan points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// The path as the plan gives it.
    pub name: String,
    /// The file that was found.
    pub path: PathBuf,
}

/// What a plan needs to know of an object to say which step restores it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'o> {
    /// The source that holds it.
    pub source: &'o str,
    /// Its kind, such as `Deployment`.
    pub kind: &'o str,
    /// Its API group; empty for the core group.
    pub group: &'o str,
    /// Its namespace, if it is in one.
    pub namespace: Option<&'o str>,
    /// Its name.
    pub name: &'o str,
    /// Its labels.
    pub labels: &'o BTreeMap<String, String>,
}

impl RestorePlan {
    /// The steps' positions in layers: those of one layer wait only for steps of earlier layers.
    pub fn order(&self) -> &[Vec<usize>] {
        &self.layers
    }

    /// The digest of all of its files: two plans with the same one are the same.
    pub fn version(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.source_text);
        self.nested.iter().for_each(|file| digest.update(&file.text));
        hex::encode(digest.finalize())
    }

    /// Whether a step of a target writes to its cluster, or looks at it.
    pub fn needs_cluster(&self, target: usize) -> bool {
        self.steps.iter().filter(|step| step.target == target).any(Step::needs_cluster)
    }

    /// The position of the step that restores an object into a target: the first apply step that names its kind and selects it,
    /// else the first one without kinds that selects it.
    pub fn step_for(&self, target: usize, object: &Subject<'_>) -> Option<usize> {
        let first = |naming_kinds: bool| {
            self.steps.iter().position(|step| match &step.action {
                Action::Apply(apply) if step.target == target => {
                    apply.kinds.is_some() == naming_kinds && apply.selects(object)
                }
                _ => false,
            })
        };
        first(true).or_else(|| first(false))
    }
}

impl Step {
    fn needs_cluster(&self) -> bool {
        match &self.action {
            Action::Apply(_) | Action::Scale(_) => true,
            Action::Gate(gate) => gate.what.needs_cluster(),
            Action::Manual(manual) => manual.check.as_ref().is_some_and(Awaited::needs_cluster),
            Action::Command(command) => command.place != CommandPlace::Here || !command.scale.is_empty(),
            Action::Prometheus(wanted) => matches!(wanted.to, Some(BlocksTo::Claim(_))),
            _ => self.flow.when.iter().any(|when| when.serves.is_some()),
        }
    }
}

impl Apply {
    /// Whether source, kinds (any, when none are given), namespaces and labels select the object.
    pub fn selects(&self, object: &Subject<'_>) -> bool {
        self.source.as_ref().is_none_or(|source| source == object.source)
            && self.kinds.as_ref().is_none_or(|kinds| any_matches(kinds, object.kind, object.group))
            && in_namespaces(&self.namespaces, object)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(object.labels))
    }

    /// Whether the status of objects of this kind is restored.
    pub fn restores_status(&self, kind: &str, group: &str) -> bool {
        any_matches(&self.status, kind, group)
    }
}

pub(super) fn any_matches(patterns: &[KindPattern], kind: &str, group: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(kind, group))
}

pub(super) fn in_namespaces(filter: &Filter, object: &Subject<'_>) -> bool {
    match object.namespace {
        Some(namespace) => filter.allows(namespace),
        None if object.kind == "Namespace" && object.group.is_empty() => filter.allows(object.name),
        None => filter.include.is_empty(),
    }
}

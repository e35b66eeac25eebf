//! A restore plan: what is done in which order, and what must be true before it goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::duration::{Rto, parse_duration};
use super::filter::Filter;
use super::graph;
use super::kinds::{self, KindPattern};
use super::names::Name;
use super::paths::{self, PathFilter};
use super::problems::{Problems, listed, nearest, suggestion};
use super::raw;
use super::scope::{filter, optional_selector};
use super::selector::LabelSelector;
use super::source::{self, HttpAccess};
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
    /// The steps in the order of the file; there is at least one.
    pub steps: Vec<Step>,
    /// The whole file as it was read.
    pub source_text: String,
    /// The file it was read from.
    pub path: PathBuf,
    layers: Vec<Vec<usize>>,
}

/// One node of the plan's graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step's name.
    pub name: Name,
    /// The positions in [`RestorePlan::steps`] of the steps that must be done before.
    pub after: Vec<usize>,
    /// How long it should take.
    pub expect: Option<Duration>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Writes objects of the backup to the cluster.
    Apply(Apply),
    /// Waits until objects in the cluster report a condition.
    Gate(Gate),
    /// Asks a person to do something.
    Manual(Manual),
    /// Puts the files of a source into a folder.
    Files(RestoreFiles),
    /// Puts the blocks of a Prometheus into a data directory.
    Prometheus(RestorePrometheus),
}

impl Action {
    /// The action's key in a plan.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Apply(_) => "apply",
            Action::Gate(_) => "gate",
            Action::Manual(_) => "manual",
            Action::Files(_) => "files",
            Action::Prometheus(_) => "prometheus",
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

/// What must be true in the cluster before the plan goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The kind of the objects that are watched.
    pub kind: KindPattern,
    /// The condition that all of them must report as true, such as `Established`.
    pub condition: String,
    /// The namespaces they are in.
    pub namespaces: Filter,
    /// The labels they carry.
    pub labels: Option<LabelSelector>,
    /// How long to wait.
    pub timeout: Duration,
}

/// What a person is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manual {
    /// One line that says what.
    pub title: String,
    /// More about how.
    pub instructions: Option<String>,
    /// The runbook that says how.
    pub runbook: Option<Runbook>,
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

/// Where the blocks of a Prometheus are put, and how it is checked that they arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePrometheus {
    /// The source that they are taken from.
    pub source: Name,
    /// The data directory, in which no other block may be.
    pub to: PathBuf,
    /// A Prometheus that is asked afterwards.
    pub check: Option<PrometheusCheck>,
}

/// A Prometheus that serves the restored data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusCheck {
    /// Where its API is.
    pub url: Url,
    /// How long it may take until it is ready.
    pub timeout: Duration,
    /// How to log in.
    pub access: HttpAccess,
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

    /// Whether a step writes to a cluster, or looks at one.
    pub fn needs_cluster(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Apply(_) | Action::Gate(_)))
    }

    /// The position of the step that restores an object: the first apply step that names its kind and selects it, else
    /// the first one without kinds that selects it.
    pub fn step_for(&self, object: &Subject<'_>) -> Option<usize> {
        let first = |naming_kinds: bool| {
            self.steps.iter().position(|step| match &step.action {
                Action::Apply(apply) => apply.kinds.is_some() == naming_kinds && apply.selects(object),
                _ => false,
            })
        };
        first(true).or_else(|| first(false))
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

fn any_matches(patterns: &[KindPattern], kind: &str, group: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(kind, group))
}

fn in_namespaces(filter: &Filter, object: &Subject<'_>) -> bool {
    match object.namespace {
        Some(namespace) => filter.allows(namespace),
        None if object.kind == "Namespace" && object.group.is_empty() => filter.allows(object.name),
        None => filter.include.is_empty(),
    }
}

/// Makes a plan of what was typed, or notes all that is wrong with it.
pub(super) fn validate(
    raw: &raw::Root<raw::Plan>,
    path: &Path,
    text: &str,
    problems: &mut Problems<'_>,
) -> Option<RestorePlan> {
    let name = problems.parse("metadata.name", &raw.metadata.name);
    let rto = problems.parse("spec.rto", &raw.spec.rto);
    let steps = steps(&raw.spec.steps, path, problems);
    let layers = after(&raw.spec.steps, problems).and_then(|after| layers(&raw.spec.steps, &after, problems));
    Some(RestorePlan {
        name: name?,
        rto: rto?,
        steps: steps?,
        source_text: text.to_string(),
        path: path.to_path_buf(),
        layers: layers?,
    })
}

fn steps(raw: &[raw::Step], file: &Path, problems: &mut Problems<'_>) -> Option<Vec<Step>> {
    if raw.is_empty() {
        problems
            .add("spec.steps", "the plan has no steps; the least is one with `apply: {}`, which restores everything");
        return None;
    }
    let mut first_at = BTreeMap::new();
    let mut steps = Vec::new();
    for (index, raw_step) in raw.iter().enumerate() {
        let path = format!("spec.steps[{index}]");
        if let Some(first) = first_at.insert(raw_step.name.as_str(), index) {
            let what = format!("`{}` is already the name of `spec.steps[{first}]`", raw_step.name);
            problems.add(&format!("{path}.name"), what);
        }
        steps.push(step(raw_step, raw, &path, file, problems));
    }
    steps.into_iter().collect()
}

fn step(raw: &raw::Step, all: &[raw::Step], path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<Step> {
    let name = problems.parse(&format!("{path}.name"), &raw.name);
    let expect = match &raw.expect {
        None => Some(None),
        Some(text) => problems.check(&format!("{path}.expect"), parse_duration(text)).map(Some),
    };
    let action = action(raw, path, file, problems);
    let position = |name: &String| all.iter().position(|step| step.name == *name);
    let after = raw.after.iter().filter_map(position).collect();
    Some(Step { name: name?, after, expect: expect?, action: action? })
}

fn action(raw: &raw::Step, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<Action> {
    let mut given: Vec<(&str, RawAction<'_>)> = Vec::new();
    given.extend(raw.apply.as_ref().map(|raw| ("apply", RawAction::Apply(raw))));
    given.extend(raw.gate.as_ref().map(|raw| ("gate", RawAction::Gate(raw))));
    given.extend(raw.manual.as_ref().map(|raw| ("manual", RawAction::Manual(raw))));
    given.extend(raw.files.as_ref().map(|raw| ("files", RawAction::Files(raw))));
    given.extend(raw.prometheus.as_ref().map(|raw| ("prometheus", RawAction::Prometheus(raw))));
    let [(key, action)] = given.as_slice() else {
        let keys: Vec<&str> = given.iter().map(|(key, _)| *key).collect();
        let what = match keys.is_empty() {
            true => format!("step `{}` does nothing; give it {}", raw.name, listed(&STEP_KINDS)),
            false => format!("step `{}` has {}; make it one step for each", raw.name, listed(&keys)),
        };
        problems.add(path, what);
        return None;
    };
    let path = format!("{path}.{key}");
    match action {
        RawAction::Apply(raw) => apply(raw, &path, problems).map(Action::Apply),
        RawAction::Gate(raw) => gate(raw, &path, problems).map(Action::Gate),
        RawAction::Manual(raw) => manual(raw, &path, file, problems).map(Action::Manual),
        RawAction::Files(raw) => files(raw, &path, file, problems).map(Action::Files),
        RawAction::Prometheus(raw) => prometheus(raw, &path, file, problems).map(Action::Prometheus),
    }
}

/// What a step says that it does, as typed.
enum RawAction<'a> {
    Apply(&'a raw::Apply),
    Gate(&'a raw::Gate),
    Manual(&'a raw::Manual),
    Files(&'a raw::RestoreFiles),
    Prometheus(&'a raw::RestorePrometheus),
}

/// The keys that say what a step does.
const STEP_KINDS: [&str; 5] = ["apply", "gate", "manual", "files", "prometheus"];

fn files(raw: &raw::RestoreFiles, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<RestoreFiles> {
    let source = problems.parse(&format!("{path}.source"), &raw.source);
    let to = target_folder(&raw.to, &format!("{path}.to"), file, problems);
    let names = paths::validate(&raw.names, &format!("{path}.names"), problems);
    let conflict = optional_conflict(raw.conflict.as_ref(), &format!("{path}.conflict"), problems);
    Some(RestoreFiles { source: source?, to: to?, names: names?, conflict: conflict? })
}

fn prometheus(
    raw: &raw::RestorePrometheus,
    path: &str,
    file: &Path,
    problems: &mut Problems<'_>,
) -> Option<RestorePrometheus> {
    let source = problems.parse(&format!("{path}.source"), &raw.source);
    let to = target_folder(&raw.to, &format!("{path}.to"), file, problems);
    let check = match &raw.check {
        None => Some(None),
        Some(raw) => prometheus_check(raw, &format!("{path}.check"), file, problems).map(Some),
    };
    Some(RestorePrometheus { source: source?, to: to?, check: check? })
}

fn prometheus_check(
    raw: &raw::PrometheusCheck,
    path: &str,
    file: &Path,
    problems: &mut Problems<'_>,
) -> Option<PrometheusCheck> {
    let url = source::http_url(&raw.url, &format!("{path}.url"), problems);
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_GATE_TIMEOUT),
        Some(text) => problems.check(&format!("{path}.timeout"), parse_duration(text)),
    };
    let access = source::http_access(&raw.access, &format!("{path}.access"), super::folder_of(file), problems);
    Some(PrometheusCheck { url: url?, timeout: timeout?, access: access? })
}

/// Relative paths are taken from the plan's folder.
fn target_folder(text: &str, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<PathBuf> {
    if text.trim().is_empty() {
        problems.add(path, "names no folder");
        return None;
    }
    Some(super::folder_of(file).join(text))
}

fn optional_conflict(given: Option<&String>, path: &str, problems: &mut Problems<'_>) -> Option<Option<Conflict>> {
    match given {
        None => Some(None),
        Some(text) => problems.parse(path, text).map(Some),
    }
}

fn apply(raw: &raw::Apply, path: &str, problems: &mut Problems<'_>) -> Option<Apply> {
    let key = |name: &str| format!("{path}.{name}");
    let source = match &raw.source {
        None => Some(None),
        Some(text) => problems.parse(&key("source"), text).map(Some),
    };
    let kinds = match &raw.kinds {
        None => Some(None),
        Some(texts) if texts.is_empty() => {
            problems.add(&key("kinds"), "names no kind; leave the key out to take everything that no other step takes");
            None
        }
        Some(texts) => kinds::validate(texts, &key("kinds"), problems).map(Some),
    };
    let namespaces = filter(&raw.namespaces, &key("namespaces"), problems);
    let labels = optional_selector(raw.labels.as_deref(), &key("labels"), problems);
    let status = kinds::validate(&raw.status, &key("status"), problems);
    let conflict = optional_conflict(raw.conflict.as_ref(), &key("conflict"), problems);
    Some(Apply {
        source: source?,
        kinds: kinds?,
        namespaces: namespaces?,
        labels: labels?,
        status: status?,
        conflict: conflict?,
        preserve_node_ports: raw.preserve_node_ports,
    })
}

fn gate(raw: &raw::Gate, path: &str, problems: &mut Problems<'_>) -> Option<Gate> {
    let kind = problems.check(&format!("{path}.kind"), KindPattern::parse(&raw.kind));
    let condition = condition(&raw.condition, &format!("{path}.condition"), problems);
    let namespaces = filter(&raw.namespaces, &format!("{path}.namespaces"), problems);
    let labels = optional_selector(raw.labels.as_deref(), &format!("{path}.labels"), problems);
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_GATE_TIMEOUT),
        Some(text) => problems.check(&format!("{path}.timeout"), parse_duration(text)),
    };
    let (kind, condition) = (kind?, condition?);
    Some(Gate { kind, condition, namespaces: namespaces?, labels: labels?, timeout: timeout? })
}

/// Condition types are free, so only what cannot be one is refused.
fn condition(text: &str, path: &str, problems: &mut Problems<'_>) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        return Some(text.to_string());
    }
    problems.add(path, format!("`{text}` is no condition; write it like `Established`, `Available` or `Ready`"));
    None
}

fn manual(raw: &raw::Manual, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<Manual> {
    if raw.title.trim().is_empty() {
        problems.add(&format!("{path}.title"), "the title is empty; say in one line what the person must do");
        return None;
    }
    let runbook = match &raw.runbook {
        None => None,
        Some(name) => Some(problems.check(&format!("{path}.runbook"), find_runbook(name, file))?),
    };
    Some(Manual { title: raw.title.clone(), instructions: raw.instructions.clone(), runbook })
}

/// Looks beside the plan, then in the folder above, where `restore-plans/` and `runbooks/` are neighbours.
fn find_runbook(name: &str, plan: &Path) -> Result<Runbook> {
    let folder = super::folder_of(plan);
    let above = if folder.as_os_str().is_empty() { PathBuf::from("..") } else { folder.join("..") };
    let above = folder.parent().filter(|_| folder.file_name().is_some()).map_or(above, Path::to_path_buf);
    let candidates = [folder.join(name), above.join(name)];
    if let Some(path) = candidates.iter().find(|path| path.is_file()) {
        return Ok(Runbook { name: name.to_string(), path: path.clone() });
    }
    let [first, second] = candidates.map(|path| path.display().to_string());
    Err(Error::usage(format!("runbook `{name}` is not there: neither {first} nor {second} is a file")))
}

/// For each step the positions of those it waits for, if all their names are known.
fn after(raw: &[raw::Step], problems: &mut Problems<'_>) -> Option<Vec<Vec<usize>>> {
    let mut sound = true;
    let mut graph = Vec::new();
    for (index, step) in raw.iter().enumerate() {
        let mut before = Vec::new();
        for (entry, name) in step.after.iter().enumerate() {
            match raw.iter().position(|other| other.name == *name) {
                Some(position) => before.push(position),
                None => {
                    let others = raw.iter().map(|other| other.name.as_str()).filter(|other| *other != step.name);
                    let near = nearest(name, others).map(|near| format!(", did you mean `{near}`?"));
                    let what = format!("there is no step `{name}`{}", near.unwrap_or_default());
                    problems.add(&format!("spec.steps[{index}].after[{entry}]"), what);
                    sound = false;
                }
            }
        }
        graph.push(before);
    }
    sound.then_some(graph)
}

fn layers(raw: &[raw::Step], after: &[Vec<usize>], problems: &mut Problems<'_>) -> Option<Vec<Vec<usize>>> {
    let circle = match graph::layers(after) {
        Ok(layers) => return Some(layers),
        Err(circle) => circle,
    };
    let names: Vec<&str> = circle.iter().map(|step| raw[*step].name.as_str()).collect();
    let path = format!("spec.steps[{}].after", circle.first().copied().unwrap_or_default());
    problems.add(&path, format!("the steps wait for one another: {}", names.join(" → ")));
    None
}

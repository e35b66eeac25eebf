//! Makes a plan of what was typed, or says all that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::flow::{self, When};
use super::nested::{self, PlanFile};
use super::target::{self, PlanTarget};
use super::{Action, Apply, Conflict, Manual, RestoreFiles, RestorePlan, Runbook, Step};
use crate::config::kinds;
use crate::config::names::Name;
use crate::config::problems::{Problems, listed, nearest};
use crate::config::scope::{filter, optional_selector};
use crate::config::{
    command, elasticsearch, folder_of, gate, graph, http, mappings, objects, patch, paths, prometheus, raw, scale,
    source, webhooks,
};
use crate::error::{Error, Result};

/// Makes a plan of what was typed, or notes all that is wrong with it. It stands in the plans `within`, the outermost first.
pub(in crate::config) fn validate(
    raw: &raw::Root<raw::Plan>,
    path: &Path,
    text: &str,
    within: &[PathBuf],
    problems: &mut Problems<'_>,
) -> Option<RestorePlan> {
    let name = problems.parse("metadata.name", &raw.metadata.name);
    let rto = problems.parse("spec.rto", &raw.spec.rto);
    let targets = target::validate(&raw.spec.targets, "spec.targets", problems);
    let read = read_steps(&raw.spec.steps, targets.as_deref().unwrap_or_default(), path, within, problems);
    let after = after(&raw.spec.steps, problems);
    let is_sound = after.as_ref().is_some_and(|after| is_without_circle(&raw.spec.steps, after, problems));
    let mappings = mappings::validate(&raw.spec.mappings, "spec.mappings", problems);
    let patches = patch::validate(&raw.spec.patches, "spec.patches", problems);
    let webhooks = webhooks::validate(raw.spec.webhooks.as_deref(), "spec.webhooks", problems);
    let (steps, nested) = lay_out(read?, &after.filter(|_| is_sound)?);
    let usable = usable(raw.spec.usable.as_deref(), &steps, problems);
    let positions: Vec<_> = steps.iter().map(|step| step.after.clone()).collect();
    Some(RestorePlan {
        name: name?,
        rto: rto?,
        targets: targets?,
        usable: usable?,
        layers: graph::layers(&positions).ok()?,
        steps,
        mappings: mappings?,
        patches: patches?,
        webhooks: webhooks?,
        source_text: text.to_string(),
        nested,
        path: path.to_path_buf(),
    })
}

/// A step as it was typed: one, or a whole plan.
enum Read {
    Step(Box<Step>),
    Plan { outer: Name, file: String, target: usize, when: Vec<When>, plan: Box<RestorePlan> },
}

fn read_steps(
    raw: &[raw::Step],
    targets: &[PlanTarget],
    file: &Path,
    within: &[PathBuf],
    problems: &mut Problems<'_>,
) -> Option<Vec<Read>> {
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
        steps.push(read_step(raw_step, targets, &path, file, within, problems));
    }
    steps.into_iter().collect()
}

fn read_step(
    raw: &raw::Step,
    targets: &[PlanTarget],
    path: &str,
    file: &Path,
    within: &[PathBuf],
    problems: &mut Problems<'_>,
) -> Option<Read> {
    let name: Option<Name> = problems.parse(&format!("{path}.name"), &raw.name);
    let flow = flow::validate(raw, path, problems);
    let target = target::of_step(raw, targets, path, problems);
    let keys = keys_of(raw);
    if let (Some(nested), [_]) = (&raw.plan, keys.as_slice()) {
        let plan = nested::read(nested, raw, path, file, within, problems)?;
        let file = nested.file.clone();
        return Some(Read::Plan { outer: name?, file, target: target?, when: flow?.when, plan: Box::new(plan) });
    }
    let action = action(raw, path, file, problems);
    let (name, flow) = (name?.into(), flow?);
    Some(Read::Step(Box::new(Step { name, after: Vec::new(), target: target?, flow, action: action? })))
}

/// Puts the steps of nested plans where they stand, and gives every step the positions of those that it comes after.
fn lay_out(read: Vec<Read>, after: &[Vec<usize>]) -> (Vec<Step>, Vec<PlanFile>) {
    let mut firsts = Vec::new();
    let mut lasts = Vec::new();
    let mut count = 0;
    for step in &read {
        firsts.push(count);
        let (steps, last) = match step {
            Read::Step(_) => (1, vec![0]),
            Read::Plan { plan, .. } => (plan.steps.len(), nested::last(plan)),
        };
        lasts.push(last.into_iter().map(|step| count + step).collect::<Vec<_>>());
        count += steps;
    }
    let (mut steps, mut files) = (Vec::new(), Vec::new());
    for (index, step) in read.into_iter().enumerate() {
        let after: Vec<usize> = after[index].iter().flat_map(|before| lasts[*before].iter().copied()).collect();
        match step {
            Read::Step(step) => steps.push(Step { after, ..*step }),
            Read::Plan { outer, file, target, when, plan } => {
                let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
                let below = |nested: &PlanFile| folder.join(&nested.name).to_string_lossy().into_owned();
                files.extend(plan.nested.iter().map(|n| PlanFile { name: below(n), text: n.text.clone() }));
                files.push(PlanFile { name: file.clone(), text: plan.source_text.clone() });
                steps.extend(nested::steps(*plan, &outer, firsts[index], target, &after, &when));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup();
    (steps, files)
}

/// The gate that `usable` names.
fn usable(name: Option<&str>, steps: &[Step], problems: &mut Problems<'_>) -> Option<Option<usize>> {
    let Some(name) = name else { return Some(None) };
    let found = steps.iter().position(|step| step.name == *name);
    match found.map(|at| (at, &steps[at].action)) {
        Some((at, Action::Gate(_))) => Some(Some(at)),
        Some(_) => {
            problems.add(
                "spec.usable",
                format!("step `{name}` is no gate; name the gate that opens when people can work again"),
            );
            None
        }
        None => {
            let near = nearest(name, steps.iter().map(|step| step.name.as_str()));
            let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            problems.add("spec.usable", format!("there is no step `{name}`{near}"));
            None
        }
    }
}

/// The keys that a step has of those that say what it does.
fn keys_of(raw: &raw::Step) -> Vec<&'static str> {
    let nested = raw.plan.as_ref().map(|_| "plan");
    actions_of(raw).into_iter().map(|(key, _)| key).chain(nested).collect()
}

fn actions_of(raw: &raw::Step) -> Vec<(&'static str, RawAction<'_>)> {
    let mut given: Vec<(&str, RawAction<'_>)> = Vec::new();
    given.extend(raw.apply.as_ref().map(|raw| ("apply", RawAction::Apply(raw))));
    given.extend(raw.gate.as_ref().map(|raw| ("gate", RawAction::Gate(raw))));
    given.extend(raw.http.as_ref().map(|raw| ("http", RawAction::Http(raw))));
    given.extend(raw.scale.as_ref().map(|raw| ("scale", RawAction::Scale(raw))));
    given.extend(raw.manual.as_ref().map(|raw| ("manual", RawAction::Manual(raw))));
    given.extend(raw.files.as_ref().map(|raw| ("files", RawAction::Files(raw))));
    given.extend(raw.prometheus.as_ref().map(|raw| ("prometheus", RawAction::Prometheus(raw))));
    given.extend(raw.elasticsearch.as_ref().map(|raw| ("elasticsearch", RawAction::Elasticsearch(raw))));
    given.extend(raw.objects.as_ref().map(|raw| ("objects", RawAction::Objects(raw))));
    given.extend(raw.command.as_ref().map(|raw| ("command", RawAction::Command(raw))));
    given
}

fn action(raw: &raw::Step, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<Action> {
    let given = actions_of(raw);
    let keys = keys_of(raw);
    let ([(key, action)], [_]) = (given.as_slice(), keys.as_slice()) else {
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
        RawAction::Gate(raw) => gate::validate(raw, &path, folder_of(file), problems).map(Action::Gate),
        RawAction::Http(raw) => http::validate(raw, &path, folder_of(file), problems).map(Action::Http),
        RawAction::Scale(raw) => scale::validate(raw, &path, problems).map(Action::Scale),
        RawAction::Manual(raw) => manual(raw, &path, file, problems).map(Action::Manual),
        RawAction::Files(raw) => files(raw, &path, file, problems).map(Action::Files),
        RawAction::Prometheus(raw) => prometheus::validate_step(raw, &path, file, problems).map(Action::Prometheus),
        RawAction::Command(raw) => command::validate_step(raw, &path, problems).map(Action::Command),
        RawAction::Elasticsearch(raw) => {
            elasticsearch::validate_step(raw, &path, folder_of(file), problems).map(Action::Elasticsearch)
        }
        RawAction::Objects(raw) => objects::validate_step(raw, &path, folder_of(file), problems).map(Action::Objects),
    }
}

/// What a step says that it does, as typed.
enum RawAction<'a> {
    Apply(&'a raw::Apply),
    Gate(&'a raw::Gate),
    Http(&'a raw::HttpRequest),
    Scale(&'a raw::Scale),
    Manual(&'a raw::Manual),
    Files(&'a raw::RestoreFiles),
    Prometheus(&'a raw::RestorePrometheus),
    Elasticsearch(&'a raw::RestoreElasticsearch),
    Objects(&'a raw::RestoreObjects),
    Command(&'a raw::RestoreCommand),
}

/// The keys that say what a step does.
const STEP_KINDS: [&str; 11] =
    ["apply", "gate", "http", "scale", "manual", "files", "prometheus", "elasticsearch", "objects", "command", "plan"];

fn files(raw: &raw::RestoreFiles, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<RestoreFiles> {
    let from = problems.parse(&format!("{path}.source"), &raw.source);
    let to = source::folder_of_data(&raw.to, &format!("{path}.to"), folder_of(file), problems);
    let names = paths::validate(&raw.names, &format!("{path}.names"), problems);
    let conflict = optional_conflict(raw.conflict.as_ref(), &format!("{path}.conflict"), problems);
    Some(RestoreFiles { source: from?, to: to?, names: names?, conflict: conflict? })
}

/// The outer option is empty when it is wrong, the inner one when there is none.
pub(in crate::config) fn optional_conflict(
    given: Option<&String>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Option<Conflict>> {
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

fn manual(raw: &raw::Manual, path: &str, file: &Path, problems: &mut Problems<'_>) -> Option<Manual> {
    if raw.title.trim().is_empty() {
        problems.add(&format!("{path}.title"), "the title is empty; say in one line what the person must do");
        return None;
    }
    let runbook = match &raw.runbook {
        None => Some(None),
        Some(name) => problems.check(&format!("{path}.runbook"), find_runbook(name, file)).map(Some),
    };
    if raw.minutes == Some(0) {
        problems
            .add(&format!("{path}.minutes"), "nothing takes a person no time; leave the key out when it is not known");
        return None;
    }
    let check = match &raw.check {
        None => Some(None),
        Some(raw) => gate::validate_check(raw, &format!("{path}.check"), folder_of(file), problems).map(Some),
    };
    let (title, instructions) = (raw.title.clone(), raw.instructions.clone());
    Some(Manual { title, instructions, runbook: runbook?, role: raw.role.clone(), minutes: raw.minutes, check: check? })
}

/// Looks beside the plan, then in the folder above, where `restore-plans/` and `runbooks/` are neighbours.
fn find_runbook(name: &str, plan: &Path) -> Result<Runbook> {
    let folder = folder_of(plan);
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

fn is_without_circle(raw: &[raw::Step], after: &[Vec<usize>], problems: &mut Problems<'_>) -> bool {
    let Err(circle) = graph::layers(after) else { return true };
    let names: Vec<&str> = circle.iter().map(|step| raw[*step].name.as_str()).collect();
    let path = format!("spec.steps[{}].after", circle.first().copied().unwrap_or_default());
    problems.add(&path, format!("the steps wait for one another: {}", names.join(" → ")));
    false
}

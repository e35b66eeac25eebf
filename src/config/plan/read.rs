//! Makes a plan of what was typed, or says all that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Action, Apply, Conflict, Manual, RestoreFiles, RestorePlan, Runbook, Step};
use crate::config::duration::parse_duration;
use crate::config::kinds;
use crate::config::problems::{Problems, listed, nearest};
use crate::config::scope::{filter, optional_selector};
use crate::config::{
    command, elasticsearch, folder_of, gate, graph, http, objects, paths, prometheus, raw, scale, source,
};
use crate::error::{Error, Result};

/// Makes a plan of what was typed, or notes all that is wrong with it.
pub(in crate::config) fn validate(
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
    given.extend(raw.http.as_ref().map(|raw| ("http", RawAction::Http(raw))));
    given.extend(raw.scale.as_ref().map(|raw| ("scale", RawAction::Scale(raw))));
    given.extend(raw.manual.as_ref().map(|raw| ("manual", RawAction::Manual(raw))));
    given.extend(raw.files.as_ref().map(|raw| ("files", RawAction::Files(raw))));
    given.extend(raw.prometheus.as_ref().map(|raw| ("prometheus", RawAction::Prometheus(raw))));
    given.extend(raw.elasticsearch.as_ref().map(|raw| ("elasticsearch", RawAction::Elasticsearch(raw))));
    given.extend(raw.objects.as_ref().map(|raw| ("objects", RawAction::Objects(raw))));
    given.extend(raw.command.as_ref().map(|raw| ("command", RawAction::Command(raw))));
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
const STEP_KINDS: [&str; 10] =
    ["apply", "gate", "http", "scale", "manual", "files", "prometheus", "elasticsearch", "objects", "command"];

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

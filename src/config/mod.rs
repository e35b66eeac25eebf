//! Schedule and plan files: parsed, then validated.
//!
//! The files are YAML in the shape that Kubernetes users know. What was typed (`raw`) and what is meant (the public
//! types here) are different types: whoever holds a [`Schedule`] or a [`RestorePlan`] need not check it again. Every
//! failure is a [`Kind::Usage`](crate::error::Kind::Usage) error that names file, line, column and key; all problems
//! of a file are told at once where they can be found at once.
//!
//! Nothing here reads the environment, and no file but those given and the folders they point to.

mod actions;
mod bundle;
mod command;
mod components;
mod duration;
mod elasticsearch;
mod exclusions;
mod filter;
mod gate;
mod graph;
mod http;
mod kinds;
mod location;
mod mappings;
mod names;
mod objects;
mod patch;
mod paths;
mod plan;
mod problems;
mod prometheus;
mod raw;
mod scale;
mod scenario;
mod schedule;
mod scope;
mod selector;
mod size;
mod source;
mod webhooks;
mod window;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use actions::{CorrectiveAction, read_actions};
pub use bundle::Bundle;
pub use command::{CommandPlace, CommandScope, Hook, Postgres, Program, RestoreCommand, RestoreProgram, Workload};
pub use components::{Component, ObjectKind, SavedBy, components};
pub use duration::{Rto, format_duration, parse_duration};
pub use elasticsearch::{DEFAULT_LANES, ElasticsearchScope, Rename, RestoreElasticsearch};
pub use exclusions::{EXCLUSIONS, Exclusion, OPT_OUT_LABEL, Reach, find_exclusion, resource_name};
pub use filter::{Filter, Patterns};
pub use gate::{Awaited, AwaitedAnswer, AwaitedCommand, AwaitedHealth, AwaitedObjects, AwaitedQuery, Gate, Health};
pub use http::{HttpBody, HttpRequest, Method};
pub use kinds::KindPattern;
pub use location::{VaultLocation, parse_endpoint};
pub use mappings::{Mappings, TextKind};
pub use names::{ClusterName, Name};
pub use objects::{ObjectsPlace, ObjectsScope, RestoreObjects};
pub use patch::{Change, Patch};
pub use paths::PathFilter;
pub use plan::{
    Action, Apply, Conflict, DEFAULT_GATE_TIMEOUT, DEFAULT_RETRY_WAIT, Flow, Manual, OnFailure, PlanFile, PlanTarget,
    RestoreFiles, RestorePlan, Runbook, Step, StepName, Subject, Tries, When,
};
pub use prometheus::{
    BlocksTo, DataClaim, HttpServer, PrometheusCheck, PrometheusData, PrometheusScope, RestorePrometheus,
};
pub use scale::{Scale, ScaleTo};
pub use scenario::{Loss, Scenario, read_scenario};
pub use schedule::{CatchUp, DEFAULT_KEEP, LeaseNames, OnWindowClose, Rotate, Schedule};
pub use scope::{DEFAULT_PAGE_SIZE, DEFAULT_PARALLELISM, DEFAULT_REQUEST_TIMEOUT, KubernetesScope};
pub use selector::LabelSelector;
pub use source::{CONFIGURATION_SOURCE, FilesScope, HttpAccess, Limits, LogFormat, SourceKind, SourceSpec};
pub use webhooks::WebhookPolicy;
pub use window::Window;

use crate::error::{Error, Result};
use problems::{Problems, suggestion};

/// The version of the file format that is written and read here.
pub const API_VERSION: &str = "ckbackup.io/v1";

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Document {
    /// `kind: Schedule`
    Schedule(Box<Schedule>),
    /// `kind: RestorePlan`
    RestorePlan(Box<RestorePlan>),
    /// `kind: Scenario`
    Scenario(Scenario),
}

impl Document {
    /// The document's kind, as the file has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Document::Schedule(_) => "Schedule",
            Document::RestorePlan(_) => "RestorePlan",
            Document::Scenario(_) => "Scenario",
        }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &Name {
        match self {
            Document::Schedule(schedule) => &schedule.name,
            Document::RestorePlan(plan) => &plan.name,
            Document::Scenario(scenario) => &scenario.name,
        }
    }
}

/// Reads all documents of a file; there is at least one.
pub fn read_file(path: &Path) -> Result<Vec<Document>> {
    read_file_within(path, &[])
}

/// The same for a file that is named in plans, the outermost first.
fn read_file_within(path: &Path, within: &[PathBuf]) -> Result<Vec<Document>> {
    let bytes = std::fs::read(path).map_err(|why| {
        let kind = Error::usage(format!("cannot read {}", path.display())).because(why);
        kind.hint("give the path of a schedule or a restore plan")
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| Error::usage(format!("{} is no text file (UTF-8)", path.display())))?;
    parse_within(&text, path, within)
}

/// Reads all documents of a text that stands, or once stood, in the file `path`; other files are looked for from there.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Document>> {
    parse_within(text, path, &[])
}

fn parse_within(text: &str, path: &Path, within: &[PathBuf]) -> Result<Vec<Document>> {
    let syntax = |fault| problems::together(path, vec![problems::explain_syntax(path, text, &fault)]);
    let documents = yaml::documents(text).map_err(syntax)?;
    if documents.is_empty() {
        let error = Error::usage(format!("{} is empty", path.display()));
        return Err(error
            .hint(format!("begin it with `apiVersion: {API_VERSION}` and `kind: Schedule` or `kind: RestorePlan`")));
    }
    let mut read = Vec::new();
    let mut wrong = Vec::new();
    for document in &documents {
        match parse_document(document, text, path, within) {
            Ok(document) => read.push(document),
            Err(error) => wrong.push(error),
        }
    }
    wrong.extend(doubles(&read, path));
    match wrong.len() {
        0 => Ok(read),
        1 => Err(wrong.remove(0)),
        _ => Err(Error::usage(wrong.iter().map(Error::to_string).collect::<Vec<_>>().join("\n"))),
    }
}

/// Reads the schedule of a file: the only one, or the one called `name`.
pub fn read_schedule(path: &Path, name: Option<&str>) -> Result<Schedule> {
    let schedules = read_file(path)?.into_iter().filter_map(|document| match document {
        Document::Schedule(schedule) => Some((schedule.name.clone(), *schedule)),
        _ => None,
    });
    single(schedules.collect(), name, path, "schedule")
}

/// Reads a schedule out of a backup, where the files that it includes do not stand beside it.
pub fn parse_stored_schedule(text: &str) -> Result<Schedule> {
    let path = Path::new("schedule.yaml");
    let syntax = |fault| problems::together(path, vec![problems::explain_syntax(path, text, &fault)]);
    for document in yaml::documents(text).map_err(syntax)? {
        if header(&document, path)? == "Schedule" {
            let mut raw: raw::Root<raw::Schedule> = decode(&document, path)?;
            raw.spec.include = raw::Include::default();
            let mut problems = Problems::new(path, &document);
            let schedule = schedule::validate(&raw, path, text, &mut problems);
            return problems.finish(schedule);
        }
    }
    Err(Error::usage("the backup holds no schedule"))
}

/// Reads the restore plan of a file: the only one, or the one called `name`.
pub fn read_plan(path: &Path, name: Option<&str>) -> Result<RestorePlan> {
    read_plan_within(path, name, &[])
}

fn read_plan_within(path: &Path, name: Option<&str>, within: &[PathBuf]) -> Result<RestorePlan> {
    let plans = read_file_within(path, within)?.into_iter().filter_map(|document| match document {
        Document::RestorePlan(plan) => Some((plan.name.clone(), *plan)),
        _ => None,
    });
    single(plans.collect(), name, path, "restore plan")
}

fn single<T>(mut found: Vec<(Name, T)>, wanted: Option<&str>, path: &Path, what: &str) -> Result<T> {
    let names: Vec<String> = found.iter().map(|(name, _)| name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = path.display();
    let message = match wanted {
        _ if found.is_empty() => format!("{file} holds no {what}"),
        Some(wanted) if !names.contains(&wanted) => {
            format!("{file} holds no {what} `{wanted}`{}", suggestion(wanted, &names))
        }
        None if found.len() > 1 => format!("{file} holds several {what}s ({}); say which", problems::listed(&names)),
        _ => {
            let index = names.iter().position(|name| wanted.is_none_or(|wanted| wanted == *name));
            return Ok(found.swap_remove(index.unwrap_or_default()).1);
        }
    };
    Err(Error::usage(message))
}

/// Two documents of one kind and name in a file could not be told apart.
fn doubles(read: &[Document], path: &Path) -> Vec<Error> {
    let key = |document: &Document| (document.kind(), document.name().clone());
    let seen_before = |index: usize| read[..index].iter().any(|earlier| key(earlier) == key(&read[index]));
    let doubles = (0..read.len()).filter(|index| seen_before(*index));
    let error = |index: usize| {
        let (kind, name) = key(&read[index]);
        Error::usage(format!("{} holds two documents of kind {kind} with the name `{name}`", path.display()))
    };
    doubles.map(error).collect()
}

fn parse_document(document: &yaml::Document<'_>, text: &str, path: &Path, within: &[PathBuf]) -> Result<Document> {
    match header(document, path)? {
        "Schedule" => {
            let raw = decode(document, path)?;
            let mut problems = Problems::new(path, document);
            let schedule = schedule::validate(&raw, path, text, &mut problems);
            problems.finish(schedule).map(|schedule| Document::Schedule(Box::new(schedule)))
        }
        "Scenario" => {
            let raw = decode(document, path)?;
            let mut problems = Problems::new(path, document);
            let scenario = scenario::validate(&raw, &mut problems);
            problems.finish(scenario).map(Document::Scenario)
        }
        _ => {
            let raw = decode(document, path)?;
            let mut problems = Problems::new(path, document);
            let plan = plan::validate(&raw, path, text, within, &mut problems);
            problems.finish(plan).map(|plan| Document::RestorePlan(Box::new(plan)))
        }
    }
}

const KINDS: [&str; 3] = ["Schedule", "RestorePlan", "Scenario"];

/// Checks `apiVersion` and gives the document's kind, before anything else of it is looked at: a document of another
/// version must not be judged by the keys of this one.
fn header(document: &yaml::Document<'_>, path: &Path) -> Result<&'static str> {
    header_of(document, path, &KINDS)
}

/// The same, where other kinds may stand.
fn header_of(document: &yaml::Document<'_>, path: &Path, kinds: &[&'static str]) -> Result<&'static str> {
    let header: raw::Header = decode(document, path)?;
    let mut problems = Problems::new(path, document);
    match header.api_version.as_deref() {
        Some(API_VERSION) => {}
        None => problems.add("apiVersion", format!("the key is missing; write `apiVersion: {API_VERSION}`")),
        Some(other) if other.starts_with("ckbackup.io/") => problems.add(
            "apiVersion",
            format!("`{other}` is not known to this version, which reads `{API_VERSION}`; upgrade ckbackup to read it"),
        ),
        Some(other) => problems.add("apiVersion", format!("`{other}` must be `{API_VERSION}`")),
    }
    let kind = header.kind.as_deref();
    let known = kinds.iter().copied().find(|known| Some(*known) == kind);
    match kind {
        None => {
            problems.add("kind", format!("the key is missing; write {}", problems::listed(kinds).replace(", ", " or ")))
        }
        Some(other) if known.is_none() => {
            problems.add("kind", format!("`{other}` is no kind of document{}", suggestion(other, kinds)));
        }
        Some(_) => {}
    }
    problems.finish(known)
}

fn decode<T: serde::de::DeserializeOwned>(document: &yaml::Document<'_>, path: &Path) -> Result<T> {
    document.decode().map_err(|fault| problems::together(path, vec![problems::explain(path, document, fault)]))
}

/// The folder of a file, empty for one in the current folder.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

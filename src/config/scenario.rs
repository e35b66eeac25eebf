//! `kind: Scenario`: what a drill takes as lost.

use std::path::Path;

use serde::Deserialize;

use super::names::Name;
use super::problems::{Problems, suggestion};
use super::raw::Root;
use super::{Document, read_file, single};
use crate::error::{Error, Result};

/// A drill's scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: Name,
    /// The story, for whoever reads the report.
    pub description: Option<String>,
    /// What is lost.
    pub loss: Loss,
}

/// What a scenario takes as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The whole cluster.
    Cluster,
    /// A namespace of it.
    Namespace(Name),
    /// Objects of the backup in the vault: somebody wrote over them.
    Vault,
    /// A key that opens backups. Without a recipient: that of the backup's first one.
    Key(Option<String>),
    /// This program.
    Tool,
}

const LOSSES: [&str; 5] = ["cluster", "namespace", "vault", "key", "tool"];

impl Loss {
    /// The word in a scenario's file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Loss::Cluster => LOSSES[0],
            Loss::Namespace(_) => LOSSES[1],
            Loss::Vault => LOSSES[2],
            Loss::Key(_) => LOSSES[3],
            Loss::Tool => LOSSES[4],
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Raw {
    loss: String,
    description: Option<String>,
    namespace: Option<String>,
    recipient: Option<String>,
}

/// Reads the scenario of a file; it must be the only one.
pub fn read_scenario(path: &Path) -> Result<Scenario> {
    let scenarios = read_file(path)?.into_iter().filter_map(|document| match document {
        Document::Scenario(scenario) => Some((scenario.name.clone(), scenario)),
        _ => None,
    });
    single(scenarios.collect(), None, path, "scenario")
}

/// Makes a scenario of what was typed, or notes what is wrong with it.
pub(super) fn validate(raw: &Root<Raw>, problems: &mut Problems<'_>) -> Option<Scenario> {
    let name = problems.parse("metadata.name", &raw.metadata.name);
    let spec = &raw.spec;
    for (key, given, of) in [("namespace", &spec.namespace, "namespace"), ("recipient", &spec.recipient, "key")] {
        if given.is_some() && spec.loss != of {
            problems.add(&format!("spec.{key}"), format!("only `loss: {of}` has one"));
        }
    }
    let loss = match spec.loss.as_str() {
        "cluster" => Some(Loss::Cluster),
        "namespace" => namespace(spec.namespace.as_deref(), problems).map(Loss::Namespace),
        "vault" => Some(Loss::Vault),
        "key" => recipient(spec.recipient.as_deref(), problems).map(Loss::Key),
        "tool" => Some(Loss::Tool),
        other => {
            problems
                .add("spec.loss", format!("`{other}` is nothing that a drill can lose{}", suggestion(other, &LOSSES)));
            None
        }
    };
    Some(Scenario { name: name?, description: spec.description.clone(), loss: loss? })
}

fn namespace(given: Option<&str>, problems: &mut Problems<'_>) -> Option<Name> {
    match given {
        Some(text) => problems.parse("spec.namespace", text),
        None => {
            problems.add("spec.namespace", "the key is missing; name the namespace that is lost");
            None
        }
    }
}

fn recipient(given: Option<&str>, problems: &mut Problems<'_>) -> Option<Option<String>> {
    let Some(text) = given else { return Some(None) };
    let is_one = text.starts_with("age1") || text.starts_with("ssh-");
    let read = is_one.then(|| text.to_string());
    let why = || Error::usage(format!("`{text}` is no recipient; write `age1…`, as the schedule names it"));
    problems.check("spec.recipient", read.ok_or_else(why)).map(Some)
}

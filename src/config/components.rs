//! What the platform is made of: each component, how it is saved, and which steps of the shipped plans bring it back.
//!
//! The table stands in `components.yaml`. Reports show how much of it a drill has proved; a test holds it against the
//! shipped plans, so that no component is without a way back.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::names::Name;
use super::plan::Action;
use super::{decode, problems, yaml};
use crate::error::{Error, Result};

const TABLE: &str = include_str!("components.yaml");

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// What it is called, such as `Harbor`.
    pub name: String,
    /// The namespaces that it usually is in; empty when it is in none of its own.
    pub namespaces: Vec<Name>,
    /// What of it matters, in a sentence.
    pub state: String,
    /// The kinds of sources that save it.
    pub saved_by: Vec<SavedBy>,
    /// Kinds of its objects.
    pub kinds: Vec<ObjectKind>,
    /// By the name of a shipped plan: the steps that it comes back by, and the gates and manual steps that belong to it.
    pub comes_back_by: BTreeMap<Name, Vec<Name>>,
    /// What goes wrong when it comes back.
    pub watch_for: String,
}

/// A kind of source that saves a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SavedBy {
    /// The objects of a cluster.
    Kubernetes,
    /// Files in a folder.
    Files,
    /// The metrics of a Prometheus, or the silences of its Alertmanager.
    Prometheus,
    /// The indices of an Elasticsearch or OpenSearch.
    Elasticsearch,
    /// The objects of a bucket.
    Objects,
    /// The output of a command.
    Command,
}

impl SavedBy {
    /// Whether a step of this kind brings back what a source of this kind saved.
    pub fn comes_back_by(self, action: &Action) -> bool {
        match self {
            SavedBy::Kubernetes => matches!(action, Action::Apply(_)),
            SavedBy::Files | SavedBy::Objects => matches!(action, Action::Files(_) | Action::Objects(_)),
            SavedBy::Prometheus => matches!(action, Action::Prometheus(_)),
            SavedBy::Elasticsearch => matches!(action, Action::Elasticsearch(_)),
            SavedBy::Command => matches!(action, Action::Command(_)),
        }
    }

    /// The kind's key in a schedule.
    pub fn as_str(self) -> &'static str {
        match self {
            SavedBy::Kubernetes => "kubernetes",
            SavedBy::Files => "files",
            SavedBy::Prometheus => "prometheus",
            SavedBy::Elasticsearch => "elasticsearch",
            SavedBy::Objects => "objects",
            SavedBy::Command => "command",
        }
    }

    /// All of them.
    pub const ALL: [SavedBy; 6] = [
        SavedBy::Kubernetes,
        SavedBy::Files,
        SavedBy::Prometheus,
        SavedBy::Elasticsearch,
        SavedBy::Objects,
        SavedBy::Command,
    ];
}

/// A kind of objects, written `Kind` or `Kind.group`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectKind {
    /// Such as `Deployment`.
    pub kind: String,
    /// Its API group; empty for the kinds of Kubernetes itself.
    pub group: String,
}

impl TryFrom<String> for ObjectKind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        // What a plan may name is what a row may name, but for wildcards.
        super::KindPattern::parse(&text)?;
        if text.contains(['*', '?', '[', '{']) {
            return Err(Error::usage(format!("`{text}` is a pattern, and must be one kind")));
        }
        let (kind, group) = text.split_once('.').unwrap_or((&text, ""));
        Ok(ObjectKind { kind: kind.into(), group: group.into() })
    }
}

/// The table, in the order in which it is shown.
pub fn components() -> Result<Vec<Component>> {
    parse(TABLE)
}

pub(super) fn parse(text: &str) -> Result<Vec<Component>> {
    let path = Path::new("components.yaml");
    let syntax = |fault| problems::together(path, vec![problems::explain_syntax(path, text, &fault)]);
    match yaml::documents(text).map_err(syntax)?.as_slice() {
        [table] => decode(table, path),
        others => Err(Error::usage(format!("{} has {} tables and not one", path.display(), others.len()))),
    }
}
